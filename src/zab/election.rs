//! Phase 0, leader election: ZooKeeper's fast leader election, with stances for facts.
//!
//! Spec: `spec/1-election.md`. A component with a small interface (in: notifications and a timer; out:
//! whom to follow), which a model may replace by [`Elections::External`]. What it must never do:
//! carry safety. The phases after it are safe whatever an election says.

use super::{Elections, Out, Payload, Recency, Role, State, Storage, Timer, Variant, Zab};
use super::{at, send};
use crate::quorum::ServerSet;
use crate::types::{Epoch, Round, ServerId, Zxid};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::cmp::Ordering;

/// A proposal for a leader. Votes are ordered by current epoch, then last zxid, then server id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Vote {
    pub leader: ServerId,
    pub current_epoch: Epoch,
    pub last_zxid: Zxid,
    /// The last change of the membership in the history of that leader, as far as it is not in a snapshot. It has
    /// no part in the order of votes.
    pub change: Zxid,
    /// Whether the history of that leader says who votes.
    pub tells_members: bool,
}

impl Vote {
    pub(super) fn for_self(
        me: ServerId,
        recency: Recency,
        change: Zxid,
        tells_members: bool,
    ) -> Self {
        let Recency {
            current_epoch,
            last_zxid,
        } = recency;
        Self {
            leader: me,
            current_epoch,
            last_zxid,
            change,
            tells_members,
        }
    }

    /// The order of votes: the most recent history wins, then the highest server id.
    pub fn order(&self, other: &Self) -> Ordering {
        let key = |vote: &Self| (vote.current_epoch, vote.last_zxid, vote.leader);
        key(self).cmp(&key(other))
    }

    fn beats(&self, other: &Self, variant: Variant) -> bool {
        if variant == Variant::VotesCycle && self.last_zxid == other.last_zxid {
            return self.current_epoch > other.current_epoch || self.leader > other.leader;
        }
        let as_seen = |vote: &Self| match variant {
            Variant::ZxidOnly => Self {
                current_epoch: Epoch(0),
                ..*vote
            },
            _ => *vote,
        };
        as_seen(self).order(&as_seen(other)) == Ordering::Greater
    }
}

impl std::fmt::Debug for Vote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?}({:?} {})",
            self.leader, self.current_epoch, self.last_zxid
        )
    }
}

/// The election as a LOOKING server sees it.
///
/// Departs from ZooKeeper: D12 in `spec/deviations.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Election {
    pub round: Round,
    /// Whom this server proposes.
    pub vote: Vote,
    /// Who is known to propose the same in the same round, this server included.
    pub supporters: ServerSet,
}

impl Election {
    /// The election in which `me` has just entered `round` and proposes itself.
    pub(super) fn candidate(me: ServerId, round: Round, vote: Vote) -> Self {
        Self {
            round,
            vote,
            supporters: ServerSet::of(me),
        }
    }
}

/// A server's word on who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Notification {
    pub round: Round,
    pub stance: Stance,
}

/// What a server says of itself in a [`Notification`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stance {
    /// LOOKING, with a vote.
    Looking(Vote),
    /// LOOKING without a vote: a server that asks who leads. The round is 0, but in answer to a vote that asks for
    /// the support of this server.
    Asking,
    /// FOLLOWING this server since that round.
    Following(ServerId),
    /// LEADING since that round; established if a quorum is synchronized.
    Leading { established: bool },
}

impl From<Vote> for Recency {
    fn from(vote: Vote) -> Self {
        Self {
            current_epoch: vote.current_epoch,
            last_zxid: vote.last_zxid,
        }
    }
}

impl Recency {
    pub(super) fn of<P: Payload>(storage: &Storage<P>) -> Self {
        Self {
            current_epoch: storage.current_epoch,
            last_zxid: storage.history.last_zxid(),
        }
    }
}

impl<P: Payload> Zab<P> {
    /// Enters the round after `round`, proposing itself.
    ///
    /// Departs from ZooKeeper: D25 in `spec/deviations.toml`.
    pub(super) fn look_for_leader(
        &self,
        me: ServerId,
        s: &mut State<P>,
        round: Round,
        o: &mut Out<P>,
    ) {
        let round = match self.config.elections {
            Elections::Held => round.next(s.storage.accepted_epoch),
            Elections::External => Round::default(),
        };
        s.role = Role::Looking(Election::candidate(me, round, self.candidacy(me, s)));
        self.notify_voters(me, s, o);
        self.check_support(me, s, o);
    }

