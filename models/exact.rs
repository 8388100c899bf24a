//! A slow search that keeps whole states, to hold the fast one against: what it counts does not depend on hashes.
//!
//! Spec: `spec/0-assumptions.md`, "What a green run does not prove". Hashes only say where to look for an equal state; whether two are
//! equal, all that they consist of says. What it must never do: trust a table that is looked up by a hash.

use crate::checked::Checked;
use crate::engine::{End, Limits, fingerprint};
use crate::memory;
use crate::plan::Plan;
use crate::run;
use hashbrown::HashTable;
use std::time::Instant;

/// What a search by whole states has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exact {
    pub distinct: usize,
    /// States with the hash of another one: the fast search takes them for it.
    pub alike: usize,
    /// Whether all was visited.
    pub complete: bool,
}

/// A model in its bounds, counted in both ways.
pub struct Compared {
    pub what: String,
    /// As the fast search counts; `None` if it did not come to its end.
    pub by_hash: Option<usize>,
    /// `None` if that was not tried.
    pub whole: Option<Exact>,
}

impl Compared {
    /// Whether both have found the same.
    pub fn agree(&self) -> bool {
        match (self.by_hash, self.whole) {
            (Some(count), Some(exact)) => exact.complete && exact.distinct == count,
            _ => false,
        }
    }

    /// Whether both came to their end and have found different numbers.
    fn differ(&self) -> bool {
        let ended = self.whole.is_some_and(|exact| exact.complete);
        ended && !self.agree()
    }

    fn line(&self) -> String {
        let what = &self.what;
        match (self.by_hash, self.whole) {
            (None, _) => format!("{what}: not compared, too large for these limits"),
            (Some(count), Some(exact)) if exact.complete => {
                let verdict = match self.agree() {
                    true => "the same".to_owned(),
                    false => format!("DIFFERENT: {} have the hash of another one", exact.alike),
                };
                let whole = exact.distinct;
                format!("{what}: {count} by hash, {whole} whole states, {verdict}")
            }
            (Some(count), _) => format!("{what}: {count} by hash; whole states: out of memory"),
        }
    }
}

/// Visits every state of a model, and compares whole states.
pub fn search<M: Checked>(model: &M, limits: Limits) -> Exact {
    let (mut all, mut places) = (Vec::<M::State>::new(), HashTable::<(u64, u32)>::new());
    let mut alike = 0;
    let mut add = |all: &mut Vec<M::State>, state: M::State| {
        let hash = fingerprint(&state);
        let same = |(known, place): &(u64, u32)| {
            *known == hash && model.is_same(&all[*place as usize], &state)
        };
        if places.find(hash, same).is_none() {
            alike += usize::from(places.find(hash, |(known, _)| *known == hash).is_some());
            let place = u32::try_from(all.len()).expect("so many do not fit into the memory");
            places.insert_unique(hash, (hash, place), |(known, _)| *known);
            all.push(state);
        }
    };
    model
        .init_states()
        .into_iter()
        .for_each(|state| add(&mut all, state));
    let (mut next, mut actions, mut complete) = (0, Vec::new(), true);
    let full = || {
        limits
            .max_memory
            .is_some_and(|max| memory::used().is_some_and(|used| used >= max))
    };
    while next < all.len() && complete {
        let state = all[next].clone();
        model.actions(&state, &mut actions);
        for action in actions.drain(..) {
            if let Some(successor) = model.next_state(&state, action) {
                add(&mut all, successor);
            }
        }
        next += 1;
        complete = next % 4096 != 0 || !full();
    }
    let distinct = all.len();
    Exact {
        distinct,
        alike,
        complete,
    }
}

/// Counts a model in both ways.
pub fn compare<M: Checked>(mut model: M, limits: Limits) -> Compared {
    let what = format!("{} {}", model.name(), model.bounds());
    let outcome = run::explore(&what, &model, limits, &|_, _| {});
    let by_hash = (outcome.end == End::Complete).then_some(outcome.distinct);
    model.look_up_nothing();
    let whole = by_hash.map(|_| search(&model, limits));
    Compared {
        what,
        by_hash,
        whole,
    }
}

/// Counts everything that is planned in both ways. `Ok(true)` if all that could be compared agrees.
pub fn run_all(plan: Plan, limits: Limits) -> bool {
    let (mut agree, mut count) = (true, 0);
    for exploration in plan.runs {
        let started = Instant::now();
        let compared = exploration.compare(limits);
        println!(
            "{} ({:.1} s)",
            compared.line(),
            started.elapsed().as_secs_f32()
        );
        agree &= !compared.differ();
        count += usize::from(compared.agree());
        if run::interrupted() {
            return false;
        }
    }
    match agree {
        true => println!("EXACT: {count} counts are the same with whole states"),
        false => println!("FAILED: the search by hashes misses states"),
    }
    agree && count > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::Bounds;
    use crate::{catalogue, service};

    const LIMITS: Limits = Limits {
        threads: 1,
        stop_at_first: true,
        max_states: None,
        max_time: None,
        max_memory: None,
    };

    #[test]
    fn small_models_have_as_many_states_by_hash_as_whole() {
        for spec in catalogue::ALL {
            let small = [Bounds::new(3, 1, 0, 0), Bounds::new(2, 1, 1, 0)];
            for bounds in small {
                let compared = compare(spec.faithful(bounds), LIMITS);
                assert!(compared.agree(), "{}", compared.line());
            }
        }
        for (scenario, elections, reconnects) in
            [("moves", 0, 1), ("locks", 0, 0), ("registers", 1, 0)]
        {
            let scenario = service::script::named(scenario);
            let mut bounds =
                service::bounds::Bounds::new(scenario).with(elections, 0, reconnects, 0);
            bounds.operations = 1;
            let compared = compare(service::faithful(bounds), LIMITS);
            assert!(compared.agree(), "{}", compared.line());
        }
    }

    #[test]
    fn counts_that_differ_are_no_success() {
        let exact = Exact {
            distinct: 3,
            alike: 1,
            complete: true,
        };
        let compared = Compared {
            what: "a model".to_owned(),
            by_hash: Some(2),
            whole: Some(exact),
        };
        assert!(compared.differ() && !compared.agree());
    }
}
