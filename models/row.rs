//! A table that is read much, by all threads and without a lock, and never forgets.

use std::sync::OnceLock;

/// Values by key, in pages each four times as large as the one before.
pub struct Row<V> {
    pages: [OnceLock<Box<[Place<V>]>>; PAGES],
}

type Place<V> = OnceLock<(u32, V)>;

const PAGES: usize = 8;

/// How many places of the first page there are, and how many of a page a key may take.
const FIRST: usize = 16;
const PROBES: usize = 8;

impl<V> Default for Row<V> {
    fn default() -> Self {
        Self {
            pages: std::array::from_fn(|_| OnceLock::new()),
        }
    }
}

impl<V: Copy> Row<V> {
    /// The value for `key`, which `compute` finds if it is not known. Two threads may compute it at the
    /// same time; the values are equal.
    pub fn get(&self, key: u32, compute: impl FnOnce() -> V) -> V {
        let mut new = None;
        let mut compute = Some(compute);
        // Knuth's multiplicative hash: the upper bits are the good ones.
        let hash = key.wrapping_mul(0x9e37_79b1) >> 12;
        for (number, page) in self.pages.iter().enumerate() {
            let page = page.get_or_init(|| {
                let size = FIRST << (2 * number);
                std::iter::repeat_with(OnceLock::new).take(size).collect()
            });
            for probe in 0..PROBES {
                let place = &page[(hash as usize + probe) & (page.len() - 1)];
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
        }
        // No room: compute it each time. There are too many keys for this to be the right table.
        match (new, compute) {
            (Some(value), _) => value,
            (None, Some(compute)) => compute(),
            (None, None) => unreachable!("what was computed is in `new`"),
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
