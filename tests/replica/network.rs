//! A deterministic world for replicas: virtual time, a network that loses, duplicates and reorders,
//! disks that take their time, crashes that lose what is not durable. Everything follows from a seed.

use keepright::quorum::{Membership, ServerSet};
use keepright::service::replica::{State, Timer};
use keepright::service::{ClientInput, ClientOutput, Config, Msg, PeerMsg, Replica, ZooKeeper};
use keepright::types::ServerId;
use keepright::zab::{self, Storage, Zab};
use stateright::actor::{Actor, Command, Id, Out};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What the world does to its servers.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Of 100 datagrams, so many are lost.
    pub loss: u64,
    /// Of 100 datagrams, so many arrive twice.
    pub duplication: u64,
    /// A datagram takes from 1 ms to this.
    pub delay_ms: u64,
}

/// Zab's bounds, far below the usual ones.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub max_counter: u32,
    pub retain: usize,
}

/// splitmix64: all the chance that there is.
pub struct Chance(u64);

impl Chance {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

enum Event {
    Datagram {
        from: u8,
        to: u8,
        bytes: Vec<u8>,
    },
    Timer {
        sid: u8,
        incarnation: u64,
        timer: Timer,
        setting: u64,
    },
    Flushed {
        sid: u8,
        incarnation: u64,
    },
}

struct Server {
    replica: Replica,
    state: Option<State>,
    incarnation: u64,
    /// What a crash leaves.
    disk: Option<Storage<ZooKeeper>>,
    /// Saves that are not durable yet.
    saves: VecDeque<Storage<ZooKeeper>>,
    /// The latest setting of each timer.
    timers: BTreeMap<Timer, u64>,
}

/// The world.
pub struct World {
    pub now_ms: u64,
    pub chance: Chance,
    pub faults: Faults,
    /// What clients were told, in order.
    pub told: VecDeque<(Id, ClientOutput)>,
    voters: ServerSet,
    bounds: Bounds,
    servers: BTreeMap<u8, Server>,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
}

impl World {
    pub fn new(seed: u64, servers: u8, faults: Faults, bounds: Bounds) -> Self {
        let mut world = Self {
            now_ms: 1_000_000,
            chance: Chance(seed),
            faults,
            told: VecDeque::new(),
            voters: (1..=servers).map(ServerId).collect(),
            bounds,
            servers: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
        };
        for sid in 1..=servers {
            world.start(sid, None);
        }
        world
    }

    /// Starts a server, or starts it again after a crash.
    pub fn restart(&mut self, sid: u8) {
        if !self.is_up(sid) {
            let disk = self.servers.remove(&sid).and_then(|server| server.disk);
            self.start(sid, disk);
        }
    }

    fn start(&mut self, sid: u8, disk: Option<Storage<ZooKeeper>>) {
        let zab = zab::Config {
            heartbeat: Duration::from_millis(20),
            peer_timeout: Duration::from_millis(300),
            establish_timeout: Duration::from_millis(500),
            finalize_wait: Duration::from_millis(20),
            max_counter: self.bounds.max_counter,
            retain: self.bounds.retain,
            ..zab::Config::new(Membership::majority(self.voters))
        };
        let incarnation = self.chance.below(u64::MAX);
        let config = Config {
            snap_count: 25,
            retransmit: Duration::from_millis(40),
            ..Config::new(ServerId(sid), incarnation, Duration::from_millis(200))
        };
        let replica = Replica::new(Zab::new(zab), config);
        let mut out = Out::new();
        let state = replica.on_start(ServerId(sid).into(), &disk, &mut out);
        let server = Server {
            replica,
            state: Some(state),
            incarnation,
            disk,
            saves: VecDeque::new(),
            timers: BTreeMap::new(),
        };
        self.servers.insert(sid, server);
        self.carry_out(sid, out);
    }

    /// Kills a server. Some of its pending saves may have become durable.
    pub fn kill(&mut self, sid: u8) {
        let server = self.servers.get_mut(&sid).unwrap();
        server.state = None;
        let durable = self.chance.below(server.saves.len() as u64 + 1);
        if let Some(last) = server.saves.drain(..durable as usize).next_back() {
            server.disk = Some(last);
        }
        server.saves.clear();
    }

    pub fn is_up(&self, sid: u8) -> bool {
        self.servers[&sid].state.is_some()
    }

    pub fn sids(&self) -> Vec<u8> {
        self.servers.keys().copied().collect()
    }

    pub fn state(&self, sid: u8) -> Option<&State> {
        self.servers[&sid].state.as_ref()
    }

    /// A server's state in a line.
    pub fn describe(&self, sid: u8) -> String {
        let Some(state) = self.state(sid) else {
            return format!("server {sid}: down");
        };
        let zab = state.zab();
        format!(
            "server {sid}: serving {}, leader {:?}, epoch {:?}, next {:?}, history {} to {}, \
             committed {}, applied {}, {} sessions",
            zab.serving(),
            zab.leader(ServerId(sid)),
            zab.epoch(),
            zab.next_zxid(),
            zab.storage().history.start(),
            zab.storage().history.last_zxid(),
            zab.committed(),
            state.service().applied(),
            state.service().tree().sessions().len(),
        )
    }

