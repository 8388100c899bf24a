//! Who votes, as a history tells it.
//!
//! Spec: `spec/9-reconfiguration.md`. A membership is replaced by two transactions: one that proposes the next
//! membership and, once that is committed, one that puts it in force. Between the two a quorum is a quorum of both.
//! What this must never do: depend on anything but the history (and, before the first such transaction, the
//! configuration), or take a membership for replaced before a quorum of each has the next one.
//!
//! Departs from ZooKeeper: D44 in `spec/deviations.toml`.

use super::{Entry, History, Payload, State, Variant, Zab};
use crate::quorum::{Membership, ServerSet};
use crate::types::{ServerId, Zxid};
use serde::{Deserialize, Serialize};

/// What a transaction does to the membership.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    /// From now on this membership decides too.
    Proposed(Membership),
    /// From now on the membership that was proposed decides alone.
    InForce,
}

/// Everything that a history says of memberships.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Course {
    /// The membership that the snapshot tells of.
    base: Option<Membership>,
    /// What came after it, in order.
    changes: Vec<(Zxid, Change)>,
}

/// The memberships that decide: one, or two while one is being replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce<'a> {
    pub now: &'a Membership,
    /// The one that is to replace it, with the transaction that proposes it.
    pub next: Option<(Zxid, &'a Membership)>,
}

impl<'a> InForce<'a> {
    fn alone(now: &'a Membership) -> Self {
        Self { now, next: None }
    }

    /// Each membership of which there must be a quorum.
    pub fn memberships(self) -> impl Iterator<Item = &'a Membership> {
        let next = self.next.map(|(_, membership)| membership);
        [self.now].into_iter().chain(next)
    }

    /// Whether these servers are a quorum of each.
    pub fn is_quorum(self, servers: &ServerSet) -> bool {
        let mut memberships = self.memberships();
        memberships.all(|membership| membership.is_quorum(servers))
    }

    /// Whether a membership decides in both.
    pub(super) fn shares_with(self, other: Self) -> bool {
        let mut memberships = self.memberships();
        memberships.any(|membership| other.memberships().any(|theirs| theirs == membership))
    }

    /// The servers with a vote in either.
    pub fn voters(self) -> ServerSet {
        match self.next {
            None => self.now.voters,
            Some((_, next)) => self.now.voters.union(&next.voters),
        }
    }

    /// Whether a server has a vote in either.
    pub fn votes(self, sid: ServerId) -> bool {
        let mut memberships = self.memberships();
        memberships.any(|membership| membership.voters.contains(sid))
    }

    /// The servers that are told only what is committed. Whoever is in no list is a follower without a vote:
    /// a server that is about to join, or one that has left.
    pub fn observers(self) -> ServerSet {
        match self.next {
            None => self.now.observers,
            Some((_, next)) => {
                let observers = self.now.observers.union(&next.observers);
                observers.difference(&self.voters())
            }
        }
    }
}

impl Course {
    /// What a history with this snapshot and these later transactions says; `None` if nothing.
    pub(super) fn of<'a, P: Payload>(
        snapshot: &P::Snapshot,
        later: impl Iterator<Item = &'a Entry<P::Txn>>,
    ) -> Option<Box<Self>>
    where
        P::Txn: 'a,
    {
        let changes = later.filter_map(|entry| Some((entry.zxid, P::change(&entry.txn)?)));
        let course = Self {
            base: P::membership(snapshot),
            changes: changes.collect(),
        };
        (course != Self::default()).then(|| Box::new(course))
    }

    pub(super) fn push(course: &mut Option<Box<Self>>, zxid: Zxid, change: Change) {
        let course = course.get_or_insert_default();
        course.changes.push((zxid, change));
    }

    /// Forgets what came after `zxid`.
    pub(super) fn truncate(course: &mut Option<Box<Self>>, zxid: Zxid) {
        if let Some(known) = course {
            known.changes.retain(|(at, _)| *at <= zxid);
            if **known == Self::default() {
                *course = None;
            }
        }
    }

    /// The memberships that decide at the end, or as they were up to `end`.
    fn in_force<'a>(&'a self, configured: &'a Membership, end: Zxid) -> InForce<'a> {
        let mut in_force = InForce::alone(self.base.as_ref().unwrap_or(configured));
        for (zxid, change) in self.changes.iter().filter(|(zxid, _)| *zxid <= end) {
            match change {
                Change::Proposed(membership) => in_force.next = Some((*zxid, membership)),
                Change::InForce => {
                    in_force = InForce::alone(in_force.next.map_or(in_force.now, |(_, next)| next));
                }
            }
        }
        in_force
    }
}

impl<P: Payload> History<P> {
    /// The memberships that decide for a server with this history. Before the first change that is the
    /// configured one.
    pub fn in_force<'a>(&'a self, configured: &'a Membership) -> InForce<'a> {
        self.in_force_at(configured, Zxid(u64::MAX))
    }

    /// The same as it was when the history ended at `end`, which does not lie before the snapshot.
    pub fn in_force_at<'a>(&'a self, configured: &'a Membership, end: Zxid) -> InForce<'a> {
        match &self.course {
            None => InForce::alone(configured),
            Some(course) => course.in_force(configured, end),
        }
    }

    /// The changes after the snapshot, in order.
    pub fn changes(&self) -> &[(Zxid, Change)] {
        self.course.as_ref().map_or(&[], |course| &course.changes)
    }

    /// The last change after the snapshot; zero if there is none.
    pub(super) fn last_change(&self) -> Zxid {
        self.changes().last().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    /// Whether the history says who votes; otherwise the configuration does.
    pub(super) fn tells_members(&self) -> bool {
        self.course.is_some()
    }

    /// Whether by this history alone, whatever the configuration, a server has no vote.
    pub(super) fn excludes(&self, sid: ServerId) -> bool {
        let itself = Membership::majority(ServerSet::of(sid));
        !self.in_force(&itself).votes(sid)
    }
}

impl<P: Payload> Zab<P> {
    /// The memberships that decide, as far as this server knows.
    pub fn in_force<'a>(&'a self, s: &'a State<P>) -> InForce<'a> {
        self.in_force_by(&s.storage.history)
    }

    /// The memberships that decide for a server with this history.
    pub(super) fn in_force_by<'a>(&'a self, history: &'a History<P>) -> InForce<'a> {
        let in_force = history.in_force(&self.config.membership);
        match self.config.variant {
            Variant::ElectedByOld => InForce::alone(in_force.now),
            _ => in_force,
        }
    }

    /// The memberships by which a leader counts acknowledgements.
    pub(super) fn in_force_for_commit<'a>(&'a self, s: &'a State<P>) -> InForce<'a> {
        let in_force = s.storage.history.in_force(&self.config.membership);
        match (self.config.variant, in_force.next) {
            (Variant::ReconfiguredByOld, Some(_)) => InForce::alone(in_force.now),
            (Variant::ReconfiguredByNew, Some((_, next))) => InForce::alone(next),
            (Variant::AcknowledgedByOld, None) => InForce::alone(&self.config.membership),
            _ => in_force,
        }
    }
}
