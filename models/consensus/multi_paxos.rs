//! Multi-Paxos: a log whose every slot is decided by Paxos, with one first phase for all slots of a leader.
//!
//! Spec: `spec/consensus.md`, "Multi-Paxos". Each server is proposer and acceptor. What it must never do: choose two
//! values for a slot, or answer a client with a gap in the log before its command.

mod properties;
mod words;

use super::acceptor::{Ballot, Value, Vote};
use super::environment::client;
use super::protocol::is_majority;
use serde::{Deserialize, Serialize};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Servers that are all alike.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct MultiPaxos {
    servers: Vec<Id>,
    broken: Option<Rule>,
}

/// What a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Rule {
    /// A new leader takes over what was accepted in older ballots.
    TakesOver,
    /// Nothing older than its promise is accepted by a server.
    KeepsPromise,
    /// A promise is on disk before it is given.
    SavesPromise,
    /// What a server has accepted is on disk before it says so.
    SavesVotes,
    /// A value is chosen by no less than a majority.
    NoMinority,
    /// A majority suffices.
    Majority,
    /// A leader uses a slot once.
    UsesSlotOnce,
    /// A new leader fills the slots between others.
    FillsGaps,
    /// A new leader fills no slot behind the last one.
    FillsGapsAlone,
    /// A client hears of its command when all slots before it are chosen.
    InOrder,
}

/// A place in the log; the first one is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(u8);

/// What was accepted, by slot.
pub type Votes = BTreeMap<Slot, Vote>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Msg {
    Request(Value),
    /// For all slots at once.
    Prepare(Ballot),
    /// The ballot has access; this is what was accepted before it.
    Promise(Ballot, Votes),
    Accept(Slot, Vote),
    Accepted(Slot, Ballot),
    /// The leader of the ballot says what is chosen.
    Chosen(Slot, Vote),
    /// The client is told that it is done.
    Done(Value),
}

/// A server as an acceptor: on disk before it answers. The last ballot of its own is no newer than its promise.
#[derive(Clone, Debug, Default, PartialEq, Hash, Serialize, Deserialize)]
pub struct Disk {
    promised: Option<Ballot>,
    votes: Votes,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct State {
    disk: Disk,
    /// What it knows to be chosen.
    chosen: BTreeMap<Slot, Value>,
    role: Role,
}

/// A server as a proposer. While it prepares or leads, its promise is to its own ballot.
#[derive(Clone, Debug, PartialEq, Hash)]
enum Role {
    Follower,
    /// Who has given access, and the newest of what all these had accepted.
    Preparing(BTreeSet<Id>, Votes),
    /// Who else has accepted what is not yet chosen.
    Leader(BTreeMap<Slot, BTreeSet<Id>>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Nobody has led for long enough.
    Election,
    /// The leader repeats itself.
    Heartbeat,
}

/// Who has ever accepted what.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct Past(BTreeMap<Slot, BTreeMap<Vote, BTreeSet<Id>>>);

impl Actor for MultiPaxos {
    type Msg = Msg;
    type Timer = Timer;
    type State = State;
    type Storage = Disk;
    type Random = ();

    fn on_start(&self, _: Id, disk: &Option<Disk>, out: &mut Out<Self>) -> State {
        out.set_timer(Timer::Election, PATIENCE);
        State {
            disk: disk.clone().unwrap_or_default(),
            chosen: BTreeMap::new(),
            role: Role::Follower,
        }
    }

    fn on_msg(&self, id: Id, state: &mut Cow<'_, State>, src: Id, msg: Msg, out: &mut Out<Self>) {
        let state = state.to_mut();
        match msg {
            Msg::Request(value) => self.on_request(id, state, value, out),
            Msg::Prepare(ballot) => self.on_prepare(state, src, ballot, out),
            Msg::Promise(ballot, votes) => self.on_promise(id, state, src, ballot, votes, out),
            Msg::Accept(slot, vote) => self.on_accept(state, src, slot, vote, out),
            Msg::Accepted(slot, ballot) => self.on_accepted(id, state, src, slot, ballot, out),
            Msg::Chosen(slot, vote) => on_chosen(state, slot, vote, out),
            Msg::Done(_) => {} // For the client.
        }
    }

