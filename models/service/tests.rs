//! The model of the service, checked against itself and its mutants.

use super::bounds::Bounds;
use super::{BOUNDS, Model, NAME, faithful, invariants, mutants, script};
use crate::engine::{self, End, Limits, Outcome, Progress};

fn explore(model: &Model, threads: usize) -> Outcome {
    let limits = Limits {
        threads,
        stop_at_first: true,
        max_states: Some(2_000_000),
        max_time: None,
        max_memory: None,
    };
    engine::search(model, limits, &Progress::default())
}

fn of(scenario: &str) -> Bounds {
    Bounds::new(script::find(scenario).expect("it is there"))
}

#[test]
fn every_mutant_of_the_service_is_caught_by_its_invariant_and_the_service_is_not() {
    for mutant in mutants::ALL {
        let trial = mutant.trial();
        let caught = explore(&trial.model(), 2);
        let (name, bounds) = (mutant.name, trial.bounds);
        assert_eq!(caught.end, End::Violation, "{name} survives {bounds}");
        let outcome = explore(&faithful(bounds), 2);
        assert_eq!(outcome.end, End::Complete, "faithful in {bounds}");
    }
}

#[test]
fn every_invariant_of_the_service_has_a_mutant() {
    for invariant in invariants::ALL {
        let id = invariant.id;
        let has_mutant = mutants::ALL.iter().any(|mutant| mutant.invariant == id);
        assert!(has_mutant, "none for {id}");
    }
}

#[test]
fn the_default_bounds_would_have_caught_every_mutant_of_the_service() {
    for mutant in mutants::ALL {
        let bounds = mutant.trial().bounds;
        let covered = BOUNDS.iter().any(|default| default.covers(&bounds));
        assert!(covered, "{}: no default bounds cover {bounds}", mutant.name);
    }
}

#[test]
fn the_counts_of_the_service_do_not_depend_on_the_number_of_threads() {
    let bounds = of("watches").with(1, 0, 0, 0);
    let (one, four) = (explore(&faithful(bounds), 1), explore(&faithful(bounds), 4));
    assert_eq!(
        (one.distinct, one.generated, one.depth),
        (four.distinct, four.generated, four.depth)
    );
}

/// If one of these changes, the service or its environment has: say why in the commit.
#[test]
fn the_numbers_of_states_of_the_service_are_as_recorded() {
    let recorded = [
        (of("moves"), 13, 10),
        (of("streams"), 204, 12),
        (of("watches"), 178, 13),
        (of("ephemerals").with(0, 0, 0, 1), 2_463, 17),
    ];
    for (bounds, distinct, depth) in recorded {
        let outcome = explore(&faithful(bounds), 2);
        assert_eq!(outcome.end, End::Complete, "{bounds}");
        let found = (outcome.distinct, outcome.depth);
        assert_eq!(found, (distinct, depth), "service {bounds}");
    }
}

#[test]
fn the_record_of_the_service_is_of_its_default_bounds_and_its_small_counts_are_right() {
    let record = include_str!("../../spec/checked.txt");
    let mut rows = record.lines().filter(|line| line.starts_with(NAME));
    for bounds in BOUNDS {
        let row = rows.next().expect("a row for each of the default bounds");
        let start = format!("{NAME} | {bounds} | ");
        let counts = row.strip_prefix(&start);
        let counts = counts.unwrap_or_else(|| panic!("{row} is not of {start}"));
        let distinct = counts.split(' ').next().and_then(|word| word.parse().ok());
        if distinct.is_none_or(|distinct: usize| distinct < 50_000) {
            let outcome = explore(&faithful(*bounds), 2);
            let found = format!("{} | {}", outcome.distinct, outcome.depth);
            assert_eq!(found, counts, "{start}");
        }
    }
    assert_eq!(rows.next(), None, "no row of other bounds");
}
