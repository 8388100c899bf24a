//! Directories as ZooKeeper leaves them, byte by byte: where it starts, this server starts on the same tree.

use super::inspect::{FileState, fsck};
use super::tests::{layout, scratch};
use super::*;
use crate::service::ZooKeeper;
use crate::types::Epoch;
use crate::znode::{Acl, AuthId, ErrorCode, Perms, SessionId, Tree, TxnBody, acl};
use std::fs;
use tempfile::TempDir;

const OWNER: i64 = 0x0100_0000_0000_0007;

// What ZooKeeper writes, as far as it is needed here.

fn text(value: &str) -> Vec<u8> {
    buffer(value.as_bytes())
}

fn buffer(value: &[u8]) -> Vec<u8> {
    [&(value.len() as i32).to_be_bytes()[..], value].concat()
}

fn acl_bytes(acl: &[Acl]) -> Vec<u8> {
    let mut bytes = (acl.len() as i32).to_be_bytes().to_vec();
    for entry in acl {
        bytes.extend(entry.perms.0.to_be_bytes());
        bytes.extend(text(&entry.who.scheme));
        bytes.extend(text(&entry.who.id));
    }
    bytes
}

/// A znode of a snapshot: where its ACL is in the list, and who owns it.
fn node(path: &str, zxid: i64, acl: i64, owner: i64) -> Vec<u8> {
    let mut bytes = [text(path), buffer(b"data")].concat();
    for number in [acl, zxid, zxid, 0, 0] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend([0; 12]);
    bytes.extend(owner.to_be_bytes());
    bytes.extend(zxid.to_be_bytes());
    bytes
}

fn seal(bytes: &mut Vec<u8>) {
    let sum = u64::from(simd_adler32::adler32(&bytes.as_slice()));
    bytes.extend(sum.to_be_bytes());
    bytes.extend(text("/"));
}

fn snapshot(nodes: &[Vec<u8>], sessions: &[i64], acls: &[(i64, &[Acl])]) -> Vec<u8> {
    let mut bytes = b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
    bytes.extend((sessions.len() as i32).to_be_bytes());
    for session in sessions {
        bytes.extend(session.to_be_bytes());
        bytes.extend(30_000_i32.to_be_bytes());
    }
    bytes.extend((acls.len() as i32).to_be_bytes());
    for (number, acl) in acls {
        bytes.extend(number.to_be_bytes());
        bytes.extend(acl_bytes(acl));
    }
    for path in ["", "/zookeeper", "/zookeeper/quota"] {
        bytes.extend(node(path, 0, -1, 0));
    }
    bytes.extend(nodes.concat());
    bytes.extend(text("/"));
    seal(&mut bytes);
    bytes
}

fn txn(zxid: u64, kind: i32, body: &[u8]) -> Vec<u8> {
    txn_of(OWNER, zxid, kind, body)
}

