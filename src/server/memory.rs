//! What a server that starts with an empty directory takes itself for.
//!
//! Spec: `spec/10-lineage.md`, "A disk that forgets"; ZooKeeper's `db.autocreate` and its file `initialize`. What it must never do: let a server
//! whose disk may have forgotten something count as one that remembers, unless somebody says so.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // Files are the server's.

use super::config::Config;
use super::storage::{DataDir, StorageError, ZooKeeperCodec};
use crate::service::ZooKeeper;
use crate::types::Epoch;
use crate::zab::Memory;

/// The file beside `version-2` by which an operator says that a server is new.
const INITIALIZE: &str = "initialize";

/// Decides whether the directory remembers all that this server has ever promised.
///
/// # Errors
/// If the disk fails.
pub(super) fn settle(
    config: &Config,
    dir: &mut DataDir<ZooKeeper, ZooKeeperCodec>,
) -> Result<(), StorageError> {
    let file = config.data_dir.join(INITIALIZE);
    let told = file.exists();
    let memory = match dir.storage().memory {
        Memory::Kept => Memory::Kept,
        // Whoever decides alone has nobody who could know better.
        Memory::New | Memory::Forgot if config.members.is_none() => Memory::Kept,
        Memory::New | Memory::Forgot if told => {
            tracing::info!("{}: this server is new, and counts at once", file.display());
            Memory::Kept
        }
        // It has been in an epoch, and is not empty any more.
        Memory::New if dir.storage().current_epoch > Epoch(0) => Memory::New,
        Memory::New if !config.db_autocreate => {
            tracing::warn!(
                "the directory {} is empty, and db.autocreate=false: this server counts in no quorum until a leader has brought it \
                 up to date. If it is new, say so by an empty file {}",
                config.data_dir.display(),
                file.display()
            );
            Memory::Forgot
        }
        Memory::New => Memory::New,
        Memory::Forgot => {
            tracing::warn!(
                "the directory of this server was empty when others had data: it counts in no quorum until a leader has brought it \
                 up to date"
            );
            Memory::Forgot
        }
    };
    dir.set_memory(memory)?;
    if told && let Err(error) = std::fs::remove_file(&file) {
        tracing::warn!(
            "{} cannot be removed: {error}; remove it, for it is not meant to last",
            file.display()
        );
    }
    Ok(())
}
