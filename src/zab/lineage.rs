//! Which history it is: the epochs that it consists of, by name, and where each goes on from.
//!
//! Spec: `spec/10-lineage.md`. A zxid names a transaction only as long as each epoch number is given out once. Disks
//! that forget and servers that ran alone break that, so an epoch has a name beside its number. This is the one place in
//! which two histories are compared by it. What it must never do: call two histories one where a transaction that was
//! acknowledged in one of them would be lost.

use crate::quorum::ServerSet;
use crate::types::{Epoch, EpochName, Zxid};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// So many epochs are remembered, the newest ones.
const REMEMBERED: usize = 64;

/// How an epoch was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Term {
    pub epoch: Epoch,
    pub name: EpochName,
    /// The last transaction of the history that it goes on from.
    pub after: Zxid,
    /// Who had a vote then, by the configuration. Nobody, if the history says who votes: then two that go on from one
    /// history go by the same members.
    pub voters: ServerSet,
}

impl Term {
    /// Whether two terms may be one. An epoch without a name may be any of its number.
    fn may_be(&self, other: &Self) -> bool {
        let named = self.name != EpochName::NONE && other.name != EpochName::NONE;
        self.epoch == other.epoch && (!named || self.name == other.name)
    }
}

/// The epochs of a history that have transactions in it, oldest first; and the current one, which may have none yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lineage(Arc<Vec<Term>>);

/// Why one history cannot be cut to go on with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Divergence {
    pub reason: Reason,
    /// The last transaction that both have.
    pub common: Zxid,
    /// The last transaction of the history that would be cut.
    pub last: Zxid,
    /// The last transaction of the other one.
    pub other: Zxid,
}

/// What is wrong about two histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// Both have transactions of an epoch of this number, begun by different leaders.
    NumberTwice(Epoch),
    /// What would be cut is committed up to here.
    Committed(Zxid),
    /// They went apart under voters of which two quorums may have nobody in common.
    Apart(ServerSet, ServerSet),
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            reason,
            common,
            last,
            other,
        } = self;
        let ends = |zxid: &Zxid| match zxid.0 {
            u64::MAX => "a later one".to_owned(),
            raw => format!("{zxid} (0x{raw:x})"),
        };
        let (common, last, other) = (ends(common), ends(last), ends(other));
        write!(
            f,
            "the histories diverge after {common}: one ends at {last}, the other at {other}; "
        )?;
        match reason {
            Reason::NumberTwice(epoch) => {
                write!(
                    f,
                    "epoch {epoch} was begun twice, by servers that did not know of each other"
                )
            }
            Reason::Committed(zxid) => write!(f, "what would be lost is committed up to {zxid}"),
            Reason::Apart(one, two) => write!(
                f,
                "one was decided by the voters {one:?}, the other by {two:?}"
            ),
        }
    }
}

impl Lineage {
    /// A lineage of these terms, oldest first.
    pub fn of(terms: Vec<Term>) -> Self {
        Self(Arc::new(terms))
    }

    /// The terms, oldest first.
    pub fn terms(&self) -> &[Term] {
        &self.0
    }

    /// The newest term.
    pub fn last(&self) -> Option<&Term> {
        self.0.last()
    }

    /// The lineage after a history that ends at `term.after` has gone on to this term.
    pub fn begin(&self, term: Term) -> Self {
        let mut terms = self.up_to(term.after).0.to_vec();
        terms.push(term);
        let forgotten = terms.len().saturating_sub(REMEMBERED);
        Self::of(terms.split_off(forgotten))
    }

    /// That part of it which a history that ends at `last` has transactions of.
    pub fn up_to(&self, last: Zxid) -> Self {
        let spans = self.spans(last).map(|(term, _)| *term);
        Self::of(spans.collect())
    }

    /// Each term of which a history that ends at `last` has transactions, and the last one of these.
    fn spans(&self, last: Zxid) -> impl Iterator<Item = (&Term, Zxid)> {
        let ends = self.0.iter().skip(1).map(|next| next.after);
        let ends = ends.chain([last]).map(move |end| end.min(last));
        self.0
            .iter()
            .zip(ends)
            .filter(|(term, end)| term.after < *end)
    }

