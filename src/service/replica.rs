//! The replica actor: Zab with the service around it. The runtime runs this.
//!
//! Spec: `spec/5-service.md`, "The replica". What it must never do: let the service see what is not
//! committed, but for the leader's judgement of requests; or change what Zab says and saves.

use super::lag::Lag;
use super::leader::NO_TICKET;
use super::reconfig::{self, Ensemble};
use super::replication::{self, Replication};
use super::stats::{Mode, Stats};
use super::{ClientInput, Config, Effect, Env, Msg, PeerMsg, Service};
use crate::members::PeerAddress;
use crate::quorum::{Membership, ServerSet};
use crate::types::{Epoch, ServerId, Zxid};
use crate::zab::{self, Change, History, Payload, Role, Snapshot, Storage, Zab};
use crate::znode::{self, SessionId, Tree, Txn, TxnBody};
use serde::{Deserialize, Serialize};
use stateright::actor::{Actor, Command, Id, Out};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What Zab replicates in production.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ZooKeeper;

impl Payload for ZooKeeper {
    type Txn = znode::Txn;
    type Snapshot = Tree;

    fn change(txn: &Txn) -> Option<Change> {
        reconfig::change(&txn.body)
    }

    fn in_force() -> Option<Txn> {
        Some(Txn {
            session: SessionId::default(),
            cxid: NO_TICKET,
            time: 0,
            body: TxnBody::InForce,
            digest: None,
        })
    }

    fn nothing() -> Option<Txn> {
        Some(Txn {
            session: SessionId::default(),
            cxid: NO_TICKET,
            time: 0,
            body: TxnBody::Error(None),
            digest: None,
        })
    }

    fn membership(tree: &Tree) -> Option<Membership> {
        Some(reconfig::agreed(tree)?.membership().clone())
    }
}

/// One server: the actor.
#[derive(Clone, Debug)]
pub struct Replica {
    zab: Zab<ZooKeeper>,
    config: Config,
}

/// The state of one server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// `None` only inside a step, while Zab has it.
    zab: Option<zab::State<ZooKeeper>>,
    service: Service,
    /// How many transactions were applied since the last snapshot.
    since_snapshot: u64,
    /// How far it is behind the leader that it follows.
    lag: Lag,
}

/// The timers of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    Zab(zab::Timer),
    /// A session tick.
    Session,
    /// Writes may have been lost on their way to the leader.
    Retransmit,
}

impl State {
    /// What Zab knows.
    pub fn zab(&self) -> &zab::State<ZooKeeper> {
        self.zab
            .as_ref()
            .expect("Zab's state is back after each step")
    }

    /// What the service knows.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Whether clients are served: Zab allows it, and this server is level with its leader.
    pub fn serving(&self) -> bool {
        self.zab().serving() && (self.zab().is_leading() || self.lag.is_level())
    }
}

impl Replica {
    /// The actor. The id that it runs under is that of `config.sid`.
    pub fn new(zab: Zab<ZooKeeper>, config: Config) -> Self {
        Self { zab, config }
    }

    /// The protocol beneath the service.
    pub fn zab(&self) -> &Zab<ZooKeeper> {
        &self.zab
    }

    /// The configuration of the service.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many session ticks a server may lag: together with the one in which that is noticed, syncLimit.
    fn lag_limit(&self) -> u32 {
        let ticks =
            self.zab.config.peer_timeout.as_millis() / self.config.session_tick.as_millis().max(1);
        u32::try_from(ticks).unwrap_or(u32::MAX).max(2) - 1
    }

    /// The figures of a server.
    pub fn stats(&self, state: &State) -> Stats {
        let Config { sid, .. } = self.config;
        let zab = state.zab();
        let in_force = self.zab.in_force(zab);
        let (voters, observers) = (in_force.voters(), in_force.observers());
        let alone = self.config.members.is_none();
        let mode = match zab.role() {
            _ if state.service.is_read_only() => Mode::ReadOnly,
            _ if !state.serving() || state.service.mismatch().is_some() => Mode::Looking,
            Role::Leading(_) if alone => Mode::Standalone,
            Role::Leading(_) => Mode::Leader,
            Role::Following(_) if observers.contains(sid) => Mode::Observer,
            Role::Following(_) => Mode::Follower,
            Role::Looking(_) => Mode::Looking,
        };
        let synced = zab.learners();
        let followers = synced.intersection(&voters).len();
        state
            .service
            .stats(mode, synced.iter().collect(), followers)
    }

