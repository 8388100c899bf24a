//! The models of the protocol as `check` explores, explains and shows them.
//!
//! What it must never do: explain an invariant that holds.

use crate::checked::{Checked, Named};
use crate::convergence;
use crate::coverage::Tally;
use crate::diagram;
use crate::environment::{Action, Environment};
use crate::explain;
use crate::svg::Diagram;
use crate::tale::Line;
use crate::transaction;
use crate::world::{World, Writes};
use crate::{bugs, mutants};
use keepright::types::ServerId;
use keepright::zab::invariants::{self, Inquiry, Invariant, Taken};
use keepright::zab::{Message, Variant};
use serde_json::{Value, json};

impl Checked for Environment {
    /// With symmetry, states are the same that differ only in the names of the servers.
    fn is_same(&self, one: &World, other: &World) -> bool {
        one == other || (1..self.renamings.len()).any(|index| self.is_image(index, one, other))
    }

    fn name(&self) -> &'static str {
        self.setting.name
    }

    fn bounds(&self) -> String {
        self.bounds.to_string()
    }

    fn bounds_as_flags(&self) -> String {
        self.bounds.flags()
    }

    fn flags(&self) -> String {
        let (name, variant) = (self.setting.name, self.zab.config.variant);
        let mutants = mutants::ALL.iter().map(|m| (m.name, &m.trial));
        let broken = mutants
            .chain(bugs::found())
            .find(|(_, trial)| trial.variant == variant && trial.model == name);
        // One variant may stand in several bounds, and a path is one of these.
        let bounds = self.bounds.flags();
        match broken {
            Some((name, _)) => format!("--mutant {name} {bounds}"),
            None => bounds,
        }
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

    fn lines(&self, before: Option<&World>, world: &World) -> Vec<Line> {
        explain::lines(before, world)
    }

    fn sent(&self, before: &World, after: &World) -> Vec<String> {
        explain::sent(before, after)
    }

    fn saved(&self, action: &Action) -> Value {
        saved(action)
    }

    fn fallen(&self, world: &World) -> Vec<&'static str> {
        let of_convergence = self.properties.iter().filter(|property| {
            convergence::IDS.contains(&property.name) && !(property.condition)(self, world)
        });
        let broken = self.broken(world);
        broken.chain(of_convergence.map(|p| p.name)).collect()
    }

    fn explain(
        &self,
        property: &str,
        step: Option<(&World, &Action)>,
        world: &World,
    ) -> Option<String> {
        if convergence::IDS.contains(&property) {
            return self.explain_convergence(property, world);
        }
        let invariant = invariants::all()
            .into_iter()
            .find(|invariant| invariant.id == property)?;
        self.explain_invariant(&invariant, step, world)
    }

    fn diagram(&self, path: &[(World, Option<Action>)]) -> Diagram {
        diagram::of_path(self, path)
    }

    fn keep_idle_steps(&mut self) {
        self.idle_steps = true;
    }

    fn tally(&self) -> Option<&Tally> {
        Some(&self.tally)
    }

    fn aftermath(&self, last: &World, property: &str) -> String {
        match convergence::IDS.contains(&property) {
            true => Self::aftermath(self, last, property),
            false => String::new(),
        }
    }
}

impl Environment {
    /// Which servers break an invariant, and by which values; `None` if it holds.
    pub fn explain_invariant(
        &self,
        invariant: &Invariant<Writes>,
        step: Option<(&World, &Action)>,
        world: &World,
    ) -> Option<String> {
        let taken = step.and_then(|(before, action)| {
            if let Action::Outage(_) = action {
                return None; // Who is down says nothing.
            }
            let server = action.server();
            let process = &before.server(server).get().process;
            let step = self.local_step(process, &before.budget, *action)?;
            let sent: Vec<(ServerId, Message<Writes>)> = step
                .sent
                .into_iter()
                .map(|envelope| (envelope.dst, envelope.message))
                .collect();
            Some((server, process, sent))
        });
        let taken = taken.as_ref().map(|(server, process, sent)| Taken {
            server: *server,
            before: process.state.as_ref(),
            disk: &process.disk,
            sent,
        });
        self.observe(world, |ensemble| {
            (invariant.explain)(&Inquiry {
                ensemble,
                step: taken,
                name: |txn| transaction::name(*txn),
            })
        })
    }
}

/// An action as a file keeps it.
fn saved(action: &Action) -> Value {
    match action {
        Action::Deliver(envelope) => {
            let (src, dst, message) = (envelope.src, envelope.dst, &envelope.message);
            json!({ "deliver": { "from": src, "to": dst, "message": message } })
        }
        Action::Flush(server) => json!({ "flush": { "server": server } }),
        Action::Elect { server, leader } => {
            json!({ "elect": { "server": server, "leader": leader } })
        }
        Action::Finalize(server) => json!({ "finalize": { "server": server } }),
        Action::Write(server) => json!({ "write": { "server": server } }),
        Action::Timeout(server) => json!({ "timeout": { "server": server } }),
        Action::Silence { server, peer } => {
            json!({ "silence": { "server": server, "peer": peer } })
        }
        Action::Crash { server, left } => {
            json!({ "crash": { "server": server, "kept": left.kept, "torn": left.torn } })
        }
        Action::Outage(remains) => {
            let left = remains.of_servers();
            let left = left.map(
                |(server, left)| json!({ "server": server, "kept": left.kept, "torn": left.torn }),
            );
            json!({ "outage": { "servers": left.collect::<Vec<_>>() } })
        }
        Action::DiskError { server, torn } => {
            json!({ "disk_error": { "server": server, "torn": torn } })
        }
        Action::Wipe(server) => json!({ "wipe": { "server": server } }),
        Action::Alone(server) => json!({ "alone": { "server": server } }),
        Action::Restart(server) => json!({ "restart": { "server": server } }),
        Action::Snapshot(server) => json!({ "snapshot": { "server": server } }),
        Action::Heartbeat(server) => json!({ "heartbeat": { "server": server } }),
    }
}
