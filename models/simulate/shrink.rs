//! A shorter way to the same fall.
//!
//! Steps are left out as long as the same invariant still falls: first many at a time, in the end one by one and
//! in pairs. Where a step is not possible without one that was left out, one of the same kind between the same servers takes its place
//! (a proposal of an epoch that has another number now), or none. What it must never do: end with another
//! fall than the one that it began with.

use super::chance::Chance;
use super::swarm::Walked;
use super::walk::{Asked, Fall, Walk, step};
use crate::engine::{Trace, TraceStep};

/// A list of at most so many steps is tried without each pair of its steps.
const PAIRS: usize = 80;

/// A shrunk walk as a trace: a step that panics leads to no state and is not part of it, but comes with it.
pub fn shrink<M: Walked>(walk: &Walk<M>, fall: &Fall) -> (Trace<M>, Option<M::Action>) {
    let asked = Asked::of(&walk.model);
    let mut best = walk.actions.clone();
    let replay = |actions: &[M::Action]| replay(walk, &asked, fall, actions);
    let mut size = best.len().div_ceil(2).max(1);
    loop {
        let before = best.len();
        let mut first = 0;
        while first < best.len() {
            match replay(&without(&best, |place| {
                (first..first + size).contains(&place)
            })) {
                Some(shorter) => best = shorter,
                None => first += size,
            }
        }
        if size > 1 {
            size = size.div_ceil(2);
        } else if best.len() == before {
            let pairs = if best.len() <= PAIRS {
                pairs(best.len())
            } else {
                Vec::new()
            };
            let shorter = pairs.into_iter().find_map(|(one, two)| {
                replay(&without(&best, |place| place == one || place == two))
            });
            match shorter {
                Some(shorter) => best = shorter,
                None => break,
            }
        }
    }
    trace(walk, best, fall)
}

/// Every two places of so many.
fn pairs(count: usize) -> Vec<(usize, usize)> {
    let with = |one| (one + 1..count).map(move |two| (one, two));
    (0..count).flat_map(with).collect()
}

/// The steps but for those at some places.
fn without<A: Clone>(actions: &[A], is_left_out: impl Fn(usize) -> bool) -> Vec<A> {
    let kept = (0..).zip(actions).filter(|(place, _)| !is_left_out(*place));
    kept.map(|(_, action)| action.clone()).collect()
}

/// Takes these steps as far as they are possible. Those that were taken, if they end with the same fall.
fn replay<M: Walked>(
    walk: &Walk<M>,
    asked: &Asked<M>,
    fall: &Fall,
    actions: &[M::Action],
) -> Option<Vec<M::Action>> {
    let model = &walk.model;
    let mut state = model.init_states().swap_remove(walk.start);
    let mut taken = Vec::new();
    for action in actions {
        let Some(action) = possible(model, &state, action) else {
            continue;
        };
        let next = step(model, &state, &action);
        let next = match next {
            Ok(None) => continue,
            Ok(Some(next)) => next,
            Err(words) => {
                taken.push(action);
                return (Fall::Panic(words) == *fall).then_some(taken);
            }
        };
        taken.push(action);
        state = next;
        if let Some(found) = asked.fall(model, &state) {
            return (found == *fall).then_some(taken);
        }
    }
    None
}

/// The action, if it is possible, or the last that is like it.
fn possible<M: Walked>(model: &M, state: &M::State, action: &M::Action) -> Option<M::Action> {
    if model.is_possible(state, action) {
        return Some(action.clone());
    }
    let mut all = Vec::new();
    model.offers(state, &mut Chance::of(0), &mut all);
    all.sort_by_key(M::order);
    let like = |action: &M::Action| (M::kind(action), M::parties(action));
    all.into_iter()
        .rfind(|other| like(other) == like(action) && step(model, state, other) != Ok(None))
}

fn trace<M: Walked>(
    walk: &Walk<M>,
    mut actions: Vec<M::Action>,
    fall: &Fall,
) -> (Trace<M>, Option<M::Action>) {
    let model = &walk.model;
    let last = match fall {
        Fall::Invariant(_) => None,
        Fall::Panic(_) => actions.pop(),
    };
    let mut trace = Trace {
        init_index: walk.start,
        init: model.init_states().swap_remove(walk.start),
        steps: Vec::with_capacity(actions.len()),
    };
    for action in actions {
        let state = trace.steps.last().map_or(&trace.init, |step| &step.state);
        let mut all = Vec::new();
        model.actions(state, &mut all);
        let index = all.iter().position(|other| *other == action);
        let next = model.next_state(state, action.clone());
        let step = TraceStep {
            index: index.expect("a step that was taken is possible"),
            action,
            state: next.expect("a step that was taken changes something"),
        };
        trace.steps.push(step);
    }
    (trace, last)
}
