//! ZOOKEEPER-4925:

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk4925",
    title: "",
    fate: Fate::Found(Trial {
        variant: Variant::DiffWithHole,
        model: "zab",
        bounds: Bounds::new(3, 2, 2, 0),
        invariant: "prefix_consistency",
    }),
    published: None,
};
