//! Who votes, and how many of them decide.
//!
//! Spec: `spec/0-assumptions.md`, "Quorums". What it must never do: count a server twice, count one
//! that does not vote, or take two sets for quorums that share no server.

use crate::persistent::Vector;
use crate::types::ServerId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The servers of an ensemble by what they have a say in, and which of them together are a quorum.
///
/// ```
/// use keepright::quorum::{Membership, ServerSet};
/// use keepright::types::ServerId;
///
/// let set = |ids: &[u8]| ids.iter().copied().map(ServerId).collect::<ServerSet>();
/// let three = Membership::majority(set(&[1, 2, 3]));
/// assert!(three.is_quorum(&set(&[1, 3])));
/// assert!(!three.is_quorum(&set(&[2])));
///
/// let heavy = Membership::weighted([vec![(ServerId(1), 3), (ServerId(2), 1), (ServerId(3), 1)]]);
/// assert!(heavy.is_quorum(&set(&[1])));
/// assert!(!heavy.is_quorum(&set(&[2, 3])));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Membership {
    /// The participants whose vote counts: those of weight 0 are followers without a vote.
    pub voters: ServerSet,
    /// The servers that learn what is committed, and nothing before.
    pub observers: ServerSet,
    /// Empty if each voter counts the same.
    groups: Vector<Group>,
}

/// Some of the voters, with what each of them counts within the group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Group(Vector<(ServerId, Weight)>);

/// What a voter counts beside the others of its group.
pub type Weight = u32;

impl Membership {
    /// A quorum is more than half of `voters`; there are no observers.
    pub fn majority(voters: ServerSet) -> Self {
        Self {
            voters,
            ..Self::default()
        }
    }

    /// A quorum has more than half of the weight in each of more than half of the groups: ZooKeeper's
    /// hierarchical quorums. Each server stands in one group. Who has no weight does not vote, and a group
    /// without weight does not count.
    pub fn weighted(groups: impl IntoIterator<Item = Vec<(ServerId, Weight)>>) -> Self {
        let with_weight = |group: Vec<(ServerId, Weight)>| {
            let voters = group.into_iter().filter(|(_, weight)| *weight > 0);
            let voters: Vector<_> = voters.collect();
            (!voters.is_empty()).then_some(Group(voters))
        };
        let groups: Vector<Group> = groups.into_iter().filter_map(with_weight).collect();
        let voters = groups.iter().flat_map(|Group(voters)| voters);
        Self {
            voters: voters.map(|(sid, _)| *sid).collect(),
            observers: ServerSet::EMPTY,
            groups,
        }
    }

    /// The same with these observers.
    pub fn with_observers(self, observers: ServerSet) -> Self {
        Self { observers, ..self }
    }

    /// The voters of each group with their weights; no groups if each voter counts the same.
    pub fn groups(&self) -> impl Iterator<Item = &Vector<(ServerId, Weight)>> {
        self.groups.iter().map(|Group(voters)| voters)
    }

    /// Whether these servers are a quorum. Who is not a voter does not count.
    pub fn is_quorum(&self, servers: &ServerSet) -> bool {
        if self.groups.is_empty() {
            return servers.is_majority_of(&self.voters);
        }
        let won = self.groups.iter().filter(|group| group.is_won_by(servers));
        2 * won.count() > self.groups.len()
    }
}

impl Group {
    fn is_won_by(&self, servers: &ServerSet) -> bool {
        let weight = |counts: &dyn Fn(ServerId) -> bool| -> u64 {
            let counted = self.0.iter().filter(|(sid, _)| counts(*sid));
            counted.map(|(_, weight)| u64::from(*weight)).sum()
        };
        2 * weight(&|sid| servers.contains(sid)) > weight(&|_| true)
    }
}

