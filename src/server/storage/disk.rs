//! The changes of the file system that must survive a power cut.
//!
//! Spec: `spec/6-server.md`, "Storage". What it must never do: return before the change is durable,
//! but for what is appended to an open file and not yet flushed.
//!
//! Every change is one [`Call`] to the operating system, so that tests can make any of them fail, or
//! happen in part, and know what a power cut may leave of all of them (`faults.rs`).
//!
//! Nothing is done in a directory that took the place of one that is in use, and no flush is reported of a file that
//! is no longer there: see [`super::place`].

use super::StorageError;
#[cfg(test)]
use super::faults::Faults;
use super::place::{Place, leads_to};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    /// The directories that are in use.
    places: Arc<[Place]>,
    #[cfg(test)]
    pub(super) faults: Option<std::sync::Arc<Faults>>,
}

/// A call to the operating system that changes what is on the disk.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), allow(dead_code))] // Only tests look into it.
pub(super) enum Call<'a> {
    /// There is an empty file of that name then.
    Create(&'a Path),
    Write(&'a Path, &'a [u8]),
    Sync(&'a Path),
    SetLength(&'a Path, u64),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
    SyncDir(&'a Path),
}

impl Disk {
    /// Carries out a call. `run` gets how many bytes are to be written, if it writes.
    #[cfg_attr(not(test), allow(clippy::unused_self))]
    fn call<T>(&self, call: Call<'_>, run: impl FnOnce(usize) -> io::Result<T>) -> io::Result<T> {
        #[cfg(test)]
        if let Some(faults) = &self.faults {
            return faults.call(call, run);
        }
        run(match call {
            Call::Write(_, bytes) => bytes.len(),
            _ => 0,
        })
    }

    /// From now on these directories must stay what they are.
    pub(super) fn stay_in(&mut self, dirs: &[PathBuf]) -> Result<(), StorageError> {
        let places: Result<_, _> = dirs.iter().map(|dir| Place::open(dir)).collect();
        self.places = places?;
        Ok(())
    }

    /// Fails if the directory of a file is no longer the one that is in use.
    fn check_place(&self, file: &Path) -> Result<(), StorageError> {
        let place = self
            .places
            .iter()
            .find(|place| file.parent() == Some(place.path()));
        place.map_or(Ok(()), Place::check)
    }

    /// Makes a directory, and those above it, if they are not there.
    pub(super) fn create_dir(&self, dir: &Path) -> Result<(), StorageError> {
        if dir.is_dir() || dir.as_os_str().is_empty() {
            return Ok(());
        }
        if let Some(above) = dir.parent() {
            self.create_dir(above)?;
        }
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(StorageError::io("create", dir)(error))
            }
            Ok(()) | Err(_) => self.sync_parent(dir),
        }
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync_dir(&self, dir: &Path) -> Result<(), StorageError> {
        self.call(Call::SyncDir(dir), |_| File::open(dir)?.sync_all())
            .map_err(StorageError::io("flush", dir))
    }

    /// Writes a file under a temporary name, flushes it, gives it its name and flushes that: after a
    /// crash there is the old file or the new one, whole.
    pub(super) fn write_file(
        &self,
        path: &Path,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), StorageError> {
        self.check_place(path)?;
        let temporary = temporary(path);
        let write = || {
            let file = self.call(Call::Create(&temporary), |_| File::create(&temporary))?;
            let appender = Appender {
                disk: self,
                file: &file,
                path: &temporary,
            };
            let mut buffer = BufWriter::with_capacity(1 << 18, appender);
            content(&mut buffer)?;
            buffer.flush()?;
            self.call(Call::Sync(&temporary), |_| file.sync_all())
        };
        let written = write().map_err(StorageError::io("write", &temporary));
        if let Err(error) = written.and_then(|()| self.rename(&temporary, path)) {
            // A disk that is full must not stay full of what nobody needs. If this fails too, the next
            // start removes it.
            let _ = self.remove(&temporary);
            return Err(error);
        }
        Ok(())
    }

    /// Gives a file another name in the same directory.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.call(Call::Rename(from, to), |_| fs::rename(from, to))
            .map_err(StorageError::io("rename", from))?;
        self.sync_parent(to)
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.check_place(path)?;
        match self.call(Call::Remove(path), |_| fs::remove_file(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StorageError::io("remove", path)(error)),
            Ok(()) => self.sync_parent(path),
        }
    }

    /// Cuts a file to a length.
    pub(super) fn cut(&self, path: &Path, length: u64) -> Result<(), StorageError> {
        let cut = || {
            let file = File::options().write(true).open(path)?;
            self.call(Call::SetLength(path, length), |_| file.set_len(length))?;
            self.call(Call::Sync(path), |_| file.sync_all())
        };
        cut().map_err(StorageError::io("cut", path))
    }

    /// Creates a file that must not be there yet; its name is durable when this returns.
    pub(super) fn create(&self, path: &Path) -> Result<File, StorageError> {
        self.check_place(path)?;
        let new = || File::options().write(true).create_new(true).open(path);
        let file = self
            .call(Call::Create(path), |_| new())
            .map_err(StorageError::io("create", path))?;
        self.sync_parent(path)?;
        Ok(file)
    }

    /// Appends to an open file, not yet durably.
    pub(super) fn append(
        &self,
        file: &File,
        path: &Path,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        let disk = self;
        let mut appender = Appender { disk, file, path };
        appender
            .write_all(bytes)
            .map_err(StorageError::io("write", path))
    }

    /// Makes the content of an open file durable, where the next start looks for it.
    pub(super) fn sync(&self, file: &File, path: &Path) -> Result<(), StorageError> {
        self.call(Call::Sync(path), |_| file.sync_data())
            .map_err(StorageError::io("flush", path))?;
        leads_to(path, file)
    }

    fn sync_parent(&self, path: &Path) -> Result<(), StorageError> {
        match path.parent() {
            None => Ok(()),
            Some(parent) if parent.as_os_str().is_empty() => self.sync_dir(Path::new(".")),
            Some(parent) => self.sync_dir(parent),
        }
    }
}

/// The name that a file has until it is whole.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// A file that is written by calls to a [`Disk`].
struct Appender<'a> {
    disk: &'a Disk,
    file: &'a File,
    path: &'a Path,
}

impl Write for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.file;
        self.disk.call(Call::Write(self.path, bytes), |length| {
            file.write_all(&bytes[..length]).map(|()| bytes.len())
        })
    }

    /// Nothing is held back here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
