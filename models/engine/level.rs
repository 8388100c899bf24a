//! One level of a search: what its states lead to, and what is discovered in them.
//!
//! A level is worked off in slabs, each in three passes. First the successors of each share of the slab are
//! found that were not visited before, sorted by the part of the visited table that they belong to; then they
//! are noted, part by part; then those that were new are kept. In each pass a thread takes one share, or part,
//! after the other until none is left, so none waits for a slower one. Successors are noted in the order of
//! the shares, and kept in that order; discoveries too. So every path is the same whatever the number of threads.

use super::{Discovery, End, Expand, Limits, Progress, Successor, fingerprint, touch};
use crate::memory;
use crate::visited::{NO_PARENT, Part, Visited, owner};
use stateright::{Expectation, Property};
use std::hash::Hash;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// A search: what it is asked, and what it knows so far.
pub struct Search<'a, M: Expand> {
    model: &'a M,
    properties: Vec<Property<M>>,
    /// What the model remembers.
    memory: M::Memory,
    limits: Limits,
    progress: &'a Progress,
    /// Called with each state that is visited, and its depth.
    look: &'a (dyn Fn(&M::State, usize) + Sync),
    pub started: Instant,
    pub visited: Visited,
    /// The properties that are not discovered yet, a bit for each.
    open: u64,
    pub discoveries: Vec<Discovery>,
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
pub type Level<S> = Vec<Vec<S>>;

/// What was found in one share of a slab.
struct Found<S> {
    /// The properties that were discovered, by number, each with the hash of the first such state.
    discovered: Vec<(u32, u64)>,
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
            discovered: Vec::new(),
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

/// Threads take one piece of work after the other.
fn share_out<W: Send>(
    threads: usize,
    work: impl Iterator<Item = W> + Send,
    run: impl Fn(W) + Sync,
) {
    let work = Mutex::new(work);
    let run_all = || {
        loop {
            let next = work.lock().expect("no thread panics with this lock").next();
            match next {
                Some(piece) => run(piece),
                None => return,
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run_all);
        }
        run_all();
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

impl<'a, M> Search<'a, M>
where
    M: Expand + Sync,
    M::State: Hash + Send + Sync,
{
    pub fn new(
        model: &'a M,
        limits: Limits,
        progress: &'a Progress,
        look: &'a (dyn Fn(&M::State, usize) + Sync),
    ) -> Self {
        let properties = model.properties();
        assert!(properties.len() <= 64, "a bit for each property");
        let all = (0..properties.len()).fold(0, |all, number| all | 1 << number);
        Self {
            model,
            properties,
            memory: M::Memory::default(),
            limits,
            progress,
            look,
            started: Instant::now(),
            visited: Visited::default(),
            open: all,
            discoveries: Vec::new(),
        }
    }

    /// The initial states, which are noted as visited.
    pub fn first_level(&mut self) -> Level<M::State> {
        let mut first = self.model.init_states();
        self.progress.generated.fetch_add(first.len(), Relaxed);
        for mut all in self.visited.split(1) {
            first.retain(|state| all.insert(fingerprint(state), NO_PARENT));
        }
        self.progress.distinct.fetch_add(first.len(), Relaxed);
        vec![first]
    }

    /// Visits every state of a level and puts the next one in its place. Says so if it had to stop.
    pub fn explore(&mut self, level: &mut Level<M::State>, depth: usize) -> Option<End> {
        let mut parts = std::mem::take(level).into_iter();
        let mut all_found: Vec<Found<M::State>> = Vec::new();
        loop {
            M::make_room(&mut self.memory);
            let slab = next_slab(&mut parts);
            if slab.is_empty() {
                return None;
            }
            let shares: Vec<_> = slab.iter().flat_map(|part| part.chunks(SHARE)).collect();
            all_found.resize_with(shares.len().max(all_found.len()), Found::default);
            let found = &mut all_found[..shares.len()];
            let threads = self.limits.threads.min(shares.len());

            let search = &*self;
            let work = shares.into_iter().zip(&mut *found);
            share_out(threads, work, |(states, found)| {
                search.expand(states, depth, found);
            });
            for found in &mut *found {
                self.note_discoveries(&mut found.discovered, depth);
            }
            let progress = self.progress;
            let work = self.visited.split(OWNERS).enumerate();
            share_out(threads, work, |(owner, mut part)| {
                note(&mut part, owner, found, progress);
            });
            share_out(threads, found.iter_mut(), |found| found.keep());

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
    fn expand(&self, states: &[M::State], depth: usize, all: &mut Found<M::State>) {
        let mut open = self.open;
        let mut found = Vec::new();
        let mut generated = 0;
        for states in states.chunks(BATCH) {
            for state in states {
                (self.look)(state, depth);
            }
            self.check(states, &mut open, &mut all.discovered);
            self.model.successors(&self.memory, states, &mut found);
            touch(found.iter().map(|next| self.visited.touch(next.hash)));
            generated += found.len();
            for Successor {
                hash,
                parent,
                state,
            } in found.drain(..)
            {
                if !self.visited.contains(hash) {
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

    /// Looks for `open` properties that are discovered in some states; they are open no more. (The model is asked
    /// for the same all through a slab: so what it remembers does not depend on which share is the first.)
    fn check(&self, states: &[M::State], open: &mut u64, found: &mut Vec<(u32, u64)>) {
        if *open == 0 {
            return;
        }
        let all = self
            .model
            .discovered(&self.memory, &self.properties, self.open, states);
        for (state, discovered) in states.iter().zip(all) {
            let mut news = discovered & *open;
            *open &= !news;
            while news != 0 {
                found.push((news.trailing_zeros(), fingerprint(state)));
                news &= news - 1;
            }
        }
    }

    /// Notes the properties that were discovered in one share, but for those that an earlier one has noted.
    fn note_discoveries(&mut self, found: &mut Vec<(u32, u64)>, depth: usize) {
        for (number, fingerprint) in found.drain(..) {
            if self.open & (1 << number) != 0 {
                self.open &= !(1 << number);
                self.discoveries.push(Discovery {
                    property: self.properties[number as usize].name,
                    depth,
                    states: self.progress.distinct.load(Relaxed),
                    fingerprint,
                });
            }
        }
    }

    /// Whether an invariant is discovered to be violated.
    pub fn is_violated(&self) -> bool {
        let violated = |(number, property): (usize, &Property<M>)| {
            property.expectation == Expectation::Always && self.open & (1 << number) == 0
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

/// The second pass: notes what belongs to a part of the visited table, and marks what is new.
fn note<S>(part: &mut Part<'_>, owner: usize, found: &[Found<S>], progress: &Progress) {
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
    progress.distinct.fetch_add(distinct, Relaxed);
    progress.queue.fetch_add(distinct, Relaxed);
}
