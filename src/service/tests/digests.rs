//! Servers whose trees differ.

use super::*;
use crate::quorum::ServerSet;
use crate::zab::Snapshot;

/// What a server's Zab says: who leads, in which epoch, and who is up to date.
struct Below(ServerId, Epoch, History<ZooKeeper>);

impl replication::Replication for Below {
    fn committed(&self) -> Zxid {
        Zxid::ZERO
    }
    fn leader(&self) -> Option<ServerId> {
        Some(self.0)
    }
    fn epoch(&self) -> Epoch {
        self.1
    }
    fn history(&self) -> &History<ZooKeeper> {
        &self.2
    }
    fn next_zxid(&self) -> Option<Zxid> {
        None
    }
    fn ensemble(&self) -> Ensemble {
        Ensemble {
            is_changing: false,
            synchronized: [1, 2, 3].map(ServerId).into_iter().collect::<ServerSet>(),
        }
    }
    fn propose(&mut self, _: Txn) {}
    fn compact(&mut self, _: Snapshot<Tree>) {}
}

/// Under whom a server serves, when it is told that `leader` leads in an epoch.
fn serves_under(bench: &mut Bench, sid: u8, leader: u8, epoch: u32) -> Option<ServerId> {
    let below = Below(ServerId(leader), Epoch(epoch), History::default());
    let (_, service) = bench.servers.get_mut(&sid).unwrap();
    service.leader_to_serve(ServerId(sid), &below)
}

/// A znode of a server alone gets other data, as by a mistake in memory.
fn spoil(bench: &mut Bench, sid: u8) {
    let (_, service) = bench.servers.get_mut(&sid).unwrap();
    let mut tree = service.tree.clone();
    let body = crate::znode::TxnBody::SetData {
        path: "/".into(),
        data: b"spoilt".as_slice().into(),
        version: 0,
    };
    let txn = Txn {
        session: SessionId(0),
        cxid: 0,
        time: 0,
        body,
        digest: None,
    };
    assert!(tree.apply(Zxid(1), &txn).outcome.is_ok());
    service.tree = tree;
}

fn write(bench: &mut Bench, client: &Client, xid: i32) -> Result<Response, ErrorCode> {
    bench.ask(
        client,
        xid,
        create(&format!("/n{xid}"), CreateMode::Persistent),
    )
}

#[test]
fn each_transaction_says_what_the_tree_is_and_every_server_agrees() {
    let mut bench = Bench::new(3);
    let client = bench.connect(2, 1);
    for xid in 1..5 {
        assert!(write(&mut bench, &client, xid).is_ok());
    }
    assert!(bench.log.iter().all(|(_, txn)| txn.digest.is_some()));
    let last = bench.log.last().unwrap().1.digest;
    for sid in 1..=3 {
        let service = bench.service(sid);
        assert_eq!((service.mismatches(), service.mismatch()), (0, None));
        assert_eq!(Some(service.tree().digest()), last);
        assert_eq!(
            serves_under(&mut bench, sid, LEADER, 1),
            Some(ServerId(LEADER))
        );
    }
}

#[test]
fn without_digests_nothing_is_written_and_nothing_compared() {
    let mut bench = Bench::new(2);
    for (config, _) in bench.servers.values_mut() {
        config.digests = false;
    }
    spoil(&mut bench, 2);
    let client = bench.connect(1, 1);
    assert!(write(&mut bench, &client, 1).is_ok());
    assert!(bench.log.iter().all(|(_, txn)| txn.digest.is_none()));
    assert_eq!(bench.service(2).mismatches(), 0);
}

#[test]
fn a_server_that_differs_serves_nobody_until_it_has_the_leaders_tree() {
    let mut bench = Bench::new(3);
    let client = bench.connect(1, 1);
    spoil(&mut bench, 3);
    assert!(write(&mut bench, &client, 1).is_ok());
    let zxid = bench.log.last().unwrap().0;
    let mismatch = bench.service(3).mismatch().unwrap();
    assert_eq!((mismatch.zxid, bench.service(3).mismatches()), (zxid, 1));
    assert_ne!(Some(mismatch.own), mismatch.leaders);
    assert_eq!(serves_under(&mut bench, 3, LEADER, 1), None);
    // It says so, and the leader goes on: the others agree with it.
    bench.session_ticks(1);
    assert_eq!(
        serves_under(&mut bench, LEADER, LEADER, 1),
        Some(ServerId(LEADER))
    );
    // Another election alone does not make its tree any better.
    assert_eq!(serves_under(&mut bench, 3, 2, 2), None);
    let (tree, applied) = (bench.service(1).tree().clone(), bench.service(1).applied());
    bench.at(3, |service, env| service.restore(env, tree, applied));
    assert_eq!(
        serves_under(&mut bench, 3, LEADER, 1),
        Some(ServerId(LEADER))
    );
}

#[test]
fn a_leader_from_which_most_servers_differ_is_the_one_that_is_wrong() {
    let mut bench = Bench::new(3);
    let client = bench.connect(1, 1);
    spoil(&mut bench, 1);
    bench.at(1, |service, env| {
        service.begin_leading(env, Epoch(1), std::iter::empty());
    });
    let id = bench.greet(1, 2, client.resumption());
    bench.settle();
    let client = Client { id, ..client };
    bench.hear(id);
    assert!(write(&mut bench, &client, 1).is_ok());
    for sid in [2, 3] {
        assert_eq!(serves_under(&mut bench, sid, LEADER, 1), None);
    }
    assert_eq!(
        serves_under(&mut bench, LEADER, LEADER, 1),
        Some(ServerId(LEADER))
    );
    bench.session_ticks(1);
    assert_eq!(serves_under(&mut bench, LEADER, LEADER, 1), None);
    let wrong = bench.service(1).mismatch().unwrap();
    assert_eq!(wrong.leaders, None);
    // One of those that had the right tree leads next; the old leader does not serve under it.
    assert_eq!(serves_under(&mut bench, 2, 2, 2), Some(ServerId(2)));
    assert_eq!(serves_under(&mut bench, 1, 2, 2), None);
}
