//! How `models/consensus/raft.rs` is told.
//!
//! What it must never do: leave out what makes two states different.

use super::{
    Command, Disk, Entry, Length, Msg, NO_OP, Place, Raft, Role, Spot, State, Term, Timer,
};
use crate::consensus::protocol::Told;
use crate::svg::{Kind, Stand};
use stateright::actor::Id;
use std::fmt;

impl Told for Raft {
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

pub(super) fn tell(log: &[Entry]) -> String {
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
