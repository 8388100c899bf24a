//! ZOOKEEPER-1264, ZOOKEEPER-1282: a follower made its current epoch durable at UPTODATE, not before
//! it acknowledged NEWLEADER.
//!
//! What happened: a test of followers that join again failed now and then (1264). One of the
//! reasons: the follower acknowledged NEWLEADER, so the leader took it for a member of the epoch;
//! but its disk learned of the epoch only when UPTODATE came (1282). A crash between the two made it
//! an old server with a new history.
//!
//! The decision: when the current epoch becomes durable. Here NewLeader is acknowledged at once, and
//! the epoch is saved with the first Commit.
//!
//! The invariant: `committed_survives`. The initial history was committed by that acknowledgement.
//! After the crash the follower ranks below a server of an older epoch that never had it, takes over
//! that one's history, and what was committed is gone from the quorum.
//!
//! The bounds: one write, which becomes the initial history of the second epoch; a small counter, so
//! that the leader moves on to that epoch without an election; a follower that leaves (a timeout)
//! before it has the write; a crash of the one that acknowledged. Without the small counter it takes
//! a second timeout, and five times as many states.
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
        bounds: Bounds {
            max_counter: 1,
            ..Bounds::new(3, 1, 1, 1)
        },
        invariant: "committed_survives",
    }),
    published: None,
};
