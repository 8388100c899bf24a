//! The paper, step l.3.4: what a follower that joins late is told to be committed.
//!
//! What happened: the paper's leader answers a late acknowledgement of NEWLEADER with a commit of that
//! history. Since then more may have been proposed and committed, and the commits of these went to
//! those who were synchronized at the time. Nobody tells the newcomer of them: COMMIT-LD must carry the
//! last zxid that the leader has committed.
//!
//! The decision: which zxid the first Commit to a newcomer names: the end of the initial history, or
//! what the leader has committed.
//!
//! The invariant, `newcomer_told_everything`: a follower that is counted as synchronized by an established
//! leader is told how far transactions are committed, in the same step.
//!
//! The bounds: one write, committed by two servers before the third joins. No fault.
//!
//! What keeps us from it: every Commit names what the leader has committed (`on_ack`). Behind it stand two more
//! lines, so that the variant only delays: a Commit is cumulative, so the next one tells of the rest, and
//! each heartbeat repeats it.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "paper3",
    title: "COMMIT-LD commits the initial history and no more",
    fate: Fate::Found(Trial {
        variant: Variant::NewcomerToldInitial,
        model: "zab",
        bounds: Bounds::new(3, 1, 0, 0),
        invariant: "newcomer_told_everything",
    }),
    published: None,
};
