//! Whole replicas over their edges (transport, feed and repair) in virtual time: links that lose and are slow,
//! servers that stand still or die. Everything follows from a seed. What it must never do: let a server see what the network has
//! lost.

use super::Edge;
use crate::proto::{ConnectRequest, CreateMode, Request};
use crate::quorum::{Membership, ServerSet};
use crate::server::transport::Transport;
use crate::service::replica::{State, Timer};
use crate::service::{ClientInput, Config, Msg, PeerMsg, Replica, ZooKeeper};
use crate::types::{ServerId, Zxid};
use crate::zab::{self, Storage, Zab};
use crate::znode::{Data, SessionId, acl};
use bytes::Bytes;
use stateright::actor::{Actor, Command, Id, Out};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// What a socket's buffer holds, in bytes: what comes beyond is lost.
const BUFFER: usize = 400 << 10;
/// How long a datagram is under way, and how long a flush takes.
const DELAY: Duration = Duration::from_micros(300);
/// The znode that is written to.
const PATH: &str = "/a";
const FLUSH: Duration = Duration::from_millis(2);

pub(super) struct Server {
    replica: Replica,
    state: Option<State>,
    edge: Edge,
    /// What the socket holds.
    inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    buffered: usize,
    timers: BTreeMap<Timer, Instant>,
    saves: usize,
    flushed_at: Option<Instant>,
    disk: Option<Storage<ZooKeeper>>,
    /// It neither reads nor says anything.
    pub stands_still: bool,
    /// What it has sent, in bytes.
    pub sent_bytes: usize,
}

pub(super) struct World {
    pub now: Instant,
    pub servers: BTreeMap<u8, Server>,
    /// Of 1,000 datagrams so many are lost.
    pub loss: u64,
    chance: u64,
    flying: BTreeMap<(Instant, u64), (SocketAddr, u8, Vec<u8>)>,
    /// Transactions never reach this server's actor.
    pub deaf_to_transactions: Option<u8>,
    sequence: u64,
    xid: i32,
    /// Where a datagram holds 32 KB, or 1,400 bytes.
    loopback: bool,
}

impl World {
    pub fn new(loopback: bool, seed: u64) -> Self {
        let mut world = Self {
            now: Instant::now(),
            servers: BTreeMap::new(),
            loss: 0,
            chance: seed,
            flying: BTreeMap::new(),
            deaf_to_transactions: None,
            sequence: 0,
            xid: 0,
            loopback,
        };
        for sid in 1..=3 {
            world.start(sid, None);
        }
        world
    }

    fn address(&self, sid: u8) -> SocketAddr {
        let ip = match self.loopback {
            true => Ipv4Addr::LOCALHOST,
            false => Ipv4Addr::new(10, 0, 0, sid),
        };
        SocketAddr::new(IpAddr::V4(ip), 3000 + u16::from(sid))
    }

    fn start(&mut self, sid: u8, disk: Option<Storage<ZooKeeper>>) {
        let members: ServerSet = (1..=3).map(ServerId).collect();
        let zab = Zab::new(zab::Config::new(Membership::majority(members)));
        self.sequence += 1;
        let me = ServerId(sid);
        let config = Config::new(me, self.sequence, Duration::from_secs(2));
        let replica = Replica::new(zab, config);
        let mut transport = Transport::new(me, self.sequence << 32, false);
        transport.set_members(members);
        for peer in (1..=3).filter(|peer| *peer != sid) {
            transport.set_address(ServerId(peer), self.address(peer));
        }
        let mut out = Out::new();
        let state = replica.on_start(me.into(), &disk, &mut out);
        let server = Server {
            replica,
            state: Some(state),
            edge: Edge::new(transport),
            inbox: VecDeque::new(),
            buffered: 0,
            timers: BTreeMap::new(),
            saves: 0,
            flushed_at: None,
            disk,
            stands_still: false,
            sent_bytes: 0,
        };
        self.servers.insert(sid, server);
        self.carry_out(sid, out, false);
        self.turn_ends(sid);
    }

    /// Ends a server, as kill -9 does. What was saved and not flushed is gone.
    pub fn kill(&mut self, sid: u8) {
        self.servers.get_mut(&sid).unwrap().state = None;
    }

    pub fn restart(&mut self, sid: u8) {
        let disk = self.servers.remove(&sid).and_then(|server| server.disk);
        self.start(sid, disk);
    }

