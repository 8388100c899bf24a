//! The answers: to reads, from the tree; to writes, from what came of their transaction.
//!
//! Spec: `spec/5-service.md`, "Reads". What it must never do: change the tree, or set a watch for a
//! request that failed (but exists, whose failure is an answer).

use super::variant::Variant;
use super::watch::{NO_ZXID, WatchKind, Watches};
use super::write::{AnswerForm, Read};
use crate::proto::{ClientInfo, EventType, MultiResult, Response, SetWatches, WatchEvent};
use crate::types::Zxid;
use crate::znode::{Acl, AuthId, ErrorCode, Outcome, Perms, SessionId, Tree, acl};
use stateright::actor::Id;

/// The answer to a read, and the events that must be told before it.
pub struct ReadAnswer {
    pub result: Result<Response, ErrorCode>,
    pub events: Vec<WatchEvent>,
}

/// Who reads, and of which tree.
pub struct Reader<'a> {
    pub tree: &'a Tree,
    pub watches: &'a mut Watches,
    pub connection: Id,
    pub session: SessionId,
    pub auth: &'a [AuthId],
    pub variant: Variant,
}

impl Reader<'_> {
    /// Answers a read from the tree, and sets the watch that it asks for.
    pub fn read(&mut self, request: Read) -> ReadAnswer {
        let mut events = Vec::new();
        let result = match request {
            Read::Exists { path, watch } => self.exists(&path, watch),
            Read::GetData { path, watch } => {
                let result = get_data(self.tree, self.auth, &path);
                self.watch_if(watch && result.is_ok(), WatchKind::Data, &path);
                result
            }
            Read::GetChildren {
                path,
                watch,
                with_stat,
            } => {
                let result = get_children(self.tree, self.auth, &path, with_stat);
                self.watch_if(watch && result.is_ok(), WatchKind::Children, &path);
                result
            }
            Read::GetAcl { path } => get_acl(self.tree, self.auth, &path),
            Read::Multi(reads) => {
                let results = reads.into_iter().map(|read| part(self.read(read).result));
                Ok(Response::Multi(results.collect()))
            }
            Read::Ephemerals { prefix } => Ok(Response::Ephemerals(self.ephemerals(&prefix))),
            Read::Descendants { path } => descendants(self.tree, self.auth, &path),
            Read::WhoAmI => Ok(Response::WhoAmI(
                self.auth.iter().map(client_info).collect(),
            )),
            Read::AddWatch { path, kind } => {
                self.watches.add(kind, &path, self.connection);
                Ok(Response::WatchAdded)
            }
            Read::CheckWatches { path, kinds } => {
                let (watches, connection) = (&self.watches, self.connection);
                let mut kinds = kinds.iter();
                watched(kinds.any(|kind| watches.has(*kind, &path, connection)))
            }
            Read::RemoveWatches { path, kinds } => {
                let remove =
                    |kind: &&WatchKind| self.watches.remove(**kind, &path, self.connection);
                watched(kinds.iter().filter(remove).count() > 0)
            }
            Read::SetWatches(watches) => {
                self.set_watches(watches, &mut events);
                Ok(Response::Empty)
            }
            Read::Ping | Read::EndLocal => Ok(Response::Empty),
            Read::Proved(response) => Ok(response),
            Read::Refused(error) => Err(error),
        };
        ReadAnswer { result, events }
    }

    fn watch_if(&mut self, wanted: bool, kind: WatchKind, path: &str) {
        if wanted {
            self.watches.add(kind, path, self.connection);
        }
    }

    /// The watch is set where there is no znode as well: it waits for one.
    fn exists(&mut self, path: &str, watch: bool) -> Result<Response, ErrorCode> {
        if path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        let node = self.tree.node(path);
        if let Some(node) = node {
            permit(&node.acl, Perms::READ, self.auth)?;
        }
        self.watch_if(watch, WatchKind::Data, path);
        let stat = node.map(|node| Response::Stat(node.stat()));
        stat.ok_or(ErrorCode::NoNode)
    }

    fn ephemerals(&self, prefix: &str) -> Vec<String> {
        let all = self.tree.ephemerals(self.session).into_iter();
        match prefix.trim() {
            "" | "/" => all.collect(),
            _ => all.filter(|path| path.starts_with(prefix)).collect(),
        }
    }

    /// Tells what the client has missed, and sets the other watches. Of what persistent watches have
    /// missed nobody is told.
    fn set_watches(&mut self, asked: SetWatches, events: &mut Vec<WatchEvent>) {
        let mut found = Found {
            tree: self.tree,
            watches: self.watches,
            connection: self.connection,
            seen: asked.relative_zxid,
            events,
        };
        asked.data.into_iter().for_each(|path| found.data(path));
        asked.exists.into_iter().for_each(|path| found.exists(path));
        let children = asked.children.into_iter();
        children.for_each(|path| found.children(path));
        if self.variant == Variant::PersistentNotSetAgain {
            return;
        }
        for path in &asked.persistent {
            self.watches
                .add(WatchKind::Persistent, path, self.connection);
        }
        for path in &asked.recursive {
            self.watches
                .add(WatchKind::Recursive, path, self.connection);
        }
    }
}

/// The answer of checkWatches and removeWatches.
fn watched(is_there: bool) -> Result<Response, ErrorCode> {
    match is_there {
        true => Ok(Response::Empty),
        false => Err(ErrorCode::NoWatcher),
    }
}

/// The answer to a read inside a multiRead.
fn part(result: Result<Response, ErrorCode>) -> MultiResult {
    match result {
        Ok(Response::Data(data, stat)) => MultiResult::Data(data, stat),
        Ok(Response::Children(names)) => MultiResult::Children(names),
        Err(error) => MultiResult::Error(Some(error)),
        // Nothing else stands in a multiRead.
        Ok(_) => MultiResult::Error(Some(ErrorCode::SystemError)),
    }
}

/// An identity as whoAmI shows it: of name and password only the name.
fn client_info(id: &AuthId) -> ClientInfo {
    let user = match id.scheme.as_str() {
        "digest" => id.id.split(':').next().unwrap_or_default(),
        _ => &id.id,
    };
    ClientInfo {
        scheme: id.scheme.clone(),
        user: user.to_owned(),
    }
}

fn descendants(tree: &Tree, auth: &[AuthId], path: &str) -> Result<Response, ErrorCode> {
    let node = tree.node(path).ok_or(ErrorCode::NoNode)?;
    permit(&node.acl, Perms::READ, auth)?;
    let count = tree.descendants(path).ok_or(ErrorCode::NoNode)?;
    Ok(Response::Count(i32::try_from(count).unwrap_or(i32::MAX)))
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
    /// Zxids are signed in the protocol: a client that has seen nothing may count from -1.
    fn is_news(&self, zxid: Zxid) -> bool {
        zxid.0 as i64 > self.seen.0 as i64
    }

    fn data(&mut self, path: String) {
        match self.tree.node(&path) {
            None => self.event(EventType::Deleted, path),
            Some(node) if self.is_news(node.mzxid) => self.event(EventType::DataChanged, path),
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
            Some(node) if self.is_news(node.pzxid) => self.event(EventType::ChildrenChanged, path),
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
        (AnswerForm::Members, Outcome::Reconfigured(data, stat)) => Response::Data(data, stat),
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
            | Outcome::Reconfigured(..)
            | Outcome::InForce
            | Outcome::Multi(_)
            | Outcome::FailedMulti(_),
        ) => MultiResult::Error(Some(ErrorCode::SystemError)),
    }
}
