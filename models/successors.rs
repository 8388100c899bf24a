//! The successors of a state of the environment.
//!
//! A step changes one server, and with it the record and the network. All of these are looked up by what
//! was found before (`models/node.rs`, `models/steps.rs`), and from what has changed follows the hash.

use crate::cache::Cache;
use crate::engine::{self, Expand, Successor, touch};
use crate::environment::{Action, Disks, Environment};
use crate::faults;
use crate::intern::Interned;
use crate::judge::Verdicts;
use crate::node::{Edit, Nodes, Rules};
use crate::steps::LocalStep;
use crate::world::{Budget, Sums, World};
use keepright::types::ServerId;
use keepright::zab::invariants::Record;
use smallvec::SmallVec;
use stateright::Property;

/// What a search remembers from one state to the next.
#[derive(Default)]
pub struct Memory {
    nodes: Nodes,
    /// The record after a step, by the numbers of the step and of the record before.
    records: Cache<Interned<Record<u8>>>,
    verdicts: Verdicts,
}

impl Environment {
    /// What an action leads to; `None` if it changes nothing.
    pub fn successor(&self, memory: &Memory, world: &World, action: Action) -> Option<World> {
        let mut next = match action {
            Action::Outage(remains) => {
                let mut next = world.clone();
                for crash in remains.crashes() {
                    let step = self.step_of(&next, crash).expect("who is up can crash");
                    let left = next.budget; // The crashes are free.
                    next = self.after_one(memory, &next, step, left).unwrap_or(next);
                }
                next.budget = next.budget.without(action.spends());
                next
            }
            _ => {
                let step = self.step_of(world, action)?;
                self.after_one(memory, world, step, world.budget.without(step.spends))?
            }
        };
        if let Action::Wipe(server) = action
            && self.setting.disks == Disks::Replaced
        {
            self.forget_datagrams(&mut next, server);
        }
        next.fingerprint = Sums::of(&next).seal(next.budget);
        Some(next)
    }

    /// No datagram outlives the replacement of a disk: none from the server, and none to it.
    fn forget_datagrams(&self, world: &mut World, server: ServerId) {
        for node in &mut world.nodes {
            let mut inbox = node.inbox.clone();
            inbox.retain(|envelope| envelope.src != server && envelope.dst != server);
            *node = self.intern_node(node.id, node.process, inbox);
        }
    }

    /// What a step of one server leads to, but for the hash, if this is left of the budget and becomes of the
    /// servers; `None` if it changes nothing.
    fn after(
        &self,
        memory: &Memory,
        world: &World,
        step: &LocalStep,
        budget: Budget,
        edits: &[Edit],
    ) -> Option<World> {
        let rules = Rules::of(budget);
        let nodes = &memory.nodes;
        let mut next = World {
            nodes: SmallVec::from_slice(&world.nodes), // A copy, where a clone is one by one.
            ..*world
        };
        for edit in edits {
            next.nodes[edit.place] = self.edited(nodes, world, step, edit, rules);
        }
        if rules != Rules::of(world.budget) {
            for place in 0..next.nodes.len() {
                let node = next.nodes[place];
                next.nodes[place] = self.judged_anew(nodes, node, &next, rules);
            }
        }
        if step.is_news {
            next.record = self.record_after(memory, world, step);
        }
        next.budget = budget;
        (next != *world).then_some(next)
    }

    /// What a single step leads to: see [`Self::after`].
    fn after_one(
        &self,
        memory: &Memory,
        world: &World,
        step: &LocalStep,
        budget: Budget,
    ) -> Option<World> {
        let mut edits = Vec::new();
        Self::edits(world, step, Rules::of(budget), &mut edits);
        self.after(memory, world, step, budget, &edits)
    }

    /// The hash of what a step leads to, from the sums of the world before it.
    fn fingerprint_after(world: &World, sums: &Sums, next: &World) -> u64 {
        let mut sums = sums.clone();
        for (old, new) in world.nodes.iter().zip(&next.nodes) {
            if old != new {
                sums.replace(old.images(), new.images());
            }
        }
        if world.record != next.record {
            sums.replace(world.record.images(), next.record.images());
        }
        sums.seal(next.budget)
    }

