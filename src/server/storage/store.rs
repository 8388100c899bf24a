//! Making saves durable.
//!
//! Spec: `spec/6-server.md`, "Storage". What it must never do: leave the directory, at any moment, in
//! a state from which recovery would build what was neither the save before nor a step on the way to
//! the one after.
//!
//! The order within one save, and why a crash between two steps is safe:
//!
//! 1. Everything before is flushed. So what is on disk is always a prefix of the saves.
//! 2. The accepted epoch. It is a promise that binds this server alone: to keep it too early harms
//!    nobody.
//! 3. The history. Transactions that it no longer holds are removed, from the last one backwards,
//!    durably, before any is appended: at each moment the log is a prefix of the old history or of
//!    the new one. If the log has nothing of use (SNAP), the snapshot is written and flushed under
//!    a name that recovery ignores; then an order to replace is written, which is the moment of
//!    change; then the snapshot gets its name, the old logs and snapshots go, and the order last.
//!    Recovery begins by carrying out an order that it finds, so no tail of an old log outlives it.
//!    Between the removal and the appending comes the lineage: it names what is appended, and what is removed needs no
//!    name any more. An epoch for which there is no name may be any of its number.
//! 4. The current epoch, after a flush: it vouches for the history.
//!
//! Consecutive saves that only append share one flush.
//!
//! A newer snapshot of the same history delays nothing, for the log still covers it: see
//! [`super::writer`].
//!
//! Departs from ZooKeeper: D22 in `spec/deviations.toml`.

use super::diff::{Change, diff};
use super::disk::Disk;
use super::format::{Codec, HEADER, append_record};
use super::lineage;
use super::place::leads_to;
use super::recovery::{end_of, finish_replacement, write_epoch};
use super::sealed::seal;
use super::snapshots;
use super::{Layout, StorageError};
use crate::types::Zxid;
use crate::zab::{Memory, Payload, Snapshot, Storage};
use std::fs::File;
use std::path::PathBuf;

/// A new log file is begun when one has grown to this, in bytes.
const SEGMENT: u64 = 64 << 20;
/// So much is gathered before it is handed to the operating system, in bytes.
const GATHERED: usize = 1 << 20;

pub(super) struct Store<P: Payload, C> {
    pub(super) layout: Layout,
    pub(super) codec: C,
    pub(super) disk: Disk,
    /// The save that was taken last.
    saved: Storage<P>,
    log: Option<Segment>,
    /// Records that are not yet written.
    gathered: Vec<u8>,
    /// A snapshot that the history took in since it was last asked for.
    snapshot_due: Option<Snapshot<P::Snapshot>>,
}

/// The log file that is being written.
struct Segment {
    file: File,
    path: PathBuf,
    length: u64,
    /// Whether it holds anything that is not flushed.
    dirty: bool,
}

impl<P: Payload, C: Codec<P>> Store<P, C> {
    /// The store of a directory from which `saved` was recovered.
    pub(super) fn new(layout: Layout, codec: C, disk: Disk, saved: Storage<P>) -> Self {
        Self {
            layout,
            codec,
            disk,
            saved,
            log: None,
            gathered: Vec::new(),
            snapshot_due: None,
        }
    }

    pub(super) fn saved(&self) -> &Storage<P> {
        &self.saved
    }

    /// Whether taking this save would remove transactions: then no snapshot may be on its way.
    pub(super) fn removes(&self, next: &Storage<P>) -> bool {
        !matches!(diff(&self.saved.history, &next.history), Change::Append(_))
    }

    /// Notes durably whether the disk remembers everything.
    pub(super) fn set_memory(&mut self, memory: Memory) -> Result<(), StorageError> {
        if memory != self.saved.memory {
            lineage::write(&self.layout, &self.disk, memory, &self.saved.lineage)?;
            self.saved.memory = memory;
        }
        Ok(())
    }

