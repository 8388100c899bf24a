//! Which `dataDir` and which `dataLogDir` belong together.
//!
//! Spec: `spec/6-server.md`, "Storage", S9. What it must never do: let a server start on snapshots without the log
//! that goes on from them, or on the log of another server.
//!
//! Each of the two has a mark with the same random name: `keepright.snapshots` where the snapshots are,
//! `keepright.logs` where the logs are. Where there is one directory, it has both. Marks go where their files go: so
//! both directories may be moved, and logs may move from one directory to the other, if their mark does too.
//! The mark of the snapshots also says where the logs were, for the error alone; and it says *joining* until the other
//! mark is durable, so that a crash in between is known for what it is.
//!
//! A directory without marks is new, or one of ZooKeeper: then its rule holds (ZOOKEEPER-2967), that there are no
//! snapshots in the one and no logs in the other.
//!
//! Departs from ZooKeeper: D70 in `spec/deviations.toml`.

use super::disk::{Disk, temporary};
use super::sealed::{Text, seal, unseal};
use super::{Layout, StorageError, list};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const SNAPSHOTS: &str = "keepright.snapshots";
const LOGS: &str = "keepright.logs";

/// The mark beside the snapshots.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    name: String,
    /// Whether the mark beside the logs may still be missing.
    joining: bool,
    /// Where the logs were.
    logs: String,
}

/// What a start has to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The two belong together.
    Nothing,
    /// They have no marks, but for one that a crash has left, or that has nothing beside it.
    Join(Option<String>),
    /// They have been moved: only the path is no longer right.
    NotePath(String),
}

/// Looks whether the two directories belong together, and changes nothing.
pub(super) fn examine(layout: &Layout) -> Result<Step, StorageError> {
    let (data, logs) = (layout.snapshots(), layout.logs());
    if data != logs {
        strays(layout)?;
    }
    let of_data = read(&data.join(SNAPSHOTS))?.map(|(file, line)| mark(&file, &line));
    let of_logs = read(&logs.join(LOGS))?.map(|(_, line)| line);
    match (of_data.transpose()?, of_logs) {
        (None, None) => Ok(Step::Join(None)),
        // Whatever the mark belonged to, there is nothing of it.
        (None, Some(name)) if layout.list_logs()?.is_empty() => Ok(Step::Join(Some(name))),
        (None, Some(_)) => Err(apart(
            layout,
            format!(
                "{} holds the logs of another dataDir: {} has no {SNAPSHOTS}",
                logs.display(),
                data.display()
            ),
            format!(
                "name the dataDir that belongs to them; or, if this server is to learn anew, move {} away as well",
                logs.display()
            ),
        )),
        (Some(mark), None) if mark.joining => Ok(Step::Join(Some(mark.name))),
        (Some(mark), None) => Err(missing(layout, &mark)),
        (Some(mark), Some(name)) if mark.name != name => Err(apart(
            layout,
            format!(
                "the logs in {} are not those of the snapshots in {} (whose logs were in {})",
                logs.display(),
                data.display(),
                mark.logs
            ),
            "name the dataDir and the dataLogDir that belong together".to_owned(),
        )),
        (Some(mark), Some(_)) if mark.joining => Ok(Step::Join(Some(mark.name))),
        (Some(mark), Some(_)) if mark.logs != shown(&logs) => Ok(Step::NotePath(mark.name)),
        (Some(_), Some(_)) => Ok(Step::Nothing),
    }
}

/// Sees to it that the two directories are known to belong together from now on.
pub(super) fn join(layout: &Layout, disk: &Disk) -> Result<(), StorageError> {
    match examine(layout)? {
        Step::Nothing => Ok(()),
        Step::NotePath(name) => write_mark(layout, disk, &name, false),
        Step::Join(name) => {
            let name = name.map_or_else(|| random_name(layout), Ok)?;
            write_mark(layout, disk, &name, true)?;
            write(disk, &layout.logs().join(LOGS), &name)?;
            write_mark(layout, disk, &name, false)
        }
    }
}

