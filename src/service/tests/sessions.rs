//! Sessions: how they open, move, expire and end.

use super::*;
use crate::znode::{Node, TreeBuilder, TxnBody};

#[test]
fn a_session_is_opened_on_every_server_with_a_timeout_within_the_bounds() {
    let mut bench = Bench::new(3);
    for (client, (asked, given)) in [(1, 4000), (9999, 9999), (i32::MAX, 40_000)]
        .into_iter()
        .enumerate()
    {
        let timeout_ms = asked;
        let id = bench.greet(
            2,
            client,
            ConnectRequest {
                timeout_ms,
                ..greeting()
            },
        );
        bench.settle();
        let [ClientOutput::Connected(response)] = &bench.hear(id)[..] else {
            panic!("no answer");
        };
        assert_eq!(response.timeout_ms, given);
        for sid in 1..=3 {
            let sessions = bench.service(sid).tree().sessions();
            assert_eq!(sessions.get(&response.session), Some(&given));
        }
    }
}

#[test]
fn a_session_that_is_unknown_or_whose_password_is_wrong_is_refused() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    let wrong = ConnectRequest {
        password: Bytes::from_static(b"wrong"),
        ..client.resumption()
    };
    let id = bench.greet(1, 2, wrong);
    bench.settle();
    assert_eq!(bench.hear(id), refusal());

    assert_eq!(bench.ask(&client, 1, Request::Ping), Ok(Response::Empty));
    bench.say(client.id, 2, Request::CloseSession);
    bench.settle();
    assert_eq!(
        bench.hear(client.id),
        [client.reply(2, 2, Ok(Response::Empty)), ClientOutput::Close]
    );
    let id = bench.greet(1, 3, client.resumption());
    bench.settle();
    assert_eq!(bench.hear(id), refusal());
    assert_eq!(bench.service(1).connections().count(), 0);
}

#[test]
fn a_client_that_has_seen_more_than_the_server_is_sent_away() {
    let mut bench = Bench::new(1);
    let ahead = ConnectRequest {
        last_zxid_seen: Zxid::new(Epoch(1), 5),
        ..greeting()
    };
    let id = bench.greet(1, 1, ahead);
    assert_eq!(bench.hear(id), [ClientOutput::Close]);
}

#[test]
fn a_server_that_does_not_serve_sends_clients_away_and_closes_its_connections() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    bench.say(client.id, 1, exists("/a", true));
    bench.at(2, |service, env| service.end(env));
    assert_eq!(bench.hear(client.id).last(), Some(&ClientOutput::Close));
    let id = bench.greet(2, 2, greeting());
    assert_eq!(bench.hear(id), [ClientOutput::Close]);
    assert!(bench.service(2).watches.is_empty());
}

#[test]
fn a_leader_that_must_not_serve_sends_clients_away_and_they_keep_their_sessions_elsewhere() {
    let mut bench = Bench::new(2);
    let client = bench.connect(1, 1);
    let (config, _) = bench.servers.get_mut(&1).unwrap();
    config.leader_serves = false;
    // It is elected again.
    bench.at(1, |service, env| {
        service.begin_leading(env, Epoch(1), std::iter::empty());
    });
    assert_eq!(bench.hear(client.id), [ClientOutput::Close]);
    for (number, request) in [(2, greeting()), (3, client.resumption())] {
        let id = bench.greet(1, number, request);
        assert_eq!(bench.hear(id), [ClientOutput::Close]);
    }
    assert_eq!(bench.service(1).connections().count(), 0);
    bench.at(2, |service, env| {
        service.begin_following(env, ServerId(LEADER), Epoch(1));
    });
    let id = bench.greet(2, 4, client.resumption());
    bench.settle();
    let again = Client { id, ..client };
    assert!(
        matches!(&bench.hear(id)[..], [ClientOutput::Connected(response)]
        if response.session == again.session)
    );
    let made = bench.ask(&again, 1, create("/e", CreateMode::Ephemeral));
    assert_eq!(
        made,
        path("/e"),
        "the leader takes their writes all the same"
    );
    // As a follower it serves.
    bench.at(1, |service, env| {
        service.begin_following(env, ServerId(2), Epoch(2));
    });
    let id = bench.greet(1, 5, greeting());
    assert_eq!(bench.hear(id), []);
}

/// Found by `check run service --scenario moves --crashes 1 --reconnects 1`: the transaction that had
/// opened the session bore the number under which the restarted server waited for the resumption, so the
/// session was open before what it had asked for elsewhere was applied, and could read the past.

