//! ZOOKEEPER-1264, ZOOKEEPER-1282: a follower made its current epoch durable at UPTODATE, not before
//! it acknowledged NEWLEADER.
//!
//! What happened: a test of followers that join again failed now and then (1264). One of the
//! reasons: the follower acknowledged NEWLEADER, so the leader took it for a member of the epoch;
//! but its disk learned of the epoch only when UPTODATE came (1282). A crash between the two made it
//! an old server with a new history.
//!
//! The decision: when the current epoch becomes durable. Here NewLeader is acknowledged at once, and
//! the epoch is saved with the first Commit of the term. As in ZooKeeper, where it is a file of its
//! own, it does not reach the disk with the transactions that are logged in between.
//!
//! The invariant: `committed_survives`. The follower logs a transaction and acknowledges it, so it is
//! committed, and crashes before it knows. After that it ranks by its older epoch, below a server that
//! joined the same epoch and never had the transaction: it takes over that one's history, and what was
//! committed is gone from the quorum.
//!
//! The bounds: one write; the crash of the one that acknowledged it; the timeout by which the other
//! leaves the old leader.
//!
//! What keeps us from it: `on_new_leader` saves the current epoch, and `acknowledge` says nothing
//! before that is durable.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk1264",
    title: "the current epoch set at UPTODATE, not before the ACK of NEWLEADER",
    fate: Fate::Found(Trial {
        variant: Variant::CurrentAtUpToDate,
        model: "zab",
        bounds: Bounds::new(3, 1, 1, 1),
        invariant: "committed_survives",
    }),
    published: None,
};
