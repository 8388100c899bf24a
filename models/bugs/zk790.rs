//! ZOOKEEPER-790:

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk790",
    title: "",
    fate: Fate::Found(Trial {
        variant: Variant::CurrentWhenProposed,
        model: "zab",
        bounds: Bounds::new(3, 1, 2, 0),
        invariant: "committed_survives",
    }),
    published: None,
};
