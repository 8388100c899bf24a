//! What the service needs of the replication beneath it, and how the two keep up with each other.
//!
//! Spec: `spec/5-service.md`, "The replica". Zab is one [`Replication`]; in the model of the service an
//! oracle is, which does whatever Zab may do. What this must never do: let the service see what is not
//! committed, but for the leader's judgement of requests.

use super::reconfig::Ensemble;
use super::replica::ZooKeeper;
use super::{Config, Env, Service};
use crate::proto::encode_txn;
use crate::types::{Epoch, ServerId, Zxid};
use crate::zab::{Entry, History, Snapshot};
use crate::znode::{Tree, Txn, TxnBody};

/// A replicated history of transactions, as one server has it.
pub trait Replication {
    /// Everything up to here is committed, and may be applied.
    fn committed(&self) -> Zxid;
    /// Under whom this server serves clients now: itself if it leads, `None` while it must not.
    fn leader(&self) -> Option<ServerId>;
    /// The epoch of that leadership.
    fn epoch(&self) -> Epoch;
    /// What this server has of the history; all that is committed here is in it.
    fn history(&self) -> &History<ZooKeeper>;
    /// The zxid that the next proposal gets, or `None` while nothing can be proposed here.
    fn next_zxid(&self) -> Option<Zxid>;
    /// Who is up to date with this leader, and whether members are being replaced.
    fn ensemble(&self) -> Ensemble;
    /// Appends a transaction, with [`Self::next_zxid`], to be committed if it can be.
    fn propose(&mut self, txn: Txn);
    /// A snapshot at a committed transaction: what lies before it need not be kept as transactions.
    fn compact(&mut self, snapshot: Snapshot<Tree>);
}

/// Lets the service catch up with the replication and the replication with the service, until neither
/// has anything to say. `since_snapshot` counts what was applied since the last snapshot: see
/// `share_of_snapshot`.
pub fn settle(
    service: &mut Service,
    env: &mut Env,
    below: &mut impl Replication,
    since_snapshot: &mut u64,
) {
    loop {
        catch_up(service, env, below, since_snapshot);
        follow_period(service, env, below);
        if !propose(service, env, below) {
            return;
        }
    }
}

/// Applies what is committed.
fn catch_up(
    service: &mut Service,
    env: &mut Env,
    below: &mut impl Replication,
    since_snapshot: &mut u64,
) {
    let committed = below.committed();
    let history = below.history();
    let snapshot = history.snapshot();
    if snapshot.zxid > service.applied() && history.start() > service.applied() {
        service.restore(env, snapshot.state.clone(), snapshot.zxid);
        *since_snapshot = 0;
    }
    for Entry { zxid, txn } in history.after(service.applied()) {
        if *zxid > committed {
            break;
        }
        service.apply(env, *zxid, txn);
        *since_snapshot = since_snapshot.saturating_add(share_of_snapshot(env.config, *zxid, txn));
    }
    if *since_snapshot >= env.config.snap_count {
        *since_snapshot = 0;
        below.compact(Snapshot {
            zxid: service.applied(),
            state: service.tree().clone(),
        });
    }
}

/// What a transaction counts on the way to the next snapshot: one, and its part of the bytes after which one
/// is due as well. So a snapshot is due when the share of either limit, or of both together, is used up.
/// (ZooKeeper draws the point at random between a half of a limit and the whole.)
fn share_of_snapshot(config: &Config, zxid: Zxid, txn: &Txn) -> u64 {
    let bytes = encode_txn(zxid, txn).len() as u64;
    let by_size = bytes.saturating_mul(config.snap_count);
    by_size.checked_div(config.snap_size).unwrap_or(0) + 1
}

/// Begins and ends the period in which clients are served.
fn follow_period(service: &mut Service, env: &mut Env, below: &impl Replication) {
    let me = env.config.sid;
    let leader = service.leader_to_serve(me, below);
    let history = below.history();
    take_in(service, history);
    // What the leader's service has proposed is the end of the history, unless somebody else has
    // changed it: then the service's judgements are void.
    let astray = service
        .proposed()
        .is_some_and(|proposed| proposed != history.last_zxid());
    if leader == service.leader(me) && !astray {
        return;
    }
    match leader {
        None => service.end(env),
        Some(leader) if leader == me => {
            let in_flight = history.after(service.applied());
            let in_flight = in_flight.map(|Entry { zxid, txn }| (*zxid, txn));
            service.begin_leading(env, below.epoch(), in_flight);
        }
        Some(leader) => service.begin_following(env, leader, below.epoch()),
    }
}

/// Tells the leader's service of what Zab proposes of its own: that members that were agreed on are in force.
fn take_in(service: &mut Service, history: &History<ZooKeeper>) {
    let Some(proposed) = service
        .proposed()
        .filter(|zxid| *zxid < history.last_zxid())
    else {
        return;
    };
    let entries = history.after(proposed);
    for Entry { zxid, txn } in entries.take_while(|entry| entry.txn.body == TxnBody::InForce) {
        service.take_in(*zxid, txn);
    }
}

/// Proposes the next write, if there is one and it can be proposed.
fn propose(service: &mut Service, env: &mut Env, below: &mut impl Replication) -> bool {
    let Some(zxid) = below.next_zxid() else {
        return false; // The writes wait.
    };
    let Some(txn) = service.next_proposal(env, zxid, below.ensemble()) else {
        return false;
    };
    below.propose(txn);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::znode::{SessionId, TxnBody};
    use std::time::Duration;

    #[test]
    fn a_snapshot_is_due_after_so_many_transactions_or_so_many_bytes() {
        let txn = |bytes: usize| Txn {
            session: SessionId(1),
            cxid: 1,
            time: 1,
            body: TxnBody::SetData {
                path: "/a".to_owned(),
                data: vec![0; bytes].into(),
                version: 1,
            },
            digest: None,
        };
        let config = Config::new(ServerId(1), 1, Duration::from_secs(1));
        let share = |config: &Config, bytes| share_of_snapshot(config, Zxid(1), &txn(bytes));
        assert_eq!(share(&config, 10), 1);
        // 4 GB are 100,000 times 42 KB.
        assert_eq!(share(&config, 42_000), 1);
        assert_eq!(share(&config, 1 << 20), 25);
        let unlimited = Config {
            snap_size: 0,
            ..config
        };
        assert_eq!(share(&unlimited, 1 << 20), 1);
    }
}
