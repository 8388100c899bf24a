//! The changes of the file system that must survive a power cut.
//!
//! Spec: `spec/6-server.md`, "Storage". What it must never do: return before the change is durable.
//!
//! Every change goes through here, so that a test can stop the server (cut the fuse) before any of
//! them and look at what recovery makes of the rest.

use super::StorageError;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    /// How many more changes succeed.
    #[cfg(test)]
    pub(super) fuse: Option<std::sync::Arc<std::sync::atomic::AtomicIsize>>,
}

impl Disk {
    fn step(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(fuse) = &self.fuse
            && fuse.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) <= 0
        {
            return Err(io::Error::other("the fuse is blown"));
        }
        Ok(())
    }

    pub(super) fn create_dir(&self, dir: &Path) -> Result<(), StorageError> {
        if dir.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(dir).map_err(StorageError::io("create", dir))?;
        dir.parent().map_or(Ok(()), |parent| self.sync_dir(parent))
    }

    pub(super) fn sync_dir(&self, dir: &Path) -> Result<(), StorageError> {
        self.step()
            .and_then(|()| File::open(dir)?.sync_all())
            .map_err(StorageError::io("flush", dir))
    }

    /// Writes a file under a temporary name, flushes it, gives it its name and flushes that: after a
    /// crash there is the old file or the new one, whole.
    pub(super) fn write_file(
        &self,
        path: &Path,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), StorageError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let write = || {
            self.step()?;
            let mut file = BufWriter::with_capacity(1 << 18, File::create(&temporary)?);
            content(&mut file)?;
            file.into_inner()
                .map_err(io::IntoInnerError::into_error)?
                .sync_all()
        };
        write().map_err(StorageError::io("write", &temporary))?;
        self.rename(&temporary, path)
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.step()
            .and_then(|()| fs::rename(from, to))
            .map_err(StorageError::io("rename", from))?;
        self.sync_parent(to)
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &Path) -> Result<(), StorageError> {
        match self.step().and_then(|()| fs::remove_file(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StorageError::io("remove", path)(error)),
            Ok(()) => self.sync_parent(path),
        }
    }

    /// Cuts a file to a length.
    pub(super) fn cut(&self, path: &Path, length: u64) -> Result<(), StorageError> {
        let cut = || {
            self.step()?;
            let file = File::options().write(true).open(path)?;
            file.set_len(length)?;
            file.sync_all()
        };
        cut().map_err(StorageError::io("cut", path))
    }

    /// Creates a file that must not be there yet; its name is durable when this returns.
    pub(super) fn create(&self, path: &Path) -> Result<File, StorageError> {
        let file = self
            .step()
            .and_then(|()| File::options().write(true).create_new(true).open(path))
            .map_err(StorageError::io("create", path))?;
        self.sync_parent(path)?;
        Ok(file)
    }

    /// Appends to an open file, not yet durably.
    pub(super) fn append(
        &self,
        mut file: &File,
        path: &Path,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        let result = self.step().and_then(|()| file.write_all(bytes));
        // A power cut may leave any part of what was not flushed: the test's disk keeps a half.
        #[cfg(test)]
        if result.is_err() {
            let _ = file.write_all(&bytes[..bytes.len() / 2]);
        }
        result.map_err(StorageError::io("write", path))
    }

    /// Makes the content of an open file durable.
    pub(super) fn sync(&self, file: &File, path: &Path) -> Result<(), StorageError> {
        self.step()
            .and_then(|()| file.sync_data())
            .map_err(StorageError::io("flush", path))
    }

    fn sync_parent(&self, path: &Path) -> Result<(), StorageError> {
        path.parent().map_or(Ok(()), |parent| self.sync_dir(parent))
    }
}