    /// The members of the ensemble with their addresses, as far as this server knows: those that decide, and those
    /// that are to replace them. Empty if it stands alone.
    pub fn servers(&self, state: &State) -> BTreeMap<ServerId, PeerAddress> {
        let history = &state.zab().storage().history;
        reconfig::servers(self.config.members.as_ref(), history)
    }
}

impl Actor for Replica {
    type Msg = Msg;
    type Timer = Timer;
    type State = State;
    type Storage = Storage<ZooKeeper>;
    type Random = ();

    fn on_start(&self, id: Id, storage: &Option<Self::Storage>, o: &mut Out<Self>) -> State {
        let mut said = Out::new();
        let zab = self.zab.on_start(id, storage, &mut said);
        translate(said, o);
        o.set_timer(
            Timer::Session,
            self.config.session_tick..self.config.session_tick,
        );
        let service = Service::recover(&zab.storage().history);
        let mut state = State {
            zab: Some(zab),
            service,
            since_snapshot: 0,
            lag: Lag::default(),
        };
        Step::new(self, id, &mut state, o).finish();
        state
    }

    fn on_msg(&self, id: Id, state: &mut Cow<State>, src: Id, msg: Msg, o: &mut Out<Self>) {
        let mut step = Step::new(self, id, state.to_mut(), o);
        match msg {
            Msg::Peer(message) => step.on_peer(src, message),
            Msg::Saved(count) => step.below.on_msg(src, zab::Msg::Saved(count)),
            Msg::Clock(time) => step.service.on_clock(time),
            Msg::Client(input) => step.on_client(src, input),
            Msg::ToClient(_) | Msg::Warning(_) => {} // Go out only.
        }
        step.finish();
    }

    fn on_timeout(&self, id: Id, state: &mut Cow<State>, timer: &Timer, o: &mut Out<Self>) {
        let mut step = Step::new(self, id, state.to_mut(), o);
        match timer {
            Timer::Zab(timer) => step.below.on_timeout(timer),
            Timer::Session => {
                let tick = self.config.session_tick;
                step.below.out.set_timer(Timer::Session, tick..tick);
                let limit = self.lag_limit();
                step.below.lag.on_tick(step.below.state.committed(), limit);
                step.service.on_session_timeout(&mut step.env);
            }
            Timer::Retransmit => step.service.on_retransmit_timeout(&mut step.env),
        }
        step.finish();
    }

    fn name(&self) -> String {
        "replica".to_owned()
    }
}

/// One step of the actor.
struct Step<'a> {
    service: &'a mut Service,
    since_snapshot: &'a mut u64,
    home: &'a mut Option<zab::State<ZooKeeper>>,
    env: Env<'a>,
    below: Below<'a>,
}

/// Zab, as the service sees it.
struct Below<'a> {
    actor: &'a Zab<ZooKeeper>,
    id: Id,
    me: ServerId,
    /// Zab's state is owned here, so that Zab changes it in place.
    state: Cow<'static, zab::State<ZooKeeper>>,
    lag: &'a mut Lag,
    out: &'a mut Out<Replica>,
}

impl Replication for Below<'_> {
    fn committed(&self) -> Zxid {
        self.state.committed()
    }

    fn leader(&self) -> Option<ServerId> {
        let may_serve = self.state.is_leading() || self.lag.is_level();
        let leader = self.state.leader(self.me);
        leader.filter(|_| self.state.serving() && may_serve)
    }

    fn epoch(&self) -> Epoch {
        self.state.storage().current_epoch
    }

    fn history(&self) -> &History<ZooKeeper> {
        &self.state.storage().history
    }

    fn next_zxid(&self) -> Option<Zxid> {
        self.state.next_zxid()
    }

    fn ensemble(&self) -> Ensemble {
        Ensemble {
            is_changing: self.actor.in_force(&self.state).next.is_some(),
            synchronized: self.state.learners().union(&ServerSet::of(self.me)),
        }
    }

    fn propose(&mut self, txn: Txn) {
        self.on_msg(self.id, zab::Msg::Propose(txn));
    }

    fn compact(&mut self, snapshot: Snapshot<Tree>) {
        self.on_msg(self.id, zab::Msg::Snapshot(snapshot));
    }
}

