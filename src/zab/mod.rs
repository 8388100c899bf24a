//! Zab, ZooKeeper's replication protocol, as a stateright actor: no I/O, no clock, no randomness.
//!
//! Spec: `spec/1-election.md` to `spec/4-broadcast.md`; each phase is a file of this module. The same
//! actor runs in the checker (`models/`) and in the server (`crate::server`). What it must never do:
//! rely on the order or the arrival of a message, or say what is not durable yet.

pub mod discovery;
pub mod election;
pub mod history;
pub mod invariants;
pub mod lineage;
pub mod membership;
pub mod message;
pub mod obsolete;
pub mod state;
pub mod symmetry;
pub mod variant;
pub mod view;

mod broadcast;
mod broken;
mod divergence;
mod newcomers;
mod synchronization;

pub use election::{Election, Notification, Stance, Vote};
pub use history::{Difference, Entry, History, Memory, Payload, Snapshot, Storage};
pub use lineage::{Divergence, Lineage, Term};
pub use membership::{Change, InForce};
pub use message::{Message, Msg};
pub use state::{Diverged, Follower, Leader, Mark, Recency, Report, Role, Stage, State};
pub use variant::Variant;

use crate::quorum::{Membership, ServerSet};
use crate::types::{Round, ServerId, Zxid};
use serde::{Deserialize, Serialize};
use stateright::actor::{Actor, Id};
use std::borrow::Cow;
use std::time::Duration;

/// The effects of a step of [`Zab`].
pub type Out<P> = stateright::actor::Out<Zab<P>>;

/// One server of an ensemble.
#[derive(Clone, Debug)]
pub struct Zab<P: Payload> {
    pub config: Config,
    payload: std::marker::PhantomData<P>,
}

/// What the servers of an ensemble have agreed on, and the durations of one of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Who votes, and what a quorum is.
    pub membership: Membership,
    /// How often a server repeats its last word (and so shows that it is alive).
    pub heartbeat: Duration,
    /// How long a peer may be silent before it is given up: syncLimit ticks.
    pub peer_timeout: Duration,
    /// How long discovery and synchronization may take: initLimit ticks.
    pub establish_timeout: Duration,
    /// How long a server that sees a quorum for its vote waits for a better one.
    pub finalize_wait: Duration,
    /// The last counter of an epoch; the leader moves on to a new epoch after it.
    pub max_counter: u32,
    /// How many transactions before a snapshot are kept for learners that are a little behind.
    pub retain: usize,
    pub elections: Elections,
    /// Never written down: what is, is faithful.
    #[serde(skip)]
    pub variant: Variant,
}

impl Config {
    /// The configuration of an ensemble with ZooKeeper's defaults: ticks of 2 s, initLimit 10,
    /// syncLimit 5.
    pub fn new(membership: Membership) -> Self {
        Self {
            membership,
            heartbeat: Duration::from_millis(100),
            peer_timeout: Duration::from_secs(10),
            establish_timeout: Duration::from_secs(20),
            finalize_wait: Duration::from_millis(200),
            max_counter: u32::MAX,
            retain: 500,
            elections: Elections::Held,
            variant: Variant::Faithful,
        }
    }
}

/// Who elects the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Elections {
    /// The servers themselves (`spec/1-election.md`).
    Held,
    /// Somebody outside, who tells a LOOKING server whom to follow by [`Msg::Elected`]. The phases
    /// after the election must be safe whatever it says.
    External,
}

/// The timers of a server. None of them carries safety: the checker may fire any at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// Time to repeat the last word.
    Heartbeat,
    /// The vote has had a quorum for long enough.
    Finalize,
    /// Discovery and synchronization have taken too long.
    Establish,
    /// This peer has been silent for too long.
    Peer(ServerId),
}

impl<P: Payload> Actor for Zab<P> {
    type Msg = Msg<P>;
    type Timer = Timer;
    type State = State<P>;
    type Storage = Storage<P>;
    type Random = ();

    fn on_start(&self, id: Id, storage: &Option<Storage<P>>, o: &mut Out<P>) -> State<P> {
        let me = server(id);
        let mut storage = storage.clone().unwrap_or_default();
        if self.config.variant == Variant::EpochsFromLog {
            storage.accepted_epoch = storage.history.last_zxid().epoch();
            storage.current_epoch = storage.accepted_epoch;
        }
        let vote = Vote::for_self(me, Recency::default(), Zxid::ZERO, false);
        let election = Election::candidate(me, Round::default(), vote);
        let mut state = State::restored(storage, Role::Looking(election));
        o.set_timer(Timer::Heartbeat, at(self.config.heartbeat));
        self.look_for_leader(me, &mut state, Round::default(), o);
        state
    }

