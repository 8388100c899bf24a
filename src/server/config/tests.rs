//! What a zoo.cfg may say, and what is said of one that cannot be used.

use super::*;
use proptest::prelude::*;

/// Loads a configuration with `myid` in its data directory.
fn load(text: &str, my_id: Option<&str>) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    if let Some(my_id) = my_id {
        fs::write(dir.path().join("myid"), my_id).unwrap();
    }
    let file = dir.path().join("zoo.cfg");
    let text = text.replace("DIR", &dir.path().display().to_string());
    fs::write(&file, text).unwrap();
    Config::load(&file)
}

const THREE: &str = "dataDir=DIR\nclientPort=2181\nserver.1=a:1:2\nserver.2=b:3:4\n";

#[test]
fn a_file_without_server_lines_is_a_standalone_server() {
    let config = load("tickTime=2000\ndataDir=DIR\nclientPort=2181\n", None).unwrap();
    assert!(config.is_standalone());
    assert_eq!(config.my_id, ServerId(1));
    assert_eq!(config.data_log_dir, config.data_dir);
    assert_eq!(config.min_session_timeout, Duration::from_secs(4));
    assert_eq!(config.max_session_timeout, Duration::from_secs(40));
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn one_server_line_is_a_standalone_server_with_its_own_id_and_port() {
    let config = load("dataDir=DIR\nserver.7=h:1:2;127.0.0.1:2185\n", Some("7\n")).unwrap();
    assert!(config.is_standalone());
    assert_eq!(config.my_id, ServerId(7));
    assert_eq!(config.client_port, 2185);
    assert_eq!(config.client_address.as_deref(), Some("127.0.0.1"));
}

#[test]
fn server_lines_give_addresses_roles_and_client_ports() {
    let text = "dataDir=DIR\ndataLogDir=/logs \nserver.1=10.0.0.1:2888:3888;2181\n\
                server.2=[::1]:2888:3888:observer;[::1]:2182\nserver.3=c.example:2888:3888:participant\n";
    let config = load(text, Some("1")).unwrap();
    assert_eq!(config.data_log_dir, Path::new("/logs"));
    assert_eq!(config.client_port, 2181);
    assert_eq!(config.servers.len(), 3);
    let second = &config.servers[&ServerId(2)];
    assert_eq!(second.peer.host, "::1");
    assert!(second.observer);
    assert_eq!(second.to_string(), "[::1]:2888:3888:observer;[::1]:2182");
    assert!(!config.servers[&ServerId(3)].observer);
    assert_eq!(
        config.members(),
        "server.1=10.0.0.1:2888:3888:participant;2181\n\
         server.2=[::1]:2888:3888:observer;[::1]:2182\n\
         server.3=c.example:2888:3888:participant\nversion=0"
    );
}

#[test]
fn the_service_is_told_what_the_file_says_and_zookeepers_defaults_otherwise() {
    let defaults = load(THREE, Some("1")).unwrap().service;
    assert!(!defaults.extended_types && !defaults.enforce_quota && !defaults.reads_through_quorum);
    assert_eq!(defaults.max_request, 1_048_575);
    let text = format!(
        "{THREE}zookeeper.extendedTypesEnabled=true\nenforceQuota=TRUE\nreadsThroughQuorum=false\n\
         znode.container.checkIntervalMs=500\njute.maxbuffer=0x200000\n"
    );
    let config = load(&text, Some("1")).unwrap();
    let told = config.service.tell(crate::service::Config::new(
        ServerId(1),
        1,
        Duration::from_secs(2),
    ));
    assert!(told.extended_types && told.enforce_quota && !told.reads_through_quorum);
    assert_eq!(told.container_check_ms, 500);
    assert_eq!(config.service.max_request, 2 << 20);
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn an_unknown_key_warns_and_does_no_harm() {
    let config = load(&format!("{THREE}speling=1\nelectionAlg=3\n"), Some("1")).unwrap();
    assert_eq!(config.warnings.len(), 2);
    assert!(config.warnings[0].contains("line 5: speling is not a key"));
    assert!(config.warnings[1].contains("line 6: electionAlg has no effect"));
}

#[test]
fn an_error_names_file_line_problem_and_remedy() {
    let error = load("dataDir=DIR\n\ntickTime=soon\n", None).unwrap_err();
    assert_eq!(error.line, Some(3));
    let text = error.to_string();
    assert!(text.contains("zoo.cfg, line 3: tickTime: `soon` cannot be used; write a number"));
}

#[test]
fn what_is_missing_or_contradicts_is_an_error() {
    let problem = |text: &str, my_id| load(text, my_id).unwrap_err().to_string();
    assert!(problem("clientPort=1\n", None).contains("dataDir is not set"));
    assert!(problem("dataDir=DIR\n", None).contains("no port for clients"));
    assert!(problem(THREE, None).contains("myid: cannot be read"));
    assert!(problem(THREE, Some("nine")).contains("`nine` is not the number of a server"));
    assert!(problem(THREE, Some("3")).contains("there is no server.3"));
    assert!(problem(&format!("{THREE}server.1=a:1:2\n"), Some("1")).contains("second line"));
    assert!(problem(&format!("{THREE}server.0=a:1:2\n"), Some("1")).contains("1 to 255"));
    assert!(problem(&format!("{THREE}server.4=a:1\n"), Some("1")).contains("two ports"));
    assert!(problem(&format!("{THREE}server.4=a:1:2;3;4\n"), Some("1")).contains("not a port"));
    let observers = "dataDir=DIR\nclientPort=1\nserver.1=a:1:2:observer\nserver.2=a:3:4:observer\n";
    assert!(problem(observers, Some("1")).contains("every server is an observer"));
    let ports = "dataDir=DIR\nclientPort=1\nserver.1=a:1:2;5\nserver.2=a:3:4\n";
    assert!(problem(ports, Some("1")).contains("disagree"));
    let timeouts = "dataDir=DIR\nclientPort=1\nminSessionTimeout=9\nmaxSessionTimeout=8\n";
    assert!(problem(timeouts, None).contains("minSessionTimeout 9 is above"));
}

#[test]
fn the_whitelist_replaces_the_default_words() {
    let config = load(
        &format!("{THREE}4lw.commands.whitelist=ruok, srvr\n"),
        Some("1"),
    )
    .unwrap();
    assert_eq!(
        config.four_letter_words,
        ["ruok", "srvr"].map(str::to_owned).into()
    );
    let config = load(&format!("{THREE}4lw.commands.whitelist=*\n"), Some("1")).unwrap();
    assert_eq!(config.four_letter_words.len(), 8);
}

#[test]
fn server_lines_may_stand_in_a_dynamic_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("myid"), "2").unwrap();
    fs::write(path("dyn"), "server.1=a:1:2;3\nserver.2=b:1:2;4\n").unwrap();
    let data_dir = dir.path().display();
    let text = format!("dataDir={data_dir}\ndynamicConfigFile={data_dir}/dyn\n");
    fs::write(path("zoo.cfg"), text).unwrap();
    let config = Config::load(&path("zoo.cfg")).unwrap();
    assert_eq!(config.servers.len(), 2);
    assert_eq!(config.client_port, 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_makes_the_parser_panic(
        lines in prop::collection::vec("(server\\.|)[a-zA-Z0-9.]{0,9}[=: ][a-z0-9:;\\[\\].|-]{0,20}", 0..8),
    ) {
        let _ = load(&lines.join("\n"), Some("1"));
    }

    #[test]
    fn an_address_is_read_back_as_it_is_shown(
        host in "[a-z][a-z0-9.-]{0,10}|::1|10\\.0\\.0\\.1",
        port in 1..=u16::MAX,
        election_port in 1..=u16::MAX,
        observer: bool,
        client in prop::option::of(("|[a-z]{1,5}|::", 1..=u16::MAX)),
    ) {
        let address = PeerAddress {
            peer: Endpoint { host, port },
            election_port,
            observer,
            client: client.map(|(host, port)| Endpoint { host, port }),
        };
        prop_assert_eq!(address.to_string().parse::<PeerAddress>(), Ok(address));
    }
}

#[test]
fn snapshots_and_their_removal_are_as_zookeeper_has_them() {
    let with = |lines: &str| load(&format!("dataDir=DIR\nclientPort=1\n{lines}"), None);
    let defaults = with("").unwrap();
    assert_eq!(defaults.snap_count, 100_000);
    assert_eq!(defaults.snap_size_limit, 4 << 30);
    assert_eq!(defaults.snapshot_compression, Compression::None);
    assert_eq!(defaults.purge, Purge::WithSnapshots);
    let config = with(
        "snapSizeLimitInKb=100\nzookeeper.snapshot.compression.method=snappy\n\
         autopurge.purgeInterval=24\nautopurge.snapRetainCount=9\n",
    );
    let config = config.unwrap();
    assert_eq!(config.snap_size_limit, 102_400);
    assert_eq!(config.snapshot_compression, Compression::Snappy);
    let day = Duration::from_secs(86_400);
    assert_eq!(
        (config.purge, config.snap_retain_count),
        (Purge::Every(day), 9)
    );
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!(
        with("autopurge.purgeInterval=0\n").unwrap().purge,
        Purge::Never
    );
    let refused = with("snapshot.compression.method=lz4\n")
        .unwrap_err()
        .to_string();
    assert!(refused.contains("write gz, snappy or nothing"), "{refused}");
}
