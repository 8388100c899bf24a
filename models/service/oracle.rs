//! The replication beneath the service, as an oracle: whatever Zab may do, and nothing else.
//!
//! Spec: `spec/5-service.md`, "What is checked of it". The model `zab` proves of the protocol what is
//! assumed here: committed transactions are one sequence that survives; one leader an epoch, which
//! holds everything committed and possibly some of what was proposed before; everybody else lags by any
//! amount. What it must never do: promise the service more than that.

use keepright::persistent::Vector;
use keepright::service::ZooKeeper;
use keepright::service::reconfig::Ensemble;
use keepright::service::replication::Replication;
use keepright::types::{Epoch, ServerId, Zxid};
use keepright::zab::{Entry, History, Snapshot};
use keepright::znode::{Tree, Txn};

/// A transaction with its zxid.
pub type Transaction = Entry<Txn>;

/// What the whole ensemble has agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    /// Everything that is committed, in order.
    pub committed: Vector<Transaction>,
    /// What the latest leader has proposed since; what survives of it, the next leader says.
    pub in_flight: Vector<Transaction>,
    /// The latest epoch.
    pub epoch: Epoch,
    /// Its leader; `None` once it has crashed.
    pub leader: Option<ServerId>,
    /// Where the initial history of the epoch ends: who follows in it has everything up to here.
    pub initial: Zxid,
}

impl Log {
    pub fn last(&self) -> Zxid {
        self.committed.last().map_or(Zxid::ZERO, |entry| entry.zxid)
    }

    /// The committed transaction after `zxid`.
    pub fn next_after(&self, zxid: Zxid) -> Option<&Transaction> {
        self.committed.iter().find(|entry| entry.zxid > zxid)
    }
}

/// What a server believes of its place in the ensemble. It may be out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    Looking,
    Following(ServerId),
    Leading,
}

/// One server's part of the replicated history. What a follower holds beyond what it knows to be
/// committed is left out: its service never sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Copy {
    pub history: History<ZooKeeper>,
    pub committed: Zxid,
    pub epoch: Epoch,
    pub standing: Standing,
}

impl Copy {
    /// Takes over the committed history up to `end`, with what the own snapshot does not hold.
    pub fn take_over(&mut self, log: &Log, end: Zxid) {
        let end = end.max(self.committed);
        let start = self.history.start();
        let entries = log.committed.iter();
        let entries = entries.filter(|entry| entry.zxid > start && entry.zxid <= end);
        let snapshot = self.history.snapshot().clone();
        self.history = History::from_parts(start, entries.cloned().collect(), snapshot)
            .expect("what is committed survives, so the snapshot is of this history");
        self.committed = end;
    }
}

/// One server's view of the oracle, while its service takes a step.
pub struct Below<'a> {
    pub me: ServerId,
    pub copy: &'a mut Copy,
}

impl Replication for Below<'_> {
    fn committed(&self) -> Zxid {
        self.copy.committed
    }

    fn leader(&self) -> Option<ServerId> {
        match self.copy.standing {
            Standing::Looking => None,
            Standing::Following(leader) => Some(leader),
            Standing::Leading => Some(self.me),
        }
    }

    fn epoch(&self) -> Epoch {
        self.copy.epoch
    }

    fn history(&self) -> &History<ZooKeeper> {
        &self.copy.history
    }

    fn next_zxid(&self) -> Option<Zxid> {
        let last = self.copy.history.last_zxid();
        let counter = match last.epoch() == self.copy.epoch {
            true => last.counter(),
            false => 0,
        };
        let leads = self.copy.standing == Standing::Leading;
        leads.then(|| Zxid::new(self.copy.epoch, counter + 1))
    }

    /// No scenario replaces members: what that takes is checked in the models of the protocol.
    fn ensemble(&self) -> Ensemble {
        Ensemble::default()
    }

    fn propose(&mut self, txn: Txn) {
        if let Some(zxid) = self.next_zxid() {
            self.copy.history.append(zxid, txn);
        }
    }

    fn compact(&mut self, snapshot: Snapshot<Tree>) {
        let keep_after = snapshot.zxid;
        self.copy.history.compact(snapshot, 0, keep_after);
    }
}
