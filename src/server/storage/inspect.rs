//! Looking at a data directory: is everything sound, and would a server start on it? (`keepright fsck`)
//!
//! Spec: `spec/6-server.md`, "Tools". What it must never do: change anything, or call sound what a start
//! would refuse; the last word is that of the code that a start runs.

use super::recovery::{
    Mend, examine, pending_replacement, read_log, stored_epoch, temporary_files,
};
use super::{Layout, StorageError, ZooKeeperCodec, format::Tail, pairing, snapshots, theirs};
use crate::service::ZooKeeper;
use crate::types::Zxid;
use crate::znode::{Tree, acl};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// What was found in one file.
#[derive(Clone, Debug)]
pub struct Finding {
    pub file: PathBuf,
    pub state: FileState,
    /// What ZooKeeper would do with it; `None` if it does not know such files.
    pub zookeeper: Option<String>,
}

#[derive(Clone, Debug)]
pub enum FileState {
    /// Nothing is wrong; what it holds.
    Sound(String),
    /// Something is odd that the next start mends by itself.
    Note(String),
    /// Bytes have changed or are missing.
    Damaged {
        /// Where, as far as that is known.
        offset: Option<u64>,
        problem: String,
        /// What to do about it.
        remedy: String,
    },
}

/// What is known of a data directory.
#[derive(Debug)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// Whether a server runs on it: then its last file is still being written.
    pub in_use: bool,
    /// What a server finds that starts on it, in words, or why it refuses.
    pub start: Result<String, StorageError>,
}

