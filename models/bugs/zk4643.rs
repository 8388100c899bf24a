//! ZOOKEEPER-4643: a follower's current epoch was updated before its history.
//!
//! What happened: on NEWLEADER a follower wrote its current epoch first and the transactions that it
//! had been sent afterwards. A crash between the two left a server with a new epoch and an old
//! history; it won the next election by its epoch, and what was committed was truncated everywhere.
//!
//! The decision: in which order the history and the current epoch become durable.

use super::{Bug, Fate, Published};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk4643",
    title: "current epoch durable before the history",
    fate: Fate::Found(Trial {
        variant: Variant::EpochBeforeHistory,
        model: "zab",
        bounds: Bounds::new(3, 1, 1, 0).with_pending_saves(),
        invariant: "initial_history",
    }),
    published: Some(Published {
        depth: 21,
        states: 208_018,
        seconds: Some(17),
    }),
};
