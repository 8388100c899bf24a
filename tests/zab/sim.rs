//! A deterministic simulation: the actors' own timers in virtual time, a network with faults, saves
//! that complete later, crashes, cut links and paused servers.
//!
//! Spec: `spec/0-assumptions.md`. Everything random comes from one seed. What it must never do: read a
//! clock, or iterate over something without an order.

use crate::cluster::{Cluster, Effects, Envelope, Numbers};
use keepright::types::ServerId;
use keepright::zab::{Config, Message, Msg, Timer};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A small generator of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u8) -> bool {
        self.below(100) < usize::from(percent)
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.below(of.len())].clone())
    }

    fn between(&mut self, (least, most): (u64, u64)) -> u64 {
        least + self.next() % (most - least + 1)
    }
}

/// The variable of the environment that picks one seed.
const SEED: &str = "KEEPRIGHT_SEED";

/// The variable of the environment that says how many seeds to take.
const RUNS: &str = "KEEPRIGHT_RUNS";

/// Whether the environment asks for one seed.
pub fn one_seed() -> bool {
    std::env::var(SEED).is_ok()
}

/// Runs `test` with `count_by_default` seeds, or with as many or with the one that the environment asks for. If
/// it fails, says how to repeat it.
pub fn with_seeds(name: &str, count_by_default: u64, mut test: impl FnMut(u64)) {
    struct Replay<'a>(&'a str, u64);
    impl Drop for Replay<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let Self(name, seed) = self;
                eprintln!("seed {seed}; again: {SEED}={seed} cargo test --test zab {name}");
            }
        }
    }
    let seeds = match std::env::var(SEED) {
        Ok(seed) => {
            let seed = seed.parse().expect("KEEPRIGHT_SEED is a number");
            seed..seed + 1
        }
        Err(_) => {
            let count = std::env::var(RUNS).map(|n| n.parse().expect("KEEPRIGHT_RUNS is a number"));
            0..count.unwrap_or(count_by_default)
        }
    };
    println!("{name}: seeds {seeds:?}; one of them: {SEED}=n cargo test --test zab {name}");
    for seed in seeds {
        let _replay = Replay(name, seed);
        test(seed);
    }
}

/// How bad the network and the disks are. Durations in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// How many of a hundred datagrams are lost.
    pub loss: u8,
    /// How many of a hundred datagrams arrive twice.
    pub duplicate: u8,
    /// How long a datagram takes, at least and at most.
    pub delay: (u64, u64),
    /// How long a save takes, at least and at most.
    pub save: (u64, u64),
}

impl Faults {
    /// A network that loses nothing and keeps the order, with a little delay.
    pub const NONE: Self = Self {
        loss: 0,
        duplicate: 0,
        delay: (1000, 1000),
        save: (1000, 1000),
    };
}

#[derive(Clone, Debug)]
enum Event {
    Deliver(Envelope),
    Fire(ServerId, Timer),
    Flush(ServerId),
}

/// An ensemble in virtual time.
pub struct Sim {
    pub cluster: Cluster,
    pub faults: Faults,
    pub random: Random,
    /// Every datagram that was sent, with the time.
    pub sent: Vec<(u64, Envelope)>,
    /// Virtual time in microseconds.
    pub now: u64,
    number: u64,
    /// By time, then by order of creation.
    events: BTreeMap<(u64, u64), Event>,
    /// The event that each running timer stands for.
    timers: BTreeMap<(ServerId, Timer), (u64, u64)>,
    flushes: BTreeMap<ServerId, Vec<(u64, u64)>>,
    cut: BTreeSet<(ServerId, ServerId)>,
    /// How long a second takes by the clock of a server, in percent; 100 if it is not here.
    pub clocks: BTreeMap<ServerId, u64>,
    /// Paused servers, with what has happened to them meanwhile.
    paused: BTreeMap<ServerId, Vec<Event>>,
}

