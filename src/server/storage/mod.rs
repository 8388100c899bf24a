//! The data directory of a server: epochs, transaction log and snapshots, in ZooKeeper's own layout.
//!
//! Spec: `spec/6-server.md`, "Storage". What it must never do: report a save as durable before it
//! is, drop a transaction that was reported, or bring back one that was removed.
//!
//! ```text
//! dataDir/keepright.lock              held while a server runs
//! dataDir/version-2/acceptedEpoch     decimal, and a line with a checksum
//! dataDir/version-2/currentEpoch      likewise
//! dataDir/version-2/keepright.lineage the names of the epochs; see `lineage.rs`
//! dataDir/version-2/snapshot.<zxid>   everything up to that zxid; with .gz or .snappy if compressed
//! dataLogDir/version-2/log.<zxid>     transactions from that zxid on
//! */version-2/keepright.snapshots, keepright.logs   marks: which two belong together
//! ```
//!
//! A history is replaced as a whole (SNAP) by way of one more file: the head of `store.rs` says how.

mod compress;
mod diff;
#[cfg(test)]
mod digest_tests;
mod disk;
pub mod dump;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod faults;
pub mod format;
pub mod inspect;
mod lineage;
mod pairing;
mod place;
mod purge;
mod recovery;
mod sealed;
mod snapshots;
mod store;
mod theirs;
mod writer;
#[cfg(test)]
mod writer_tests;
mod zookeeper;

#[cfg(test)]
mod pairing_tests;
#[cfg(test)]
mod place_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod zookeeper_tests;

pub use compress::Compression;
pub use format::{Codec, Mismatch};
pub use purge::Purge;
pub use writer::{LogEvent, LogWriter};
pub use zookeeper::ZooKeeperCodec;

use crate::types::Zxid;
use crate::zab::{Lineage, Memory, Payload, Storage};
use disk::Disk;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Why the data directory cannot be used (any more).
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("cannot {what} {}: {source}; {}, then start again", path.display(), remedy(source))]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "{} is damaged at offset {offset}: {problem}; what follows cannot be trusted. If the other \
         servers are well, move this server's data directory away and let it learn anew; else \
         restore the file from a copy",
        file.display()
    )]
    Damaged {
        file: PathBuf,
        offset: u64,
        problem: String,
    },
    #[error(
        "transactions are missing: {} continues at zxid 0x{found:x}, but what is before it ends at \
         zxid 0x{end:x}; put the missing log or snapshot file back, or move this server's data \
         directory away and let it learn anew from the others",
        file.display()
    )]
    Gap { file: PathBuf, end: u64, found: u64 },
    #[error(
        "no snapshot can be read ({problem}), and the log alone does not hold everything; restore \
         {} from a copy, or move this server's data directory away and let it learn anew",
        file.display()
    )]
    NoSnapshot { file: PathBuf, problem: String },
    #[error(
        "transactions are missing: epoch {epoch} goes on from zxid 0x{after:x}, but {}, which is before it, ends at zxid \
         0x{end:x}; put the missing log or snapshot file back, or move this server's data directory away and let it \
         learn anew from the others",
        dir.display()
    )]
    EpochGap {
        dir: PathBuf,
        epoch: u32,
        after: u64,
        end: u64,
    },
    #[error(
        "there is no snapshot, and {} begins at zxid 0x{found:x}: what was before that is missing; put the \
         snapshots back (or the logs from the first one on), or move this server's data directory away and \
         let it learn anew from the others",
        file.display()
    )]
    NoBeginning { file: PathBuf, found: u64 },
    #[error(
        "{}: from zxid 0x{:x} on the data is not what the server had that wrote it (digest 0x{:x}, and 0x{:x} is \
          written): a file before it is missing or is another ensemble's. Put the right log and snapshot files back, or move \
          this server's data directory away and let it learn anew from the others; as the last resort `digest.enabled=false` \
          starts with what there is",
         file.display(), mismatch.zxid.0, mismatch.found, mismatch.written
     )]
    Differs { file: PathBuf, mismatch: Mismatch },
    #[error("{} is damaged: {problem}", file.display())]
    Unreadable { file: PathBuf, problem: String },
    #[error(
        "{} holds `{text}`, which {problem}; restore it from a copy, or move this server's data \
         directory away and let it learn anew",
        file.display()
    )]
    Epoch {
        file: PathBuf,
        text: String,
        problem: String,
    },
    #[error(
        "another server uses {} (its lock file is held); stop it, or give this server a dataDir of \
         its own",
        dir.display()
    )]
    Locked { dir: PathBuf },
    #[error("{problem} (dataDir {}, dataLogDir {}); {remedy}", data_dir.display(), log_dir.display())]
    Apart {
        data_dir: PathBuf,
        log_dir: PathBuf,
        problem: String,
        remedy: String,
    },
    #[error(
        "{} is not what this server has opened there: it was moved, removed or replaced while the server ran, and \
         the next start would not find what is written now. Put it back as it was, then start again",
        path.display()
    )]
    Moved { path: PathBuf },
    #[error(
        "{} is not there, and datadir.autocreate=false forbids to make it; mount or make it, or remove the key",
        dir.display()
    )]
    Missing { dir: PathBuf },
    #[error("{} holds a newer state than the log may be cut to (zxid 0x{to:x})", file.display())]
    BelowSnapshot { file: PathBuf, to: u64 },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let the server write there"
        }
        _ => "mend the disk",
    }
}

