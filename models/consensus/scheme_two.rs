//! Scheme two of the notes: one acceptor, and a newer ballot takes the access away from an older one.
//!
//! Spec: `spec/consensus.md`, "Scheme two". What it must never do: change a value that was accepted.

mod properties;

use super::acceptor::{Acceptor, Ballot, Value, Vote};
use super::environment::client;
use serde::{Deserialize, Serialize};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
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

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
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
