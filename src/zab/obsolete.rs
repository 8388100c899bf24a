//! Which messages can never again have an effect on their recipient.
//!
//! Spec: `spec/0-assumptions.md`, "Obsolete messages". The checker drops them from its network, which
//! makes the space of states much smaller. What it must never do: call a message obsolete that could
//! have an effect after more steps, whatever they are (a property test holds that).

use super::{Difference, Election, Elections, Mark, Message, Notification, Payload, Role, Stage};
use super::{Stance, State, Variant, Zab};
use crate::types::{Epoch, Round, ServerId};
use std::cmp::Ordering;

/// What is known of a server to judge the messages from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    pub id: ServerId,
    /// What is durable: after a crash, that is what is left.
    pub durable: Mark,
    /// Whether it follows another server.
    pub follows: bool,
}

/// What is known of a server to judge the messages to it.
#[derive(Debug)]
pub struct Peer<'a, P: Payload> {
    pub id: ServerId,
    /// What is durable: after a crash, that is what is left.
    pub durable: Mark,
    /// Its state, unless it is down.
    pub state: Option<&'a State<P>>,
}

/// What may still happen to an ensemble. The more, the less is obsolete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hazards {
    /// A service may take a snapshot and drop transactions before it.
    pub compacts: bool,
    /// A server may fail, and go on with what is durable.
    pub fails: bool,
    /// A server may hear nothing for so long that it gives up its role.
    pub gives_up: bool,
}

impl Hazards {
    /// Whether who follows will do so for ever: a follower looks for another leader only if it hears
    /// nothing for long, or fails.
    fn spare_followers(self) -> bool {
        !self.fails && !self.gives_up
    }
}

impl<'a, P: Payload> Peer<'a, P> {
    fn has_the_same_term(&self, other: &Self) -> bool {
        let leads = |peer: &Self| {
            let state = peer.state?;
            let history = &state.storage().history;
            match state.role() {
                Role::Leading(leader) => Some((
                    leader.stage.clone(),
                    history.start(),
                    history.snapshot().zxid,
                )),
                Role::Looking(_) | Role::Following(_) => None,
            }
        };
        self.durable == other.durable && leads(self) == leads(other)
    }

    /// What decides which votes can still count: the least round in which it may be LOOKING, and the
    /// election of that round if it has begun.
    fn election(&self, hazards: Hazards) -> (Round, Option<&'a Election>) {
        let accepted = self.durable.accepted_epoch;
        match self.state.map(State::role).filter(|_| !hazards.fails) {
            None => (Round::first(accepted), None),
            Some(Role::Looking(election)) => (election.round, Some(election)),
            Some(Role::Following(follower)) => (follower.round.next(accepted), None),
            Some(Role::Leading(leader)) => (leader.round.next(accepted), None),
        }
    }

    /// Whom it follows.
    fn leader(&self) -> Option<ServerId> {
        self.state.and_then(State::following)
    }
}

