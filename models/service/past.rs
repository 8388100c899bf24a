//! What the committed transactions have made, step by step: what reads and watch events are held against.

use super::oracle::{Log, Transaction};
use super::world::{Watch, WatchKind};
use keepright::proto::{EventType, Response, WatchEvent};
use keepright::service::leader::NO_TICKET;
use keepright::types::Zxid;
use keepright::znode::{ErrorCode, Lifetime, SessionId, Tree, TreeEvent, TreeEventKind, TxnBody};

use super::script::Op;

/// One committed transaction, and what it made.
pub struct Moment {
    pub zxid: Zxid,
    pub session: SessionId,
    pub cxid: i32,
    pub closes: bool,
    /// Whether it is the resumption of a session that the leader does not know.
    pub refuses: bool,
    pub events: Vec<TreeEvent>,
    pub tree: Tree,
    /// Whether the leader has deleted a znode because nobody used it; and if somebody did, how.
    pub deletion: Option<Result<(), String>>,
}

/// All of them, in order.
pub struct Past(Vec<Moment>);

impl Past {
    pub fn of(log: &Log) -> Self {
        let mut tree = Tree::default();
        let moments = log.committed.iter().map(|entry| {
            let deleted = deletes_unused(entry);
            let deletion = deleted.map(|path| {
                let unused = was_unused(&tree, path, entry.txn.time);
                unused.map_err(|why| {
                    let (epoch, zxid) = (entry.zxid.epoch(), entry.zxid);
                    format!("the leader of epoch {epoch} has deleted {path} in transaction {zxid}, though {why}")
                })
            });
            let events = tree.apply(entry.zxid, &entry.txn).events;
            Moment {
                deletion,
                zxid: entry.zxid,
                session: entry.txn.session,
                cxid: entry.txn.cxid,
                closes: matches!(entry.txn.body, TxnBody::CloseSession { .. }),
                refuses: entry.txn.body == TxnBody::Error(Some(ErrorCode::SessionExpired)),
                events,
                tree: tree.clone(),
            }
        });
        Self(moments.collect())
    }

    /// The tree at a zxid; `None` if nothing that is committed has it.
    pub fn tree(&self, zxid: Zxid) -> Option<&Tree> {
        let moment = self.0.iter().find(|moment| moment.zxid == zxid);
        moment.map(|moment| &moment.tree)
    }

    /// The zxid of a client's request, if it is committed.
    pub fn zxid_of(&self, session: SessionId, cxid: i32) -> Option<Zxid> {
        let own = |moment: &&Moment| moment.session == session && moment.cxid == cxid;
        self.0.iter().find(own).map(|moment| moment.zxid)
    }

    /// Whether a client may be told that a session is over: it is closed, or was refused before it was opened, or is
    /// not one of the ensemble.
    pub fn is_over(&self, session: SessionId) -> bool {
        let has = |moment: &&Moment| moment.tree.sessions().contains_key(&session);
        let ends = |moment: &Moment| moment.closes || moment.refuses && !has(&moment);
        let mut own = self.0.iter().filter(|moment| moment.session == session);
        own.any(ends) || !self.0.iter().any(|moment| has(&moment))
    }

    /// Whether something has happened after `watch.since` and up to `until` that a watch waits for.
    pub fn fires(&self, watch: &Watch, until: Zxid) -> bool {
        let later = |moment: &&Moment| moment.zxid > watch.since && moment.zxid <= until;
        let mut events = self.0.iter().filter(later).flat_map(|m| &m.events);
        events.any(|event| covers(watch, &event.path) && concerns(event.kind, watch.kind))
    }

    /// Whether this has happened.
    pub fn has_happened(&self, event: &WatchEvent) -> bool {
        let at = |moment: &&Moment| moment.zxid == event.zxid;
        let mut events = self.0.iter().filter(at).flat_map(|m| &m.events);
        events.any(|other| other.path == event.path && type_of(other.kind) == event.kind)
    }

    /// Whether the leader has deleted a znode because nobody used it; and each time, how somebody did.
    pub fn deletions(&self) -> impl Iterator<Item = &Result<(), String>> {
        self.0.iter().filter_map(|moment| moment.deletion.as_ref())
    }

    /// What a read is answered by a tree.
    pub fn answer(&self, op: Op, zxid: Zxid) -> Option<Result<Response, ErrorCode>> {
        let tree = self.tree(zxid)?;
        Some(match op {
            Op::Get(path, _) => match tree.node(path) {
                Some(node) => Ok(Response::Data(node.data.clone(), node.stat())),
                None => Err(ErrorCode::NoNode),
            },
            Op::Exists(path, _) => tree.stat(path).map(Response::Stat).ok_or(ErrorCode::NoNode),
            Op::Children(path, _) => tree
                .children(path)
                .map(Response::Children)
                .ok_or(ErrorCode::NoNode),
            Op::Watch(..) => Ok(Response::WatchAdded),
            // That a watch is there is not a matter of the tree.
            Op::Unwatch(..) => return None,
            Op::Create(..)
            | Op::Set(..)
            | Op::Delete(..)
            | Op::Check(..)
            | Op::Sync(_)
            | Op::Multi(_)
            | Op::Close => return None,
        })
    }
}

/// The path of the znode that a transaction deletes because nobody uses it.
pub fn deletes_unused(entry: &Transaction) -> Option<&str> {
    let by_leader = entry.txn.session == SessionId::default() && entry.txn.cxid == NO_TICKET;
    match &entry.txn.body {
        TxnBody::Delete { path } if by_leader => Some(path),
        _ => None,
    }
}

/// Whether nobody uses a znode at a time: a container that had a child and has none, or a znode that was not set
/// for its TTL and has no child. If not, why.
fn was_unused(tree: &Tree, path: &str, time: i64) -> Result<(), String> {
    let node = tree.node(path).ok_or("it was not there")?;
    match node.lifetime() {
        _ if node.num_children > 0 => Err("it had a child".to_owned()),
        Lifetime::Container if node.cversion == 0 => Err("it never had a child".to_owned()),
        Lifetime::Ttl(ttl) if time - node.mtime <= ttl.ms() => {
            Err(format!("it was set {} ms before", time - node.mtime))
        }
        Lifetime::Container | Lifetime::Ttl(_) => Ok(()),
        Lifetime::Persistent | Lifetime::Ephemeral => Err("it was not mortal".to_owned()),
    }
}

/// Whether a watch looks at a path.
pub fn covers(watch: &Watch, path: &str) -> bool {
    let below = path.strip_prefix(watch.path);
    path == watch.path
        || watch.kind == WatchKind::Recursive && below.is_some_and(|rest| rest.starts_with('/'))
}

fn type_of(change: TreeEventKind) -> EventType {
    match change {
        TreeEventKind::Created => EventType::Created,
        TreeEventKind::Deleted => EventType::Deleted,
        TreeEventKind::DataChanged => EventType::DataChanged,
        TreeEventKind::ChildrenChanged => EventType::ChildrenChanged,
    }
}

/// Whether a watch waits for such a change.
fn concerns(change: TreeEventKind, watch: WatchKind) -> bool {
    match watch {
        WatchKind::Data => matches!(
            change,
            TreeEventKind::DataChanged | TreeEventKind::Deleted | TreeEventKind::Created
        ),
        WatchKind::Exist => change == TreeEventKind::Created,
        WatchKind::Persistent => true,
        WatchKind::Recursive => change != TreeEventKind::ChildrenChanged,
        WatchKind::Child => matches!(
            change,
            TreeEventKind::ChildrenChanged | TreeEventKind::Deleted
        ),
    }
}
