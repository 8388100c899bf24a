//! The records of the client protocol as types. Their bytes are in [`super::request`] and
//! [`super::reply`].
//!
//! Spec: `spec/5-service.md`, "Requests" and "Replies". What it must never do: know how it is encoded.

use crate::types::Zxid;
use crate::znode::{Acl, Data, ErrorCode, SessionId, Stat};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The first message of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConnectRequest {
    pub protocol_version: i32,
    /// The last zxid that the client has seen: a server that is behind it must refuse.
    pub last_zxid_seen: Zxid,
    pub timeout_ms: i32,
    /// 0 asks for a new session.
    pub session: SessionId,
    pub password: Bytes,
    /// Old clients do not send the flag.
    pub read_only: Option<bool>,
}

/// The answer to a [`ConnectRequest`]. A timeout and session of 0 say that the session has expired.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConnectResponse {
    pub timeout_ms: i32,
    pub session: SessionId,
    pub password: Bytes,
    /// Sent only to clients that sent theirs.
    pub read_only: Option<bool>,
}

/// What create makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CreateMode {
    Persistent,
    Ephemeral,
    PersistentSequential,
    EphemeralSequential,
    Container,
    /// With the time in milliseconds that it lives without a change.
    Ttl(i64),
    SequentialTtl(i64),
    /// A number that is no mode, or not one of the request that it stands in.
    Other(i32),
}

/// The watches that a client sets again on a new connection, by their kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SetWatches {
    /// The last zxid that the client has seen: what happened since then it is told.
    pub relative_zxid: Zxid,
    pub data: Vec<String>,
    pub exists: Vec<String>,
    pub children: Vec<String>,
    pub persistent: Vec<String>,
    pub recursive: Vec<String>,
}

impl SetWatches {
    /// Whether it takes a setWatches2.
    pub fn has_persistent(&self) -> bool {
        !self.persistent.is_empty() || !self.recursive.is_empty()
    }
}

/// Another membership for the ensemble: a list of all, or what changes in the one that there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reconfiguration {
    /** Lines `server.N=...`, parted by commas. */
    pub joining: String,
    /** Numbers of servers, parted by commas. */
    pub leaving: String,
    /** All lines; then the others do not count. Empty if the list is to be changed. */
    pub members: String,
    /** The version of the list that is to be replaced; -1 is any. */
    pub version: i64,
}

/// A request of an open session, with the client's number (xid) beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    Create {
        path: String,
        data: Data,
        acl: Vec<Acl>,
        mode: CreateMode,
        /** create2, createContainer and createTTL: answer with the stat as well. */
        with_stat: bool,
    },
    Delete {
        path: String,
        version: i32,
    },
    Exists {
        path: String,
        watch: bool,
    },
    GetData {
        path: String,
        watch: bool,
    },
    SetData {
        path: String,
        data: Data,
        version: i32,
    },
    GetAcl {
        path: String,
    },
    SetAcl {
        path: String,
        acl: Vec<Acl>,
        version: i32,
    },
    GetChildren {
        path: String,
        watch: bool,
        /** getChildren2: answer with the stat as well. */
        with_stat: bool,
    },
    Sync {
        path: String,
    },
    Ping,
    /// Only inside a multi.
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<Request>),
    Reconfig(Reconfiguration),
    Auth {
        scheme: String,
        auth: Bytes,
    },
    /// A token of SASL: one step of the client's.
    Sasl {
        token: Bytes,
    },
    /// setWatches, or setWatches2 if there are persistent watches among them.
    SetWatches(SetWatches),
    AddWatch {
        path: String,
        /** 0 persistent, 1 persistent and recursive. */
        mode: i32,
    },
    /// Whether the connection has a watch.
    CheckWatches {
        path: String,
        /** 1 children, 2 data, 3 any, 4 persistent, 5 persistent and recursive. */
        kind: i32,
    },
    RemoveWatches {
        path: String,
        /** As in `CheckWatches`. */
        kind: i32,
    },
    /// getData and getChildren, each with an answer of its own.
    MultiRead(Vec<Request>),
    /// The ephemerals of the session whose paths begin with this.
    GetEphemerals {
        prefix: String,
    },
    /// How many znodes are below this one.
    GetAllChildrenNumber {
        path: String,
    },
    WhoAmI,
    CloseSession,
    /// An opcode that this server does not serve.
    Unimplemented(i32),
}

/// The successful answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Response {
    /// An answer that is a header alone: delete, check, ping, auth, setWatches, checkWatches,
    /// removeWatches, closeSession.
    Empty,
    Path(String),
    PathAndStat(String, Stat),
    Stat(Stat),
    Data(Data, Stat),
    Acl(Vec<Acl>, Stat),
    Children(Vec<String>),
    ChildrenAndStat(Vec<String>, Stat),
    Multi(Vec<MultiResult>),
    /// A token of SASL: one step of the server's; null if it has nothing to say.
    Sasl(Data),
    /// addWatch: the number 0, which stands for no error.
    WatchAdded,
    /// The paths of ephemerals.
    Ephemerals(Vec<String>),
    Count(i32),
    WhoAmI(Vec<ClientInfo>),
}

/// Who a client has proved to be, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientInfo {
    pub scheme: String,
    pub user: String,
}

/// The answer to one operation of a multi or a multiRead.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MultiResult {
    Create(String),
    Create2(String, Stat),
    Delete,
    SetData(Stat),
    Check,
    Data(Data, Stat),
    Children(Vec<String>),
    /// `RuntimeInconsistency` for the operations after the one that failed, `None` (0, ok) before it.
    Error(Option<ErrorCode>),
}

/// A reply to a request: the header's fields and the body.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reply {
    /// The xid of the request; -2 for pings, -4 for auth, -8 for setWatches, as the client sent it.
    pub xid: i32,
    /// The zxid of the transaction for a write, the last applied zxid for a read.
    pub zxid: Zxid,
    pub result: Result<Response, ErrorCode>,
}

/// What happened to a watched znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(i32)]
pub enum EventType {
    Created = 1,
    Deleted = 2,
    DataChanged = 3,
    ChildrenChanged = 4,
}

/// A watch event as it is sent to a client (header xid -1, state SyncConnected 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WatchEvent {
    pub kind: EventType,
    pub path: String,
    /// The zxid of the transaction: in the header (ZooKeeper 3.9).
    pub zxid: Zxid,
}
