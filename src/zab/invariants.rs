//! What must hold in every reachable state of an ensemble, as named predicates.
//!
//! Spec: `spec/invariants.toml` has a paragraph for each id: prose, Apache's counterpart, the witness
//! and the mutants. What it must never do: hold vacuously. So each invariant has a witness: a state
//! in which its premise is true must be reachable within the same bounds.

mod culprits;
mod election;
mod lineage;
mod reconfiguration;
mod synchronization;

pub use culprits::{Inquiry, Taken};
pub use election::*;
pub use lineage::{decided_alone_stays, kept_out};
pub use reconfiguration::{
    in_force_once_committed, membership_in_force, reconfiguration_delivered, reconfigured_by_both,
};
pub use synchronization::*;

use super::{
    Election, Entry, Leader, Message, Payload, Recency, Role, Stage, State, Storage, Vote, Zab,
};
use crate::persistent::Vector;
use crate::quorum::ServerSet;
use crate::types::{Epoch, ServerId, Zxid};

/// A payload whose snapshot is the list of all transactions up to it, so that the predicates below
/// can see every transaction. What the checker replicates.
pub trait Recorded: Payload<Snapshot = Vector<Entry<<Self as Payload>::Txn>>> {}
impl<P: Payload<Snapshot = Vector<Entry<<P as Payload>::Txn>>>> Recorded for P {}

/// One server, as an all-knowing observer sees it.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a, P: Payload> {
    pub id: ServerId,
    /// What would survive a crash now.
    pub disk: &'a Storage<P>,
    /// `None` while it is down.
    pub state: Option<&'a State<P>>,
}

/// An ensemble at one moment, with what has happened before.
#[derive(Clone, Copy, Debug)]
pub struct Ensemble<'a, P: Payload> {
    /// The actor that the servers are: its configuration says who votes.
    pub zab: &'a Zab<P>,
    pub servers: &'a [Server<'a, P>],
    pub record: &'a Record<P::Txn>,
}

/// What an all-knowing observer has written down of the past: no server reads it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record<T> {
    /// Who was established as a leader in which epoch, by epoch.
    pub leaders: Vec<(Epoch, ServerSet)>,
    /// Where the initial history of each epoch ends, for each leader that has begun it.
    pub initial: Vec<(Epoch, Zxid)>,
    /// Every transaction that a leader has proposed, by zxid and order of arrival.
    pub proposed: Vec<Entry<T>>,
    /// The longest sequence of transactions that any server has delivered.
    pub delivered: Vec<Entry<T>>,
    /// Whether a server has said something that was not durable.
    pub said_too_early: bool,
    /// Whether a server began to serve clients before it had delivered what its epoch began with.
    pub served_too_early: bool,
    /// Whether a leader has left a follower behind (see [`leaves_behind`]).
    pub left_behind: bool,
    /// What servers have decided alone, outside of the ensemble.
    pub alone: Vec<(ServerId, Entry<T>)>,
    /// Whether a server won an election against a supporter that should have won itself.
    pub weak_leader: bool,
}

impl<T> Default for Record<T> {
    fn default() -> Self {
        Self {
            leaders: Vec::new(),
            initial: Vec::new(),
            proposed: Vec::new(),
            delivered: Vec::new(),
            said_too_early: false,
            served_too_early: false,
            left_behind: false,
            alone: Vec::new(),
            weak_leader: false,
        }
    }
}

