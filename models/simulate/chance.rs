//! Chance, as a function of a seed.
//!
//! What it must never do: give other numbers on another machine, so it calculates with integers alone.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The numbers that belong to one seed.
pub struct Chance(ChaCha8Rng);

impl Chance {
    pub fn of(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let scaled = u128::from(self.0.next_u64()) * u128::from(end);
        (scaled >> 64) as u64
    }

    /// True once in `times`, on average.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A number from 1 to `most`, small ones more often.
    pub fn few(&mut self, most: u8) -> u8 {
        let end = 1 + self.below(u64::from(most));
        1 + self.below(end) as u8
    }

    /// One of these, of which there is at least one.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// The place of one of these weights, each as likely as it is heavy; `None` if all are 0.
    pub fn weighted(&mut self, weights: &[u64]) -> Option<usize> {
        let total: u64 = weights.iter().sum();
        if total == 0 {
            return None;
        }
        let mut left = self.below(total);
        weights.iter().position(|weight| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If this changes, no seed of the past means what it meant: say so in the changelog.
    #[test]
    fn the_numbers_of_a_seed_are_as_recorded() {
        let mut chance = Chance::of(1);
        let numbers: Vec<_> = (0..6).map(|_| chance.below(1000)).collect();
        assert_eq!(numbers, [402, 80, 596, 219, 283, 710]);
    }

    #[test]
    fn a_weight_of_nothing_is_never_drawn_and_others_are_by_their_weight() {
        let mut chance = Chance::of(1);
        let mut drawn = [0u32; 4];
        for _ in 0..4000 {
            let place = chance.weighted(&[0, 1, 3, 0]).expect("there are weights");
            drawn[place] += 1;
        }
        assert_eq!((drawn[0], drawn[3]), (0, 0));
        assert!((900..1100).contains(&drawn[1]), "{drawn:?}");
        assert_eq!(chance.weighted(&[0, 0]), None);
        assert_eq!(chance.weighted(&[]), None);
    }
}
