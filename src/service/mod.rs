//! The service: sessions, watches and requests over the replicated tree. Deterministic.
//!
//! Spec: `spec/5-service.md`. [`Service`] knows nothing of Zab: it is told when it serves clients and
//! what is committed, and says what to propose. [`replica`] joins the two. What it must never do: read
//! a clock, iterate over anything without an order, or answer a write that is not committed.

pub mod answer;
pub mod clock;
pub mod connection;
pub mod digest;
pub mod forward;
pub mod journal;
pub mod lag;
pub mod leader;
pub mod local;
pub mod message;
pub mod prepare;
pub mod quorum;
pub mod reconfig;
pub mod replica;
pub mod replication;
pub mod secret;
pub mod session;
pub mod stats;
pub mod unused;
pub mod variant;
pub mod watch;
pub mod write;

mod clients;
mod committed;
mod read_only;

pub use message::{ClientInput, ClientOutput, Msg, PeerMsg};
pub use replica::{Replica, ZooKeeper};
pub use stats::Stats;

use crate::members::Members;
use crate::persistent::{OrdMap, OrdSet};
use crate::types::{Epoch, ServerId, Zxid};
use crate::zab::{History, Snapshot};
use crate::znode::acl::Schemes;
use crate::znode::{Outcome, SessionId, Tree, Txn};
use clock::{Clock, Time};
use connection::Connection;
use digest::Digests;
use forward::{Forward, Outbox, StreamId};
use leader::{Leading, Verdict};
use local::LocalSessions;
use reconfig::Ensemble;
use serde::{Deserialize, Serialize};
use stateright::actor::Id;
use std::time::Duration;
use variant::Variant;
use watch::Watches;
use write::{Submission, Write};

/// How many sessions one Touch names: it fits in a datagram.
const TOUCHES: usize = 128;

/// What a server knows of itself, and the durations and bounds of its service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// This server.
    pub sid: ServerId,
    /// Random, and new at each start: it tells this start from every other one. Session ids are made of it.
    pub incarnation: u64,
    /// How often the time of the sessions is counted.
    pub session_tick: Duration,
    /// How long a write waits before it is sent to the leader again.
    pub retransmit: Duration,
    pub min_session_timeout_ms: i32,
    pub max_session_timeout_ms: i32,
    /// Random, and new at each start: what the secret of an ensemble that has none is made of.
    pub entropy: [u8; secret::LENGTH],
    /// The schemes that access control lists may name beside those that every server knows.
    pub schemes: Schemes,
    /// Whether a server without a leader serves reads to those that ask for no more.
    pub read_only_mode: bool,
    /// After how many transactions a snapshot is handed to Zab.
    pub snap_count: u64,
    /// Whether znodes may have a TTL (`extendedTypesEnabled`).
    pub extended_types: bool,
    /// How often the leader looks for containers and TTL znodes that nobody uses, in milliseconds
    /// (`znode.container.checkIntervalMs`).
    pub container_check_ms: i64,
    /// How many of them it deletes in a minute (`znode.container.maxPerMinute`).
    pub containers_per_minute: u32,
    /// After how many milliseconds a container without a first child goes; 0 is never
    /// (`znode.container.maxNeverUsedIntervalMs`).
    pub container_never_used_ms: i64,
    /// Whether hard quotas are enforced, and soft ones warned of (`enforceQuota`).
    pub enforce_quota: bool,
    /// Whether each read waits until a quorum has confirmed that nothing newer was acknowledged
    /// (`readsThroughQuorum`).
    pub reads_through_quorum: bool,
    /// Whether a new session is one of this server alone (`localSessionsEnabled`).
    pub local_sessions: bool,
    /// Whether it becomes one of the ensemble when it makes an ephemeral (`localSessionsUpgradingEnabled`).
    pub local_sessions_upgrading: bool,
    /// Whether clients are served while this server leads (`leaderServes`).
    pub leader_serves: bool,
    /// The members of the ensemble by the configuration; `None` if this server stands alone.
    pub members: Option<Members>,
    /// Whether clients may replace them (`reconfigEnabled`).
    pub reconfig: bool,
    /// Whether an ensemble must have two voters, because one that has fewer is none (`standaloneEnabled`).
    pub standalone: bool,
    /// Whether the leader writes digests of the tree, and the others compare them (`digest.enabled`).
    pub digests: bool,
    /// After how many bytes of transactions one is, even if they are fewer; 0 is no limit.
    pub snap_size: u64,
    /// The service as it should be, or what `check mutants` breaks in it. Never written down: what is,
    /// is faithful.
    #[serde(skip)]
    pub variant: Variant,
}

