//! The thread that writes the log.
//!
//! Spec: `spec/6-server.md`, "Storage". What it must never do: report a save before it is flushed, or
//! report anything after the disk has failed once.

use super::format::Codec;
use super::snapshots::SnapshotWriter;
use super::store::Store;
use super::{DataDir, StorageError};
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
        match store.snapshot_due() {
            Ok(None) => {}
            Ok(Some(snapshot)) => snapshots.write(snapshot),
            Err(error) => return report(LogEvent::Failed(error)),
        }
    }
}
