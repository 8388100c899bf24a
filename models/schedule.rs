//! A fair schedule: how the ensemble goes on when nothing goes wrong any more.
//!
//! Spec: `spec/7-convergence.md`, "The schedule". From any state of a model it makes one run, in
//! rounds: everything that was sent in a round arrives in the next one, saves become durable, and timers fire when the
//! actor has asked for it. What it must never do: help the protocol by a step that the real world
//! would not take by itself.

use crate::environment::Environment;
use crate::explain;
use crate::intern::{Interned, fingerprint};
use crate::memo::Key;
use crate::steps::Step;
use crate::symmetry::Images;
use crate::world::{Envelope, Known, Process, World, Writes};
use keepright::quorum::ServerSet;
use keepright::types::ServerId;
use keepright::zab::{Elections, Message, Msg, Role, State, Timer};
use smallvec::SmallVec;
use std::time::Duration;

/// A round takes a second: in each one every server repeats its last word.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a server waits for a better vote. A vote takes a round to arrive.
pub const FINALIZE: Duration = Duration::from_secs(2);
/// How long a peer may be silent: as many rounds as ZooKeeper's syncLimit has ticks.
pub const PEER: Duration = Duration::from_secs(5);
/// How long discovery and synchronization may take: as many rounds as ZooKeeper's initLimit has ticks.
pub const ESTABLISH: Duration = Duration::from_secs(10);

/// The transaction that a client asks for during the schedule. No model has so many writes.
pub const WRITE: u8 = u8::MAX;

/// One of the schedules that are tried from each state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// Whether servers that are down start in the first round; otherwise they stay down.
    pub restart: bool,
    /// Whether datagrams of one round arrive by descending id of their senders.
    pub descending: bool,
    /// What becomes of the datagrams that were on their way when the faults ended.
    pub old: Old,
}

/// What becomes of the datagrams that were on their way when the faults ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Old {
    /// They are lost. That some arrive before the schedule begins needs no schedule: it leads to another
    /// state of the model.
    Lost,
    /// They arrive in this round, before those of the last round.
    InRound(u8),
    /// They arrive when everybody is at work again.
    Afterwards,
}

/// The timers that run at a server, each with the rounds until it fires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timers(u128);

/// The largest server id whose timer has a place in [`Timers`].
const LAST_ID: u8 = 12;

impl Timers {
    fn place(timer: Timer) -> u32 {
        8 * match timer {
            Timer::Heartbeat => 0,
            Timer::Finalize => 1,
            Timer::Establish => 2,
            Timer::Peer(ServerId(id)) => {
                assert!(id <= LAST_ID, "a model has at most {LAST_ID} servers");
                3 + u32::from(id)
            }
        }
    }

    /// 0 if the timer does not run, and one more than the rounds until it fires if it does.
    fn get(self, timer: Timer) -> u8 {
        (self.0 >> Self::place(timer)) as u8
    }

    fn put(&mut self, timer: Timer, value: u8) {
        let place = Self::place(timer);
        self.0 = self.0 & !(0xff << place) | u128::from(value) << place;
    }

    fn set(&mut self, timer: Timer, duration: Option<Duration>) {
        let rounds = |duration: Duration| {
            let rounds = u8::try_from(duration.as_secs()).expect("a few rounds");
            rounds.saturating_add(1)
        };
        self.put(timer, duration.map_or(0, rounds));
    }

    fn follow(&mut self, step: &Step) {
        for (timer, duration) in &step.timers {
            self.set(*timer, *duration);
        }
    }

    /// A round begins.
    fn advance(&mut self, all: &[Timer]) {
        for timer in all {
            match self.get(*timer) {
                0 | 1 => {} // It does not run, or is due.
                left => self.put(*timer, left - 1),
            }
        }
    }
}

/// What the world tells a server at the beginning of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Orders {
    start: bool,
    elected: Option<ServerId>,
    write: bool,
}

/// Datagrams for one server, in the order in which they will arrive.
pub type Inbox = Vec<Interned<Envelope>>;

/// One server during the schedule.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub process: Interned<Known>,
    pub timers: Timers,
    pub inbox: Interned<Inbox>,
}

/// The ensemble during the schedule.
#[derive(Clone, PartialEq, Eq)]
pub struct Calm {
    /// By server id, from 1.
    pub members: SmallVec<[Member; 3]>,
}

/// What one server does in one round.
pub struct Turn {
    after: Interned<Known>,
    timers: Timers,
    sent: SmallVec<[Interned<Envelope>; 4]>,
    /// Datagrams received, saves completed, timers fired, and orders.
    pub steps: u16,
}