    /// The server that leads and serves.
    pub fn leader(&self) -> Option<u8> {
        self.sids().into_iter().find(|sid| {
            self.state(*sid)
                .is_some_and(|state| state.zab().is_leading() && state.zab().serving())
        })
    }

    /// A client says something to a server; nobody hears it if the server is down.
    pub fn say(&mut self, sid: u8, id: Id, input: ClientInput) {
        self.step(sid, |replica, me, state, out| {
            replica.on_msg(me, state, id, Msg::Client(input), out);
        });
    }

    /// Lets time pass.
    pub fn run(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= end
        {
            let ((time, _), event) = entry.remove_entry();
            self.now_ms = time;
            self.happen(event);
        }
        self.now_ms = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Datagram { from, to, bytes } => {
                let message: PeerMsg = postcard::from_bytes(&bytes).unwrap();
                self.step(to, |replica, me, state, out| {
                    let src = ServerId(from).into();
                    replica.on_msg(me, state, src, Msg::Peer(message), out);
                });
            }
            Event::Timer {
                sid,
                incarnation,
                timer,
                setting,
            } => {
                let server = &self.servers[&sid];
                let current = server.timers.get(&timer) == Some(&setting);
                if server.incarnation == incarnation && current {
                    self.step(sid, |replica, me, state, out| {
                        replica.on_timeout(me, state, &timer, out);
                    });
                }
            }
            Event::Flushed { sid, incarnation } => {
                let server = self.servers.get_mut(&sid).unwrap();
                if server.incarnation != incarnation || server.state.is_none() {
                    return;
                }
                let count = server.saves.len();
                let last = server.saves.drain(..).next_back();
                if let Some(last) = last {
                    server.disk = Some(last);
                    self.step(sid, |replica, me, state, out| {
                        replica.on_msg(me, state, me, Msg::Saved(count), out);
                    });
                }
            }
        }
    }

    fn step(
        &mut self,
        sid: u8,
        step: impl FnOnce(&Replica, Id, &mut Cow<State>, &mut Out<Replica>),
    ) {
        let server = self.servers.get_mut(&sid).unwrap();
        let Some(state) = server.state.take() else {
            return; // Nobody is there.
        };
        let mut state = Cow::Owned(state);
        let mut out = Out::new();
        step(&server.replica, ServerId(sid).into(), &mut state, &mut out);
        server.state = Some(state.into_owned());
        self.carry_out(sid, out);
    }

    fn carry_out(&mut self, sid: u8, out: Out<Replica>) {
        for command in out {
            let incarnation = self.servers[&sid].incarnation;
            match command {
                Command::Send(to, Msg::Peer(message)) => {
                    let to = ServerId::from_actor(to).unwrap().0;
                    self.send(sid, to, postcard::to_stdvec(&message).unwrap());
                }
                Command::Send(id, Msg::ToClient(output)) => self.told.push_back((id, output)),
                Command::Send(_, Msg::Warning(_)) => {} // Nobody hears it.
                Command::Send(_, input @ (Msg::Saved(_) | Msg::Clock(_) | Msg::Client(_))) => {
                    panic!("a replica sends an input: {input:?}")
                }
                Command::SetTimer(timer, range) => {
                    let setting = self.sequence;
                    let after = range.start.as_millis() as u64;
                    let server = self.servers.get_mut(&sid).unwrap();
                    server.timers.insert(timer, setting);
                    let event = Event::Timer {
                        sid,
                        incarnation,
                        timer,
                        setting,
                    };
                    self.later(after, event);
                }
                Command::CancelTimer(timer) => {
                    self.servers.get_mut(&sid).unwrap().timers.remove(&timer);
                }
                Command::Save(storage) => {
                    let server = self.servers.get_mut(&sid).unwrap();
                    server.saves.push_back(storage);
                    let after = self.chance.below(8);
                    self.later(after, Event::Flushed { sid, incarnation });
                }
                Command::ChooseRandom(..) => panic!("a replica makes no choices"),
            }
        }
    }

    fn send(&mut self, from: u8, to: u8, bytes: Vec<u8>) {
        let Faults {
            loss,
            duplication,
            delay_ms,
        } = self.faults;
        if self.chance.below(100) < loss {
            return;
        }
        let copies = 1 + u64::from(self.chance.below(100) < duplication);
        for _ in 0..copies {
            let bytes = bytes.clone();
            let after = 1 + self.chance.below(delay_ms);
            self.later(after, Event::Datagram { from, to, bytes });
        }
    }

    fn later(&mut self, after_ms: u64, event: Event) {
        self.sequence += 1;
        self.events
            .insert((self.now_ms + after_ms, self.sequence), event);
    }
}
