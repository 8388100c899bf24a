//! Histories against a naive model (`spec/0-assumptions.md`, "Durable state").

use crate::cluster::{IN_FORCE, Numbers, voters, z};
use keepright::persistent::Vector;
use keepright::quorum::{Membership, ServerSet};
use keepright::types::{Epoch, ServerId, Zxid};
use keepright::zab::{Difference, Entry, History, Payload, Snapshot, Storage, membership};
use proptest::collection::vec;
use proptest::prelude::*;

/// All transactions, and where snapshots and the log begin: what a history says in its own way.
#[derive(Clone, Debug, Default)]
struct Naive {
    all: Vec<Entry<u32>>,
    /// How many of them the snapshot includes.
    snapshot: usize,
    /// How many of them are not kept as entries.
    dropped: usize,
}

impl Naive {
    fn zxid(&self, count: usize) -> Zxid {
        match count {
            0 => Zxid::ZERO,
            count => self.all[count - 1].zxid,
        }
    }

    fn last(&self) -> Zxid {
        self.zxid(self.all.len())
    }

    /// Who decides after so many transactions, and who is to decide instead, from when on.
    fn in_force(&self, count: usize) -> (Membership, Option<(Zxid, Membership)>) {
        let (mut now, mut next) = (configured(), None);
        for entry in &self.all[..count] {
            match Numbers::change(&entry.txn) {
                Some(membership::Change::Proposed(membership)) => {
                    next = Some((entry.zxid, membership));
                }
                Some(membership::Change::InForce) => {
                    now = next.take().map_or(now, |(_, next)| next)
                }
                None => {}
            }
        }
        (now, next)
    }

    fn snapshot_at(&self, count: usize) -> Snapshot<Vector<Entry<u32>>> {
        Snapshot {
            zxid: self.zxid(count),
            state: self.all[..count].iter().cloned().collect(),
        }
    }
}

/// Who decides before the first reconfiguration.
fn configured() -> Membership {
    Membership::majority(ServerSet::of(ServerId(30)))
}

#[derive(Clone, Debug)]
enum Change {
    Append {
        epoch_up: bool,
    },
    Truncate(usize),
    Compact {
        at: usize,
        retain: usize,
        keep: usize,
    },
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => any::<bool>().prop_map(|epoch_up| Change::Append { epoch_up }),
        2 => any::<usize>().prop_map(Change::Truncate),
        2 => (any::<usize>(), 0..6usize, any::<usize>())
            .prop_map(|(at, retain, keep)| Change::Compact { at, retain, keep }),
    ]
}

/// Does the same to both.
fn apply(naive: &mut Naive, history: &mut History<Numbers>, change: &Change) {
    match *change {
        Change::Append { epoch_up } => {
            let last = naive.last();
            let zxid = if epoch_up || last.epoch().0 == 0 {
                z(last.epoch().0 + 1, 1)
            } else {
                z(last.epoch().0, last.counter() + 1)
            };
            // What is in a transaction follows from its zxid: equal zxids, equal transactions.
            let txn = match zxid.0 % 5 {
                2 => voters(&[1 + (zxid.0 % 29) as u8]),
                4 => IN_FORCE,
                _ => (zxid.0 % 1009) as u32,
            };
            history.append(zxid, txn);
            naive.all.push(Entry { zxid, txn });
        }
        Change::Truncate(to) => {
            let count = naive.snapshot + to % (naive.all.len() - naive.snapshot + 1);
            history.truncate(naive.zxid(count));
            naive.all.truncate(count);
        }
        Change::Compact { at, retain, keep } => {
            let mut at = naive.snapshot + at % (naive.all.len() - naive.snapshot + 1);
            while naive.in_force(at).1.is_some() {
                at -= 1; // A snapshot tells of one membership.
            }
            let keep = keep % (naive.all.len() + 1);
            history.compact(naive.snapshot_at(at), retain, naive.zxid(keep));
            naive.snapshot = at;
            naive.dropped = naive
                .dropped
                .max(at.saturating_sub(retain).min(keep))
                .max(naive.dropped);
        }
    }
}

fn build(changes: &[Change]) -> (Naive, History<Numbers>) {
    let (mut naive, mut history) = Default::default();
    for change in changes {
        apply(&mut naive, &mut history, change);
    }
    (naive, history)
}

