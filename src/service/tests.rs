//! The service without Zab: some servers around one list of transactions, which the first server adds
//! to. What is said between them arrives when the test lets it.

use super::*;
use crate::proto::{
    ConnectRequest, ConnectResponse, CreateMode, EventType, MultiResult, Reply, Request, Response,
    WatchEvent,
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
            PeerMsg::Refused { stream } => service.on_refused(env, ServerId(from), stream),
            PeerMsg::Touch { sessions } => service.on_touch(sessions),
        });
    }

    /// Proposes and applies.
    fn order(&mut self) {
        let (config, leader) = self.servers.get_mut(&LEADER).unwrap();
        loop {
            let zxid = Zxid::new(Epoch(1), self.log.len() as u32 + 1);
            match leader.next_proposal(config, zxid) {
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

    fn greet(&mut self, sid: u8, client: usize, request: ConnectRequest) -> Id {
        let id = Id::from((1 << 32) + client);
        self.at.insert(id, sid);
        let now_ms = self.now_ms;
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let input = ClientInput::Connect {
            request,
            from,
            proved: Vec::new(),
            now_ms,
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
        let now_ms = self.now_ms;
        let input = ClientInput::Request {
            xid,
            request,
            now_ms,
        };
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

#[test]
fn a_session_is_opened_on_every_server_with_a_timeout_within_the_bounds() {
    let mut bench = Bench::new(3);
    for (client, (asked, given)) in [(1, 4000), (9999, 9999), (i32::MAX, 40_000)]
        .into_iter()
        .enumerate()
    {
        let timeout_ms = asked;
        let id = bench.greet(
            2,
            client,
            ConnectRequest {
                timeout_ms,
                ..greeting()
            },
        );
        bench.settle();
        let [ClientOutput::Connected(response)] = &bench.hear(id)[..] else {
            panic!("no answer");
        };
        assert_eq!(response.timeout_ms, given);
        for sid in 1..=3 {
            let sessions = bench.service(sid).tree().sessions();
            assert_eq!(sessions.get(&response.session), Some(&given));
        }
    }
}

#[test]
fn a_session_that_is_unknown_or_whose_password_is_wrong_is_refused() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    let wrong = ConnectRequest {
        password: Bytes::from_static(b"wrong"),
        ..client.resumption()
    };
    let id = bench.greet(1, 2, wrong);
    bench.settle();
    assert_eq!(bench.hear(id), refusal());

    assert_eq!(bench.ask(&client, 1, Request::Ping), Ok(Response::Empty));
    bench.say(client.id, 2, Request::CloseSession);
    bench.settle();
    assert_eq!(
        bench.hear(client.id),
        [client.reply(2, 2, Ok(Response::Empty)), ClientOutput::Close]
    );
    let id = bench.greet(1, 3, client.resumption());
    bench.settle();
    assert_eq!(bench.hear(id), refusal());
    assert_eq!(bench.service(1).connections().count(), 0);
}

#[test]
fn a_client_that_has_seen_more_than_the_server_is_sent_away() {
    let mut bench = Bench::new(1);
    let ahead = ConnectRequest {
        last_zxid_seen: Zxid::new(Epoch(1), 5),
        ..greeting()
    };
    let id = bench.greet(1, 1, ahead);
    assert_eq!(bench.hear(id), [ClientOutput::Close]);
}

#[test]
fn a_server_that_does_not_serve_sends_clients_away_and_closes_its_connections() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    bench.say(client.id, 1, exists("/a", true));
    bench.at(2, |service, env| service.end(env));
    assert_eq!(bench.hear(client.id).last(), Some(&ClientOutput::Close));
    let id = bench.greet(2, 2, greeting());
    assert_eq!(bench.hear(id), [ClientOutput::Close]);
    assert!(bench.service(2).watches.is_empty());
}

/// Found by `check run service --scenario moves --crashes 1 --reconnects 1`: the transaction that had
/// opened the session bore the number under which the restarted server waited for the resumption, so the
/// session was open before what it had asked for elsewhere was applied, and could read the past.
#[test]
fn a_transaction_from_before_a_restart_opens_no_session() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    bench.now_ms += 1;
    let (config, service) = bench.servers.get_mut(&2).unwrap();
    config.incarnation += 1;
    *service = Service::new(tree_with_secret(), Zxid::ZERO);
    service.begin_following(&mut Env::new(config), ServerId(LEADER), Epoch(1));
    let again = bench.greet(2, 2, client.resumption());
    let (zxid, opening) = bench.log[0].clone();
    bench.at(2, |service, env| service.apply(env, zxid, &opening));
    assert_eq!(
        bench.hear(again),
        [],
        "its own transaction is still to come"
    );
    bench.settle();
    let told = bench.hear(again);
    assert!(
        matches!(&told[..], [ClientOutput::Connected(_)]),
        "{told:?}"
    );
}

#[test]
fn a_session_resumes_at_another_server_and_leaves_its_old_connection() {
    let mut bench = Bench::new(3);
    let client = bench.connect(2, 1);
    assert_eq!(
        bench.ask(&client, 1, create("/e", CreateMode::Ephemeral)),
        path("/e")
    );
    // A write that is lost on its way, and the resumption elsewhere.
    bench.say(client.id, 2, create("/late", CreateMode::Persistent));
    let late = bench.under_way.pop_back().unwrap();
    let id = bench.greet(3, 2, client.resumption());
    bench.settle();
    let ClientOutput::Connected(response) = &bench.hear(id)[0] else {
        panic!("not resumed");
    };
    assert_eq!(
        (response.session, response.timeout_ms),
        (client.session, 4000)
    );
    assert_eq!(
        bench.hear(client.id),
        [
            client.reply(2, 3, Err(ErrorCode::SessionMoved)),
            ClientOutput::Close
        ]
    );
    // The write arrives after all, and has no effect.
    bench.under_way.push_back(late);
    bench.settle();
    assert!(!bench.service(1).tree().contains("/late"));
    assert!(bench.service(1).tree().contains("/e"));
    let resumed = Client { id, ..client };
    assert_eq!(
        bench.ask(&resumed, 3, create("/f", CreateMode::Persistent)),
        path("/f")
    );
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    for sid in [1, 2] {
        let mut bench = Bench::new(2);
        let client = bench.connect(sid, 1);
        bench.commits = false;
        bench.say(client.id, 1, exists("/a", false));
        bench.say(client.id, 2, create("/a", CreateMode::Persistent));
        bench.say(client.id, 3, get("/a", false));
        bench.say(client.id, 4, Request::Ping);
        bench.say(client.id, 5, set("/a", "y", 0));
        bench.say(client.id, 6, Request::Unimplemented(106));
        bench.settle();
        assert_eq!(
            bench.hear(client.id),
            [client.reply(1, 1, Err(ErrorCode::NoNode))]
        );
        bench.commits = true;
        bench.settle();
        let heard = bench.hear(client.id);
        let xids: Vec<i32> = heard
            .iter()
            .map(|output| match output {
                ClientOutput::Reply { reply, .. } => reply.xid,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(xids, [2, 3, 4, 5, 6]);
        let ClientOutput::Reply { reply, .. } = &heard[1] else {
            panic!("{heard:?}");
        };
        assert!(matches!(&reply.result, Ok(Response::Data(data, _)) if data[..] == *b"x"));
        assert_eq!(heard[4], client.reply(6, 3, Err(ErrorCode::Unimplemented)));
    }
}

#[test]
fn an_event_comes_before_any_answer_that_shows_the_change() {
    let mut bench = Bench::new(2);
    let writer = bench.connect(1, 1);
    let watcher = bench.connect(2, 2);
    bench.say(writer.id, 1, exists("/a", true));
    bench.say(watcher.id, 1, exists("/a", true));
    bench.settle();
    bench.hear(writer.id);
    bench.hear(watcher.id);
    bench.commits = false;
    bench.say(writer.id, 2, create("/a", CreateMode::Persistent));
    bench.say(watcher.id, 2, Request::Sync { path: "/".into() });
    bench.say(watcher.id, 3, exists("/a", true));
    bench.settle();
    bench.commits = true;
    bench.settle();
    assert_eq!(
        bench.hear(writer.id),
        [
            event(EventType::Created, "/a", 3),
            writer.reply(2, 3, path("/a"))
        ]
    );
    let heard = bench.hear(watcher.id);
    assert_eq!(heard[0], event(EventType::Created, "/a", 3));
    assert_eq!(heard[1], watcher.reply(2, 4, path("/")));
    assert_eq!(heard.len(), 3);
    // A watch fires once; this one was set by the second exists.
    assert_eq!(bench.ask(&writer, 3, delete("/a")), Ok(Response::Empty));
    assert_eq!(bench.hear(watcher.id), [event(EventType::Deleted, "/a", 5)]);
    assert_eq!(
        bench.ask(&writer, 4, create("/a", CreateMode::Persistent)),
        path("/a")
    );
    assert_eq!(bench.hear(watcher.id), []);
}

#[test]
fn set_watches_tells_what_has_changed_and_sets_the_rest() {
    let mut bench = Bench::new(1);
    let client = bench.connect(1, 1);
    for (xid, node) in (1..).zip(["/old", "/changed", "/parent"]) {
        let made = bench.ask(&client, xid, create(node, CreateMode::Persistent));
        assert_eq!(made, path(node));
    }
    let seen = bench.service(1).applied();
    let later = [
        set("/changed", "y", -1),
        create("/parent/child", CreateMode::Persistent),
        create("/new", CreateMode::Persistent),
    ];
    for (xid, request) in (4..).zip(later) {
        assert!(bench.ask(&client, xid, request).is_ok());
    }
    let paths = |list: &[&str]| list.iter().map(|&path| path.into()).collect();
    let request = Request::SetWatches {
        relative_zxid: seen,
        data: paths(&["/old", "/changed", "/gone"]),
        exists: paths(&["/new", "/not-yet"]),
        children: paths(&["/old", "/parent", "/gone-too"]),
    };
    bench.say(client.id, -8, request);
    let found = |kind, path: &str| {
        let (path, zxid) = (path.into(), watch::NO_ZXID);
        ClientOutput::Event(WatchEvent { kind, path, zxid })
    };
    assert_eq!(
        bench.hear(client.id),
        [
            found(EventType::DataChanged, "/changed"),
            found(EventType::Deleted, "/gone"),
            found(EventType::Created, "/new"),
            found(EventType::ChildrenChanged, "/parent"),
            found(EventType::Deleted, "/gone-too"),
            client.reply(-8, 7, Ok(Response::Empty)),
        ]
    );
    // The others are set: data and children of /old, and /not-yet.
    assert_eq!(bench.service(1).watches.len(), 3);
    bench.say(client.id, 9, delete("/old"));
    bench.settle();
    assert_eq!(
        bench.hear(client.id),
        [
            event(EventType::Deleted, "/old", 8),
            client.reply(9, 8, Ok(Response::Empty))
        ]
    );
}

#[test]
fn the_ephemerals_of_a_closed_session_vanish_on_every_server() {
    let mut bench = Bench::new(3);
    let client = bench.connect(2, 1);
    let other = bench.connect(3, 2);
    assert!(
        bench
            .ask(&client, 1, create("/e", CreateMode::Ephemeral))
            .is_ok()
    );
    assert!(bench.ask(&other, 1, exists("/e", true)).is_ok());
    bench.say(client.id, 2, Request::CloseSession);
    bench.say(client.id, 3, create("/void", CreateMode::Persistent));
    bench.settle();
    assert_eq!(
        bench.hear(client.id),
        [client.reply(2, 4, Ok(Response::Empty)), ClientOutput::Close]
    );
    assert_eq!(bench.hear(other.id), [event(EventType::Deleted, "/e", 4)]);
    for sid in 1..=3 {
        assert!(!bench.service(sid).tree().contains("/e"));
        assert!(!bench.service(sid).tree().contains("/void"));
        assert_eq!(bench.service(sid).tree().sessions().len(), 1);
    }
}

#[test]
fn a_silent_session_expires_and_one_that_pings_does_not() {
    for sid in [1, 2] {
        let mut bench = Bench::new(2);
        let silent = bench.connect(sid, 1);
        let lively = bench.connect(sid, 2);
        for client in [&silent, &lively] {
            let node = format!("/{}", client.session);
            let made = bench.ask(client, 1, create(&node, CreateMode::Ephemeral));
            assert_eq!(made, path(&node));
        }
        // A timeout of 4 s is 4 session ticks: until then nothing may happen.
        bench.session_ticks(3);
        assert_eq!(bench.hear(silent.id), []);
        for xid in 0..20 {
            assert_eq!(bench.ask(&lively, xid, Request::Ping), Ok(Response::Empty));
            bench.session_ticks(2);
        }
        assert_eq!(bench.hear(silent.id), [ClientOutput::Close]);
        assert_eq!(bench.hear(lively.id), []);
        let sessions = bench.service(sid).tree().sessions();
        assert_eq!(sessions.keys().collect::<Vec<_>>(), [&lively.session]);
        assert_eq!(bench.service(sid).tree().ephemeral_count(), 1);
    }
}

#[test]
fn what_waits_when_a_session_expires_is_told_so() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    // Its writes do not reach the leader.
    bench.say(client.id, 1, create("/a", CreateMode::Persistent));
    bench.say(client.id, 2, exists("/a", false));
    let lost = bench.under_way.pop_front().unwrap();
    bench.servers.get_mut(&2).unwrap().1.touched.clear();
    bench.session_ticks(10);
    assert_eq!(
        bench.hear(client.id),
        [
            client.reply(1, 2, Err(ErrorCode::SessionExpired)),
            client.reply(2, 2, Err(ErrorCode::SessionExpired)),
            ClientOutput::Close
        ]
    );
    bench.under_way.push_back(lost);
    bench.settle();
    assert!(!bench.service(1).tree().contains("/a"));
}

#[test]
fn a_new_leader_gives_every_session_its_whole_timeout() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    bench.session_ticks(4);
    bench.at(1, |service, env| {
        service.begin_leading(env, Epoch(1), std::iter::empty());
    });
    bench.session_ticks(4);
    let is_open = |bench: &Bench| {
        let sessions = bench.service(1).tree().sessions();
        sessions.contains_key(&client.session)
    };
    assert!(is_open(&bench));
    bench.session_ticks(2);
    assert!(!is_open(&bench));
}

#[test]
fn a_leader_takes_no_stream_that_began_before_its_leadership() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    bench.say(
        client.id,
        1,
        create("/n-", CreateMode::PersistentSequential),
    );
    let forward = bench.under_way.front().unwrap().clone();
    bench.settle();
    assert_eq!(
        bench.hear(client.id),
        [client.reply(1, 2, path("/n-0000000000"))]
    );
    // The leader is elected anew before the follower notices, and a duplicate arrives.
    bench.at(1, |service, env| {
        service.begin_leading(env, Epoch(2), std::iter::empty());
    });
    bench.under_way.push_back(forward);
    bench.settle();
    assert_eq!(bench.log.len(), 2, "the write has one place");
    assert_eq!(bench.hear(client.id), [ClientOutput::Close]);
    assert_eq!(bench.service(2).leader(ServerId(2)), None);
}

#[test]
fn a_multi_does_all_or_nothing() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    let request = Request::Multi(vec![
        create("/m", CreateMode::Persistent),
        set("/m", "y", 0),
        Request::Check {
            path: "/m".into(),
            version: 1,
        },
        delete("/m"),
    ]);
    let Ok(Response::Multi(results)) = bench.ask(&client, 1, request) else {
        panic!("no results");
    };
    assert!(matches!(
        &results[..],
        [
            MultiResult::Create(_),
            MultiResult::SetData(_),
            MultiResult::Check,
            MultiResult::Delete
        ]
    ));
    let request = Request::Multi(vec![
        create("/m", CreateMode::Persistent),
        create("/m", CreateMode::Persistent),
        delete("/m"),
    ]);
    assert_eq!(
        bench.ask(&client, 2, request),
        Ok(Response::Multi(vec![
            MultiResult::Error(None),
            MultiResult::Error(Some(ErrorCode::NodeExists)),
            MultiResult::Error(Some(ErrorCode::RuntimeInconsistency)),
        ]))
    );
    assert!(!bench.service(2).tree().contains("/m"));
}

