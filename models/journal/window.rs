//! The part of a long run that the invariants are shown.
//!
//! Spec: `spec/6-server.md`, "Journal". The invariants of `zab::invariants` look at whole histories, all
//! pairs of transactions, in every state: for the few transactions of a model that is right, for thousands
//! it is not to be had. So they are shown the same histories with most of the old transactions left out,
//! in every history the same ones. Every invariant that speaks of all transactions holds for some of them
//! if it holds for all. What must not be missed by that is never left out:
//!
//! * the last [`KEPT`] transactions that anyone has delivered, and all after them;
//! * the last transaction of the initial history of each epoch;
//! * each transaction that changes who votes;
//! * each transaction that a server delivers later than the others and not as the others did: what is left
//!   out is compared, once, when a server delivers it.
//!
//! So of what is left out it is known that it was delivered, in this order, while the invariants looked at
//! it, and that each server that delivered it later delivered the same.
//!
//! What this must never do: show two servers the same transaction in two ways.

use keepright::quorum::Membership;
use keepright::service::ZooKeeper;
use keepright::service::journal::digest;
use keepright::types::Zxid;
use keepright::zab::invariants::Record;
use keepright::zab::{Change, Entry, History, Payload, Snapshot};
use keepright::znode::Txn;
use std::collections::BTreeSet;

/// So many of the transactions that were delivered last are shown, or up to twice as many.
pub const KEPT: usize = 12;

/// What the invariants see replicated: digests of the transactions. That two different ones have the same
/// digest of 64 bits is left to chance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seen;

/// What is shown of a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest {
    digest: u64,
    /// Who votes is no secret to the invariants.
    change: Option<Change>,
}

impl Payload for Seen {
    type Txn = Digest;
    type Snapshot = keepright::persistent::Vector<Entry<Digest>>;

    fn change(txn: &Digest) -> Option<Change> {
        txn.change.clone()
    }

    fn membership(shown: &Self::Snapshot) -> Option<Membership> {
        let changes = shown.iter().filter_map(|entry| entry.txn.change.as_ref());
        let proposed = changes.filter_map(|change| match change {
            Change::Proposed(membership) => Some(membership),
            Change::InForce => None,
        });
        proposed.last().cloned()
    }
}

/// What is shown, and what is known of the rest.
#[derive(Default)]
pub struct Window {
    /// What happened up to here, before the journals begin, is taken as given.
    given: Zxid,
    /// What lies after is shown.
    base: Zxid,
    /// What is shown although it does not lie after.
    pivots: BTreeSet<Zxid>,
    /// Everything that was delivered after [`Self::given`], in order.
    delivered: Vec<Entry<Digest>>,
    pub record: Record<Digest>,
    /// Whether something else is shown than when histories were viewed last.
    moved: bool,
}

/// A transaction as the invariants see it.
pub fn seen(entry: &Entry<Txn>) -> Entry<Digest> {
    let bytes = postcard::to_stdvec(&entry.txn).expect("a transaction can be encoded");
    Entry {
        zxid: entry.zxid,
        txn: Digest {
            digest: digest(entry.zxid.0, &bytes),
            change: ZooKeeper::change(&entry.txn),
        },
    }
}

impl Window {
    /// Takes the history that a server had when its journal began as given, as far as its snapshot goes.
    pub fn give(&mut self, history: &History<ZooKeeper>) {
        self.given = self.given.max(history.snapshot().zxid);
        self.base = self.base.max(self.given);
    }

