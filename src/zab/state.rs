//! The state of the actor: what is durable, what is pending, and the role.
//!
//! Spec: `spec/0-assumptions.md`, "State". What it must never do: hold anything that no later step
//! reads, because each such thing multiplies the states that the checker has to visit.

use super::election::Election;
use super::history::{Difference, Memory, Payload, Storage};
use super::lineage::{Divergence, Lineage};
use crate::quorum::ServerSet;
use crate::types::{Epoch, Round, ServerId, Zxid};
use std::collections::{BTreeMap, VecDeque};

/// The state of one server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State<P: Payload> {
    /// The newest value that was handed to the runtime to be saved.
    pub(super) storage: Storage<P>,
    /// What is known to be durable.
    pub(super) durable: Mark,
    /// What each save that is not known to be durable will make so, oldest first.
    pub(super) pending: VecDeque<Mark>,
    /// Everything up to here is committed and may be delivered.
    pub(super) committed: Zxid,
    pub(super) role: Role<P>,
    /// The servers whose histories are not this one's, and cannot become it.
    pub(super) diverged: BTreeMap<ServerId, Diverged>,
}

/// A server that was found to have another history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Diverged {
    pub divergence: Divergence,
    /// Which history it had: with another one it may be let in.
    pub had: Recency,
    /// In which round it was found.
    pub round: Round,
}

/// What a value of [`Storage`] allows a server to say once it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    pub accepted_epoch: Epoch,
    pub current_epoch: Epoch,
    pub last_zxid: Zxid,
}

impl<P: Payload> From<&Storage<P>> for Mark {
    fn from(storage: &Storage<P>) -> Self {
        Self {
            accepted_epoch: storage.accepted_epoch,
            current_epoch: storage.current_epoch,
            last_zxid: storage.history.last_zxid(),
        }
    }
}

/// What a server is doing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role<P: Payload> {
    /// LOOKING: searching for a leader.
    Looking(Election),
    /// FOLLOWING, or OBSERVING if this server has no vote.
    Following(Follower),
    /// LEADING.
    Leading(Leader<P>),
}

/// A server that follows another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Follower {
    pub leader: ServerId,
    /// The election round in which it was found.
    pub round: Round,
    /// The epoch of the leader, once it is known and accepted.
    pub epoch: Option<Epoch>,
    /// Whether this server has promised that epoch to this leader.
    pub promised: bool,
    /// How recent the leader's history was when it proposed the epoch.
    pub leader_has: Recency,
    /// Whether the leader has said that a quorum is synchronized, and this server is too.
    pub serving: bool,
}

/// A server that leads, or wants to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leader<P: Payload> {
    /// The election round that it has won.
    pub round: Round,
    /// The other servers that follow it: heard of in this term, and not silent for too long.
    pub active: ServerSet,
    /// Whether it has been established. Stays while it moves on to a new epoch.
    pub serving: bool,
    /// How recent its own history was when it proposed its epoch, and which it was.
    pub had: Recency,
    pub had_lineage: Lineage,
    pub stage: Stage<P>,
}

/// How far a leader has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stage<P: Payload> {
    /// Learning the accepted epochs of a quorum; the highest so far.
    Discovery { highest: Epoch },
    /// Waiting for the promises of a quorum, with the histories that they have.
    NewEpoch {
        epoch: Epoch,
        reports: BTreeMap<ServerId, Report<P>>,
    },
    /// Bringing the others to the initial history, and from there on to each new transaction.
    /// Established once a quorum has acknowledged.
    Broadcast {
        epoch: Epoch,
        /// Where the initial history ends.
        initial: Zxid,
        /// What each synchronized server has made durable.
        acked: BTreeMap<ServerId, Zxid>,
        /// Servers whose disks have forgotten what they promised, and the last transaction that was proposed before
        /// they had caught up. What they acknowledge counts once something later is committed without them.
        newcomers: BTreeMap<ServerId, Zxid>,
        /// The servers that came without a memory, and what each drew when it started: an AckEpoch that is repeated says
        /// nothing new.
        draws: BTreeMap<ServerId, u64>,
        established: bool,
    },
}

