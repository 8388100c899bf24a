//! Phase 2, synchronization: every learner is brought to the initial history of the epoch.
//!
//! Spec: `spec/3-synchronization.md`. What it must never do: make the current epoch durable before
//! the history that belongs to it, acknowledge before both are, or remove what is committed.

use super::newcomers::BEHIND;
use super::{Difference, History, Lineage, Mark, Memory, Message, Out, Payload, Recency};
use super::{Role, Stage, State, Storage, Term, Variant, Zab, send};
use crate::quorum::ServerSet;
use crate::types::{Epoch, ServerId, Zxid};
use std::borrow::Cow;
use std::collections::BTreeMap;

impl<P: Payload> Zab<P> {
    /// Leader: the history is the initial history of `epoch`; take over the epoch.
    pub(super) fn begin_synchronization(
        &self,
        me: ServerId,
        s: &mut State<P>,
        epoch: Epoch,
        newcomers: ServerSet,
        draws: BTreeMap<ServerId, u64>,
        o: &mut Out<P>,
    ) {
        let term = Term {
            epoch,
            name: s.storage.epoch_name(me),
            after: s.storage.history.last_zxid(),
            voters: match s.storage.history.tells_members() {
                true => ServerSet::EMPTY,
                false => self.in_force(s).voters(),
            },
        };
        let Role::Leading(leader) = &mut s.role else {
            return;
        };
        leader.stage = Stage::Broadcast {
            epoch,
            initial: s.storage.history.last_zxid(),
            acked: BTreeMap::new(),
            newcomers: newcomers.iter().map(|sid| (sid, BEHIND)).collect(),
            draws,
            established: false,
        };
        s.storage.lineage = s.storage.lineage.begin(term);
        if newcomers.contains(me) {
            s.storage.memory = Memory::Forgot;
        }
        // The history was handed over before, and saves become durable in order.
        s.storage.current_epoch = epoch;
        self.save(s, o);
    }

    /// Leader: a learner's history ends at `last`; send it the next step towards the initial
    /// history. A function of the epoch and of the learner's word alone, so saying it twice says
    /// nothing new.
    ///
    /// Departs from ZooKeeper: D07, D08 in `spec/deviations.toml`.
    pub(super) fn synchronize(&self, s: &State<P>, peer: ServerId, last: Zxid, o: &mut Out<P>) {
        let Role::Leading(leader) = &s.role else {
            return;
        };
        let Stage::Broadcast { epoch, initial, .. } = leader.stage else {
            return;
        };
        let history = &s.storage.history;
        let mut end = initial;
        if self.holds(history, last) {
            end = initial.max(last); // An earlier snapshot of this epoch may have brought it there.
        }
        if let Some(mut step) = self.step_towards(history, leader.had, last, initial) {
            match &mut step {
                // What comes after the initial history is sent as proposals.
                Difference::Trunc { to, .. } => *to = initial.min(*to),
                Difference::Diff { .. } => {}
                Difference::Snap { snapshot, .. } => end = initial.max(snapshot.zxid),
            }
            let dropped =
                self.config.variant == Variant::NoTrunc && matches!(step, Difference::Trunc { .. });
            if !dropped {
                let lineage = s.storage.lineage.clone();
                let sync = Message::Sync {
                    epoch,
                    step,
                    lineage,
                };
                send(peer, sync, o);
            }
        }
        let new_leader = Message::NewLeader {
            epoch,
            last_zxid: end,
            lineage: s.storage.lineage.clone(),
            counts: self.counts(s, peer),
        };
        send(peer, new_leader, o);
    }

    /// Learner: a step towards the leader's history.
    ///
    /// Departs from ZooKeeper: D09 in `spec/deviations.toml`.
    #[allow(clippy::too_many_arguments)] // One for each field of the message.
    pub(super) fn on_sync(
        &self,
        me: ServerId,
        s: &mut Cow<State<P>>,
        peer: ServerId,
        epoch: Epoch,
        step: Difference<P>,
        lineage: &Lineage,
        o: &mut Out<P>,
    ) {
        // A server that has the initial history already takes a snapshot ahead of all that it has:
        // the leader of its epoch does not keep what lies between. Its history is a prefix of the
        // leader's, and a snapshot is committed.
        let ahead = matches!(&step, Difference::Snap { snapshot, .. }
            if snapshot.zxid > s.storage.history.last_zxid());
        let takes = s.storage.current_epoch < epoch || (s.storage.current_epoch == epoch && ahead);
        if !self.takes_part(s, peer, epoch) || !takes {
            return; // Of another term, or an answer to an earlier word.
        }
        self.heard_from(peer, o);
        if self.refuses_to_be_cut(me, s, peer, epoch, lineage, o) {
            return;
        }
        let Some(history) = s.storage.history.apply(&step, s.committed) else {
            return; // It does not start where this history ends: the answer to an earlier word.
        };
        if history.last_zxid().epoch() > epoch {
            return; // Of the future: not a word of this protocol.
        }
        if history.last_zxid() == s.storage.history.last_zxid() {
            return; // Done before: a history is identified by its last zxid.
        }
        let s = s.to_mut();
        // In an epoch that is taken over, its own term stays.
        s.storage.lineage = match s.storage.current_epoch == epoch {
            true => lineage.clone(),
            false => lineage.up_to(history.last_zxid()),
        };
        self.replace_history(s, epoch, history, o);
        self.say_last_word(s, o);
    }

