//! The states that a search has visited: for each its hash, and the hash of the state before it.
//!
//! The table is cut into shards by the first bits of the hash. States are noted in parts of it, which several
//! threads do side by side, so nothing is locked. Each shard grows by itself, in place, and by a half, so
//! that a state takes between 21 and 32 bytes.

/// No state has this hash: the parent of an initial state, and the mark of an empty place.
pub const NO_PARENT: u64 = 0;

const SHARD_BITS: u32 = 8;

const EMPTY: (u64, u64) = (NO_PARENT, NO_PARENT);

/// All visited states.
#[derive(Debug)]
pub struct Visited(Vec<Shard>);

/// The visited states whose hashes begin alike.
#[derive(Clone, Debug)]
pub struct Shard {
    /// A state is in the first free place from where its hash points to.
    places: Vec<(u64, u64)>,
    taken: usize,
}

impl Default for Visited {
    fn default() -> Self {
        let shard = Shard {
            places: vec![EMPTY; 16],
            taken: 0,
        };
        Self(vec![shard; 1 << SHARD_BITS])
    }
}

/// The number of the shard of a hash.
fn shard_of(hash: u64) -> usize {
    (hash >> (64 - SHARD_BITS)) as usize
}

/// Which of `owners` parts a hash belongs to.
pub fn owner(hash: u64, owners: usize) -> usize {
    (shard_of(hash) * owners) >> SHARD_BITS
}

impl Visited {
    /// The shards in `owners` parts.
    pub fn split(&mut self, owners: usize) -> impl Iterator<Item = Part<'_>> {
        let mut rest = self.0.as_mut_slice();
        let mut first = 0;
        (0..owners).map(move |number| {
            let of_this = |shard: &usize| (shard * owners) >> SHARD_BITS == number;
            let count = (first..1 << SHARD_BITS).take_while(of_this).count();
            let (shards, others) = std::mem::take(&mut rest).split_at_mut(count);
            rest = others;
            let part = Part { first, shards };
            first += count;
            part
        })
    }

    /// The hash of the state before the one with this hash, if that was visited.
    pub fn parent(&self, hash: u64) -> Option<u64> {
        let shard = &self.0[shard_of(hash)];
        let (known, parent) = shard.places[shard.place(hash)];
        (known == hash).then_some(parent)
    }

    /// Whether a state was visited.
    pub fn contains(&self, hash: u64) -> bool {
        self.parent(hash).is_some()
    }

    /// What is at the place that a hash points to. Looking at many before they are asked for lets the
    /// memory fetch them side by side.
    pub fn touch(&self, hash: u64) -> u64 {
        self.0[shard_of(hash)].touch(hash)
    }
}

/// Shards that one thread notes states in.
pub struct Part<'a> {
    first: usize,
    shards: &'a mut [Shard],
}

impl Part<'_> {
    /// See [`Visited::touch`].
    pub fn touch(&self, hash: u64) -> u64 {
        self.shards[shard_of(hash) - self.first].touch(hash)
    }

    /// Notes a state that belongs to this part; says whether it is new.
    pub fn insert(&mut self, hash: u64, parent: u64) -> bool {
        self.shards[shard_of(hash) - self.first].insert(hash, parent)
    }
}

impl Shard {
    /// Where a hash points to: as far into the places as the rest of its bits are into all numbers.
    fn start(&self, hash: u64) -> usize {
        let rest = u128::from(hash << SHARD_BITS);
        ((rest * self.places.len() as u128) >> 64) as usize
    }

    fn touch(&self, hash: u64) -> u64 {
        self.places[self.start(hash)].0
    }

    /// The place of a hash, or the empty one where it belongs.
    fn place(&self, hash: u64) -> usize {
        let mut place = self.start(hash);
        loop {
            let known = self.places[place].0;
            if known == hash || known == NO_PARENT {
                return place;
            }
            place += 1;
            if place == self.places.len() {
                place = 0;
            }
        }
    }

    fn insert(&mut self, hash: u64, parent: u64) -> bool {
        let place = self.place(hash);
        if self.places[place].0 == hash {
            return false;
        }
        self.places[place] = (hash, parent);
        self.taken += 1;
        if self.taken * 4 > self.places.len() * 3 {
            self.grow();
        }
        true
    }

    /// In place, from the back: a state moves behind all that are still to be moved. At the beginning and at
    /// the end there may be no such place, and what belongs there comes last.
    fn grow(&mut self) {
        let before = self.places.len();
        self.places.reserve_exact(before / 2);
        self.places.resize(before + before / 2, EMPTY);
        let mut last = Vec::new();
        for old in (0..before).rev() {
            let (hash, parent) = std::mem::replace(&mut self.places[old], EMPTY);
            if hash == NO_PARENT {
                continue;
            }
            let (start, place) = (self.start(hash), self.place(hash));
            match start > old && place >= start {
                true => self.places[place] = (hash, parent),
                false => last.push((hash, parent)),
            }
        }
        for (hash, parent) in last {
            let place = self.place(hash);
            self.places[place] = (hash, parent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intern::fingerprint;

    #[test]
    fn every_state_is_new_once_and_keeps_its_first_parent_whoever_owns_it() {
        for owners in [1, 2, 3, 7] {
            let mut visited = Visited::default();
            let mut parts: Vec<_> = visited.split(owners).collect();
            let hashes: Vec<u64> = (0..20_000u64).map(|n| fingerprint(&n)).collect();
            for (parent, hash) in hashes.iter().enumerate() {
                assert!(parts[owner(*hash, owners)].insert(*hash, parent as u64 + 1));
            }
            for hash in &hashes {
                assert!(!parts[owner(*hash, owners)].insert(*hash, 77));
            }
            for (parent, hash) in hashes.iter().enumerate() {
                assert_eq!(visited.parent(*hash), Some(parent as u64 + 1));
            }
            assert_eq!(visited.parent(fingerprint(&"another")), None);
        }
    }
}
