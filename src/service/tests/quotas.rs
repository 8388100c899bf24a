//! Quotas: counted on every server, enforced by the leader.

use super::*;

/// A server with a quota on /q, which holds one znode of one byte, and a client.
fn with_quota(limits: &'static str, enforced: bool) -> (Bench, Client) {
    let mut bench = Bench::new(3);
    for (config, _) in bench.servers.values_mut() {
        config.enforce_quota = enforced;
    }
    let client = bench.connect(2, 1);
    let quota = "/zookeeper/quota/q";
    let [limits_at, stats_at] = ["limits", "stats"].map(|name| format!("{quota}/zookeeper_{name}"));
    let limits = with_data(
        create(&limits_at, CreateMode::Persistent),
        limits.as_bytes().into(),
    );
    let all = [
        create("/q", CreateMode::Persistent),
        create(quota, CreateMode::Persistent),
        limits,
        create(&stats_at, CreateMode::Persistent),
    ];
    for (xid, request) in (1..).zip(all) {
        assert!(bench.ask(&client, xid, request).is_ok());
    }
    (bench, client)
}

fn stats(bench: &Bench, sid: u8) -> Data {
    let tree = bench.service(sid).tree();
    let node = tree.node("/zookeeper/quota/q/zookeeper_stats").unwrap();
    node.data.clone()
}

#[test]
fn what_would_exceed_a_hard_quota_is_refused_and_changes_nothing() {
    let limits = "count=1,bytes=-1=;byteHardLimit=6;countHardLimit=2";
    let (mut bench, client) = with_quota(limits, true);
    assert!(
        bench
            .ask(&client, 5, create("/q/a", CreateMode::Persistent))
            .is_ok()
    );
    for asked in [
        create("/q/b", CreateMode::Persistent),
        set("/q/a", "123456", -1),
        Request::Multi(vec![
            delete("/q/a"),
            create("/q/a", CreateMode::Persistent),
            create("/q/b", CreateMode::Persistent),
        ]),
    ] {
        let is_multi = matches!(asked, Request::Multi(_));
        let exceeded = ErrorCode::QuotaExceeded;
        let expected = match is_multi {
            false => Err(exceeded),
            true => Ok(Response::Multi(
                [None, None, Some(exceeded)].map(MultiResult::Error).into(),
            )),
        };
        assert_eq!(bench.ask(&client, 6, asked), expected);
    }
    assert!(bench.ask(&client, 9, set("/q/a", "12345", -1)).is_ok());
    for sid in 1..=3 {
        assert_eq!(&stats(&bench, sid)[..], b"count=2,bytes=6");
    }
    assert_eq!(bench.warnings, [""; 0]);
}

#[test]
fn what_exceeds_a_soft_quota_is_done_with_a_warning() {
    let (mut bench, client) = with_quota("count=1,bytes=-1", true);
    assert!(
        bench
            .ask(&client, 5, create("/q/a", CreateMode::Persistent))
            .is_ok()
    );
    let warning = "quota exceeded: /q has 2 znodes; its soft limit is 1";
    assert_eq!(bench.warnings, [warning]);
}

#[test]
fn quotas_that_are_not_enforced_are_only_counted() {
    let (mut bench, client) = with_quota("count=-1,bytes=-1=;countHardLimit=1", false);
    assert!(
        bench
            .ask(&client, 5, create("/q/a", CreateMode::Persistent))
            .is_ok()
    );
    assert_eq!(&stats(&bench, 3)[..], b"count=2,bytes=2");
    assert_eq!(bench.warnings, [""; 0]);
}