    /// The term that the first transaction after `zxid` is of.
    fn term_after(&self, zxid: Zxid, last: Zxid) -> Option<&Term> {
        self.spans(last)
            .find(|(_, end)| *end > zxid)
            .map(|(term, _)| term)
    }
}

/// A history, as far as it has to be known to be compared.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub lineage: &'a Lineage,
    /// Its last transaction.
    pub last: Zxid,
}

impl<'a> Line<'a> {
    fn spans(self) -> impl Iterator<Item = (&'a Term, Zxid)> {
        self.lineage.spans(self.last)
    }

    /// The last transaction that both have, or `None` if what is known of them does not tell.
    fn meets(self, other: Self) -> Option<Zxid> {
        let common = self.spans().filter_map(|(term, end)| {
            let mut theirs = other.spans();
            let same = theirs.find(|(theirs, _)| theirs.may_be(term));
            same.map(|(_, theirs)| end.min(theirs))
        });
        if let Some(common) = common.last() {
            return Some(common);
        }
        if self.last == Zxid::ZERO || other.last == Zxid::ZERO {
            return Some(Zxid::ZERO);
        }
        // Nothing in common: they have nothing to do with each other, if both are known from so early
        // on that they would have to.
        let begins = |line: Self| line.spans().next().map(|(term, _)| term.after);
        let (ours, theirs) = (begins(self)?, begins(other)?);
        (ours < other.last && theirs < self.last).then_some(Zxid::ZERO)
    }

    /// The epoch number that both have transactions of, and that was begun twice.
    fn number_twice(self, other: Self) -> Option<Epoch> {
        let twice = |term: &Term| {
            other
                .spans()
                .any(|(theirs, _)| theirs.epoch == term.epoch && !theirs.may_be(term))
        };
        self.spans()
            .map(|(term, _)| term)
            .find(|term| twice(term))
            .map(|term| term.epoch)
    }

    /// What is committed whatever anybody says: transactions of an epoch are proposed only when a quorum has what it
    /// goes on from.
    fn committed(self) -> Zxid {
        let last = self.spans().last();
        last.map_or(Zxid::ZERO, |(term, _)| term.after)
    }

    /// Whether a server with this history, of which it knows everything up to `committed` to be committed, may go on with
    /// the other one instead.
    ///
    /// # Errors
    /// Why not.
    pub fn may_follow(self, other: Self, committed: Zxid) -> Result<(), Divergence> {
        let Some(common) = self.meets(other) else {
            return Ok(()); // Not known; as far as zxids tell, they are one.
        };
        let diverge = |reason| {
            Err(Divergence {
                reason,
                common,
                last: self.last,
                other: other.last,
            })
        };
        if self.last <= common {
            return Ok(());
        }
        if let Some(epoch) = self.number_twice(other) {
            return diverge(Reason::NumberTwice(epoch));
        }
        let committed = committed.max(self.committed());
        if common < committed {
            return diverge(Reason::Committed(committed));
        }
        let after = |line: Self| line.lineage.term_after(common, line.last);
        match (after(self), after(other)) {
            (Some(ours), Some(theirs)) if apart(&ours.voters, &theirs.voters) => {
                diverge(Reason::Apart(ours.voters, theirs.voters))
            }
            _ => Ok(()),
        }
    }
}

