//! Servers whose disks have forgotten what they promised.
//!
//! Spec: `spec/10-lineage.md`, "A disk that forgets". A server with an empty disk may have promised and acknowledged
//! anything before it was emptied. What this must never do: count it in a quorum while another quorum may rest on what it
//! has forgotten.
//!
//! Departs from ZooKeeper: D52 in `spec/deviations.toml`.

use super::{History, Lineage, Memory, Out, Payload, Report, Role, Stage, State, Variant, Zab};
use crate::quorum::ServerSet;
use crate::types::{Epoch, ServerId, Zxid};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The mark of a newcomer that has not caught up yet.
pub(super) const BEHIND: Zxid = Zxid(u64::MAX);

/// The servers that have promised an epoch, its leader among them, by what they remember.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Present {
    /// They know of an epoch that was established.
    experienced: ServerSet,
    /// They have been in an epoch, of which they do not know that.
    young: ServerSet,
    /// Their disks are empty, and may always have been.
    new: ServerSet,
    /// Their disks were empty when others had data.
    forgot: ServerSet,
}

/// Whether a disk remembers what its server has promised: one that was new when an epoch began with it does.
pub(super) fn remembers(memory: Memory, current_epoch: Epoch) -> bool {
    match memory {
        Memory::Kept => true,
        Memory::New => current_epoch > Epoch(0),
        Memory::Forgot => false,
    }
}

