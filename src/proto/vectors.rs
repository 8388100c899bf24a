//! The bytes of records against those that others write: kazoo, and ZooKeeper's own definitions of
//! its records, from which these snapshots and transactions were made by hand.

use super::tests::unhex;
use super::*;
use crate::types::Zxid;
use crate::znode::{
    Acl, AuthId, Data, ErrorCode, Lifetime, Node, Perms, SessionId, Stat, TreeBuilder, Ttl,
};
use crate::znode::{Txn, TxnBody, acl};
use bytes::Bytes;

/// What kazoo 2.11 sends, byte for byte.
#[test]
fn the_requests_of_kazoo_are_read() {
    let open = acl::open_unsafe().to_vec();
    let connect = unhex(
        "000000000000000100000002000027100000000000001122\
         000000103031323334353637383961626364656600",
    );
    let expected = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(0x1_0000_0002),
        timeout_ms: 10_000,
        session: SessionId(0x1122),
        password: Bytes::from_static(b"0123456789abcdef"),
        read_only: Some(false),
    };
    assert_eq!(decode_connect(&connect), Ok(expected.clone()));
    let without = ConnectRequest {
        read_only: None,
        ..expected
    };
    assert_eq!(decode_connect(&connect[..connect.len() - 1]), Ok(without));

    let create = Request::Create {
        path: "/a".into(),
        data: b"hi".as_slice().into(),
        acl: open.clone(),
        mode: CreateMode::EphemeralSequential,
        with_stat: false,
    };
    let without_data = Request::Create {
        path: "/a".into(),
        data: Data::NULL,
        acl: open,
        mode: CreateMode::Persistent,
        with_stat: true,
    };
    let mut in_multi = without_data.clone();
    // Here kazoo sends empty data, not null.
    if let Request::Create {
        with_stat, data, ..
    } = &mut in_multi
    {
        *with_stat = false;
        *data = Data::default();
    }
    let multi = Request::Multi(vec![
        in_multi,
        Request::Check {
            path: "/b".into(),
            version: 4,
        },
        Request::Delete {
            path: "/c".into(),
            version: -1,
        },
        Request::SetData {
            path: "/d".into(),
            data: b"x".as_slice().into(),
            version: 2,
        },
    ]);
    let cases = [
        (
            "0000000100000001000000022f61000000026869000000010000001f00000005776f726c64\
             00000006616e796f6e6500000003",
            (1, create),
        ),
        (
            // The data is null here.
            "000000020000000f000000022f61ffffffff000000010000001f00000005776f726c64\
             00000006616e796f6e6500000000",
            (2, without_data),
        ),
        (
            "000000030000000e0000000100ffffffff000000022f6100000000000000010000001f\
             00000005776f726c6400000006616e796f6e65000000000000000d00ffffffff000000022f62\
             000000040000000200ffffffff000000022f63ffffffff0000000500ffffffff000000022f64\
             000000017800000002ffffffff01ffffffff",
            (3, multi),
        ),
        (
            "000000040000000c000000012f01",
            (
                4,
                Request::GetChildren {
                    path: "/".into(),
                    watch: true,
                    with_stat: true,
                },
            ),
        ),
        (
            "fffffffc00000064000000000000000664696765737400000003753a70",
            (
                -4,
                Request::Auth {
                    scheme: "digest".into(),
                    auth: Bytes::from_static(b"u:p"),
                },
            ),
        ),
        ("00000005fffffff5", (5, Request::CloseSession)),
        ("fffffffe0000000b", (-2, Request::Ping)),
    ];
    for (hex, expected) in cases {
        assert_eq!(decode_request(&unhex(hex)), Ok(expected), "{hex}");
    }
}

