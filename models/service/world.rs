//! The state of the model of the service: servers, the log beneath them, clients with their
//! connections, datagrams between the servers, budgets, and the record.

use super::bounds::Bounds;
use super::oracle::{Copy, Log};
use super::record::Record;
use crate::intern::Interned;
use keepright::proto::Request;
use keepright::service::{ClientOutput, PeerMsg, Service};
use keepright::types::{ServerId, Zxid};
use keepright::znode::SessionId;
use smallvec::SmallVec;
use stateright::actor::Id;

/// One server.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Server {
    pub copy: Copy,
    /// `None` while it is down.
    pub service: Option<Service>,
    /// Another one at each start.
    pub incarnation: u64,
}

/// A datagram between the services of two servers.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Envelope {
    pub src: ServerId,
    pub dst: ServerId,
    pub message: PeerMsg,
}

/// A kind of watch, as a client library keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchKind {
    Data,
    /// Set by an exists that found nothing.
    Exist,
    Child,
    /// Set by addWatch: it stays until it is removed.
    Persistent,
    /// The same, of all that is below as well.
    Recursive,
}

impl WatchKind {
    /// Whether it stays when it has fired.
    pub fn stays(self) -> bool {
        matches!(self, Self::Persistent | Self::Recursive)
    }
}

/// A watch that a client waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watch {
    pub kind: WatchKind,
    pub path: &'static str,
    /// The zxid of the answer that confirmed it last, or of the last event of one that stays. The client does not know it; the check does.
    pub since: Zxid,
}

/// A request that is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Waiting {
    SetWatches,
    /// The operation of the script with this number.
    Op {
        number: u8,
        /// Whether it was sent behind another one that was not answered either.
        behind: bool,
    },
}

/// The connection that a client has.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Connection {
    pub id: Id,
    pub server: ServerId,
    /// Whether the server has said that the session is open.
    pub opened: bool,
    /// What the server has sent and the client has not read yet.
    pub down: SmallVec<[Interned<ClientOutput>; 4]>,
    pub waiting: SmallVec<[Waiting; 4]>,
    /// Whether the server has crashed, so that what it has sent may never come.
    pub severed: bool,
}

/// A connection that its client has given up, with what the server has not read of it yet.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Late {
    pub id: Id,
    pub server: ServerId,
    pub requests: SmallVec<[(i32, Request); 1]>,
}

/// A client: what its library and its script know.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Client {
    pub connection: Option<Connection>,
    pub late: SmallVec<[Late; 1]>,
    pub session: SessionId,
    /// Whether it was told that its session is over.
    pub ended: bool,
    /// How many operations of its script it has sent.
    pub sent: u8,
    /// Which of them were answered: a bit for each.
    pub answered: u8,
    /// The last zxid that it has seen.
    pub seen: Zxid,
    /// In the order of the type.
    pub watches: Vec<Watch>,
    /// How often it has connected.
    pub connects: u8,
    /// What the check remembers of it, and no client does.
    pub ghost: Ghost,
}

/// What the check remembers of a client.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Ghost {
    /// The zxid of its last write that was answered with success.
    pub own: Zxid,
    /// The last read: its number among the client's requests, and the zxid that it saw.
    pub read: Option<(i32, Zxid)>,
    /// Whether it has read over another connection than its first.
    pub read_elsewhere: bool,
    /// Whether a watch event has come, and whether setWatches brought one.
    pub event: bool,
    pub event_caught_up: bool,
    /// Whether a watch that stays has told of something over another connection than the first.
    pub kept_elsewhere: bool,
}

/// What is left of each budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    pub elections: u8,
    pub crashes: u8,
    pub reconnects: u8,
    pub expirations: u8,
    pub snapshots: u8,
    pub sweeps: u8,
}

/// A state of the whole: the engine hashes it by the hashes of its parts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub servers: SmallVec<[Interned<Server>; 3]>,
    pub log: Interned<Log>,
    /// In the order of their hashes. Datagrams are never used up: see [`crate::world::World`].
    pub network: SmallVec<[Interned<Envelope>; 12]>,
    pub clients: SmallVec<[Interned<Client>; 2]>,
    pub record: Interned<Record>,
    pub budget: Budget,
}

impl World {
    pub fn server(&self, id: ServerId) -> Interned<Server> {
        self.servers[usize::from(id.0) - 1]
    }

    pub fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (1..=self.servers.len() as u8).map(ServerId)
    }

    /// Adds a datagram, unless it is there.
    pub fn send(&mut self, envelope: Interned<Envelope>) {
        let place = self
            .network
            .binary_search_by_key(&envelope.order(), |e| e.order());
        if let Err(index) = place {
            self.network.insert(index, envelope);
        }
    }
}

impl Budget {
    pub fn of(bounds: &Bounds) -> Self {
        let Bounds {
            elections,
            crashes,
            reconnects,
            expirations,
            snapshots,
            sweeps,
            ..
        } = *bounds;
        Self {
            elections,
            crashes,
            reconnects,
            expirations,
            snapshots,
            sweeps,
        }
    }
}
