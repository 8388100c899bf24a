//! The successors of a state of the environment, told apart before they are built.
//!
//! A step changes one server, and with it the record and the network. From what has changed follows
//! the hash; only if the search has not seen it is the state built.

use crate::engine::{self, Expand};
use crate::environment::{Action, Environment};
use crate::faults;
use crate::intern::Interned;
use crate::steps::LocalStep;
use crate::world::{Budget, Envelope, Process, Sums, World, Writes};
use keepright::types::ServerId;
use keepright::zab::invariants::Record;
use keepright::zab::obsolete::Peer;
use keepright::zab::{Message, Role, Stage, State};
use smallvec::SmallVec;
use stateright::{Model, Property};

/// What a step changes in a world.
pub struct Change {
    step: &'static LocalStep,
    record: Interned<Record<u8>>,
    budget: Budget,
    /// The places in the network of the datagrams that are obsolete now, in order.
    dropped: SmallVec<[u16; 8]>,
    /// The places in `step.sent` of the datagrams that are new in the network.
    sent: SmallVec<[u8; 8]>,
}

/// A successor that is not built yet.
pub struct Candidate {
    fingerprint: u64,
    how: How,
}

enum How {
    Change(Change),
    /// More than one server has changed.
    World(Box<World>),
}

/// A server as the rule for obsolete messages sees it.
pub fn seen(id: ServerId, process: &Process) -> Peer<'_, Writes> {
    Peer {
        id,
        durable: process.mark(),
        state: process.state.as_ref(),
    }
}

impl Environment {
    /// What an action leads to; `None` if it changes nothing.
    pub fn candidate(&self, world: &World, sums: &Sums, action: Action) -> Option<Candidate> {
        let budget = world.budget.after(action);
        if let Action::Outage(remains) = action {
            let mut next = world.clone();
            for crash in remains.crashes() {
                let sums = Sums::of(&next, &self.renamings);
                let step = self.step_of(&next, crash).expect("who is up can crash");
                let change = self.change(&next, step, next.budget);
                if let Some(candidate) = self.outcome(&next, &sums, change) {
                    next = self.build(&next, candidate);
                }
            }
            next.budget = budget;
            next.fingerprint = Sums::of(&next, &self.renamings).seal(budget);
            return Some(Candidate {
                fingerprint: next.fingerprint,
                how: How::World(Box::new(next)),
            });
        }
        let step = self.step_of(world, action)?;
        self.outcome(world, sums, self.change(world, step, budget))
    }

    /// The successor that a change leads to; `None` if it changes nothing.
    pub fn outcome(&self, world: &World, sums: &Sums, change: Change) -> Option<Candidate> {
        let Change {
            step,
            record,
            budget,
            ref dropped,
            ref sent,
        } = change;
        let before = world.server(step.server);
        let nothing = before == step.after
            && world.record == record
            && world.budget == budget
            && dropped.is_empty()
            && sent.is_empty();
        if nothing {
            return None;
        }
        let mut sums = sums.clone();
        if before != step.after {
            sums.remove_server(step.server, before, &self.renamings);
            sums.add_server(step.server, step.after, &self.renamings);
        }
        if world.record != record {
            sums.remove(world.record.images());
            sums.add(record.images());
        }
        for place in dropped {
            sums.remove(world.network[usize::from(*place)].images());
        }
        for place in sent {
            sums.add(step.sent[usize::from(*place)].images());
        }
        Some(Candidate {
            fingerprint: sums.seal(budget),
            how: How::Change(change),
        })
    }

