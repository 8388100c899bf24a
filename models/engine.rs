//! A breadth-first search over a stateright `Model`, level by level.
//!
//! Stateright's own search keeps a path with each state that waits, and its threads race for the
//! order of the search. This one keeps a state's hash and its parent's, so a path is found again by
//! walking; and all threads finish a level before the next begins, so a counterexample is a shortest
//! one and the counts are the same whatever the number of threads.
//!
//! A level is worked off in slabs, each in two passes. First every thread takes a part of the slab and
//! finds the candidates for the next level, sorted by the thread that they belong to; then every thread
//! looks up those that belong to it, and builds the states that are new. So no thread waits for another
//! one within a pass, nothing is locked, and what was visited before is never built.

use crate::visited::{NO_PARENT, Part, Visited, owner};
use stateright::{Expectation, Model, Property};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
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

/// A model whose successors can be told apart before they are built.
pub trait Expand: Model {
    /// What is needed to build a successor of a given state.
    type Candidate: Send;

    /// Finds the successors of a state: their hashes, as [`fingerprint`] would find them, and what is
    /// needed to build them. `actions` is scratch space.
    fn candidates(
        &self,
        state: &Self::State,
        actions: &mut Vec<Self::Action>,
        found: &mut Vec<(u64, Self::Candidate)>,
    );

    /// Builds a successor of the state for which the candidate was found.
    fn build(&self, state: &Self::State, candidate: Self::Candidate) -> Self::State;

    /// Which of the `open` properties (a bit for each) are discovered in a state: invariants that do not
    /// hold, witnesses that do.
    fn discovered(&self, properties: &[Property<Self>], open: u64, state: &Self::State) -> u64
    where
        Self: Sized,
    {
        let mut discovered = 0;
        for (number, property) in properties.iter().enumerate() {
            if open & (1 << number) != 0 {
                let holds = (property.condition)(self, state);
                let is_news = holds != (property.expectation == Expectation::Always);
                discovered |= u64::from(is_news) << number;
            }
        }
        discovered
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

/// What the threads of one search share.
struct Search<'a, M: Model> {
    model: &'a M,
    properties: Vec<Property<M>>,
    /// The properties that are not discovered yet, a bit for each.
    open: AtomicU64,
    discoveries: Mutex<Vec<Discovery>>,
    progress: &'a Progress,
    limits: Limits,
    started: Instant,
    /// Called with each state that is visited, and its depth.
    look: &'a (dyn Fn(&M::State, usize) + Sync),
}

/// How many states of a level are expanded before their successors are looked up: few enough for the
/// candidates to stay in the cache.
const SLAB: usize = 1 << 10;

/// A successor that was found: its hash, the place of its parent in the slab, and the rest.
type Found<C> = (u64, u32, C);

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
    let properties = model.properties();
    assert!(properties.len() <= 64, "a bit for each property");
    let search = Search {
        open: AtomicU64::new(u64::MAX >> (64 - properties.len())),
        properties,
        model,
        discoveries: Mutex::default(),
        progress,
        limits,
        started: Instant::now(),
        look,
    };
    let mut visited = Visited::default();
    let mut level: Vec<M::State> = Vec::new();
    for state in model.init_states() {
        progress.generated.fetch_add(1, Relaxed);
        let mut all = visited.split(1);
        if all
            .next()
            .is_some_and(|mut all| all.insert(fingerprint(&state), NO_PARENT))
        {
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
        level = search.explore(&level, depth, &mut visited);
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
        visited,
    }
}

impl<M> Search<'_, M>
where
    M: Expand + Sync,
    M::State: Hash + Send + Sync,
{
    /// Visits every state of a level; returns the next level.
    fn explore(&self, level: &[M::State], depth: usize, visited: &mut Visited) -> Vec<M::State> {
        let threads = match level.len() {
            ..SLAB => 1,
            _ => self.limits.threads.max(1),
        };
        let mut parts: Vec<Part<'_>> = visited.split(threads).collect();
        let mut next: Vec<Vec<M::State>> = (0..threads).map(|_| Vec::new()).collect();
        for slab in level.chunks(SLAB * threads * if threads > 1 { 8 } else { 1 }) {
            if self.progress.stop.load(Relaxed) {
                break;
            }
            let found = self.expand(slab, depth, threads);
            let look_up = |part: &mut Part<'_>, next: &mut Vec<M::State>, found| {
                self.look_up(slab, part, next, found);
            };
            // What was found for one owner by each thread, in the order of the slab.
            let mut for_owner: Vec<Vec<Vec<_>>> = (0..threads).map(|_| Vec::new()).collect();
            for by_owner in found {
                for (owner, found) in by_owner.into_iter().enumerate() {
                    for_owner[owner].push(found);
                }
            }
            std::thread::scope(|scope| {
                let mut work = parts.iter_mut().zip(&mut next).zip(for_owner);
                let first = work.next();
                for ((part, next), found) in work {
                    scope.spawn(move || look_up(part, next, found));
                }
                if let Some(((part, next), found)) = first {
                    look_up(part, next, found);
                }
            });
            let done = slab.len().min(self.progress.queue.load(Relaxed));
            self.progress.queue.fetch_sub(done, Relaxed);
            self.check_limits();
        }
        next.into_iter().flatten().collect()
    }