impl<T: Clone + PartialEq> Record<T> {
    /// Notes what a step of server `id` has brought about.
    pub fn observe<'a, P: Recorded<Txn = T>>(
        &mut self,
        id: ServerId,
        before: Option<&State<P>>,
        after: &State<P>,
        others: impl Fn(ServerId) -> Option<&'a State<P>>,
    ) {
        // A service may propose in the very step that establishes its leader.
        let proposes =
            |before: &&State<P>| before.next_zxid().is_some() || after.next_zxid().is_some();
        if let Some(before) = before.filter(proposes) {
            self.observe_proposals(before, after);
        }
        if let Some(before) = before
            && let Some(epoch) = moved_on(before, after)
        {
            self.observe_proposals(before, after);
            self.observe_established(id, epoch);
        }
        if let Role::Leading(leader) = after.role() {
            self.observe_leader(id, leader);
            if let Some(Role::Looking(election)) = before.map(State::role) {
                self.weak_leader |= stronger(id, after, election, others).is_some();
            }
        }
        self.served_too_early |= synchronization::serves_too_early(&self.initial, before, after);
        let delivered = delivered(after);
        if delivered.len() > self.delivered.len() {
            self.delivered = delivered.into_iter().cloned().collect();
        }
    }

    /// What comes to the history of an established leader is what it proposes.
    fn observe_proposals<P: Recorded<Txn = T>>(&mut self, before: &State<P>, after: &State<P>) {
        let last = before.storage().history.last_zxid();
        for entry in after.storage().history.after(last) {
            if !self.proposed.contains(entry) {
                let index = self
                    .proposed
                    .partition_point(|known| known.zxid <= entry.zxid);
                self.proposed.insert(index, entry.clone());
            }
        }
    }

    fn observe_leader<P: Recorded<Txn = T>>(&mut self, id: ServerId, leader: &Leader<P>) {
        let Stage::Broadcast {
            epoch,
            initial,
            established,
            ..
        } = leader.stage
        else {
            return;
        };
        if let Err(index) = self.initial.binary_search(&(epoch, initial)) {
            self.initial.insert(index, (epoch, initial));
        }
        if established {
            self.observe_established(id, epoch);
        }
    }

    fn observe_established(&mut self, id: ServerId, epoch: Epoch) {
        match self
            .leaders
            .binary_search_by_key(&epoch, |(epoch, _)| *epoch)
        {
            Ok(index) => {
                self.leaders[index].1.insert(id);
            }
            Err(index) => self.leaders.insert(index, (epoch, ServerSet::of(id))),
        }
    }
}

/// The epoch of a leader that one step has established and, because what it proposed at once has used the last
/// counter, has taken on to the next epoch.
fn moved_on<P: Payload>(before: &State<P>, after: &State<P>) -> Option<Epoch> {
    let (Role::Leading(led), Role::Leading(leads)) = (before.role(), after.role()) else {
        return None;
    };
    match (&led.stage, &leads.stage) {
        (
            Stage::Broadcast {
                epoch,
                established: false,
                ..
            },
            Stage::NewEpoch { .. },
        ) => Some(*epoch),
        _ => None,
    }
}

/// Somebody who votes for the winner and should have won itself. Only votes count: who has
/// followed an earlier self of the winner, or has gone on since, did not choose. Nor did anybody choose this
/// winner if the vote says more than it has: a crash has taken what was not durable when it voted.
fn stronger<'a, P: Payload>(
    winner: ServerId,
    state: &State<P>,
    election: &Election,
    others: impl Fn(ServerId) -> Option<&'a State<P>>,
) -> Option<ServerId> {
    let Vote {
        current_epoch,
        last_zxid,
        ..
    } = election.vote;
    let said = Recency {
        current_epoch,
        last_zxid,
    };
    if state.recency() != said {
        return None;
    }
    let rank = |sid, state: &State<P>| (state.recency(), sid);
    let is_stronger = |sid: &ServerId| {
        others(*sid).is_some_and(|other| match other.role() {
            // Who has no vote by its own history does not stand for election.
            Role::Looking(theirs)
                if theirs.round == election.round && theirs.vote == election.vote =>
            {
                let stands = !other.storage().history.excludes(*sid);
                stands && rank(*sid, other) >= rank(winner, state)
            }
            Role::Looking(_) | Role::Following(_) | Role::Leading(_) => false,
        })
    };
    let mut supporters = election.supporters.iter().filter(|sid| *sid != winner);
    supporters.find(is_stronger)
}

