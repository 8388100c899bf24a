//! What a server keeps: its epochs and its history of transactions.
//!
//! Spec: `spec/0-assumptions.md`, "Durable state". What it must never do: hold two transactions out
//! of zxid order, or forget a transaction that is not covered by the snapshot.
//!
//! Departs from ZooKeeper: D08 in `spec/deviations.toml`.

use super::lineage::{Line, Lineage};
use super::membership::{Change, Course};
use crate::persistent::Vector;
use crate::quorum::Membership;
use crate::types::{Epoch, EpochName, ServerId, Zxid};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::hash::Hash;

/// What the protocol replicates. Zab looks inside neither type, but for who votes.
pub trait Payload: Clone + Debug + PartialEq + Eq + Hash + 'static {
    /// One transaction.
    type Txn: Clone + Debug + PartialEq + Eq + Hash;
    /// The state that a prefix of the transactions adds up to. `Default` is the state before the
    /// first transaction. Cloning must be cheap: use persistent collections.
    type Snapshot: Clone + Debug + Default + PartialEq + Eq + Hash;

    /// What a transaction does to the membership, if anything.
    fn change(_: &Self::Txn) -> Option<Change> {
        None
    }

    /// The transaction that is [`Change::InForce`], if memberships are ever replaced.
    fn in_force() -> Option<Self::Txn> {
        None
    }

    /// A transaction that changes nothing, if there is one: what a leader proposes to learn that it still leads.
    fn nothing() -> Option<Self::Txn> {
        None
    }

    /// The membership that is in force in a state, if the state tells.
    fn membership(_: &Self::Snapshot) -> Option<Membership> {
        None
    }
}

/// A transaction in a history.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry<T> {
    pub zxid: Zxid,
    pub txn: T,
}

/// The state of the service at one point of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Snapshot<S> {
    /// The last transaction that the state includes.
    pub zxid: Zxid,
    pub state: S,
}

/// A snapshot and the transactions around it.
///
/// `entries` holds every transaction after `start`, in order. The snapshot lies at or after `start`,
/// so some entries may be before it: they are kept to bring a learner up to date without sending a
/// whole snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(
    serialize = "P::Txn: Serialize, P::Snapshot: Serialize",
    deserialize = "P::Txn: Deserialize<'de>, P::Snapshot: Deserialize<'de>"
))]
pub struct History<P: Payload> {
    start: Zxid,
    entries: Vector<Entry<P::Txn>>,
    snapshot: Snapshot<P::Snapshot>,
    /// What all this says of memberships: it follows from the rest.
    pub(super) course: Option<Box<Course>>,
}

impl<P: Payload> Default for History<P> {
    fn default() -> Self {
        Self::from_snapshot(Snapshot {
            zxid: Zxid::ZERO,
            state: P::Snapshot::default(),
        })
    }
}

impl<P: Payload> History<P> {
    /// The history that consists of everything that `snapshot` includes.
    pub fn from_snapshot(snapshot: Snapshot<P::Snapshot>) -> Self {
        Self {
            start: snapshot.zxid,
            entries: Vector::new(),
            course: Course::of::<P>(&snapshot.state, std::iter::empty()),
            snapshot,
        }
    }

    /// A history of `entries` after `start` around a snapshot: what recovery from disk builds.
    ///
    /// Returns `None` if the entries are not in strictly increasing order after `start`, or the
    /// snapshot is not one of `start` and the entries' zxids.
    pub fn from_parts(
        start: Zxid,
        entries: Vector<Entry<P::Txn>>,
        snapshot: Snapshot<P::Snapshot>,
    ) -> Option<Self> {
        let ordered = entries
            .iter()
            .try_fold(start, |previous, entry| {
                (entry.zxid > previous).then_some(entry.zxid)
            })
            .is_some();
        let later = entries.iter().filter(|entry| entry.zxid > snapshot.zxid);
        let history = Self {
            start,
            course: Course::of::<P>(&snapshot.state, later),
            entries,
            snapshot,
        };
        (ordered && history.contains(history.snapshot.zxid)).then_some(history)
    }

    /// The zxid of the last transaction; [`Zxid::ZERO`] if there is none.
    pub fn last_zxid(&self) -> Zxid {
        self.entries.last().map_or(self.start, |entry| entry.zxid)
    }

    /// The zxid before the first entry: what lies at or before it is only in the snapshot.
    pub fn start(&self) -> Zxid {
        self.start
    }

