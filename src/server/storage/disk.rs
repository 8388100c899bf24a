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
    #[cfg(test)]
    pub(super) fuse: Option<std::sync::Arc<fuse::Fuse>>,
}

impl Disk {
    fn step(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(fuse) = &self.fuse {
            return fuse.step(None);
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
        #[cfg(test)]
        if let Some(fuse) = &self.fuse {
            fuse.on_append(file, path);
        }
        self.step()
            .and_then(|()| file.write_all(bytes))
            .map_err(StorageError::io("write", path))
    }

    /// Makes the content of an open file durable.
    pub(super) fn sync(&self, file: &File, path: &Path) -> Result<(), StorageError> {
        #[cfg(test)]
        if let Some(fuse) = &self.fuse {
            let flushed = fuse.step(Some(path)).and_then(|()| file.sync_data());
            return flushed.map_err(StorageError::io("flush", path));
        }
        file.sync_data().map_err(StorageError::io("flush", path))
    }

    fn sync_parent(&self, path: &Path) -> Result<(), StorageError> {
        path.parent().map_or(Ok(()), |parent| self.sync_dir(parent))
    }
}

/// Power cuts for tests.
#[cfg(test)]
pub(super) mod fuse {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    /// Lets a number of changes pass; then the power is cut: every later change fails, and of what was
    /// appended and not flushed a half is there.
    #[derive(Debug, Default)]
    pub(in super::super) struct Fuse(Mutex<State>);

    #[derive(Debug, Default)]
    struct State {
        left: usize,
        blown: bool,
        /// The lengths of files, as far as they are flushed, in which there is more.
        flushed: BTreeMap<PathBuf, u64>,
    }

    impl Fuse {
        pub(in super::super) fn new(left: usize) -> Self {
            Self(Mutex::new(State {
                left,
                ..State::default()
            }))
        }

        pub(in super::super) fn is_blown(&self) -> bool {
            self.0.lock().unwrap().blown
        }

        /// A change, or the flush of a file: then what it holds is there from this moment on.
        pub(super) fn step(&self, flush: Option<&Path>) -> io::Result<()> {
            let mut state = self.0.lock().unwrap();
            if let Some(left) = state.left.checked_sub(1) {
                state.left = left;
                if let Some(path) = flush {
                    state.flushed.remove(path);
                }
                return Ok(());
            }
            state.blown = true;
            for (path, flushed) in std::mem::take(&mut state.flushed) {
                let file = File::options().write(true).open(path)?;
                let length = file.metadata()?.len();
                file.set_len(flushed + (length - flushed) / 2)?;
            }
            Err(io::Error::other("the fuse is blown"))
        }

        pub(super) fn on_append(&self, file: &File, path: &Path) {
            let length = file.metadata().unwrap().len();
            let mut state = self.0.lock().unwrap();
            state.flushed.entry(path.to_owned()).or_insert(length);
        }
    }
}
