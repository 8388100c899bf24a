//! Requests for other members of the ensemble.

use super::super::reconfig::{agreed, change};
use super::*;
use crate::proto::Reconfiguration;
use crate::quorum::ServerSet;
use crate::znode::{CONFIG, TxnBody};

const THREE: &str = "server.1=a:1:2;9\nserver.2=b:1:2;9\nserver.3=c:1:2;9\nversion=0";
const JOINING: &str = "server.4=d:1:2;9";

/// Two servers of an ensemble of three that lets its members be replaced, and a client that may do it.
fn bench() -> (Bench, Client) {
    let mut bench = Bench::new(2);
    for (config, _) in bench.servers.values_mut() {
        config.members = Members::parse(THREE).ok();
        config.reconfig = true;
    }
    bench.ensemble.synchronized = ids(&[1, 2, 3]);
    lead(&mut bench);
    let client = bench.connect(2, 1);
    bench.prove(
        client.id,
        vec![AuthId::new("super", "")],
        Ok(Response::Empty),
    );
    bench.hear(client.id);
    (bench, client)
}

fn ids(ids: &[u8]) -> ServerSet {
    ids.iter().copied().map(ServerId).collect()
}

fn lead(bench: &mut Bench) {
    bench.at(LEADER, |service, env| {
        service.begin_leading(env, Epoch(1), std::iter::empty());
    });
    bench.settle();
}

fn joining(line: &str) -> Reconfiguration {
    Reconfiguration {
        joining: line.to_owned(),
        version: -1,
        ..Reconfiguration::default()
    }
}

fn leaving(list: &str) -> Reconfiguration {
    Reconfiguration {
        leaving: list.to_owned(),
        ..joining("")
    }
}

fn shown(bench: &Bench, sid: u8) -> String {
    let node = bench.service(sid).tree().node(CONFIG).unwrap();
    String::from_utf8(node.data.to_vec()).unwrap()
}

#[test]
fn a_reconfiguration_is_answered_with_the_new_members_and_watches_tell_of_it() {
    let (mut bench, client) = bench();
    assert!(bench.ask(&client, 1, get(CONFIG, true)).is_ok());
    bench.say(client.id, 2, Request::Reconfig(joining(JOINING)));
    bench.settle();
    let zxid = bench.log.len() as u32;
    let heard = bench.hear(client.id);
    let [event_heard, ClientOutput::Reply { reply, .. }] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(*event_heard, event(EventType::DataChanged, CONFIG, zxid));
    let Ok(Response::Data(data, stat)) = &reply.result else {
        panic!("{reply:?}");
    };
    let version = Zxid::new(Epoch(1), zxid);
    let text = format!(
        "server.1=a:1:2:participant;9\nserver.2=b:1:2:participant;9\nserver.3=c:1:2:participant;9\n\
         server.4=d:1:2:participant;9\nversion={:016x}",
        version.0
    );
    assert_eq!(
        (&**data, stat.version, stat.mzxid),
        (text.as_bytes(), -1, version)
    );
    assert_eq!(shown(&bench, 1), text);
    lead(&mut bench);
    assert_eq!(
        shown(&bench, 1),
        text,
        "what was agreed on counts more than the file"
    );
}

