//! What client connections bring: a session to open or resume, requests, the end.
//!
//! Spec: `spec/5-service.md`, "Sessions" and "The order of answers". What it must never do: trust a
//! client, or answer out of turn (but auth, as ZooKeeper does).

use super::answer::Reader;
use super::connection::{Connection, Pending, Stage, Waiting};
use super::secret::Secret;
use super::variant::Variant;
use super::write::{Course, Read, Write};
use super::{ClientInput, ClientOutput, Config, Env, Rank, Service, session};
use crate::proto::{ConnectRequest, ConnectResponse, Reply, Response, SetWatches};
use crate::types::Zxid;
use crate::znode::{AuthId, ErrorCode, SessionId};
use bytes::Bytes;
use stateright::actor::Id;
use std::net::IpAddr;

/// How many tickets a server has: 2^22, so that with the server's id before it a ticket is below every
/// number that a client may use.
const TICKETS: i32 = 1 << 22;

impl Service {
    /// Takes what a client connection brings.
    pub fn on_client(&mut self, env: &mut Env, id: Id, input: ClientInput) {
        match input {
            ClientInput::Connect {
                request,
                from,
                proved,
            } => self.on_connect(env, id, request, from, proved),
            ClientInput::Request { xid, request } => {
                let course = match env.config.reads_through_quorum {
                    false => Course::of(request),
                    true => Course::of(request).through_quorum(),
                };
                self.on_request(env, id, xid, course);
            }
            ClientInput::Proof {
                xid,
                proved,
                result,
            } => self.on_proof(env, id, xid, proved, result),
            ClientInput::Disconnected => self.forget_connection(id),
        }
    }

    fn on_connect(
        &mut self,
        env: &mut Env,
        id: Id,
        request: ConnectRequest,
        from: IpAddr,
        proved: Vec<AuthId>,
    ) {
        if self.connections.contains_key(&id) {
            return self.close(env, id); // A second greeting is against the protocol.
        }
        // A client that has seen more than this server must not be shown the past. Zxids are signed in
        // the protocol.
        let ahead = request.last_zxid_seen.0 as i64 > self.applied.0 as i64;
        let at_once = env.config.variant == Variant::ResumeAtOnce;
        if self.is_read_only() && !ahead {
            return self.connect_read_only(env, id, request, from, proved);
        }
        if self.sends_clients_away(env.config) || ahead && !at_once {
            return env.tell_client(id, ClientOutput::Close);
        }
        let config = env.config;
        let is_new = request.session == SessionId::default();
        if is_new && config.local_sessions {
            return self.open_local(env, id, request, from, proved);
        }
        let session = match is_new {
            true => self.next_session(config),
            false => request.session,
        };
        let timeout_ms = session::negotiate_timeout(config, request.timeout_ms);
        let tell_read_only = request.read_only.is_some();
        if !is_new {
            let Some(secret) = Secret::of(&self.tree) else {
                // The first transaction has not come here yet: this is not the time to judge.
                return env.tell_client(id, ClientOutput::Close);
            };
            if !secret.opens(session, &request.password) {
                return refuse(env, id, tell_read_only);
            }
            self.take_over_local(env, id, session, timeout_ms);
        }
        let ticket = self.next_ticket(config);
        let stage = Stage::Opening {
            ticket,
            tell_read_only,
        };
        self.openings.insert(ticket, id);
        self.connections
            .insert(id, Connection::new(session, from, proved, stage));
        let write = match is_new {
            true => Write::CreateSession { timeout_ms },
            // Whether the session is still open, only the order of transactions can tell. It also
            // brings all that the client has asked for elsewhere before this server answers it.
            false => Write::Resume { timeout_ms },
        };
        self.submit(env, id, ticket, write);
        if at_once && !is_new {
            self.on_opened(env, id, Ok(()));
        }
    }

