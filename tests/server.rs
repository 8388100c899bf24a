//! Real server processes, spoken to as a client does: what holds for one server.
//!
//! `tests/kazoo/` holds what needs an existing client and servers that are killed.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // Tests read files and start processes.

mod ports;

use bytes::Bytes;
use keepright::proto::{
    self, ConnectRequest, CreateMode, EventType, Reply, Request, Response, decode_connect_response,
    decode_event, decode_reply, encode_connect, encode_request,
};
use keepright::types::Zxid;
use keepright::znode::{Acl, AuthId, Data, ErrorCode, Perms, SessionId};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ports::free_port;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

/// A server process; killed when the test is done with it.
struct Server {
    dir: TempDir,
    port: u16,
    process: Child,
}

impl Server {
    /// A server that stands alone, with more lines in its configuration.
    fn start(more: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), more)
    }

    fn start_in(dir: TempDir, more: &str) -> Self {
        let port = free_port();
        let text = format!(
            "tickTime=200\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n{more}",
            dir.path().display(),
        );
        fs::write(dir.path().join("zoo.cfg"), text).unwrap();
        let process = spawn(&dir);
        let mut server = Self { dir, port, process };
        server.wait_until(|server| server.connect().is_ok());
        server
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    fn wait_until(&mut self, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < LIMIT, "{}", self.log());
            assert!(self.process.try_wait().unwrap().is_none(), "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn word(&self, word: &str) -> String {
        let mut stream = self.connect().unwrap();
        stream.write_all(word.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn client(&mut self) -> Client {
        self.wait_until(|server| server.word("srvr").contains("Mode: "));
        Client::connect(self.connect().unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    fn restart(&mut self, with: Signal) -> ExitStatus {
        self.signal(with);
        let status = self.process.wait().unwrap();
        self.process = spawn(&self.dir);
        self.wait_until(|server| server.connect().is_ok());
        status
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(dir: &TempDir) -> Child {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(dir.path().join("log"))
        .unwrap();
    Command::new(env!("CARGO_BIN_EXE_keepright"))
        .arg("server")
        .arg("--config")
        .arg(dir.path().join("zoo.cfg"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A client with an open session.
struct Client {
    stream: TcpStream,
    session: SessionId,
    password: Bytes,
    xid: i32,
}

impl Client {
    fn connect(mut stream: TcpStream) -> Self {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 4000,
            session: SessionId(0),
            password: vec![0; 16].into(),
            read_only: Some(false),
        };
        stream.write_all(&encode_connect(&request)).unwrap();
        let response = decode_connect_response(&read_message(&mut stream).unwrap()).unwrap();
        assert_ne!(response.session, SessionId(0));
        Self {
            stream,
            session: response.session,
            password: response.password,
            xid: 0,
        }
    }

    fn send(&mut self, request: &Request) {
        self.xid += 1;
        self.stream
            .write_all(&encode_request(self.xid, request))
            .unwrap();
    }

    fn ask(&mut self, request: &Request) -> Reply {
        self.send(request);
        self.receive(request)
    }

    fn receive(&mut self, request: &Request) -> Reply {
        decode_reply(&read_message(&mut self.stream).unwrap(), request).unwrap()
    }
}

fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn create(path: &str, data: &[u8]) -> Request {
    create_with(path, data.to_vec().into())
}

fn create_with(path: &str, data: Data) -> Request {
    let anyone = AuthId {
        scheme: "world".to_owned(),
        id: "anyone".to_owned(),
    };
    Request::Create {
        path: path.to_owned(),
        data,
        acl: vec![Acl {
            perms: Perms::ALL,
            who: anyone,
        }],
        mode: CreateMode::Persistent,
        with_stat: false,
    }
}

fn get(path: &str) -> Request {
    Request::GetData {
        path: path.to_owned(),
        watch: false,
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_clean_stop_and_after_a_kill() {
    let mut server = Server::start("snapCount=10\n");
    for (round, signal) in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGINT]
        .into_iter()
        .enumerate()
    {
        let mut client = server.client();
        for i in 0..25 {
            let path = format!("/{round}-{i}");
            let reply = client.ask(&create(&path, path.as_bytes()));
            assert_eq!(reply.result, Ok(Response::Path(path)));
        }
        let status = server.restart(signal);
        assert_eq!(status.success(), signal != Signal::SIGKILL);
        let mut client = server.client();
        for round in 0..=round {
            for i in 0..25 {
                let path = format!("/{round}-{i}");
                let reply = client.ask(&get(&path));
                assert!(
                    matches!(reply.result, Ok(Response::Data(data, _)) if data[..] == *path.as_bytes())
                );
            }
        }
    }
}

#[test]
fn null_data_is_still_null_after_a_restart_from_the_log_and_from_a_snapshot() {
    let mut server = Server::start("snapCount=10\n");
    let mut client = server.client();
    let cases = [("/null", Data::NULL), ("/empty", Data::default())];
    for (path, data) in &cases {
        let reply = client.ask(&create_with(path, data.clone()));
        assert!(reply.result.is_ok(), "{reply:?}");
    }
    for round in 0..2 {
        server.restart(Signal::SIGKILL);
        let mut client = server.client();
        for (path, expected) in &cases {
            match client.ask(&get(path)).result {
                Ok(Response::Data(data, stat)) => {
                    assert_eq!((&data, stat.data_length), (expected, 0), "{path}");
                }
                other => panic!("{path}: {other:?}"),
            }
        }
        // Enough for snapshots, of which the next start takes the last.
        for i in 0..40 {
            let reply = client.ask(&create(&format!("/{round}-{i}"), b""));
            assert!(reply.result.is_ok(), "{reply:?}");
        }
    }
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let mut client = Server::start("").client_and_server();
    let requests: Vec<Request> = (0..400)
        .flat_map(|i| {
            [
                create(&format!("/{i}"), b"x"),
                get(&format!("/{i}")),
                get("/none"),
                Request::Ping,
            ]
        })
        .collect();
    for request in &requests {
        client.0.send(request);
    }
    for (i, request) in requests.iter().enumerate() {
        let reply = client.0.receive(request);
        assert_eq!(reply.xid, i as i32 + 1);
        match request {
            Request::GetData { path, .. } if path == "/none" => {
                assert_eq!(reply.result, Err(ErrorCode::NoNode));
            }
            _ => assert!(reply.result.is_ok(), "{request:?}: {reply:?}"),
        }
    }
}

impl Server {
    fn client_and_server(mut self) -> (Client, Self) {
        (self.client(), self)
    }
}

#[test]
fn a_request_that_is_too_large_closes_the_connection_and_is_named_in_the_log() {
    let (mut client, mut server) = Server::start("").client_and_server();
    let request = encode_request(1, &create("/large", &vec![0; 2 << 20]));
    // The server may close before all of it is sent.
    let _ = client.stream.write_all(&request);
    assert!(read_message(&mut client.stream).is_err());
    let address = client.stream.local_addr().unwrap();
    let line = format!("{address}: connection closed: a create of /large has 2097");
    server.wait_until(|server| server.log().contains(&line));
    assert!(server.word("srvr").contains("Mode: standalone"));
}

#[test]
fn what_nobody_uses_is_deleted_and_a_persistent_watch_tells_of_it() {
    let options = "extendedTypesEnabled=true\nznode.container.checkIntervalMs=50\n";
    let (mut client, mut server) = Server::start(options).client_and_server();
    let mut watcher = server.client();
    let (path, mode) = ("/".to_owned(), 1);
    let added = watcher.ask(&Request::AddWatch { path, mode });
    assert_eq!(added.result, Ok(Response::WatchAdded));
    let mut make = |path, wanted| {
        let mut request = create(path, b"");
        if let Request::Create {
            mode, with_stat, ..
        } = &mut request
        {
            (*mode, *with_stat) = (wanted, true);
        }
        let reply = client.ask(&request);
        let Ok(Response::PathAndStat(_, stat)) = reply.result else {
            panic!("{path}: {reply:?}");
        };
        assert_eq!(stat.ephemeral_owner, SessionId(0));
    };
    let mut told = || {
        let event = decode_event(&read_message(&mut watcher.stream).unwrap()).unwrap();
        (event.kind, event.path)
    };
    let is = |kind, path: &str| (kind, path.to_owned());
    make("/kept", CreateMode::Ttl(3_600_000));
    assert_eq!(told(), is(EventType::Created, "/kept"));
    make("/t", CreateMode::Ttl(1));
    assert_eq!(told(), is(EventType::Created, "/t"));
    assert_eq!(told(), is(EventType::Deleted, "/t"));
    make("/c", CreateMode::Container);
    make("/c/x", CreateMode::Ttl(1));
    assert_eq!(told(), is(EventType::Created, "/c"));
    assert_eq!(told(), is(EventType::Created, "/c/x"));
    assert_eq!(told(), is(EventType::Deleted, "/c/x"));
    assert_eq!(told(), is(EventType::Deleted, "/c"));
    server.restart(Signal::SIGKILL);
    let mut client = server.client();
    assert!(client.ask(&get("/kept")).result.is_ok());
    assert_eq!(client.ask(&get("/c")).result, Err(ErrorCode::NoNode));
}

#[test]
fn nonsense_closes_the_connection_and_nothing_else() {
    let (_, server) = Server::start("").client_and_server();
    for nonsense in [
        &[0, 0, 0, 1, 7][..],
        &[0xff; 40],
        &[0; 40],
        &[0, 0, 0, 44, 1, 2, 3],
    ] {
        let mut stream = server.connect().unwrap();
        stream.write_all(nonsense).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    assert!(server.word("srvr").contains("Mode: standalone"));
}

#[test]
fn one_address_may_have_only_so_many_connections() {
    only_so_many_connections("maxClientCnxns");
}

#[test]
fn all_clients_together_may_have_only_so_many_connections() {
    only_so_many_connections("maxCnxns");
}

fn only_so_many_connections(key: &str) {
    let mut server = Server::start(&format!("{key}=3\n"));
    let mut first = server.client();
    let second = Client::connect(server.connect().unwrap());
    // The words of `client` may still be on their way out.
    let third = loop {
        let mut stream = server.connect().unwrap();
        let request = proto::encode_request(1, &Request::Ping);
        let _ = stream.write_all(&request[..4]);
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        match stream.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break stream,
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let mut refused = server.connect().unwrap();
    assert_eq!(refused.read(&mut [0]).unwrap_or(0), 0);
    assert!(server.log().contains(&format!("({key})")));
    assert!(first.ask(&Request::Ping).result.is_ok());
    drop((second, third));
    server.wait_until(|server| {
        let mut stream = server.connect().unwrap();
        let mut answer = String::new();
        let _ = stream.write_all(b"ruok");
        stream.read_to_string(&mut answer).is_ok() && answer == "imok"
    });
}

#[test]
fn a_session_moves_to_a_new_connection_with_its_password_only() {
    let (mut client, server) = Server::start("").client_and_server();
    let ephemeral = Request::Create {
        path: "/mine".to_owned(),
        data: Vec::new().into(),
        acl: vec![Acl {
            perms: Perms::ALL,
            who: AuthId {
                scheme: "world".to_owned(),
                id: "anyone".to_owned(),
            },
        }],
        mode: CreateMode::Ephemeral,
        with_stat: false,
    };
    assert!(client.ask(&ephemeral).result.is_ok());
    let session = client.session;
    let resume = |password: Bytes| {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 4000,
            session,
            password,
            read_only: Some(false),
        };
        let mut stream = server.connect().unwrap();
        stream.write_all(&encode_connect(&request)).unwrap();
        let response = decode_connect_response(&read_message(&mut stream).unwrap()).unwrap();
        (stream, response)
    };
    let (_, response) = resume(vec![1; 16].into());
    assert_eq!((response.session, response.timeout_ms), (SessionId(0), 0));
    assert!(client.ask(&get("/mine")).result.is_ok());
    let (stream, response) = resume(client.password.clone());
    assert_eq!(response.session, session);
    client.stream = stream;
    assert!(client.ask(&get("/mine")).result.is_ok());
}

#[test]
fn four_letter_words_answer_before_there_is_a_quorum() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("myid"), "1").unwrap();
    let (own, other) = (free_port(), free_port());
    let more = format!("server.1=127.0.0.1:{own}:{own}\nserver.2=127.0.0.1:{other}:{other}\n");
    let server = Server::start_in(dir, &more);
    assert_eq!(server.word("ruok"), "imok");
    assert_eq!(server.word("isro"), "null");
    for word in ["srvr", "stat", "mntr", "cons"] {
        assert!(
            server.word(word).contains("not currently serving requests"),
            "{word}"
        );
    }
    assert!(
        server
            .word("conf")
            .contains(&format!("server.2=127.0.0.1:{other}:{other}:participant\n"))
    );
    let quorum = server.word("quor");
    for line in [
        "Role: LOOKING, votes for 1 with 1\n",
        "Quorum: no\n",
        "Epoch: 0, accepted 0\n",
        "Voters: 1 2\nObservers: -\n",
    ] {
        assert!(quorum.contains(line), "{quorum}");
    }
    assert!(server.word("envi").contains("zookeeper.version=3.9"));
    assert!(server.word("dump").contains("not in the whitelist"));
}

#[test]
fn four_letter_words_have_the_form_that_scripts_expect() {
    let (mut client, server) =
        Server::start("4lw.commands.whitelist=srvr, stat, mntr, cons\n").client_and_server();
    assert!(client.ask(&create("/a", b"x")).result.is_ok());
    let srvr = server.word("srvr");
    let keys: Vec<&str> = srvr
        .lines()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "Zookeeper version",
            "Latency min/avg/max",
            "Received",
            "Sent",
            "Connections",
            "Outstanding",
            "Zxid",
            "Mode",
            "Node count"
        ]
    );
    // The secret, the session and the znode.
    assert!(srvr.contains("Zxid: 0x100000003\n"), "{srvr}");
    let address = client.stream.local_addr().unwrap();
    let line = format!(" /{address}[1](queued=0,recved=2,sent=2)\n");
    assert!(
        server.word("stat").contains(&line),
        "{}",
        server.word("stat")
    );
    let session = format!("sid=0x{:x},", client.session.0);
    assert!(
        server.word("cons").contains(&session),
        "{}",
        server.word("cons")
    );
    let mntr = server.word("mntr");
    assert!(
        mntr.lines()
            .all(|line| line.starts_with("zk_") && line.contains('\t'))
    );
    assert!(mntr.contains("zk_server_state\tstandalone\n"));
    assert!(server.word("ruok").contains("not in the whitelist"));
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let server = Server::start("");
    let other = tempfile::tempdir().unwrap();
    let text = format!(
        "dataDir={}\nclientPort={}\n",
        server.dir.path().display(),
        free_port()
    );
    fs::write(other.path().join("zoo.cfg"), text).unwrap();
    let mut second = spawn(&other);
    assert_eq!(second.wait().unwrap().code(), Some(1));
    let log = fs::read_to_string(other.path().join("log")).unwrap();
    assert!(log.contains("another server uses"), "{log}");
}

#[test]
fn a_damaged_log_stops_the_start_and_names_file_and_offset() {
    let (mut client, mut server) = Server::start("").client_and_server();
    for i in 0..9 {
        assert!(
            client
                .ask(&create(&format!("/{i}"), b"data"))
                .result
                .is_ok()
        );
    }
    server.signal(Signal::SIGTERM);
    server.process.wait().unwrap();
    let file: PathBuf = server.dir.path().join("version-2/log.100000001");
    let mut bytes = fs::read(&file).unwrap();
    bytes[40] ^= 1;
    fs::write(&file, bytes).unwrap();
    server.process = spawn(&server.dir);
    assert_eq!(server.process.wait().unwrap().code(), Some(1));
    let log = server.log();
    assert!(
        log.contains(&format!("{} is damaged at offset 16", file.display())),
        "{log}"
    );
}
