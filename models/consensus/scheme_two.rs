//! Scheme two of the notes: one acceptor, and a newer ballot takes the access away from an older one.
//!
//! Spec: `spec/consensus.md`, "Scheme two". What it must never do: change a value that was accepted.

use super::acceptor::{Acceptor, Ballot, Value, Vote};
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
pub struct SchemeTwo {
    proposers: Vec<Id>,
    acceptor: Id,
    broken: Option<Rule>,
}

/// What a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Rule {
    /// The acceptor accepts nothing from a ballot that has lost the access.
    NewestOnly,
    /// A proposer takes over the value that is there.
    TakesOver,
    /// What the acceptor accepts is on disk before it says so.
    SavesVote,
    /// A proposer proposes what it was asked for.
    WaitsForRequest,
    /// A newer ballot takes the access away, whoever has it.
    Preempts,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Msg {
    /// The client wants this value.
    Request(Value),
    Prepare(Ballot),
    /// The ballot has the access; this value is there.
    Granted(Ballot, Option<Value>),
    Accept(Vote),
    Accepted(Vote),
    /// The client is told what is accepted.
    Decided(Value),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum State {
    Proposer(Proposer),
    Acceptor(Acceptor),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Proposer {
    /// Of its last ballot; 0 is none. On disk before it is used.
    round: u8,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Stage {
    Idle,
    /// It waits for the access, with a value of its own.
    Asking(Value),
    /// It had the access and has proposed a value.
    Proposing(Value),
    Decided(Value),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Disk {
    Round(u8),
    Acceptor(Acceptor),
}

/// A proposer has waited long enough for its ballot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retry;

impl Actor for SchemeTwo {
    type Msg = Msg;
    type Timer = Retry;
    type State = State;
    type Storage = Disk;
    type Random = ();

    fn on_start(&self, id: Id, disk: &Option<Disk>, out: &mut Out<Self>) -> State {
        match disk {
            Some(Disk::Acceptor(acceptor)) => State::Acceptor(*acceptor),
            None if id == self.acceptor => State::Acceptor(Acceptor::default()),
            Some(Disk::Round(round)) => State::Proposer(Proposer {
                round: *round,
                stage: Stage::Idle,
            }),
            None => {
                let mut proposer = Proposer {
                    round: 0,
                    stage: Stage::Idle,
                };
                if self.broken == Some(Rule::WaitsForRequest) {
                    self.prepare(id, &mut proposer, Value(0), out);
                }
                State::Proposer(proposer)
            }
        }
    }

    fn on_msg(&self, id: Id, state: &mut Cow<'_, State>, src: Id, msg: Msg, out: &mut Out<Self>) {
        match (state.to_mut(), msg) {
            (State::Proposer(proposer), Msg::Request(value)) => {
                if proposer.stage == Stage::Idle {
                    self.prepare(id, proposer, value, out);
                }
            }
            (State::Acceptor(acceptor), Msg::Prepare(ballot)) => {
                self.on_prepare(acceptor, src, ballot, out);
            }
            (State::Proposer(proposer), Msg::Granted(ballot, there)) => {
                self.on_granted(proposer, ballot, there, out);
            }
            (State::Acceptor(acceptor), Msg::Accept(vote)) => {
                self.on_accept(acceptor, src, vote, out);
            }
            (State::Proposer(proposer), Msg::Accepted(vote)) => {
                let current = vote.ballot.round == proposer.round;
                if current && proposer.stage == Stage::Proposing(vote.value) {
                    decide(proposer, vote.value, out);
                }
            }
            // Not for this role, or for the client: nobody honest sends it here.
            (State::Proposer(_), Msg::Prepare(_) | Msg::Accept(_) | Msg::Decided(_))
            | (
                State::Acceptor(_),
                Msg::Request(_) | Msg::Granted(..) | Msg::Accepted(_) | Msg::Decided(_),
            ) => {}
        }
    }

    fn on_timeout(&self, id: Id, state: &mut Cow<'_, State>, _: &Retry, out: &mut Out<Self>) {
        if let State::Proposer(proposer) = state.to_mut()
            && let Stage::Asking(value) | Stage::Proposing(value) = proposer.stage
        {
            self.prepare(id, proposer, value, out);
        }
    }
}

impl SchemeTwo {
    /// Begins a new ballot.
    fn prepare(&self, id: Id, proposer: &mut Proposer, own: Value, out: &mut Out<Self>) {
        proposer.round += 1;
        proposer.stage = Stage::Asking(own);
        out.save(Disk::Round(proposer.round));
        let ballot = Ballot {
            round: proposer.round,
            proposer: id,
        };
        out.send(self.acceptor, Msg::Prepare(ballot));
        out.set_timer(Retry, WAIT);
    }

    fn on_prepare(&self, acceptor: &mut Acceptor, src: Id, ballot: Ballot, out: &mut Out<Self>) {
        let holder = acceptor.promised.map(|promised| promised.proposer);
        let locked = holder.is_some_and(|holder| holder != src) && acceptor.accepted.is_none();
        if locked && self.broken == Some(Rule::Preempts) {
            return;
        }
        if acceptor.prepare(ballot) {
            out.save(Disk::Acceptor(*acceptor));
            let there = acceptor.accepted.map(|vote| vote.value);
            out.send(src, Msg::Granted(ballot, there));
        }
    }

    fn on_granted(
        &self,
        proposer: &mut Proposer,
        ballot: Ballot,
        there: Option<Value>,
        out: &mut Out<Self>,
    ) {
        let Stage::Asking(own) = proposer.stage else {
            return; // It has gone on.
        };
        if ballot.round != proposer.round {
            return; // Of an attempt that was given up.
        }
        match there {
            // What is there is there for ever: nobody could have accepted anything else.
            Some(value) if self.broken != Some(Rule::TakesOver) => decide(proposer, value, out),
            Some(_) | None => {
                proposer.stage = Stage::Proposing(own);
                let value = own;
                out.send(self.acceptor, Msg::Accept(Vote { ballot, value }));
            }
        }
    }

    fn on_accept(&self, acceptor: &mut Acceptor, src: Id, vote: Vote, out: &mut Out<Self>) {
        if self.broken == Some(Rule::NewestOnly) {
            acceptor.accepted = Some(vote);
        } else if !acceptor.accept(vote) {
            return; // A newer ballot has the access. The proposer will hear of it by its timer.
        }
        if self.broken != Some(Rule::SavesVote) {
            out.save(Disk::Acceptor(*acceptor));
        }
        out.send(src, Msg::Accepted(vote));
    }
}

fn decide(proposer: &mut Proposer, value: Value, out: &mut Out<SchemeTwo>) {
    proposer.stage = Stage::Decided(value);
    out.cancel_timer(Retry);
    out.send(client(), Msg::Decided(value));
}

/// How long a proposer waits for its ballot, on a real network.
const WAIT: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(300);

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
