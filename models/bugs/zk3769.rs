//! ZOOKEEPER-3769: a malformed vote silences its receiver for ever.
//!
//! What happened: when a leader was killed, a part of a notification could still arrive. Reading it
//! raised an exception that nobody caught, and the thread that received notifications ended. That
//! server never heard of an election again, and came back to no quorum until it was restarted.
//!
//! The decision: what a vote that makes no sense does to its receiver. Here the receiver takes no
//! notification from then on, as long as it is LOOKING.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk3769",
    title: "a malformed vote silences its receiver for ever",
    fate: Fate::Found(Trial {
        variant: Variant::MalformedVoteDeafens,
        model: "ensemble",
        bounds: Bounds {
            strays: 1,
            ..Bounds::new(3, 0, 0, 0)
        },
        invariant: "converges",
    }),
    published: None,
};
