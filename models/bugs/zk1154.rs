//! ZOOKEEPER-1154: a leader sent DIFF where TRUNC was needed, and a dead leader's transaction
//! stayed.
//!
//! What happened: a leader logged a transaction and died before anybody else had it. The others went
//! on in a new epoch. When it came back, its last zxid lay between the oldest and the newest zxid
//! that the new leader kept, so it got the newer transactions on top of its own. Its clients saw a
//! write that nobody else had. ZOOKEEPER-1156 is the neighbour: where TRUNC was sent, it cut more
//! than it should.
//!
//! The decision: when a leader takes a learner's last zxid for one of its own. Here a zxid that lies
//! within the range of its log will do, in DIFF and in the acknowledgements.
//!
//! The invariant: `prefix_consistency`. The one that came back delivers the dead transaction before
//! those that everybody has. (`history_identified` falls some steps earlier.)
//!
//! The bounds: the write that dies, a write of the next epoch; a crash and a timeout, by which the
//! leader and its follower leave the first term. Which of them crashes does not matter.
//!
//! Where it would be stopped otherwise: NewLeader names the end of the initial history, and a leader
//! ignores an acknowledgement of what it does not hold. Both ask whether a zxid is held, so they are
//! part of the same decision (`holds`).
//!
//! What keeps us from it: `History::difference` looks the zxid up; if it is not there, the learner
//! is cut back to the last one that is (D08). A truncation never goes below a snapshot or below what
//! is committed, and the learner says where it stands after it, which leaves no room for
//! ZOOKEEPER-1156.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk1154",
    title: "DIFF where TRUNC is needed",
    fate: Fate::Found(Trial {
        variant: Variant::DiffWithinRange,
        model: "zab",
        bounds: Bounds::new(3, 2, 1, 1),
        invariant: "prefix_consistency",
    }),
    published: None,
};