#[test]
fn a_transaction_from_before_a_restart_opens_no_session() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    bench.now_ms += 1;
    let (config, service) = bench.servers.get_mut(&2).unwrap();
    config.incarnation += 1;
    *service = Service::new(tree_with_secret(), Zxid::ZERO);
    service.begin_following(&mut Env::new(config), ServerId(LEADER), Epoch(1));
    let again = bench.greet(2, 2, client.resumption());
    let (zxid, opening) = bench.log[0].clone();
    bench.at(2, |service, env| service.apply(env, zxid, &opening));
    assert_eq!(
        bench.hear(again),
        [],
        "its own transaction is still to come"
    );
    bench.settle();
    let told = bench.hear(again);
    assert!(
        matches!(&told[..], [ClientOutput::Connected(_)]),
        "{told:?}"
    );
}

#[test]
fn a_session_resumes_at_another_server_and_leaves_its_old_connection() {
    let mut bench = Bench::new(3);
    let client = bench.connect(2, 1);
    assert_eq!(
        bench.ask(&client, 1, create("/e", CreateMode::Ephemeral)),
        path("/e")
    );
    // A write that is lost on its way, and the resumption elsewhere.
    bench.say(client.id, 2, create("/late", CreateMode::Persistent));
    let late = bench.under_way.pop_back().unwrap();
    let id = bench.greet(3, 2, client.resumption());
    bench.settle();
    let ClientOutput::Connected(response) = &bench.hear(id)[0] else {
        panic!("not resumed");
    };
    assert_eq!(
        (response.session, response.timeout_ms),
        (client.session, 4000)
    );
    assert_eq!(
        bench.hear(client.id),
        [
            client.reply(2, 3, Err(ErrorCode::SessionMoved)),
            ClientOutput::Close
        ]
    );
    // The write arrives after all, and has no effect.
    bench.under_way.push_back(late);
    bench.settle();
    assert!(!bench.service(1).tree().contains("/late"));
    assert!(bench.service(1).tree().contains("/e"));
    let resumed = Client { id, ..client };
    assert_eq!(
        bench.ask(&resumed, 3, create("/f", CreateMode::Persistent)),
        path("/f")
    );
}

#[test]
fn a_resumption_is_negotiated_anew_and_its_timeout_counts_from_then_on() {
    for (elsewhere, asked_ms, ticks) in [(3, 20_000, 21), (2, 20_000, 21), (1, 4000, 5)] {
        let mut bench = Bench::new(3);
        let client = bench.connect(2, 1);
        let made = bench.ask(&client, 1, create("/e", CreateMode::Ephemeral));
        assert_eq!(made, path("/e"));
        let request = ConnectRequest {
            timeout_ms: asked_ms,
            ..client.resumption()
        };
        let id = bench.greet(elsewhere, 2, request);
        bench.settle();
        let ClientOutput::Connected(response) = &bench.hear(id)[0] else {
            panic!("not resumed");
        };
        assert_eq!(response.timeout_ms, asked_ms, "at {elsewhere}");
        // The old connection has lost it, whether or not the timeout has changed.
        assert_eq!(bench.hear(client.id), [ClientOutput::Close]);
        let told = |bench: &Bench, sid| bench.service(sid).tree().sessions()[&client.session];
        assert!((1..=3).all(|sid| told(&bench, sid) == asked_ms));
        bench.session_ticks(ticks - 1);
        assert!(
            bench.service(1).tree().contains("/e"),
            "{ticks} ticks are allowed"
        );
        // A server names whom it has heard of in two ticks.
        bench.session_ticks(4);
        assert!(!bench.service(1).tree().contains("/e"));
    }
}

#[test]
fn the_ephemerals_of_a_closed_session_vanish_on_every_server() {
    let mut bench = Bench::new(3);
    let client = bench.connect(2, 1);
    let other = bench.connect(3, 2);
    assert!(
        bench
            .ask(&client, 1, create("/e", CreateMode::Ephemeral))
            .is_ok()
    );
    assert!(bench.ask(&other, 1, exists("/e", true)).is_ok());
    bench.say(client.id, 2, Request::CloseSession);
    bench.say(client.id, 3, create("/void", CreateMode::Persistent));
    bench.settle();
    assert_eq!(
        bench.hear(client.id),
        [client.reply(2, 4, Ok(Response::Empty)), ClientOutput::Close]
    );
    assert_eq!(bench.hear(other.id), [event(EventType::Deleted, "/e", 4)]);
    for sid in 1..=3 {
        assert!(!bench.service(sid).tree().contains("/e"));
        assert!(!bench.service(sid).tree().contains("/void"));
        assert_eq!(bench.service(sid).tree().sessions().len(), 1);
    }
}

