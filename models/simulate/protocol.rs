//! The models of the protocol, to be walked at random.

use super::chance::Chance;
use super::swarm::{Goals, Kind, Swarm, Walked, kinds};
use crate::bounds::{Bounds, Reconfiguration, Weights};
use crate::catalogue::Spec;
use crate::environment::{Action, Disks, Environment, Setting};
use crate::faults;
use crate::world::World;
use keepright::types::ServerId;
use keepright::zab::{Elections, Message, Role, Variant};
use smallvec::smallvec;

kinds! {
    step Notification: "Notification arrives",
    step FollowerInfo: "FollowerInfo arrives",
    step NewEpoch: "NewEpoch arrives",
    step AckEpoch: "AckEpoch arrives",
    step Sync: "Sync arrives",
    step NewLeader: "NewLeader arrives",
    step Propose: "Propose arrives",
    step Ack: "Ack arrives",
    step Commit: "Commit arrives",
    step Inform: "Inform arrives",
    step Refuse: "Refuse arrives",
    step Flush: "a save becomes durable",
    step Elect: "an election says whom to follow",
    step Finalize: "a server ends its election",
    step Write: "a client writes",
    step Restart: "a server starts",
    step Snapshot: "a server takes a snapshot",
    step Heartbeat: "a server repeats its last word",
    fault Timeout: "a server times out",
    fault Silence: "a link is cut",
    fault Crash: "a server crashes",
    fault Outage: "all servers crash at once",
    fault DiskError: "a disk fails",
    fault Wipe: "a disk is lost",
    fault Alone: "a server runs alone",
}

/// A model of the catalogue, of a variant of the protocol.
pub struct Protocol {
    pub spec: &'static Spec,
    pub variant: Variant,
    /// Those that are asked, by id.
    pub invariants: Vec<&'static str>,
}

impl Swarm for Protocol {
    type Model = Environment;

    fn draw(&self, chance: &mut Chance) -> Environment {
        let bounds = self.with_its_disks(draw_bounds(chance), chance);
        let setting = Setting {
            symmetry: false, // No two states are compared.
            ..self.spec.setting
        };
        Environment::new(setting, bounds, self.variant, &self.invariants, true)
    }

    fn expects(&self, kind: usize) -> bool {
        let alone = self.spec.setting.election_alone;
        let held = self.spec.setting.elections == Elections::Held;
        let disks = self.spec.setting.disks;
        let of_elections = [Name::Notification, Name::Finalize];
        let of_election_alone = [Name::Timeout, Name::Crash, Name::Outage, Name::Restart];
        let is = |names: &[Name]| names.iter().any(|name| *name as usize == kind);
        match () {
            () if is(&[Name::Heartbeat]) => self.spec.setting.heartbeats,
            () if is(&[Name::Refuse, Name::Alone]) => disks == Disks::UsedAlone,
            () if is(&[Name::Inform]) => disks == Disks::Kept && !alone,
            () if is(&[Name::Wipe]) => disks != Disks::UsedAlone && !alone,
            () if is(&of_elections) => held,
            () if is(&[Name::Elect]) => !held,
            () => !alone || is(&of_election_alone),
        }
    }

    fn goals(&self) -> &'static [&'static str] {
        match self.spec.setting.election_alone {
            true => &["servers that lead at a time"],
            false => &[
                "epochs with an established leader",
                "transactions committed",
            ],
        }
    }
}

impl Protocol {
    /// These bounds, where disks do not stay with their servers: those of voters, of whom nobody joins or leaves.
    fn with_its_disks(&self, bounds: Bounds, chance: &mut Chance) -> Bounds {
        let wipes = match self.spec.setting.disks {
            Disks::Kept => return bounds,
            Disks::Replaced => 1 + chance.few(3),
            Disks::UsedAlone => 1,
        };
        Bounds {
            servers: bounds.servers.max(3),
            observers: 0,
            wipes,
            strays: 0,
            reconfigure: None,
            ..bounds
        }
    }
}

/// Most ensembles are small: there a quorum is hit soonest. Half of all kinds of faults are left out, and now and then
/// all, or all but one. Some runs are long.
fn draw_bounds(chance: &mut Chance) -> Bounds {
    let servers = *chance.pick(&[2, 3, 3, 3, 3, 3, 4, 4, 5, 5]);
    let observers = *chance.pick(&[0, 0, 0, 1, 2]);
    let length = *chance.pick(&[1, 1, 2, 4]);
    let only = chance.one_in(4).then(|| chance.below(FAULTS + 2));
    let mut fault = |number: u64, most: u8| match only {
        Some(only) if only == number => most * 2,
        Some(_) => 0,
        None if chance.one_in(2) => 0,
        None => chance.few(most * length),
    };
    let (crashes, outages, disk_errors) = (fault(0, 12), fault(1, 4), fault(2, 6));
    let (wipes, cuts) = (fault(3, 4), fault(4, 8));
    // Without timeouts the first wrong election is the last: rarely.
    let timeouts = match chance.one_in(8) {
        true => 0,
        false => 1 + chance.few(20 * length),
    };
    let pending_saves = chance.one_in(2);
    let mut bounds = Bounds {
        servers,
        observers,
        writes: chance.few(20 * length),
        timeouts,
        crashes,
        outages,
        disk_errors,
        wipes,
        cuts,
        snapshots: if chance.one_in(2) {
            0
        } else {
            chance.few(6 * length)
        },
        pending_saves,
        strays: u8::from(chance.one_in(8)),
        weights: Weights::EQUAL,
        reconfigure: None,
        max_counter: *chance.pick(&[1, 3, u32::MAX, u32::MAX, u32::MAX, u32::MAX]),
    };
    if bounds.writes > 0 && chance.one_in(6) {
        let write = 1 + chance.below(bounds.writes.min(4).into()) as u8;
        let first = 1 + chance.below(4) as u8;
        let last = first + chance.below(3) as u8;
        bounds.reconfigure = Some(Reconfiguration::of_range(write, first, last));
        bounds.wipes = 0; // Of servers that never vote.
    }
    // An outage of many servers with many pending saves leaves more than can be listed for the explorer.
    if pending_saves && bounds.size() > 4 {
        bounds.outages = 0;
    }
    bounds
}