impl Calm {
    /// The same for equal ensembles under equal schedules.
    pub fn key(&self, schedule: Schedule) -> Key {
        let parts = |f: fn(&Member) -> u64| {
            let parts: SmallVec<[u64; 3]> = self.members.iter().map(f).collect();
            fingerprint(&(schedule.restart, schedule.descending, parts))
        };
        (
            parts(|member| member.process.fingerprint()),
            parts(|member| fingerprint(&(member.timers, member.inbox.fingerprint()))),
        )
    }

    /// The servers with their ids.
    pub fn servers(&self) -> impl Iterator<Item = (ServerId, &'static Process)> {
        let ids = (1..).map(ServerId);
        ids.zip(
            self.members
                .iter()
                .map(|member| &member.process.get().process),
        )
    }

    /// The servers that are up.
    pub fn up(&self) -> impl Iterator<Item = (ServerId, &'static State<Writes>)> {
        self.servers()
            .filter_map(|(id, process)| Some((id, process.state.as_ref()?)))
    }
}

impl Environment {
    /// The ensemble in a state of the model, at the moment when the faults end.
    pub fn calm(&self, world: &World) -> Calm {
        let member = |id: ServerId| {
            let process = world.server(id);
            let mut timers = Timers::default();
            for timer in self.needed_timers(id, process.state.as_ref()) {
                timers.set(timer, Some(self.duration(timer)));
            }
            Member {
                process,
                timers,
                inbox: self.inbox(Inbox::new()),
            }
        };
        Calm {
            members: world.ids().map(member).collect(),
        }
    }

    /// The same with the datagrams that were on their way in front of those of this round.
    pub fn with_old(&self, calm: &Calm, world: &World, schedule: Schedule) -> Calm {
        let mut calm = calm.clone();
        for (id, member) in world.ids().zip(&mut calm.members) {
            let mut inbox = Inbox::new();
            for src in senders(world.ids(), schedule) {
                let old = world.node(id).get().inbox.iter();
                inbox.extend(old.filter(|e| e.src == src));
            }
            inbox.extend(member.inbox.iter());
            member.inbox = self.inbox(inbox);
        }
        calm
    }

    fn inbox(&self, inbox: Inbox) -> Interned<Inbox> {
        self.convergence.inboxes.intern(inbox, |_| Images::new())
    }

    /// How long a timer runs.
    fn duration(&self, timer: Timer) -> Duration {
        match timer {
            Timer::Heartbeat => HEARTBEAT,
            Timer::Finalize => FINALIZE,
            Timer::Establish => ESTABLISH,
            Timer::Peer(_) => PEER,
        }
    }

    /// The timers without which a server in this state could wait for ever. [`check_timers`] holds that
    /// they run.
    ///
    /// [`check_timers`]: Environment::check_timers
    fn needed_timers(&self, id: ServerId, state: Option<&State<Writes>>) -> SmallVec<[Timer; 8]> {
        let mut needed = SmallVec::new();
        let Some(state) = state else { return needed };
        needed.push(Timer::Heartbeat);
        match state.role() {
            Role::Looking(election) => {
                let in_force = self.zab.in_force(state);
                let decides = self.zab.config.elections == Elections::Held
                    && (election.vote.leader != id || in_force.votes(id));
                if decides && in_force.is_quorum(&election.supporters) {
                    needed.push(Timer::Finalize);
                }
            }
            Role::Following(follower) => {
                needed.push(Timer::Peer(follower.leader));
                if !follower.serving {
                    needed.push(Timer::Establish);
                }
            }
            Role::Leading(leader) => {
                needed.extend(leader.active.iter().map(Timer::Peer));
                if !leader.established() {
                    needed.push(Timer::Establish);
                }
            }
        }
        needed
    }

    /// Holds that a step keeps the timers running that its server needs, if they ran before. So in every
    /// state they do, though no state of the model says which timers run.
    pub fn check_timers(
        &self,
        id: ServerId,
        before: Option<&State<Writes>>,
        fired: &[Timer],
        step: &Step,
    ) {
        let mut timers = Timers::default();
        for timer in self.needed_timers(id, before) {
            timers.set(timer, (!fired.contains(&timer)).then_some(HEARTBEAT));
        }
        timers.follow(step);
        let needed = self.needed_timers(id, step.process.state.as_ref());
        if let Some(timer) = needed.into_iter().find(|timer| timers.get(*timer) == 0) {
            self.convergence.stuck.get_or_init(|| {
                let line = explain::server_line(id, &step.process);
                format!("nothing will fire {timer:?} of {line}")
            });
        }
    }

