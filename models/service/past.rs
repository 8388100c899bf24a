//! What the committed transactions have made, step by step: what reads and watch events are held against.

use super::oracle::Log;
use super::world::{Watch, WatchKind};
use keepright::proto::Response;
use keepright::types::Zxid;
use keepright::znode::{ErrorCode, SessionId, Tree, TreeEvent, TreeEventKind, TxnBody};

use super::script::Op;

/// One committed transaction, and what it made.
pub struct Moment {
    pub zxid: Zxid,
    pub session: SessionId,
    pub cxid: i32,
    pub closes: bool,
    pub events: Vec<TreeEvent>,
    pub tree: Tree,
}

/// All of them, in order.
pub struct Past(Vec<Moment>);

impl Past {
    pub fn of(log: &Log) -> Self {
        let mut tree = Tree::default();
        let moments = log.committed.iter().map(|entry| {
            let events = tree.apply(entry.zxid, &entry.txn).events;
            Moment {
                zxid: entry.zxid,
                session: entry.txn.session,
                cxid: entry.txn.cxid,
                closes: matches!(entry.txn.body, TxnBody::CloseSession { .. }),
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

    /// Whether a session is over.
    pub fn is_closed(&self, session: SessionId) -> bool {
        let mut moments = self.0.iter();
        moments.any(|moment| moment.session == session && moment.closes)
    }

    /// Whether something has happened after `watch.since` and up to `until` that a watch waits for.
    pub fn fires(&self, watch: &Watch, until: Zxid) -> bool {
        let later = |moment: &&Moment| moment.zxid > watch.since && moment.zxid <= until;
        let mut events = self.0.iter().filter(later).flat_map(|m| &m.events);
        events.any(|event| event.path == watch.path && concerns(event.kind, watch.kind))
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

/// Whether a watch waits for such a change.
fn concerns(change: TreeEventKind, watch: WatchKind) -> bool {
    match watch {
        WatchKind::Data => matches!(
            change,
            TreeEventKind::DataChanged | TreeEventKind::Deleted | TreeEventKind::Created
        ),
        WatchKind::Exist => change == TreeEventKind::Created,
        WatchKind::Child => matches!(
            change,
            TreeEventKind::ChildrenChanged | TreeEventKind::Deleted
        ),
    }
}
