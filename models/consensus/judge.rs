//! An ensemble of a protocol as stateright and the checker see it.

use super::bounds::Bounds;
use super::environment::{Action, Ensemble, World};
use super::protocol::Protocol;
use super::way_out::Ways;
use super::words;
use crate::checked::{Checked, Named};
use crate::engine::{self, Expand, Successor};
use crate::svg::Diagram;
use crate::tale::{self, Line};
use serde_json::Value;
use stateright::{Model, Path, Property};

/// The most invariants and claims of a protocol together: a property's condition is a plain function, so the number
/// of what it asks is part of its type.
const MOST: usize = 16;

type Condition<P> = fn(&Ensemble<P>, &World<P>) -> bool;

impl<P: Protocol> Ensemble<P> {
    /// The protocol within bounds, with a rule left out if `broken` names one. It checks the invariants and looks for
    /// the claims with these ids, and for witnesses if these are asked for.
    pub fn new(
        bounds: Bounds,
        broken: Option<P::Rule>,
        ids: Vec<&'static str>,
        witnesses: bool,
    ) -> Self {
        Self {
            protocol: P::new(&bounds, broken),
            bounds,
            broken,
            ids,
            witnesses,
            idle_steps: false,
            ways: Ways::default(),
        }
    }

    /// The protocol as it should be, with every invariant and witness.
    pub fn faithful(bounds: Bounds) -> Self {
        Self::new(bounds, None, Self::invariant_ids(), true)
    }

    pub fn invariant_ids() -> Vec<&'static str> {
        P::INVARIANTS.iter().map(|invariant| invariant.id).collect()
    }

    /// What an invariant or a claim with this number has to say against a state.
    fn objection(&self, number: usize, world: &World<P>) -> Option<String> {
        match number.checked_sub(P::INVARIANTS.len()) {
            None => (P::INVARIANTS[number].broken)(self, world),
            Some(claim) => (P::CLAIMS[claim].found)(self, world),
        }
    }

    /// Every id of an invariant or of a claim that is looked at, with its number.
    fn asked(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let claims = P::CLAIMS.iter().map(|claim| claim.id);
        let all = P::INVARIANTS.iter().map(|invariant| invariant.id);
        let all = all.chain(claims).enumerate();
        all.filter(|(_, id)| self.ids.contains(id))
    }
}

fn conditions<P: Protocol>() -> ([Condition<P>; MOST], [Condition<P>; MOST]) {
    fn holds<P: Protocol, const I: usize>(model: &Ensemble<P>, world: &World<P>) -> bool {
        model.objection(I, world).is_none()
    }
    fn witness<P: Protocol, const I: usize>(model: &Ensemble<P>, world: &World<P>) -> bool {
        (P::INVARIANTS[I].witness)(model, world)
    }
    macro_rules! numbered {
        ($f:ident: $($i:literal)*) => { [$($f::<P, $i>),*] };
    }
    (
        numbered!(holds: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
        numbered!(witness: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
    )
}

impl<P: Protocol> Model for Ensemble<P> {
    type State = World<P>;
    type Action = Action<P>;

    fn init_states(&self) -> Vec<World<P>> {
        vec![self.first()]
    }

    fn actions(&self, world: &World<P>, actions: &mut Vec<Action<P>>) {
        actions.extend(self.conceivable(world));
    }

    fn next_state(&self, world: &World<P>, action: Action<P>) -> Option<World<P>> {
        let idle = || self.idle_steps.then(|| world.clone());
        self.act(world, &action).or_else(idle)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let (holds, witness) = conditions::<P>();
        let mut all = Vec::new();
        for (number, id) in self.asked() {
            all.push(Property::always(id, holds[number]));
            if let (true, Some(invariant)) = (self.witnesses, P::INVARIANTS.get(number)) {
                all.push(Property::sometimes(invariant.witness_id, witness[number]));
            }
        }
        all
    }

    fn format_action(&self, action: &Action<P>) -> String {
        words::sentence(&self.protocol, action)
    }

    fn format_step(&self, before: &World<P>, action: Action<P>) -> Option<String> {
        let after = self.next_state(before, action.clone())?;
        Some(tale::outcome(self, before, &action, &after))
    }

    fn as_svg(&self, path: Path<World<P>, Action<P>>) -> Option<String> {
        Some(words::diagram(self, &path.into_vec()).draw())
    }
}

impl<P: Protocol> Expand for Ensemble<P> {
    type Memory = ();

    fn successors(&self, (): &(), worlds: &[World<P>], found: &mut Vec<Successor<World<P>>>) {
        for (parent, world) in worlds.iter().enumerate() {
            let actions = self.conceivable(world).into_iter();
            let states = actions.filter_map(|action| self.next_state(world, action));
            found.extend(states.map(|state| Successor {
                hash: engine::fingerprint(&state),
                parent,
                state,
            }));
        }
    }
}

impl<P: Protocol> Checked for Ensemble<P> {
    fn name(&self) -> &'static str {
        P::CARD.name
    }

    fn bounds(&self) -> String {
        self.bounds.to_string()
    }

    fn bounds_as_flags(&self) -> String {
        self.bounds.flags()
    }

    fn flags(&self) -> String {
        let mut flags = self.bounds.flags();
        if let Some(mutant) = self.mutant() {
            flags = format!("--mutant {mutant} {flags}");
        }
        let claimed = P::CLAIMS.iter().find(|claim| self.ids.contains(&claim.id));
        if let Some(claim) = claimed {
            flags = format!("--claim {} {flags}", claim.id);
        }
        flags
    }

    fn mutant(&self) -> Option<String> {
        let mut all = P::MUTANTS.iter();
        let mutant = all.find(|mutant| Some(mutant.rule) == self.broken)?;
        Some(mutant.name.to_owned())
    }

    fn invariants(&self) -> Vec<Named> {
        let all = P::INVARIANTS.iter();
        let checked = all.filter(|invariant| self.ids.contains(&invariant.id));
        let named = checked.map(|invariant| Named {
            id: invariant.id,
            witness_id: invariant.witness_id,
        });
        named.collect()
    }

    fn lines(&self, before: Option<&World<P>>, world: &World<P>) -> Vec<Line> {
        words::lines(&self.protocol, before, world)
    }

    fn sent(&self, before: &World<P>, after: &World<P>) -> Vec<String> {
        words::sent(&self.protocol, before, after)
    }

    fn saved(&self, action: &Action<P>) -> Value {
        words::saved(action)
    }

    fn fallen(&self, world: &World<P>) -> Vec<&'static str> {
        let asked = self.asked();
        let fallen = asked.filter(|(number, _)| self.objection(*number, world).is_some());
        fallen.map(|(_, id)| id).collect()
    }

    fn explain(
        &self,
        property: &str,
        _: Option<(&World<P>, &Action<P>)>,
        world: &World<P>,
    ) -> Option<String> {
        let (number, _) = self.asked().find(|(_, id)| *id == property)?;
        self.objection(number, world)
    }

    fn diagram(&self, path: &[(World<P>, Option<Action<P>>)]) -> Diagram {
        words::diagram(self, path)
    }

    fn keep_idle_steps(&mut self) {
        self.idle_steps = true;
    }
}