/// Whether there may be a majority of the one and a majority of the other with no server in common.
fn apart(one: &ServerSet, other: &ServerSet) -> bool {
    let majority = |set: &ServerSet| set.len() / 2 + 1;
    let known = !one.is_empty() && !other.is_empty();
    known && one != other && majority(one) + majority(other) <= one.union(other).len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ServerId;

    const ALL: [u8; 3] = [1, 2, 3];

    fn term(epoch: u32, draw: u64, after: Zxid, voters: &[u8]) -> Term {
        Term {
            epoch: Epoch(epoch),
            name: EpochName {
                leader: ServerId(1),
                draw,
            },
            after,
            voters: voters.iter().copied().map(ServerId).collect(),
        }
    }

    fn at(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    /// May one history be cut to follow another?
    fn judge(one: (&[Term], Zxid), two: (&[Term], Zxid)) -> Result<(), Reason> {
        let (mine, theirs) = (Lineage::of(one.0.to_vec()), Lineage::of(two.0.to_vec()));
        let line = |lineage, last| Line { lineage, last };
        let verdict = line(&mine, one.1).may_follow(line(&theirs, two.1), Zxid::ZERO);
        verdict.map_err(|divergence| divergence.reason)
    }

    #[test]
    fn a_history_that_is_a_beginning_of_another_follows_it() {
        let first = term(1, 7, Zxid::ZERO, &ALL);
        let later = [first, term(2, 8, at(1, 3), &ALL)];
        assert_eq!(judge((&[first], at(1, 3)), (&later, at(2, 5))), Ok(()));
        assert_eq!(judge((&[], Zxid::ZERO), (&later, at(2, 5))), Ok(()));
    }

    #[test]
    fn what_one_leader_proposed_to_nobody_is_cut() {
        let first = term(1, 7, Zxid::ZERO, &ALL);
        let later = [first, term(2, 8, at(1, 3), &ALL)];
        assert_eq!(judge((&[first], at(1, 4)), (&later, at(2, 5))), Ok(()));
    }

    #[test]
    fn what_an_epoch_goes_on_from_is_committed_and_not_cut() {
        let first = term(1, 7, Zxid::ZERO, &ALL);
        let ours = [first, term(2, 8, at(1, 4), &ALL)];
        let theirs = [first, term(3, 9, at(1, 3), &ALL)];
        assert_eq!(
            judge((&ours, at(2, 1)), (&theirs, at(3, 5))),
            Err(Reason::Committed(at(1, 4)))
        );
    }

    #[test]
    fn a_number_that_was_given_out_twice_is_noticed() {
        let first = term(1, 7, Zxid::ZERO, &ALL);
        let (ours, theirs) = (term(2, 8, at(1, 3), &ALL), term(2, 9, at(1, 3), &ALL));
        assert_eq!(
            judge((&[first, ours], at(2, 1)), (&[first, theirs], at(2, 1))),
            Err(Reason::NumberTwice(Epoch(2)))
        );
    }

    #[test]
    fn who_decided_alone_and_the_others_do_not_follow_each_other() {
        let first = term(1, 7, Zxid::ZERO, &ALL);
        let alone = [first, term(2, 8, at(1, 3), &[1])];
        let together = [first];
        let apart = |verdict| matches!(verdict, Err(Reason::Apart(..)));
        assert!(apart(judge((&alone, at(2, 9)), (&together, at(1, 5)))));
        assert!(apart(judge((&together, at(1, 5)), (&alone, at(2, 9)))));
        assert_eq!(judge((&together, at(1, 3)), (&alone, at(2, 9))), Ok(()));
    }

    #[test]
    fn of_an_ensemble_that_grew_by_one_two_quorums_have_a_server_in_common() {
        let set = |ids: &[u8]| ids.iter().copied().map(ServerId).collect::<ServerSet>();
        assert!(!apart(&set(&ALL), &set(&[1, 2, 3, 4])));
        assert!(apart(&set(&ALL), &set(&[1, 2, 3, 4, 5])));
        assert!(apart(&set(&ALL), &set(&[1])));
        assert!(!apart(&set(&ALL), &set(&[])), "the history says who votes");
    }

    #[test]
    fn an_epoch_without_transactions_is_forgotten_when_the_next_begins() {
        let lineage = Lineage::default()
            .begin(term(1, 7, Zxid::ZERO, &ALL))
            .begin(term(2, 8, at(1, 3), &ALL))
            .begin(term(3, 9, at(1, 3), &ALL));
        let epochs: Vec<_> = lineage.terms().iter().map(|term| term.epoch.0).collect();
        assert_eq!(epochs, [1, 3]);
    }

    #[test]
    fn of_many_epochs_the_newest_are_remembered() {
        let mut lineage = Lineage::default();
        let mut last = Zxid::ZERO;
        for epoch in 1..=200 {
            lineage = lineage.begin(term(epoch, 7, last, &ALL));
            last = at(epoch, 1);
        }
        assert_eq!(lineage.terms().len(), REMEMBERED);
        assert_eq!(lineage.last().map(|term| term.epoch.0), Some(200));
        // What is older than all that is remembered is taken for a part of it.
        let old = [term(1, 3, Zxid::ZERO, &ALL)];
        assert_eq!(judge((&old, at(1, 1)), (lineage.terms(), last)), Ok(()));
    }
}
