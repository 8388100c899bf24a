//! What `check` needs of a model, beside what stateright does, to explore it, explain it and show it.
//!
//! The models of the protocol and the model of the service have different states; from here on they are
//! the same to `check`.

use crate::coverage::Tally;
use crate::engine::{Expand, Limits, Outcome};
use crate::explore;
use crate::run::{self, Run};
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
    /// The options of the command line that lead here: the bounds, or the mutant.
    fn flags(&self) -> String;
    /// The name of its variant, if that is a broken one.
    fn mutant(&self) -> Option<String>;
    /// What it checks.
    fn invariants(&self) -> Vec<Named>;
    /// What a step has changed, a line for each part.
    fn outcome(&self, before: &Self::State, after: &Self::State) -> String;
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
    /// The same for a broken variant. Prints the counterexample if that is wanted.
    fn try_out(&self, title: &str, limits: Limits, steps: bool) -> Outcome;
    /// Serves the explorer on localhost until the program is ended.
    fn serve(self: Box<Self>, port: u16) -> Result<(), String>;
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
            counterexample: String::new(),
            tally: Tally::default(),
        };
        if let Some(tally) = self.tally() {
            run.tally.merge(tally);
        }
        if let Some(violation) = run.violation() {
            run.counterexample = run::describe_steps(self, &run.outcome, violation);
        }
        run
    }

    fn try_out(&self, title: &str, limits: Limits, steps: bool) -> Outcome {
        let outcome = run::explore(title, self, limits, &|_, _| {});
        if steps && let Some(discovery) = outcome.discoveries.first() {
            run::print_steps(self, &outcome, discovery);
            let trace = outcome.path(self, discovery);
            let last = trace.steps.last().map_or(&trace.init, |step| &step.state);
            print!("{}", self.aftermath(last, discovery.property));
        }
        outcome
    }

    fn serve(self: Box<Self>, port: u16) -> Result<(), String> {
        explore::serve(*self, port)
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
