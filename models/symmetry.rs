//! One state for all that differ only in the names of the servers.
//!
//! Spec: `spec/0-assumptions.md`, "Symmetry". Each interned part of a state carries the hash that it
//! would have under each renaming; the hash of a state is the least of the sums. No state is ever
//! renamed: the search simply takes two states for the same if their least hashes are equal.

use crate::environment::Environment;
use crate::intern::fingerprint;
use crate::world::{Envelope, Process, World};
use keepright::types::ServerId;
use keepright::zab::invariants::Record;
use smallvec::SmallVec;

/// The hash of a value under each renaming; the first is the hash of the value as it is.
pub type Images = SmallVec<[u64; 6]>;

/// The ways to rename the servers of an ensemble.
#[derive(Clone, Debug)]
pub struct Renamings(Vec<Vec<u8>>);

/// A value that names servers.
pub trait Renamed {
    fn renamed(&self, names: &impl Fn(ServerId) -> ServerId) -> Self;
}

impl Renamings {
    /// Only the one that changes nothing.
    pub fn none(size: u8) -> Self {
        Self(vec![(1..=size).collect()])
    }

    /// All permutations of the first `voters` of `size` servers.
    pub fn of_voters(voters: u8, size: u8) -> Self {
        let mut all: Vec<Vec<u8>> = vec![vec![]];
        for id in 1..=voters {
            all = all
                .iter()
                .flat_map(|names| {
                    (0..=names.len()).map(move |place| {
                        let mut names = names.clone();
                        names.insert(place, id);
                        names
                    })
                })
                .collect();
        }
        for names in &mut all {
            names.extend(voters + 1..=size);
        }
        all.sort();
        Self(all)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What server `id` is called in renaming number `index`. Who is not of the ensemble keeps its name.
    pub fn name(&self, index: usize, id: ServerId) -> ServerId {
        let names = &self.0[index];
        names
            .get(usize::from(id.0).wrapping_sub(1))
            .map_or(id, |name| ServerId(*name))
    }

    /// The hashes of a value under all renamings.
    pub fn images<T: Renamed + std::hash::Hash>(&self, value: &T) -> Images {
        (0..self.len())
            .map(|index| fingerprint(&value.renamed(&|id| self.name(index, id))))
            .collect()
    }
}

impl Environment {
    /// Whether `other` is what `one` becomes by a renaming, all that they consist of compared.
    pub fn is_image(&self, index: usize, one: &World, other: &World) -> bool {
        let names = |id| self.renamings.name(index, id);
        let is_there = |envelope: &Envelope| {
            let renamed = envelope.renamed(&names);
            other
                .node(renamed.dst)
                .inbox
                .iter()
                .any(|known| **known == renamed)
        };
        one.budget == other.budget
            && one.ids().all(|id| {
                let (node, image) = (one.node(id), other.node(names(id)));
                node.inbox.len() == image.inbox.len()
                    && node.process.process.renamed(&names) == image.process.process
                    && node.inbox.iter().all(|envelope| is_there(envelope))
            })
            && one.record.renamed(&names) == *other.record
    }
}

impl Renamed for Process {
    fn renamed(&self, names: &impl Fn(ServerId) -> ServerId) -> Self {
        Self {
            disk: self.disk.renamed(names),
            unsaved: self
                .unsaved
                .iter()
                .map(|save| save.renamed(names))
                .collect(),
            state: self.state.as_ref().map(|state| state.renamed(names)),
        }
    }
}

impl Renamed for Envelope {
    fn renamed(&self, names: &impl Fn(ServerId) -> ServerId) -> Self {
        Self {
            src: names(self.src),
            dst: names(self.dst),
            message: self.message.renamed(names),
        }
    }
}

impl Renamed for Record<u8> {
    fn renamed(&self, names: &impl Fn(ServerId) -> ServerId) -> Self {
        let leaders = self
            .leaders
            .iter()
            .map(|(epoch, set)| (*epoch, set.renamed(names)))
            .collect();
        let alone = self.alone.iter();
        let alone = alone.map(|(sid, entry)| (names(*sid), entry.clone()));
        Self {
            leaders,
            alone: alone.collect(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_voters_have_six_renamings_and_observers_keep_their_names() {
        let renamings = Renamings::of_voters(3, 4);
        assert_eq!(renamings.len(), 6);
        assert_eq!(renamings.0[0], [1, 2, 3, 4], "the first changes nothing");
        assert!(renamings.0.iter().all(|names| names[3] == 4));
    }
}
