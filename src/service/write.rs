//! The requests that change something, as they travel from the server that holds the connection to
//! the leader.
//!
//! Spec: `spec/5-service.md`, "The way of a write". What it must never do: carry a request that can be
//! answered without the ensemble.
//!
//! Departs from ZooKeeper: D18 and D34 in `spec/deviations.toml`.

use super::watch::WatchKind;
use crate::proto::{CreateMode, Reconfiguration, Request, Response, SetWatches};
use crate::znode::{Acl, AuthId, Data, ErrorCode, SessionId};
use serde::{Deserialize, Serialize};
use stateright::actor::Id;
use std::sync::Arc;

/// A write with all that the leader must know to judge it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Submission {
    /// The connection that it came by, at the server that sends this.
    pub connection: Id,
    pub session: SessionId,
    /// Whether the session is the origin's alone: then nobody else knows of it.
    pub is_local: bool,
    /// The client's number of the request; for [`Write::CreateSession`] and [`Write::Resume`] a number
    /// that the server made up, which no client uses.
    pub cxid: i32,
    /// Who the client has proved to be.
    pub auth: Arc<[AuthId]>,
    pub write: Write,
}

/// A request that takes a place in the order of transactions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Write {
    CreateSession {
        timeout_ms: i32,
    },
    /// The session goes on at this connection, with the timeout that was negotiated there.
    Resume {
        timeout_ms: i32,
    },
    CloseSession,
    /// Changes nothing: whoever reads behind it sees all that was committed before it.
    Sync,
    Operation(Operation),
    Multi(Vec<Operation>),
    /// Other members for the ensemble.
    Reconfigure(Reconfiguration),
}

impl Write {
    /// About how many bytes it takes to carry it.
    pub fn weight(&self) -> usize {
        match self {
            Self::CreateSession { .. } | Self::Resume { .. } | Self::CloseSession | Self::Sync => 0,
            Self::Operation(operation) => operation.weight(),
            Self::Multi(operations) => operations.iter().map(Operation::weight).sum(),
            Self::Reconfigure(_) => 0, // It is no longer than a list of members.
        }
    }
}

impl Operation {
    fn weight(&self) -> usize {
        match self {
            Self::Create { path, data, .. } | Self::SetData { path, data, .. } => {
                path.len() + data.len()
            }
            Self::Delete { path, .. } | Self::SetAcl { path, .. } | Self::Check { path, .. } => {
                path.len()
            }
        }
    }
}

/// A change of the tree, or a check inside a multi.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    Create {
        path: String,
        data: Data,
        acl: Vec<Acl>,
        mode: CreateMode,
    },
    Delete {
        path: String,
        version: i32,
    },
    SetData {
        path: String,
        data: Data,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: Vec<Acl>,
        version: i32,
    },
    Check {
        path: String,
        version: i32,
    },
}

/// A request that is answered where it arrives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Read {
    Exists {
        path: String,
        watch: bool,
    },
    GetData {
        path: String,
        watch: bool,
    },
    GetAcl {
        path: String,
    },
    GetChildren {
        path: String,
        watch: bool,
        with_stat: bool,
    },
    /// Each has its own answer.
    Multi(Vec<Self>),
    /// The ephemerals of the session whose paths begin with this.
    Ephemerals {
        prefix: String,
    },
    /// How many znodes are below this one.
    Descendants {
        path: String,
    },
    WhoAmI,
    AddWatch {
        path: String,
        kind: WatchKind,
    },
    /// Whether there is a watch of one of these kinds.
    CheckWatches {
        path: String,
        kinds: &'static [WatchKind],
    },
    RemoveWatches {
        path: String,
        kinds: &'static [WatchKind],
    },
    SetWatches(SetWatches),
    Ping,
    /// The end of a local session, of which nobody else needs to hear.
    EndLocal,
    /// The answer to a proof that came before the session was open.
    Proved(Response),
    /// A request that this server refuses without looking at the tree. The refusal waits for its turn.
    Refused(ErrorCode),
}

