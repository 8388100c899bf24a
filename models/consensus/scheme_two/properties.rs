//! What must hold of `models/consensus/scheme_two.rs`, what is claimed to go wrong, and how it is told.
//!
//! Spec: `spec/consensus.md`, "Scheme two". What it must never do: change what the actor does.

use super::{Disk, Msg, Proposer, Retry, Rule, SchemeTwo, Stage, State};
use crate::consensus::acceptor::{Acceptor, Value};
use crate::consensus::bounds::Bounds;
use crate::consensus::environment::{Ensemble, World};
use crate::consensus::protocol::{Card, Claim, Invariant, Mutant, Protocol, Term, Told, mutant};
use crate::svg::{Kind, Stand};
use stateright::actor::Id;
use std::collections::BTreeSet;

impl Protocol for SchemeTwo {
    type Rule = Rule;
    /// Every value that the acceptor ever had.
    type Past = BTreeSet<Value>;

    const LOG: bool = false;
    const CARD: Card = Card {
        name: "scheme_two",
        about: "scheme two of the notes: one acceptor, and a newer ballot takes the access away",
        bounds: &[
            Bounds::roles(2, 1).timeouts(1).crashes(2),
            Bounds::roles(3, 1).crashes(1),
        ],
        durable: "acceptor: promise and vote, before it answers; proposer: its round, before it prepares",
    };

    const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            id: "epoch_agreement",
            term: Term::Agreement,
            prose: "All clients are told the same value.",
            broken: |_, world| {
                let told: BTreeSet<_> = world.answers().collect();
                (told.len() > 1).then(|| format!("clients were told {told:?}"))
            },
            witness_id: "two_have_decided",
            witness: |_, world| {
                let decided = |(_, state): &(Id, &State)| {
                    matches!(
                        state,
                        State::Proposer(Proposer {
                            stage: Stage::Decided(_),
                            ..
                        })
                    )
                };
                world.up().filter(decided).count() > 1
            },
        },
        Invariant {
            id: "epoch_validity",
            term: Term::Validity,
            prose: "What is accepted was asked for.",
            broken: |model, world| {
                let asked = 1..=model.bounds.writes;
                let value = world.past.iter().find(|value| !asked.contains(&value.0))?;
                Some(format!("accepted is {value}, for which nobody asked"))
            },
            witness_id: "epoch_value_accepted",
            witness: |_, world| !world.past.is_empty(),
        },
        Invariant {
            id: "epoch_value_stays",
            term: Term::Stability,
            prose: "What the acceptor has accepted never changes.",
            broken: |_, world| {
                let mut values = world.past.iter();
                let (one, other) = (values.next()?, values.next()?);
                Some(format!("the acceptor had {one} and {other}"))
            },
            witness_id: "newer_ballot_after_value",
            witness: |model, world| match world.state(model.protocol.acceptor) {
                Some(State::Acceptor(Acceptor { promised, accepted })) => {
                    accepted.is_some_and(|vote| *promised > Some(vote.ballot))
                }
                Some(State::Proposer(_)) | None => false,
            },
        },
        Invariant {
            id: "dead_proposer_is_passed",
            term: Term::Progress,
            prose: "With the acceptor and one proposer up, a value can be decided, whoever had the access.",
            broken: |model, world| {
                let stuck = suffices(model, world) && !model.leads_to(world, somebody_knows);
                stuck.then(|| "no step leads to a value".to_owned())
            },
            witness_id: "dead_proposer_had_access",
            witness: |model, world| match world.state(model.protocol.acceptor) {
                Some(State::Acceptor(Acceptor {
                    promised: Some(ballot),
                    accepted: None,
                })) => suffices(model, world) && !world.is_up(ballot.proposer),
                Some(_) | None => false,
            },
        },
    ];

    const CLAIMS: &'static [Claim<Self>] = &[Claim {
        id: "acceptor_down_blocks",
        term: Term::Progress,
        prose: "The acceptor is a single point of failure",
        bounds: Bounds::roles(2, 1).crashes(1),
        found: |model, world| {
            let asks = |(_, state): (Id, &State)| {
                matches!(
                    state,
                    State::Proposer(Proposer {
                        stage: Stage::Asking(_),
                        ..
                    })
                )
            };
            let dead = !world.is_up(model.protocol.acceptor) && world.up().any(asks);
            let stuck = dead && !model.leads_to(world, somebody_knows);
            stuck.then(|| {
                "all proposers are up, and no step leads to a value while the acceptor is down"
                    .to_owned()
            })
        },
    }];

    const MUTANTS: &'static [Mutant<Rule>] = &[
        mutant(
            "epoch_old_accepted",
            Rule::NewestOnly,
            TWO,
            "epoch_value_stays",
        ),
        mutant("epoch_own_value", Rule::TakesOver, TWO, "epoch_agreement"),
        mutant("epoch_own_value", Rule::TakesOver, TWO, "epoch_value_stays"),
        mutant(
            "epoch_forgets_value",
            Rule::SavesVote,
            TWO.crashes(1),
            "epoch_agreement",
        ),
        mutant(
            "epoch_unasked",
            Rule::WaitsForRequest,
            TWO,
            "epoch_validity",
        ),
        mutant(
            "epoch_locked",
            Rule::Preempts,
            TWO.crashes(1),
            "dead_proposer_is_passed",
        ),
    ];

    fn new(bounds: &Bounds, broken: Option<Rule>) -> Self {
        let proposers = usize::from(bounds.proposers);
        Self {
            proposers: (0..proposers).map(Id::from).collect(),
            acceptor: Id::from(proposers),
            broken,
        }
    }

    /// Each proposer is asked for a value of its own.
    fn requests(&self, writes: u8) -> Vec<(Id, Msg)> {
        let values = (1..=writes).map(|value| Msg::Request(Value(value)));
        self.proposers.iter().copied().zip(values).collect()
    }

    fn done(world: &World<Self>, _: u8) -> bool {
        world.answers().next().is_some()
    }

    fn note(&self, world: &mut World<Self>) {
        if let Some(State::Acceptor(acceptor)) = world.state(self.acceptor) {
            let value = acceptor.accepted.map(|vote| vote.value);
            world.past.extend(value);
        }
    }
}