/// Whether there are snapshots among the logs, or logs among the snapshots.
fn strays(layout: &Layout) -> Result<(), StorageError> {
    let (data, logs) = (layout.snapshots(), layout.logs());
    let among_logs = !list(&logs, "snapshot.")?.is_empty();
    let among_snapshots = !list(&data, "log.")?.is_empty();
    let (problem, remedy) = match (among_logs, among_snapshots) {
        (false, false) => return Ok(()),
        (true, true) => (
            "dataDir holds logs, and dataLogDir holds snapshots".to_owned(),
            "swap dataDir and dataLogDir".to_owned(),
        ),
        (true, false) => (
            format!("dataLogDir holds snapshots, in {}", logs.display()),
            "name as dataDir the directory that has the snapshots, or move them there".to_owned(),
        ),
        (false, true) => (
            format!("dataDir holds logs, in {}", data.display()),
            format!("{}; or leave dataLogDir out", move_logs(&data, &logs)),
        ),
    };
    Err(apart(layout, problem, remedy))
}

/// The logs that belong to the snapshots are not where they should be.
fn missing(layout: &Layout, mark: &Mark) -> StorageError {
    let (data, logs) = (layout.snapshots(), layout.logs());
    let problem = format!(
        "the logs that go on from the snapshots in {} are not in {}: they were in {}",
        data.display(),
        logs.display(),
        mark.logs
    );
    let left = data != logs && data.join(LOGS).exists();
    let remedy = match left {
        true => move_logs(&data, &logs),
        false => format!(
            "set dataLogDir (fsck: --log-dir) to where they are ({LOGS} stands beside them); or {}. If they are lost, move {} away and \
             let this server learn anew from the others",
            move_logs(Path::new(&mark.logs), &logs),
            data.display()
        ),
    };
    apart(layout, problem, remedy)
}

fn move_logs(from: &Path, to: &Path) -> String {
    let (from, to) = (from.display(), to.display());
    format!("move the files log.* and {LOGS} from {from} to {to}")
}

fn apart(layout: &Layout, problem: String, remedy: String) -> StorageError {
    StorageError::Apart {
        data_dir: layout.data_dir.clone(),
        log_dir: layout.log_dir.clone(),
        problem,
        remedy,
    }
}

/// The sealed line of a mark, if there is one.
fn read(path: &Path) -> Result<Option<(PathBuf, String)>, StorageError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("read", path)(error)),
    };
    match unseal(&bytes) {
        Text::Sealed(line) => Ok(Some((path.to_owned(), line))),
        Text::Plain(_) | Text::Damaged => Err(damaged(path)),
    }
}

fn damaged(path: &Path) -> StorageError {
    StorageError::Damaged {
        file: path.to_owned(),
        offset: 0,
        problem: "it is not a mark with its own checksum".to_owned(),
    }
}

fn mark(path: &Path, line: &str) -> Result<Mark, StorageError> {
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some(name), Some(state @ ("joining" | "joined")), Some(logs)) => Ok(Mark {
            name: name.to_owned(),
            joining: state == "joining",
            logs: logs.to_owned(),
        }),
        _ => Err(damaged(path)),
    }
}

fn write_mark(layout: &Layout, disk: &Disk, name: &str, joining: bool) -> Result<(), StorageError> {
    let state = if joining { "joining" } else { "joined" };
    let line = format!("{name} {state} {}", shown(&layout.logs()));
    write(disk, &layout.snapshots().join(SNAPSHOTS), &line)
}

fn write(disk: &Disk, path: &Path, line: &str) -> Result<(), StorageError> {
    // A flush of what is left of an interrupted write may have failed: then no later one helps.
    disk.remove(&temporary(path))?;
    disk.write_file(path, |file| file.write_all(seal(line).as_bytes()))
}

/// A path as it stands in a mark: in one line, whatever it is.
fn shown(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.to_string_lossy().replace(['\n', '\r'], "?")
}

fn random_name(layout: &Layout) -> Result<String, StorageError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| StorageError::io("name", &layout.snapshots())(error.into()))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