/// The bytes that kazoo 2.11 takes for a `RolledBackError`, a `NoNodeError` and a
/// `RuntimeInconsistency`.
#[test]
fn a_multi_that_failed_is_a_reply_without_an_error_whose_results_are_errors() {
    let results = vec![
        MultiResult::Error(None),
        MultiResult::Error(Some(ErrorCode::NoNode)),
        MultiResult::Error(Some(ErrorCode::RuntimeInconsistency)),
    ];
    let reply = Reply {
        xid: 3,
        zxid: Zxid(0x1_0000_0005),
        result: Ok(Response::Multi(results)),
    };
    let expected = "00000040 00000003 0000000100000005 00000000\
        ffffffff 00 00000000 00000000 ffffffff 00 ffffff9b ffffff9b\
        ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff";
    let expected = expected.replace(' ', "");
    assert_eq!(encode_reply(&reply), unhex(&expected));
}

#[test]
fn the_transactions_of_other_zookeepers_are_read() {
    let header = |kind: i32| {
        let mut record = unhex("0000000000000007000000010000000100000002000000000000000a");
        record.extend(kind.to_be_bytes());
        record
    };
    let read = |kind: i32, hex: &str| {
        let mut record = header(kind);
        record.extend(unhex(&hex.replace(' ', "")));
        decode_txn(&record).map(|(_, txn)| txn.body)
    };
    let create = "000000022f61 000000016e 00000000 00";
    let body = TxnBody::Create {
        path: "/a".into(),
        data: b"n".as_slice().into(),
        acl: [].into(),
        lifetime: Lifetime::Persistent,
        parent_cversion: -1,
    };
    // Old: without the parent's version. New: create2 is a create.
    assert_eq!(read(1, create), Ok(body.clone()));
    assert_eq!(read(15, &format!("{create} ffffffff")), Ok(body));
    let ephemerals = Vec::new();
    assert_eq!(read(-11, ""), Ok(TxnBody::CloseSession { ephemerals }));
    // A multi that failed, as ZooKeeper's leader writes it: what came before the error is whole.
    let multi = "00000003 00000002 00000006 000000022f61 \
                 ffffffff 00000004 ffffff9b ffffffff 00000004 fffffffe";
    let failed = TxnBody::FailedMulti(vec![
        None,
        Some(ErrorCode::NoNode),
        Some(ErrorCode::RuntimeInconsistency),
    ]);
    assert_eq!(read(14, multi), Ok(failed));
    // And what comes after it, if it is no error itself, cannot have taken effect either.
    let multi = "00000002 ffffffff 00000004 ffffff9b 00000002 00000006 000000022f61";
    let failed = TxnBody::FailedMulti(vec![
        Some(ErrorCode::NoNode),
        Some(ErrorCode::RuntimeInconsistency),
    ]);
    assert_eq!(read(14, multi), Ok(failed));
    let of_lifetime = |lifetime| TxnBody::Create {
        path: "/a".into(),
        data: b"n".as_slice().into(),
        acl: [].into(),
        lifetime,
        parent_cversion: 5,
    };
    let create = "000000022f61 000000016e 00000000 00000005";
    assert_eq!(read(19, create), Ok(of_lifetime(Lifetime::Container)));
    let ttl = Lifetime::Ttl(Ttl::new(0x1234).unwrap());
    let create = |ttl| format!("{create} {ttl}");
    assert_eq!(read(21, &create("0000000000001234")), Ok(of_lifetime(ttl)));
    assert!(matches!(
        read(21, &create("0000000000000000")),
        Err(DecodeError::Unknown { value: 0, .. })
    ));
    let delete = TxnBody::Delete { path: "/a".into() };
    assert_eq!(read(20, "000000022f61"), Ok(delete));
    // A multi holds no multi.
    let nested = "00000001 0000000e 00000004 00000000";
    assert!(matches!(
        read(14, nested),
        Err(DecodeError::Unknown { value: 14, .. })
    ));
    assert!(matches!(
        read(2, "000000022f61 00"),
        Err(DecodeError::TrailingBytes { .. })
    ));
}

