//! What must hold while memberships replace each other.
//!
//! Spec: `spec/9-reconfiguration.md`, `spec/invariants.toml`. What it must never do: ask more of an ensemble whose
//! membership never changes than what is asked without this file.

use super::{Ensemble, Recorded, whole};
use crate::quorum::{Membership, ServerSet};
use crate::types::Zxid;
use crate::zab::{Change, Entry, State};

/// A change of the membership that has been delivered: the membership before it and, if it proposes one, the next.
pub(super) struct Delivered<'a, T> {
    pub entry: &'a Entry<T>,
    pub before: Membership,
    pub next: Option<Membership>,
}

/// The changes that anyone has delivered, in order.
pub(super) fn changes<'a, P: Recorded>(e: &Ensemble<'a, P>) -> Vec<Delivered<'a, P::Txn>> {
    let delivered = e.record.delivered.iter();
    let changes = delivered.filter_map(|entry| Some((entry, P::change(&entry.txn)?)));
    let mut all = Vec::new();
    let mut now = None::<Membership>;
    let mut proposed = None;
    for (entry, change) in changes {
        let before = now.as_ref().unwrap_or(&e.zab.config.membership).clone();
        let next = match change {
            Change::Proposed(membership) => {
                proposed = Some(membership.clone());
                Some(membership)
            }
            Change::InForce => {
                now = proposed.take().or(now);
                None
            }
        };
        all.push(Delivered {
            entry,
            before,
            next,
        });
    }
    all
}

/// The membership of which these servers are no quorum although they alone have what was delivered last. From the
/// moment when a membership is committed what follows is its own to decide; the transaction that proposes it
/// is both's.
pub(super) fn lacking<P: Recorded>(e: &Ensemble<'_, P>, holders: &ServerSet) -> Option<Membership> {
    let changes = changes(e);
    let lacks = |membership: &&Membership| !membership.is_quorum(holders);
    let proposed = changes.iter().rev().find(|change| change.next.is_some());
    let Some(Delivered {
        entry,
        before,
        next,
    }) = proposed
    else {
        return Some(&e.zab.config.membership).filter(lacks).cloned();
    };
    let of_both = (Some(*entry) == e.record.delivered.last()).then_some(before);
    of_both.into_iter().chain(next).find(lacks).cloned()
}

/// The servers that have a transaction on their disks.
pub(super) fn holders<P: Recorded>(e: &Ensemble<'_, P>, entry: &Entry<P::Txn>) -> ServerSet {
    let servers = e.servers.iter();
    let holders = servers.filter(|s| whole(s.disk).any(|held| held == entry));
    holders.map(|s| s.id).collect()
}

/// A membership that has been delivered is on the disks of a quorum of itself and of the one that it replaces.
pub fn reconfigured_by_both<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    changes(e).iter().all(|change| {
        let is_held = |next: &Membership| {
            let holders = holders(e, change.entry);
            change.before.is_quorum(&holders) && next.is_quorum(&holders)
        };
        change.next.as_ref().is_none_or(is_held)
    })
}

/// A membership has been delivered that replaces another.
pub fn reconfiguration_delivered<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    let mut delivered = e.record.delivered.iter();
    delivered.any(|entry| matches!(P::change(&entry.txn), Some(Change::Proposed(_))))
}

/// A membership is put in force, in memory or on a disk, only after somebody has delivered it.
pub fn in_force_once_committed<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    let delivered = e.record.delivered.last().map_or(Zxid::ZERO, |t| t.zxid);
    put_in_force(e).all(|(_, proposed)| proposed <= delivered)
}

/// A server has the transaction that puts a membership in force.
pub fn membership_in_force<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    put_in_force(e).next().is_some()
}

/// Each server that has a transaction that puts a membership in force, with that one's proposal.
pub(super) fn put_in_force<'a, P: Recorded>(
    e: &Ensemble<'a, P>,
) -> impl Iterator<Item = (crate::types::ServerId, Zxid)> + use<'a, P> {
    e.servers.iter().flat_map(|s| {
        let stored = s.state.map(State::storage).into_iter().chain([s.disk]);
        stored.flat_map(move |storage| {
            let mut proposed = Zxid::ZERO;
            storage
                .history
                .changes()
                .iter()
                .filter_map(move |(zxid, change)| match change {
                    Change::Proposed(_) => {
                        proposed = *zxid;
                        None
                    }
                    Change::InForce => Some((s.id, proposed)),
                })
        })
    })
}
