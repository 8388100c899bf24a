//! One run: a random walk from an initial state, with every invariant asked after each step.
//!
//! What it must never do: depend on anything but its seed. So each run has a model of its own, with nothing in its tables.

use super::chance::Chance;
use super::swarm::{Swarm, Walked, Weather};
use super::tally::Tally;
use stateright::{Expectation, Model as _, Property};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// What went wrong in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fall {
    /// An invariant does not hold.
    Invariant(&'static str),
    /// A handler panicked, with these words.
    Panic(String),
}

/// A run that was made.
pub struct Walk<M: Walked> {
    pub model: M,
    /// The place of the initial state among those of the model.
    pub start: usize,
    /// The steps that were taken. A panic is in the last one.
    pub actions: Vec<M::Action>,
    pub fall: Option<Fall>,
}

/// What is asked of each state: the properties of the model.
pub struct Asked<M: Walked> {
    properties: Vec<Property<M>>,
    /// A bit for each of them that is an invariant.
    invariants: u64,
}

impl<M: Walked> Asked<M> {
    pub fn of(model: &M) -> Self {
        let properties = model.properties();
        let invariants = properties
            .iter()
            .enumerate()
            .filter(|(_, property)| property.expectation == Expectation::Always)
            .fold(0, |bits, (number, _)| bits | 1 << number);
        Self {
            properties,
            invariants,
        }
    }

    /// The witnesses: their places among the properties, and their names.
    pub fn witnesses(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let all = self.properties.iter().enumerate();
        all.filter(|(number, _)| self.invariants & (1 << number) == 0)
            .map(|(number, property)| (number, property.name))
    }

    /// The properties that are discovered in a state, a bit for each, and the first invariant that does
    /// not hold.
    fn ask(&self, model: &M, state: &M::State) -> (u64, Option<Fall>) {
        let all = self.properties.iter().fold(0, |bits, _| bits << 1 | 1);
        let (memory, states) = (M::Memory::default(), std::slice::from_ref(state));
        let discovered = model.discovered(&memory, &self.properties, all, states);
        let discovered = discovered.fold(0, |all, here| all | here);
        let broken = discovered & self.invariants;
        let fall = (broken != 0).then(|| {
            let first = broken.trailing_zeros() as usize;
            Fall::Invariant(self.properties[first].name)
        });
        (discovered, fall)
    }

    /// What goes wrong in a state.
    pub fn fall(&self, model: &M, state: &M::State) -> Option<Fall> {
        self.ask(model, state).1
    }
}

/// Makes the run of a seed, of at most so many steps.
pub fn walk<S: Swarm>(swarm: &S, seed: u64, steps: usize, tally: &mut Tally) -> Walk<S::Model> {
    let mut chance = Chance::of(seed);
    let model = swarm.draw(&mut chance);
    let kinds = <S::Model as Walked>::kinds();
    let asked = Asked::of(&model);
    let mut states = model.init_states();
    let start = chance.below(states.len() as u64) as usize;
    let mut state = states.swap_remove(start);
    let mut weather = Weather::draw(kinds, &mut chance);
    let (mut seen, mut fall) = asked.ask(&model, &state);
    let mut taken = Vec::new();
    let mut goals = model.goals(&state);
    let (mut offers, mut weights) = (Vec::new(), Vec::new());
    while fall.is_none() && taken.len() < steps {
        weather.pass(kinds, &mut chance);
        offers.clear();
        model.offers(&state, &mut chance, &mut offers);
        offers.sort_by_key(<S::Model as Walked>::order);
        weather.weights::<S::Model>(&offers, &mut weights);
        let Some((action, next)) = choose(&model, &state, &offers, &mut weights, &mut chance)
        else {
            if weather.turn(kinds, &mut chance) {
                continue;
            }
            break; // Nothing can happen that changes anything.
        };
        tally.count(<S::Model as Walked>::kind(&action));
        taken.push(action);
        match next {
            Err(words) => fall = Some(Fall::Panic(words)),
            Ok(next) => {
                state = next;
                let (discovered, broken) = asked.ask(&model, &state);
                seen |= discovered;
                fall = broken;
                for (best, now) in goals.iter_mut().zip(model.goals(&state)) {
                    *best = now.max(*best);
                }
            }
        }
    }
    let witnesses = asked
        .witnesses()
        .map(|(number, name)| (name, seen & (1 << number) != 0));
    tally.close(taken.len(), &goals, witnesses);
    Walk {
        model,
        start,
        actions: taken,
        fall,
    }
}

type Chosen<M> = (
    <M as stateright::Model>::Action,
    Result<<M as stateright::Model>::State, String>,
);

/// An action that changes something, drawn by weight, and what it leads to.
fn choose<M: Walked>(
    model: &M,
    state: &M::State,
    offers: &[M::Action],
    weights: &mut [u64],
    chance: &mut Chance,
) -> Option<Chosen<M>> {
    while let Some(place) = chance.weighted(weights) {
        let action = &offers[place];
        match step(model, state, action) {
            Ok(None) => weights[place] = 0,
            Ok(Some(next)) => return Some((action.clone(), Ok(next))),
            Err(words) => return Some((action.clone(), Err(words))),
        }
    }
    None
}

/// What an action leads to, `None` if it changes nothing; or the words of the panic that it causes.
pub fn step<M: Walked>(
    model: &M,
    state: &M::State,
    action: &M::Action,
) -> Result<Option<M::State>, String> {
    // What a handler leaves half done is thrown away with the run.
    let next = AssertUnwindSafe(|| model.next_state(state, action.clone()));
    catch(next).map_err(|()| LAST_WORDS.take())
}

thread_local! {
    /// Whether this thread is in a step, and what the last panic in one said.
    static IN_STEP: Cell<bool> = const { Cell::new(false) };
    static LAST_WORDS: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Calls `f`; a panic in it is not printed but noted in [`LAST_WORDS`].
fn catch<R>(f: impl FnOnce() -> R + panic::UnwindSafe) -> Result<R, ()> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IN_STEP.get() {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                let constant = info.payload().downcast_ref::<&str>().copied();
                let composed = info.payload().downcast_ref::<String>();
                let words = constant
                    .or(composed.map(String::as_str))
                    .unwrap_or("no words");
                LAST_WORDS.set(format!("{words} ({place})"));
            } else {
                usual(info);
            }
        }));
    });
    IN_STEP.set(true);
    let result = panic::catch_unwind(f);
    IN_STEP.set(false);
    result.map_err(|_| ())
}
