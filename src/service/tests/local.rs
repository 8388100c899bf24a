//! Local sessions: of one server alone, until they make an ephemeral.

use super::*;

/// Three servers whose new sessions are local.
fn bench(upgrading: bool) -> Bench {
    let mut bench = Bench::new(3);
    for (config, _) in bench.servers.values_mut() {
        config.local_sessions = true;
        config.local_sessions_upgrading = upgrading;
    }
    bench
}

fn is_local(bench: &Bench, sid: u8, client: &Client) -> bool {
    bench.service(sid).local_sessions().contains(client.session)
}

fn is_global(bench: &Bench, client: &Client) -> bool {
    let known = |sid: &u8| {
        let sessions = bench.service(*sid).tree().sessions();
        sessions.contains_key(&client.session)
    };
    let count = bench.servers.keys().filter(|sid| known(sid)).count();
    assert!(count == 0 || count == 3, "the trees differ");
    count == 3
}

fn disconnect(bench: &mut Bench, sid: u8, id: Id) {
    bench.at(sid, |service, env| {
        service.on_client(env, id, ClientInput::Disconnected);
    });
}

fn ephemeral(path: &str) -> Request {
    create(path, CreateMode::Ephemeral)
}

#[test]
fn a_local_session_reads_writes_and_ends_without_a_transaction_of_its_own() {
    for sid in 1..=3 {
        let mut bench = bench(false);
        let client = bench.connect(sid, 1);
        assert!(bench.log.is_empty());
        assert!(is_local(&bench, sid, &client) && !is_global(&bench, &client));
        let made = bench.ask(&client, 1, create("/a", CreateMode::Persistent));
        assert_eq!(made, path("/a"));
        assert!(bench.ask(&client, 2, exists("/a", true)).is_ok());
        assert_eq!(bench.log.len(), 1);
        bench.say(client.id, 3, set("/a", "y", 0));
        bench.say(client.id, 4, Request::CloseSession);
        bench.say(client.id, 5, set("/a", "z", -1));
        bench.settle();
        let told = bench.hear(client.id);
        assert!(
            matches!(
                &told[..],
                [
                    ClientOutput::Event(_),
                    ClientOutput::Reply { reply: first, .. },
                    ClientOutput::Reply { reply: second, .. },
                    ClientOutput::Close
                ] if (first.xid, second.xid) == (3, 4)
            ),
            "{told:?}"
        );
        assert_eq!(bench.log.len(), 2, "what comes after the end is void");
        assert!(!is_local(&bench, sid, &client));
    }
}

#[test]
fn a_local_session_makes_no_ephemeral() {
    let mut bench = bench(false);
    let client = bench.connect(2, 1);
    let refused = Err(ErrorCode::EphemeralOnLocalSession);
    let sequential = create("/e-", CreateMode::EphemeralSequential);
    let multi = Request::Multi(vec![
        create("/a", CreateMode::Persistent),
        ephemeral("/a/e"),
    ]);
    for (xid, request) in (1..).zip([ephemeral("/e"), sequential, multi]) {
        assert_eq!(bench.ask(&client, xid, request), refused);
    }
    let made = bench.ask(&client, 9, create("/s-", CreateMode::PersistentSequential));
    assert_eq!(made, path("/s-0000000000"));
    assert_eq!(bench.service(1).tree().ephemeral_count(), 0);
    assert!(!is_global(&bench, &client));
}

#[test]
fn a_session_that_makes_an_ephemeral_becomes_one_of_the_ensemble() {
    for sid in 1..=3 {
        let mut bench = bench(true);
        let client = bench.connect(sid, 1);
        // Before, in between and after.
        bench.say(client.id, 1, create("/a", CreateMode::Persistent));
        bench.say(client.id, 2, exists("/e", false));
        bench.say(client.id, 3, ephemeral("/e"));
        bench.say(client.id, 4, set("/a", "y", -1));
        bench.say(client.id, 5, exists("/e", false));
        bench.settle();
        let told = bench.hear(client.id);
        let results = told.iter().map(|output| match output {
            ClientOutput::Reply { reply, .. } => (reply.xid, reply.result.is_ok()),
            other => panic!("{other:?}"),
        });
        assert_eq!(
            results.collect::<Vec<_>>(),
            [(1, true), (2, false), (3, true), (4, true), (5, true)]
        );
        assert!(is_global(&bench, &client) && !is_local(&bench, sid, &client));
        let sessions = bench.service(1).tree().sessions();
        assert_eq!(sessions.get(&client.session), Some(&4000));
        // Another server resumes it, and it ends for all.
        let elsewhere = sid % 3 + 1;
        let id = bench.greet(elsewhere, 2, client.resumption());
        bench.settle();
        let told = bench.hear(id);
        assert!(matches!(&told[..], [ClientOutput::Connected(response)]
            if response.session == client.session && response.timeout_ms == 4000));
        bench.hear(client.id);
        let client = Client { id, ..client };
        assert_eq!(
            bench.ask(&client, 6, ephemeral("/f")),
            path("/f"),
            "it is upgraded once"
        );
        bench.say(client.id, 7, Request::CloseSession);
        bench.settle();
        assert_eq!(bench.service(1).tree().ephemeral_count(), 0);
        assert!(!is_global(&bench, &client));
    }
}