impl Config {
    /// ZooKeeper's defaults for a tickTime: session timeouts of 2 to 20 ticks, a snapshot every
    /// 100,000 transactions or 4 GB.
    pub fn new(sid: ServerId, incarnation: u64, tick_time: Duration) -> Self {
        let ticks = |count: u32| {
            let duration = tick_time.saturating_mul(count).as_millis();
            i32::try_from(duration).unwrap_or(i32::MAX)
        };
        Self {
            sid,
            incarnation,
            session_tick: tick_time / 2,
            retransmit: Duration::from_millis(100),
            min_session_timeout_ms: ticks(2),
            max_session_timeout_ms: ticks(20),
            entropy: [0; secret::LENGTH],
            schemes: Schemes::default(),
            read_only_mode: false,
            snap_count: 100_000,
            extended_types: false,
            container_check_ms: 60_000,
            containers_per_minute: 10_000,
            container_never_used_ms: 0,
            enforce_quota: false,
            reads_through_quorum: false,
            local_sessions: false,
            local_sessions_upgrading: false,
            leader_serves: true,
            members: None,
            reconfig: false,
            standalone: true,
            digests: true,
            snap_size: 4 << 30,
            variant: Variant::Faithful,
        }
    }
}

/// What the service wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    ToClient(Id, ClientOutput),
    ToPeer(ServerId, PeerMsg),
    /// Words for the log of the process.
    Warn(String),
    /// Call [`Service::on_retransmit_timeout`] after [`Config::retransmit`].
    SetRetransmitTimer,
}

/// The surroundings of a step of the service.
pub struct Env<'a> {
    pub config: &'a Config,
    /// The effects of the step, in order.
    pub out: Vec<Effect>,
}

impl<'a> Env<'a> {
    /// A step without effects so far.
    pub fn new(config: &'a Config) -> Self {
        let out = Vec::new();
        Self { config, out }
    }

    fn tell_client(&mut self, connection: Id, output: ClientOutput) {
        self.out.push(Effect::ToClient(connection, output));
    }

    fn tell_peer(&mut self, peer: ServerId, message: PeerMsg) {
        self.out.push(Effect::ToPeer(peer, message));
    }
}

/// The service of one server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    tree: Tree,
    /// The last transaction that the tree includes.
    applied: Zxid,
    /// How many periods of serving there were.
    terms: u64,
    /// The largest incarnation of this server that a leader has told of: streams must come after it.
    earlier: u64,
    period: Option<Period>,
    connections: OrdMap<Id, Connection>,
    /// The connection of each session that is open here.
    sessions: OrdMap<SessionId, Id>,
    /// The sessions that are this server's alone.
    local: LocalSessions,
    /// The connections that wait for their session, by the cxid of the transaction.
    openings: OrdMap<i32, Id>,
    watches: Watches,
    /// How many sessions were asked for here since the start.
    sessions_made: u64,
    /// How many openings there were, round and round: see [`Self::next_ticket`].
    tickets: i32,
    clock: Clock,
    digests: Digests,
    /// The sessions whose clients were heard of since the last session tick, and in the one before:
    /// a Touch may be lost.
    touched: OrdSet<SessionId>,
    touched_before: OrdSet<SessionId>,
    /// How many session ticks there was no leader, up to the bound of [`read_only`]; 0 without that mode.
    leaderless: u8,
}

