//! Containers and znodes with a TTL: made by clients, deleted by the leader.

use super::*;

const MINUTE: i64 = 60_000;
const TICK: i64 = 1000;

/// Lets time pass; the leader looks for what nobody uses once a minute.
pub(super) fn later(bench: &mut Bench, ms: i64) {
    bench.now_ms += ms;
    bench.look();
    bench.at(LEADER, |service, env| {
        // The clients are heard of all the time.
        service.on_touch(service.tree().sessions().keys().copied().collect());
        service.on_session_timeout(env);
    });
    bench.settle();
}

pub(super) fn is_there(bench: &Bench, path: &str) -> bool {
    let trees = bench
        .servers
        .values()
        .map(|(_, service)| service.tree().contains(path));
    let all: Vec<bool> = trees.collect();
    assert!(all.iter().all(|there| *there == all[0]), "servers differ");
    all[0]
}

pub(super) fn with_ttl(ms: i64) -> CreateMode {
    CreateMode::Ttl(ms)
}

pub(super) fn extended(servers: u8) -> Bench {
    let mut bench = Bench::new(servers);
    for (config, _) in bench.servers.values_mut() {
        config.extended_types = true;
    }
    bench
}

#[test]
fn an_empty_container_that_had_a_child_is_deleted_on_every_server() {
    let mut bench = extended(3);
    let client = bench.connect(2, 1);
    assert!(
        bench
            .ask(&client, 1, create("/c", CreateMode::Container))
            .is_ok()
    );
    assert!(
        bench
            .ask(&client, 2, create("/c/x", CreateMode::Persistent))
            .is_ok()
    );
    later(&mut bench, 2 * MINUTE + TICK);
    assert!(is_there(&bench, "/c"), "it has a child");
    assert!(bench.ask(&client, 3, exists("/c", true)).is_ok());
    assert!(bench.ask(&client, 4, delete("/c/x")).is_ok());
    later(&mut bench, MINUTE - TICK);
    assert!(is_there(&bench, "/c"), "nobody has looked yet");
    later(&mut bench, TICK);
    assert!(!is_there(&bench, "/c"));
    let zxid = bench.log.len() as u32;
    assert_eq!(
        bench.hear(client.id),
        [event(EventType::Deleted, "/c", zxid)]
    );
}

#[test]
fn a_container_without_a_first_child_stays_unless_a_time_is_set_for_that() {
    let mut bench = extended(1);
    let client = bench.connect(1, 1);
    assert!(
        bench
            .ask(&client, 1, create("/c", CreateMode::Container))
            .is_ok()
    );
    later(&mut bench, 100 * MINUTE);
    assert!(is_there(&bench, "/c"));
    bench.servers.get_mut(&1).unwrap().0.container_never_used_ms = MINUTE;
    later(&mut bench, MINUTE);
    assert!(!is_there(&bench, "/c"));
}

#[test]
fn a_znode_with_a_ttl_goes_when_it_has_no_child_and_was_not_set_for_that_long() {
    let mut bench = extended(3);
    let client = bench.connect(3, 1);
    assert!(
        bench
            .ask(&client, 1, create("/t", with_ttl(90_000)))
            .is_ok()
    );
    later(&mut bench, MINUTE);
    assert!(bench.ask(&client, 2, set("/t", "again", 0)).is_ok());
    later(&mut bench, MINUTE);
    assert!(is_there(&bench, "/t"), "it was set a minute ago");
    assert!(
        bench
            .ask(&client, 3, create("/t/x", CreateMode::Persistent))
            .is_ok()
    );
    later(&mut bench, MINUTE);
    assert!(is_there(&bench, "/t"), "it has a child");
    assert!(bench.ask(&client, 4, delete("/t/x")).is_ok());
    later(&mut bench, MINUTE);
    assert!(!is_there(&bench, "/t"));
}

