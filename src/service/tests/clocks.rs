//! Clocks that are wrong, jump or are put back, and starts that have the numbers of earlier ones.

use super::mortals::{extended, is_there, later, with_ttl};
use super::*;
use crate::znode::TxnBody;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A server starts again with what was durable at the beginning, and follows; the log is applied when it settles.
fn restart(bench: &mut Bench, sid: u8, incarnation: u64) {
    let (config, service) = bench.servers.get_mut(&sid).unwrap();
    config.incarnation = incarnation;
    *service = Service::new(tree_with_secret(), Zxid::ZERO);
    service.begin_following(&mut Env::new(config), ServerId(LEADER), Epoch(1));
}

/// Another server leads from now on, with all that is in the log.
fn lead(bench: &mut Bench, sid: u8) {
    assert_eq!(sid, LEADER, "the bench knows one place for the leader");
    bench.at(sid, |service, env| {
        service.begin_leading(env, Epoch(1), std::iter::empty());
    });
}

#[test]
fn transactions_bear_the_time_of_the_leader_whatever_that_of_the_origin_is() {
    for wrong_ms in [-HOUR, HOUR] {
        let mut bench = extended(2);
        bench.wrong_ms.insert(2, wrong_ms);
        let client = bench.connect(2, 1);
        assert!(
            bench
                .ask(&client, 1, create("/t", with_ttl(MINUTE)))
                .is_ok()
        );
        let stat = bench.service(1).tree().stat("/t").unwrap();
        assert_eq!(stat.ctime, bench.now_ms);
        later(&mut bench, MINUTE - 1);
        assert!(is_there(&bench, "/t"));
        later(&mut bench, 2 * MINUTE);
        assert!(!is_there(&bench, "/t"));
    }
}

#[test]
fn a_ttl_goes_on_when_a_leader_with_another_clock_is_elected() {
    // The transactions of the old leader are an hour away from the clock of the new one.
    for wrong_ms in [-HOUR, HOUR] {
        let mut bench = extended(1);
        bench.wrong_ms.insert(1, wrong_ms);
        let client = bench.connect(1, 1);
        assert!(
            bench
                .ask(&client, 1, create("/t", with_ttl(2 * MINUTE)))
                .is_ok()
        );
        later(&mut bench, MINUTE);
        bench.wrong_ms.clear();
        lead(&mut bench, 1);
        later(&mut bench, MINUTE - 1);
        assert!(is_there(&bench, "/t"), "{wrong_ms}");
        later(&mut bench, MINUTE);
        assert!(!is_there(&bench, "/t"), "{wrong_ms}");
    }
}

#[test]
fn a_clock_that_jumps_and_is_corrected_ends_no_ttl_early_and_none_late() {
    let mut bench = extended(1);
    let client = bench.connect(1, 1);
    assert!(
        bench
            .ask(&client, 1, create("/t", with_ttl(2 * MINUTE)))
            .is_ok()
    );
    bench.wrong_ms.insert(1, 1000 * HOUR);
    later(&mut bench, MINUTE);
    assert!(is_there(&bench, "/t"), "the jump is no time that passes");
    bench.wrong_ms.clear();
    later(&mut bench, MINUTE);
    later(&mut bench, MINUTE);
    assert!(
        !is_there(&bench, "/t"),
        "nor is the correction one that does not"
    );
}

/// A history of one epoch: a znode with a TTL of ten minutes, something else five minutes later, and a snapshot after
/// the first of `snapshot` of these.
fn five_minutes_old(snapshot: usize, epochs: [u32; 2]) -> History<ZooKeeper> {
    let txn = |time, path: &str, lifetime| Txn {
        session: SessionId(1),
        cxid: 0,
        time,
        body: TxnBody::Create {
            path: path.into(),
            data: Data::default(),
            acl: acl::open_unsafe(),
            lifetime,
            parent_cversion: 1,
        },
        digest: None,
    };
    let ttl = crate::znode::Ttl::new(10 * MINUTE).unwrap();
    let zxid = |index: usize| Zxid::new(Epoch(epochs[index]), index as u32 + 1);
    let mut txns = vec![txn(77 * HOUR, "/t", crate::znode::Lifetime::Ttl(ttl))];
    txns.push(txn(
        77 * HOUR + 5 * MINUTE,
        "/x",
        crate::znode::Lifetime::Persistent,
    ));
    let mut history = History::default();
    let mut tree = tree_with_secret();
    for (index, txn) in txns.into_iter().enumerate() {
        let zxid = zxid(index);
        history.append(zxid, txn.clone());
        if index < snapshot {
            assert!(tree.apply(zxid, &txn).outcome.is_ok());
            let state = tree.clone();
            history.compact(Snapshot { zxid, state }, 100, Zxid::ZERO);
        }
    }
    history
}

