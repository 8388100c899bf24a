//! Transactions: the changes that the ensemble agrees on, after ZooKeeper's own `TxnHeader` and
//! `*Txn` records. A transaction says what changes, not what was asked: the leader has checked the
//! request against the state that all earlier proposals add up to.
//!
//! Spec: `spec/5-service.md`, "Transactions". What it must never do: leave anything to be decided
//! when it is applied.

use super::{Data, ErrorCode, Lifetime, acl::AclList};
use serde::{Deserialize, Serialize};

/// The id of a client's session; 0 is no session.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub i64);

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// One transaction. Its zxid stands beside it in the history.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Txn {
    /// The session that asked for it.
    pub session: SessionId,
    /// The client's number of the request (its xid), by which its server finds whom to answer.
    pub cxid: i32,
    /// When the leader made it, in milliseconds since the Unix epoch.
    pub time: i64,
    pub body: TxnBody,
    /// The digest of the tree after it, by the leader that has made it; see [`digest`](super::digest).
    pub digest: Option<u64>,
}

/// What a transaction changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TxnBody {
    /// A new znode. `path` is final: a sequential suffix is already part of it.
    Create {
        path: String,
        data: Data,
        acl: AclList,
        lifetime: Lifetime,
        parent_cversion: i32,
    },
    Delete {
        path: String,
    },
    /// `version` is the new version.
    SetData {
        path: String,
        data: Data,
        version: i32,
    },
    /// The members of the ensemble are to be others: what `/zookeeper/config` shows from now on. They decide
    /// together with those before them until this is put in force.
    Reconfigure {
        data: Data,
    },
    /// The members that were proposed last decide alone from now on. Nothing changes in the tree.
    InForce,
    /// `version` is the new ACL version.
    SetAcl {
        path: String,
        acl: AclList,
        version: i32,
    },
    /// A check inside a multi that has passed.
    Check {
        path: String,
        version: i32,
    },
    CreateSession {
        timeout_ms: i32,
    },
    /// The session ends and its ephemerals go.
    CloseSession {
        ephemerals: Vec<String>,
    },
    /// A request that failed, in its place in the order: nothing changes. `None` is a `sync`, which
    /// changes nothing either.
    Error(Option<ErrorCode>),
    /// All of these in one, in order.
    Multi(Vec<TxnBody>),
    /// A multi that failed: the result of each operation. `None` (0, ok) for those before the one that
    /// failed, its error, and `RuntimeInconsistency` for those after it.
    FailedMulti(Vec<Option<ErrorCode>>),
}
