//! The paper, step f.3.1: a proposal that a follower holds already.
//!
//! What happened: the paper's follower appends each proposal to its history. If taking a request and
//! broadcasting it are two steps of the leader, a follower that joins in between is sent the transaction
//! with NEWLEADER and once more as a proposal, and holds it twice.
//!
//! The decision: whether a follower appends a proposal that it holds.
//!
//! The invariant, `history_consistency`: in one epoch every history is a prefix of the leader's.
//!
//! The bounds: one write. The network repeats messages by itself.
//!
//! What keeps us from it: a proposal names the zxid before it, and is taken by nobody whose history
//! ends elsewhere (`on_proposal`). Requests are taken and sent in one step, too.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "paper2",
    title: "a proposal that comes twice is appended twice",
    fate: Fate::Found(Trial {
        variant: Variant::ProposalTwice,
        model: "zab",
        bounds: Bounds::new(3, 1, 0, 0),
        invariant: "history_consistency",
    }),
    published: None,
};
