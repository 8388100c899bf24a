//! A client that knows what it was promised: it sends several requests at a time, keeps what was
//! acknowledged and what was denied, and complains when the service breaks its word.

use crate::network::World;
use bytes::Bytes;
use keepright::proto::{ConnectRequest, CreateMode, Request, Response};
use keepright::service::{ClientInput, ClientOutput};
use keepright::types::Zxid;
use keepright::znode::{ErrorCode, SessionId, acl};
use stateright::actor::Id;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

/// How long a client waits for an answer before it goes elsewhere.
const PATIENCE_MS: u64 = 1000;

#[derive(Debug)]
enum Asked {
    /// A sequential znode that holds this tag, which no other request has.
    Create(String),
    /// What an acknowledged path holds.
    Get(String),
    Ephemeral,
    Ping,
    Close,
}

pub struct Client {
    number: u64,
    connection: Option<(u8, Id)>,
    connections: u64,
    connected: bool,
    session: SessionId,
    password: Bytes,
    /// Counts without end: no two requests have one number.
    xid: i32,
    tags: u64,
    waiting: VecDeque<(i32, Asked)>,
    since_ms: u64,
    seen: Zxid,
    has_ephemeral: bool,
    pub sessions: u64,
    /// How many more creates it wants to have acknowledged.
    pub wanted: usize,
    pub closing: bool,
    pub closed: bool,
    /// The tag of each path that was acknowledged.
    pub acknowledged: BTreeMap<String, String>,
    /// The tags of creates that were answered with an error: they must not be there.
    pub denied: BTreeSet<String>,
}

impl Client {
    pub fn new(number: u64, wanted: usize) -> Self {
        Self {
            number,
            connection: None,
            connections: 0,
            connected: false,
            session: SessionId(0),
            password: Bytes::from_static(&[0; 16]),
            xid: 0,
            tags: 0,
            waiting: VecDeque::new(),
            since_ms: 0,
            seen: Zxid::ZERO,
            has_ephemeral: false,
            sessions: 0,
            wanted,
            closing: false,
            closed: false,
            acknowledged: BTreeMap::new(),
            denied: BTreeSet::new(),
        }
    }

    pub fn is_mine(&self, id: Id) -> bool {
        self.connection.is_some_and(|(_, own)| own == id)
    }

    /// Does what it has in mind: connects, asks, or gives up waiting.
    pub fn act(&mut self, world: &mut World) {
        if self.closed {
            return;
        }
        let Some((sid, id)) = self.connection else {
            return self.connect(world);
        };
        let waits = !self.connected || !self.waiting.is_empty();
        if !world.is_up(sid) {
            self.lose_connection();
        } else if waits && world.now_ms - self.since_ms > PATIENCE_MS {
            world.say(sid, id, ClientInput::Disconnected);
            self.lose_connection();
        } else if !waits {
            self.since_ms = world.now_ms;
            if !self.has_ephemeral {
                let path = format!("/e-{}-{}", self.number, self.sessions);
                let request = create(path, String::new(), CreateMode::Ephemeral);
                self.ask(world, request, Asked::Ephemeral);
            }
            for _ in 0..=world.chance.below(4) {
                self.ask_something(world);
            }
            if self.closing {
                self.ask(world, Request::CloseSession, Asked::Close);
            }
        }
    }

    fn connect(&mut self, world: &mut World) {
        let sids = world.sids();
        let sid = sids[world.chance.below(sids.len() as u64) as usize];
        if !world.is_up(sid) {
            return;
        }
        self.connections += 1;
        let id = Id::from(((self.number << 32) + self.connections) as usize);
        self.connection = Some((sid, id));
        self.connected = false;
        self.since_ms = world.now_ms;
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.seen,
            timeout_ms: 1500,
            session: self.session,
            password: self.password.clone(),
            read_only: None,
        };
        let input = ClientInput::Connect {
            proved: Vec::new(),
            request,
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        world.say(sid, id, input);
    }

