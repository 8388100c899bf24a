//! Phase 3, broadcast: proposals, acknowledgements by a majority, commits in order.
//!
//! Spec: `spec/4-broadcast.md`. What it must never do: acknowledge what is not durable, commit what a
//! quorum has not acknowledged, or leave a gap.

use super::{
    Change, Difference, Entry, Leader, Memory, Message, Out, Payload, Role, Snapshot, Stage, State,
    Variant, Zab, send,
};
use crate::quorum::ServerSet;
use crate::types::{Epoch, ServerId, Zxid};
use std::borrow::Cow;

/// How many transactions a leader repeats to a learner in one tick.
const REPEAT: usize = 64;

impl<P: Payload> State<P> {
    /// The zxid that the next [`Msg::Propose`](super::Msg::Propose) will get, or `None` while this
    /// server cannot propose: it does not lead, is not established, or is on its way to a new epoch
    /// because the counter of the last one is full.
    pub fn next_zxid(&self) -> Option<Zxid> {
        let Role::Leading(leader) = &self.role else {
            return None;
        };
        let Stage::Broadcast {
            epoch,
            established: true,
            ..
        } = leader.stage
        else {
            return None;
        };
        let last = self.storage.history.last_zxid();
        let counter = if last.epoch() == epoch {
            last.counter()
        } else {
            0
        };
        Some(Zxid::new(epoch, counter.checked_add(1)?))
    }
}

impl<P: Payload> Zab<P> {
    /// Leader: a transaction of a client. With the last counter of the epoch used, the leader goes
    /// on to the next epoch with those who follow it; nobody has to be elected.
    ///
    /// Departs from ZooKeeper: D14 in `spec/deviations.toml`.
    pub(super) fn on_propose(&self, s: &mut Cow<State<P>>, txn: P::Txn, o: &mut Out<P>) {
        if s.next_zxid().is_none() {
            return; // The service keeps it until it can be.
        }
        let pending = self.in_force(s).next.is_some();
        match P::change(&txn) {
            Some(Change::Proposed(_)) if pending => {} // One after the other.
            Some(Change::InForce) => {}                // That is for the leader itself to say.
            Some(Change::Proposed(_)) | None => self.propose(s.to_mut(), txn, o),
        }
        if self.config.variant == Variant::InForceWhenProposed
            && self.in_force(s).next.is_some()
            && let Some(txn) = P::in_force()
        {
            self.propose(s.to_mut(), txn, o);
        }
    }

    /// Leader: the next transaction of the epoch.
    pub(super) fn propose(&self, s: &mut State<P>, txn: P::Txn, o: &mut Out<P>) {
        let Some(zxid) = s.next_zxid() else { return };
        let after = s.storage.history.last_zxid();
        let entry = Entry { zxid, txn };
        s.storage.history.append(zxid, entry.txn.clone());
        self.save(s, o);
        // Who has been observing until now lacks what is not committed: it is repeated to it.
        let observers = self.in_force(s).observers();
        for peer in self.synchronized(s).difference(&observers).iter() {
            send(
                peer,
                Message::Propose {
                    epoch: zxid.epoch(),
                    after,
                    entry: entry.clone(),
                },
                o,
            );
        }
        if zxid.counter() >= self.config.max_counter {
            o.set_timer(
                super::Timer::Establish,
                super::at(self.config.establish_timeout),
            );
            self.propose_epoch(s, s.storage.accepted_epoch, o);
        }
    }

