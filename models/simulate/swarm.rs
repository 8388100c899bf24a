//! What differs from run to run: the bounds, the faults that happen at all, and how likely each event is.
//!
//! Runs in which everything is equally likely are all alike: every fault happens, and nothing gets far. So each run draws which
//! faults there are, and again and again while it goes on draws the *weather*: which kinds of events are frequent, which server is slow, whom
//! everybody hears first, and whether there are faults for now. What it must never do: make an event impossible
//! in all runs.

use super::chance::Chance;
use crate::checked::Checked;
use smallvec::SmallVec;

/// A kind of event, as the tally counts them.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub label: &'static str,
    /// Whether it is something that goes wrong.
    pub is_fault: bool,
}

/// Names the kinds of events of a model, and lists them in the same order.
macro_rules! kinds {
    ($($nature:ident $name:ident: $label:literal,)*) => {
        /// A kind of event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Name { $($name),* }

        const KINDS: &[Kind] = &[$(Kind {
            label: $label,
            is_fault: matches!(stringify!($nature).as_bytes(), b"fault"),
        }),*];
    };
}
pub(super) use kinds;

/// How far a run has come, or a state: a number for each goal of its swarm.
pub type Goals = SmallVec<[u64; 2]>;

/// A model that can be walked at random.
pub trait Walked: Checked {
    /// The kinds of its events.
    fn kinds() -> &'static [Kind];
    /// The place of an action's kind among them.
    fn kind(action: &Self::Action) -> usize;
    /// The id of the server that takes the step (0 if it is none, or all), and of the other one that it
    /// has to do with (0 if there is none).
    fn parties(action: &Self::Action) -> [u8; 2];
    /// A number that puts actions of one state in an order which is the same on every machine, where
    /// the model does not.
    fn order(action: &Self::Action) -> u32;
    /// Actions that are possible in a state: all of them, or some if there are very many.
    fn offers(&self, state: &Self::State, chance: &mut Chance, actions: &mut Vec<Self::Action>);
    /// Whether an action is possible in a state.
    fn is_possible(&self, state: &Self::State, action: &Self::Action) -> bool;
    /// How far a state has come.
    fn goals(&self, state: &Self::State) -> Goals;
}

/// Models to be walked at random, a new one for each run.
pub trait Swarm: Sync {
    type Model: Walked;

    /// The model of a run.
    fn draw(&self, chance: &mut Chance) -> Self::Model;
    /// Whether events of this kind happen in this model at all.
    fn expects(&self, kind: usize) -> bool;
    /// What the numbers of [`Walked::goals`] mean.
    fn goals(&self) -> &'static [&'static str];
}

/// How likely the events are for a while.
pub struct Weather {
    /// By kind.
    kinds: Vec<u64>,
    /// By server: of who takes a step, and of the other one.
    takes: [u64; PARTIES],
    other: [u64; PARTIES],
    /// How many more steps it lasts.
    left: u64,
    /// Whether it is without faults.
    is_calm: bool,
}

/// More than any server's id.
const PARTIES: usize = 16;

impl Weather {
    pub fn draw(kinds: &[Kind], chance: &mut Chance) -> Self {
        let is_calm = chance.one_in(2);
        Self::of(kinds, is_calm, chance)
    }

    fn of(kinds: &[Kind], is_calm: bool, chance: &mut Chance) -> Self {
        let weight = |kind: &Kind| match (kind.is_fault, is_calm) {
            (true, true) => 0,
            (true, false) => 1 << chance.below(9),
            (false, _) if chance.one_in(12) => 1,
            (false, _) => 1 << (7 + chance.below(5)),
        };
        let kinds = kinds.iter().map(weight).collect();
        let mut draw = |weight: fn(&mut Chance) -> u64| std::array::from_fn(|_| weight(chance));
        Self {
            kinds,
            takes: draw(|chance| if chance.one_in(6) { 1 } else { 32 }),
            other: draw(|chance| 1 << (2 * chance.below(6))),
            left: 1 << (3 + chance.below(6)),
            is_calm,
        }
    }

    /// One step more in this weather, or in the next.
    pub fn pass(&mut self, kinds: &[Kind], chance: &mut Chance) {
        match self.left {
            0 => *self = Self::draw(kinds, chance),
            left => self.left = left - 1,
        }
    }

    /// After a calm in which nothing happens any more there are faults again. False if it is no calm.
    pub fn turn(&mut self, kinds: &[Kind], chance: &mut Chance) -> bool {
        let was_calm = self.is_calm;
        if was_calm {
            *self = Self::of(kinds, false, chance);
        }
        was_calm
    }

    /// How likely each of these actions is. The weight of a kind is shared by the actions of the kind.
    pub fn weights<M: Walked>(&self, actions: &[M::Action], weights: &mut Vec<u64>) {
        let mut shares = vec![0; self.kinds.len()];
        weights.clear();
        for action in actions {
            let [takes, other] = M::parties(action).map(usize::from);
            let weight = self.takes[takes % PARTIES] * self.other[other % PARTIES];
            shares[M::kind(action)] += weight;
            weights.push(weight);
        }
        for (action, weight) in actions.iter().zip(weights) {
            let kind = M::kind(action);
            // Rounded up: what is possible stays possible.
            *weight = (*weight * self.kinds[kind] * SCALE).div_ceil(shares[kind]);
        }
    }
}

/// Weights are so many times what they would be, so that small shares of them are not all the same.
const SCALE: u64 = 1 << 16;