    fn ask_something(&mut self, world: &mut World) {
        let known = self.acknowledged.keys().next_back().cloned();
        match (world.chance.below(3), known) {
            (0, Some(path)) => {
                let request = Request::GetData {
                    path: path.clone(),
                    watch: false,
                };
                self.ask(world, request, Asked::Get(path));
            }
            (1, _) => self.ask(world, Request::Ping, Asked::Ping),
            _ if self.wanted == 0 => self.ask(world, Request::Ping, Asked::Ping),
            _ => {
                self.tags += 1;
                let tag = format!("{}-{}", self.number, self.tags);
                let path = format!("/q-{}-", self.number);
                let request = create(path, tag.clone(), CreateMode::PersistentSequential);
                self.ask(world, request, Asked::Create(tag));
            }
        }
    }

    fn ask(&mut self, world: &mut World, request: Request, asked: Asked) {
        let Some((sid, id)) = self.connection else {
            return;
        };
        self.xid += 1;
        self.waiting.push_back((self.xid, asked));
        let input = ClientInput::Request {
            xid: self.xid,
            request,
        };
        world.say(sid, id, input);
    }

    /// Takes what it is told on its present connection.
    pub fn hear(&mut self, output: ClientOutput) {
        match output {
            ClientOutput::Connected(response) if response.session == SessionId(0) => {
                self.session = SessionId(0);
                self.password = Bytes::from_static(&[0; 16]);
                self.has_ephemeral = false;
                self.closed = self.closing;
            }
            ClientOutput::Connected(response) => {
                if self.session == SessionId(0) {
                    self.sessions += 1;
                } else {
                    assert_eq!(response.session, self.session, "another session");
                }
                self.session = response.session;
                self.password = response.password;
                self.connected = true;
            }
            ClientOutput::Reply { session, reply } => {
                assert!(self.connected, "a reply before the session is open");
                assert_eq!(session, self.session);
                assert!(
                    reply.zxid >= self.seen,
                    "{reply:?} shows the past of {}",
                    self.seen
                );
                self.seen = reply.zxid;
                let (xid, asked) = self.waiting.pop_front().expect("nothing was asked");
                assert_eq!(reply.xid, xid, "{asked:?} is not answered in its turn");
                self.on_reply(asked, reply.result);
            }
            ClientOutput::Event(event) => panic!("no watch was set: {event:?}"),
            ClientOutput::Close => self.lose_connection(),
        }
    }

    fn on_reply(&mut self, asked: Asked, result: Result<Response, ErrorCode>) {
        let lost = |error| matches!(error, ErrorCode::SessionExpired | ErrorCode::SessionMoved);
        match (asked, result) {
            (Asked::Create(tag), Ok(Response::Path(path))) => {
                self.wanted = self.wanted.saturating_sub(1);
                assert_eq!(self.acknowledged.insert(path, tag), None, "a path twice");
            }
            (Asked::Create(tag), Err(error)) if lost(error) => {
                self.denied.insert(tag);
            }
            (Asked::Get(path), Ok(Response::Data(data, _))) => {
                assert_eq!(data[..], *self.acknowledged[&path].as_bytes(), "{path}");
            }
            // It may have been made by a request whose answer was lost.
            (Asked::Ephemeral, Ok(_) | Err(ErrorCode::NodeExists)) => self.has_ephemeral = true,
            (Asked::Ping, Ok(Response::Empty)) => {}
            (Asked::Close, Ok(Response::Empty)) => self.closed = true,
            (_, Err(error)) if lost(error) => {}
            (asked, result) => panic!("{asked:?} is answered {result:?}"),
        }
    }

    fn lose_connection(&mut self) {
        self.connection = None;
        self.connected = false;
        // Whether these have happened, nobody knows.
        self.waiting.clear();
    }
}

fn create(path: String, data: String, mode: CreateMode) -> Request {
    Request::Create {
        path,
        data: data.into_bytes().into(),
        acl: acl::open_unsafe().to_vec(),
        mode,
        with_stat: false,
    }
}
