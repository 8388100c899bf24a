//! Raft: a leader by majority for each term, and a log that followers take over from it entry by entry.
//!
//! Spec: `spec/consensus.md`, "Raft". The paper's AppendEntries is two messages here, each a fact that stays true: an
//! entry with what comes before it, and how far the log is committed. A leader sends all that it does not know a
//! follower to have, so nobody needs to refuse. What it must never do: commit what a later leader may lack.

use super::bounds::Bounds;
use super::environment::{Ensemble, Envelope, World, client};
use super::protocol::{
    Card, Claim, Invariant, Mutant, Protocol, Term as About, is_majority, mutant,
};
use super::words;
use crate::svg::{Kind, Stand};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u8);

/// What a client wants done, by number; 0 is the no-op of a new leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Command(u8);

/// How many entries of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Length(usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// Of the leader that has made it.
    term: Term,
    command: Command,
}

/// The end of a log, or of a part of it. The newer one is that of the higher term, or of the longer log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    term: Term,
    length: Length,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Clone, Debug, Default, PartialEq, Hash)]
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

impl Protocol for Raft {
    type Rule = Rule;
    type Past = Past;

    const ALIKE: bool = true;
    const CARD: Card = Card {
        name: "raft",
        about: "Raft: one leader a term by majority, a log that followers take over from it",
        bounds: &[
            THREE.writes(1).timeouts(2).crashes(1),
            THREE.writes(2).timeouts(1).crashes(1),
            THREE.writes(2).timeouts(2),
        ],
        durable: "every server: its term and vote, and its log, before it answers or sends",
    };