    /// Takes transactions of which no journal tells who proposed them as proposed.
    pub fn propose_given<'a>(&mut self, entries: impl Iterator<Item = &'a Entry<Txn>>) {
        for entry in entries.filter(|entry| entry.zxid > self.base).map(seen) {
            insert(&mut self.record.proposed, entry);
        }
    }

    /// How many transactions were committed since the journals began.
    pub fn committed(&self) -> usize {
        self.delivered.len()
    }

    /// The memberships that were delivered after the first `known` transactions.
    pub fn proposed_after(&self, known: usize) -> impl Iterator<Item = &Membership> {
        let new = self.delivered[known..].iter();
        new.filter_map(|entry| match &entry.txn.change {
            Some(Change::Proposed(membership)) => Some(membership),
            Some(Change::InForce) | None => None,
        })
    }

    /// A history as the invariants are to see it.
    pub fn view(&self, history: &History<ZooKeeper>) -> History<Seen> {
        let from = self.shared(history);
        let old = self.pivots.range(..=from);
        let state = old
            .filter_map(|zxid| self.entry_of(history, *zxid))
            .collect();
        // What a snapshot covers is what was delivered.
        let covered = self
            .delivered_between(from, history.start())
            .iter()
            .cloned();
        let own = history.after(from).map(seen);
        let snapshot = Snapshot { zxid: from, state };
        History::from_parts(from, covered.chain(own).collect(), snapshot)
            .expect("a history is in order, and begins where its snapshot ends")
    }

    /// The last transaction of a history that need not be shown: before the base, and with no other one
    /// before it than those that were delivered.
    fn shared(&self, history: &History<ZooKeeper>) -> Zxid {
        let Some(mut from) = history.floor(self.base) else {
            return self.base;
        };
        while from > self.given
            && from > history.start()
            && self.known(from) != self.entry_of(history, from).as_ref()
        {
            from = history.floor(Zxid(from.0 - 1)).unwrap_or(history.start());
        }
        // A snapshot tells of one membership.
        let mut old = self.pivots.range(..=from).rev();
        let last = old.find_map(|zxid| self.entry_of(history, *zxid)?.txn.change.zip(Some(*zxid)));
        match last {
            Some((Change::Proposed(_), zxid)) => Zxid(zxid.0 - 1),
            Some((Change::InForce, _)) | None => from,
        }
    }

    /// The transaction of a history; what is given is known by its zxid alone.
    fn entry_of(&self, history: &History<ZooKeeper>, zxid: Zxid) -> Option<Entry<Digest>> {
        if zxid > history.last_zxid() || !history.covers(zxid) {
            return None;
        }
        if zxid <= self.given {
            return Some(Entry {
                zxid,
                txn: Digest::default(),
            });
        }
        match zxid > history.start() {
            true => history.after(Zxid(zxid.0 - 1)).next().map(seen),
            false => self.known(zxid).cloned(),
        }
    }

    fn known(&self, zxid: Zxid) -> Option<&Entry<Digest>> {
        let place = self
            .delivered
            .binary_search_by_key(&zxid, |entry| entry.zxid);
        place.ok().map(|place| &self.delivered[place])
    }

    /// What was delivered after `from`, up to `to`.
    fn delivered_between(&self, from: Zxid, to: Zxid) -> &[Entry<Digest>] {
        let place = |zxid| self.delivered.partition_point(|entry| entry.zxid <= zxid);
        self.delivered
            .get(place(from)..place(to))
            .unwrap_or_default()
    }

    /// From now on the transaction is shown, however old.
    pub fn keep(&mut self, zxid: Zxid) {
        if zxid == Zxid::ZERO || !self.pivots.insert(zxid) || zxid > self.base {
            return;
        }
        let given = (zxid <= self.given).then_some(Entry {
            zxid,
            txn: Digest::default(),
        });
        if let Some(entry) = given.or_else(|| self.known(zxid).cloned()) {
            insert(&mut self.record.proposed, entry.clone());
            insert(&mut self.record.delivered, entry);
            self.moved = true;
        }
    }

    /// Compares what a server has newly delivered with what was delivered before. Where they differ, the
    /// invariants get to see both.
    pub fn compare(&mut self, history: &History<ZooKeeper>, after: Zxid, up_to: Zxid) {
        let from = after.max(history.start()).max(self.given);
        let to = up_to.min(self.base);
        let own: Vec<_> = history
            .after(from)
            .take_while(|entry| entry.zxid <= to)
            .map(seen)
            .collect();
        let others = self.delivered_between(from, to);
        if own != others {
            let differ = |a: &[Entry<Digest>], b: &[Entry<Digest>]| -> Vec<Zxid> {
                let missing = a.iter().filter(|entry| !b.contains(entry));
                missing.map(|entry| entry.zxid).collect()
            };
            let missing = [differ(&own, others), differ(others, &own)].concat();
            missing.into_iter().for_each(|zxid| self.keep(zxid));
        }
    }

    /// Notes what the record has come to hold. Returns whether something else is shown now, so that every
    /// history is to be viewed anew.
    pub fn advance(&mut self) -> bool {
        let last = self.delivered.last().map_or(self.given, |entry| entry.zxid);
        let new = self
            .record
            .delivered
            .partition_point(|entry| entry.zxid <= last);
        let new = &self.record.delivered[new..];
        self.delivered.extend_from_slice(new);
        let changes = new.iter().filter(|entry| entry.txn.change.is_some());
        let changes = changes.map(|entry| entry.zxid);
        let initial = self.record.initial.iter().map(|(_, zxid)| *zxid);
        let kept: Vec<Zxid> = changes.chain(initial).collect();
        kept.into_iter().for_each(|zxid| self.keep(zxid));
        let shown = self.delivered_between(self.base, Zxid(u64::MAX)).len();
        if shown < 2 * KEPT {
            return std::mem::take(&mut self.moved);
        }
        self.moved = false;
        self.base = self.delivered[self.delivered.len() - KEPT - 1].zxid;
        let is_shown =
            |entry: &Entry<Digest>| entry.zxid > self.base || self.pivots.contains(&entry.zxid);
        self.record.delivered.retain(is_shown);
        self.record.proposed.retain(is_shown);
        true
    }
}

fn insert(entries: &mut Vec<Entry<Digest>>, entry: Entry<Digest>) {
    if !entries.contains(&entry) {
        let place = entries.partition_point(|known| known.zxid <= entry.zxid);
        entries.insert(place, entry);
    }
}