    /// Follower: the next transaction of the epoch.
    #[allow(clippy::too_many_arguments)] // One for each field of the message.
    pub(super) fn on_proposal(
        &self,
        s: &mut Cow<State<P>>,
        peer: ServerId,
        epoch: Epoch,
        after: Zxid,
        entry: Entry<P::Txn>,
        o: &mut Out<P>,
    ) {
        let variant = self.config.variant;
        let known = || s.storage.history.entries().contains(&entry);
        let out_of_order = match variant {
            Variant::StaleProposalAccepted => epoch < s.storage.current_epoch && !known(),
            Variant::ProposalTwice => self.has_taken_over(s, peer, epoch) && known(),
            _ => false,
        };
        if out_of_order {
            let s = s.to_mut();
            s.storage.history.append_out_of_order(entry);
            return self.save(s, o);
        }
        if !self.has_taken_over(s, peer, epoch) || entry.zxid.epoch() != epoch {
            return; // Of another term, or too early: the leader will repeat it.
        }
        self.heard_from(peer, o);
        let last = s.storage.history.last_zxid();
        let follows = after == last && entry.zxid > last;
        let gap = variant == Variant::GapAccepted && entry.zxid > last;
        if !follows && !gap {
            return; // Known, or there is a gap before it.
        }
        let s = s.to_mut();
        let zxid = match variant {
            Variant::FollowerCounts => Zxid::new(epoch, last.counter() + 1),
            _ => entry.zxid,
        };
        s.storage.history.append(zxid, entry.txn);
        self.save(s, o);
        if variant == Variant::DeliverProposal {
            s.committed = s.storage.history.last_zxid();
        }
        if variant == Variant::AckBeforeSaved {
            self.say_last_word(s, o);
        }
    }

    /// Learner: says that everything up to here is durable, if it is, in this epoch.
    pub(super) fn acknowledge(&self, s: &State<P>, leader: ServerId, epoch: Epoch, o: &mut Out<P>) {
        let zxid = match self.config.variant {
            Variant::AckBeforeSaved | Variant::SaveAtUpToDate => s.storage.history.last_zxid(),
            Variant::AckBeforeEpoch if s.durable.last_zxid > Zxid::ZERO => s.durable.last_zxid,
            Variant::CurrentAtUpToDate => s.durable.last_zxid,
            _ if s.durable.current_epoch == epoch => s.durable.last_zxid,
            _ => return, // Said as soon as it is durable.
        };
        send(leader, Message::Ack { epoch, zxid }, o);
    }

    /// Leader: a learner has made everything up to `zxid` durable in this epoch.
    ///
    /// Departs from ZooKeeper: D01, D16 in `spec/deviations.toml`.
    pub(super) fn on_ack(
        &self,
        me: ServerId,
        s: &mut Cow<State<P>>,
        peer: ServerId,
        epoch: Epoch,
        zxid: Zxid,
        o: &mut Out<P>,
    ) {
        let Role::Leading(leader) = &s.role else {
            return;
        }; // Of an earlier term.
        let Stage::Broadcast {
            epoch: ours,
            initial,
            ref acked,
            established,
            ..
        } = leader.stage
        else {
            return; // Of an earlier term.
        };
        // What lies before the start of this history is in its snapshot, so it is known as well.
        let history = &s.storage.history;
        let known_here = history.covers(zxid)
            || self.holds(history, zxid)
            || self.config.variant == Variant::NoTrunc;
        if ours != epoch || !known_here {
            return; // Of an earlier term, or not a word of this protocol.
        }
        self.heard_from(peer, o);
        let known = acked.get(&peer).copied();
        if known.is_some_and(|known| known >= zxid) && leader.active.contains(peer) {
            // An old word, or that of a server whose disk was replaced: it lacks what comes next.
            return self.send_entries(s, peer, epoch, zxid, 1, o);
        }
        let s = s.to_mut();
        let Role::Leading(leader) = &mut s.role else {
            unreachable!()
        };
        leader.active.insert(peer);
        let Stage::Broadcast { acked, .. } = &mut leader.stage else {
            unreachable!()
        };
        acked.insert(peer, known.map_or(zxid, |known| known.max(zxid)));
        if zxid >= s.committed {
            self.on_newcomer_synchronized(s, peer, o);
        }
        if known.is_none() {
            // From now on it gets every new proposal; these are the ones before.
            if self.config.variant != Variant::NewcomerNotCaughtUp {
                self.send_entries(s, peer, epoch, zxid, usize::MAX, o);
            }
            if established {
                let zxid = match self.config.variant {
                    Variant::NewcomerToldInitial => initial,
                    _ => s.committed,
                };
                let counts = self.counts(s, peer);
                let commit = Message::Commit {
                    epoch,
                    zxid,
                    counts,
                };
                send(peer, commit, o);
            }
        }
        self.advance_commit(me, s, o);
    }

