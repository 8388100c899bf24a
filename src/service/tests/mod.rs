//! The service without Zab: some servers around one list of transactions, which the first server adds
//! to. What is said between them arrives when the test lets it.

mod clocks;
mod digests;
mod local;
mod mortals;
mod order;
mod partitioned;
mod passwords;
mod quotas;
mod reads;
mod reconfig;
mod requests;
mod sessions;
mod watches;

use super::*;
use crate::proto::{
    ConnectRequest, ConnectResponse, CreateMode, EventType, MultiResult, Reply, Request, Response,
    SetWatches, WatchEvent,
};
use crate::znode::{Acl, AuthId, Data, ErrorCode, Perms, acl};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

const LEADER: u8 = 1;

struct Bench {
    servers: BTreeMap<u8, (Config, Service)>,
    log: Vec<(Zxid, Txn)>,
    /// How much of the log may be applied.
    committed: usize,
    /// Whether everything that is proposed is committed at once.
    commits: bool,
    under_way: VecDeque<(u8, u8, PeerMsg)>,
    told: BTreeMap<Id, Vec<ClientOutput>>,
    /// The server of each connection.
    at: BTreeMap<Id, u8>,
    now_ms: i64,
    /// By how much the time of day is wrong at a server.
    wrong_ms: BTreeMap<u8, i64>,
    warnings: Vec<String>,
    /// What Zab would know of the ensemble.
    ensemble: Ensemble,
}

impl Bench {
    fn new(servers: u8) -> Self {
        let tree = tree_with_secret();
        let mut bench = Self {
            servers: BTreeMap::new(),
            log: Vec::new(),
            committed: 0,
            commits: true,
            under_way: VecDeque::new(),
            told: BTreeMap::new(),
            at: BTreeMap::new(),
            now_ms: 1000,
            wrong_ms: BTreeMap::new(),
            warnings: Vec::new(),
            ensemble: Ensemble::default(),
        };
        for sid in 1..=servers {
            let config = Config::new(ServerId(sid), 7, Duration::from_millis(2000));
            let mut service = Service::new(tree.clone(), Zxid::ZERO);
            let mut env = Env::new(&config);
            if sid == LEADER {
                service.begin_leading(&mut env, Epoch(1), std::iter::empty());
            } else {
                service.begin_following(&mut env, ServerId(LEADER), Epoch(1));
            }
            bench.servers.insert(sid, (config, service));
        }
        bench
    }

    fn service(&self, sid: u8) -> &Service {
        &self.servers[&sid].1
    }

    /// Does something at a server, and keeps what comes of it.
    fn at(&mut self, sid: u8, step: impl FnOnce(&mut Service, &mut Env)) {
        let (config, service) = self.servers.get_mut(&sid).unwrap();
        let mut env = Env::new(config);
        step(service, &mut env);
        for effect in env.out {
            match effect {
                Effect::ToClient(id, output) => self.told.entry(id).or_default().push(output),
                Effect::ToPeer(peer, message) => self.under_way.push_back((sid, peer.0, message)),
                Effect::SetRetransmitTimer => {}
                Effect::Warn(words) => self.warnings.push(words),
            }
        }
    }

    fn deliver(&mut self, from: u8, to: u8, message: PeerMsg) {
        self.at(to, |service, env| match message {
            PeerMsg::Zab(_) => unreachable!("there is no Zab here"),
            PeerMsg::Forward(forward) => service.on_forward(env, ServerId(from), forward),
            PeerMsg::Accepted { stream, through } => {
                service.on_accepted(env, ServerId(from), stream, through);
            }
            PeerMsg::Refused { stream, newest } => {
                service.on_refused(env, ServerId(from), stream, newest);
            }
            PeerMsg::Touch { sessions } => service.on_touch(sessions),
            PeerMsg::Differs { zxid } => service.on_differs(ServerId(from), zxid),
        });
    }

    /// Proposes and applies.
    fn order(&mut self) {
        let (config, leader) = self.servers.get_mut(&LEADER).unwrap();
        loop {
            let zxid = Zxid::new(Epoch(1), self.log.len() as u32 + 1);
            let mut env = Env::new(config);
            let proposal = leader.next_proposal(&mut env, zxid, self.ensemble);
            for effect in env.out {
                match effect {
                    Effect::Warn(words) => self.warnings.push(words),
                    other => panic!("{other:?}"),
                }
            }
            match proposal {
                Some(txn) => self.log.push((zxid, txn)),
                None => break,
            }
        }
        if self.commits {
            self.committed = self.log.len();
        }
        for sid in self.servers.keys().copied().collect::<Vec<_>>() {
            for index in 0..self.committed {
                let (zxid, txn) = self.log[index].clone();
                if zxid > self.service(sid).applied() {
                    self.at(sid, |service, env| service.apply(env, zxid, &txn));
                }
            }
        }
    }

    /// Lets everything happen that can.
    fn settle(&mut self) {
        self.order();
        while let Some((from, to, message)) = self.under_way.pop_front() {
            self.deliver(from, to, message);
            self.order();
        }
    }

    fn session_ticks(&mut self, count: usize) {
        for _ in 0..count {
            for sid in self.servers.keys().copied().collect::<Vec<_>>() {
                self.at(sid, |service, env| service.on_session_timeout(env));
            }
            self.settle();
        }
    }

