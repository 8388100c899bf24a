//! The event loop: one thread that runs the replica actor.
//!
//! Spec: `spec/6-server.md`, "Event loop". What it must never do: wait for a disk, say Saved before
//! the log writer has, or go on after the disk has failed.

use super::client::{ClientEvent, ClientPort, ConnectionId, Status};
use super::clock::Clock;
use super::config::Config;
use super::edge::Edge;
use super::journal::Journal;
use super::memory;
use super::peers::{PeerEvent, PeerSockets};
use super::storage::{DataDir, Layout, LogEvent, LogWriter, StorageError, ZooKeeperCodec};
use super::timers::Timers;
use super::transport::Transport;
use crate::members::PeerAddress;
use crate::service::clock::Time;
use crate::service::digest::Mismatch;
use crate::service::journal::Input;
use crate::service::replica::{State, Timer};
use crate::service::secret::LENGTH;
use crate::service::{self, Msg, PeerMsg, Replica, ZooKeeper};
use crate::types::{Epoch, ServerId, Zxid};
use crate::zab::{self, Zab};
use crate::znode::acl::Schemes;
use stateright::actor::{Command, Id, Out};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// How often a server repeats its last word, at most; half a tick if that is shorter.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Events of one kind that are taken before the others have their turn.
const BATCH: usize = 512;

/// Why a server stopped, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A socket cannot be had; says which, and what to do.
    #[error("{0}")]
    Socket(String),
    /// A key or a certificate cannot be used; says which, and what to do.
    #[error("{0}")]
    Tls(String),
    #[error("{0}: the journal cannot be begun: {1}; give a directory that can be written")]
    Journal(PathBuf, std::io::Error),
    #[error("the operating system refuses: {0}")]
    System(#[from] std::io::Error),
    #[error(
        "the thread that writes the log has ended; this is a bug: please report it with the log"
    )]
    LogWriterGone,
}

