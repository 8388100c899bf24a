//! States and steps of the model of the service in words.

use super::oracle::{Log, Standing};
use super::script::Op;
use super::world::{Client, Envelope, Server, Waiting, WatchKind, World};
use super::{Action, Model};
use crate::tale::Line;
use keepright::proto::{CreateMode, EventType, MultiResult, Response};
use keepright::service::watch::NO_ZXID;
use keepright::service::{ClientOutput, PeerMsg};
use keepright::types::ServerId;
use keepright::zab::Entry;
use keepright::znode::{ErrorCode, Txn, TxnBody};
use std::fmt::{self, Write as _};

/// A step, as a sentence.
pub fn sentence(model: &Model, action: &Action) -> String {
    match action {
        Action::Send {
            client,
            server,
            number,
        } => {
            let op = model.ops(*client).get(usize::from(*number));
            let op = op.map_or_else(|| "nothing".to_owned(), describe_op);
            format!("{} sends {op} to server {server}", name(*client))
        }
        Action::Connect { .. }
        | Action::Hear { .. }
        | Action::Cut { .. }
        | Action::Break(_)
        | Action::Arrive { .. }
        | Action::Deliver(_)
        | Action::Commit(_)
        | Action::Tell { .. }
        | Action::Elect { .. }
        | Action::Follow(_)
        | Action::Lose(_)
        | Action::Snap(_)
        | Action::Crash(_)
        | Action::Restart(_)
        | Action::Expire(_)
        | Action::Sweep
        | Action::Retransmit(_) => format!("{action:?}"),
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { client, server } => {
                write!(f, "{} connects to server {server}", name(*client))
            }
            Self::Send {
                client,
                server,
                number,
            } => {
                write!(
                    f,
                    "{} sends request {} to server {server}",
                    name(*client),
                    number + 1
                )
            }
            Self::Hear { client, output } => {
                write!(
                    f,
                    "{} reads {}",
                    name(*client),
                    describe_output(output.get())
                )
            }
            Self::Cut { client, late: 0 } => write!(f, "{} loses its connection", name(*client)),
            Self::Cut { client, late } => write!(
                f,
                "{} loses its connection with {late} more requests on their way",
                name(*client)
            ),
            Self::Break(client) => write!(f, "{} sees that its server is gone", name(*client)),
            Self::Arrive { client, .. } => write!(
                f,
                "what is left of the old connection of {} arrives",
                name(*client)
            ),
            Self::Deliver(envelope) => {
                let Envelope { src, dst, message } = envelope.get();
                let message = describe_message(message);
                write!(f, "server {dst} receives {message} from server {src}")
            }
            Self::Commit(zxid) => write!(f, "{zxid} is committed"),
            Self::Tell { server, zxid } => {
                write!(f, "server {server} learns that {zxid} is committed")
            }
            Self::Elect { server, kept } => write!(
                f,
                "server {server} becomes the leader; proposals that were not committed and survive: {kept}"
            ),
            Self::Follow(server) => write!(f, "server {server} follows the leader"),
            Self::Lose(server) => write!(f, "server {server} hears from its leader no more"),
            Self::Snap(server) => write!(f, "server {server} is brought forward by a snapshot"),
            Self::Crash(server) => write!(f, "server {server} crashes"),
            Self::Restart(server) => write!(f, "server {server} starts"),
            Self::Expire(client) => write!(
                f,
                "the leader has not heard of {} for its whole timeout",
                name(*client)
            ),
            Self::Sweep => write!(f, "time passes, and the leader looks for what nobody uses"),
            Self::Retransmit(server) => write!(f, "server {server} sends its writes again"),
        }
    }
}

pub fn name(client: usize) -> String {
    format!("client {}", client + 1)
}

pub fn describe_op(op: &Op) -> String {
    let expecting = |version: &i32| match version {
        -1 => String::new(),
        version => format!(" expecting version {version}"),
    };
    let watching = |watch: &bool| if *watch { " with a watch" } else { "" };
    match op {
        Op::Create(path, mode) => {
            let mode = match mode {
                CreateMode::Persistent => "",
                CreateMode::Ephemeral => ", ephemeral",
                CreateMode::PersistentSequential => ", sequential",
                CreateMode::EphemeralSequential => ", ephemeral and sequential",
                CreateMode::Container => ", a container",
                CreateMode::Ttl(_) => ", with a TTL",
                CreateMode::SequentialTtl(_) => ", sequential and with a TTL",
                CreateMode::Other(_) => ", of a mode that is not served",
            };
            format!("create {path}{mode}")
        }
        Op::Set(path, version) => format!("set {path}{}", expecting(version)),
        Op::Delete(path, version) => format!("delete {path}{}", expecting(version)),
        Op::Check(path, version) => format!("check {path}{}", expecting(version)),
        Op::Get(path, watch) => format!("get {path}{}", watching(watch)),
        Op::Exists(path, watch) => format!("exists {path}{}", watching(watch)),
        Op::Children(path, watch) => format!("children of {path}{}", watching(watch)),
        Op::Watch(path, kind) => format!("add a watch to {path}{}", describe_reach(*kind)),
        Op::Unwatch(path, kind) => {
            format!("remove the watch from {path}{}", describe_reach(*kind))
        }
        Op::Sync(path) => format!("sync {path}"),
        Op::Multi(ops) => {
            let ops: Vec<_> = ops.iter().map(describe_op).collect();
            format!("multi({})", ops.join("; "))
        }
        Op::Close => "close".to_owned(),
    }
}

