//! Servers with their disks, one step at a time: what the simulation and the walk have in common.
//!
//! Spec: `spec/0-assumptions.md`. It has no network and no clock: the effects of a step are handed to
//! the caller. What it must never do: hide an effect, or leave out the invariants after a step.

use keepright::persistent::Vector;
use keepright::quorum::{Membership, ServerSet};
use keepright::types::{Epoch, ServerId, Zxid};
use keepright::zab::invariants::{self, Ensemble, Invariant, Record};
use keepright::zab::{
    Change, Config, Entry, Mark, Message, Msg, Out, Payload, Snapshot, State, Storage, Timer, Zab,
};
use stateright::actor::{Actor, Command, Id};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// What the tests replicate: numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Numbers;

impl Payload for Numbers {
    type Txn = u32;
    type Snapshot = Vector<Entry<u32>>;

    fn change(txn: &u32) -> Option<Change> {
        let voters = (1..31).filter(|id| txn >> id & 1 == 1).map(ServerId);
        (txn & IN_FORCE != 0).then(|| match *txn {
            IN_FORCE => Change::InForce,
            _ => Change::Proposed(Membership::majority(voters.collect())),
        })
    }

    fn in_force() -> Option<u32> {
        Some(IN_FORCE)
    }

    fn membership(snapshot: &Self::Snapshot) -> Option<Membership> {
        let proposed = |entry: &Entry<u32>| match Self::change(&entry.txn)? {
            Change::Proposed(membership) => Some(membership),
            Change::InForce => None,
        };
        snapshot.iter().rev().find_map(proposed)
    }
}

/// The witnesses that only `reconfiguration.rs` and `lineage.rs` can come by: elsewhere no membership is replaced, and no server runs alone.
pub const SEEN_ELSEWHERE: [&str; 3] = [
    "reconfiguration_delivered",
    "membership_in_force",
    "kept_out",
];

/// The number that puts a membership in force.
pub const IN_FORCE: u32 = 1 << 31;

/// The number that proposes these servers as the voters.
pub fn voters(ids: &[u8]) -> u32 {
    ids.iter().fold(IN_FORCE, |all, id| all | 1 << id)
}

/// A datagram.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    pub src: ServerId,
    pub dst: ServerId,
    pub message: Message<Numbers>,
}

/// One server and its disk.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is durable.
    pub disk: Storage<Numbers>,
    /// What was handed over to be saved and is not durable yet, oldest first.
    pub unsaved: VecDeque<Storage<Numbers>>,
    /// `None` while the server is down.
    pub state: Option<State<Numbers>>,
}

/// What a step has brought about.
#[derive(Debug, Default)]
pub struct Effects {
    pub changed: bool,
    pub sent: Vec<Envelope>,
    /// Timers set to fire after a while, or cancelled.
    pub timers: Vec<(Timer, Option<Duration>)>,
    /// What was handed over to be saved.
    pub saved: Vec<Storage<Numbers>>,
}

/// The servers of an ensemble.
pub struct Cluster {
    pub zab: Zab<Numbers>,
    pub nodes: BTreeMap<ServerId, Node>,
    pub record: Record<u32>,
    /// The invariants that did not hold, if that is what a test is after; otherwise it ends the test.
    pub fallen: Option<BTreeSet<&'static str>>,
    invariants: Vec<Invariant<Numbers>>,
}

/// The server with that id.
pub fn s(id: u8) -> ServerId {
    ServerId(id)
}

/// The zxid of that epoch with that counter.
pub fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

/// The configuration of an ensemble of `voters` with ids from 1 and `observers` after them, with
/// time limits that suit a simulation.
pub fn config(voters: u8, observers: u8) -> Config {
    let observers = (voters + 1..=voters + observers).map(ServerId).collect();
    let voters = (1..=voters).map(ServerId).collect();
    Config {
        heartbeat: Duration::from_millis(100),
        peer_timeout: Duration::from_millis(1000),
        establish_timeout: Duration::from_millis(2000),
        finalize_wait: Duration::from_millis(200),
        ..Config::new(Membership::majority(voters).with_observers(observers))
    }
}

