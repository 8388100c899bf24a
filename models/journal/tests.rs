//! That what is left out of a long run is not lost on the invariants.

use super::observer::{Observer, Step};
use super::window::KEPT;
use keepright::quorum::Membership;
use keepright::service::ZooKeeper;
use keepright::types::{Epoch, ServerId, Zxid};
use keepright::zab::{self, Entry, Snapshot, Storage, Zab};
use keepright::znode::{SessionId, Tree, Txn, TxnBody};
use stateright::actor::{Actor, Out};
use std::collections::BTreeMap;

const FIRST: ServerId = ServerId(1);
const SECOND: ServerId = ServerId(2);
/// Long enough to leave most of it out.
const LENGTH: u32 = 10 * KEPT as u32;

fn zxid(counter: u32) -> Zxid {
    Zxid::new(Epoch(1), counter)
}

fn entry(counter: u32, cxid: i32) -> Entry<Txn> {
    let txn = Txn {
        session: SessionId(1),
        cxid,
        time: 0,
        body: TxnBody::Error(None),
        digest: None,
    };
    let zxid = zxid(counter);
    Entry { zxid, txn }
}

/// A history that is committed to the end.
fn committed(entries: impl Iterator<Item = Entry<Txn>>) -> Storage<ZooKeeper> {
    let mut storage = Storage {
        accepted_epoch: Epoch(1),
        current_epoch: Epoch(1),
        ..Storage::default()
    };
    entries.for_each(|entry| storage.history.append(entry.zxid, entry.txn));
    let snapshot = Snapshot {
        zxid: storage.history.last_zxid(),
        state: Tree::default(),
    };
    storage.history.compact(snapshot, usize::MAX, Zxid::ZERO);
    storage
}

/// An observer of two servers; lets one of them have this history at once.
fn observe(observer: &mut Observer, number: u64, server: ServerId, disk: &Storage<ZooKeeper>) {
    let zab = Zab::new(zab::Config::new(Membership::majority(
        [1, 2].map(ServerId).into_iter().collect(),
    )));
    let state = zab.on_start(server.into(), &Some(disk.clone()), &mut Out::new());
    for state in [None, Some(&state)] {
        let sent = &[];
        observer.on_step(
            number,
            &Step {
                server,
                state,
                disk,
                sent,
            },
        );
    }
}

/// What falls when the first server has delivered everything, step by step, and then the second has this.
fn falls(second: impl Iterator<Item = Entry<Txn>>) -> Vec<&'static str> {
    let zab = Zab::new(zab::Config::new(Membership::majority(
        [1, 2].map(ServerId).into_iter().collect(),
    )));
    let disks: BTreeMap<_, _> = [FIRST, SECOND].map(|id| (id, Storage::default())).into();
    let mut observer = Observer::new(zab, disks);
    observer.propose_given(
        (1..=LENGTH)
            .map(|counter| entry(counter, 0))
            .collect::<Vec<_>>()
            .iter(),
    );
    for length in 1..=LENGTH {
        let disk = committed((1..=length).map(|counter| entry(counter, 0)));
        observe(&mut observer, length.into(), FIRST, &disk);
    }
    assert_eq!(observer.window.committed(), LENGTH as usize);
    assert!(observer.window.record.delivered.len() < 2 * KEPT);
    let number = u64::from(LENGTH) + 1;
    observe(&mut observer, number, SECOND, &committed(second));
    observer.broken_by(number).collect()
}

fn all() -> impl Iterator<Item = Entry<Txn>> {
    (1..=LENGTH).map(|counter| entry(counter, 0))
}

#[test]
fn who_delivers_the_same_later_breaks_nothing() {
    assert_eq!(falls(all()), Vec::<&str>::new());
    assert_eq!(falls(all().take(5)), Vec::<&str>::new());
}

#[test]
fn a_transaction_that_differs_far_in_the_past_breaks_the_order_of_deliveries() {
    let other = all().map(|known| match known.zxid == zxid(7) {
        true => entry(7, 1),
        false => known,
    });
    let broken = falls(other);
    for id in [
        "prefix_consistency",
        "integrity",
        "agreement",
        "total_order",
        "history_identified",
    ] {
        assert!(broken.contains(&id), "{id}: {broken:?}");
    }
}

#[test]
fn a_transaction_that_is_missing_far_in_the_past_breaks_the_order_of_deliveries() {
    let broken = falls(all().filter(|known| known.zxid != zxid(7)));
    for id in ["prefix_consistency", "local_primary_order"] {
        assert!(broken.contains(&id), "{id}: {broken:?}");
    }
}

#[test]
fn a_transaction_that_nobody_proposed_breaks_integrity() {
    let broken = falls(all().chain([entry(LENGTH + 1, 0)]));
    assert!(broken.contains(&"integrity"), "{broken:?}");
}