/// Runs a server until SIGTERM or SIGINT, which stop it cleanly; with a journal of the actor's inputs in
/// the directory `journal`, if there is one.
///
/// # Errors
/// If the data directory or a socket cannot be used, or as soon as the disk fails.
pub fn run(config: Config, journal: Option<&Path>) -> Result<(), RunError> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let layout = Layout {
        data_dir: config.data_dir.clone(),
        log_dir: config.data_log_dir.clone(),
        retain: config.snap_retain_count as usize,
        purge: config.purge,
        compression: config.snapshot_compression,
    };
    if !config.make_directories {
        layout.must_exist()?;
    }
    let digests = config.service.digests;
    let mut dir = DataDir::open(layout, ZooKeeperCodec { digests })?;
    for note in dir.notes() {
        tracing::warn!("{note}");
    }
    memory::settle(&config, &mut dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = LocalSet::new().block_on(&runtime, serve(config, dir, journal));
    // A name that is just being looked up must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn serve(
    config: Config,
    dir: DataDir<ZooKeeper, ZooKeeperCodec>,
    journal: Option<&Path>,
) -> Result<(), RunError> {
    // Before anything else, so that a signal is never lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (client_sender, mut client_events) = mpsc::unbounded_channel();
    let (log_sender, mut log_events) = mpsc::unbounded_channel();
    let (peer_sender, mut peer_events) = mpsc::unbounded_channel();
    let sockets = PeerSockets::open(&config, peer_sender)
        .await
        .map_err(RunError::Socket)?;
    let port = ClientPort::new(config.clone(), client_sender).map_err(RunError::Tls)?;
    let doors = port.bind().await.map_err(RunError::Socket)?;
    log_start(&config, &dir);
    let replica = replica(&config, random()?, u64::from_ne_bytes(random()?));
    let journal = match journal {
        None => None,
        Some(dir) => {
            let journal = Journal::create(dir, &replica);
            Some(journal.map_err(|error| RunError::Journal(dir.to_owned(), error))?)
        }
    };
    if let Some(journal) = &journal {
        tracing::info!("what happens is written to {}", journal.path().display());
    }

    let mut draw = [0; 8];
    getrandom::fill(&mut draw).map_err(std::io::Error::from)?;
    let storage = zab::Storage {
        // 0 would be no name.
        draw: u64::from_le_bytes(draw).max(1),
        ..dir.storage().clone()
    };
    let log = LogWriter::spawn(dir, move |event| {
        // The loop is gone only when the server stops.
        let _ = log_sender.send(event);
    })?;
    // Not by the clock: a message that bears the number of an earlier one is taken for it.
    let first_message = u64::from_ne_bytes(random()?);
    let transport = Transport::new(config.my_id, first_message, config.service.reconfig);
    let mut server = Server::new(
        replica,
        journal,
        storage,
        log,
        Rc::clone(&port),
        sockets,
        transport,
    );
    for door in doors {
        tokio::task::spawn_local(Rc::clone(&port).listen(door));
    }
    loop {
        server.after_events();
        let deadline = server.deadline().into();
        tokio::select! {
            () = server.sockets.readable() => server.on_datagrams(),
            Some(event) = client_events.recv() => {
                server.tell_time();
                server.on_client_event(event);
                for _ in 0..BATCH {
                    let Ok(event) = client_events.try_recv() else { break };
                    server.on_client_event(event);
                }
            }
            event = log_events.recv() => match event {
                Some(LogEvent::Saved(count)) => server.step(Input::Saved(count)),
                Some(LogEvent::Failed(error)) => return Err(error.into()),
                None => return Err(RunError::LogWriterGone),
            },
            Some(event) = peer_events.recv() => server.on_peer_event(event),
            () = tokio::time::sleep_until(deadline) => server.on_timers(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("stopping: what is queued is made durable");
    server.after_events();
    drop(server);
    Ok(())
}

fn log_start(config: &Config, dir: &DataDir<ZooKeeper, ZooKeeperCodec>) {
    let storage = dir.storage();
    let (last, epoch) = (storage.history.last_zxid(), storage.current_epoch);
    let ensemble = match &config.members {
        None => "standalone".to_owned(),
        Some(members) => format!("one of {} servers", members.servers().len()),
    };
    let plain = config.client_port.map(|port| format!("port {port}"));
    let secure = config.security.tls.as_ref();
    let secure = secure.map(|tls| format!("port {} with TLS", tls.port));
    let ports: Vec<String> = plain.into_iter().chain(secure).collect();
    tracing::info!(
        "server {} starts, {ensemble}: clients on {}, data in {}, history up to {last} of epoch {epoch}",
        config.my_id,
        ports.join(" and "),
        config.data_dir.display(),
    );
}

/// Bytes that nobody can foresee, and that are others at each start.
fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// The actor that the configuration describes.
fn replica(config: &Config, entropy: [u8; LENGTH], incarnation: u64) -> Replica {
    let zab = Zab::new(zab::Config {
        heartbeat: HEARTBEAT.min(config.tick_time / 2),
        peer_timeout: config.tick_time * config.sync_limit,
        establish_timeout: config.tick_time * config.init_limit,
        ..zab::Config::new(config.membership())
    });
    let millis = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
    let service = service::Config {
        min_session_timeout_ms: millis(config.min_session_timeout),
        max_session_timeout_ms: millis(config.max_session_timeout),
        snap_count: config.snap_count.into(),
        entropy,
        read_only_mode: config.read_only_mode,
        schemes: Schemes {
            sasl: config.security.sasl,
            x509: config.security.tls.is_some(),
        },
        members: config.members.clone(),
        snap_size: config.snap_size_limit,
        ..service::Config::new(config.my_id, incarnation, config.tick_time)
    };
    Replica::new(zab, config.service.tell(service))
}

struct Server {
    me: ServerId,
    replica: Replica,
    /// `None` only within a step.
    state: Option<State>,
    journal: Option<Journal>,
    /// What the journal must hold before the log writer gets it.
    held: Vec<zab::Storage<ZooKeeper>>,
    timers: Timers<Timer>,
    clock: Clock,
    /// What the actor was told of it last.
    time: Time,
    edge: Edge,
    sockets: PeerSockets,
    port: Rc<ClientPort>,
    log: LogWriter<ZooKeeper>,
    /// The leader, whether clients are served, and the epoch, as the log of this process last told.
    announced: Option<Standing>,
    /// The servers with other histories that the log has told of.
    diverged: BTreeMap<ServerId, zab::Divergence>,
    /// The difference from the others that the log of this process last told of.
    mismatch: Option<Mismatch>,
    /// The members of the ensemble, and the part of the history that they were found in.
    servers: BTreeMap<ServerId, PeerAddress>,
    found_in: Option<(Zxid, Zxid)>,
}

impl Server {
    fn new(
        replica: Replica,
        journal: Option<Journal>,
        storage: zab::Storage<ZooKeeper>,
        log: LogWriter<ZooKeeper>,
        port: Rc<ClientPort>,
        sockets: PeerSockets,
        transport: Transport,
    ) -> Self {
        let me = replica.config().sid;
        let mut server = Self {
            me,
            replica,
            state: None,
            journal,
            held: Vec::new(),
            timers: Timers::new(),
            clock: Clock::start(),
            time: Time::default(),
            edge: Edge::new(transport),
            sockets,
            port,
            log,
            announced: None,
            diverged: BTreeMap::new(),
            mismatch: None,
            servers: BTreeMap::new(),
            found_in: None,
        };
        server.step(Input::Start(Box::new(storage)));
        server.tell_time();
        server
    }

    fn state(&self) -> &State {
        self.state
            .as_ref()
            .expect("the state is back after each step")
    }

    /// Gives the actor an input, and carries out what it wants.
    fn step(&mut self, input: Input) {
        let record = self.journal.as_mut().map(|journal| journal.begin(&input));
        let mut out = Out::new();
        let repeats = matches!(
            input,
            Input::Timeout(Timer::Zab(zab::Timer::Heartbeat) | Timer::Retransmit)
        );
        input.run(&self.replica, &mut self.state, &mut out);
        if let (Some(journal), Some(record)) = (&mut self.journal, record) {
            journal.end(record, &out);
        }
        self.carry_out(out, repeats);
        if let Some(state) = self.state.as_ref().filter(|_| repeats) {
            self.edge.on_repeated(state.zab());
        }
    }

    /// Tells the actor what the clocks say, if they say something new.
    fn tell_time(&mut self) {
        let time = self.clock.look();
        if self.time != time {
            self.time = time;
            self.step(Input::Clock(time));
        }
    }

    /// Nothing here waits for a save: the actor itself withholds what must.
    fn carry_out(&mut self, out: Out<Replica>, repeats: bool) {
        let now = Instant::now();
        for command in out {
            match command {
                Command::Send(to, Msg::Peer(message)) => {
                    self.send_to_peer(now, to, &message, repeats);
                }
                Command::Send(to, Msg::ToClient(output)) => {
                    if let Some(connection) = ConnectionId::from_actor(to) {
                        self.port.send(connection, output);
                    }
                }
                Command::Send(_, Msg::Warning(words)) => tracing::warn!("{words}"),
                Command::Send(_, Msg::Saved(_) | Msg::Clock(_) | Msg::Client(_)) => {} // Inputs: the actor says none.
                Command::SetTimer(timer, range) => self.timers.set(now, timer, range),
                Command::CancelTimer(timer) => self.timers.cancel(&timer),
                Command::Save(storage) if self.journal.is_some() => self.held.push(storage),
                Command::Save(storage) => self.log.save(storage),
                Command::ChooseRandom(..) => {} // The actor makes no choices.
            }
        }
    }

    fn send_to_peer(&mut self, now: Instant, to: Id, message: &PeerMsg, repeats: bool) {
        if let (Some(peer), Some(state)) = (ServerId::from_actor(to), &self.state) {
            self.edge.send(now, state.zab(), peer, message, repeats);
        }
    }

    fn on_datagrams(&mut self) {
        let now = Instant::now();
        let edge = &mut self.edge;
        self.sockets.receive(BATCH, |from, datagram| {
            edge.on_datagram(now, from, datagram);
        });
        let garbled = edge.take_garbled();
        if garbled > 0 {
            tracing::warn!(
                "{garbled} messages of peers cannot be read: do all servers run one version?"
            );
        }
        self.take_messages(now);
    }

    fn take_messages(&mut self, now: Instant) {
        let mut told = false;
        while let Some(state) = &self.state
            && let Some((peer, message)) = self.edge.next_message(now, state.zab())
        {
            if !std::mem::replace(&mut told, true) {
                self.tell_time();
            }
            self.step(Input::Peer(peer, message));
        }
    }

    fn on_client_event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Input(connection, input) => {
                let connection = usize::from(Id::from(connection)) as u64;
                self.step(Input::Client(connection, input));
            }
            ClientEvent::Status(answer) => {
                let stats = self.replica.stats(self.state());
                let epoch = self.state().zab().epoch().unwrap_or(Epoch(0));
                // Who asked may be gone.
                let _ = answer.send(Status {
                    stats,
                    quorum: self.replica.quorum(self.state()),
                    epoch,
                    datagrams: self.edge.transport.counters(),
                    servers: self.servers.clone(),
                });
            }
        }
    }

    fn on_peer_event(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Address(peer, address) => {
                self.edge.transport.set_address(peer, address);
            }
            // A timer may fire at any time, so this is only a faster way to what would come anyway.
            PeerEvent::Gone(peer) => {
                let timer = Timer::Zab(zab::Timer::Peer(peer));
                if self.timers.is_set(&timer) {
                    tracing::info!("server {peer} is gone: nobody listens at its address");
                    self.timers.cancel(&timer);
                    self.step(Input::Timeout(timer));
                }
            }
        }
    }

    fn on_timers(&mut self) {
        let now = Instant::now();
        while let Some(timer) = self.timers.take_due(now) {
            if timer == Timer::Session {
                self.tell_time();
            }
            self.step(Input::Timeout(timer));
        }
        self.take_messages(now);
    }

    fn after_events(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.flush();
        }
        for storage in self.held.drain(..) {
            self.log.save(storage);
        }
        self.follow_members();
        if let Some(state) = &self.state {
            let (sockets, zab) = (&self.sockets, self.replica.zab());
            self.edge
                .transmit(Instant::now(), zab, state.zab(), |to, datagram| {
                    sockets.send(to, datagram);
                });
        }
        self.announce();
        self.announce_divergence();
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let edge = self.edge.deadline(now, self.state().zab());
        let deadlines = [self.timers.next(), edge];
        let idle = now + Duration::from_secs(60);
        deadlines.into_iter().flatten().min().unwrap_or(idle)
    }

    /// Speaks with those who are members by now, or are proposed to be.
    fn follow_members(&mut self) {
        let history = &self.state().zab().storage().history;
        let last_change = history
            .changes()
            .last()
            .map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        let found_in = Some((history.snapshot().zxid, last_change));
        if self.found_in == found_in {
            return;
        }
        let is_first = self.found_in.is_none();
        self.found_in = found_in;
        let servers = self.replica.servers(self.state());
        if servers == self.servers {
            return;
        }
        let configured = self.replica.config().members.as_ref();
        if !is_first || configured.is_some_and(|members| *members.servers() != servers) {
            let listed: Vec<String> = servers
                .iter()
                .map(|(id, server)| format!("server.{id}={server}"))
                .collect();
            let listed = listed.join(", ");
            tracing::info!("speaking with these servers from now on: {listed}");
        }
        self.sockets.watch(&servers);
        self.edge
            .transport
            .set_members(servers.keys().copied().collect());
        self.servers = servers;
    }

    /// Logs, once for each history, that a server has another one than this server.
    fn announce_divergence(&mut self) {
        let zab = self
            .state
            .as_ref()
            .expect("the state is back after each step")
            .zab();
        for (peer, diverged) in zab.diverged() {
            let divergence = diverged.divergence;
            if self.diverged.insert(*peer, divergence) == Some(divergence) {
                continue;
            }
            tracing::error!(
                "server {peer} was found to have another history than this server, and neither may be cut to go on with the other: \
                 {divergence}. The two do not work together. Decide whose data is to stay; then stop each server whose \
                 data is to go, and run `keepright adopt` on its dataDir: that puts its data aside, and it learns those of \
                 the others"
            );
        }
    }

    /// Logs that this server's tree is not what others have.
    fn announce_mismatch(&mut self) {
        let mismatch = self.state().service().mismatch();
        if self.mismatch != mismatch {
            match mismatch {
                Some(mismatch) => tracing::error!("{}", describe(mismatch)),
                None => tracing::info!("this server's tree is what the leader says again"),
            }
            self.mismatch = mismatch;
        }
    }

    /// Logs a change of role.
    fn announce(&mut self) {
        self.announce_mismatch();
        let zab = self.state().zab();
        let standing = Standing {
            leader: zab.leader(self.me),
            serving: self.state().serving(),
            epoch: zab.epoch(),
        };
        if self.announced == Some(standing) {
            return;
        }
        self.announced = Some(standing);
        let role = match standing.leader {
            None => "LOOKING for a leader".to_owned(),
            Some(leader) if leader == self.me => "LEADING".to_owned(),
            Some(leader) => format!("FOLLOWING server {leader}"),
        };
        let epoch = match standing.epoch {
            Some(epoch) => format!(" in epoch {epoch}"),
            None => String::new(),
        };
        let serving = match (standing.leader, standing.serving) {
            (_, true) => ", serving clients",
            (Some(_), false) => ", not synchronized yet",
            (None, false) => "",
        };
        tracing::info!("{role}{epoch}{serving}");
    }
}

/// Words for a difference from the others.
fn describe(mismatch: Mismatch) -> String {
    let Mismatch { zxid, own, leaders } = mismatch;
    let what = match leaders {
        Some(leaders) => format!("has the digest 0x{own:x} and the leader's 0x{leaders:x}"),
        None => format!("(digest 0x{own:x}) is not what most servers have, which follow this one"),
    };
    format!(
        "after transaction 0x{:x} this server's tree {what}: it serves nobody. Stop it, move its data directory away \
         (but for myid) and start it again: it learns everything from the others",
        zxid.0
    )
}

/// What is worth a line in the log when it changes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Standing {
    leader: Option<ServerId>,
    serving: bool,
    epoch: Option<Epoch>,
}
