//! The timers that the actor has set.
//!
//! Spec: `spec/6-server.md`, "Event loop". What it must never do: fire a timer that was cancelled.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Deadlines by timer. There are only a few: the least is found by looking at each.
pub(super) struct Timers<T> {
    deadlines: BTreeMap<T, Instant>,
    random: RandomState,
    drawn: u64,
}

impl<T: Ord + Clone> Timers<T> {
    pub(super) fn new() -> Self {
        Self {
            deadlines: BTreeMap::new(),
            random: RandomState::new(),
            drawn: 0,
        }
    }

    /// Sets or resets a timer to a moment drawn from the range.
    pub(super) fn set(&mut self, now: Instant, timer: T, range: Range<Duration>) {
        let width = range.end.saturating_sub(range.start).as_nanos() as u64;
        self.drawn += 1;
        let extra = match width {
            0 => 0,
            width => self.random.hash_one(self.drawn) % width,
        };
        let deadline = now + range.start + Duration::from_nanos(extra);
        self.deadlines.insert(timer, deadline);
    }

    pub(super) fn cancel(&mut self, timer: &T) {
        self.deadlines.remove(timer);
    }

    pub(super) fn is_set(&self, timer: &T) -> bool {
        self.deadlines.contains_key(timer)
    }

    /// When the next timer fires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.values().min().copied()
    }

    /// Takes a timer whose moment has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<T> {
        let (timer, deadline) = self
            .deadlines
            .iter()
            .min_by_key(|(_, deadline)| **deadline)?;
        if *deadline > now {
            return None;
        }
        let timer = timer.clone();
        self.deadlines.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_the_order_of_their_moments_and_only_once() {
        let (now, mut timers) = (Instant::now(), Timers::new());
        let at = |millis| Duration::from_millis(millis)..Duration::from_millis(millis);
        timers.set(now, "b", at(20));
        timers.set(now, "a", at(30));
        timers.set(now, "c", at(10));
        timers.set(now, "c", at(25));
        timers.set(now, "d", at(1));
        timers.cancel(&"d");
        assert_eq!(timers.next(), Some(now + Duration::from_millis(20)));
        let later = now + Duration::from_millis(25);
        assert_eq!(timers.take_due(later), Some("b"));
        assert_eq!(timers.take_due(later), Some("c"));
        assert_eq!(timers.take_due(later), None);
        assert_eq!(timers.take_due(now + Duration::from_secs(1)), Some("a"));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_timer_is_drawn_from_its_range() {
        let (now, mut timers) = (Instant::now(), Timers::new());
        for _ in 0..100 {
            timers.set(now, 1, Duration::from_secs(1)..Duration::from_secs(2));
            let drawn = timers.next().unwrap() - now;
            assert!(drawn >= Duration::from_secs(1) && drawn < Duration::from_secs(2));
        }
    }
}
