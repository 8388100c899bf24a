//! Random schedules with every fault: safe after each step, and live once the faults end.
//!
//! Spec: `spec/0-assumptions.md`. What it must never do: end a run without showing that the ensemble
//! serves again.

use crate::cluster::{Numbers, SEEN_ELSEWHERE, config};
use crate::sim::{Faults, Random, Sim, one_seed, with_seeds};
use keepright::types::ServerId;
use keepright::zab::{Config, Msg, invariants};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long after the end of all faults everybody must serve the same leader and have delivered the
/// same. The election may first run into a leader that is not one (peer_timeout, 1 s), and discovery
/// into one that cannot win (establish_timeout, 2 s), a few times.
const RECOVERY: Duration = Duration::from_secs(15);

fn random_config(random: &mut Random) -> Config {
    let voters = [1, 2, 3, 3, 3, 3, 4, 5, 5][random.below(9)];
    let observers = [0, 0, 0, 1, 2][random.below(5)];
    Config {
        max_counter: [u32::MAX, u32::MAX, 1, 2, 4][random.below(5)],
        retain: [0, 1, 3, 500][random.below(4)],
        ..config(voters, observers)
    }
}

fn random_faults(random: &mut Random) -> Faults {
    Faults {
        loss: [0, 1, 10, 30, 60][random.below(5)],
        duplicate: [0, 1, 10, 50][random.below(4)],
        delay: [(1000, 1000), (100, 5000), (100, 100_000), (1000, 1_500_000)][random.below(4)],
        save: [
            (0, 0),
            (500, 1500),
            (100, 50_000),
            (1000, 500_000),
            (500_000, 1_500_000),
        ][random.below(5)],
    }
}

/// One run: what it has seen, so that we know that it was worth it.
struct Run {
    sim: Sim,
    written: u32,
    paused: BTreeSet<ServerId>,
    /// How often each kind of thing has happened.
    seen: BTreeMap<&'static str, u64>,
    /// The witnesses of invariants that it has come by.
    witnessed: BTreeSet<&'static str>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let config = random_config(&mut random);
        let mut sim = Sim::new(config, random.next());
        for id in sim.cluster.ids() {
            let percent = [100, 100, 50, 300][sim.random.below(4)];
            sim.clocks.insert(id, percent);
            if sim.random.chance(80) {
                sim.start(id);
            }
        }
        Self {
            sim,
            written: 0,
            paused: BTreeSet::new(),
            seen: BTreeMap::new(),
            witnessed: BTreeSet::new(),
        }
    }

    fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Something out of the ordinary happens.
    fn disturb(&mut self) {
        let sim = &mut self.sim;
        let id = sim.random.pick(&sim.cluster.ids()).expect("a server");
        let other = sim.random.pick(&sim.cluster.ids()).expect("a server");
        let running = sim.cluster.up(id) && !self.paused.contains(&id);
        match sim.random.below(100) {
            0..10 if sim.cluster.up(id) => {
                let unsaved = sim.cluster.nodes[&id].unsaved.len();
                let kept = sim.random.below(unsaved + 1);
                sim.crash(id, kept);
                self.paused.remove(&id);
                self.note("crashes");
            }
            10..25 if !sim.cluster.up(id) => {
                sim.start(id);
                self.note("restarts");
            }
            25..30 => {
                if sim.random.chance(50) {
                    sim.cut(id, other);
                } else {
                    sim.cut_one_way(id, other);
                }
                self.note("cuts");
            }
            30..32 => {
                sim.isolate(id);
                self.note("isolations");
            }
            32..40 => sim.heal(),
            40..43 if running => {
                sim.pause(id);
                self.paused.insert(id);
                self.note("pauses");
            }
            43..50 => {
                sim.resume(id);
                self.paused.remove(&id);
            }
            50..55 => sim.faults = random_faults(&mut sim.random),
            55..60 if running => {
                sim.snapshot(id);
                self.note("snapshots");
            }
            60..100 if self.written < 25 => self.write(),
            _ => {}
        }
    }

    /// Whoever may propose does: also a leader whose time is over.
    fn write(&mut self) {
        let can = |id: &ServerId| {
            let state = self.sim.cluster.nodes[id].state.as_ref();
            !self.paused.contains(id) && state.is_some_and(|state| state.next_zxid().is_some())
        };
        let can: Vec<_> = self.sim.cluster.ids().into_iter().filter(can).collect();
        if let Some(leader) = self.sim.random.pick(&can) {
            self.written += 1;
            self.sim.input(leader, Msg::Propose(self.written));
            self.note("writes");
            if can.len() > 1 {
                self.note("two leaders");
            }
        }
    }

    /// All faults end: the ensemble has to serve again, and to commit something new.
    fn recover(&mut self) -> Duration {
        self.sim.recover();
        self.paused.clear();
        let start = self.sim.now;
        let took = self.sim.until("everybody serves the same", Sim::converged);
        let fresh = self.written + 1;
        self.sim.until("the leader can propose", |sim| {
            sim.leader()
                .is_some_and(|leader| sim.cluster.state(leader).next_zxid().is_some())
        });
        assert!(self.sim.write(fresh));
        self.sim.until("the same is delivered everywhere", |sim| {
            sim.converged()
                && sim
                    .cluster
                    .ids()
                    .iter()
                    .all(|id| sim.cluster.delivered(*id).last() == Some(&fresh))
        });
        let whole = Duration::from_micros(self.sim.now - start);
        assert!(whole < RECOVERY, "it took {whole:?} to recover");
        took
    }
}

fn run(seed: u64, steps: usize) -> (Run, Duration) {
    let mut run = Run::new(seed);
    // How often something is disturbed.
    let rate = [2, 5, 10][run.sim.random.below(3)];
    for _ in 0..steps {
        if run.sim.random.chance(rate) {
            run.disturb();
            run.witnessed.extend(run.sim.cluster.witnessed());
        }
        run.sim.step();
    }
    let took = run.recover();
    (run, took)
}

#[test]
fn random_schedules_are_safe_and_every_run_recovers() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut witnessed = BTreeSet::new();
    let mut worst = (Duration::ZERO, 0);
    with_seeds("random_schedules", 400, |seed| {
        let (run, took) = run(seed, 1500);
        worst = worst.max((took, seed));
        for (what, count) in run.seen {
            *seen.entry(what).or_default() += count;
        }
        witnessed.extend(run.witnessed);
        *seen.entry("epochs").or_default() += run.sim.cluster.record.leaders.len() as u64;
        *seen.entry("rounds of recovery").or_default() += 1;
    });
    let all = invariants::all::<Numbers>();
    let mut others = all
        .iter()
        .filter(|i| !SEEN_ELSEWHERE.contains(&i.witness_id));
    let missing = others.find(|i| !witnessed.contains(i.witness_id));
    if let Some(missing) = missing.filter(|_| !one_seed()) {
        panic!(
            "no run came by {}, so {} says nothing",
            missing.witness_id, missing.id
        );
    }
    println!("seen {seen:?}; slowest recovery {worst:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let story = |seed| {
        let (run, _) = run(seed, 500);
        (run.sim.now, run.sim.sent, run.sim.cluster.describe())
    };
    for seed in 0..5 {
        assert!(story(seed) == story(seed));
    }
    assert!(story(1) != story(2));
}