#[test]
fn what_cannot_be_agreed_on_is_refused_with_zookeepers_codes() {
    let (mut bench, client) = bench();
    let all = |members: &str| Reconfiguration {
        members: members.to_owned(),
        ..joining("")
    };
    let at = |version| Reconfiguration {
        version,
        ..joining(JOINING)
    };
    let cases = [
        (at(7), ErrorCode::BadVersion),
        (joining("server.4=d:1:2"), ErrorCode::BadArguments),
        (leaving("2,3"), ErrorCode::BadArguments),
        (all("server.1=a:1:2;9"), ErrorCode::BadArguments),
        (all("nonsense"), ErrorCode::BadArguments),
        (
            all("server.3=c:1:2;9,server.4=d:1:2;9"),
            ErrorCode::NewConfigNoQuorum,
        ),
        (
            joining("server.4=d:1:2;9,server.5=e:1:2;9,server.6=f:1:2;9"),
            ErrorCode::NewConfigNoQuorum,
        ),
    ];
    for (xid, (asked, code)) in (1..).zip(cases) {
        let context = format!("{asked:?}");
        assert_eq!(
            bench.ask(&client, xid, Request::Reconfig(asked)),
            Err(code),
            "{context}"
        );
    }
    assert!(bench.warnings[0].contains("server.4 has no port for clients; add ;port"));
    assert!(bench.warnings[1].contains("fewer than two servers would vote"));
    let eve = bench.connect(2, 2);
    let beyond = Request::Reconfig(joining("server.999=d:1:2;9"));
    assert_eq!(
        bench.ask(&client, 9, beyond.clone()),
        Err(ErrorCode::BadArguments)
    );
    assert_eq!(bench.ask(&eve, 9, beyond), Err(ErrorCode::NoAuth));
    let asked = Request::Reconfig(joining(JOINING));
    assert_eq!(bench.ask(&eve, 1, asked.clone()), Err(ErrorCode::NoAuth));
    bench.ensemble.is_changing = true;
    assert_eq!(
        bench.ask(&client, 20, asked.clone()),
        Err(ErrorCode::ReconfigInProgress)
    );
    let leader = &mut bench.servers.get_mut(&LEADER).unwrap().0;
    leader.members = None;
    assert_eq!(
        bench.ask(&client, 21, asked.clone()),
        Err(ErrorCode::Unimplemented)
    );
    let leader = &mut bench.servers.get_mut(&LEADER).unwrap().0;
    leader.reconfig = false;
    assert_eq!(
        bench.ask(&client, 22, asked),
        Err(ErrorCode::ReconfigDisabled)
    );
}

#[test]
fn one_server_may_be_left_where_none_stands_alone() {
    let (mut bench, client) = bench();
    bench.servers.get_mut(&LEADER).unwrap().0.standalone = false;
    let answer = bench.ask(&client, 1, Request::Reconfig(leaving("2, 3")));
    assert!(answer.is_ok(), "{answer:?}");
    assert!(shown(&bench, 2).starts_with("server.1=a:1:2:participant;9\nversion="));
}

#[test]
fn a_list_that_was_agreed_on_is_known_from_one_that_zookeeper_wrote() {
    let (mut bench, client) = bench();
    assert_eq!(agreed(bench.service(1).tree()), None, "the file's");
    assert!(
        bench
            .ask(&client, 1, Request::Reconfig(leaving("3")))
            .is_ok()
    );
    let known = agreed(bench.service(1).tree()).unwrap();
    assert_eq!(known.membership().voters, ids(&[1, 2]));
    let body = |data: &str| TxnBody::Reconfigure {
        data: data.as_bytes().to_vec().into(),
    };
    assert!(change(&body(&known.to_string())).is_some());
    assert_eq!(change(&body("server.1=a:1:2;9\nversion=100000007")), None);
}

#[test]
fn a_transaction_of_zabs_own_takes_its_place_among_those_of_the_leader() {
    let (mut bench, client) = bench();
    let zxid = Zxid::new(Epoch(1), bench.log.len() as u32 + 1);
    let txn = Txn {
        session: SessionId::default(),
        cxid: i32::MIN,
        time: 0,
        body: TxnBody::InForce,
        digest: None,
    };
    bench.log.push((zxid, txn.clone()));
    bench.at(LEADER, |service, _| service.take_in(zxid, &txn));
    assert_eq!(bench.service(LEADER).proposed(), Some(zxid));
    assert!(
        bench
            .ask(&client, 1, create("/a", CreateMode::Persistent))
            .is_ok()
    );
    assert_eq!(bench.service(2).applied(), Zxid(zxid.0 + 1));
}
