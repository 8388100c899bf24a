//! The world around the actors: a hostile network, crashes, restarts, clients and elections.
//!
//! Spec: `spec/0-assumptions.md`. A stateright `Model` over the very actors that the server runs. What
//! it must never do: be kinder than the real world.

use crate::bounds::Bounds;
use crate::convergence;
use crate::coverage::Tally;
use crate::explain;
use crate::faults::{self, Left, Remains};
use crate::intern::{Interned, Interner};
use crate::judge::{Verdict, properties};
use crate::memo::Memo;
use crate::schedule;
use crate::steps::{LocalStep, Step};
use crate::successors::seen;
use crate::symmetry::Renamings;
use crate::tale;
use crate::world::{Budget, Envelope, Known, Process, Sums, World, Writes};
use keepright::quorum::ServerSet;
use keepright::types::{Epoch, ServerId, Zxid};
use keepright::zab::invariants::{self, Invariant, Record};
use keepright::zab::{Config, Elections, Message, Notification, Role, Stance, State, Storage};
use keepright::zab::{Variant, Vote, Zab};
use smallvec::SmallVec;
use stateright::{Model, Path, Property};
use std::sync::atomic::{AtomicU64, Ordering};

/// One thing that can happen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A datagram arrives; it may arrive again.
    Deliver(Interned<Envelope>),
    /// The oldest pending save of a server becomes durable.
    Flush(ServerId),
    /// The election says whom a LOOKING server is to follow.
    Elect { server: ServerId, leader: ServerId },
    /// A server that sees a quorum for its vote has waited long enough for a better one.
    Finalize(ServerId),
    /// A client asks an established leader for a transaction.
    Write(ServerId),
    /// A server hears from nobody for so long that it goes LOOKING.
    Timeout(ServerId),
    /// A leader hears from one server no more, and gives it up.
    Silence { server: ServerId, peer: ServerId },
    /// A server dies.
    Crash { server: ServerId, left: Left },
    /// All servers die at once: the power fails.
    Outage(Remains),
    /// The disk of a server cannot carry out its oldest pending save, and the server stops.
    DiskError { server: ServerId, torn: u8 },
    /// A server without a vote dies and its disk is replaced by an empty one.
    Wipe(ServerId),
    /// A server that was down starts, with what its disk has.
    Restart(ServerId),
    /// The service of a server takes a snapshot, and older transactions are dropped.
    Snapshot(ServerId),
    /// A server repeats its last word.
    Heartbeat(ServerId),
}

/// What a model does differently from the others.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub elections: Elections,
    /// Whether all servers are down at first, to start in any order.
    pub start_down: bool,
    /// Whether the election is all there is: the messages of the later phases are lost, and the
    /// servers start with histories that differ as much as they can.
    pub election_alone: bool,
    /// Whether a heartbeat is an action. It repeats what is in the network already, so leaving it
    /// out loses no state; a test holds that.
    pub heartbeats: bool,
    /// Whether states that differ only in the names of servers are taken for one. Only with external
    /// elections: votes compare ids.
    pub symmetry: bool,
}

/// An ensemble in its environment.
pub struct Environment {
    /// Different for each model of this process.
    pub id: u64,
    pub setting: Setting,
    pub bounds: Bounds,
    pub zab: Zab<Writes>,
    pub invariants: Vec<Invariant<Writes>>,
    pub properties: Vec<Property<Self>>,
    /// For each witness among the properties, the place of an invariant that it belongs to.
    pub witnesses: Vec<usize>,
    pub renamings: Renamings,
    pub processes: Interner<Known>,
    pub envelopes: Interner<Envelope>,
    pub records: Interner<Record<u8>>,
    pub verdicts: Memo<Verdict>,
    pub tally: Tally,
    pub convergence: convergence::Tables,
}