/// What the answer to a write must hold beside what the transaction tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AnswerForm {
    /// A header alone.
    Empty,
    /// The path of the new znode.
    Path,
    /// The path and the stat of the new znode.
    PathAndStat,
    Stat,
    /// The path that was synced.
    Synced(String),
    /// The answer to a read behind a sync of its own.
    Read(Read),
    /// The members of the ensemble, and the stat of the znode that shows them.
    Members,
    /// The answer of each operation.
    Multi(Vec<AnswerForm>),
    /// The end of the session.
    Closed,
}

/// What is to be done with a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Course {
    Write(Write, AnswerForm),
    Read(Read),
}

impl Read {
    /// Whether the answer shows the tree.
    fn shows_tree(&self) -> bool {
        match self {
            Self::Exists { .. }
            | Self::GetData { .. }
            | Self::GetAcl { .. }
            | Self::GetChildren { .. }
            | Self::Multi(_)
            | Self::Ephemerals { .. }
            | Self::Descendants { .. } => true,
            Self::WhoAmI
            | Self::AddWatch { .. }
            | Self::CheckWatches { .. }
            | Self::RemoveWatches { .. }
            | Self::SetWatches(_)
            | Self::Ping
            | Self::EndLocal
            | Self::Proved(_)
            | Self::Refused(_) => false,
        }
    }
}

impl Write {
    /// Whether the session is to own what this makes.
    pub fn makes_ephemeral(&self) -> bool {
        let is_ephemeral = |operation: &Operation| {
            matches!(
                operation,
                Operation::Create {
                    mode: CreateMode::Ephemeral | CreateMode::EphemeralSequential,
                    ..
                }
            )
        };
        match self {
            Self::Operation(operation) => is_ephemeral(operation),
            Self::Multi(operations) => operations.iter().any(is_ephemeral),
            Self::CreateSession { .. }
            | Self::Resume { .. }
            | Self::CloseSession
            | Self::Sync
            | Self::Reconfigure(_) => false,
        }
    }
}

impl Course {
    /// The same, with a sync before each read that shows the tree: the read then shows all that was
    /// acknowledged before it was asked for, wherever.
    pub fn through_quorum(self) -> Self {
        match self {
            Self::Read(read) if read.shows_tree() => {
                Self::Write(Write::Sync, AnswerForm::Read(read))
            }
            course => course,
        }
    }

    /// Tells reads from writes.
    pub fn of(request: Request) -> Self {
        match request {
            // The runtime checks these and hands on what is proved; so they never come here.
            Request::Auth { .. } | Request::Sasl { .. } => {
                Self::Read(Read::Refused(ErrorCode::AuthFailed))
            }
            Request::CloseSession => Self::Write(Write::CloseSession, AnswerForm::Closed),
            Request::Sync { path } => Self::Write(Write::Sync, AnswerForm::Synced(path)),
            Request::Multi(requests) => {
                let operations: Result<Vec<_>, _> = requests.into_iter().map(operation).collect();
                match operations {
                    Ok(operations) => {
                        let (operations, forms) = operations.into_iter().unzip();
                        Self::Write(Write::Multi(operations), AnswerForm::Multi(forms))
                    }
                    Err(error) => Self::Read(Read::Refused(error)),
                }
            }
            Request::Reconfig(asked) => Self::Write(Write::Reconfigure(asked), AnswerForm::Members),
            // A check stands only inside a multi.
            Request::Check { .. } => Self::Read(Read::Refused(ErrorCode::Unimplemented)),
            Request::Create { .. }
            | Request::Delete { .. }
            | Request::SetData { .. }
            | Request::SetAcl { .. } => match operation(request) {
                Ok((operation, form)) => Self::Write(Write::Operation(operation), form),
                Err(error) => Self::Read(Read::Refused(error)),
            },
            Request::Exists { .. }
            | Request::GetData { .. }
            | Request::GetAcl { .. }
            | Request::GetChildren { .. }
            | Request::MultiRead(_)
            | Request::GetEphemerals { .. }
            | Request::GetAllChildrenNumber { .. }
            | Request::WhoAmI
            | Request::AddWatch { .. }
            | Request::CheckWatches { .. }
            | Request::RemoveWatches { .. }
            | Request::SetWatches(_)
            | Request::Ping
            | Request::Unimplemented(_) => Self::Read(read(request)),
        }
    }
}

