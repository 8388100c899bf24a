//! The secret of the ensemble: who makes it, and who may not have it.

use super::*;

#[test]
fn the_first_transaction_of_an_ensemble_is_its_secret() {
    let mut bench = Bench::new(2);
    for sid in [1, 2] {
        let (config, service) = bench.servers.get_mut(&sid).unwrap();
        config.entropy = [sid; secret::LENGTH];
        *service = Service::new(Tree::default(), Zxid::ZERO);
    }
    bench.at(2, |service, env| {
        service.begin_following(env, ServerId(LEADER), Epoch(1))
    });
    bench.at(LEADER, |service, env| {
        service.begin_leading(env, Epoch(1), std::iter::empty())
    });
    // Who cannot judge a password yet does not say that it is wrong.
    let early = bench.greet(
        2,
        1,
        ConnectRequest {
            session: SessionId(7),
            ..greeting()
        },
    );
    assert_eq!(bench.hear(early), [ClientOutput::Close]);
    let client = bench.connect(2, 2);
    assert_eq!(bench.log.len(), 2, "the secret and the session");
    let tree = bench.service(2).tree();
    let own = secret::password(&[LEADER; secret::LENGTH], client.session);
    assert_eq!(client.password, own, "it is made of the leader's entropy");
    // A later leader keeps it.
    assert_eq!(secret::creation(tree, &bench.servers[&2].0), None);
    let moved = bench.greet(1, 3, client.resumption());
    bench.settle();
    assert!(
        matches!(&bench.hear(moved)[..], [ClientOutput::Connected(r)] if r.session == client.session)
    );
}

#[test]
fn nobody_reads_or_changes_the_secret() {
    let mut bench = Bench::new(1);
    let client = bench.connect(1, 1);
    bench.prove(
        client.id,
        vec![AuthId::digest(b"a:b"), AuthId::new("sasl", "super")],
        Ok(Response::Empty),
    );
    bench.hear(client.id);
    let denied = [
        get(secret::PATH, false),
        set(secret::PATH, "x", -1),
        create(&format!("{}/x", secret::PATH), CreateMode::Persistent),
    ];
    for (xid, request) in (1..).zip(denied) {
        assert_eq!(bench.ask(&client, xid, request), Err(ErrorCode::NoAuth));
    }
    let gone = bench.ask(&client, 9, delete(secret::PATH));
    assert_eq!(gone, Err(ErrorCode::BadArguments));
    bench.prove(client.id, vec![AuthId::superuser()], Ok(Response::Empty));
    bench.hear(client.id);
    let changed = bench.ask(&client, 10, set(secret::PATH, "x", -1));
    assert_eq!(changed, Err(ErrorCode::NoAuth));
}
