//! Progress in a graph with cycles: whether a way leads out of a state, and whether a way leads back to it.
//!
//! Spec: `spec/consensus.md`, "What progress means". From a state on there is peace: no server fails any more, nobody
//! restarts, who is cut off stays so, and timers may fire a few times more than the bounds say.

use super::environment::{Action, Budget, Ensemble, World};
use super::protocol::Protocol;
use crate::engine::fingerprint;
use crate::memo::Memo;
use std::collections::{HashMap, HashSet};

/// Which states lead to a goal, as far as that is known.
#[derive(Default)]
pub struct Ways(Memo<bool>);

/// What a way is to lead to.
pub type Goal<P> = fn(&Ensemble<P>, &World<P>) -> bool;

/// A state with what only compares moved to where it begins, and without messages that can have no effect any more:
/// two states of one shape behave alike for ever. `None`: what it was it can never be again.
pub type Shape<P> = fn(&World<P>) -> Option<World<P>>;

/// How many states are looked at before a search for a cycle is given up.
const PATIENCE: usize = 100_000;

impl<P: Protocol> Ensemble<P> {
    /// Whether some sequence of steps leads from a state to a goal, in peace.
    pub fn leads_to(&self, world: &World<P>, goal: Goal<P>) -> bool {
        let key = |hash: u64| (hash, goal as usize as u64);
        let start = self.in_peace(world);
        let first = fingerprint(&start);
        let mut parents = HashMap::from([(first, first)]);
        let mut waiting = vec![(first, start)];
        while let Some((mut hash, world)) = waiting.pop() {
            let known = self.ways.0.find(key(hash));
            if known == Some(false) {
                continue;
            }
            if known == Some(true) || goal(self, &world) {
                // All on the way to it lead there.
                loop {
                    if self.ways.0.find(key(hash)).is_none() {
                        self.ways.0.insert(key(hash), true);
                    }
                    match parents[&hash] {
                        parent if parent == hash => return true,
                        parent => hash = parent,
                    }
                }
            }
            // The last one is tried first: a message rather than a timeout.
            for action in self.conceivable(&world).into_iter().rev() {
                let Some(next) = self.act(&world, &action) else {
                    continue;
                };
                let child = fingerprint(&next);
                parents.entry(child).or_insert_with(|| {
                    waiting.push((child, next));
                    hash
                });
            }
        }
        for hash in parents.into_keys() {
            if self.ways.0.find(key(hash)).is_none() {
                self.ways.0.insert(key(hash), false);
            }
        }
        false
    }

    /// The steps of a way from a state, in peace, to one of the same shape: what can happen for ever.
    pub fn comes_back(&self, world: &World<P>, shape: Shape<P>) -> Option<Vec<Action<P>>> {
        // There is always one more timeout: their number is no part of the shape.
        let peaceful = |world: &World<P>| {
            let mut world = self.in_peace(world);
            world.left.timeouts = 1;
            world
        };
        let shape_of = |world: &World<P>| shape(world).map(|shape| fingerprint(&shape));
        let start = peaceful(world);
        let goal = shape_of(&start)?;
        let mut known = HashSet::from([goal]);
        let mut found: Vec<Reached<P>> = vec![(start, None)];
        let mut next_in_turn = 0;
        while next_in_turn < found.len() && found.len() < PATIENCE {
            let (world, _) = found[next_in_turn].clone();
            for action in self.conceivable(&world) {
                let next = self.act(&world, &action).map(|next| peaceful(&next));
                let Some(next) = next else { continue };
                let Some(shape) = shape_of(&next) else {
                    continue;
                };
                let step = Some((action, next_in_turn));
                if shape == goal {
                    found.push((next, step));
                    let way = way_to_last(&found);
                    // Without a timeout it was something that makes no difference.
                    if way.iter().any(|step| matches!(step, Action::Timeout(..))) {
                        return Some(way);
                    }
                    found.pop();
                    continue;
                }
                if known.insert(shape) {
                    found.push((next, step));
                }
            }
            next_in_turn += 1;
        }
        None
    }

    fn in_peace(&self, world: &World<P>) -> World<P> {
        let timeouts = match world.left.peace {
            true => world.left.timeouts,
            false => self.bounds.timeouts + 2,
        };
        World {
            left: Budget {
                timeouts,
                crashes: 0,
                partitions: 0,
                peace: true,
            },
            ..world.clone()
        }
    }
}

/// A state with the step that led to it, and the place of the state before.
type Reached<P> = (World<P>, Option<(Action<P>, usize)>);

fn way_to_last<P: Protocol>(found: &[Reached<P>]) -> Vec<Action<P>> {
    let mut way = Vec::new();
    let mut place = found.len() - 1;
    while let Some((action, before)) = &found[place].1 {
        way.push(action.clone());
        place = *before;
    }
    way.reverse();
    way
}
