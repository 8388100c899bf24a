//! ZOOKEEPER-3642: a snapshot that was only half taken over, then DIFF, then a restart.
//!
//! What happened: a leader crashed after SNAP and before NEWLEADER. The follower had the snapshot in
//! memory, but writes it to disk at NEWLEADER. The next leader saw its last zxid and sent a DIFF
//! from there, which writes no snapshot. All went well until that follower restarted: what its disk
//! had began after a hole.
//!
//! The decision: whether a snapshot's zxid may become durable without its content. Here they are two
//! saves, the zxid first. What the real follower had in memory only, ours has lost by a crash
//! between the two; the rest is the same: its zxid says that it has everything, so it is given only
//! what comes after.
//!
//! The invariant: `local_primary_order`. The follower delivers the second transaction of a leader
//! without the first.
//!
//! The bounds: a write that is in the snapshot, and one after it; the snapshot; the crash between
//! the two saves. No leader has to fail: the server comes back to the same one.
//!
//! Where it would be stopped otherwise: a server with such a disk that leads is healed, since a
//! follower of a later current epoch sends it everything. ZOOKEEPER-3104 is the same hole with the
//! epoch durable as well, and there nothing heals it.
//!
//! What keeps us from it: a history that is replaced changes at one moment (D22), a message is taken
//! whole or not at all, and nothing that is in memory only is reported as held (`ack_epoch` waits
//! for every pending save).

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk3642",
    title: "a snapshot half taken over, then DIFF",
    fate: Fate::Found(Trial {
        variant: Variant::SnapInParts,
        model: "zab",
        bounds: Bounds {
            snapshots: 1,
            ..Bounds::new(3, 2, 0, 1).with_pending_saves()
        },
        invariant: "local_primary_order",
    }),
    published: None,
};