impl StorageError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// Where the files are, how they are written, and how many are kept.
#[derive(Clone, Debug)]
pub struct Layout {
    /// `dataDir`
    pub data_dir: PathBuf,
    /// `dataLogDir`
    pub log_dir: PathBuf,
    /// Snapshots to keep; older ones, and logs that only they need, are removed.
    pub retain: usize,
    /// When they are removed.
    pub purge: Purge,
    /// How snapshots are written. They are read whatever they are.
    pub compression: Compression,
}

impl Layout {
    /// Whether the directories are there, for who forbids that they are made.
    ///
    /// # Errors
    /// If one is missing.
    pub fn must_exist(&self) -> Result<(), StorageError> {
        let mut dirs = [self.logs(), self.snapshots()].into_iter();
        match dirs.find(|dir| !dir.is_dir()) {
            Some(dir) => Err(StorageError::Missing { dir }),
            None => Ok(()),
        }
    }

    fn snapshots(&self) -> PathBuf {
        self.data_dir.join("version-2")
    }

    fn logs(&self) -> PathBuf {
        self.log_dir.join("version-2")
    }

    fn accepted_epoch(&self) -> PathBuf {
        self.snapshots().join("acceptedEpoch")
    }

    fn current_epoch(&self) -> PathBuf {
        self.snapshots().join("currentEpoch")
    }

    fn lineage(&self) -> PathBuf {
        self.snapshots().join("keepright.lineage")
    }

    fn snapshot(&self, zxid: Zxid) -> PathBuf {
        let suffix = self.compression.suffix();
        self.snapshots()
            .join(format!("snapshot.{:x}{suffix}", zxid.0))
    }

    fn log(&self, first: Zxid) -> PathBuf {
        self.logs().join(format!("log.{:x}", first.0))
    }

    /// A snapshot on its way to replace the whole history, and the word that it does.
    fn incoming(&self) -> PathBuf {
        self.snapshots().join("keepright.incoming")
    }

    fn replace_order(&self) -> PathBuf {
        self.snapshots().join("keepright.replace")
    }

    /// Gives the directories of a server that does not run other names, and leaves empty ones that say so. Returns the
    /// old and the new names.
    ///
    /// # Errors
    /// If a server runs on them, or the file system refuses.
    pub fn put_aside(&self) -> Result<Vec<(PathBuf, PathBuf)>, StorageError> {
        let _locks = self.lock()?;
        let disk = Disk::default();
        let mut dirs = vec![self.snapshots(), self.logs()];
        dirs.dedup();
        let free = |number: &u32| dirs.iter().all(|dir| !aside(dir, *number).exists());
        let number = (1..).find(free).unwrap_or_default();
        let mut moved = Vec::new();
        for dir in dirs {
            let to = aside(&dir, number);
            disk.rename(&dir, &to)?;
            disk.create_dir(&dir)?;
            moved.push((dir, to));
        }
        lineage::write(self, &disk, Memory::Forgot, &Lineage::default())?;
        Ok(moved)
    }