#[test]
fn a_transaction_has_the_bytes_of_zookeepers_log() {
    let create = Txn {
        session: SessionId(0x10000),
        cxid: 3,
        time: 1234,
        body: TxnBody::Create {
            path: "/e".into(),
            data: b"hi".as_slice().into(),
            acl: acl::open_unsafe(),
            lifetime: Lifetime::Ephemeral,
            parent_cversion: 4,
        },
        digest: None,
    };
    let bytes = unhex(
        "000000000001000000000003000000010000000700000000000004d200000001000000022f65\
         000000026869000000010000001f00000005776f726c6400000006616e796f6e650100000004",
    );
    assert_eq!(encode_txn(Zxid(0x1_0000_0007), &create), bytes);

    let to_null = Txn {
        body: TxnBody::SetData {
            path: "/e".into(),
            data: Data::NULL,
            version: 1,
        },
        ..create.clone()
    };
    let bytes = unhex(
        "000000000001000000000003000000010000000800000000000004d200000005000000022f65\
         ffffffff00000001",
    );
    assert_eq!(encode_txn(Zxid(0x1_0000_0008), &to_null), bytes);

    let multi = Txn {
        session: SessionId(7),
        body: TxnBody::Multi(vec![
            TxnBody::Delete { path: "/a".into() },
            TxnBody::SetData {
                path: "/b".into(),
                data: b"x".as_slice().into(),
                version: 2,
            },
        ]),
        ..create
    };
    let bytes = unhex(
        "000000000000000700000003000000000000000900000000000004d20000000e000000020000\
         000200000006000000022f61000000050000000f000000022f62000000017800000002",
    );
    assert_eq!(encode_txn(Zxid(9), &multi), bytes);
}

#[test]
fn a_snapshot_has_the_bytes_of_zookeepers_files() {
    // The root has the ACL -1, which stands for everybody without being listed.
    let file = unhex(
        "5a4b534e00000002ffffffffffffffff00000001000000000001000000007530000000010000\
         00000000000500000001000000010000000664696765737400000003753a7800000000000000\
         00ffffffffffffffff0000000000000000000000000000000000000000000000000000000000\
         00000000000000000000030000000000000000000000000000000000000009000000022f6500\
         0000026869000000000000000500000000000000070000000000000008000000000000004600\
         0000000000005000000001000000000000000200000000000100000000000000000007000000\
         012f000000001db017f2000000012f",
    );
    let mut builder = TreeBuilder::new(Zxid(9));
    builder.session(SessionId(0x10000), 30_000);
    let root = Node {
        cversion: 3,
        pzxid: Zxid(9),
        ..Node::initial()
    };
    builder.node("/", root).unwrap();
    let who = AuthId::new("digest", "u:x");
    let node = Node {
        data: b"hi".as_slice().into(),
        acl: [Acl {
            perms: Perms::READ,
            who,
        }]
        .into(),
        czxid: Zxid(7),
        mzxid: Zxid(8),
        pzxid: Zxid(7),
        ctime: 70,
        mtime: 80,
        version: 1,
        cversion: 0,
        aversion: 2,
        ephemeral_owner: SessionId(0x10000),
        num_children: 0,
    };
    builder.node("/e", node).unwrap();
    let tree = builder.finish().unwrap();
    assert_eq!(read_snapshot(&file[..], Zxid(9)).unwrap(), tree);

    let expected = Stat {
        czxid: Zxid(7),
        mzxid: Zxid(8),
        ctime: 70,
        mtime: 80,
        version: 1,
        cversion: 0,
        aversion: 2,
        ephemeral_owner: SessionId(0x10000),
        data_length: 2,
        num_children: 0,
        pzxid: Zxid(7),
    };
    assert_eq!(tree.stat("/e"), Some(expected));
    // 3 creates, of which 2 were undone.
    assert_eq!(tree.stat("/").unwrap().cversion, 5);
    assert_eq!(tree.ephemerals(SessionId(0x10000)), ["/e"]);

    // What we write differs only in that every ACL is listed, by numbers of its own.
    let mut written = Vec::new();
    write_snapshot(&tree, false, &mut written).unwrap();
    assert_eq!(written[..32], file[..32]);
    assert_eq!(read_snapshot(&written[..], Zxid(9)).unwrap(), tree);
}
