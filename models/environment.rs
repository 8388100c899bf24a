//! The world around the actors: a hostile network, crashes, restarts, clients and elections.
//!
//! Spec: `spec/0-assumptions.md`. A stateright `Model` over the very actors that the server runs. What
//! it must never do: be kinder than the real world.

use crate::bounds::Bounds;
use crate::checked::{Checked, Named};
use crate::convergence;
use crate::explain;
use crate::faults::{self, Left, Remains};
use crate::intern::{Interned, Interner};
use crate::judge::{Verdict, properties};
use crate::memo::Memo;
use crate::schedule;
use crate::steps::{LocalStep, Step};
use crate::symmetry::Renamings;
use crate::world::{Budget, Envelope, Process, World, Writes};
use crate::{bugs, mutants};
use keepright::quorum::ServerSet;
use keepright::types::{Epoch, ServerId, Zxid};
use keepright::zab::invariants::{self, Invariant, Record};
use keepright::zab::obsolete::Peer;
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
    pub renamings: Renamings,
    pub processes: Interner<Process>,
    pub envelopes: Interner<Envelope>,
    pub records: Interner<Record<u8>>,
    pub steps: Memo<Option<&'static LocalStep>>,
    pub verdicts: Memo<Verdict>,
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
        let mut properties = properties(&invariants, witnesses);
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
            renamings,
            processes: Interner::default(),
            envelopes: Interner::default(),
            records: Interner::default(),
            steps: Memo::default(),
            verdicts: Memo::default(),
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
                let step = self.interned(id, self.start(id, disk));
                world = self.conclude(&world, &step);
            }
        }
        for stray in self.intern_envelopes(self.strays()) {
            world.send(stray);
        }
        world.seal(&self.renamings);
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

    /// The step of the server that an action concerns, from the table if it was taken before.
    fn step_of(&self, world: &World, action: Action) -> Option<&'static LocalStep> {
        let (server, what) = match action {
            Action::Deliver(envelope) => (envelope.dst, envelope.address() as u64),
            Action::Flush(server) => (server, 1),
            Action::Elect { server, leader } => (server, 2 | u64::from(leader.0) << 8),
            Action::Finalize(server) => (server, 3),
            Action::Write(server) => (server, 4 | u64::from(world.budget.writes) << 8),
            Action::Timeout(server) => (server, 5),
            Action::Silence { server, peer } => (server, 8 | u64::from(peer.0) << 8),
            Action::Crash { server, left } => (server, 6 | left.code() << 8),
            Action::DiskError { server, torn } => (server, 10 | u64::from(torn) << 8),
            Action::Wipe(server) => (server, 11),
            Action::Outage(_) => unreachable!("an outage is a crash of each server"),
            Action::Restart(server) => (server, 7),
            Action::Snapshot(server) => (server, 0),
            Action::Heartbeat(server) => (server, 9),
        };
        // A server's state says who it is, except while it is down; an address is a multiple of 8.
        let what = what | u64::from(server.0) << 56;
        self.steps
            .get((world.server(server).address() as u64, what), || {
                let (server, step) = self.local_step(world, action)?;
                Some(Box::leak(Box::new(self.interned(server, step))))
            })
    }

    pub fn intern_process(&self, process: Process) -> Interned<Process> {
        self.processes
            .intern(process, |process| self.renamings.images(process))
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

    fn intern_record(&self, record: Record<u8>) -> Interned<Record<u8>> {
        self.records
            .intern(record, |record| self.renamings.images(record))
    }

    fn interned(&self, server: ServerId, step: Step) -> LocalStep {
        LocalStep {
            server,
            after: self.intern_process(step.process),
            sent: self.intern_envelopes(step.sent),
            said_too_early: step.said_too_early,
        }
    }

    /// The world after a step of one server.
    fn conclude(&self, world: &World, step: &LocalStep) -> World {
        let mut next = world.clone();
        let LocalStep { server, after, .. } = *step;
        let before = world.server(server);
        next.servers[usize::from(server.0) - 1] = after;
        self.write_record(
            &mut next,
            server,
            before.get(),
            after.get(),
            step.said_too_early,
        );
        if after != before {
            self.drop_obsolete(&mut next, server);
        }
        for envelope in &step.sent {
            let lost = self.setting.election_alone
                && !matches!(envelope.message, Message::Notification(_));
            if !lost && !self.is_obsolete(&next, envelope) {
                next.send(*envelope);
            }
        }
        next
    }

    fn write_record(
        &self,
        next: &mut World,
        server: ServerId,
        before: &Process,
        after: &Process,
        said_too_early: bool,
    ) {
        let Some(state) = &after.state else { return };
        let old = before.state.as_ref();
        let said = |s: &State<Writes>| (s.is_leading(), s.serving(), s.epoch(), s.recency());
        let news = said_too_early
            || old.map(State::committed) != Some(state.committed())
            || (state.is_leading() && old.map(said) != Some(said(state)));
        if news {
            let mut record = next.record.get().clone();
            record.said_too_early |= said_too_early;
            let others = |id| next.server(id).get().state.as_ref();
            record.observe(server, old, state, others);
            if record != *next.record {
                next.record = self.intern_record(record);
            }
        }
    }

    /// Drops the messages to and from `server` that can never again have an effect.
    fn drop_obsolete(&self, world: &mut World, server: ServerId) {
        let mut network = std::mem::take(&mut world.network);
        network.retain(|envelope| {
            (envelope.src != server && envelope.dst != server) || !self.is_obsolete(world, envelope)
        });
        world.network = network;
    }

    fn is_obsolete(&self, world: &World, envelope: &Envelope) -> bool {
        let may_forget = |id| faults::may_forget(&self.zab, id);
        if world.budget.wipes > 0 && (may_forget(envelope.src) || may_forget(envelope.dst)) {
            return false; // The argument is about what is durable.
        }
        let peer = |id| {
            let process = world.server(id).get();
            Peer {
                id,
                durable: process.mark(),
                state: process.state.as_ref(),
            }
        };
        self.zab.is_obsolete(
            peer(envelope.src),
            peer(envelope.dst),
            &envelope.message,
            world.budget.snapshots > 0,
        )
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
        faults::of_everybody(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = match action {
            Action::Outage(remains) => remains.crashes().fold(world.clone(), |world, crash| {
                let step = self.step_of(&world, crash);
                self.conclude(&world, step.expect("who is up can crash"))
            }),
            action => self.conclude(world, self.step_of(world, action)?),
        };
        match action {
            Action::Write(_) => next.budget.writes -= 1,
            Action::Timeout(_) => next.budget.timeouts -= 1,
            Action::Silence { .. } => next.budget.cuts -= 1,
            Action::Crash { .. } => next.budget.crashes -= 1,
            Action::Outage(_) => next.budget.outages -= 1,
            Action::DiskError { .. } => next.budget.disk_errors -= 1,
            Action::Wipe(_) => next.budget.wipes -= 1,
            Action::Snapshot(_) => next.budget.snapshots -= 1,
            Action::Deliver(_)
            | Action::Flush(_)
            | Action::Elect { .. }
            | Action::Finalize(_)
            | Action::Restart(_)
            | Action::Heartbeat(_) => {}
        }
        if next == *world {
            return None;
        }
        next.seal(&self.renamings);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.properties.clone()
    }

    fn format_action(&self, action: &Action) -> String {
        explain::sentence(action)
    }

    fn format_step(&self, before: &World, action: Action) -> Option<String> {
        self.next_state(before, action)
            .map(|after| explain::outcome(self, before, &after))
    }

    fn as_svg(&self, path: Path<World, Action>) -> Option<String> {
        Some(crate::svg::sequence_diagram(self, &path.into_vec()))
    }
}

impl Checked for Environment {
    fn name(&self) -> &'static str {
        self.setting.name
    }

    fn bounds(&self) -> String {
        self.bounds.to_string()
    }

    fn flags(&self) -> String {
        let (name, variant) = (self.setting.name, self.zab.config.variant);
        let mutants = mutants::ALL.iter().map(|m| (m.name, &m.trial));
        let broken = mutants
            .chain(bugs::found())
            .find(|(_, trial)| trial.variant == variant && trial.model == name);
        broken.map_or_else(
            || self.bounds.flags(),
            |(name, _)| format!("--mutant {name}"),
        )
    }

    fn mutant(&self) -> Option<String> {
        let variant = self.zab.config.variant;
        (variant != Variant::Faithful).then(|| format!("{variant:?}"))
    }

    fn invariants(&self) -> Vec<Named> {
        let named = |invariant: &Invariant<Writes>| Named {
            id: invariant.id,
            witness_id: invariant.witness_id,
        };
        self.invariants.iter().map(named).collect()
    }

    fn outcome(&self, before: &World, after: &World) -> String {
        explain::outcome(self, before, after)
    }

    fn aftermath(&self, last: &World, property: &str) -> String {
        match convergence::IDS.contains(&property) {
            true => Self::aftermath(self, last, property),
            false => String::new(),
        }
    }
}