    /// Leader: what a quorum of the voters has made durable is committed. The first time, that is
    /// the initial history, and the leader is established.
    pub(super) fn advance_commit(&self, me: ServerId, s: &mut State<P>, o: &mut Out<P>) {
        let Role::Leading(leader) = &s.role else {
            return;
        };
        let Stage::Broadcast {
            epoch,
            initial,
            ref acked,
            established,
            ..
        } = leader.stage
        else {
            return;
        };
        let own = (s.durable.current_epoch == epoch).then_some((me, s.durable.last_zxid));
        let votes = || {
            let all = acked.iter().map(|(peer, zxid)| (*peer, *zxid)).chain(own);
            all.filter(|(sid, _)| self.counts(s, *sid))
        };
        let in_force = self.in_force_for_commit(s);
        let has_quorum = |zxid: Zxid| {
            let holders = votes()
                .filter(|(_, acked)| *acked >= zxid)
                .map(|(peer, _)| peer);
            self.is_quorum(in_force, &holders.collect())
        };
        let committed = match self.config.variant {
            Variant::CommitWithoutQuorum if established => Some(s.storage.history.last_zxid()),
            Variant::ServeBeforeQuorum if !established => Some(initial),
            _ => votes()
                .map(|(_, zxid)| zxid)
                .filter(|zxid| has_quorum(*zxid))
                .max(),
        };
        let Some(committed) = committed else { return };
        if established && committed <= s.committed {
            return;
        }
        let before = s.committed;
        s.committed = before.max(committed);
        let Role::Leading(leader) = &mut s.role else {
            unreachable!()
        };
        let Stage::Broadcast {
            established: now_established,
            ..
        } = &mut leader.stage
        else {
            unreachable!()
        };
        *now_established = true;
        leader.serving = true;
        if !established {
            o.cancel_timer(super::Timer::Establish);
        }
        self.admit(me, s, o);
        let synchronized = self.synchronized(s);
        let observers = self.in_force(s).observers();
        for peer in synchronized.iter() {
            if established && observers.contains(peer) {
                self.send_entries(s, peer, epoch, before, usize::MAX, o);
            } else {
                let (zxid, counts) = (s.committed, self.counts(s, peer));
                let commit = Message::Commit {
                    epoch,
                    zxid,
                    counts,
                };
                send(peer, commit, o);
            }
        }
        self.settle(me, s, o);
        self.prove_leadership(s, o);
    }

    /// Leader: a membership that is proposed and committed is put in force; and a leader that has no vote by the
    /// one that is in force, and committed to be, gives up. Then a quorum of that membership knows of it.
    fn settle(&self, me: ServerId, s: &mut State<P>, o: &mut Out<P>) {
        let in_force = s.storage.history.in_force(&self.config.membership);
        let committed = s.committed;
        match in_force.next {
            Some((zxid, _)) if zxid <= committed => {
                if let Some(txn) = P::in_force() {
                    self.propose(s, txn, o);
                }
            }
            Some(_) => {}
            None => {
                let mut changes = s.storage.history.changes().iter();
                let is_known = changes.all(|(zxid, _)| *zxid <= committed);
                if is_known && !in_force.now.voters.contains(me) {
                    self.abandon(me, s, o);
                }
            }
        }
    }

