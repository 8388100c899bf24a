//! Sets of servers and majorities.
//!
//! Spec: `spec/0-assumptions.md`, "Quorums". What it must never do: count a server twice, or count
//! one that does not vote.

use crate::types::ServerId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A set of server ids: a bit for each of the 256 possible ids.
///
/// ```
/// use keepright::quorum::ServerSet;
/// use keepright::types::ServerId;
///
/// let voters: ServerSet = [1, 2, 3].map(ServerId).into_iter().collect();
/// let two: ServerSet = [1, 3].map(ServerId).into_iter().collect();
/// assert!(two.is_quorum_of(&voters));
/// assert!(!ServerSet::of(ServerId(2)).is_quorum_of(&voters));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerSet([u64; 4]);

impl ServerSet {
    /// The empty set.
    pub const EMPTY: Self = Self([0; 4]);

    /// The set of one server.
    pub fn of(sid: ServerId) -> Self {
        let mut set = Self::EMPTY;
        set.insert(sid);
        set
    }

    /// Adds a server; says whether it was new.
    pub fn insert(&mut self, sid: ServerId) -> bool {
        let word = &mut self.0[usize::from(sid.0 / 64)];
        let before = *word;
        *word |= 1 << (sid.0 % 64);
        *word != before
    }

    /// Removes a server; says whether it was there.
    pub fn remove(&mut self, sid: ServerId) -> bool {
        let word = &mut self.0[usize::from(sid.0 / 64)];
        let before = *word;
        *word &= !(1 << (sid.0 % 64));
        *word != before
    }

    /// Whether the server is in the set.
    pub fn contains(&self, sid: ServerId) -> bool {
        self.0[usize::from(sid.0 / 64)] & (1 << (sid.0 % 64)) != 0
    }

    /// How many servers are in the set.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// The servers in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    /// The servers in either set.
    pub fn union(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// The servers, by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = ServerId> + use<> {
        let set = *self;
        (0..4u8).flat_map(move |i| {
            let mut word = set.0[usize::from(i)];
            std::iter::from_fn(move || {
                (word != 0).then(|| {
                    let bit = word.trailing_zeros() as u8;
                    word &= word - 1;
                    ServerId(i * 64 + bit)
                })
            })
        })
    }

    /// Whether the set holds a majority of `voters`. Members that are not voters do not count.
    pub fn is_quorum_of(&self, voters: &Self) -> bool {
        2 * self.intersection(voters).len() > voters.len()
    }
}

impl FromIterator<ServerId> for ServerSet {
    fn from_iter<I: IntoIterator<Item = ServerId>>(servers: I) -> Self {
        let mut set = Self::EMPTY;
        for sid in servers {
            set.insert(sid);
        }
        set
    }
}

impl fmt::Debug for ServerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u8]) -> ServerSet {
        ids.iter().copied().map(ServerId).collect()
    }

    #[test]
    fn a_quorum_is_more_than_half_of_the_voters() {
        assert!(!set(&[1]).is_quorum_of(&set(&[1, 2, 3])));
        assert!(set(&[1, 3]).is_quorum_of(&set(&[1, 2, 3])));
        assert!(!set(&[1, 3]).is_quorum_of(&set(&[1, 2, 3, 4])));
        assert!(set(&[7]).is_quorum_of(&set(&[7])));
    }

    #[test]
    fn observers_do_not_count_in_a_quorum() {
        assert!(!set(&[1, 4, 5]).is_quorum_of(&set(&[1, 2, 3])));
    }

    #[test]
    fn a_set_lists_its_servers_in_order() {
        let servers: Vec<u8> = set(&[255, 3, 64, 63]).iter().map(|sid| sid.0).collect();
        assert_eq!(servers, [3, 63, 64, 255]);
    }
}
