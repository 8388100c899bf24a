//! How a search gets on, and an honest word about what is left.
//!
//! The levels of a breadth-first search grow, and then shrink: each is to the one before as that was to the one
//! before it, or a little less. So once they shrink, the rest is a sum; before that nobody knows. What it must never do:
//! invent a number.

use crate::engine::Progress;
use crate::report::{grouped, seconds};
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The time over which the rate is taken.
const RECENT: Duration = Duration::from_secs(5);

/// Follows one search.
pub struct Gauge {
    title: String,
    /// How many states it had when it was explored whole and recorded.
    recorded: Option<usize>,
    /// The time and the distinct states then, newest last.
    samples: VecDeque<(Duration, usize)>,
    levels: Levels,
}

impl Gauge {
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            recorded: recorded(title),
            samples: VecDeque::new(),
            levels: Levels::default(),
        }
    }

    /// The line to show now.
    pub fn line(&mut self, progress: &Progress, elapsed: Duration) -> String {
        let (distinct, depth) = (
            progress.distinct.load(Relaxed),
            progress.depth.load(Relaxed),
        );
        self.levels.note(depth, distinct);
        let rate = self.rate(elapsed, distinct);
        format!(
            "{}: {} distinct, {}/s, depth {depth}, queue {}, {}; {}",
            self.title,
            grouped(distinct),
            grouped(rate as usize),
            grouped(progress.queue.load(Relaxed)),
            seconds(elapsed),
            self.outlook(distinct, elapsed),
        )
    }

    /// Distinct states a second, of late.
    fn rate(&mut self, elapsed: Duration, distinct: usize) -> f64 {
        self.samples.push_back((elapsed, distinct));
        // One sample older than that stays, to compare with.
        while self
            .samples
            .get(1)
            .is_some_and(|(then, _)| *then + RECENT <= elapsed)
        {
            self.samples.pop_front();
        }
        let (then, before) = self.samples.front().copied().unwrap_or_default();
        let (then, before) = match then == elapsed {
            true => (Duration::ZERO, 0), // The first sample.
            false => (then, before),
        };
        (distinct - before) as f64 / (elapsed - then).as_secs_f64().max(1e-3)
    }

    /// What is left, as far as anybody knows.
    fn outlook(&self, distinct: usize, elapsed: Duration) -> String {
        let percent = |all: usize| (100.0 * distinct as f64 / all as f64).floor();
        match (self.recorded, self.levels.left()) {
            (Some(all), _) if distinct <= all => {
                format!("{} % of {} in the record", percent(all), grouped(all))
            }
            (Some(all), _) => format!("more than the {} in the record", grouped(all)),
            (None, None) => "growing".to_owned(),
            (None, Some(left)) => {
                // The rate of late goes up and down by a factor of ten where the tables grow.
                let time = left / distinct.max(1) as f64 * elapsed.as_secs_f64();
                format!("shrinking: about {} left, {time:.0} s", rounded(left))
            }
        }
    }
}

/// The sizes of the levels, as far as they were seen.
#[derive(Default)]
struct Levels {
    depth: usize,
    /// Distinct states at the last look.
    distinct: usize,
    /// Distinct states at the last look before each level began: all of that level, and of those before.
    ends: VecDeque<usize>,
}

/// The growth is averaged over so many levels, twice: lately, and before. It is not smooth.
const BACK: usize = 5;

impl Levels {
    fn note(&mut self, depth: usize, distinct: usize) {
        if depth > self.depth + 1 {
            self.ends.clear(); // Levels went by unseen: too short to tell anything.
        } else if depth > self.depth {
            self.ends.push_back(self.distinct);
        }
        if self.ends.len() > 2 * BACK + 2 {
            self.ends.pop_front();
        }
        (self.depth, self.distinct) = (depth, distinct);
    }

    /// How many states are still to be found, once the levels shrink.
    fn left(&self) -> Option<f64> {
        let ends = || self.ends.iter().map(|end| *end as f64);
        let sizes: Vec<f64> = ends().skip(1).zip(ends()).map(|(b, a)| b - a).collect();
        let ratios: Vec<f64> = sizes.windows(2).map(|pair| pair[1] / pair[0]).collect();
        let (before, lately) = ratios.split_at_checked(BACK)?;
        if lately.len() < BACK || *lately.last()? >= 1.0 {
            return None;
        }
        let mean = |ratios: &[f64]| {
            ratios
                .iter()
                .product::<f64>()
                .powf(1.0 / ratios.len() as f64)
        };
        // How the ratio itself changes from level to level; it did since the middle of `lately`.
        let change = (mean(lately) / mean(before))
            .powf(1.0 / BACK as f64)
            .min(1.0);
        let mut ratio = mean(lately) * change.powi(BACK as i32 / 2);
        if ratio >= 1.0 {
            return None;
        }
        let (mut size, mut all) = (*sizes.last()?, *self.ends.back()? as f64);
        while size >= 1.0 {
            ratio *= change;
            size *= ratio;
            all += size;
        }
        Some((all - self.distinct as f64).max(0.0))
    }
}