    fn on_timeout(&self, id: Id, state: &mut Cow<'_, State>, timer: &Timer, out: &mut Out<Self>) {
        match timer {
            Timer::Election => self.prepare(id, state.to_mut(), out),
            Timer::Heartbeat => self.repeat(id, state, out),
        }
    }
}

impl MultiPaxos {
    /// Others than the leader ignore it; the client asks everybody.
    fn on_request(&self, id: Id, state: &mut State, value: Value, out: &mut Out<Self>) {
        let mut accepted = state.disk.votes.values();
        let known = accepted.any(|vote| vote.value == value);
        if matches!(state.role, Role::Leader(_)) && !known {
            let slot = match self.broken {
                Some(Rule::UsesSlotOnce) => Slot(1),
                _ => state.next_slot(),
            };
            self.propose(id, state, slot, value, out);
            self.save(state, out);
        }
    }

    /// Begins a new ballot: the first phase, for all slots.
    fn prepare(&self, id: Id, state: &mut State, out: &mut Out<Self>) {
        let round = state.disk.promised.map_or(0, |ballot| ballot.round) + 1;
        let ballot = Ballot {
            round,
            proposer: id,
        };
        state.disk.promised = Some(ballot);
        state.role = Role::Preparing(BTreeSet::new(), Votes::new());
        self.save(state, out);
        out.broadcast(self.peers(id), &Msg::Prepare(ballot));
        out.set_timer(Timer::Election, PATIENCE);
        let own = state.disk.votes.clone();
        self.on_promise(id, state, id, ballot, own, out);
    }

    fn on_prepare(&self, state: &mut State, src: Id, ballot: Ballot, out: &mut Out<Self>) {
        if state.disk.promised < Some(ballot) {
            state.follow(ballot, out);
            self.save(state, out);
            out.send(src, Msg::Promise(ballot, state.disk.votes.clone()));
        }
    }

    fn on_promise(
        &self,
        id: Id,
        state: &mut State,
        src: Id,
        ballot: Ballot,
        votes: Votes,
        out: &mut Out<Self>,
    ) {
        let Role::Preparing(promises, newest) = &mut state.role else {
            return; // It leads already, or another one does.
        };
        if state.disk.promised != Some(ballot) {
            return; // Of an attempt that was given up.
        }
        promises.insert(src);
        for (slot, vote) in votes {
            let known = newest.entry(slot).or_insert(vote);
            *known = vote.max(*known);
        }
        if is_majority(promises.len(), self.servers.len()) {
            let newest = std::mem::take(newest);
            self.lead(id, state, &newest, out);
        }
    }

    /// Proposes again what may have been chosen, and closes the gaps in it.
    fn lead(&self, id: Id, state: &mut State, newest: &Votes, out: &mut Out<Self>) {
        state.role = Role::Leader(BTreeMap::new());
        out.cancel_timer(Timer::Election);
        out.set_timer(Timer::Heartbeat, HEARTBEAT);
        let mut last = newest.keys().last().map_or(0, |slot| slot.0);
        if self.broken == Some(Rule::FillsGapsAlone) {
            last += 1;
        }
        for slot in (1..=last).map(Slot) {
            let value = match newest.get(&slot) {
                Some(_) if self.broken == Some(Rule::TakesOver) => continue,
                None if self.broken == Some(Rule::FillsGaps) => continue,
                // Nothing is chosen there, and no older ballot can choose any more.
                None => NO_OP,
                Some(vote) => vote.value,
            };
            self.propose(id, state, slot, value, out);
        }
        if self.broken == Some(Rule::TakesOver) {
            state.disk.votes.clear();
        }
        self.save(state, out);
    }

    /// Accepts it itself, and asks the others to.
    fn propose(&self, id: Id, state: &mut State, slot: Slot, value: Value, out: &mut Out<Self>) {
        let (Role::Leader(accepted), Some(ballot)) = (&mut state.role, state.disk.promised) else {
            return;
        };
        let vote = Vote { ballot, value };
        accepted.insert(slot, BTreeSet::new());
        state.disk.votes.insert(slot, vote);
        out.broadcast(self.peers(id), &Msg::Accept(slot, vote));
        self.on_accepted(id, state, id, slot, ballot, out);
    }