    /// The vote with which a server stands for election: that of its own history. Who has no vote stands with
    /// nothing; but whoever asks it for support, because it knows it as a voter, may get it.
    fn candidacy(&self, me: ServerId, s: &State<P>) -> Vote {
        let recency = match self.in_force(s).votes(me) {
            true => s.recency(),
            false => Recency::default(),
        };
        let history = &s.storage.history;
        Vote::for_self(me, recency, history.last_change(), history.tells_members())
    }

    /// Says to every voter where this LOOKING server stands, and to the one that it votes for.
    pub(super) fn notify_voters(&self, me: ServerId, s: &State<P>, o: &mut Out<P>) {
        if self.config.elections == Elections::External {
            return; // The election is held elsewhere.
        }
        let message = self.notification(me, s);
        let mut voters = self.in_force(s).voters();
        if let Role::Looking(election) = &s.role {
            voters.insert(election.vote.leader);
        }
        for voter in voters.iter().filter(|voter| *voter != me) {
            send(voter, message.clone(), o);
        }
    }

    pub(super) fn on_notification(
        &self,
        me: ServerId,
        s: &mut Cow<State<P>>,
        peer: ServerId,
        n: Notification,
        o: &mut Out<P>,
    ) {
        if self.config.elections == Elections::External {
            return; // The election is held elsewhere.
        }
        if let Stance::Looking(vote) = &n.stance {
            self.let_in(s, peer, vote);
        }
        match &s.role {
            Role::Looking(election) => {
                let election = election.clone();
                self.on_notification_while_looking(me, s, &election, peer, n, o);
            }
            Role::Following(_) | Role::Leading(_) => match n.stance {
                Stance::Looking(_) | Stance::Asking => send(peer, self.notification(me, s), o),
                // Both have decided: neither can learn anything from the other.
                Stance::Following(_) | Stance::Leading { .. } => {}
            },
        }
    }

