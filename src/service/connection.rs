//! What a server knows of one client connection: its session, who the client is, and the requests that
//! wait for their turn.
//!
//! Spec: `spec/5-service.md`, "The order of answers". What it must never do: answer a request before
//! one that came earlier on the same connection.

use super::write::{AnswerForm, Read};
use crate::persistent::Vector;
use crate::znode::{AuthId, SessionId};
use std::net::IpAddr;
use std::sync::Arc;

/// An open connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    pub session: SessionId,
    pub stage: Stage,
    /// Where the client is.
    pub address: IpAddr,
    /// Who the client has proved to be: always `ip` and its address, more with a certificate and
    /// with each proof.
    pub auth: Arc<[AuthId]>,
    /// The requests that are not answered yet, in the order in which they came. The first is a write,
    /// unless the session is not open yet.
    pub pending: Vector<Pending>,
}

/// How far the opening of the session has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The session's transaction is under way.
    Opening {
        /// The transaction's cxid.
        ticket: i32,
        /// Whether the answer must hold the read-only flag.
        tell_read_only: bool,
    },
    Open,
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pending {
    /// The client's number of the request.
    pub xid: i32,
    /// Who the client had proved to be when it came: what it proves later is for later requests.
    pub auth: Arc<[AuthId]>,
    pub request: Waiting,
}

/// What a request waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Waiting {
    /// For its transaction.
    ForTransaction(AnswerForm),
    /// For the writes before it.
    ForTurn(Read),
}

impl Connection {
    /// A connection whose session is asked for.
    pub fn new(session: SessionId, address: IpAddr, proved: Vec<AuthId>, stage: Stage) -> Self {
        let mut connection = Self {
            session,
            stage,
            address,
            auth: [AuthId::ip(address)].into(),
            pending: Vector::new(),
        };
        connection.add_auth(proved);
        connection
    }

    /// Puts a request behind those that wait.
    pub fn wait(&mut self, xid: i32, request: Waiting) {
        let auth = self.auth.clone();
        self.pending.push_back(Pending { xid, auth, request });
    }

    /// Whether a read that comes now can be answered at once.
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Open && self.pending.is_empty()
    }

    /// Whether the client has asked for the end of its session: what it says after that is void.
    pub fn is_closing(&self) -> bool {
        let ends = |request: &Waiting| {
            *request == Waiting::ForTransaction(AnswerForm::Closed)
                || *request == Waiting::ForTurn(Read::EndLocal)
        };
        self.pending
            .last()
            .is_some_and(|pending| ends(&pending.request))
    }

    /// Adds what the client has proved to be.
    pub fn add_auth(&mut self, ids: Vec<AuthId>) {
        for id in ids {
            if !self.auth.contains(&id) {
                self.auth = self.auth.iter().cloned().chain([id]).collect();
            }
        }
    }
}
