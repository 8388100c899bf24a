//! Reads beyond getData and getChildren.

use super::*;
use crate::proto::ClientInfo;

fn children(path: &str, with_stat: bool) -> Request {
    Request::GetChildren {
        path: path.into(),
        watch: false,
        with_stat,
    }
}

#[test]
fn each_read_of_a_multi_read_has_its_own_answer() {
    let mut bench = Bench::new(1);
    let client = bench.connect(1, 1);
    assert!(
        bench
            .ask(&client, 1, create("/a", CreateMode::Persistent))
            .is_ok()
    );
    let reads = vec![get("/a", false), get("/none", false), children("/", false)];
    let Ok(Response::Multi(results)) = bench.ask(&client, 2, Request::MultiRead(reads)) else {
        panic!("no results");
    };
    let [
        MultiResult::Data(data, stat),
        MultiResult::Error(Some(ErrorCode::NoNode)),
        MultiResult::Children(names),
    ] = &results[..]
    else {
        panic!("{results:?}");
    };
    assert_eq!((&data[..], stat.data_length), (&b"x"[..], 1));
    assert_eq!(names, &["a", "zookeeper"]);
}

#[test]
fn the_ephemerals_of_the_own_session_are_told_by_prefix() {
    let mut bench = Bench::new(1);
    let (client, other) = (bench.connect(1, 1), bench.connect(1, 2));
    for (xid, at) in (1..).zip(["/a", "/ab", "/b"]) {
        assert!(
            bench
                .ask(&client, xid, create(at, CreateMode::Ephemeral))
                .is_ok()
        );
    }
    let mut told = |client: &Client, prefix: &str| {
        let prefix = prefix.into();
        match bench.ask(client, 4, Request::GetEphemerals { prefix }) {
            Ok(Response::Ephemerals(paths)) => paths,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told(&client, "/"), ["/a", "/ab", "/b"]);
    assert_eq!(told(&client, ""), ["/a", "/ab", "/b"]);
    assert_eq!(told(&client, "/a"), ["/a", "/ab"]);
    assert_eq!(told(&other, "/"), [""; 0]);
}

#[test]
fn all_znodes_below_one_are_counted_at_any_depth() {
    let mut bench = Bench::new(1);
    let client = bench.connect(1, 1);
    for (xid, at) in (1..).zip(["/a", "/a/b", "/a/b/c", "/ab"]) {
        assert!(
            bench
                .ask(&client, xid, create(at, CreateMode::Persistent))
                .is_ok()
        );
    }
    // Beside these the root has /zookeeper, and that config, keepright and quota.
    for (at, count) in [("/a", 2), ("/a/b", 1), ("/a/b/c", 0), ("/", 8)] {
        let asked = Request::GetAllChildrenNumber { path: at.into() };
        assert_eq!(
            bench.ask(&client, 5, asked),
            Ok(Response::Count(count)),
            "{at}"
        );
    }
    let asked = Request::GetAllChildrenNumber { path: "/no".into() };
    assert_eq!(bench.ask(&client, 6, asked), Err(ErrorCode::NoNode));
}

#[test]
fn who_am_i_tells_names_and_no_passwords() {
    let mut bench = Bench::new(1);
    let client = bench.connect(1, 1);
    bench.authenticate(&client, "bob:secret");
    let info = |scheme: &str, user: &str| ClientInfo {
        scheme: scheme.into(),
        user: user.into(),
    };
    let all = vec![info("ip", "127.0.0.1"), info("digest", "bob")];
    assert_eq!(
        bench.ask(&client, 1, Request::WhoAmI),
        Ok(Response::WhoAmI(all))
    );
}

#[test]
fn a_read_through_the_quorum_waits_for_a_transaction_of_its_own() {
    let mut bench = Bench::new(3);
    let client = bench.connect(2, 1);
    assert!(
        bench
            .ask(&client, 1, create("/a", CreateMode::Persistent))
            .is_ok()
    );
    for (config, _) in bench.servers.values_mut() {
        config.reads_through_quorum = true;
    }
    bench.commits = false;
    bench.say(client.id, 2, exists("/a", false));
    bench.say(client.id, -2, Request::Ping);
    bench.settle();
    assert_eq!(bench.hear(client.id), []);
    // What was proposed before it is committed before it, whoever asked for it.
    let before = bench.log.len();
    bench.commits = true;
    bench.settle();
    let heard = bench.hear(client.id);
    let [
        ClientOutput::Reply { reply, .. },
        ClientOutput::Reply { .. },
    ] = &heard[..]
    else {
        panic!("{heard:?}");
    };
    assert!(matches!(reply.result, Ok(Response::Stat(_))));
    assert_eq!((reply.xid, reply.zxid), (2, bench.log[before - 1].0));
    assert_eq!(
        bench.log[before - 1].1.body,
        crate::znode::TxnBody::Error(None)
    );
}

/// The runtime asks who the client is while its requests are under way.
#[test]
fn a_read_is_judged_by_what_its_client_had_proved_when_it_was_sent() {
    let bob = AuthId::digest(b"bob:secret");
    for through_quorum in [false, true] {
        let mut bench = Bench::new(2);
        let owner = bench.connect(1, 1);
        bench.authenticate(&owner, "bob:secret");
        let mut secret = create("/secret", CreateMode::Persistent);
        if let Request::Create { acl, .. } = &mut secret {
            *acl = vec![Acl {
                perms: Perms::ALL,
                who: AuthId {
                    scheme: "auth".into(),
                    id: String::new(),
                },
            }];
        }
        assert!(bench.ask(&owner, 1, secret).is_ok());
        let open = create("/open", CreateMode::Persistent);
        assert!(bench.ask(&owner, 2, open).is_ok());
        for (config, _) in bench.servers.values_mut() {
            config.reads_through_quorum = through_quorum;
        }
        let client = bench.connect(2, 2);
        let secret = |watch| Request::GetData {
            path: "/secret".into(),
            watch,
        };
        bench.say(client.id, 1, set("/open", "x", -1));
        bench.say(client.id, 2, secret(true));
        bench.say(client.id, 3, Request::MultiRead(vec![secret(false)]));
        bench.say(client.id, 4, Request::WhoAmI);
        bench.prove(client.id, vec![bob.clone()], Ok(Response::Empty));
        bench.say(client.id, 5, secret(false));
        bench.settle();
        let told = bench.hear(client.id);
        let result = |xid| {
            let reply = |output: &ClientOutput| match output {
                ClientOutput::Reply { reply, .. } if reply.xid == xid => Some(reply.result.clone()),
                _ => None,
            };
            told.iter().find_map(reply).expect("it was answered")
        };
        assert_eq!(result(2), Err(ErrorCode::NoAuth));
        let refused = MultiResult::Error(Some(ErrorCode::NoAuth));
        assert_eq!(result(3), Ok(Response::Multi(vec![refused])));
        let Ok(Response::WhoAmI(who)) = result(4) else {
            panic!("nobody");
        };
        assert_eq!(who.len(), 1, "{who:?}");
        assert!(matches!(result(5), Ok(Response::Data(..))));
    }
}
