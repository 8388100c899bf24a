//! Phase 1, discovery: a new epoch, promised by a quorum, and the most recent history of the quorum.
//!
//! Spec: `spec/2-discovery.md`. What it must never do: let two leaders have the promise of a quorum
//! for one epoch, or begin an epoch without everything that an earlier one may have committed.

use super::lineage::Line;
use super::newcomers::remembers;
use super::{Difference, Follower, History, Leader, Lineage, Mark, Message, Out, Payload, Recency};
use super::{Report, Role, Stage, State, Variant, Zab, send};
use crate::quorum::ServerSet;
use crate::types::{Epoch, EpochName, Round, ServerId, Zxid};
use std::borrow::Cow;
use std::collections::BTreeMap;

impl<P: Payload> Zab<P> {
    /// Becomes a follower of `leader`, or an observer of it.
    pub(super) fn follow(&self, s: &mut State<P>, leader: ServerId, round: Round, o: &mut Out<P>) {
        s.role = Role::Following(Follower {
            leader,
            round,
            epoch: None,
            promised: false,
            leader_has: Recency::default(),
            serving: false,
        });
        self.heard_from(leader, o);
        self.say_last_word(s, o);
    }

    /// Becomes a prospective leader.
    pub(super) fn lead(&self, me: ServerId, s: &mut State<P>, round: Round, o: &mut Out<P>) {
        s.role = Role::Leading(Leader {
            round,
            active: ServerSet::EMPTY,
            serving: false,
            had: Recency::default(),
            had_lineage: Lineage::default(),
            stage: Stage::Discovery {
                highest: s.storage.accepted_epoch,
            },
        });
        if self.config.variant == Variant::LogTakenForCommitted {
            s.committed = s.storage.history.last_zxid();
        }
        self.choose_epoch(me, s, o);
    }

    /// Leader: a server follows us.
    ///
    /// Departs from ZooKeeper: D06, D51 in `spec/deviations.toml`.
    pub(super) fn on_follower_info(
        &self,
        me: ServerId,
        s: &mut Cow<State<P>>,
        peer: ServerId,
        accepted_epoch: Epoch,
        o: &mut Out<P>,
    ) {
        let Role::Leading(leader) = &s.role else {
            return;
        }; // Meant for an earlier term, or early.
        if let Some(diverged) = s.diverged.get(&peer) {
            // Neither its epoch nor its vote counts here.
            let epoch = leader.epoch().unwrap_or_default();
            return self.say_refused(s, peer, epoch, diverged.divergence, o);
        }
        let votes = self.in_force(s).votes(peer);
        if votes && leader.epoch().is_some_and(|epoch| accepted_epoch > epoch) {
            // It can never accept our epoch. A new election will find one that it can.
            return self.abandon(me, s.to_mut(), o);
        }
        self.heard_from(peer, o);
        let discovering = matches!(leader.stage, Stage::Discovery { .. });
        if discovering || !leader.active.contains(peer) {
            let Role::Leading(leader) = &mut s.to_mut().role else {
                unreachable!()
            };
            leader.active.insert(peer);
            if let Stage::Discovery { highest } = &mut leader.stage {
                // Whoever has no vote promises nothing that counts, and may have seen any epoch.
                if votes {
                    *highest = accepted_epoch.max(*highest);
                }
                return self.choose_epoch(me, s.to_mut(), o);
            }
        }
        self.announce_epoch(me, s, ServerSet::of(peer), o);
    }

    /// Leader: with the accepted epochs of a quorum known, propose one above them all.
    fn choose_epoch(&self, me: ServerId, s: &mut State<P>, o: &mut Out<P>) {
        let Role::Leading(leader) = &s.role else {
            return;
        };
        let Stage::Discovery { highest } = leader.stage else {
            return;
        };
        if self.is_quorum_with(self.in_force(s), me, &leader.active) {
            self.propose_epoch(s, highest, o);
        }
    }

