//! Digests beside the transactions of a log: what is missing or another's is noticed.

use super::format::{HEADER, append_record};
use super::inspect::fsck;
use super::{Compression, DataDir, Layout, Purge, StorageError, ZooKeeperCodec};
use crate::service::ZooKeeper;
use crate::types::{Epoch, Zxid};
use crate::znode::{Lifetime, SessionId, Tree, Txn, TxnBody, acl};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn layout(dir: &Path) -> Layout {
    Layout {
        data_dir: dir.to_owned(),
        log_dir: dir.to_owned(),
        retain: 3,
        purge: Purge::Never,
        compression: Compression::None,
    }
}

/// A directory as ZooKeeper leaves it: three epochs with a log and three znodes each. `tell` says which digest stands
/// beside a transaction.
fn directory(tell: impl Fn(Epoch, u64) -> Option<u64>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let version = dir.path().join("version-2");
    fs::create_dir(&version).unwrap();
    let mut tree = Tree::default();
    let mut snapshot = Vec::new();
    crate::proto::write_snapshot(&tree, true, &mut snapshot).unwrap();
    fs::write(version.join("snapshot.0"), snapshot).unwrap();
    for epoch in (1..=3).map(Epoch) {
        let mut log = HEADER.to_vec();
        for counter in 1..=3 {
            let zxid = Zxid::new(epoch, counter);
            let mut txn = Txn {
                session: SessionId(1),
                cxid: 1,
                time: 1,
                body: TxnBody::Create {
                    path: format!("/{epoch}-{counter}"),
                    data: b"data".as_slice().into(),
                    acl: acl::open_unsafe(),
                    lifetime: Lifetime::Persistent,
                    parent_cversion: tree.next_parent_cversion("/").unwrap(),
                },
                digest: None,
            };
            assert!(tree.apply(zxid, &txn).outcome.is_ok());
            txn.digest = tell(epoch, tree.digest());
            append_record(&mut log, |bytes| {
                bytes.extend(crate::proto::encode_txn(zxid, &txn));
            });
        }
        fs::write(
            version.join(format!("log.{:x}", Zxid::new(epoch, 1).0)),
            log,
        )
        .unwrap();
    }
    dir
}

fn start(dir: &TempDir, digests: bool) -> Result<usize, StorageError> {
    let opened: DataDir<ZooKeeper, _> =
        DataDir::open(layout(dir.path()), ZooKeeperCodec { digests })?;
    Ok(opened.storage().history.entries().len())
}

#[test]
fn a_log_that_is_missing_from_the_middle_is_noticed_by_the_digests_after_it() {
    let dir = directory(|_, digest| Some(digest));
    assert!(fsck(&layout(dir.path())).unwrap().is_sound());
    fs::remove_file(dir.path().join("version-2/log.200000001")).unwrap();
    let report = fsck(&layout(dir.path())).unwrap();
    assert!(!report.is_sound());
    match start(&dir, true) {
        Err(StorageError::Differs { file, mismatch }) => {
            assert!(file.ends_with("log.300000001"), "{file:?}");
            assert_eq!(mismatch.zxid, Zxid::new(Epoch(3), 1));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(start(&dir, false).unwrap(), 6);
}

#[test]
fn a_leader_that_was_wrong_and_was_followed_by_one_that_was_right_stops_no_start() {
    let dir = directory(|epoch, digest| Some(digest ^ u64::from(epoch == Epoch(2))));
    assert_eq!(start(&dir, true).unwrap(), 9);
}

#[test]
fn transactions_without_digests_are_taken_as_they_are() {
    let dir = directory(|epoch, digest| (epoch == Epoch(1)).then_some(digest));
    fs::remove_file(dir.path().join("version-2/log.200000001")).unwrap();
    assert_eq!(start(&dir, true).unwrap(), 6);
}
