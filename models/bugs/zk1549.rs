//! ZOOKEEPER-1549, ZOOKEEPER-1558: a snapshot of state that was not committed.
//!
//! What happened: a server that starts loads its whole log into memory, what is uncommitted too. A
//! leader took a snapshot of that as it began to lead (1558). If it did not lead in the end, TRUNC
//! could shorten its log, but not what was in the snapshot; after a DIFF its clients saw a write
//! that nobody else had (1549).
//!
//! The decision: what of the log counts as committed. Here, for a server that begins to lead, all of
//! it, so that the service gets it and may take a snapshot of it.
//!
//! The invariant: `prefix_consistency`. The server has handed a transaction to the service that
//! nobody else will ever deliver.
//!
//! The bounds: the write that is not committed, and one that is committed by others; the leader's
//! timeout, by which it begins to lead anew, and that of the follower which leaves it. The snapshot
//! itself is not needed: what the service has got cannot be taken back either.
//!
//! Where it stops: a server never truncates below what it has delivered, so it does not take the
//! DIFF on top of the wrong state, and says so by asking again for ever.
//!
//! What keeps us from it: committed is what a leader has said to be so; after a start that is the
//! snapshot (`State::restored`), and `on_snapshot` takes no snapshot beyond it.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk1549",
    title: "uncommitted state in a snapshot",
    fate: Fate::Found(Trial {
        variant: Variant::LogTakenForCommitted,
        model: "zab",
        bounds: Bounds::new(3, 2, 2, 0),
        invariant: "prefix_consistency",
    }),
    published: None,
};
