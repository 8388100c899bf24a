//! What requests do, and what they are answered.

use super::*;

#[test]
fn a_multi_does_all_or_nothing() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    let request = Request::Multi(vec![
        create("/m", CreateMode::Persistent),
        set("/m", "y", 0),
        Request::Check {
            path: "/m".into(),
            version: 1,
        },
        delete("/m"),
    ]);
    let Ok(Response::Multi(results)) = bench.ask(&client, 1, request) else {
        panic!("no results");
    };
    assert!(matches!(
        &results[..],
        [
            MultiResult::Create(_),
            MultiResult::SetData(_),
            MultiResult::Check,
            MultiResult::Delete
        ]
    ));
    let request = Request::Multi(vec![
        create("/m", CreateMode::Persistent),
        create("/m", CreateMode::Persistent),
        delete("/m"),
    ]);
    assert_eq!(
        bench.ask(&client, 2, request),
        Ok(Response::Multi(vec![
            MultiResult::Error(None),
            MultiResult::Error(Some(ErrorCode::NodeExists)),
            MultiResult::Error(Some(ErrorCode::RuntimeInconsistency)),
        ]))
    );
    assert!(!bench.service(2).tree().contains("/m"));
}

#[test]
fn requests_that_cannot_be_fail_with_zookeepers_codes() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    assert!(
        bench
            .ask(&client, 1, create("/e", CreateMode::Ephemeral))
            .is_ok()
    );
    let cases = [
        (create("/e", CreateMode::Persistent), ErrorCode::NodeExists),
        (create("/x/y", CreateMode::Persistent), ErrorCode::NoNode),
        (create("x", CreateMode::Persistent), ErrorCode::BadArguments),
        (
            create("/e/x", CreateMode::Persistent),
            ErrorCode::NoChildrenForEphemerals,
        ),
        (create("/t", CreateMode::Ttl(5)), ErrorCode::Unimplemented),
        (create("/t", CreateMode::Other(9)), ErrorCode::BadArguments),
        (delete("/"), ErrorCode::BadArguments),
        (delete("/zookeeper"), ErrorCode::BadArguments),
        (set("/e", "y", 3), ErrorCode::BadVersion),
        (get("/x", false), ErrorCode::NoNode),
        (exists("/\0", false), ErrorCode::BadArguments),
        (Request::Unimplemented(104), ErrorCode::Unimplemented),
        (
            Request::Multi(vec![Request::Ping]),
            ErrorCode::Unimplemented,
        ),
    ];
    for (xid, (request, error)) in (2..).zip(cases) {
        let context = format!("{request:?}");
        assert_eq!(bench.ask(&client, xid, request), Err(error), "{context}");
    }
}

#[test]
fn null_data_is_read_as_null_and_empty_data_as_empty_on_every_server() {
    let mut bench = Bench::new(2);
    let clients = [bench.connect(1, 1), bench.connect(2, 2)];
    let persistent = CreateMode::Persistent;
    let writes = [
        with_data(create("/null", persistent), Data::NULL),
        with_data(create("/empty", persistent), Data::default()),
        create("/set", persistent),
        with_data(set("/set", "", 0), Data::NULL),
        Request::Multi(vec![
            with_data(create("/multi", persistent), Data::NULL),
            create("/multi/set", persistent),
            with_data(set("/multi/set", "", 0), Data::NULL),
        ]),
    ];
    for (xid, request) in (1..).zip(writes) {
        assert!(bench.ask(&clients[1], xid, request).is_ok());
    }
    for client in &clients {
        for path in ["/null", "/empty", "/set", "/multi", "/multi/set"] {
            let Ok(Response::Data(data, stat)) = bench.ask(client, 9, get(path, false)) else {
                panic!("{path} is not there");
            };
            let expected = match path {
                "/empty" => Data::default(),
                _ => Data::NULL,
            };
            assert_eq!((data, stat.data_length), (expected, 0), "{path}");
        }
    }
}

#[test]
fn who_a_client_is_travels_with_its_writes_and_counts_for_its_reads() {
    let mut bench = Bench::new(2);
    let (bob, eve) = (bench.connect(2, 1), bench.connect(2, 2));
    bench.authenticate(&bob, "bob:secret");
    let who = AuthId::new("auth", "");
    let request = Request::Create {
        path: "/secret".into(),
        data: Data::default(),
        acl: vec![Acl {
            perms: Perms::ALL,
            who,
        }],
        mode: CreateMode::Persistent,
        with_stat: false,
    };
    assert_eq!(bench.ask(&bob, 1, request), path("/secret"));
    assert!(bench.ask(&bob, 2, set("/secret", "y", 0)).is_ok());
    assert!(bench.ask(&bob, 3, get("/secret", false)).is_ok());
    let eves = [set("/secret", "z", -1), get("/secret", false)];
    for (xid, request) in (1..).zip(eves) {
        assert_eq!(bench.ask(&eve, xid, request), Err(ErrorCode::NoAuth));
    }
    bench.prove(eve.id, Vec::new(), Err(ErrorCode::AuthFailed));
    assert_eq!(
        bench.hear(eve.id)[1..],
        [ClientOutput::Close],
        "what is refused ends the connection"
    );
}

#[test]
fn a_new_leader_shows_the_members_of_the_ensemble_once_and_a_watch_tells_of_another_list() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    let lead = |bench: &mut Bench, members: &str| {
        bench.servers.get_mut(&LEADER).unwrap().0.members = Members::parse(members).ok();
        let epoch = Epoch(1);
        bench.at(LEADER, |service, env| {
            service.begin_leading(env, epoch, std::iter::empty());
        });
        bench.settle();
    };
    let config = "/zookeeper/config";
    assert!(bench.ask(&client, 1, get(config, true)).is_ok());
    lead(&mut bench, "server.1=a:1:2:participant\nversion=0");
    let zxid = bench.log.len() as u32;
    assert_eq!(
        bench.hear(client.id),
        [event(EventType::DataChanged, config, zxid)]
    );
    lead(&mut bench, "server.1=a:1:2:participant\nversion=0");
    assert_eq!(bench.log.len() as u32, zxid, "it is shown already");
    for sid in 1..=2 {
        let node = bench.service(sid).tree().node(config).unwrap();
        assert!(node.data.starts_with(b"server.1=a:1:2"));
    }
}