    /// Leader: proposes the epoch after `highest`, once it is durable here.
    ///
    /// Departs from ZooKeeper: D03 in `spec/deviations.toml`.
    pub(super) fn propose_epoch(&self, s: &mut State<P>, highest: Epoch, o: &mut Out<P>) {
        let next = match self.config.variant {
            Variant::NoNewEpoch if highest > Epoch(0) => Some(highest),
            _ => highest.next(),
        };
        // After the last epoch that fits in 32 bits there is no other: such a server leads no more.
        let Some(epoch) = next else { return };
        let Role::Leading(leader) = &mut s.role else {
            return;
        };
        leader.stage = Stage::NewEpoch {
            epoch,
            reports: BTreeMap::new(),
        };
        leader.had = Recency::of(&s.storage);
        leader.had_lineage = s.storage.known_lineage();
        if self.config.variant != Variant::LeaderPromisesNothing {
            s.storage.accepted_epoch = epoch;
        }
        if self.config.variant == Variant::CurrentWhenProposed {
            s.storage.current_epoch = epoch;
        }
        self.save(s, o);
    }

    /// Leader: the promise of the leader itself is durable, so the epoch may be proposed.
    pub(super) fn announce_epoch(&self, me: ServerId, s: &State<P>, to: ServerSet, o: &mut Out<P>) {
        let Role::Leading(leader) = &s.role else {
            return;
        };
        let Some(epoch) = leader.epoch() else { return };
        if !self.has_promised(s.durable, epoch) {
            return; // Said as soon as it is durable.
        }
        let Recency {
            current_epoch,
            last_zxid,
        } = leader.had;
        for peer in to.iter() {
            send(
                peer,
                Message::NewEpoch {
                    epoch,
                    name: s.storage.epoch_name(me),
                    current_epoch,
                    last_zxid,
                    lineage: leader.had_lineage.clone(),
                },
                o,
            );
        }
    }

    /// Leader: whether its own promise of the epoch that it proposes is durable.
    fn has_promised(&self, durable: Mark, epoch: Epoch) -> bool {
        durable.accepted_epoch == epoch || self.config.variant == Variant::LeaderPromisesNothing
    }

    /// Learner: promise the epoch, unless a later one is promised already.
    ///
    /// Departs from ZooKeeper: D05, D50 in `spec/deviations.toml`.
    #[allow(clippy::too_many_arguments)] // One for each field of the message.
    pub(super) fn on_new_epoch(
        &self,
        me: ServerId,
        s: &mut Cow<State<P>>,
        peer: ServerId,
        (epoch, name): (Epoch, EpochName),
        leader_has: Recency,
        lineage: &Lineage,
        o: &mut Out<P>,
    ) {
        let Role::Following(follower) = &s.role else {
            return;
        }; // Not, or no more, its follower.
        if follower.leader != peer {
            return; // Meant for an earlier term of ours.
        }
        let stale = epoch < s.storage.accepted_epoch;
        if stale && self.config.variant != Variant::StaleEpochAccepted {
            return; // Promised to somebody else, who is later. Our FollowerInfo will tell.
        }
        self.heard_from(peer, o);
        if follower.epoch == Some(epoch) {
            return self.say_last_word(s, o); // The leader has not heard our answer.
        }
        let is_one = self.is_epoch(s, epoch, name, leader_has);
        if let Err(divergence) = is_one.and_then(|()| self.compare(me, s, leader_has, lineage)) {
            return self.refuse(me, s.to_mut(), peer, epoch, leader_has, divergence, o);
        }
        let can_promise = epoch > s.storage.accepted_epoch
            || matches!(
                self.config.variant,
                Variant::StaleEpochAccepted | Variant::NoNewEpoch
            );
        let s = s.to_mut();
        let Role::Following(follower) = &mut s.role else {
            unreachable!()
        };
        follower.epoch = Some(epoch);
        follower.promised = can_promise;
        follower.leader_has = leader_has;
        if can_promise {
            if self.config.variant != Variant::CurrentWithoutAccepted {
                s.storage.accepted_epoch = epoch;
            }
            self.save(s, o);
        }
        self.say_last_word(s, o);
    }

    /// Learner: the promise and where the history ends, once both are durable.
    ///
    /// Departs from ZooKeeper: D04 in `spec/deviations.toml`.
    pub(super) fn ack_epoch(
        &self,
        s: &State<P>,
        follower: &Follower,
        epoch: Epoch,
        o: &mut Out<P>,
    ) {
        let waits = !matches!(
            self.config.variant,
            Variant::PromiseBeforeSaved | Variant::QueueKept
        );
        if waits && !s.pending.is_empty() {
            return;
        }
        let recency = self.stands_at(s);
        let Recency {
            current_epoch,
            last_zxid,
        } = recency;
        let newer = (recency > follower.leader_has).then(|| {
            let history = &s.storage.history;
            match history.difference(follower.leader_has.last_zxid, last_zxid) {
                // The leader has parts that this history lacks: it gets everything.
                Some(Difference::Trunc { .. }) | None => Box::new(history.whole()),
                Some(step @ (Difference::Diff { .. } | Difference::Snap { .. })) => Box::new(step),
            }
        });
        let promise = follower.promised;
        let ack = Message::AckEpoch {
            epoch,
            current_epoch,
            last_zxid,
            promise,
            lineage: s.storage.known_lineage(),
            memory: s.storage.memory,
            draw: s.storage.draw,
            newer,
        };
        send(follower.leader, ack, o);
    }