    /// Learner: if this history is the initial history of the epoch, take over the epoch.
    #[allow(clippy::too_many_arguments)] // One for each field of the message.
    pub(super) fn on_new_leader(
        &self,
        me: ServerId,
        s: &mut Cow<State<P>>,
        peer: ServerId,
        epoch: Epoch,
        last_zxid: Zxid,
        lineage: Lineage,
        counts: bool,
        o: &mut Out<P>,
    ) {
        if !self.takes_part(s, peer, epoch) {
            return; // Of another term.
        }
        self.heard_from(peer, o);
        if s.storage.current_epoch >= epoch {
            return; // Taken over before.
        }
        let complete = self.stands_at(s).last_zxid == last_zxid
            || (self.config.variant == Variant::NoTrunc && s.storage.history.contains(last_zxid));
        if !complete {
            return; // Steps are missing, or still to come.
        }
        if self.refuses_to_be_cut(me, s, peer, epoch, &lineage, o) {
            return;
        }
        let s = s.to_mut();
        s.storage.current_epoch = epoch;
        s.storage.lineage = lineage;
        if !counts {
            s.storage.memory = Memory::Forgot;
        }
        self.save_synchronized(s, o);
        if self.config.variant == Variant::AckNewLeaderBeforeSaved {
            let zxid = last_zxid;
            send(peer, Message::Ack { epoch, zxid }, o);
        }
        self.say_last_word(s, o);
    }

    /// Learner: refuses the leader if this history is none that can go on with the leader's.
    fn refuses_to_be_cut(
        &self,
        me: ServerId,
        s: &mut Cow<State<P>>,
        peer: ServerId,
        epoch: Epoch,
        lineage: &Lineage,
        o: &mut Out<P>,
    ) -> bool {
        let Err(divergence) = self.may_be_cut(me, s, lineage) else {
            return false;
        };
        let has = Recency {
            current_epoch: epoch,
            last_zxid: divergence.other,
        };
        self.refuse(me, s.to_mut(), peer, epoch, has, divergence, o);
        true
    }

    /// Whether this server follows `peer` in `epoch`.
    pub(super) fn takes_part(&self, s: &State<P>, peer: ServerId, epoch: Epoch) -> bool {
        match &s.role {
            Role::Following(follower) => follower.leader == peer && follower.epoch == Some(epoch),
            Role::Looking(_) | Role::Leading(_) => false,
        }
    }

    /// Takes over a history that holds everything committed. A snapshot in it is committed too.
    pub(super) fn replace_history(
        &self,
        s: &mut State<P>,
        epoch: Epoch,
        history: History<P>,
        o: &mut Out<P>,
    ) {
        if self.config.variant == Variant::EpochBeforeHistory && s.following().is_some() {
            // The actor does not rely on it: nothing is acknowledged before the history is durable.
            s.pending.push_back(Mark::from(&s.storage));
            o.save(Storage {
                current_epoch: epoch,
                ..s.storage.clone()
            });
        }
        s.committed = s.committed.max(history.snapshot().zxid);
        let old = std::mem::replace(&mut s.storage.history, history);
        self.save_snapshot_in_parts(s, &old, epoch, o);
        self.save_synchronized(s, o);
    }

    fn save_synchronized(&self, s: &mut State<P>, o: &mut Out<P>) {
        if self.config.variant != Variant::SaveAtUpToDate {
            self.save(s, o);
        }
    }

    /// Learner: how recent its history is.
    pub(super) fn stands_at(&self, s: &State<P>) -> Recency {
        let last_zxid = match self.config.variant {
            Variant::MemoryKept => s.committed,
            Variant::QueueKept => s.durable.last_zxid,
            _ => s.storage.history.last_zxid(),
        };
        Recency {
            last_zxid,
            ..s.recency()
        }
    }

    /// Learner: says what the leader should know of this server, as far as it is durable.
    pub(super) fn say_last_word(&self, s: &State<P>, o: &mut Out<P>) {
        let Role::Following(follower) = &s.role else {
            return;
        };
        let Some(epoch) = follower.epoch else {
            let accepted_epoch = s.storage.accepted_epoch;
            return send(follower.leader, Message::FollowerInfo { accepted_epoch }, o);
        };
        if s.storage.current_epoch < epoch {
            self.ack_epoch(s, follower, epoch, o);
        } else {
            self.acknowledge(s, follower.leader, epoch, o);
        }
    }
}