    /// The next round: what each server does, and the ensemble after it.
    pub fn round(&self, schedule: Schedule, calm: &Calm) -> (Calm, u16) {
        let orders = self.orders(schedule, calm);
        let ids = || (1..=calm.members.len() as u8).map(ServerId);
        let turns: SmallVec<[&Turn; 3]> = ids()
            .zip(&calm.members)
            .zip(orders)
            .map(|((id, member), orders)| self.turn(id, member, orders))
            .collect();
        let member = |id: ServerId| {
            let mut inbox = Inbox::new();
            for src in senders(ids(), schedule) {
                let sent = &turns[usize::from(src.0) - 1].sent;
                for envelope in sent.iter().filter(|envelope| envelope.dst == id) {
                    if !inbox.contains(envelope) {
                        inbox.push(*envelope);
                    }
                }
            }
            let turn = turns[usize::from(id.0) - 1];
            Member {
                process: turn.after,
                timers: turn.timers,
                inbox: self.inbox(inbox),
            }
        };
        let next = Calm {
            members: ids().map(member).collect(),
        };
        (next, turns.iter().map(|turn| turn.steps).sum())
    }

    fn turn(&self, id: ServerId, member: &Member, orders: Orders) -> &'static Turn {
        let Member {
            process,
            timers,
            inbox,
        } = *member;
        let rest = fingerprint(&(id, timers, inbox.address(), orders));
        self.convergence
            .turns
            .get((process.address() as u64, rest), || {
                Box::leak(Box::new(self.take_turn(id, member, orders, None)))
            })
    }

    /// What each server does in the next round, in words.
    pub fn narrate(&self, schedule: Schedule, calm: &Calm) -> Vec<String> {
        let mut words = Vec::new();
        let orders = self.orders(schedule, calm);
        for ((id, member), orders) in (1..).map(ServerId).zip(&calm.members).zip(orders) {
            self.take_turn(id, member, orders, Some(&mut |what| words.push(what)));
        }
        words
    }

    /// A round of one server: its saves become durable, it takes what the world tells it, the datagrams
    /// of the last round arrive, and the timers fire whose time has come.
    fn take_turn<'a>(
        &'a self,
        id: ServerId,
        member: &Member,
        orders: Orders,
        tell: Option<&'a mut (dyn FnMut(String) + 'a)>,
    ) -> Turn {
        let mut run = Run {
            environment: self,
            id,
            process: member.process.process.clone(),
            timers: member.timers,
            sent: SmallVec::new(),
            steps: 0,
            tell,
        };
        let all = self.all_timers();
        run.timers.advance(&all);
        if orders.start {
            let step = self.start(id, &run.process.disk);
            run.take(|| format!("server {id} starts"), step);
        }
        for _ in 0..run.process.unsaved.len() {
            run.process.disk = run.process.unsaved.remove(0);
            run.input(|| format!("server {id}: a save is durable"), Msg::Saved(1));
        }
        if let Some(leader) = orders.elected {
            let words = || format!("server {id} is told to follow server {leader}");
            run.input(words, Msg::Elected(leader));
        }
        if orders.write {
            let words = || format!("a client asks leader {id} for a write");
            run.input(words, Msg::Propose(WRITE));
        }
        for envelope in member.inbox.iter() {
            run.deliver(envelope);
        }
        for timer in all {
            if run.timers.get(timer) == 1 {
                run.timers.put(timer, 0);
                run.fire(timer);
            }
        }
        let Run {
            process,
            timers,
            sent,
            steps,
            ..
        } = run;
        Turn {
            after: self.intern_process(process),
            timers,
            sent: self.intern_envelopes(sent),
            steps,
        }
    }

    fn all_timers(&self) -> SmallVec<[Timer; 8]> {
        let peers = (1..=self.size()).map(|id| Timer::Peer(ServerId(id)));
        [Timer::Heartbeat, Timer::Finalize, Timer::Establish]
            .into_iter()
            .chain(peers)
            .collect()
    }

    /// What the world tells each server in the next round.
    fn orders(&self, schedule: Schedule, calm: &Calm) -> SmallVec<[Orders; 3]> {
        let elected = match self.zab.config.elections {
            Elections::Held => None,
            Elections::External => self.elect(calm),
        };
        let writer = calm
            .up()
            .filter(|(_, state)| state.next_zxid().is_some())
            .max_by_key(|(_, state)| state.epoch())
            .filter(|(_, state)| !has_write(state))
            .map(|(id, _)| id);
        calm.servers()
            .map(|(id, process)| {
                let looking = |state: &State<Writes>| matches!(state.role(), Role::Looking(_));
                Orders {
                    start: process.state.is_none() && schedule.restart,
                    elected: elected.filter(|_| process.state.as_ref().is_some_and(looking)),
                    write: writer == Some(id),
                }
            })
            .collect()
    }

    /// Whom a fair election would name to those who look for a leader: one who leads already, an
    /// established one first; or, if a quorum is looking, the one with the most recent history.
    fn elect(&self, calm: &Calm) -> Option<ServerId> {
        let leads = |established: bool| {
            let leaders = calm.up().filter(|(_, state)| match state.role() {
                Role::Leading(leader) => leader.established() == established,
                Role::Looking(_) | Role::Following(_) => false,
            });
            leaders
                .max_by_key(|(id, state)| (state.epoch(), *id))
                .map(|(id, _)| id)
        };
        let looking = || {
            calm.up()
                .filter(|(_, state)| matches!(state.role(), Role::Looking(_)))
        };
        let together: ServerSet = looking().map(|(id, _)| id).collect();
        let best = || {
            let voters = looking().filter(|(id, state)| self.zab.in_force(state).votes(*id));
            let best = voters.max_by_key(|(id, state)| (state.recency(), *id));
            best.filter(|(_, state)| self.zab.in_force(state).is_quorum(&together))
                .map(|(id, _)| id)
        };
        leads(true).or_else(|| leads(false)).or_else(best)
    }
}

