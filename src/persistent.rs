//! Persistent collections: a clone costs O(1), and a changed clone shares what has not changed.
//!
//! They are those of `im`, but for one thing: their hash says how many elements there are. That of `im` does not, so
//! the lists `[1]`, `[2]` side by side would hash like `[1, 2]`, `[]`; and the checker, which tells states apart by their
//! hash, would take one state for the other and never see what follows from it.
//!
//! Spec: `spec/0-assumptions.md`, "What a green run does not prove". Nothing else of this crate or of its models may name `im`: clippy
//! and a test hold that.

#![allow(clippy::disallowed_types)] // This is the one place.

use serde::{Deserialize, Serialize};
use std::fmt::{self, Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

/// A list.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent, bound(deserialize = "T: Deserialize<'de> + Clone"))]
pub struct Vector<T>(im::Vector<T>);

/// A map in the order of its keys.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    transparent,
    bound(
        serialize = "K: Serialize + Ord, V: Serialize",
        deserialize = "K: Deserialize<'de> + Ord + Clone, V: Deserialize<'de> + Clone"
    )
)]
pub struct OrdMap<K: Ord, V>(im::OrdMap<K, V>);

/// A set in the order of its elements.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    transparent,
    bound(
        serialize = "T: Serialize + Ord",
        deserialize = "T: Deserialize<'de> + Ord + Clone"
    )
)]
pub struct OrdSet<T: Ord>(im::OrdSet<T>);

impl<T: Clone> Vector<T> {
    /// A list of one element.
    pub fn unit(element: T) -> Self {
        Self(im::Vector::unit(element))
    }

    /// Splits it before the element at `place`, of which the second part is returned.
    pub fn split_off(&mut self, place: usize) -> Self {
        Self(self.0.split_off(place))
    }

    /// Keeps the first `count` elements.
    pub fn truncate(&mut self, count: usize) {
        self.0.truncate(count);
    }

    /// All but the first `count` elements.
    pub fn skip(&self, count: usize) -> Self {
        Self(self.0.skip(count))
    }
}

impl<K: Ord + Clone, V: Clone> OrdMap<K, V> {
    /// A map of one entry.
    pub fn unit(key: K, value: V) -> Self {
        Self(im::OrdMap::unit(key, value))
    }
}

impl<T: Ord + Clone> OrdSet<T> {
    /// A set of one element.
    pub fn unit(element: T) -> Self {
        Self(im::OrdSet::unit(element))
    }

    /// What is in either of the two.
    pub fn union(self, other: Self) -> Self {
        Self(self.0.union(other.0))
    }
}

impl<T: Clone> From<Vec<T>> for Vector<T> {
    fn from(elements: Vec<T>) -> Self {
        Self(im::Vector::from(elements))
    }
}

impl<T: Clone, const N: usize> From<[T; N]> for Vector<T> {
    fn from(elements: [T; N]) -> Self {
        elements.into_iter().collect()
    }
}

