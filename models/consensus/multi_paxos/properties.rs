//! What must hold of `models/consensus/multi_paxos.rs`, and what is claimed to go wrong.
//!
//! Spec: `spec/consensus.md`, "Multi-Paxos". What it must never do: change what the actor does.

use super::words::{tell_value, tell_vote};
use super::*;
use crate::consensus::bounds::Bounds;
use crate::consensus::environment::{Ensemble, Envelope, World};
use crate::consensus::protocol::{Card, Claim, Invariant, Mutant, Protocol, Term, Told, mutant};
use stateright::actor::Id;
use std::collections::BTreeSet;

impl Protocol for MultiPaxos {
    type Rule = Rule;
    type Past = Past;

    const ALIKE: bool = true;
    const CARD: Card = Card {
        name: "multi_paxos",
        about: "Multi-Paxos: a log, each slot decided by Paxos, the first phase once for each leader",
        bounds: &[
            THREE.writes(1).timeouts(2).crashes(1),
            THREE.writes(2).timeouts(1).crashes(1),
            THREE.writes(2).timeouts(2),
        ],
        durable: "every server: its promise and what it accepted in each slot, before it answers or sends",
    };

    const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            id: "multi_agreement",
            term: Term::Agreement,
            prose: "No two values are chosen for a slot.",
            broken: |_, world| {
                let all: Vec<_> = chosen(world).collect();
                let other = |(slot, vote): &(Slot, Vote)| {
                    all.iter()
                        .find(|(known, other)| known == slot && other.value != vote.value)
                };
                let ((slot, one), (_, other)) =
                    all.iter().find_map(|one| Some((one, other(one)?)))?;
                let (one, other) = (tell_vote(one), tell_vote(other));
                Some(format!(
                    "a majority accepted {one} for slot {}, and a majority {other}",
                    slot.0
                ))
            },
            witness_id: "slot_chosen_in_two_ballots",
            witness: |_, world| {
                let slots: Vec<_> = chosen(world).map(|(slot, _)| slot).collect();
                slots.windows(2).any(|pair| pair[0] == pair[1])
            },
        },
        Invariant {
            id: "multi_known_is_chosen",
            term: Term::Agreement,
            prose: "What a server takes for chosen is chosen.",
            broken: |model, world| {
                let is_chosen = |slot, value| {
                    chosen(world).any(|(known, vote)| (known, vote.value) == (slot, value))
                };
                let wrong = |(id, state): (Id, &State)| {
                    let mut known = state.chosen.iter();
                    let (slot, value) = known.find(|(slot, value)| !is_chosen(**slot, **value))?;
                    let name = model.protocol.name_of(id);
                    Some(format!(
                        "{name} takes {} for chosen in slot {}",
                        tell_value(*value),
                        slot.0
                    ))
                };
                world.up().find_map(wrong)
            },
            witness_id: "two_servers_know",
            witness: |_, world| {
                world
                    .up()
                    .filter(|(_, state)| !state.chosen.is_empty())
                    .count()
                    > 1
            },
        },
        Invariant {
            id: "multi_validity",
            term: Term::Validity,
            prose: "What is accepted was asked for, or fills a slot before one that is in use.",
            broken: |model, world| {
                let Past(slots) = &world.past;
                let last = slots.keys().last()?;
                let asked = |slot: &Slot, value: Value| match value {
                    NO_OP => slot < last,
                    Value(number) => number <= model.bounds.writes,
                };
                let mut all = slots
                    .iter()
                    .flat_map(|(slot, votes)| votes.keys().map(move |vote| (slot, vote)));
                let (slot, vote) = all.find(|(slot, vote)| !asked(slot, vote.value))?;
                Some(format!(
                    "accepted for slot {} is {}, for which nobody asked",
                    slot.0,
                    tell_vote(vote)
                ))
            },
            witness_id: "gap_is_filled",
            witness: |_, world| chosen(world).any(|(_, vote)| vote.value == NO_OP),
        },
        Invariant {
            id: "multi_chosen_stays",
            term: Term::Stability,
            prose: "Once a value is chosen for a slot, every newer ballot proposes it there.",
            broken: |_, world| {
                let Past(slots) = &world.past;
                let changed = |(slot, was): (Slot, Vote)| {
                    let mut proposed = slots[&slot].keys();
                    let later = proposed
                        .find(|vote| vote.ballot > was.ballot && vote.value != was.value)?;
                    let (was, later) = (tell_vote(&was), tell_vote(later));
                    Some(format!(
                        "{was} is chosen for slot {}, and then proposed is {later}",
                        slot.0
                    ))
                };
                chosen(world).find_map(changed)
            },
            witness_id: "slot_proposed_after_chosen",
            witness: |_, world| {
                let Past(slots) = &world.past;
                chosen(world)
                    .any(|(slot, was)| slots[&slot].keys().any(|vote| vote.ballot > was.ballot))
            },
        },
        Invariant {
            id: "multi_in_order",
            term: Term::Stability,
            prose: "When a client is told that its command is done, all slots before it are chosen.",
            broken: |_, world| {
                let known: BTreeMap<_, _> = chosen(world)
                    .map(|(slot, vote)| (slot, vote.value))
                    .collect();
                let whole = known
                    .iter()
                    .zip(1..)
                    .take_while(|((slot, _), place)| slot.0 == *place);
                let whole: Vec<_> = whole.map(|((_, value), _)| *value).collect();
                let early = done(world).find(|value| !whole.contains(value))?;
                Some(format!(
                    "{} is done, and before it there is a gap",
                    tell_value(early)
                ))
            },
            witness_id: "gap_before_chosen",
            witness: |_, world| {
                let slots: BTreeSet<_> = chosen(world).map(|(slot, _)| slot).collect();
                slots
                    .last()
                    .is_some_and(|slot| slots.len() < usize::from(slot.0))
            },
        },
        Invariant {
            id: "multi_no_gaps",
            term: Term::Stability,
            prose: "A leader has proposed something for every slot up to the last one.",
            broken: |model, world| {
                let gap = |state: &State| {
                    let mut slots = state.disk.votes.keys().zip(1..);
                    slots
                        .find(|(slot, place)| slot.0 != *place)
                        .map(|(slot, _)| *slot)
                };
                let mut leaders = world
                    .up()
                    .filter(|(_, state)| matches!(state.role, Role::Leader(_)));
                let (id, slot) = leaders.find_map(|(id, state)| Some((id, gap(state)?)))?;
                let name = model.protocol.name_of(id);
                Some(format!(
                    "{name} leads, and before slot {} there is a gap",
                    slot.0
                ))
            },
            witness_id: "leader_fills_gap",
            witness: |_, world| {
                let fills = |state: &State| {
                    let no_op = state.disk.votes.values().any(|vote| vote.value == NO_OP);
                    no_op && matches!(state.role, Role::Leader(_))
                };
                world.up().any(|(_, state)| fills(state))
            },
        },
        Invariant {
            id: "multi_one_value_a_ballot",
            term: Term::Leadership,
            prose: "In a ballot one value is proposed for a slot.",
            broken: |_, world| {
                let Past(slots) = &world.past;
                let twice = |(slot, votes): (&Slot, &BTreeMap<Vote, _>)| {
                    let mut pairs = votes.keys().zip(votes.keys().skip(1));
                    let (one, other) = pairs.find(|(one, other)| one.ballot == other.ballot)?;
                    Some(format!(
                        "proposed for slot {} are {} and {}",
                        slot.0,
                        tell_vote(one),
                        tell_vote(other)
                    ))
                };
                slots.iter().find_map(twice)
            },
            witness_id: "slot_proposed_in_two_ballots",
            witness: |_, world| world.past.0.values().any(|votes| votes.len() > 1),
        },
        Invariant {
            id: "multi_majority_goes_on",
            term: Term::Progress,
            prose: "With a minority of the servers down, every command can be done.",
            broken: |model, world| {
                // Where all are up, whatever is possible without one of them is possible with it.
                let asked = suffices(world) && world.down() > 0;
                let stuck = asked && !model.leads_to(world, all_done);
                stuck.then(|| "a majority is up, and no step leads on".to_owned())
            },
            witness_id: "minority_down",
            witness: |_, world| world.down() == 1,
        },
    ];

    const CLAIMS: &'static [Claim<Self>] = &[Claim {
        id: "multi_majority_down",
        term: Term::Progress,
        prose: "Without a majority of the servers nothing is done any more",
        bounds: THREE.timeouts(1).crashes(2),
        found: |model, world| {
            let stuck = !suffices(world) && !model.leads_to(world, all_done);
            stuck.then(|| "no step leads to an answer while they are down".to_owned())
        },
    }];

    const MUTANTS: &'static [Mutant<Rule>] = &[
        mutant(
            "multi_own_value",
            Rule::TakesOver,
            TWO.timeouts(2),
            "multi_agreement",
        ),
        mutant(
            "multi_own_value",
            Rule::TakesOver,
            TWO.timeouts(2),
            "multi_chosen_stays",
        ),
        mutant(
            "multi_breaks_promise",
            Rule::KeepsPromise,
            TWO.timeouts(2),
            "multi_agreement",
        ),
        mutant(
            "multi_forgets_promise",
            Rule::SavesPromise,
            TWO.timeouts(2).crashes(1),
            "multi_agreement",
        ),
        mutant(
            "multi_forgets_votes",
            Rule::SavesVotes,
            TWO.timeouts(2).crashes(1),
            "multi_agreement",
        ),
        mutant(
            "multi_minority",
            Rule::NoMinority,
            THREE.timeouts(1),
            "multi_known_is_chosen",
        ),
        mutant(
            "multi_no_op_behind",
            Rule::FillsGapsAlone,
            THREE.writes(0).timeouts(1),
            "multi_validity",
        ),
        mutant(
            "multi_leaves_gap",
            Rule::FillsGaps,
            TWO.timeouts(2),
            "multi_no_gaps",
        ),
        mutant(
            "multi_answers_early",
            Rule::InOrder,
            TWO.timeouts(1),
            "multi_in_order",
        ),
        mutant(
            "multi_reuses_slot",
            Rule::UsesSlotOnce,
            TWO.timeouts(1),
            "multi_one_value_a_ballot",
        ),
        mutant(
            "multi_waits_for_all",
            Rule::Majority,
            THREE.crashes(1),
            "multi_majority_goes_on",
        ),
    ];

    fn new(bounds: &Bounds, broken: Option<Rule>) -> Self {
        Self {
            servers: (0..bounds.size()).map(Id::from).collect(),
            broken,
        }
    }

    /// The client does not know who leads, and asks everybody.
    fn requests(&self, writes: u8) -> Vec<(Id, Msg)> {
        let requests = (1..=writes).map(|number| Msg::Request(Value(number)));
        requests
            .flat_map(|request| self.servers.iter().map(move |id| (*id, request.clone())))
            .collect()
    }

    fn is_obsolete(&self, receiver: &State, envelope: &Envelope<Msg>) -> bool {
        let State { disk, role, .. } = receiver;
        match &envelope.message {
            Msg::Prepare(ballot) => {
                disk.promised >= Some(*ballot) && self.broken != Some(Rule::SavesPromise)
            }
            Msg::Promise(ballot, _) => match role {
                Role::Preparing(promises, _) => {
                    disk.promised > Some(*ballot) || promises.contains(&envelope.src)
                }
                Role::Follower | Role::Leader(_) => disk.promised >= Some(*ballot),
            },
            Msg::Accept(slot, vote) => {
                let refused =
                    disk.promised > Some(vote.ballot) && self.broken != Some(Rule::KeepsPromise);
                let known =
                    disk.votes.get(slot) == Some(vote) && self.broken != Some(Rule::SavesVotes);
                refused || known
            }
            Msg::Accepted(slot, ballot) => match role {
                Role::Leader(waiting) => {
                    let counted = |accepted: &BTreeSet<Id>| accepted.contains(&envelope.src);
                    disk.promised > Some(*ballot) || waiting.get(slot).is_none_or(counted)
                }
                Role::Follower | Role::Preparing(..) => disk.promised >= Some(*ballot),
            },
            // Of the current ballot it may have to learn again, after a crash.
            Msg::Chosen(_, vote) => disk.promised > Some(vote.ballot),
            Msg::Request(_) | Msg::Done(_) => false,
        }
    }

    fn note(&self, world: &mut World<Self>) {
        let Past(slots) = &mut world.past;
        for (place, node) in world.nodes.iter().enumerate() {
            let votes = node.state.iter().flat_map(|state| &state.disk.votes);
            for (slot, vote) in votes {
                let accepted = slots.entry(*slot).or_default().entry(*vote).or_default();
                accepted.insert(Id::from(place));
            }
        }
    }

    fn done(world: &World<Self>, writes: u8) -> bool {
        world.answers().count() >= usize::from(writes)
    }
}