#[test]
fn writes_are_judged_by_what_is_proposed_and_not_yet_committed() {
    let mut bench = Bench::new(2);
    let (one, two) = (bench.connect(1, 1), bench.connect(2, 2));
    bench.commits = false;
    bench.say(one.id, 1, create("/a", CreateMode::Persistent));
    bench.settle();
    bench.say(two.id, 1, create("/a", CreateMode::Persistent));
    bench.say(two.id, 2, create("/a/b", CreateMode::Persistent));
    bench.settle();
    bench.commits = true;
    bench.settle();
    assert_eq!(
        bench.hear(two.id),
        [
            two.reply(1, 4, Err(ErrorCode::NodeExists)),
            two.reply(2, 5, path("/a/b"))
        ]
    );
}

#[test]
fn requests_that_cannot_be_fail_with_zookeepers_codes() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    assert!(
        bench
            .ask(&client, 1, create("/e", CreateMode::Ephemeral))
            .is_ok()
    );
    let cases = [
        (create("/e", CreateMode::Persistent), ErrorCode::NodeExists),
        (create("/x/y", CreateMode::Persistent), ErrorCode::NoNode),
        (create("x", CreateMode::Persistent), ErrorCode::BadArguments),
        (
            create("/e/x", CreateMode::Persistent),
            ErrorCode::NoChildrenForEphemerals,
        ),
        (create("/t", CreateMode::Other(5)), ErrorCode::Unimplemented),
        (create("/t", CreateMode::Other(9)), ErrorCode::BadArguments),
        (delete("/"), ErrorCode::BadArguments),
        (delete("/zookeeper"), ErrorCode::BadArguments),
        (set("/e", "y", 3), ErrorCode::BadVersion),
        (get("/x", false), ErrorCode::NoNode),
        (exists("/\0", false), ErrorCode::BadArguments),
        (Request::Unimplemented(104), ErrorCode::Unimplemented),
        (
            Request::Multi(vec![Request::Ping]),
            ErrorCode::Unimplemented,
        ),
    ];
    for (xid, (request, error)) in (2..).zip(cases) {
        let context = format!("{request:?}");
        assert_eq!(bench.ask(&client, xid, request), Err(error), "{context}");
    }
}