    const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            id: "raft_one_vote",
            term: About::Leadership,
            prose: "In a term a server votes for one candidate at most.",
            broken: |model, world| {
                let mut votes = world.past.votes.iter();
                let (voter, votes) = votes.find(|(_, votes)| votes.candidates.len() > 1)?;
                let name = model.protocol.name_of(*voter);
                let (count, term) = (votes.candidates.len(), votes.term);
                Some(format!("{name} has voted for {count} candidates in {term}"))
            },
            witness_id: "two_candidates_in_a_term",
            witness: |_, world| {
                let standing = |state: &State| {
                    matches!(state.role, Role::Candidate(_)).then_some(state.disk.term)
                };
                let terms: Vec<_> = world
                    .up()
                    .filter_map(|(_, state)| standing(state))
                    .collect();
                terms
                    .iter()
                    .enumerate()
                    .any(|(place, term)| terms[..place].contains(term))
            },
        },
        Invariant {
            id: "raft_election_safety",
            term: About::Leadership,
            prose: "A term has one leader at most.",
            broken: |_, world| {
                let mut leaders = world.past.leaders.iter();
                let (term, leaders) = leaders.find(|(_, leaders)| leaders.len() > 1)?;
                Some(format!("{term} has {} leaders", leaders.len()))
            },
            witness_id: "leaders_of_two_terms",
            witness: |_, world| world.past.leaders.len() > 1,
        },
        Invariant {
            id: "raft_log_matching",
            term: About::Agreement,
            prose: "Two logs with an entry of one term in one place are alike as far as that.",
            broken: |model, world| {
                let (one, other, length) = pairs(world).find(|(one, other, length)| {
                    let log = |id| log(world, id);
                    let Length(length) = *length;
                    log(*one)[length - 1].term == log(*other)[length - 1].term
                        && log(*one)[..length] != log(*other)[..length]
                })?;
                let tell = |id| {
                    format!(
                        "{} has {}",
                        model.protocol.name_of(id),
                        tell(log(world, id))
                    )
                };
                let both = [tell(one), tell(other)].join(", ");
                Some(format!("the terms are the same at {}: {both}", length.0))
            },
            witness_id: "second_entry_in_common",
            witness: |_, world| {
                pairs(world).any(|(one, other, length)| {
                    let term = |id| log(world, id)[length.0 - 1].term;
                    length > Length(1) && term(one) == term(other)
                })
            },
        },
        Invariant {
            id: "raft_leader_completeness",
            term: About::Stability,
            prose: "What was committed in a term is in the log of every leader of a later one.",
            broken: |model, world| {
                let committed = world.past.committed.iter();
                let mut pairs =
                    committed.flat_map(|c| later_leaders(world, *c.1).map(move |l| (c.0, l)));
                let (place, (id, state)) = pairs.find(|(place, (_, state))| {
                    state.disk.log.get(place.length.0 - 1) != Some(&place.entry)
                })?;
                let (name, has) = (model.protocol.name_of(id), tell(&state.disk.log));
                Some(format!(
                    "{place} is committed, and {name} leads {} with {has}",
                    state.disk.term
                ))
            },
            witness_id: "leader_after_commit",
            witness: |_, world| {
                let mut terms = world.past.committed.values();
                terms.any(|term| later_leaders(world, *term).next().is_some())
            },
        },
        Invariant {
            id: "raft_state_machine_safety",
            term: About::Agreement,
            prose: "No two servers commit different entries in one place.",
            broken: |_, world| {
                let all = &world.past.committed;
                let mut twice = all.keys().zip(all.keys().skip(1));
                let (one, other) = twice.find(|(one, other)| one.length == other.length)?;
                Some(format!("committed are {one} and {other}"))
            },
            witness_id: "two_servers_commit",
            witness: |_, world| {
                let commits = |(_, state): &(Id, &State)| state.committed > Length(0);
                world.up().filter(commits).count() > 1
            },
        },
        Invariant {
            id: "raft_validity",
            term: About::Validity,
            prose: "What is in a log was asked for, and is there once.",
            broken: |model, world| {
                let asked = 0..=model.bounds.writes;
                let wrong = |id| {
                    let commands: Vec<_> =
                        log(world, id).iter().map(|entry| entry.command).collect();
                    let mut places = commands.iter().enumerate();
                    let wrong = places.find(|(place, command)| {
                        let again = **command != NO_OP && commands[..*place].contains(command);
                        !asked.contains(&command.0) || again
                    });
                    wrong.map(|_| tell(log(world, id)))
                };
                let log = world.ids().find_map(wrong)?;
                Some(format!("a log has {log}"))
            },
            witness_id: "two_commands_logged",
            witness: |_, world| world.ids().any(|id| log(world, id).len() > 1),
        },
        Invariant {
            id: "raft_majority_goes_on",
            term: About::Progress,
            prose: "With a minority of the servers down, every command can be done.",
            broken: |model, world| {
                // Where all are up, whatever is possible without one of them is possible with it.
                let asked = suffices(world) && world.down() > 0;
                let stuck = asked && !model.leads_to(world, all_done);
                stuck.then(|| "a majority is up, and no step leads on".to_owned())
            },
            witness_id: "server_down",
            witness: |_, world| world.down() == 1,
        },
    ];

    const CLAIMS: &'static [Claim<Self>] = &[
        Claim {
            id: "raft_split_votes",
            term: About::Progress,
            prose: "Candidates that stand at the same time may take the votes from each other for ever",
            bounds: THREE.timeouts(3),
            found: split_votes,
        },
        Claim {
            id: "raft_majority_down",
            term: About::Progress,
            prose: "Without a majority of the servers nothing is done any more",
            bounds: THREE.timeouts(1).crashes(2),
            found: |model, world| {
                let stuck = !suffices(world) && !model.leads_to(world, all_done);
                stuck.then(|| "no step leads to an answer while they are down".to_owned())
            },
        },
    ];

    const MUTANTS: &'static [Mutant<Rule>] = &[
        mutant(
            "raft_votes_twice",
            Rule::VotesOnce,
            IDLE.timeouts(2),
            "raft_one_vote",
        ),
        mutant(
            "raft_forgets_vote",
            Rule::SavesVotes,
            IDLE.timeouts(2).crashes(1),
            "raft_one_vote",
        ),
        mutant(
            "raft_forgets_vote",
            Rule::SavesVotes,
            IDLE.timeouts(2).crashes(1),
            "raft_election_safety",
        ),
        mutant(
            "raft_leads_alone",
            Rule::Majority,
            IDLE.timeouts(2),
            "raft_election_safety",
        ),
        mutant(
            "raft_any_log",
            Rule::ComparesLogs,
            THREE.timeouts(2),
            "raft_leader_completeness",
        ),
        mutant(
            "raft_gap",
            Rule::ChecksBefore,
            THREE.writes(2).timeouts(1),
            "raft_log_matching",
        ),
        mutant(
            "raft_forgets_log",
            Rule::SavesLog,
            THREE.timeouts(2).crashes(1),
            "raft_leader_completeness",
        ),
        mutant(
            "raft_figure_8",
            Rule::CountsOwnTerm,
            THREE.timeouts(4),
            "raft_leader_completeness",
        ),
        mutant(
            "raft_commits_unseen",
            Rule::CommitsInCommon,
            THREE.writes(2).timeouts(2),
            "raft_state_machine_safety",
        ),
        mutant("raft_twice", Rule::Once, THREE.timeouts(1), "raft_validity"),
        mutant(
            "raft_no_no_op",
            Rule::NoOp,
            THREE.timeouts(1).crashes(1),
            "raft_majority_goes_on",
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
        let requests = (1..=writes).map(|number| Msg::Request(Command(number)));
        requests
            .flat_map(|request| self.servers.iter().map(move |id| (*id, request.clone())))
            .collect()
    }

    fn is_obsolete(&self, receiver: &State, envelope: &Envelope<Msg>) -> bool {
        let State { disk, role, .. } = receiver;
        match &envelope.message {
            // It has voted; a vote that is not on disk may be given again.
            Msg::RequestVote(term, _) if *term == disk.term => {
                disk.vote.is_some()
                    && !matches!(self.broken, Some(Rule::VotesOnce | Rule::SavesVotes))
            }
            Msg::Vote(term) => match role {
                Role::Candidate(votes) => *term < disk.term || votes.contains(&envelope.src),
                Role::Follower | Role::Leader(_) => *term <= disk.term,
            },
            // What is of this term it has from this leader, and has answered for it.
            Msg::Append(term, before, entry) if *term == disk.term => {
                let known = disk.log.get(before.length.0) == Some(entry);
                known && entry.term == *term && self.broken != Some(Rule::SavesLog)
            }
            Msg::Appended(term, length) => match role {
                Role::Leader(copies) => {
                    *term < disk.term || copies.get(&envelope.src) >= Some(length)
                }
                Role::Follower | Role::Candidate(_) => *term <= disk.term,
            },
            // After a crash it learns again what is committed.
            Msg::Committed(term, spot) if *term == disk.term => {
                spot.length == Length(0) && !matches!(role, Role::Candidate(_))
            }
            Msg::RequestVote(term, _) | Msg::Append(term, ..) | Msg::Committed(term, _) => {
                *term < disk.term
            }
            Msg::Request(_) | Msg::Done(_) => false,
        }
    }

    fn note(&self, world: &mut World<Self>) {
        let Past {
            votes,
            leaders,
            committed,
        } = &mut world.past;
        let mut oldest = None;
        for (place, node) in world.nodes.iter().enumerate() {
            let id = Id::from(place);
            let term = node.disk.as_ref().map_or(Term(0), |disk| disk.term);
            oldest = Some(oldest.map_or(term, |oldest| term.min(oldest)));
            let Some(State {
                disk,
                committed: length,
                role,
            }) = &node.state
            else {
                continue;
            };
            if votes.get(&id).is_some_and(|votes| votes.term < disk.term) {
                votes.remove(&id);
            }
            if let Some(candidate) = disk.vote {
                let votes = votes.entry(id).or_default();
                votes.term = disk.term;
                votes.candidates.insert(candidate);
            }
            if matches!(role, Role::Leader(_)) {
                leaders.entry(disk.term).or_default().insert(id);
            }
            for (before, entry) in disk.log.iter().enumerate().take(length.0) {
                let place = Place {
                    length: Length(before + 1),
                    entry: *entry,
                };
                committed.entry(place).or_insert(disk.term);
            }
        }
        // Who is in a later term leads none of the earlier ones any more.
        leaders.retain(|term, _| Some(*term) >= oldest);
    }

    fn done(world: &World<Self>, writes: u8) -> bool {
        world.answers().count() >= usize::from(writes)
    }

    fn name_of(&self, id: Id) -> String {
        format!("server {}", usize::from(id) + 1)
    }

    fn state(&self, state: &State) -> String {
        let role = match &state.role {
            Role::Follower => "follows".to_owned(),
            Role::Candidate(votes) => format!("stands for election, votes: {}", votes.len()),
            Role::Leader(_) => "leads".to_owned(),
        };
        let Length(committed) = state.committed;
        format!("{role}, {}; committed: {committed}", self.disk(&state.disk))
    }

    fn disk(&self, Disk { term, vote, log }: &Disk) -> String {
        let vote = vote.map_or(String::new(), |id| {
            format!(", vote for {}", usize::from(id) + 1)
        });
        format!("{term}{vote}; log: {}", tell(log))
    }

    fn message(&self, message: &Msg) -> String {
        match message {
            Msg::Request(command) => format!("a request for {command}"),
            Msg::RequestVote(term, last) => format!("RequestVote {term} (log ends {last})"),
            Msg::Vote(term) => format!("Vote {term}"),
            Msg::Append(term, before, entry) => format!("Append {term}: {entry} (behind {before})"),
            Msg::Appended(term, length) => format!("Appended {term} as far as {}", length.0),
            Msg::Committed(term, spot) => format!("Committed {term} as far as {spot}"),
            Msg::Done(command) => format!("Done {command}"),
        }
    }

    fn timeout(&self, timer: &Timer) -> &'static str {
        match timer {
            Timer::Election => "has heard no leader for long enough and stands for election",
            Timer::Heartbeat => "sends again what others may lack",
        }
    }

    fn stand(&self, state: &State) -> Stand {
        let kind = match state.role {
            Role::Follower => Kind::Follows,
            Role::Candidate(_) => Kind::Idle,
            Role::Leader(_) => Kind::Leads,
        };
        let words = format!("{}: {}", state.disk.term, tell(&state.disk.log));
        Stand { kind, words }
    }
}

