//! ZOOKEEPER-790: a prospective leader took the first zxid of its epoch as processed before a quorum
//! had followed it.
//!
//! What happened: a server that had won an election set its last processed zxid to the start of the
//! new epoch at once. If the leadership came to nothing, it went into the next election with a zxid
//! that no quorum had agreed to: as a follower it gave up, since its leader's epoch seemed to be the
//! older one, and as a candidate it beat servers that knew more.
//!
//! The decision: when the new epoch becomes the current epoch of its leader. Here it does as soon as
//! the epoch is proposed, which is when a quorum has got in touch, but nobody has promised anything.
//!
//! The invariant: `committed_survives`. A current epoch says that a quorum's most recent history was
//! taken over; here it says so of a server that had taken over nothing. It leads the next epoch with
//! its own, old history, and cuts what was committed.
//!
//! The bounds: one write to be lost; a timeout that makes a follower leave the leader who committed
//! it, and one that ends the first attempt to lead. With one timeout there is no failed attempt, and
//! nothing falls.
//!
//! What keeps us from it: the leader's current epoch changes in `begin_synchronization`, after
//! `conclude_discovery` has the promises of a quorum and the most recent of its histories.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk790",
    title: "a prospective leader counts as one before a quorum follows",
    fate: Fate::Found(Trial {
        variant: Variant::CurrentWhenProposed,
        model: "zab",
        bounds: Bounds::new(3, 1, 2, 0),
        invariant: "committed_survives",
    }),
    published: None,
};