#[test]
fn null_data_is_read_as_null_and_empty_data_as_empty_on_every_server() {
    let mut bench = Bench::new(2);
    let clients = [bench.connect(1, 1), bench.connect(2, 2)];
    let persistent = CreateMode::Persistent;
    let writes = [
        with_data(create("/null", persistent), Data::NULL),
        with_data(create("/empty", persistent), Data::default()),
        create("/set", persistent),
        with_data(set("/set", "", 0), Data::NULL),
        Request::Multi(vec![
            with_data(create("/multi", persistent), Data::NULL),
            create("/multi/set", persistent),
            with_data(set("/multi/set", "", 0), Data::NULL),
        ]),
    ];
    for (xid, request) in (1..).zip(writes) {
        assert!(bench.ask(&clients[1], xid, request).is_ok());
    }
    for client in &clients {
        for path in ["/null", "/empty", "/set", "/multi", "/multi/set"] {
            let Ok(Response::Data(data, stat)) = bench.ask(client, 9, get(path, false)) else {
                panic!("{path} is not there");
            };
            let expected = match path {
                "/empty" => Data::default(),
                _ => Data::NULL,
            };
            assert_eq!((data, stat.data_length), (expected, 0), "{path}");
        }
    }
}

#[test]
fn who_a_client_is_travels_with_its_writes_and_counts_for_its_reads() {
    let mut bench = Bench::new(2);
    let (bob, eve) = (bench.connect(2, 1), bench.connect(2, 2));
    bench.prove(
        bob.id,
        vec![AuthId::digest(b"bob:secret")],
        Ok(Response::Empty),
    );
    assert_eq!(bench.hear(bob.id).len(), 1);
    let who = AuthId::new("auth", "");
    let request = Request::Create {
        path: "/secret".into(),
        data: Data::default(),
        acl: vec![Acl {
            perms: Perms::ALL,
            who,
        }],
        mode: CreateMode::Persistent,
        with_stat: false,
    };
    assert_eq!(bench.ask(&bob, 1, request), path("/secret"));
    assert!(bench.ask(&bob, 2, set("/secret", "y", 0)).is_ok());
    assert!(bench.ask(&bob, 3, get("/secret", false)).is_ok());
    let eves = [set("/secret", "z", -1), get("/secret", false)];
    for (xid, request) in (1..).zip(eves) {
        assert_eq!(bench.ask(&eve, xid, request), Err(ErrorCode::NoAuth));
    }
    bench.prove(eve.id, Vec::new(), Err(ErrorCode::AuthFailed));
    assert_eq!(
        bench.hear(eve.id)[1..],
        [ClientOutput::Close],
        "what is refused ends the connection"
    );
}