/// How many kinds of faults there are, beside timeouts.
const FAULTS: u64 = 5;

impl Walked for Environment {
    fn kinds() -> &'static [Kind] {
        KINDS
    }

    fn kind(action: &Action) -> usize {
        let name = match action {
            Action::Deliver(envelope) => match envelope.message {
                Message::Notification(_) => Name::Notification,
                Message::FollowerInfo { .. } => Name::FollowerInfo,
                Message::NewEpoch { .. } => Name::NewEpoch,
                Message::AckEpoch { .. } => Name::AckEpoch,
                Message::Sync { .. } => Name::Sync,
                Message::NewLeader { .. } => Name::NewLeader,
                Message::Propose { .. } => Name::Propose,
                Message::Ack { .. } => Name::Ack,
                Message::Commit { .. } => Name::Commit,
                Message::Inform { .. } => Name::Inform,
                Message::Refuse { .. } => Name::Refuse,
            },
            Action::Flush(_) => Name::Flush,
            Action::Elect { .. } => Name::Elect,
            Action::Finalize(_) => Name::Finalize,
            Action::Write(_) => Name::Write,
            Action::Timeout(_) => Name::Timeout,
            Action::Silence { .. } => Name::Silence,
            Action::Crash { .. } => Name::Crash,
            Action::Outage(_) => Name::Outage,
            Action::DiskError { .. } => Name::DiskError,
            Action::Wipe(_) => Name::Wipe,
            Action::Alone(_) => Name::Alone,
            Action::Restart(_) => Name::Restart,
            Action::Snapshot(_) => Name::Snapshot,
            Action::Heartbeat(_) => Name::Heartbeat,
        };
        name as usize
    }

    fn parties(action: &Action) -> [u8; 2] {
        let (server, other) = match action {
            Action::Deliver(envelope) => (envelope.dst, Some(envelope.src)),
            Action::Elect { server, leader } => (*server, Some(*leader)),
            Action::Silence { server, peer } => (*server, Some(*peer)),
            Action::Flush(server)
            | Action::Finalize(server)
            | Action::Write(server)
            | Action::Timeout(server)
            | Action::Crash { server, .. }
            | Action::DiskError { server, .. }
            | Action::Wipe(server)
            | Action::Alone(server)
            | Action::Restart(server)
            | Action::Snapshot(server)
            | Action::Heartbeat(server) => (*server, None),
            Action::Outage(_) => (ServerId(0), None),
        };
        [server.0, other.map_or(0, |other| other.0)]
    }

    fn order(action: &Action) -> u32 {
        match action {
            Action::Deliver(envelope) => envelope.number(),
            Action::Flush(_)
            | Action::Elect { .. }
            | Action::Finalize(_)
            | Action::Write(_)
            | Action::Timeout(_)
            | Action::Silence { .. }
            | Action::Crash { .. }
            | Action::Outage(_)
            | Action::DiskError { .. }
            | Action::Wipe(_)
            | Action::Alone(_)
            | Action::Restart(_)
            | Action::Snapshot(_)
            | Action::Heartbeat(_) => u32::MAX, // Listed server by server.
        }
    }

    fn offers(&self, world: &World, chance: &mut Chance, actions: &mut Vec<Action>) {
        self.actions_of_servers(world, actions);
        let outage = faults::an_outage(world, |count| chance.below(count as u64) as usize);
        actions.extend(outage.map(Action::Outage));
    }

    fn is_possible(&self, world: &World, action: &Action) -> bool {
        if let Action::Outage(remains) = action {
            return faults::may_leave(world, *remains);
        }
        let mut all = Vec::new();
        self.actions_of_servers(world, &mut all);
        all.contains(action)
    }

    fn goals(&self, world: &World) -> Goals {
        if self.setting.election_alone {
            let leads = |id: &ServerId| {
                let state = world.server(*id).get().state.as_ref();
                state.is_some_and(|state| matches!(state.role(), Role::Leading(_)))
            };
            return smallvec![world.ids().filter(leads).count() as u64];
        }
        let record = world.record.get();
        smallvec![record.leaders.len() as u64, record.delivered.len() as u64]
    }
}
