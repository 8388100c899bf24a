//! Watches: who is told of what, and when.

use super::*;

#[test]
fn an_event_comes_before_any_answer_that_shows_the_change() {
    let mut bench = Bench::new(2);
    let writer = bench.connect(1, 1);
    let watcher = bench.connect(2, 2);
    bench.say(writer.id, 1, exists("/a", true));
    bench.say(watcher.id, 1, exists("/a", true));
    bench.settle();
    bench.hear(writer.id);
    bench.hear(watcher.id);
    bench.commits = false;
    bench.say(writer.id, 2, create("/a", CreateMode::Persistent));
    bench.say(watcher.id, 2, Request::Sync { path: "/".into() });
    bench.say(watcher.id, 3, exists("/a", true));
    bench.settle();
    bench.commits = true;
    bench.settle();
    assert_eq!(
        bench.hear(writer.id),
        [
            event(EventType::Created, "/a", 3),
            writer.reply(2, 3, path("/a"))
        ]
    );
    let heard = bench.hear(watcher.id);
    assert_eq!(heard[0], event(EventType::Created, "/a", 3));
    assert_eq!(heard[1], watcher.reply(2, 4, path("/")));
    assert_eq!(heard.len(), 3);
    // A watch fires once; this one was set by the second exists.
    assert_eq!(bench.ask(&writer, 3, delete("/a")), Ok(Response::Empty));
    assert_eq!(bench.hear(watcher.id), [event(EventType::Deleted, "/a", 5)]);
    assert_eq!(
        bench.ask(&writer, 4, create("/a", CreateMode::Persistent)),
        path("/a")
    );
    assert_eq!(bench.hear(watcher.id), []);
}

#[test]
fn set_watches_tells_what_has_changed_and_sets_the_rest() {
    let mut bench = Bench::new(1);
    let client = bench.connect(1, 1);
    for (xid, node) in (1..).zip(["/old", "/changed", "/parent"]) {
        let made = bench.ask(&client, xid, create(node, CreateMode::Persistent));
        assert_eq!(made, path(node));
    }
    let seen = bench.service(1).applied();
    let later = [
        set("/changed", "y", -1),
        create("/parent/child", CreateMode::Persistent),
        create("/new", CreateMode::Persistent),
    ];
    for (xid, request) in (4..).zip(later) {
        assert!(bench.ask(&client, xid, request).is_ok());
    }
    let paths = |list: &[&str]| list.iter().map(|&path| path.into()).collect();
    let request = Request::SetWatches(SetWatches {
        relative_zxid: seen,
        data: paths(&["/old", "/changed", "/gone"]),
        exists: paths(&["/new", "/not-yet"]),
        children: paths(&["/old", "/parent", "/gone-too"]),
        persistent: paths(&["/changed"]),
        recursive: paths(&["/parent"]),
    });
    bench.say(client.id, -8, request);
    let found = |kind, path: &str| {
        let (path, zxid) = (path.into(), watch::NO_ZXID);
        ClientOutput::Event(WatchEvent { kind, path, zxid })
    };
    assert_eq!(
        bench.hear(client.id),
        [
            found(EventType::DataChanged, "/changed"),
            found(EventType::Deleted, "/gone"),
            found(EventType::Created, "/new"),
            found(EventType::ChildrenChanged, "/parent"),
            found(EventType::Deleted, "/gone-too"),
            client.reply(-8, 7, Ok(Response::Empty)),
        ]
    );
    // The others are set: data and children of /old, /not-yet, and those that stay.
    assert_eq!(bench.service(1).watches.len(), 5);
    bench.say(client.id, 9, delete("/old"));
    bench.settle();
    assert_eq!(
        bench.hear(client.id),
        [
            event(EventType::Deleted, "/old", 8),
            client.reply(9, 8, Ok(Response::Empty))
        ]
    );
}

fn add_watch(path: &str, mode: i32) -> Request {
    let path = path.into();
    Request::AddWatch { path, mode }
}

fn remove_watches(path: &str, kind: i32) -> Request {
    let path = path.into();
    Request::RemoveWatches { path, kind }
}

fn check_watches(path: &str, kind: i32) -> Request {
    let path = path.into();
    Request::CheckWatches { path, kind }
}

