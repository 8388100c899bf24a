//! What synchronization and broadcast promise to each server of an epoch.
//!
//! Spec: `spec/invariants.toml`. The bugs of the past broke these (`spec/bugs.md`). What it must never
//! do: ask for more than the protocol promises on a network that loses and reorders.

use super::{Ensemble, Recorded, whole};
use crate::types::{Epoch, ServerId, Zxid};
use crate::zab::{Difference, Leader, Message, Payload, Role, Stage, State, Storage, Zab};
use std::collections::BTreeMap;

/// What the leader of an epoch knows of the others.
pub(super) struct Term<'a> {
    pub(super) epoch: Epoch,
    initial: Zxid,
    pub(super) acked: &'a BTreeMap<ServerId, Zxid>,
    established: bool,
}

/// The term of a server that synchronizes others or broadcasts to them.
pub(super) fn term<P: Payload>(state: &State<P>) -> Option<Term<'_>> {
    let Role::Leading(Leader { stage, .. }) = state.role() else {
        return None;
    };
    match stage {
        Stage::Discovery { .. } | Stage::NewEpoch { .. } => None,
        Stage::Broadcast {
            epoch,
            initial,
            acked,
            established,
            ..
        } => Some(Term {
            epoch: *epoch,
            initial: *initial,
            acked,
            established: *established,
        }),
    }
}

impl<'a, P: Recorded> Ensemble<'a, P> {
    pub(super) fn terms(
        &self,
    ) -> impl Iterator<Item = (ServerId, &'a State<P>, Term<'a>)> + use<'_, 'a, P> {
        self.running()
            .filter_map(|(id, state)| Some((id, state, term(state)?)))
    }

    /// What each server has in memory and on disk while it takes part in the epoch that it has taken
    /// over, that is until it promises a later one.
    fn taken_over(&self) -> impl Iterator<Item = (ServerId, &'a Storage<P>)> + use<'_, 'a, P> {
        self.servers
            .iter()
            .flat_map(|s| {
                let memory = s.state.map(State::storage);
                memory
                    .into_iter()
                    .chain([s.disk])
                    .map(|storage| (s.id, storage))
            })
            .filter(|(_, storage)| {
                storage.current_epoch == storage.accepted_epoch && storage.current_epoch > Epoch(0)
            })
    }

    /// Where the initial history of each epoch ends that a leader was established in.
    pub(super) fn initial_histories(&self) -> impl Iterator<Item = (Epoch, Zxid)> + use<'_, 'a, P> {
        let led = |epoch| self.record.leaders.iter().any(|(led, _)| *led == epoch);
        self.record
            .initial
            .iter()
            .copied()
            .filter(move |(epoch, _)| led(*epoch))
    }
}

pub(super) fn holds<P: Recorded>(storage: &Storage<P>, zxid: Zxid) -> bool {
    zxid == Zxid::ZERO || whole(storage).any(|entry| entry.zxid == zxid)
}

pub(super) fn is_prefix<P: Recorded>(a: &Storage<P>, b: &Storage<P>) -> bool {
    let mut b = whole(b);
    whole(a).all(|entry| b.next() == Some(entry))
}

/// What an epoch began with is part of what every later epoch begins with.
pub fn initial_history_integrity<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.established().all(|(_, later, state)| {
        e.initial_histories()
            .filter(|(epoch, _)| *epoch < later)
            .all(|(_, zxid)| holds(state.storage(), zxid))
    })
}

/// A leader is established after an epoch that did not begin with nothing.
pub fn epoch_with_a_past_is_over<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.established().any(|(_, later, _)| {
        e.initial_histories()
            .any(|(epoch, zxid)| epoch < later && zxid > Zxid::ZERO)
    })
}

/// Of two servers in the same epoch, one's history is a prefix of the other's, and every one is a
/// prefix of the leader's.
pub fn history_consistency<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    let alike = e.taken_over().all(|(i, a)| {
        e.taken_over()
            .filter(|(j, b)| i < *j && a.current_epoch == b.current_epoch)
            .all(|(_, b)| a.history == b.history || is_prefix(a, b) || is_prefix(b, a))
    });
    alike
        && e.terms().all(|(_, leader, term)| {
            e.taken_over()
                .filter(|(_, storage)| storage.current_epoch == term.epoch)
                .all(|(_, storage)| is_prefix(storage, leader.storage()))
        })
}

/// A server has taken over an epoch, and its leader's history is ahead.
pub fn leader_is_ahead<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.terms().any(|(_, leader, term)| {
        let last = leader.storage().history.last_zxid();
        e.taken_over().any(|(_, storage)| {
            storage.current_epoch == term.epoch && storage.history.last_zxid() < last
        })
    })
}

/// A new leader holds everything of earlier epochs that anyone has ever delivered.
pub fn leader_completeness<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.established().all(|(_, epoch, state)| {
        e.record
            .delivered
            .iter()
            .filter(|t| t.zxid.epoch() < epoch)
            .all(|t| whole(state.storage()).any(|entry| entry == t))
    })
}

