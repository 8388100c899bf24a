//! What the invariants say of a state, and the model as stateright and the checker see it.

use super::world::World;
use super::{Action, Model, NAME, diagram, explain, invariants, mutants};
use crate::checked::{Checked, Named};
use crate::engine::{self, Expand, Successor};
use crate::intern::fingerprint;
use crate::memo::Key;
use crate::svg::Diagram;
use crate::tale::{self, Line};
use keepright::service::variant::Variant;
use serde_json::{Value, json};
use stateright::{Path, Property};
use std::cell::Cell;

/// Which invariants hold, and which witnesses are found: a bit for each, in the order of the list.
#[derive(Clone, Copy)]
pub struct Verdict {
    holds: u16,
    witnessed: u16,
}

thread_local! {
    /// The verdict that this thread asked for last.
    static LAST_VERDICT: Cell<Option<(Key, Verdict)>> = const { Cell::new(None) };
}

impl Model {
    /// The invariants see neither the network nor the budgets, so many states share a verdict; and a
    /// state is asked for one after the other.
    fn verdict(&self, world: &World) -> Verdict {
        let servers = fingerprint(&(&world.servers, world.log));
        let clients = fingerprint(&(&world.clients, world.record));
        let key = (servers, clients ^ self.id.rotate_right(8));
        LAST_VERDICT.with(|last| match last.get() {
            Some((known, verdict)) if known == key => verdict,
            _ => {
                let verdict = self.verdicts.get(key, || self.judge(world));
                last.set(Some((key, verdict)));
                verdict
            }
        })
    }

    fn judge(&self, world: &World) -> Verdict {
        let (mut holds, mut witnessed) = (!world.record.broken, 0);
        for (i, invariant) in invariants::ALL.iter().enumerate() {
            if !(invariant.holds)(self, world) {
                holds &= !(1 << i);
            }
            witnessed |= u16::from((invariant.witness)(self, world)) << i;
        }
        Verdict { holds, witnessed }
    }

    /// The ids of the invariants that do not hold in a state, of those that are checked.
    pub fn broken(&self, world: &World) -> impl Iterator<Item = &'static str> + use<'_> {
        let holds = self.verdict(world).holds;
        let all = invariants::ALL.iter().enumerate();
        all.filter(move |(i, _)| holds & (1 << i) == 0)
            .map(|(_, invariant)| invariant.id)
            .filter(|id| self.ids.contains(id))
    }
}

/// The most invariants that there can be: a property's condition is a plain function, so the number of
/// the invariant is part of its type.
const MOST: usize = 16;