#[test]
fn persistent_watches_tell_of_every_change_until_they_are_removed() {
    let mut bench = Bench::new(2);
    let (watcher, writer) = (bench.connect(2, 1), bench.connect(1, 2));
    assert_eq!(
        bench.ask(&watcher, 1, add_watch("/a", 0)),
        Ok(Response::WatchAdded)
    );
    assert_eq!(
        bench.ask(&watcher, 2, add_watch("/", 1)),
        Ok(Response::WatchAdded)
    );
    let requests = [
        create("/a", CreateMode::Persistent),
        set("/a", "1", -1),
        set("/a", "2", -1),
        create("/a/b", CreateMode::Persistent),
        delete("/a/b"),
        delete("/a"),
    ];
    for (xid, request) in (1..).zip(requests) {
        assert!(bench.ask(&writer, xid, request).is_ok());
    }
    // Two sessions came first. The change of /a's children is told by the first watch alone.
    let told = [
        event(EventType::Created, "/a", 3),
        event(EventType::DataChanged, "/a", 4),
        event(EventType::DataChanged, "/a", 5),
        event(EventType::Created, "/a/b", 6),
        event(EventType::ChildrenChanged, "/a", 6),
        event(EventType::Deleted, "/a/b", 7),
        event(EventType::ChildrenChanged, "/a", 7),
        event(EventType::Deleted, "/a", 8),
    ];
    assert_eq!(bench.hear(watcher.id), told);
    let refused = bench.ask(&watcher, 3, remove_watches("/a", 5));
    assert_eq!(refused, Err(ErrorCode::NoWatcher));
    assert_eq!(
        bench.ask(&watcher, 4, remove_watches("/a", 4)),
        Ok(Response::Empty)
    );
    assert_eq!(
        bench.ask(&watcher, 5, remove_watches("/", 3)),
        Ok(Response::Empty)
    );
    assert!(
        bench
            .ask(&writer, 7, create("/a", CreateMode::Persistent))
            .is_ok()
    );
    assert_eq!(bench.hear(watcher.id), []);
    assert!(bench.service(2).watches.is_empty());
}

#[test]
fn check_watches_tells_whether_there_is_one_of_the_kind() {
    let mut bench = Bench::new(1);
    let client = bench.connect(1, 1);
    assert_eq!(
        bench.ask(&client, 1, exists("/a", true)),
        Err(ErrorCode::NoNode)
    );
    assert!(bench.ask(&client, 2, add_watch("/b", 1)).is_ok());
    let all = [("/a", [2, 3]), ("/b", [5, 3])];
    for (at, there) in all {
        for kind in 1..=5 {
            let told = bench.ask(&client, 3, check_watches(at, kind));
            let expected = match there.contains(&kind) {
                true => Ok(Response::Empty),
                false => Err(ErrorCode::NoWatcher),
            };
            assert_eq!(told, expected, "{at} {kind}");
        }
    }
    for request in [
        check_watches("/a", 6),
        remove_watches("/a", 0),
        add_watch("/a", 2),
    ] {
        let refused = bench.ask(&client, 4, request);
        assert_eq!(refused, Err(ErrorCode::MarshallingError));
    }
}

#[test]
fn nobody_is_told_of_what_he_may_not_read() {
    let mut bench = Bench::new(1);
    let (watcher, writer) = (bench.connect(1, 1), bench.connect(1, 2));
    bench.authenticate(&writer, "bob:secret");
    assert!(bench.ask(&watcher, 1, add_watch("/", 1)).is_ok());
    assert!(bench.ask(&watcher, 2, exists("/p", true)).is_err());
    let mut private = create("/p", CreateMode::Persistent);
    if let Request::Create { acl, .. } = &mut private {
        let who = AuthId::digest(b"bob:secret");
        let perms = Perms::ALL;
        *acl = vec![Acl { perms, who }];
    }
    assert!(bench.ask(&writer, 1, private).is_ok());
    assert_eq!(bench.hear(watcher.id), []);
    assert_eq!(
        bench.ask(&watcher, 3, exists("/p", false)),
        Err(ErrorCode::NoAuth)
    );
    bench.authenticate(&watcher, "bob:secret");
    assert!(bench.ask(&writer, 2, set("/p", "y", -1)).is_ok());
    assert_eq!(
        bench.hear(watcher.id),
        [event(EventType::DataChanged, "/p", 4)]
    );
}

#[test]
fn who_has_seen_nothing_is_told_of_everything_whatever_number_it_counts_from() {
    let mut bench = Bench::new(1);
    let client = bench.connect(1, 1);
    assert!(
        bench
            .ask(&client, 1, create("/a", CreateMode::Persistent))
            .is_ok()
    );
    for seen in [0, -1, i64::MIN] {
        bench.say(
            client.id,
            -8,
            Request::SetWatches(SetWatches {
                relative_zxid: Zxid(seen as u64),
                data: vec!["/a".into()],
                children: vec!["/a".into()],
                ..SetWatches::default()
            }),
        );
        let told = bench.hear(client.id);
        let event = |kind| {
            let (path, zxid) = ("/a".to_owned(), watch::NO_ZXID);
            ClientOutput::Event(WatchEvent { kind, path, zxid })
        };
        assert_eq!(
            told[..2],
            [
                event(EventType::DataChanged),
                event(EventType::ChildrenChanged)
            ],
            "{seen}"
        );
        assert!(bench.service(1).watches.is_empty(), "{seen}");
    }
}