    fn on_msg(&self, id: Id, state: &mut Cow<State<P>>, src: Id, msg: Msg<P>, o: &mut Out<P>) {
        let me = server(id);
        match msg {
            Msg::Peer(message) => {
                let Some(peer) = ServerId::from_actor(src).filter(|peer| *peer != me) else {
                    return; // No server, or an echo.
                };
                self.on_peer_message(me, state, peer, message, o);
            }
            Msg::Saved(count) => self.on_saved(me, state.to_mut(), count, o),
            Msg::Propose(txn) => self.on_propose(state, txn, o),
            Msg::Snapshot(snapshot) => self.on_snapshot(state.to_mut(), snapshot, o),
            Msg::Elected(leader) => self.on_elected(me, state, leader, o),
        }
    }

    fn on_timeout(&self, id: Id, state: &mut Cow<State<P>>, timer: &Timer, o: &mut Out<P>) {
        let me = server(id);
        match timer {
            Timer::Heartbeat => {
                o.set_timer(Timer::Heartbeat, at(self.config.heartbeat));
                self.repeat_last_word(me, state, o);
            }
            Timer::Finalize => self.on_finalize_timeout(me, state, o),
            Timer::Establish => self.on_establish_timeout(me, state, o),
            Timer::Peer(peer) => self.on_peer_timeout(me, state, *peer, o),
        }
    }
}

