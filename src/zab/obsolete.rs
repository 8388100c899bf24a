//! Which messages can never again have an effect on their recipient.
//!
//! Spec: `spec/0-assumptions.md`, "Obsolete messages". The checker drops them from its network, which
//! makes the space of states much smaller. What it must never do: call a message obsolete that could
//! have an effect after more steps, whatever they are (a property test holds that).

use super::{Difference, Elections, Mark, Message, Payload, Role, Stage, State, Variant, Zab};
use crate::types::{Epoch, ServerId};

/// What is known of a server to judge the messages from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    pub id: ServerId,
    /// What is durable: after a crash, that is what is left.
    pub durable: Mark,
}

/// What is known of a server to judge the messages to it.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a, P: Payload> {
    pub id: ServerId,
    /// What is durable: after a crash, that is what is left.
    pub durable: Mark,
    /// Its state, unless it is down.
    pub state: Option<&'a State<P>>,
}

impl<P: Payload> Peer<'_, P> {
    /// Whether two states of one server are the same to [`Zab::is_obsolete`], whatever the message.
    pub fn is_alike(&self, other: &Self) -> bool {
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
}

impl<P: Payload> Zab<P> {
    /// Whether `message` can never again have an effect on `to`, however the two go on.
    ///
    /// Epochs that are durable never go back, and within an epoch a durable history only grows.
    /// Everything below follows from these two.
    ///
    /// `compacts` says whether a service may still take a snapshot and drop transactions before it.
    pub fn is_obsolete(
        &self,
        from: Sender,
        to: Peer<'_, P>,
        message: &Message<P>,
        compacts: bool,
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
            Message::Notification(_) => self.config.elections == Elections::External,
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
            Message::Ack { epoch, zxid } => match stage(&to, *epoch) {
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
                    known && !compacts && !snapshot_helps
                }
                Term::Now(Stage::Discovery { .. } | Stage::NewEpoch { .. }) => false,
            },
            Message::AckEpoch { epoch, .. } => match stage(&to, *epoch) {
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
