//! ZOOKEEPER-3104:

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk3104",
    title: "",
    fate: Fate::Found(Trial {
        variant: Variant::NewLeaderBeforeSnap,
        model: "zab",
        bounds: Bounds {
            snapshots: 1,
            ..Bounds::new(3, 1, 1, 0).with_pending_saves()
        },
        invariant: "initial_history",
    }),
    published: None,
};
