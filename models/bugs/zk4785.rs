//! ZOOKEEPER-4785: a transaction of a DIFF was lost in a race with the acknowledgement of NEWLEADER.
//!
//! What happened: a follower handed the transactions of a DIFF to the thread that writes the log,
//! and acknowledged NEWLEADER without waiting for it. The leader served clients on the strength of
//! that. A follower that stopped then had nothing of it.
//!
//! The decision: whether the acknowledgement of NewLeader waits for the initial history (and for the
//! epoch). Those of transactions wait as they should.
//!
//! The invariant: `committed_survives`. The initial history is committed and is not on the disks of
//! a quorum. Which crash loses it does not matter.
//!
//! The bounds: one write, which the leader alone has when its term ends by a timeout, so that the
//! next epoch begins with it; pending saves.
//!
//! What keeps us from it: `acknowledge` speaks of what is durable only, and saves become durable in
//! order.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk4785",
    title: "NEWLEADER acknowledged while the DIFF is still on its way to the disk",
    fate: Fate::Found(Trial {
        variant: Variant::AckNewLeaderBeforeSaved,
        model: "zab",
        bounds: Bounds::new(3, 1, 1, 0).with_pending_saves(),
        invariant: "committed_survives",
    }),
    published: None,
};
