//! What must hold of `models/consensus/paxos.rs`, what is claimed to go wrong, and how it is told.
//!
//! Spec: `spec/consensus.md`, "Paxos". What it must never do: change what the actor does.

use super::duel::duel;
use super::{Disk, Msg, Past, Paxos, Proposer, Retry, Rule, Stage, State};
use crate::consensus::acceptor::{Acceptor, Value, Vote};
use crate::consensus::bounds::Bounds;
use crate::consensus::environment::{Ensemble, Envelope, World};
use crate::consensus::protocol::{
    Card, Claim, Invariant, Mutant, Protocol, Term, Told, is_majority, mutant,
};
use crate::svg::{Kind, Stand};
use stateright::actor::Id;
use std::collections::BTreeSet;

impl Protocol for Paxos {
    type Rule = Rule;
    type Past = Past;

    const LOG: bool = false;
    const CARD: Card = Card {
        name: "paxos",
        about: "Paxos: proposers with ballots, acceptors of which a majority chooses one value",
        bounds: &[
            Bounds::roles(2, 3).timeouts(1),
            Bounds::roles(2, 3).crashes(1),
        ],
        durable: "acceptor: promise and vote, before it answers; proposer: its round, before it prepares",
    };

    const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            id: "paxos_agreement",
            term: Term::Agreement,
            prose: "No two values are chosen.",
            broken: |model, world| {
                let chosen = chosen(model, world);
                let first = chosen.first()?;
                let other = chosen.iter().find(|other| other.value != first.value)?;
                Some(format!(
                    "a majority accepted {first}, and a majority {other}"
                ))
            },
            witness_id: "chosen_in_two_ballots",
            witness: |model, world| chosen(model, world).len() > 1,
        },
        Invariant {
            id: "paxos_validity",
            term: Term::Validity,
            prose: "What is accepted was asked for.",
            broken: |model, world| {
                let asked = model.protocol.requests(model.bounds.writes);
                let asked = |value| asked.iter().any(|(_, msg)| *msg == Msg::Request(value));
                let vote = world.past.votes.keys().find(|vote| !asked(vote.value))?;
                Some(format!("accepted is {vote}, for which nobody asked"))
            },
            witness_id: "two_values_accepted",
            witness: |_, world| {
                let votes = world.past.votes.keys();
                votes.map(|vote| vote.value).collect::<BTreeSet<_>>().len() > 1
            },
        },
        Invariant {
            id: "paxos_chosen_stays",
            term: Term::Stability,
            prose: "Once a value is chosen, every newer ballot proposes it.",
            broken: |model, world| {
                let chosen = chosen(model, world);
                let changes = |vote: &&Vote| {
                    let earlier = |c: &&Vote| c.ballot < vote.ballot && c.value != vote.value;
                    chosen.iter().any(|c| earlier(&c))
                };
                let later = world.past.proposed.iter().find(changes)?;
                let was = chosen.iter().find(|c| c.ballot < later.ballot)?;
                Some(format!("{was} is chosen, and then proposed is {later}"))
            },
            witness_id: "proposed_after_chosen",
            witness: |model, world| {
                let chosen = chosen(model, world);
                let mut proposed = world.past.proposed.iter();
                proposed.any(|vote| chosen.iter().any(|c| c.ballot < vote.ballot))
            },
        },
        Invariant {
            id: "paxos_one_value_a_ballot",
            term: Term::Leadership,
            prose: "In a ballot only one value is proposed.",
            broken: |_, world| {
                let all = &world.past.proposed;
                let twice = all.iter().zip(all.iter().skip(1));
                let (one, other) = twice.into_iter().find(|(a, b)| a.ballot == b.ballot)?;
                Some(format!("proposed are {one} and {other}"))
            },
            witness_id: "two_ballots_propose",
            witness: |_, world| {
                let proposed = world.past.proposed.iter();
                proposed
                    .map(|vote| vote.ballot)
                    .collect::<BTreeSet<_>>()
                    .len()
                    > 1
            },
        },
        Invariant {
            id: "paxos_minority_may_fail",
            term: Term::Progress,
            prose: "With a majority of acceptors and one proposer up, a value can be decided.",
            broken: |model, world| {
                let stuck = suffices(model, world) && !model.leads_to(world, is_decided);
                stuck.then(|| "no step leads to a decision".to_owned())
            },
            witness_id: "acceptor_down",
            witness: |model, world| world.down() == 1 && suffices(model, world),
        },
    ];

    const CLAIMS: &'static [Claim<Self>] = &[
        Claim {
            id: "paxos_duel",
            term: Term::Progress,
            prose: "Two proposers may take the access away from each other for ever",
            bounds: Bounds::roles(2, 3).timeouts(1),
            found: duel,
        },
        Claim {
            id: "paxos_majority_down",
            term: Term::Progress,
            prose: "Without a majority of the acceptors nothing is decided any more",
            bounds: Bounds::roles(1, 3).crashes(2),
            found: |model, world| {
                let asked = |(_, state): (Id, &State)| match state {
                    State::Proposer(proposer) => proposer.value.is_some(),
                    State::Acceptor(_) => false,
                };
                let dead = world.up().any(asked) && !suffices(model, world);
                let stuck = dead && !model.leads_to(world, is_decided);
                stuck.then(|| "no step leads to a decision while they are down".to_owned())
            },
        },
    ];

    const MUTANTS: &'static [Mutant<Rule>] = &[
        mutant(
            "paxos_own_value",
            Rule::TakesOver,
            Bounds::roles(2, 3),
            "paxos_agreement",
        ),
        mutant(
            "paxos_own_value",
            Rule::TakesOver,
            Bounds::roles(2, 3),
            "paxos_chosen_stays",
        ),
        mutant(
            "paxos_oldest_vote",
            Rule::NewestFirst,
            Bounds::roles(2, 3).timeouts(1),
            "paxos_agreement",
        ),
        mutant(
            "paxos_breaks_promise",
            Rule::KeepsPromise,
            Bounds::roles(2, 3),
            "paxos_agreement",
        ),
        mutant(
            "paxos_forgets_vote",
            Rule::SavesVotes,
            Bounds::roles(2, 3).crashes(1),
            "paxos_agreement",
        ),
        mutant(
            "paxos_forgets_round",
            Rule::SavesRounds,
            Bounds::roles(2, 3).crashes(1),
            "paxos_one_value_a_ballot",
        ),
        mutant(
            "paxos_unasked",
            Rule::WaitsForRequest,
            Bounds::roles(1, 3),
            "paxos_validity",
        ),
        mutant(
            "paxos_waits_for_all",
            Rule::Majority,
            Bounds::roles(1, 3).crashes(1),
            "paxos_minority_may_fail",
        ),
    ];

    fn new(bounds: &Bounds, broken: Option<Rule>) -> Self {
        let proposers = usize::from(bounds.proposers);
        let all = proposers + usize::from(bounds.acceptors);
        Self {
            proposers: (0..proposers).map(Id::from).collect(),
            acceptors: (proposers..all).map(Id::from).collect(),
            broken,
        }
    }

    /// Each proposer is asked for a value of its own.
    fn requests(&self, writes: u8) -> Vec<(Id, Msg)> {
        let values = (1..=writes).map(|value| Msg::Request(Value(value)));
        self.proposers.iter().copied().zip(values).collect()
    }

    fn is_obsolete(&self, receiver: &State, envelope: &Envelope<Msg>) -> bool {
        if self.broken == Some(Rule::SavesRounds) {
            return false; // What is old for others it may use again.
        }
        match (receiver, &envelope.message) {
            (State::Acceptor(acceptor), Msg::Prepare(ballot)) => acceptor.promised >= Some(*ballot),
            (State::Acceptor(acceptor), Msg::Accept(vote)) => {
                let refused = self.broken != Some(Rule::KeepsPromise)
                    && acceptor.promised > Some(vote.ballot);
                refused || acceptor.accepted == Some(*vote)
            }
            (State::Proposer(proposer), Msg::Promise(ballot, _)) => match &proposer.stage {
                Stage::Preparing(promises) => {
                    let counted = promises.contains_key(&envelope.src);
                    ballot.round < proposer.round || counted && ballot.round == proposer.round
                }
                Stage::Idle | Stage::Accepting(..) | Stage::Decided(_) => {
                    ballot.round <= proposer.round
                }
            },
            (State::Proposer(proposer), Msg::Accepted(vote)) => match &proposer.stage {
                Stage::Accepting(current, accepted) => {
                    vote != current || accepted.contains(&envelope.src)
                }
                Stage::Preparing(_) => vote.ballot.round < proposer.round,
                Stage::Idle | Stage::Decided(_) => vote.ballot.round <= proposer.round,
            },
            _ => false,
        }
    }

    fn note(&self, world: &mut World<Self>) {
        let Past { votes, proposed } = &mut world.past;
        for (place, node) in world.nodes.iter().enumerate() {
            match &node.state {
                Some(State::Acceptor(Acceptor {
                    accepted: Some(vote),
                    ..
                })) => {
                    votes.entry(*vote).or_default().insert(Id::from(place));
                }
                Some(State::Proposer(Proposer {
                    stage: Stage::Accepting(vote, _),
                    ..
                })) => {
                    proposed.insert(*vote);
                }
                Some(State::Acceptor(_) | State::Proposer(_)) | None => {}
            }
        }
    }

    fn done(world: &World<Self>, _: u8) -> bool {
        world.answers().next().is_some()
    }
}

