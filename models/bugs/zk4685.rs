//! ZOOKEEPER-4685: the ACK of a proposal reached the leader before the ACK of NEWLEADER.
//!
//! What happened: on NEWLEADER a follower hands the transactions that it was sent during
//! synchronization to the thread that writes the log, and that thread acknowledges each. The thread that
//! synchronizes acknowledges NEWLEADER. Nobody orders the two. A leader that waits for the latter and is
//! told the former counts the follower as not synchronized, and may give up although all are well.
//!
//! The decision: whether the transactions of synchronization may be acknowledged before the epoch itself
//! is durable. A leader of ours does not give up then. It does worse: since there is one kind of Ack, it
//! takes the follower for synchronized.
//!
//! The invariant, `acknowledged_is_held`: what a leader counts as acknowledged is on the disk of the
//! server that acknowledged it, with the epoch.
//!
//! The bounds: a transaction in an initial history (a write and a new term), and pending saves: durable at
//! once, the epoch leaves no room for anything before it.
//!
//! What keeps us from it: there is one cumulative Ack (D01). It speaks of the epoch and of the history
//! together, and is not said before the epoch is durable, which comes after its history.

use super::{Bug, Fate, Published};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk4685",
    title: "a transaction is acknowledged before NEWLEADER is",
    fate: Fate::Found(Trial {
        variant: Variant::AckBeforeEpoch,
        model: "zab",
        bounds: Bounds::new(3, 1, 1, 0).with_pending_saves(),
        invariant: "acknowledged_is_held",
    }),
    published: Some(Published {
        depth: 12,
        states: 67_418,
        seconds: Some(10),
    }),
};
