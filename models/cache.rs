//! A table of results that one thread has found. It forgets: a new result takes the place of an old one.

/// Results by key.
pub struct Cache<V> {
    /// None before there is a result.
    lines: Vec<Line<V>>,
    /// How many places are taken.
    taken: usize,
}

/// A few places, the newest result first. The memory brings a line whole.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line<V>([Place<V>; PLACES]);

const PLACES: usize = 4;

/// A result, if there is one, and its key.
#[derive(Clone, Copy)]
struct Place<V> {
    key: u64,
    value: Option<V>,
}

const FIRST: usize = 1 << 4;
/// From here on it would not stay in the cache of the processor.
const LARGEST: usize = 1 << 20;

impl<V: Copy> Default for Cache<V> {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            taken: 0,
        }
    }
}

impl<V: Copy> Cache<V> {
    /// The result for `key`, which `compute` finds if it is not known. Different results must have
    /// different keys.
    pub fn get(&mut self, key: u64, compute: impl FnOnce() -> V) -> V {
        self.find(key).unwrap_or_else(|| {
            let value = compute();
            self.insert(key, value);
            value
        })
    }

    /// Looks at where `key` would be. To do so for many keys before they are asked for lets the memory
    /// fetch their places side by side. (So nothing here may depend on what it finds.)
    pub fn touch(&self, key: u64) -> u64 {
        self.lines
            .get(self.line(key))
            .map_or(0, |line| line.0[0].key)
    }

    /// The result for `key`, if it is remembered.
    pub fn find(&self, key: u64) -> Option<V> {
        let line = self.lines.get(self.line(key))?;
        line.0.iter().find(|place| place.key == key)?.value
    }

    /// Remembers the result for `key`, which was not remembered.
    pub fn insert(&mut self, key: u64, value: V) {
        // With more than half of the places taken, many lines would have to forget.
        if self.taken >= self.lines.len() * PLACES / 2 && self.lines.len() < LARGEST {
            self.grow();
        }
        let line = self.line(key);
        let places = &mut self.lines[line].0;
        self.taken += usize::from(places[PLACES - 1].value.is_none());
        places.rotate_right(1);
        places[0] = Place {
            key,
            value: Some(value),
        };
    }

    fn line(&self, key: u64) -> usize {
        // Multiplicative hashing (Knuth): the upper bits are the good ones.
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((u128::from(hash) * self.lines.len() as u128) >> 64) as usize
    }

    fn grow(&mut self) {
        let empty = Place {
            key: 0,
            value: None,
        };
        let larger = vec![Line([empty; PLACES]); FIRST.max(2 * self.lines.len())];
        self.taken = 0;
        for line in std::mem::replace(&mut self.lines, larger) {
            for Place { key, value } in line.0.into_iter().rev() {
                if let Some(value) = value {
                    self.insert(key, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_right_whether_it_is_remembered_or_not() {
        let mut cache = Cache::default();
        let mut computed = 0;
        for round in 0..3 {
            for key in 0..100_000u64 {
                let found = cache.get(key, || {
                    computed += 1;
                    key + 1
                });
                assert_eq!(found, key + 1, "round {round}");
            }
        }
        assert!(
            computed < 250_000,
            "much is remembered: {computed} computed"
        );
    }
}