impl<P: Payload> Zab<P> {
    /// The actor with the given configuration.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            payload: std::marker::PhantomData,
        }
    }

    fn on_peer_message(
        &self,
        me: ServerId,
        state: &mut Cow<State<P>>,
        peer: ServerId,
        message: Message<P>,
        o: &mut Out<P>,
    ) {
        match message {
            Message::Notification(n) => self.on_notification(me, state, peer, n, o),
            Message::FollowerInfo { accepted_epoch } => {
                self.on_follower_info(me, state, peer, accepted_epoch, o);
            }
            Message::NewEpoch {
                epoch,
                name,
                current_epoch,
                last_zxid,
                lineage,
            } => {
                let leader_has = Recency {
                    current_epoch,
                    last_zxid,
                };
                self.on_new_epoch(me, state, peer, (epoch, name), leader_has, &lineage, o);
            }
            Message::AckEpoch {
                epoch,
                current_epoch,
                last_zxid,
                promise,
                lineage,
                memory,
                draw,
                newer,
            } => {
                let report = Report {
                    current_epoch,
                    last_zxid,
                    lineage,
                    memory,
                    draw,
                    newer,
                };
                self.on_ack_epoch(me, state, peer, epoch, report, promise, o);
            }
            Message::Refuse {
                epoch,
                current_epoch,
                last_zxid,
                divergence,
            } => {
                let has = Recency {
                    current_epoch,
                    last_zxid,
                };
                self.on_refuse(me, state, peer, epoch, has, divergence, o);
            }
            Message::Sync {
                epoch,
                step,
                lineage,
            } => self.on_sync(me, state, peer, epoch, step, &lineage, o),
            Message::NewLeader {
                epoch,
                last_zxid,
                lineage,
                counts,
            } => self.on_new_leader(me, state, peer, epoch, last_zxid, lineage, counts, o),
            Message::Propose {
                epoch,
                after,
                entry,
            } => {
                self.on_proposal(state, peer, epoch, after, entry, o);
            }
            Message::Ack { epoch, zxid } => self.on_ack(me, state, peer, epoch, zxid, o),
            Message::Commit {
                epoch,
                zxid,
                counts,
            } => self.on_commit(state, peer, epoch, zxid, counts, o),
            Message::Inform {
                epoch,
                after,
                entry,
            } => {
                self.on_inform(state, peer, epoch, after, entry, o);
            }
        }
    }

    /// The oldest `count` pending saves are durable: what waited for them can be said now.
    fn on_saved(&self, me: ServerId, s: &mut State<P>, count: usize, o: &mut Out<P>) {
        let Some(mark) = s.pending.drain(..count.min(s.pending.len())).next_back() else {
            return; // Nothing was pending.
        };
        s.durable = mark;
        match &s.role {
            Role::Looking(_) => {}
            Role::Following(_) => self.say_last_word(s, o),
            Role::Leading(_) => self.on_leader_saved(me, s, o),
        }
    }

    /// Somebody else has held an election.
    fn on_elected(&self, me: ServerId, s: &mut Cow<State<P>>, leader: ServerId, o: &mut Out<P>) {
        let expected = self.config.elections == Elections::External
            && (leader != me || self.in_force(s).votes(me))
            && matches!(s.role, Role::Looking(_));
        if expected {
            self.conclude_election(me, s.to_mut(), leader, Round::default(), o);
        }
    }

    /// Takes up the role that an election has given: phase 1 begins.
    fn conclude_election(
        &self,
        me: ServerId,
        s: &mut State<P>,
        leader: ServerId,
        round: Round,
        o: &mut Out<P>,
    ) {
        o.cancel_timer(Timer::Finalize);
        o.set_timer(Timer::Establish, at(self.config.establish_timeout));
        if leader == me {
            self.lead(me, s, round, o);
        } else {
            self.follow(s, leader, round, o);
        }
    }

    /// Gives up the role and looks for a leader: ZooKeeper's LOOKING.
    fn abandon(&self, me: ServerId, s: &mut State<P>, o: &mut Out<P>) {
        let round = s.role.round();
        match &s.role {
            Role::Looking(_) => {}
            Role::Following(follower) => o.cancel_timer(Timer::Peer(follower.leader)),
            Role::Leading(leader) => leader
                .active
                .iter()
                .for_each(|peer| o.cancel_timer(Timer::Peer(peer))),
        }
        o.cancel_timer(Timer::Establish);
        self.look_for_leader(me, s, round, o);
    }

    /// Discovery and synchronization have taken too long: try another leader.
    fn on_establish_timeout(&self, me: ServerId, s: &mut Cow<State<P>>, o: &mut Out<P>) {
        let done = match &s.role {
            Role::Looking(_) => true,
            Role::Following(follower) => follower.serving,
            Role::Leading(leader) => leader.established(),
        };
        if !done {
            self.abandon(me, s.to_mut(), o);
        }
    }

    /// A follower without a leader, and a leader without a quorum, go LOOKING.
    fn on_peer_timeout(&self, me: ServerId, s: &mut Cow<State<P>>, peer: ServerId, o: &mut Out<P>) {
        match &s.role {
            Role::Looking(_) => {}
            Role::Following(follower) => {
                if follower.leader == peer {
                    self.abandon(me, s.to_mut(), o);
                }
            }
            Role::Leading(leader) => {
                if !leader.active.contains(peer) {
                    return; // Given up before.
                }
                let s = s.to_mut();
                let Role::Leading(leader) = &mut s.role else {
                    unreachable!()
                };
                leader.active.remove(peer);
                // Before it is established a leader has Timer::Establish to give up by.
                let established = leader.established();
                let counted = self.counted(s, me);
                if established && !self.is_quorum(self.in_force(s), &counted) {
                    self.abandon(me, s, o);
                }
            }
        }
    }

    /// On a tick a server says again what its peers, by their last word, may lack.
    ///
    /// Departs from ZooKeeper: D13 in `spec/deviations.toml`.
    fn repeat_last_word(&self, me: ServerId, s: &mut Cow<State<P>>, o: &mut Out<P>) {
        match &s.role {
            Role::Looking(_) => self.notify_voters(me, s, o),
            Role::Following(_) => self.say_last_word(s, o),
            Role::Leading(_) => self.repeat_to_learners(me, s, o),
        }
    }

    /// Hands the storage to the runtime; what depends on it waits for [`Msg::Saved`].
    fn save(&self, s: &mut State<P>, o: &mut Out<P>) {
        let storage = self.as_saved(s);
        s.pending.push_back(Mark::from(&storage));
        o.save(storage);
    }

    /// Notes that a peer is alive.
    fn heard_from(&self, peer: ServerId, o: &mut Out<P>) {
        o.set_timer(Timer::Peer(peer), at(self.config.peer_timeout));
    }

    /// Whether `others` and this server are a quorum.
    fn is_quorum_with(&self, in_force: InForce<'_>, me: ServerId, others: &ServerSet) -> bool {
        self.is_quorum(in_force, &others.union(&ServerSet::of(me)))
    }

    /// Whether these servers are a quorum of each membership that is in force.
    pub(crate) fn is_quorum(&self, in_force: InForce<'_>, servers: &ServerSet) -> bool {
        let mut memberships = in_force.memberships();
        match self.config.variant {
            Variant::HalfIsQuorum => memberships.all(|membership| {
                // As if one more of them were there.
                let mut voters = membership.voters.iter();
                let absent = voters.find(|voter| !servers.contains(*voter));
                membership.is_quorum(&servers.iter().chain(absent).collect())
            }),
            Variant::WeightsIgnored => {
                memberships.all(|membership| servers.is_majority_of(&membership.voters))
            }
            _ => in_force.is_quorum(servers),
        }
    }
}

fn send<P: Payload>(to: ServerId, message: Message<P>, o: &mut Out<P>) {
    o.send(to.into(), Msg::Peer(message));
}

/// The id of the server that an actor is.
fn server(id: Id) -> ServerId {
    ServerId::from_actor(id).expect("a Zab actor's id is the id of its server, 1 to 255")
}

/// The range of durations that is just this one: peers must not time out by chance.
fn at(duration: Duration) -> std::ops::Range<Duration> {
    duration..duration
}
