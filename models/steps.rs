//! What an action does to the one server that it concerns, by the handlers of the actor.
//!
//! What it must never do: let a server see more than its own state, its disk and the action.

use crate::coverage::{Input, Watched, is_effect};
use crate::environment::{Action, Environment};
use crate::faults::{self, Left};
use crate::intern::Interned;
use crate::node::{Effect, Reach, sender};
use crate::symmetry::Images;
use crate::transaction;
use crate::world::{Budget, Envelope, Known, Process, Writes};
use keepright::types::ServerId;
use keepright::zab::invariants;
use keepright::zab::obsolete::Peer;
use keepright::zab::{
    Entry, Message, Msg, Out, Role, Snapshot, Stage, State, Storage, Timer, Variant,
};
use smallvec::SmallVec;
use stateright::actor::{Command, Id};
use std::borrow::Cow;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What a step does to one server, as the handlers bring it about.
pub struct Step {
    pub process: Process,
    pub sent: SmallVec<[Envelope; 8]>,
    /// Timers that were set, with how long they run, or cancelled, in order. The search leaves them
    /// alone: there a timer may fire at any time. A fair schedule follows them.
    pub timers: SmallVec<[(Timer, Option<Duration>); 4]>,
    pub said_too_early: bool,
    pub left_behind: bool,
    /// What the server has decided without the others.
    pub alone: Option<Entry<u8>>,
}

/// What a step does to one server, with all its parts interned. It depends on that server and the
/// action alone, so it is computed once and looked up from then on.
pub struct LocalStep {
    /// No other step has it.
    pub number: u32,
    pub server: ServerId,
    /// See [`Action::spends`].
    pub spends: u64,
    pub after: Interned<Known>,
    /// That of the process after it: so this need not be looked at.
    pub after_number: u32,
    /// What the others get of it.
    pub reaches: SmallVec<[Reach; 2]>,
    /// Whether it changes what is obsolete: see [`Zab::is_alike`](keepright::zab::Zab::is_alike).
    pub view_changes: bool,
    pub said_too_early: bool,
    pub left_behind: bool,
    pub alone: Option<Entry<u8>>,
    /// Whether a LOOKING server becomes a leader.
    pub is_elected: bool,
    /// Whether the record may have to take note of it.
    pub is_news: bool,
}

impl Step {
    /// The step that ends with `process` and brings about nothing else.
    pub fn of(process: Process) -> Self {
        Self {
            process,
            sent: SmallVec::new(),
            timers: SmallVec::new(),
            said_too_early: false,
            left_behind: false,
            alone: None,
        }
    }
}

