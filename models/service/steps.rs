//! What happens at one server: the production service, with the oracle beneath it.
//!
//! What it must never do: let a server see more than its own state and its input.

use super::oracle::{Below, Standing, Transaction};
use super::script::Sessions;
use super::world::{Envelope, Server};
use super::{Model, oracle};
use crate::intern::{Interned, fingerprint};
use keepright::service::clock::Time;
use keepright::service::replication::settle;
use keepright::service::variant::Variant;
use keepright::service::{ClientInput, ClientOutput, Config, Effect, Env, PeerMsg, Service};
use keepright::types::{Epoch, ServerId, Zxid};
use keepright::zab::{History, Snapshot};
use keepright::znode::{SessionId, Tree};
use smallvec::SmallVec;
use stateright::actor::Id;
use std::time::Duration;

/// What reaches a server.
#[derive(Clone, Hash)]
pub enum Input {
    Client(Id, ClientInput),
    Peer(ServerId, PeerMsg),
    /// The next transaction is committed. A leader has it already.
    Told(Transaction),
    /// It is elected: this is the history of its epoch, all of it committed.
    Leads(oracle::Log),
    /// It is synchronized with a leader.
    Follows(ServerId, oracle::Log),
    /// It hears from its leader no more, and goes LOOKING.
    Looks,
    /// Its leader sends it a snapshot instead of what it lacks.
    Snapped(Zxid, Tree),
    Crashes,
    /// It starts at this time (ms).
    Starts(i64),
    /// The leader hears nothing of this session for so long that it expires, but of the others.
    Silence(SessionId, Vec<SessionId>),
    /// The server hears nothing of this local session for so long that it expires.
    LocalSilence(SessionId),
    /// The leader looks at this time (ms) for znodes that nobody uses.
    Sweeps(i64),
    /// It looks at its clock (ms).
    Clock(i64),
    /// Writes of its clients may have been lost on their way.
    Retransmits,
}

/// What a step does, interned. It depends on the server and its input alone.
#[derive(PartialEq)]
pub struct LocalStep {
    pub after: Interned<Server>,
    pub to_clients: SmallVec<[(Id, Interned<ClientOutput>); 2]>,
    pub sent: SmallVec<[Interned<Envelope>; 2]>,
}

/// The incarnation of a server at first. They are random; that each is smaller than the one before is what a leader must be
/// told to take. The first tickets of the first one are those of [`Variant::TicketReused`].
const FIRST_INCARNATION: u64 = 1 << 22;
/// The difference of two: larger than what a server counts from there.
const APART: u64 = 100;

/// Session ticks until a session that nobody hears of is surely over.
const TICKS: usize = 3;

impl Model {
    /// The configuration of a server in one of its incarnations.
    pub fn config(&self, sid: ServerId, incarnation: u64) -> Config {
        let mut config = Config::new(sid, incarnation, Duration::from_millis(2));
        // One session tick, so that the second one without a word ends the session.
        config.session_tick = Duration::from_millis(1);
        config.min_session_timeout_ms = 1;
        config.max_session_timeout_ms = 1;
        config.snap_count = u64::MAX;
        // A sweep is an action of its own.
        config.container_check_ms = i64::MAX;
        let sessions = self.scenario().sessions;
        config.local_sessions = sessions != Sessions::OfTheEnsemble;
        config.local_sessions_upgrading = sessions == Sessions::Upgraded;
        config.variant = self.variant;
        config
    }

