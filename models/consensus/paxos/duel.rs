//! Two proposers that take the access away from each other for ever.
//!
//! Spec: `spec/consensus.md`, "Paxos". What it must never do: take for a duel what ends.

use super::{Msg, Past, Paxos, Proposer, Stage, State};
use crate::consensus::acceptor::{Ballot, Vote};
use crate::consensus::environment::{Ensemble, World};
use crate::consensus::protocol::is_majority;
use crate::consensus::words;
use stateright::actor::Id;

/// A proposer has been given access and lost it again before anything was accepted, and so it can go on for ever.
pub fn duel(model: &Ensemble<Paxos>, world: &World<Paxos>) -> Option<String> {
    if !world.past.votes.is_empty() || world.down() > 0 {
        return None;
    }
    let lost = |vote: &Vote| {
        let newer =
            |state: &State| matches!(state, State::Acceptor(a) if a.promised > Some(vote.ballot));
        let taken = world.up().filter(|(_, state)| newer(state)).count();
        is_majority(taken, model.protocol.acceptors.len())
    };
    let has_lost = |(_, state): (Id, &State)| match state {
        State::Proposer(Proposer {
            stage: Stage::Accepting(vote, _),
            ..
        }) => lost(vote),
        State::Proposer(_) | State::Acceptor(_) => false,
    };
    if !world.up().any(has_lost) {
        return None;
    }
    let way = model.comes_back(world, shape)?;
    let steps: Vec<_> = way
        .iter()
        .map(|a| words::sentence(&model.protocol, a))
        .collect();
    Some(format!(
        "after {} steps more everything is as it is now, only that the ballots are newer, and nothing is accepted: {}",
        steps.len(),
        steps.join("; ")
    ))
}

/// Ballots only compare, and older ones than their proposers are at have no effect: they may as well be lost.
/// Once something is accepted, nothing is as it was.
fn shape(world: &World<Paxos>) -> Option<World<Paxos>> {
    if !world.past.votes.is_empty() {
        return None;
    }
    let round_of = |id: Id| match world.state(id) {
        Some(State::Proposer(proposer)) => proposer.round,
        Some(State::Acceptor(_)) | None => 0,
    };
    let rounds = world.ids().map(round_of).filter(|round| *round > 0);
    let first = rounds.min().unwrap_or(1) - 1;
    let is_current = |ballot: &Ballot| ballot.round == round_of(ballot.proposer);
    let moved = |ballot: Ballot| Ballot {
        round: ballot.round - first,
        ..ballot
    };
    let mut shape = World {
        past: Past::default(),
        ..world.clone()
    };
    shape
        .network
        .retain_mut(|envelope| match &mut envelope.message {
            Msg::Prepare(ballot) | Msg::Promise(ballot, _) => {
                let current = is_current(ballot);
                if current {
                    *ballot = moved(*ballot);
                }
                current
            }
            Msg::Accept(vote) | Msg::Accepted(vote) => {
                let current = is_current(&vote.ballot);
                if current {
                    vote.ballot = moved(vote.ballot);
                }
                current
            }
            Msg::Request(_) | Msg::Decided(_) => true,
        });
    for node in &mut shape.nodes {
        match &mut node.state {
            Some(State::Proposer(proposer)) => {
                proposer.round -= first.min(proposer.round);
                node.disk = None;
                if let Stage::Accepting(vote, _) = &mut proposer.stage {
                    vote.ballot = moved(vote.ballot);
                }
            }
            Some(State::Acceptor(acceptor)) => {
                let counts = acceptor.promised.filter(|ballot| ballot.round > first);
                acceptor.promised = counts.map(moved);
                node.disk = None;
            }
            None => {}
        }
    }
    Some(shape)
}
