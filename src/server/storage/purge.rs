//! Removing what newer snapshots have made superfluous.
//!
//! Spec: `spec/6-server.md`, "Snapshots". What it must never do: remove a file that the oldest snapshot
//! which is kept needs, or one of the last three snapshots.
//!
//! Departs from ZooKeeper: D40 in `spec/deviations.toml`.

use super::disk::Disk;
use super::{Layout, StorageError};
use std::time::Duration;

/// When old snapshots and logs are removed (`autopurge.purgeInterval`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purge {
    /// Whenever a new snapshot is durable.
    #[default]
    WithSnapshots,
    /// At the start, and then at this interval.
    Every(Duration),
    Never,
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
