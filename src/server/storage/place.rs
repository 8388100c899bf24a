//! Whether a path still leads to what was opened there.
//!
//! Spec: `spec/6-server.md`, "Storage", S8. What it must never do: take another file or directory of the same name
//! for the one that is open.
//!
//! A file that is open can be moved or removed, and so can the directory that it is in. Writes go on as before, and
//! nobody finds them again.

use super::StorageError;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A directory that is in use. It is held open, so that no new one gets its number.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    dir: File,
}

impl Place {
    /// The directory that the path leads to now.
    pub(super) fn open(path: &Path) -> Result<Self, StorageError> {
        let dir = File::open(path).map_err(StorageError::io("open", path))?;
        let path = path.to_owned();
        Ok(Self { path, dir })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if the path leads elsewhere by now.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        leads_to(&self.path, &self.dir)
    }
}

/// Fails if a path does not lead to an open file (any more).
pub(super) fn leads_to(path: &Path, file: &File) -> Result<(), StorageError> {
    let opened = file.metadata().map_err(StorageError::io("look at", path))?;
    let identity = |file: &Metadata| (file.dev(), file.ino());
    match fs::metadata(path) {
        Ok(found) if identity(&found) == identity(&opened) => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io("look at", path)(error))
        }
        Ok(_) | Err(_) => Err(StorageError::Moved {
            path: path.to_owned(),
        }),
    }
}
