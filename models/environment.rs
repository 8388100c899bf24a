//! The world around the actors: a hostile network, crashes, restarts, clients and elections.
//!
//! Spec: `spec/0-assumptions.md`. A stateright `Model` over the very actors that the server runs. What
//! it must never do: be kinder than the real world.

use crate::bounds::{Bounds, Reconfiguration, Weights};
use crate::convergence;
use crate::coverage::Tally;
use crate::explain;
use crate::faults::{self, Left, Remains};
use crate::intern::{Interned, Interner};
use crate::judge::{Scopes, properties};
use crate::node::{Effect, Node};
use crate::schedule;
use crate::steps::LocalStep;
use crate::successors::Memory;
use crate::symmetry::Renamings;
use crate::tale;
use crate::world::{Budget, Envelope, Known, OwnSteps, Process, Sums, World, Writes};
use keepright::types::{Epoch, Round, ServerId, Zxid};
use keepright::zab::invariants::{self, Invariant, Record};
use keepright::zab::{Config, Elections, Message, Notification, Role, Stance, Storage};
use keepright::zab::{Variant, Vote, Zab};
use smallvec::SmallVec;
use stateright::{Model, Path, Property};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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
    /// A server stops, runs for a while without the others and acknowledges a write to a client, and stops again.
    Alone(ServerId),
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
    /// Whether obsolete datagrams stay in the network. They have no effect, so dropping them loses no
    /// verdict; a test holds that.
    pub keeps_obsolete: bool,
    /// Whether states that differ only in the names of servers are taken for one. Only with external
    /// elections: votes compare ids.
    pub symmetry: bool,
    /// What may happen to the disks of servers with a vote.
    pub disks: Disks,
}

/// What may happen to the disks of servers with a vote, within the budget of wipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disks {
    /// Nothing: they keep what was saved.
    Kept,
    /// One is replaced by an empty one, while the others have theirs.
    Replaced,
    /// One is used by its server alone, as by one that is started without server lines.
    UsedAlone,
}

