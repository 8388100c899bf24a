//! The tree against ZooKeeper's rules, one by one, and against a naive tree that follows them with
//! other means: it keeps what clients see, not what ZooKeeper keeps.

mod naive;

use super::*;
use crate::types::{Epoch, Zxid};
use naive::Naive;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

fn zxid(counter: u32) -> Zxid {
    Zxid::new(Epoch(1), counter)
}

fn txn(session: i64, time: i64, body: TxnBody) -> Txn {
    Txn {
        session: SessionId(session),
        cxid: 0,
        time,
        body,
        digest: None,
    }
}

fn create_body(
    path: &str,
    data: impl Into<Data>,
    lifetime: Lifetime,
    parent_cversion: i32,
) -> TxnBody {
    TxnBody::Create {
        path: path.to_owned(),
        data: data.into(),
        acl: acl::open_unsafe(),
        lifetime,
        parent_cversion,
    }
}

fn delete_body(path: &str) -> TxnBody {
    TxnBody::Delete {
        path: path.to_owned(),
    }
}

/// Creates a znode as a leader would.
fn create(tree: &mut Tree, counter: u32, path: &str) -> Stat {
    let parent = path::parent(path).unwrap();
    let cversion = tree.next_parent_cversion(parent).unwrap();
    let body = create_body(path, b"data".as_slice(), Lifetime::Persistent, cversion);
    let applied = tree.apply(zxid(counter), &txn(7, 1000 + i64::from(counter), body));
    match applied.outcome {
        Ok(Outcome::Created(created, stat)) if created == path => stat,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_server_has_zookeepers_own_znodes() {
    let tree = Tree::default();
    assert_eq!(tree.children("/").unwrap(), ["zookeeper"]);
    assert_eq!(tree.children("/zookeeper").unwrap(), ["config", "quota"]);
    assert_eq!(tree.znode_count(), 4);
    // What a client of a fresh ZooKeeper sees.
    let root = tree.stat("/").unwrap();
    assert_eq!((root.cversion, root.num_children), (-1, 1));
    assert_eq!(tree.stat("/zookeeper").unwrap().cversion, -2);
    assert_eq!(tree.stat("/zookeeper/config").unwrap().aversion, -1);
    assert_eq!(tree.next_sequence("/"), Some(0));
    assert_eq!(tree.last_zxid(), Zxid::ZERO);
}

#[test]
fn a_new_znode_has_one_zxid_and_one_time_everywhere() {
    let mut tree = Tree::default();
    let stat = create(&mut tree, 1, "/a");
    let expected = Stat {
        czxid: zxid(1),
        mzxid: zxid(1),
        ctime: 1001,
        mtime: 1001,
        version: 0,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: SessionId(0),
        data_length: 4,
        num_children: 0,
        pzxid: zxid(1),
    };
    assert_eq!(stat, expected);
    assert_eq!(tree.stat("/a"), Some(expected));
}

#[test]
fn create_and_delete_of_a_child_move_cversion_and_pzxid_of_the_parent() {
    let mut tree = Tree::default();
    create(&mut tree, 1, "/a");
    create(&mut tree, 2, "/a/x");
    create(&mut tree, 3, "/a/y");
    let stat = tree.stat("/a").unwrap();
    assert_eq!(
        (stat.cversion, stat.num_children, stat.pzxid),
        (2, 2, zxid(3))
    );
    let _ = tree.apply(zxid(4), &txn(7, 0, delete_body("/a/x")));
    let stat = tree.stat("/a").unwrap();
    assert_eq!(
        (stat.cversion, stat.num_children, stat.pzxid),
        (3, 1, zxid(4))
    );
    // A grandchild is no child, and neither the data nor its version were touched.
    create(&mut tree, 5, "/a/y/z");
    let expected = Stat {
        czxid: zxid(1),
        mzxid: zxid(1),
        ctime: 1001,
        mtime: 1001,
        ..stat
    };
    assert_eq!(tree.stat("/a"), Some(expected));
}

#[test]
fn a_sequence_counts_creates_and_no_deletes() {
    let mut tree = Tree::default();
    create(&mut tree, 1, "/q");
    assert_eq!(tree.next_sequence("/q"), Some(0));
    create(&mut tree, 2, "/q/plain");
    let _ = tree.apply(zxid(3), &txn(7, 0, delete_body("/q/plain")));
    assert_eq!(tree.next_sequence("/q"), Some(1));
    assert_eq!(tree.next_parent_cversion("/q"), Some(2));
    assert_eq!(tree.stat("/q").unwrap().cversion, 2);
    assert_eq!(tree.next_sequence("/none"), None);
}

#[test]
fn a_parents_version_never_goes_back() {
    let mut tree = Tree::default();
    create(&mut tree, 1, "/a");
    let with = |cversion| {
        txn(
            7,
            0,
            create_body(
                &format!("/a/{cversion}"),
                Data::default(),
                Lifetime::Persistent,
                cversion,
            ),
        )
    };
    let _ = tree.apply(zxid(2), &with(9));
    assert_eq!(tree.next_sequence("/a"), Some(9));
    let _ = tree.apply(zxid(3), &with(4));
    assert_eq!(tree.next_sequence("/a"), Some(9));
    assert_eq!(tree.stat("/a").unwrap().pzxid, zxid(2));
    // -1 stands for one more: what logs of old servers hold.
    let _ = tree.apply(zxid(4), &with(-1));
    assert_eq!(tree.next_sequence("/a"), Some(10));
}

#[test]
fn the_end_of_a_session_takes_its_ephemerals_in_the_leaders_order() {
    let mut tree = Tree::default();
    let open = TxnBody::CreateSession { timeout_ms: 4000 };
    let _ = tree.apply(zxid(1), &txn(7, 0, open));
    assert_eq!(tree.sessions().get(&SessionId(7)), Some(&4000));
    for (counter, path) in [(2, "/a"), (3, "/b"), (4, "/c")] {
        let body = create_body(path, Data::default(), Lifetime::Ephemeral, -1);
        let _ = tree.apply(zxid(counter), &txn(7, 0, body));
    }
    let other = create_body("/other", Data::default(), Lifetime::Ephemeral, -1);
    let _ = tree.apply(zxid(5), &txn(8, 0, other));
    assert_eq!(tree.stat("/a").unwrap().ephemeral_owner, SessionId(7));
    assert_eq!(tree.ephemerals(SessionId(7)), ["/a", "/b", "/c"]);

    let close = TxnBody::CloseSession {
        ephemerals: vec!["/c".into(), "/other".into(), "/gone".into(), "/a".into()],
    };
    let applied = tree.apply(zxid(6), &txn(7, 0, close));
    assert_eq!(applied.outcome, Ok(Outcome::SessionClosed));
    let deleted: Vec<_> = applied
        .events
        .iter()
        .filter(|event| event.kind == TreeEventKind::Deleted)
        .map(|event| event.path.as_str())
        .collect();
    // "/b" was not listed, and goes all the same; "/other" belongs to another session.
    assert_eq!(deleted, ["/c", "/a", "/b"]);
    assert!(tree.sessions().is_empty());
    assert_eq!(tree.ephemeral_count(), 1);
    assert_eq!(tree.stat("/").unwrap().pzxid, zxid(6));
}

#[test]
fn watches_fire_for_the_znode_before_its_parent() {
    let mut tree = Tree::default();
    let applied = tree.apply(
        zxid(1),
        &txn(
            7,
            0,
            create_body("/a", Data::default(), Lifetime::Persistent, 1),
        ),
    );
    let fired = |applied: &Applied| -> Vec<(TreeEventKind, String)> {
        let events = applied.events.iter();
        events
            .map(|event| (event.kind, event.path.clone()))
            .collect()
    };
    let expected = [
        (TreeEventKind::Created, "/a".to_owned()),
        (TreeEventKind::ChildrenChanged, "/".to_owned()),
    ];
    assert_eq!(fired(&applied), expected);
    let applied = tree.apply(zxid(2), &txn(7, 0, delete_body("/a")));
    let expected = [
        (TreeEventKind::Deleted, "/a".to_owned()),
        (TreeEventKind::ChildrenChanged, "/".to_owned()),
    ];
    assert_eq!(fired(&applied), expected);
}

/// ZooKeeper writes a snapshot znode by znode, while transactions go on.
#[test]
fn a_blurred_snapshot_and_the_transactions_after_it_make_the_tree_that_they_made() {
    let history = [
        create_body("/a", Data::default(), Lifetime::Persistent, 1),
        create_body("/a/x", Data::default(), Lifetime::Persistent, 1),
        create_body("/b", Data::default(), Lifetime::Persistent, 2),
        TxnBody::Multi(vec![
            create_body("/a/y", Data::default(), Lifetime::Persistent, 2),
            delete_body("/a/x"),
            TxnBody::SetData {
                path: "/b".to_owned(),
                data: b"new".to_vec().into(),
                version: 1,
            },
        ]),
        delete_body("/a/y"),
        create_body("/a/z", Data::default(), Lifetime::Persistent, 3),
    ];
    let mut trees = vec![Tree::default()];
    for (at, body) in (1..).zip(&history) {
        let mut tree = trees.last().unwrap().clone();
        tree.apply(zxid(at), &txn(7, i64::from(at), body.clone()));
        trees.push(tree);
    }
    let last = trees.last().unwrap();
    for (at, tree) in (0..).zip(&trees) {
        for (_, later) in (0..).zip(&trees).filter(|(later, _)| *later > at) {
            // Each znode on its own is that of the point or of the later one.
            for which in 0..8u32 {
                let mut builder = TreeBuilder::new(zxid(at));
                let mut names: Vec<&str> = tree
                    .walk()
                    .chain(later.walk())
                    .map(|(path, _)| path)
                    .collect();
                names.sort_unstable();
                names.dedup();
                // Parents are written before their children, with the names of these.
                let mut sources: BTreeMap<&str, &Tree> = BTreeMap::new();
                for (number, path) in (0..).zip(names) {
                    let above = path::parent(path).map(|parent| sources.get(parent).copied());
                    let source = match above {
                        Some(None) => continue,
                        Some(Some(above)) if !above.contains(path) => continue,
                        Some(Some(above)) if std::ptr::eq(above, later) => later,
                        None | Some(Some(_)) if which >> (number % 3) & 1 == 1 => later,
                        None | Some(Some(_)) => tree,
                    };
                    if let Some(node) = source.node(path) {
                        builder.node(path, node.clone()).unwrap();
                        sources.insert(path, source);
                    }
                }
                let mut blurred = builder.finish().unwrap();
                for (zxid_of, body) in (1..).zip(&history).skip(at as usize) {
                    blurred.apply(zxid(zxid_of), &txn(7, i64::from(zxid_of), body.clone()));
                }
                assert_eq!(&blurred, last, "at {at}, {which:b}");
            }
        }
    }
}

#[test]
fn a_deep_path_exhausts_no_stack() {
    let mut tree = Tree::default();
    let mut path = String::new();
    for counter in 1..4_000 {
        path.push_str("/d");
        create(&mut tree, counter, &path);
    }
    assert_eq!(tree.walk().count(), tree.znode_count());
    let mut copy = tree.clone();
    create(&mut copy, 4_000, "/e");
    assert_ne!(tree, copy);
    drop(tree);
    assert_eq!(
        format!("{copy:?}").len(),
        format!("{:?}", copy.clone()).len()
    );
}

#[test]
fn a_tree_may_be_written_by_another_thread() {
    fn assert_send_and_sync<T: Send + Sync>() {}
    assert_send_and_sync::<Tree>();
}

#[test]
fn equal_acls_are_kept_once() {
    let mut tree = Tree::default();
    create(&mut tree, 1, "/a");
    create(&mut tree, 2, "/b");
    let of = |path| tree.node(path).unwrap().acl.clone();
    assert!(std::sync::Arc::ptr_eq(&of("/a"), &of("/b")));
    assert_eq!(tree.acls().len(), 2);
}

/// What a random run does; which paths and versions follow from the state.
#[derive(Clone, Debug)]
enum Op {
    Create(usize, Data, Lifetime),
    Delete(usize),
    SetData(usize, Data),
    SetAcl(usize, bool),
    Reconfigure(Data),
    InForce,
    Check(usize),
    CreateSession(i32),
    CloseSession(bool),
    Error(Option<ErrorCode>),
    Multi(Vec<Op>),
    FailedMulti,
}

const PATHS: [&str; 19] = [
    "/a",
    "/b",
    "/a/a",
    "/a/b",
    "/b/a",
    "/b/b",
    "/a/a/a",
    "/a/a/b",
    "/a/b/a",
    "/a/b/b",
    "/b/a/a",
    "/ab",
    "/a/ab",
    "/zookeeper",
    "/zookeeper/config",
    "/",
    "/a/",
    "a",
    "",
];

fn op() -> impl Strategy<Value = Op> {
    let path = || prop_oneof![8 => 0..13usize, 1 => 0..PATHS.len()];
    let bytes = || prop::collection::vec(any::<u8>(), 0..5).prop_map(Data::from);
    let data = || prop_oneof![1 => Just(Data::NULL), 4 => bytes()];
    let lifetime = prop_oneof![
        2 => Just(Lifetime::Persistent),
        3 => Just(Lifetime::Ephemeral),
        1 => Just(Lifetime::Container),
        1 => (1..3i64).prop_filter_map("a ttl", Ttl::new).prop_map(Lifetime::Ttl),
    ];
    let in_multi = prop_oneof![
        4 => (path(), data(), lifetime).prop_map(|(p, d, l)| Op::Create(p, d, l)),
        2 => path().prop_map(Op::Delete),
        1 => (path(), data()).prop_map(|(p, d)| Op::SetData(p, d)),
        1 => path().prop_map(Op::Check),
    ];
    prop_oneof![
        12 => in_multi.clone(),
        1 => (path(), any::<bool>()).prop_map(|(p, open)| Op::SetAcl(p, open)),
        1 => data().prop_map(Op::Reconfigure),
        1 => Just(Op::InForce),
        1 => any::<i32>().prop_map(Op::CreateSession),
        1 => any::<bool>().prop_map(Op::CloseSession),
        1 => prop_oneof![Just(None), Just(Some(ErrorCode::BadVersion))].prop_map(Op::Error),
        2 => prop::collection::vec(in_multi, 0..4).prop_map(Op::Multi),
        1 => Just(Op::FailedMulti),
    ]
}

/// The transaction that a leader would make, though it may be one that cannot be.
fn body_of(op: &Op, tree: &Tree, session: i64) -> TxnBody {
    let version = |path: &str, which: fn(&Node) -> i32| tree.node(path).map_or(0, which);
    match op {
        Op::Create(path, data, lifetime) => {
            let parent = path::parent(PATHS[*path]).unwrap_or_default();
            let cversion = tree.next_parent_cversion(parent).unwrap_or(-1);
            create_body(PATHS[*path], data.clone(), *lifetime, cversion)
        }
        Op::Delete(path) => delete_body(PATHS[*path]),
        Op::SetData(path, data) => TxnBody::SetData {
            path: PATHS[*path].to_owned(),
            data: data.clone(),
            version: version(PATHS[*path], |node| node.version) + 1,
        },
        Op::SetAcl(path, open) => TxnBody::SetAcl {
            path: PATHS[*path].to_owned(),
            acl: match open {
                true => acl::open_unsafe(),
                false => acl::read_unsafe(),
            },
            version: version(PATHS[*path], |node| node.aversion) + 1,
        },
        Op::Reconfigure(data) => TxnBody::Reconfigure { data: data.clone() },
        Op::InForce => TxnBody::InForce,
        Op::Check(path) => TxnBody::Check {
            path: PATHS[*path].to_owned(),
            version: -1,
        },
        Op::CreateSession(timeout_ms) => TxnBody::CreateSession {
            timeout_ms: *timeout_ms,
        },
        Op::CloseSession(listed) => TxnBody::CloseSession {
            ephemerals: match listed {
                true => tree.ephemerals(SessionId(session)),
                false => Vec::new(),
            },
        },
        Op::Error(error) => TxnBody::Error(*error),
        Op::Multi(ops) => {
            let mut ahead = tree.clone();
            let bodies = ops.iter().map(|op| {
                let body = body_of(op, &ahead, session);
                let _ = ahead.apply(Zxid(u64::MAX), &txn(session, 0, body.clone()));
                body
            });
            TxnBody::Multi(bodies.collect())
        }
        Op::FailedMulti => TxnBody::FailedMulti(vec![None, Some(ErrorCode::NoNode)]),
    }
}

fn assert_same(tree: &Tree, naive: &Naive) {
    assert_eq!(tree.znode_count(), naive.znodes.len());
    let mut size = 0;
    let mut acls: BTreeMap<&[Acl], u64> = BTreeMap::new();
    for (path, expected) in &naive.znodes {
        let node = tree.node(path).expect(path);
        assert_eq!(tree.stat(path), Some(expected.stat), "{path}");
        assert_eq!(
            (&node.data, &node.acl[..]),
            (&expected.data, &expected.acl[..])
        );
        assert_eq!(tree.next_sequence(path), Some(expected.creates), "{path}");
        assert_eq!(tree.children(path), Some(naive.children(path)), "{path}");
        size += path.len() + expected.data.len();
        *acls.entry(&expected.acl).or_default() += 1;
    }
    assert_eq!(tree.approximate_data_size(), size as u64);
    let users: BTreeMap<&[Acl], u64> = tree.acls.iter().map(|(acl, n)| (&acl[..], *n)).collect();
    assert_eq!(users, acls);
    let sessions: BTreeMap<i64, i32> = tree.sessions().iter().map(|(id, ms)| (id.0, *ms)).collect();
    assert_eq!(sessions, naive.sessions);
    for session in 0..4 {
        let expected = naive.ephemerals(session);
        assert_eq!(tree.ephemerals(SessionId(session)), expected, "{session}");
    }
    let mut parents_first: Vec<&str> = tree.walk().map(|(path, _)| path).collect();
    for path in &parents_first {
        let at = |p: &str| parents_first.iter().position(|other| *other == p);
        assert!(path::parent(path).is_none_or(|parent| at(parent) < at(path)));
    }
    parents_first.sort_unstable();
    assert!(parents_first.iter().eq(naive.znodes.keys()));
}

proptest! {
    #[test]
    fn the_tree_is_what_a_naive_tree_is(
        ops in prop::collection::vec((1..4i64, op()), 1..60),
    ) {
        let mut tree = Tree::default();
        let mut naive = Naive::new();
        for (counter, (session, op)) in (1u32..).zip(&ops) {
            let body = body_of(op, &tree, *session);
            let txn = txn(*session, 1_000 + i64::from(counter), body);
            let snapshot = (tree.clone(), naive.clone());
            let applied = tree.apply(zxid(counter), &txn);
            let mut events = Vec::new();
            let expected = naive.apply(zxid(counter), &txn, &txn.body, &mut events);
            prop_assert_eq!(applied.outcome.map(|_| ()), expected);
            let fired = applied.events.into_iter().map(|event| (event.kind, event.path));
            prop_assert_eq!(fired.collect::<Vec<_>>(), events);
            assert_same(&tree, &naive);
            // A clone that was taken before is as it was.
            assert_same(&snapshot.0, &snapshot.1);
            prop_assert_eq!(tree.last_zxid(), zxid(counter));
        }

        // Trees that came about in other ways are equal, and hash equally.
        let bytes = postcard::to_stdvec(&tree).unwrap();
        let copy: Tree = postcard::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&copy, &tree);
        let hash = |tree: &Tree| foldhash::fast::FixedState::default().hash_one(tree);
        prop_assert_eq!(hash(&copy), hash(&tree));
        let mut file = Vec::new();
        crate::proto::write_snapshot(&tree, true, &mut file).unwrap();
        let read = crate::proto::read_snapshot(&file[..], tree.last_zxid()).unwrap();
        prop_assert_eq!(&read, &tree);
    }
}