/// The distinct states in the record of what was explored whole, for `name bounds`.
fn recorded(title: &str) -> Option<usize> {
    let rows = include_str!("../spec/checked.txt").lines();
    rows.filter(|row| !row.starts_with('#')).find_map(|row| {
        let parts: Vec<&str> = row.split(" | ").collect();
        let [model, bounds, distinct, _depth] = parts[..] else {
            return None;
        };
        (title == format!("{model} {bounds}")).then(|| distinct.parse().ok())?
    })
}

/// Two digits are all that an estimate has.
fn rounded(number: f64) -> String {
    let digits = number.max(1.0).log10().floor() as i32;
    let unit = 10f64.powi((digits - 1).max(0));
    grouped(((number / unit).round() * unit) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::Bounds;
    use crate::catalogue;
    use crate::engine::{self, Limits};
    use std::sync::Mutex;

    /// The sizes of the levels of a model.
    fn level_sizes(model: &str, bounds: Bounds) -> Vec<usize> {
        let environment = catalogue::find(model).expect("a model").faithful(bounds);
        let sizes = Mutex::new(Vec::new());
        let limits = Limits {
            threads: 1,
            stop_at_first: true,
            max_states: None,
            max_time: None,
            max_memory: None,
        };
        let look = |_: &_, depth: usize| {
            let mut sizes = sizes.lock().expect("nobody panics with it");
            sizes.resize(depth, 0);
            sizes[depth - 1] += 1;
        };
        engine::search_and_look(&environment, limits, &Progress::default(), &look);
        sizes.into_inner().expect("nobody panics with it")
    }

    #[test]
    fn what_is_left_is_estimated_once_the_levels_shrink_and_within_a_factor_of_four() {
        for (model, bounds) in [
            ("zab", Bounds::new(3, 1, 1, 0)),
            ("zab", Bounds::new(3, 1, 0, 1)),
            ("ensemble", Bounds::new(3, 0, 0, 1)),
            ("ensemble", Bounds::new(3, 1, 1, 0)),
        ] {
            let sizes = level_sizes(model, bounds);
            let all: usize = sizes.iter().sum();
            let (mut levels, mut found, mut estimates) = (Levels::default(), 0, 0);
            for (depth, size) in sizes.iter().enumerate() {
                // A level begins: all of it is found, and nothing of the next.
                found += size;
                levels.note(depth, found);
                let left = (all - found) as f64;
                let next = sizes.get(depth + 1).unwrap_or(&0);
                let estimate = levels.left().filter(|_| left > 50.0);
                levels.note(depth, found + next); // It ends: all of the next one is found.
                let Some(estimate) = estimate else { continue };
                estimates += 1;
                assert!(
                    *size < sizes[depth - 1],
                    "{model} {bounds}, depth {depth}: it grows"
                );
                let factor = estimate / left;
                let place = format!("{model} {bounds}, depth {depth}: {estimate} for {left}");
                assert!(factor < 4.0 && factor > 0.25, "{place}");
            }
            assert!(estimates >= 2, "{model} {bounds} says nothing");
        }
    }

    #[test]
    fn the_rate_is_that_of_late() {
        let mut gauge = Gauge::new("a model");
        for second in 1..=20 {
            let distinct = if second <= 10 {
                1000 * second
            } else {
                10_000 + 10 * (second - 10)
            };
            let rate = gauge.rate(Duration::from_secs(second as u64), distinct);
            let expected = match second {
                ..=10 => 1000.0,
                15.. => 10.0,
                _ => continue,
            };
            assert_eq!(rate, expected, "after {second} s");
        }
    }

    #[test]
    fn a_run_of_the_record_is_measured_by_the_record() {
        let progress = Progress::default();
        progress.distinct.store(559_591, Relaxed);
        let line = Gauge::new("zab (3,2,1,1)").line(&progress, Duration::from_secs(1));
        assert!(
            line.ends_with("50 % of 1,119,182 in the record") || line.contains("in the record"),
            "{line}"
        );
        let line = Gauge::new("zab (3,9,9,9)").line(&progress, Duration::from_secs(1));
        assert!(line.ends_with("; growing"), "{line}");
    }
}
