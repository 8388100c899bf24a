//! ZOOKEEPER-1653: a crash between a snapshot and the epoch file, and the server did not start
//! again.
//!
//! What happened: a follower took a snapshot at NEWLEADER and wrote the current epoch to its file
//! after that. After a crash between the two its snapshot was of a later epoch than the file said,
//! and a server with such a directory refused to start.
//!
//! Why it cannot happen here: the order of the two writes is the same, and has to be (ZOOKEEPER-4643
//! is the other order), so a crash does leave a history that is ahead of the current epoch. It is an
//! ordinary state: the server ranks by its current epoch, and is synchronized like anybody else.
//! There is no decision to change, as nothing in the actor or in the recovery from disk compares the
//! two. The one thing that recovery refuses is an accepted epoch below the current one, and the
//! accepted epoch is written first (D22); it also takes a transaction of an epoch for a proof that
//! the epoch was promised. The model reaches such disks and goes on from them:
//! `a_history_ahead_of_the_current_epoch_is_started_from` in `models/tests.rs`.

use super::{Bug, Fate};

pub const BUG: Bug = Bug {
    name: "zk1653",
    title: "a crash between the snapshot and the epoch file",
    fate: Fate::CannotHappen(
        "a history ahead of the current epoch is an ordinary state, from which every server starts",
    ),
    published: None,
};
