//! ZOOKEEPER-1514: a joiner in another round never joins.
//!
//! What happened: a server that had been elected in one round took up LEADING in an earlier one to which
//! it had fallen back, because the check of the leader left the round out. It led, its followers
//! worked, but they reported different rounds; and a server that looked for the ensemble wanted the
//! same round from a quorum, and never had it until somebody restarted the leader.
//!
//! The decision: whether a server that looks for a leader holds the round against one that is
//! established. Rounds differ here too, whenever one server has looked for a leader alone.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk1514",
    title: "a joiner in another round never joins",
    fate: Fate::Found(Trial {
        variant: Variant::JoinInsistsOnRound,
        model: "ensemble",
        bounds: Bounds::new(3, 0, 0, 0),
        invariant: "converges",
    }),
    published: None,
};
