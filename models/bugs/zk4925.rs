//! ZOOKEEPER-4925: what a follower had got by synchronization was missing in the DIFF that it sent
//! later as a leader.
//!
//! What happened: a regression of the fix of ZOOKEEPER-4394 (release 3.9.3). Transactions that are
//! committed during synchronization were applied to the data, but not added to the list of committed
//! proposals from which a leader serves DIFF. So that list had a hole. When such a server led, it
//! passed the hole on: a server that was behind got the transactions after it only, and data was
//! lost.
//!
//! The decision: from which list a leader serves DIFF. Production has one history for everything.
//! Here the leader leaves out what was the initial history of the epoch that it had taken over last,
//! which is what synchronization was about, and takes the rest for gapless.
//!
//! The invariant: `prefix_consistency`. The server that was behind delivers the later transaction
//! without the earlier one. They are of two epochs, so `local_primary_order` does not see it.
//!
//! The bounds: a write before a change of leadership and one after it; a timeout and a crash for the
//! two changes of leadership. (In ZooKeeper the list is in memory and a restart mends it; here it is
//! told from the epochs, which is simpler and wider. So the shortest counterexample is that of a server
//! which led both terms; one that followed in the second and leads in the third takes some more steps
//! within the same bounds.)
//!
//! What keeps us from it: the transactions that a leader sends are those that it delivers and keeps
//! on disk, one `History`. There is no second list.

use super::{Bug, Fate};
use crate::bounds::Bounds;
use crate::trial::Trial;
use keepright::zab::Variant;

pub const BUG: Bug = Bug {
    name: "zk4925",
    title: "what synchronization brought is not passed on",
    fate: Fate::Found(Trial {
        variant: Variant::DiffWithHole,
        model: "zab",
        bounds: Bounds::new(3, 2, 1, 1),
        invariant: "prefix_consistency",
    }),
    published: None,
};
