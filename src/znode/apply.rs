//! What transactions do to the tree.
//!
//! Spec: `spec/5-service.md`, "Transactions". What it must never do: panic on a transaction that cannot be
//! (the leader has validated every one, but a log may come from anywhere); or look at anything but the
//! tree and the transaction.
//!
//! One kind of tree is not that of any transaction: ZooKeeper writes a snapshot while transactions go on,
//! so it holds some of the effects of those after it. They are applied to it once more, and what they
//! find done must come to the same: "blurred snapshot" below.

use super::node::Node;
use super::quota::Growth;
use super::tree::CONFIG;
use super::{AclList, Data, ErrorCode, SessionId, Stat, Tree, Txn, TxnBody, acl, path};
use crate::types::Zxid;

/// What came of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Applied {
    /// What the client is answered. `Err` for a request that failed when it was prepared: nothing has
    /// changed but the last zxid. And for a transaction that cannot be.
    pub outcome: Result<Outcome, ErrorCode>,
    /// What changed, in the order in which watches fire.
    pub events: Vec<TreeEvent>,
}

/// The success of a transaction, with what an answer needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The path of the new znode, and its stat.
    Created(String, Stat),
    Deleted,
    DataSet(Stat),
    /// The members as they are shown now.
    Reconfigured(Data, Stat),
    InForce,
    AclSet(Stat),
    Checked,
    SessionCreated,
    SessionClosed,
    /// A `sync` took its place in the order.
    Synced,
    /// Each operation's own outcome.
    Multi(Vec<Outcome>),
    /// Nothing changed: `None` for the operations before the one that failed, its error, and
    /// `RuntimeInconsistency` for those after it.
    FailedMulti(Vec<Option<ErrorCode>>),
}

/// A change that fires watches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TreeEvent {
    pub kind: TreeEventKind,
    pub path: String,
    /// Who may know of it: those who may read the znode.
    pub acl: AclList,
}

/// Which watches a [`TreeEvent`] fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TreeEventKind {
    /// Data (exists) watches of the path.
    Created,
    /// Data watches and child watches of the path.
    Deleted,
    /// Data watches of the path.
    DataChanged,
    /// Child watches of the path.
    ChildrenChanged,
}

/// The fields of a transaction that all its operations share.
#[derive(Clone, Copy)]
struct Header {
    zxid: Zxid,
    session: SessionId,
    time: i64,
}

impl Tree {
    /// Applies one transaction; the zxid must be above [`Self::last_zxid`].
    pub fn apply(&mut self, zxid: Zxid, txn: &Txn) -> Applied {
        let header = Header {
            zxid,
            session: txn.session,
            time: txn.time,
        };
        let mut events = Vec::new();
        let outcome = self.apply_body(header, &txn.body, &mut events);
        self.last_zxid = self.last_zxid.max(zxid);
        Applied { outcome, events }
    }

    fn apply_body(
        &mut self,
        header: Header,
        body: &TxnBody,
        events: &mut Vec<TreeEvent>,
    ) -> Result<Outcome, ErrorCode> {
        match body {
            TxnBody::Create {
                path,
                data,
                acl,
                lifetime,
                parent_cversion,
            } => {
                let owner = lifetime.owner(header.session);
                let node = Node::new(header.zxid, header.time, data.clone(), acl.clone(), owner);
                self.create(path, node, *parent_cversion, events)
            }
            TxnBody::Delete { path } => {
                self.delete(header.zxid, path, events)?;
                Ok(Outcome::Deleted)
            }
            TxnBody::SetData {
                path,
                data,
                version,
            } => self.set_data(header, path, data, *version, events),
            TxnBody::Reconfigure { data } => {
                // The version of the list is in the list. That of the znode is never any other in ZooKeeper.
                self.set_data(header, CONFIG, data, -1, events)?;
                let stat = self.stat(CONFIG).ok_or(ErrorCode::NoNode)?;
                Ok(Outcome::Reconfigured(data.clone(), stat))
            }
            TxnBody::InForce => Ok(Outcome::InForce),
            TxnBody::SetAcl { path, acl, version } => self.set_acl(path, acl, *version),
            TxnBody::Check { path, .. } => match self.contains(path) {
                true => Ok(Outcome::Checked),
                false => Err(ErrorCode::NoNode),
            },
            TxnBody::CreateSession { timeout_ms } => {
                self.sessions.insert(header.session, *timeout_ms);
                Ok(Outcome::SessionCreated)
            }
            TxnBody::CloseSession { ephemerals } => {
                self.close_session(header, ephemerals, events);
                Ok(Outcome::SessionClosed)
            }
            TxnBody::Error(None) => Ok(Outcome::Synced),
            TxnBody::Error(Some(error)) => Err(*error),
            TxnBody::Multi(bodies) => self.multi(header, bodies, events),
            TxnBody::FailedMulti(results) => Ok(Outcome::FailedMulti(results.clone())),
        }
    }

