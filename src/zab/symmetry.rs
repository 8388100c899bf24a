//! The same state with the servers' names exchanged.
//!
//! Spec: `spec/0-assumptions.md`, "Symmetry". With elections held outside no handler compares server
//! ids, so a state and the same with other names have the same future; the checker visits one of
//! them. What it must never do: leave an id unchanged inside (a test renames there and back).

use super::election::{Election, Notification, Stance, Vote};
use super::{
    Follower, Leader, Lineage, Message, Payload, Report, Role, Stage, State, Storage, Term,
};
use crate::quorum::ServerSet;
use crate::types::{EpochName, ServerId};
use std::collections::BTreeMap;

/// What each server is called instead.
pub trait Names: Fn(ServerId) -> ServerId {}
impl<F: Fn(ServerId) -> ServerId> Names for F {}

impl ServerSet {
    /// The set with every server renamed.
    pub fn renamed(&self, names: &impl Names) -> Self {
        self.iter().map(names).collect()
    }
}

impl<P: Payload> State<P> {
    /// The state with every server renamed.
    pub fn renamed(&self, names: &impl Names) -> Self {
        let role = match &self.role {
            Role::Looking(election) => Role::Looking(election.renamed(names)),
            Role::Following(follower) => Role::Following(Follower {
                leader: names(follower.leader),
                ..follower.clone()
            }),
            Role::Leading(leader) => Role::Leading(leader.renamed(names)),
        };
        Self {
            role,
            storage: self.storage.renamed(names),
            diverged: rename_keys(self.diverged.clone(), names),
            ..self.clone()
        }
    }
}

impl<P: Payload> Storage<P> {
    /// The storage with every server renamed.
    pub fn renamed(&self, names: &impl Names) -> Self {
        Self {
            lineage: self.lineage.renamed(names),
            ..self.clone()
        }
    }
}

impl Lineage {
    /// The lineage with every server renamed. Most often that is the same one: who voted is everybody.
    pub fn renamed(&self, names: &impl Names) -> Self {
        let rename = |term: &Term| Term {
            name: EpochName {
                leader: match term.name {
                    EpochName::NONE => term.name.leader,
                    EpochName { leader, .. } => names(leader),
                },
                ..term.name
            },
            voters: term.voters.renamed(names),
            ..*term
        };
        match self.terms().iter().all(|term| rename(term) == *term) {
            true => self.clone(),
            false => Self::of(self.terms().iter().map(rename).collect()),
        }
    }
}

impl<P: Payload> Report<P> {
    fn renamed(self, names: &impl Names) -> Self {
        Self {
            lineage: self.lineage.renamed(names),
            ..self
        }
    }
}

impl<P: Payload> Leader<P> {
    fn renamed(&self, names: &impl Names) -> Self {
        let stage = match self.stage.clone() {
            Stage::Discovery { highest } => Stage::Discovery { highest },
            Stage::NewEpoch { epoch, reports } => Stage::NewEpoch {
                epoch,
                reports: rename_keys(reports, names)
                    .into_iter()
                    .map(|(peer, report)| (peer, report.renamed(names)))
                    .collect(),
            },
            Stage::Broadcast {
                epoch,
                initial,
                acked,
                newcomers,
                draws,
                established,
            } => Stage::Broadcast {
                epoch,
                initial,
                acked: rename_keys(acked, names),
                newcomers: rename_keys(newcomers, names),
                draws: rename_keys(draws, names),
                established,
            },
        };
        Self {
            active: self.active.renamed(names),
            had_lineage: self.had_lineage.renamed(names),
            stage,
            ..self.clone()
        }
    }
}

fn rename_keys<V>(map: BTreeMap<ServerId, V>, names: &impl Names) -> BTreeMap<ServerId, V> {
    map.into_iter()
        .map(|(sid, value)| (names(sid), value))
        .collect()
}

impl Election {
    fn renamed(&self, names: &impl Names) -> Self {
        let vote = self.vote.renamed(names);
        Self {
            round: self.round,
            vote,
            supporters: self.supporters.renamed(names),
        }
    }
}

impl Vote {
    fn renamed(&self, names: &impl Names) -> Self {
        Self {
            leader: names(self.leader),
            ..*self
        }
    }
}

impl<P: Payload> Message<P> {
    /// The message with every server in it renamed.
    pub fn renamed(&self, names: &impl Names) -> Self {
        match self {
            Self::Notification(Notification { round, stance }) => {
                let stance = match *stance {
                    Stance::Looking(vote) => Stance::Looking(vote.renamed(names)),
                    Stance::Following(leader) => Stance::Following(names(leader)),
                    Stance::Asking | Stance::Leading { .. } => *stance,
                };
                Self::Notification(Notification {
                    round: *round,
                    stance,
                })
            }
            Self::NewEpoch { .. }
            | Self::AckEpoch { .. }
            | Self::Sync { .. }
            | Self::NewLeader { .. } => {
                let mut renamed = self.clone();
                if let Self::NewEpoch { lineage, .. }
                | Self::AckEpoch { lineage, .. }
                | Self::Sync { lineage, .. }
                | Self::NewLeader { lineage, .. } = &mut renamed
                {
                    *lineage = lineage.renamed(names);
                }
                renamed
            }
            Self::FollowerInfo { .. }
            | Self::Refuse { .. }
            | Self::Propose { .. }
            | Self::Ack { .. }
            | Self::Commit { .. }
            | Self::Inform { .. } => self.clone(),
        }
    }
}
