//! ZOOKEEPER-2845: the database in memory was kept across an election.
//!
//! What happened: to save the time of reading its log again, a server kept its database when it lost its
//! role. The database holds what was committed; the log may hold more. In the next synchronization the
//! server reported the last transaction of its database, was sent no TRUNC, and its log kept a
//! transaction that the new leader never had. After a restart it was there again.
//!
//! The decision: what a learner takes for the end of its history: what it has logged, or what it has
//! delivered.
//!
//! The invariant, `history_consistency`: in one epoch every history is a prefix of the leader's.
//!
//! The bounds: a write that its leader has logged and nobody else, and two servers that give up once
//! each, so that the other leads. Two crashes do as well; one timeout does not.
//!
//! What keeps us from it: there is one history. Where it ends is what is reported. If a server did report less, it
//! would get no further than the variant: a proposal names the zxid before it, and an Ack of what the leader
//! does not have is not counted.

use super::{Bug, Fate, Published};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk2845",
    title: "the database in memory is kept across an election",
    fate: Fate::Found(Trial {
        variant: Variant::MemoryKept,
        model: "zab",
        bounds: Bounds::new(3, 1, 2, 0),
        invariant: "history_consistency",
    }),
    published: Some(Published {
        depth: 10,
        states: 6_347,
        seconds: None,
    }),
};
