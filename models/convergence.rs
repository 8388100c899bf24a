//! Whether an ensemble that is left in peace gets to work again, from every state of a model.
//!
//! Spec: `spec/7-convergence.md`, "What is checked". The fair schedule of `models/schedule.rs` is a function from
//! the ensemble at one round to the ensemble at the next, so what becomes of a state is found by walking; where
//! two walks meet, the rest is known. What it must never do: take an ensemble for one that works because nothing
//! moves any more.

use crate::environment::Environment;
use crate::intern::Interner;
use crate::memo::Memo;
use crate::schedule::{Calm, Inbox, Old, Schedule, Turn, has_write};
use crate::world::{World, Writes};
use keepright::quorum::ServerSet;
use keepright::types::ServerId;
use keepright::zab::invariants::delivered;
use keepright::zab::{History, Role, State};
use stateright::Property;
use std::cell::Cell;
use std::sync::{Mutex, OnceLock};

/// A walk of so many rounds that has not come to work never will.
pub const LIMIT: usize = 250;

/// The ids of what is checked here.
pub const CONVERGES: &str = "converges";
pub const UNDISTURBED: &str = "leader_undisturbed";
pub const IDS: [&str; 2] = [CONVERGES, UNDISTURBED];

/// How long a walk takes until the ensemble works, and does so for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Length {
    pub rounds: u16,
    pub steps: u16,
}

/// What becomes of an ensemble: `None` if it never comes to work.
pub type Fate = Option<Length>;

/// A fate, with the ensemble at work at its end.
pub type Walk = Option<(Length, &'static Calm)>;

impl std::ops::Add for Length {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            rounds: self.rounds + other.rounds,
            steps: self.steps + other.steps,
        }
    }
}

/// What convergence needs to know, and what it has found.
#[derive(Default)]
pub struct Tables {
    pub inboxes: Interner<Inbox>,
    pub turns: Memo<&'static Turn>,
    fates: Memo<Walk>,
    undisturbed: Memo<bool>,
    /// A server that waits for nothing, in words, if there is one.
    pub stuck: OnceLock<String>,
    pub found: Mutex<Vec<Found>>,
}

/// What the walks from the visited states have shown.
pub struct Found {
    pub schedule: Schedule,
    /// How many states take so many rounds.
    pub histogram: Vec<usize>,
    pub worst: Length,
    pub depth: usize,
    /// The hash of the worst state, the first of the shallowest.
    pub fingerprint: u64,
}

/// What is asked of each state beside the invariants.
pub fn properties(ids: &[&str]) -> Vec<Property<Environment>> {
    let all = [
        Property::always(CONVERGES, |model: &Environment, world: &World| {
            model.converges(world)
        }),
        Property::always(UNDISTURBED, |model: &Environment, world: &World| {
            model.is_leader_undisturbed(world)
        }),
    ];
    all.into_iter()
        .filter(|property| ids.contains(&property.name))
        .collect()
}

/// The schedules that are tried: whoever is down starts or stays down, and both orders of arrival.
pub const SCHEDULES: [Schedule; 5] = [
    schedule(true, false, Old::Lost),
    schedule(true, true, Old::Lost),
    schedule(false, false, Old::Lost),
    schedule(true, false, Old::InRound(3)),
    schedule(true, false, Old::Afterwards),
];

const fn schedule(restart: bool, descending: bool, old: Old) -> Schedule {
    Schedule {
        restart,
        descending,
        old,
    }
}

/// The fate of a state under each schedule that asks something of it.
type Fates = [Option<Fate>; SCHEDULES.len()];

thread_local! {
    /// The model, the state and the fates that this thread asked for last.
    static LAST_FATES: Cell<Option<(u64, u64, Fates)>> = const { Cell::new(None) };
}

impl Environment {
    fn converges(&self, world: &World) -> bool {
        self.fates(world).iter().all(|fate| *fate != Some(None))
    }

    /// What becomes of a state under each schedule. A world is asked for twice in a row: for the property
    /// and to be measured.
    fn fates(&self, world: &World) -> Fates {
        LAST_FATES.with(|last| match last.get() {
            Some((id, hash, fates)) if (id, hash) == (self.id, world.fingerprint) => fates,
            _ => {
                let fates = SCHEDULES.map(|schedule| self.fate(schedule, world));
                last.set(Some((self.id, world.fingerprint, fates)));
                fates
            }
        })
    }

