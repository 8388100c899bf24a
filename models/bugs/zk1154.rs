//! ZOOKEEPER-1154:

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk1154",
    title: "",
    fate: Fate::Found(Trial {
        variant: Variant::DiffWithinRange,
        model: "zab",
        bounds: Bounds::new(3, 2, 1, 1),
        invariant: "prefix_consistency",
    }),
    published: None,
};
