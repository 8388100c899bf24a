//! What can happen in a state of the model of the service, and what each action leads to.
//!
//! Spec: `spec/5-service.md`, "What is checked of it". What it must never do: leave out what the real
//! world may do, but where something else that it does is the same for everybody who can see it.

use super::client::{Breaches, Hearing, SET_WATCHES, xid};
use super::oracle::{Log, Standing, Transaction};
use super::past::deletes_unused;
use super::record::{data, deletion, expiry, slot};
use super::script::Op;
use super::steps::{Input, LocalStep};
use super::world::{Client, Connection, Envelope, Late, Waiting, WatchKind, World};
use super::{ADDRESS, Action, CONNECTIONS, Model, SWEEP_MS};
use crate::intern::Interned;
use keepright::proto::{ConnectRequest, Request, SetWatches};
use keepright::service::leader::NO_TICKET;
use keepright::service::secret;
use keepright::service::{ClientInput, PeerMsg};
use keepright::types::{Epoch, ServerId};
use keepright::znode::{SessionId, TxnBody};
use smallvec::SmallVec;
use stateright::actor::Id;

impl Model {
    /// Every action that may be possible in a state.
    pub(super) fn conceivable(&self, world: &World) -> Vec<Action> {
        let mut all = Vec::new();
        for client in 0..world.clients.len() {
            let state = world.clients[client].get();
            if let Some(connection) = &state.connection {
                let (server, number) = (connection.server, state.sent);
                all.push(Action::Send {
                    client,
                    server,
                    number,
                });
                let output = connection.down.first();
                all.extend(output.map(|output| Action::Hear {
                    client,
                    output: *output,
                }));
            }
            all.extend([Action::Break(client), Action::Expire(client)]);
            all.extend(world.ids().map(|server| Action::Connect { client, server }));
            let window = self.scenario().clients[client].window;
            all.extend((0..=window).map(|late| Action::Cut { client, late }));
            let late = 0..world.clients[client].late.len();
            all.extend(late.map(|index| Action::Arrive { client, index }));
        }
        all.extend(world.network.iter().map(|e| Action::Deliver(*e)));
        all.push(Action::Sweep);
        let oldest = world.log.in_flight.front();
        all.extend(oldest.map(|entry| Action::Commit(entry.zxid)));
        for server in world.ids() {
            let next = self.next_told(world, server).map(|entry| entry.zxid);
            all.extend(next.map(|zxid| Action::Tell { server, zxid }));
            all.push(Action::Follow(server));
            all.extend([Action::Lose(server), Action::Snap(server)]);
            all.extend([Action::Crash(server), Action::Restart(server)]);
            all.push(Action::Retransmit(server));
            let kept = 0..=world.log.in_flight.len();
            all.extend(kept.map(|kept| Action::Elect { server, kept }));
        }
        all
    }

