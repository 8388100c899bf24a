//! The client port: ZooKeeper's protocol over TCP.
//!
//! Spec: `spec/6-server.md`, "Clients". What it must never do: panic on what a client sends, let one
//! client take memory without bound, or change the order of a connection's requests and answers.
//!
//! All of it runs on the thread of the event loop; requests reach the loop through a channel, answers
//! come back through one a connection.

mod auth;
mod certificate;
mod connection;
mod digest_md5;
mod quorum;
mod stats;
mod tls;
mod words;

pub use stats::Stats;
pub use words::Status;

use super::config::Config;
use crate::service::{ClientInput, ClientOutput};
use stateright::actor::Id;
use stats::ConnectionStats;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

/// A client connection: never used twice while the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// Above every server id.
    const FIRST: Self = Self(1 << 32);

    /// The connection behind an actor id, or `None` if that is a server's.
    pub fn from_actor(id: Id) -> Option<Self> {
        let id = usize::from(id) as u64;
        (id >= Self::FIRST.0).then_some(Self(id))
    }
}

impl From<ConnectionId> for Id {
    fn from(connection: ConnectionId) -> Self {
        Self::from(connection.0 as usize)
    }
}

/// What the client port brings to the event loop.
#[derive(Debug)]
pub enum ClientEvent {
    /// An input for the actor.
    Input(ConnectionId, ClientInput),
    /// A four-letter word wants to know how the server is.
    Status(oneshot::Sender<Status>),
}

/// The client port of one server.
pub struct ClientPort {
    config: Config,
    /// What takes the connections of the secure port, if there is one.
    tls: Option<TlsAcceptor>,
    events: mpsc::UnboundedSender<ClientEvent>,
    next: Cell<u64>,
    connections: RefCell<BTreeMap<ConnectionId, Handle>>,
    /// How many sockets each address has at each port; also those that have not said anything yet.
    sockets: RefCell<HashMap<(Port, IpAddr), u32>>,
    stats: RefCell<Stats>,
}

/// One of the two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Port {
    Plain,
    /// The one with TLS.
    Secure,
}

/// A port that is bound.
pub struct Door {
    port: Port,
    listener: TcpListener,
}

struct Handle {
    answers: mpsc::UnboundedSender<ClientOutput>,
    stats: Rc<RefCell<ConnectionStats>>,
}

impl ClientPort {
    /// A port whose events go to `events`. It does nothing before [`Self::listen`].
    ///
    /// # Errors
    /// If the files for TLS cannot be used, in words that say what to do.
    pub fn new(
        config: Config,
        events: mpsc::UnboundedSender<ClientEvent>,
    ) -> Result<Rc<Self>, String> {
        let tls = config.security.tls.as_ref().map(tls::acceptor);
        Ok(Rc::new(Self {
            tls: tls.transpose()?,
            config,
            events,
            next: Cell::new(ConnectionId::FIRST.0),
            connections: RefCell::default(),
            sockets: RefCell::default(),
            stats: RefCell::default(),
        }))
    }

    /// Binds the configured addresses.
    ///
    /// # Errors
    /// If an address cannot be found or is in use, in words that say what to do.
    pub async fn bind(&self) -> Result<Vec<Door>, String> {
        let mut doors = Vec::new();
        if let Some(port) = self.config.client_port {
            let address = self.config.client_address.as_deref();
            let listener = bind(port, address, "clientPort").await?;
            let port = Port::Plain;
            doors.push(Door { port, listener });
        }
        if let Some(tls) = &self.config.security.tls {
            let listener = bind(tls.port, tls.address.as_deref(), "secureClientPort").await?;
            let port = Port::Secure;
            doors.push(Door { port, listener });
        }
        Ok(doors)
    }

    /// Accepts connections for ever. Runs on a `LocalSet`.
    pub async fn listen(self: Rc<Self>, door: Door) {
        loop {
            match door.listener.accept().await {
                Ok((stream, from)) => self.accept(door.port, stream, from),
                Err(error) => {
                    // Too many open files, mostly: trying again at once would only burn time.
                    tracing::warn!("cannot accept a client: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn accept(self: &Rc<Self>, port: Port, stream: TcpStream, from: SocketAddr) {
        let source = (port, from.ip().to_canonical());
        let limit = self.config.max_client_cnxns;
        let most = self.config.max_cnxns;
        let mut sockets = self.sockets.borrow_mut();
        if most > 0 && sockets.values().sum::<u32>() >= most {
            tracing::warn!("{from}: refused, there are {most} connections (maxCnxns)");
            return;
        }
        let count = sockets.entry(source).or_default();
        if limit > 0 && *count >= limit {
            let address = source.1;
            tracing::warn!("{from}: refused, {address} has {limit} connections (maxClientCnxns)");
            return;
        }
        *count += 1;
        let id = ConnectionId(self.next.get());
        self.next.set(id.0 + 1);
        let tls = self.tls.clone().filter(|_| port == Port::Secure);
        let own = Rc::clone(self);
        tokio::task::spawn_local(async move {
            connection::serve(&own, id, stream, from, tls).await;
            own.forget(id, source);
        });
    }

    fn forget(&self, id: ConnectionId, source: (Port, IpAddr)) {
        let mut sockets = self.sockets.borrow_mut();
        if let Some(count) = sockets.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                sockets.remove(&source);
            }
        }
        if self.connections.borrow_mut().remove(&id).is_some() {
            self.bring(ClientEvent::Input(id, ClientInput::Disconnected));
        }
    }

    fn bring(&self, event: ClientEvent) {
        // The loop is gone only when the server stops.
        let _ = self.events.send(event);
    }

    /// Sends an answer to a connection, which may be gone.
    pub fn send(&self, to: ConnectionId, output: ClientOutput) {
        if let Some(handle) = self.connections.borrow().get(&to) {
            let _ = handle.answers.send(output);
        }
    }

    /// How many clients are connected.
    pub fn connection_count(&self) -> usize {
        self.connections.borrow().len()
    }
}

/// Binds a port, on all addresses unless one is named. `key` is what the configuration calls it.
async fn bind(port: u16, address: Option<&str>, key: &str) -> Result<TcpListener, String> {
    let (shown, result) = match address {
        Some(host) => (format!("{host}:{port}"), bind_host(host, port).await),
        // Both families, or IPv4 alone where there is no other.
        None => {
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let bound = match TcpListener::bind(any).await {
                Ok(listener) => Ok(listener),
                Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
            };
            (format!("port {port}"), bound)
        }
    };
    result.map_err(|error| {
        format!(
            "cannot listen for clients on {shown}: {error}; choose another {key} or \
             {key}Address, or stop the program that uses it"
        )
    })
}

async fn bind_host(host: &str, port: u16) -> io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    TcpListener::bind(&addresses[..]).await
}
