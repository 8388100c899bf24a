//! Real servers with journals, and a client that writes and replaces members.

use crate::ports::free_port;
use keepright::proto::{
    ConnectRequest, CreateMode, Reconfiguration, Reply, Request, Response, decode_connect_response,
    decode_reply, encode_connect, encode_request,
};
use keepright::types::Zxid;
use keepright::znode::{Acl, AuthId, Perms, SessionId};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

/// Real servers, 1 and so on; killed when the test is done with them.
pub struct Ensemble {
    pub dir: TempDir,
    ports: Vec<u16>,
    /// Their `server.N` lines.
    lines: Vec<String>,
    processes: Vec<Option<Child>>,
}

impl Ensemble {
    /// Three members.
    pub fn start(more: &str) -> Self {
        Self::with_guests(3, 0, more)
    }

    /// Some members, and then servers that know them, and that they do not know.
    pub fn with_guests(members: usize, guests: usize, more: &str) -> Self {
        let count = members + guests;
        let dir = tempfile::tempdir().unwrap();
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let line = |(index, client): (usize, &u16)| {
            let (server, peer) = (index + 1, free_port());
            format!("server.{server}=127.0.0.1:{peer}:{peer};127.0.0.1:{client}")
        };
        let lines: Vec<String> = ports.iter().enumerate().map(line).collect();
        for (index, port) in ports.iter().enumerate() {
            let known = |at: &usize| *at < members || *at == index;
            let known: Vec<_> = (0..count).filter(known).map(|at| &*lines[at]).collect();
            let known = known.join("\n");
            let home = dir.path().join((index + 1).to_string());
            fs::create_dir(&home).unwrap();
            fs::write(home.join("myid"), (index + 1).to_string()).unwrap();
            let text = format!(
                "tickTime=200\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={port}\n\
                 clientPortAddress=127.0.0.1\n{known}\n{more}",
                home.display()
            );
            fs::write(home.join("zoo.cfg"), text).unwrap();
        }
        let mut ensemble = Self {
            dir,
            ports,
            lines,
            processes: (0..count).map(|_| None).collect(),
        };
        for server in 1..=count {
            ensemble.restart(server);
        }
        ensemble
    }

    /// Where a server has its journal.
    pub fn journal(&self, server: usize) -> PathBuf {
        self.dir.path().join(server.to_string()).join("journal")
    }

    pub fn restart(&mut self, server: usize) {
        let home = self.dir.path().join(server.to_string());
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(home.join("log"))
            .unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_keepright"))
            .arg("server")
            .arg("--config")
            .arg(home.join("zoo.cfg"))
            .arg("--journal")
            .arg(self.journal(server))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.processes[server - 1] = Some(process);
    }

    /// Kills a server by SIGKILL.
    pub fn kill(&mut self, server: usize) {
        let mut process = self.processes[server - 1].take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// What a server answers to a four-letter word.
    pub fn word(&self, server: usize, word: &str) -> String {
        self.try_word(server, word).unwrap()
    }

    fn try_word(&self, server: usize, word: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[server - 1]))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(word.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The servers that serve clients, with what they say of themselves.
    fn modes(&self) -> Vec<(usize, String)> {
        let all = 1..=self.processes.len();
        let running = all.filter(|server| self.processes[server - 1].is_some());
        let mode = |server: usize| {
            let answer = self.try_word(server, "srvr").ok()?;
            let mode = answer
                .lines()
                .find_map(|line| line.strip_prefix("Mode: "))?;
            Some((server, mode.to_owned()))
        };
        running.filter_map(mode).collect()
    }

    /// Waits until so many servers serve clients, one of them as the leader; returns that one.
    pub fn wait_for(&self, count: usize) -> usize {
        let start = Instant::now();
        loop {
            let modes = self.modes();
            let leader = modes.iter().find(|(_, mode)| mode == "leader");
            if let Some((leader, _)) = leader.filter(|_| modes.len() == count) {
                return *leader;
            }
            assert!(start.elapsed() < LIMIT, "{modes:?}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the servers have logged.
    fn logs(&self) -> String {
        let log = |server: usize| {
            let path = self.dir.path().join(server.to_string()).join("log");
            format!("{server}:\n{}", fs::read_to_string(path).unwrap())
        };
        (1..=self.processes.len()).map(log).collect()
    }

    /// Writes so many znodes through a server, some of them at the same time.
    pub fn write(&self, server: usize, prefix: &str, count: usize) {
        let mut client = Client::connect(self.ports[server - 1]);
        let paths: Vec<_> = (0..count).map(|i| format!("/{prefix}-{i}")).collect();
        for some in paths.chunks(16) {
            let requests: Vec<_> = some.iter().map(|path| create(path)).collect();
            requests.iter().for_each(|request| client.send(request));
            for request in &requests {
                let reply = client.receive(request);
                assert!(reply.result.is_ok(), "{reply:?}");
            }
        }
    }

    /// Replaces members by a request to a server; returns the list that it answers.
    pub fn reconfigure(&self, server: usize, joining: &[usize], leaving: &str) -> String {
        let mut client = Client::connect(self.ports[server - 1]);
        let superuser = Request::Auth {
            scheme: "digest".to_owned(),
            auth: b"super:test".to_vec().into(),
        };
        let lines: Vec<_> = joining.iter().map(|id| &*self.lines[id - 1]).collect();
        let asked = Request::Reconfig(Reconfiguration {
            joining: lines.join(","),
            leaving: leaving.to_owned(),
            members: String::new(),
            version: -1,
        });
        client.send(&superuser);
        assert_eq!(client.receive(&superuser).result, Ok(Response::Empty));
        client.send(&asked);
        match client.receive(&asked).result {
            Ok(Response::Data(data, _)) => String::from_utf8(data.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Stops every server cleanly.
    pub fn stop(&mut self) {
        for mut process in self.processes.iter_mut().filter_map(Option::take) {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
            assert!(process.wait().unwrap().success());
        }
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A client with an open session.
struct Client {
    stream: TcpStream,
    xid: i32,
}

impl Client {
    fn connect(port: u16) -> Self {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 4000,
            session: SessionId(0),
            password: vec![0; 16].into(),
            read_only: Some(false),
        };
        stream.write_all(&encode_connect(&request)).unwrap();
        let response = decode_connect_response(&read_message(&mut stream)).unwrap();
        assert_ne!(response.session, SessionId(0));
        Self { stream, xid: 0 }
    }

    fn send(&mut self, request: &Request) {
        self.xid += 1;
        let bytes = encode_request(self.xid, request);
        self.stream.write_all(&bytes).unwrap();
    }

    fn receive(&mut self, request: &Request) -> Reply {
        decode_reply(&read_message(&mut self.stream), request).unwrap()
    }
}

fn read_message(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message).unwrap();
    message
}

fn create(path: &str) -> Request {
    let anyone = AuthId {
        scheme: "world".to_owned(),
        id: "anyone".to_owned(),
    };
    Request::Create {
        path: path.to_owned(),
        data: path.as_bytes().to_vec().into(),
        acl: vec![Acl {
            perms: Perms::ALL,
            who: anyone,
        }],
        mode: CreateMode::Persistent,
        with_stat: false,
    }
}
