//! Paxos: scheme two with several acceptors, of which a majority decides.
//!
//! Spec: `spec/consensus.md`, "Paxos". What it must never do: choose two values.

mod duel;
mod properties;

use super::acceptor::{Acceptor, Ballot, Value, Vote};
use super::environment::client;
use super::protocol::is_majority;
use serde::{Deserialize, Serialize};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Proposers that want values chosen, and the acceptors that choose.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Paxos {
    pub proposers: Vec<Id>,
    pub acceptors: Vec<Id>,
    pub broken: Option<Rule>,
}

/// What a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Rule {
    /// A proposer takes over what was accepted in an older ballot.
    TakesOver,
    /// Of several accepted values it takes that of the newest ballot.
    NewestFirst,
    /// An acceptor accepts nothing older than its promise.
    KeepsPromise,
    /// What an acceptor accepted is on disk before it says so.
    SavesVotes,
    /// A proposer never uses a ballot twice.
    SavesRounds,
    /// A proposer proposes what it was asked for.
    WaitsForRequest,
    /// A majority suffices.
    Majority,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Msg {
    /// The client wants this value.
    Request(Value),
    Prepare(Ballot),
    /// The ballot has access; this is what was accepted before it.
    Promise(Ballot, Option<Vote>),
    Accept(Vote),
    Accepted(Vote),
    /// The client is told what is chosen.
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
    pub round: u8,
    /// What it was asked for.
    pub value: Option<Value>,
    pub stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Stage {
    Idle,
    /// Who has given access, with what they had accepted.
    Preparing(BTreeMap<Id, Option<Vote>>),
    /// Who has accepted its value.
    Accepting(Vote, BTreeSet<Id>),
    Decided(Value),
}

#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
pub enum Disk {
    Round(u8),
    Acceptor(Acceptor),
}

/// What acceptors have ever accepted, and what was ever proposed.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct Past {
    votes: BTreeMap<Vote, BTreeSet<Id>>,
    proposed: BTreeSet<Vote>,
}

/// A proposer has waited long enough for its ballot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retry;

impl Actor for Paxos {
    type Msg = Msg;
    type Timer = Retry;
    type State = State;
    type Storage = Disk;
    type Random = ();

    fn on_start(&self, id: Id, disk: &Option<Disk>, out: &mut Out<Self>) -> State {
        match disk {
            Some(Disk::Acceptor(acceptor)) => State::Acceptor(*acceptor),
            None if self.acceptors.contains(&id) => State::Acceptor(Acceptor::default()),
            Some(Disk::Round(_)) | None => {
                let round = match disk {
                    Some(Disk::Round(round)) => *round,
                    Some(Disk::Acceptor(_)) | None => 0,
                };
                let mut proposer = Proposer {
                    round,
                    value: None,
                    stage: Stage::Idle,
                };
                if self.broken == Some(Rule::WaitsForRequest) {
                    self.on_request(id, &mut proposer, Value(0), out);
                }
                State::Proposer(proposer)
            }
        }
    }

    fn on_msg(&self, id: Id, state: &mut Cow<'_, State>, src: Id, msg: Msg, out: &mut Out<Self>) {
        match (state.to_mut(), msg) {
            (State::Proposer(proposer), Msg::Request(value)) => {
                self.on_request(id, proposer, value, out);
            }
            (State::Acceptor(acceptor), Msg::Prepare(ballot)) => {
                on_prepare(acceptor, src, ballot, out);
            }
            (State::Proposer(proposer), Msg::Promise(ballot, accepted)) => {
                self.on_promise(id, proposer, src, ballot, accepted, out);
            }
            (State::Acceptor(acceptor), Msg::Accept(vote)) => {
                self.on_accept(acceptor, src, vote, out);
            }
            (State::Proposer(proposer), Msg::Accepted(vote)) => {
                self.on_accepted(proposer, src, vote, out);
            }
            // Not for this role, or for the client: nobody honest sends it here.
            (State::Proposer(_), Msg::Prepare(_) | Msg::Accept(_) | Msg::Decided(_))
            | (
                State::Acceptor(_),
                Msg::Request(_) | Msg::Promise(..) | Msg::Accepted(_) | Msg::Decided(_),
            ) => {}
        }
    }