    /// What becomes of a state under a schedule. `None` if the schedule asks nothing of it: those that
    /// are up are no quorum and nobody starts.
    pub fn fate(&self, schedule: Schedule, world: &World) -> Option<Fate> {
        let up = world.ids().filter(|id| world.server(*id).state.is_some());
        let up: ServerSet = up.collect();
        let suffices = |history: &History<Writes>| {
            let configured = &self.zab.config.membership;
            history.in_force(configured).is_quorum(&up)
        };
        let is_quorum = || {
            world.ids().all(|id| {
                let process = world.server(id).get();
                let state = process.state.as_ref();
                suffices(&process.disk.history)
                    && state.is_none_or(|state| suffices(&state.storage().history))
            })
        };
        if !schedule.restart && (up.len() == world.nodes.len() || !is_quorum()) {
            return None; // The same as with restarts, or nothing to hope for.
        }
        let calm = self.calm(world);
        let mut before = Length::default();
        let rest = match schedule.old {
            Old::Lost => self.walk(schedule, calm),
            Old::InRound(round) => {
                let mut calm = calm;
                for _ in 1..round {
                    let (next, steps) = self.round(schedule, &calm);
                    before = before + Length { rounds: 1, steps };
                    calm = next;
                }
                self.walk(schedule, self.with_old(&calm, world, schedule))
            }
            Old::Afterwards => self
                .walk(schedule, calm)
                .and_then(|(_, calm)| self.walk(schedule, self.with_old(calm, world, schedule))),
        };
        Some(rest.map(|(length, _)| before + length))
    }

    /// Goes on round by round, to a state whose fate is known, to one that was met before, or to the limit.
    pub fn walk(&self, schedule: Schedule, start: Calm) -> Walk {
        let mut path: Vec<(crate::memo::Key, bool, u16)> = Vec::new();
        let mut calm = start;
        let mut fate = loop {
            let key = calm.key(schedule);
            if let Some(fate) = self.convergence.fates.find(key) {
                break fate;
            }
            if let Some(first) = path.iter().position(|(known, ..)| *known == key) {
                let works = path[first..].iter().all(|(_, works, _)| *works);
                break works.then(|| (Length::default(), &*Box::leak(Box::new(calm))));
            }
            let works = self.is_at_work(&calm);
            if works && self.setting.election_alone {
                // There is nothing after the election, so it does not last.
                let end = &*Box::leak(Box::new(calm));
                self.convergence
                    .fates
                    .insert(key, Some((Length::default(), end)));
                break Some((Length::default(), end));
            }
            if path.len() == LIMIT {
                break None;
            }
            let (next, steps) = self.round(schedule, &calm);
            path.push((key, works, steps));
            calm = next;
        };
        for (key, works, steps) in path.into_iter().rev() {
            fate = fate.map(|(rest, end)| match (rest.rounds, works) {
                (0, true) => (rest, end),
                _ => (rest + Length { rounds: 1, steps }, end),
            });
            self.convergence.fates.insert(key, fate);
        }
        fate
    }

    /// Whether everybody who is up serves, follows one established leader in its epoch, and has delivered
    /// all that it has, the write of the schedule included. With the election alone: whether everybody
    /// who is up follows one of them who leads.
    pub fn is_at_work(&self, calm: &Calm) -> bool {
        let mut leaders = calm.up().filter(|(_, state)| state.is_leading());
        let Some((leader, leads)) = leaders.next() else {
            return false;
        };
        if leaders.next().is_some() {
            return false;
        }
        if self.setting.election_alone {
            return calm.up().all(|(id, s)| is_with(s, id, leader));
        }
        let last = leads.storage().history.last_zxid();
        let in_step = |id: ServerId, state: &State<Writes>| {
            state.serving()
                && is_with(state, id, leader)
                && state.epoch() == leads.epoch()
                && state.pending_saves() == 0
                && state.storage().history.last_zxid() == last
                && state.committed() == last
        };
        matches!(leads.role(), Role::Leading(leader) if leader.established())
            && has_write(leads)
            && calm.up().all(|(id, state)| in_step(id, state))
            && calm.up().all(|(_, s)| delivered(s) == delivered(leads))
    }

