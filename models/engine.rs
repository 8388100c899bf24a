//! A breadth-first search over any stateright `Model`, level by level.
//!
//! Stateright's own search keeps a path with each state that waits, and its threads race for the
//! order of the search. This one keeps a state's hash and its parent's, so a path is found again by
//! walking; and all threads finish a level before the next begins, so a counterexample is a shortest
//! one and the counts are the same whatever the number of threads.

use hashbrown::HashTable;
use stateright::{Expectation, Model, Property};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// When to stop before everything is explored.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub threads: usize,
    /// Stop at the end of the level on which every property with this expectation was discovered.
    pub stop_at_first: bool,
    pub max_states: Option<usize>,
    pub max_time: Option<Duration>,
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

/// The chance that two different states had the same hash, so that one of them was not explored:
/// the birthday bound n² / 2⁶⁵.
pub fn collision_probability(distinct: usize) -> f64 {
    (distinct as f64).powi(2) / 2f64.powi(65)
}

/// The hash of a state and that of the state it was reached from, in shards.
#[derive(Debug)]
struct Visited(Vec<Mutex<HashTable<(u64, u64)>>>);

const SHARD_BITS: u32 = 8;

impl Visited {
    fn new() -> Self {
        Self((0..1 << SHARD_BITS).map(|_| Mutex::default()).collect())
    }

    /// Notes a state; says whether it is new.
    fn insert(&self, fingerprint: u64, parent: u64) -> bool {
        let shard = &self.0[(fingerprint >> (64 - SHARD_BITS)) as usize];
        let mut table = shard
            .lock()
            .expect("no thread panics while it holds this lock");
        let entry = table.entry(
            fingerprint,
            |(known, _)| *known == fingerprint,
            |(known, _)| *known,
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(_) => false,
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                vacant.insert((fingerprint, parent));
                true
            }
        }
    }

    fn parent(&self, fingerprint: u64) -> Option<u64> {
        let shard = &self.0[(fingerprint >> (64 - SHARD_BITS)) as usize];
        let table = shard
            .lock()
            .expect("no thread panics while it holds this lock");
        table
            .find(fingerprint, |(known, _)| *known == fingerprint)
            .map(|(_, parent)| *parent)
    }
}

/// No state has this hash: the parent of an initial state.
const NO_PARENT: u64 = 0;

/// The hash by which the search tells states apart.
pub fn fingerprint<S: Hash>(state: &S) -> u64 {
    crate::intern::fingerprint(state).max(NO_PARENT + 1)
}

/// What the threads of one search share.
struct Search<'a, M: Model> {
    model: &'a M,
    properties: Vec<Property<M>>,
    found: Vec<AtomicBool>,
    discoveries: Mutex<Vec<Discovery>>,
    visited: Visited,
    progress: &'a Progress,
    limits: Limits,
    started: Instant,
    /// Called with each state that is visited, and its depth.
    look: &'a (dyn Fn(&M::State, usize) + Sync),
}

/// States that a thread takes at a time.
const CHUNK: usize = 256;

/// Explores the model; ends when everything is visited, at a limit, or when `progress.stop` is set.
#[cfg(test)]
pub fn search<M>(model: &M, limits: Limits, progress: &Progress) -> Outcome
where
    M: Model + Sync,
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
    M: Model + Sync,
    M::State: Hash + Send + Sync,
{
    let properties = model.properties();
    let search = Search {
        found: properties.iter().map(|_| AtomicBool::new(false)).collect(),
        properties,
        model,
        discoveries: Mutex::default(),
        visited: Visited::new(),
        progress,
        limits,
        started: Instant::now(),
        look,
    };
    let mut level: Vec<M::State> = Vec::new();
    for state in model.init_states() {
        progress.generated.fetch_add(1, Relaxed);
        if search.visited.insert(fingerprint(&state), NO_PARENT) {
            progress.distinct.fetch_add(1, Relaxed);
            level.push(state);
        }
    }
    let mut end = End::Complete;
    let mut depth = 0;
    while !level.is_empty() {
        depth += 1;
        progress.depth.store(depth, Relaxed);
        progress.queue.store(level.len(), Relaxed);
        level = search.explore(level, depth);
        if search.is_violated() && limits.stop_at_first {
            end = End::Violation;
            break;
        }
        if progress.stop.load(Relaxed) {
            end = End::Stopped;
            break;
        }
    }
    let mut discoveries = search
        .discoveries
        .into_inner()
        .expect("no thread has panicked");
    discoveries.sort_by_key(|d| (d.depth, d.property));
    Outcome {
        distinct: progress.distinct.load(Relaxed),
        generated: progress.generated.load(Relaxed),
        depth,
        queue: level.len(),
        elapsed: search.started.elapsed(),
        end,
        discoveries,
        visited: search.visited,
    }
}

