//! The successors of a state of the environment.
//!
//! A step changes one server, and with it the record and the network. All of these are looked up by what
//! was found before (`models/node.rs`, `models/steps.rs`), and from what has changed follows the hash.

use crate::cache::Cache;
use crate::engine::{self, Expand};
use crate::environment::{Action, Environment, Move};
use crate::intern::Interned;
use crate::judge::Verdict;
use crate::node::{Nodes, Rules};
use crate::steps::LocalStep;
use crate::world::{Budget, Sums, World};
use keepright::zab::invariants::Record;
use stateright::Property;

/// What a thread remembers from one state to the next.
#[derive(Default)]
pub struct Memory {
    nodes: Nodes,
    /// The record after a step, by the numbers of the step and of the record before.
    records: Cache<Interned<Record<u8>>>,
    pub verdicts: Cache<Verdict>,
}

impl Environment {
    /// What an action leads to; `None` if it changes nothing.
    pub fn successor(
        &self,
        memory: &mut Memory,
        world: &World,
        sums: &Sums,
        action: Action,
    ) -> Option<World> {
        if let Action::Outage(remains) = action {
            let mut next = world.clone();
            for crash in remains.crashes() {
                let step = self.step_of(&next, crash).expect("who is up can crash");
                let (sums, budget) = (Sums::of(&next), next.budget);
                if let Some(crashed) = self.after(memory, &next, &sums, step, budget) {
                    next = crashed;
                }
            }
            next.budget = world.budget.after(action);
            next.fingerprint = Sums::of(&next).seal(next.budget);
            return Some(next);
        }
        let step = self.step_of(world, action)?;
        self.after(memory, world, sums, step, world.budget.after(action))
    }

    /// What a step of one server leads to, with `budget` left after it; `None` if it changes nothing.
    pub fn after(
        &self,
        memory: &mut Memory,
        world: &World,
        sums: &Sums,
        step: &LocalStep,
        budget: Budget,
    ) -> Option<World> {
        let rules = Rules::of(budget);
        let nodes = &mut memory.nodes;
        let mut next = world.clone();
        let (server, node) = (usize::from(step.server.0) - 1, world.node(step.server));
        next.nodes[server] = match step.view_changes {
            true => self.settled(nodes, node, step.after, world, rules),
            false => self.replaced(nodes, node, step, rules),
        };
        for reach in &step.reaches {
            let to = usize::from(reach.to.0) - 1;
            next.nodes[to] = self.reached(nodes, next.nodes[to], reach, rules);
        }
        if rules != Rules::of(world.budget) {
            for place in 0..next.nodes.len() {
                let node = next.nodes[place];
                next.nodes[place] = self.settled(nodes, node, node.process, &next, rules);
            }
        }
        next.record = self.record_after(memory, world, step);
        if next.nodes == world.nodes && next.record == world.record && budget == world.budget {
            return None;
        }
        let mut sums = sums.clone();
        for (old, new) in world.nodes.iter().zip(&next.nodes) {
            if old != new {
                sums.replace(old.images(), new.images());
            }
        }
        if world.record != next.record {
            sums.replace(world.record.images(), next.record.images());
        }
        next.budget = budget;
        next.fingerprint = sums.seal(budget);
        Some(next)
    }

    /// The record after a step.
    fn record_after(
        &self,
        memory: &mut Memory,
        world: &World,
        step: &LocalStep,
    ) -> Interned<Record<u8>> {
        if !step.is_news {
            return world.record;
        }
        let find = || {
            let state = step.after.get().state.as_ref().expect("who has news is up");
            let mut record = world.record.get().clone();
            record.said_too_early |= step.said_too_early;
            record.left_behind |= step.left_behind;
            let others = |id| match id == step.server {
                true => Some(state),
                false => world.server(id).get().state.as_ref(),
            };
            let before = world.server(step.server).get().state.as_ref();
            record.observe(step.server, before, state, others);
            match record == *world.record {
                true => world.record,
                false => self.intern_record(record),
            }
        };
        match step.is_elected {
            true => find(), // It depends on the other servers too.
            false => {
                let key = u64::from(step.number) << 32 | u64::from(world.record.number());
                memory.records.get(key, find)
            }
        }
    }
}

impl Budget {
    /// What is left after an action.
    fn after(mut self, action: Action) -> Self {
        match action {
            Action::Write(_) => self.writes -= 1,
            Action::Timeout(_) => self.timeouts -= 1,
            Action::Silence { .. } => self.cuts -= 1,
            Action::Crash { .. } => self.crashes -= 1,
            Action::Outage(_) => self.outages -= 1,
            Action::DiskError { .. } => self.disk_errors -= 1,
            Action::Wipe(_) => self.wipes -= 1,
            Action::Snapshot(_) => self.snapshots -= 1,
            Action::Deliver(_)
            | Action::Flush(_)
            | Action::Elect { .. }
            | Action::Finalize(_)
            | Action::Restart(_)
            | Action::Heartbeat(_) => {}
        }
        self
    }
}

impl Expand for Environment {
    type Memory = Memory;

    fn successors(&self, memory: &mut Memory, world: &World, found: &mut Vec<(u64, World)>) {
        let sums = Sums::of(world);
        let mut add = |next: Option<World>| {
            if let Some(next) = next {
                found.push((engine::fingerprint(&next.fingerprint), next));
            }
        };
        for node in &world.nodes {
            for Move { action, step } in self.moves(&mut memory.nodes, *node, world.budget) {
                add(self.after(memory, world, &sums, step, world.budget.after(*action)));
            }
        }
        if world.budget.outages > 0 {
            let mut outages = Vec::new();
            crate::faults::of_everybody(world, &mut outages);
            for action in outages {
                add(self.successor(memory, world, &sums, action));
            }
        }
    }

    fn discovered(
        &self,
        memory: &mut Memory,
        properties: &[Property<Self>],
        open: u64,
        world: &World,
    ) -> u64 {
        let mut discovered = self.news(memory, world) & open;
        // After the invariants and the witnesses come properties that are more than a bit of a verdict.
        let of_verdict = self.invariants.len() + self.witnesses.len();
        for (number, property) in properties.iter().enumerate().skip(of_verdict) {
            if open & (1 << number) != 0 && !(property.condition)(self, world) {
                discovered |= 1 << number;
            }
        }
        discovered
    }
}