#[test]
fn a_write_whose_message_is_lost_is_sent_again() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    bench.say(client.id, 1, create("/a", CreateMode::Persistent));
    bench.say(client.id, 2, create("/b", CreateMode::Persistent));
    bench.under_way.pop_front();
    bench.settle();
    assert_eq!(bench.hear(client.id), []);
    bench.at(2, |service, env| service.on_retransmit_timeout(env));
    bench.settle();
    assert_eq!(
        bench.hear(client.id),
        [
            client.reply(1, 2, path("/a")),
            client.reply(2, 3, path("/b"))
        ]
    );
    bench.at(2, |service, env| service.on_retransmit_timeout(env));
    assert!(bench.under_way.is_empty(), "everything is accepted");
}

#[test]
fn a_connection_that_is_gone_leaves_nothing_but_its_session() {
    let mut bench = Bench::new(1);
    let client = bench.connect(1, 1);
    assert!(bench.ask(&client, 1, exists("/", true)).is_ok());
    bench.say(client.id, 2, create("/a", CreateMode::Persistent));
    bench.at(1, |service, env| {
        service.on_client(env, client.id, ClientInput::Disconnected);
    });
    bench.settle();
    assert_eq!(bench.hear(client.id), []);
    assert!(bench.service(1).tree().contains("/a"));
    assert_eq!(bench.service(1).connections().count(), 0);
    assert!(bench.service(1).watches.is_empty());
    assert_eq!(bench.service(1).tree().sessions().len(), 1);
}

