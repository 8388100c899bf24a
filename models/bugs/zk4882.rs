//! ZOOKEEPER-4882: a server went on after a disk error, with a transaction in memory that its disk
//! lacked.
//!
//! What happened: a disk refused a write for a while. The others committed the transaction, and the
//! server had it in memory. It left, joined again, and told the leader of the last zxid in its
//! memory, so it was given what comes after; its log had a hole, and after a restart data was lost.
//!
//! The decision: what happens after an error of the disk. Here the runtime says Saved all the same:
//! the mutant `disk_error_ignored`.
//!
//! The invariant: `committed_survives`. A transaction is committed and is not on the disks of a
//! quorum.
//!
//! The bounds: one write and one disk error.
//!
//! What keeps us from it: the runtime never says Saved after an error; the server stops. What it
//! starts with again is what the disk has.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk4882",
    title: "committed in memory, missing on disk after an error",
    fate: Fate::Found(Trial {
        variant: Variant::DiskErrorIgnored,
        model: "zab",
        bounds: Bounds {
            disk_errors: 1,
            ..Bounds::new(3, 1, 0, 0).with_pending_saves()
        },
        invariant: "committed_survives",
    }),
    published: None,
};
