//! One exhaustive search by one engine, measured in a process of its own: what `benches/engines.rs` starts.
//!
//! Each engine gets the same model and asks the same properties. What it must never do: report a search that has
//! not visited everything.

use crate::engine::{self, End, Limits, Progress};
use crate::environment::Environment;
use crate::memory;
use clap::ValueEnum;
use serde::Serialize;
use stateright::{Checker, DiscoveryClassification, HasDiscoveries, Model};
use std::time::Instant;

/// Who searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The engine of `check`
    Check,
    /// Stateright's breadth-first search
    Bfs,
    /// Stateright's depth-first search
    Dfs,
}

/// What a search came to.
#[derive(Debug, Serialize)]
pub struct Measured {
    pub engine: Engine,
    pub threads: usize,
    pub distinct: usize,
    pub generated: usize,
    /// States on the longest path that was followed. Only a breadth-first search follows shortest paths.
    pub depth: usize,
    /// From the initial states to the last one, without the making of the model.
    pub seconds: f64,
    /// The most that the whole process ever had in memory, the model's own tables included.
    pub peak_bytes: u64,
}

/// Explores a model with an engine, with so many threads and without other limits. An error if an invariant
/// falls.
pub fn measure(model: Environment, engine: Engine, threads: usize) -> Result<Measured, String> {
    let started = Instant::now();
    let measured = |distinct, generated, depth| {
        let seconds = started.elapsed().as_secs_f64();
        Ok(Measured {
            engine,
            threads,
            distinct,
            generated,
            depth,
            seconds,
            peak_bytes: memory::peak()?,
        })
    };
    let theirs = |model: Environment| {
        let checker = model.checker().threads(threads);
        checker.finish_when(HasDiscoveries::AnyFailures)
    };
    match engine {
        Engine::Check => {
            let limits = Limits {
                threads,
                stop_at_first: true,
                max_states: None,
                max_time: None,
                max_memory: None,
            };
            let progress = Progress::default();
            let outcome = engine::search_and_look(&model, limits, &progress, &|_, _| {});
            match outcome.end {
                End::Complete => measured(outcome.distinct, outcome.generated, outcome.depth),
                End::Violation | End::Stopped | End::OutOfMemory => Err(not_whole()),
            }
        }
        Engine::Bfs => by_stateright(theirs(model).spawn_bfs().join(), measured),
        Engine::Dfs => by_stateright(theirs(model).spawn_dfs().join(), measured),
    }
}

fn by_stateright(
    done: impl Checker<Environment>,
    measured: impl Fn(usize, usize, usize) -> Result<Measured, String>,
) -> Result<Measured, String> {
    // To find the paths of what was discovered is not part of the search.
    let measured = measured(
        done.unique_state_count(),
        done.state_count(),
        done.max_depth(),
    );
    let is_witness = |name: &&'static str| match done.discovery_classification(name) {
        DiscoveryClassification::Example => true,
        DiscoveryClassification::Counterexample => false,
    };
    match done.discoveries().keys().all(is_witness) {
        true => measured,
        false => Err(not_whole()),
    }
}

fn not_whole() -> String {
    "an invariant falls, so that the search is not whole: see check run".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::Bounds;
    use crate::catalogue;
    use crate::mutants;

    const ENGINES: [(Engine, usize); 5] = [
        (Engine::Check, 1),
        (Engine::Check, 2),
        (Engine::Bfs, 1),
        (Engine::Bfs, 2),
        (Engine::Dfs, 1),
    ];

    #[test]
    fn all_engines_count_the_same_states_when_they_are_measured() {
        let zab = catalogue::find("zab").expect("zab is in the catalogue");
        let bounds = Bounds::new(3, 1, 0, 1);
        for (engine, threads) in ENGINES {
            let measured = measure(zab.faithful(bounds), engine, threads).expect("it holds");
            let counts = (measured.distinct, measured.generated);
            assert_eq!(counts, (6_175, 16_167), "{engine:?} {threads}");
            assert!(measured.seconds > 0.0 && measured.peak_bytes > 1 << 20);
        }
    }

    #[test]
    fn a_search_that_ends_at_a_broken_invariant_is_not_measured() {
        for (engine, threads) in ENGINES {
            let broken = mutants::ALL[0].trial.environment();
            let error = measure(broken, engine, threads).expect_err("it falls");
            assert!(error.contains("an invariant falls"), "{engine:?}: {error}");
        }
    }
}