impl Told for Paxos {
    fn name_of(&self, id: Id) -> String {
        match self.acceptors.iter().position(|acceptor| *acceptor == id) {
            Some(place) => format!("acceptor {}", place + 1),
            None => format!("proposer {}", usize::from(id) + 1),
        }
    }

    fn state(&self, state: &State) -> String {
        match state {
            State::Acceptor(acceptor) => acceptor.to_string(),
            State::Proposer(Proposer { round, stage, .. }) => match stage {
                Stage::Idle => format!("idle, last round {round}"),
                Stage::Preparing(promises) => {
                    format!("prepares round {round}, promises: {}", promises.len())
                }
                Stage::Accepting(vote, accepted) => {
                    format!("proposes {vote}, accepted by {}", accepted.len())
                }
                Stage::Decided(value) => format!("knows that {value} is chosen"),
            },
        }
    }

    fn disk(&self, disk: &Disk) -> String {
        match disk {
            Disk::Round(round) => format!("round {round}"),
            Disk::Acceptor(acceptor) => acceptor.to_string(),
        }
    }

    fn message(&self, message: &Msg) -> String {
        match message {
            Msg::Request(value) => format!("a request for {value}"),
            Msg::Prepare(ballot) => format!("Prepare {ballot}"),
            Msg::Promise(ballot, None) => format!("Promise {ballot}"),
            Msg::Promise(ballot, Some(vote)) => format!("Promise {ballot} (accepted {vote})"),
            Msg::Accept(vote) => format!("Accept {vote}"),
            Msg::Accepted(vote) => format!("Accepted {vote}"),
            Msg::Decided(value) => format!("Decided {value}"),
        }
    }

