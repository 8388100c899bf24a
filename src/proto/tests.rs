//! The bytes of records: there and back, and against nonsense.

use super::codec::{Reader, Writer};
use super::*;
use crate::types::Zxid;
use crate::znode::{
    Acl, AuthId, Data, ErrorCode, Lifetime, Node, Perms, SessionId, Stat, Tree, TreeBuilder, Ttl,
};
use crate::znode::{Txn, TxnBody, acl};
use bytes::Bytes;
use proptest::prelude::*;

pub(super) fn unhex(hex: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// A message without its length prefix, which must be right.
fn body(message: &[u8]) -> &[u8] {
    let mut reader = Reader::new(message);
    assert_eq!(reader.length().unwrap(), message.len() - 4);
    &message[4..]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

/// Data of a znode; null and empty come up often.
fn data() -> impl Strategy<Value = Data> {
    prop_oneof![
        1 => Just(Data::NULL),
        1 => Just(Data::default()),
        4 => bytes().prop_map(Data::from),
    ]
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(text(), 0..4)
}

fn zxids() -> impl Strategy<Value = Zxid> {
    any::<u64>().prop_map(Zxid)
}

fn acls() -> impl Strategy<Value = Vec<Acl>> {
    let entry = (any::<i32>(), text(), text()).prop_map(|(perms, scheme, id)| Acl {
        perms: Perms(perms),
        who: AuthId { scheme, id },
    });
    prop::collection::vec(entry, 0..3)
}

fn stats() -> impl Strategy<Value = Stat> {
    any::<([u64; 3], [i64; 3], [i32; 5])>().prop_map(|(zxids, longs, ints)| Stat {
        czxid: Zxid(zxids[0]),
        mzxid: Zxid(zxids[1]),
        pzxid: Zxid(zxids[2]),
        ctime: longs[0],
        mtime: longs[1],
        ephemeral_owner: SessionId(longs[2]),
        version: ints[0],
        cversion: ints[1],
        aversion: ints[2],
        data_length: ints[3],
        num_children: ints[4],
    })
}

fn errors() -> impl Strategy<Value = ErrorCode> {
    (-130..0i32).prop_filter_map("an error code", ErrorCode::from_code)
}

fn creates() -> impl Strategy<Value = Request> {
    let modes = prop_oneof![
        Just(CreateMode::Persistent),
        Just(CreateMode::Ephemeral),
        Just(CreateMode::PersistentSequential),
        Just(CreateMode::EphemeralSequential),
        Just(CreateMode::Container),
        any::<i64>().prop_map(CreateMode::Ttl),
        any::<i64>().prop_map(CreateMode::SequentialTtl),
        (7..i32::MAX).prop_map(CreateMode::Other),
        (i32::MIN..0).prop_map(CreateMode::Other),
    ];
    (text(), data(), acls(), modes, any::<bool>()).prop_map(|(path, data, acl, mode, with_stat)| {
        // createTTL and createContainer have no other form.
        let has_ttl = matches!(
            mode,
            CreateMode::Ttl(_) | CreateMode::SequentialTtl(_) | CreateMode::Container
        );
        Request::Create {
            path,
            data,
            acl,
            mode,
            with_stat: with_stat || has_ttl,
        }
    })
}

fn operations() -> impl Strategy<Value = Request> {
    prop_oneof![
        creates(),
        (text(), any::<i32>()).prop_map(|(path, version)| Request::Delete { path, version }),
        (text(), any::<i32>()).prop_map(|(path, version)| Request::Check { path, version }),
        (text(), data(), any::<i32>()).prop_map(|(path, data, version)| Request::SetData {
            path,
            data,
            version
        }),
    ]
}

fn requests() -> impl Strategy<Value = Request> {
    prop_oneof![
        operations(),
        (text(), any::<bool>()).prop_map(|(path, watch)| Request::Exists { path, watch }),
        (text(), any::<bool>()).prop_map(|(path, watch)| Request::GetData { path, watch }),
        text().prop_map(|path| Request::GetAcl { path }),
        (text(), acls(), any::<i32>()).prop_map(|(path, acl, version)| Request::SetAcl {
            path,
            acl,
            version
        }),
        (text(), any::<bool>(), any::<bool>()).prop_map(|(path, watch, with_stat)| {
            Request::GetChildren {
                path,
                watch,
                with_stat,
            }
        }),
        text().prop_map(|path| Request::Sync { path }),
        Just(Request::Ping),
        Just(Request::CloseSession),
        prop::collection::vec(operations(), 0..4).prop_map(Request::Multi),
        (text(), text(), text(), any::<i64>()).prop_map(|(joining, leaving, members, version)| {
            Request::Reconfig(Reconfiguration {
                joining,
                leaving,
                members,
                version,
            })
        }),
        (text(), bytes()).prop_map(|(scheme, auth)| Request::Auth { scheme, auth }),
        bytes().prop_map(|token| Request::Sasl { token }),
        set_watches().prop_map(Request::SetWatches),
        (text(), any::<i32>()).prop_map(|(path, mode)| Request::AddWatch { path, mode }),
        (text(), any::<i32>()).prop_map(|(path, kind)| Request::CheckWatches { path, kind }),
        (text(), any::<i32>()).prop_map(|(path, kind)| Request::RemoveWatches { path, kind }),
        prop::collection::vec(reads_of_a_multi(), 0..4).prop_map(Request::MultiRead),
        text().prop_map(|prefix| Request::GetEphemerals { prefix }),
        text().prop_map(|path| Request::GetAllChildrenNumber { path }),
        Just(Request::WhoAmI),
        prop_oneof![Just(20), 23..100i32, 108..i32::MAX].prop_map(Request::Unimplemented),
    ]
}

fn set_watches() -> impl Strategy<Value = SetWatches> {
    let persistent = prop_oneof![Just((Vec::new(), Vec::new())), (texts(), texts())];
    (zxids(), texts(), texts(), texts(), persistent).prop_map(
        |(relative_zxid, data, exists, children, (persistent, recursive))| SetWatches {
            relative_zxid,
            data,
            exists,
            children,
            persistent,
            recursive,
        },
    )
}

fn reads_of_a_multi() -> impl Strategy<Value = Request> {
    (text(), any::<bool>(), any::<bool>()).prop_map(|(path, watch, data)| match data {
        true => Request::GetData { path, watch },
        false => Request::GetChildren {
            path,
            watch,
            with_stat: false,
        },
    })
}

fn results() -> impl Strategy<Value = MultiResult> {
    prop_oneof![
        text().prop_map(MultiResult::Create),
        (text(), stats()).prop_map(|(path, stat)| MultiResult::Create2(path, stat)),
        Just(MultiResult::Delete),
        stats().prop_map(MultiResult::SetData),
        Just(MultiResult::Check),
        (data(), stats()).prop_map(|(data, stat)| MultiResult::Data(data, stat)),
        texts().prop_map(MultiResult::Children),
        prop::option::of(errors()).prop_map(MultiResult::Error),
    ]
}

/// A request and a response to it.
fn exchanges() -> impl Strategy<Value = (Request, Response)> {
    requests().prop_flat_map(|request| {
        let response = match &request {
            Request::Create { with_stat, .. } => match with_stat {
                false => text().prop_map(Response::Path).boxed(),
                true => (text(), stats())
                    .prop_map(|(path, stat)| Response::PathAndStat(path, stat))
                    .boxed(),
            },
            Request::Sync { .. } => text().prop_map(Response::Path).boxed(),
            Request::Exists { .. } | Request::SetData { .. } | Request::SetAcl { .. } => {
                stats().prop_map(Response::Stat).boxed()
            }
            Request::GetData { .. } | Request::Reconfig(_) => (data(), stats())
                .prop_map(|(data, stat)| Response::Data(data, stat))
                .boxed(),
            Request::GetAcl { .. } => (acls(), stats())
                .prop_map(|(acl, stat)| Response::Acl(acl, stat))
                .boxed(),
            Request::GetChildren { with_stat, .. } => match with_stat {
                false => texts().prop_map(Response::Children).boxed(),
                true => (texts(), stats())
                    .prop_map(|(names, stat)| Response::ChildrenAndStat(names, stat))
                    .boxed(),
            },
            Request::Multi(_) | Request::MultiRead(_) => prop::collection::vec(results(), 0..4)
                .prop_map(Response::Multi)
                .boxed(),
            Request::Sasl { .. } => data().prop_map(Response::Sasl).boxed(),
            Request::AddWatch { .. } => Just(Response::WatchAdded).boxed(),
            Request::GetEphemerals { .. } => texts().prop_map(Response::Ephemerals).boxed(),
            Request::GetAllChildrenNumber { .. } => any::<i32>().prop_map(Response::Count).boxed(),
            Request::WhoAmI => {
                let info = (text(), text()).prop_map(|(scheme, user)| ClientInfo { scheme, user });
                prop::collection::vec(info, 0..3)
                    .prop_map(Response::WhoAmI)
                    .boxed()
            }
            Request::Delete { .. }
            | Request::Check { .. }
            | Request::Ping
            | Request::Auth { .. }
            | Request::SetWatches(_)
            | Request::CheckWatches { .. }
            | Request::RemoveWatches { .. }
            | Request::CloseSession
            | Request::Unimplemented(_) => Just(Response::Empty).boxed(),
        };
        (Just(request), response)
    })
}

fn lifetimes() -> impl Strategy<Value = Lifetime> {
    let ttls = (1..1i64 << 40).prop_filter_map("a ttl", Ttl::new);
    prop_oneof![
        Just(Lifetime::Persistent),
        Just(Lifetime::Ephemeral),
        Just(Lifetime::Container),
        ttls.prop_map(Lifetime::Ttl),
    ]
}

fn simple_bodies() -> impl Strategy<Value = TxnBody> {
    prop_oneof![
        (text(), data(), acls(), lifetimes(), any::<i32>()).prop_map(
            |(path, data, acl, lifetime, parent_cversion)| TxnBody::Create {
                path,
                data,
                acl: acl.into(),
                lifetime,
                parent_cversion
            }
        ),
        text().prop_map(|path| TxnBody::Delete { path }),
        (text(), data(), any::<i32>()).prop_map(|(path, data, version)| TxnBody::SetData {
            path,
            data,
            version
        }),
        (text(), any::<i32>()).prop_map(|(path, version)| TxnBody::Check { path, version }),
    ]
}

fn txns() -> impl Strategy<Value = Txn> {
    let bodies = prop_oneof![
        simple_bodies(),
        (text(), acls(), any::<i32>()).prop_map(|(path, acl, version)| TxnBody::SetAcl {
            path,
            acl: acl.into(),
            version
        }),
        any::<i32>().prop_map(|timeout_ms| TxnBody::CreateSession { timeout_ms }),
        texts().prop_map(|ephemerals| TxnBody::CloseSession { ephemerals }),
        prop::option::of(errors()).prop_map(TxnBody::Error),
        data().prop_map(|data| TxnBody::Reconfigure { data }),
        Just(TxnBody::InForce),
        prop::collection::vec(simple_bodies(), 0..4).prop_map(TxnBody::Multi),
        prop::collection::vec(prop::option::of(errors()), 1..4).prop_map(TxnBody::FailedMulti),
    ];
    let head = (
        any::<i64>(),
        any::<i32>(),
        any::<i64>(),
        any::<Option<u64>>(),
    );
    (head, bodies).prop_map(|((session, cxid, time, digest), body)| Txn {
        session: SessionId(session),
        cxid,
        time,
        body,
        digest,
    })
}

fn tree() -> Tree {
    let mut builder = TreeBuilder::new(Zxid(0x2_0000_0007));
    builder.session(SessionId(0x0100_0000_0000_0001), 30_000);
    builder.session(SessionId(-5), 4_000);
    builder.node("/", Node::initial()).unwrap();
    let owner = SessionId(-5);
    let data = b"some data".as_slice().into();
    let node = Node::new(Zxid(9), 77, data, acl::read_unsafe(), owner);
    builder.node("/a", Node::initial()).unwrap();
    builder.node("/a/b", node).unwrap();
    let null = Node::new(Zxid(10), 78, Data::NULL, acl::open_unsafe(), owner);
    builder.node("/a/null", null).unwrap();
    builder.finish().unwrap()
}

fn file() -> Vec<u8> {
    let mut file = Vec::new();
    write_snapshot(&tree(), false, &mut file).unwrap();
    file
}

proptest! {
    #[test]
    fn a_request_is_read_as_it_was_written(xid in any::<i32>(), request in requests()) {
        let message = encode_request(xid, &request);
        prop_assert_eq!(decode_request(body(&message)), Ok((xid, request.clone())));
        let header = (xid, opcode_of(&request));
        prop_assert_eq!(decode_request_header(body(&message)), Ok(header));
    }

    #[test]
    fn a_connect_is_read_as_it_was_written(
        ints in any::<(i32, u64, i32, i64)>(),
        password in bytes(),
        read_only in any::<Option<bool>>(),
    ) {
        let request = ConnectRequest {
            protocol_version: ints.0,
            last_zxid_seen: Zxid(ints.1),
            timeout_ms: ints.2,
            session: SessionId(ints.3),
            password: password.clone(),
            read_only,
        };
        prop_assert_eq!(decode_connect(body(&encode_connect(&request))), Ok(request));
        let response = ConnectResponse {
            timeout_ms: ints.2,
            session: SessionId(ints.3),
            password,
            read_only,
        };
        let message = encode_connect_response(&response);
        prop_assert_eq!(decode_connect_response(body(&message)), Ok(response));
    }

    #[test]
    fn a_reply_is_read_as_it_was_written(
        xid in any::<i32>(),
        zxid in zxids(),
        (request, response) in exchanges(),
        error in errors(),
    ) {
        for result in [Ok(response), Err(error)] {
            let reply = Reply { xid, zxid, result };
            let message = encode_reply(&reply);
            let code = reply.result.as_ref().err().map_or(0, |error| error.code());
            prop_assert_eq!(decode_reply_header(body(&message)), Ok((xid, zxid, code)));
            prop_assert_eq!(decode_reply(body(&message), &request), Ok(reply));
        }
    }

    #[test]
    fn an_event_is_read_as_it_was_written(kind in 0..4usize, path in text(), zxid in zxids()) {
        let kind = [
            EventType::Created,
            EventType::Deleted,
            EventType::DataChanged,
            EventType::ChildrenChanged,
        ][kind];
        let event = WatchEvent { kind, path, zxid };
        prop_assert_eq!(decode_event(body(&encode_event(&event))), Ok(event));
    }

    #[test]
    fn a_transaction_is_read_as_it_was_written(zxid in zxids(), txn in txns()) {
        let record = encode_txn(zxid, &txn);
        prop_assert_eq!(decode_txn(&record), Ok((zxid, txn.clone())));
        // A digest that is computed in another way is skipped.
        let mut with_other = encode_txn(zxid, &Txn { digest: None, ..txn.clone() });
        with_other.extend([0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        prop_assert_eq!(decode_txn(&with_other), Ok((zxid, Txn { digest: None, ..txn })));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        opcode in prop_oneof![-12..16i32, Just(100), Just(101)],
        (request, _) in exchanges(),
    ) {
        let _ = decode_connect(&bytes);
        let _ = decode_connect_response(&bytes);
        let _ = decode_request(&bytes);
        let _ = decode_reply(&bytes, &request);
        let _ = decode_event(&bytes);
        let _ = decode_txn(&bytes);
        let _ = read_snapshot(&bytes[..], Zxid(1));

        // With headers that name a record, and nonsense after them.
        let mut message = [[0; 4], opcode.to_be_bytes()].concat();
        message.extend(&bytes);
        let _ = decode_request(&message);
        let mut message = [0; 16].to_vec();
        message.extend(&bytes);
        let _ = decode_reply(&message, &request);
        let mut message = [[0; 28].as_slice(), &opcode.to_be_bytes()].concat();
        message.extend(&bytes);
        let _ = decode_txn(&message);
        let mut message = b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
        message.extend(&bytes);
        prop_assert!(read_snapshot(&message[..], Zxid(1)).is_err());
    }

    #[test]
    fn a_record_that_is_cut_or_changed_makes_no_decoder_panic(
        (request, response) in exchanges(),
        txn in txns(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let reply = Reply { xid: 1, zxid: Zxid(2), result: Ok(response) };
        let reply = encode_reply(&reply);
        let (sent, reply) = (encode_request(1, &request), body(&reply));
        let (sent, record) = (body(&sent), encode_txn(Zxid(3), &txn));
        for len in 0..sent.len() {
            prop_assert!(decode_request(&sent[..len]).is_err());
        }
        for len in 0..reply.len() {
            prop_assert!(decode_reply(&reply[..len], &request).is_err());
        }
        for len in 0..record.len() {
            let _ = decode_txn(&record[..len]);
        }
        let changed = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            bytes
        };
        let _ = decode_request(&changed(sent));
        let _ = decode_reply(&changed(reply), &request);
        let _ = decode_txn(&changed(&record));
    }

    #[test]
    fn a_snapshot_with_a_changed_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut file = file();
        let at = at.index(file.len());
        // The database's id means nothing, and the checksum covers it all the same.
        file[at] ^= 1 << bit;
        prop_assert!(read_snapshot(&file[..], Zxid(1)).is_err());
    }
}

#[test]
fn a_snapshot_is_read_as_it_was_written_and_refused_when_cut() {
    let file = file();
    let zxid = tree().last_zxid();
    assert_eq!(read_snapshot(&file[..], zxid).unwrap(), tree());
    for len in 0..file.len() {
        assert!(read_snapshot(&file[..len], zxid).is_err(), "cut at {len}");
    }
}

#[test]
fn what_zookeeper_appends_to_a_snapshot_is_compared_with_its_checksum() {
    let zxid = tree().last_zxid();
    let mut longer = file();
    // The zxid, the version and the digest of 3.8; then the zxid of 3.9.
    for appendix in [20, 8] {
        append(&mut longer, appendix);
        assert_eq!(read_snapshot(&longer[..], zxid).unwrap(), tree());
        for at in file().len()..longer.len() {
            let mut damaged = longer.clone();
            damaged[at] ^= 4;
            assert!(read_snapshot(&damaged[..], zxid).is_err(), "at {at}");
        }
    }
    longer.push(0);
    let refusal = read_snapshot(&longer[..], zxid).unwrap_err().to_string();
    assert!(refusal.contains("goes on after its end"), "{refusal}");
}

#[test]
fn quotas_are_counted_anew_in_a_snapshot_of_zookeeper_and_not_in_one_of_ours() {
    let stats = "/zookeeper/quota/a/zookeeper_stats";
    let mut builder = TreeBuilder::new(Zxid(1));
    for (path, data) in [
        ("/", ""),
        ("/a", "12"),
        ("/a/b", "345"),
        ("/zookeeper", ""),
        ("/zookeeper/config", ""),
        ("/zookeeper/quota", ""),
        ("/zookeeper/quota/a", ""),
        ("/zookeeper/quota/a/zookeeper_limits", "count=9,bytes=9"),
        (stats, "count=7,bytes=1"),
    ] {
        let node = Node {
            data: data.as_bytes().to_vec().into(),
            ..Node::initial()
        };
        builder.node(path, node).unwrap();
    }
    let written = builder.finish().unwrap();
    let mut file = Vec::new();
    for with_digest in [true, false] {
        file.clear();
        write_snapshot(&written, with_digest, &mut file).unwrap();
        assert_eq!(read_snapshot(&file[..], Zxid(1)).unwrap(), written);
    }
    append(&mut file, 20);
    let mut read = read_snapshot(&file[..], Zxid(1)).unwrap();
    assert_eq!(&read.node(stats).unwrap().data[..], b"count=2,bytes=5");
    let txn = Txn {
        session: SessionId(1),
        cxid: 1,
        time: 1,
        body: TxnBody::Delete {
            path: "/a/b".into(),
        },
        digest: None,
    };
    assert!(read.apply(Zxid(2), &txn).outcome.is_ok());
    let after = read.node(stats).unwrap();
    assert_eq!(&after.data[..], b"count=1,bytes=2", "it is counted on");
}

/// Appends what ZooKeeper does: so many bytes, and the checksum of all with its mark.
fn append(file: &mut Vec<u8>, bytes: usize) {
    file.extend(vec![7; bytes]);
    let sum = simd_adler32::adler32(&file.as_slice());
    file.extend(u64::from(sum).to_be_bytes());
    file.extend(*b"\0\0\0\x01/");
}

#[test]
fn null_data_is_the_length_minus_1_and_empty_data_is_0_in_a_snapshot() {
    let field = |data: Data| {
        let mut builder = TreeBuilder::new(Zxid(1));
        let root = Node {
            data,
            ..Node::initial()
        };
        builder.node("/", root).unwrap();
        let tree = builder.finish().unwrap();
        let mut file = Vec::new();
        write_snapshot(&tree, false, &mut file).unwrap();
        assert_eq!(read_snapshot(&file[..], Zxid(1)).unwrap(), tree);
        // From the end: the mark, the checksum, the mark, the stat.
        let end = file.len() - 5 - 8 - 5 - 68;
        file[end - 4..end].to_vec()
    };
    assert_eq!(field(Data::NULL), [0xff; 4]);
    assert_eq!(field(Data::default()), [0; 4]);
}

#[test]
fn a_snapshot_says_what_is_wrong_with_it() {
    let refusal = |file: &[u8]| read_snapshot(file, Zxid(1)).unwrap_err().to_string();
    let mut damaged = file();
    assert_eq!(
        refusal(&damaged[..20]),
        "the snapshot cannot be read at byte 20: unexpected end of file"
    );
    assert!(
        refusal(b"ZKLG\0\0\0\x02........").starts_with("not a snapshot: it starts with 0x5a4b4c47")
    );
    let at = damaged.len() - 20;
    damaged[at] ^= 1;
    assert!(refusal(&damaged).starts_with("the snapshot is damaged"));
}

#[test]
fn an_unknown_opcode_is_a_request_that_is_not_implemented() {
    let message = [[0, 0, 0, 9], [0, 0, 0, 108]].concat();
    assert_eq!(
        decode_request(&message),
        Ok((9, Request::Unimplemented(108)))
    );
    // As is a multi with an operation that is not served: deleteContainer.
    let multi = unhex(
        "00000009 0000000e 00000014 00 ffffffff 1234"
            .replace(' ', "")
            .as_str(),
    );
    assert_eq!(decode_request(&multi), Ok((9, Request::Unimplemented(20))));
}

#[test]
fn a_false_length_is_an_error_and_allocates_nothing() {
    let get_data = |length: i32| {
        let mut message = unhex("0000000100000004");
        message.extend(length.to_be_bytes());
        message.extend(b"/a\x01");
        decode_request(&message)
    };
    assert!(get_data(2).is_ok());
    assert_eq!(
        get_data(-2),
        Err(DecodeError::NegativeLength { at: 8, length: -2 })
    );
    assert_eq!(
        get_data(i32::MAX),
        Err(DecodeError::Truncated {
            at: 15,
            missing: i32::MAX as usize - 3
        })
    );
    // A vector of two billion strings, of which there is none.
    let watches = unhex(
        "00000001000000650000000000000000 7fffffff"
            .replace(' ', "")
            .as_str(),
    );
    assert!(matches!(
        decode_request(&watches),
        Err(DecodeError::Truncated { .. })
    ));
}

#[test]
fn the_reply_to_a_request_that_failed_is_a_header_alone() {
    let reply = Reply {
        xid: 3,
        zxid: Zxid(5),
        result: Err(ErrorCode::NoNode),
    };
    let expected = unhex("00000010000000030000000000000005ffffff9b");
    assert_eq!(encode_reply(&reply), expected);
}

#[test]
fn the_beginning_of_a_request_tells_what_it_asks_for_and_of_which_znode() {
    let create = Request::Create {
        path: "/large".into(),
        data: vec![0; 100].into(),
        acl: vec![],
        mode: CreateMode::Persistent,
        with_stat: true,
    };
    let glimpse = |request: &Request, length: usize| {
        let message = encode_request(1, request);
        super::glimpse(&message[4..4 + length])
    };
    let told = |name, path: &str| Some((name, path.to_owned()));
    assert_eq!(glimpse(&create, 60), told("create", "/large"));
    assert_eq!(glimpse(&create, 14), told("create", "/l"));
    assert_eq!(glimpse(&create, 7), None);
    let multi = Request::Multi(vec![create.clone()]);
    assert_eq!(glimpse(&multi, 60), told("multi", "/large"));
    assert_eq!(glimpse(&Request::Ping, 8), None);
}

#[test]
fn a_snapshot_of_other_znodes_than_its_digest_says_is_refused() {
    let mut file = Vec::new();
    write_snapshot(&tree(), true, &mut file).unwrap();
    let zxid = tree().last_zxid();
    assert_eq!(read_snapshot(&file[..], zxid).unwrap(), tree());
    // Written with sound checksums by one that has other data: as a mistake in memory does.
    let mut forged = super::tests::file();
    append_digest(&mut forged, zxid, tree().digest() ^ 1);
    let refusal = read_snapshot(&forged[..], zxid).unwrap_err().to_string();
    assert!(refusal.contains("digest"), "{refusal}");
    // Of a tree that was written while transactions went on the digest is that of a later one.
    let mut blurred = super::tests::file();
    append_digest(&mut blurred, Zxid(zxid.0 + 1), 7);
    assert_eq!(read_snapshot(&blurred[..], zxid).unwrap(), tree());
}

/// What ZooKeeper appends: a zxid, the version 2, the digest, and an end.
fn append_digest(file: &mut Vec<u8>, zxid: Zxid, digest: u64) {
    file.extend(zxid.0.to_be_bytes());
    file.extend(2_i32.to_be_bytes());
    file.extend(digest.to_be_bytes());
    let checksum = simd_adler32::adler32(&&file[..]);
    file.extend(i64::from(checksum).to_be_bytes());
    file.extend(*b"\0\0\0\x01/");
}

/// What the flags of a create say outside a multi, and in one: ZooKeeper goes by the opcode there, and by the flags here.
#[test]
fn a_container_is_made_by_its_opcode_or_in_a_multi() {
    let body = |writer: &mut Writer| {
        writer.string("/c").buffer(b"");
        writer.i32(0).i32(4);
    };
    let mode = |request: Request| match request {
        Request::Create { mode, .. } => mode,
        other => panic!("{other:?}"),
    };
    for (opcode, alone) in [
        (opcode::CREATE, CreateMode::Persistent),
        (opcode::CREATE2, CreateMode::Persistent),
        (opcode::CREATE_CONTAINER, CreateMode::Container),
    ] {
        let mut writer = Writer::new();
        writer.i32(1).i32(opcode);
        body(&mut writer);
        let (_, request) = decode_request(&writer.into_bytes()).unwrap();
        assert_eq!(mode(request), alone, "{opcode}");

        let mut writer = Writer::new();
        writer.i32(1).i32(opcode::MULTI);
        writer.i32(opcode).bool(false).i32(-1);
        body(&mut writer);
        writer.i32(-1).bool(true).i32(-1);
        let Ok((_, Request::Multi(mut all))) = decode_request(&writer.into_bytes()) else {
            panic!("no multi");
        };
        assert_eq!(mode(all.remove(0)), CreateMode::Container, "{opcode}");
    }
}