impl Disks {
    /// The disk of a server that is new.
    pub fn new_disk(self) -> Storage<Writes> {
        match self {
            Self::Kept => Storage::default(),
            // Epochs have names, and a disk knows that it is empty.
            Self::Replaced | Self::UsedAlone => Storage {
                memory: keepright::zab::Memory::New,
                draw: 1,
                ..Storage::default()
            },
        }
    }
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
    /// Whether a step that changes nothing is one.
    pub idle_steps: bool,
    pub processes: Interner<Known>,
    pub envelopes: Interner<Envelope>,
    pub nodes: Interner<Node>,
    pub effects: Interner<Effect>,
    /// How many different steps were taken.
    pub steps: AtomicU32,
    pub records: Interner<Record<u8>>,
    pub scopes: Scopes,
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
        let zab = Zab::new(Config {
            max_counter: bounds.max_counter,
            retain: 0,
            elections: setting.elections,
            variant,
            heartbeat: schedule::HEARTBEAT,
            finalize_wait: schedule::FINALIZE,
            peer_timeout: schedule::PEER,
            establish_timeout: schedule::ESTABLISH,
            ..Config::new(bounds.membership())
        });
        let invariants: Vec<_> = invariants::all()
            .into_iter()
            .filter(|i| ids.contains(&i.id))
            .collect();
        let scopes = Scopes::of(&invariants);
        let (mut properties, witnesses) = properties(&invariants, witnesses);
        let more = convergence::properties(ids);
        assert_eq!(
            invariants.len() + more.len(),
            ids.len(),
            "an unknown invariant among {ids:?}"
        );
        properties.extend(more);
        let size = bounds.size();
        // With elections held outside no handler compares ids, with one exception: among equally
        // recent reports, which differ at most in their snapshots, a leader takes the one of the
        // highest id. With three voters one report makes a quorum, so there is nothing to choose.
        let interchangeable = setting.elections == Elections::External
            && bounds.weights == Weights::EQUAL
            && bounds.reconfigure.is_none()
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
            idle_steps: false,
            processes: Interner::default(),
            envelopes: Interner::default(),
            nodes: Interner::default(),
            effects: Interner::default(),
            steps: AtomicU32::new(0),
            records: Interner::default(),
            scopes,
            tally: Tally::default(),
            convergence: convergence::Tables::default(),
        }
    }

    pub fn size(&self) -> u8 {
        self.bounds.size()
    }

    fn init_state(&self, disks: &[Storage<Writes>]) -> World {
        let mut strays = self.intern_envelopes(self.strays());
        strays.sort_by_key(|stray| stray.order());
        let down = |(id, disk): (u8, &Storage<Writes>)| {
            let process = self.intern_process(Process {
                disk: disk.clone(),
                unsaved: Vec::new(),
                state: None,
            });
            let id = ServerId(id);
            let strays = strays.iter().copied().filter(|stray| stray.dst == id);
            self.intern_node(id, process, strays.collect())
        };
        let mut world = World {
            nodes: (1..).zip(disks).map(down).collect(),
            record: self.intern_record(Record::default()),
            budget: Budget::of(&self.bounds),
            fingerprint: 0,
        };
        world.fingerprint = Sums::of(&world).seal(world.budget);
        if !self.setting.start_down {
            for id in world.ids() {
                let started = self.next_state(&world, Action::Restart(id));
                world = started.expect("who starts is up");
            }
        }
        world
    }

    /// Votes for nobody of the ensemble, in the first round: the last to the first server, and so on.
    fn strays(&self) -> SmallVec<[Envelope; 8]> {
        let stray = |i| {
            let vote = Vote {
                leader: ServerId(u8::MAX),
                current_epoch: Epoch(0),
                last_zxid: Zxid::ZERO,
                change: Zxid::ZERO,
                tells_members: false,
            };
            let stance = Stance::Looking(vote);
            Envelope {
                src: ServerId(self.bounds.servers - i),
                dst: ServerId(1 + i),
                message: Message::Notification(Notification {
                    round: Round::first(Epoch(0)),
                    stance,
                }),
            }
        };
        (0..self.bounds.strays.min(self.bounds.servers / 2))
            .map(stray)
            .collect()
    }

    /// The step of the server that an action concerns, from its table if it was taken before.
    pub fn step_of(&self, world: &World, action: Action) -> Option<&'static LocalStep> {
        let server = action.server();
        self.known_step(server, world.server(server), &world.budget, action)
    }

    fn known_step(
        &self,
        server: ServerId,
        before: Interned<Known>,
        budget: &Budget,
        action: Action,
    ) -> Option<&'static LocalStep> {
        let key = action.key(server, budget);
        before.get().steps.get(key, || {
            let step = self.local_step(&before, budget, action)?;
            Some(Box::leak(Box::new(self.interned(action, &before, step))))
        })
    }

    /// What a datagram does to a server; `None` if nothing.
    pub fn delivery(
        &self,
        before: Interned<Known>,
        envelope: Interned<Envelope>,
    ) -> Option<&'static LocalStep> {
        let action = Action::Deliver(envelope);
        self.known_step(envelope.dst, before, &Budget::of(&self.bounds), action)
    }

    /// What a server can do by itself, with this much of each budget left.
    pub fn own_steps(&self, id: ServerId, process: Interned<Known>, budget: &Budget) -> OwnSteps {
        let mut actions = Vec::new();
        self.local_actions(id, &process, budget, &mut actions);
        let steps = actions.into_iter();
        steps
            .filter_map(|action| self.known_step(id, process, budget, action))
            .collect()
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

    /// What can happen, but for what happens to all servers at once.
    pub fn actions_of_servers(&self, world: &World, actions: &mut Vec<Action>) {
        faults::replacements(self, world, actions);
        for envelope in world.network() {
            if world.server(envelope.dst).state.is_some() {
                actions.push(Action::Deliver(envelope));
            }
        }
        for server in world.ids() {
            self.local_actions(server, &world.server(server), &world.budget, actions);
        }
    }

    /// What a server can do by itself.
    fn local_actions(
        &self,
        server: ServerId,
        process: &Process,
        budget: &Budget,
        actions: &mut Vec<Action>,
    ) {
        let Some(state) = &process.state else {
            actions.push(Action::Restart(server));
            return;
        };
        if !process.unsaved.is_empty() {
            actions.push(Action::Flush(server));
        }
        match state.role() {
            Role::Looking(election) => match self.setting.elections {
                Elections::External => {
                    let joining = self.bounds.reconfigure.map(Reconfiguration::voters);
                    let voters = self.zab.config.membership.voters;
                    for leader in voters.union(&joining.unwrap_or_default()).iter() {
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
                if budget.timeouts > 0 {
                    actions.push(Action::Timeout(server));
                }
            }
        }
        if budget.cuts > 0
            && let Role::Leading(leader) = state.role()
        {
            let cut = |peer| Action::Silence { server, peer };
            actions.extend(leader.active.iter().map(cut));
        }
        if budget.writes > 0 && state.next_zxid().is_some() {
            actions.push(Action::Write(server));
        }
        if budget.snapshots > 0 && state.committed() > state.storage().history.snapshot().zxid {
            actions.push(Action::Snapshot(server));
        }
        faults::of_server(self, process, budget, server, actions);
        if self.setting.heartbeats {
            actions.push(Action::Heartbeat(server));
        }
    }
}

impl Action {
    /// The server that it concerns, if that is one.
    pub fn server(self) -> ServerId {
        match self {
            Self::Deliver(envelope) => envelope.dst,
            Self::Flush(server)
            | Self::Elect { server, .. }
            | Self::Finalize(server)
            | Self::Write(server)
            | Self::Timeout(server)
            | Self::Silence { server, .. }
            | Self::Crash { server, .. }
            | Self::DiskError { server, .. }
            | Self::Wipe(server)
            | Self::Alone(server)
            | Self::Restart(server)
            | Self::Snapshot(server)
            | Self::Heartbeat(server) => server,
            Self::Outage(_) => unreachable!("an outage is a crash of each server"),
        }
    }

    /// What it takes from the budgets, as a [`Budget::code`].
    pub fn spends(self) -> u64 {
        let mut spent = Budget::default();
        match self {
            Self::Write(_) => spent.writes = 1,
            Self::Timeout(_) => spent.timeouts = 1,
            Self::Silence { .. } => spent.cuts = 1,
            Self::Crash { .. } => spent.crashes = 1,
            Self::Outage(_) => spent.outages = 1,
            Self::DiskError { .. } => spent.disk_errors = 1,
            Self::Wipe(_) | Self::Alone(_) => spent.wipes = 1,
            Self::Snapshot(_) => spent.snapshots = 1,
            Self::Deliver(_)
            | Self::Flush(_)
            | Self::Elect { .. }
            | Self::Finalize(_)
            | Self::Restart(_)
            | Self::Heartbeat(_) => {}
        }
        spent.code()
    }

    /// What it does to a server depends on this and the server's state alone.
    fn key(self, server: ServerId, budget: &Budget) -> u64 {
        // A kind, a server and a detail. A server's state says who it is, except while it is down.
        let key =
            |kind: u64, detail: u16| kind << 32 | u64::from(server.0) << 16 | u64::from(detail);
        match self {
            Self::Deliver(envelope) => envelope.number().into(),
            Self::Flush(_) => key(1, 0),
            Self::Elect { leader, .. } => key(2, leader.0.into()),
            Self::Finalize(_) => key(3, 0),
            Self::Write(_) => key(4, budget.writes.into()),
            Self::Timeout(_) => key(5, 0),
            Self::Silence { peer, .. } => key(6, peer.0.into()),
            Self::Crash { left, .. } => key(7, left.code()),
            Self::DiskError { torn, .. } => key(8, torn.into()),
            Self::Wipe(_) => key(9, 0),
            Self::Restart(_) => key(10, 0),
            Self::Snapshot(_) => key(11, 0),
            Self::Heartbeat(_) => key(12, 0),
            Self::Alone(_) => key(13, 0),
            Self::Outage(_) => unreachable!("an outage is a crash of each server"),
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
        let mut disks = vec![vec![
            self.setting.disks.new_disk();
            usize::from(self.size())
        ]];
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
        let changed = self.successor(&Memory::default(), world, action);
        changed.or_else(|| self.idle_steps.then(|| world.clone()))
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
