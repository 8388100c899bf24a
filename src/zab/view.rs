//! A state of a real server as the invariants can see it.
//!
//! Spec: `spec/6-server.md`, "Journal". The invariants look at every transaction of a history, and a
//! snapshot of a real service does not tell which ones led to it. So an observer of a real run, who does
//! know, puts histories that it has written down itself in the place of the server's own. What this must
//! never do: change anything else that the invariants look at.

use super::history::{History, Payload, Storage};
use super::state::{Leader, Report, Role, Stage, State};

impl<P: Payload> Storage<P> {
    /// The same epochs with another history.
    pub fn with_history<Q: Payload>(&self, history: History<Q>) -> Storage<Q> {
        Storage {
            accepted_epoch: self.accepted_epoch,
            current_epoch: self.current_epoch,
            history,
            lineage: self.lineage.clone(),
            memory: self.memory,
            draw: self.draw,
        }
    }
}

impl<P: Payload> State<P> {
    /// The same state with another history. What learners have reported of theirs is left out.
    pub fn with_history<Q: Payload>(&self, history: History<Q>) -> State<Q> {
        State {
            storage: self.storage.with_history(history),
            durable: self.durable,
            pending: self.pending.clone(),
            committed: self.committed,
            diverged: self.diverged.clone(),
            role: match &self.role {
                Role::Looking(election) => Role::Looking(election.clone()),
                Role::Following(follower) => Role::Following(follower.clone()),
                Role::Leading(leader) => Role::Leading(leader.without_reports()),
            },
        }
    }
}

impl<P: Payload> Leader<P> {
    fn without_reports<Q: Payload>(&self) -> Leader<Q> {
        Leader {
            round: self.round,
            active: self.active,
            serving: self.serving,
            had: self.had,
            had_lineage: self.had_lineage.clone(),
            stage: match &self.stage {
                Stage::Discovery { highest } => Stage::Discovery { highest: *highest },
                Stage::NewEpoch { epoch, reports } => Stage::NewEpoch {
                    epoch: *epoch,
                    reports: reports
                        .iter()
                        .map(|(peer, report)| (*peer, report.without_history()))
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
                    epoch: *epoch,
                    initial: *initial,
                    acked: acked.clone(),
                    newcomers: newcomers.clone(),
                    draws: draws.clone(),
                    established: *established,
                },
            },
        }
    }
}

impl<P: Payload> Report<P> {
    fn without_history<Q: Payload>(&self) -> Report<Q> {
        Report {
            current_epoch: self.current_epoch,
            last_zxid: self.last_zxid,
            lineage: self.lineage.clone(),
            memory: self.memory,
            draw: self.draw,
            newer: None,
        }
    }
}
