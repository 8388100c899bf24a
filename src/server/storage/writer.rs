//! The threads that write: one for the log, one for snapshots.
//!
//! Spec: `spec/6-server.md`, "Storage". What it must never do: report a save before it is flushed, or
//! report anything after the disk has failed once.

use super::disk::Disk;
use super::format::Codec;
use super::store::Store;
use super::{DataDir, Layout, StorageError};
use crate::zab::{Payload, Snapshot, Storage};
use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

/// Saves that share a flush, at most: under endless load somebody must be told some time.
const GROUP: usize = 1024;

/// What the log writer has to say.
#[derive(Debug)]
pub enum LogEvent {
    /// That many of the oldest saves that were pending are durable.
    Saved(usize),
    /// The disk has failed: nothing more will ever be reported.
    Failed(StorageError),
}

/// The log writer of a server. Dropping it flushes what is queued.
pub struct LogWriter<P: Payload> {
    queue: Option<Sender<Storage<P>>>,
    thread: Option<JoinHandle<()>>,
    /// Held until everything is written.
    _locks: Vec<File>,
}

impl<P: Payload> LogWriter<P>
where
    Storage<P>: Send,
    Snapshot<P::Snapshot>: Send,
{
    /// Starts the threads over an open directory. `report` is called on the log writer's thread.
    ///
    /// # Errors
    /// If the operating system has no thread for it.
    pub fn spawn<C: Codec<P>>(
        dir: DataDir<P, C>,
        report: impl FnMut(LogEvent) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, saves) = channel();
        let mut store = dir.store;
        let snapshots = SnapshotWriter::spawn(
            store.layout.clone(),
            store.codec.clone(),
            store.disk.clone(),
        )?;
        let thread = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_log(&mut store, &saves, &snapshots, report))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            _locks: dir.locks,
        })
    }

    /// Queues a save. Never waits.
    pub fn save(&self, storage: Storage<P>) {
        // The thread is gone only after it has reported the failure that ends this server.
        if let Some(queue) = &self.queue {
            let _ = queue.send(storage);
        }
    }
}

impl<P: Payload> Drop for LogWriter<P> {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Takes what is queued, flushes once, reports; until the queue is closed or the disk fails.
fn write_log<P: Payload, C: Codec<P>>(
    store: &mut Store<P, C>,
    saves: &Receiver<Storage<P>>,
    snapshots: &SnapshotWriter<P::Snapshot>,
    mut report: impl FnMut(LogEvent),
) {
    while let Ok(first) = saves.recv() {
        let mut count = 0;
        let batch = std::iter::once(first).chain(saves.try_iter().take(GROUP));
        let result = (|| {
            for save in batch {
                if store.removes(&save) {
                    snapshots.wait();
                }
                store.take(save)?;
                count += 1;
            }
            store.flush()
        })();
        if let Err(error) = result {
            report(LogEvent::Failed(error));
            return;
        }
        report(LogEvent::Saved(count));
        if let Some(snapshot) = store.snapshot_due() {
            snapshots.write(snapshot);
        }
    }
}

/// The thread that writes the snapshots of a history that goes on.
struct SnapshotWriter<S> {
    queue: Option<Sender<Job<S>>>,
    thread: Option<JoinHandle<()>>,
}

enum Job<S> {
    Write(Snapshot<S>),
    /// Says when everything before is done.
    Wait(Sender<()>),
}

impl<S: 'static> SnapshotWriter<S> {
    fn spawn<P: Payload<Snapshot = S>, C: Codec<P>>(
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
            .spawn(move || {
                for job in jobs {
                    match job {
                        Job::Write(snapshot) => write_snapshot(&layout, &codec, &disk, &snapshot),
                        // Who asked may be gone.
                        Job::Wait(done) => drop(done.send(())),
                    }
                }
            })?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    fn write(&self, snapshot: Snapshot<S>) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(Job::Write(snapshot));
        }
    }

    fn wait(&self) {
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

/// Writes a snapshot and removes what it makes superfluous. A failure is no reason to stop: the log
/// still holds everything.
pub(super) fn write_snapshot<P: Payload, C: Codec<P>>(
    layout: &Layout,
    codec: &C,
    disk: &Disk,
    snapshot: &Snapshot<P::Snapshot>,
) {
    let path = layout.snapshot(snapshot.zxid);
    let written = disk
        .write_file(&path, |file| codec.write_snapshot(snapshot, file))
        .and_then(|()| purge(layout, disk));
    match written {
        Ok(()) => tracing::info!("snapshot {} written", path.display()),
        Err(error) => tracing::error!("no snapshot was written: {error}"),
    }
}

/// Removes all but the newest snapshots, and the log files that none of those needs.
pub(super) fn purge(layout: &Layout, disk: &Disk) -> Result<(), StorageError> {
    let mut snapshots = layout.list_snapshots()?;
    let Some(oldest) = snapshots.len().checked_sub(layout.retain) else {
        return Ok(());
    };
    let kept = snapshots.split_off(oldest);
    for (_, path) in snapshots {
        disk.remove(&path)?;
    }
    let Some((oldest, _)) = kept.first() else {
        return Ok(());
    };
    let logs = layout.list_logs()?;
    // The last file that begins at or before the oldest snapshot may reach beyond it.
    let needed = logs
        .iter()
        .rposition(|(first, _)| first <= oldest)
        .unwrap_or(0);
    for (_, path) in &logs[..needed] {
        disk.remove(path)?;
    }
    Ok(())
}