    /// The transactions after [`Self::start`], in order.
    pub fn entries(&self) -> &Vector<Entry<P::Txn>> {
        &self.entries
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> &Snapshot<P::Snapshot> {
        &self.snapshot
    }

    /// Whether `zxid` is the start or the zxid of an entry.
    pub fn contains(&self, zxid: Zxid) -> bool {
        zxid == self.start || self.entries.binary_search_by_key(&zxid, |e| e.zxid).is_ok()
    }

    /// Whether everything up to `zxid` is here, be it as entries or in the snapshot.
    pub fn covers(&self, zxid: Zxid) -> bool {
        self.floor(zxid).is_none_or(|floor| floor == zxid)
    }

    /// The largest zxid at or before `zxid` in this history, or `None` if that lies before the start.
    pub fn floor(&self, zxid: Zxid) -> Option<Zxid> {
        match self.index_after(zxid) {
            0 => (zxid >= self.start).then_some(self.start),
            count => Some(self.entries[count - 1].zxid),
        }
    }

    /// The transactions with a zxid above `zxid`, in order. Finds the first one without a walk.
    pub fn after(&self, zxid: Zxid) -> impl Iterator<Item = &Entry<P::Txn>> {
        self.entries
            .focus()
            .narrow(self.index_after(zxid)..)
            .into_iter()
    }

    /// Adds a transaction at the end.
    ///
    /// # Panics
    /// If `zxid` is not above the last one: the callers compare first.
    pub fn append(&mut self, zxid: Zxid, txn: P::Txn) {
        assert!(
            zxid > self.last_zxid(),
            "{zxid} appended after {}",
            self.last_zxid()
        );
        if let Some(change) = P::change(&txn) {
            Course::push(&mut self.course, zxid, change);
        }
        self.entries.push_back(Entry { zxid, txn });
    }

    /// What [`Variant::StaleProposalAccepted`](super::Variant) and
    /// [`Variant::ProposalTwice`](super::Variant) do to a history. Never called by the protocol as it
    /// should be.
    pub(super) fn append_out_of_order(&mut self, entry: Entry<P::Txn>) {
        self.entries.push_back(entry);
    }

    /// The same with an empty snapshot, for the variants that write a snapshot in parts. Never called
    /// by the protocol as it should be.
    pub(super) fn without_content(&self) -> Self {
        let mut result = self.clone();
        result.snapshot.state = P::Snapshot::default();
        result
    }

    /// Removes every transaction with a zxid above `zxid`.
    ///
    /// # Panics
    /// If `zxid` lies before the snapshot: a snapshot holds only what is committed.
    pub fn truncate(&mut self, zxid: Zxid) {
        assert!(
            zxid >= self.snapshot.zxid,
            "truncating to {zxid}, before the snapshot"
        );
        self.entries.truncate(self.index_after(zxid));
        Course::truncate(&mut self.course, zxid);
    }

    /// Replaces the snapshot by a newer one of this history and drops the entries before it, but for
    /// the last `retain` of them and for all after `keep_after`.
    ///
    /// # Panics
    /// If the snapshot's zxid is not in this history.
    pub fn compact(&mut self, snapshot: Snapshot<P::Snapshot>, retain: usize, keep_after: Zxid) {
        assert!(
            self.contains(snapshot.zxid),
            "a snapshot at {} is not of this history",
            snapshot.zxid
        );
        let unneeded = self.index_after(snapshot.zxid).saturating_sub(retain);
        let drop = unneeded.min(self.index_after(keep_after));
        if drop > 0 {
            self.start = self.entries[drop - 1].zxid;
            self.entries = self.entries.skip(drop);
        }
        self.snapshot = snapshot;
        self.course = Course::of::<P>(&self.snapshot.state, self.after(self.snapshot.zxid));
    }

    /// How many entries have a zxid at or below `zxid`: the index of the first one after it.
    fn index_after(&self, zxid: Zxid) -> usize {
        match self.entries.binary_search_by_key(&zxid, |e| e.zxid) {
            Ok(index) => index + 1,
            Err(index) => index,
        }
    }
}

/// One step from one history to another (ZooKeeper's DIFF, TRUNC and SNAP).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(
    serialize = "P::Txn: Serialize, P::Snapshot: Serialize",
    deserialize = "P::Txn: Deserialize<'de>, P::Snapshot: Deserialize<'de>"
))]
pub enum Difference<P: Payload> {
    /// Add these, if your history ends at `after`.
    Diff {
        after: Zxid,
        entries: Vec<Entry<P::Txn>>,
    },
    /// If your history ends at `from`, remove what comes after `to`. Where `to` itself is missing,
    /// remove what comes after the last one before it, and say where you stand.
    Trunc { from: Zxid, to: Zxid },
    /// Replace everything.
    Snap {
        snapshot: Snapshot<P::Snapshot>,
        entries: Vec<Entry<P::Txn>>,
    },
}

