//! Raft: a leader by majority for each term, and a log that followers take over from it entry by entry.
//!
//! Spec: `spec/consensus.md`, "Raft". The paper's AppendEntries is two messages here, each a fact that stays true: an
//! entry with what comes before it, and how far the log is committed. A leader sends all that it does not know a
//! follower to have, so nobody needs to refuse. What it must never do: commit what a later leader may lack.

mod properties;
mod split_votes;
mod words;

use super::environment::client;
use super::protocol::is_majority;
use serde::{Deserialize, Serialize};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Servers that are all alike.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Raft {
    servers: Vec<Id>,
    broken: Option<Rule>,
}

/// What a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Rule {
    /// A server votes once a term.
    VotesOnce,
    /// A vote is on disk before it is given.
    SavesVotes,
    /// A candidate leads with a majority of the votes.
    Majority,
    /// A vote is for a log that lacks nothing of the voter's.
    ComparesLogs,
    /// An entry is appended behind the one that it has before it in the leader's log.
    ChecksBefore,
    /// A log is on disk before anything is said about it.
    SavesLog,
    /// A leader counts copies of entries of its own term alone.
    CountsOwnTerm,
    /// A follower commits what it has in common with the leader.
    CommitsInCommon,
    /// A leader takes a command once, however often it arrives.
    Once,
    /// A leader that may have uncommitted entries of others appends one of its own.
    NoOp,
}

/// The time of one leader, or of none if no candidate wins.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Term(u8);

/// What a client wants done, by number; 0 is the no-op of a new leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Command(u8);

/// How many entries of a log.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Length(usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Of the leader that has made it.
    term: Term,
    command: Command,
}

/// The end of a log, or of a part of it. The newer one is that of the higher term, or of the longer log.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Spot {
    term: Term,
    length: Length,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Msg {
    Request(Command),
    /// A candidate asks for a vote; its log ends there.
    RequestVote(Term, Spot),
    Vote(Term),
    /// The leader's log has this entry behind that spot.
    Append(Term, Spot, Entry),
    /// The log is like the leader's as far as this.
    Appended(Term, Length),
    /// The leader's log is committed as far as this; with nothing committed it says who leads.
    Committed(Term, Spot),
    /// The client is told that it is done.
    Done(Command),
}

/// What is on disk before anything is said that depends on it.
#[derive(Clone, Debug, Default, PartialEq, Hash, Serialize, Deserialize)]
pub struct Disk {
    term: Term,
    /// Whom the server has voted for in this term.
    vote: Option<Id>,
    log: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct State {
    disk: Disk,
    committed: Length,
    role: Role,
}

#[derive(Clone, Debug, PartialEq, Hash)]
enum Role {
    Follower,
    /// Who votes for it.
    Candidate(BTreeSet<Id>),
    /// How much of its log each other server has.
    Leader(BTreeMap<Id, Length>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Nobody has led for long enough.
    Election,
    /// The leader repeats itself.
    Heartbeat,
}

/// What the invariants remember.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct Past {
    /// The last term in which each server has voted, and for whom.
    votes: BTreeMap<Id, Votes>,
    leaders: BTreeMap<Term, BTreeSet<Id>>,
    /// What was committed by anybody, and the term of the first who did.
    committed: BTreeMap<Place, Term>,
}

#[derive(Clone, Debug, Default, PartialEq, Hash)]
struct Votes {
    term: Term,
    candidates: BTreeSet<Id>,
}

/// An entry as the last one of a log of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    length: Length,
    entry: Entry,
}

impl Actor for Raft {
    type Msg = Msg;
    type Timer = Timer;
    type State = State;
    type Storage = Disk;
    type Random = ();

    fn on_start(&self, _: Id, disk: &Option<Disk>, out: &mut Out<Self>) -> State {
        out.set_timer(Timer::Election, PATIENCE);
        State {
            disk: disk.clone().unwrap_or_default(),
            committed: Length(0),
            role: Role::Follower,
        }
    }