    fn on_accept(&self, state: &mut State, src: Id, slot: Slot, vote: Vote, out: &mut Out<Self>) {
        if state.disk.promised > Some(vote.ballot) && self.broken != Some(Rule::KeepsPromise) {
            return; // A newer ballot has the access.
        }
        state.follow(vote.ballot, out);
        state.disk.votes.insert(slot, vote);
        self.save(state, out);
        out.send(src, Msg::Accepted(slot, vote.ballot));
    }

    fn on_accepted(
        &self,
        id: Id,
        state: &mut State,
        src: Id,
        slot: Slot,
        ballot: Ballot,
        out: &mut Out<Self>,
    ) {
        let Role::Leader(waiting) = &mut state.role else {
            return; // Its time is over.
        };
        let (Some(accepted), Some(vote)) = (waiting.get_mut(&slot), state.disk.votes.get(&slot))
        else {
            return; // It is chosen already.
        };
        if vote.ballot != ballot {
            return; // Of an earlier time of its own.
        }
        accepted.insert(src);
        if self.is_quorum(accepted.len()) {
            waiting.remove(&slot);
            state.chosen.insert(slot, vote.value);
            out.broadcast(self.peers(id), &Msg::Chosen(slot, *vote));
            self.answer(state, out);
        }
    }

    fn is_quorum(&self, count: usize) -> bool {
        match self.broken {
            Some(Rule::NoMinority) => true,
            Some(Rule::Majority) => count == self.servers.len(),
            _ => is_majority(count, self.servers.len()),
        }
    }

    /// Tells clients what is done: what is chosen, without a gap before it.
    fn answer(&self, state: &State, out: &mut Out<Self>) {
        let in_order = self.broken != Some(Rule::InOrder);
        for (before, (slot, value)) in state.chosen.iter().enumerate() {
            if in_order && usize::from(slot.0) != before + 1 {
                return;
            }
            if *value != NO_OP {
                out.send(client(), Msg::Done(*value));
            }
        }
    }

    /// The leader sends again what may have been lost.
    fn repeat(&self, id: Id, state: &State, out: &mut Out<Self>) {
        let Role::Leader(waiting) = &state.role else {
            return;
        };
        for (slot, vote) in &state.disk.votes {
            let message = match waiting.contains_key(slot) {
                true => Msg::Accept(*slot, *vote),
                false => Msg::Chosen(*slot, *vote),
            };
            out.broadcast(self.peers(id), &message);
        }
        out.set_timer(Timer::Heartbeat, HEARTBEAT);
    }

    fn save(&self, state: &State, out: &mut Out<Self>) {
        let mut disk = state.disk.clone();
        match self.broken {
            Some(Rule::SavesPromise) => disk.promised = None,
            Some(Rule::SavesVotes) => disk.votes.clear(),
            _ => {}
        }
        out.save(disk);
    }

    fn peers(&self, id: Id) -> impl Iterator<Item = &Id> {
        self.servers.iter().filter(move |peer| **peer != id)
    }
}

fn on_chosen(state: &mut State, slot: Slot, vote: Vote, out: &mut Out<MultiPaxos>) {
    if state.disk.promised <= Some(vote.ballot) {
        state.follow(vote.ballot, out);
        state.chosen.insert(slot, vote.value);
    } // Otherwise it hears of it from a newer leader.
}

impl State {
    /// Gives access to a ballot of another server; its own is over if it is older.
    fn follow(&mut self, ballot: Ballot, out: &mut Out<MultiPaxos>) {
        if self.disk.promised < Some(ballot) {
            self.disk.promised = Some(ballot);
            self.role = Role::Follower;
            out.cancel_timer(Timer::Heartbeat);
        }
        if matches!(self.role, Role::Follower) {
            out.set_timer(Timer::Election, PATIENCE);
        }
    }

    fn next_slot(&self) -> Slot {
        Slot(self.disk.votes.keys().last().map_or(0, |slot| slot.0) + 1)
    }
}

/// What fills a gap.
const NO_OP: Value = Value(0);

/// How long a server waits for a leader, on a real network.
const PATIENCE: std::ops::Range<Duration> = Duration::from_millis(150)..Duration::from_millis(300);

/// How often a leader speaks, on a real network.
const HEARTBEAT: std::ops::Range<Duration> = Duration::from_millis(50)..Duration::from_millis(60);