/// How much of an ensemble a predicate must see at once. If it is of two servers, then it is true of an
/// ensemble if it is true of every two of its servers (or, for a witness, of some two); and so on.
///
/// So the checker need not ask again about servers that it has seen together before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The record alone.
    Record,
    /// One server and the record.
    Server,
    /// Two servers, without the record.
    Pair,
    /// Everything.
    Ensemble,
}

/// A named predicate, with the witness that shows it to be more than empty words.
pub struct Invariant<P: Payload> {
    /// The id in `spec/invariants.toml`.
    pub id: &'static str,
    /// Must be true in every reachable state.
    pub holds: fn(&Ensemble<'_, P>) -> bool,
    pub scope: Scope,
    /// Must be true in some reachable state: the premise of the invariant.
    pub witness: fn(&Ensemble<'_, P>) -> bool,
    pub witness_scope: Scope,
    /// The id of the witness.
    pub witness_id: &'static str,
    /// Which servers break it, and by which values; `None` where it holds.
    pub explain: fn(&Inquiry<'_, P>) -> Option<String>,
}

/// Every transaction that a server has delivered since it started, in the order of its history.
pub fn delivered<P: Recorded>(state: &State<P>) -> Vec<&Entry<P::Txn>> {
    let history = &state.storage().history;
    let committed = state.committed();
    let snapshot = history.snapshot();
    let old = snapshot.state.iter();
    let new = history
        .entries()
        .iter()
        .filter(|entry| entry.zxid > snapshot.zxid);
    old.chain(new)
        .filter(|entry| entry.zxid <= committed)
        .collect()
}

/// Every transaction of a history.
fn whole<P: Recorded>(storage: &Storage<P>) -> impl Iterator<Item = &Entry<P::Txn>> {
    let snapshot = storage.history.snapshot();
    let new = storage
        .history
        .entries()
        .iter()
        .filter(|entry| entry.zxid > snapshot.zxid);
    snapshot.state.iter().chain(new)
}

impl<'a, P: Recorded> Ensemble<'a, P> {
    fn running(&self) -> impl Iterator<Item = (ServerId, &'a State<P>)> + use<'_, 'a, P> {
        self.servers
            .iter()
            .filter_map(|server| Some((server.id, server.state?)))
    }

    /// The leaders that are established now.
    fn established(
        &self,
    ) -> impl Iterator<Item = (ServerId, Epoch, &'a State<P>)> + use<'_, 'a, P> {
        self.running().filter_map(|(id, state)| match state.role() {
            Role::Leading(leader) if leader.established() => Some((id, leader.epoch()?, state)),
            Role::Leading(_) | Role::Following(_) | Role::Looking(_) => None,
        })
    }

    fn pairs_of_running(
        &self,
    ) -> impl Iterator<Item = (&'a State<P>, &'a State<P>)> + use<'_, 'a, P> {
        self.running().flat_map(|(i, a)| {
            self.running()
                .filter(move |(j, _)| *j > i)
                .map(move |(_, b)| (a, b))
        })
    }
}

/// At most one established leader an epoch, at any one time.
pub fn leadership1<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.established().all(|(i, epoch, _)| {
        e.established()
            .all(|(j, other, _)| i == j || epoch != other)
    })
}

/// Two servers are established leaders at the same time: one of them does not know it is over.
pub fn two_leaders_at_once<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.established().count() > 1
}

/// At most one established leader an epoch, ever.
pub fn leadership2<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.record
        .leaders
        .iter()
        .all(|(_, leaders)| leaders.len() <= 1)
}

/// Two epochs have had a leader.
pub fn two_epochs_led<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.record.leaders.len() > 1
}

