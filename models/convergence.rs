//! Whether an ensemble that is left in peace gets to work again, from every state of a model.
//!
//! Spec: `spec/7-convergence.md`, "What is checked". The fair schedule of `models/schedule.rs` is a function from
//! the ensemble at one round to the ensemble at the next, so what becomes of a state is found by walking; where
//! two walks meet, the rest is known. What it must never do: take an ensemble for one that works because nothing
//! moves any more.

use crate::environment::Environment;
use crate::intern::Interner;
use crate::memo::Memo;
use crate::schedule::{Calm, Inbox, Schedule, Turn, has_write};
use crate::world::{World, Writes};
use keepright::quorum::ServerSet;
use keepright::types::ServerId;
use keepright::zab::invariants::delivered;
use keepright::zab::{Role, State};
use smallvec::SmallVec;
use stateright::Property;
use std::sync::Mutex;
use std::sync::OnceLock;

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

/// What convergence needs to know, and what it has found.
#[derive(Default)]
pub struct Tables {
    pub inboxes: Interner<Inbox>,
    pub turns: Memo<&'static Turn>,
    fates: Memo<Fate>,
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
pub const SCHEDULES: &[Schedule] = &[
    schedule(true, false, None),
    schedule(true, true, None),
    schedule(false, false, None),
    schedule(true, false, Some(3)),
];

const fn schedule(restart: bool, descending: bool, late: Option<u8>) -> Schedule {
    Schedule {
        restart,
        descending,
        late,
    }
}

impl Environment {
    fn converges(&self, world: &World) -> bool {
        let mut fates = SCHEDULES.iter().filter_map(|s| self.fate(*s, world));
        fates.all(|fate| fate.is_some())
    }

    /// What becomes of a state under a schedule. `None` if the schedule asks nothing of it: those that
    /// are up are no quorum and nobody starts.
    pub fn fate(&self, schedule: Schedule, world: &World) -> Option<Fate> {
        let voters = &self.zab.config.voters;
        let up = world.ids().filter(|id| world.server(*id).state.is_some());
        let up: ServerSet = up.collect();
        if !schedule.restart && (up.len() == world.servers.len() || !up.is_quorum_of(voters)) {
            return None; // The same as with restarts, or nothing to hope for.
        }
        let calm = self.calm(world);
        let Some(late) = schedule.late else {
            return Some(self.walk(schedule, calm));
        };
        let mut calm = calm;
        let mut before = Length::default();
        for _ in 1..late {
            let (next, steps) = self.round(schedule, &calm);
            before.rounds += 1;
            before.steps += steps;
            calm = next;
        }
        let rest = self.walk(schedule, self.with_late(&calm, world, schedule));
        Some(rest.map(|rest| match rest.rounds {
            0 => rest, // At work, and not disturbed.
            _ => Length {
                rounds: rest.rounds + before.rounds,
                steps: rest.steps + before.steps,
            },
        }))
    }

    /// Goes on round by round, to a state whose fate is known, to one that was met before, or to the limit.
    fn walk(&self, schedule: Schedule, start: Calm) -> Fate {
        let mut path: Vec<(crate::memo::Key, bool, u16)> = Vec::new();
        let mut calm = start;
        let mut fate = loop {
            let key = calm.key(schedule);
            if let Some(fate) = self.convergence.fates.find(key) {
                break fate;
            }
            if let Some(first) = path.iter().position(|(known, ..)| *known == key) {
                let works = path[first..].iter().all(|(_, works, _)| *works);
                break works.then(Length::default);
            }
            let works = self.is_at_work(&calm);
            if works && self.setting.election_alone {
                // There is nothing after the election, so it does not last.
                self.convergence.fates.insert(key, Some(Length::default()));
                break Some(Length::default());
            }
            if path.len() == LIMIT {
                break None;
            }
            let (next, steps) = self.round(schedule, &calm);
            path.push((key, works, steps));
            calm = next;
        };
        for (key, works, steps) in path.into_iter().rev() {
            fate = fate.map(|rest| match (rest.rounds, works) {
                (0, true) => rest,
                _ => Length {
                    rounds: rest.rounds + 1,
                    steps: rest.steps + steps,
                },
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
            return calm.up().all(|(id, s)| s.leader(id) == Some(leader));
        }
        let last = leads.storage().history.last_zxid();
        let in_step = |id: ServerId, state: &State<Writes>| {
            state.serving()
                && state.leader(id) == Some(leader)
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
        let mut joins = SCHEDULES.iter().filter(|s| s.restart && s.late.is_none());
        joins.all(|schedule| {
            let known = &self.convergence.undisturbed;
            known.get(calm.key(*schedule), || {
                self.leads_on(leader, *schedule, calm.clone())
            })
        })
    }

    /// Whether `leader` and nobody else leads until everybody is at work.
    fn leads_on(&self, leader: ServerId, schedule: Schedule, mut calm: Calm) -> bool {
        let fate = self.walk(schedule, calm.clone());
        let rounds = fate.map_or(LIMIT, |length| length.rounds.into());
        (0..rounds).all(|_| {
            calm = self.round(schedule, &calm).0;
            let alone = calm.up().all(|(id, s)| s.is_leading() == (id == leader));
            alone && calm.up().any(|(id, s)| id == leader && s.serving())
        })
    }

    /// The leader, if everybody who is up serves in its epoch, they are a quorum, somebody is down, and
    /// nobody has promised a later epoch.
    fn leads_in_peace(&self, calm: &Calm) -> Option<ServerId> {
        let (leader, leads) = calm.up().find(|(_, state)| state.is_leading())?;
        let up: ServerSet = calm.up().map(|(id, _)| id).collect();
        let epoch = leads.epoch()?;
        let peace = up.is_quorum_of(&self.zab.config.voters)
            && up.len() < calm.members.len()
            && matches!(leads.role(), Role::Leading(leader) if leader.established())
            && calm.up().all(|(id, s)| {
                s.serving() && s.leader(id) == Some(leader) && s.epoch() == Some(epoch)
            })
            && calm.servers().all(|(_, p)| p.disk.accepted_epoch <= epoch);
        peace.then_some(leader)
    }

    /// Notes how long a visited state takes under each schedule.
    pub fn measure(&self, world: &World, depth: usize) {
        let fates: SmallVec<[(usize, Length); 4]> = SCHEDULES
            .iter()
            .enumerate()
            .filter_map(|(i, s)| Some((i, self.fate(*s, world)??)))
            .collect();
        let mut found = self
            .convergence
            .found
            .lock()
            .expect("no thread panics with this lock");
        if found.is_empty() {
            found.extend(SCHEDULES.iter().map(|schedule| Found::none(*schedule)));
        }
        for (i, length) in fates {
            let found = &mut found[i];
            let rounds = usize::from(length.rounds);
            if found.histogram.len() <= rounds {
                found.histogram.resize(rounds + 1, 0);
            }
            found.histogram[rounds] += 1;
            let hash = crate::engine::fingerprint(world);
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
