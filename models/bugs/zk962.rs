//! ZOOKEEPER-962: a commit between reading the committed log and forwarding to a follower made a
//! hole.
//!
//! What happened: a leader read its list of committed proposals to synchronize a follower, and
//! registered it for new proposals some moments later. A transaction that was committed between the
//! two was in neither.
//!
//! The decision: whether a follower takes a proposal that does not follow its last one. In ZooKeeper
//! it does, and trusts the leader and the channel to leave nothing out. Here the channel leaves out
//! whatever it likes, so the race needs no help: this is the mutant `gap_accepted`.
//!
//! The invariant: `local_primary_order`. The follower delivers the later transaction without the
//! earlier one.
//!
//! The bounds: two writes, of which the first is not delivered.
//!
//! What keeps us from it: each proposal names the zxid before it, and `on_proposal` takes no other.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk962",
    title: "a hole between DIFF and the first proposal",
    fate: Fate::Found(Trial {
        variant: Variant::GapAccepted,
        model: "zab",
        bounds: Bounds::new(3, 2, 0, 0),
        invariant: "local_primary_order",
    }),
    published: None,
};