impl<P: Payload> Zab<P> {
    /// Whether `message` can never again have an effect on `to`, however the two go on.
    ///
    /// Epochs that are durable never go back, within an epoch a durable history only grows, and rounds never go
    /// back but by a failure, and then not behind the first one of the epoch that is accepted. A follower gives its role up
    /// only if it hears nothing for long, or fails. Everything below follows from these four.
    pub fn is_obsolete(
        &self,
        from: Sender,
        to: &Peer<'_, P>,
        message: &Message<P>,
        hazards: Hazards,
    ) -> bool {
        if !self.config.variant.keeps_epochs() {
            return false; // Nothing is certain where epochs go back.
        }
        if hazards.spare_followers()
            && let Some(leader) = to.leader()
            && is_lost_on_follower(leader, from, message)
        {
            return true;
        }
        let accepted = to.durable.accepted_epoch;
        let current = match self.config.variant.keeps_histories() {
            true => to.durable.current_epoch,
            false => Epoch(0), // Nothing follows from it.
        };
        match message {
            Message::Notification(n) => match self.config.elections {
                Elections::External => true,
                Elections::Held => self.is_over(from, to, n, hazards),
            },
            // It may be counted in any later term of the recipient.
            Message::FollowerInfo { .. } => false,
            Message::NewEpoch { epoch, .. } | Message::Commit { epoch, .. } => accepted > *epoch,
            Message::NewLeader { epoch, .. } => accepted > *epoch || current >= *epoch,
            Message::Sync { epoch, step, .. } => {
                // Within an epoch only a snapshot that is ahead of everything is still taken.
                let news = match step {
                    Difference::Diff { .. } | Difference::Trunc { .. } => false,
                    Difference::Snap { snapshot, .. } => snapshot.zxid > to.durable.last_zxid,
                };
                accepted > *epoch || (current >= *epoch && !news)
            }
            Message::Propose { epoch, entry, .. } | Message::Inform { epoch, entry, .. } => {
                accepted > *epoch || (current >= *epoch && to.durable.last_zxid >= entry.zxid)
            }
            // It may still remind a leader that gave its sender up. So may the sender's FollowerInfo.
            Message::Ack { epoch, zxid } => match stage(to, *epoch) {
                Term::Over => true,
                Term::Possible => false,
                Term::Now(Stage::Broadcast { acked, .. }) => {
                    // It is answered with what comes next: proposals that were sent before, or a
                    // snapshot if they are not kept any more.
                    let snapshot_helps = to.state.is_some_and(|leader| {
                        let history = &leader.storage().history;
                        *zxid < history.start() && from.durable.last_zxid < history.snapshot().zxid
                    });
                    let known = acked.get(&from.id).is_some_and(|known| known >= zxid);
                    known && !hazards.compacts && !snapshot_helps
                }
                Term::Now(Stage::Discovery { .. } | Stage::NewEpoch { .. }) => false,
            },
            // It is said once, where something is wrong already.
            Message::Refuse { .. } => false,
            Message::AckEpoch { epoch, .. } => match stage(to, *epoch) {
                Term::Over => true,
                // Until discovery ends it counts, even if its sender has gone on to a later epoch;
                // even counted, it will be answered once discovery has ended.
                Term::Possible | Term::Now(Stage::Discovery { .. } | Stage::NewEpoch { .. }) => {
                    false
                }
                // Who has gone on to a later epoch does not take the answer. Who has taken over this
                // one still may: a snapshot, if the leader keeps the rest no more.
                Term::Now(Stage::Broadcast { .. }) => from.durable.accepted_epoch > *epoch,
            },
        }
    }

    /// Whether a word on who leads is about a round that the recipient has left behind for ever. (A vote
    /// never is, while the answer that it gets may be of use.)
    fn is_over(&self, from: Sender, to: &Peer<'_, P>, n: &Notification, hazards: Hazards) -> bool {
        if !self.config.variant.keeps_rounds() {
            return false;
        }
        let (least, _) = to.election(hazards);
        let answered = !(hazards.spare_followers() && from.follows);
        match n.stance {
            Stance::Looking(_) => !answered && n.round < least,
            Stance::Asking => !answered && n.round <= least,
            Stance::Leading { established: true } => false,
            Stance::Following(_) | Stance::Leading { established: false } => n.round < least,
        }
    }