impl<P: Payload> Zab<P> {
    /// Leader: those who have reported and itself.
    pub(super) fn present<'a>(
        &self,
        me: ServerId,
        s: &State<P>,
        reports: impl Iterator<Item = (&'a ServerId, &'a Report<P>)>,
    ) -> Present
    where
        P: 'a,
    {
        let mut present = Present::default();
        let reports = reports.map(|(peer, report)| (*peer, report.memory, report.current_epoch));
        let itself = (me, s.storage.memory, s.storage.current_epoch);
        for (sid, memory, current_epoch) in reports.chain([itself]) {
            let kind = match memory {
                Memory::Kept => &mut present.experienced,
                Memory::New if remembers(memory, current_epoch) => &mut present.young,
                Memory::New => &mut present.new,
                Memory::Forgot => &mut present.forgot,
            };
            kind.insert(sid);
        }
        present
    }

    /// Leader: whose word is not to count at first in an epoch that begins with this history and these promises; `None` if
    /// it cannot begin, because a quorum of servers that remember is missing.
    ///
    /// Whoever founds an ensemble has a new disk. So new disks count where the history is empty and nobody knows of an epoch that was
    /// established (and where nobody is missing, all do: there is no quorum that another one could rest on); and where those who decided before are not the ones who do now, because the configuration has changed, if
    /// a majority of those is here.
    pub(super) fn newcomers_among(
        &self,
        history: &History<P>,
        lineage: &Lineage,
        present: Present,
    ) -> Option<ServerSet> {
        if self.config.variant == Variant::EmptyDisksVote {
            return Some(ServerSet::EMPTY);
        }
        let Present {
            experienced,
            young,
            new,
            forgot,
        } = present;
        let in_force = self.in_force_by(history);
        let remembering = experienced.union(&young);
        let last = history.last_zxid();
        let term = lineage.terms().iter().rev().find(|term| term.after < last);
        let decided_before = term.map(|term| term.voters).filter(|voters| {
            *voters != in_force.voters()
                && !history.tells_members()
                && remembering.is_majority_of(voters)
        });
        let is_first = last == Zxid::ZERO && experienced.is_empty();
        let all = remembering.union(&new).union(&forgot);
        // With `db.autocreate=false` a server is to be told that it is new.
        let is_everybody = in_force.voters().difference(&all).is_empty() && all != forgot;
        let counted = match is_first || decided_before.is_some() {
            true if is_first && is_everybody => all,
            true => remembering.union(&new),
            false => remembering,
        };
        self.is_quorum(in_force, &counted)
            .then(|| new.union(&forgot).difference(&counted))
    }

    /// Leader: a server that has forgotten what it promised comes while the epoch is under way.
    pub(super) fn note_newcomer(&self, s: &mut Cow<State<P>>, peer: ServerId, draw: u64) {
        if self.config.variant == Variant::EmptyDisksVote {
            return;
        }
        let Role::Leading(leader) = &s.role else {
            return;
        };
        let known = match &leader.stage {
            Stage::Broadcast { draws, .. } => draws.get(&peer) == Some(&draw),
            Stage::Discovery { .. } | Stage::NewEpoch { .. } => true,
        };
        if !known
            && let Role::Leading(leader) = &mut s.to_mut().role
            && let Stage::Broadcast {
                newcomers,
                draws,
                acked,
                ..
            } = &mut leader.stage
        {
            draws.insert(peer, draw);
            newcomers.insert(peer, BEHIND);
            acked.remove(&peer); // What it said before, it has forgotten.
        }
    }

    /// Leader: a newcomer has caught up with everything that is committed. From here on it needs something later.
    pub(super) fn on_newcomer_synchronized(
        &self,
        s: &mut State<P>,
        peer: ServerId,
        o: &mut Out<P>,
    ) {
        let last = s.storage.history.last_zxid();
        let mark = newcomers(s).and_then(|newcomers| newcomers.get_mut(&peer));
        if let Some(mark) = mark.filter(|mark| **mark == BEHIND) {
            *mark = last;
            self.prove_leadership(s, o);
        }
    }

    /// Leader: where a newcomer waits for something to be committed, and nothing is on its way, nothing is proposed.
    pub(super) fn prove_leadership(&self, s: &mut State<P>, o: &mut Out<P>) {
        let last = s.storage.history.last_zxid();
        let waits = |mark: &Zxid| *mark != BEHIND && *mark >= last;
        if newcomers(s).is_some_and(|newcomers| newcomers.values().any(waits))
            && let Some(nothing) = P::nothing()
        {
            self.propose(s, nothing, o);
        }
    }

    /// Leader: something is committed. Whoever had caught up before it was proposed counts from now on: a quorum without
    /// it has followed this leader since.
    pub(super) fn admit(&self, me: ServerId, s: &mut State<P>, o: &mut Out<P>) {
        let (committed, last) = (s.committed, s.storage.history.last_zxid());
        let Some(newcomers) = newcomers(s) else {
            return;
        };
        newcomers.retain(|_, mark| *mark >= committed);
        let waits = match newcomers.get_mut(&me) {
            None => false,
            Some(mark) => {
                *mark = last.min(*mark);
                true
            }
        };
        if !waits && s.storage.memory != Memory::Kept {
            s.storage.memory = Memory::Kept;
            self.save(s, o);
        }
    }

    /// Leader: whether what a server acknowledges counts.
    pub(super) fn counts(&self, s: &State<P>, sid: ServerId) -> bool {
        match &s.role {
            Role::Leading(leader) => match &leader.stage {
                Stage::Broadcast { newcomers, .. } => !newcomers.contains_key(&sid),
                Stage::Discovery { .. } | Stage::NewEpoch { .. } => true,
            },
            Role::Looking(_) | Role::Following(_) => true,
        }
    }

    /// Leader: the servers that follow it and itself, but for those whose word does not count.
    pub(super) fn counted(&self, s: &State<P>, me: ServerId) -> ServerSet {
        let Role::Leading(leader) = &s.role else {
            return ServerSet::EMPTY;
        };
        let all = leader.active.union(&ServerSet::of(me));
        all.iter().filter(|sid| self.counts(s, *sid)).collect()
    }
}

fn newcomers<P: Payload>(s: &mut State<P>) -> Option<&mut BTreeMap<ServerId, Zxid>> {
    match &mut s.role {
        Role::Leading(leader) => match &mut leader.stage {
            Stage::Broadcast { newcomers, .. } => Some(newcomers),
            Stage::Discovery { .. } | Stage::NewEpoch { .. } => None,
        },
        Role::Looking(_) | Role::Following(_) => None,
    }
}