/// Of any two servers, one has delivered a prefix of what the other has.
pub fn prefix_consistency<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.pairs_of_running().all(|(a, b)| {
        a.committed() == Zxid::ZERO
            || b.committed() == Zxid::ZERO
            || delivered(a).iter().zip(delivered(b)).all(|(x, y)| *x == y)
    })
}

/// Two servers have delivered something, and not equally much.
pub fn two_have_delivered<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.pairs_of_running().any(|(a, b)| {
        let (a, b) = (delivered(a).len(), delivered(b).len());
        a > 0 && b > 0 && a != b
    })
}

/// What a server delivers was proposed by a leader.
pub fn integrity<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running().all(|(_, state)| {
        delivered(state)
            .iter()
            .all(|entry| e.record.proposed.contains(entry))
    })
}

/// A follower has delivered a transaction.
pub fn follower_delivered<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running()
        .any(|(_, state)| !state.is_leading() && !delivered(state).is_empty())
}

/// If one server delivers t and another u, then one of them has delivered both.
pub fn agreement<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.pairs_of_running().all(|(a, b)| {
        let (a, b) = (delivered(a), delivered(b));
        a.iter().all(|t| b.contains(t)) || b.iter().all(|u| a.contains(u))
    })
}

/// If a server delivers t before u, every server that delivers u has delivered t before it.
pub fn total_order<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    let ordered = |a: &[&Entry<P::Txn>], b: &[&Entry<P::Txn>]| {
        a.iter().enumerate().all(|(i, u)| {
            b.iter()
                .position(|entry| entry == u)
                .is_none_or(|j| a[..i].iter().all(|t| b[..j].contains(t)))
        })
    };
    e.pairs_of_running().all(|(a, b)| {
        let (a, b) = (delivered(a), delivered(b));
        ordered(&a, &b) && ordered(&b, &a)
    })
}

/// Two servers have delivered two transactions each.
pub fn two_have_delivered_two<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running()
        .filter(|(_, state)| delivered(state).len() >= 2)
        .count()
        >= 2
}

/// A server that delivers u has delivered, before it, every t that u's leader had proposed before.
/// Apache's version says "there are t and u", which may be the same, and so holds vacuously.
pub fn local_primary_order<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running().all(|(_, state)| {
        let delivered = delivered(state);
        delivered.iter().enumerate().all(|(i, u)| {
            e.record
                .proposed
                .iter()
                .filter(|t| t.zxid.epoch() == u.zxid.epoch() && t.zxid < u.zxid)
                .all(|t| delivered[..i].contains(&t))
        })
    })
}

/// A server has delivered two transactions of one leader.
pub fn two_of_one_epoch_delivered<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running().any(|(_, state)| {
        delivered(state)
            .windows(2)
            .any(|pair| pair[0].zxid.epoch() == pair[1].zxid.epoch())
    })
}

/// A server delivers transactions of an earlier epoch before those of a later one.
pub fn global_primary_order<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running()
        .all(|(_, state)| delivered(state).is_sorted_by_key(|entry| entry.zxid.epoch()))
}

/// A server has delivered transactions of two epochs.
pub fn two_epochs_delivered<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running().any(|(_, state)| {
        delivered(state)
            .windows(2)
            .any(|pair| pair[0].zxid.epoch() != pair[1].zxid.epoch())
    })
}

/// A leader that proposes has delivered every transaction of an earlier epoch that anyone has.
pub fn primary_integrity<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    proposing_leaders(e).all(|(epoch, state)| {
        let delivered = delivered(state);
        e.record
            .delivered
            .iter()
            .filter(|t| t.zxid.epoch() < epoch)
            .all(|t| delivered.contains(&t))
    })
}

/// A leader has proposed a transaction after one of an earlier epoch was delivered.
pub fn proposal_after_older_delivery<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    proposing_leaders(e).any(|(epoch, _)| e.record.delivered.iter().any(|t| t.zxid.epoch() < epoch))
}

