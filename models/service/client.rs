//! A client as the documented client libraries behave: what it hears, what it remembers, and what the
//! check has to say of that.
//!
//! Spec: `spec/5-service.md`, "What is checked of it". A client takes the answers to its requests in the
//! order in which it has sent them, keeps its watches until they fire and sets them again on a new
//! connection, and takes a lost connection for an unknown outcome. What it must never do: know more
//! than a client can. What is written to `ghost`, and the breaches, are the observer's.

use super::explain::{describe_change, describe_result, name};
use super::invariants as i;
use super::past::{Past, covers};
use super::record::{Record, slot};
use super::reference::Ret;
use super::script::{Op, Scenario};
use super::world::{Client, Waiting, Watch, WatchKind};
use keepright::proto::{EventType, Reply, Response, WatchEvent};
use keepright::service::ClientOutput;
use keepright::service::watch::NO_ZXID;
use keepright::types::Zxid;
use keepright::znode::ErrorCode;

/// The xid of setWatches.
pub const SET_WATCHES: i32 = -8;

/// The xid of an operation of the script.
pub fn xid(number: u8) -> i32 {
    i32::from(number) + 1
}

/// A client that reads what its server has sent, and who watches it.
pub struct Hearing<'a> {
    pub scenario: &'a Scenario,
    pub number: usize,
    pub client: &'a mut Client,
    pub past: &'a Past,
    pub record: &'a mut Record,
    pub breaches: &'a mut Breaches,
}

