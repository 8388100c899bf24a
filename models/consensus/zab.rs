//! Zab beside the other protocols: the production actor, in the environment that `check run zab` explores, asked the
//! same questions.
//!
//! Spec: `spec/consensus.md`, "Zab". What it must never do: ask an easier question than of the others.

use super::cost::Cost;
use super::protocol::Term;
use crate::bounds::Bounds;
use crate::catalogue;
use crate::checked::Exploration;
use crate::engine::fingerprint;
use crate::environment::{Action, Environment, Setting};
use crate::faults::Left;
use crate::world::World;
use keepright::types::{ServerId, Zxid};
use keepright::zab::Variant;
use stateright::Model;
use std::collections::HashSet;

pub const NAME: &str = "zab";

pub const DURABLE: &str = "every server: the epoch that it accepts, its history and the epoch that it takes part in, \
                           before it says so";

/// Its invariants, by what they are about.
pub const TERMS: &[(Term, &[&str])] = &[
    (Term::Agreement, &["agreement", "total_order"]),
    (Term::Validity, &["integrity"]),
    (Term::Stability, &["committed_survives"]),
    (Term::Leadership, &["leadership1", "leadership2"]),
];

/// Where they are asked here; `check` asks within larger bounds.
const BOUNDS: Bounds = Bounds::new(3, 1, 1, 1);

const LEADER: ServerId = ServerId(1);

/// The model, with the invariants above.
pub fn exploration() -> Box<dyn Exploration> {
    let ids: Vec<_> = TERMS
        .iter()
        .flat_map(|(_, ids)| ids.iter().copied())
        .collect();
    let spec = catalogue::find(NAME).expect("zab is in the catalogue");
    Box::new(Environment::new(
        spec.setting,
        BOUNDS,
        Variant::Faithful,
        &ids,
        false,
    ))
}

/// Whether a write can be committed while so many of three servers are down for good.
pub fn goes_on_without(down: u8) -> bool {
    let model = model(Bounds::new(3, 1, 1, down));
    let mut world = model.init_states().swap_remove(0);
    for server in (1..=down).map(|place| ServerId(4 - place)) {
        let crash = Action::Crash {
            server,
            left: Left::default(),
        };
        world = model.next_state(&world, crash).expect("it was up");
    }
    let lasting = |action: &Action| !matches!(action, Action::Restart(_) | Action::Crash { .. });
    let mut known = HashSet::from([fingerprint(&world)]);
    let mut waiting = vec![world];
    while let Some(world) = waiting.pop() {
        if world.ids().any(|id| committed(&world, id) > Zxid::ZERO) {
            return true;
        }
        let mut actions = Vec::new();
        model.actions(&world, &mut actions);
        let next = actions.into_iter().filter(lasting);
        let next = next.filter_map(|action| model.next_state(&world, action));
        waiting.extend(next.filter(|world| known.insert(fingerprint(world))));
    }
    false
}

/// The costs of the first write, with the leader's beginning, and of the next one.
pub fn measure() -> (Cost, Option<Cost>) {
    let model = model(Bounds::new(3, 2, 0, 0));
    let mut world = model.init_states().swap_remove(0);
    let mut known = HashSet::new();
    let mut first = Cost::default();
    for server in world.ids() {
        let elect = Action::Elect {
            server,
            leader: LEADER,
        };
        take(&model, &mut world, elect, &mut first);
    }
    settle(&model, &mut world, &mut known, &mut first);
    let mut write = |cost: &mut Cost| {
        let before = committed(&world, LEADER);
        take(&model, &mut world, Action::Write(LEADER), cost);
        let mut delays = 0;
        while committed(&world, LEADER) == before {
            delays += 1;
            let went_on = round(&model, &mut world, &mut known, cost);
            assert!(went_on, "without faults a write is committed");
        }
        cost.delays = delays;
        settle(&model, &mut world, &mut known, cost);
    };
    let mut next = Cost::default();
    write(&mut first);
    write(&mut next);
    (first, Some(next))
}

fn model(bounds: Bounds) -> Environment {
    let spec = catalogue::find(NAME).expect("zab is in the catalogue");
    let setting = Setting {
        keeps_obsolete: true,
        symmetry: false,
        ..spec.setting
    };
    Environment::new(setting, bounds, Variant::Faithful, &[], false)
}

fn committed(world: &World, id: ServerId) -> Zxid {
    let state = world.server(id).get().state.as_ref();
    state.map_or(Zxid::ZERO, |state| state.committed())
}

/// Lets all messages arrive.
fn settle(model: &Environment, world: &mut World, known: &mut HashSet<usize>, cost: &mut Cost) {
    while round(model, world, known, cost) {}
}

/// Lets all messages arrive that are under way, but not what comes of them. `false` if there are none.
fn round(
    model: &Environment,
    world: &mut World,
    known: &mut HashSet<usize>,
    cost: &mut Cost,
) -> bool {
    let all: Vec<_> = world.network().collect();
    let new: Vec<_> = all
        .into_iter()
        .filter(|envelope| known.insert(envelope.address()))
        .collect();
    for envelope in &new {
        take(model, world, Action::Deliver(*envelope), cost);
    }
    !new.is_empty()
}

fn take(model: &Environment, world: &mut World, action: Action, cost: &mut Cost) {
    let Some(next) = model.next_state(world, action) else {
        return;
    };
    cost.messages += next.network().count() - world.network().count();
    for id in world.ids() {
        let disk = |world: &World| world.server(id).get().process.disk.clone();
        cost.saves += usize::from(disk(world) != disk(&next));
    }
    *world = next;
}
