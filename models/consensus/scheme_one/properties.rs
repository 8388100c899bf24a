//! What must hold of `models/consensus/scheme_one.rs`, what is claimed to go wrong, and how it is told.
//!
//! Spec: `spec/consensus.md`, "Scheme one". What it must never do: change what the actor does.

use super::{Acceptor, Msg, Proposer, Retry, Rule, SchemeOne, State};
use crate::consensus::acceptor::Value;
use crate::consensus::bounds::Bounds;
use crate::consensus::environment::{Ensemble, World};
use crate::consensus::protocol::{Card, Claim, Invariant, Mutant, Protocol, Term, Told, mutant};
use crate::svg::{Kind, Stand};
use stateright::actor::Id;
use std::collections::BTreeSet;

impl Protocol for SchemeOne {
    type Rule = Rule;
    /// Every value that the acceptor ever had.
    type Past = BTreeSet<Value>;

    const LOG: bool = false;
    const CARD: Card = Card {
        name: "scheme_one",
        about: "scheme one of the notes: one acceptor gives access to one proposer at a time",
        bounds: &[
            Bounds::roles(2, 1).crashes(2),
            Bounds::roles(3, 1).crashes(1),
        ],
        durable: "acceptor: who has the access, and the value, before it answers",
    };

    const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            id: "lock_agreement",
            term: Term::Agreement,
            prose: "All clients are told the same value.",
            broken: |_, world| {
                let told: BTreeSet<_> = world.answers().collect();
                (told.len() > 1).then(|| format!("clients were told {told:?}"))
            },
            witness_id: "two_proposers_decided",
            witness: |_, world| {
                let decided = |(_, state): &(Id, &State)| {
                    matches!(state, State::Proposer(Proposer::Decided(_)))
                };
                world.up().filter(decided).count() > 1
            },
        },
        Invariant {
            id: "lock_validity",
            term: Term::Validity,
            prose: "What is accepted was asked for.",
            broken: |model, world| {
                let asked = 1..=model.bounds.writes;
                let value = world.past.iter().find(|value| !asked.contains(&value.0))?;
                Some(format!("accepted is {value}, for which nobody asked"))
            },
            witness_id: "lock_value_accepted",
            witness: |_, world| !world.past.is_empty(),
        },
        Invariant {
            id: "lock_value_stays",
            term: Term::Stability,
            prose: "What the acceptor has accepted never changes.",
            broken: |_, world| {
                let mut values = world.past.iter();
                let (one, other) = (values.next()?, values.next()?);
                Some(format!("the acceptor had {one} and {other}"))
            },
            witness_id: "access_after_value",
            witness: |model, world| match world.state(model.protocol.acceptor) {
                Some(State::Acceptor(acceptor)) => {
                    acceptor.value.is_some() && acceptor.holder.is_some()
                }
                Some(State::Proposer(_)) | None => false,
            },
        },
        Invariant {
            id: "alive_proposers_go_on",
            term: Term::Progress,
            prose: "While everybody is up, every proposer can get to know the value.",
            broken: |model, world| {
                let stuck = world.down() == 0 && !model.leads_to(world, all_know);
                stuck.then(|| "everybody is up, and no step leads on".to_owned())
            },
            witness_id: "restarted_proposer",
            witness: |model, world| world.down() == 0 && world.left.crashes < model.bounds.crashes,
        },
    ];

    const CLAIMS: &'static [Claim<Self>] = &[Claim {
        id: "dead_holder_deadlocks",
        term: Term::Progress,
        prose: "A proposer that dies while it has the access shuts out all others",
        bounds: Bounds::roles(2, 1).crashes(1),
        found: |model, world| {
            let Some(State::Acceptor(acceptor)) = world.state(model.protocol.acceptor) else {
                return None;
            };
            let holder = acceptor.holder.filter(|holder| !world.is_up(*holder))?;
            let stuck = !model.leads_to(world, somebody_knows);
            let name = model.protocol.name_of(holder);
            stuck.then(|| format!("{name} has the access and is down: no step leads to a value"))
        },
    }];

    const MUTANTS: &'static [Mutant<Rule>] = &[
        mutant("lock_for_all", Rule::Exclusive, TWO, "lock_value_stays"),
        mutant("lock_own_value", Rule::TakesOver, TWO, "lock_agreement"),
        mutant("lock_own_value", Rule::TakesOver, TWO, "lock_value_stays"),
        mutant(
            "lock_forgets_value",
            Rule::SavesValue,
            TWO.crashes(1),
            "lock_value_stays",
        ),
        mutant("lock_unasked", Rule::WaitsForRequest, TWO, "lock_validity"),
        mutant(
            "lock_never_released",
            Rule::Releases,
            Bounds::roles(3, 1),
            "alive_proposers_go_on",
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
            let value = acceptor.value;
            world.past.extend(value);
        }
    }
}

impl Told for SchemeOne {
    fn name_of(&self, id: Id) -> String {
        match id == self.acceptor {
            true => "the acceptor".to_owned(),
            false => format!("proposer {}", usize::from(id) + 1),
        }
    }

    fn state(&self, state: &State) -> String {
        match state {
            State::Acceptor(acceptor) => self.disk(acceptor),
            State::Proposer(Proposer::Idle) => "idle".to_owned(),
            State::Proposer(Proposer::Asking(value)) => format!("wants access, for {value}"),
            State::Proposer(Proposer::Holding(value)) => format!("has access, proposes {value}"),
            State::Proposer(Proposer::Decided(value)) => format!("knows that it is {value}"),
        }
    }

    fn disk(&self, acceptor: &Acceptor) -> String {
        let holder = match acceptor.holder {
            None => "access is free".to_owned(),
            Some(holder) => format!("{} has the access", self.name_of(holder)),
        };
        match acceptor.value {
            None => format!("{holder}, no value"),
            Some(value) => format!("{holder}, {value}"),
        }
    }

    fn message(&self, message: &Msg) -> String {
        match message {
            Msg::Request(value) => format!("a request for {value}"),
            Msg::Prepare => "Prepare".to_owned(),
            Msg::Granted(None) => "Granted (no value)".to_owned(),
            Msg::Granted(Some(value)) => format!("Granted ({value})"),
            Msg::Accept(value) => format!("Accept {value}"),
            Msg::Accepted(value) => format!("Accepted {value}"),
            Msg::Release => "Release".to_owned(),
            Msg::Decided(value) => format!("Decided {value}"),
        }
    }

    fn timeout(&self, _: &Retry) -> &'static str {
        "asks again"
    }

    fn stand(&self, state: &State) -> Stand {
        let kind = match state {
            State::Acceptor(Acceptor { value: None, .. })
            | State::Proposer(Proposer::Idle | Proposer::Asking(_)) => Kind::Idle,
            State::Acceptor(_) | State::Proposer(Proposer::Holding(_)) => Kind::Follows,
            State::Proposer(Proposer::Decided(_)) => Kind::Leads,
        };
        let words = self.state(state);
        Stand { kind, words }
    }
}

const TWO: Bounds = Bounds::roles(2, 1);

fn somebody_knows(_: &Ensemble<SchemeOne>, world: &World<SchemeOne>) -> bool {
    SchemeOne::done(world, 1)
}

fn all_know(model: &Ensemble<SchemeOne>, world: &World<SchemeOne>) -> bool {
    let knows = |id: &Id| {
        matches!(
            world.state(*id),
            Some(State::Proposer(Proposer::Decided(_)))
        )
    };
    model.protocol.proposers.iter().all(knows)
}
