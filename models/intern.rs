//! Values that occur in very many states are kept once and compared by address.
//!
//! An interned value carries its hash, so that a state is hashed without looking into it. Interned
//! values live as long as the process: the parts of states are few, their combinations are many.

use crate::symmetry::Images;
use foldhash::quality::FixedState;
use hashbrown::HashTable;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// A value that is kept once. Equal values have equal addresses.
pub struct Interned<T: 'static>(&'static Slot<T>);

struct Slot<T> {
    hash: u64,
    /// How many values were interned before this one.
    number: u32,
    /// The hashes under each renaming of the servers.
    images: Images,
    value: T,
}

impl<T> Interned<T> {
    /// The hash of the value; the same in every run.
    pub fn fingerprint(self) -> u64 {
        self.0.hash
    }

    /// The hashes that the value would have under each renaming.
    pub fn images(self) -> &'static [u64] {
        &self.0.images
    }

    /// A small number that no other value of this interner has.
    pub fn number(self) -> u32 {
        self.0.number
    }

    /// An order of values, the same in every run. The number tells apart two that have one hash.
    pub fn order(self) -> (u64, u32) {
        (self.fingerprint(), self.number())
    }

    /// The address, as a key for tables.
    pub fn address(self) -> usize {
        std::ptr::from_ref(self.0).addr()
    }

    /// The value, which lives for ever.
    pub fn get(self) -> &'static T {
        &self.0.value
    }
}

impl<T> Clone for Interned<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Interned<T> {}

impl<T> std::ops::Deref for Interned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> PartialEq for Interned<T> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl<T> Eq for Interned<T> {}

impl<T> Hash for Interned<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl<T: fmt::Debug> fmt::Debug for Interned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}

/// The hash that the checker uses everywhere: fixed, so that runs can be compared.
pub fn fingerprint<T: Hash + ?Sized>(value: &T) -> u64 {
    FixedState::with_seed(0x6b65_6570_7269_6768).hash_one(value)
}

/// A hash of a hash and a place; sums of them must not collide when places are exchanged, so this is
/// not linear (the finalizer of SplitMix64).
pub fn mix(hash: u64, place: u64) -> u64 {
    let mut x = hash.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The place where values of one type are kept.
pub struct Interner<T: 'static> {
    shards: Vec<Mutex<Shard<T>>>,
    count: AtomicU32,
}

/// Slots with their hashes: so most of those that are not asked for do not have to be looked at.
type Shard<T> = HashTable<(u64, &'static Slot<T>)>;

const SHARDS: usize = 64;

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            count: AtomicU32::new(0),
        }
    }
}

impl<T: Hash + Eq> Interner<T> {
    /// The interned form of `value`; `images` finds its hashes under each renaming, if it is new.
    pub fn intern(&self, value: T, images: impl FnOnce(&T) -> Images) -> Interned<T> {
        let hash = fingerprint(&value);
        let shard = &self.shards[(hash >> 58) as usize];
        let mut table = shard
            .lock()
            .expect("no thread panics while it holds this lock");
        let slot = table.entry(
            hash,
            |(known, slot)| *known == hash && slot.value == value,
            |(known, _)| *known,
        );
        match slot {
            hashbrown::hash_table::Entry::Occupied(known) => Interned(known.get().1),
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                let images = images(&value);
                let slot: &'static Slot<T> = Box::leak(Box::new(Slot {
                    hash,
                    number: self.count.fetch_add(1, Ordering::Relaxed),
                    images,
                    value,
                }));
                vacant.insert((hash, slot));
                Interned(slot)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_address() {
        let interner = Interner::default();
        let intern = |text: &str| interner.intern(text.to_owned(), |_| Images::new());
        assert_eq!(intern("zab").address(), intern("zab").address());
        assert_ne!(intern("zab"), intern("raft"));
    }
}