    /// Takes a save. It is durable after [`Self::flush`].
    pub(super) fn take(&mut self, next: Storage<P>) -> Result<(), StorageError> {
        if next.accepted_epoch != self.saved.accepted_epoch {
            self.flush()?;
            let path = self.layout.accepted_epoch();
            write_epoch(&self.disk, &path, next.accepted_epoch)?;
        }
        let change = diff(&self.saved.history, &next.history);
        let after = match change {
            Change::Append(after) => after,
            Change::Truncate(to) => {
                self.flush()?;
                self.truncate(to)?;
                to
            }
            Change::Replace(zxid) => {
                self.flush()?;
                self.replace(next.history.snapshot())?;
                zxid
            }
        };
        if (&next.lineage, next.memory) != (&self.saved.lineage, self.saved.memory) {
            self.flush()?;
            lineage::write(&self.layout, &self.disk, next.memory, &next.lineage)?;
        }
        for entry in next.history.after(after) {
            let codec = &self.codec;
            append_record(&mut self.gathered, |bytes| codec.encode_entry(entry, bytes));
            if self.log.is_none() {
                self.begin_segment(entry.zxid)?;
            }
            if self.gathered.len() >= GATHERED {
                self.write_gathered()?;
            }
        }
        if next.current_epoch != self.saved.current_epoch {
            self.flush()?;
            let path = self.layout.current_epoch();
            write_epoch(&self.disk, &path, next.current_epoch)?;
        }
        let snapshot = next.history.snapshot();
        if snapshot.zxid != self.saved.history.snapshot().zxid
            && change != Change::Replace(snapshot.zxid)
        {
            self.snapshot_due = Some(snapshot.clone());
        }
        self.saved = next;
        Ok(())
    }

    /// Makes everything that was taken durable.
    pub(super) fn flush(&mut self) -> Result<(), StorageError> {
        self.write_gathered()?;
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        if log.dirty {
            self.disk.sync(&log.file, &log.path)?;
            log.dirty = false;
        }
        if log.length >= SEGMENT {
            self.log = None;
        }
        Ok(())
    }

    /// The snapshot to write, if there is a new one; the log goes on in a new file, so that the old
    /// one can be removed some day. Call it after a flush.
    pub(super) fn snapshot_due(&mut self) -> Result<Option<Snapshot<P::Snapshot>>, StorageError> {
        let due = self.snapshot_due.take();
        if due.is_some()
            && let Some(ended) = self.log.take()
        {
            leads_to(&ended.path, &ended.file)?;
        }
        Ok(due)
    }

    fn begin_segment(&mut self, first: Zxid) -> Result<(), StorageError> {
        let path = self.layout.log(first);
        let file = self.disk.create(&path)?;
        self.disk.append(&file, &path, &HEADER)?;
        self.log = Some(Segment {
            file,
            path,
            length: HEADER.len() as u64,
            dirty: true,
        });
        Ok(())
    }

    fn write_gathered(&mut self) -> Result<(), StorageError> {
        if let Some(log) = &mut self.log
            && !self.gathered.is_empty()
        {
            self.disk.append(&log.file, &log.path, &self.gathered)?;
            log.length += self.gathered.len() as u64;
            log.dirty = true;
            self.gathered.clear();
        }
        Ok(())
    }

    /// Removes every transaction above `to` from the log, the last ones first.
    fn truncate(&mut self, to: Zxid) -> Result<(), StorageError> {
        self.log = None;
        if let Some((zxid, file)) = self.layout.list_snapshots()?.pop()
            && zxid > to
        {
            return Err(StorageError::BelowSnapshot { file, to: to.0 });
        }
        for (first, path) in self.layout.list_logs()?.into_iter().rev() {
            if first > to {
                self.disk.remove(&path)?;
                continue;
            }
            match end_of(&path, &self.codec, to)? {
                Some(length) => self.disk.cut(&path, length)?,
                None => self.disk.remove(&path)?,
            }
            break;
        }
        Ok(())
    }

    /// Puts a snapshot in the place of the whole history.
    fn replace(&mut self, snapshot: &Snapshot<P::Snapshot>) -> Result<(), StorageError> {
        self.log = None;
        self.snapshot_due = None;
        let incoming = self.layout.incoming();
        snapshots::write(&self.layout, &self.codec, &self.disk, snapshot, &incoming)?;
        let target = self.layout.snapshot(snapshot.zxid);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        self.disk.write_file(&self.layout.replace_order(), |file| {
            file.write_all(seal(&name).as_bytes())
        })?;
        finish_replacement(&self.layout, &self.disk)?;
        tracing::info!("the history is replaced by a snapshot at {}", snapshot.zxid);
        Ok(())
    }
}