/// The established leaders of the latest epoch that have proposed something in it.
fn proposing_leaders<'a, P: Recorded>(
    e: &Ensemble<'a, P>,
) -> impl Iterator<Item = (Epoch, &'a State<P>)> {
    e.established().filter_map(|(_, epoch, state)| {
        (state.storage().history.last_zxid().epoch() == epoch).then_some((epoch, state))
    })
}

/// What anyone has ever delivered is on the disks of a quorum, and the established leader of the
/// latest epoch has it.
pub fn committed_survives<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    let Some(last) = e.record.delivered.last() else {
        return true;
    };
    let holders = reconfiguration::holders(e, last);
    let on_quorum = reconfiguration::lacking(e, &holders).is_none();
    let latest = e.record.leaders.last().map(|(epoch, _)| *epoch);
    on_quorum
        && e.established()
            .filter(|(_, epoch, _)| Some(*epoch) == latest)
            .all(|(_, _, state)| {
                let prefix: Vec<_> = whole(state.storage())
                    .take_while(|t| t.zxid <= last.zxid)
                    .collect();
                prefix.len() == e.record.delivered.len()
                    && prefix.iter().zip(&e.record.delivered).all(|(a, b)| *a == b)
            })
}

/// A later leader is established after something was delivered in an earlier epoch.
pub fn leader_after_delivery<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    let first = e.record.delivered.first().map(|t| t.zxid.epoch());
    first.is_some_and(|first| e.established().any(|(_, epoch, _)| epoch > first))
}

/// Two histories that hold the same zxid agree on everything up to it.
pub fn history_identified<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    let histories = || {
        e.servers
            .iter()
            .flat_map(|s| s.state.map(State::storage).into_iter().chain([s.disk]))
    };
    histories().enumerate().all(|(i, a)| {
        histories()
            .skip(i)
            .all(|b| std::ptr::eq(a, b) || a.history == b.history || agree(a, b))
    })
}

fn agree<P: Recorded>(a: &Storage<P>, b: &Storage<P>) -> bool {
    let (a, b): (Vec<_>, Vec<_>) = (whole(a).collect(), whole(b).collect());
    let common = a.iter().rposition(|x| b.iter().any(|y| x.zxid == y.zxid));
    common.is_none_or(|last| a.get(..=last) == b.get(..=last))
}

/// Two servers' histories have a common transaction and different ends.
pub fn histories_fork<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.pairs_of_running().any(|(a, b)| {
        let ends = |s: &State<P>| s.storage().history.last_zxid();
        ends(a) != ends(b)
            && whole(a.storage()).next().is_some()
            && whole(a.storage()).next() == whole(b.storage()).next()
    })
}

/// Whoever has taken over an epoch holds its initial history, on disk and in memory, until it
/// promises a later epoch: then its history may be on the way to that of the later leader.
pub fn initial_history<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.servers.iter().all(|s| {
        s.state
            .map(State::storage)
            .into_iter()
            .chain([s.disk])
            .all(|storage| {
                e.record
                    .initial
                    .iter()
                    .filter(|(epoch, _)| {
                        *epoch == storage.current_epoch && *epoch == storage.accepted_epoch
                    })
                    .all(|(_, zxid)| *zxid == Zxid::ZERO || whole(storage).any(|t| t.zxid == *zxid))
            })
    })
}

/// A follower has taken over an epoch that did not begin with nothing.
pub fn history_taken_over<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.running()
        .filter(|(_, state)| !state.is_leading())
        .any(|(_, state)| {
            let current = state.storage().current_epoch;
            e.record
                .initial
                .iter()
                .any(|(epoch, zxid)| *epoch == current && *zxid > Zxid::ZERO)
        })
}

/// The current epoch is never above the accepted epoch, on disk and in memory.
pub fn epochs_ordered<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.servers.iter().all(|s| {
        s.state
            .map(State::storage)
            .into_iter()
            .chain([s.disk])
            .all(|storage| storage.current_epoch <= storage.accepted_epoch)
    })
}

