//! The paper, step l.3.3 and l.3.4: to whom a leader sends its proposals.
//!
//! What happened: the paper's leader broadcasts to "Q" and does not say which servers that is. If it is
//! those who have acknowledged NEWLEADER, a follower whose acknowledgement is late misses what was
//! proposed before it arrived. It is told COMMIT for a transaction that nobody ever sent it. The
//! specification by Ouyang and others sends each proposal to everybody who has acknowledged the epoch.
//!
//! The decision: whether a follower that becomes synchronized is sent the proposals before, or only those
//! from then on.
//!
//! The invariant, `newcomer_told_everything`, is asked of each step of a leader and of what it sent in it:
//! a follower that it counts as synchronized was sent every proposal after what it has acknowledged.
//!
//! The bounds: one write, and a third server that joins late. No fault.
//!
//! What keeps us from it: the leader sends nothing to a follower before its first Ack and everything after
//! that Ack's zxid in the step that counts it (`on_ack`), so that nothing falls in between. Two more lines
//! stand behind that. A follower takes no proposal over a gap, and no Commit beyond its history, so the
//! variant loses and commits nothing wrong; and on each heartbeat the leader repeats what the last Ack
//! lacks, so in the end the follower gets it. All other invariants hold for this variant.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "paper1",
    title: "proposals go only to those who have acknowledged NEWLEADER",
    fate: Fate::Found(Trial {
        variant: Variant::NewcomerNotCaughtUp,
        model: "zab",
        bounds: Bounds::new(3, 1, 0, 0),
        invariant: "newcomer_told_everything",
    }),
    published: None,
};
