//! What `check` needs of a model, beside what stateright does, to explore it, explain it and show it.
//!
//! The models of the protocol and the model of the service have different states; from here on they are
//! the same to `check`.

use crate::coverage::Tally;
use crate::engine::{Expand, Limits, Outcome};
use crate::exact::{self, Compared};
use crate::run::{self, Run};
use crate::svg::Diagram;
use crate::tale::{Line, Tale, Told};
use crate::{explore, replay};
use serde_json::Value;
use stateright::Model;
use std::fmt::Debug;
use std::hash::Hash;

/// An invariant and its witness, by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    pub id: &'static str,
    pub witness_id: &'static str,
}

/// A model within bounds.
pub trait Checked:
    Expand
    + Model<
        State: Clone + Debug + PartialEq + Hash + Send + Sync,
        Action: Clone + Debug + PartialEq + Send + Sync,
    > + Sync
{
    /// The name in the catalogue.
    fn name(&self) -> &'static str;
    /// The bounds, to be read.
    fn bounds(&self) -> String;
    /// The bounds as options of the command line.
    fn bounds_as_flags(&self) -> String;
    /// The options of the command line that lead here: the bounds, and the mutant.
    fn flags(&self) -> String;
    /// The name of its variant, if that is a broken one.
    fn mutant(&self) -> Option<String>;
    /// What it checks.
    fn invariants(&self) -> Vec<Named>;
    /// Each server, client or log of a state in a line; marked if the step from `before` has changed it.
    fn lines(&self, before: Option<&Self::State>, state: &Self::State) -> Vec<Line>;
    /// What a step has sent for the first time, in words.
    fn sent(&self, before: &Self::State, after: &Self::State) -> Vec<String>;
    /// An action in a form that survives the process. No two actions of one state have the same.
    fn saved(&self, action: &Self::Action) -> Value;
    /// The invariants that do not hold in a state, of those that are checked.
    fn fallen(&self, state: &Self::State) -> Vec<&'static str>;
    /// Which servers break a property, and by which values; `None` if it holds. `step` is what led there: it
    /// may be what breaks the property.
    fn explain(
        &self,
        property: &str,
        step: Option<(&Self::State, &Self::Action)>,
        state: &Self::State,
    ) -> Option<String>;
    /// The sequence diagram of a path: each state with the action that was taken there.
    fn diagram(&self, path: &[(Self::State, Option<Self::Action>)]) -> Diagram;
    /// From now on a step that changes nothing leads to the same state, instead of not being one: the explorer
    /// has nothing to show of such a step otherwise.
    fn keep_idle_steps(&mut self);
    /// Whether the search may take two states for one, all that they consist of compared.
    fn is_same(&self, one: &Self::State, other: &Self::State) -> bool {
        one == other
    }
    /// From now on no result is looked up by a hash without a comparison with one that is computed anew.
    fn look_up_nothing(&mut self) {}
    /// Which handlers of the actor were exercised so far, if the model counts that.
    fn tally(&self) -> Option<&Tally> {
        None
    }
    /// What there is to tell after the last state of a counterexample.
    fn aftermath(&self, _last: &Self::State, _property: &str) -> String {
        String::new()
    }
}

/// A model that is ready to be explored, whatever its states are.
pub trait Exploration {
    /// Explores it, with a live line on the terminal.
    fn run(&self, limits: Limits) -> Run;
    /// The same for a broken variant, with its counterexample if one is found and `told` is set.
    fn try_out(&self, title: &str, limits: Limits, told: bool) -> (Outcome, Option<Told>);
    /// Takes the steps of a tale again. The error says which step does not fit, and how.
    fn replay(&self, tale: &Tale) -> Result<Told, String>;
    /// Serves the explorer on localhost until the program is ended.
    fn serve(self: Box<Self>, port: u16) -> Result<(), String>;
    /// Counts its states by their hashes, and whole.
    fn compare(self: Box<Self>, limits: Limits) -> Compared;
}

impl<M: Checked + Send + 'static> Exploration for M {
    fn run(&self, limits: Limits) -> Run {
        let title = format!("{} {}", self.name(), self.bounds());
        let outcome = run::explore(&title, self, limits, &|_, _| {});
        let mut run = Run {
            name: self.name(),
            bounds: self.bounds(),
            invariants: self.invariants(),
            outcome,
            counterexample: None,
            tally: Tally::default(),
        };
        if let Some(tally) = self.tally() {
            run.tally.merge(tally);
        }
        run.counterexample = run
            .violation()
            .map(|violation| run::tell(self, &run.outcome, violation));
        run
    }

    fn try_out(&self, title: &str, limits: Limits, told: bool) -> (Outcome, Option<Told>) {
        let outcome = run::explore(title, self, limits, &|_, _| {});
        let found = outcome.discoveries.first().filter(|_| told);
        let told = found.map(|discovery| run::tell(self, &outcome, discovery));
        (outcome, told)
    }

    fn replay(&self, tale: &Tale) -> Result<Told, String> {
        let trace = replay::retrace(self, tale)?;
        Ok(Told::of(self, &trace, tale.invariant.as_deref()))
    }

    fn serve(self: Box<Self>, port: u16) -> Result<(), String> {
        explore::serve(*self, port)
    }

    fn compare(self: Box<Self>, limits: Limits) -> Compared {
        exact::compare(*self, limits)
    }
}

/// A broken variant within bounds that suffice to show the one invariant that must fall.
pub trait Tried {
    /// The model and the bounds, to be read.
    fn place(&self) -> String;
    /// The invariant that must fall.
    fn invariant(&self) -> &'static str;
    /// The model of this variant, which checks that invariant alone.
    fn exploration(&self) -> Box<dyn Exploration>;
    /// The same within the next smaller bounds: there nothing must be found.
    fn in_smaller_bounds(&self) -> Vec<Box<dyn Tried>>;
}
