//! ZOOKEEPER-3104: NEWLEADER was sent before the content of a snapshot.
//!
//! What happened: a leader queued NEWLEADER and then wrote the snapshot, which by then could include
//! later transactions. So a follower could write a snapshot file whose zxid promised more than its
//! content held, and acknowledge. If it crashed before the rest came, nobody sent that again: its
//! last zxid said that it had everything.
//!
//! The decision: when a snapshot's zxid and the new current epoch may become durable. Here both are
//! saved before the content. The production server keeps history and epochs as one value and
//! replaces a history in one moment (D22), so the variant makes two saves of one.
//!
//! The invariant: `initial_history`. A disk claims to be in the epoch without what the epoch began
//! with. The state falls as it stands: the crash that would make it last is not needed, nor the
//! second one that would make that server win the next election.
//!
//! The bounds: one write; its snapshot, so that it is sent as SNAP; the crash of the leader, so that it
//! belongs to the initial history of the next epoch (a timeout does as well); pending saves, since the
//! moment between two saves is what this is about.
//!
//! What keeps us from it: the learner takes over an epoch only when its history ends where NewLeader
//! says, the snapshot and its zxid are one value, and saves become durable in order.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk3104",
    title: "NEWLEADER counts before the content of the snapshot is there",
    fate: Fate::Found(Trial {
        variant: Variant::NewLeaderBeforeSnap,
        model: "zab",
        bounds: Bounds {
            snapshots: 1,
            ..Bounds::new(3, 1, 0, 1).with_pending_saves()
        },
        invariant: "initial_history",
    }),
    published: None,
};