    fn on_timeout(&self, id: Id, state: &mut Cow<'_, State>, _: &Retry, out: &mut Out<Self>) {
        if let State::Proposer(proposer) = state.to_mut() {
            self.prepare(id, proposer, out);
        }
    }
}

impl Paxos {
    fn on_request(&self, id: Id, proposer: &mut Proposer, value: Value, out: &mut Out<Self>) {
        if proposer.value.is_none() {
            proposer.value = Some(value);
            self.prepare(id, proposer, out);
        }
    }

    /// Begins a new ballot.
    fn prepare(&self, id: Id, proposer: &mut Proposer, out: &mut Out<Self>) {
        proposer.round += 1;
        proposer.stage = Stage::Preparing(BTreeMap::new());
        if self.broken != Some(Rule::SavesRounds) {
            out.save(Disk::Round(proposer.round));
        }
        out.broadcast(&self.acceptors, &Msg::Prepare(proposer.ballot(id)));
        out.set_timer(Retry, WAIT);
    }

    fn on_promise(
        &self,
        id: Id,
        proposer: &mut Proposer,
        src: Id,
        ballot: Ballot,
        accepted: Option<Vote>,
        out: &mut Out<Self>,
    ) {
        let current = proposer.ballot(id);
        let (Stage::Preparing(promises), Some(own)) = (&mut proposer.stage, proposer.value) else {
            return;
        };
        if ballot != current {
            return; // Of an attempt that was given up.
        }
        promises.insert(src, accepted);
        if !self.is_quorum(promises.len()) {
            return;
        }
        let votes = promises.values().flatten();
        let vote = match self.broken {
            Some(Rule::TakesOver) => None,
            Some(Rule::NewestFirst) => votes.min(),
            _ => votes.max(),
        };
        let value = vote.map_or(own, |vote| vote.value);
        let vote = Vote { ballot, value };
        proposer.stage = Stage::Accepting(vote, BTreeSet::new());
        out.broadcast(&self.acceptors, &Msg::Accept(vote));
    }

    fn on_accept(&self, acceptor: &mut Acceptor, src: Id, vote: Vote, out: &mut Out<Self>) {
        if self.broken == Some(Rule::KeepsPromise) {
            acceptor.accepted = Some(vote);
        } else if !acceptor.accept(vote) {
            return; // A newer ballot has the access. The proposer will hear of it by its timer.
        }
        if self.broken != Some(Rule::SavesVotes) {
            out.save(Disk::Acceptor(*acceptor));
        }
        out.send(src, Msg::Accepted(vote));
    }

    fn on_accepted(&self, proposer: &mut Proposer, src: Id, vote: Vote, out: &mut Out<Self>) {
        let Stage::Accepting(current, accepted) = &mut proposer.stage else {
            return; // It has begun another ballot, or knows already.
        };
        if vote != *current {
            return;
        }
        accepted.insert(src);
        if self.is_quorum(accepted.len()) {
            proposer.stage = Stage::Decided(vote.value);
            out.cancel_timer(Retry);
            out.send(client(), Msg::Decided(vote.value));
        }
    }

    fn is_quorum(&self, count: usize) -> bool {
        match self.broken {
            Some(Rule::Majority) => count == self.acceptors.len(),
            _ => is_majority(count, self.acceptors.len()),
        }
    }
}

/// Gives access to a newer ballot.
fn on_prepare(acceptor: &mut Acceptor, src: Id, ballot: Ballot, out: &mut Out<Paxos>) {
    if acceptor.prepare(ballot) {
        out.save(Disk::Acceptor(*acceptor));
        out.send(src, Msg::Promise(ballot, acceptor.accepted));
    }
}

impl Proposer {
    fn ballot(&self, proposer: Id) -> Ballot {
        let round = self.round;
        Ballot { round, proposer }
    }
}

/// How long a proposer waits for its ballot, on a real network.
const WAIT: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(300);