#[test]
fn what_a_client_says_before_its_session_is_open_is_answered_behind_it_in_order() {
    for (result, is_known) in [
        (Ok(Response::Empty), true),
        (Err(ErrorCode::AuthFailed), false),
    ] {
        let mut bench = Bench::new(2);
        let id = bench.greet(2, 1, greeting());
        bench.prove(id, Vec::new(), result);
        bench.say(id, 1, create("/a", CreateMode::Persistent));
        bench.say(id, 2, exists("/a", false));
        assert_eq!(bench.hear(id), []);
        bench.settle();
        let heard = bench.hear(id);
        assert!(matches!(&heard[0], ClientOutput::Connected(_)));
        let xids = heard.iter().filter_map(|output| match output {
            ClientOutput::Reply { reply, .. } => Some(reply.xid),
            _ => None,
        });
        if is_known {
            assert_eq!(xids.collect::<Vec<_>>(), [-4, 1, 2]);
        } else {
            assert_eq!(xids.collect::<Vec<_>>(), [-4]);
            assert_eq!(heard.last(), Some(&ClientOutput::Close));
        }
    }
}

#[test]
fn the_first_transaction_of_an_ensemble_is_its_secret() {
    let mut bench = Bench::new(2);
    for sid in [1, 2] {
        let (config, service) = bench.servers.get_mut(&sid).unwrap();
        config.entropy = [sid; secret::LENGTH];
        *service = Service::new(Tree::default(), Zxid::ZERO);
    }
    bench.at(2, |service, env| {
        service.begin_following(env, ServerId(LEADER), Epoch(1))
    });
    bench.at(LEADER, |service, env| {
        service.begin_leading(env, Epoch(1), std::iter::empty())
    });
    // Who cannot judge a password yet does not say that it is wrong.
    let early = bench.greet(
        2,
        1,
        ConnectRequest {
            session: SessionId(7),
            ..greeting()
        },
    );
    assert_eq!(bench.hear(early), [ClientOutput::Close]);
    let client = bench.connect(2, 2);
    assert_eq!(bench.log.len(), 2, "the secret and the session");
    let tree = bench.service(2).tree();
    let own = secret::password(&[LEADER; secret::LENGTH], client.session);
    assert_eq!(client.password, own, "it is made of the leader's entropy");
    // A later leader keeps it.
    assert_eq!(secret::creation(tree, &bench.servers[&2].0), None);
    let moved = bench.greet(1, 3, client.resumption());
    bench.settle();
    assert!(
        matches!(&bench.hear(moved)[..], [ClientOutput::Connected(r)] if r.session == client.session)
    );
}

