//! Reading a data directory when a server starts.
//!
//! Spec: `spec/6-server.md`, "Recovery". What it must never do: go on without a transaction that may
//! have been acknowledged. Only the trace of an interrupted write at the very end is cut.
//!
//! Departs from ZooKeeper: D21 in `spec/deviations.toml`.

use super::disk::Disk;
use super::format::{Codec, Scan, Tail, scan};
use super::{Layout, StorageError};
use crate::types::{Epoch, Zxid};
use crate::zab::{Entry, History, Payload, Snapshot, Storage};
use im::Vector;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

/// How many transactions before the snapshot are kept in memory, to bring learners up to date
/// without a whole snapshot (ZooKeeper's `commitLogCount`).
const RETAINED: usize = 500;

/// What a data directory held.
pub(super) struct Recovered<P: Payload> {
    pub(super) storage: Storage<P>,
    pub(super) notes: Vec<String>,
}

/// Recovers the durable state, and leaves the directory so that a log can be written on.
pub(super) fn recover<P: Payload, C: Codec<P>>(
    layout: &Layout,
    codec: &C,
    disk: &Disk,
) -> Result<Recovered<P>, StorageError> {
    let mut notes = Vec::new();
    finish_replacement(layout, disk)?;
    remove_temporary_files(layout, disk)?;
    let snapshot = newest_snapshot(layout, codec, &mut notes)?;
    let history = read_logs(layout, codec, disk, snapshot, &mut notes)?;
    let (accepted_epoch, current_epoch) = read_epochs(layout, disk, history.last_zxid().epoch())?;
    Ok(Recovered {
        storage: Storage {
            accepted_epoch,
            current_epoch,
            history,
        },
        notes,
    })
}

/// Carries out an order to replace the history, if there is one. Each step may be repeated, and the
/// order goes last, so it does not matter where a crash falls.
pub(super) fn finish_replacement(layout: &Layout, disk: &Disk) -> Result<(), StorageError> {
    let order = layout.replace_order();
    let text = match fs::read_to_string(&order) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StorageError::io("read", &order)(error)),
    };
    let Ok(zxid) = u64::from_str_radix(text.trim(), 16) else {
        return Err(StorageError::Damaged {
            file: order,
            offset: 0,
            problem: format!("`{}` is not a zxid", text.trim()),
        });
    };
    let target = layout.snapshot(Zxid(zxid));
    if layout.incoming().exists() {
        disk.rename(&layout.incoming(), &target)?;
    }
    if !target.exists() {
        return Err(StorageError::NoSnapshot {
            file: target,
            problem: "it is not there".to_owned(),
        });
    }
    for (_, path) in layout.list_logs()? {
        disk.remove(&path)?;
    }
    for (_, path) in layout.list_snapshots()? {
        if path != target {
            disk.remove(&path)?;
        }
    }
    disk.remove(&order)
}

/// Removes what an interrupted write left: files that never got their names.
fn remove_temporary_files(layout: &Layout, disk: &Disk) -> Result<(), StorageError> {
    // Without an order, an incoming snapshot is none: the history is still the old one.
    if layout.incoming().exists() {
        disk.remove(&layout.incoming())?;
    }
    let dir = layout.snapshots();
    for entry in dir.read_dir().map_err(StorageError::io("list", &dir))? {
        let path = entry.map_err(StorageError::io("list", &dir))?.path();
        let ours = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .is_some_and(|stem| {
                stem.starts_with("snapshot.")
                    || stem.ends_with("Epoch")
                    || stem.starts_with("keepright")
            });
        if ours && path.extension().is_some_and(|extension| extension == "tmp") {
            disk.remove(&path)?;
        }
    }
    Ok(())
}

/// The newest snapshot that can be read, or the empty state if there has never been one.
fn newest_snapshot<P: Payload, C: Codec<P>>(
    layout: &Layout,
    codec: &C,
    notes: &mut Vec<String>,
) -> Result<NewestSnapshot<P>, StorageError> {
    let mut unreadable = None;
    for (zxid, path) in layout.list_snapshots()?.into_iter().rev() {
        let file = File::open(&path).map_err(StorageError::io("open", &path))?;
        match codec.read_snapshot(zxid, &mut BufReader::with_capacity(1 << 18, file)) {
            Ok(state) => {
                return Ok(NewestSnapshot {
                    snapshot: Snapshot { zxid, state },
                    stored: true,
                    unreadable,
                });
            }
            Err(problem) => {
                notes.push(format!(
                    "{} cannot be read ({problem}): an older snapshot and more of the log are tried",
                    path.display()
                ));
                unreadable.get_or_insert((zxid, path, problem));
            }
        }
    }
    Ok(NewestSnapshot {
        snapshot: Snapshot::default(),
        stored: false,
        unreadable,
    })
}