/// A time in which a server serves clients, under one leader and without a break.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Period {
    stream: StreamId,
    rank: Rank,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Rank {
    Learner { leader: ServerId, outbox: Outbox },
    Leader(Box<Leading>),
}

impl Service {
    /// The service of a server that starts with a tree.
    pub fn new(tree: Tree, applied: Zxid) -> Self {
        Self {
            tree,
            applied,
            terms: 0,
            earlier: 0,
            period: None,
            connections: OrdMap::new(),
            sessions: OrdMap::new(),
            local: LocalSessions::default(),
            openings: OrdMap::new(),
            watches: Watches::default(),
            sessions_made: 0,
            tickets: 0,
            clock: Clock::default(),
            digests: Digests::default(),
            touched: OrdSet::new(),
            touched_before: OrdSet::new(),
            leaderless: 0,
        }
    }

    /// The service of a server that starts with a history: with the tree of its snapshot.
    pub fn recover(history: &History<ZooKeeper>) -> Self {
        let Snapshot { zxid, state } = history.snapshot();
        let mut service = Self::new(state.clone(), *zxid);
        let before = history.entries().iter().take_while(|e| e.zxid <= *zxid);
        let last = before.last().map(|entry| (entry.zxid, &entry.txn));
        service.clock.start(state, last, history.last_zxid());
        service.digests.recovered = history.last_zxid();
        service
    }

    /// The tree after [`Self::applied`].
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The sessions that are this server's alone.
    pub fn local_sessions(&self) -> &LocalSessions {
        &self.local
    }

    /// The last transaction that the tree includes.
    pub fn applied(&self) -> Zxid {
        self.applied
    }

    /// The leader of the present period of serving; `None` while clients are not served.
    pub fn leader(&self, me: ServerId) -> Option<ServerId> {
        self.period.as_ref().map(|period| match &period.rank {
            Rank::Learner { leader, .. } => *leader,
            Rank::Leader(_) => me,
        })
    }

    /// The stream in which this server's writes reach the leader; `None` while clients are not served.
    pub fn stream(&self) -> Option<StreamId> {
        self.period.as_ref().map(|period| period.stream)
    }

    /// The last transaction that was proposed, if this is the leader's service.
    pub fn proposed(&self) -> Option<Zxid> {
        match &self.period.as_ref()?.rank {
            Rank::Leader(leading) => Some(leading.proposed()),
            Rank::Learner { .. } => None,
        }
    }

    /// Whether clients are sent to other servers: there is nobody to serve them under, or this server
    /// leads and is told to do no more than that.
    fn sends_clients_away(&self, config: &Config) -> bool {
        match &self.period {
            None => true,
            Some(period) => !config.leader_serves && matches!(period.rank, Rank::Leader(_)),
        }
    }

    /// From now on clients are served under `leader`. `epoch` is the current epoch.
    pub fn begin_following(&mut self, env: &mut Env, leader: ServerId, epoch: Epoch) {
        self.end(env);
        let stream = self.next_stream(env.config);
        let outbox = Outbox::new(stream, epoch);
        let rank = Rank::Learner { leader, outbox };
        self.period = Some(Period { stream, rank });
    }

    /// From now on clients are served, and this server leads. `epoch` is the current epoch, and
    /// `in_flight` what the history holds after [`Self::applied`].
    pub fn begin_leading<'a>(
        &mut self,
        env: &mut Env,
        epoch: Epoch,
        in_flight: impl Iterator<Item = (Zxid, &'a Txn)>,
    ) {
        self.end(env);
        let mut tree = self.tree.clone();
        let mut proposed = self.applied;
        for (zxid, txn) in in_flight {
            // The clients of these have gone: nobody is answered.
            let _ = tree.apply(zxid, txn);
            proposed = zxid;
        }
        let mut leading = Leading::new(epoch, tree, proposed, &self.clock);
        if env.config.members.is_some() {
            leading.show_members();
        }
        leading.end_owners_without_session();
        for (&session, &timeout_ms) in self.tree.sessions() {
            let ticks = session::timeout_ticks(env.config.session_tick, timeout_ms);
            leading.expiry.insert(session, ticks);
        }
        let stream = self.next_stream(env.config);
        let rank = Rank::Leader(Box::new(leading));
        self.period = Some(Period { stream, rank });
    }