    /// Whether a server that starts while the others are at work leaves them at work, and does not lead
    /// itself. A server that has promised a later epoch is no such joiner: only a new epoch can win it.
    fn is_leader_undisturbed(&self, world: &World) -> bool {
        let calm = self.calm(world);
        let Some(leader) = self.leads_in_peace(&calm) else {
            return true;
        };
        let mut joins = SCHEDULES.iter().filter(|s| s.restart && s.old == Old::Lost);
        joins.all(|schedule| {
            let known = &self.convergence.undisturbed;
            known.get(calm.key(*schedule), || {
                self.leads_on(leader, *schedule, calm.clone())
            })
        })
    }

    /// The first schedule under which a property of convergence falls in this state.
    pub fn falls_under(&self, property: &str, world: &World) -> Option<Schedule> {
        let calm = self.calm(world);
        let falls = |schedule: &Schedule| match property {
            CONVERGES => self.fate(*schedule, world) == Some(None),
            _ => self
                .leads_in_peace(&calm)
                .is_some_and(|leader| !self.leads_on(leader, *schedule, calm.clone())),
        };
        SCHEDULES.into_iter().find(falls)
    }

    /// Whether `leader` and nobody else leads until everybody is at work.
    fn leads_on(&self, leader: ServerId, schedule: Schedule, mut calm: Calm) -> bool {
        let fate = self.walk(schedule, calm.clone());
        let rounds = fate.map_or(LIMIT, |(length, _)| length.rounds.into());
        (0..rounds).all(|_| {
            calm = self.round(schedule, &calm).0;
            let alone = calm.up().all(|(id, s)| s.is_leading() == (id == leader));
            alone && calm.up().any(|(id, s)| id == leader && s.serving())
        })
    }

    /// The leader, if a quorum serves in its epoch, somebody is still to join, and nobody has promised a
    /// later epoch. Who joins is down, or LOOKING and has not heard from anybody yet.
    pub fn leads_in_peace(&self, calm: &Calm) -> Option<ServerId> {
        let (leader, leads) = calm.up().find(|(_, state)| state.is_leading())?;
        let epoch = leads.epoch()?;
        let serves = |id: ServerId, state: &State<Writes>| {
            state.serving() && is_with(state, id, leader) && state.epoch() == Some(epoch)
        };
        let joins = |id: ServerId, state: &State<Writes>| match state.role() {
            Role::Looking(election) => election.supporters == ServerSet::of(id),
            Role::Following(_) | Role::Leading(_) => false,
        };
        let serving: ServerSet = calm
            .up()
            .filter(|(id, s)| serves(*id, s))
            .map(|(id, _)| id)
            .collect();
        let peace = self.zab.in_force(leads).is_quorum(&serving)
            && serving.len() < calm.members.len()
            && matches!(leads.role(), Role::Leading(leader) if leader.established())
            && calm
                .up()
                .all(|(id, state)| serves(id, state) || joins(id, state))
            && calm.servers().all(|(_, p)| p.disk.accepted_epoch <= epoch);
        peace.then_some(leader)
    }

    /// Notes how long a visited state takes under each schedule.
    pub fn measure(&self, world: &World, depth: usize) {
        let fates = self.fates(world);
        let hash = crate::engine::fingerprint(world);
        let mut found = self
            .convergence
            .found
            .lock()
            .expect("no thread panics with this lock");
        if found.is_empty() {
            found.extend(SCHEDULES.iter().map(|schedule| Found::none(*schedule)));
        }
        for (found, fate) in found.iter_mut().zip(fates) {
            let Some(Some(length)) = fate else { continue };
            let rounds = usize::from(length.rounds);
            if found.histogram.len() <= rounds {
                found.histogram.resize(rounds + 1, 0);
            }
            found.histogram[rounds] += 1;
            let rank = |length, depth, hash| (length, std::cmp::Reverse((depth, hash)));
            if found.fingerprint == 0
                || rank(length, depth, hash) > rank(found.worst, found.depth, found.fingerprint)
            {
                found.worst = length;
                found.depth = depth;
                found.fingerprint = hash;
            }
        }
    }
}