impl Environment {
    /// The model `setting` within `bounds`, of a variant of the protocol, checking the invariants
    /// with the given ids and, if `witnesses` is set, looking for their witnesses.
    pub fn new(
        setting: Setting,
        bounds: Bounds,
        variant: Variant,
        ids: &[&str],
        witnesses: bool,
    ) -> Self {
        let voters: ServerSet = (1..=bounds.servers).map(ServerId).collect();
        let observers = (1..=bounds.observers)
            .map(|i| ServerId(bounds.servers + i))
            .collect();
        let zab = Zab::new(Config {
            observers,
            max_counter: bounds.max_counter,
            retain: 0,
            elections: setting.elections,
            variant,
            heartbeat: schedule::HEARTBEAT,
            finalize_wait: schedule::FINALIZE,
            peer_timeout: schedule::PEER,
            establish_timeout: schedule::ESTABLISH,
            ..Config::new(voters)
        });
        let invariants: Vec<_> = invariants::all()
            .into_iter()
            .filter(|i| ids.contains(&i.id))
            .collect();
        let (mut properties, witnesses) = properties(&invariants, witnesses);
        let more = convergence::properties(ids);
        assert_eq!(
            invariants.len() + more.len(),
            ids.len(),
            "an unknown invariant among {ids:?}"
        );
        properties.extend(more);
        let size = bounds.servers + bounds.observers;
        // With elections held outside no handler compares ids, with one exception: among equally
        // recent reports, which differ at most in their snapshots, a leader takes the one of the
        // highest id. With three voters one report makes a quorum, so there is nothing to choose.
        let interchangeable = setting.elections == Elections::External
            && (bounds.servers <= 3 || bounds.snapshots == 0);
        let renamings = match interchangeable && setting.symmetry {
            true => Renamings::of_voters(bounds.servers, size),
            false => Renamings::none(size),
        };
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            setting,
            bounds,
            zab,
            invariants,
            properties,
            witnesses,
            renamings,
            processes: Interner::default(),
            envelopes: Interner::default(),
            records: Interner::default(),
            verdicts: Memo::default(),
            tally: Tally::default(),
            convergence: convergence::Tables::default(),
        }
    }

    pub fn size(&self) -> u8 {
        self.bounds.servers + self.bounds.observers
    }

    fn init_state(&self, disks: &[Storage<Writes>]) -> World {
        let down = |disk: &Storage<Writes>| {
            self.intern_process(Process {
                disk: disk.clone(),
                unsaved: Vec::new(),
                state: None,
            })
        };
        let mut world = World {
            servers: disks.iter().map(down).collect(),
            network: SmallVec::new(),
            record: self.intern_record(Record::default()),
            budget: Budget::of(&self.bounds),
            fingerprint: 0,
        };
        if !self.setting.start_down {
            for (id, disk) in world.ids().zip(disks) {
                let before = world.server(id);
                let step = self.interned(&before, id, self.start(id, disk));
                let step: &'static LocalStep = Box::leak(Box::new(step));
                let sums = Sums::of(&world, &self.renamings);
                let change = self.change(&world, step, world.budget);
                if let Some(candidate) = self.outcome(&world, &sums, change) {
                    world = self.build(&world, candidate);
                }
            }
        }
        for stray in self.intern_envelopes(self.strays()) {
            world.send(stray);
        }
        world.fingerprint = Sums::of(&world, &self.renamings).seal(world.budget);
        world
    }

    /// Votes for nobody of the ensemble, in the first round: the last to the first server, and so on.
    fn strays(&self) -> SmallVec<[Envelope; 8]> {
        let stray = |i| {
            let vote = Vote {
                leader: ServerId(u8::MAX),
                current_epoch: Epoch(0),
                last_zxid: Zxid::ZERO,
            };
            let stance = Stance::Looking(vote);
            Envelope {
                src: ServerId(self.bounds.servers - i),
                dst: ServerId(1 + i),
                message: Message::Notification(Notification { round: 1, stance }),
            }
        };
        (0..self.bounds.strays.min(self.bounds.servers / 2))
            .map(stray)
            .collect()
    }

    /// The step of the server that an action concerns, from its table if it was taken before.
    pub fn step_of(&self, world: &World, action: Action) -> Option<&'static LocalStep> {
        // A kind, a server and a detail. A server's state says who it is, except while it is down.
        let key = |kind: u32, server: ServerId, detail: u32| {
            1 << 31 | kind << 26 | u32::from(server.0) << 16 | detail
        };
        let (server, key) = match action {
            Action::Deliver(envelope) => (envelope.dst, envelope.number()),
            Action::Flush(server) => (server, key(1, server, 0)),
            Action::Elect { server, leader } => (server, key(2, server, leader.0.into())),
            Action::Finalize(server) => (server, key(3, server, 0)),
            Action::Write(server) => (server, key(4, server, world.budget.writes.into())),
            Action::Timeout(server) => (server, key(5, server, 0)),
            Action::Silence { server, peer } => (server, key(6, server, peer.0.into())),
            Action::Crash { server, left } => (server, key(7, server, left.code().into())),
            Action::DiskError { server, torn } => (server, key(8, server, torn.into())),
            Action::Wipe(server) => (server, key(9, server, 0)),
            Action::Restart(server) => (server, key(10, server, 0)),
            Action::Snapshot(server) => (server, key(11, server, 0)),
            Action::Heartbeat(server) => (server, key(12, server, 0)),
            Action::Outage(_) => unreachable!("an outage is a crash of each server"),
        };
        let before = world.server(server);
        before.get().steps.get(key, || {
            let (server, step) = self.local_step(world, action)?;
            let step = self.interned(&before, server, step);
            Some(Box::leak(Box::new(step)))
        })
    }

    pub fn intern_process(&self, process: Process) -> Interned<Known> {
        let known = Known::from(process);
        self.processes
            .intern(known, |known| self.renamings.images(&known.process))
    }

    pub fn intern_envelopes(
        &self,
        sent: SmallVec<[Envelope; 8]>,
    ) -> SmallVec<[Interned<Envelope>; 4]> {
        let images = |envelope: &Envelope| self.renamings.images(envelope);
        sent.into_iter()
            .map(|envelope| self.envelopes.intern(envelope, images))
            .collect()
    }

    pub fn intern_record(&self, record: Record<u8>) -> Interned<Record<u8>> {
        self.records
            .intern(record, |record| self.renamings.images(record))
    }

    fn interned(&self, before: &Process, server: ServerId, step: Step) -> LocalStep {
        let view_changes = !seen(server, before).is_alike(&seen(server, &step.process));
        let mut sent = self.intern_envelopes(step.sent);
        sent.sort_by_key(|envelope| envelope.number());
        sent.dedup();
        LocalStep {
            server,
            after: self.intern_process(step.process),
            sent,
            view_changes,
            said_too_early: step.said_too_early,
            left_behind: step.left_behind,
        }
    }

    /// What can happen, but for what happens to all servers at once.
    pub fn actions_of_servers(&self, world: &World, actions: &mut Vec<Action>) {
        for envelope in &world.network {
            if world.server(envelope.dst).state.is_some() {
                actions.push(Action::Deliver(*envelope));
            }
        }
        for server in world.ids() {
            match &world.server(server).get().state {
                Some(state) => self.local_actions(world, server, state, actions),
                None => actions.push(Action::Restart(server)),
            }
        }
    }

    /// What a server whose state is `state` can do by itself.
    fn local_actions(
        &self,
        world: &World,
        server: ServerId,
        state: &State<Writes>,
        actions: &mut Vec<Action>,
    ) {
        if !world.server(server).unsaved.is_empty() {
            actions.push(Action::Flush(server));
        }
        match state.role() {
            Role::Looking(election) => match self.setting.elections {
                Elections::External => {
                    for leader in self.zab.config.voters.iter() {
                        actions.push(Action::Elect { server, leader });
                    }
                }
                Elections::Held => {
                    if election.supporters.len() > 1 {
                        actions.push(Action::Finalize(server));
                    }
                }
            },
            Role::Following(_) | Role::Leading(_) => {
                if world.budget.timeouts > 0 {
                    actions.push(Action::Timeout(server));
                }
            }
        }
        if world.budget.cuts > 0
            && let Role::Leading(leader) = state.role()
        {
            let cut = |peer| Action::Silence { server, peer };
            actions.extend(leader.active.iter().map(cut));
        }
        if world.budget.writes > 0 && state.next_zxid().is_some() {
            actions.push(Action::Write(server));
        }
        if world.budget.snapshots > 0 && state.committed() > state.storage().history.snapshot().zxid
        {
            actions.push(Action::Snapshot(server));
        }
        faults::of_server(self, world, server, actions);
        if self.setting.heartbeats {
            actions.push(Action::Heartbeat(server));
        }
    }
}