    /// The first pass: every thread expands a part of the slab. What each has found, by owner.
    fn expand(
        &self,
        slab: &[M::State],
        depth: usize,
        threads: usize,
    ) -> Vec<Vec<Vec<Found<M::Candidate>>>> {
        let share = slab.len().div_ceil(threads);
        let expand = |number: usize| {
            let first = (number * share).min(slab.len());
            let states = &slab[first..(first + share).min(slab.len())];
            let mut by_owner: Vec<_> = (0..threads).map(|_| Vec::new()).collect();
            let (mut actions, mut found) = (Vec::new(), Vec::new());
            let mut generated = 0;
            for (place, state) in (first as u32..).zip(states) {
                (self.look)(state, depth);
                self.check(state, depth);
                self.model.candidates(state, &mut actions, &mut found);
                generated += found.len();
                for (hash, candidate) in found.drain(..) {
                    by_owner[owner(hash, threads)].push((hash, place, candidate));
                }
            }
            self.progress.generated.fetch_add(generated, Relaxed);
            by_owner
        };
        std::thread::scope(|scope| {
            let expand = &expand;
            let others: Vec<_> = (1..threads)
                .map(|n| scope.spawn(move || expand(n)))
                .collect();
            let mut all = vec![expand(0)];
            let bug = "a checker thread panicked: a bug in the model";
            all.extend(others.into_iter().map(|other| other.join().expect(bug)));
            all
        })
    }

    /// The second pass: a thread looks up what belongs to it.
    fn look_up(
        &self,
        slab: &[M::State],
        part: &mut Part<'_>,
        next: &mut Vec<M::State>,
        found: Vec<Vec<Found<M::Candidate>>>,
    ) {
        let before = next.len();
        for found in found {
            // A few at a time, so that their places in the table are fetched side by side.
            let mut ahead = 0;
            let hashes: Vec<u64> = found.iter().map(|(hash, _, _)| *hash).collect();
            for (number, (hash, place, candidate)) in found.into_iter().enumerate() {
                if number == ahead {
                    ahead = (ahead + AHEAD).min(hashes.len());
                    let touched = hashes[number..ahead].iter().map(|hash| part.touch(*hash));
                    std::hint::black_box(touched.fold(0, |a, b| a ^ b));
                }
                let parent = &slab[place as usize];
                if part.insert(hash, fingerprint(parent)) {
                    next.push(self.model.build(parent, candidate));
                }
            }
        }
        let distinct = next.len() - before;
        self.progress.distinct.fetch_add(distinct, Relaxed);
        self.progress.queue.fetch_add(distinct, Relaxed);
    }

    /// Looks for properties that are discovered in a state.
    fn check(&self, state: &M::State, depth: usize) {
        let open = self.open.load(Relaxed);
        if open == 0 {
            return;
        }
        let mut discovered = self.model.discovered(&self.properties, open, state);
        while discovered != 0 {
            let number = discovered.trailing_zeros();
            discovered &= discovered - 1;
            if self.open.fetch_and(!(1 << number), Relaxed) & (1 << number) != 0 {
                let mut discoveries = self
                    .discoveries
                    .lock()
                    .expect("no thread panics with this lock");
                discoveries.push(Discovery {
                    property: self.properties[number as usize].name,
                    depth,
                    states: self.progress.distinct.load(Relaxed),
                    fingerprint: fingerprint(state),
                });
            }
        }
    }

    fn is_violated(&self) -> bool {
        let open = self.open.load(Relaxed);
        let violated = |(number, property): (usize, &Property<M>)| {
            property.expectation == Expectation::Always && open & (1 << number) == 0
        };
        self.properties.iter().enumerate().any(violated)
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

/// How many places of the table are fetched side by side.
const AHEAD: usize = 16;

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