/// A server has promised an epoch that it has not taken over yet.
pub fn epoch_promised<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    e.servers
        .iter()
        .any(|s| Epoch(0) < s.disk.current_epoch && s.disk.current_epoch < s.disk.accepted_epoch)
}

/// Whether what a server says in `message` is durable: its promise in AckEpoch, the epoch and the
/// history in Ack. The checker asks this of every message as it is sent.
pub fn is_durable<P: Payload>(disk: &Storage<P>, message: &Message<P>) -> bool {
    match message {
        Message::AckEpoch {
            epoch, last_zxid, ..
        } => disk.accepted_epoch >= *epoch && disk.history.covers(*last_zxid),
        Message::Ack { epoch, zxid } => disk.current_epoch >= *epoch && disk.history.covers(*zxid),
        // The leader's own promise.
        Message::NewEpoch { epoch, .. } => disk.accepted_epoch >= *epoch,
        Message::Notification(_)
        | Message::FollowerInfo { .. }
        | Message::Refuse { .. }
        | Message::Sync { .. }
        | Message::NewLeader { .. }
        | Message::Propose { .. }
        | Message::Commit { .. }
        | Message::Inform { .. } => true,
    }
}

/// No server says what is not durable (see [`is_durable`]).
pub fn durable_before_said<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    !e.record.said_too_early
}

/// A leader has been established, which takes acknowledgements.
pub fn leader_established<P: Recorded>(e: &Ensemble<'_, P>) -> bool {
    !e.record.leaders.is_empty()
}

/// Every invariant: id, predicate, witness.
pub fn all<P: Recorded>() -> Vec<Invariant<P>> {
    macro_rules! invariants {
        ($($holds:ident of $scope:ident / $witness:ident of $witness_scope:ident),* $(,)?) => {
            vec![$(Invariant {
                id: stringify!($holds),
                holds: $holds::<P>,
                scope: Scope::$scope,
                witness: $witness::<P>,
                witness_scope: Scope::$witness_scope,
                witness_id: stringify!($witness),
                explain: culprits::$holds::<P>,
            }),*]
        };
    }
    invariants![
        leadership1 of Pair / two_leaders_at_once of Pair,
        leadership2 of Record / two_epochs_led of Record,
        prefix_consistency of Pair / two_have_delivered of Pair,
        integrity of Server / follower_delivered of Pair,
        agreement of Pair / two_have_delivered of Pair,
        total_order of Pair / two_have_delivered_two of Pair,
        local_primary_order of Server / two_of_one_epoch_delivered of Pair,
        global_primary_order of Pair / two_epochs_delivered of Pair,
        primary_integrity of Server / proposal_after_older_delivery of Server,
        committed_survives of Ensemble / leader_after_delivery of Server,
        history_identified of Pair / histories_fork of Pair,
        initial_history of Server / history_taken_over of Server,
        epochs_ordered of Pair / epoch_promised of Pair,
        durable_before_said of Record / leader_established of Record,
        initial_history_integrity of Server / epoch_with_a_past_is_over of Server,
        history_consistency of Pair / leader_is_ahead of Pair,
        leader_completeness of Server / leader_after_delivery of Server,
        acknowledged_is_held of Pair / transaction_acknowledged of Pair,
        commit_held of Pair / follower_delivered of Pair,
        up_to_date of Record / serving_what_was_taken_over of Server,
        newcomer_told_everything of Record / newcomer_lacks_proposals of Pair,
        reconfigured_by_both of Ensemble / reconfiguration_delivered of Record,
        decided_alone_stays of Server / kept_out of Pair,
        in_force_once_committed of Server / membership_in_force of Server,
        one_leader_a_round of Ensemble / leader_supported of Ensemble,
        strongest_elected of Record / somebody_elected of Pair,
    ]
}
