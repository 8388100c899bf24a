//! A breadth-first search over a stateright `Model`, level by level.
//!
//! Stateright's own search keeps a path with each state that waits, and its threads race for the
//! order of the search. This one keeps a state's hash and its parent's, so a path is found again by
//! walking; and all threads finish a level before the next begins, so a counterexample is a shortest
//! one and the counts are the same whatever the number of threads.
//!
//! A level is worked off in slabs, each in three passes. First the successors of each share of the slab are
//! found that were not visited before, sorted by the part of the visited table that they belong to; then they
//! are noted, part by part; then those that were new are kept. In each pass a thread takes one share, or part,
//! after the other until none is left, so none waits for a slower one. Successors are noted in the order of
//! the shares, and kept in that order, so every path is the same whatever the number of threads.

use crate::memory;
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
    /// What a thread remembers from one state to the next, to be faster.
    type Memory: Default + Send;

    /// Adds the successors of some states.
    fn successors(
        &self,
        memory: &mut Self::Memory,
        states: &[Self::State],
        found: &mut Vec<Successor<Self::State>>,
    );

    /// Which of the `open` properties (a bit for each) are discovered in each of some states: invariants that
    /// do not hold, witnesses that do.
    fn discovered(
        &self,
        _: &mut Self::Memory,
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

/// How many states of a level are expanded before the successors are noted: few enough for these to stay in
/// the cache, enough for the threads to be worth their start.
/// In tests of small models they are few, or no second thread would ever work.
const SLAB: usize = if cfg!(test) { 1 << 7 } else { 1 << 13 };

/// How many of them a thread takes at a time.
const SHARE: usize = SLAB / 32;

/// How many parts of the visited table are noted side by side.
const OWNERS: usize = 16;

/// How many states are expanded at a time: see [`touch`].
const BATCH: usize = 16;

/// The states of one depth, in the order in which they were found, in parts.
type Level<S> = Vec<Vec<S>>;

/// What was found in one share of a slab.
struct Found<S> {
    /// Successors that were not visited before, and whether they are new: one may have been found twice.
    states: Vec<(S, AtomicBool)>,
    /// By the part of the visited table that they belong to.
    by_owner: [Vec<Key>; OWNERS],
    /// The new ones.
    kept: Vec<S>,
}

impl<S> Default for Found<S> {
    fn default() -> Self {
        Self {
            states: Vec::new(),
            by_owner: Default::default(),
            kept: Vec::new(),
        }
    }
}

impl<S> Found<S> {
    /// Keeps what is new; the rest is empty again.
    fn keep(&mut self) {
        let is_new = |(_, is_new): &(S, AtomicBool)| is_new.load(Relaxed);
        let count = self.states.iter().filter(|found| is_new(found)).count();
        self.kept = Vec::with_capacity(count);
        let new = self.states.drain(..).filter(is_new);
        self.kept.extend(new.map(|(state, _)| state));
        self.by_owner.iter_mut().for_each(Vec::clear);
    }
}

/// How a successor is noted.
struct Key {
    hash: u64,
    parent: u64,
    /// Its place in [`Found::states`].
    place: usize,
}

/// Threads, each with what it remembers, take one piece of work after the other.
fn share_out<T: Send, W: Send>(
    threads: &mut [T],
    work: impl Iterator<Item = W> + Send,
    run: impl Fn(&mut T, W) + Sync,
) {
    let work = Mutex::new(work);
    let run_all = |thread: &mut T| {
        loop {
            let next = work.lock().expect("no thread panics with this lock").next();
            match next {
                Some(piece) => run(thread, piece),
                None => return,
            }
        }
    };
    let Some((first, others)) = threads.split_first_mut() else {
        return;
    };
    std::thread::scope(|scope| {
        for other in others {
            scope.spawn(|| run_all(other));
        }
        run_all(first);
    });
}

/// The next parts of a level: about as many states as a slab has.
fn next_slab<S>(parts: &mut impl Iterator<Item = Vec<S>>) -> Vec<Vec<S>> {
    let mut size = 0;
    let mut slab = Vec::new();
    while size < SLAB
        && let Some(part) = parts.next()
    {
        size += part.len();
        slab.push(part);
    }
    slab
}

/// Adds a part to a level: by itself, unless it is small.
fn add<S>(level: &mut Level<S>, part: Vec<S>) {
    match level.last_mut() {
        Some(last) if last.len() + part.len() <= SHARE => last.extend(part),
        Some(_) | None => level.push(part),
    }
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
    let mut first = model.init_states();
    progress.generated.fetch_add(first.len(), Relaxed);
    for mut all in visited.split(1) {
        first.retain(|state| all.insert(fingerprint(state), NO_PARENT));
    }
    progress.distinct.fetch_add(first.len(), Relaxed);
    let mut level = vec![first];
    let mut memories: Vec<M::Memory> = (0..limits.threads).map(|_| M::Memory::default()).collect();
    let mut end = End::Complete;
    let mut depth = 0;
    let size = |level: &Level<M::State>| level.iter().map(Vec::len).sum::<usize>();
    while size(&level) > 0 {
        depth += 1;
        progress.depth.store(depth, Relaxed);
        progress.queue.store(size(&level), Relaxed);
        let stopped = search.explore(&mut memories, &mut level, depth, &mut visited);
        if search.is_violated() && limits.stop_at_first {
            end = End::Violation;
            break;
        }
        if let Some(stopped) = stopped {
            end = stopped;
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
        queue: progress.queue.load(Relaxed),
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
    /// Visits every state of a level and puts the next one in its place. Says so if it had to stop.
    fn explore(
        &self,
        memories: &mut [M::Memory],
        level: &mut Level<M::State>,
        depth: usize,
        visited: &mut Visited,
    ) -> Option<End> {
        let mut parts = std::mem::take(level).into_iter();
        let mut all_found: Vec<Found<M::State>> = Vec::new();
        loop {
            let slab = next_slab(&mut parts);
            if slab.is_empty() {
                return None;
            }
            let shares: Vec<_> = slab.iter().flat_map(|part| part.chunks(SHARE)).collect();
            all_found.resize_with(shares.len().max(all_found.len()), Found::default);
            let found = &mut all_found[..shares.len()];
            let threads = memories.len().min(shares.len());
            let threads = &mut memories[..threads];

            let work = shares.into_iter().zip(&mut *found);
            share_out(threads, work, |memory, (states, found)| {
                self.expand(memory, states, depth, visited, found);
            });
            let work = visited.split(OWNERS).enumerate();
            share_out(threads, work, |_, (owner, mut part)| {
                self.note(&mut part, owner, found);
            });
            share_out(threads, found.iter_mut(), |_, found| found.keep());

            for found in found {
                add(level, std::mem::take(&mut found.kept));
            }
            let expanded = slab.iter().map(Vec::len).sum();
            self.progress.queue.fetch_sub(expanded, Relaxed);
            let stopped = self.must_stop();
            if stopped.is_some() {
                return stopped;
            }
        }
    }

    /// The first pass: finds what some states lead to.
    fn expand(
        &self,
        memory: &mut M::Memory,
        states: &[M::State],
        depth: usize,
        visited: &Visited,
        all: &mut Found<M::State>,
    ) {
        let mut found = Vec::new();
        let mut generated = 0;
        for states in states.chunks(BATCH) {
            for state in states {
                (self.look)(state, depth);
            }
            self.check(memory, states, depth);
            self.model.successors(memory, states, &mut found);
            touch(found.iter().map(|next| visited.touch(next.hash)));
            generated += found.len();
            for Successor {
                hash,
                parent,
                state,
            } in found.drain(..)
            {
                if !visited.contains(hash) {
                    let key = Key {
                        hash,
                        parent: fingerprint(&states[parent]),
                        place: all.states.len(),
                    };
                    all.states.push((state, AtomicBool::new(false)));
                    all.by_owner[owner(hash, OWNERS)].push(key);
                }
            }
        }
        self.progress.generated.fetch_add(generated, Relaxed);
    }

    /// The second pass: notes what belongs to a part of the visited table, and marks what is new.
    fn note(&self, part: &mut Part<'_>, owner: usize, found: &[Found<M::State>]) {
        let mut distinct = 0;
        for found in found {
            for keys in found.by_owner[owner].chunks(BATCH) {
                touch(keys.iter().map(|key| part.touch(key.hash)));
                for Key {
                    hash,
                    parent,
                    place,
                } in keys
                {
                    if part.insert(*hash, *parent) {
                        found.states[*place].1.store(true, Relaxed);
                        distinct += 1;
                    }
                }
            }
        }
        self.progress.distinct.fetch_add(distinct, Relaxed);
        self.progress.queue.fetch_add(distinct, Relaxed);
    }

    /// Looks for properties that are discovered in some states.
    fn check(&self, memory: &mut M::Memory, states: &[M::State], depth: usize) {
        let open = self.open.load(Relaxed);
        if open == 0 {
            return;
        }
        let all = self
            .model
            .discovered(memory, &self.properties, open, states);
        for (state, mut discovered) in states.iter().zip(all) {
            while discovered != 0 {
                let number = discovered.trailing_zeros();
                discovered &= discovered - 1;
                self.note_discovery(number, state, depth);
            }
        }
    }

    fn note_discovery(&self, number: u32, state: &M::State, depth: usize) {
        if self.open.fetch_and(!(1 << number), Relaxed) & (1 << number) == 0 {
            return;
        }
        let discovery = Discovery {
            property: self.properties[number as usize].name,
            depth,
            states: self.progress.distinct.load(Relaxed),
            fingerprint: fingerprint(state),
        };
        let mut discoveries = self.discoveries.lock();
        let discoveries = discoveries
            .as_mut()
            .expect("no thread panics with this lock");
        discoveries.push(discovery);
    }

    fn is_violated(&self) -> bool {
        let open = self.open.load(Relaxed);
        let violated = |(number, property): (usize, &Property<M>)| {
            property.expectation == Expectation::Always && open & (1 << number) == 0
        };
        self.properties.iter().enumerate().any(violated)
    }

    /// Whether the search must stop before everything is explored.
    fn must_stop(&self) -> Option<End> {
        let Limits {
            max_states,
            max_time,
            max_memory,
            ..
        } = self.limits;
        let over = self.progress.stop.load(Relaxed)
            || max_states.is_some_and(|max| self.progress.distinct.load(Relaxed) >= max)
            || max_time.is_some_and(|max| self.started.elapsed() >= max);
        let full = || max_memory.is_some_and(|max| memory::used().is_some_and(|used| used >= max));
        match over {
            true => Some(End::Stopped),
            false => full().then_some(End::OutOfMemory),
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
