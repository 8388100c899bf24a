//! Time in the service: what transactions are stamped with, and how long znodes have gone unchanged.
//!
//! Spec: `spec/5-service.md`, "Time". What it must never do: read a clock; take the stamps of two servers for
//! those of one clock; or say that a znode has gone unchanged for longer than it has.
//!
//! The time of day may be wrong on any server, may jump, and may be corrected. So it is written into
//! transactions, for people to read, and nothing is decided by it. How long a container or a znode with a TTL has gone
//! unchanged each server measures itself, by a clock that nobody sets, from the moment in which it applied
//! the change; so whoever comes to lead knows it. What happened before a server started it knows by the stamps alone: the
//! difference of two stamps of one epoch counts, which one leader has given by one clock, and of two others what is
//! more than a day.
//!
//! Departs from ZooKeeper: D80 in `spec/deviations.toml`.

use crate::persistent::OrdMap;
use crate::types::{Epoch, Zxid};
use crate::znode::{Lifetime, Node, Tree, Txn, TxnBody};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// By how much the clocks of two servers may differ before a stamp of the one misleads the other.
const TOLERANCE_MS: i64 = 24 * 60 * 60 * 1000;

/// What the clocks of the runtime say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Time {
    /// The time of day, in milliseconds since the Unix epoch. It never goes back while a server runs.
    pub stamp_ms: i64,
    /// Milliseconds by a clock that nobody sets, from any beginning.
    pub elapsed_ms: i64,
}

/// What a server knows of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Clock {
    stamp_ms: i64,
    /// The age of this clock. Only differences matter.
    now_ms: i64,
    /// What [`Time::elapsed_ms`] was at last.
    elapsed_ms: Option<i64>,
    /// The last transaction that was on the disk when the server started.
    recovered: Zxid,
    /// The epoch and the stamp of the last of those that was applied.
    replayed: Option<(Epoch, i64)>,
    /// Since when each container and each znode with a TTL is as it is.
    unchanged: OrdMap<Arc<str>, Since>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Since {
    mzxid: Zxid,
    now_ms: i64,
}

impl Clock {
    /// What transactions are stamped with now.
    pub fn stamp_ms(&self) -> i64 {
        self.stamp_ms
    }

    /// A time that only the times of the same server are to be compared with.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Time has passed.
    pub fn on_time(&mut self, time: Time) {
        self.stamp_ms = self.stamp_ms.max(time.stamp_ms);
        let before = self.elapsed_ms.unwrap_or(time.elapsed_ms);
        self.now_ms += time.elapsed_ms.saturating_sub(before).max(0);
        self.elapsed_ms = Some(time.elapsed_ms.max(before));
    }

    /// The server starts with this tree, and has transactions up to `recovered` on its disk. `last` is the transaction that
    /// the tree ends with, if it is known.
    pub fn start(&mut self, tree: &Tree, last: Option<(Zxid, &Txn)>, recovered: Zxid) {
        self.recovered = recovered;
        self.replayed = last.and_then(|(zxid, txn)| stamp(zxid, txn));
        for (path, node) in mortals(tree) {
            let before = match self.replayed {
                Some((epoch, stamp)) if epoch == node.mzxid.epoch() => {
                    stamp.saturating_sub(node.mtime)
                }
                Some((_, stamp)) => stamp.saturating_sub(node.mtime) - TOLERANCE_MS,
                None => 0,
            };
            self.note(path, node, before.max(0));
        }
    }

    /// The tree is replaced by another one.
    pub fn restore(&mut self, tree: &Tree) {
        let before = std::mem::take(&mut self.unchanged);
        for (path, node) in mortals(tree) {
            match before.get(path) {
                Some(since) if since.mzxid == node.mzxid => {
                    self.unchanged.insert(path.into(), *since);
                }
                Some(_) | None => self.note(path, node, 0),
            }
        }
    }

    /// A transaction was applied, which led to this tree.
    pub fn on_applied(&mut self, zxid: Zxid, txn: &Txn, tree: &Tree) {
        if zxid <= self.recovered {
            self.replay(zxid, txn);
        }
        self.follow(&txn.body, tree);
    }

    /// For how long the znode at `path` has gone unchanged, in milliseconds: never more than it has.
    pub fn unchanged_ms(&self, path: &str, node: &Node) -> i64 {
        match self.unchanged.get(path) {
            Some(since) if since.mzxid == node.mzxid => self.now_ms - since.now_ms,
            // It is about to be changed: the transaction is not committed yet.
            Some(_) | None => 0,
        }
    }

    /// The time between two transactions of one leader, when they are applied once more.
    fn replay(&mut self, zxid: Zxid, txn: &Txn) {
        let Some((epoch, stamp)) = stamp(zxid, txn) else {
            return;
        };
        if let Some((before, replayed)) = self.replayed
            && before == epoch
        {
            self.now_ms += stamp.saturating_sub(replayed).max(0);
        }
        self.replayed = Some((epoch, stamp));
    }

    fn follow(&mut self, body: &TxnBody, tree: &Tree) {
        match body {
            TxnBody::Create { path, .. }
            | TxnBody::SetData { path, .. }
            | TxnBody::Delete { path } => {
                let makes_mortal =
                    matches!(body, TxnBody::Create { lifetime, .. } if is_end(*lifetime));
                // Most trees have none, and then a write costs no look-up here.
                if !makes_mortal && self.unchanged.is_empty() {
                    return;
                }
                match tree.node(path).filter(|node| is_end(node.lifetime())) {
                    Some(node) => self.note(path, node, 0),
                    None => drop(self.unchanged.remove(&**path)),
                }
            }
            TxnBody::Multi(bodies) => bodies.iter().for_each(|body| self.follow(body, tree)),
            TxnBody::Reconfigure { .. }
            | TxnBody::InForce
            | TxnBody::SetAcl { .. }
            | TxnBody::Check { .. }
            | TxnBody::CreateSession { .. }
            | TxnBody::CloseSession { .. }
            | TxnBody::Error(_)
            | TxnBody::FailedMulti(_) => {}
        }
    }

    fn note(&mut self, path: &str, node: &Node, before_ms: i64) {
        let since = Since {
            mzxid: node.mzxid,
            now_ms: self.now_ms - before_ms,
        };
        self.unchanged.insert(path.into(), since);
    }
}

/// The epoch and the time of a transaction; those that no client has asked for may have none.
fn stamp(zxid: Zxid, txn: &Txn) -> Option<(Epoch, i64)> {
    (txn.time > 0).then_some((zxid.epoch(), txn.time))
}

fn mortals(tree: &Tree) -> impl Iterator<Item = (&str, &Node)> {
    tree.mortals()
        .filter_map(|path| Some((path, tree.node(path)?)))
}

/// Whether such a znode ends by itself.
fn is_end(lifetime: Lifetime) -> bool {
    matches!(lifetime, Lifetime::Container | Lifetime::Ttl(_))
}