fn txn_of(session: i64, zxid: u64, kind: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = session.to_be_bytes().to_vec();
    bytes.extend(1_i32.to_be_bytes());
    bytes.extend(zxid.to_be_bytes());
    bytes.extend(1_700_000_000_000_i64.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn create(zxid: u64, path: &str) -> Vec<u8> {
    create_with(zxid, path, b"data", &acl::open_unsafe(), false)
}

fn create_with(zxid: u64, path: &str, data: &[u8], acl: &[Acl], ephemeral: bool) -> Vec<u8> {
    let mut body = [text(path), buffer(data), acl_bytes(acl)].concat();
    body.push(ephemeral.into());
    body.extend((zxid as i32).to_be_bytes());
    txn(zxid, 1, &body)
}

fn open_session(zxid: u64) -> Vec<u8> {
    txn(zxid, -10, &30_000_i32.to_be_bytes())
}

fn failure(zxid: u64, code: i32) -> Vec<u8> {
    txn(zxid, -1, &code.to_be_bytes())
}

fn record(body: &[u8]) -> Vec<u8> {
    let sum = u64::from(simd_adler32::adler32(&body));
    [&sum.to_be_bytes()[..], &buffer(body), b"B"].concat()
}

fn log(bodies: &[Vec<u8>]) -> Vec<u8> {
    let records: Vec<_> = bodies.iter().map(|body| record(body)).collect();
    [&b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0"[..], &records.concat()].concat()
}

// Directories.

fn directory(files: &[(&str, Vec<u8>)]) -> (TempDir, Layout) {
    let dir = scratch();
    let layout = Layout {
        log_dir: dir.path().join("data"),
        ..layout(&dir)
    };
    fs::create_dir_all(layout.snapshots()).unwrap();
    for (name, content) in files {
        fs::write(layout.snapshots().join(name), content).unwrap();
    }
    (dir, layout)
}

/// The tree that a server has that starts on these files: it starts twice on them, and finds the same.
fn tree(files: &[(&str, Vec<u8>)]) -> Result<Tree, StorageError> {
    let (_dir, layout) = directory(files);
    let looked = fsck(&layout).unwrap();
    let open = || DataDir::<ZooKeeper, _>::open(layout.clone(), ZooKeeperCodec::default());
    let first = open().map(|found| replayed(found.storage()));
    assert_eq!(looked.start.is_ok(), first.is_ok(), "fsck says the same");
    let first = first?;
    assert_eq!(replayed(open()?.storage()), first);
    Ok(first)
}

fn replayed(storage: &Storage<ZooKeeper>) -> Tree {
    let snapshot = storage.history.snapshot();
    let mut tree = snapshot.state.clone();
    for entry in storage.history.after(snapshot.zxid) {
        let _ = tree.apply(entry.zxid, &entry.txn);
    }
    tree
}

#[test]
fn an_acl_that_came_to_be_while_the_snapshot_was_written_comes_from_the_log() {
    let listed = [Acl {
        perms: Perms::READ,
        who: AuthId::anyone(),
    }];
    let came = [Acl {
        perms: Perms::ALL,
        who: AuthId::new("digest", "ann:hash"),
    }];
    let nodes = [
        node("/old", 3, 1, 0),
        node("/created", 6, 2, 0),
        node("/set", 4, 2, 0),
        node("/never", 4, 3, 0),
    ];
    let set_acl = [text("/set"), acl_bytes(&came), 1_i32.to_be_bytes().to_vec()];
    let files = [
        ("snapshot.5", snapshot(&nodes, &[], &[(1, &listed)])),
        (
            "log.6",
            log(&[
                create_with(6, "/created", b"data", &came, false),
                txn(7, 7, &set_acl.concat()),
            ]),
        ),
    ];
    let tree = tree(&files).unwrap();
    let of = |path: &str| &*tree.node(path).unwrap().acl;
    assert_eq!(of("/old"), listed);
    assert_eq!((of("/created"), of("/set")), (&came[..], &came[..]));
    assert_eq!(tree.node("/set").unwrap().aversion, 1);
    // What no transaction brings is lost: nobody gets what only some may have had.
    let ids = [AuthId::digest(b"ann:hash"), AuthId::anyone()];
    assert!(!acl::permits(of("/never"), Perms::ALL, &ids));
    assert!(acl::permits(
        of("/never"),
        Perms::ALL,
        &[AuthId::superuser()]
    ));
    let (_dir, layout) = directory(&files);
    let report = fsck(&layout).unwrap();
    assert!(report.is_sound());
    let FileState::Sound(words) = &report.findings[0].state else {
        panic!("{report:?}");
    };
    assert!(
        words.contains("3 znodes have an ACL that is not listed"),
        "{words}"
    );
}

#[test]
fn a_server_of_zookeeper_that_was_killed_in_a_record_lacks_that_record_alone() {
    // The first is a record of which the length ends with the byte of the end mark; the second is larger than
    // ZooKeeper's buffer.
    let small = (0..400)
        .map(|length| create_with(3, "/torn", &vec![7; length], &acl::open_unsafe(), false))
        .find(|body| body.len() & 0xff == 0x42)
        .unwrap();
    let large = create_with(3, "/torn", &[7; 9000], &acl::open_unsafe(), false);
    for last in [small, large] {
        let whole = log(&[open_session(1), create(2, "/told"), last.clone()]);
        let sound = whole.len() - record(&last).len();
        let body = whole.len() - 1 - last.len();
        // All of the head, the first and the last of the body, and all but the end mark.
        for cut in (sound..body + 20).chain(whole.len() - 20..whole.len()) {
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(whole.len() + 4096, 0);
            let files = [("snapshot.0", snapshot(&[], &[], &[])), ("log.1", bytes)];
            let tree = tree(&files).unwrap_or_else(|error| panic!("{cut}: {error}"));
            assert!(tree.contains("/told") && !tree.contains("/torn"), "{cut}");
        }
    }
}

#[test]
fn a_close_without_paths_is_one_whatever_the_digest_after_it_is() {
    let digests = [
        0xfdee_8ee6_1234_5678_u64,
        0,
        0x0000_0004_2f61_6263,
        0x0000_0000_0000_0002,
    ];
    for digest in digests {
        let digest = [&2_i32.to_be_bytes()[..], &digest.to_be_bytes()].concat();
        let with = |body: Vec<u8>| [body, digest.clone()].concat();
        let gone = create_with(3, "/gone", b"", &acl::open_unsafe(), true);
        for close in [with(txn(4, -11, b"")), txn(4, -11, b"")] {
            let bodies = [
                with(open_session(1)),
                with(create(2, "/kept")),
                with(gone.clone()),
                close,
                with(failure(5, -101)),
            ];
            let files = [
                ("snapshot.0", snapshot(&[], &[], &[])),
                ("log.1", log(&bodies)),
            ];
            // The digests are those of no tree, and this server has never written here.
            let (_dir, layout) = directory(&files);
            let codec = ZooKeeperCodec::default();
            let opened = DataDir::<ZooKeeper, _>::open(layout, codec).unwrap();
            let tree = replayed(opened.storage());
            assert!(tree.contains("/kept") && !tree.contains("/gone"));
            assert!(tree.sessions().is_empty());
        }
    }
}

#[test]
fn a_failure_at_the_zxid_of_another_transaction_is_passed_over_and_a_change_there_is_damage() {
    let start = || ("snapshot.5", snapshot(&[], &[], &[]));
    let second = 0x1_0000_0000;
    // In one file; at the beginning of the next; before the first transaction of an epoch.
    let files = [
        start(),
        (
            "log.6",
            log(&[create(6, "/a"), failure(6, -5), create(7, "/b")]),
        ),
        (
            "log.7",
            log(&[failure(7, -5), failure(7, -5), create(8, "/c")]),
        ),
        (
            "log.100000000",
            log(&[failure(second, -5), create(second + 1, "/d")]),
        ),
    ];
    let found = tree(&files).unwrap();
    for path in ["/a", "/b", "/c", "/d"] {
        assert!(found.contains(path), "{path}");
    }
    // As the last of all, and alone in the last file.
    let files = [
        start(),
        ("log.6", log(&[create(6, "/a"), failure(6, -5)])),
        ("log.100000000", log(&[failure(second, -5)])),
    ];
    let found = tree(&files).unwrap();
    assert_eq!((found.contains("/a"), found.last_zxid()), (true, Zxid(6)));
    let two_changes = [create(6, "/a"), create(6, "/b")];
    let backwards = [create(6, "/a"), create(7, "/b"), failure(6, -5)];
    for bodies in [&two_changes[..], &backwards] {
        assert!(matches!(
            tree(&[start(), ("log.6", log(bodies))]),
            Err(StorageError::Damaged { .. })
        ));
    }
}

#[test]
fn a_failure_of_a_number_that_is_not_known_is_a_failure() {
    // A multi is a vector of kinds and buffers.
    let multi = |code: i32| {
        let kind = (-1_i32).to_be_bytes();
        let count = 1_i32.to_be_bytes();
        [&count[..], &kind, &buffer(&code.to_be_bytes())].concat()
    };
    let bodies = [
        open_session(1),
        failure(2, -999),
        txn(3, 14, &multi(-998)),
        create(4, "/a"),
    ];
    let files = [
        ("snapshot.0", snapshot(&[], &[], &[])),
        ("log.1", log(&bodies)),
    ];
    let (_dir, layout) = directory(&files);
    let opened = DataDir::<ZooKeeper, _>::open(layout, ZooKeeperCodec::default()).unwrap();
    let bodies: Vec<_> = opened
        .storage()
        .history
        .entries()
        .iter()
        .map(|entry| entry.txn.body.clone())
        .collect();
    let unknown = Some(ErrorCode::SystemError);
    assert_eq!(bodies[1], TxnBody::Error(unknown));
    assert_eq!(bodies[2], TxnBody::FailedMulti(vec![unknown]));
    assert!(replayed(opened.storage()).contains("/a"));
}

#[test]
fn the_owner_of_an_ephemeral_is_known_to_have_no_session_unless_the_log_opens_it() {
    let (known, unknown) = (OWNER + 1, OWNER + 2);
    let nodes = [
        node("/known", 3, -1, known),
        node("/nobody", 4, -1, unknown),
        node("/later", 7, -1, OWNER),
    ];
    let files = [
        ("snapshot.5", snapshot(&nodes, &[known], &[])),
        ("log.6", log(&[open_session(6), create(7, "/later")])),
    ];
    let tree = tree(&files).unwrap();
    let owners: Vec<_> = tree.owners_without_session().collect();
    assert_eq!(owners, [SessionId(unknown)]);
}

#[test]
fn without_a_snapshot_a_log_counts_only_from_the_first_transaction_on() {
    let log_from = |first: u64| log(&[open_session(first), create(first + 1, "/a")]);
    for first in [1, Zxid::new(Epoch(1), 1).0] {
        let name = format!("log.{first:x}");
        assert!(tree(&[(&name, log_from(first))]).unwrap().contains("/a"));
    }
    for first in [2, 0x1_0000_0002, 0x3_0000_0001] {
        let name = format!("log.{first:x}");
        for snapshot in [None, Some(("snapshot.1", b"rubbish".to_vec()))] {
            let files: Vec<_> = [(name.as_str(), log_from(first))]
                .into_iter()
                .chain(snapshot)
                .collect();
            let error = tree(&files).unwrap_err();
            assert!(
                matches!(error, StorageError::NoBeginning { found, .. } if found == first),
                "{error}"
            );
            assert!(error.to_string().contains(&name), "{error}");
        }
    }
}

#[test]
fn a_snapshot_of_zookeeper_3_4_gets_the_znode_of_the_members() {
    let files = [("snapshot.5", snapshot(&[node("/a", 3, -1, 0)], &[], &[]))];
    let tree = tree(&files).unwrap();
    let (config, new) = (tree.node("/zookeeper/config"), Tree::default());
    assert_eq!(config, new.node("/zookeeper/config"));
}

#[test]
fn fsck_says_of_each_file_what_zookeeper_would() {
    let sound = log(&[open_session(1), create(2, "/a")]);
    let second = log(&[create(3, "/b")]);
    let changed = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let zeros = |bytes: &[u8]| [bytes, &[0; 100]].concat();
    let cut = |bytes: &[u8], by: usize| bytes[..bytes.len() - by].to_vec();
    let cases = [
        ("log.1", sound.clone(), "reads 2 records"),
        ("log.1", zeros(&sound), "reads 2 records"),
        ("log.1", zeros(&cut(&sound, 1)), "the last one was partial"),
        ("log.1", cut(&sound, 2), "reads 1 records, and drops"),
        ("log.1", changed(&sound, 30), "CRC check failed"),
        ("log.1", changed(&sound, 0), "no log by its first bytes"),
        ("log.1", Vec::new(), "removes it if it is the last one"),
        ("log.1", [sound, second].concat(), "drops the rest"),
        ("snapshot.0", snapshot(&[], &[], &[]), "reads it"),
        (
            "snapshot.0.gz",
            snapshot(&[], &[], &[]),
            "its name does not say",
        ),
        (
            "snapshot.0",
            cut(&snapshot(&[], &[], &[]), 3),
            "passes over it for an older one",
        ),
        ("currentEpoch", b"7\nx\n".to_vec(), "reads 7"),
        ("acceptedEpoch", b"seven".to_vec(), "it is no number"),
    ];
    for (name, bytes, words) in cases {
        let (_dir, layout) = directory(&[(name, bytes)]);
        let report = fsck(&layout).unwrap();
        let finding = report
            .findings
            .iter()
            .find(|finding| finding.file.ends_with(name));
        let told = finding
            .and_then(|finding| finding.zookeeper.clone())
            .unwrap();
        assert!(told.contains(words), "{name}: {words}: {told}");
    }
}
