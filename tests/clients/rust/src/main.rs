//! A session of the crate zookeeper-client. The servers are named by HOSTS; see ../../run.py for what it says.

use std::time::Duration;
use tokio::time::timeout;
use zookeeper_client::{
    Acls, AddWatchMode, Client, CreateMode, Error, EventType, MultiWriteError, SessionState,
};

/// For whatever is waited for.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    session().await.expect("the session");
    println!("PASSED");
}

async fn connect() -> Result<Client, Error> {
    let hosts = std::env::var("HOSTS").expect("HOSTS is not set");
    let connector = Client::connector().with_session_timeout(Duration::from_secs(10));
    connector.connect(&hosts).await
}

async fn session() -> Result<(), Error> {
    let open = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let client = connect().await?;

    println!("- versions");
    client.create("/a", b"one", &open).await?;
    assert_eq!(
        client.create("/a", b"one", &open).await.unwrap_err(),
        Error::NodeExists
    );
    assert_eq!(client.set_data("/a", b"two", Some(0)).await?.version, 1);
    let outdated = client.set_data("/a", b"three", Some(0)).await;
    assert_eq!(outdated.unwrap_err(), Error::BadVersion);
    let (data, stat) = client.get_data("/a").await?;
    assert_eq!((data.as_slice(), stat.version), (b"two".as_slice(), 1));
    assert_eq!(
        client.get_data("/nowhere").await.unwrap_err(),
        Error::NoNode
    );

    println!("- sequences and ephemerals");
    let ephemeral = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
    let (stat, sequence) = client.create("/a/n-", b"", &ephemeral).await?;
    assert_eq!(sequence.to_string(), "0000000000");
    assert_eq!(stat.ephemeral_owner, client.session_id().0);
    let child = client.create("/a/n-0000000000/x", b"", &open).await;
    assert_eq!(child.unwrap_err(), Error::NoChildrenForEphemerals);
    assert_eq!(client.list_ephemerals("/").await?, ["/a/n-0000000000"]);

    println!("- transactions");
    let mut writer = client.new_multi_writer();
    writer.add_create("/t", b"x", &open)?;
    writer.add_set_data("/t", b"y", Some(0))?;
    writer.add_check_version("/a", 1)?;
    assert_eq!(writer.commit().await?.len(), 3);
    let mut writer = client.new_multi_writer();
    writer.add_delete("/t", Some(1))?;
    writer.add_set_data("/a", b"y", Some(7))?;
    let (index, source) = (1, Error::BadVersion);
    assert_eq!(
        writer.commit().await.unwrap_err(),
        MultiWriteError::OperationFailed { index, source }
    );
    let mut reader = client.new_multi_reader();
    reader.add_get_data("/t")?;
    reader.add_get_children("/a")?;
    assert_eq!(reader.commit().await?.len(), 2);

    println!("- ACLs");
    let owner = connect().await?;
    owner.auth("digest", b"user:pass").await?;
    let private = CreateMode::Persistent.with_acls(Acls::creator_all());
    owner.create("/mine", b"m", &private).await?;
    client.sync("/").await?;
    assert_eq!(client.get_data("/mine").await.unwrap_err(), Error::NoAuth);
    assert_eq!(
        client.set_data("/mine", b"x", None).await.unwrap_err(),
        Error::NoAuth
    );
    assert_eq!(owner.get_data("/mine").await?.0, b"m");

    // This version of the crate does not set such a watch again after it has lost its server (its `resend_watches` always
    // sends the request that has no place for it), so this comes before that.
    println!("- a watch that stays");
    let mut lasting = client
        .watch("/a", AddWatchMode::PersistentRecursive)
        .await?;
    for path in ["/a/b", "/a/b/c"] {
        owner.create(path, b"", &open).await?;
        let event = timeout(LIMIT, lasting.changed())
            .await
            .expect("the lasting watch does not fire");
        assert_eq!(
            (event.event_type, event.path.as_str()),
            (EventType::NodeCreated, path)
        );
    }
    drop(lasting);

    println!("- a watch and an ephemeral outlive the server");
    let mut states = client.state_watcher();
    let (_, _, once) = client.get_and_watch_data("/t").await?;
    let id = client.session_id();
    println!("KILL 0x{:x}", id.0);
    states.state();
    while timeout(LIMIT, states.changed()).await.expect("not lost") != SessionState::Disconnected {}
    while timeout(LIMIT, states.changed()).await.expect("not back") != SessionState::SyncConnected {
    }
    assert_eq!(client.session_id(), id);
    assert!(
        client.check_stat("/a/n-0000000000").await?.is_some(),
        "the ephemeral has gone"
    );
    owner.set_data("/t", b"z", None).await?;
    let event = timeout(LIMIT, once.changed())
        .await
        .expect("the watch does not fire");
    assert_eq!(
        (event.event_type, event.path.as_str()),
        (EventType::NodeDataChanged, "/t")
    );

    println!("- the session ends, and its ephemerals with it");
    owner.sync("/").await?;
    let (_, gone) = owner.check_and_watch_stat("/a/n-0000000000").await?;
    drop(client);
    let event = timeout(LIMIT, gone.changed())
        .await
        .expect("the ephemeral stays");
    assert_eq!(event.event_type, EventType::NodeDeleted);
    Ok(())
}
