//! ZOOKEEPER-1319:

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk1319",
    title: "",
    fate: Fate::Found(Trial {
        variant: Variant::DiffForSnap,
        model: "zab",
        bounds: Bounds {
            snapshots: 1,
            ..Bounds::new(3, 2, 1, 0)
        },
        invariant: "local_primary_order",
    }),
    published: None,
};