    /// The record after a step.
    fn record_after(
        &self,
        memory: &Memory,
        world: &World,
        step: &LocalStep,
    ) -> Interned<Record<u8>> {
        let find = || {
            let mut record = world.record.get().clone();
            let Some(state) = step.after.get().state.as_ref() else {
                let alone = step.alone.iter().cloned();
                record.alone.extend(alone.map(|entry| (step.server, entry)));
                return self.intern_record(record);
            };
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

impl Expand for Environment {
    type Memory = Memory;

    fn make_room(memory: &mut Memory) {
        memory.nodes.grow();
        memory.records.grow();
        memory.verdicts.grow();
    }

    /// In stages: what a stage needs of all states is fetched side by side by the one before.
    fn successors(&self, memory: &Memory, worlds: &[World], found: &mut Vec<Successor<World>>) {
        let nodes = || worlds.iter().flat_map(|world| &world.nodes);
        touch(nodes().map(|node| node.number().into()));
        touch(nodes().map(|node| self.deliveries(*node).len() as u64));
        // Room for most, so that they need not be moved.
        let mut all_steps: Vec<(usize, &LocalStep)> = Vec::with_capacity(16 * worlds.len());
        for (parent, world) in worlds.iter().enumerate() {
            for node in &world.nodes {
                let own = self.own_steps_of(&memory.nodes, *node, world.budget);
                let all = self.deliveries(*node).iter().chain(own);
                all_steps.extend(all.map(|step| (parent, *step)));
            }
        }
        touch(all_steps.iter().map(|(_, step)| step.after_number.into()));
        let mut steps = Vec::with_capacity(all_steps.len());
        let mut edits = Vec::with_capacity(2 * all_steps.len());
        for (parent, step) in all_steps {
            let first = edits.len();
            let budget = worlds[parent].budget.without(step.spends);
            Self::edits(&worlds[parent], step, Rules::of(budget), &mut edits);
            // Most steps only repeat what is on its way.
            if edits.len() > first || step.is_news || step.spends != 0 {
                steps.push((parent, step, budget, first..edits.len()));
            }
        }
        touch(edits.iter().map(|edit| memory.nodes.touch(edit)));
        let first = found.len();
        for (parent, step, budget, its_edits) in steps {
            let edits = &edits[its_edits];
            if let Some(state) = self.after(memory, &worlds[parent], step, budget, edits) {
                found.push(Successor {
                    hash: 0,
                    parent,
                    state,
                });
            }
        }
        for (parent, world) in worlds.iter().enumerate() {
            // What depends on several servers at once.
            let mut rare = Vec::new();
            faults::of_everybody(world, &mut rare);
            faults::replacements(self, world, &mut rare);
            let states = rare
                .into_iter()
                .filter_map(|action| self.successor(memory, world, action));
            found.extend(states.map(|state| Successor {
                hash: 0,
                parent,
                state,
            }));
        }
        let new_nodes = found[first..].iter().flat_map(|next| &next.state.nodes);
        touch(new_nodes.map(|node| node.images()[0]));
        let sums: SmallVec<[Sums; 16]> = worlds.iter().map(Sums::of).collect();
        for Successor {
            hash,
            parent,
            state,
        } in &mut found[first..]
        {
            state.fingerprint = Self::fingerprint_after(&worlds[*parent], &sums[*parent], state);
            *hash = engine::fingerprint(&state.fingerprint);
        }
    }

    fn discovered(
        &self,
        memory: &Memory,
        properties: &[Property<Self>],
        open: u64,
        worlds: &[World],
    ) -> impl Iterator<Item = u64> {
        // After the invariants and the witnesses come properties that are more than a bit of a verdict.
        let of_verdict = self.invariants.len() + self.witnesses.len();
        let verdicts = &memory.verdicts;
        touch(
            worlds
                .iter()
                .flat_map(|w| w.ids().map(|id| w.server(id).number().into())),
        );
        let keys: SmallVec<[u64; 16]> = worlds.iter().map(Verdicts::key).collect();
        touch(keys.iter().map(|key| verdicts.touch(*key)));
        let asked = self.still_asked(open);
        worlds.iter().zip(keys).map(move |(world, key)| {
            let mut discovered = self.news(verdicts, world, key, asked) & open;
            for (number, property) in properties.iter().enumerate().skip(of_verdict) {
                if open & (1 << number) != 0 && !(property.condition)(self, world) {
                    discovered |= 1 << number;
                }
            }
            discovered
        })
    }
}
