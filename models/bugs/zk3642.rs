//! ZOOKEEPER-3642:

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk3642",
    title: "",
    fate: Fate::Found(Trial {
        variant: Variant::SnapInParts,
        model: "zab",
        bounds: Bounds {
            snapshots: 1,
            ..Bounds::new(3, 2, 0, 1).with_pending_saves()
        },
        invariant: "local_primary_order",
    }),
    published: None,
};