/// What a leader counts as acknowledged is on the disk of the voter that acknowledged it, with the
/// epoch, until that server promises a later one. (The disk of an observer may be replaced.)
pub fn acknowledged_is_held<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.terms().all(|(_, state, term)| {
        let votes = |peer| e.zab.in_force(state).votes(peer);
        let acked = term.acked.iter().filter(|(peer, _)| votes(**peer));
        acked.into_iter().all(|(peer, zxid)| {
            e.servers.iter().filter(|s| s.id == *peer).all(|s| {
                let moved_on = s.disk.accepted_epoch > term.epoch;
                let holds = s.disk.history.covers(*zxid) || moved_on;
                s.disk.current_epoch >= term.epoch && holds
            })
        })
    })
}

/// A leader has an acknowledgement of a transaction.
pub fn transaction_acknowledged<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.terms()
        .any(|(_, _, term)| term.acked.values().any(|zxid| *zxid > Zxid::ZERO))
}

/// Everything that a server takes for committed is in its history.
pub fn commit_held<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running()
        .all(|(_, state)| state.storage().history.covers(state.committed()))
}

/// Who begins to serve clients has delivered the initial history of the epoch.
pub fn up_to_date<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    !e.record.served_too_early
}

/// A follower serves in an epoch that did not begin with nothing.
pub fn serving_what_was_taken_over<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running()
        .filter(|(_, state)| !state.is_leading() && state.serving())
        .any(|(_, state)| {
            e.record
                .initial
                .iter()
                .any(|(epoch, zxid)| Some(*epoch) == state.epoch() && *zxid > Zxid::ZERO)
        })
}

/// Whether a step has made a server serve clients that has not delivered what its epoch began with.
pub(super) fn serves_too_early<P: Recorded>(
    initial: &[(Epoch, Zxid)],
    before: Option<&State<P>>,
    after: &State<P>,
) -> bool {
    after.serving()
        && !before.is_some_and(State::serving)
        && initial
            .iter()
            .any(|(epoch, zxid)| Some(*epoch) == after.epoch() && *zxid > after.committed())
}

/// A server that a leader counts as synchronized has been sent every proposal after what it has
/// acknowledged, and how far they were committed.
pub fn newcomer_told_everything<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    !e.record.left_behind
}

/// A leader has proposed something to a server that has acknowledged no more than the initial history.
pub fn newcomer_lacks_proposals<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.terms().any(|(_, state, term)| {
        term.established
            && state.storage().history.last_zxid() > term.initial
            && term.acked.values().any(|zxid| *zxid == term.initial)
    })
}

/// Whether a leader's step leaves a follower behind: it counts the follower as synchronized, and has
/// not sent it a transaction that it lacks; or it counts it for the first time, and has not said how
/// far transactions are committed. The checker asks this of every step and of what was sent in it.
pub fn leaves_behind<P: Payload>(
    zab: &Zab<P>,
    before: &State<P>,
    after: &State<P>,
    sent: &[(ServerId, &Message<P>)],
) -> bool {
    left_behind(zab, before, after, sent).is_some()
}

/// What a follower that is left behind was not told.
pub(super) enum Lack {
    /// The first transaction that it was not sent.
    Proposal(Zxid),
    /// How far transactions are committed.
    Commit(Zxid),
}

/// The follower that a leader's step leaves behind, and what it lacks.
pub(super) fn left_behind<P: Payload>(
    zab: &Zab<P>,
    before: &State<P>,
    after: &State<P>,
    sent: &[(ServerId, &Message<P>)],
) -> Option<(ServerId, Lack)> {
    let (old, new) = (term(before)?, term(after)?);
    if old.epoch != new.epoch {
        return None;
    }
    let acked = new.acked.iter();
    let votes = |peer| zab.in_force(before).votes(peer) && zab.in_force(after).votes(peer);
    let mut voters = acked.filter(|(peer, _)| votes(**peer));
    voters.find_map(|(peer, zxid)| {
        let known = old.acked.contains_key(peer);
        let from = match known {
            true => before.storage().history.last_zxid(),
            false => *zxid,
        };
        let to_peer = || {
            sent.iter()
                .filter(|(to, _)| to == peer)
                .map(|(_, message)| message)
        };
        let unsent = after.storage().history.after(from).find(|t| {
            !to_peer().any(|message| match message {
                Message::Propose { entry, .. } => entry.zxid == t.zxid,
                Message::Sync {
                    step: Difference::Snap { .. },
                    ..
                } => true, // The rest follows when it has acknowledged that.
                _ => false,
            })
        });
        let committed = before.committed();
        let told = to_peer()
            .any(|message| matches!(message, Message::Commit { zxid, .. } if *zxid >= committed));
        let lack = match unsent {
            Some(t) => Lack::Proposal(t.zxid),
            None if old.established && !known && !told => Lack::Commit(committed),
            None => return None,
        };
        Some((*peer, lack))
    })
}
