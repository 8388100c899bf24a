//! ZOOKEEPER-1319: a leader sent DIFF where SNAP was needed, and a server that joined lacked data.
//!
//! What happened: after a restart and the addition of a server, the new server served clients
//! without a part of the data. The leader had compared the newcomer with the few transactions that
//! it kept in memory, and sent those; what was older, and only in its snapshot, was never sent.
//!
//! The decision: what a leader sends to a learner whose last zxid lies before the first transaction
//! that it keeps. Here: the transactions that it keeps.
//!
//! The invariant: `local_primary_order`. The newcomer delivers the second transaction of a leader
//! without the first.
//!
//! The bounds: a write that is in the snapshot only, and one after it; the snapshot; a timeout, so
//! that both are the initial history of the next epoch. Within an epoch the leader sends the
//! snapshot all the same (`send_entries`): a second line of defence, and the reason for the timeout.
//! Where the snapshot is all that there is, NewLeader is another: it names an end that the newcomer
//! does not have.
//!
//! What keeps us from it: `History::difference` gives a DIFF only to a history that it has the end
//! of.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk1319",
    title: "DIFF where SNAP is needed",
    fate: Fate::Found(Trial {
        variant: Variant::DiffForSnap,
        model: "zab",
        bounds: Bounds {
            snapshots: 1,
            ..Bounds::new(3, 2, 1, 0)
        },
        invariant: "local_primary_order",
    }),
    published: None,
};