const THREE: Bounds = Bounds::servers(3);

/// Elections alone.
const IDLE: Bounds = THREE.writes(0);

/// The log on a server's disk.
fn log(world: &World<Raft>, id: Id) -> &[Entry] {
    world.node(id).disk.as_ref().map_or(&[], |disk| &disk.log)
}

/// Every two servers, with every length that both of their logs have.
fn pairs(world: &World<Raft>) -> impl Iterator<Item = (Id, Id, Length)> {
    let others = |one: Id| {
        world
            .ids()
            .filter(move |other| *other > one)
            .map(move |other| (one, other))
    };
    world.ids().flat_map(others).flat_map(|(one, other)| {
        let both = log(world, one).len().min(log(world, other).len());
        (1..=both).map(move |length| (one, other, Length(length)))
    })
}

fn later_leaders(world: &World<Raft>, term: Term) -> impl Iterator<Item = (Id, &State)> {
    world
        .up()
        .filter(move |(_, state)| matches!(state.role, Role::Leader(_)) && state.disk.term > term)
}

fn suffices(world: &World<Raft>) -> bool {
    is_majority(world.up().count(), world.nodes.len())
}

fn all_done(model: &Ensemble<Raft>, world: &World<Raft>) -> bool {
    Raft::done(world, model.bounds.writes)
}