/// A set of server ids: a bit for each of the 256 possible ids.
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

    /// The servers in this set and not in the other.
    pub fn difference(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & !other.0[i]))
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

    /// Whether the set holds more than half of `voters`. Members that are not voters do not count.
    pub fn is_majority_of(&self, voters: &Self) -> bool {
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
    use proptest::prelude::*;

    fn set(ids: &[u8]) -> ServerSet {
        ids.iter().copied().map(ServerId).collect()
    }

    fn weighted(groups: &[&[(u8, Weight)]]) -> Membership {
        let group = |group: &&[(u8, Weight)]| {
            let named = group.iter().map(|(id, weight)| (ServerId(*id), *weight));
            named.collect()
        };
        Membership::weighted(groups.iter().map(group))
    }

    #[test]
    fn a_quorum_is_more_than_half_of_the_voters() {
        let is_quorum =
            |some: &[u8], all: &[u8]| Membership::majority(set(all)).is_quorum(&set(some));
        assert!(!is_quorum(&[1], &[1, 2, 3]));
        assert!(is_quorum(&[1, 3], &[1, 2, 3]));
        assert!(!is_quorum(&[1, 3], &[1, 2, 3, 4]));
        assert!(is_quorum(&[7], &[7]));
        assert!(!is_quorum(&[], &[]), "nobody decides nothing");
    }

    #[test]
    fn observers_do_not_count_in_a_quorum() {
        let membership = Membership::majority(set(&[1, 2, 3])).with_observers(set(&[4, 5]));
        assert!(!membership.is_quorum(&set(&[1, 4, 5])));
    }

    #[test]
    fn with_weights_a_quorum_has_more_than_half_of_the_weight() {
        let heavy = weighted(&[&[(1, 2), (2, 1), (3, 1)]]);
        assert!(!heavy.is_quorum(&set(&[2, 3])), "two of four");
        assert!(heavy.is_quorum(&set(&[1, 2])));
        assert!(!heavy.is_quorum(&set(&[1])));
    }

    #[test]
    fn who_has_no_weight_has_no_vote() {
        let two = weighted(&[&[(1, 1), (2, 1), (3, 0)]]);
        assert_eq!(two.voters, set(&[1, 2]));
        assert!(!two.is_quorum(&set(&[1, 3])));
        assert!(two.is_quorum(&set(&[1, 2])));
    }

    #[test]
    fn with_groups_a_quorum_has_more_than_half_of_more_than_half_of_the_groups() {
        let one = |ids: [u8; 3]| ids.map(|id| (id, 1));
        let three = weighted(&[&one([1, 2, 3]), &one([4, 5, 6]), &one([7, 8, 9])]);
        assert!(three.is_quorum(&set(&[1, 2, 4, 5])), "four of nine");
        assert!(!three.is_quorum(&set(&[1, 2, 3, 4, 7])), "one whole group");
        let empty = weighted(&[&one([1, 2, 3]), &one([4, 5, 6]), &[(7, 0)]]);
        assert!(
            !empty.is_quorum(&set(&[1, 2, 7])),
            "a group without weight does not count"
        );
    }

    #[test]
    fn a_set_lists_its_servers_in_order() {
        let servers: Vec<u8> = set(&[255, 3, 64, 63]).iter().map(|sid| sid.0).collect();
        assert_eq!(servers, [3, 63, 64, 255]);
    }

    /// Twelve servers, each in one of three groups with a weight.
    fn memberships() -> impl Strategy<Value = Membership> {
        let server = (0..3usize, prop_oneof![0..4u32, Just(u32::MAX)]);
        (prop::collection::vec(server, 1..12), any::<bool>()).prop_map(|(servers, grouped)| {
            let ids = (1..).map(ServerId);
            if !grouped {
                return Membership::majority(ids.take(servers.len()).collect());
            }
            let mut groups = vec![Vec::new(); 3];
            for (sid, (group, weight)) in ids.zip(servers) {
                groups[group].push((sid, weight));
            }
            Membership::weighted(groups)
        })
    }

    proptest! {
        #[test]
        fn any_two_quorums_share_a_voter(
            membership in memberships(),
            one in any::<u16>(),
            other in any::<u16>(),
        ) {
            let of = |bits: u16| -> ServerSet {
                (0..16).filter(|i| bits >> i & 1 == 1).map(ServerId).collect()
            };
            // A quorum and what it leaves over are the hardest pair.
            for (one, other) in [(of(one), of(other)), (of(one), of(!one))] {
                let both = one.intersection(&other).intersection(&membership.voters);
                let two_quorums = membership.is_quorum(&one) && membership.is_quorum(&other);
                prop_assert!(!two_quorums || !both.is_empty());
            }
        }

        #[test]
        fn who_joins_a_quorum_does_not_end_it(membership in memberships(), one in any::<u16>(), more in any::<u16>()) {
            let of = |bits: u16| -> ServerSet {
                (0..16).filter(|i| bits >> i & 1 == 1).map(ServerId).collect()
            };
            prop_assert!(!membership.is_quorum(&of(one)) || membership.is_quorum(&of(one | more)));
        }
    }
}