/// How long `/t` has gone unchanged by a server that starts with a history, and applies what follows its snapshot.
fn unchanged(history: &History<ZooKeeper>) -> i64 {
    let config = Config::new(ServerId(1), 7, Duration::from_secs(2));
    let mut service = Service::recover(history);
    for entry in history.after(history.snapshot().zxid) {
        service.apply(&mut Env::new(&config), entry.zxid, &entry.txn);
    }
    let node = service.tree().node("/t").unwrap();
    service.clock.unchanged_ms("/t", node)
}

#[test]
fn the_time_before_a_start_is_what_one_leader_has_stamped() {
    assert_eq!(unchanged(&five_minutes_old(0, [1, 1])), 5 * MINUTE);
    assert_eq!(unchanged(&five_minutes_old(1, [1, 1])), 5 * MINUTE);
    assert_eq!(unchanged(&five_minutes_old(2, [1, 1])), 5 * MINUTE);
    // The stamps of two leaders may differ because their clocks do.
    assert_eq!(unchanged(&five_minutes_old(0, [1, 2])), 0);
    assert_eq!(unchanged(&five_minutes_old(2, [1, 2])), 0);
}

#[test]
fn a_tree_that_another_server_sends_makes_no_znode_older() {
    let mut bench = extended(1);
    let client = bench.connect(1, 1);
    assert!(bench.ask(&client, 1, create("/t", with_ttl(HOUR))).is_ok());
    later(&mut bench, MINUTE);
    let mut tree = bench.service(1).tree().clone();
    let age = |bench: &Bench, path| {
        let service = bench.service(1);
        let node = service.tree().node(path).unwrap();
        service.clock.unchanged_ms(path, node)
    };
    let body = TxnBody::Create {
        path: "/u".into(),
        data: Data::default(),
        acl: acl::open_unsafe(),
        lifetime: crate::znode::Lifetime::Container,
        parent_cversion: 9,
    };
    let txn = Txn {
        session: SessionId(1),
        cxid: 0,
        time: 1,
        body,
        digest: None,
    };
    let zxid = Zxid::new(Epoch(1), 77);
    assert!(tree.apply(zxid, &txn).outcome.is_ok());
    bench.at(1, |service, env| service.restore(env, tree, zxid));
    assert_eq!((age(&bench, "/t"), age(&bench, "/u")), (MINUTE, 0));
}

#[test]
fn a_server_that_starts_with_a_smaller_number_than_before_serves_at_the_second_attempt() {
    let mut bench = Bench::new(2);
    bench.connect(2, 1);
    restart(&mut bench, 2, 3);
    let refused = bench.greet(2, 2, greeting());
    bench.settle();
    assert_eq!(bench.hear(refused), [ClientOutput::Close]);
    // As the replica does when the leader is there and the period has ended.
    bench.at(2, |service, env| {
        service.begin_following(env, ServerId(LEADER), Epoch(1));
    });
    let client = bench.connect(2, 3);
    assert_eq!(
        bench.ask(&client, 1, create("/a", CreateMode::Persistent)),
        path("/a")
    );
}

#[test]
fn a_word_of_an_earlier_start_does_not_end_the_present_one() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    bench.say(client.id, 1, create("/a", CreateMode::Persistent));
    let late = bench.under_way.pop_front().unwrap();
    restart(&mut bench, 2, 8);
    let client = bench.connect(2, 2);
    bench.under_way.push_back(late);
    bench.settle();
    assert_eq!(bench.hear(client.id), []);
    assert!(bench.ask(&client, 1, exists("/", false)).is_ok());
    assert!(!bench.service(1).tree().contains("/a"));
}

#[test]
fn a_session_that_is_open_is_not_given_out_again_though_the_incarnation_repeats() {
    let mut bench = Bench::new(2);
    let old = bench.connect(2, 1);
    assert!(
        bench
            .ask(&old, 1, create("/old", CreateMode::Ephemeral))
            .is_ok()
    );
    // It has not applied the opening of that session yet when it gives out the next.
    restart(&mut bench, 2, 7);
    let (config, service) = bench.servers.get_mut(&2).unwrap();
    service.on_refused(
        &mut Env::new(config),
        ServerId(LEADER),
        service.stream().unwrap(),
        service.stream().unwrap(),
    );
    service.begin_following(&mut Env::new(config), ServerId(LEADER), Epoch(1));
    let id = bench.greet(2, 2, greeting());
    bench.settle();
    assert_eq!(bench.hear(id).last(), Some(&ClientOutput::Close));
    let refused = TxnBody::Error(Some(ErrorCode::SessionExpired));
    assert!(bench.log.iter().any(|(_, txn)| txn.body == refused));
    let new = bench.connect(2, 3);
    assert_ne!(new.session, old.session);
    bench.say(new.id, 1, Request::CloseSession);
    bench.settle();
    assert!(
        !bench
            .service(1)
            .tree()
            .sessions()
            .contains_key(&new.session)
    );
    assert!(bench.service(1).tree().contains("/old"));
}
