//! What reaches the Zab actor: messages of other servers, and inputs of its own runtime.
//!
//! Spec: the message tables of `spec/1-election.md` to `spec/4-broadcast.md`. Every message carries a
//! fact and the epoch or the round that makes a stale one recognisable; none relies on the order in
//! which messages arrive. What it must never do: say something that its sender could take back.
//!
//! Departs from ZooKeeper: D01 in `spec/deviations.toml`.

use super::election::Notification;
use super::history::{Difference, Entry, Memory, Payload, Snapshot};
use super::lineage::{Divergence, Lineage};
use crate::types::{Epoch, EpochName, ServerId, Zxid};
use serde::{Deserialize, Serialize};

/// An input of the actor. Only [`Msg::Peer`] crosses the network; the rest is between the actor and
/// its own runtime, which sends them with the actor's own id as the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Msg<P: Payload> {
    /// A message from another server.
    Peer(Message<P>),
    /// That many of the oldest saves that were pending are durable now.
    Saved(usize),
    /// A transaction for the leader to propose. It is dropped unless
    /// [`State::next_zxid`](super::State::next_zxid) is `Some`.
    Propose(P::Txn),
    /// The state of the service at a committed transaction of the history: older transactions need
    /// not be kept.
    Snapshot(Snapshot<P::Snapshot>),
    /// The outcome of an election that somebody else held: follow this server, or lead if it is this
    /// one. Ignored unless this server is LOOKING and [`Elections::External`](super::Elections).
    Elected(ServerId),
}

/// A message from one server to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(
    serialize = "P::Txn: Serialize, P::Snapshot: Serialize",
    deserialize = "P::Txn: Deserialize<'de>, P::Snapshot: Deserialize<'de>"
))]
pub enum Message<P: Payload> {
    /// Election: whom I vote for, or whom I follow.
    Notification(Notification),

    /// Discovery, learner to leader: I follow you; the highest epoch that I have promised is this.
    FollowerInfo { accepted_epoch: Epoch },
    /// Either way: your history and mine are two, and neither can be cut to go on with the other. I have no part in
    /// your epoch, or you have none in mine.
    Refuse {
        epoch: Epoch,
        current_epoch: Epoch,
        last_zxid: Zxid,
        divergence: Divergence,
    },
    /// Discovery, leader to learner: I propose to lead this epoch, with a history that ends here.
    NewEpoch {
        epoch: Epoch,
        name: EpochName,
        current_epoch: Epoch,
        last_zxid: Zxid,
        lineage: Lineage,
    },
    /// Discovery, learner to leader: my history ends here.
    AckEpoch {
        epoch: Epoch,
        current_epoch: Epoch,
        last_zxid: Zxid,
        /// Whether this is a promise to ignore every earlier epoch, given to this very leader. A
        /// learner that has promised the epoch before, and does not know to whom any more, joins
        /// without one.
        promise: bool,
        lineage: Lineage,
        memory: Memory,
        /// What the sender drew when it started: another one where its disk has been replaced since.
        draw: u64,
        /// What the leader lacks, if this history is more recent than the leader's.
        newer: Option<Box<Difference<P>>>,
    },

    /// Synchronization, leader to learner: a step from your history towards the initial history of
    /// the epoch.
    Sync {
        epoch: Epoch,
        step: Difference<P>,
        /// Of the leader's history.
        lineage: Lineage,
    },
    /// Synchronization, leader to learner: the initial history of the epoch ends here.
    NewLeader {
        epoch: Epoch,
        last_zxid: Zxid,
        /// Of the initial history and the epoch.
        lineage: Lineage,
        /// Whether the learner's word counts in this epoch from the beginning.
        counts: bool,
    },

    /// Broadcast, leader to follower: a transaction, and the zxid that stands before it.
    Propose {
        epoch: Epoch,
        after: Zxid,
        entry: Entry<P::Txn>,
    },
    /// Broadcast, learner to leader: the initial history of the epoch, the epoch itself and every
    /// transaction up to here are durable. The first one is the paper's ACK of NEWLEADER.
    Ack { epoch: Epoch, zxid: Zxid },
    /// Broadcast, leader to learner: the epoch is established, and everything up to here is
    /// committed. The first one is ZooKeeper's UPTODATE; the last word, repeated, is the heartbeat.
    Commit {
        epoch: Epoch,
        zxid: Zxid,
        /// Whether the learner's word counts. Not at first if its disk has forgotten what it promised.
        counts: bool,
    },
    /// Broadcast, leader to observer: a committed transaction, and the zxid that stands before it.
    Inform {
        epoch: Epoch,
        after: Zxid,
        entry: Entry<P::Txn>,
    },
}

impl<P: Payload> Message<P> {
    /// The epoch that the message belongs to; `None` for those before there is one.
    pub fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Notification(_) | Self::FollowerInfo { .. } => None,
            Self::NewEpoch { epoch, .. }
            | Self::AckEpoch { epoch, .. }
            | Self::Refuse { epoch, .. }
            | Self::Sync { epoch, .. }
            | Self::NewLeader { epoch, .. }
            | Self::Propose { epoch, .. }
            | Self::Ack { epoch, .. }
            | Self::Commit { epoch, .. }
            | Self::Inform { epoch, .. } => Some(*epoch),
        }
    }
}