    /// Clients are not served any more: every connection is closed. The sessions live on, but for local ones.
    pub fn end(&mut self, env: &mut Env) {
        self.period = None;
        self.leaderless = 0;
        for &connection in self.connections.keys() {
            env.tell_client(connection, ClientOutput::Close);
        }
        self.connections.clear();
        self.sessions.clear();
        self.local = LocalSessions::default();
        self.openings.clear();
        self.touched.clear();
        self.touched_before.clear();
        self.watches = Watches::default();
    }

    /// The tree is replaced by a later one.
    pub fn restore(&mut self, env: &mut Env, tree: Tree, applied: Zxid) {
        // Nobody can say any more who is to be told of what happened in between.
        if env.config.variant != Variant::RestoreKeepsConnections {
            self.end(env);
        }
        self.tree = tree;
        self.clock.restore(&self.tree);
        self.digests.restore();
        if env.config.variant != Variant::RestoreMisdated {
            self.applied = applied;
        }
    }

    fn next_stream(&mut self, config: &Config) -> StreamId {
        self.terms += 1;
        StreamId {
            incarnation: match config.incarnation > self.earlier {
                true => config.incarnation,
                false => self.earlier.saturating_add(1),
            },
            term: self.terms,
        }
    }

    /// The next transaction to propose, if this is the leader's service and a write waits. It gets
    /// `zxid`, and must be proposed.
    pub fn next_proposal(&mut self, env: &mut Env, zxid: Zxid, ensemble: Ensemble) -> Option<Txn> {
        let Rank::Leader(leading) = &mut self.period.as_mut()?.rank else {
            return None;
        };
        if env.config.variant == Variant::JudgeByCommitted {
            leading.judge_by(&self.tree);
        }
        let (txn, warnings) =
            leading.next_proposal(env.config, zxid, ensemble, &self.tree, &self.clock)?;
        env.out.extend(warnings.into_iter().map(Effect::Warn));
        Some(txn)
    }

    /// Zab has added a transaction of its own to what this leader's service has proposed.
    pub fn take_in(&mut self, zxid: Zxid, txn: &Txn) {
        if let Some(Rank::Leader(leading)) = self.period.as_mut().map(|period| &mut period.rank) {
            leading.take_in(zxid, txn);
        }
    }

    /// Hands a write to the leader.
    fn submit(&mut self, env: &mut Env, id: Id, cxid: i32, write: Write) {
        let (Some(period), Some(connection)) = (&mut self.period, self.connections.get(&id)) else {
            return; // The connection has been closed.
        };
        let submission = Submission {
            connection: id,
            session: connection.session,
            is_local: self.local.contains(connection.session),
            cxid,
            auth: connection.auth.clone(),
            write,
        };
        match &mut period.rank {
            Rank::Leader(leading) => {
                leading.submit(env.config.sid, env.config.incarnation, submission);
            }
            Rank::Learner { leader, outbox } => {
                if outbox.is_empty() {
                    env.out.push(Effect::SetRetransmitTimer);
                }
                if let Some(message) = outbox.push(submission) {
                    env.tell_peer(*leader, PeerMsg::Forward(message));
                }
                if env.config.variant == Variant::AnswerWhenForwarded {
                    self.answer_first(env, id, self.applied, cxid, Ok(Outcome::Deleted));
                }
            }
        }
    }

    /// Takes what the service of another server says; what its Zab says is not for here.
    pub fn on_peer(&mut self, env: &mut Env, from: ServerId, message: PeerMsg) {
        match message {
            PeerMsg::Forward(message) => self.on_forward(env, from, message),
            PeerMsg::Accepted { stream, through } => self.on_accepted(env, from, stream, through),
            PeerMsg::Refused { stream, newest } => self.on_refused(env, from, stream, newest),
            PeerMsg::Touch { sessions } => self.on_touch(sessions),
            PeerMsg::Differs { zxid } => self.on_differs(from, zxid),
            PeerMsg::Zab(_) => {}
        }
    }