impl Cluster {
    /// An ensemble of which every server is down, with an empty disk.
    pub fn new(config: Config) -> Self {
        let down = || Node {
            disk: Storage::default(),
            unsaved: VecDeque::new(),
            state: None,
        };
        let all: ServerSet = config.membership.voters.union(&config.membership.observers);
        Self {
            nodes: all.iter().map(|id| (id, down())).collect(),
            zab: Zab::new(config),
            record: Record::default(),
            fallen: None,
            invariants: invariants::all(),
        }
    }

    /// The same with more servers, which the configuration does not name.
    pub fn with_newcomers(mut self, ids: &[u8]) -> Self {
        let empty = Node {
            disk: Storage::default(),
            unsaved: VecDeque::new(),
            state: None,
        };
        let more = ids.iter().map(|id| (ServerId(*id), empty.clone()));
        self.nodes.extend(more);
        self
    }

    pub fn ids(&self) -> Vec<ServerId> {
        self.nodes.keys().copied().collect()
    }

    pub fn up(&self, id: ServerId) -> bool {
        self.nodes[&id].state.is_some()
    }

    /// The state of a server that is up.
    pub fn state(&self, id: ServerId) -> &State<Numbers> {
        self.nodes[&id].state.as_ref().expect("the server is up")
    }

    /// Starts a server that is down, with what its disk has.
    pub fn start(&mut self, id: ServerId) -> Effects {
        assert!(!self.up(id), "{id:?} is up");
        let mut out = Out::new();
        let storage = Some(self.nodes[&id].disk.clone());
        let state = self.zab.on_start(id.into(), &storage, &mut out);
        self.conclude(id, None, state, true, out)
    }

    /// Kills a server. Of its pending saves the oldest `kept` turn out to be durable.
    pub fn crash(&mut self, id: ServerId, kept: usize) {
        let node = self.nodes.get_mut(&id).expect("a server");
        node.state = None;
        if let Some(last) = node.unsaved.drain(..kept).next_back() {
            node.disk = last;
        }
        node.unsaved.clear();
        self.check();
    }

    /// A datagram arrives at a server that is up.
    pub fn deliver(&mut self, envelope: &Envelope) -> Effects {
        let Envelope { src, dst, message } = envelope.clone();
        self.step(dst, |zab, id, state, out| {
            zab.on_msg(id, state, src.into(), Msg::Peer(message), out);
        })
    }

    /// The runtime of a server that is up tells its actor something.
    pub fn input(&mut self, id: ServerId, msg: Msg<Numbers>) -> Effects {
        self.step(id, |zab, id, state, out| {
            zab.on_msg(id, state, id, msg, out)
        })
    }

    /// A timer of a server that is up fires.
    pub fn fire(&mut self, id: ServerId, timer: Timer) -> Effects {
        self.step(id, |zab, id, state, out| {
            zab.on_timeout(id, state, &timer, out);
        })
    }

    /// The oldest `count` pending saves of a server become durable.
    pub fn flush(&mut self, id: ServerId, count: usize) -> Effects {
        let node = self.nodes.get_mut(&id).expect("a server");
        node.disk = node
            .unsaved
            .drain(..count)
            .next_back()
            .expect("something to save");
        self.input(id, Msg::Saved(count))
    }

    /// The service of a server takes a snapshot of everything that it has delivered.
    pub fn snapshot(&mut self, id: ServerId) -> Effects {
        let state = self.state(id);
        let snapshot = Snapshot {
            zxid: state.committed(),
            state: invariants::delivered(state).into_iter().cloned().collect(),
        };
        self.input(id, Msg::Snapshot(snapshot))
    }

    /// The numbers that a server has delivered, in order.
    pub fn delivered(&self, id: ServerId) -> Vec<u32> {
        let delivered = invariants::delivered(self.state(id));
        delivered.iter().map(|entry| entry.txn).collect()
    }

    /// What is durable at a server, in short.
    pub fn mark(&self, id: ServerId) -> Mark {
        Mark::from(&self.nodes[&id].disk)
    }

