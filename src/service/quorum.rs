//! What a server knows of the quorum: figures behind the four-letter word `quor`.
//!
//! Spec: `spec/6-server.md`, "Four-letter words". What it must never do: format, which is the driver's.

use super::Replica;
use super::digest::Mismatch;
use super::replica::State;
use crate::quorum::{Membership, ServerSet};
use crate::types::{Epoch, ServerId, Zxid};
use crate::zab::{Divergence, Memory, Role, Stage};
use std::collections::BTreeMap;

/// What one server knows at one moment of who decides, and how far each has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    pub sid: ServerId,
    pub standing: Standing,
    /// The latest epoch that was promised, and the one whose leader's history this server has taken over.
    pub accepted_epoch: Epoch,
    pub current_epoch: Epoch,
    /// The end of the history, what of it is durable, and what is known to be committed.
    pub last: Zxid,
    pub durable: Zxid,
    pub committed: Zxid,
    /// Servers that are kept out because they have another history.
    pub diverged: BTreeMap<ServerId, Divergence>,
    /// Whether this server's disk remembers everything: otherwise it counts in no quorum yet.
    pub memory: Memory,
    /// What is applied, and the digest of the tree after that.
    pub applied: Zxid,
    pub digest: u64,
    /// Since when that is not what others have.
    pub mismatch: Option<Mismatch>,
    /// Who votes, and who is to vote instead.
    pub now: Membership,
    pub next: Option<Membership>,
}

/// A server's part in the ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It votes for a candidate, and knows of others that do, itself among them.
    Looking {
        candidate: ServerId,
        supporters: ServerSet,
    },
    /// It follows, and is up to date with an established leader or not yet.
    Following { leader: ServerId, serving: bool },
    /// It leads, and a quorum has what it began with or not yet.
    Leading {
        established: bool,
        /// Those that follow it and are heard of, with what each has acknowledged in this epoch.
        active: BTreeMap<ServerId, Option<Zxid>>,
    },
}

impl Quorum {
    /// Whether a quorum works together, as far as this server knows.
    pub fn is_there(&self) -> bool {
        match self.standing {
            Standing::Looking { .. } => false,
            Standing::Following { serving, .. } => serving,
            Standing::Leading { established, .. } => established,
        }
    }
}

impl Replica {
    /// What a server knows of the quorum.
    pub fn quorum(&self, state: &State) -> Quorum {
        let zab = state.zab();
        let in_force = self.zab().in_force(zab);
        let standing = match zab.role() {
            Role::Looking(election) => Standing::Looking {
                candidate: election.vote.leader,
                supporters: election.supporters,
            },
            Role::Following(follower) => Standing::Following {
                leader: follower.leader,
                serving: state.serving(),
            },
            Role::Leading(leader) => {
                let acked = |peer| match &leader.stage {
                    Stage::Broadcast { acked, .. } => acked.get(&peer).copied(),
                    Stage::Discovery { .. } | Stage::NewEpoch { .. } => None,
                };
                Standing::Leading {
                    established: leader.serving,
                    active: leader
                        .active
                        .iter()
                        .map(|peer| (peer, acked(peer)))
                        .collect(),
                }
            }
        };
        Quorum {
            sid: self.config().sid,
            standing,
            accepted_epoch: zab.storage().accepted_epoch,
            current_epoch: zab.storage().current_epoch,
            last: zab.storage().history.last_zxid(),
            durable: zab.durable().last_zxid,
            committed: zab.committed(),
            diverged: zab
                .diverged()
                .iter()
                .map(|(sid, diverged)| (*sid, diverged.divergence))
                .collect(),
            memory: zab.storage().memory,
            applied: state.service().applied(),
            digest: state.service().tree().digest(),
            mismatch: state.service().mismatch(),
            now: in_force.now.clone(),
            next: in_force.next.map(|(_, next)| next.clone()),
        }
    }
}
