//! ZOOKEEPER-335:

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk335",
    title: "",
    fate: Fate::Found(Trial {
        variant: Variant::EpochsFromLog,
        model: "zab",
        bounds: Bounds::new(3, 2, 0, 1),
        invariant: "history_identified",
    }),
    published: None,
};
