//! A breadth-first search over a stateright `Model`, level by level.
//!
//! Stateright's own search keeps a path with each state that waits, and its threads race for the
//! order of the search. This one keeps a state's hash and its parent's, so a path is found again by
//! walking; and all threads finish a level before the next begins, so a counterexample is a shortest
//! one and the counts are the same whatever the number of threads.
//!
//! A level is worked off in slabs, each in two passes. First every thread takes a part of the slab and
//! finds the successors that were not visited before, sorted by the thread that they belong to; then every
//! thread notes those that belong to it. So no thread waits for another one within a pass, and nothing is
//! locked. A level is kept in the order of the shards of the visited table, so that order, and with it every
//! path, is the same whatever the number of threads.

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

/// How many states of a level a thread expands before the successors are noted: few enough for these to
/// stay in the cache, enough for the threads to be worth their start.
/// In tests of small models they are few, or no second thread would ever work.
const SLAB: usize = if cfg!(test) { 1 << 7 } else { 1 << 12 };

/// How many states are expanded at a time: see [`touch`].
const BATCH: usize = 16;

/// The states of one depth, in the order in which they were found, in parts.
type Level<S> = Vec<Vec<S>>;

/// What one thread has found in its part of a slab.
struct Found<S> {
    /// Successors that were not visited before, and whether they are new: one may have been found twice.
    states: Vec<(S, AtomicBool)>,
    /// By the thread that they belong to.
    by_owner: Vec<Vec<Key>>,
}

/// How a successor is noted.
struct Key {
    hash: u64,
    parent: u64,
    /// Its place in [`Found::states`].
    place: usize,
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
        let mut next: Level<M::State> = Vec::new();
        let mut stopped = None;
        let slabs = level
            .iter()
            .flat_map(|part| part.chunks(SLAB * self.limits.threads));
        for slab in slabs {
            let threads = match slab.len() {
                ..SLAB => 1,
                _ => self.limits.threads,
            };
            let found = self.expand(&mut memories[..threads], slab, depth, visited);
            std::thread::scope(|scope| {
                let found = &found;
                let mut work = visited.split(threads).enumerate();
                let first = work.next();
                for (owner, mut part) in work {
                    scope.spawn(move || self.note(&mut part, owner, found));
                }
                if let Some((owner, mut part)) = first {
                    self.note(&mut part, owner, found);
                }
            });
            let is_new =
                |(state, is_new): (M::State, AtomicBool)| is_new.into_inner().then_some(state);
            let keep = |found: Found<M::State>| found.states.into_iter().filter_map(is_new);
            let kept = found.into_iter().flat_map(keep);
            match next.last_mut() {
                Some(last) if last.len() < SLAB * threads => last.extend(kept),
                Some(_) | None => next.push(kept.collect()),
            }
            self.progress.queue.fetch_sub(slab.len(), Relaxed);
            stopped = self.must_stop();
            if stopped.is_some() {
                break;
            }
        }
        *level = next;
        stopped
    }

    /// The first pass: every thread expands a part of the slab.
    fn expand(
        &self,
        memories: &mut [M::Memory],
        slab: &[M::State],
        depth: usize,
        visited: &Visited,
    ) -> Vec<Found<M::State>> {
        let threads = memories.len();
        let expand = |memory: &mut M::Memory, states: &[M::State]| {
            let mut all = Found {
                states: Vec::with_capacity(4 * states.len()),
                by_owner: (0..threads)
                    .map(|_| Vec::with_capacity(4 * states.len() / threads))
                    .collect(),
            };
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
                        all.by_owner[owner(hash, threads)].push(key);
                    }
                }
            }
            self.progress.generated.fetch_add(generated, Relaxed);
            all
        };
        std::thread::scope(|scope| {
            let expand = &expand;
            let shares = slab.chunks(slab.len().div_ceil(threads));
            let mut work = memories.iter_mut().zip(shares);
            let first = work.next();
            let others: Vec<_> = work
                .map(|(memory, share)| scope.spawn(move || expand(memory, share)))
                .collect();
            let first = first.map(|(memory, share)| expand(memory, share));
            let bug = "a checker thread panicked: a bug in the model";
            let others = others.into_iter().map(|other| other.join().expect(bug));
            first.into_iter().chain(others).collect()
        })
    }

    /// The second pass: a thread notes what belongs to it, and marks what is new.
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
