//! ZOOKEEPER-1291: a leader did not set its own accepted epoch when it proposed the epoch.
//!
//! What happened: found beside ZOOKEEPER-1264 and 1282. The followers wrote the epoch that they had
//! promised to their disks, the leader did not. A leader that came back could propose the same epoch
//! again.
//!
//! The decision: whether the leader's own accepted epoch is that which it proposes.
//!
//! The invariant: `initial_history`. The same server leads the same epoch twice, and the second time
//! the epoch begins with another history, which a follower of the first time does not have.
//! (`leadership2` counts servers, and this is one; `epochs_ordered` falls as well, as soon as the
//! leader's current epoch is durable.)
//!
//! The bounds: one write, so that the two beginnings differ, and the leader's crash. A follower's
//! words of the first term, still in the network, are enough to lead again.
//!
//! Where it would be stopped otherwise: `announce_epoch` and `conclude_discovery` wait for the
//! leader's own promise (`has_promised`); that wait is part of the decision.
//!
//! What keeps us from it: D03. `propose_epoch` saves the accepted epoch before anybody hears of it.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk1291",
    title: "the leader does not keep its own accepted epoch",
    fate: Fate::Found(Trial {
        variant: Variant::LeaderPromisesNothing,
        model: "zab",
        bounds: Bounds::new(3, 1, 0, 1),
        invariant: "initial_history",
    }),
    published: None,
};