    fn on_msg(&self, id: Id, state: &mut Cow<'_, State>, src: Id, msg: Msg, out: &mut Out<Self>) {
        let state = state.to_mut();
        match msg {
            Msg::Request(command) => self.on_request(id, state, command, out),
            Msg::RequestVote(term, last) => self.on_request_vote(state, src, term, last, out),
            Msg::Vote(term) => self.on_vote(id, state, src, term, out),
            Msg::Append(term, before, entry) => {
                self.on_append(state, src, term, before, entry, out);
            }
            Msg::Appended(term, length) => self.on_appended(id, state, src, term, length, out),
            Msg::Committed(term, spot) => self.on_committed(state, term, spot, out),
            Msg::Done(_) => {} // For the client.
        }
    }

    fn on_timeout(&self, id: Id, state: &mut Cow<'_, State>, timer: &Timer, out: &mut Out<Self>) {
        match timer {
            Timer::Election => self.stand_for_election(id, state.to_mut(), out),
            Timer::Heartbeat => self.replicate(id, state, out),
        }
    }
}

impl Raft {
    /// Others than the leader ignore it; the client asks everybody.
    fn on_request(&self, id: Id, state: &mut State, command: Command, out: &mut Out<Self>) {
        let known = state.disk.log.iter().any(|entry| entry.command == command);
        let again = known && self.broken != Some(Rule::Once);
        if matches!(state.role, Role::Leader(_)) && !again {
            self.append(state, command, out);
            self.replicate(id, state, out);
        }
    }

    fn stand_for_election(&self, id: Id, state: &mut State, out: &mut Out<Self>) {
        state.disk.term.0 += 1;
        state.disk.vote = Some(id);
        state.role = Role::Candidate(BTreeSet::new());
        self.save(state, out);
        let term = state.disk.term;
        let request = Msg::RequestVote(term, state.end());
        out.broadcast(self.peers(id), &request);
        out.set_timer(Timer::Election, PATIENCE);
        self.on_vote(id, state, id, term, out);
    }

    fn on_request_vote(
        &self,
        state: &mut State,
        src: Id,
        term: Term,
        last: Spot,
        out: &mut Out<Self>,
    ) {
        self.notice(state, term, out);
        let is_free =
            state.disk.vote.is_none_or(|vote| vote == src) || self.broken == Some(Rule::VotesOnce);
        let lacks_nothing = last >= state.end() || self.broken == Some(Rule::ComparesLogs);
        // Who is refused hears nothing, and tries again in a later term.
        if term == state.disk.term && is_free && lacks_nothing {
            state.disk.vote = Some(src);
            self.save(state, out);
            out.set_timer(Timer::Election, PATIENCE);
            out.send(src, Msg::Vote(term));
        }
    }

    fn on_vote(&self, id: Id, state: &mut State, src: Id, term: Term, out: &mut Out<Self>) {
        let Role::Candidate(votes) = &mut state.role else {
            return; // It leads already, or another one does.
        };
        if term != state.disk.term {
            return; // For an election that is over.
        }
        votes.insert(src);
        if !is_majority(votes.len(), self.servers.len()) && self.broken != Some(Rule::Majority) {
            return;
        }
        state.role = Role::Leader(BTreeMap::new());
        out.cancel_timer(Timer::Election);
        if state.disk.log.len() > state.committed.0 && self.broken != Some(Rule::NoOp) {
            self.append(state, NO_OP, out);
        }
        self.replicate(id, state, out);
    }

    fn append(&self, state: &mut State, command: Command, out: &mut Out<Self>) {
        let term = state.disk.term;
        state.disk.log.push(Entry { term, command });
        self.save(state, out);
    }

    /// Sends what others may lack, and how far it is committed.
    fn replicate(&self, id: Id, state: &State, out: &mut Out<Self>) {
        let Role::Leader(copies) = &state.role else {
            return;
        };
        let term = state.disk.term;
        for peer in self.peers(id) {
            let copied = copies.get(peer).map_or(0, |length| length.0);
            for (place, entry) in state.disk.log.iter().enumerate().skip(copied) {
                out.send(*peer, Msg::Append(term, state.spot(Length(place)), *entry));
            }
            out.send(*peer, Msg::Committed(term, state.spot(state.committed)));
        }
        out.set_timer(Timer::Heartbeat, HEARTBEAT);
    }