/// What the three have in common: they are collections of `im` in all but their hash.
macro_rules! like_im {
    ($name:ident<$($of:ident $(: $order:ident)?),+>, $item:ty, $borrowed:ty) => {
        impl<$($of $(: $order)?),+> $name<$($of),+> {
            /// An empty one.
            pub fn new() -> Self {
                Self(im::$name::new())
            }
        }

        impl<$($of $(: $order)?),+> Default for $name<$($of),+> {
            fn default() -> Self {
                Self::new()
            }
        }

        impl<$($of: Hash $(+ $order)?),+> Hash for $name<$($of),+> {
            fn hash<H: Hasher>(&self, state: &mut H) {
                state.write_usize(self.0.len());
                self.0.hash(state);
            }
        }

        impl<$($of: Debug $(+ $order)?),+> Debug for $name<$($of),+> {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<$($of $(: $order)?),+> Deref for $name<$($of),+> {
            type Target = im::$name<$($of),+>;
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl<$($of $(: $order)?),+> DerefMut for $name<$($of),+> {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.0
            }
        }

        impl<$($of: Clone $(+ $order)?),+> FromIterator<$item> for $name<$($of),+> {
            fn from_iter<I: IntoIterator<Item = $item>>(elements: I) -> Self {
                Self(elements.into_iter().collect())
            }
        }

        impl<$($of: Clone $(+ $order)?),+> Extend<$item> for $name<$($of),+> {
            fn extend<I: IntoIterator<Item = $item>>(&mut self, elements: I) {
                self.0.extend(elements);
            }
        }

        impl<$($of: Clone $(+ $order)?),+> IntoIterator for $name<$($of),+> {
            type Item = $item;
            type IntoIter = <im::$name<$($of),+> as IntoIterator>::IntoIter;
            fn into_iter(self) -> Self::IntoIter {
                self.0.into_iter()
            }
        }

        impl<'a, $($of $(: $order)?),+> IntoIterator for &'a $name<$($of),+> {
            type Item = $borrowed;
            type IntoIter = <&'a im::$name<$($of),+> as IntoIterator>::IntoIter;
            fn into_iter(self) -> Self::IntoIter {
                (&self.0).into_iter()
            }
        }
    };
}

like_im!(Vector<T>, T, &'a T);
like_im!(OrdMap<K: Ord, V>, (K, V), (&'a K, &'a V));
like_im!(OrdSet<T: Ord>, T, &'a T);

#[cfg(test)]
mod tests {
    use super::*;
    use foldhash::quality::FixedState;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::hash::BuildHasher;

    /// As the checker does it.
    fn fingerprint(value: &impl Hash) -> u64 {
        FixedState::with_seed(1).hash_one(value)
    }

    /// The hashes of one sequence split into two collections, at every place.
    fn split<C: FromIterator<T> + Hash, T: Clone>(all: &[T]) -> Vec<u64> {
        let halves = |at: usize| {
            let collect = |half: &[T]| half.iter().cloned().collect::<C>();
            (collect(&all[..at]), collect(&all[at..]))
        };
        (0..=all.len()).map(|at| fingerprint(&halves(at))).collect()
    }

    fn all_differ(mut hashes: Vec<u64>) -> bool {
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        hashes.len() == count
    }

    proptest! {
        #[test]
        fn collections_that_differ_only_in_where_one_ends_hash_differently(all in vec(0u8..3, 0..12)) {
            prop_assert!(all_differ(split::<Vector<u8>, u8>(&all)));
            // Ascending, so that a set has the same elements in the same order.
            let ascending: Vec<u16> = (0..).zip(&all).map(|(place, n)| 3 * place + u16::from(*n)).collect();
            prop_assert!(all_differ(split::<OrdSet<u16>, u16>(&ascending)));
            let entries: Vec<(u16, u8)> = ascending.iter().copied().zip(all.iter().copied()).collect();
            prop_assert!(all_differ(split::<OrdMap<u16, u8>, (u16, u8)>(&entries)));
        }

        #[test]
        fn nested_collections_that_differ_only_in_where_one_ends_hash_differently(all in vec(0u8..3, 1..12)) {
            let nested = |at: usize| {
                let (one, two) = all.split_at(at);
                let list = |half: &[u8]| half.iter().copied().collect::<Vector<u8>>();
                [list(one), list(two)].into_iter().collect::<Vector<Vector<u8>>>()
            };
            let mut hashes: Vec<u64> = (0..=all.len()).map(|at| fingerprint(&nested(at))).collect();
            hashes.push(fingerprint(&Vector::unit(all.iter().copied().collect::<Vector<u8>>())));
            prop_assert!(all_differ(hashes));
        }
    }

    #[test]
    fn an_empty_collection_within_another_one_counts() {
        let nothing: Vector<Vector<u8>> = Vector::new();
        assert_ne!(
            fingerprint(&nothing),
            fingerprint(&Vector::unit(Vector::<u8>::new()))
        );
    }

    #[test]
    fn what_is_written_is_what_im_writes() {
        let list: Vector<u8> = (1..4).collect();
        let bytes = postcard::to_stdvec(&list).expect("it can be written");
        assert_eq!(
            bytes,
            postcard::to_stdvec(&*list).expect("it can be written")
        );
        assert_eq!(postcard::from_bytes::<Vector<u8>>(&bytes), Ok(list));
    }
}