struct NewestSnapshot<P: Payload> {
    snapshot: Snapshot<P::Snapshot>,
    /// Whether it came from a file.
    stored: bool,
    /// The newest of those that could not be read: the log must reach it all the same.
    unreadable: Option<(Zxid, PathBuf, String)>,
}

/// Reads the log from the snapshot on.
fn read_logs<P: Payload, C: Codec<P>>(
    layout: &Layout,
    codec: &C,
    disk: &Disk,
    newest: NewestSnapshot<P>,
    notes: &mut Vec<String>,
) -> Result<History<P>, StorageError> {
    let base = newest.snapshot.zxid;
    let mut files = layout.list_logs()?;
    // A file begins with the zxid of its name, so the last one that begins at or before the
    // snapshot is the first that can hold anything after it.
    if let Some(first) = files.iter().rposition(|(zxid, _)| *zxid <= base) {
        files.drain(..first);
    }
    let mut entries = Vec::new();
    let count = files.len();
    for (index, (_, path)) in files.iter().enumerate() {
        let read = read_log(path, codec)?;
        for (offset, entry) in read.entries {
            push(&mut entries, entry, base, path, offset)?;
        }
        match read.scan.tail {
            // Its name may be needed for the log that is written next.
            Tail::Clean if read.scan.records.is_empty() && index + 1 == count => {
                disk.remove(path)?
            }
            Tail::Clean => {}
            Tail::Torn(problem) if index + 1 == count => {
                cut_torn_tail(disk, path, &read.scan, problem, notes)?;
            }
            Tail::Torn(problem) | Tail::Damaged(problem) => {
                return Err(StorageError::Damaged {
                    file: path.clone(),
                    offset: read.scan.end as u64,
                    problem: problem.to_owned(),
                });
            }
        }
    }
    let last = entries
        .last()
        .map_or(base, |entry: &Entry<_>| entry.zxid.max(base));
    if let Some((zxid, file, problem)) = newest.unreadable
        && last < zxid
    {
        return Err(StorageError::NoSnapshot { file, problem });
    }
    Ok(assemble(newest.snapshot, newest.stored, entries))
}

/// Adds a transaction to those that were read, if it continues them or the snapshot.
fn push<T>(
    entries: &mut Vec<Entry<T>>,
    entry: Entry<T>,
    base: Zxid,
    path: &Path,
    offset: usize,
) -> Result<(), StorageError> {
    let last = entries.last().map(|entry| entry.zxid);
    if last.is_some_and(|last| entry.zxid <= last) {
        return Err(StorageError::Damaged {
            file: path.to_owned(),
            offset: offset as u64,
            problem: format!("zxid 0x{:x} is out of order", entry.zxid.0),
        });
    }
    if last.is_some_and(|last| follows(last, entry.zxid)) || last.is_none() && entry.zxid <= base {
        entries.push(entry);
        return Ok(());
    }
    // What is missing before the snapshot is not missed, but what lies before the hole is no
    // history of the rest.
    if entry.zxid <= base || (last.is_none_or(|last| last <= base) && follows(base, entry.zxid)) {
        entries.clear();
        entries.push(entry);
        return Ok(());
    }
    Err(StorageError::Gap {
        file: path.to_owned(),
        end: last.unwrap_or(base).max(base).0,
        found: entry.zxid.0,
    })
}

/// Whether `next` can be the transaction after `previous`: the counter goes up by one, or starts at
/// one with a later epoch.
fn follows(previous: Zxid, next: Zxid) -> bool {
    if next.epoch() == previous.epoch() {
        next.counter().checked_sub(1) == Some(previous.counter())
    } else {
        next.epoch() > previous.epoch() && next.counter() == 1
    }
}