#[test]
fn nobody_reads_or_changes_the_secret() {
    let mut bench = Bench::new(1);
    let client = bench.connect(1, 1);
    bench.prove(
        client.id,
        vec![AuthId::digest(b"a:b"), AuthId::new("sasl", "super")],
        Ok(Response::Empty),
    );
    bench.hear(client.id);
    let denied = [
        get(secret::PATH, false),
        set(secret::PATH, "x", -1),
        create(&format!("{}/x", secret::PATH), CreateMode::Persistent),
    ];
    for (xid, request) in (1..).zip(denied) {
        assert_eq!(bench.ask(&client, xid, request), Err(ErrorCode::NoAuth));
    }
    let gone = bench.ask(&client, 9, delete(secret::PATH));
    assert_eq!(gone, Err(ErrorCode::BadArguments));
    bench.prove(client.id, vec![AuthId::superuser()], Ok(Response::Empty));
    bench.hear(client.id);
    let changed = bench.ask(&client, 10, set(secret::PATH, "x", -1));
    assert_eq!(changed, Err(ErrorCode::NoAuth));
}

/// A server that has lost its leader, with read-only mode and a znode `/a`.
fn partitioned() -> Bench {
    let mut bench = Bench::new(1);
    bench.servers.get_mut(&1).unwrap().0.read_only_mode = true;
    let client = bench.connect(1, 1);
    assert!(
        bench
            .ask(&client, 1, create("/a", CreateMode::Persistent))
            .is_ok()
    );
    bench.at(1, |service, env| service.end(env));
    bench.told.clear();
    bench
}

