//! What reaches the replica actor and what leaves it.

use crate::proto::{ConnectRequest, ConnectResponse, Reply, Request, WatchEvent};
use crate::znode::SessionId;
use std::net::IpAddr;

/// A message of the replica actor. Only [`Msg::Peer`] ever crosses the network between servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Msg {
    /// From another server, or to one.
    Peer(PeerMsg),
    /// From the runtime: that many of the oldest saves that were pending are durable now.
    Saved(usize),
    /// From a client connection. The sender's actor id is the connection's.
    Client(ClientInput),
    /// To a client connection. The recipient's actor id is the connection's.
    ToClient(ClientOutput),
}

/// A message between the services of two servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerMsg {}

/// What a client connection brings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientInput {
    /// The first message of a connection. `now_ms` is the runtime's clock (Unix epoch).
    Connect {
        request: ConnectRequest,
        from: IpAddr,
        now_ms: i64,
    },
    Request {
        xid: i32,
        request: Request,
        now_ms: i64,
    },
    /// The connection is gone. Its session lives on until it expires.
    Disconnected,
}

/// What a client connection is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
