//! Read-only mode: a server that has lost its leader serves reads to clients that have asked for it.
//!
//! Spec: `spec/5-service.md`, "Read-only mode". What it must never do: take a write, or serve a client
//! that wants to see what is written.
//!
//! Departs from ZooKeeper: D42 in `spec/deviations.toml`.
//!
//! Such a session is this server's alone: it is in no tree, and ends with the mode or its connection.

use super::secret::Secret;
use super::write::Write;
use super::{ClientOutput, Config, Env, Service, session};
use crate::proto::{ConnectRequest, ConnectResponse, Reply, Response};
use crate::znode::{AuthId, ErrorCode, SessionId};
use stateright::actor::Id;
use std::net::IpAddr;

/// How many session ticks a server is without a leader before it begins: two tickTimes. An election that
/// goes well takes less.
const PATIENCE: u8 = 4;

impl Service {
    /// Whether this server serves those that ask for reads alone. A server that has not served since
    /// it started does not: it does not know what of its log is committed.
    pub fn is_read_only(&self) -> bool {
        self.period.is_none() && self.leaderless == PATIENCE
    }

    /// A session tick has passed without a leader.
    pub(super) fn on_leaderless_tick(&mut self, config: &Config) {
        if config.read_only_mode && self.terms > 0 {
            self.leaderless = (self.leaderless + 1).min(PATIENCE);
        }
    }

    /// A client connects in read-only mode.
    pub(super) fn connect_read_only(
        &mut self,
        env: &mut Env,
        id: Id,
        request: ConnectRequest,
        from: IpAddr,
        proved: Vec<AuthId>,
    ) {
        let session = self.next_session(env.config);
        let password = Secret::of(&self.tree).map(|secret| secret.password(session));
        let resumes_known = self.tree.sessions().contains_key(&request.session);
        let (Some(password), Some(true), false) = (password, request.read_only, resumes_known)
        else {
            return env.tell_client(id, ClientOutput::Close); // It may find a server that serves it.
        };
        if request.session != SessionId::default() {
            return super::clients::refuse(env, id, true);
        }
        let response = ConnectResponse {
            timeout_ms: session::negotiate_timeout(env.config, request.timeout_ms),
            session,
            password,
            read_only: Some(true),
        };
        self.connect_at_once(env, id, from, proved, response);
    }

    /// A write in read-only mode: nothing can be written but the end of the session.
    pub(super) fn refuse_write(&mut self, env: &mut Env, id: Id, xid: i32, write: &Write) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let closes = matches!(write, Write::CloseSession);
        let result = match closes {
            true => Ok(Response::Empty),
            false => Err(ErrorCode::NotReadOnly),
        };
        let session = connection.session;
        let zxid = self.applied;
        let reply = Reply { xid, zxid, result };
        env.tell_client(id, ClientOutput::Reply { session, reply });
        if closes {
            self.close(env, id);
        }
    }
}
