//! What happens where two histories turn out not to be one.
//!
//! Spec: `spec/10-lineage.md`. What it must never do: let a server into a quorum, or follow one, whose history has gone
//! another way; or keep it to itself.

use super::lineage::{Line, Reason};
use super::{Diverged, Divergence, Lineage, Message, Out, Payload, Recency, Role, Stage, State};
use super::{Variant, Vote, Zab, send};
use crate::quorum::ServerSet;
use crate::types::{Epoch, EpochName, Round, ServerId, Zxid};
use std::borrow::Cow;

impl<P: Payload> Zab<P> {
    /// Whether the less recent one of this history and another may be cut to go on with the other.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn compare(
        &self,
        me: ServerId,
        s: &State<P>,
        has: Recency,
        lineage: &Lineage,
    ) -> Result<(), Divergence> {
        if self.config.variant == Variant::NamesIgnored {
            return Ok(());
        }
        let (ours, last) = (s.storage.line(), has.last_zxid);
        let theirs = Line { lineage, last };
        match has >= s.recency() {
            true => ours.may_follow(theirs, self.known_committed(me, s)),
            false => theirs.may_follow(ours, Zxid::ZERO),
        }
    }

    /// Whether an epoch of the number that this server is in is that very epoch.
    ///
    /// # Errors
    /// If another leader has begun it.
    pub(super) fn is_epoch(
        &self,
        s: &State<P>,
        epoch: Epoch,
        name: EpochName,
        has: Recency,
    ) -> Result<(), Divergence> {
        let storage = &s.storage;
        let own = storage.lineage.last();
        let own = own.filter(|term| storage.current_epoch == epoch && term.epoch == epoch);
        let own_name = own.map_or(EpochName::NONE, |term| term.name);
        let known = own_name != EpochName::NONE && name != EpochName::NONE;
        match known && own_name != name && self.config.variant != Variant::NamesIgnored {
            false => Ok(()),
            true => Err(Divergence {
                reason: Reason::NumberTwice(epoch),
                common: has.last_zxid.min(own.map_or(Zxid::ZERO, |term| term.after)),
                last: storage.history.last_zxid(),
                other: has.last_zxid,
            }),
        }
    }

    /// Whether what this history has may be cut to go on with that of a leader.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn may_be_cut(
        &self,
        me: ServerId,
        s: &State<P>,
        lineage: &Lineage,
    ) -> Result<(), Divergence> {
        if self.config.variant == Variant::NamesIgnored {
            return Ok(());
        }
        let last = Zxid(u64::MAX);
        let theirs = Line { lineage, last };
        let ours = s.storage.line();
        ours.may_follow(theirs, self.known_committed(me, s))
    }

    /// What this server knows to be committed. Who decides alone has committed everything that it has.
    fn known_committed(&self, me: ServerId, s: &State<P>) -> Zxid {
        let history = &s.storage.history;
        let term = s.storage.lineage.terms().iter();
        let term = term.rev().find(|term| term.after < history.last_zxid());
        let alone = term.is_some_and(|term| term.voters == ServerSet::of(me));
        match alone && !history.tells_members() {
            true => history.last_zxid(),
            false => s.committed,
        }
    }

    /// Says to a server that its history is another one, and has nothing to do with it as long as it has that.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn refuse(
        &self,
        me: ServerId,
        s: &mut State<P>,
        peer: ServerId,
        epoch: Epoch,
        has: Recency,
        divergence: Divergence,
        o: &mut Out<P>,
    ) {
        self.say_refused(s, peer, epoch, divergence, o);
        self.keep_out(me, s, peer, has, divergence, o);
    }

    pub(super) fn say_refused(
        &self,
        s: &State<P>,
        peer: ServerId,
        epoch: Epoch,
        divergence: Divergence,
        o: &mut Out<P>,
    ) {
        let Recency {
            current_epoch,
            last_zxid,
        } = s.recency();
        let message = Message::Refuse {
            epoch,
            current_epoch,
            last_zxid,
            divergence,
        };
        send(peer, message, o);
    }

    /// A server says that this one's history is another one.
    #[allow(clippy::too_many_arguments)] // One for each field of the message.
    pub(super) fn on_refuse(
        &self,
        me: ServerId,
        s: &mut Cow<State<P>>,
        peer: ServerId,
        epoch: Epoch,
        has: Recency,
        divergence: Divergence,
        o: &mut Out<P>,
    ) {
        let concerned = match &s.role {
            Role::Looking(_) => false,
            Role::Following(follower) => follower.leader == peer && !follower.serving,
            Role::Leading(leader) => leader.epoch() == Some(epoch),
        };
        if concerned && !s.diverged.contains_key(&peer) {
            self.keep_out(me, s.to_mut(), peer, has, divergence, o);
        }
    }

    fn keep_out(
        &self,
        me: ServerId,
        s: &mut State<P>,
        peer: ServerId,
        had: Recency,
        divergence: Divergence,
        o: &mut Out<P>,
    ) {
        let round = s.role.round();
        let diverged = Diverged {
            divergence,
            had,
            round,
        };
        s.diverged.insert(peer, diverged);
        match &mut s.role {
            Role::Looking(_) => {}
            Role::Following(follower) => {
                if follower.leader == peer {
                    self.abandon(me, s, o);
                }
            }
            Role::Leading(leader) => {
                leader.active.remove(peer);
                match &mut leader.stage {
                    Stage::Discovery { .. } => {}
                    Stage::NewEpoch { reports, .. } => {
                        reports.remove(&peer);
                    }
                    Stage::Broadcast { acked, .. } => {
                        acked.remove(&peer);
                    }
                }
                let kept_out: ServerSet = s.diverged.keys().copied().collect();
                let possible = self.in_force(s).voters().difference(&kept_out);
                if !self.is_quorum(self.in_force(s), &possible) {
                    self.abandon(me, s, o);
                }
            }
        }
    }

    /// Whether a vote is for a server that is kept out.
    pub(super) fn is_kept_out(&self, s: &State<P>, vote: &Vote) -> bool {
        s.diverged.contains_key(&vote.leader)
    }

    /// A server that votes for itself with another history than the one for which it is kept out is let in again.
    pub(super) fn let_in(&self, s: &mut Cow<State<P>>, peer: ServerId, vote: &Vote) {
        let had = s.diverged.get(&peer).map(|diverged| diverged.had);
        if vote.leader == peer && had.is_some_and(|had| had != Recency::from(*vote)) {
            s.to_mut().diverged.remove(&peer);
        }
    }

    /// LOOKING: whether a leader is kept out. In another round it is asked again: its history may be another one.
    pub(super) fn is_kept_out_in(
        &self,
        s: &mut Cow<State<P>>,
        leader: ServerId,
        round: Round,
    ) -> bool {
        let kept_out = s.diverged.get(&leader).map(|diverged| diverged.round);
        if kept_out.is_some_and(|since| since < round) {
            s.to_mut().diverged.remove(&leader);
            return false;
        }
        kept_out.is_some()
    }
}
