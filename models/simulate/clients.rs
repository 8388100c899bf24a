//! The model of the service, to be walked at random.

use super::chance::Chance;
use super::swarm::{Goals, Kind, Swarm, Walked, kinds};
use crate::service::bounds::Bounds;
use crate::service::world::World;
use crate::service::{Action, Model, script};
use keepright::service::PeerMsg;
use keepright::service::variant::Variant;
use smallvec::smallvec;

kinds! {
    step Connect: "a client connects",
    step Send: "a client sends a request",
    step Hear: "a client hears from its server",
    step Arrive: "a late request arrives",
    step Forward: "Forward arrives",
    step Accepted: "Accepted arrives",
    step Refused: "Refused arrives",
    step Touch: "Touch arrives",
    step Zab: "a message of Zab arrives",
    step Commit: "a proposal is committed",
    step Tell: "a server is told of a commit",
    step Follow: "a server follows the leader",
    step Restart: "a server starts",
    step Retransmit: "a server sends again",
    step Break: "a client sees its server gone",
    fault Cut: "a client drops its connection",
    fault Elect: "a leader is elected",
    fault Lose: "a server loses its leader",
    fault Snap: "a server is sent a snapshot",
    fault Crash: "a server crashes",
    fault Expire: "a session expires",
    fault Sweep: "the leader looks for what nobody uses",
}

/// A variant of the service.
pub struct Clients {
    pub variant: Variant,
    /// Those that are asked, by id.
    pub invariants: Vec<&'static str>,
}

impl Swarm for Clients {
    type Model = Model;

    fn draw(&self, chance: &mut Chance) -> Model {
        let scenario = chance.pick(script::ALL);
        let servers = *chance.pick(&[3, 3, 3, 4, 5]);
        let mut fault = |most: u8| match chance.one_in(2) {
            true => 0,
            false => chance.few(most),
        };
        let (elections, crashes, reconnects) = (fault(8), fault(6), fault(8));
        let (expirations, snapshots, sweeps) = (fault(2), fault(4), fault(4));
        let bounds = Bounds {
            servers,
            snapshots,
            sweeps,
            ..Bounds::new(scenario).with(elections, crashes, reconnects, expirations)
        };
        Model::new(bounds, self.variant, &self.invariants, true)
    }

    fn expects(&self, kind: usize) -> bool {
        // What obsolete messages there are is said in `models/service/act.rs`, `is_obsolete`.
        ![Name::Touch, Name::Zab]
            .iter()
            .any(|name| *name as usize == kind)
    }

    fn goals(&self) -> &'static [&'static str] {
        &["epochs", "transactions committed", "requests answered"]
    }
}

impl Walked for Model {
    fn kinds() -> &'static [Kind] {
        KINDS
    }

    fn kind(action: &Action) -> usize {
        let name = match action {
            Action::Connect { .. } => Name::Connect,
            Action::Send { .. } => Name::Send,
            Action::Hear { .. } => Name::Hear,
            Action::Cut { .. } => Name::Cut,
            Action::Break(_) => Name::Break,
            Action::Arrive { .. } => Name::Arrive,
            Action::Deliver(envelope) => match envelope.message {
                PeerMsg::Forward(_) => Name::Forward,
                PeerMsg::Accepted { .. } => Name::Accepted,
                PeerMsg::Refused { .. } => Name::Refused,
                // No tree differs but in a mutant.
                PeerMsg::Touch { .. } | PeerMsg::Differs { .. } => Name::Touch,
                PeerMsg::Zab(_) => Name::Zab,
            },
            Action::Commit(_) => Name::Commit,
            Action::Tell { .. } => Name::Tell,
            Action::Elect { .. } => Name::Elect,
            Action::Follow(_) => Name::Follow,
            Action::Lose(_) => Name::Lose,
            Action::Snap(_) => Name::Snap,
            Action::Crash(_) => Name::Crash,
            Action::Restart(_) => Name::Restart,
            Action::Expire(_) => Name::Expire,
            Action::Sweep => Name::Sweep,
            Action::Retransmit(_) => Name::Retransmit,
        };
        name as usize
    }

    fn parties(action: &Action) -> [u8; 2] {
        match action {
            Action::Deliver(envelope) => [envelope.dst.0, envelope.src.0],
            Action::Connect { server, .. }
            | Action::Send { server, .. }
            | Action::Tell { server, .. }
            | Action::Elect { server, .. }
            | Action::Follow(server)
            | Action::Lose(server)
            | Action::Snap(server)
            | Action::Crash(server)
            | Action::Restart(server)
            | Action::Retransmit(server) => [server.0, 0],
            Action::Hear { .. }
            | Action::Cut { .. }
            | Action::Break(_)
            | Action::Arrive { .. }
            | Action::Commit(_)
            | Action::Expire(_)
            | Action::Sweep => [0, 0],
        }
    }

    fn order(action: &Action) -> u32 {
        match action {
            Action::Deliver(envelope) => envelope.number(),
            Action::Connect { .. }
            | Action::Send { .. }
            | Action::Hear { .. }
            | Action::Cut { .. }
            | Action::Break(_)
            | Action::Arrive { .. }
            | Action::Commit(_)
            | Action::Tell { .. }
            | Action::Elect { .. }
            | Action::Follow(_)
            | Action::Lose(_)
            | Action::Snap(_)
            | Action::Crash(_)
            | Action::Restart(_)
            | Action::Expire(_)
            | Action::Sweep
            | Action::Retransmit(_) => u32::MAX, // Listed client by client and server by server.
        }
    }

    fn offers(&self, world: &World, _: &mut Chance, actions: &mut Vec<Action>) {
        stateright::Model::actions(self, world, actions);
    }

    fn is_possible(&self, world: &World, action: &Action) -> bool {
        let mut all = Vec::new();
        stateright::Model::actions(self, world, &mut all);
        all.contains(action)
    }

    fn goals(&self, world: &World) -> Goals {
        let answered = world
            .clients
            .iter()
            .map(|client| client.answered.count_ones());
        smallvec![
            u64::from(world.log.epoch.0),
            world.log.committed.len() as u64,
            u64::from(answered.sum::<u32>()),
        ]
    }
}
