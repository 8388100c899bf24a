//! Read-only mode: a server without a leader.

use super::*;

/// A server that has lost its leader, with read-only mode and a znode `/a`.
fn partitioned() -> Bench {
    let mut bench = Bench::new(1);
    bench.servers.get_mut(&1).unwrap().0.read_only_mode = true;
    let client = bench.connect(1, 1);
    assert!(
        bench
            .ask(&client, 1, create("/a", CreateMode::Persistent))
            .is_ok()
    );
    bench.at(1, |service, env| service.end(env));
    bench.told.clear();
    bench
}

/// A tick of the sessions at a server that leads nobody.
fn tick(bench: &mut Bench) {
    bench.at(1, |service, env| service.on_session_timeout(env));
}

fn read_only_greeting() -> ConnectRequest {
    ConnectRequest {
        read_only: Some(true),
        ..greeting()
    }
}

#[test]
fn a_server_without_a_leader_serves_reads_to_those_that_ask_for_no_more() {
    let mut bench = partitioned();
    for client in 2..6 {
        let id = bench.greet(1, client, read_only_greeting());
        assert_eq!(
            bench.hear(id),
            [ClientOutput::Close],
            "it waits for a leader"
        );
        tick(&mut bench);
    }
    assert!(bench.service(1).is_read_only());
    let id = bench.greet(1, 6, greeting());
    assert_eq!(bench.hear(id), [ClientOutput::Close], "it wants to write");
    let id = bench.greet(1, 7, read_only_greeting());
    let response = match &bench.hear(id)[..] {
        [ClientOutput::Connected(response)] => response.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(response.read_only, Some(true));
    let results = [
        (exists("/a", true), true),
        (set("/a", "y", -1), false),
        (create("/b", CreateMode::Ephemeral), false),
        (Request::Sync { path: "/a".into() }, false),
        (Request::Ping, true),
    ];
    for (xid, (request, is_read)) in (1..).zip(results) {
        bench.say(id, xid, request);
        let heard = bench.hear(id);
        let [ClientOutput::Reply { reply, .. }] = &heard[..] else {
            panic!("{heard:?}");
        };
        assert_eq!(reply.result.is_ok(), is_read, "{reply:?}");
        assert!(is_read || reply.result == Err(ErrorCode::NotReadOnly));
    }
    bench.say(id, 9, Request::CloseSession);
    assert_eq!(bench.hear(id)[1..], [ClientOutput::Close]);
    assert_eq!(bench.service(1).connections().count(), 0);
}

#[test]
fn read_only_mode_ends_with_a_leader_and_takes_no_session_of_the_ensemble() {
    let mut bench = partitioned();
    for _ in 0..9 {
        tick(&mut bench);
    }
    let known = *bench.service(1).tree().sessions().keys().next().unwrap();
    for (session, told) in [
        (known, vec![ClientOutput::Close]),
        (SessionId(5), refusal()),
    ] {
        let request = ConnectRequest {
            session,
            ..read_only_greeting()
        };
        let id = bench.greet(1, 2, request);
        assert_eq!(bench.hear(id), told);
    }
    let id = bench.greet(1, 3, read_only_greeting());
    bench.hear(id);
    bench.at(1, |service, env| {
        service.begin_leading(env, Epoch(2), std::iter::empty())
    });
    assert_eq!(bench.hear(id), [ClientOutput::Close]);
    assert!(!bench.service(1).is_read_only());
}

#[test]
fn a_server_that_has_not_served_or_must_not_never_becomes_read_only() {
    let mut bench = partitioned();
    bench.servers.get_mut(&1).unwrap().1 = Service::new(tree_with_secret(), Zxid::ZERO);
    for _ in 0..9 {
        tick(&mut bench);
    }
    assert!(!bench.service(1).is_read_only(), "it has not served");
    let mut bench = partitioned();
    bench.servers.get_mut(&1).unwrap().0.read_only_mode = false;
    for _ in 0..9 {
        tick(&mut bench);
    }
    assert!(!bench.service(1).is_read_only(), "it must not");
}
