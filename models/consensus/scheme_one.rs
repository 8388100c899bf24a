//! Scheme one of the notes: one acceptor gives the access to one proposer at a time, like a lock.
//!
//! Spec: `spec/consensus.md`, "Scheme one". What it must never do: change a value that was accepted.

use super::acceptor::Value;
use super::bounds::Bounds;
use super::environment::{Ensemble, World, client};
use super::protocol::{Card, Claim, Invariant, Mutant, Protocol, Term, mutant};
use crate::svg::{Kind, Stand};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

/// Proposers that want values accepted, and the one acceptor.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct SchemeOne {
    proposers: Vec<Id>,
    acceptor: Id,
    broken: Option<Rule>,
}

/// What a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Rule {
    /// Only one has the access.
    Exclusive,
    /// A proposer takes over the value that is there.
    TakesOver,
    /// What the acceptor accepts is on disk before it says so.
    SavesValue,
    /// A proposer proposes what it was asked for.
    WaitsForRequest,
    /// A proposer gives back access that it needs no more.
    Releases,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Msg {
    /// The client wants this value.
    Request(Value),
    /// A proposer wants the access.
    Prepare,
    /// It has it; this value is there.
    Granted(Option<Value>),
    /// Accept this, and take the access back.
    Accept(Value),
    Accepted(Value),
    /// Take the access back.
    Release,
    /// The client is told what is accepted.
    Decided(Value),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum State {
    Proposer(Proposer),
    Acceptor(Acceptor),
}

#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Proposer {
    Idle,
    /// It waits for the access.
    Asking(Value),
    /// It has the access and has proposed a value.
    Holding(Value),
    Decided(Value),
}

/// All of it is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Hash)]
pub struct Acceptor {
    holder: Option<Id>,
    value: Option<Value>,
}

/// A proposer asks again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retry;

impl Actor for SchemeOne {
    type Msg = Msg;
    type Timer = Retry;
    type State = State;
    type Storage = Acceptor;
    type Random = ();

    fn on_start(&self, id: Id, disk: &Option<Acceptor>, out: &mut Out<Self>) -> State {
        if id == self.acceptor {
            return State::Acceptor(disk.unwrap_or_default());
        }
        let mut proposer = Proposer::Idle;
        if self.broken == Some(Rule::WaitsForRequest) {
            self.on_request(&mut proposer, Value(0), out);
        }
        State::Proposer(proposer)
    }

    fn on_msg(&self, _: Id, state: &mut Cow<'_, State>, src: Id, msg: Msg, out: &mut Out<Self>) {
        match (state.to_mut(), msg) {
            (State::Proposer(proposer), Msg::Request(value)) => {
                self.on_request(proposer, value, out);
            }
            (State::Acceptor(acceptor), Msg::Prepare) => self.on_prepare(acceptor, src, out),
            (State::Proposer(proposer), Msg::Granted(value)) => {
                self.on_granted(proposer, value, out);
            }
            (State::Acceptor(acceptor), Msg::Accept(value)) => {
                self.on_accept(acceptor, src, value, out);
            }
            (State::Proposer(proposer), Msg::Accepted(value)) => {
                if *proposer == Proposer::Holding(value) {
                    self.decide(proposer, value, out);
                }
            }
            (State::Acceptor(acceptor), Msg::Release) => {
                if acceptor.holder == Some(src) {
                    acceptor.holder = None;
                    out.save(*acceptor);
                }
            }
            // Not for this role, or for the client: nobody honest sends it here.
            (
                State::Proposer(_),
                Msg::Prepare | Msg::Accept(_) | Msg::Release | Msg::Decided(_),
            )
            | (
                State::Acceptor(_),
                Msg::Request(_) | Msg::Granted(_) | Msg::Accepted(_) | Msg::Decided(_),
            ) => {}
        }
    }

    fn on_timeout(&self, _: Id, state: &mut Cow<'_, State>, _: &Retry, out: &mut Out<Self>) {
        match **state {
            State::Proposer(Proposer::Asking(_)) => out.send(self.acceptor, Msg::Prepare),
            State::Proposer(Proposer::Holding(value)) => {
                out.send(self.acceptor, Msg::Accept(value));
            }
            State::Proposer(Proposer::Idle | Proposer::Decided(_)) | State::Acceptor(_) => return,
        }
        out.set_timer(Retry, WAIT);
    }
}

impl SchemeOne {
    fn on_request(&self, proposer: &mut Proposer, value: Value, out: &mut Out<Self>) {
        if *proposer == Proposer::Idle {
            *proposer = Proposer::Asking(value);
            out.send(self.acceptor, Msg::Prepare);
            out.set_timer(Retry, WAIT);
        }
    }

    fn on_prepare(&self, acceptor: &mut Acceptor, src: Id, out: &mut Out<Self>) {
        let free = acceptor.holder.is_none_or(|holder| holder == src);
        if free || self.broken == Some(Rule::Exclusive) {
            acceptor.holder = Some(src);
            out.save(*acceptor);
            out.send(src, Msg::Granted(acceptor.value));
        }
    }

    fn on_granted(&self, proposer: &mut Proposer, value: Option<Value>, out: &mut Out<Self>) {
        match (*proposer, value) {
            (Proposer::Asking(own), Some(_)) if self.broken == Some(Rule::TakesOver) => {
                *proposer = Proposer::Holding(own);
                out.send(self.acceptor, Msg::Accept(own));
            }
            (Proposer::Asking(own), None) => {
                *proposer = Proposer::Holding(own);
                out.send(self.acceptor, Msg::Accept(own));
            }
            (Proposer::Asking(_), Some(there)) => {
                self.release(out);
                self.decide(proposer, there, out);
            }
            // An old Prepare has arrived again: it needs the access no more.
            (Proposer::Decided(_), _) => self.release(out),
            (Proposer::Holding(_), _) => {} // It has proposed already.
            // It has crashed since. If it gave back the access now, an Accept that it had sent could come later, when it
            // has the access for the second time, and take the place of another proposer's value.
            (Proposer::Idle, _) => {}
        }
    }

    fn release(&self, out: &mut Out<Self>) {
        if self.broken != Some(Rule::Releases) {
            out.send(self.acceptor, Msg::Release);
        }
    }

    fn on_accept(&self, acceptor: &mut Acceptor, src: Id, value: Value, out: &mut Out<Self>) {
        if acceptor.holder == Some(src) {
            *acceptor = Acceptor {
                holder: None,
                value: Some(value),
            };
            if self.broken != Some(Rule::SavesValue) {
                out.save(*acceptor);
            }
        }
        if acceptor.value == Some(value) {
            out.send(src, Msg::Accepted(value));
        }
    }

    fn decide(&self, proposer: &mut Proposer, value: Value, out: &mut Out<Self>) {
        *proposer = Proposer::Decided(value);
        out.cancel_timer(Retry);
        out.send(client(), Msg::Decided(value));
    }
}

/// How long a proposer waits before it asks again, on a real network.
const WAIT: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(300);

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