#[test]
fn a_silent_session_expires_and_one_that_pings_does_not() {
    for sid in [1, 2] {
        let mut bench = Bench::new(2);
        let silent = bench.connect(sid, 1);
        let lively = bench.connect(sid, 2);
        for client in [&silent, &lively] {
            let node = format!("/{}", client.session);
            let made = bench.ask(client, 1, create(&node, CreateMode::Ephemeral));
            assert_eq!(made, path(&node));
        }
        // A timeout of 4 s is 4 session ticks: until then nothing may happen.
        bench.session_ticks(3);
        assert_eq!(bench.hear(silent.id), []);
        for xid in 0..20 {
            assert_eq!(bench.ask(&lively, xid, Request::Ping), Ok(Response::Empty));
            bench.session_ticks(2);
        }
        assert_eq!(bench.hear(silent.id), [ClientOutput::Close]);
        assert_eq!(bench.hear(lively.id), []);
        let sessions = bench.service(sid).tree().sessions();
        assert_eq!(sessions.keys().collect::<Vec<_>>(), [&lively.session]);
        assert_eq!(bench.service(sid).tree().ephemeral_count(), 1);
    }
}

#[test]
fn what_waits_when_a_session_expires_is_told_so() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    // Its writes do not reach the leader.
    bench.say(client.id, 1, create("/a", CreateMode::Persistent));
    bench.say(client.id, 2, exists("/a", false));
    let lost = bench.under_way.pop_front().unwrap();
    bench.servers.get_mut(&2).unwrap().1.touched.clear();
    bench.session_ticks(10);
    assert_eq!(
        bench.hear(client.id),
        [
            client.reply(1, 2, Err(ErrorCode::SessionExpired)),
            client.reply(2, 2, Err(ErrorCode::SessionExpired)),
            ClientOutput::Close
        ]
    );
    bench.under_way.push_back(lost);
    bench.settle();
    assert!(!bench.service(1).tree().contains("/a"));
}

#[test]
fn a_new_leader_gives_every_session_its_whole_timeout() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    bench.session_ticks(4);
    bench.at(1, |service, env| {
        service.begin_leading(env, Epoch(1), std::iter::empty());
    });
    bench.session_ticks(4);
    let is_open = |bench: &Bench| {
        let sessions = bench.service(1).tree().sessions();
        sessions.contains_key(&client.session)
    };
    assert!(is_open(&bench));
    bench.session_ticks(2);
    assert!(!is_open(&bench));
}

#[test]
fn a_connection_that_is_gone_leaves_nothing_but_its_session() {
    let mut bench = Bench::new(1);
    let client = bench.connect(1, 1);
    assert!(bench.ask(&client, 1, exists("/", true)).is_ok());
    bench.say(client.id, 2, create("/a", CreateMode::Persistent));
    bench.at(1, |service, env| {
        service.on_client(env, client.id, ClientInput::Disconnected);
    });
    bench.settle();
    assert_eq!(bench.hear(client.id), []);
    assert!(bench.service(1).tree().contains("/a"));
    assert_eq!(bench.service(1).connections().count(), 0);
    assert!(bench.service(1).watches.is_empty());
    assert_eq!(bench.service(1).tree().sessions().len(), 1);
}

#[test]
fn a_leader_ends_at_once_what_owns_an_ephemeral_and_has_no_session() {
    let mut builder = TreeBuilder::new(Zxid(5));
    let [known, unknown, later] = [1, 2, 3].map(|id| SessionId(0x0900_0000_0000_0000 + id));
    for (path, owner) in [
        ("/", SessionId::default()),
        ("/known", known),
        ("/nobody", unknown),
        ("/later", later),
    ] {
        let node = Node {
            ephemeral_owner: owner,
            ..Node::initial()
        };
        builder.node(path, node).unwrap();
    }
    builder.session(known, 4000);
    let opened = Txn {
        session: later,
        cxid: 0,
        time: 0,
        body: TxnBody::CreateSession { timeout_ms: 4000 },
        digest: None,
    };
    let config = Config::new(ServerId(1), 7, Duration::from_millis(2000));
    let mut env = Env::new(&config);
    let mut service = Service::new(builder.finish().unwrap(), Zxid(5));
    let mut zxid = Zxid::new(Epoch(1), 1);
    service.begin_leading(&mut env, Epoch(2), [(zxid, &opened)].into_iter());
    service.apply(&mut env, zxid, &opened);
    let mut proposed = Vec::new();
    while let Some(txn) = service.next_proposal(
        &mut env,
        Zxid::new(Epoch(2), proposed.len() as u32 + 1),
        Ensemble::default(),
    ) {
        proposed.push(txn);
    }
    let ended: Vec<_> = proposed
        .iter()
        .filter(|txn| matches!(txn.body, TxnBody::CloseSession { .. }))
        .collect();
    assert_eq!(ended.len(), 1, "{proposed:?}");
    assert_eq!(ended[0].session, unknown);
    for txn in &proposed {
        zxid = Zxid::new(Epoch(2), zxid.counter());
        service.apply(&mut env, zxid, txn);
        zxid = Zxid(zxid.0 + 1);
    }
    let left = ["/known", "/nobody", "/later"].map(|path| service.tree().contains(path));
    assert_eq!(left, [true, false, true]);
}
