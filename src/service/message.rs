//! What reaches the replica actor and what leaves it.
//!
//! Spec: the message table of `spec/5-service.md`. Only [`PeerMsg`] crosses the network between
//! servers, which may lose, duplicate, delay and reorder it.

use super::clock::Time;
use super::forward::{Forward, StreamId};
use super::replica::ZooKeeper;
use crate::proto::{ConnectRequest, ConnectResponse, Reply, Request, Response, WatchEvent};
use crate::types::Zxid;
use crate::zab;
use crate::znode::{AuthId, ErrorCode, SessionId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A message of the replica actor. Only [`Msg::Peer`] ever crosses the network between servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Msg {
    /// From another server, or to one.
    Peer(PeerMsg),
    /// From the runtime: that many of the oldest saves that were pending are durable now.
    Saved(usize),
    /// From the runtime, before whatever may depend on it: what its clocks say.
    Clock(Time),
    /// From a client connection. The sender's actor id is the connection's.
    Client(ClientInput),
    /// To the runtime: words for the log of the process.
    Warning(String),
    /// To a client connection. The recipient's actor id is the connection's.
    ToClient(ClientOutput),
}

/// A message between two servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PeerMsg {
    /// The replication protocol's own.
    Zab(zab::Message<ZooKeeper>),
    /// To the leader: writes of the sender's clients.
    Forward(Forward),
    /// From the leader: every write of the stream up to this number has its place.
    Accepted { stream: StreamId, through: u64 },
    /// From the leader: it leads anew since the stream began, or knows a newer one, and will not take it.
    Refused {
        stream: StreamId,
        /// The newest stream of the recipient that it knows.
        newest: StreamId,
    },
    /// To the leader: since this transaction the sender's tree has another digest than the leader's.
    Differs { zxid: Zxid },
    /// To the leader: the clients of these sessions were heard of.
    Touch { sessions: Vec<SessionId> },
}

/// What a client connection brings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientInput {
    /// The first message of a connection.
    Connect {
        request: ConnectRequest,
        from: IpAddr,
        /// Who the client is by its certificate.
        proved: Vec<AuthId>,
    },
    Request {
        xid: i32,
        request: Request,
    },
    /// The client has said who it is, by auth or by SASL, or it asks for something and has not said
    /// what it must. The runtime has checked it: secrets and their like do not come here. After an error the connection is
    /// closed.
    Proof {
        xid: i32,
        /// What the client has proved to be with this.
        proved: Vec<AuthId>,
        /// What it is answered.
        result: Result<Response, ErrorCode>,
    },
    /// The connection is gone. Its session lives on until it expires.
    Disconnected,
}

/// What a client connection is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientOutput {
    Connected(ConnectResponse),
    Reply {
        session: SessionId,
        reply: Reply,
    },
    Event(WatchEvent),
    /// Close the connection after what was sent before.
    Close,
}