    pub(super) fn next_session(&mut self, config: &Config) -> SessionId {
        loop {
            self.sessions_made += 1;
            let session = session::session_id(config.sid, config.incarnation, self.sessions_made);
            // Chance may give it out twice; not while somebody has it.
            if !self.tree.sessions().contains_key(&session) && !self.local.contains(session) {
                return session;
            }
        }
    }

    /// A number for a transaction that opens a session: no other connection that is being opened has
    /// it, at any server, and no client uses it for a request. A server that has restarted may still have
    /// transactions to apply that bear the tickets of its earlier life: so each life counts from a place of its own.
    fn next_ticket(&mut self, config: &Config) -> i32 {
        let first = match config.variant {
            Variant::TicketReused => 0,
            _ => (config.incarnation % TICKETS as u64) as i32,
        };
        loop {
            self.tickets = (self.tickets + 1) % TICKETS;
            let place = (first + self.tickets) % TICKETS;
            let ticket = i32::MIN + (i32::from(config.sid.0) * TICKETS + place);
            if !self.openings.contains_key(&ticket) {
                return ticket;
            }
        }
    }

    fn on_request(&mut self, env: &mut Env, id: Id, xid: i32, course: Course) {
        let Some(connection) = self.connections.get(&id) else {
            return; // Closed; what was under way is void.
        };
        if connection.is_closing() {
            return;
        }
        let session = connection.session;
        let course = match self.local.contains(session) {
            true => self.course_of_local(env, id, course),
            false => course,
        };
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match course {
            Course::Read(read)
                if connection.is_idle() || env.config.variant == Variant::ReadsJumpTheQueue =>
            {
                let auth = connection.auth.clone();
                self.answer_read(env, id, xid, &auth, read)
            }
            Course::Read(read) => connection.wait(xid, Waiting::ForTurn(read)),
            // Without a period there are connections in read-only mode alone.
            Course::Write(write, _) if self.period.is_none() => {
                self.refuse_write(env, id, xid, &write);
            }
            Course::Write(write, form) => {
                connection.wait(xid, Waiting::ForTransaction(form));
                self.submit(env, id, xid, write);
            }
        }
        self.touch(session);
    }

    /// The client of a session was heard of.
    fn touch(&mut self, session: SessionId) {
        if self.touch_local(session) {
            return;
        }
        match self.period.as_mut().map(|period| &mut period.rank) {
            Some(Rank::Leader(leading)) => leading.expiry.touch(session),
            Some(Rank::Learner { .. }) => {
                self.touched.insert(session);
            }
            None => {}
        }
    }

