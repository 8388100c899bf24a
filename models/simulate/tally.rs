//! What has happened in some runs, counted.
//!
//! A tally is the same whoever made the runs, so tallies of batches can be added up in any order.

use super::swarm::{Goals, Kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What has happened in some runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub runs: u64,
    pub steps: u64,
    /// The steps of the longest run.
    pub longest: u64,
    /// How often each kind of event happened, by its place in the list of kinds.
    pub kinds: Vec<u64>,
    /// By goal.
    pub goals: Vec<Reached>,
    /// In how many runs each witness was found.
    pub witnesses: BTreeMap<String, u64>,
    /// The seed of the first run in which something went wrong.
    pub fell: Option<u64>,
}

/// How far runs came towards a goal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// In how many runs it was not nothing.
    pub runs: u64,
    pub total: u64,
    /// The most that any run reached.
    pub most: u64,
}

impl Tally {
    /// Nothing has happened yet.
    pub fn new(kinds: &[Kind], goals: &[&str]) -> Self {
        Self {
            kinds: vec![0; kinds.len()],
            goals: vec![Reached::default(); goals.len()],
            ..Self::default()
        }
    }

    /// An event of this kind has happened.
    pub fn count(&mut self, kind: usize) {
        self.kinds[kind] += 1;
    }

    /// A run has ended.
    pub fn close(
        &mut self,
        steps: usize,
        goals: &Goals,
        witnesses: impl Iterator<Item = (&'static str, bool)>,
    ) {
        let steps = steps as u64;
        self.runs += 1;
        self.steps += steps;
        self.longest = self.longest.max(steps);
        for (reached, number) in self.goals.iter_mut().zip(goals) {
            reached.runs += u64::from(*number > 0);
            reached.total += number;
            reached.most = reached.most.max(*number);
        }
        for (name, found) in witnesses {
            // Not by `entry`, which would have to own a name that is nearly always there.
            match self.witnesses.get_mut(name) {
                Some(runs) => *runs += u64::from(found),
                None => {
                    self.witnesses.insert(name.to_owned(), u64::from(found));
                }
            }
        }
    }

    /// Adds what has happened in other runs.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.steps += other.steps;
        self.longest = self.longest.max(other.longest);
        for (ours, theirs) in self.kinds.iter_mut().zip(&other.kinds) {
            *ours += theirs;
        }
        for (ours, theirs) in self.goals.iter_mut().zip(&other.goals) {
            ours.runs += theirs.runs;
            ours.total += theirs.total;
            ours.most = ours.most.max(theirs.most);
        }
        for (name, runs) in &other.witnesses {
            *self.witnesses.entry(name.clone()).or_default() += runs;
        }
        self.fell = match (self.fell, other.fell) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
    }
}
