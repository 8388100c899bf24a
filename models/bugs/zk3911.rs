//! ZOOKEEPER-3911: what came with DIFF was durable only after UPTODATE.
//!
//! What happened: a follower kept the transactions of a DIFF in memory until it was told UPTODATE, and
//! acknowledged NEWLEADER before. The leader counted a quorum, took its history for committed and served
//! clients. If the followers crashed then, they restarted without that history and could form a quorum
//! with a leader that lacked it.
//!
//! The decision: when what a learner is synchronized to is handed over to be saved: at once, or when it
//! is told that it is up to date.
//!
//! The invariant, `leader_completeness`: a new leader holds everything that earlier epochs delivered.
//!
//! The bounds: a write and a new term, so that a DIFF carries something; and the crash that loses it. A
//! second crash does instead of the timeout. Neither one fault nor two servers suffice.
//!
//! What keeps us from it: `on_sync` and `on_new_leader` save before they say anything, and what they say waits
//! until that is durable.

use super::{Bug, Fate, Published};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk3911",
    title: "synchronized transactions are durable only after UPTODATE",
    fate: Fate::Found(Trial {
        variant: Variant::SaveAtUpToDate,
        model: "zab",
        bounds: Bounds::new(3, 1, 1, 1),
        invariant: "leader_completeness",
    }),
    published: Some(Published {
        depth: 14,
        states: 286_286,
        seconds: None,
    }),
};
