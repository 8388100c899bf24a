//! Reading a data directory when a server starts.
//!
//! Spec: `spec/6-server.md`, "Recovery". What it must never do: go on without a transaction that may
//! have been acknowledged. Only the trace of an interrupted write at the very end is cut.
//!
//! Departs from ZooKeeper: D21 in `spec/deviations.toml`.

use super::disk::Disk;
use super::format::{BEFORE, Codec, Scan, Tail, scan};
use super::lineage;
use super::sealed::{Text, seal, unseal};
use super::snapshots;
use super::{Layout, StorageError, zxid_of};
use crate::persistent::Vector;
use crate::types::{Epoch, Zxid};
use crate::zab::{Entry, History, Lineage, Memory, Payload, Snapshot, Storage};
use std::fs;
use std::io;
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
///
/// What is found is durable when this returns, and not before: the process that wrote it may have ended
/// before its flush, and a power cut would still take it.
pub(super) fn recover<P: Payload, C: Codec<P>>(
    layout: &Layout,
    codec: &C,
    disk: &Disk,
) -> Result<Recovered<P>, StorageError> {
    disk.sync_dir(&layout.snapshots())?;
    if layout.logs() != layout.snapshots() {
        disk.sync_dir(&layout.logs())?;
    }
    finish_replacement(layout, disk)?;
    for path in temporary_files(layout)? {
        disk.remove(&path)?;
    }
    let found = examine(layout, codec)?;
    for mend in found.mends {
        match mend {
            Mend::Remove(path) => disk.remove(&path)?,
            Mend::Rewrite(path, content) => {
                disk.write_file(&path, |file| file.write_all(&content))?
            }
            Mend::WriteEpoch(path, epoch) => write_epoch(disk, &path, epoch)?,
            Mend::WriteLineage(memory) => {
                lineage::write(layout, disk, memory, &Lineage::default())?;
            }
            Mend::FirstSnapshot => {
                let (first, path) = (Snapshot::default(), layout.snapshot(Zxid::ZERO));
                snapshots::write(layout, codec, disk, &first, &path)?;
            }
        }
    }
    Ok(Recovered {
        storage: found.storage,
        notes: found.notes,
    })
}

/// What a data directory holds, and what is to be done before a log can be written on.
pub(super) struct Found<P: Payload> {
    pub(super) storage: Storage<P>,
    pub(super) mends: Vec<Mend>,
    pub(super) notes: Vec<String>,
}

/// A change that a start makes to the directory.
pub(super) enum Mend {
    /// A log without a transaction: its name may be needed.
    Remove(PathBuf),
    /// The last log, without what an interrupted write left. It is written anew even if nothing is cut: a
    /// flush that failed may have left it in memory alone, where a second flush does not find it.
    Rewrite(PathBuf, Vec<u8>),
    /// An epoch that has no file yet, or one without a checksum.
    WriteEpoch(PathBuf, Epoch),
    /// That the directory was empty.
    WriteLineage(Memory),
    /// The empty state: ZooKeeper refuses a log without any snapshot.
    FirstSnapshot,
}

/// Reads a directory in which no replacement is pending. Changes nothing.
pub(super) fn examine<P: Payload, C: Codec<P>>(
    layout: &Layout,
    codec: &C,
) -> Result<Found<P>, StorageError> {
    let mut mends = Vec::new();
    let mut notes = Vec::new();
    let snapshot = newest_snapshot(layout, codec, &mut notes)?;
    if !snapshot.stored && snapshot.unreadable.is_none() {
        mends.push(Mend::FirstSnapshot);
    }
    let known = lineage::read(layout)?;
    let (memory, lineage) = known.clone().unwrap_or_default();
    let history = read_logs(layout, codec, snapshot, &lineage, &mut mends, &mut notes)?;
    if let Err(mismatch) = codec.check_digests(&history) {
        let mut logs = layout.list_logs()?.into_iter().rev();
        let log = logs.find(|(first, _)| *first <= mismatch.zxid);
        let file = log.map_or_else(|| layout.logs(), |(_, path)| path);
        // ZooKeeper starts with a directory all of whose digests are wrong, and it may be right: they may be of another kind.
        if known.is_some() || mismatch.some_agree {
            return Err(StorageError::Differs { file, mismatch });
        }
        notes.push(format!(
            "{}: from zxid {} on no digest is that of the data, as if it were of another ensemble (ZooKeeper warns of that, too)",
            file.display(),
            mismatch.zxid
        ));
    }
    let (accepted_epoch, current_epoch) =
        read_epochs(layout, history.last_zxid().epoch(), &mut mends)?;
    let last = history.last_zxid();
    if let Some(term) = lineage.last().filter(|term| term.epoch == current_epoch)
        && last < term.after
    {
        return Err(StorageError::EpochGap {
            dir: layout.snapshots(),
            epoch: term.epoch.0,
            after: term.after.0,
            end: last.0,
        });
    }
    let is_new = last == Zxid::ZERO && current_epoch == Epoch(0) && known.is_none();
    if is_new {
        mends.push(Mend::WriteLineage(Memory::New));
    }
    Ok(Found {
        storage: Storage {
            accepted_epoch,
            current_epoch,
            history,
            lineage,
            memory: match is_new {
                true => Memory::New,
                false => memory,
            },
            draw: 0,
        },
        mends,
        notes,
    })
}

