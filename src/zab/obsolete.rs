//! Which messages can never again have an effect on their recipient.
//!
//! Spec: `spec/0-assumptions.md`, "Obsolete messages". The checker drops them from its network, which
//! makes the space of states much smaller. What it must never do: call a message obsolete that could
//! have an effect after more steps, whatever they are (a property test holds that).

use super::{Difference, Election, Elections, Mark, Message, Notification, Payload, Role, Stage};
use super::{Stance, State, Variant, Zab};
use crate::types::{Epoch, ServerId};
use std::cmp::Ordering;

/// What is known of a server to judge the messages from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    pub id: ServerId,
    /// What is durable: after a crash, that is what is left.
    pub durable: Mark,
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
    /// A server may fail, so that its rounds start again.
    pub fails: bool,
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
    /// election of that round if it has begun. A server that is down starts with any.
    fn election(&self) -> Option<(u32, Option<&'a Election>)> {
        Some(match self.state?.role() {
            Role::Looking(election) => (election.round, Some(election)),
            Role::Following(follower) => (follower.round.saturating_add(1), None),
            Role::Leading(leader) => (leader.round.saturating_add(1), None),
        })
    }
}

impl<P: Payload> Zab<P> {
    /// Whether `message` can never again have an effect on `to`, however the two go on.
    ///
    /// Epochs that are durable never go back, within an epoch a durable history only grows, and a server
    /// that fails no more never goes back to an earlier round. Everything below follows from these three.
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
        let accepted = to.durable.accepted_epoch;
        let current = match self.config.variant.keeps_histories() {
            true => to.durable.current_epoch,
            false => Epoch(0), // Nothing follows from it.
        };
        match message {
            Message::Notification(n) => match self.config.elections {
                Elections::External => true,
                Elections::Held => self.is_over(to, n, hazards),
            },
            // It may be counted in any later term of the recipient.
            Message::FollowerInfo { .. } => false,
            Message::NewEpoch { epoch, .. } | Message::Commit { epoch, .. } => accepted > *epoch,
            Message::NewLeader { epoch, .. } => accepted > *epoch || current >= *epoch,
            Message::Sync { epoch, step } => {
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
    /// never is: who follows or leads answers it, whatever its round.)
    fn is_over(&self, to: &Peer<'_, P>, n: &Notification, hazards: Hazards) -> bool {
        let Some((least, _)) = self.rounds(to, hazards) else {
            return false;
        };
        match n.stance {
            Stance::Looking(_) | Stance::Asking | Stance::Leading { established: true } => false,
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
        let Some((least, election)) = self.rounds(to, hazards) else {
            return false;
        };
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
                    Some(_) | None => n.round < least,
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

    /// See [`Peer::election`]; `None` if nothing is certain.
    fn rounds<'a>(
        &self,
        to: &Peer<'a, P>,
        hazards: Hazards,
    ) -> Option<(u32, Option<&'a Election>)> {
        let certain = !hazards.fails && self.config.variant.keeps_rounds();
        to.election().filter(|_| certain)
    }

    /// Whether two states of one server are the same to [`Self::is_obsolete`] and [`Self::is_superseded`],
    /// whatever the message.
    pub fn is_alike(&self, one: &Peer<'_, P>, other: &Peer<'_, P>) -> bool {
        let external = self.config.elections == Elections::External;
        one.has_the_same_term(other) && (external || one.election() == other.election())
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