    fn on_append(
        &self,
        state: &mut State,
        src: Id,
        term: Term,
        before: Spot,
        entry: Entry,
        out: &mut Out<Self>,
    ) {
        if !self.follows(state, term, out) {
            return;
        }
        if !state.has(before) && self.broken != Some(Rule::ChecksBefore) {
            return; // What comes before it is still on its way.
        }
        let log = &mut state.disk.log;
        let place = before.length.0.min(log.len());
        if log.get(place).is_none_or(|known| known.term != entry.term) {
            // An entry of an earlier leader that stands there was never committed.
            log.truncate(place);
            log.push(entry);
            self.save(state, out);
        }
        out.send(src, Msg::Appended(term, Length(place + 1)));
    }

    fn on_appended(
        &self,
        id: Id,
        state: &mut State,
        src: Id,
        term: Term,
        length: Length,
        out: &mut Out<Self>,
    ) {
        let Role::Leader(copies) = &mut state.role else {
            return; // Its time is over.
        };
        if term != state.disk.term {
            return; // Of an earlier time of its own.
        }
        let known = copies.entry(src).or_default();
        *known = length.max(*known);
        let own = Length(state.disk.log.len());
        let mut lengths: Vec<_> = copies.values().copied().chain([own]).collect();
        lengths.resize(self.servers.len(), Length(0));
        lengths.sort_unstable_by(|one, other| other.cmp(one));
        let common = lengths[self.servers.len() / 2];
        // An older entry may be on a majority and be replaced nevertheless: figure 8 of the paper. With one of this
        // term behind it, it cannot.
        let counts = state.spot(common).term == term || self.broken == Some(Rule::CountsOwnTerm);
        if common > state.committed && counts {
            let done = &state.disk.log[state.committed.0..common.0];
            for entry in done.iter().filter(|entry| entry.command != NO_OP) {
                out.send(client(), Msg::Done(entry.command));
            }
            state.committed = common;
            self.replicate(id, state, out);
        }
    }

    fn on_committed(&self, state: &mut State, term: Term, spot: Spot, out: &mut Out<Self>) {
        if !self.follows(state, term, out) {
            return;
        }
        // Two logs with an entry of one term in one place are alike as far as that.
        if state.has(spot) || self.broken == Some(Rule::CommitsInCommon) {
            state.committed = state.committed.max(spot.length);
        }
    }

    /// Enters a newer term that somebody else is in.
    fn notice(&self, state: &mut State, term: Term, out: &mut Out<Self>) {
        if term > state.disk.term {
            state.disk.term = term;
            state.disk.vote = None;
            state.role = Role::Follower;
            self.save(state, out);
            out.cancel_timer(Timer::Heartbeat);
            out.set_timer(Timer::Election, PATIENCE);
        }
    }

    /// Whether the leader of this term is to be followed; then the server does so.
    fn follows(&self, state: &mut State, term: Term, out: &mut Out<Self>) -> bool {
        self.notice(state, term, out);
        let current = term == state.disk.term && !matches!(state.role, Role::Leader(_));
        if current {
            state.role = Role::Follower;
            out.set_timer(Timer::Election, PATIENCE);
        }
        current
    }

    fn save(&self, state: &State, out: &mut Out<Self>) {
        let mut disk = state.disk.clone();
        match self.broken {
            Some(Rule::SavesVotes) => disk.vote = None,
            Some(Rule::SavesLog) => disk.log.clear(),
            _ => {}
        }
        out.save(disk);
    }

    fn peers(&self, id: Id) -> impl Iterator<Item = &Id> {
        self.servers.iter().filter(move |peer| **peer != id)
    }
}

impl State {
    /// The spot behind so many entries.
    fn spot(&self, length: Length) -> Spot {
        let last = length
            .0
            .checked_sub(1)
            .and_then(|place| self.disk.log.get(place));
        let term = last.map_or(Term(0), |entry| entry.term);
        Spot { term, length }
    }

    fn end(&self) -> Spot {
        self.spot(Length(self.disk.log.len()))
    }

    fn has(&self, spot: Spot) -> bool {
        spot.length.0 <= self.disk.log.len() && self.spot(spot.length) == spot
    }
}

const NO_OP: Command = Command(0);

/// How long a server waits for a leader, on a real network: a random time, so that one is the first to stand.
const PATIENCE: std::ops::Range<Duration> = Duration::from_millis(150)..Duration::from_millis(300);

/// How often a leader speaks, on a real network.
const HEARTBEAT: std::ops::Range<Duration> = Duration::from_millis(50)..Duration::from_millis(60);
