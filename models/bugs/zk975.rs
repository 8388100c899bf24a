//! ZOOKEEPER-975: a joiner goes LEADING in a live ensemble.
//!
//! What happened: two of three servers were at work when the third started. It was told every
//! notification that the two had exchanged when they had elected their leader, took having heard from
//! everybody for the end of the election, and with the highest id went LEADING. It waited initLimit
//! ticks for followers that never came before it looked again and joined.
//!
//! The decision: whose word counts as support for a server's own vote. Here anybody's does. The
//! present leader keeps its followers, so no invariant falls; what falls is that nobody but it leads
//! while a server joins.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk975",
    title: "a joiner goes LEADING in a live ensemble",
    fate: Fate::Found(Trial {
        variant: Variant::AnyWordSupports,
        model: "ensemble",
        bounds: Bounds::new(3, 0, 0, 0),
        invariant: "leader_undisturbed",
    }),
    published: None,
};