/// Whether the write of the schedule is in the history of a server.
pub fn has_write(state: &State<Writes>) -> bool {
    let history = &state.storage().history;
    let mut entries = history.entries().iter();
    entries.any(|entry| entry.txn == WRITE)
}

/// The servers in the order in which their datagrams arrive.
fn senders(ids: impl Iterator<Item = ServerId>, schedule: Schedule) -> SmallVec<[ServerId; 4]> {
    let mut senders: SmallVec<[ServerId; 4]> = ids.collect();
    if schedule.descending {
        senders.reverse();
    }
    senders
}

/// A server in the middle of its turn.
struct Run<'a> {
    environment: &'a Environment,
    id: ServerId,
    process: Process,
    timers: Timers,
    sent: SmallVec<[Envelope; 8]>,
    steps: u16,
    tell: Option<&'a mut (dyn FnMut(String) + 'a)>,
}

impl Run<'_> {
    fn take(&mut self, words: impl FnOnce() -> String, step: Step) {
        if let Some(tell) = &mut self.tell {
            tell(words());
        }
        self.steps += 1;
        self.timers.follow(&step);
        self.process = step.process;
        let alone = self.environment.setting.election_alone;
        let kept = step
            .sent
            .into_iter()
            .filter(|e| !alone || matches!(e.message, Message::Notification(_)));
        self.sent.extend(kept);
    }

    fn input(&mut self, words: impl FnOnce() -> String, msg: Msg<Writes>) {
        let step = self
            .environment
            .handle(self.id, &self.process, |zab, id, state, out| {
                zab.on_msg(id, state, id, msg, out);
            });
        if let Some((step, _)) = step {
            self.take(words, step);
        }
    }

    fn deliver(&mut self, envelope: &Interned<Envelope>) {
        let Envelope { src, dst, message } = envelope.get();
        let step = self
            .environment
            .handle(self.id, &self.process, |zab, id, state, out| {
                zab.on_msg(id, state, (*src).into(), Msg::Peer(message.clone()), out);
            });
        if let Some((step, _)) = step {
            let what = || explain::describe(message);
            let words = || format!("server {dst} receives {} from server {src}", what());
            self.take(words, step);
        }
    }

    fn fire(&mut self, timer: Timer) {
        let step = self
            .environment
            .handle(self.id, &self.process, |zab, id, state, out| {
                zab.on_timeout(id, state, &timer, out);
            });
        if let Some((step, _)) = step {
            let id = self.id;
            self.take(|| format!("server {id}: {timer:?} fires"), step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::Bounds;
    use crate::catalogue;
    use keepright::zab::Storage;

    #[test]
    fn a_timer_fires_so_many_rounds_after_it_was_set() {
        let mut timers = Timers::default();
        timers.set(Timer::Establish, Some(ESTABLISH));
        timers.set(Timer::Peer(ServerId(LAST_ID)), Some(PEER));
        let all = [
            Timer::Establish,
            Timer::Peer(ServerId(LAST_ID)),
            Timer::Finalize,
        ];
        for round in 1..=10 {
            timers.advance(&all);
            assert_eq!(timers.get(Timer::Establish) == 1, round == 10);
            assert_eq!(timers.get(Timer::Peer(ServerId(LAST_ID))) == 1, round >= 5);
            assert_eq!(timers.get(Timer::Finalize), 0, "it does not run");
        }
        timers.set(Timer::Establish, None);
        assert_eq!(timers.get(Timer::Establish), 0, "cancelled");
    }

    #[test]
    fn a_step_that_leaves_its_server_without_a_timer_that_it_needs_is_noticed() {
        let spec = catalogue::find("ensemble").expect("a model of the catalogue");
        let environment = spec.faithful(Bounds::new(3, 0, 0, 0));
        let mut step = environment.start(ServerId(1), &Storage::default());
        assert_eq!(environment.convergence.stuck.get(), None);
        step.timers.clear();
        environment.check_timers(ServerId(1), None, &[], &step);
        assert!(environment.convergence.stuck.get().is_some());
    }
}