impl Found {
    fn none(schedule: Schedule) -> Self {
        Self {
            schedule,
            histogram: Vec::new(),
            worst: Length::default(),
            depth: 0,
            fingerprint: 0,
        }
    }
}

/// Whether a server follows this leader, or is it.
fn is_with(state: &State<Writes>, id: ServerId, leader: ServerId) -> bool {
    state.following() == Some(leader) || (id == leader && state.is_leading())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::Bounds;
    use crate::engine::{self, End, Limits, Progress};
    use crate::{catalogue, converge};
    use keepright::zab::Variant;
    use std::collections::BTreeSet;

    const LIMITS: Limits = Limits {
        threads: 2,
        stop_at_first: true,
        max_states: None,
        max_time: None,
        max_memory: None,
    };

    fn environment(model: &str, bounds: Bounds, variant: Variant) -> Environment {
        let spec = catalogue::find(model).expect("a model of the catalogue");
        converge::environment(spec, bounds, variant)
    }

    /// If one of these changes, the protocol, the schedule or the environment has: say why in the commit.
    #[test]
    fn every_state_comes_to_work_within_the_recorded_rounds() {
        let recorded = [
            ("zab", Bounds::new(3, 1, 1, 0), 26),
            ("ensemble", Bounds::new(2, 1, 1, 0), 20),
            ("ensemble", Bounds::new(2, 1, 0, 1).with_pending_saves(), 27),
        ];
        for (model, bounds, most) in recorded {
            let environment = environment(model, bounds, Variant::Faithful);
            let look = |world: &World, depth| environment.measure(world, depth);
            let progress = Progress::default();
            let outcome = engine::search_and_look(&environment, LIMITS, &progress, &look);
            assert_eq!(outcome.end, End::Complete, "{model} {bounds}");
            assert_eq!(environment.convergence.stuck.get(), None);
            let found = environment
                .convergence
                .found
                .lock()
                .expect("no thread panics");
            let rounds = found.iter().map(|found| found.worst.rounds).max();
            assert_eq!(rounds, Some(most), "{model} {bounds}");
            let all: usize = found[0].histogram.iter().sum();
            assert_eq!(all, outcome.distinct, "every state is measured");
            assert_eq!(
                found[4].worst.rounds, 0,
                "old datagrams disturb nobody at work"
            );
        }
    }

    #[test]
    fn one_round_later_a_walk_is_one_round_shorter() {
        let environment = environment("ensemble", Bounds::new(3, 0, 0, 0), Variant::Faithful);
        let schedule = SCHEDULES[0];
        let world = stateright::Model::init_states(&environment).remove(0);
        let mut calm = environment.calm(&world);
        let whole = environment
            .walk(schedule, calm.clone())
            .expect("it converges")
            .0;
        for gone in 0..whole.rounds {
            assert!(!environment.is_at_work(&calm), "after {gone} rounds");
            let left = environment
                .walk(schedule, calm.clone())
                .expect("it converges")
                .0;
            assert_eq!(left.rounds, whole.rounds - gone);
            calm = environment.round(schedule, &calm).0;
        }
        assert!(environment.is_at_work(&calm));
    }

    #[test]
    fn votes_cycle_only_where_the_epochs_differ() {
        let environment = environment("election", Bounds::new(3, 0, 0, 0), Variant::VotesCycle);
        let stuck = Mutex::new(Vec::new());
        let look = |world: &World, _| {
            if !environment.converges(world) {
                stuck
                    .lock()
                    .expect("nobody panics with it")
                    .push(world.clone());
            }
        };
        let limits = Limits {
            threads: 1,
            stop_at_first: false,
            max_states: None,
            max_time: None,
            max_memory: None,
        };
        engine::search_and_look(&environment, limits, &Progress::default(), &look);
        let stuck = stuck.into_inner().expect("nobody panics with it");
        assert!(!stuck.is_empty());
        for world in &stuck {
            let epochs: BTreeSet<_> = world
                .ids()
                .map(|id| world.server(id).mark.current_epoch)
                .collect();
            assert!(epochs.len() > 1, "{epochs:?}");
        }
    }
}