/// The snapshot file that is to replace the history, if there is an order to do so.
pub(super) fn pending_replacement(layout: &Layout) -> Result<Option<PathBuf>, StorageError> {
    let order = layout.replace_order();
    let bytes = match fs::read(&order) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("read", &order)(error)),
    };
    match unseal(&bytes) {
        Text::Sealed(name) if zxid_of(&name, "snapshot.").is_some() => {
            Ok(Some(layout.snapshots().join(name)))
        }
        Text::Sealed(_) | Text::Plain(_) | Text::Damaged => Err(StorageError::Damaged {
            file: order,
            offset: 0,
            problem: "it does not name a snapshot and its own checksum".to_owned(),
        }),
    }
}

/// Carries out an order to replace the history, if there is one. Each step may be repeated, and the
/// order goes last, so it does not matter where a crash falls.
pub(super) fn finish_replacement(layout: &Layout, disk: &Disk) -> Result<(), StorageError> {
    let Some(target) = pending_replacement(layout)? else {
        return Ok(());
    };
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
    disk.remove(&layout.replace_order())
}

/// What an interrupted write left: files that never got their names. An incoming snapshot is one if there
/// is no order: the history is still the old one.
pub(super) fn temporary_files(layout: &Layout) -> Result<Vec<PathBuf>, StorageError> {
    let mut files = Vec::new();
    if layout.incoming().exists() {
        files.push(layout.incoming());
    }
    let mut dirs = vec![layout.snapshots(), layout.logs()];
    dirs.dedup();
    for dir in dirs {
        for entry in dir.read_dir().map_err(StorageError::io("list", &dir))? {
            let path = entry.map_err(StorageError::io("list", &dir))?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let ours = stem.is_some_and(|stem| {
                let starts = ["snapshot.", "log.", "keepright."];
                starts.iter().any(|start| stem.starts_with(start)) || stem.ends_with("Epoch")
            });
            if ours && path.extension().is_some_and(|extension| extension == "tmp") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The newest snapshot that can be read, or the empty state if there has never been one.
fn newest_snapshot<P: Payload, C: Codec<P>>(
    layout: &Layout,
    codec: &C,
    notes: &mut Vec<String>,
) -> Result<NewestSnapshot<P>, StorageError> {
    let mut unreadable = None;
    for (zxid, path) in layout.list_snapshots()?.into_iter().rev() {
        match snapshots::read(codec, zxid, &path) {
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
    newest: NewestSnapshot<P>,
    lineage: &Lineage,
    mends: &mut Vec<Mend>,
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
            if repeats(codec, entries.last(), &entry) {
                continue;
            }
            if !newest.stored && entries.is_empty() && !FIRST.contains(&entry.zxid) {
                return Err(StorageError::NoBeginning {
                    file: path.clone(),
                    found: entry.zxid.0,
                });
            }
            push(&mut entries, entry, base, lineage, path, offset)?;
        }
        match read.scan.tail {
            Tail::Clean => {}
            // In a file before the last one, a server that cut nothing has gone on after it, as
            // ZooKeeper does: what follows must continue what came before.
            Tail::Torn(problem) => notes.push(format!(
                "{}: what follows offset {} is left of an interrupted write ({problem}), and is dropped",
                path.display(),
                read.scan.end
            )),
            Tail::Damaged(problem) => {
                return Err(StorageError::Damaged {
                    file: path.clone(),
                    offset: read.scan.end as u64,
                    problem: problem.to_owned(),
                });
            }
        }
        if index + 1 < count {
            continue;
        }
        mends.push(match read.scan.records.is_empty() {
            true => Mend::Remove(path.clone()),
            false => {
                let mut content = read.bytes;
                content.truncate(read.scan.end);
                Mend::Rewrite(path.clone(), content)
            }
        });
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

/// The zxids that the first transaction of all may have: of ZooKeeper standalone, and of an ensemble or this server.
const FIRST: [Zxid; 2] = [Zxid(1), Zxid::new(Epoch(1), 1)];

/// Whether an entry is the failure of a request that ZooKeeper could not even read: it stands at the zxid of the
/// transaction before it, or of none in its epoch, and is no transaction.
fn repeats<P: Payload, C: Codec<P>>(
    codec: &C,
    last: Option<&Entry<P::Txn>>,
    entry: &Entry<P::Txn>,
) -> bool {
    codec.changes_nothing(&entry.txn)
        && (entry.zxid.counter() == 0 || last.is_some_and(|last| last.zxid == entry.zxid))
}

/// Adds a transaction to those that were read, if it continues them or the snapshot.
fn push<T>(
    entries: &mut Vec<Entry<T>>,
    entry: Entry<T>,
    base: Zxid,
    lineage: &Lineage,
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
    let follows = |previous| follows(previous, entry.zxid, lineage);
    if last.is_some_and(follows) || last.is_none() && entry.zxid <= base {
        entries.push(entry);
        return Ok(());
    }
    // What is missing before the snapshot is not missed, but what lies before the hole is no
    // history of the rest.
    if entry.zxid <= base || (last.is_none_or(|last| last <= base) && follows(base)) {
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
/// one with a later epoch, which does not go on from anything later.
fn follows(previous: Zxid, next: Zxid, lineage: &Lineage) -> bool {
    if next.epoch() == previous.epoch() {
        next.counter().checked_sub(1) == Some(previous.counter())
    } else {
        let mut terms = lineage.terms().iter();
        let term = terms.find(|term| term.epoch == next.epoch());
        let is_next = term.is_none_or(|term| term.after <= previous);
        next.epoch() > previous.epoch() && next.counter() == 1 && is_next
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

/// A log file, read as far as it is sound.
pub(super) struct LogFile<T> {
    pub(super) scan: Scan,
    /// The transactions, and the offset of each.
    pub(super) entries: Vec<(usize, Entry<T>)>,
    bytes: Vec<u8>,
}

pub(super) fn read_log<P: Payload, C: Codec<P>>(
    path: &Path,
    codec: &C,
) -> Result<LogFile<P::Txn>, StorageError> {
    let bytes = fs::read(path).map_err(StorageError::io("read", path))?;
    let scan = scan(&bytes);
    let mut entries = Vec::with_capacity(scan.records.len());
    for body in &scan.records {
        let offset = body.start - BEFORE;
        let entry = codec.decode_entry(&bytes[body.clone()]);
        let entry = entry.map_err(|problem| StorageError::Damaged {
            file: path.to_owned(),
            offset: offset as u64,
            problem,
        })?;
        entries.push((offset, entry));
    }
    Ok(LogFile {
        scan,
        entries,
        bytes,
    })
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

/// Reads the epochs. Where a file is missing, the epoch is that of the history's last transaction,
/// as in ZooKeeper, and the file is to be written: later it must not be guessed again.
fn read_epochs(
    layout: &Layout,
    last: Epoch,
    mends: &mut Vec<Mend>,
) -> Result<(Epoch, Epoch), StorageError> {
    let current = read_epoch(layout.current_epoch(), last, mends)?;
    let accepted = read_epoch(layout.accepted_epoch(), last.max(current), mends)?;
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

fn read_epoch(path: PathBuf, missing: Epoch, mends: &mut Vec<Mend>) -> Result<Epoch, StorageError> {
    let (epoch, sealed) = match stored_epoch(&path)? {
        Some(stored) => stored,
        None => (missing, false),
    };
    if !sealed {
        mends.push(Mend::WriteEpoch(path, epoch));
    }
    Ok(epoch)
}

/// The epoch in a file, if there is one, and whether it has a checksum.
pub(super) fn stored_epoch(path: &Path) -> Result<Option<(Epoch, bool)>, StorageError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("read", path)(error)),
    };
    let refuse = |problem: &str| StorageError::Epoch {
        file: path.to_owned(),
        text: String::from_utf8_lossy(&bytes).trim().to_owned(),
        problem: problem.to_owned(),
    };
    let (line, sealed) = match unseal(&bytes) {
        Text::Sealed(line) => (line, true),
        Text::Plain(line) => (line, false),
        Text::Damaged => return Err(refuse("is damaged: its checksum does not fit")),
    };
    match line.parse() {
        Ok(epoch) => Ok(Some((Epoch(epoch), sealed))),
        Err(_) => Err(refuse("is not an epoch")),
    }
}

pub(super) fn write_epoch(disk: &Disk, path: &Path, epoch: Epoch) -> Result<(), StorageError> {
    let text = seal(&epoch.to_string());
    disk.write_file(path, |file| file.write_all(text.as_bytes()))
}
