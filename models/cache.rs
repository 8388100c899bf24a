//! A table of results that one thread has found. It forgets: a new result takes the place of another one.

/// Results by key, at most one in each place.
pub struct Cache<V> {
    /// A power of two of places, or none yet.
    places: Vec<Option<(u64, V)>>,
    /// How many results were not known since it has grown.
    missed: usize,
}

const FIRST: usize = 1 << 6;
/// From here on it would not stay in the cache of the processor.
const LARGEST: usize = 1 << 21;

impl<V: Copy> Default for Cache<V> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            missed: 0,
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
    /// fetch their places side by side.
    pub fn touch(&self, key: u64) -> u64 {
        self.at(key).map_or(0, |(known, _)| known)
    }

    /// The result for `key`, if it is remembered.
    pub fn find(&self, key: u64) -> Option<V> {
        self.at(key)
            .filter(|(known, _)| *known == key)
            .map(|(_, value)| value)
    }

    /// Remembers the result for `key`.
    pub fn insert(&mut self, key: u64, value: V) {
        self.missed += 1;
        if self.missed > self.places.len() / 4 && self.places.len() < LARGEST {
            self.grow();
        }
        let place = self.place(key);
        self.places[place] = Some((key, value));
    }

    /// What is at the place of a key.
    fn at(&self, key: u64) -> Option<(u64, V)> {
        self.places.get(self.place(key)).copied().flatten()
    }

    fn place(&self, key: u64) -> usize {
        // Multiplicative hashing (Knuth): the upper bits are the good ones.
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize & self.places.len().wrapping_sub(1)
    }

    fn grow(&mut self) {
        let larger = vec![None; FIRST.max(4 * self.places.len())];
        self.missed = 0;
        for (key, value) in std::mem::replace(&mut self.places, larger)
            .into_iter()
            .flatten()
        {
            let place = self.place(key);
            self.places[place] = Some((key, value));
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