    /// What a LOOKING server makes of another's word.
    ///
    /// Departs from ZooKeeper: D11, D17 in `spec/deviations.toml`.
    fn on_notification_while_looking(
        &self,
        me: ServerId,
        s: &mut Cow<State<P>>,
        election: &Election,
        peer: ServerId,
        n: Notification,
        o: &mut Out<P>,
    ) {
        let votes = self.in_force(s).votes(peer);
        let variant = self.config.variant;
        if variant == Variant::MalformedVoteDeafens && election.supporters.is_empty() {
            return;
        }
        if variant == Variant::AnyWordSupports && votes {
            self.add_supporter(me, s, peer, o);
            if s.leader(me).is_some() {
                return;
            }
        }
        match n.stance {
            Stance::Looking(vote) => self.on_vote(me, s, election, peer, n.round, vote, o),
            // Of somebody who has no vote, or thinks so, but has been asked for its support.
            Stance::Asking if votes && n.round > election.round => {
                let own = self.candidacy(me, s);
                self.change_vote(me, s.to_mut(), n.round, own, o);
            }
            Stance::Asking => {} // A LOOKING server has nothing to tell.
            Stance::Following(leader) => {
                if votes && leader != me && !self.in_force(s).votes(leader) {
                    // A leader by a membership that this server has not heard of.
                    send(leader, self.notification(me, s), o);
                }
                if votes && n.round == election.round && leader == election.vote.leader {
                    self.add_supporter(me, s, peer, o);
                }
            }
            // A leader that is established is followed whatever the round: a server that comes late
            // may be rounds ahead or behind (ZOOKEEPER-1514). One that is not yet, only if its round
            // is not over.
            Stance::Leading { established } => {
                if self.is_kept_out_in(s, peer, n.round) {
                    return;
                }
                let whatever = established && variant != Variant::JoinInsistsOnRound;
                if whatever || n.round >= election.round {
                    self.conclude_election(me, s.to_mut(), peer, n.round.max(election.round), o);
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // The round and the vote are one message.
    fn on_vote(
        &self,
        me: ServerId,
        s: &mut Cow<State<P>>,
        election: &Election,
        peer: ServerId,
        round: Round,
        vote: Vote,
        o: &mut Out<P>,
    ) {
        if self.is_kept_out(s, &vote) {
            return;
        }
        let in_force = self.in_force(s);
        let known = in_force.votes(peer) && in_force.votes(vote.leader);
        // Whoever has the more recent history may know a later membership; and who has no vote, and is asked all
        // the same, leaves it to others what that is worth.
        let later = vote.tells_members && Recency::from(vote) > s.recency();
        let votes = in_force.votes(me);
        if !known && !later && votes {
            if self.config.variant == Variant::MalformedVoteDeafens
                && let Role::Looking(election) = &mut s.to_mut().role
            {
                election.supporters = ServerSet::EMPTY; // Its mark: it does not even support itself.
            }
            return; // Of somebody, or for somebody, without a vote (ZOOKEEPER-3769).
        }
        let variant = self.config.variant;
        match round.cmp(&election.round) {
            // A later round: what was said in the earlier one is void.
            Ordering::Greater => {
                let own = self.candidacy(me, s);
                let best = if vote.beats(&own, variant) { vote } else { own };
                self.change_vote(me, s.to_mut(), round, best, o);
            }
            Ordering::Equal if vote.beats(&election.vote, variant) => {
                self.change_vote(me, s.to_mut(), round, vote, o);
            }
            Ordering::Equal => {}
            Ordering::Less => {
                let stands = votes || election.vote.leader != me;
                let answer = match stands {
                    true => self.notification(me, s),
                    // It cannot support what is over, but if the other comes to its round, it can.
                    false => super::Message::Notification(Notification {
                        round: election.round,
                        stance: Stance::Asking,
                    }),
                };
                send(peer, answer, o);
                return;
            }
        }
        if matches!(&s.role, Role::Looking(election) if election.vote.order(&vote).is_eq()) {
            self.add_supporter(me, s, peer, o);
        }
    }

    fn change_vote(
        &self,
        me: ServerId,
        s: &mut State<P>,
        round: Round,
        vote: Vote,
        o: &mut Out<P>,
    ) {
        o.cancel_timer(Timer::Finalize);
        s.role = Role::Looking(Election {
            round,
            vote,
            supporters: ServerSet::of(me),
        });
        self.notify_voters(me, s, o);
    }

    fn add_supporter(&self, me: ServerId, s: &mut Cow<State<P>>, peer: ServerId, o: &mut Out<P>) {
        let known = matches!(&s.role, Role::Looking(e) if e.supporters.contains(peer));
        if !known {
            let s = s.to_mut();
            if let Role::Looking(election) = &mut s.role {
                election.supporters.insert(peer);
            }
            self.check_support(me, s, o);
        }
    }

    /// With a quorum for its vote a server waits a little for a better one; with everybody, no more. Who everybody
    /// is it does not know if the vote is of a history with another membership.
    fn check_support(&self, me: ServerId, s: &mut State<P>, o: &mut Out<P>) {
        let Role::Looking(election) = &s.role else {
            return;
        };
        let in_force = self.in_force(s);
        let stands = election.vote.leader != me || in_force.votes(me);
        if self.config.elections == Elections::External || !stands {
            return;
        }
        let absent = in_force.voters().difference(&election.supporters);
        let knows_all = election.vote.change == s.storage.history.last_change();
        if absent.is_empty() && knows_all {
            let (leader, round) = (election.vote.leader, election.round);
            self.conclude_election(me, s, leader, round, o);
        } else if self.is_quorum(in_force, &election.supporters) {
            o.set_timer(Timer::Finalize, at(self.config.finalize_wait));
        }
    }

    /// The vote has had a quorum for long enough: the election is over.
    pub(super) fn on_finalize_timeout(&self, me: ServerId, s: &mut Cow<State<P>>, o: &mut Out<P>) {
        let Role::Looking(election) = &s.role else {
            return;
        };
        let is_quorum = self.is_quorum(self.in_force(s), &election.supporters);
        if self.config.elections == Elections::Held && is_quorum {
            let (leader, round) = (election.vote.leader, election.round);
            self.conclude_election(me, s.to_mut(), leader, round, o);
        }
    }

    fn notification(&self, me: ServerId, s: &State<P>) -> super::Message<P> {
        let votes = self.in_force(s).votes(me);
        let (round, stance) = match &s.role {
            Role::Looking(election) if votes || election.vote.leader != me => {
                (election.round, Stance::Looking(election.vote))
            }
            Role::Looking(_) => (Round::default(), Stance::Asking),
            Role::Following(follower) => (follower.round, Stance::Following(follower.leader)),
            Role::Leading(leader) => {
                let established = leader.established();
                (leader.round, Stance::Leading { established })
            }
        };
        super::Message::Notification(Notification { round, stance })
    }
}