fn describe_reach(kind: WatchKind) -> &'static str {
    match kind {
        WatchKind::Recursive => " and all below",
        WatchKind::Data | WatchKind::Exist | WatchKind::Child | WatchKind::Persistent => "",
    }
}

pub fn describe_output(output: &ClientOutput) -> String {
    match output {
        ClientOutput::Connected(response) if response.timeout_ms == 0 => {
            "that its session is over".to_owned()
        }
        ClientOutput::Connected(response) => {
            format!("that its session {} is open", response.session)
        }
        ClientOutput::Reply { reply, .. } => {
            let result = describe_result(&reply.result);
            format!("the answer to {}: {result}, at {}", reply.xid, reply.zxid)
        }
        ClientOutput::Event(event) => {
            let kind = describe_change(event.kind);
            match event.zxid {
                NO_ZXID => format!("the event that {} {kind}, found by setWatches", event.path),
                zxid => format!("the event that {} {kind}, at {zxid}", event.path),
            }
        }
        ClientOutput::Close => "the end of the connection".to_owned(),
    }
}

/// What has become of a znode, as a watch event says it.
pub fn describe_change(kind: EventType) -> &'static str {
    match kind {
        EventType::Created => "was created",
        EventType::Deleted => "was deleted",
        EventType::DataChanged => "has new data",
        EventType::ChildrenChanged => "has other children",
    }
}

/// What a request was answered.
pub fn describe_result(result: &Result<Response, ErrorCode>) -> String {
    match result {
        Ok(response) => describe_response(response),
        Err(error) => format!("{error:?}"),
    }
}

fn describe_response(response: &Response) -> String {
    match response {
        Response::Empty => "done".to_owned(),
        Response::Path(path) | Response::PathAndStat(path, _) => path.clone(),
        Response::Stat(stat) => format!("version {}", stat.version),
        Response::Data(data, stat) => format!("{:?} of version {}", &**data, stat.version),
        Response::Acl(..) => "an ACL".to_owned(),
        Response::Children(names) | Response::ChildrenAndStat(names, _) => {
            format!("children [{}]", names.join(" "))
        }
        Response::Sasl(_) => "a token".to_owned(),
        Response::WatchAdded => "that the watch is set".to_owned(),
        Response::Ephemerals(paths) => format!("ephemerals [{}]", paths.join(" ")),
        Response::Count(count) => count.to_string(),
        Response::WhoAmI(_) => "who it is".to_owned(),
        Response::Multi(results) => {
            let failed = |result: &MultiResult| matches!(result, MultiResult::Error(Some(_)));
            match results.iter().position(failed) {
                Some(index) => format!("nothing, because of operation {}", index + 1),
                None => "all of it".to_owned(),
            }
        }
    }
}

pub fn describe_message(message: &PeerMsg) -> String {
    match message {
        PeerMsg::Zab(_) => "a message of Zab".to_owned(),
        PeerMsg::Forward(forward) => {
            let writes = forward.writes.iter().map(|write| {
                let Some(xid) = u32::try_from(write.cxid).ok() else {
                    return format!("{:?}", write.write)
                        .chars()
                        .take_while(|c| *c != ' ')
                        .collect();
                };
                format!("request {xid} of {}", write.session)
            });
            let writes: Vec<_> = writes.collect();
            let (term, first) = (forward.stream.term, forward.first);
            format!(
                "Forward(stream {term}, from {first}: {})",
                writes.join(", ")
            )
        }
        PeerMsg::Accepted { stream, through } => {
            format!("Accepted(stream {}, through {through})", stream.term)
        }
        PeerMsg::Refused { stream, .. } => format!("Refused(stream {})", stream.term),
        PeerMsg::Differs { zxid } => format!("Differs(since {zxid})"),
        PeerMsg::Touch { .. } => "Touch".to_owned(),
    }
}

pub fn describe_entry(entry: &Entry<Txn>) -> String {
    let body = match &entry.txn.body {
        TxnBody::Create { path, .. } => format!("create {path}"),
        TxnBody::Delete { path } => format!("delete {path}"),
        TxnBody::SetData { path, version, .. } => format!("set {path} to version {version}"),
        TxnBody::Reconfigure { .. } => "other members".to_owned(),
        TxnBody::InForce => "members in force".to_owned(),
        TxnBody::SetAcl { path, .. } => format!("set ACL of {path}"),
        TxnBody::Check { path, .. } => format!("check {path}"),
        TxnBody::CreateSession { .. } => "open session".to_owned(),
        TxnBody::CloseSession { .. } => "close session".to_owned(),
        TxnBody::Error(None) => "nothing".to_owned(),
        TxnBody::Error(Some(error)) => format!("{error:?}"),
        TxnBody::Multi(bodies) => format!("multi of {}", bodies.len()),
        TxnBody::FailedMulti(_) => "failed multi".to_owned(),
    };
    format!("{}={body}", entry.zxid)
}