/// A tick of the sessions at a server that leads nobody.
fn tick(bench: &mut Bench) {
    bench.at(1, |service, env| service.on_session_timeout(env));
}

fn read_only_greeting() -> ConnectRequest {
    ConnectRequest {
        read_only: Some(true),
        ..greeting()
    }
}

#[test]
fn a_server_without_a_leader_serves_reads_to_those_that_ask_for_no_more() {
    let mut bench = partitioned();
    for client in 2..6 {
        let id = bench.greet(1, client, read_only_greeting());
        assert_eq!(
            bench.hear(id),
            [ClientOutput::Close],
            "it waits for a leader"
        );
        tick(&mut bench);
    }
    assert!(bench.service(1).is_read_only());
    let id = bench.greet(1, 6, greeting());
    assert_eq!(bench.hear(id), [ClientOutput::Close], "it wants to write");
    let id = bench.greet(1, 7, read_only_greeting());
    let response = match &bench.hear(id)[..] {
        [ClientOutput::Connected(response)] => response.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(response.read_only, Some(true));
    let results = [
        (exists("/a", true), true),
        (set("/a", "y", -1), false),
        (create("/b", CreateMode::Ephemeral), false),
        (Request::Sync { path: "/a".into() }, false),
        (Request::Ping, true),
    ];
    for (xid, (request, is_read)) in (1..).zip(results) {
        bench.say(id, xid, request);
        let heard = bench.hear(id);
        let [ClientOutput::Reply { reply, .. }] = &heard[..] else {
            panic!("{heard:?}");
        };
        assert_eq!(reply.result.is_ok(), is_read, "{reply:?}");
        assert!(is_read || reply.result == Err(ErrorCode::NotReadOnly));
    }
    bench.say(id, 9, Request::CloseSession);
    assert_eq!(bench.hear(id)[1..], [ClientOutput::Close]);
    assert_eq!(bench.service(1).connections().count(), 0);
}

#[test]
fn read_only_mode_ends_with_a_leader_and_takes_no_session_of_the_ensemble() {
    let mut bench = partitioned();
    for _ in 0..9 {
        tick(&mut bench);
    }
    let known = *bench.service(1).tree().sessions().keys().next().unwrap();
    for (session, told) in [
        (known, vec![ClientOutput::Close]),
        (SessionId(5), refusal()),
    ] {
        let request = ConnectRequest {
            session,
            ..read_only_greeting()
        };
        let id = bench.greet(1, 2, request);
        assert_eq!(bench.hear(id), told);
    }
    let id = bench.greet(1, 3, read_only_greeting());
    bench.hear(id);
    bench.at(1, |service, env| {
        service.begin_leading(env, Epoch(2), std::iter::empty())
    });
    assert_eq!(bench.hear(id), [ClientOutput::Close]);
    assert!(!bench.service(1).is_read_only());
}

#[test]
fn a_server_that_has_not_served_or_must_not_never_becomes_read_only() {
    let mut bench = partitioned();
    bench.servers.get_mut(&1).unwrap().1 = Service::new(tree_with_secret(), Zxid::ZERO);
    for _ in 0..9 {
        tick(&mut bench);
    }
    assert!(!bench.service(1).is_read_only(), "it has not served");
    let mut bench = partitioned();
    bench.servers.get_mut(&1).unwrap().0.read_only_mode = false;
    for _ in 0..9 {
        tick(&mut bench);
    }
    assert!(!bench.service(1).is_read_only(), "it must not");
}