    fn create(
        &mut self,
        path: &str,
        node: Node,
        parent_cversion: i32,
        events: &mut Vec<TreeEvent>,
    ) -> Result<Outcome, ErrorCode> {
        let above = path::parent(path).ok_or(ErrorCode::BadArguments)?;
        if path::basename(path).is_empty() {
            return Err(ErrorCode::BadArguments);
        }
        if let Some(there) = self.node(path) {
            // A blurred snapshot has the parent from before its child, and may lack the child's ACL.
            if there.acl == acl::nobody() {
                self.replace_acl(path, node.acl);
            }
            self.count_child(above, parent_cversion, node.czxid);
            return Err(ErrorCode::NodeExists);
        }
        let parent = self.node(above).ok_or(ErrorCode::NoNode)?;
        if parent.is_ephemeral() {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let (zxid, stat) = (node.czxid, node.stat());
        let (acl, acl_above) = (node.acl.clone(), parent.acl.clone());
        let bytes = node.data.len() as i64;
        self.insert(path, node);
        self.begin_count(path);
        self.count_growth(path, Growth { count: 1, bytes });
        self.count_child(above, parent_cversion, zxid);
        events.push(event(TreeEventKind::Created, path, acl));
        events.push(event(TreeEventKind::ChildrenChanged, above, acl_above));
        Ok(Outcome::Created(path.to_owned(), stat))
    }

    /// Counts a child that was created at `zxid`. -1 is what logs of old servers hold, which did not write
    /// the number.
    fn count_child(&mut self, parent: &str, parent_cversion: i32, zxid: Zxid) {
        self.edit(parent, |parent| {
            let cversion = match parent_cversion {
                -1 => parent.cversion.wrapping_add(1),
                given => given,
            };
            if cversion > parent.cversion {
                parent.cversion = cversion;
                parent.pzxid = zxid;
            }
        });
    }

    fn delete(
        &mut self,
        zxid: Zxid,
        path: &str,
        events: &mut Vec<TreeEvent>,
    ) -> Result<(), ErrorCode> {
        let above = path::parent(path).ok_or(ErrorCode::BadArguments)?;
        let Some(node) = self.node(path) else {
            // A blurred snapshot may lack the child, and have the parent from before that.
            self.edit(above, |parent| parent.pzxid = parent.pzxid.max(zxid));
            return Err(ErrorCode::NoNode);
        };
        if node.num_children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        events.push(event(TreeEventKind::Deleted, path, node.acl.clone()));
        let bytes = -(node.data.len() as i64);
        self.remove(path);
        self.count_growth(path, Growth { count: -1, bytes });
        let acl = self.edit(above, |parent| {
            parent.pzxid = parent.pzxid.max(zxid);
            parent.acl.clone()
        });
        if let Some(acl) = acl {
            events.push(event(TreeEventKind::ChildrenChanged, above, acl));
        }
        Ok(())
    }

    fn set_data(
        &mut self,
        header: Header,
        path: &str,
        data: &Data,
        version: i32,
        events: &mut Vec<TreeEvent>,
    ) -> Result<Outcome, ErrorCode> {
        let edited = self.edit(path, |node| {
            let before = std::mem::replace(&mut node.data, data.clone());
            node.mzxid = header.zxid;
            node.mtime = header.time;
            node.version = version;
            (before.len(), node.stat(), node.acl.clone())
        });
        let (before, stat, acl) = edited.ok_or(ErrorCode::NoNode)?;
        let bytes = self.count_data(before, data.len());
        events.push(event(TreeEventKind::DataChanged, path, acl));
        self.count_growth(path, Growth { count: 0, bytes });
        Ok(Outcome::DataSet(stat))
    }

    fn set_acl(&mut self, path: &str, acl: &AclList, version: i32) -> Result<Outcome, ErrorCode> {
        self.replace_acl(path, acl.clone());
        let stat = self.edit(path, |node| {
            node.aversion = version;
            node.stat()
        });
        Ok(Outcome::AclSet(stat.ok_or(ErrorCode::NoNode)?))
    }

    /// Ends a session. The ephemerals that the leader listed go first, in its order; then any that
    /// it did not list, as with logs of old servers, which listed none.
    fn close_session(&mut self, header: Header, listed: &[String], events: &mut Vec<TreeEvent>) {
        self.sessions.remove(&header.session);
        let is_own = |tree: &Self, path: &str| {
            tree.node(path)
                .is_some_and(|node| node.is_ephemeral() && node.ephemeral_owner == header.session)
        };
        for path in listed.iter().chain(&self.ephemerals(header.session)) {
            if is_own(self, path) {
                // It is there and an ephemeral has no children, so this cannot fail.
                let _ = self.delete(header.zxid, path, events);
            }
        }
    }

    /// Applies the operations. The leader has found that all of them can be; where one cannot, the tree comes
    /// from a blurred snapshot, which has that effect already. The others it may lack.
    fn multi(
        &mut self,
        header: Header,
        bodies: &[TxnBody],
        events: &mut Vec<TreeEvent>,
    ) -> Result<Outcome, ErrorCode> {
        let mut outcomes = Vec::with_capacity(bodies.len());
        let mut first_error = None;
        for body in bodies {
            match self.apply_body(header, body, events) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        first_error.map_or(Ok(Outcome::Multi(outcomes)), Err)
    }
}

fn event(kind: TreeEventKind, path: &str, acl: AclList) -> TreeEvent {
    TreeEvent {
        kind,
        path: path.to_owned(),
        acl,
    }
}