    fn step(
        &mut self,
        id: ServerId,
        handler: impl FnOnce(&Zab<Numbers>, Id, &mut Cow<'_, State<Numbers>>, &mut Out<Numbers>),
    ) -> Effects {
        let before = self
            .nodes
            .get_mut(&id)
            .and_then(|node| node.state.take())
            .expect("the server is up");
        let mut state = Cow::Borrowed(&before);
        let mut out = Out::new();
        handler(&self.zab, id.into(), &mut state, &mut out);
        let changed = matches!(state, Cow::Owned(_));
        let after = state.into_owned();
        self.conclude(id, Some(before), after, changed, out)
    }

    fn conclude(
        &mut self,
        id: ServerId,
        before: Option<State<Numbers>>,
        after: State<Numbers>,
        changed: bool,
        out: Out<Numbers>,
    ) -> Effects {
        let mut effects = Effects {
            changed,
            ..Effects::default()
        };
        let node = self.nodes.get_mut(&id).expect("a server");
        for command in out {
            match command {
                Command::Send(dst, Msg::Peer(message)) => {
                    self.record.said_too_early |= !invariants::is_durable(&node.disk, &message);
                    let dst = ServerId::from_actor(dst).expect("a server's id");
                    effects.sent.push(Envelope {
                        src: id,
                        dst,
                        message,
                    });
                }
                Command::Send(..) => panic!("an input of the runtime was sent to a peer"),
                Command::Save(storage) => {
                    node.unsaved.push_back(storage.clone());
                    effects.saved.push(storage);
                }
                Command::SetTimer(timer, range) => effects.timers.push((timer, Some(range.start))),
                Command::CancelTimer(timer) => effects.timers.push((timer, None)),
                Command::ChooseRandom(..) => panic!("Zab draws no lots"),
            }
        }
        node.state = Some(after);
        let after = self.nodes[&id].state.as_ref().expect("just put there");
        let others = |id| self.nodes[&id].state.as_ref();
        if changed {
            self.record.observe(id, before.as_ref(), after, others);
        }
        if changed || !effects.sent.is_empty() {
            self.check();
        }
        effects
    }

    /// The ids of the invariants that do not hold now.
    pub fn broken(&self) -> Vec<&'static str> {
        self.observe(|ensemble| {
            let broken = self.invariants.iter().filter(|i| !(i.holds)(ensemble));
            broken.map(|i| i.id).collect()
        })
    }

    /// The ids of the witnesses that are found in the present state.
    pub fn witnessed(&self) -> Vec<&'static str> {
        self.observe(|ensemble| {
            let found = self.invariants.iter().filter(|i| (i.witness)(ensemble));
            found.map(|i| i.witness_id).collect()
        })
    }

    fn observe<R>(&self, look: impl FnOnce(&Ensemble<'_, Numbers>) -> R) -> R {
        let servers: Vec<_> = self
            .nodes
            .iter()
            .map(|(id, node)| invariants::Server {
                id: *id,
                disk: &node.disk,
                state: node.state.as_ref(),
            })
            .collect();
        look(&Ensemble {
            zab: &self.zab,
            servers: &servers,
            record: &self.record,
        })
    }

    fn check(&mut self) {
        let broken = self.broken();
        if let Some(fallen) = &mut self.fallen {
            return fallen.extend(broken);
        }
        assert!(broken.is_empty(), "broken: {broken:?}\n{}", self.describe());
    }

    /// A line for each server.
    pub fn describe(&self) -> String {
        let line = |(id, node): (&ServerId, &Node)| {
            format!(
                "{id:?} disk {:?} unsaved {} {}\n",
                Mark::from(&node.disk),
                node.unsaved.len(),
                match &node.state {
                    None => "down".to_owned(),
                    Some(state) => format!(
                        "committed {} last {} {:?}",
                        state.committed(),
                        state.storage().history.last_zxid(),
                        state.role()
                    ),
                }
            )
        };
        self.nodes.iter().map(line).collect()
    }
}