    /// Whether `message` can never again have another effect on `to` than `other` has, which is from the same
    /// sender. Of messages that are all the same in this, one is left: the one of the latest round.
    pub fn is_superseded(
        &self,
        to: &Peer<'_, P>,
        message: &Message<P>,
        other: &Message<P>,
        hazards: Hazards,
    ) -> bool {
        let (Message::Notification(n), Message::Notification(other)) = (message, other) else {
            return false;
        };
        if !self.config.variant.keeps_rounds() {
            return false;
        }
        let (least, election) = to.election(hazards);
        match (n.stance, other.stance) {
            // One that cannot win the recipient any more brings about an answer, as any other does, once
            // the recipient follows or leads. While it is LOOKING, it has said all that it could answer.
            (Stance::Looking(vote), Stance::Looking(late)) => {
                let order = n.round.cmp(&other.round);
                let is_earlier = order.then_with(|| vote.order(&late)) == Ordering::Less;
                let is_lost = match election {
                    Some(election) if n.round == least => {
                        vote.order(&election.vote) == Ordering::Less
                    }
                    Some(_) | None => {
                        let only_answers = hazards.spare_followers() && to.leader().is_some();
                        only_answers || n.round < least
                    }
                };
                is_earlier && is_lost
            }
            (Stance::Leading { established }, Stance::Leading { established: true }) => {
                let is_earlier = (n.round, established) < (other.round, true);
                // Who follows it is in the later round of the two.
                is_earlier && (n.round == other.round || other.round <= least)
            }
            (
                Stance::Looking(_) | Stance::Asking | Stance::Following(_) | Stance::Leading { .. },
                _,
            ) => false,
        }
    }

    /// Whether two states of one server are the same to [`Self::is_obsolete`] and [`Self::is_superseded`],
    /// whatever the message.
    pub fn is_alike(&self, one: &Peer<'_, P>, other: &Peer<'_, P>) -> bool {
        let external = self.config.elections == Elections::External;
        let calm = Hazards::default();
        one.has_the_same_term(other)
            && one.leader() == other.leader()
            && (external || one.election(calm) == other.election(calm))
    }
}

/// Whether a message can have no effect on who follows `leader` and will do so for ever.
fn is_lost_on_follower<P: Payload>(leader: ServerId, from: Sender, message: &Message<P>) -> bool {
    match message {
        Message::Notification(n) => match n.stance {
            // The answer is of no use to who follows for ever, too.
            Stance::Looking(_) | Stance::Asking => from.follows,
            Stance::Following(_) | Stance::Leading { .. } => true,
        },
        // For leaders.
        Message::FollowerInfo { .. } | Message::AckEpoch { .. } | Message::Ack { .. } => true,
        Message::Refuse { .. } => false,
        // From its leader.
        Message::NewEpoch { .. }
        | Message::Sync { .. }
        | Message::NewLeader { .. }
        | Message::Propose { .. }
        | Message::Commit { .. }
        | Message::Inform { .. } => from.id != leader,
    }
}

/// Whether a server leads an epoch, or may still come to.
enum Term<'a, P: Payload> {
    /// It has promised a later epoch, or this one without leading it: it never will.
    Over,
    Possible,
    Now(&'a Stage<P>),
}

fn stage<'a, P: Payload>(server: &Peer<'a, P>, epoch: Epoch) -> Term<'a, P> {
    if let Some(Role::Leading(leader)) = server.state.map(State::role)
        && leader.epoch() == Some(epoch)
    {
        return Term::Now(&leader.stage);
    }
    if server.durable.accepted_epoch >= epoch {
        Term::Over
    } else {
        Term::Possible
    }
}

impl Variant {
    /// Whether a server of this variant holds elections as it should: it gives its vote to ever
    /// better ones, and an earlier round means nothing to it.
    fn keeps_rounds(self) -> bool {
        !matches!(
            self,
            Self::ZxidOnly
                | Self::VotesCycle
                | Self::AnyWordSupports
                | Self::MalformedVoteDeafens
                | Self::JoinInsistsOnRound
        )
    }

    /// Whether a server of this variant keeps the promise that within an epoch a durable history holds
    /// the initial one and only grows.
    fn keeps_histories(self) -> bool {
        !matches!(self, Self::EpochBeforeHistory | Self::ProposalTwice)
    }

    /// Whether a server of this variant keeps the promise that epochs and, but for
    /// [`Self::keeps_histories`], the history within an epoch never go back.
    fn keeps_epochs(self) -> bool {
        !matches!(
            self,
            Self::NoNewEpoch
                | Self::StaleEpochAccepted
                | Self::StaleProposalAccepted
                | Self::CurrentWithoutAccepted
                | Self::FollowerCounts
                | Self::GapAccepted
                | Self::EpochsFromLog
                | Self::LeaderPromisesNothing
        )
    }
}