    /// Leader: a learner has said where its history ends, and mostly has promised the epoch.
    #[allow(clippy::too_many_arguments)] // One for each field of the message.
    pub(super) fn on_ack_epoch(
        &self,
        me: ServerId,
        s: &mut Cow<State<P>>,
        peer: ServerId,
        epoch: Epoch,
        report: Report<P>,
        promise: bool,
        o: &mut Out<P>,
    ) {
        let Role::Leading(leader) = &s.role else {
            return;
        }; // Of an earlier term.
        if leader.epoch() != Some(epoch) {
            return; // Of an earlier term.
        }
        if let Err(divergence) = self.compare(me, s, report.recency(), &report.lineage) {
            let has = report.recency();
            return self.refuse(me, s.to_mut(), peer, epoch, has, divergence, o);
        }
        self.heard_from(peer, o);
        match &leader.stage {
            Stage::Discovery { .. } => {}
            // Said before. If it says so without a promise it has restarted since: the one that it
            // gave stands, and so does its history.
            Stage::NewEpoch { reports, .. } if reports.contains_key(&peer) => {}
            Stage::NewEpoch { .. } if !promise && self.in_force(s).votes(peer) => {
                // It has promised this epoch before, to somebody or to an earlier self of ours, and
                // cannot promise it again: only a later epoch can win it.
                self.abandon(me, s.to_mut(), o);
            }
            // It may have a vote by a history that is yet to be taken over, and does not promise.
            Stage::NewEpoch { .. } if !promise && !self.in_force(s).observers().contains(peer) => {}
            Stage::NewEpoch { .. } => {
                let s = s.to_mut();
                let Role::Leading(leader) = &mut s.role else {
                    unreachable!()
                };
                leader.active.insert(peer);
                let Stage::NewEpoch { reports, .. } = &mut leader.stage else {
                    unreachable!()
                };
                reports.insert(peer, report);
                self.conclude_discovery(me, s, o);
            }
            Stage::Broadcast { .. } => {
                if !report.remembers() {
                    self.note_newcomer(s, peer, report.draw);
                }
                self.synchronize(s, peer, report.last_zxid, o);
            }
        }
    }

    /// Leader: with the promises of a quorum, take over its most recent history and go on to
    /// synchronization. What a quorum is, that history says.
    ///
    /// Where two histories cannot be one, it begins with the most recent one that a quorum can go on with: what is
    /// committed, each of them has.
    pub(super) fn conclude_discovery(&self, me: ServerId, s: &mut State<P>, o: &mut Out<P>) {
        let Role::Leading(leader) = &s.role else {
            return;
        };
        let Stage::NewEpoch { epoch, reports } = &leader.stage else {
            return;
        };
        if !self.has_promised(s.durable, *epoch) {
            return;
        }
        // Whether observers have promised was not asked.
        let observers = self.in_force(s).observers();
        let mut promised = reports.clone();
        promised.retain(|peer, _| !observers.contains(*peer));
        let own = leader.had; // Its history has not changed since.
        let is_newer = |(peer, report): &(&ServerId, &Report<P>)| {
            report.recency() > own
                && self.may_be_taken_over(s, **peer, report)
                && self.config.variant != Variant::KeepOwnHistory
        };
        let newer = promised.iter().filter(is_newer);
        let mut choices: Vec<_> = newer.map(|(_, report)| Some(report)).collect();
        choices.sort_by_key(|report| report.map(Report::recency));
        choices.insert(0, None);
        for best in choices.into_iter().rev() {
            let agreed = self.agreed(own, best, &promised);
            match self.beginning(me, s, *epoch, best, &agreed) {
                Some(beginning) => {
                    let (epoch, reports) = (*epoch, reports.clone());
                    return self.begin(me, s, epoch, &reports, beginning, o);
                }
                None if agreed.len() == promised.len() => return, // It needs more promises.
                None => {}
            }
        }
    }