    /// What a step of one server changes, with `budget` left after it.
    pub fn change(&self, world: &World, step: &'static LocalStep, budget: Budget) -> Change {
        let LocalStep { server, after, .. } = *step;
        let server_after = |id| match id == server {
            true => after,
            false => world.server(id),
        };
        let is_obsolete = |envelope: &Envelope| {
            let peer = |id| &server_after(id).get().process;
            self.is_obsolete(&budget, envelope, peer)
        };
        // With the last snapshot and the last wipe the rule gets stricter for everybody.
        let stricter =
            (world.budget.snapshots, world.budget.wipes) != (budget.snapshots, budget.wipes);
        let mut dropped = SmallVec::new();
        if step.view_changes || stricter {
            for (place, envelope) in (0..).zip(&world.network) {
                let concerned = stricter || envelope.src == server || envelope.dst == server;
                if concerned && is_obsolete(envelope) {
                    dropped.push(place);
                }
            }
        }
        let mut sent = SmallVec::new();
        for (place, envelope) in (0..).zip(&step.sent) {
            let lost = self.setting.election_alone
                && !matches!(envelope.message, Message::Notification(_));
            if !lost && !world.is_on_its_way(*envelope) && !is_obsolete(envelope) {
                sent.push(place);
            }
        }
        Change {
            step,
            record: self.record_after(world, step),
            budget,
            dropped,
            sent,
        }
    }

    /// The record after a step.
    fn record_after(&self, world: &World, step: &LocalStep) -> Interned<Record<u8>> {
        let LocalStep {
            server,
            after,
            said_too_early,
            left_behind,
            ..
        } = *step;
        let Some(state) = &after.get().state else {
            return world.record;
        };
        let old = world.server(server).get().state.as_ref();
        let stage = |s: &State<Writes>| match s.role() {
            Role::Leading(leader) => (
                matches!(leader.stage, Stage::Broadcast { .. }),
                leader.established(),
            ),
            Role::Following(_) | Role::Looking(_) => (false, false),
        };
        let said = |s: &State<Writes>| (s.is_leading(), stage(s), s.epoch(), s.recency());
        let news = said_too_early
            || left_behind
            || old.map(State::serving) != Some(state.serving())
            || old.map(State::committed) != Some(state.committed())
            || (state.is_leading() && old.map(said) != Some(said(state)));
        if !news {
            return world.record;
        }
        let mut record = world.record.get().clone();
        record.said_too_early |= said_too_early;
        record.left_behind |= left_behind;
        let others = |id| match id == server {
            true => Some(state),
            false => world.server(id).get().state.as_ref(),
        };
        record.observe(server, old, state, others);
        match record == *world.record {
            true => world.record,
            false => self.intern_record(record),
        }
    }

    fn is_obsolete<'a>(
        &self,
        budget: &Budget,
        envelope: &Envelope,
        process: impl Fn(ServerId) -> &'a Process,
    ) -> bool {
        let may_forget = |id| faults::may_forget(&self.zab, id);
        if budget.wipes > 0 && (may_forget(envelope.src) || may_forget(envelope.dst)) {
            return false; // The argument is about what is durable.
        }
        let Envelope { src, dst, message } = envelope;
        let (from, to) = (seen(*src, process(*src)), seen(*dst, process(*dst)));
        self.zab
            .is_obsolete(from, to, message, budget.snapshots > 0)
    }

    /// Builds the successor.
    pub fn build(&self, world: &World, candidate: Candidate) -> World {
        let change = match candidate.how {
            How::Change(change) => change,
            How::World(world) => return *world,
        };
        let mut next = world.clone();
        next.servers[usize::from(change.step.server.0) - 1] = change.step.after;
        next.record = change.record;
        next.budget = change.budget;
        next.fingerprint = candidate.fingerprint;
        for place in change.dropped.iter().rev() {
            next.network.remove(usize::from(*place));
        }
        for place in change.sent {
            next.send(change.step.sent[usize::from(place)]);
        }
        next
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
    type Candidate = Candidate;

    fn candidates(
        &self,
        world: &World,
        actions: &mut Vec<Action>,
        found: &mut Vec<(u64, Candidate)>,
    ) {
        self.actions(world, actions);
        let sums = Sums::of(world, &self.renamings);
        for action in actions.drain(..) {
            if let Some(candidate) = self.candidate(world, &sums, action) {
                found.push((engine::fingerprint(&candidate.fingerprint), candidate));
            }
        }
    }

    fn build(&self, world: &World, candidate: Candidate) -> World {
        Environment::build(self, world, candidate)
    }

    fn discovered(&self, properties: &[Property<Self>], open: u64, world: &World) -> u64 {
        let mut discovered = self.news(world) & open;
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
