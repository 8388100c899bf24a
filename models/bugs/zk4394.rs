//! ZOOKEEPER-4394: a COMMIT between NEWLEADER and UPTODATE matched nothing that the follower held.
//!
//! What happened: on NEWLEADER a follower logged the proposals that it had been sent so far and
//! emptied its list of them. A COMMIT for one of them that came before UPTODATE looked for its
//! proposal in that list, found it empty, and the follower died of a null pointer: again and again, at
//! each attempt to join.
//!
//! The decision: what a follower makes of a Commit whose transaction it does not hold. Here it takes
//! it at its word.
//!
//! The invariant, `commit_held`: what a server takes for committed is in its history.
//!
//! The bounds: one write, and no fault. The leader and one follower are a quorum that commits the
//! write; the third server joins late, and hears of the commit before it hears of the proposal. Two
//! servers do not suffice: nothing is committed without the follower's having it.
//!
//! What keeps us from it: a Commit is cumulative and is taken as far as the history goes
//! (`on_commit`). A repetition commits the rest.

use super::{Bug, Fate, Published};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk4394",
    title: "a commit matches nothing that the follower holds",
    fate: Fate::Found(Trial {
        variant: Variant::CommitUnheld,
        model: "zab",
        bounds: Bounds::new(3, 1, 0, 0),
        invariant: "commit_held",
    }),
    published: Some(Published {
        depth: 20,
        states: 14_264,
        seconds: Some(9),
    }),
};