    /// Learner: everything up to here is committed, and the leader is established.
    ///
    /// Departs from ZooKeeper: D02, D16 in `spec/deviations.toml`.
    #[allow(clippy::too_many_arguments)] // One for each field of the message.
    pub(super) fn on_commit(
        &self,
        s: &mut Cow<State<P>>,
        peer: ServerId,
        epoch: Epoch,
        zxid: Zxid,
        counts: bool,
        o: &mut Out<P>,
    ) {
        if !self.has_taken_over(s, peer, epoch) {
            return; // Of another term, or too early: the leader will repeat it.
        }
        self.heard_from(peer, o);
        if counts && s.storage.memory != Memory::Kept {
            let s = s.to_mut();
            s.storage.memory = Memory::Kept;
            self.save(s, o);
        }
        // What is not here yet will be committed by a repetition.
        let committed = match self.config.variant {
            Variant::CommitUnheld => zxid,
            Variant::ServeUndelivered if !s.serving() => s.committed,
            _ => zxid.min(s.storage.history.last_zxid()),
        };
        if committed > s.committed || !s.serving() {
            let s = s.to_mut();
            if self.config.variant == Variant::SaveAtUpToDate && !s.serving() {
                self.save(s, o);
            }
            s.committed = s.committed.max(committed);
            self.begin_serving(s, o);
            if self.config.variant == Variant::CurrentAtUpToDate {
                self.save(s, o);
            }
        }
    }

    /// Observer: the next committed transaction.
    ///
    /// Departs from ZooKeeper: D10 in `spec/deviations.toml`.
    #[allow(clippy::too_many_arguments)] // One for each field of the message.
    pub(super) fn on_inform(
        &self,
        s: &mut Cow<State<P>>,
        peer: ServerId,
        epoch: Epoch,
        after: Zxid,
        entry: Entry<P::Txn>,
        o: &mut Out<P>,
    ) {
        if !self.has_taken_over(s, peer, epoch) || entry.zxid.epoch() != epoch {
            return; // Of another term, or too early: the leader will repeat it.
        }
        self.heard_from(peer, o);
        let last = s.storage.history.last_zxid();
        if after != last || entry.zxid <= last {
            return; // Known, or there is a gap before it.
        }
        let s = s.to_mut();
        s.committed = entry.zxid;
        s.storage.history.append(entry.zxid, entry.txn);
        self.begin_serving(s, o);
        self.save(s, o);
    }

    /// Whether this server follows `peer` in `epoch` and has taken that epoch over.
    fn has_taken_over(&self, s: &State<P>, peer: ServerId, epoch: Epoch) -> bool {
        self.takes_part(s, peer, epoch) && s.storage.current_epoch == epoch
    }

    fn begin_serving(&self, s: &mut State<P>, o: &mut Out<P>) {
        if let Role::Following(follower) = &mut s.role {
            if !follower.serving {
                o.cancel_timer(super::Timer::Establish);
            }
            follower.serving = true;
        }
    }

    /// Leader: something of its own has become durable.
    pub(super) fn on_leader_saved(&self, me: ServerId, s: &mut State<P>, o: &mut Out<P>) {
        let Role::Leading(leader) = &s.role else {
            return;
        };
        match &leader.stage {
            Stage::Discovery { .. } => {}
            Stage::NewEpoch { reports, .. } => {
                let waiting = leader
                    .active
                    .iter()
                    .filter(|peer| !reports.contains_key(peer));
                self.announce_epoch(me, s, waiting.collect(), o);
                self.conclude_discovery(me, s, o);
            }
            Stage::Broadcast { .. } => self.advance_commit(me, s, o),
        }
    }

    /// Leader: on a tick, says to each learner what by its last word it may lack.
    pub(super) fn repeat_to_learners(&self, me: ServerId, s: &mut Cow<State<P>>, o: &mut Out<P>) {
        let Role::Leading(leader) = &s.role else {
            return;
        };
        let (epoch, acked, established) = match &leader.stage {
            Stage::Discovery { .. } => return, // The next word is the followers'.
            Stage::NewEpoch { reports, .. } => {
                let waiting = leader
                    .active
                    .iter()
                    .filter(|peer| !reports.contains_key(peer));
                return self.announce_epoch(me, s, waiting.collect(), o);
            }
            Stage::Broadcast {
                epoch,
                acked,
                established,
                ..
            } => (*epoch, acked, *established),
        };
        for peer in leader.active.iter() {
            match acked.get(&peer) {
                None => self.announce_epoch(me, s, ServerSet::of(peer), o),
                Some(zxid) => {
                    self.send_entries(s, peer, epoch, *zxid, REPEAT, o);
                    if established {
                        let (zxid, counts) = (s.committed, self.counts(s, peer));
                        let commit = Message::Commit {
                            epoch,
                            zxid,
                            counts,
                        };
                        send(peer, commit, o);
                    }
                }
            }
        }
    }