    fn timeout(&self, _: &Retry) -> &'static str {
        "has waited long enough and begins a new ballot"
    }

    fn stand(&self, state: &State) -> Stand {
        let kind = match state {
            State::Acceptor(Acceptor { accepted: None, .. }) => Kind::Idle,
            State::Acceptor(_) => Kind::Follows,
            State::Proposer(proposer) => match proposer.stage {
                Stage::Idle | Stage::Preparing(_) => Kind::Idle,
                Stage::Accepting(..) => Kind::Follows,
                Stage::Decided(_) => Kind::Leads,
            },
        };
        let words = match state {
            State::Acceptor(Acceptor { promised, accepted }) => match (promised, accepted) {
                (_, Some(vote)) => vote.to_string(),
                (Some(ballot), None) => format!("promised {ballot}"),
                (None, None) => String::new(),
            },
            State::Proposer(Proposer { round, stage, .. }) => match stage {
                Stage::Idle => String::new(),
                Stage::Preparing(_) => format!("prepares round {round}"),
                Stage::Accepting(vote, _) => format!("proposes {}", vote.value),
                Stage::Decided(value) => format!("knows {value}"),
            },
        };
        Stand { kind, words }
    }
}

/// What a majority of the acceptors has accepted, by ballot.
fn chosen(model: &Ensemble<Paxos>, world: &World<Paxos>) -> Vec<Vote> {
    let size = model.protocol.acceptors.len();
    let votes = world.past.votes.iter();
    let of_majority = votes.filter(|(_, acceptors)| is_majority(acceptors.len(), size));
    of_majority.map(|(vote, _)| *vote).collect()
}

fn is_decided(_: &Ensemble<Paxos>, world: &World<Paxos>) -> bool {
    Paxos::done(world, 1)
}

/// A majority of the acceptors is up, and a proposer.
fn suffices(model: &Ensemble<Paxos>, world: &World<Paxos>) -> bool {
    let up = |ids: &[Id]| ids.iter().filter(|id| world.is_up(**id)).count();
    let Paxos {
        proposers,
        acceptors,
        ..
    } = &model.protocol;
    up(proposers) > 0 && is_majority(up(acceptors), acceptors.len())
}
