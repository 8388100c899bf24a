//! ZOOKEEPER-4643: a follower's current epoch was updated before its history.
//!
//! What happened: on NEWLEADER a follower wrote its current epoch first and the transactions that it
//! had been sent afterwards. A crash between the two left a server with a new epoch and an old
//! history; it won the next election by its epoch, and what was committed was truncated everywhere.
//!
//! The decision: in which order the history and the current epoch become durable. Here a follower hands
//! over its old history with the new epoch first, and the new history after it. The actor does not rely on
//! the first: it acknowledges as late as ever (that it does not is ZOOKEEPER-4646).
//!
//! The invariant, `initial_history`: a server whose disk has an epoch has the initial history of the epoch. It
//! falls as soon as the mischief is done: a crash would now leave the new epoch with the old history. That
//! something committed is lost in the end takes three faults more, as it took three crashes in the
//! original: the server crashes in between, the leader of that epoch is lost, and a third server, which has
//! what was committed, follows the first, since its epoch is lower. The search has not come so far:
//! (3,1,1,1) with pending saves has nothing of it in 15 million states, nor has (3,1,1,0) with one outage
//! and pending saves in 8.5 million. A random walk has: `check simulate zab --mutant zk4643 --invariant
//! committed_survives` finds it in some hundred runs.
//!
//! The bounds: an initial history that is not empty, that is a write and a new term; and pending saves,
//! because the order of two that are durable at once is not seen. No crash is needed: the invariant speaks of
//! what a disk has.
//!
//! What keeps us from it: history and epoch are one value. `on_sync` saves the history, and only
//! `on_new_leader`, which finds it complete, saves the epoch.

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
