//! ZOOKEEPER-4712: a shut-down server left its queue of writes behind.
//!
//! What happened: when a follower lost its leader, it shut down its server, but not the thread that
//! writes the log. What was still queued there was written later, after the server had read the end of
//! its log for the next synchronization. So it was synchronized to the new leader's history from a point
//! that was its end no more, and kept transactions which the leader did not have.
//!
//! The decision: what a learner takes for the end of its history: everything that it has ever handed
//! over to be saved, or what its disk has at the moment. With the latter, it also reports while saves
//! are pending.
//!
//! The invariant, `history_consistency`: in one epoch every history is a prefix of the leader's.
//!
//! The bounds: a write that is pending at a server which changes its leader; two servers give up once each,
//! one to follow the other. One timeout does not suffice. One with a crash does, but it leads to a by-product: promises are said before they are durable here too, because they
//! stand in the same queue, and a server that forgets one lets an epoch have two leaders.
//!
//! What keeps us from it: the queue is part of the state (`pending`), and nothing of it is forgotten with a
//! role. A report waits until all of it is durable (`ack_epoch`), and a step names where it starts.

use super::{Bug, Fate, Published};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk4712",
    title: "a queue of writes outlives its phase, and the log grows after its end was read",
    fate: Fate::Found(Trial {
        variant: Variant::QueueKept,
        model: "zab",
        bounds: Bounds::new(3, 1, 2, 0).with_pending_saves(),
        invariant: "history_consistency",
    }),
    published: Some(Published {
        depth: 13,
        states: 73_293,
        seconds: Some(11),
    }),
};
