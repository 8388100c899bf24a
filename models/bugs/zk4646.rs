//! ZOOKEEPER-4646: NEWLEADER was acknowledged before the history was flushed.
//!
//! What happened: on NEWLEADER a follower handed the transactions of the synchronization to the thread
//! that writes the log, and acknowledged without waiting for it. With a quorum of such acknowledgements
//! the leader served. Then the followers crashed, restarted without those transactions, and formed a
//! quorum: what had been committed was gone. (The fix of ZOOKEEPER-3911 had left this window open.)
//!
//! The decision: whether an acknowledgement waits until what it names is durable.
//!
//! The invariant, `initial_history_integrity`: what an epoch began with is part of what every later
//! epoch begins with. In the counterexample epoch 2 begins with 1.1, acknowledged by a follower that has
//! nothing of it on disk; it crashes, leads, and epoch 3 begins with nothing. That something is said too
//! early, `durable_before_said`, falls much sooner: `check mutants ack_before_saved`.
//!
//! The bounds: an epoch that begins with a transaction (a write and a new term), and the crash. With any
//! of them left out, or with two servers, the invariant holds. One server's crash suffices where the
//! original needed two, since the election here may prefer anybody.
//!
//! What keeps us from it: an Ack names what is durable and nothing else (`acknowledge`), and all saves
//! become durable in the order in which they were made: the epoch never without its history.

use super::{Bug, Fate, Published};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk4646",
    title: "NEWLEADER is acknowledged before the history is flushed",
    fate: Fate::Found(Trial {
        variant: Variant::AckBeforeSaved,
        model: "zab",
        bounds: Bounds::new(3, 1, 1, 1).with_pending_saves(),
        invariant: "initial_history_integrity",
    }),
    published: Some(Published {
        depth: 21,
        states: 2_880_498,
        seconds: Some(109),
    }),
};