/// Every transaction of a history.
fn whole(history: &History<Numbers>) -> Vec<Entry<u32>> {
    let snapshot = history.snapshot();
    let new = history.after(snapshot.zxid);
    snapshot.state.iter().chain(new).cloned().collect()
}

/// A zxid of the history, or one between or beyond them.
fn some_zxid(naive: &Naive, pick: u64) -> Zxid {
    let count = pick as usize % (naive.all.len() + 1);
    match pick % 3 {
        0 | 1 => naive.zxid(count),
        _ => Zxid(naive.zxid(count).0 + 1 + pick % 5),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_history_is_what_a_plain_list_of_transactions_is(
        changes in vec(change(), 0..40),
        pick in any::<u64>(),
    ) {
        let (naive, history) = build(&changes);
        let entries = &naive.all[naive.dropped..];
        prop_assert_eq!(whole(&history), naive.all.clone());
        prop_assert_eq!(history.last_zxid(), naive.last());
        prop_assert_eq!(history.start(), naive.zxid(naive.dropped));
        prop_assert!(history.entries().iter().eq(entries));
        prop_assert_eq!(history.snapshot(), &naive.snapshot_at(naive.snapshot));

        let zxid = some_zxid(&naive, pick);
        let start = naive.zxid(naive.dropped);
        let kept = || std::iter::once(start).chain(entries.iter().map(|entry| entry.zxid));
        prop_assert_eq!(history.contains(zxid), kept().any(|other| other == zxid));
        prop_assert_eq!(history.covers(zxid), zxid < start || kept().any(|other| other == zxid));
        prop_assert_eq!(history.floor(zxid), kept().rfind(|other| *other <= zxid));
        prop_assert!(history.after(zxid).eq(entries.iter().filter(|entry| entry.zxid > zxid)));
    }

    #[test]
    fn who_decides_follows_from_the_transactions_that_are_there(changes in vec(change(), 0..60)) {
        let (naive, history) = build(&changes);
        let configured = configured();
        for count in naive.snapshot..=naive.all.len() {
            let in_force = history.in_force_at(&configured, naive.zxid(count));
            let next = in_force.next.map(|(zxid, next)| (zxid, next.clone()));
            prop_assert_eq!((in_force.now.clone(), next), naive.in_force(count));
        }
        let later = naive.all[naive.snapshot..].iter();
        let later = later.filter_map(|entry| Some((entry.zxid, Numbers::change(&entry.txn)?)));
        prop_assert_eq!(history.changes(), later.collect::<Vec<_>>());
    }

    #[test]
    fn a_history_is_rebuilt_from_its_parts_and_from_nothing_else(changes in vec(change(), 0..40)) {
        let (_, history) = build(&changes);
        let (start, entries) = (history.start(), history.entries().clone());
        let rebuilt = History::from_parts(start, entries.clone(), history.snapshot().clone());
        prop_assert_eq!(rebuilt, Some(history.clone()));
        if entries.len() >= 2 {
            let reversed: Vector<_> = entries.iter().rev().cloned().collect();
            prop_assert_eq!(History::<Numbers>::from_parts(start, reversed, history.snapshot().clone()), None);
        }
        let elsewhere = Snapshot { zxid: Zxid(history.last_zxid().0 + 1), ..history.snapshot().clone() };
        prop_assert_eq!(History::<Numbers>::from_parts(start, entries, elsewhere), None);
    }

    #[test]
    fn a_step_that_does_not_apply_leaves_the_committed_prefix_alone(
        changes in vec(change(), 0..30),
        other in vec(change(), 0..30),
        pick in any::<u64>(),
        end in any::<u64>(),
        committed in any::<usize>(),
    ) {
        let (naive, history) = build(&changes);
        let (stranger, strange) = build(&other);
        let committed = naive.snapshot + committed % (naive.all.len() - naive.snapshot + 1);
        let step = strange.difference(some_zxid(&stranger, pick), some_zxid(&stranger, end));
        if let Some(after) = step.and_then(|step| history.apply(&step, naive.zxid(committed))) {
            prop_assert!(after.last_zxid() >= naive.zxid(committed));
            prop_assert!(after.contains(after.snapshot().zxid));
        }
    }

    /// `b` is a leader's history, `a` a learner's. Both have committed the first `common`
    /// transactions; what comes after, an earlier leader has proposed to `a` alone.
    #[test]
    fn steps_bring_a_learner_to_the_leaders_history_without_losing_what_is_committed(
        common in vec(change(), 0..20),
        only_a in 0..4u32,
        only_b in vec(change(), 0..20),
        learner_compacts in proptest::option::of((any::<usize>(), 0..4usize)),
        behind in any::<usize>(),
        end in any::<usize>(),
    ) {
        let (shared, history) = build(&common);
        // The learner has some of what is common, and transactions of an epoch that is over.
        let (mut a_naive, mut a) = (shared.clone(), history.clone());
        let count = a_naive.snapshot + behind % (a_naive.all.len() - a_naive.snapshot + 1);
        a.truncate(a_naive.zxid(count));
        a_naive.all.truncate(count);
        if let Some((at, retain)) = learner_compacts {
            apply(&mut a_naive, &mut a, &Change::Compact { at, retain, keep: usize::MAX });
        }
        let committed = a_naive.last();
        // Two kinds of epoch that only the learner has seen: after, and between, those of the leader.
        let dead = z(shared.last().epoch().0 + 1, 100);
        for i in 0..only_a {
            a.append(Zxid(dead.0 + u64::from(i)), 7);
        }
        let (mut b_naive, mut b) = (shared.clone(), history);
        apply(&mut b_naive, &mut b, &Change::Append { epoch_up: true });
        apply(&mut b_naive, &mut b, &Change::Append { epoch_up: true });
        for change in &only_b {
            // What is common stays.
            match change {
                Change::Truncate(_) => {}
                Change::Append { .. } | Change::Compact { .. } => apply(&mut b_naive, &mut b, change),
            }
        }
        // The initial history ends somewhere after what is common.
        let end = shared.all.len() + end % (b_naive.all.len() - shared.all.len() + 1);
        let mut goal = b_naive.zxid(end);
        let mut rounds = 0;
        while a.last_zxid() != goal {
            let last = a.last_zxid();
            // As the leader does.
            let Some(mut step) = b.difference(last, goal) else {
                prop_assert!(last > goal && b.contains(last));
                break;
            };
            match &mut step {
                Difference::Trunc { to, .. } => *to = goal.min(*to),
                Difference::Diff { .. } => {}
                Difference::Snap { snapshot, .. } => goal = goal.max(snapshot.zxid),
            }
            let after = a.apply(&step, committed);
            prop_assert!(after.is_some(), "{step:?} does not apply to {a:?}");
            a = after.expect("just seen");
            prop_assert!(a.last_zxid() >= committed, "what is committed stays");
            rounds += 1;
            prop_assert!(rounds <= 4, "steps without end");
        }
        let count = b_naive.all.iter().filter(|entry| entry.zxid <= a.last_zxid()).count();
        prop_assert_eq!(whole(&a), b_naive.all[..count].to_vec());
    }
}

#[test]
fn two_transactions_with_one_zxid_are_no_history() {
    let entry = |counter, txn| Entry {
        zxid: z(1, counter),
        txn,
    };
    let parts = |entries: [Entry<u32>; 2]| {
        History::<Numbers>::from_parts(Zxid::ZERO, entries.into(), Snapshot::default())
    };
    assert!(parts([entry(1, 7), entry(2, 8)]).is_some());
    assert!(parts([entry(1, 7), entry(1, 8)]).is_none());
}

#[test]
#[should_panic(expected = "appended after")]
fn a_transaction_cannot_be_appended_out_of_order() {
    let (_, mut history) = build(&[Change::Append { epoch_up: true }]);
    history.append(history.last_zxid(), 1);
}

/// As an observer of real servers sees them (`spec/6-server.md`, "Journal").
#[test]
fn another_history_in_its_place_leaves_the_epochs_as_they_are() {
    let mut history = History::<Numbers>::default();
    history.append(z(1, 1), 7);
    let storage = Storage::<Numbers> {
        accepted_epoch: Epoch(3),
        current_epoch: Epoch(2),
        ..Storage::default()
    };
    let expected = Storage {
        history: history.clone(),
        ..storage.clone()
    };
    assert_eq!(storage.with_history(history), expected);
}
