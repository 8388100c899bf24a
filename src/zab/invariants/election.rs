//! What must hold of elections.
//!
//! Spec: `spec/1-election.md`. What it must never do: ask what no all-knowing observer can see.

use super::{Ensemble, Recorded};
use crate::quorum::ServerSet;
use crate::types::{Round, ServerId};
use crate::zab::{Payload, Role, State};

/// In a round, at most one leader is supported by a quorum at any one time, of those that count by the same
/// membership. What a quorum is, the servers themselves decide.
pub fn one_leader_a_round<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running().all(|(i, a)| {
        leading_round(a).is_none_or(|round| {
            !is_supported(e, i, a, round)
                || e.running().all(|(j, b)| {
                    i >= j
                        || leading_round(b) != Some(round)
                        || !is_supported(e, j, b, round)
                        || !e.zab.in_force(a).shares_with(e.zab.in_force(b))
                })
        })
    })
}

/// A leader is supported by a quorum in its round.
pub fn leader_supported<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running().any(|(i, state)| {
        leading_round(state).is_some_and(|round| is_supported(e, i, state, round))
    })
}

pub(super) fn leading_round<P: Payload>(state: &State<P>) -> Option<Round> {
    match state.role() {
        Role::Leading(leader) => Some(leader.round),
        Role::Following(_) | Role::Looking(_) => None,
    }
}

/// Whether a quorum stands by the leader `id` in `round`.
pub(super) fn is_supported<P: Recorded>(
    e: &Ensemble<'_, P>,
    id: ServerId,
    leader: &State<P>,
    round: Round,
) -> bool {
    let membership = e.zab.in_force(leader);
    e.zab.is_quorum(membership, &supporters(e, id, round))
}

/// Who stands by the leader `id` in `round`.
pub(super) fn supporters<P: Recorded>(
    e: &Ensemble<'_, P>,
    id: ServerId,
    round: Round,
) -> ServerSet {
    let supports = |(sid, state): &(ServerId, &State<P>)| match state.role() {
        Role::Looking(election) => election.round == round && election.vote.leader == id,
        Role::Following(follower) => follower.round == round && follower.leader == id,
        Role::Leading(leader) => leader.round == round && *sid == id,
    };
    e.running().filter(supports).map(|(sid, _)| sid).collect()
}

/// Who wins an election has the highest vote of those who support it.
pub fn strongest_elected<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    !e.record.weak_leader
}

/// Somebody has won an election.
pub fn somebody_elected<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running().any(|(_, state)| state.is_leading())
}