impl Told for SchemeTwo {
    fn name_of(&self, id: Id) -> String {
        match id == self.acceptor {
            true => "the acceptor".to_owned(),
            false => format!("proposer {}", usize::from(id) + 1),
        }
    }

    fn state(&self, state: &State) -> String {
        match state {
            State::Acceptor(acceptor) => acceptor.to_string(),
            State::Proposer(Proposer { round, stage }) => match stage {
                Stage::Idle => format!("idle, last round {round}"),
                Stage::Asking(value) => format!("prepares round {round}, for {value}"),
                Stage::Proposing(value) => format!("proposes {value} in round {round}"),
                Stage::Decided(value) => format!("knows that it is {value}"),
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
            Msg::Granted(ballot, None) => format!("Granted {ballot} (no value)"),
            Msg::Granted(ballot, Some(value)) => format!("Granted {ballot} ({value})"),
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
                Stage::Idle | Stage::Asking(_) => Kind::Idle,
                Stage::Proposing(_) => Kind::Follows,
                Stage::Decided(_) => Kind::Leads,
            },
        };
        let words = self.state(state);
        Stand { kind, words }
    }
}

const TWO: Bounds = Bounds::roles(2, 1);

fn somebody_knows(_: &Ensemble<SchemeTwo>, world: &World<SchemeTwo>) -> bool {
    SchemeTwo::done(world, 1)
}

/// The acceptor is up, and a proposer.
fn suffices(model: &Ensemble<SchemeTwo>, world: &World<SchemeTwo>) -> bool {
    let up = |id: &Id| world.is_up(*id);
    up(&model.protocol.acceptor) && model.protocol.proposers.iter().any(up)
}
