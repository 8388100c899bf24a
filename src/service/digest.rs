//! Whether this server's tree is what the others have: the digests of the tree, compared.
//!
//! Spec: `spec/5-service.md`, "Digests". What it must never do: let a tree be shown to clients that is known to differ from
//! what most servers have, or blame a server for what it has applied before it started.
//!
//! The leader writes into each transaction the digest of the tree after it, and every server compares it with its own when it
//! has applied the transaction. One that differs stops serving, and says so to the leader with each session
//! tick. A leader from which most of the servers differ that it has brought up to date is the one that is wrong, and stops
//! serving. A server serves again when its tree is as the next leader says, or when it leads itself.
//!
//! Departs from ZooKeeper: D81 in `spec/deviations.toml`.

use super::reconfig::Ensemble;
use super::replication::Replication;
use super::{Effect, Env, PeerMsg, Rank, Service};
use crate::quorum::ServerSet;
use crate::types::{ServerId, Zxid};
use crate::znode::Txn;

/// What a server knows of digests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digests {
    /// The last transaction that was on the disk when the server started: these were judged then.
    pub(super) recovered: Zxid,
    /// How many comparisons have failed.
    mismatches: u64,
    /// Since when this server's tree differs, if it does.
    differs: Option<Mismatch>,
    /// Who led then.
    leader: Option<ServerId>,
}

/// After a transaction a server's tree is not what others have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mismatch {
    pub zxid: Zxid,
    /// The digest of the server's tree.
    pub own: u64,
    /// The leader's; `None` if this is the leader, and most of the others differ from it.
    pub leaders: Option<u64>,
}

impl Digests {
    /// A transaction was applied, and the tree has this digest.
    pub(super) fn compare(&mut self, zxid: Zxid, txn: &Txn, own: u64) {
        let Some(digest) = txn.digest.filter(|_| zxid > self.recovered) else {
            return;
        };
        if digest == own {
            self.differs = self.differs.filter(|mismatch| mismatch.leaders.is_none());
            return;
        }
        self.mismatches += 1;
        self.differs.get_or_insert(Mismatch {
            zxid,
            own,
            leaders: Some(digest),
        });
    }

    /// The tree was replaced by the leader's.
    pub(super) fn restore(&mut self) {
        self.differs = None;
    }
}

impl Service {
    /// Since when this server's tree is not what most servers have, if it is not.
    pub fn mismatch(&self) -> Option<Mismatch> {
        self.digests.differs
    }

    /// How many comparisons of digests have failed since the start.
    pub fn mismatches(&self) -> u64 {
        self.digests.mismatches
    }

    /// Says to the leader, again and again, that this server's tree differs.
    pub(super) fn tell_of_mismatch(&self, env: &mut Env) {
        if let (Some(Mismatch { zxid, .. }), Some(leader)) =
            (self.digests.differs, self.digests.leader)
        {
            let message = PeerMsg::Differs { zxid };
            env.out.push(Effect::ToPeer(leader, message));
        }
    }

    /// Another server's tree differs from this leader's.
    pub fn on_differs(&mut self, from: ServerId, zxid: Zxid) {
        if let Some(Rank::Leader(leading)) = self.period.as_mut().map(|period| &mut period.rank) {
            leading.on_differs(from, zxid);
        }
    }

    /// Under whom clients may be served: nobody, while this server's tree is not to be shown.
    pub(super) fn leader_to_serve(
        &mut self,
        me: ServerId,
        below: &impl Replication,
    ) -> Option<ServerId> {
        let leader = below.leader()?;
        if let Some(Rank::Leader(leading)) = self.period.as_ref().map(|period| &period.rank)
            && leading.is_outvoted(|| below.ensemble())
        {
            self.digests.mismatches += 1;
            self.digests.differs = Some(Mismatch {
                zxid: self.applied,
                own: self.tree.digest(),
                leaders: None,
            });
        }
        let Some(mismatch) = self.digests.differs else {
            return Some(leader);
        };
        self.digests.leader = (leader != me).then_some(leader);
        // Whoever leads in a later epoch says what the tree is, until most others differ from it.
        if leader == me && below.epoch() > mismatch.zxid.epoch() {
            self.digests.differs = None;
            return Some(leader);
        }
        None
    }
}

/// Those that differ from a leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Differing(ServerSet);

impl Differing {
    pub(super) fn insert(&mut self, server: ServerId) {
        self.0 = self.0.union(&ServerSet::of(server));
    }

    /// Whether they are more than the half of those that are up to date.
    pub(super) fn are_most(&self, ensemble: impl FnOnce() -> Ensemble) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let all = ensemble().synchronized;
        2 * self.0.intersection(&all).len() > all.len()
    }
}