/// Makes a history of the snapshot and the transactions before and after it.
fn assemble<P: Payload>(
    snapshot: Snapshot<P::Snapshot>,
    stored: bool,
    mut entries: Vec<Entry<P::Txn>>,
) -> History<P> {
    let before = entries.partition_point(|entry| entry.zxid <= snapshot.zxid);
    let reaches = before > 0 && entries[before - 1].zxid == snapshot.zxid;
    let start = if !stored {
        Zxid::ZERO
    } else if reaches {
        // The zxid of the first entry that is kept in mind only stands for what is before the rest.
        let drop = before.saturating_sub(RETAINED + 1);
        let start = entries[drop].zxid;
        entries.drain(..=drop);
        start
    } else {
        entries.drain(..before);
        snapshot.zxid
    };
    History::from_parts(start, Vector::from(entries), snapshot)
        .expect("the entries are in order, and the snapshot is at the start or at one of them")
}

struct LogFile<T> {
    scan: Scan,
    entries: Vec<(usize, Entry<T>)>,
}

fn read_log<P: Payload, C: Codec<P>>(
    path: &Path,
    codec: &C,
) -> Result<LogFile<P::Txn>, StorageError> {
    let bytes = fs::read(path).map_err(StorageError::io("read", path))?;
    let scan = scan(&bytes);
    let mut entries = Vec::with_capacity(scan.records.len());
    for body in &scan.records {
        let entry = codec.decode_entry(&bytes[body.clone()]);
        let entry = entry.map_err(|problem| StorageError::Damaged {
            file: path.to_owned(),
            offset: body.start as u64,
            problem,
        })?;
        entries.push((body.start, entry));
    }
    Ok(LogFile { scan, entries })
}

/// Where in a log file the transactions above `zxid` begin; `None` if it holds no other ones.
pub(super) fn end_of<P: Payload, C: Codec<P>>(
    path: &Path,
    codec: &C,
    zxid: Zxid,
) -> Result<Option<u64>, StorageError> {
    let read = read_log(path, codec)?;
    let kept = read
        .entries
        .iter()
        .take_while(|(_, entry)| entry.zxid <= zxid)
        .count();
    Ok(kept
        .checked_sub(1)
        .map(|last| read.scan.records[last].end as u64 + 1))
}

fn cut_torn_tail(
    disk: &Disk,
    path: &Path,
    scan: &Scan,
    problem: &str,
    notes: &mut Vec<String>,
) -> Result<(), StorageError> {
    notes.push(format!(
        "{}: cut at offset {}, where a write was interrupted ({problem})",
        path.display(),
        scan.end
    ));
    if scan.records.is_empty() {
        disk.remove(path)
    } else {
        disk.cut(path, scan.end as u64)
    }
}

/// Reads the epochs. Where a file is missing, the epoch is that of the history's last transaction,
/// as in ZooKeeper, and the file is written: later it must not be guessed again.
fn read_epochs(layout: &Layout, disk: &Disk, last: Epoch) -> Result<(Epoch, Epoch), StorageError> {
    let current = match read_epoch(&layout.current_epoch())? {
        Some(epoch) => epoch,
        None => write_epoch(disk, &layout.current_epoch(), last)?,
    };
    let accepted = match read_epoch(&layout.accepted_epoch())? {
        Some(epoch) => epoch,
        None => write_epoch(disk, &layout.accepted_epoch(), last.max(current))?,
    };
    if accepted < current {
        return Err(StorageError::Epoch {
            file: layout.accepted_epoch(),
            text: accepted.to_string(),
            problem: format!("is below the current epoch {current}"),
        });
    }
    // A transaction of an epoch proves that the epoch was promised; to promise more is always safe.
    Ok((accepted.max(last), current))
}

fn read_epoch(path: &Path) -> Result<Option<Epoch>, StorageError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io("read", path)(error)),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            match text.parse() {
                Ok(epoch) => Ok(Some(Epoch(epoch))),
                Err(_) => Err(StorageError::Epoch {
                    file: path.to_owned(),
                    text,
                    problem: "is not an epoch".to_owned(),
                }),
            }
        }
    }
}

pub(super) fn write_epoch(disk: &Disk, path: &Path, epoch: Epoch) -> Result<Epoch, StorageError> {
    disk.write_file(path, |file: &mut dyn Write| write!(file, "{epoch}"))?;
    Ok(epoch)
}
