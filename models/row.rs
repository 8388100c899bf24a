//! A table that is read much, by all threads and without a lock, and never forgets.

use std::sync::OnceLock;

/// Values by key, in pages each four times as large as the one before. Empty, it takes next to no room.
pub struct Row<V>(OnceLock<Box<Page<V>>>);

struct Page<V> {
    places: Box<[OnceLock<(u64, V)>]>,
    next: Row<V>,
}

/// How many places of the first page there are, and how many of a page a key may take.
const FIRST: usize = 4;
const PROBES: usize = 4;

impl<V> Default for Row<V> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<V: Copy> Row<V> {
    /// The value for `key`, which `compute` finds if it is not known. Two threads may compute it at the
    /// same time; the values are equal.
    pub fn get(&self, key: u64, compute: impl FnOnce() -> V) -> V {
        let mut new = None;
        let mut compute = Some(compute);
        // Multiplicative hashing (Knuth): the upper bits are the good ones.
        let hash = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        let (mut row, mut size) = (self, FIRST);
        loop {
            let page = row.0.get_or_init(|| {
                Box::new(Page {
                    places: std::iter::repeat_with(OnceLock::new).take(size).collect(),
                    next: Self::default(),
                })
            });
            for probe in 0..PROBES {
                let place = &page.places[(hash + probe) & (size - 1)];
                if let Some((known, value)) = place.get() {
                    if *known == key {
                        return *value;
                    }
                    continue;
                }
                let value = *new.get_or_insert_with(|| (compute.take().expect("once"))());
                // Another thread may have taken the place; then the next one will do.
                if place.set((key, value)).is_ok() {
                    return value;
                }
            }
            (row, size) = (&page.next, 4 * size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_computed_once_and_found_from_then_on() {
        let row = Row::default();
        for key in (0..5000).map(|n| n * 7) {
            assert_eq!(row.get(key, || key + 1), key + 1);
        }
        let lost = (0..5000).filter(|n| row.get(n * 7, || 0) == 0).count();
        assert_eq!(lost, 0);
    }
}
