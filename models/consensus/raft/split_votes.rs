//! An election that nobody wins, and that can go on for ever.
//!
//! Spec: `spec/consensus.md`, "Raft". What it must never do: take for a cycle what ends.

use super::{Msg, Past, Raft, State};
use crate::consensus::environment::{Ensemble, World};
use crate::consensus::words;
use stateright::actor::Id;

/// Every server has voted for itself, and so it can go on for ever.
pub fn split_votes(model: &Ensemble<Raft>, world: &World<Raft>) -> Option<String> {
    shape(world)?;
    let split = |(id, state): (Id, &State)| {
        state.disk.vote == Some(id)
            && world
                .up()
                .all(|(_, other)| other.disk.term == state.disk.term)
    };
    if !world.up().all(split) {
        return None;
    }
    let way = model.comes_back(world, shape)?;
    let steps: Vec<_> = way
        .iter()
        .map(|action| words::sentence(&model.protocol, action))
        .collect();
    Some(format!(
        "nobody can win this term, and after {} steps more everything is as it is now, only that the term is newer: {}",
        steps.len(),
        steps.join("; ")
    ))
}

/// Terms only compare, and messages of earlier ones have no effect. Once somebody leads or is down, nothing is as it was.
fn shape(world: &World<Raft>) -> Option<World<Raft>> {
    if world.down() > 0 || world.past.leaders.keys().next().is_some() {
        return None;
    }
    let first = world.up().map(|(_, state)| state.disk.term.0).min()?;
    let mut shape = World {
        past: Past::default(),
        ..world.clone()
    };
    shape
        .network
        .retain_mut(|envelope| match &mut envelope.message {
            Msg::RequestVote(term, _) | Msg::Vote(term) => {
                let current = world
                    .state(envelope.dst)
                    .is_some_and(|state| state.disk.term <= *term);
                term.0 -= first.min(term.0);
                current
            }
            Msg::Request(_) => true,
            Msg::Append(..) | Msg::Appended(..) | Msg::Committed(..) | Msg::Done(_) => false,
        });
    for node in &mut shape.nodes {
        node.disk = None;
        if let Some(state) = &mut node.state {
            state.disk.term.0 -= first;
        }
    }
    Some(shape)
}
