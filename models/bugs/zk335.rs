//! ZOOKEEPER-335: a server kept no epochs but that of the last transaction in its log.
//!
//! What happened: before there were files for the accepted and the current epoch, a follower's
//! consent to a new leader was in memory only, and the new epoch reached its disk with the first
//! transaction. After a restart it had forgotten it, so the same epoch could be given to a second
//! leader, and one zxid to two transactions. The other side of it: a leader without followers took a
//! new epoch for its own, found that nobody else had it, and election and recovery alternated for
//! ever.
//!
//! The decision: what a server knows of epochs when it starts. Here it takes both from its log.
//!
//! The invariant: `history_identified`. One zxid names two transactions, on which synchronization
//! then relies.
//!
//! The bounds: a write in each of the two terms, and the one crash in which a follower forgets its
//! promise. No leader has to fail. The tracker's case took three crashes because its elections,
//! unlike the oracle, first had to be won.
//!
//! What keeps us from it: `on_new_epoch` saves the accepted epoch, and `ack_epoch` says nothing
//! before it is durable; a new epoch is above every accepted epoch of a quorum (`propose_epoch`).

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk335",
    title: "no epochs on disk but that of the last transaction",
    fate: Fate::Found(Trial {
        variant: Variant::EpochsFromLog,
        model: "zab",
        bounds: Bounds::new(3, 2, 0, 1),
        invariant: "history_identified",
    }),
    published: None,
};