/// The read that a request asks for.
fn read(request: Request) -> Read {
    match request {
        Request::Exists { path, watch } => Read::Exists { path, watch },
        Request::GetData { path, watch } => Read::GetData { path, watch },
        Request::GetAcl { path } => Read::GetAcl { path },
        Request::GetChildren {
            path,
            watch,
            with_stat,
        } => Read::GetChildren {
            path,
            watch,
            with_stat,
        },
        Request::MultiRead(requests) => Read::Multi(requests.into_iter().map(read).collect()),
        Request::GetEphemerals { prefix } => Read::Ephemerals { prefix },
        Request::GetAllChildrenNumber { path } => Read::Descendants { path },
        Request::WhoAmI => Read::WhoAmI,
        Request::AddWatch { path, mode } => match WatchKind::of_mode(mode) {
            Some(kind) => Read::AddWatch { path, kind },
            None => Read::Refused(ErrorCode::MarshallingError),
        },
        Request::CheckWatches { path, kind } => match WatchKind::of_type(kind) {
            Some(kinds) => Read::CheckWatches { path, kinds },
            None => Read::Refused(ErrorCode::MarshallingError),
        },
        Request::RemoveWatches { path, kind } => match WatchKind::of_type(kind) {
            Some(kinds) => Read::RemoveWatches { path, kinds },
            None => Read::Refused(ErrorCode::MarshallingError),
        },
        Request::SetWatches(watches) => Read::SetWatches(watches),
        Request::Ping => Read::Ping,
        Request::Create { .. }
        | Request::Delete { .. }
        | Request::SetData { .. }
        | Request::SetAcl { .. }
        | Request::Sync { .. }
        | Request::Check { .. }
        | Request::Multi(_)
        | Request::Reconfig(_)
        | Request::Auth { .. }
        | Request::Sasl { .. }
        | Request::CloseSession
        | Request::Unimplemented(_) => Read::Refused(ErrorCode::Unimplemented),
    }
}

/// The operation that a request asks for, and the form of its answer.
fn operation(request: Request) -> Result<(Operation, AnswerForm), ErrorCode> {
    Ok(match request {
        Request::Create {
            path,
            data,
            acl,
            mode,
            with_stat,
        } => {
            let form = match with_stat {
                true => AnswerForm::PathAndStat,
                false => AnswerForm::Path,
            };
            let create = Operation::Create {
                path,
                data,
                acl,
                mode,
            };
            (create, form)
        }
        Request::Delete { path, version } => {
            (Operation::Delete { path, version }, AnswerForm::Empty)
        }
        Request::SetData {
            path,
            data,
            version,
        } => {
            let set = Operation::SetData {
                path,
                data,
                version,
            };
            (set, AnswerForm::Stat)
        }
        Request::SetAcl { path, acl, version } => {
            (Operation::SetAcl { path, acl, version }, AnswerForm::Stat)
        }
        Request::Check { path, version } => (Operation::Check { path, version }, AnswerForm::Empty),
        Request::Exists { .. }
        | Request::GetData { .. }
        | Request::GetAcl { .. }
        | Request::GetChildren { .. }
        | Request::Sync { .. }
        | Request::Ping
        | Request::Multi(_)
        | Request::Reconfig(_)
        | Request::Auth { .. }
        | Request::Sasl { .. }
        | Request::SetWatches(_)
        | Request::AddWatch { .. }
        | Request::CheckWatches { .. }
        | Request::RemoveWatches { .. }
        | Request::MultiRead(_)
        | Request::GetEphemerals { .. }
        | Request::GetAllChildrenNumber { .. }
        | Request::WhoAmI
        | Request::CloseSession
        | Request::Unimplemented(_) => return Err(ErrorCode::Unimplemented),
    })
}
