//! What participants of two-phase and of three-phase commit have in common: how they stand, and what must hold of that.

use super::environment::{Ensemble, Node, World};
use super::protocol::Protocol;
use crate::svg::{Kind, Stand};
use serde::{Deserialize, Serialize};
use stateright::actor::Id;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How the transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    Commit,
    Abort,
}

/// How far a participant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// It has not voted.
    Working,
    /// It has voted for it, and holds what it has locked.
    Prepared,
    /// In three phases: it knows that all have voted for it.
    PreCommitted,
    Ended(Outcome),
}

/// How long somebody waits for a message, on a real network.
pub const WAIT: std::ops::Range<Duration> = Duration::from_millis(500)..Duration::from_millis(600);

/// Notes how each participant ended first.
pub fn note<P: Protocol>(
    nodes: &[Node<P>],
    past: &mut BTreeMap<Id, Outcome>,
    standing: fn(&P::State) -> Option<Standing>,
) {
    for (place, node) in nodes.iter().enumerate() {
        if let Some(Standing::Ended(outcome)) = node.state.as_ref().and_then(standing) {
            past.entry(Id::from(place)).or_insert(outcome);
        }
    }
}

/// Who has committed while another one has aborted.
pub fn split<P: Protocol>(protocol: &P, past: &BTreeMap<Id, Outcome>) -> Option<String> {
    let one = |wanted| past.iter().find(|(_, outcome)| **outcome == wanted);
    let (committed, _) = one(Outcome::Commit)?;
    let (aborted, _) = one(Outcome::Abort)?;
    let (committed, aborted) = (protocol.name_of(*committed), protocol.name_of(*aborted));
    Some(format!("{committed} has committed, {aborted} has aborted"))
}

/// Who is up and does not stand as it once ended.
pub fn changed<P: Protocol>(
    model: &Ensemble<P>,
    world: &World<P>,
    past: &BTreeMap<Id, Outcome>,
    standing: fn(&P::State) -> Option<Standing>,
) -> Option<String> {
    past.iter().find_map(|(id, outcome)| {
        let now = standing(world.state(*id)?)?;
        let name = model.protocol.name_of(*id);
        (now != Standing::Ended(*outcome))
            .then(|| format!("{name} had ended with {outcome}; now: {now}"))
    })
}

pub fn stand(standing: Standing, words: String) -> Stand {
    let kind = match standing {
        Standing::Working => Kind::Idle,
        Standing::Prepared | Standing::PreCommitted => Kind::Follows,
        Standing::Ended(_) => Kind::Leads,
    };
    Stand { kind, words }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit => write!(f, "commit"),
            Self::Abort => write!(f, "abort"),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Working => write!(f, "has not voted"),
            Self::Prepared => write!(f, "has voted yes, holds its locks"),
            Self::PreCommitted => write!(f, "knows that all voted yes, holds its locks"),
            Self::Ended(Outcome::Commit) => write!(f, "has committed"),
            Self::Ended(Outcome::Abort) => write!(f, "has aborted"),
        }
    }
}
