//! Snapshot files, and the thread that writes those of a history that goes on.
//!
//! Spec: `spec/6-server.md`, "Snapshots". What it must never do: hold up the log or the event loop, or
//! give a file its name before it is durable.
//!
//! A snapshot is a value that shares with the living tree what is equal: nobody waits while it is
//! written.

use super::compress;
use super::disk::Disk;
use super::format::Codec;
use super::purge::{Purge, purge};
use super::{Layout, StorageError};
use crate::types::Zxid;
use crate::zab::{Payload, Snapshot};
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Writes a snapshot to a file, durably and under its name at once.
pub(super) fn write<P: Payload, C: Codec<P>>(
    layout: &Layout,
    codec: &C,
    disk: &Disk,
    snapshot: &Snapshot<P::Snapshot>,
    path: &Path,
) -> Result<(), StorageError> {
    disk.write_file(path, |file| {
        let compression = layout.compression;
        compression.write(file, |out| codec.write_snapshot(snapshot, out))
    })
}

/// Reads a snapshot file, compressed or not. The error says what is wrong with it.
pub(super) fn read<P: Payload, C: Codec<P>>(
    codec: &C,
    zxid: Zxid,
    path: &Path,
) -> Result<P::Snapshot, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    compress::read(file, |input| codec.read_snapshot(zxid, input))
}

/// Writes a snapshot and removes what it makes superfluous. A failure is no reason to stop: the log
/// still holds everything.
pub(super) fn write_and_purge<P: Payload, C: Codec<P>>(
    layout: &Layout,
    codec: &C,
    disk: &Disk,
    snapshot: &Snapshot<P::Snapshot>,
) {
    let path = layout.snapshot(snapshot.zxid);
    match write(layout, codec, disk, snapshot, &path) {
        Ok(()) => tracing::info!("snapshot {} written", path.display()),
        Err(error) => return tracing::error!("no snapshot was written: {error}"),
    }
    if layout.purge == Purge::WithSnapshots {
        purge_and_tell(layout, disk);
    }
}

fn purge_and_tell(layout: &Layout, disk: &Disk) {
    if let Err(error) = purge(layout, disk) {
        tracing::error!("old snapshots and logs are not all removed: {error}");
    }
}

/// The thread that writes the snapshots of a history that goes on, and purges.
pub(super) struct SnapshotWriter<S> {
    queue: Option<Sender<Job<S>>>,
    thread: Option<JoinHandle<()>>,
}

enum Job<S> {
    Write(Snapshot<S>),
    /// Says when everything before is done.
    Wait(Sender<()>),
}

impl<S: 'static> SnapshotWriter<S> {
    pub(super) fn spawn<P: Payload<Snapshot = S>, C: Codec<P>>(
        layout: Layout,
        codec: C,
        disk: Disk,
    ) -> std::io::Result<Self>
    where
        Snapshot<S>: Send,
    {
        let (queue, jobs) = channel::<Job<S>>();
        let thread = thread::Builder::new()
            .name("snapshot".to_owned())
            .spawn(move || work(&layout, &codec, &disk, &jobs))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    pub(super) fn write(&self, snapshot: Snapshot<S>) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(Job::Write(snapshot));
        }
    }

    pub(super) fn wait(&self) {
        let (done, wait) = channel();
        if let Some(queue) = &self.queue
            && queue.send(Job::Wait(done)).is_ok()
        {
            // An error says that the thread is gone: then nothing is on its way either.
            let _ = wait.recv();
        }
    }
}

impl<S> Drop for SnapshotWriter<S> {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Does what is asked for, and purges at its interval, until the queue is closed.
fn work<P: Payload, C: Codec<P>>(
    layout: &Layout,
    codec: &C,
    disk: &Disk,
    jobs: &Receiver<Job<P::Snapshot>>,
) {
    let interval = match layout.purge {
        Purge::Every(interval) => {
            purge_and_tell(layout, disk);
            interval
        }
        Purge::WithSnapshots | Purge::Never => Duration::MAX,
    };
    let mut purged = Instant::now();
    loop {
        match jobs.recv_timeout(interval.saturating_sub(purged.elapsed())) {
            Ok(Job::Write(snapshot)) => write_and_purge(layout, codec, disk, &snapshot),
            // Who asked may be gone.
            Ok(Job::Wait(done)) => drop(done.send(())),
            Err(RecvTimeoutError::Timeout) => {
                purge_and_tell(layout, disk);
                purged = Instant::now();
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