#[test]
fn an_upgraded_session_is_watched_over_by_the_leader() {
    let mut bench = bench(true);
    let client = bench.connect(2, 1);
    assert_eq!(bench.ask(&client, 1, ephemeral("/e")), path("/e"));
    for xid in 2..9 {
        assert_eq!(bench.ask(&client, xid, Request::Ping), Ok(Response::Empty));
        bench.session_ticks(3);
    }
    assert!(is_global(&bench, &client));
    bench.session_ticks(7);
    assert!(!is_global(&bench, &client));
    assert_eq!(bench.service(1).tree().ephemeral_count(), 0);
}

#[test]
fn a_local_session_is_resumed_at_its_own_server_alone() {
    let mut bench = bench(false);
    let client = bench.connect(2, 1);
    disconnect(&mut bench, 2, client.id);
    for sid in [1, 3] {
        let id = bench.greet(sid, 2, client.resumption());
        bench.settle();
        assert_eq!(bench.hear(id), refusal());
    }
    let wrong = ConnectRequest {
        password: Bytes::from_static(b"wrong"),
        ..client.resumption()
    };
    let id = bench.greet(2, 3, wrong);
    assert_eq!(bench.hear(id), refusal());
    let id = bench.greet(2, 4, client.resumption());
    bench.settle();
    let told = bench.hear(id);
    assert!(
        matches!(&told[..], [ClientOutput::Connected(response)]
            if response.session == client.session && response.timeout_ms == 4000),
        "{told:?}"
    );
    assert!(is_local(&bench, 2, &client) && !is_global(&bench, &client));
}

#[test]
fn what_the_old_connection_of_a_local_session_has_asked_for_comes_before_its_resumption() {
    let mut bench = bench(true);
    let client = bench.connect(2, 1);
    // On their way when the client comes back by another connection, and again by a third.
    bench.say(client.id, 1, create("/a", CreateMode::Persistent));
    let second = bench.greet(2, 2, client.resumption());
    bench.say(client.id, 2, create("/void", CreateMode::Persistent));
    bench.say(second, 1, create("/b", CreateMode::Persistent));
    let third = bench.greet(2, 3, client.resumption());
    bench.say(second, 2, create("/void", CreateMode::Persistent));
    // Even a request that makes it a session of the ensemble.
    bench.say(third, 1, ephemeral("/e"));
    bench.settle();
    assert_eq!(bench.hear(client.id), [ClientOutput::Close]);
    assert_eq!(bench.hear(second), [ClientOutput::Close]);
    let told = bench.hear(third);
    assert!(
        matches!(
            &told[..],
            [ClientOutput::Connected(_), ClientOutput::Reply { reply, .. }]
                if (reply.xid, &reply.result) == (1, &path("/e"))
        ),
        "{told:?}"
    );
    let tree = bench.service(1).tree();
    assert!(tree.contains("/a") && tree.contains("/b") && !tree.contains("/void"));
}

#[test]
fn a_local_session_goes_on_where_it_is_though_another_server_refuses_it() {
    for upgrading in [false, true] {
        let mut bench = bench(upgrading);
        let client = bench.connect(2, 1);
        let elsewhere = bench.greet(3, 2, client.resumption());
        bench.say(client.id, 1, create("/a", CreateMode::Persistent));
        bench.say(client.id, 2, ephemeral("/e"));
        bench.settle();
        assert_eq!(bench.hear(elsewhere), refusal());
        let told = bench.hear(client.id);
        let results = told.iter().map(|output| match output {
            ClientOutput::Reply { reply, .. } => (reply.xid, reply.result.is_ok()),
            other => panic!("{other:?}"),
        });
        assert_eq!(results.collect::<Vec<_>>(), [(1, true), (2, upgrading)]);
    }
}

#[test]
fn a_silent_local_session_expires_by_the_ticks_of_its_server() {
    for sid in [1, 2] {
        let mut bench = bench(false);
        let silent = bench.connect(sid, 1);
        let lively = bench.connect(sid, 2);
        bench.session_ticks(3);
        assert_eq!(bench.hear(silent.id), []);
        for xid in 0..20 {
            assert_eq!(bench.ask(&lively, xid, Request::Ping), Ok(Response::Empty));
            bench.session_ticks(2);
        }
        assert_eq!(bench.hear(silent.id), [ClientOutput::Close]);
        assert_eq!(bench.service(sid).local_sessions().len(), 1);
        let id = bench.greet(sid, 3, silent.resumption());
        bench.settle();
        assert_eq!(bench.hear(id), refusal());
        assert!(is_local(&bench, sid, &lively));
    }
}

#[test]
fn local_sessions_end_with_the_period_of_their_server() {
    let mut bench = bench(true);
    let client = bench.connect(2, 1);
    bench.at(2, |service, env| {
        service.begin_following(env, ServerId(LEADER), Epoch(1));
    });
    assert_eq!(bench.hear(client.id), [ClientOutput::Close]);
    let id = bench.greet(2, 2, client.resumption());
    bench.settle();
    assert_eq!(bench.hear(id), refusal());
}