/// What becomes of a breach beside the note in the record.
pub enum Breaches {
    /// Nothing: the search has no time for words.
    Noted,
    /// It is told: the invariant, and how it is broken.
    Told(Vec<(&'static str, String)>),
}

impl Hearing<'_> {
    /// `how` says what breaks the invariant.
    fn breach(&mut self, invariant: &'static str, how: impl FnOnce(&Self) -> String) {
        self.record.broken |= 1 << i::number(invariant);
        if let Breaches::Told(_) = self.breaches {
            let how = format!("{} {}", name(self.number), how(self));
            if let Breaches::Told(told) = self.breaches {
                told.push((invariant, how));
            }
        }
    }

    /// The client reads the next message.
    pub fn hear(&mut self, output: &ClientOutput) {
        match output {
            ClientOutput::Connected(response) if response.timeout_ms == 0 => {
                self.on_end();
                self.lose_connection();
            }
            ClientOutput::Connected(response) => {
                self.client.session = response.session;
                if let Some(connection) = &mut self.client.connection {
                    connection.opened = true;
                }
            }
            ClientOutput::Reply { reply, .. } => self.on_reply(reply),
            ClientOutput::Event(event) => self.on_event(event),
            ClientOutput::Close => self.lose_connection(),
        }
    }

    /// What it waits for may have happened or not.
    pub fn lose_connection(&mut self) {
        self.client.connection = None;
    }

    /// The client is told that its session is over.
    fn on_end(&mut self) {
        self.client.ended = true;
        self.client.watches.clear();
        let session = self.client.session;
        if !self.past.is_over(session) {
            self.breach("ephemerals_end", |_| {
                format!("is told that its session {session} is over; nothing committed ends it")
            });
        }
    }

    fn on_reply(&mut self, reply: &Reply) {
        let Some(connection) = &mut self.client.connection else {
            return;
        };
        let waiting = match connection.waiting.is_empty() {
            true => None,
            false => Some(connection.waiting.remove(0)),
        };
        let asked = waiting.map(|waiting| match waiting {
            Waiting::SetWatches => SET_WATCHES,
            Waiting::Op { number, .. } => xid(number),
        });
        if asked != Some(reply.xid) {
            self.breach("requests_in_order", |_| {
                let waits = match asked {
                    Some(xid) => format!("waits for the answer to request {xid}"),
                    None => "waits for no answer".to_owned(),
                };
                format!("{waits}, and reads the answer to request {}", reply.xid)
            });
            return self.lose_connection();
        }
        let refused = matches!(
            reply.result,
            Err(ErrorCode::SessionExpired | ErrorCode::SessionMoved)
        );
        if refused {
            return self.on_refusal(reply, waiting);
        }
        if reply.zxid < self.client.seen {
            self.breach("session_reads_forward", |hearing| {
                let (zxid, seen) = (reply.zxid, hearing.client.seen);
                format!("has seen the state at {seen}, and reads an answer of the state at {zxid}")
            });
        }
        self.client.seen = self.client.seen.max(reply.zxid);
        self.await_events(reply.zxid, waiting == Some(Waiting::SetWatches));
        if let Some(Waiting::Op { number, .. }) = waiting {
            self.client.answered |= 1 << number;
            let op = self.scenario.clients[self.number].ops[usize::from(number)];
            match op.is_read() {
                true => self.on_read(number, op, reply),
                false => self.on_written(number, op, reply),
            }
        }
    }

    /// The server says that the session is not the connection's any more, and that the request had no
    /// effect.
    fn on_refusal(&mut self, reply: &Reply, waiting: Option<Waiting>) {
        if reply.result == Err(ErrorCode::SessionExpired) {
            self.on_end();
        }
        if let Some(Waiting::Op { number, .. }) = waiting {
            if self.zxid_of(number).is_some() {
                self.breach("writes_linearizable", |hearing| {
                    let xid = xid(number);
                    let zxid = hearing.zxid_of(number).unwrap_or_default();
                    format!(
                        "is told that its request {xid} had no effect; it is committed as {zxid}"
                    )
                });
            }
            self.record.denied(slot(self.number, number));
        }
    }

    fn zxid_of(&self, number: u8) -> Option<Zxid> {
        self.past.zxid_of(self.client.session, xid(number))
    }

    fn on_read(&mut self, number: u8, op: Op, reply: &Reply) {
        let shown = self.past.answer(op, reply.zxid);
        let of_tree = !matches!(op, Op::Unwatch(..));
        if of_tree && shown.as_ref() != Some(&reply.result) {
            self.breach("session_reads_forward", |_| {
                let (zxid, read) = (reply.zxid, describe_result(&reply.result));
                let shown = match &shown {
                    Some(shown) => format!("there it is {}", describe_result(shown)),
                    None => "no such state was ever committed".to_owned(),
                };
                format!("reads {read} of the state at {zxid}; {shown}")
            });
        }
        if reply.zxid < self.client.ghost.own {
            self.breach("session_reads_own_writes", |hearing| {
                let write = match hearing.client.ghost.own {
                    Zxid(u64::MAX) => "which is not committed yet".to_owned(),
                    own => format!("which has made the state at {own}"),
                };
                let zxid = reply.zxid;
                format!("had the answer to a write, {write}, and then reads the state at {zxid}")
            });
        }
        self.client.ghost.read = Some((xid(number), reply.zxid));
        self.client.ghost.read_elsewhere |= self.client.connects > 1;
        self.arm(op, reply);
        let before = number.checked_sub(1);
        if let Some(before) = before
            && let Op::Sync(_) = self.scenario.clients[self.number].ops[usize::from(before)]
            && self.client.answered & 1 << before != 0
        {
            let ret = Ret::of(&reply.result);
            self.record.returned(slot(self.number, before), ret);
        }
    }

    fn on_written(&mut self, number: u8, op: Op, reply: &Reply) {
        if reply.result.is_ok() {
            // What is not committed comes after everything that anybody has seen.
            self.client.ghost.own = self.zxid_of(number).unwrap_or(Zxid(u64::MAX));
        }
        let place = slot(self.number, number);
        if reply.result == Err(ErrorCode::EphemeralOnLocalSession) {
            return self.record.denied(place);
        }
        match op {
            Op::Sync(_) => {} // It returns with the read behind it.
            Op::Close => {
                self.on_end();
                self.record.returned(place, Ret::of(&reply.result));
            }
            _ => self.record.returned(place, Ret::of(&reply.result)),
        }
    }

    /// A reply shows the state at `zxid`: every event up to there must have come.
    fn await_events(&mut self, zxid: Zxid, set_again: bool) {
        let past = self.past;
        let is_there = |path| past.tree(zxid).is_some_and(|tree| tree.contains(path));
        let missed = self.client.watches.iter().find(|watch| {
            // A znode that has come and gone while its client was away leaves no trace, as in
            // ZooKeeper: an exists watch is set again as if nothing had happened.
            let unseen = set_again && watch.kind == WatchKind::Exist && !is_there(watch.path);
            // What happens while its client is away a watch that stays does not tell.
            let stays = set_again && watch.kind.stays();
            past.fires(watch, zxid) && !unseen && !stays
        });
        if let Some(missed) = missed {
            let Watch { path, since, kind } = missed.clone();
            let invariant = match kind.stays() {
                true => "persistent_watch_kept",
                false => "watch_told_first",
            };
            self.breach(invariant, |_| {
                format!(
                    "watches {path} since {since}, which has changed since then, and reads an answer \
                     of the state at {zxid} before the event"
                )
            });
        }
        if set_again {
            for watch in &mut self.client.watches {
                watch.since = zxid;
            }
        }
    }

    /// The client waits for the watch that a read has set.
    fn arm(&mut self, op: Op, reply: &Reply) {
        let (kind, path) = match (op, &reply.result) {
            (Op::Get(path, true), Ok(_)) => (WatchKind::Data, path),
            (Op::Exists(path, true), Ok(_)) => (WatchKind::Data, path),
            (Op::Exists(path, true), Err(ErrorCode::NoNode)) => (WatchKind::Exist, path),
            (Op::Children(path, true), Ok(Response::Children(_))) => (WatchKind::Child, path),
            (Op::Watch(path, kind), Ok(_)) => (kind, path),
            (Op::Unwatch(path, kind), Ok(_)) => {
                let watches = &mut self.client.watches;
                return watches.retain(|watch| (watch.kind, watch.path) != (kind, path));
            }
            _ => return,
        };
        let since = reply.zxid;
        let watches = &mut self.client.watches;
        watches.retain(|watch| (watch.kind, watch.path) != (kind, path));
        watches.push(Watch { kind, path, since });
        watches.sort();
    }

    fn on_event(&mut self, event: &WatchEvent) {
        let found = event.zxid == NO_ZXID;
        let concerns = |watch: &Watch| {
            covers(watch, &event.path)
                && match (watch.kind, event.kind) {
                    // What setWatches finds is for the others.
                    (WatchKind::Persistent, _) => !found,
                    (WatchKind::Recursive, kind) => !found && kind != EventType::ChildrenChanged,
                    (_, EventType::Created | EventType::DataChanged) => {
                        watch.kind != WatchKind::Child
                    }
                    (_, EventType::Deleted) => true,
                    (_, EventType::ChildrenChanged) => watch.kind == WatchKind::Child,
                }
        };
        let until = match event.zxid {
            NO_ZXID => Zxid(u64::MAX),
            zxid => zxid,
        };
        let past = self.past;
        let waited = |watch: &Watch| concerns(watch) && past.fires(watch, until);
        let is_true = found || past.has_happened(event);
        if !is_true || !self.client.watches.iter().any(waited) {
            let stays = |watch: &Watch| watch.kind.stays() && concerns(watch);
            let invariant = match self.client.watches.iter().any(stays) {
                true => "persistent_watch_kept",
                false => "watch_told_once",
            };
            self.breach(invariant, |hearing| {
                let (path, kind, at) = (&event.path, describe_change(event.kind), until);
                let has = hearing.client.watches.iter().any(concerns);
                let why = match has {
                    true => "nothing has happened that its watch waits for",
                    false => "it has no such watch, or was told of it before",
                };
                match at {
                    Zxid(u64::MAX) => format!("is told that {path} {kind}; {why}"),
                    at => format!("is told that {path} {kind}, at {at}; {why}"),
                }
            });
        }
        if !found {
            // All that happened before has been told before.
            self.await_events(Zxid(event.zxid.0 - 1), false);
        }
        self.client.watches.retain_mut(|watch| {
            let concerned = concerns(watch);
            if concerned && watch.kind.stays() {
                watch.since = event.zxid;
                self.client.ghost.kept_elsewhere |= self.client.connects > 1;
            }
            !concerned || watch.kind.stays()
        });
        self.client.ghost.event = true;
        self.client.ghost.event_caught_up |= found;
    }
}
