//! What an action does to the one server that it concerns, by the handlers of the actor.
//!
//! What it must never do: let a server see more than its own state, its disk and the action.

use crate::coverage::{Input, Watched, is_effect};
use crate::environment::{Action, Environment};
use crate::faults::{self, Left};
use crate::intern::Interned;
use crate::world::{Envelope, Known, Process, World, Writes};
use keepright::types::ServerId;
use keepright::zab::invariants;
use keepright::zab::{Msg, Out, Role, Snapshot, State, Storage, Timer, Variant};
use smallvec::SmallVec;
use stateright::actor::{Command, Id};
use std::borrow::Cow;
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
}

/// What a step does to one server, with all its parts interned. It depends on that server and the
/// action alone, so it is computed once and looked up from then on.
pub struct LocalStep {
    pub server: ServerId,
    pub after: Interned<Known>,
    pub sent: SmallVec<[Interned<Envelope>; 4]>,
    /// Whether it changes what is obsolete: see [`Peer::is_alike`](keepright::zab::obsolete::Peer::is_alike).
    pub view_changes: bool,
    pub said_too_early: bool,
    pub left_behind: bool,
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

    /// The step of the server that an action concerns.
    pub fn local_step(&self, world: &World, action: Action) -> Option<(ServerId, Step)> {
        let local = |server: ServerId, step| Some((server, step?));
        let fails = |server: ServerId, input, disk| {
            let before = world.server(server).get().state.as_ref();
            self.tally.note(input, before, true);
            Some((server, faults::down(disk)))
        };
        match action {
            Action::Deliver(envelope) => {
                let Envelope { src, dst, message } = envelope.get();
                local(
                    *dst,
                    self.step(*dst, &world.server(*dst), &[], |zab, id, state, out| {
                        zab.on_msg(id, state, (*src).into(), Msg::Peer(message.clone()), out);
                    }),
                )
            }
            Action::Flush(server) => {
                let mut process = world.server(server).process.clone();
                process.disk = process.unsaved.remove(0);
                local(server, self.saved(server, &process))
            }
            Action::Elect { server, leader } => self.input(world, server, Msg::Elected(leader)),
            Action::Write(server) => {
                let number = self.bounds.writes - world.budget.writes + 1;
                self.input(world, server, Msg::Propose(number))
            }
            Action::Snapshot(server) => {
                let state = world.server(server).get().state.as_ref()?;
                let entries = invariants::delivered(state).into_iter().cloned().collect();
                let snapshot = Snapshot {
                    zxid: state.committed(),
                    state: entries,
                };
                self.input(world, server, Msg::Snapshot(snapshot))
            }
            Action::Finalize(server) => self.timer(world, server, &[Timer::Finalize]),
            Action::Heartbeat(server) => self.timer(world, server, &[Timer::Heartbeat]),
            Action::Timeout(server) => {
                let timers = silence(world.server(server).get().state.as_ref()?);
                self.timer(world, server, &timers)
            }
            Action::Silence { server, peer } => self.timer(world, server, &[Timer::Peer(peer)]),
            Action::Crash { server, left } => {
                let disk = faults::disk_after(world.server(server).get(), left);
                fails(server, Input::Crash, disk)
            }
            Action::DiskError { server, .. }
                if self.zab.config.variant == Variant::DiskErrorIgnored =>
            {
                let mut process = world.server(server).process.clone();
                process.unsaved.remove(0);
                local(server, self.saved(server, &process))
            }
            Action::DiskError { server, torn } => {
                let left = Left { kept: 0, torn };
                let disk = faults::disk_after(world.server(server).get(), left);
                fails(server, Input::DiskError, disk)
            }
            Action::Wipe(server) => fails(server, Input::Wipe, Storage::default()),
            Action::Outage(_) => unreachable!("an outage is a crash of each server"),
            Action::Restart(server) => {
                local(server, Some(self.start(server, &world.server(server).disk)))
            }
        }
    }

    /// The server is told that its oldest pending save is durable.
    fn saved(&self, server: ServerId, process: &Process) -> Option<Step> {
        self.step(server, process, &[], |zab, id, state, out| {
            zab.on_msg(id, state, id, Msg::Saved(1), out);
        })
    }

    fn input(&self, world: &World, server: ServerId, msg: Msg<Writes>) -> Option<(ServerId, Step)> {
        let step = self.step(server, &world.server(server), &[], |zab, id, state, out| {
            zab.on_msg(id, state, id, msg, out);
        });
        Some((server, step?))
    }

    fn timer(&self, world: &World, server: ServerId, timers: &[Timer]) -> Option<(ServerId, Step)> {
        let step = self.step(
            server,
            &world.server(server),
            timers,
            |zab, id, state, out| {
                for timer in timers {
                    zab.on_timeout(id, state, timer, out);
                }
            },
        );
        Some((server, step?))
    }
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
