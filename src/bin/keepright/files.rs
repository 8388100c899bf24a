//! `keepright fsck` and `keepright dump`: what a data directory holds, and whether it is sound.

use keepright::server::storage::dump::{self, DumpError, Selection};
use keepright::server::storage::inspect::{self, FileState, Report};
use keepright::server::storage::{Layout, StorageError};
use keepright::types::Zxid;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

pub const FSCK_HELP: &str = "\
Exit codes:
  0  everything is sound (the next start may mend what an interrupted write left)
  1  something is damaged or missing: file, offset and remedy are printed
  2  the directory cannot be examined

Examples:
  keepright fsck /var/lib/keepright
  keepright fsck /var/lib/zookeeper --log-dir /var/log/zookeeper   a dataLogDir of its own
  keepright fsck data && keepright server --config zoo.cfg         start only if all is well";

pub const DUMP_HELP: &str = "\
The first line of each file says what it is. Data that is not text is shown in base64. Zxids are
written as in the names of the files, in hexadecimal.

Exit codes:
  0  all was shown
  1  a file is damaged: what is sound before the damage was shown
  2  the directory cannot be read

Examples:
  keepright dump /var/lib/keepright
  keepright dump data --only log --from 0x100000000 --to 0x10000000f
  keepright dump data --json | jq -r 'select(.kind == \"znode\") | .path'";

/// Which directory.
#[derive(clap::Args)]
pub struct Directory {
    /// The dataDir of a server (or the version-2 in it), of keepright or of ZooKeeper.
    dir: PathBuf,
    /// The dataLogDir, if the transaction log is elsewhere.
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
}

impl Directory {
    fn layout(&self) -> Result<Layout, StorageError> {
        Layout::existing(&self.dir, self.log_dir.as_deref())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Snapshot,
    Log,
}

#[derive(clap::Args)]
pub struct DumpOptions {
    #[command(flatten)]
    directory: Directory,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Only the newest snapshot, or only the log.
    #[arg(long)]
    only: Option<Part>,
    /// Transactions from this zxid on.
    #[arg(long, value_name = "ZXID", value_parser = zxid, default_value = "0")]
    from: Zxid,
    /// Transactions up to this zxid.
    #[arg(long, value_name = "ZXID", value_parser = zxid, default_value = "0xffffffffffffffff")]
    to: Zxid,
}

fn zxid(text: &str) -> Result<Zxid, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16)
        .map(Zxid)
        .map_err(|_| "write a hexadecimal number, such as 0x100000002".to_owned())
}

const DAMAGED: u8 = 1;
const NOT_EXAMINED: u8 = 2;

/// Prints what is wrong with a data directory.
pub fn fsck(directory: &Directory) -> ExitCode {
    let report = directory.layout().and_then(|layout| inspect::fsck(&layout));
    match report {
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(NOT_EXAMINED)
        }
        Ok(report) => {
            // Who reads may have heard enough.
            let _ = print_report(&report);
            match report.is_sound() {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(DAMAGED),
            }
        }
    }
}

/// Puts the data of a server aside.
pub fn adopt(directory: &Directory) -> ExitCode {
    match directory.layout().and_then(|layout| layout.put_aside()) {
        Ok(moved) => {
            for (from, to) in moved {
                println!("{} is {} now", from.display(), to.display());
            }
            println!("started again, this server learns the data of the others");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(NOT_EXAMINED)
        }
    }
}

fn print_report(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if report.in_use {
        writeln!(
            out,
            "a server runs on this directory: its last file is still being written"
        )?;
    }
    for finding in &report.findings {
        let file = finding.file.display();
        match &finding.state {
            FileState::Sound(content) => writeln!(out, "{file}: sound, {content}")?,
            FileState::Note(note) => writeln!(out, "{file}: {note}")?,
            FileState::Damaged {
                offset,
                problem,
                remedy,
            } => {
                let place = offset.map(|offset| format!(" at offset {offset}"));
                writeln!(
                    out,
                    "{file}: DAMAGED{}: {problem}",
                    place.unwrap_or_default()
                )?;
                writeln!(out, "    to mend it: {remedy}")?;
            }
        }
        if let Some(theirs) = &finding.zookeeper {
            writeln!(out, "    ZooKeeper {theirs}")?;
        }
    }
    match &report.start {
        Ok(found) => writeln!(out, "a server starts here: {found}"),
        Err(error) => writeln!(out, "A SERVER REFUSES TO START HERE: {error}"),
    }
}

/// Prints what a data directory holds.
pub fn dump(options: &DumpOptions) -> ExitCode {
    let selection = Selection {
        snapshot: options.only != Some(Part::Log),
        log: options.only != Some(Part::Snapshot),
        from: options.from,
        to: options.to,
        json: options.json,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = match options.directory.layout() {
        Ok(layout) => dump::dump(&layout, selection, &mut out),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(NOT_EXAMINED);
        }
    };
    match shown.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has seen enough.
        Err(DumpError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(DumpError::Storage(
            error @ (StorageError::Damaged { .. } | StorageError::Unreadable { .. }),
        )) => {
            // What comes before the damage is shown first.
            let _ = out.flush();
            eprintln!("{error}");
            ExitCode::from(DAMAGED)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(NOT_EXAMINED)
        }
    }
}