    /// What an input does to a server, from the table if it was seen before.
    pub fn step(
        &self,
        id: ServerId,
        server: Interned<Server>,
        input: &Input,
    ) -> &'static LocalStep {
        // A server that is down does not say who it is.
        let what = fingerprint(&(id, input));
        let step = self.steps.get((server.address() as u64, what), || {
            Box::leak(Box::new(self.compute(id, server.get(), input)))
        });
        assert!(
            !self.doubts || *step == self.compute(id, server.get(), input),
            "two inputs of a server have the same hash"
        );
        step
    }

    fn compute(&self, id: ServerId, before: &Server, input: &Input) -> LocalStep {
        let mut server = before.clone();
        if let Input::Starts(_) = input
            && self.variant != Variant::IncarnationRepeats
        {
            server.incarnation -= APART;
        }
        let config = self.config(id, server.incarnation);
        let mut env = Env::new(&config);
        self.take(id, &mut server, &mut env, input);
        let (mut to_clients, mut sent) = (SmallVec::new(), SmallVec::new());
        for effect in env.out {
            match effect {
                Effect::ToClient(id, output) => to_clients.push((id, self.outputs.keep(output))),
                Effect::ToPeer(dst, message) => sent.push(self.envelopes.keep(Envelope {
                    src: id,
                    dst,
                    message,
                })),
                Effect::SetRetransmitTimer => {} // It may fire at any time.
                Effect::Warn(_) => {}            // Nobody hears it.
            }
        }
        LocalStep {
            after: self.servers.keep(server),
            to_clients,
            sent,
        }
    }

    fn take(&self, id: ServerId, server: &mut Server, env: &mut Env, input: &Input) {
        match input {
            Input::Crashes => {
                server.service = None;
                server.copy.standing = Standing::Looking;
                return;
            }
            Input::Starts(now_ms) => {
                let snapshot = server.copy.history.snapshot();
                server.copy.committed = snapshot.zxid;
                let mut service = Service::new(snapshot.state.clone(), snapshot.zxid);
                service.on_clock(time(*now_ms));
                server.service = Some(service);
            }
            Input::Leads(_) | Input::Follows(..) => {
                // A server changes sides by way of LOOKING.
                server.copy.standing = Standing::Looking;
                rest(id, server, env);
            }
            Input::Client(..)
            | Input::Peer(..)
            | Input::Told(_)
            | Input::Looks
            | Input::Snapped(..)
            | Input::Silence(..)
            | Input::LocalSilence(_)
            | Input::Sweeps(_)
            | Input::Clock(_)
            | Input::Retransmits => {}
        }
        let Server { copy, service, .. } = server;
        let Some(service) = service else { return };
        match input {
            Input::Crashes | Input::Starts(_) => {}
            Input::Client(connection, input) => service.on_client(env, *connection, input.clone()),
            Input::Peer(from, message) => service.on_peer(env, *from, message.clone()),
            Input::Told(entry) => {
                if entry.zxid > copy.history.last_zxid() {
                    copy.history.append(entry.zxid, entry.txn.clone());
                }
                copy.committed = entry.zxid;
            }
            Input::Leads(log) | Input::Follows(_, log) => {
                copy.take_over(log, log.initial);
                copy.epoch = log.epoch;
                copy.standing = match input {
                    Input::Follows(leader, _) => Standing::Following(*leader),
                    _ => Standing::Leading,
                };
            }
            Input::Looks => copy.standing = Standing::Looking,
            Input::Snapped(zxid, tree) => {
                let (zxid, state) = (*zxid, tree.clone());
                copy.history = History::from_snapshot(Snapshot { zxid, state });
                copy.committed = zxid;
            }
            Input::Silence(_, others) => {
                for _ in 0..TICKS {
                    service.on_session_timeout(env);
                    service.on_touch(others.clone());
                }
            }
            Input::LocalSilence(session) => service.expire_local(env, *session),
            Input::Sweeps(now_ms) => {
                service.on_clock(time(*now_ms));
                service.sweep(env.config);
            }
            Input::Clock(now_ms) => service.on_clock(time(*now_ms)),
            Input::Retransmits => service.on_retransmit_timeout(env),
        }
        rest(id, server, env);
    }

    /// A server at the beginning: it has applied the znodes that are there.
    pub fn first(&self, id: ServerId, leader: ServerId, log: &oracle::Log) -> Server {
        let mut server = Server {
            copy: oracle::Copy {
                history: History::default(),
                committed: Zxid::ZERO,
                epoch: Epoch(0),
                standing: Standing::Looking,
            },
            service: Some(Service::new(Tree::default(), Zxid::ZERO)),
            incarnation: FIRST_INCARNATION,
        };
        // Time is counted from the first look at the clock.
        server.service.iter_mut().for_each(|s| s.on_clock(time(0)));
        let config = self.config(id, server.incarnation);
        let mut env = Env::new(&config);
        let input = match id == leader {
            true => Input::Leads(log.clone()),
            false => Input::Follows(leader, log.clone()),
        };
        self.take(id, &mut server, &mut env, &input);
        server
    }
}

/// What the clocks of a server say. They agree here: what one does that is wrong is a matter of a test, as no decision
/// of the service rests on what two of them say.
fn time(now_ms: i64) -> Time {
    Time {
        stamp_ms: now_ms,
        elapsed_ms: now_ms,
    }
}

/// Lets service and oracle keep up with each other.
fn rest(me: ServerId, server: &mut Server, env: &mut Env) {
    let Server { copy, service, .. } = server;
    if let Some(service) = service {
        // No snapshots are taken of one's own accord, so what they count does not matter.
        settle(service, env, &mut Below { me, copy }, &mut 0);
    }
}