    /// Writes of another server's clients.
    pub fn on_forward(&mut self, env: &mut Env, from: ServerId, message: Forward) {
        let Some(Rank::Leader(leading)) = self.period.as_mut().map(|period| &mut period.rank)
        else {
            return; // The sender will hear from Zab who leads.
        };
        let stream = message.stream;
        let answer = match leading.on_forward(env.config, from, message) {
            Verdict::Accepted { through } => PeerMsg::Accepted { stream, through },
            Verdict::Refused { newest } => PeerMsg::Refused { stream, newest },
        };
        env.tell_peer(from, answer);
    }

    /// The leader has given every write of the stream up to `through` its place.
    pub fn on_accepted(&mut self, env: &mut Env, from: ServerId, stream: StreamId, through: u64) {
        if let Some(Rank::Learner { leader, outbox }) =
            self.period.as_mut().map(|period| &mut period.rank)
            && (*leader, outbox.stream()) == (from, stream)
            && let Some(message) = outbox.on_accepted(through)
        {
            env.tell_peer(from, PeerMsg::Forward(message));
        }
    }

    /// The leader has lost what it knew of this stream, or takes it for one of an earlier start. Which writes have a
    /// place nobody can say now: the period ends, and the clients come back. The next stream is newer than the
    /// newest that the leader knows.
    pub fn on_refused(
        &mut self,
        env: &mut Env,
        from: ServerId,
        stream: StreamId,
        newest: StreamId,
    ) {
        if let Some(Rank::Learner { leader, outbox }) =
            self.period.as_ref().map(|period| &period.rank)
            && (*leader, outbox.stream()) == (from, stream)
        {
            self.earlier = self.earlier.max(newest.incarnation);
            self.end(env);
        }
    }

    /// The clients of these sessions were heard of at another server.
    pub fn on_touch(&mut self, sessions: Vec<SessionId>) {
        if let Some(Rank::Leader(leading)) = self.period.as_mut().map(|period| &mut period.rank) {
            for session in sessions {
                leading.expiry.touch(session);
            }
        }
    }

    /// Some writes may have been lost on their way.
    pub fn on_retransmit_timeout(&mut self, env: &mut Env) {
        if let Some(Rank::Learner { leader, outbox }) =
            self.period.as_ref().map(|period| &period.rank)
            && let Some(message) = outbox.retransmission()
        {
            env.tell_peer(*leader, PeerMsg::Forward(message));
            env.out.push(Effect::SetRetransmitTimer);
        }
    }

    /// The runtime has looked at its clocks.
    pub fn on_clock(&mut self, time: Time) {
        self.clock.on_time(time);
    }

    /// The leader looks for containers and TTL znodes that nobody uses.
    pub fn sweep(&mut self, config: &Config) {
        if let Some(Rank::Leader(leading)) = self.period.as_mut().map(|period| &mut period.rank) {
            leading.sweep(config, &self.clock, &self.tree);
        }
    }

    /// A session tick has passed: the leader counts it, the others tell the leader which clients they
    /// have heard of.
    pub fn on_session_timeout(&mut self, env: &mut Env) {
        self.on_local_tick(env);
        self.tell_of_mismatch(env);
        let touched = std::mem::take(&mut self.touched);
        let before = std::mem::replace(&mut self.touched_before, touched.clone());
        match self.period.as_mut().map(|period| &mut period.rank) {
            Some(Rank::Leader(leading)) => leading.on_tick(env.config, &self.clock, &self.tree),
            Some(Rank::Learner { leader, .. }) => {
                let sessions: Vec<SessionId> = touched.union(before).into_iter().collect();
                for sessions in sessions.chunks(TOUCHES) {
                    let sessions = sessions.to_vec();
                    env.tell_peer(*leader, PeerMsg::Touch { sessions });
                }
            }
            None => self.on_leaderless_tick(env.config),
        }
    }
}

#[cfg(test)]
mod tests;
