//! A breadth-first search over a stateright `Model`, level by level.
//!
//! Stateright's own search keeps a path with each state that waits, and its threads race for the
//! order of the search. This one keeps a state's hash and its parent's, so a path is found again by
//! walking; and all threads finish a level before the next begins, so a counterexample is a shortest
//! one and the counts are the same whatever the number of threads.
//!
//! How a level is worked off is in `models/engine/level.rs`; how a path is found again in `models/engine/path.rs`.

mod level;
mod path;
#[cfg(test)]
mod tests;

use crate::visited::{NO_PARENT, Visited};
use level::{Level, Search};
pub use path::{Trace, TraceStep};
use stateright::{Expectation, Model, Property};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// When to stop before everything is explored.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub threads: usize,
    /// Stop at the end of the level on which every property with this expectation was discovered.
    pub stop_at_first: bool,
    pub max_states: Option<usize>,
    pub max_time: Option<Duration>,
    /// In bytes.
    pub max_memory: Option<u64>,
}

/// What can be read while the search goes on.
#[derive(Debug, Default)]
pub struct Progress {
    pub distinct: AtomicUsize,
    pub generated: AtomicUsize,
    pub depth: AtomicUsize,
    pub queue: AtomicUsize,
    /// Set this to end the search early.
    pub stop: AtomicBool,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every reachable state was visited.
    Complete,
    /// A property was violated and the search was asked to stop there.
    Violation,
    /// Interrupted, or a limit was reached.
    Stopped,
    /// The memory that may be used is nearly used up.
    OutOfMemory,
}

/// A state in which a property was discovered: a counterexample, or a witness.
#[derive(Clone, Debug)]
pub struct Discovery {
    pub property: &'static str,
    pub depth: usize,
    /// Distinct states when it was found: the states of all earlier levels and of this one so far.
    pub states: usize,
    fingerprint: u64,
}

/// The result of a search.
#[derive(Debug)]
pub struct Outcome {
    pub distinct: usize,
    pub generated: usize,
    pub depth: usize,
    pub queue: usize,
    pub elapsed: Duration,
    pub end: End,
    pub discoveries: Vec<Discovery>,
    visited: Visited,
}

/// A state that a step leads to.
pub struct Successor<S> {
    /// As [`fingerprint`] would find it.
    pub hash: u64,
    /// The place of the state before the step, among those that were asked for.
    pub parent: usize,
    pub state: S,
}

/// Looks at what will be needed soon. Waiting for the memory is what takes a search most of its time, and it
/// can fetch many things side by side.
pub fn touch(values: impl Iterator<Item = u64>) {
    std::hint::black_box(values.fold(0, |a, b| a ^ b));
}

/// A model that this engine can search.
pub trait Expand: Model {
    /// What a search remembers from one state to the next, to be faster.
    type Memory: Default + Sync;

    /// Called now and then, the first time before the search begins: makes room for more.
    fn make_room(_: &mut Self::Memory) {}

    /// Adds the successors of some states.
    fn successors(
        &self,
        memory: &Self::Memory,
        states: &[Self::State],
        found: &mut Vec<Successor<Self::State>>,
    );

    /// Which of the `open` properties (a bit for each) are discovered in each of some states: invariants that
    /// do not hold, witnesses that do.
    fn discovered(
        &self,
        _: &Self::Memory,
        properties: &[Property<Self>],
        open: u64,
        states: &[Self::State],
    ) -> impl Iterator<Item = u64>
    where
        Self: Sized,
    {
        states.iter().map(move |state| {
            let numbered = properties.iter().enumerate();
            let asked = numbered.filter(|(number, _)| open & (1 << number) != 0);
            let news = asked.filter(|(_, property)| {
                let holds = (property.condition)(self, state);
                holds != (property.expectation == Expectation::Always)
            });
            news.fold(0, |discovered, (number, _)| discovered | 1 << number)
        })
    }
}

/// The chance that two different states had the same hash, so that one of them was not explored:
/// the birthday bound n² / 2⁶⁵.
pub fn collision_probability(distinct: usize) -> f64 {
    (distinct as f64).powi(2) / 2f64.powi(65)
}

/// The hash by which the search tells states apart.
pub fn fingerprint<S: Hash + ?Sized>(state: &S) -> u64 {
    crate::intern::fingerprint(state).max(NO_PARENT + 1)
}

/// Explores the model; ends when everything is visited, at a limit, or when `progress.stop` is set.
#[cfg(test)]
pub fn search<M>(model: &M, limits: Limits, progress: &Progress) -> Outcome
where
    M: Expand + Sync,
    M::State: Hash + Send + Sync,
{
    search_and_look(model, limits, progress, &|_, _| {})
}

/// The same, and calls `look` with each state that it visits and the depth of the state.
pub fn search_and_look<M>(
    model: &M,
    limits: Limits,
    progress: &Progress,
    look: &(dyn Fn(&M::State, usize) + Sync),
) -> Outcome
where
    M: Expand + Sync,
    M::State: Hash + Send + Sync,
{
    let mut search = Search::new(model, limits, progress, look);
    let mut level = search.first_level();
    let mut end = End::Complete;
    let mut depth = 0;
    let size = |level: &Level<M::State>| level.iter().map(Vec::len).sum::<usize>();
    while size(&level) > 0 {
        depth += 1;
        progress.depth.store(depth, Relaxed);
        progress.queue.store(size(&level), Relaxed);
        let stopped = search.explore(&mut level, depth);
        if search.is_violated() && limits.stop_at_first {
            end = End::Violation;
            break;
        }
        if let Some(stopped) = stopped {
            end = stopped;
            break;
        }
    }
    let mut discoveries = search.discoveries;
    discoveries.sort_by_key(|d| (d.depth, d.property));
    Outcome {
        distinct: progress.distinct.load(Relaxed),
        generated: progress.generated.load(Relaxed),
        depth,
        queue: progress.queue.load(Relaxed),
        elapsed: search.started.elapsed(),
        end,
        discoveries,
        visited: search.visited,
    }
}

/// Runs `work` on this thread while `report` is called on another one, a few times a second.
pub fn with_reports<R>(work: impl FnOnce() -> R, mut report: impl FnMut() + Send) -> R {
    let (done, wake) = (Mutex::new(false), Condvar::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut guard = done.lock().expect("the lock is held for moments only");
            while !*guard {
                report();
                let waited = wake.wait_timeout(guard, Duration::from_millis(250));
                guard = waited.expect("the lock is held for moments only").0;
            }
        });
        let result = work();
        *done.lock().expect("the lock is held for moments only") = true;
        wake.notify_all();
        result
    })
}