impl<P: Payload> History<P> {
    /// The step that a history ending at `last` needs towards this one up to `end`; `None` if there
    /// is nothing to do, because `last` is `end` or comes after it in this very history.
    ///
    /// Relies on this: a history is identified by its last zxid.
    pub fn difference(&self, last: Zxid, end: Zxid) -> Option<Difference<P>> {
        let up_to_end = |after| -> Vec<_> {
            self.after(after)
                .take_while(|entry| entry.zxid <= end)
                .cloned()
                .collect()
        };
        if self.contains(last) {
            (last < end).then(|| Difference::Diff {
                after: last,
                entries: up_to_end(last),
            })
        } else if let Some(to) = self.floor(last) {
            Some(Difference::Trunc { from: last, to })
        } else {
            let snapshot = self.snapshot.clone();
            Some(Difference::Snap {
                entries: up_to_end(snapshot.zxid),
                snapshot,
            })
        }
    }

    /// Everything, for a history that has nothing in common with this one that it could name.
    pub fn whole(&self) -> Difference<P> {
        Difference::Snap {
            snapshot: self.snapshot.clone(),
            entries: self.after(self.snapshot.zxid).cloned().collect(),
        }
    }

    /// This history after the step, or `None` if the step does not apply to it: entries that do not
    /// follow the last one, or are out of order, or a cut before the snapshot. Everything up to
    /// `committed` stays.
    pub fn apply(&self, step: &Difference<P>, committed: Zxid) -> Option<Self> {
        let mut result = self.clone();
        let entries = match step {
            Difference::Diff { after, entries } => {
                if *after != self.last_zxid() {
                    return None;
                }
                entries
            }
            Difference::Trunc { from, to } => {
                if *from != self.last_zxid() {
                    return None;
                }
                let floor = self.floor(*to).filter(|zxid| *zxid >= self.snapshot.zxid)?;
                result.truncate(floor);
                &Vec::new()
            }
            Difference::Snap { snapshot, entries } => {
                result = Self::from_snapshot(snapshot.clone());
                entries
            }
        };
        for Entry { zxid, txn } in entries {
            if *zxid <= result.last_zxid() {
                return None;
            }
            result.append(*zxid, txn.clone());
        }
        (result.last_zxid() >= committed).then_some(result)
    }
}

/// The durable state of a server: what survives a crash.
///
/// Cloning is O(1), so the runtime keeps the previous value and finds what changed by comparing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(
    serialize = "P::Txn: Serialize, P::Snapshot: Serialize",
    deserialize = "P::Txn: Deserialize<'de>, P::Snapshot: Deserialize<'de>"
))]
pub struct Storage<P: Payload> {
    /// The highest epoch that this server has promised to a leader (the paper's `f.p`).
    pub accepted_epoch: Epoch,
    /// The epoch of the last leader whose history this server has taken over (the paper's `f.a`).
    pub current_epoch: Epoch,
    /// The transactions (the paper's `h.f`).
    pub history: History<P>,
    /// The epochs that the history consists of, and the current one.
    pub lineage: Lineage,
    /// Whether the disk holds all that this server has ever promised.
    pub memory: Memory,
    /// What the runtime drew when the server started; the epochs that it begins are named by it. It is not stored. 0: they have no
    /// names.
    pub draw: u64,
}

/// Whether a disk holds all that its server has ever promised and acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Memory {
    /// It does, and an epoch was established since it was new.
    #[default]
    Kept,
    /// It was empty, and nobody knows whether it always was. It counts where nobody has any data. Once it has been in an
    /// epoch from the beginning it remembers, but does not know that anything came of that.
    New,
    /// It was empty when others had data: it counts nowhere until a leader has said so.
    Forgot,
}

impl<P: Payload> Storage<P> {
    /// The name of an epoch that this server begins.
    pub fn epoch_name(&self, me: ServerId) -> EpochName {
        match self.draw {
            0 => EpochName::NONE,
            draw => EpochName { leader: me, draw },
        }
    }

    /// The epochs of which the history has transactions: what is said of it to others.
    pub fn known_lineage(&self) -> Lineage {
        self.lineage.up_to(self.history.last_zxid())
    }

    /// The history as others compare it with theirs.
    pub fn line(&self) -> Line<'_> {
        Line {
            lineage: &self.lineage,
            last: self.history.last_zxid(),
        }
    }
}

impl<P: Payload> Default for Storage<P> {
    fn default() -> Self {
        Self {
            accepted_epoch: Epoch(0),
            current_epoch: Epoch(0),
            history: History::default(),
            lineage: Lineage::default(),
            memory: Memory::default(),
            draw: 0,
        }
    }
}
