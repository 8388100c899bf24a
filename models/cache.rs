//! A table of results that the threads of a search share without a lock. It forgets: a new result takes the
//! place of an old one.
//!
//! A place is two words: the result, and the key mixed with the result. Who reads one of them before and the
//! other after another thread has written the place finds two that do not fit together, and so no result. (That
//! two fit by chance is less probable than that two states have the same hash.)

use crate::intern::Interned;
use crossbeam_utils::atomic::AtomicCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What a [`Cache`] can hold: one word, with room for the mark of an empty place.
pub trait Word: Copy {
    /// A number that no other value has.
    fn word(self) -> u64;
}

impl<T> Word for &'static T {
    fn word(self) -> u64 {
        std::ptr::from_ref(self).addr() as u64
    }
}

impl<T> Word for Interned<T> {
    fn word(self) -> u64 {
        self.address() as u64
    }
}

/// Results by key.
pub struct Cache<V> {
    /// None before [`Cache::grow`] is called; until then nothing is remembered.
    lines: Vec<Line<V>>,
    /// How many places are taken.
    taken: AtomicUsize,
}

/// A few places, the newest result first. The memory brings a line whole.
#[repr(align(64))]
struct Line<V>([Place<V>; PLACES]);

const PLACES: usize = 4;

/// A result, if there is one, and its key mixed with it.
struct Place<V> {
    mark: AtomicU64,
    value: AtomicCell<Option<V>>,
}

const FIRST: usize = 1 << 8;
/// From here on it would not stay in the cache of the processor.
const LARGEST: usize = 1 << 20;

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            taken: AtomicUsize::new(0),
        }
    }
}

fn empty<V>(count: usize) -> Vec<Line<V>> {
    const { assert!(AtomicCell::<Option<V>>::is_lock_free(), "a word") };
    let place = |_| Place {
        mark: AtomicU64::new(0),
        value: AtomicCell::new(None),
    };
    let line = || Line(std::array::from_fn(place));
    std::iter::repeat_with(line).take(count).collect()
}

impl<V: Word> Place<V> {
    fn set(&self, mark: u64, value: Option<V>) {
        self.mark.store(mark, Relaxed);
        self.value.store(value);
    }
}

fn mark_of<V: Word>(key: u64, value: V) -> u64 {
    key ^ value.word().wrapping_mul(0xd6e8_feb8_6659_fd93)
}

impl<V: Word> Line<V> {
    fn find(&self, key: u64) -> Option<V> {
        self.0.iter().find_map(|place| {
            let mark = place.mark.load(Relaxed);
            let value = place.value.load()?;
            (mark == mark_of(key, value)).then_some(value)
        })
    }

    /// Says whether a place was taken that was free.
    fn insert(&self, key: u64, value: V) -> bool {
        let Self(places) = self;
        let was_free = places[PLACES - 1].value.load().is_none();
        for to in (1..PLACES).rev() {
            let from = &places[to - 1];
            places[to].set(from.mark.load(Relaxed), from.value.load());
        }
        places[0].set(mark_of(key, value), Some(value));
        was_free
    }
}

impl<V: Word> Cache<V> {
    /// The result for `key`, which `compute` finds if it is not known. Different results must have
    /// different keys.
    pub fn get(&self, key: u64, compute: impl FnOnce() -> V) -> V {
        self.find(key).unwrap_or_else(|| {
            let value = compute();
            self.insert(key, value);
            value
        })
    }

    /// Looks at where `key` would be. To do so for many keys before they are asked for lets the memory
    /// fetch their places side by side. (So nothing here may depend on what it finds.)
    pub fn touch(&self, key: u64) -> u64 {
        self.line(key)
            .map_or(0, |line| line.0[0].mark.load(Relaxed))
    }

    /// The result for `key`, if it is remembered.
    pub fn find(&self, key: u64) -> Option<V> {
        self.line(key)?.find(key)
    }

    /// Remembers the result for `key`, which was not remembered.
    pub fn insert(&self, key: u64, value: V) {
        if self.line(key).is_some_and(|line| line.insert(key, value)) {
            self.taken.fetch_add(1, Relaxed);
        }
    }

    fn line(&self, key: u64) -> Option<&Line<V>> {
        // Multiplicative hashing (Knuth): the upper bits are the good ones.
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = (u128::from(hash) * self.lines.len() as u128) >> 64;
        self.lines.get(place as usize)
    }

    /// Makes room, if there is little.
    pub fn grow(&mut self) {
        // With more than half of the places taken, many lines would have to forget.
        while *self.taken.get_mut() >= self.lines.len() * PLACES / 2 && self.lines.len() < LARGEST {
            let larger = empty(FIRST.max(2 * self.lines.len()));
            *self.taken.get_mut() = 0;
            for Line(places) in std::mem::replace(&mut self.lines, larger) {
                for Place { mark, value } in places.into_iter().rev() {
                    if let Some(value) = value.into_inner() {
                        self.insert(mark.into_inner() ^ mark_of(0, value), value);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 100_000;

    fn results() -> &'static [u64] {
        Vec::from_iter((0..KEYS).map(|key| key + 1)).leak()
    }

    #[test]
    fn most_is_remembered_if_there_is_room() {
        let results = results();
        let mut cache = Cache::default();
        let computed = AtomicUsize::new(0);
        for round in 0..3 {
            for key in 0..KEYS {
                let found: &u64 = cache.get(key, || {
                    computed.fetch_add(1, Relaxed);
                    &results[key as usize]
                });
                assert_eq!(*found, key + 1, "round {round}");
                cache.grow();
            }
        }
        let computed = computed.into_inner();
        assert!(
            computed < 120_000,
            "three times 100,000: {computed} computed"
        );
    }

    #[test]
    fn a_result_is_right_even_if_all_threads_write_at_the_same_places() {
        let results = results();
        let mut cache = Cache::default();
        cache.grow();
        let line = |key| cache.line(key).map(std::ptr::from_ref);
        let in_one_line = |key: &u64| line(*key) == line(0);
        let keys: Vec<u64> = (0..KEYS).filter(in_one_line).take(2 * PLACES).collect();
        std::thread::scope(|scope| {
            for thread in 1..=3 {
                let (keys, cache) = (&keys, &cache);
                scope.spawn(move || {
                    for step in 0..1_000_000 {
                        let key = keys[step * thread % keys.len()];
                        let found: &u64 = cache.get(key, || &results[key as usize]);
                        assert_eq!(*found, key + 1);
                    }
                });
            }
        });
    }
}
