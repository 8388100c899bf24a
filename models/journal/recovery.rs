//! Whether what a server starts with is what it had: nothing that was durable may be lost.
//!
//! Spec: `spec/6-server.md`, "Storage". A server that was killed finds on its disk what was durable, or
//! some of the saves that were pending, in order, or what lies on the way from one of them to the next.

use keepright::service::ZooKeeper;
use keepright::types::Zxid;
use keepright::zab::{Entry, History, Storage};

/// Says what is missing from `found`, if anything is. `had` are the storages that the disk may hold: what
/// was durable, then each save that was pending, oldest first.
pub fn lost(had: &[&Storage<ZooKeeper>], found: &Storage<ZooKeeper>) -> Option<String> {
    let (durable, newest) = (had.first()?, had.last()?);
    let epochs = [
        (
            "accepted",
            durable.accepted_epoch,
            found.accepted_epoch,
            newest.accepted_epoch,
        ),
        (
            "current",
            durable.current_epoch,
            found.current_epoch,
            newest.current_epoch,
        ),
    ];
    for (name, least, epoch, most) in epochs {
        if epoch < least {
            return Some(format!(
                "{name} epoch {least} was durable, {epoch} is found"
            ));
        }
        if epoch > most {
            return Some(format!(
                "{name} epoch {epoch} is found, {most} was the last to be saved"
            ));
        }
    }
    let steps = had.windows(2).map(|pair| (pair[0], pair[1]));
    let possible = steps
        .chain([(*durable, *durable)])
        .any(|(a, b)| on_the_way(&a.history, &b.history, &found.history));
    let (end, last) = (found.history.last_zxid(), durable.history.last_zxid());
    (!possible).then(|| format!("the history up to {last} was durable, one up to {end} is found"))
}

/// Whether a disk that goes from `a` to `b` can hold `found`: transactions go from the end of `a` down to
/// where the two part, and then those of `b` come; or `b` replaces `a` at once by its snapshot.
fn on_the_way(a: &History<ZooKeeper>, b: &History<ZooKeeper>, found: &History<ZooKeeper>) -> bool {
    let end = found.last_zxid();
    let parts = parting(a, b);
    let in_a = end >= parts.unwrap_or(a.last_zxid()) && begins_with(a, found);
    let in_b = end >= parts.unwrap_or(b.snapshot().zxid) && begins_with(b, found);
    in_a || in_b
}

/// The last transaction that two histories share; `None` if there is none that is known.
fn parting(a: &History<ZooKeeper>, b: &History<ZooKeeper>) -> Option<Zxid> {
    if b.contains(a.last_zxid()) {
        return Some(a.last_zxid());
    }
    let last = b.entries().iter().rev().map(|entry| entry.zxid);
    last.chain([b.start()]).find(|zxid| a.contains(*zxid))
}

/// Whether `found` is `whole` up to some transaction, as far as both are known as transactions.
fn begins_with(whole: &History<ZooKeeper>, found: &History<ZooKeeper>) -> bool {
    let known = whole.start().max(found.start());
    let end = found.last_zxid();
    let up_to_end = |entry: &&Entry<_>| entry.zxid <= end;
    whole.contains(end)
        && whole
            .after(known)
            .take_while(up_to_end)
            .eq(found.after(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepright::types::Epoch;
    use keepright::zab::Snapshot;
    use keepright::znode::{SessionId, Tree, Txn, TxnBody};

    fn storage(epoch: u32, entries: &[(u32, u32)]) -> Storage<ZooKeeper> {
        let mut storage = Storage {
            accepted_epoch: Epoch(epoch),
            current_epoch: Epoch(epoch),
            ..Storage::default()
        };
        for (epoch, counter) in entries {
            let txn = Txn {
                session: SessionId(1),
                cxid: 0,
                time: 0,
                body: TxnBody::Error(None),
                digest: None,
            };
            storage
                .history
                .append(Zxid::new(Epoch(*epoch), *counter), txn);
        }
        storage
    }

    #[test]
    fn a_restart_finds_what_was_durable_or_some_of_what_was_pending() {
        let durable = storage(1, &[(1, 1), (1, 2)]);
        let pending = storage(1, &[(1, 1), (1, 2), (1, 3), (1, 4)]);
        for (found, sound) in [
            (&durable, true),
            (&storage(1, &[(1, 1), (1, 2), (1, 3)]), true),
            (&pending, true),
            (&storage(1, &[(1, 1)]), false),
            (&storage(1, &[(1, 2)]), false),
            (&storage(1, &[(1, 1), (1, 2), (1, 4)]), false),
            (
                &storage(1, &[(1, 1), (1, 2), (1, 3), (1, 4), (1, 5)]),
                false,
            ),
            (&storage(0, &[(1, 1), (1, 2)]), false),
            (&storage(2, &[(1, 1), (1, 2)]), false),
        ] {
            assert_eq!(
                lost(&[&durable, &pending], found).is_none(),
                sound,
                "{found:?}"
            );
        }
        assert!(lost(&[&durable], &storage(1, &[(1, 1), (1, 2), (1, 3)])).is_some());
    }

    #[test]
    fn a_restart_in_the_midst_of_a_truncation_finds_no_less_than_both_have() {
        let long = storage(1, &[(1, 1), (1, 2), (1, 3)]);
        let other = storage(1, &[(1, 1), (2, 1), (2, 2)]);
        for (found, sound) in [
            (storage(1, &[(1, 1), (1, 2)]), true),
            (storage(1, &[(1, 1)]), true),
            (storage(1, &[(1, 1), (2, 1)]), true),
            (storage(1, &[(1, 1), (1, 2), (2, 1)]), false),
            (storage(1, &[]), false),
        ] {
            assert_eq!(lost(&[&long, &other], &found).is_none(), sound, "{found:?}");
        }
    }

    #[test]
    fn a_restart_in_the_midst_of_a_replacement_finds_the_old_or_the_new_history() {
        let old = storage(1, &[(1, 1), (1, 2)]);
        let mut new = storage(1, &[]);
        let snapshot = |counter| Snapshot {
            zxid: Zxid::new(Epoch(2), counter),
            state: Tree::default(),
        };
        new.history = History::from_snapshot(snapshot(5));
        assert_eq!(lost(&[&old, &new], &old), None);
        assert_eq!(lost(&[&old, &new], &new), None);
        assert!(lost(&[&old, &new], &storage(1, &[(1, 1)])).is_some());
        new.history = History::from_snapshot(snapshot(4));
        assert!(lost(&[&old, &storage(1, &[])], &new).is_some());
    }
}