    /// The locks of the directories.
    fn lock(&self) -> Result<Vec<File>, StorageError> {
        let mut locks = vec![lock(&self.data_dir)?];
        if self.log_dir != self.data_dir {
            locks.push(lock(&self.log_dir)?);
        }
        Ok(locks)
    }

    /// The snapshot files with their zxids, oldest first.
    fn list_snapshots(&self) -> Result<Vec<(Zxid, PathBuf)>, StorageError> {
        list(&self.snapshots(), "snapshot.")
    }

    /// The log files with the zxids of their names, oldest first.
    fn list_logs(&self) -> Result<Vec<(Zxid, PathBuf)>, StorageError> {
        list(&self.logs(), "log.")
    }
}

fn list(dir: &Path, prefix: &str) -> Result<Vec<(Zxid, PathBuf)>, StorageError> {
    let mut files = Vec::new();
    for entry in dir.read_dir().map_err(StorageError::io("list", dir))? {
        let entry = entry.map_err(StorageError::io("list", dir))?;
        let name = entry.file_name();
        if let Some(zxid) = name.to_str().and_then(|name| zxid_of(name, prefix)) {
            files.push((zxid, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// What a directory is called that was put aside.
fn aside(dir: &Path, number: u32) -> PathBuf {
    dir.with_file_name(format!("version-2.aside-{number}"))
}

/// The zxid in the name of a file.
fn zxid_of(name: &str, prefix: &str) -> Option<Zxid> {
    let rest = name.strip_prefix(prefix)?;
    let suffixes = [Compression::Gzip, Compression::Snappy].map(Compression::suffix);
    let hex = suffixes.iter().find_map(|suffix| rest.strip_suffix(suffix));
    u64::from_str_radix(hex.unwrap_or(rest), 16).ok().map(Zxid)
}

/// A data directory that this process holds.
pub struct DataDir<P: Payload, C> {
    store: store::Store<P, C>,
    locks: Vec<File>,
    notes: Vec<String>,
}

impl<P: Payload, C: Codec<P>> DataDir<P, C> {
    /// Locks the directories (which are made if need be) and recovers what they hold.
    ///
    /// # Errors
    /// If another server holds the lock, if a file is damaged before its tail or missing, or if the
    /// disk fails.
    pub fn open(layout: Layout, codec: C) -> Result<Self, StorageError> {
        Self::open_on(layout, codec, Disk::default())
    }

    fn open_on(layout: Layout, codec: C, mut disk: Disk) -> Result<Self, StorageError> {
        for dir in [layout.snapshots(), layout.logs()] {
            disk.create_dir(&dir)?;
        }
        let locks = layout.lock()?;
        disk.stay_in(&[layout.snapshots(), layout.logs()])?;
        pairing::join(&layout, &disk)?;
        let recovered = recovery::recover(&layout, &codec, &disk)?;
        Ok(Self {
            store: store::Store::new(layout, codec, disk, recovered.storage),
            locks,
            notes: recovered.notes,
        })
    }

    /// What was recovered.
    pub fn storage(&self) -> &Storage<P> {
        self.store.saved()
    }

    /// Says whether the disk of this server holds all that it has ever promised, where recovery could not know.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn set_memory(&mut self, memory: Memory) -> Result<(), StorageError> {
        self.store.set_memory(memory)
    }

    /// What recovery had to mend, in words for the log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

fn lock(dir: &Path) -> Result<File, StorageError> {
    let path = dir.join("keepright.lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(StorageError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StorageError::Locked {
            dir: dir.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(error)) => Err(StorageError::io("lock", &path)(error)),
    }
}