const THREE: Bounds = Bounds::servers(3);

const TWO: Bounds = THREE.writes(2);

/// What a majority has accepted in one ballot, by slot.
fn chosen(world: &World<MultiPaxos>) -> impl Iterator<Item = (Slot, Vote)> {
    let Past(slots) = &world.past;
    let votes = slots
        .iter()
        .flat_map(|(slot, votes)| votes.iter().map(move |(vote, ids)| (*slot, *vote, ids)));
    let of_majority = votes.filter(|(_, _, ids)| is_majority(ids.len(), world.nodes.len()));
    of_majority.map(|(slot, vote, _)| (slot, vote))
}

/// What clients were told to be done.
fn done(world: &World<MultiPaxos>) -> impl Iterator<Item = Value> {
    world.answers().filter_map(|message| match message {
        Msg::Done(value) => Some(*value),
        Msg::Request(_)
        | Msg::Prepare(_)
        | Msg::Promise(..)
        | Msg::Accept(..)
        | Msg::Accepted(..)
        | Msg::Chosen(..) => None,
    })
}

fn suffices(world: &World<MultiPaxos>) -> bool {
    is_majority(world.up().count(), world.nodes.len())
}

fn all_done(model: &Ensemble<MultiPaxos>, world: &World<MultiPaxos>) -> bool {
    MultiPaxos::done(world, model.bounds.writes)
}
