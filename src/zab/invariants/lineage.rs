//! What must hold of servers that have gone ways of their own.
//!
//! Spec: `spec/10-lineage.md`. What it must never do: see more than an all-knowing observer has written down.

use super::{Ensemble, Recorded, whole};
use crate::zab::State;

/// What a server has decided alone stays in its history, in memory and on disk: to cut it is for whoever runs it to say.
pub fn decided_alone_stays<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.servers.iter().all(|s| {
        let mut storages = s.state.map(State::storage).into_iter().chain([s.disk]);
        let mut alone = e.record.alone.iter().filter(|(sid, _)| *sid == s.id);
        alone.all(|(_, entry)| storages.all(|storage| whole(storage).any(|t| t == entry)))
    })
}

/// A server is kept out because it has another history.
pub fn kept_out<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running().any(|(_, state)| !state.diverged().is_empty())
}