    /// What a client says of itself was checked.
    fn on_proof(
        &mut self,
        env: &mut Env,
        id: Id,
        xid: i32,
        proved: Vec<AuthId>,
        result: Result<Response, ErrorCode>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return; // Closed; what was under way is void.
        };
        if connection.is_closing() {
            return;
        }
        let session = connection.session;
        connection.add_auth(proved);
        if connection.stage == Stage::Open {
            let failed = result.is_err();
            let zxid = Zxid::ZERO;
            let reply = Reply { xid, zxid, result };
            env.tell_client(id, ClientOutput::Reply { session, reply });
            if failed {
                self.close(env, id);
            }
        } else {
            // Clients do not wait for the session, but they take the first answer for it.
            let request = result.map_or_else(Read::Refused, Read::Proved);
            connection.wait(xid, Waiting::ForTurn(request));
        }
        self.touch(session);
    }

    /// Answers the reads whose turn has come.
    pub(super) fn answer_reads(&mut self, env: &mut Env, id: Id) {
        while let Some(connection) = self.connections.get_mut(&id) {
            match connection.pending.pop_front() {
                Some(Pending {
                    xid,
                    auth,
                    request: Waiting::ForTurn(read),
                }) => self.answer_read(env, id, xid, &auth, read),
                Some(write) => return connection.pending.push_front(write),
                None => return,
            }
        }
    }

    /// Answers a read of a client that had proved this when it asked.
    pub(super) fn answer_read(
        &mut self,
        env: &mut Env,
        id: Id,
        xid: i32,
        auth: &[AuthId],
        read: Read,
    ) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let read = match read {
            Read::SetWatches(watches) if env.config.variant == Variant::SetWatchesFromNow => {
                Read::SetWatches(SetWatches {
                    relative_zxid: self.applied,
                    ..watches
                })
            }
            read => read,
        };
        let ends = read == Read::EndLocal;
        let mut reader = Reader {
            tree: &self.tree,
            watches: &mut self.watches,
            connection: id,
            session: connection.session,
            auth,
            variant: env.config.variant,
        };
        let answer = reader.read(read);
        for event in answer.events {
            env.tell_client(id, ClientOutput::Event(event));
        }
        let session = connection.session;
        let failed = matches!(
            answer.result,
            Err(ErrorCode::AuthFailed | ErrorCode::SessionClosedRequireSaslAuth)
        );
        let reply = Reply {
            xid,
            zxid: self.applied,
            result: answer.result,
        };
        env.tell_client(id, ClientOutput::Reply { session, reply });
        if ends {
            self.end_local(env, id, session);
        } else if failed {
            self.close(env, id);
        }
    }

    /// Answers every request that waits with an error, and closes the connection: the session does not
    /// belong to it any more, so none of them has had, or will have, an effect.
    pub(super) fn dismiss(&mut self, env: &mut Env, id: Id, error: ErrorCode) {
        if let Some(connection) = self.connections.get(&id) {
            let session = connection.session;
            for pending in &connection.pending {
                let reply = Reply {
                    xid: pending.xid,
                    zxid: self.applied,
                    result: Err(error),
                };
                env.tell_client(id, ClientOutput::Reply { session, reply });
            }
        }
        self.close(env, id);
    }

    pub(super) fn close(&mut self, env: &mut Env, id: Id) {
        env.tell_client(id, ClientOutput::Close);
        self.forget_connection(id);
    }

    fn forget_connection(&mut self, id: Id) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        self.watches.remove_connection(id);
        if let Stage::Opening { ticket, .. } = connection.stage {
            self.openings.remove(&ticket);
        }
        if self.sessions.get(&connection.session) == Some(&id) {
            self.sessions.remove(&connection.session);
        }
    }

    /// The transaction that opens the session of a connection is applied.
    pub(super) fn on_opened(&mut self, env: &mut Env, id: Id, result: Result<(), ErrorCode>) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Stage::Opening {
            ticket,
            tell_read_only,
            ..
        } = connection.stage
        else {
            return;
        };
        self.openings.remove(&ticket);
        let session = connection.session;
        let timeout_ms = self.tree.sessions().get(&session).copied();
        let timeout_ms = timeout_ms.or_else(|| self.local.timeout_ms(session));
        // The secret is older than any session.
        let password = Secret::of(&self.tree).map(|secret| secret.password(session));
        let (timeout_ms, password) = match (result, timeout_ms, password) {
            (Ok(()), Some(timeout_ms), Some(password)) => (timeout_ms, password),
            (Ok(()), _, _) | (Err(_), _, _) => {
                refuse(env, id, tell_read_only);
                return self.forget_connection(id);
            }
        };
        connection.stage = Stage::Open;
        if let Some(before) = self.sessions.get(&session).copied() {
            self.dismiss(env, before, ErrorCode::SessionMoved);
        }
        self.sessions.insert(session, id);
        let response = ConnectResponse {
            timeout_ms,
            session,
            password,
            read_only: tell_read_only.then_some(false),
        };
        env.tell_client(id, ClientOutput::Connected(response));
        self.touch(session);
        self.answer_reads(env, id);
    }
}

/// Tells a client that it has no such session.
pub(super) fn refuse(env: &mut Env, id: Id, tell_read_only: bool) {
    let response = ConnectResponse {
        timeout_ms: 0,
        session: SessionId::default(),
        password: Bytes::from_static(&[0; 16]),
        read_only: tell_read_only.then_some(false),
    };
    env.tell_client(id, ClientOutput::Connected(response));
    env.tell_client(id, ClientOutput::Close);
}
