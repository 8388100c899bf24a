//! The order of requests, answers and writes.

use super::*;

#[test]
fn answers_come_in_the_order_of_the_requests() {
    for sid in [1, 2] {
        let mut bench = Bench::new(2);
        let client = bench.connect(sid, 1);
        bench.commits = false;
        bench.say(client.id, 1, exists("/a", false));
        bench.say(client.id, 2, create("/a", CreateMode::Persistent));
        bench.say(client.id, 3, get("/a", false));
        bench.say(client.id, 4, Request::Ping);
        bench.say(client.id, 5, set("/a", "y", 0));
        bench.say(client.id, 6, Request::Unimplemented(106));
        bench.settle();
        assert_eq!(
            bench.hear(client.id),
            [client.reply(1, 1, Err(ErrorCode::NoNode))]
        );
        bench.commits = true;
        bench.settle();
        let heard = bench.hear(client.id);
        let xids: Vec<i32> = heard
            .iter()
            .map(|output| match output {
                ClientOutput::Reply { reply, .. } => reply.xid,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(xids, [2, 3, 4, 5, 6]);
        let ClientOutput::Reply { reply, .. } = &heard[1] else {
            panic!("{heard:?}");
        };
        assert!(matches!(&reply.result, Ok(Response::Data(data, _)) if data[..] == *b"x"));
        assert_eq!(heard[4], client.reply(6, 3, Err(ErrorCode::Unimplemented)));
    }
}

#[test]
fn a_leader_takes_no_stream_that_began_before_its_leadership() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    bench.say(
        client.id,
        1,
        create("/n-", CreateMode::PersistentSequential),
    );
    let forward = bench.under_way.front().unwrap().clone();
    bench.settle();
    assert_eq!(
        bench.hear(client.id),
        [client.reply(1, 2, path("/n-0000000000"))]
    );
    // The leader is elected anew before the follower notices, and a duplicate arrives.
    bench.at(1, |service, env| {
        service.begin_leading(env, Epoch(2), std::iter::empty());
    });
    bench.under_way.push_back(forward);
    bench.settle();
    assert_eq!(bench.log.len(), 2, "the write has one place");
    assert_eq!(bench.hear(client.id), [ClientOutput::Close]);
    assert_eq!(bench.service(2).leader(ServerId(2)), None);
}

#[test]
fn writes_are_judged_by_what_is_proposed_and_not_yet_committed() {
    let mut bench = Bench::new(2);
    let (one, two) = (bench.connect(1, 1), bench.connect(2, 2));
    bench.commits = false;
    bench.say(one.id, 1, create("/a", CreateMode::Persistent));
    bench.settle();
    bench.say(two.id, 1, create("/a", CreateMode::Persistent));
    bench.say(two.id, 2, create("/a/b", CreateMode::Persistent));
    bench.settle();
    bench.commits = true;
    bench.settle();
    assert_eq!(
        bench.hear(two.id),
        [
            two.reply(1, 4, Err(ErrorCode::NodeExists)),
            two.reply(2, 5, path("/a/b"))
        ]
    );
}

#[test]
fn a_write_whose_message_is_lost_is_sent_again() {
    let mut bench = Bench::new(2);
    let client = bench.connect(2, 1);
    bench.say(client.id, 1, create("/a", CreateMode::Persistent));
    bench.say(client.id, 2, create("/b", CreateMode::Persistent));
    bench.under_way.pop_front();
    bench.settle();
    assert_eq!(bench.hear(client.id), []);
    bench.at(2, |service, env| service.on_retransmit_timeout(env));
    bench.settle();
    assert_eq!(
        bench.hear(client.id),
        [
            client.reply(1, 2, path("/a")),
            client.reply(2, 3, path("/b"))
        ]
    );
    bench.at(2, |service, env| service.on_retransmit_timeout(env));
    assert!(bench.under_way.is_empty(), "everything is accepted");
}

#[test]
fn what_a_client_says_before_its_session_is_open_is_answered_behind_it_in_order() {
    for (result, is_known) in [
        (Ok(Response::Empty), true),
        (Err(ErrorCode::AuthFailed), false),
    ] {
        let mut bench = Bench::new(2);
        let id = bench.greet(2, 1, greeting());
        bench.prove(id, Vec::new(), result);
        bench.say(id, 1, create("/a", CreateMode::Persistent));
        bench.say(id, 2, exists("/a", false));
        assert_eq!(bench.hear(id), []);
        bench.settle();
        let heard = bench.hear(id);
        assert!(matches!(&heard[0], ClientOutput::Connected(_)));
        let xids = heard.iter().filter_map(|output| match output {
            ClientOutput::Reply { reply, .. } => Some(reply.xid),
            _ => None,
        });
        if is_known {
            assert_eq!(xids.collect::<Vec<_>>(), [-4, 1, 2]);
        } else {
            assert_eq!(xids.collect::<Vec<_>>(), [-4]);
            assert_eq!(heard.last(), Some(&ClientOutput::Close));
        }
    }
}
