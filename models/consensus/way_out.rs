//! Progress in a graph with cycles: whether a way leads out of a state, and whether a way leads back to it.
//!
//! Spec: `spec/consensus.md`, "What progress means". From a state on there is peace: no server fails any more, nobody
//! restarts, who is cut off stays so, and timers may fire a few times more than the bounds say.

use super::environment::{Action, Budget, Ensemble, World};
use super::protocol::Protocol;
use crate::engine::fingerprint;
use crate::memo::Memo;
use std::collections::{HashMap, HashSet, VecDeque};

/// Which states lead to a goal, as far as that is known.
#[derive(Default)]
pub struct Ways(Memo<bool>);

/// What a way is to lead to.
pub type Goal<P> = fn(&Ensemble<P>, &World<P>) -> bool;

/// A state with what only compares moved to where it begins, and without messages that can have no effect any more:
/// two states of one shape behave alike for ever.
pub type Shape<P> = fn(&World<P>) -> World<P>;

/// How many states are looked at before a search for a cycle is given up.
const PATIENCE: usize = 20_000;

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
                while self.ways.0.find(key(hash)).is_none() {
                    self.ways.0.insert(key(hash), true);
                    hash = parents[&hash];
                }
                return true;
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
        let start = peaceful(world);
        let goal = fingerprint(&shape(&start));
        let mut known = HashSet::from([goal]);
        let mut waiting = VecDeque::from([(start, Vec::new())]);
        while let Some((world, way)) = waiting.pop_front() {
            for action in self.conceivable(&world) {
                let Some(next) = self.act(&world, &action) else {
                    continue;
                };
                let next = peaceful(&next);
                let shape = fingerprint(&shape(&next));
                let is_new = known.len() < PATIENCE && known.insert(shape);
                let comes_back = shape == goal && fingerprint(&next) != fingerprint(&world);
                if !is_new && !comes_back {
                    continue;
                }
                let mut way = way.clone();
                way.push(action);
                if comes_back {
                    return Some(way);
                }
                waiting.push_back((next, way));
            }
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