/// Every server has voted for itself, and so it can go on for ever.
fn split_votes(model: &Ensemble<Raft>, world: &World<Raft>) -> Option<String> {
    shape(world)?;
    let split = |(id, state): (Id, &State)| {
        state.disk.vote == Some(id)
            && world
                .up()
                .all(|(_, other)| other.disk.term == state.disk.term)
    };
    if !world.up().all(split) {
        return None;
    }
    let way = model.comes_back(world, shape)?;
    let steps: Vec<_> = way
        .iter()
        .map(|action| words::sentence(&model.protocol, action))
        .collect();
    Some(format!(
        "nobody can win this term, and after {} steps more everything is as it is now, only that the term is newer: {}",
        steps.len(),
        steps.join("; ")
    ))
}

/// Terms only compare, and messages of earlier ones have no effect. Once somebody leads or is down, nothing is as it was.
fn shape(world: &World<Raft>) -> Option<World<Raft>> {
    if world.down() > 0 || world.past.leaders.keys().next().is_some() {
        return None;
    }
    let first = world.up().map(|(_, state)| state.disk.term.0).min()?;
    let mut shape = World {
        past: Past::default(),
        ..world.clone()
    };
    shape
        .network
        .retain_mut(|envelope| match &mut envelope.message {
            Msg::RequestVote(term, _) | Msg::Vote(term) => {
                let current = world
                    .state(envelope.dst)
                    .is_some_and(|state| state.disk.term <= *term);
                term.0 -= first.min(term.0);
                current
            }
            Msg::Request(_) => true,
            Msg::Append(..) | Msg::Appended(..) | Msg::Committed(..) | Msg::Done(_) => false,
        });
    for node in &mut shape.nodes {
        node.disk = None;
        if let Some(state) = &mut node.state {
            state.disk.term.0 -= first;
        }
    }
    Some(shape)
}

fn tell(log: &[Entry]) -> String {
    let entries: Vec<_> = log.iter().map(Entry::to_string).collect();
    match entries.is_empty() {
        true => "empty".to_owned(),
        false => entries.join(", "),
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "term {}", self.0)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            NO_OP => write!(f, "no-op"),
            Self(number) => write!(f, "command {number}"),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.command, self.term)
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length {
            Length(0) => write!(f, "the beginning"),
            Length(length) => write!(f, "entry {length} of {}", self.term),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as entry {}", self.entry, self.length.0)
    }
}
