//! ZOOKEEPER-1264:

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk1264",
    title: "",
    fate: Fate::Found(Trial {
        variant: Variant::CurrentAtUpToDate,
        model: "zab",
        bounds: Bounds {
            max_counter: 1,
            ..Bounds::new(3, 1, 1, 1)
        },
        invariant: "committed_survives",
    }),
    published: None,
};
