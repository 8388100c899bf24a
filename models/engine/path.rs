//! Paths: the search keeps the hash of the state before each state, and a path is found again by walking.

use super::{Discovery, Outcome, fingerprint};
use crate::visited::NO_PARENT;
use stateright::Model;
use std::hash::Hash;

impl Outcome {
    /// The steps to a discovery: the initial state, and each action with the state after it.
    pub fn path<M>(&self, model: &M, discovery: &Discovery) -> Trace<M>
    where
        M: Model,
        M::State: Hash,
    {
        self.path_to(model, discovery.fingerprint)
    }

    /// The steps to the visited state with this hash (see [`fingerprint`]).
    pub fn path_to<M>(&self, model: &M, fingerprint_of_last: u64) -> Trace<M>
    where
        M: Model,
        M::State: Hash,
    {
        let mut hashes = vec![fingerprint_of_last];
        while let Some(parent) = self
            .visited
            .parent(hashes[hashes.len() - 1])
            .filter(|parent| *parent != NO_PARENT)
        {
            hashes.push(parent);
        }
        let mut hashes = hashes.into_iter().rev();
        let first = hashes.next();
        let start = model
            .init_states()
            .into_iter()
            .enumerate()
            .find_map(|(index, state)| {
                (Some(fingerprint(&state)) == first).then_some((index, state))
            });
        let (init_index, init) = start.expect("the search began at an initial state");
        let mut trace = Trace {
            init_index,
            init,
            steps: Vec::new(),
        };
        for hash in hashes {
            let step = trace
                .step_to(model, hash)
                .expect("the search took this step");
            trace.steps.push(step);
        }
        trace
    }
}

/// A way through the states of a model.
pub struct Trace<M: Model> {
    pub init_index: usize,
    pub init: M::State,
    pub steps: Vec<TraceStep<M>>,
}

/// One step of a [`Trace`].
pub struct TraceStep<M: Model> {
    /// The place of the action among those of the state before.
    pub index: usize,
    pub action: M::Action,
    pub state: M::State,
}

impl<M> Trace<M>
where
    M: Model,
    M::State: Hash,
{
    fn step_to(&self, model: &M, hash: u64) -> Option<TraceStep<M>> {
        let last = self.steps.last().map_or(&self.init, |step| &step.state);
        let (mut actions, mut again) = (Vec::new(), Vec::new());
        model.actions(last, &mut actions);
        model.actions(last, &mut again);
        actions
            .into_iter()
            .zip(again)
            .enumerate()
            .find_map(|(index, (action, same))| {
                let state = model.next_state(last, action)?;
                (fingerprint(&state) == hash).then_some(TraceStep {
                    index,
                    action: same,
                    state,
                })
            })
    }

    /// The path as the explorer writes it in its address: indices of the initial state and actions.
    pub fn address(&self) -> String {
        let indices = self.steps.iter().map(|step| step.index);
        let all: Vec<_> = [self.init_index]
            .into_iter()
            .chain(indices)
            .map(|i| i.to_string())
            .collect();
        all.join("/")
    }
}