    /// Leader: those of the reports whose history may go on with the chosen one, its own if none is.
    fn agreed<'a>(
        &self,
        own: Recency,
        best: Option<&Report<P>>,
        promised: &'a BTreeMap<ServerId, Report<P>>,
    ) -> Vec<(&'a ServerId, &'a Report<P>)> {
        let agrees = |report: &Report<P>| match best {
            // It was compared when it came.
            None => report.recency() <= own || self.config.variant == Variant::KeepOwnHistory,
            Some(best) => {
                let is_one = self.config.variant == Variant::NamesIgnored
                    || report.line().may_follow(best.line(), Zxid::ZERO).is_ok();
                report.recency() <= best.recency() && is_one
            }
        };
        promised.iter().filter(|(_, r)| agrees(r)).collect()
    }

    /// Leader: how the epoch begins with the chosen history, if enough servers agree on that.
    fn beginning(
        &self,
        me: ServerId,
        s: &State<P>,
        epoch: Epoch,
        best: Option<&Report<P>>,
        agreed: &[(&ServerId, &Report<P>)],
    ) -> Option<Beginning<P>> {
        let adopted = match best {
            None => None,
            Some(best) => {
                let step = best.newer.as_ref();
                let history = step.and_then(|step| s.storage.history.apply(step, s.committed));
                // If it does not fit, it is not a word of this protocol. Timer::Establish ends the wait.
                Some(history.filter(|history| history.last_zxid().epoch() <= epoch)?)
            }
        };
        let lineage = best.map_or(&s.storage.lineage, |best| &best.lineage);
        let history = adopted.as_ref().unwrap_or(&s.storage.history);
        let promised: ServerSet = agreed.iter().map(|(peer, _)| **peer).collect();
        if !self.is_quorum_with(self.in_force_by(history), me, &promised) {
            return None;
        }
        let present = self.present(me, s, agreed.iter().copied());
        // If who remembers is too few to know of everything, Timer::Establish ends the wait.
        let newcomers = self.newcomers_among(history, lineage, present)?;
        let adopted = adopted.map(|history| (history, lineage.clone()));
        Some(Beginning { adopted, newcomers })
    }

    /// Leader: begins the epoch. Who has another history is told.
    fn begin(
        &self,
        me: ServerId,
        s: &mut State<P>,
        epoch: Epoch,
        reports: &BTreeMap<ServerId, Report<P>>,
        Beginning { adopted, newcomers }: Beginning<P>,
        o: &mut Out<P>,
    ) {
        if let Some((history, lineage)) = adopted {
            s.storage.lineage = lineage;
            self.replace_history(s, epoch, history, o);
        }
        let forgetful = reports.iter().filter(|(_, report)| !report.remembers());
        let draws = forgetful.map(|(peer, report)| (*peer, report.draw));
        self.begin_synchronization(me, s, epoch, newcomers, draws.collect(), o);
        for (peer, report) in reports {
            let has = report.recency();
            match self.compare(me, s, has, &report.lineage) {
                Ok(()) => self.synchronize(s, *peer, report.last_zxid, o),
                Err(divergence) => self.refuse(me, s, *peer, epoch, has, divergence, o),
            }
        }
    }

    /// Leader: whether a history may be taken over: that of a server with a vote, be it by this very history.
    fn may_be_taken_over(&self, s: &State<P>, peer: ServerId, report: &Report<P>) -> bool {
        self.in_force(s).votes(peer) || {
            let newer = report.newer.as_ref();
            let history = newer.and_then(|step| s.storage.history.apply(step, s.committed));
            history.is_some_and(|history| self.in_force_by(&history).votes(peer))
        }
    }
}

/// How an epoch begins.
struct Beginning<P: Payload> {
    /// The history that it goes on from, if it is not the leader's own.
    adopted: Option<(History<P>, Lineage)>,
    /// Whose word is not to count at first.
    newcomers: ServerSet,
}

impl<P: Payload> Report<P> {
    /// Whether its sender remembers what it has promised: see [`Memory`](super::Memory).
    pub(super) fn remembers(&self) -> bool {
        remembers(self.memory, self.current_epoch)
    }

    fn line(&self) -> Line<'_> {
        Line {
            lineage: &self.lineage,
            last: self.last_zxid,
        }
    }

    pub(super) fn recency(&self) -> Recency {
        Recency {
            current_epoch: self.current_epoch,
            last_zxid: self.last_zxid,
        }
    }
}