fn all_properties() -> Vec<(Property<Model>, Property<Model>)> {
    fn holds<const I: usize>(model: &Model, world: &World) -> bool {
        model.verdict(world).holds & (1 << I) != 0
    }
    fn witness<const I: usize>(model: &Model, world: &World) -> bool {
        model.verdict(world).witnessed & (1 << I) != 0
    }
    macro_rules! conditions {
        ($f:ident: $($i:literal)*) => { [$($f::<$i>),*] };
    }
    let holds: [fn(&Model, &World) -> bool; MOST] =
        conditions!(holds: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    let witness: [fn(&Model, &World) -> bool; MOST] =
        conditions!(witness: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    let all = invariants::ALL.iter().enumerate();
    all.map(|(i, invariant)| {
        let always = Property::always(invariant.id, holds[i]);
        (
            always,
            Property::sometimes(invariant.witness_id, witness[i]),
        )
    })
    .collect()
}

impl stateright::Model for Model {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.first.clone()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let candidates = self.conceivable(world).into_iter();
        actions.extend(candidates.filter(|action| self.is_possible(world, action)));
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let next = self.act(world, action);
        (next != *world || self.idle_steps).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let checked = |(always, _): &(Property<Self>, _)| self.ids.contains(&always.name);
        let (always, sometimes): (Vec<_>, Vec<_>) =
            all_properties().into_iter().filter(checked).unzip();
        let sometimes = sometimes.into_iter().filter(|_| self.witnesses);
        always.into_iter().chain(sometimes).collect()
    }

    fn format_action(&self, action: &Action) -> String {
        explain::sentence(self, action)
    }

    fn format_step(&self, before: &World, action: Action) -> Option<String> {
        let after = stateright::Model::next_state(self, before, action)?;
        Some(tale::outcome(self, before, &action, &after))
    }

    fn as_svg(&self, path: Path<World, Action>) -> Option<String> {
        Some(diagram::of_path(self, &path.into_vec()).draw())
    }
}

impl Expand for Model {
    type Memory = ();

    fn successors(&self, (): &(), worlds: &[World], found: &mut Vec<Successor<World>>) {
        let mut actions = Vec::new();
        for (parent, world) in worlds.iter().enumerate() {
            stateright::Model::actions(self, world, &mut actions);
            let next = |action| stateright::Model::next_state(self, world, action);
            let successors = actions.drain(..).filter_map(next);
            found.extend(successors.map(|state| Successor {
                hash: engine::fingerprint(&state),
                parent,
                state,
            }));
        }
    }
}

impl Checked for Model {
    fn name(&self) -> &'static str {
        NAME
    }

    fn bounds(&self) -> String {
        self.bounds.to_string()
    }

    fn bounds_as_flags(&self) -> String {
        self.bounds.flags()
    }

    fn flags(&self) -> String {
        let mut all = mutants::ALL.iter();
        let broken = all.find(|mutant| mutant.trial().variant == self.variant);
        // One variant may stand in several bounds, and a path is one of these.
        let bounds = self.bounds.flags();
        match broken {
            Some(mutant) => format!("--mutant {} {bounds}", mutant.name),
            None => bounds,
        }
    }

    fn mutant(&self) -> Option<String> {
        let broken = self.variant != Variant::Faithful;
        broken.then(|| format!("{:?}", self.variant))
    }

    fn invariants(&self) -> Vec<Named> {
        let checked = invariants::ALL.iter().filter(|i| self.ids.contains(&i.id));
        let named = |invariant: &invariants::Invariant| Named {
            id: invariant.id,
            witness_id: invariant.witness_id,
        };
        checked.map(named).collect()
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
        self.broken(world).collect()
    }

    fn explain(
        &self,
        property: &str,
        step: Option<(&World, &Action)>,
        world: &World,
    ) -> Option<String> {
        let mut all = invariants::ALL.iter();
        let invariant = all.find(|invariant| invariant.id == property)?;
        (invariant.explain)(self, world).or_else(|| self.explain_breach(property, step, world))
    }

    fn look_up_nothing(&mut self) {
        self.doubts = true;
    }

    fn keep_idle_steps(&mut self) {
        self.idle_steps = true;
    }

    fn diagram(&self, path: &[(World, Option<Action>)]) -> Diagram {
        diagram::of_path(self, path)
    }
}

/// An action as a file keeps it. What a client hears or sends follows from the state.
fn saved(action: &Action) -> Value {
    match action {
        Action::Connect { client, server } => {
            json!({ "connect": { "client": client + 1, "server": server } })
        }
        Action::Send { client, .. } => json!({ "send": { "client": client + 1 } }),
        Action::Hear { client, .. } => json!({ "hear": { "client": client + 1 } }),
        Action::Cut { client, late } => json!({ "cut": { "client": client + 1, "late": late } }),
        Action::Break(client) => json!({ "break": { "client": client + 1 } }),
        Action::Arrive { client, index } => {
            json!({ "arrive": { "client": client + 1, "connection": index } })
        }
        Action::Deliver(envelope) => {
            let (src, dst, message) = (envelope.src, envelope.dst, &envelope.message);
            json!({ "deliver": { "from": src, "to": dst, "message": message } })
        }
        Action::Commit(zxid) => json!({ "commit": { "zxid": zxid } }),
        Action::Tell { server, zxid } => json!({ "tell": { "server": server, "zxid": zxid } }),
        Action::Elect { server, kept } => json!({ "elect": { "server": server, "kept": kept } }),
        Action::Follow(server) => json!({ "follow": { "server": server } }),
        Action::Lose(server) => json!({ "lose": { "server": server } }),
        Action::Snap(server) => json!({ "snap": { "server": server } }),
        Action::Crash(server) => json!({ "crash": { "server": server } }),
        Action::Restart(server) => json!({ "restart": { "server": server } }),
        Action::Expire(client) => json!({ "expire": { "client": client + 1 } }),
        Action::Sweep => json!("sweep"),
        Action::Retransmit(server) => json!({ "retransmit": { "server": server } }),
    }
}
