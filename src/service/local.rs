//! Local sessions: sessions that one server opens, watches over and ends alone, without a transaction.
//!
//! Spec: `spec/5-service.md`, "Local sessions". What it must never do: let such a session own an ephemeral,
//! which every server would have to delete with it; or let two connections have one of them.
//!
//! Departs from ZooKeeper: D35 in `spec/deviations.toml`.
//!
//! They last no longer than a period of serving. The leader takes their writes on the word of the server that
//! has them: those of one server come in order, so it needs no record of which connection has the session.

use super::connection::{Connection, Stage};
use super::leader::NO_TICKET;
use super::secret::Secret;
use super::session::{self, Expiry};
use super::variant::Variant;
use super::write::{Course, Read, Write};
use super::{ClientOutput, Env, Service};
use crate::persistent::{OrdMap, OrdSet};
use crate::proto::{ConnectRequest, ConnectResponse};
use crate::znode::{AuthId, ErrorCode, SessionId};
use stateright::actor::Id;
use std::net::IpAddr;
use std::time::Duration;

/// The local sessions of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LocalSessions {
    sessions: OrdMap<SessionId, Local>,
    /// The time that they have left.
    expiry: Expiry,
    /// The timeouts (milliseconds) of those that have become the ensemble's, until the transaction that opens
    /// them there is applied.
    upgraded: OrdMap<SessionId, i32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Local {
    timeout_ms: i32,
    /// The last connection that has asked for the session.
    connection: Id,
}

impl LocalSessions {
    /// Whether the session is local to this server.
    pub fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// The timeout in milliseconds of a session that is local here, or was until a moment ago.
    pub fn timeout_ms(&self, session: SessionId) -> Option<i32> {
        let local = self.sessions.get(&session).map(|local| local.timeout_ms);
        local.or_else(|| self.upgraded.get(&session).copied())
    }

    /// Which there are.
    pub fn ids(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.sessions.keys().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn open(&mut self, session: SessionId, tick: Duration, local: Local) {
        let ticks = session::timeout_ticks(tick, local.timeout_ms);
        self.expiry.insert(session, ticks);
        self.sessions.insert(session, local);
    }

    fn close(&mut self, session: SessionId) -> Option<Local> {
        self.expiry.remove(session);
        self.sessions.remove(&session)
    }

    /// The transaction that opens an upgraded session is applied. Says whether it was one of this server.
    pub fn forget_upgraded(&mut self, session: SessionId) -> bool {
        self.upgraded.remove(&session).is_some()
    }
}

impl Service {
    /// A client asks for a session, and gets one of this server.
    pub(super) fn open_local(
        &mut self,
        env: &mut Env,
        id: Id,
        request: ConnectRequest,
        from: IpAddr,
        proved: Vec<AuthId>,
    ) {
        let session = self.next_session(env.config);
        let Some(password) = Secret::of(&self.tree).map(|secret| secret.password(session)) else {
            // The first transaction has not come here yet: there are no passwords.
            return env.tell_client(id, ClientOutput::Close);
        };
        let timeout_ms = session::negotiate_timeout(env.config, request.timeout_ms);
        let local = Local {
            timeout_ms,
            connection: id,
        };
        self.local.open(session, env.config.session_tick, local);
        let response = ConnectResponse {
            timeout_ms,
            session,
            password,
            read_only: request.read_only.map(|_| false),
        };
        self.connect_at_once(env, id, from, proved, response);
    }

    /// A client has its session without a transaction.
    pub(super) fn connect_at_once(
        &mut self,
        env: &mut Env,
        id: Id,
        from: IpAddr,
        proved: Vec<AuthId>,
        response: ConnectResponse,
    ) {
        let session = response.session;
        let connection = Connection::new(session, from, proved, Stage::Open);
        self.connections.insert(id, connection);
        self.sessions.insert(session, id);
        env.tell_client(id, ClientOutput::Connected(response));
    }

    /// A client resumes a session at a new connection. If the session is local the old connection is closed
    /// here and now: what it has asked for has its place before the resumption, and nothing comes after.
    pub(super) fn take_over_local(
        &mut self,
        env: &mut Env,
        id: Id,
        session: SessionId,
        timeout_ms: i32,
    ) {
        let connection = id;
        let Some(before) = self.local.sessions.get(&session).map(|l| l.connection) else {
            return;
        };
        let local = Local {
            timeout_ms,
            connection,
        };
        self.local.open(session, env.config.session_tick, local);
        if self.connections.contains_key(&before) {
            self.close(env, before);
        }
    }

    /// What is to be done with a request of a local session.
    pub(super) fn course_of_local(&mut self, env: &mut Env, id: Id, course: Course) -> Course {
        match course {
            Course::Write(Write::CloseSession, _) => Course::Read(Read::EndLocal),
            Course::Write(write, form) if write.makes_ephemeral() => {
                if env.config.variant == Variant::LocalOwnsEphemerals {
                    return Course::Write(write, form);
                }
                if !env.config.local_sessions_upgrading {
                    return Course::Read(Read::Refused(ErrorCode::EphemeralOnLocalSession));
                }
                self.upgrade(env, id);
                Course::Write(write, form)
            }
            Course::Write(..) | Course::Read(_) => course,
        }
    }

    /// The session of a connection becomes one of the ensemble. The transaction that opens it there goes before
    /// whatever the client asks for from now on; nobody waits for it.
    fn upgrade(&mut self, env: &mut Env, id: Id) {
        let session = self.connections.get(&id).map(|c| c.session);
        let Some((session, local)) = session.and_then(|s| Some((s, self.local.close(s)?))) else {
            return;
        };
        let timeout_ms = local.timeout_ms;
        self.local.upgraded.insert(session, timeout_ms);
        self.submit(env, id, NO_TICKET, Write::CreateSession { timeout_ms });
    }

    /// The client of a session was heard of. Says whether the session is local.
    pub(super) fn touch_local(&mut self, session: SessionId) -> bool {
        let is_local = self.local.contains(session);
        if is_local {
            self.local.expiry.touch(session);
        }
        is_local
    }

    /// A client has ended its local session.
    pub(super) fn end_local(&mut self, env: &mut Env, id: Id, session: SessionId) {
        self.local.close(session);
        self.close(env, id);
    }

    /// A session tick has passed: sessions without time are over.
    pub(super) fn on_local_tick(&mut self, env: &mut Env) {
        let expired: OrdSet<SessionId> = self.local.expiry.tick();
        for session in expired {
            self.expire_local(env, session);
        }
    }

    /// The time of a local session is over. What its client has under way may have an effect: so it is not
    /// told that it has none.
    pub fn expire_local(&mut self, env: &mut Env, session: SessionId) {
        if let Some(local) = self.local.close(session)
            && self.connections.contains_key(&local.connection)
        {
            self.close(env, local.connection);
        }
    }
}
