//! The answers: to reads, from the tree; to writes, from what came of their transaction.
//!
//! Spec: `spec/5-service.md`, "Reads". What it must never do: change the tree, or set a watch for a
//! request that failed (but exists, whose failure is an answer).

use super::watch::{NO_ZXID, WatchKind, Watches};
use super::write::{AnswerForm, Read};
use crate::proto::{EventType, MultiResult, Response, WatchEvent};
use crate::types::Zxid;
use crate::znode::{Acl, AuthId, ErrorCode, Outcome, Perms, Tree, acl};
use stateright::actor::Id;

/// The answer to a read, and the events that must be told before it.
pub struct ReadAnswer {
    pub result: Result<Response, ErrorCode>,
    pub events: Vec<WatchEvent>,
}

/// Answers a read of a connection from the tree, and sets the watch that it asks for.
pub fn read(
    tree: &Tree,
    watches: &mut Watches,
    connection: Id,
    auth: &[AuthId],
    request: Read,
) -> ReadAnswer {
    let mut events = Vec::new();
    let result = match request {
        Read::Exists { path, watch } => {
            if watch && !path.contains('\0') {
                watches.add(WatchKind::Data, &path, connection);
            }
            exists(tree, &path)
        }
        Read::GetData { path, watch } => {
            let result = get_data(tree, auth, &path);
            if watch && result.is_ok() {
                watches.add(WatchKind::Data, &path, connection);
            }
            result
        }
        Read::GetChildren {
            path,
            watch,
            with_stat,
        } => {
            let result = get_children(tree, auth, &path, with_stat);
            if watch && result.is_ok() {
                watches.add(WatchKind::Children, &path, connection);
            }
            result
        }
        Read::GetAcl { path } => get_acl(tree, auth, &path),
        Read::SetWatches {
            relative_zxid,
            data,
            exists,
            children,
        } => {
            let mut found = Found {
                tree,
                watches,
                connection,
                seen: relative_zxid,
                events: &mut events,
            };
            data.into_iter().for_each(|path| found.data(path));
            exists.into_iter().for_each(|path| found.exists(path));
            children.into_iter().for_each(|path| found.children(path));
            Ok(Response::Empty)
        }
        Read::Ping => Ok(Response::Empty),
        Read::Proved(response) => Ok(response),
        Read::Refused(error) => Err(error),
    };
    ReadAnswer { result, events }
}

fn exists(tree: &Tree, path: &str) -> Result<Response, ErrorCode> {
    if path.contains('\0') {
        return Err(ErrorCode::BadArguments);
    }
    tree.stat(path).map(Response::Stat).ok_or(ErrorCode::NoNode)
}

fn get_data(tree: &Tree, auth: &[AuthId], path: &str) -> Result<Response, ErrorCode> {
    let node = tree.node(path).ok_or(ErrorCode::NoNode)?;
    permit(&node.acl, Perms::READ, auth)?;
    Ok(Response::Data(node.data.clone(), node.stat()))
}

fn get_children(
    tree: &Tree,
    auth: &[AuthId],
    path: &str,
    with_stat: bool,
) -> Result<Response, ErrorCode> {
    let node = tree.node(path).ok_or(ErrorCode::NoNode)?;
    permit(&node.acl, Perms::READ, auth)?;
    let children = tree.children(path).ok_or(ErrorCode::NoNode)?;
    Ok(match with_stat {
        true => Response::ChildrenAndStat(children, node.stat()),
        false => Response::Children(children),
    })
}

fn get_acl(tree: &Tree, auth: &[AuthId], path: &str) -> Result<Response, ErrorCode> {
    let node = tree.node(path).ok_or(ErrorCode::NoNode)?;
    permit(&node.acl, Perms(Perms::READ.0 | Perms::ADMIN.0), auth)?;
    let list = match acl::permits(&node.acl, Perms::ADMIN, auth) {
        true => node.acl.to_vec(),
        false => node.acl.iter().map(without_hash).collect(),
    };
    Ok(Response::Acl(list, node.stat()))
}

