//! The acceptor that scheme two, Paxos and Multi-Paxos share: the newest ballot takes the access away from all older ones.
//!
//! Spec: `spec/consensus.md`, "Scheme two". What it must never do: accept what is older than its promise.

use serde::{Deserialize, Serialize};
use stateright::actor::Id;
use std::fmt;

/// The number of an attempt: unique, because each proposer counts its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    pub round: u8,
    pub proposer: Id,
}

/// What may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value(pub u8);

/// What was accepted, and in which ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Vote {
    pub ballot: Ballot,
    pub value: Value,
}

/// What an acceptor knows; all of it must be on disk before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acceptor {
    /// The newest ballot that was given access.
    pub promised: Option<Ballot>,
    pub accepted: Option<Vote>,
}

impl Acceptor {
    /// Gives access to a ballot, unless a newer one has it.
    pub fn prepare(&mut self, ballot: Ballot) -> bool {
        let newest = self.promised <= Some(ballot);
        if newest {
            self.promised = Some(ballot);
        }
        newest
    }

    /// Accepts a value, unless a newer ballot has been given access.
    pub fn accept(&mut self, vote: Vote) -> bool {
        let allowed = self.prepare(vote.ballot);
        if allowed {
            self.accepted = Some(vote);
        }
        allowed
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, usize::from(self.proposer) + 1)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "value {}", self.0)
    }
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in ballot {}", self.value, self.ballot)
    }
}

impl fmt::Display for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.promised {
            None => write!(f, "nothing promised")?,
            Some(ballot) => write!(f, "promised {ballot}")?,
        }
        match self.accepted {
            None => write!(f, ", nothing accepted"),
            Some(vote) => write!(f, ", accepted {vote}"),
        }
    }
}