/// The first server has the latest epoch, the second the highest counter, the third the history of the
/// first in an earlier epoch, and the others nothing: only one that compares the epochs first will elect the
/// first server, and only one that compares ids last.
fn unequal_disk(id: u8) -> Storage<Writes> {
    let mut disk = Storage::default();
    let (epoch, last) = match id {
        1 => (Epoch(2), 1),
        2 => (Epoch(1), 2),
        3 => (Epoch(1), 1),
        _ => return disk,
    };
    disk.accepted_epoch = epoch;
    disk.current_epoch = epoch;
    for counter in 1..=last {
        disk.history
            .append(Zxid::new(Epoch(1), counter), counter as u8);
    }
    disk
}

impl Model for Environment {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut disks = vec![vec![Storage::default(); usize::from(self.size())]];
        if self.setting.election_alone {
            disks.push((1..=self.size()).map(unequal_disk).collect());
        }
        disks
            .into_iter()
            .map(|disks| self.init_state(&disks))
            .collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.actions_of_servers(world, actions);
        faults::of_everybody(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let sums = Sums::of(world, &self.renamings);
        let candidate = self.candidate(world, &sums, action)?;
        Some(self.build(world, candidate))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.properties.clone()
    }

    fn format_action(&self, action: &Action) -> String {
        explain::sentence(action)
    }

    fn format_step(&self, before: &World, action: Action) -> Option<String> {
        self.next_state(before, action)
            .map(|after| tale::outcome(self, before, &action, &after))
    }

    fn as_svg(&self, path: Path<World, Action>) -> Option<String> {
        Some(crate::diagram::of_path(self, &path.into_vec()).draw())
    }
}