fn describe_entries<'a>(entries: impl IntoIterator<Item = &'a Entry<Txn>>) -> String {
    let all: Vec<_> = entries.into_iter().map(describe_entry).collect();
    all.join(", ")
}

fn server_line(id: ServerId, server: &Server) -> String {
    let copy = &server.copy;
    let standing = match copy.standing {
        _ if server.service.is_none() => "down".to_owned(),
        Standing::Looking => "LOOKING".to_owned(),
        Standing::Following(leader) => format!("FOLLOWING {leader}"),
        Standing::Leading => "LEADING".to_owned(),
    };
    let paths = server.service.iter().flat_map(|service| {
        let own = |path: &&str| !path.starts_with("/zookeeper") && *path != "/";
        let described = service.tree().walk().map(|(path, _)| path);
        described.filter(own).collect::<Vec<_>>()
    });
    let paths: Vec<_> = paths.collect();
    let (epoch, committed) = (copy.epoch, copy.committed);
    let paths = paths.join(" ");
    let paths = if paths.is_empty() { "-" } else { &paths };
    format!("s{id} {standing} in epoch {epoch}; applied {committed}: {paths}")
}

fn client_line(number: usize, client: &Client) -> String {
    let mut line = format!("c{} ", number + 1);
    match &client.connection {
        None if client.ended => line.push_str("its session is over"),
        None => line.push_str("no connection"),
        Some(connection) => {
            let opened = if connection.opened {
                "at"
            } else {
                "is being opened at"
            };
            let _ = write!(line, "{opened} server {}", connection.server);
            for waiting in &connection.waiting {
                let _ = match waiting {
                    Waiting::SetWatches => write!(line, ", waits for setWatches"),
                    Waiting::Op { number, .. } => write!(line, ", waits for {}", number + 1),
                };
            }
            for output in &connection.down {
                let _ = write!(line, "; under way: {}", describe_output(output.get()));
            }
        }
    }
    let _ = write!(line, "; has seen {}", client.seen);
    for watch in &client.watches {
        let _ = write!(line, "; watches {}", watch.path);
    }
    line
}

/// A line for each server and client, and for the log.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for id in self.ids() {
            writeln!(f, "{}", server_line(id, self.server(id).get()))?;
        }
        for (number, client) in self.clients.iter().enumerate() {
            writeln!(f, "{}", client_line(number, client.get()))?;
        }
        let log = self.log.get();
        writeln!(f, "committed: {}", describe_entries(&log.committed))?;
        writeln!(f, "proposed: {}", describe_entries(&log.in_flight))?;
        for envelope in &self.network {
            let Envelope { src, dst, message } = envelope.get();
            writeln!(f, "  s{src} to s{dst}: {}", describe_message(message))?;
        }
        let budget = &self.budget;
        write!(
            f,
            "left: {} elections, {} crashes, {} reconnects, {} expirations",
            budget.elections, budget.crashes, budget.reconnects, budget.expirations
        )
    }
}

/// Every server and client in a line, and the log; marked if the step from `before` has changed it.
pub fn lines(before: Option<&World>, world: &World) -> Vec<Line> {
    let servers = world.ids().map(|id| Line {
        text: server_line(id, world.server(id).get()),
        changed: before.is_some_and(|before| before.server(id) != world.server(id)),
    });
    let clients = world.clients.iter().enumerate();
    let clients = clients.map(|(number, client)| Line {
        text: client_line(number, client.get()),
        changed: before.is_some_and(|before| before.clients[number] != *client),
    });
    let log = Line {
        text: log_line(world.log.get()),
        changed: before.is_some_and(|before| before.log != world.log),
    };
    servers.chain(clients).chain([log]).collect()
}

/// The last transactions of the log that are told.
const LAST: usize = 3;

fn log_line(log: &Log) -> String {
    let skipped = log.committed.len().saturating_sub(LAST);
    let more = if skipped > 0 { "... " } else { "" };
    let last = describe_entries(log.committed.iter().skip(skipped));
    let mut line = format!("log {more}{last}");
    if !log.in_flight.is_empty() {
        let _ = write!(line, "; proposed {}", describe_entries(&log.in_flight));
    }
    line
}

/// The datagrams that a step has sent for the first time.
pub fn sent(before: &World, after: &World) -> Vec<String> {
    let added = after.network.iter().filter(|e| !before.network.contains(e));
    let mut added: Vec<_> = added.map(|envelope| envelope.get()).collect();
    added.sort_by_key(|envelope| (envelope.src, envelope.dst));
    let said = added.into_iter().map(|Envelope { src, dst, message }| {
        let message = describe_message(message);
        format!("s{src} to s{dst}: {message}")
    });
    said.collect()
}