impl Environment {
    /// Runs a handler of server `id`, called because the timers `fired` have fired or for another
    /// reason. `None` if it changes and says nothing.
    fn step(
        &self,
        id: ServerId,
        process: &Process,
        fired: &[Timer],
        handler: impl FnOnce(&Watched, Id, &mut Cow<'_, State<Writes>>, &mut Out<Writes>),
    ) -> Option<Step> {
        let (mut step, has_effect) = self.handle(id, process, handler)?;
        self.check_timers(id, process.state.as_ref(), fired, &step);
        step.left_behind = {
            let (before, after) = (process.state.as_ref()?, step.process.state.as_ref()?);
            let sent: Vec<_> = step.sent.iter().map(|e| (e.dst, &e.message)).collect();
            invariants::leaves_behind(&self.zab, before, after, &sent)
        };
        has_effect.then_some(step)
    }

    /// Runs a handler of server `id`, and says whether it changed or said anything; it may have set
    /// timers even if not. `None` if the server is down.
    pub fn handle(
        &self,
        id: ServerId,
        process: &Process,
        handler: impl FnOnce(&Watched, Id, &mut Cow<'_, State<Writes>>, &mut Out<Writes>),
    ) -> Option<(Step, bool)> {
        let mut state = Cow::Borrowed(process.state.as_ref()?);
        let mut out = Out::new();
        handler(&self.watched(), id.into(), &mut state, &mut out);
        let has_effect = matches!(state, Cow::Owned(_)) || out.iter().any(is_effect);
        let process = Process {
            disk: process.disk.clone(),
            unsaved: process.unsaved.clone(),
            state: Some(state.into_owned()),
        };
        let mut step = Step::of(process);
        self.carry_out(id, &mut step, out);
        Some((step, has_effect))
    }

    /// The actor, with a note of each step that it takes.
    fn watched(&self) -> Watched<'_> {
        Watched {
            zab: &self.zab,
            tally: &self.tally,
        }
    }

    /// Carries out what the actor wants: sends and saves. Timers are noted.
    fn carry_out(&self, id: ServerId, step: &mut Step, mut out: Out<Writes>) {
        loop {
            let mut durable = 0;
            for command in std::mem::take(&mut out) {
                match command {
                    Command::Send(dst, Msg::Peer(message)) => {
                        let dst = ServerId::from_actor(dst).expect("a server's id");
                        step.said_too_early |=
                            !invariants::is_durable(&step.process.disk, &message);
                        step.sent.push(Envelope {
                            src: id,
                            dst,
                            message,
                        });
                    }
                    Command::Send(..) => unreachable!("a server sends only messages of peers"),
                    Command::Save(storage) if self.bounds.pending_saves => {
                        step.process.unsaved.push(storage);
                    }
                    Command::Save(storage) => {
                        step.process.disk = storage;
                        durable += 1;
                    }
                    Command::SetTimer(timer, range) => {
                        step.timers.push((timer, Some(range.start)));
                    }
                    Command::CancelTimer(timer) => step.timers.push((timer, None)),
                    Command::ChooseRandom(..) => unreachable!("Zab draws no lots"),
                }
            }
            if durable == 0 {
                return;
            }
            let state = step
                .process
                .state
                .take()
                .expect("a server that takes a step is up");
            let mut state = Cow::Owned(state);
            self.watched().on_msg(
                id.into(),
                &mut state,
                id.into(),
                Msg::Saved(durable),
                &mut out,
            );
            step.process.state = Some(state.into_owned());
        }
    }

    pub fn start(&self, id: ServerId, disk: &Storage<Writes>) -> Step {
        let mut out = Out::new();
        let state = self.watched().on_start(id.into(), disk, &mut out);
        let mut step = Step::of(Process {
            disk: disk.clone(),
            unsaved: Vec::new(),
            state: Some(state),
        });
        self.carry_out(id, &mut step, out);
        self.check_timers(id, None, &[], &step);
        step
    }

    /// The step of the server that an action concerns, with this much of each budget left before it.
    pub fn local_step(&self, process: &Process, budget: &Budget, action: Action) -> Option<Step> {
        let fails = |input, disk| {
            self.tally.note(input, process.state.as_ref(), true);
            Some(faults::down(disk))
        };
        match action {
            Action::Deliver(envelope) => {
                let Envelope { src, dst, message } = envelope.get();
                self.step(*dst, process, &[], |zab, id, state, out| {
                    zab.on_msg(id, state, (*src).into(), Msg::Peer(message.clone()), out);
                })
            }
            Action::Flush(server) => {
                let mut process = process.clone();
                process.disk = process.unsaved.remove(0);
                self.saved(server, &process)
            }
            Action::Elect { server, leader } => self.input(process, server, Msg::Elected(leader)),
            Action::Write(server) => {
                let number = self.bounds.writes - budget.writes + 1;
                let txn = match self.bounds.reconfigure {
                    Some(reconfiguration) if reconfiguration.write == number => {
                        transaction::proposing(reconfiguration.voters())
                    }
                    Some(_) | None => number,
                };
                self.input(process, server, Msg::Propose(txn))
            }
            Action::Snapshot(server) => {
                let state = process.state.as_ref()?;
                let entries = invariants::delivered(state).into_iter().cloned().collect();
                let snapshot = Snapshot {
                    zxid: state.committed(),
                    state: entries,
                };
                self.input(process, server, Msg::Snapshot(snapshot))
            }
            Action::Finalize(server) => self.timer(process, server, &[Timer::Finalize]),
            Action::Heartbeat(server) => self.timer(process, server, &[Timer::Heartbeat]),
            Action::Timeout(server) => {
                let timers = silence(process.state.as_ref()?);
                self.timer(process, server, &timers)
            }
            Action::Silence { server, peer } => self.timer(process, server, &[Timer::Peer(peer)]),
            Action::Crash { left, .. } => fails(Input::Crash, faults::disk_after(process, left)),
            Action::DiskError { server, .. }
                if self.zab.config.variant == Variant::DiskErrorIgnored =>
            {
                let mut process = process.clone();
                process.unsaved.remove(0);
                self.saved(server, &process)
            }
            Action::DiskError { torn, .. } => {
                let left = Left { kept: 0, torn };
                fails(Input::DiskError, faults::disk_after(process, left))
            }
            Action::Wipe(_) => fails(Input::Wipe, faults::replaced(self, &process.disk)),
            Action::Alone(server) => {
                let disk = faults::used_alone(&process.disk, server);
                let alone = disk.history.entries().last().cloned();
                let step = fails(Input::Alone, disk)?;
                Some(Step { alone, ..step })
            }
            Action::Outage(_) => unreachable!("an outage is a crash of each server"),
            Action::Restart(server) => Some(self.start(server, &process.disk)),
        }
    }

    /// The server is told that its oldest pending save is durable.
    fn saved(&self, server: ServerId, process: &Process) -> Option<Step> {
        self.step(server, process, &[], |zab, id, state, out| {
            zab.on_msg(id, state, id, Msg::Saved(1), out);
        })
    }

    fn input(&self, process: &Process, server: ServerId, msg: Msg<Writes>) -> Option<Step> {
        self.step(server, process, &[], |zab, id, state, out| {
            zab.on_msg(id, state, id, msg, out);
        })
    }

    fn timer(&self, process: &Process, server: ServerId, timers: &[Timer]) -> Option<Step> {
        self.step(server, process, timers, |zab, id, state, out| {
            for timer in timers {
                zab.on_timeout(id, state, timer, out);
            }
        })
    }

    /// A step with all its parts interned, and with what follows from it for the others.
    pub fn interned(&self, action: Action, before: &Known, step: Step) -> LocalStep {
        let server = action.server();
        let (old, new) = (before.state.as_ref(), step.process.state.as_ref());
        let is_leading = |state: Option<&State<Writes>>| state.is_some_and(State::is_leading);
        let noted = step.said_too_early || step.left_behind || changes_record(old, new);
        let (is_elected, is_news) = (
            is_leading(new) && matches!(old.map(State::role), Some(Role::Looking(_))),
            noted && new.is_some() || step.alone.is_some(),
        );
        let (seen_before, seen_after) = (seen(server, before), seen(server, &step.process));
        let view_changes = !self.zab.is_alike(&seen_before, &seen_after);
        let after = self.intern_process(step.process);
        let mut sent = self.intern_envelopes(step.sent);
        if self.setting.election_alone {
            sent.retain(|envelope| matches!(envelope.message, Message::Notification(_)));
        }
        sent.sort_by_key(|envelope| envelope.number());
        sent.dedup();
        let reaches = (1..=self.size()).map(ServerId).filter_map(|to| {
            let for_it = sent.iter().copied().filter(|envelope| envelope.dst == to);
            let effect = Effect {
                from: sender(server, after.get()),
                sent: for_it.collect(),
            };
            let changes_sender = after.sender_hash != before.sender_hash;
            let reaches = to != server && (changes_sender || !effect.sent.is_empty());
            reaches.then(|| {
                let effect = self.effects.intern(effect, |_| Images::new());
                let number = effect.number();
                Reach {
                    to,
                    changes_sender,
                    number,
                    effect,
                }
            })
        });
        LocalStep {
            number: self.steps.fetch_add(1, Relaxed),
            server,
            spends: action.spends(),
            after,
            after_number: after.number(),
            reaches: reaches.collect(),
            view_changes,
            said_too_early: step.said_too_early,
            left_behind: step.left_behind,
            alone: step.alone,
            is_elected,
            is_news,
        }
    }
}

/// A server as the rule for obsolete messages sees it.
fn seen(id: ServerId, process: &Process) -> Peer<'_, Writes> {
    Peer {
        id,
        durable: process.mark(),
        state: process.state.as_ref(),
    }
}

/// Whether the record may take note of what has become of a server.
fn changes_record(old: Option<&State<Writes>>, new: Option<&State<Writes>>) -> bool {
    let Some(new) = new else { return false };
    let stage = |s: &State<Writes>| match s.role() {
        Role::Leading(leader) => (
            matches!(leader.stage, Stage::Broadcast { .. }),
            leader.established(),
        ),
        Role::Following(_) | Role::Looking(_) => (false, false),
    };
    let said = |s: &State<Writes>| (s.is_leading(), stage(s), s.epoch(), s.recency());
    old.map(State::serving) != Some(new.serving())
        || old.map(State::committed) != Some(new.committed())
        || (new.is_leading() && old.map(said) != Some(said(new)))
}

/// The timers that fire when a server hears from nobody for long.
fn silence(state: &State<Writes>) -> SmallVec<[Timer; 4]> {
    match state.role() {
        Role::Looking(_) => SmallVec::new(),
        Role::Following(follower) => smallvec::smallvec![Timer::Peer(follower.leader)],
        Role::Leading(leader) => leader
            .active
            .iter()
            .map(Timer::Peer)
            .chain([Timer::Establish])
            .collect(),
    }
}