/// An entry as somebody sees it who may not change the list: the hash of a password is hidden.
fn without_hash(entry: &Acl) -> Acl {
    let mut entry = entry.clone();
    if entry.who.scheme == "digest" {
        let user = entry.who.id.split(':').next().unwrap_or_default();
        entry.who.id = format!("{user}:x");
    }
    entry
}

fn permit(list: &[Acl], perms: Perms, auth: &[AuthId]) -> Result<(), ErrorCode> {
    match acl::permits(list, perms, auth) {
        true => Ok(()),
        false => Err(ErrorCode::NoAuth),
    }
}

/// What a setWatches finds: the events that the client has missed; the other watches are set.
struct Found<'a> {
    tree: &'a Tree,
    watches: &'a mut Watches,
    connection: Id,
    /// The last transaction that the client knows of.
    seen: Zxid,
    events: &'a mut Vec<WatchEvent>,
}

impl Found<'_> {
    fn data(&mut self, path: String) {
        match self.tree.node(&path) {
            None => self.event(EventType::Deleted, path),
            Some(node) if node.mzxid > self.seen => self.event(EventType::DataChanged, path),
            Some(_) => self.watches.add(WatchKind::Data, &path, self.connection),
        }
    }

    fn exists(&mut self, path: String) {
        match self.tree.contains(&path) {
            true => self.event(EventType::Created, path),
            false => self.watches.add(WatchKind::Data, &path, self.connection),
        }
    }

    fn children(&mut self, path: String) {
        match self.tree.node(&path) {
            None => self.event(EventType::Deleted, path),
            Some(node) if node.pzxid > self.seen => self.event(EventType::ChildrenChanged, path),
            Some(_) => self
                .watches
                .add(WatchKind::Children, &path, self.connection),
        }
    }

    fn event(&mut self, kind: EventType, path: String) {
        let zxid = NO_ZXID;
        self.events.push(WatchEvent { kind, path, zxid });
    }
}

/// The answer to a write, in the form that its request asks for.
pub fn written(
    form: AnswerForm,
    outcome: Result<Outcome, ErrorCode>,
) -> Result<Response, ErrorCode> {
    Ok(match (form, outcome?) {
        (AnswerForm::Path, Outcome::Created(path, _)) => Response::Path(path),
        (AnswerForm::PathAndStat, Outcome::Created(path, stat)) => {
            Response::PathAndStat(path, stat)
        }
        (AnswerForm::Stat, Outcome::DataSet(stat) | Outcome::AclSet(stat)) => Response::Stat(stat),
        (AnswerForm::Synced(path), Outcome::Synced) => Response::Path(path),
        (AnswerForm::Empty, Outcome::Deleted | Outcome::Checked)
        | (AnswerForm::Closed, Outcome::SessionClosed) => Response::Empty,
        (AnswerForm::Multi(forms), Outcome::Multi(outcomes)) => {
            let results = forms.into_iter().zip(outcomes);
            Response::Multi(results.map(multi_result).collect())
        }
        (AnswerForm::Multi(_), Outcome::FailedMulti(results)) => {
            Response::Multi(results.into_iter().map(MultiResult::Error).collect())
        }
        // The transaction is not of this request: the client must not take it for an answer.
        (_, _) => return Err(ErrorCode::SystemError),
    })
}

fn multi_result((form, outcome): (AnswerForm, Outcome)) -> MultiResult {
    match (form, outcome) {
        (AnswerForm::PathAndStat, Outcome::Created(path, stat)) => MultiResult::Create2(path, stat),
        (_, Outcome::Created(path, _)) => MultiResult::Create(path),
        (_, Outcome::Deleted) => MultiResult::Delete,
        (_, Outcome::DataSet(stat) | Outcome::AclSet(stat)) => MultiResult::SetData(stat),
        (_, Outcome::Checked) => MultiResult::Check,
        (
            _,
            Outcome::SessionCreated
            | Outcome::SessionClosed
            | Outcome::Synced
            | Outcome::Multi(_)
            | Outcome::FailedMulti(_),
        ) => MultiResult::Error(Some(ErrorCode::SystemError)),
    }
}