/// What a learner has said of its history in its AckEpoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report<P: Payload> {
    pub current_epoch: Epoch,
    pub last_zxid: Zxid,
    pub lineage: Lineage,
    pub memory: Memory,
    pub draw: u64,
    pub newer: Option<Box<Difference<P>>>,
}

impl<P: Payload> State<P> {
    /// The state of a server that has just started from `storage`.
    pub(super) fn restored(storage: Storage<P>, role: Role<P>) -> Self {
        Self {
            durable: Mark::from(&storage),
            pending: VecDeque::new(),
            committed: storage.history.snapshot().zxid,
            role,
            diverged: BTreeMap::new(),
            storage,
        }
    }

    /// The newest value that was handed to the runtime to be saved.
    pub fn storage(&self) -> &Storage<P> {
        &self.storage
    }

    /// What is known to be durable.
    pub fn durable(&self) -> Mark {
        self.durable
    }

    /// How many saves are not known to be durable.
    pub fn pending_saves(&self) -> usize {
        self.pending.len()
    }

    /// Everything in the history up to here is committed and may be delivered. Never goes back
    /// while the server runs.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// The servers that were found to have another history, with what is wrong about it. They are kept out.
    pub fn diverged(&self) -> &BTreeMap<ServerId, Diverged> {
        &self.diverged
    }

    /// What this server is doing.
    pub fn role(&self) -> &Role<P> {
        &self.role
    }

    /// Whether clients can be served: LEADING with a quorum synchronized, or FOLLOWING or OBSERVING
    /// and brought up to date.
    pub fn serving(&self) -> bool {
        match &self.role {
            Role::Looking(_) => false,
            Role::Following(follower) => follower.serving,
            Role::Leading(leader) => leader.serving,
        }
    }

    /// The learners that this leader has brought up to date, and hears of.
    pub fn learners(&self) -> ServerSet {
        let Role::Leading(leader) = &self.role else {
            return ServerSet::EMPTY;
        };
        match &leader.stage {
            Stage::Broadcast { acked, .. } => {
                let known: ServerSet = acked.keys().copied().collect();
                known.intersection(&leader.active)
            }
            Stage::Discovery { .. } | Stage::NewEpoch { .. } => ServerSet::EMPTY,
        }
    }

    /// Whether this server leads, or wants to.
    pub fn is_leading(&self) -> bool {
        matches!(self.role, Role::Leading(_))
    }

    /// The server that leads as far as this one knows: the one it follows, or itself.
    pub fn leader(&self, me: ServerId) -> Option<ServerId> {
        self.following().or(self.is_leading().then_some(me))
    }

    /// The server that this one follows, or `None` if it is LOOKING or LEADING.
    pub fn following(&self) -> Option<ServerId> {
        match &self.role {
            Role::Following(follower) => Some(follower.leader),
            Role::Looking(_) | Role::Leading(_) => None,
        }
    }

    /// The epoch that this server takes part in, once it is known.
    pub fn epoch(&self) -> Option<Epoch> {
        match &self.role {
            Role::Looking(_) => None,
            Role::Following(follower) => follower.epoch,
            Role::Leading(leader) => leader.epoch(),
        }
    }

    /// The epoch and zxid that decide whose history is the most recent.
    pub fn recency(&self) -> Recency {
        Recency::of(&self.storage)
    }
}

impl<P: Payload> Role<P> {
    /// The election round in which this role was found, or is looked for.
    pub fn round(&self) -> Round {
        match self {
            Self::Looking(election) => election.round,
            Self::Following(follower) => follower.round,
            Self::Leading(leader) => leader.round,
        }
    }
}

impl<P: Payload> Leader<P> {
    /// The epoch that this leader has proposed.
    pub fn epoch(&self) -> Option<Epoch> {
        match &self.stage {
            Stage::Discovery { .. } => None,
            Stage::NewEpoch { epoch, .. } | Stage::Broadcast { epoch, .. } => Some(*epoch),
        }
    }

    /// Whether a quorum is synchronized in the newest epoch of this leader.
    pub fn established(&self) -> bool {
        matches!(
            self.stage,
            Stage::Broadcast {
                established: true,
                ..
            }
        )
    }
}

/// How recent a history is: first by the epoch of the last leader it was taken over from, then by
/// its last zxid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recency {
    pub current_epoch: Epoch,
    pub last_zxid: Zxid,
}
