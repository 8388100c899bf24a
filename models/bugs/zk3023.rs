//! ZOOKEEPER-3023: a follower answered UPTODATE before it had committed what was pending.
//!
//! What happened: a follower logs and commits in threads of its own. The thread that synchronizes it
//! answered UPTODATE and opened the server to clients while the transactions that had come with the
//! synchronization still waited for the other thread. Leader and clients took the follower for up to
//! date, and it had not delivered what the epoch began with.
//!
//! The decision: with the first Commit a follower begins to serve. Here it delivers nothing yet; the
//! next Commit will see to that. There is no answer to UPTODATE in this protocol: who relies on a
//! follower's being up to date are its clients, so that it serves is the acknowledgement.
//!
//! The invariant, `up_to_date`, is asked in the step in which a server begins to serve. Once the
//! leader moves on to a new epoch in place, its followers go on serving, and rightly so.
//!
//! The bounds: there must be something to deliver, so an epoch must begin with a transaction: a write,
//! and one new term. A crash does instead of the timeout. Without either the initial history is empty.
//!
//! What keeps us from it: there is one thread. `on_commit` moves the mark of what is committed and
//! opens the server in the same step.

use super::{Bug, Fate, Published};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk3023",
    title: "a follower counts as up to date before it has committed what is pending",
    fate: Fate::Found(Trial {
        variant: Variant::ServeUndelivered,
        model: "zab",
        bounds: Bounds::new(3, 1, 1, 0),
        invariant: "up_to_date",
    }),
    published: Some(Published {
        depth: 13,
        states: 78_892,
        seconds: Some(11),
    }),
};
