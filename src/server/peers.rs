//! The UDP socket between servers, the addresses of the peers, and word of peers that are gone.
//!
//! Spec: `spec/6-server.md`, "Peers". What it must never do: stop the server because a name cannot be
//! resolved or a datagram cannot be sent.
//!
//! Departs from ZooKeeper: D23 in `spec/deviations.toml`.

use super::config::Config;
use crate::members::{Endpoint, Members, PeerAddress};
use crate::types::ServerId;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::time::Duration;
use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

/// Room for datagrams in the kernel, in bytes; it may grant less.
const BUFFER: usize = 8 << 20;
/// How often a name that cannot be resolved is tried, and one that can is looked up again.
const UNRESOLVED: Duration = Duration::from_secs(1);
const RESOLVED: Duration = Duration::from_secs(60);
/// How often peers are asked whether anybody is there, and how long an answer may take.
const PROBE: Duration = Duration::from_millis(100);

/// What is learnt of a peer beside its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// It is at this address.
    Address(ServerId, SocketAddr),
    /// Its host says that nobody listens there.
    Gone(ServerId),
}

/// The socket of a server, or nothing for one that stands alone.
pub struct PeerSockets {
    me: ServerId,
    own: Option<Own>,
    buffer: std::cell::RefCell<Vec<u8>>,
    /// Who looks for each peer, and where.
    watches: BTreeMap<ServerId, (Endpoint, JoinHandle<()>)>,
    events: UnboundedSender<PeerEvent>,
}

struct Own {
    address: SocketAddr,
    socket: UdpSocket,
    sender: StdSocket,
}

impl PeerSockets {
    /// Binds this server's own address.
    ///
    /// # Errors
    /// If the own address cannot be bound, in words that say what to do.
    pub async fn open(config: &Config, events: UnboundedSender<PeerEvent>) -> Result<Self, String> {
        let mut sockets = Self {
            me: config.my_id,
            own: None,
            buffer: vec![0; 1 << 16].into(),
            watches: BTreeMap::new(),
            events,
        };
        let servers = config.members.as_ref().map(Members::servers);
        let Some(own) = servers.and_then(|servers| servers.get(&config.my_id)) else {
            return Ok(sockets);
        };
        let own = &own.peer;
        let fail = |error: io::Error| {
            format!(
                "cannot use {own} to speak with the other servers: {error}; mend server.{} in the \
                 configuration, or stop the program that uses the port",
                config.my_id
            )
        };
        let address = lookup_host((own.host.as_str(), own.port))
            .await
            .map_err(fail)?
            .next();
        let address = address.ok_or_else(|| fail(io::Error::other("the name has no address")))?;
        let socket = bind(address).map_err(fail)?;
        sockets.own = Some(Own {
            address,
            sender: socket.try_clone().map_err(fail)?,
            socket: UdpSocket::from_std(socket).map_err(fail)?,
        });
        Ok(sockets)
    }

    /// Looks for these peers from now on, and for no others. Runs on a `LocalSet`.
    pub fn watch(&mut self, servers: &BTreeMap<ServerId, PeerAddress>) {
        let Some(own) = &self.own else { return };
        self.watches.retain(|peer, (endpoint, task)| {
            let stays = servers.get(peer).is_some_and(|at| at.peer == *endpoint);
            if !stays {
                task.abort();
            }
            stays
        });
        for (peer, server) in servers.iter().filter(|(id, _)| **id != self.me) {
            let Endpoint { host, port } = server.peer.clone();
            self.watches.entry(*peer).or_insert_with(|| {
                let watch = watch_peer(*peer, host, port, own.address, self.events.clone());
                (server.peer.clone(), tokio::task::spawn_local(watch))
            });
        }
    }

    /// Waits until there are datagrams.
    pub async fn readable(&self) {
        match &self.own {
            // An error shows when the datagram is read.
            Some(own) => drop(own.socket.readable().await),
            None => std::future::pending().await,
        }
    }

    /// Takes up to `limit` datagrams without waiting.
    pub fn receive(&self, limit: usize, mut take: impl FnMut(SocketAddr, &[u8])) {
        let Some(Own { socket, .. }) = &self.own else {
            return;
        };
        let mut buffer = self.buffer.borrow_mut();
        for _ in 0..limit {
            match socket.try_recv_from(&mut buffer) {
                Ok((length, from)) => take(from, &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => tracing::debug!("a datagram was not received: {error}"),
            }
        }
    }

    /// Sends a datagram, or loses it: a full buffer is one more way for a network to lose.
    pub fn send(&self, to: SocketAddr, datagram: &[u8]) {
        if let Some(own) = &self.own
            && let Err(error) = own.sender.send_to(datagram, to)
        {
            tracing::debug!("a datagram to {to} was not sent: {error}");
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<StdSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    // The kernel's limit may be lower, which costs speed and nothing else.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Resolves a peer's name again and again, and asks its host whether anybody listens.
async fn watch_peer(
    peer: ServerId,
    host: String,
    port: u16,
    own: SocketAddr,
    events: UnboundedSender<PeerEvent>,
) {
    let mut known = None;
    let mut complained = false;
    while !events.is_closed() {
        let found = resolve(&host, port, own).await;
        if let Ok(address) = found
            && known != Some(address)
        {
            tracing::debug!("server {peer} is at {address}");
            known = Some(address);
            let _ = events.send(PeerEvent::Address(peer, address));
        }
        if let Err(problem) = &found
            && !complained
        {
            tracing::warn!(
                "the address of server {peer} is not known ({host}: {problem}); trying on"
            );
            complained = true;
        }
        match known {
            Some(address) => {
                // It ends only when it is time to look the name up again.
                let probing = probe(peer, address, own, &events);
                let _ = tokio::time::timeout(RESOLVED, probing).await;
            }
            None => tokio::time::sleep(UNRESOLVED).await,
        }
    }
}

/// The first address of a name that the own socket can speak with.
async fn resolve(host: &str, port: u16, own: SocketAddr) -> Result<SocketAddr, String> {
    let mut addresses = lookup_host((host, port))
        .await
        .map_err(|error| error.to_string())?;
    addresses
        .find(|address| address.is_ipv4() == own.is_ipv4())
        .ok_or_else(|| format!("no address of the family of {own}"))
}

/// Sends empty datagrams from a socket of its own. Where the host is up and the server is not, the
/// host says so (ICMP port unreachable), and a connected socket is told: so a server that was killed
/// is noticed at once, and not after syncLimit ticks. Where nothing is said, nothing is lost.
async fn probe(
    peer: ServerId,
    address: SocketAddr,
    own: SocketAddr,
    events: &UnboundedSender<PeerEvent>,
) {
    let socket = UdpSocket::bind(SocketAddr::new(own.ip(), 0)).await;
    let Ok(socket) = socket else {
        return std::future::pending().await;
    };
    if socket.connect(address).await.is_err() {
        return std::future::pending().await;
    }
    loop {
        let refused = async {
            // What an earlier probe has brought is old: the peer may be back.
            while socket
                .try_recv(&mut [0])
                .is_err_and(|error| is_refusal(&error))
            {}
            match socket.send(&[]).await {
                Ok(_) => socket
                    .recv(&mut [0])
                    .await
                    .is_err_and(|error| is_refusal(&error)),
                Err(error) => is_refusal(&error),
            }
        };
        if tokio::time::timeout(PROBE, refused).await == Ok(true) {
            let _ = events.send(PeerEvent::Gone(peer));
        }
        tokio::time::sleep(PROBE).await;
    }
}

fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}