impl FileState {
    fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

impl Report {
    /// Whether nothing is damaged or missing.
    pub fn is_sound(&self) -> bool {
        let damaged = |finding: &Finding| finding.state.is_damaged();
        self.start.is_ok() && !self.findings.iter().any(damaged)
    }
}

impl Layout {
    /// The files of a directory that was given on the command line: a `dataDir`, or the `version-2` in it.
    ///
    /// # Errors
    /// If there is no such directory.
    pub fn existing(data_dir: &Path, log_dir: Option<&Path>) -> Result<Self, StorageError> {
        let layout = Self {
            data_dir: above_version(data_dir),
            log_dir: above_version(log_dir.unwrap_or(data_dir)),
            retain: 3,
            purge: super::Purge::Never,
            compression: super::Compression::None,
        };
        for dir in [layout.snapshots(), layout.logs()] {
            dir.read_dir().map_err(StorageError::io("list", &dir))?;
        }
        Ok(layout)
    }
}

fn above_version(dir: &Path) -> PathBuf {
    match dir.file_name().is_some_and(|name| name == "version-2") {
        true => dir.parent().unwrap_or(Path::new("")).join(""),
        false => dir.to_owned(),
    }
}

/// Looks at every file of a data directory. Takes no lock, and changes nothing.
///
/// # Errors
/// If the directory cannot be listed.
pub fn fsck(layout: &Layout) -> Result<Report, StorageError> {
    let replacement = pending_replacement(layout);
    let mut findings = Vec::new();
    let mut found = |file: PathBuf, state, zookeeper| {
        findings.push(Finding {
            file,
            state,
            zookeeper,
        });
    };
    for (zxid, file) in layout.list_snapshots()? {
        let state = snapshot_state(zxid, &file);
        let theirs = theirs::of_snapshot(&file, state.is_damaged());
        found(file, state, Some(theirs));
    }
    if layout.incoming().exists() {
        let file = layout.incoming();
        let state = snapshot_state(Zxid::ZERO, &file);
        found(file, state, None);
    }
    for (_, file) in layout.list_logs()? {
        let state = log_state(&file);
        let theirs = theirs::of_log(&file);
        found(file, state, Some(theirs));
    }
    for file in [layout.accepted_epoch(), layout.current_epoch()] {
        let state = match stored_epoch(&file) {
            Ok(Some((epoch, _))) => FileState::Sound(format!("epoch {epoch}")),
            Ok(None) => FileState::Note("is missing: taken from the last transaction".to_owned()),
            Err(error) => damaged(None, &error, LEARN_ANEW.to_owned()),
        };
        let theirs = theirs::of_epoch(&file);
        found(file, state, Some(theirs));
    }
    for file in temporary_files(layout)? {
        if file != layout.incoming() {
            let state = "is left of an interrupted write: the next start removes it".to_owned();
            found(file, FileState::Note(state), None);
        }
    }
    let start = match replacement {
        Err(error) => Err(error),
        Ok(Some(target)) => start_with_replacement(layout, &target),
        Ok(None) => start(layout),
    };
    Ok(Report {
        findings,
        in_use: is_locked(&layout.data_dir) || is_locked(&layout.log_dir),
        start,
    })
}

/// What brings a server back whose disk cannot be trusted.
const LEARN_ANEW: &str = "if the other servers of the ensemble are well, move this data directory away (but \
     for myid) and start: the server learns everything from them. Else restore the file from a copy";

fn snapshot_state(zxid: Zxid, file: &Path) -> FileState {
    match snapshots::read::<ZooKeeper, _>(&ZooKeeperCodec::default(), zxid, file) {
        Ok(tree) => FileState::Sound(content(&tree)),
        Err(problem) => {
            let remedy =
                "if a server starts all the same (see the last line), remove this file; else ";
            damaged(None, &problem, format!("{remedy}{LEARN_ANEW}"))
        }
    }
}

fn content(tree: &Tree) -> String {
    let nobody = acl::nobody();
    let unlisted = tree.walk().filter(|(_, node)| node.acl == nobody).count();
    let orphans = tree.owners_without_session().count();
    let mut words = format!(
        "{} znodes, {} sessions, digest 0x{:x}",
        tree.znode_count(),
        tree.sessions().len(),
        tree.digest(),
    );
    if unlisted > 0 {
        words += &format!(
            "; {unlisted} znodes have an ACL that is not listed, and that the log must bring: until then nobody may \
             use them"
        );
    }
    if orphans > 0 {
        words += &format!(
            "; {orphans} sessions own ephemerals and are not listed: if the log does not open them either, the \
             leader ends them when it begins"
        );
    }
    words
}

fn log_state(file: &Path) -> FileState {
    let log = match read_log::<ZooKeeper, _>(file, &ZooKeeperCodec::default()) {
        Ok(log) => log,
        Err(StorageError::Damaged {
            offset, problem, ..
        }) => return damaged_log(file, offset, &problem),
        Err(error) => return damaged(None, &error, "mend the disk or the permissions".to_owned()),
    };
    let end = log.scan.end as u64;
    let zxid = |entry: Option<&(usize, crate::zab::Entry<crate::znode::Txn>)>| {
        entry.map_or(0, |(_, entry)| entry.zxid.0)
    };
    match log.scan.tail {
        Tail::Clean => FileState::Sound(format!(
            "{} transactions, 0x{:x} to 0x{:x}",
            log.entries.len(),
            zxid(log.entries.first()),
            zxid(log.entries.last()),
        )),
        Tail::Torn(problem) => FileState::Note(format!(
            "{problem} at offset {end}, left of an interrupted write: the next start drops it. {} \
             transactions before it are sound",
            log.entries.len()
        )),
        Tail::Damaged(problem) => damaged_log(file, end, problem),
    }
}

fn damaged_log(file: &Path, offset: u64, problem: &str) -> FileState {
    let remedy = format!(
        "{LEARN_ANEW}. As the last resort give up what follows, acknowledged or not: `truncate -s {offset} {}` \
         and remove the later logs and snapshots",
        file.display()
    );
    damaged(Some(offset), &problem, remedy)
}

fn damaged(offset: Option<u64>, problem: &dyn std::fmt::Display, remedy: String) -> FileState {
    FileState::Damaged {
        offset,
        problem: problem.to_string(),
        remedy,
    }
}

/// What a start finds if no replacement is pending.
fn start(layout: &Layout) -> Result<String, StorageError> {
    pairing::examine(layout)?;
    let found = examine::<ZooKeeper, _>(layout, &ZooKeeperCodec::default())?;
    let history = &found.storage.history;
    let snapshot = history.snapshot();
    let rewritten = |mend: &&Mend| matches!(mend, Mend::WriteEpoch(..) | Mend::FirstSnapshot);
    let mut words = format!(
        "history up to zxid 0x{:x}: a snapshot at 0x{:x} with {} znodes, and {} transactions after it; \
         accepted epoch {}, current epoch {}",
        history.last_zxid().0,
        snapshot.zxid.0,
        snapshot.state.znode_count(),
        history.after(snapshot.zxid).count(),
        found.storage.accepted_epoch,
        found.storage.current_epoch,
    );
    let added = found.mends.iter().filter(rewritten).count();
    if added > 0 {
        words += &format!(" ({added} files that ZooKeeper does without are added)");
    }
    Ok(words)
}

/// What a start finds if the history is to be replaced.
fn start_with_replacement(layout: &Layout, target: &Path) -> Result<String, StorageError> {
    let file = match layout.incoming().exists() {
        true => layout.incoming(),
        false => target.to_owned(),
    };
    match snapshots::read::<ZooKeeper, _>(&ZooKeeperCodec::default(), Zxid::ZERO, &file) {
        Ok(tree) => Ok(format!(
            "the history is first replaced by {}, as was ordered: {} znodes",
            file.display(),
            tree.znode_count()
        )),
        Err(problem) => Err(StorageError::NoSnapshot { file, problem }),
    }
}

fn is_locked(dir: &Path) -> bool {
    let file = File::open(dir.join("keepright.lock"));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}
