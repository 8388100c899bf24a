//! ZOOKEEPER-1419: votes cycle, and the election never settles.
//!
//! What happened: of two votes with equal zxids the one for the higher server id won, even if its epoch
//! was lower. The other one won by its epoch. So each of the two beat the other, servers went on
//! changing their votes for ever, and an ensemble of five never had a leader again.
//!
//! The decision: whether the comparison of ids asks for equal epochs first.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk1419",
    title: "votes cycle, and the election never settles",
    fate: Fate::Found(Trial {
        variant: Variant::VotesCycle,
        model: "election",
        bounds: Bounds::new(3, 0, 0, 0),
        invariant: "converges",
    }),
    published: None,
};
