//! An ensemble on one machine: server processes of this same binary, on loopback.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

/// How often the servers are asked how they are.
const POLL: Duration = Duration::from_millis(300);
/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a server may take to stop cleanly.
const STOP: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Options {
    /// How many servers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    servers: u8,
    /// Where their data and logs go; what is there is taken up again. A new temporary directory if
    /// none is given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The client port of the first server; the others have the ports after it.
    #[arg(long, default_value_t = 2181)]
    client_port: u16,
    /// The UDP port of the first server; the others have the ports after it.
    #[arg(long, default_value_t = 2888)]
    peer_port: u16,
    /// The unit of time of the ensemble, in milliseconds.
    #[arg(long, default_value_t = 2000)]
    tick_time: u32,
    /// Let each server keep a journal for `check replay`, in `journal` beside its data.
    #[arg(long)]
    journal: bool,
}

/// Runs the ensemble until Control-C or SIGTERM, or until every server has ended.
pub fn run(options: &Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| format!("the operating system refuses: {error}"))?;
    runtime.block_on(run_servers(options))
}

/// A server process.
struct Server {
    id: u8,
    port: u16,
    log: PathBuf,
    process: Child,
    ended: bool,
}

async fn run_servers(options: &Options) -> Result<(), String> {
    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        return Err("signals cannot be handled".to_owned());
    };
    let last = u16::from(options.servers) - 1;
    if options.client_port.checked_add(last).is_none()
        || options.peer_port.checked_add(last).is_none()
    {
        return Err(
            "the ports go beyond 65535: give lower --client-port or --peer-port".to_owned(),
        );
    }
    let temporary = || std::env::temp_dir().join(format!("keepright-{}", std::process::id()));
    let dir = options.dir.clone().unwrap_or_else(temporary);
    let mut servers = Vec::new();
    for id in 1..=options.servers {
        match start(options, &dir, id) {
            Ok(server) => servers.push(server),
            Err(problem) => {
                stop(&mut servers).await;
                return Err(problem);
            }
        }
    }
    println!("{} servers, data in {}", servers.len(), dir.display());
    for server in &servers {
        let pid = server.process.id().unwrap_or_default();
        println!(
            "  server {}: process {pid}, log {}",
            server.id,
            server.log.display()
        );
    }
    let hosts: Vec<String> = servers
        .iter()
        .map(|server| format!("127.0.0.1:{}", server.port))
        .collect();
    println!("connect string: {}", hosts.join(","));
    println!("Control-C stops them.");
    tokio::select! {
        () = watch(&mut servers) => {
            return Err("every server has ended; their logs say why".to_owned());
        }
        _ = interrupt.recv() => println!("stopping"),
        _ = terminate.recv() => println!("stopping"),
    }
    stop(&mut servers).await;
    println!("stopped; the data is still in {}", dir.display());
    Ok(())
}

/// Writes the files of a server and starts it.
fn start(options: &Options, dir: &Path, id: u8) -> Result<Server, String> {
    let home = dir.join(format!("server-{id}"));
    let fail = |error: io::Error| {
        format!(
            "cannot prepare {}: {error}; choose another --dir",
            home.display()
        )
    };
    fs::create_dir_all(&home).map_err(fail)?;
    fs::write(home.join("myid"), format!("{id}\n")).map_err(fail)?;
    let config = home.join("zoo.cfg");
    fs::write(&config, configuration(options, &home, id)).map_err(fail)?;
    let log = home.join("keepright.log");
    let output = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(fail)?;
    let program = std::env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let mut command = Command::new(&program);
    command.arg("server").arg("--config").arg(&config);
    if options.journal {
        command.arg("--journal").arg(home.join("journal"));
    }
    let process = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        // A Control-C on the terminal is for this process, which then stops the servers.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    Ok(Server {
        id,
        port: options.client_port + u16::from(id) - 1,
        log,
        process,
        ended: false,
    })
}

fn configuration(options: &Options, home: &Path, id: u8) -> String {
    let mut text = format!(
        "tickTime={}\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={}\nclientPortAddress={}\n",
        options.tick_time,
        home.display(),
        options.client_port + u16::from(id) - 1,
        Ipv4Addr::LOCALHOST,
    );
    for peer in 1..=options.servers {
        let port = options.peer_port + u16::from(peer) - 1;
        // Writing to a string cannot fail. The second port is for ZooKeeper's eyes only.
        let _ = writeln!(text, "server.{peer}={}:{port}:{port}", Ipv4Addr::LOCALHOST);
    }
    text
}

/// Prints who leads whenever that changes, until every server has ended.
async fn watch(servers: &mut [Server]) {
    let mut shown = String::new();
    while servers.iter().any(|server| !server.ended) {
        for server in servers.iter_mut().filter(|server| !server.ended) {
            if let Ok(Some(status)) = server.process.try_wait() {
                server.ended = true;
                println!("server {} has ended ({status})", server.id);
                show_end_of_log(server, status);
            }
        }
        let mut roles = Vec::new();
        for server in servers.iter() {
            let role = match server.ended {
                true => "down".to_owned(),
                false => mode(server.port)
                    .await
                    .unwrap_or_else(|| "not serving".to_owned()),
            };
            roles.push(format!("{} {role}", server.id));
        }
        let now = roles.join(", ");
        if now != shown {
            println!("servers: {now}");
            shown = now;
        }
        sleep(POLL).await;
    }
}

/// A server that was killed has nothing to say for itself.
fn show_end_of_log(server: &Server, status: ExitStatus) {
    if status.code().is_none_or(|code| code == 0) {
        return;
    }
    if let Ok(text) = fs::read_to_string(&server.log) {
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(3)..] {
            println!("    {line}");
        }
    }
}

/// What a server's `srvr` says of its role.
async fn mode(port: u16) -> Option<String> {
    let ask = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        stream.write_all(b"srvr").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let mode = answer
            .lines()
            .find_map(|line| line.strip_prefix("Mode: "))?;
        Some(mode.to_owned())
    };
    timeout(ANSWER, ask).await.ok().flatten()
}

/// Stops the servers that run: asks first, then kills.
async fn stop(servers: &mut [Server]) {
    for server in servers.iter().filter(|server| !server.ended) {
        send(server, Signal::SIGTERM);
    }
    for server in servers.iter_mut().filter(|server| !server.ended) {
        if timeout(STOP, server.process.wait()).await.is_err() {
            println!("server {} does not stop: it is killed", server.id);
            send(server, Signal::SIGKILL);
            let _ = server.process.wait().await;
        }
    }
}

/// Sends a signal to a server's process, if that has not been waited for.
fn send(server: &Server, signal: Signal) {
    if let Some(pid) = server.process.id().and_then(|pid| i32::try_from(pid).ok())
        && let Err(error) = kill(Pid::from_raw(pid), signal)
    {
        println!("server {} cannot be sent {signal}: {error}", server.id);
    }
}