impl Sim {
    /// An ensemble of which every server is down.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            cluster: Cluster::new(config),
            faults: Faults::NONE,
            random: Random(seed),
            sent: Vec::new(),
            now: 0,
            number: 0,
            events: BTreeMap::new(),
            timers: BTreeMap::new(),
            flushes: BTreeMap::new(),
            cut: BTreeSet::new(),
            clocks: BTreeMap::new(),
            paused: BTreeMap::new(),
        }
    }

    /// The same with every server started.
    pub fn started(config: Config, seed: u64) -> Self {
        let mut sim = Self::new(config, seed);
        for id in sim.cluster.ids() {
            sim.start(id);
        }
        sim
    }

    /// The same with an established leader whom everybody follows.
    pub fn established(config: Config, seed: u64) -> Self {
        let mut sim = Self::started(config, seed);
        sim.until("everybody serves", Sim::all_serve);
        sim
    }

    fn schedule(&mut self, after: u64, event: Event) -> (u64, u64) {
        self.number += 1;
        let key = (self.now + after, self.number);
        self.events.insert(key, event);
        key
    }

    pub fn start(&mut self, id: ServerId) {
        let effects = self.cluster.start(id);
        self.carry_out(id, effects);
    }

    /// Kills a server; of its pending saves the oldest `kept` turn out to be durable.
    pub fn crash(&mut self, id: ServerId, kept: usize) {
        self.cluster.crash(id, kept);
        self.paused.remove(&id);
        for key in self.flushes.remove(&id).unwrap_or_default() {
            self.events.remove(&key);
        }
        let timers = std::mem::take(&mut self.timers);
        let (dead, timers) = timers.into_iter().partition(|((of, _), _)| *of == id);
        self.timers = timers;
        for key in BTreeMap::into_values(dead) {
            self.events.remove(&key);
        }
    }

    /// Nothing reaches the server, not even its own timers, until it is resumed.
    pub fn pause(&mut self, id: ServerId) {
        self.paused.entry(id).or_default();
    }

    pub fn resume(&mut self, id: ServerId) {
        for event in self.paused.remove(&id).unwrap_or_default() {
            let key = self.schedule(1, event.clone());
            match event {
                Event::Fire(id, timer) => {
                    // A timer that fired while the server was paused is still due.
                    if let Some(old) = self.timers.insert((id, timer), key) {
                        self.events.remove(&old);
                    }
                }
                Event::Flush(id) => self.flushes.entry(id).or_default().push(key),
                Event::Deliver(_) => {}
            }
        }
    }

    /// Cuts the link between two servers, both ways.
    pub fn cut(&mut self, a: ServerId, b: ServerId) {
        self.cut.insert((a, b));
        self.cut.insert((b, a));
    }

    /// Cuts the link from one server to another, but not the way back.
    pub fn cut_one_way(&mut self, from: ServerId, to: ServerId) {
        self.cut.insert((from, to));
    }

    /// Cuts all links of a server.
    pub fn isolate(&mut self, id: ServerId) {
        for other in self.cluster.ids() {
            self.cut(id, other);
        }
    }

    /// Mends all links.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Ends every fault: links, network, clocks, pauses, and servers that are down.
    pub fn recover(&mut self) {
        self.heal();
        self.clocks.clear();
        self.faults = Faults::NONE;
        for id in self.cluster.ids() {
            self.resume(id);
            if !self.cluster.up(id) {
                self.start(id);
            }
        }
    }

    /// Tells the actor of a server something.
    pub fn input(&mut self, id: ServerId, msg: Msg<Numbers>) {
        let effects = self.cluster.input(id, msg);
        self.carry_out(id, effects);
    }

    /// Has the service of a server take a snapshot.
    pub fn snapshot(&mut self, id: ServerId) {
        let effects = self.cluster.snapshot(id);
        self.carry_out(id, effects);
    }

    /// Delivers a datagram now, whatever the network thinks of it.
    pub fn deliver(&mut self, envelope: &Envelope) {
        let effects = self.cluster.deliver(envelope);
        self.carry_out(envelope.dst, effects);
    }

    fn carry_out(&mut self, id: ServerId, effects: Effects) {
        for (timer, duration) in effects.timers {
            if let Some(old) = self.timers.remove(&(id, timer)) {
                self.events.remove(&old);
            }
            if let Some(duration) = duration {
                let after = u64::try_from(duration.as_micros()).expect("not so long");
                let percent = self.clocks.get(&id).copied().unwrap_or(100);
                let key = self.schedule(after * percent / 100, Event::Fire(id, timer));
                self.timers.insert((id, timer), key);
            }
        }
        for _ in effects.saved {
            let last = self.flushes.get(&id).and_then(|keys| keys.last()).copied();
            let earliest = last.map_or(0, |(time, _)| time.saturating_sub(self.now));
            let after = self.random.between(self.faults.save).max(earliest);
            let key = self.schedule(after, Event::Flush(id));
            self.flushes.entry(id).or_default().push(key);
        }
        for envelope in effects.sent {
            self.sent.push((self.now, envelope.clone()));
            let copies = match (
                self.random.chance(self.faults.loss),
                self.random.chance(self.faults.duplicate),
            ) {
                (true, _) => 0,
                (false, false) => 1,
                (false, true) => 2,
            };
            for _ in 0..copies {
                let after = self.random.between(self.faults.delay);
                self.schedule(after, Event::Deliver(envelope.clone()));
            }
        }
    }

    /// The next event happens.
    pub fn step(&mut self) {
        let Some((key, event)) = self.events.pop_first() else {
            return;
        };
        self.now = key.0;
        match event {
            Event::Deliver(envelope) => {
                let Envelope { src, dst, .. } = envelope;
                if self.cut.contains(&(src, dst)) || !self.cluster.up(dst) {
                    return; // Lost.
                }
                match self.paused.get_mut(&dst) {
                    Some(held) => held.push(Event::Deliver(envelope)),
                    None => self.deliver(&envelope),
                }
            }
            Event::Fire(id, timer) => {
                self.timers.remove(&(id, timer));
                match self.paused.get_mut(&id) {
                    Some(held) => held.push(Event::Fire(id, timer)),
                    None => {
                        let effects = self.cluster.fire(id, timer);
                        self.carry_out(id, effects);
                    }
                }
            }
            Event::Flush(id) => {
                let keys = self.flushes.get_mut(&id).expect("a save of this server");
                keys.retain(|other| *other != key);
                match self.paused.get_mut(&id) {
                    Some(held) => held.push(Event::Flush(id)),
                    None => {
                        let effects = self.cluster.flush(id, 1);
                        self.carry_out(id, effects);
                    }
                }
            }
        }
    }

    /// Lets so much virtual time go by.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + u64::try_from(duration.as_micros()).expect("not so long");
        while self
            .events
            .first_key_value()
            .is_some_and(|((time, _), _)| *time <= end)
        {
            self.step();
        }
        self.now = end;
    }

    pub fn run_ms(&mut self, milliseconds: u64) {
        self.run(Duration::from_millis(milliseconds));
    }

    /// Runs until `done`, for at most 30 s of virtual time. Returns how long it took.
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !done(self) {
            assert!(
                self.now < start + 30_000_000,
                "not within 30 s: {what}\n{}",
                self.cluster.describe()
            );
            self.step();
        }
        Duration::from_micros(self.now - start)
    }

    /// The established leader of the latest epoch, if there is one.
    pub fn leader(&self) -> Option<ServerId> {
        let leads = |id: &ServerId| {
            let state = self.cluster.nodes[id].state.as_ref()?;
            (state.is_leading() && state.serving()).then(|| (state.epoch(), *id))
        };
        let leaders = self.cluster.nodes.keys().filter_map(leads);
        leaders.max().map(|(_, id)| id)
    }

    /// Whether every server that is up serves, and all of them the same leader in the same epoch.
    pub fn all_serve(&self) -> bool {
        let Some(leader) = self.leader() else {
            return false;
        };
        let epoch = self.cluster.state(leader).epoch();
        self.cluster.ids().into_iter().all(|id| {
            self.cluster.nodes[&id].state.as_ref().is_none_or(|state| {
                state.serving() && state.leader(id) == Some(leader) && state.epoch() == epoch
            })
        })
    }

    /// Whether all servers that are up serve, and all have delivered everything that they have.
    pub fn converged(&self) -> bool {
        let Some(leader) = self.leader().filter(|_| self.all_serve()) else {
            return false;
        };
        let last = self.cluster.state(leader).storage().history.last_zxid();
        self.cluster.nodes.values().all(|node| {
            node.state.as_ref().is_none_or(|state| {
                state.committed() == last && state.storage().history.last_zxid() == last
            })
        })
    }

    /// Asks the leader for a transaction; says whether there was one who could propose it.
    pub fn write(&mut self, number: u32) -> bool {
        let Some(leader) = self.leader() else {
            return false;
        };
        let can = self.cluster.state(leader).next_zxid().is_some();
        if can {
            self.input(leader, Msg::Propose(number));
        }
        can
    }

    /// The messages that `from` has sent to `to`, since the beginning.
    pub fn said(&self, from: ServerId, to: ServerId) -> Vec<&Message<Numbers>> {
        self.sent
            .iter()
            .filter(|(_, envelope)| (envelope.src, envelope.dst) == (from, to))
            .map(|(_, envelope)| &envelope.message)
            .collect()
    }
}