    /// Every server looks at its clocks.
    fn look(&mut self) {
        for sid in self.servers.keys().copied().collect::<Vec<_>>() {
            let wrong_ms = self.wrong_ms.get(&sid).copied().unwrap_or(0);
            let time = Time {
                stamp_ms: self.now_ms + wrong_ms,
                elapsed_ms: self.now_ms,
            };
            self.at(sid, |service, _| service.on_clock(time));
        }
    }

    fn greet(&mut self, sid: u8, client: usize, request: ConnectRequest) -> Id {
        let id = Id::from((1 << 32) + client);
        self.at.insert(id, sid);
        self.look();
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let input = ClientInput::Connect {
            request,
            from,
            proved: Vec::new(),
        };
        self.at(sid, |service, env| service.on_client(env, id, input));
        id
    }

    /// The runtime has checked what a client says of itself.
    fn prove(&mut self, id: Id, proved: Vec<AuthId>, result: Result<Response, ErrorCode>) {
        let sid = self.at[&id];
        let xid = -4;
        let input = ClientInput::Proof {
            xid,
            proved,
            result,
        };
        self.at(sid, |service, env| service.on_client(env, id, input));
    }

    /// A client has said a user and a password.
    fn authenticate(&mut self, client: &Client, user_and_password: &str) {
        let id = AuthId::digest(user_and_password.as_bytes());
        self.prove(client.id, vec![id], Ok(Response::Empty));
        assert_eq!(self.hear(client.id).len(), 1);
    }

    /// Opens a session at a server.
    fn connect(&mut self, sid: u8, client: usize) -> Client {
        let id = self.greet(sid, client, greeting());
        self.settle();
        match self.hear(id).as_slice() {
            [ClientOutput::Connected(response)] => Client {
                id,
                session: response.session,
                password: response.password.clone(),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Says a request, and lets nothing happen.
    fn say(&mut self, id: Id, xid: i32, request: Request) {
        let sid = self.at[&id];
        self.look();
        let input = ClientInput::Request { xid, request };
        self.at(sid, |service, env| service.on_client(env, id, input));
    }

    /// What a connection was told since the last time.
    fn hear(&mut self, id: Id) -> Vec<ClientOutput> {
        self.told.remove(&id).unwrap_or_default()
    }

    /// Says a request, lets everything happen, and returns the only answer.
    fn ask(&mut self, client: &Client, xid: i32, request: Request) -> Result<Response, ErrorCode> {
        self.say(client.id, xid, request);
        self.settle();
        match self.hear(client.id).as_slice() {
            [ClientOutput::Reply { reply, .. }] => {
                assert_eq!(reply.xid, xid);
                reply.result.clone()
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The tree that every server begins with: without the first transaction of an ensemble the tests would
/// have to count it.
fn tree_with_secret() -> Tree {
    let mut tree = Tree::default();
    let config = Config::new(ServerId(LEADER), 7, Duration::from_millis(2000));
    let txn = Txn {
        session: SessionId::default(),
        cxid: 0,
        time: 0,
        body: secret::creation(&tree, &config).unwrap(),
        digest: None,
    };
    assert!(tree.apply(Zxid(1), &txn).outcome.is_ok());
    tree
}

struct Client {
    id: Id,
    session: SessionId,
    password: Bytes,
}

impl Client {
    fn resumption(&self) -> ConnectRequest {
        ConnectRequest {
            session: self.session,
            password: self.password.clone(),
            ..greeting()
        }
    }

    fn reply(&self, xid: i32, zxid: u32, result: Result<Response, ErrorCode>) -> ClientOutput {
        let zxid = Zxid::new(Epoch(1), zxid);
        let session = self.session;
        let reply = Reply { xid, zxid, result };
        ClientOutput::Reply { session, reply }
    }
}

fn greeting() -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: 4000,
        session: SessionId(0),
        password: Bytes::from_static(&[0; 16]),
        read_only: Some(false),
    }
}

fn refusal() -> Vec<ClientOutput> {
    let response = ConnectResponse {
        timeout_ms: 0,
        session: SessionId(0),
        password: Bytes::from_static(&[0; 16]),
        read_only: Some(false),
    };
    vec![ClientOutput::Connected(response), ClientOutput::Close]
}

fn create(path: &str, mode: CreateMode) -> Request {
    Request::Create {
        path: path.into(),
        data: b"x".as_slice().into(),
        acl: acl::open_unsafe().to_vec(),
        mode,
        with_stat: false,
    }
}

fn exists(path: &str, watch: bool) -> Request {
    let path = path.into();
    Request::Exists { path, watch }
}

fn get(path: &str, watch: bool) -> Request {
    let path = path.into();
    Request::GetData { path, watch }
}

fn set(path: &str, data: &'static str, version: i32) -> Request {
    Request::SetData {
        path: path.into(),
        data: data.as_bytes().into(),
        version,
    }
}

fn with_data(mut request: Request, wanted: Data) -> Request {
    match &mut request {
        Request::Create { data, .. } | Request::SetData { data, .. } => *data = wanted,
        other => panic!("{other:?} has no data"),
    }
    request
}

fn delete(path: &str) -> Request {
    let (path, version) = (path.into(), -1);
    Request::Delete { path, version }
}

fn event(kind: EventType, path: &str, zxid: u32) -> ClientOutput {
    let path = path.into();
    let zxid = Zxid::new(Epoch(1), zxid);
    ClientOutput::Event(WatchEvent { kind, path, zxid })
}

fn path(path: &str) -> Result<Response, ErrorCode> {
    Ok(Response::Path(path.into()))
}