#[test]
fn clients_see_no_owner_of_containers_and_ttls_and_may_put_children_below() {
    let mut bench = extended(1);
    let client = bench.connect(1, 1);
    for (xid, (at, mode)) in (1..).zip([("/c", CreateMode::Container), ("/t", with_ttl(5))]) {
        let asked = with_stat(create(at, mode));
        let Ok(Response::PathAndStat(made, stat)) = bench.ask(&client, xid, asked) else {
            panic!("{at} is not made");
        };
        assert_eq!((made.as_str(), stat.ephemeral_owner), (at, SessionId(0)));
        let child = create(&format!("{at}/child"), CreateMode::Persistent);
        assert!(bench.ask(&client, xid, child).is_ok());
    }
    let asked = create("/t/n-", CreateMode::SequentialTtl(7));
    assert_eq!(bench.ask(&client, 3, asked), path("/t/n-0000000001"));
}

fn with_stat(mut request: Request) -> Request {
    if let Request::Create { with_stat, .. } = &mut request {
        *with_stat = true;
    }
    request
}

#[test]
fn a_ttl_takes_the_extended_types_and_a_time_that_can_be() {
    let mut bench = Bench::new(1);
    let client = bench.connect(1, 1);
    let refused = bench.ask(&client, 1, create("/t", with_ttl(-1)));
    assert_eq!(refused, Err(ErrorCode::Unimplemented));
    bench.servers.get_mut(&1).unwrap().0.extended_types = true;
    for ms in [-1, 0, 1 << 40] {
        let refused = bench.ask(&client, 2, create("/t", with_ttl(ms)));
        assert_eq!(refused, Err(ErrorCode::BadArguments), "{ms}");
    }
}

#[test]
fn what_is_used_while_its_deletion_waits_stays() {
    let mut bench = extended(1);
    let client = bench.connect(1, 1);
    assert!(
        bench
            .ask(&client, 1, create("/t", with_ttl(90_000)))
            .is_ok()
    );
    assert!(
        bench
            .ask(&client, 2, create("/c", CreateMode::Container))
            .is_ok()
    );
    assert!(
        bench
            .ask(&client, 3, create("/c/x", CreateMode::Persistent))
            .is_ok()
    );
    assert!(bench.ask(&client, 4, delete("/c/x")).is_ok());
    bench.now_ms += 2 * MINUTE;
    bench.say(client.id, 5, set("/t", "again", -1));
    bench.say(client.id, 6, create("/c/y", CreateMode::Persistent));
    // The leader looks before it has proposed these.
    bench.at(LEADER, |service, env| service.sweep(env.config));
    bench.settle();
    assert!(is_there(&bench, "/t") && is_there(&bench, "/c"));
}

#[test]
fn no_more_are_deleted_at_once_than_is_said() {
    let mut bench = extended(1);
    bench.servers.get_mut(&1).unwrap().0.containers_per_minute = 2;
    let client = bench.connect(1, 1);
    for (xid, at) in (1..).zip(["/a", "/b", "/c"]) {
        assert!(bench.ask(&client, xid, create(at, with_ttl(1))).is_ok());
    }
    later(&mut bench, MINUTE + TICK);
    assert_eq!(bench.service(1).tree().mortals().count(), 1);
    later(&mut bench, MINUTE);
    assert_eq!(bench.service(1).tree().mortals().count(), 0);
}

#[test]
fn the_first_look_is_an_interval_after_the_beginning() {
    let mut bench = extended(1);
    let client = bench.connect(1, 1);
    let used = [
        create("/c", CreateMode::Container),
        create("/c/x", CreateMode::Persistent),
        delete("/c/x"),
    ];
    for (xid, request) in (1..).zip(used) {
        assert!(bench.ask(&client, xid, request).is_ok());
    }
    bench.now_ms += 1000 * MINUTE;
    let tree = bench.service(1).tree().clone();
    let (_, service) = bench.servers.get_mut(&1).unwrap();
    let applied = service.applied();
    *service = Service::new(tree, applied);
    bench.look();
    let (config, service) = bench.servers.get_mut(&1).unwrap();
    let mut env = Env::new(config);
    service.begin_leading(&mut env, Epoch(1), std::iter::empty());
    later(&mut bench, MINUTE - TICK);
    assert!(is_there(&bench, "/c"), "an interval has not passed");
    later(&mut bench, TICK);
    assert!(!is_there(&bench, "/c"));
}