    pub(super) fn is_possible(&self, world: &World, action: &Action) -> bool {
        let (budget, log) = (&world.budget, &world.log);
        let up = |id| world.server(id).get().service.is_some();
        match *action {
            Action::Connect {
                client: number,
                server,
            } => {
                let serves = |server| {
                    let service = world.server(server).get().service.as_ref();
                    service.is_some_and(|service| service.stream().is_some())
                };
                self.may_connect(world, number) && serves(server)
            }
            Action::Send { client, .. } => {
                let ops = self.ops(client).len();
                let client_state = world.clients[client].get();
                client_state.connection.as_ref().is_some_and(|connection| {
                    connection.opened
                        && !connection.severed
                        && !client_state.ended
                        && usize::from(client_state.sent) < ops
                        && self.room(client, connection) > 0
                })
            }
            Action::Hear { .. } | Action::Arrive { .. } => true,
            Action::Break(client) => {
                let connection = world.clients[client].get().connection.as_ref();
                connection.is_some_and(|connection| connection.severed)
            }
            Action::Cut { client, late } => {
                let left = self.ops(client).len() - usize::from(world.clients[client].sent);
                let connection = world.clients[client].get().connection.as_ref();
                connection.is_some_and(|connection| {
                    let room = if connection.opened {
                        self.room(client, connection)
                    } else {
                        0
                    };
                    let may_send = !connection.severed && usize::from(late) <= left && late <= room;
                    self.may_return(world, client) && (late == 0 || may_send)
                })
            }
            Action::Deliver(envelope) => {
                let to_leader = matches!(envelope.message, PeerMsg::Forward(_));
                let superseded = to_leader && !self.leads(world, envelope.dst);
                // What a leader proposes that is superseded is never committed, and never seen.
                up(envelope.dst) && !superseded
            }
            Action::Commit(_) => {
                let in_epoch = |id: &ServerId| world.server(*id).copy.epoch == log.epoch && up(*id);
                let has_quorum = world.ids().filter(in_epoch).count() > world.servers.len() / 2;
                has_quorum && log.leader.is_some_and(|leader| self.leads(world, leader))
            }
            Action::Tell { server, .. } => {
                // A server without clients may wait: nobody sees it lag.
                world.clients.iter().enumerate().any(|(number, client)| {
                    let late = client.late.iter().any(|late| late.server == server);
                    match &client.get().connection {
                        Some(connection) => connection.server == server || late,
                        None => self.may_connect(world, number) || late,
                    }
                })
            }
            Action::Elect { server, kept } => {
                let all_up = world.ids().filter(|id| up(*id)).count();
                let deposed = log.leader.is_none() || budget.elections > 0;
                let own = log.leader != Some(server) || kept == log.in_flight.len();
                up(server) && deposed && own && all_up > world.servers.len() / 2
            }
            Action::Follow(server) => {
                let copy = &world.server(server).get().copy;
                let leader = log.leader.filter(|leader| self.leads(world, *leader));
                let other = leader.is_some_and(|leader| leader != server);
                let behind = copy.standing == Standing::Looking || copy.epoch < log.epoch;
                up(server) && other && behind
            }
            Action::Lose(server) => self.follows(world, server) && budget.elections > 0,
            Action::Snap(server) => {
                let behind = world.server(server).copy.committed < log.last();
                self.follows(world, server) && behind && budget.snapshots > 0
            }
            Action::Crash(server) => up(server) && budget.crashes > 0,
            Action::Restart(server) => !up(server),
            Action::Expire(client) => {
                let session = world.clients[client].session;
                let open = |leader: ServerId| {
                    let service = world.server(leader).get().service.as_ref();
                    service.is_some_and(|s| s.tree().sessions().contains_key(&session))
                };
                let leader = log.leader.filter(|leader| self.leads(world, *leader));
                let is_open = leader.is_some_and(open) || host(world, session).is_some();
                budget.expirations > 0 && is_open
            }
            Action::Sweep => {
                let leader = log.leader.filter(|leader| self.leads(world, *leader));
                let has_mortals = !self.scenario().mortals.is_empty();
                has_mortals && budget.sweeps > 0 && leader.is_some_and(up)
            }
            Action::Retransmit(server) => self.scenario().streams && up(server),
        }
    }

    /// Whether a client may connect once more.
    fn may_return(&self, world: &World, client: usize) -> bool {
        self.scenario().clients[client].returns && world.budget.reconnects > 0
    }

    /// Whether a client has no connection, but may open one.
    fn may_connect(&self, world: &World, client: usize) -> bool {
        let state = world.clients[client].get();
        let may = state.connects == 0 || self.may_return(world, client);
        state.connection.is_none() && !state.ended && may
    }

    /// How many requests more a client may have under way.
    fn room(&self, client: usize, connection: &Connection) -> u8 {
        let window = self.scenario().clients[client].window;
        window.saturating_sub(connection.waiting.len() as u8)
    }

    /// Whether a server follows the leader of the latest epoch in it.
    fn follows(&self, world: &World, id: ServerId) -> bool {
        let server = world.server(id).get();
        matches!(server.copy.standing, Standing::Following(_))
            && server.copy.epoch == world.log.epoch
            && server.service.is_some()
    }