    pub fn state(&self, sid: u8) -> &State {
        self.servers[&sid].state.as_ref().unwrap()
    }

    pub fn leader(&self) -> Option<u8> {
        let mut up = self
            .servers
            .iter()
            .filter(|(_, server)| server.state.is_some());
        let found = up.find(|(sid, _)| {
            let zab = self.state(**sid).zab();
            zab.is_leading() && zab.serving()
        });
        found.map(|(sid, _)| *sid)
    }

    pub fn followers(&self) -> Vec<u8> {
        let leader = self.leader();
        let all = self.servers.keys().copied();
        all.filter(|sid| Some(*sid) != leader).collect()
    }

    /// How many of the leader's transactions a server lacks.
    pub fn lag(&self, sid: u8) -> u64 {
        let last = |sid| self.state(sid).zab().storage().history.last_zxid().0;
        let leader = self.leader().expect("somebody leads");
        last(leader).saturating_sub(last(sid))
    }

    /// The bytes of large messages that a server has queued for another one.
    pub fn queued(&self, from: u8, to: u8) -> usize {
        self.servers[&from].edge.transport.queued(ServerId(to))
    }

    /// A client of the leader opens a session, and makes the znode that it will write to.
    pub fn open(&mut self) {
        self.client_says(ClientInput::Connect {
            request: ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: Zxid::ZERO,
                timeout_ms: 40_000,
                session: SessionId(0),
                password: Bytes::from_static(&[0; 16]),
                read_only: None,
            },
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
            proved: Vec::new(),
        });
        self.run_ms(100);
        self.ask(Request::Create {
            path: PATH.to_owned(),
            data: Data::default(),
            acl: acl::open_unsafe().to_vec(),
            mode: CreateMode::Persistent,
            with_stat: false,
        });
    }

    /// The client writes so many bytes.
    pub fn write(&mut self, bytes: usize) {
        self.ask(Request::SetData {
            path: PATH.to_owned(),
            data: vec![7; bytes].into(),
            version: -1,
        });
    }

    fn ask(&mut self, request: Request) {
        self.xid += 1;
        self.client_says(ClientInput::Request {
            xid: self.xid,
            request,
        });
    }

    fn client_says(&mut self, input: ClientInput) {
        let leader = self.leader().expect("somebody leads");
        self.step(leader, false, |replica, id, state, out| {
            let client = Id::from(1 << 32);
            replica.on_msg(id, state, client, Msg::Client(input), out);
        });
        self.turn_ends(leader);
    }

    /// Lets time pass; `each_ms` is called every millisecond.
    pub fn run(&mut self, duration: Duration, mut each_ms: impl FnMut(&mut Self)) {
        let end = self.now + duration;
        let mut tick = self.now;
        while self.now < end {
            let next = self.next_moment().unwrap_or(end).min(tick).min(end);
            self.now = self.now.max(next);
            if self.now >= tick {
                each_ms(self);
                tick += Duration::from_millis(1);
            }
            while let Some(entry) = self.flying.first_entry()
                && entry.key().0 <= self.now
            {
                let (from, to, datagram) = entry.remove();
                let server = self.servers.get_mut(&to).unwrap();
                let is_there = server.state.is_some();
                if is_there && server.buffered + datagram.len() <= BUFFER {
                    server.buffered += datagram.len();
                    server.inbox.push_back((from, datagram));
                }
            }
            for sid in 1..=3 {
                self.turn(sid);
            }
        }
    }

    pub fn run_ms(&mut self, ms: u64) {
        self.run(Duration::from_millis(ms), |_| ());
    }

    fn next_moment(&self) -> Option<Instant> {
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let deadlines = self.servers.values().filter_map(|server| {
            let state = server.state.as_ref().filter(|_| !server.stands_still)?;
            let timer = server.timers.values().min().copied();
            let edge = server.edge.deadline(self.now, state.zab());
            [timer, edge, server.flushed_at].into_iter().flatten().min()
        });
        deadlines.chain(arrival).min()
    }

    /// A turn of a server's event loop.
    fn turn(&mut self, sid: u8) {
        let now = self.now;
        let server = self.servers.get_mut(&sid).unwrap();
        if server.stands_still || server.state.is_none() {
            return;
        }
        for (from, datagram) in server.inbox.drain(..) {
            server.edge.on_datagram(now, from, &datagram);
        }
        server.buffered = 0;
        while let Some((peer, message)) = {
            let server = self.servers.get_mut(&sid).unwrap();
            let state = server.state.as_ref().unwrap();
            server.edge.next_message(now, state.zab())
        } {
            let is_transaction = matches!(message, PeerMsg::Zab(zab::Message::Propose { .. }));
            if is_transaction && self.deaf_to_transactions == Some(sid) {
                continue;
            }
            self.step(sid, false, |replica, id, state, out| {
                replica.on_msg(id, state, peer.into(), Msg::Peer(message), out);
            });
        }
        let server = self.servers.get_mut(&sid).unwrap();
        if server.flushed_at.is_some_and(|at| at <= now) {
            server.flushed_at = None;
            let count = std::mem::take(&mut server.saves);
            server.disk = server
                .state
                .as_ref()
                .map(|state| state.zab().storage().clone());
            self.step(sid, false, |replica, id, state, out| {
                replica.on_msg(id, state, id, Msg::Saved(count), out);
            });
        }
        let timers = self.servers[&sid].timers.clone();
        for (timer, _) in timers.into_iter().filter(|(_, at)| *at <= now) {
            self.servers.get_mut(&sid).unwrap().timers.remove(&timer);
            let repeats = matches!(timer, Timer::Zab(zab::Timer::Heartbeat) | Timer::Retransmit);
            self.step(sid, repeats, |replica, id, state, out| {
                replica.on_timeout(id, state, &timer, out);
            });
            if repeats {
                let server = self.servers.get_mut(&sid).unwrap();
                let state = server.state.as_ref().unwrap();
                server.edge.on_repeated(state.zab());
            }
        }
        self.turn_ends(sid);
    }

    fn turn_ends(&mut self, sid: u8) {
        let from = self.address(sid);
        let addresses: BTreeMap<SocketAddr, u8> =
            (1..=3).map(|sid| (self.address(sid), sid)).collect();
        let now = self.now;
        let server = self.servers.get_mut(&sid).unwrap();
        if server.saves > 0 && server.flushed_at.is_none() {
            server.flushed_at = Some(now + FLUSH);
        }
        let (zab, state) = (server.replica.zab(), server.state.as_ref().unwrap());
        let (edge, sent) = (&mut server.edge, &mut server.sent_bytes);
        let (flying, sequence) = (&mut self.flying, &mut self.sequence);
        let (chance, loss) = (&mut self.chance, self.loss);
        edge.transmit(now, zab, state.zab(), |to, datagram| {
            *sent += datagram.len();
            *chance = chance
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            if (*chance >> 33) % 1000 >= loss {
                *sequence += 1;
                let arrives = (now + DELAY, *sequence);
                flying.insert(arrives, (from, addresses[&to], datagram.to_vec()));
            }
        });
    }

    fn step(
        &mut self,
        sid: u8,
        repeats: bool,
        step: impl FnOnce(&Replica, Id, &mut Cow<State>, &mut Out<Replica>),
    ) {
        let server = self.servers.get_mut(&sid).unwrap();
        let mut state = Cow::Owned(server.state.take().unwrap());
        let mut out = Out::new();
        step(&server.replica, ServerId(sid).into(), &mut state, &mut out);
        server.state = Some(state.into_owned());
        self.carry_out(sid, out, repeats);
    }

    fn carry_out(&mut self, sid: u8, out: Out<Replica>, repeats: bool) {
        let now = self.now;
        let server = self.servers.get_mut(&sid).unwrap();
        for command in out {
            match command {
                Command::Send(to, Msg::Peer(message)) => {
                    let to = ServerId::from_actor(to).unwrap();
                    let state = server.state.as_ref().unwrap();
                    server.edge.send(now, state.zab(), to, &message, repeats);
                }
                Command::Send(..) => {} // There are no clients, and nobody reads the log.
                Command::SetTimer(timer, range) => {
                    server.timers.insert(timer, now + range.start);
                }
                Command::CancelTimer(timer) => {
                    server.timers.remove(&timer);
                }
                Command::Save(_) => server.saves += 1,
                Command::ChooseRandom(..) => panic!("a replica makes no choices"),
            }
        }
    }
}