    /// The learners that are synchronized in the epoch of this leader.
    fn synchronized(&self, s: &State<P>) -> ServerSet {
        match &s.role {
            Role::Leading(leader) => match &leader.stage {
                Stage::Broadcast { acked, .. } => acked.keys().copied().collect(),
                Stage::Discovery { .. } | Stage::NewEpoch { .. } => ServerSet::EMPTY,
            },
            Role::Looking(_) | Role::Following(_) => ServerSet::EMPTY,
        }
    }

    /// Leader: sends up to `limit` transactions after `from`: proposals to a follower, what is
    /// committed to an observer.
    fn send_entries(
        &self,
        s: &State<P>,
        peer: ServerId,
        epoch: Epoch,
        from: Zxid,
        limit: usize,
        o: &mut Out<P>,
    ) {
        if from < s.storage.history.start() {
            // The next ones are not kept any more: the learner would not see that some are missing.
            return self.send_snapshot(s, peer, epoch, o);
        }
        for message in self.entries(s, peer, epoch, from).take(limit) {
            send(peer, message, o);
        }
    }

    /// Leader: the transactions after `from` as they are sent: proposals to a follower, what is committed to an
    /// observer. Whoever runs the actor may send again what it has sent, as a network would.
    pub fn entries<'a>(
        &self,
        s: &'a State<P>,
        peer: ServerId,
        epoch: Epoch,
        from: Zxid,
    ) -> impl Iterator<Item = Message<P>> + use<'a, P> {
        let observer = self.in_force(s).observers().contains(peer);
        let mut after = from;
        let entries = s.storage.history.after(from);
        let sent = entries.take_while(move |entry| !observer || entry.zxid <= s.committed);
        sent.map(move |entry| {
            let before = std::mem::replace(&mut after, entry.zxid);
            let (after, entry) = (before, entry.clone());
            match observer {
                true => Message::Inform {
                    epoch,
                    after,
                    entry,
                },
                false => Message::Propose {
                    epoch,
                    after,
                    entry,
                },
            }
        })
    }

    /// Leader: brings a learner of this epoch to the snapshot. What comes after it follows when the
    /// learner has acknowledged that.
    fn send_snapshot(&self, s: &State<P>, peer: ServerId, epoch: Epoch, o: &mut Out<P>) {
        let step = Difference::Snap {
            snapshot: s.storage.history.snapshot().clone(),
            entries: Vec::new(),
        };
        let lineage = s.storage.lineage.clone();
        let sync = Message::Sync {
            epoch,
            step,
            lineage,
        };
        send(peer, sync, o);
    }

    /// The service has a snapshot at a committed transaction: older ones need not be kept, except
    /// those that a learner at work has not acknowledged yet.
    pub(super) fn on_snapshot(
        &self,
        s: &mut State<P>,
        snapshot: Snapshot<P::Snapshot>,
        o: &mut Out<P>,
    ) {
        let keep_after = match &s.role {
            Role::Leading(Leader {
                active,
                stage: Stage::Broadcast { acked, .. },
                ..
            }) => active
                .iter()
                .filter_map(|peer| acked.get(&peer))
                .min()
                .copied(),
            Role::Leading(_) | Role::Following(_) | Role::Looking(_) => None,
        };
        let keep_after = keep_after.unwrap_or(snapshot.zxid);
        let history = &mut s.storage.history;
        // A snapshot tells of one membership: while one is being replaced there is none.
        let at_snapshot = history.in_force_at(&self.config.membership, snapshot.zxid);
        let newer = snapshot.zxid > history.snapshot().zxid
            && snapshot.zxid <= s.committed
            && at_snapshot.next.is_none();
        if newer && history.contains(snapshot.zxid) {
            history.compact(snapshot, self.config.retain, keep_after);
            self.save(s, o);
        }
    }
}