impl Below<'_> {
    fn on_msg(&mut self, src: Id, msg: zab::Msg<ZooKeeper>) {
        let mut said = Out::new();
        self.actor
            .on_msg(self.id, &mut self.state, src, msg, &mut said);
        translate(said, self.out);
    }

    fn on_timeout(&mut self, timer: &zab::Timer) {
        let mut said = Out::new();
        self.actor
            .on_timeout(self.id, &mut self.state, timer, &mut said);
        translate(said, self.out);
    }
}

impl<'a> Step<'a> {
    fn new(replica: &'a Replica, id: Id, state: &'a mut State, out: &'a mut Out<Replica>) -> Self {
        let zab = state.zab.take();
        let below = Below {
            actor: &replica.zab,
            id,
            me: replica.config.sid,
            state: Cow::Owned(zab.expect("Zab's state is back after each step")),
            lag: &mut state.lag,
            out,
        };
        Self {
            service: &mut state.service,
            since_snapshot: &mut state.since_snapshot,
            home: &mut state.zab,
            env: Env::new(&replica.config),
            below,
        }
    }

    fn on_peer(&mut self, src: Id, message: PeerMsg) {
        let Some(from) = ServerId::from_actor(src) else {
            return; // A client cannot speak for a server.
        };
        match message {
            PeerMsg::Zab(message) => {
                let epoch = message.epoch();
                let commit = if let zab::Message::Commit { zxid, .. } = &message {
                    Some(*zxid)
                } else {
                    None
                };
                self.below.on_msg(src, zab::Msg::Peer(message));
                let state = &self.below.state;
                let is_told = state.serving()
                    && state.following() == Some(from)
                    && epoch == Some(state.storage().current_epoch);
                if let Some(zxid) = commit.filter(|_| is_told) {
                    self.below.lag.on_commit(zxid);
                }
            }
            PeerMsg::Forward(_)
            | PeerMsg::Accepted { .. }
            | PeerMsg::Refused { .. }
            | PeerMsg::Differs { .. }
            | PeerMsg::Touch { .. } => self.service.on_peer(&mut self.env, from, message),
        }
    }

    fn on_client(&mut self, src: Id, input: ClientInput) {
        self.service.on_client(&mut self.env, src, input);
    }

    /// Lets service and Zab keep up with each other, and says what the service has to say.
    fn finish(mut self) {
        let below = &mut self.below;
        match below.state.serving() && below.state.following().is_some() {
            true => below.lag.on_progress(below.state.committed()),
            false => *below.lag = Lag::default(),
        }
        let env = &mut self.env;
        replication::settle(self.service, env, &mut self.below, self.since_snapshot);
        self.emit();
        *self.home = Some(self.below.state.into_owned());
    }

    /// Hands the effects of the service to the runtime. What Zab has said in this step goes first: no
    /// answer hurries ahead of what it tells of.
    fn emit(&mut self) {
        let out = &mut *self.below.out;
        for effect in std::mem::take(&mut self.env.out) {
            match effect {
                Effect::ToClient(id, output) => out.send(id, Msg::ToClient(output)),
                Effect::ToPeer(peer, message) => out.send(peer.into(), Msg::Peer(message)),
                Effect::Warn(words) => out.send(self.below.id, Msg::Warning(words)),
                Effect::SetRetransmitTimer => {
                    let period = self.env.config.retransmit;
                    out.set_timer(Timer::Retransmit, period..period);
                }
            }
        }
    }
}

/// Passes on what Zab wants done.
fn translate(said: Out<Zab<ZooKeeper>>, o: &mut Out<Replica>) {
    for command in said {
        match command {
            Command::Send(to, zab::Msg::Peer(message)) => {
                o.send(to, Msg::Peer(PeerMsg::Zab(message)));
            }
            Command::Send(
                _,
                zab::Msg::Saved(_)
                | zab::Msg::Propose(_)
                | zab::Msg::Snapshot(_)
                | zab::Msg::Elected(_),
            ) => {} // Inputs: Zab says none of them.
            Command::SetTimer(timer, range) => o.set_timer(Timer::Zab(timer), range),
            Command::CancelTimer(timer) => o.cancel_timer(Timer::Zab(timer)),
            Command::Save(storage) => o.save(storage),
            Command::ChooseRandom(..) => {} // Zab makes no choices.
        }
    }
}