    /// The transaction whose commit a server may hear of next. In an earlier epoch it hears only of
    /// transactions of that epoch or before.
    fn next_told<'a>(&self, world: &'a World, id: ServerId) -> Option<&'a Transaction> {
        let server = world.server(id).get();
        let copy = &server.copy;
        let is_up = server.service.is_some();
        let next = world.log.get().next_after(copy.committed)?;
        let heard = match copy.standing {
            Standing::Looking => false,
            Standing::Following(_) => next.zxid.epoch() <= copy.epoch,
            Standing::Leading => copy.history.contains(next.zxid),
        };
        (is_up && heard).then_some(next)
    }

    /// The state after an action that is possible.
    pub(super) fn act(&self, world: &World, action: Action) -> World {
        self.act_and_tell(world, action, &mut Breaches::Noted)
    }

    /// How each invariant is broken that a client hears to be broken in a step.
    pub(super) fn breaches(&self, world: &World, action: Action) -> Vec<(&'static str, String)> {
        let mut breaches = Breaches::Told(Vec::new());
        self.act_and_tell(world, action, &mut breaches);
        match breaches {
            Breaches::Told(told) => told,
            Breaches::Noted => Vec::new(),
        }
    }

    fn act_and_tell(&self, world: &World, action: Action, breaches: &mut Breaches) -> World {
        let mut next = world.clone();
        self.spend(&mut next, &action);
        match action {
            Action::Connect { client, server } => self.connect(&mut next, client, server),
            Action::Send { client, .. } => self.send(&mut next, client),
            Action::Hear { client, .. } => self.hear(&mut next, client, breaches),
            Action::Cut { client, late } => self.cut(&mut next, client, late),
            Action::Break(client) => self.change(&mut next, client, |c| c.connection = None),
            Action::Arrive { client, index } => self.arrive(&mut next, client, index),
            Action::Deliver(envelope) => {
                let Envelope { src, dst, message } = envelope.get();
                self.input(&mut next, *dst, &Input::Peer(*src, message.clone()));
            }
            Action::Commit(_) => {
                let mut log = next.log.get().clone();
                if let (Some(leader), Some(entry)) = (log.leader, log.in_flight.pop_front()) {
                    log.committed.push_back(entry.clone());
                    next.log = self.logs.keep(log);
                    self.input(&mut next, leader, &Input::Told(entry));
                }
            }
            Action::Tell { server, .. } => {
                if let Some(entry) = self.next_told(world, server) {
                    self.input(&mut next, server, &Input::Told(entry.clone()));
                }
            }
            Action::Elect { server, kept } => self.elect(&mut next, server, kept),
            Action::Follow(server) => {
                let log = next.log.get();
                if let Some(leader) = log.leader {
                    self.input(&mut next, server, &Input::Follows(leader, log.clone()));
                }
            }
            Action::Lose(server) => self.input(&mut next, server, &Input::Looks),
            Action::Snap(server) => {
                let zxid = next.log.last();
                if let Some(tree) = self.past(next.log).tree(zxid) {
                    self.input(&mut next, server, &Input::Snapped(zxid, tree.clone()));
                }
            }
            Action::Crash(server) => self.crash(&mut next, server),
            Action::Restart(server) => {
                let now_ms = self.now_ms(&next);
                self.input(&mut next, server, &Input::Starts(now_ms));
            }
            Action::Expire(client) => self.expire(&mut next, client),
            Action::Sweep => self.sweep(&mut next),
            Action::Retransmit(server) => self.input(&mut next, server, &Input::Retransmits),
        }
        self.settle(&mut next, breaches);
        next
    }

    fn spend(&self, world: &mut World, action: &Action) {
        let budget = &mut world.budget;
        match *action {
            Action::Connect { client, .. } if world.clients[client].connects > 0 => {
                budget.reconnects -= 1;
            }
            Action::Elect { .. } if world.log.leader.is_some() => budget.elections -= 1,
            Action::Lose(_) => budget.elections -= 1,
            Action::Crash(_) => budget.crashes -= 1,
            Action::Expire(_) => budget.expirations -= 1,
            Action::Snap(_) => budget.snapshots -= 1,
            Action::Sweep => budget.sweeps -= 1,
            Action::Connect { .. }
            | Action::Elect { .. }
            | Action::Send { .. }
            | Action::Hear { .. }
            | Action::Cut { .. }
            | Action::Break(_)
            | Action::Arrive { .. }
            | Action::Deliver(_)
            | Action::Commit(_)
            | Action::Tell { .. }
            | Action::Follow(_)
            | Action::Restart(_)
            | Action::Retransmit(_) => {}
        }
    }

    /// Brings a state into the form that stands for all that nobody can tell from it.
    fn settle(&self, world: &mut World, breaches: &mut Breaches) {
        for client in 0..world.clients.len() {
            // Of a client that will not come back it does not matter when it reads: it is told the
            // same, and the sooner it knows the more is asked of what comes after.
            while !self.may_return(world, client) && has_mail(world.clients[client].get()) {
                self.hear(world, client, breaches);
            }
        }
        let mut network = std::mem::take(&mut world.network);
        network.retain(|envelope| !self.is_obsolete(world, *envelope));
        world.network = network;
    }

    /// Whether a datagram can never again have an effect.
    ///
    /// A stream is known to its origin only while it serves under the same leader; a leader that comes
    /// later refuses it, and nobody listens. So a Forward matters to a leader that will still take it, and
    /// as long as its origin would listen to a refusal.
    fn is_obsolete(&self, world: &World, envelope: Interned<Envelope>) -> bool {
        let Envelope { src, dst, message } = envelope.get();
        let awaits = |origin: ServerId, leader: ServerId, stream| {
            let service = world.server(origin).get().service.as_ref();
            service.is_some_and(|s| s.stream() == Some(stream) && s.leader(origin) == Some(leader))
        };
        match message {
            PeerMsg::Forward(forward) => {
                let taken = || {
                    let input = Input::Peer(*src, message.clone());
                    self.step(*dst, world.server(*dst), &input).after == world.server(*dst)
                };
                !awaits(*src, *dst, forward.stream) && (!self.leads(world, *dst) || taken())
            }
            PeerMsg::Refused { stream, .. } => !awaits(*dst, *src, *stream),
            // Without it a write is sent again, which is nothing new here.
            PeerMsg::Accepted { stream, .. } => {
                !self.scenario().streams || !awaits(*dst, *src, *stream)
            }
            // Sessions expire although their clients are heard of: Touch may be lost.
            // No tree differs but in a mutant.
            PeerMsg::Touch { .. } | PeerMsg::Differs { .. } | PeerMsg::Zab(_) => true,
        }
    }

    fn change(&self, world: &mut World, client: usize, change: impl FnOnce(&mut Client)) {
        let mut state = world.clients[client].get().clone();
        change(&mut state);
        world.clients[client] = self.clients.keep(state);
    }

    /// A server takes a step.
    fn input(&self, world: &mut World, id: ServerId, input: &Input) {
        let LocalStep {
            after,
            to_clients,
            sent,
        } = self.step(id, world.server(id), input);
        world.servers[usize::from(id.0) - 1] = *after;
        for envelope in sent {
            world.send(*envelope);
        }
        for (connection, output) in to_clients {
            let is_theirs = |client: &Interned<Client>| {
                let own = client.get().connection.as_ref();
                own.is_some_and(|own| own.id == *connection)
            };
            if let Some(client) = world.clients.iter().position(is_theirs) {
                self.change(world, client, |client| {
                    if let Some(connection) = &mut client.connection {
                        connection.down.push(*output);
                    }
                });
            }
        }
        if self.leads(world, id) {
            let log = world.log.get();
            let in_flight = after.copy.history.after(log.last()).cloned().collect();
            if in_flight != log.in_flight {
                world.log = self.logs.keep(Log {
                    in_flight,
                    ..log.clone()
                });
            }
        }
    }

    fn connect(&self, world: &mut World, client: usize, server: ServerId) {
        let mut state = world.clients[client].get().clone();
        state.connects += 1;
        let id = Id::from(CONNECTIONS * (client + 1) + usize::from(state.connects));
        let sets_watches = !state.watches.is_empty();
        state.connection = Some(Connection {
            id,
            server,
            opened: false,
            down: SmallVec::new(),
            waiting: sets_watches
                .then_some(Waiting::SetWatches)
                .into_iter()
                .collect(),
            severed: false,
        });
        let (session, seen) = (state.session, state.seen);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: seen,
            timeout_ms: 1,
            session,
            password: match session == SessionId::default() {
                true => vec![0; 16].into(),
                false => secret::password(&[0; secret::LENGTH], session),
            },
            read_only: None,
        };
        let of_kind = |kind| {
            let watches = state.watches.iter().filter(|watch| watch.kind == kind);
            watches.map(|watch| watch.path.to_owned()).collect()
        };
        let set_watches = Request::SetWatches(SetWatches {
            relative_zxid: seen,
            data: of_kind(WatchKind::Data),
            exists: of_kind(WatchKind::Exist),
            children: of_kind(WatchKind::Child),
            persistent: of_kind(WatchKind::Persistent),
            recursive: of_kind(WatchKind::Recursive),
        });
        world.clients[client] = self.clients.keep(state);
        let input = ClientInput::Connect {
            request,
            from: ADDRESS,
            proved: Vec::new(),
        };
        self.input(world, server, &Input::Client(id, input));
        if sets_watches {
            self.ask(world, server, id, SET_WATCHES, set_watches);
        }
    }

    fn ask(&self, world: &mut World, server: ServerId, id: Id, xid: i32, request: Request) {
        let input = ClientInput::Request { xid, request };
        self.input(world, server, &Input::Client(id, input));
    }

    /// The next request of a client's script is on its way: its number and what it asks for.
    fn next_request(&self, world: &mut World, client: usize) -> (u8, Request) {
        let number = world.clients[client].sent;
        let ops = self.ops(client);
        let op = ops[usize::from(number)];
        let synced = matches!(ops.get(usize::from(number) + 1), Some(Op::Get(..)));
        let counts = match op {
            Op::Sync(_) => synced,
            _ => !op.is_read(),
        };
        if counts {
            let mut record = world.record.get().clone();
            record.sent(slot(client, number));
            world.record = self.records.keep(record);
        }
        self.change(world, client, |client| client.sent += 1);
        (number, op.request(data(client, number)))
    }

    fn send(&self, world: &mut World, client: usize) {
        let (number, request) = self.next_request(world, client);
        let mut to = None;
        self.change(world, client, |client| {
            if let Some(connection) = &mut client.connection {
                let behind = !connection.waiting.is_empty();
                connection.waiting.push(Waiting::Op { number, behind });
                to = Some((connection.server, connection.id));
            }
        });
        if let Some((server, id)) = to {
            self.ask(world, server, id, xid(number), request);
        }
    }

    fn hear(&self, world: &mut World, client: usize, breaches: &mut Breaches) {
        let mut state = world.clients[client].get().clone();
        let mut record = world.record.get().clone();
        let Some(connection) = &mut state.connection else {
            return;
        };
        let output = connection.down.remove(0);
        let mut hearing = Hearing {
            scenario: self.scenario(),
            number: client,
            client: &mut state,
            past: self.past(world.log),
            record: &mut record,
            breaches,
        };
        hearing.hear(output.get());
        world.clients[client] = self.clients.keep(state);
        world.record = self.records.keep(record);
    }

    fn cut(&self, world: &mut World, client: usize, late: u8) {
        let requests = (0..late).map(|_| {
            let (number, request) = self.next_request(world, client);
            (xid(number), request)
        });
        let requests = requests.collect();
        self.change(world, client, |client| {
            if let Some(Connection {
                id,
                server,
                severed,
                ..
            }) = client.connection.take()
                && !severed
            {
                client.late.push(Late {
                    id,
                    server,
                    requests,
                });
            }
        });
    }

    fn arrive(&self, world: &mut World, client: usize, index: usize) {
        let mut arrived = None;
        self.change(world, client, |client| {
            let late = &mut client.late[index];
            let (server, id) = (late.server, late.id);
            let request = match late.requests.is_empty() {
                true => None,
                false => Some(late.requests.remove(0)),
            };
            if request.is_none() {
                client.late.remove(index);
            }
            arrived = Some((server, id, request));
        });
        match arrived {
            Some((server, id, Some((xid, request)))) => self.ask(world, server, id, xid, request),
            Some((server, id, None)) => {
                self.input(world, server, &Input::Client(id, ClientInput::Disconnected));
            }
            None => {}
        }
    }

    fn elect(&self, world: &mut World, server: ServerId, kept: usize) {
        let mut log = world.log.get().clone();
        let survivors: Vec<_> = log.in_flight.iter().take(kept).cloned().collect();
        log.committed.extend(survivors);
        log.in_flight.clear();
        log.epoch = Epoch(log.epoch.0 + 1);
        log.leader = Some(server);
        log.initial = log.last();
        world.log = self.logs.keep(log.clone());
        self.input(world, server, &Input::Leads(log));
    }

    fn crash(&self, world: &mut World, server: ServerId) {
        self.input(world, server, &Input::Crashes);
        if world.log.leader == Some(server) {
            let log = Log {
                leader: None,
                ..world.log.get().clone()
            };
            world.log = self.logs.keep(log);
        }
        for client in 0..world.clients.len() {
            self.change(world, client, |client| {
                client.late.retain(|late| late.server != server);
                if let Some(connection) = &mut client.connection
                    && connection.server == server
                {
                    connection.severed = true;
                }
            });
        }
    }

    fn expire(&self, world: &mut World, client: usize) {
        let session = world.clients[client].session;
        if let Some(server) = host(world, session) {
            return self.input(world, server, &Input::LocalSilence(session));
        }
        let Some(leader) = world.log.leader else {
            return;
        };
        let service = world.server(leader).get().service.as_ref();
        let sessions = service.map(|service| service.tree().sessions().keys().copied());
        let others = sessions.into_iter().flatten().filter(|s| *s != session);
        let input = Input::Silence(session, others.collect());
        self.input(world, leader, &input);
        let ends = |entry: &Transaction| {
            let closes = matches!(entry.txn.body, TxnBody::CloseSession { .. });
            entry.txn.session == session && entry.txn.cxid == NO_TICKET && closes
        };
        if world.log.in_flight.iter().any(ends) {
            let mut record = world.record.get().clone();
            record.sent(expiry(client));
            world.record = self.records.keep(record);
        }
    }

    fn sweep(&self, world: &mut World) {
        let Some(leader) = world.log.leader else {
            return;
        };
        // Time passes for everybody.
        let time = self.now_ms(world);
        for server in world.ids().collect::<Vec<_>>() {
            let input = match server == leader {
                true => Input::Sweeps(time),
                false => Input::Clock(time),
            };
            self.input(world, server, &input);
        }
        let mut record = world.record.get().clone();
        for (index, (path, _)) in self.scenario().mortals.iter().enumerate() {
            let mut in_flight = world.log.in_flight.iter();
            if in_flight.any(|entry| deletes_unused(entry) == Some(path)) {
                record.sent(deletion(index));
            }
        }
        world.record = self.records.keep(record);
    }

    /// The time. It passes with sweeps only, so that it multiplies no states.
    fn now_ms(&self, world: &World) -> i64 {
        let sweeps = self.bounds.sweeps - world.budget.sweeps;
        i64::from(sweeps) * SWEEP_MS
    }
}

/// The server whose local session this is.
fn host(world: &World, session: SessionId) -> Option<ServerId> {
    world.ids().find(|id| {
        let service = world.server(*id).get().service.as_ref();
        service.is_some_and(|service| service.local_sessions().contains(session))
    })
}

/// Whether something that its server has sent waits for a client to read it.
fn has_mail(client: &Client) -> bool {
    let connection = client.connection.as_ref();
    connection.is_some_and(|connection| !connection.down.is_empty())
}
