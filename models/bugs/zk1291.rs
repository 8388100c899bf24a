//! ZOOKEEPER-1291:

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk1291",
    title: "",
    fate: Fate::Found(Trial {
        variant: Variant::LeaderPromisesNothing,
        model: "zab",
        bounds: Bounds::new(3, 1, 0, 1),
        invariant: "initial_history",
    }),
    published: None,
};