impl<M> Search<'_, M>
where
    M: Model + Sync,
    M::State: Hash + Send + Sync,
{
    /// Visits every state of a level; returns the next level.
    fn explore(&self, level: Vec<M::State>, depth: usize) -> Vec<M::State> {
        let next_chunk = AtomicUsize::new(0);
        let work = || {
            let mut next = Vec::new();
            let mut actions = Vec::new();
            loop {
                let start = next_chunk.fetch_add(CHUNK, Relaxed);
                if start >= level.len() || self.progress.stop.load(Relaxed) {
                    return next;
                }
                let chunk = &level[start..level.len().min(start + CHUNK)];
                for state in chunk {
                    self.visit(state, depth, &mut actions, &mut next);
                }
                self.progress
                    .queue
                    .fetch_sub(chunk.len().min(self.progress.queue.load(Relaxed)), Relaxed);
                self.check_limits();
            }
        };
        if self.limits.threads <= 1 || level.len() < 2 * CHUNK {
            return work();
        }
        std::thread::scope(|scope| {
            let helpers: Vec<_> = (1..self.limits.threads)
                .map(|_| scope.spawn(work))
                .collect();
            let mut next = work();
            for helper in helpers {
                next.extend(
                    helper
                        .join()
                        .expect("a checker thread panicked: a bug in the model"),
                );
            }
            next
        })
    }

    fn visit(
        &self,
        state: &M::State,
        depth: usize,
        actions: &mut Vec<M::Action>,
        next: &mut Vec<M::State>,
    ) {
        let parent = fingerprint(state);
        (self.look)(state, depth);
        for (property, found) in self.properties.iter().zip(&self.found) {
            if !found.load(Relaxed) {
                let holds = (property.condition)(self.model, state);
                if holds != (property.expectation == Expectation::Always) {
                    self.discover(property.name, found, depth, parent);
                }
            }
        }
        self.model.actions(state, actions);
        let (mut generated, mut distinct) = (0, 0);
        for action in actions.drain(..) {
            let Some(successor) = self.model.next_state(state, action) else {
                continue;
            };
            if !self.model.within_boundary(&successor) {
                continue;
            }
            generated += 1;
            if self.visited.insert(fingerprint(&successor), parent) {
                distinct += 1;
                next.push(successor);
            }
        }
        self.progress.generated.fetch_add(generated, Relaxed);
        self.progress.distinct.fetch_add(distinct, Relaxed);
        self.progress.queue.fetch_add(distinct, Relaxed);
    }

    fn discover(&self, property: &'static str, found: &AtomicBool, depth: usize, fingerprint: u64) {
        let mut discoveries = self
            .discoveries
            .lock()
            .expect("no thread panics with this lock");
        if !found.swap(true, Relaxed) {
            let states = self.progress.distinct.load(Relaxed);
            discoveries.push(Discovery {
                property,
                depth,
                states,
                fingerprint,
            });
        }
    }

    fn is_violated(&self) -> bool {
        self.properties
            .iter()
            .zip(&self.found)
            .any(|(p, found)| p.expectation == Expectation::Always && found.load(Relaxed))
    }

    fn check_limits(&self) {
        let over = self
            .limits
            .max_states
            .is_some_and(|max| self.progress.distinct.load(Relaxed) >= max)
            || self
                .limits
                .max_time
                .is_some_and(|max| self.started.elapsed() >= max);
        if over {
            self.progress.stop.store(true, Relaxed);
        }
    }
}

impl Outcome {
    /// The steps to a discovery: the initial state, and each action with the state after it.
    pub fn path<M>(&self, model: &M, discovery: &Discovery) -> Trace<M>
    where
        M: Model,
        M::State: Hash,
    {
        self.path_to(model, discovery.fingerprint)
    }

    /// The steps to the visited state with this hash (see [`fingerprint`]).
    pub fn path_to<M>(&self, model: &M, fingerprint_of_last: u64) -> Trace<M>
    where
        M: Model,
        M::State: Hash,
    {
        let mut hashes = vec![fingerprint_of_last];
        while let Some(parent) = self
            .visited
            .parent(hashes[hashes.len() - 1])
            .filter(|parent| *parent != NO_PARENT)
        {
            hashes.push(parent);
        }
        let mut hashes = hashes.into_iter().rev();
        let first = hashes.next();
        let start = model
            .init_states()
            .into_iter()
            .enumerate()
            .find_map(|(index, state)| {
                (Some(fingerprint(&state)) == first).then_some((index, state))
            });
        let (init_index, init) = start.expect("the search began at an initial state");
        let mut trace = Trace {
            init_index,
            init,
            steps: Vec::new(),
        };
        for hash in hashes {
            let step = trace
                .step_to(model, hash)
                .expect("the search took this step");
            trace.steps.push(step);
        }
        trace
    }
}

/// A way through the states of a model.
pub struct Trace<M: Model> {
    pub init_index: usize,
    pub init: M::State,
    pub steps: Vec<TraceStep<M>>,
}

/// One step of a [`Trace`].
pub struct TraceStep<M: Model> {
    /// The place of the action among those of the state before.
    pub index: usize,
    pub action: M::Action,
    pub state: M::State,
}

impl<M> Trace<M>
where
    M: Model,
    M::State: Hash,
{
    fn step_to(&self, model: &M, hash: u64) -> Option<TraceStep<M>> {
        let last = self.steps.last().map_or(&self.init, |step| &step.state);
        let (mut actions, mut again) = (Vec::new(), Vec::new());
        model.actions(last, &mut actions);
        model.actions(last, &mut again);
        actions
            .into_iter()
            .zip(again)
            .enumerate()
            .find_map(|(index, (action, same))| {
                let state = model.next_state(last, action)?;
                (fingerprint(&state) == hash).then_some(TraceStep {
                    index,
                    action: same,
                    state,
                })
            })
    }

    /// The path as the explorer writes it in its address: indices of the initial state and actions.
    pub fn address(&self) -> String {
        let indices = self.steps.iter().map(|step| step.index);
        let all: Vec<_> = [self.init_index]
            .into_iter()
            .chain(indices)
            .map(|i| i.to_string())
            .collect();
        all.join("/")
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
