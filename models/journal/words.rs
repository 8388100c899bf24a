//! The inputs and the states of real servers in words.

use crate::explain::{InWords, describe, describe_role};
use keepright::service::journal::Input;
use keepright::service::replica::Timer;
use keepright::service::{ClientInput, PeerMsg, ZooKeeper};
use keepright::types::ServerId;
use keepright::zab::{self, State, Storage};
use keepright::znode::{Txn, TxnBody};

/// What happens, as a sentence.
pub fn sentence(server: ServerId, input: &Input) -> String {
    match input {
        Input::Start(storage) => format!("server {server} starts with {}", stored(storage)),
        Input::Peer(from, message) => {
            format!(
                "server {server} receives {} from server {from}",
                message_in_words(message)
            )
        }
        Input::Saved(1) => format!("server {server}: its oldest pending save is durable"),
        Input::Saved(count) => {
            format!("server {server}: its {count} oldest pending saves are durable")
        }
        Input::Client(_, ClientInput::Connect { request, .. }) => match request.session.0 {
            0 => format!("a client connects to server {server}"),
            _ => format!(
                "the client of session {} connects to server {server}",
                request.session
            ),
        },
        Input::Client(_, ClientInput::Request { request, .. }) => {
            let whole = format!("{request:?}");
            let name = whole.split([' ', '(', '{']).next().unwrap_or_default();
            format!("a client asks server {server}: {name}")
        }
        Input::Client(_, ClientInput::Proof { result: Ok(_), .. }) => {
            format!("a client tells server {server} who it is")
        }
        Input::Client(_, ClientInput::Proof { result: Err(_), .. }) => {
            format!("a client fails to tell server {server} who it is")
        }
        Input::Client(_, ClientInput::Disconnected) => format!("a client leaves server {server}"),
        Input::Clock(_) => format!("server {server} looks at its clock"),
        Input::Timeout(Timer::Session) => format!("server {server} counts a tick of its sessions"),
        Input::Timeout(Timer::Retransmit) => format!("server {server} forwards writes again"),
        Input::Timeout(Timer::Zab(timer)) => match timer {
            zab::Timer::Heartbeat => format!("server {server} repeats its last word"),
            zab::Timer::Finalize => format!("server {server} has waited for better votes"),
            zab::Timer::Establish => format!("server {server} has tried for too long"),
            zab::Timer::Peer(peer) => {
                format!("server {server} hears from server {peer} no more")
            }
        },
    }
}

/// A message between two servers.
pub fn message_in_words(message: &PeerMsg) -> String {
    match message {
        PeerMsg::Zab(message) => describe(message),
        PeerMsg::Forward(forward) => match forward.writes.len() {
            1 => format!("Forward(write {})", forward.first),
            count => format!("Forward({count} writes from {} on)", forward.first),
        },
        PeerMsg::Accepted { through, .. } => format!("Accepted(writes up to {through})"),
        PeerMsg::Refused { .. } => "Refused".to_owned(),
        PeerMsg::Differs { zxid } => format!("Differs(since {zxid})"),
        PeerMsg::Touch { sessions } => format!("Touch({} sessions)", sessions.len()),
    }
}

/// One server in a line.
pub fn line(id: ServerId, state: Option<&State<ZooKeeper>>, disk: &Storage<ZooKeeper>) -> String {
    let Some(state) = state else {
        return format!("s{id} down; {}", stored(disk));
    };
    let role = describe_role(state.role());
    let (said, durable) = (stored(state.storage()), stored(disk));
    let on_disk = match said == durable {
        true => String::new(),
        false => format!("; on disk {durable}"),
    };
    format!(
        "s{id} {role}; {said}; committed {}{on_disk}",
        state.committed()
    )
}

/// Epochs (current/accepted) and history, in short.
fn stored(storage: &Storage<ZooKeeper>) -> String {
    let (current, accepted) = (storage.current_epoch, storage.accepted_epoch);
    let (history, last) = (&storage.history, storage.history.last_zxid());
    let snapshot = match history.snapshot().zxid.0 {
        0 => String::new(),
        _ => format!(" with a snapshot at {}", history.snapshot().zxid),
    };
    format!("epochs {current}/{accepted}, history to {last}{snapshot}")
}

impl InWords for Txn {
    fn in_words(&self) -> String {
        body_in_words(&self.body)
    }
}

fn body_in_words(body: &TxnBody) -> String {
    match body {
        TxnBody::Create { path, .. } => format!("create {path}"),
        TxnBody::Delete { path } => format!("delete {path}"),
        TxnBody::SetData { path, .. } => format!("set {path}"),
        TxnBody::Reconfigure { .. } => "other members".to_owned(),
        TxnBody::InForce => "members in force".to_owned(),
        TxnBody::SetAcl { path, .. } => format!("setAcl {path}"),
        TxnBody::Check { path, .. } => format!("check {path}"),
        TxnBody::CreateSession { .. } => "session".to_owned(),
        TxnBody::CloseSession { .. } => "end of session".to_owned(),
        TxnBody::Error(None) => "sync".to_owned(),
        TxnBody::Error(Some(_)) | TxnBody::FailedMulti(_) => "failed request".to_owned(),
        TxnBody::Multi(bodies) => format!("multi of {}", bodies.len()),
    }
}
