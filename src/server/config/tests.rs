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

const THREE: &str =
    "dataDir=DIR\nclientPort=2181\nserver.1=a:1:2\nserver.2=b:3:4\nserver.3=c:5:6\n";

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
    assert_eq!(config.client_port, Some(2185));
    assert_eq!(config.client_address.as_deref(), Some("127.0.0.1"));
}

#[test]
fn one_server_is_an_ensemble_if_none_may_stand_alone() {
    let text = "dataDir=DIR\nstandaloneEnabled=false\nserver.7=h:1:2;2185\n";
    let config = load(text, Some("7")).unwrap();
    assert!(!config.is_standalone());
    let alone = [ServerId(7)].into_iter().collect();
    assert_eq!(config.membership(), Membership::majority(alone));
    let service = config.service.tell(crate::service::Config {
        members: config.members,
        ..crate::service::Config::new(ServerId(7), 1, Duration::from_secs(2))
    });
    assert!(!service.standalone && !service.reconfig);
}

#[test]
fn server_lines_give_addresses_roles_and_client_ports() {
    let text = "dataDir=DIR\ndataLogDir=/logs \nserver.1=10.0.0.1:2888:3888;2181\n\
                server.2=[::1]:2888:3888:observer;[::1]:2182\nserver.3=c.example:2888:3888:participant\n";
    let config = load(text, Some("1")).unwrap();
    assert_eq!(config.data_log_dir, Path::new("/logs"));
    assert_eq!(config.client_port, Some(2181));
    let members = config.members.unwrap();
    assert_eq!(members.servers().len(), 3);
    let second = &members.servers()[&ServerId(2)];
    assert_eq!(second.peer.host, "::1");
    assert!(second.observer);
    assert_eq!(second.to_string(), "[::1]:2888:3888:observer;[::1]:2182");
    assert!(!members.servers()[&ServerId(3)].observer);
    assert_eq!(
        members.to_string(),
        "server.1=10.0.0.1:2888:3888:participant;2181\n\
         server.2=[::1]:2888:3888:observer;[::1]:2182\n\
         server.3=c.example:2888:3888:participant\nversion=0"
    );
}

#[test]
fn the_service_is_told_what_the_file_says_and_zookeepers_defaults_otherwise() {
    let defaults = load(THREE, Some("1")).unwrap().service;
    assert!(!defaults.extended_types && !defaults.enforce_quota && !defaults.reads_through_quorum);
    assert!(defaults.leader_serves);
    assert_eq!(defaults.max_request, 1_048_575);
    let text = format!(
        "{THREE}zookeeper.extendedTypesEnabled=true\nenforceQuota=TRUE\nreadsThroughQuorum=false\n\
         leaderServes=no\nlocalSessionsEnabled=true\nznode.container.checkIntervalMs=500\njute.maxbuffer=0x200000\n"
    );
    let config = load(&text, Some("1")).unwrap();
    let alone = crate::service::Config::new(ServerId(1), 1, Duration::from_secs(2));
    let one_of_three = crate::service::Config {
        members: config.members.clone(),
        ..alone.clone()
    };
    let told = config.service.tell(alone);
    assert!(told.leader_serves && !told.local_sessions);
    let told = config.service.tell(one_of_three);
    assert!(told.extended_types && told.enforce_quota && !told.reads_through_quorum);
    assert!(!told.leader_serves && told.local_sessions && !told.local_sessions_upgrading);
    assert_eq!(told.container_check_ms, 500);
    assert_eq!(config.service.max_request, 2 << 20);
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn an_unknown_key_warns_and_does_no_harm() {
    let config = load(&format!("{THREE}speling=1\nelectionAlg=3\n"), Some("1")).unwrap();
    assert_eq!(config.warnings.len(), 2);
    assert!(config.warnings[0].contains("line 6: speling is not a key"));
    assert!(config.warnings[1].contains("line 7: electionAlg has no effect"));
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
    assert!(problem(THREE, Some("4")).contains("there is no server.4"));
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
fn groups_and_weights_say_what_a_quorum_is() {
    let five = format!("{THREE}server.4=d:1:2\nserver.5=e:1:2:observer\n");
    let text = format!("{five}group.1=1:2\ngroup.2=3 : 4\nweight.2=2\nweight.3=0\n");
    let config = load(&text, Some("1")).unwrap();
    let set = |ids: &[u8]| ids.iter().copied().map(ServerId).collect();
    let membership = config.membership();
    assert_eq!(
        membership.voters,
        set(&[1, 2, 4]),
        "3 has no weight, 5 observes"
    );
    assert_eq!(membership.observers, set(&[5]));
    assert!(membership.is_quorum(&set(&[2, 4])));
    assert!(!membership.is_quorum(&set(&[1, 4])), "one of three");
    assert!(!membership.is_quorum(&set(&[1, 2, 3])), "one group");
    let lines = "group.1=1:2\ngroup.2=3:4\nweight.2=2\nweight.3=0\nversion=0";
    let shown = config.members.unwrap().to_string();
    assert!(shown.ends_with(lines), "{shown}");
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn every_voter_is_in_one_group() {
    let problem = |lines: &str| {
        let text = format!("{THREE}{lines}");
        load(&text, Some("1")).unwrap_err().to_string()
    };
    assert!(problem("group.1=1:2\n").contains("server 3 votes and is in no group"));
    assert!(problem("weight.1=2\n").contains("server 1 votes and is in no group"));
    assert!(problem("group.1=1:2\ngroup.2=2:3\n").contains("server 2 is in group 1 as well"));
    assert!(problem("group.1=1:2:3:3\n").contains("server 3 stands there twice"));
    assert!(problem("group.1=1:2:3:9\n").contains("there is no server.9"));
    assert!(problem("group.1=1:2:x\n").contains("`x` is not the number of a server"));
    assert!(problem("group.x=1:2:3\n").contains("group.x"));
    assert!(problem("group.1=1:2:3\nweight.1=-1\n").contains("weight.1: `-1` cannot be used"));
    let nobody = "group.1=1:2:3\nweight.1=0\nweight.2=0\nweight.3=0\n";
    assert!(problem(nobody).contains("no server has a weight above 0"));
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
    assert_eq!(config.four_letter_words.len(), 9);
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
    assert_eq!(config.members.unwrap().servers().len(), 2);
    assert_eq!(config.client_port, Some(4));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_makes_the_parser_panic(
        lines in prop::collection::vec("(server\\.|)[a-zA-Z0-9.]{0,9}[=: ][a-z0-9:;\\[\\].|-]{0,20}", 0..8),
    ) {
        let _ = load(&lines.join("\n"), Some("1"));
    }
}

#[test]
fn directories_are_made_unless_the_key_says_otherwise() {
    let made = |line: &str| {
        let config = load(&format!("dataDir=DIR\nclientPort=1\n{line}"), None).unwrap();
        assert_eq!(config.warnings, [""; 0]);
        config.make_directories
    };
    assert!(made(""));
    assert!(made("datadir.autocreate=True\n"));
    assert!(!made("datadir.autocreate=false\n"));
    // As Java reads it: whatever is not true.
    assert!(!made("zookeeper.datadir.autocreate=no\n"));
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

/// What stands in the way of a configuration with these lines behind a standalone server's.
fn problem(lines: &str) -> String {
    let result = load(&format!("dataDir=DIR\nclientPort=2181\n{lines}"), None);
    result.map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn keys_of_the_command_line_count_more_than_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zoo.cfg");
    let jaas = dir.path().join("jaas.conf");
    fs::write(
        &jaas,
        "Server { x required user_ann=\"a\" user_super=\"b\"; };",
    )
    .unwrap();
    let text = format!(
        "dataDir={}\nclientPort=2181\nmaxCnxns=7\n",
        dir.path().display()
    );
    fs::write(&file, text).unwrap();
    let options = [
        "zookeeper.DigestAuthenticationProvider.superDigest=super:abc=".to_owned(),
        format!("java.security.auth.login.config={}", jaas.display()),
        "zookeeper.SASLAuthenticationProvider.superPassword=c".to_owned(),
        "readonlymode.enabled=true".to_owned(),
        "maxCnxns=8".to_owned(),
        "file.encoding=UTF-8".to_owned(),
    ];
    let config = Config::load_with(&file, &options).unwrap();
    let security = &config.security;
    assert_eq!(security.super_digest.as_deref(), Some("super:abc="));
    let users = security.sasl_users.iter();
    let users: Vec<_> = users
        .map(|(user, password)| (&user[..], &password.0[..]))
        .collect();
    assert_eq!(users, [("ann", "a"), ("super", "c")]);
    assert!(security.sasl && config.read_only_mode);
    assert_eq!(config.max_cnxns, 8);
    assert!(config.warnings[0].starts_with("the command line: file.encoding is not a key"));
    let wrong = Config::load_with(&file, &["maxCnxns=x".to_owned()]).unwrap_err();
    assert!(wrong.to_string().starts_with("the command line: maxCnxns"));
}

#[test]
fn the_secure_port_has_a_key_and_what_to_check_clients_by() {
    let text = "dataDir=DIR\nsecureClientPort=2281\nsecureClientPortAddress=[::1]\n\
                ssl.keyStore.location=/k.pem\nssl.trustStore.location=/t.pem\n\
                serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
                ssl.keyStore.password=x\nX509AuthenticationProvider.superUser=CN=a\n";
    let config = load(text, None).unwrap();
    assert_eq!((config.client_port, &config.warnings[..]), (None, &[][..]));
    let tls = config.security.tls.unwrap();
    assert_eq!((tls.port, tls.address.as_deref()), (2281, Some("::1")));
    assert_eq!(tls.client_auth, ClientAuth::Need);
    assert_eq!(config.security.super_subject.as_deref(), Some("CN=a"));
    let secure = "secureClientPort=2281\n";
    let key = "secureClientPort=2281\nssl.keyStore.location=/k.pem\n";
    assert!(problem(secure).contains("ssl.keyStore.location"));
    assert!(problem(key).contains("ssl.trustStore.location"));
    assert_eq!(problem(&format!("{key}ssl.clientAuth=none\n")), "");
    assert!(problem(&format!("{key}ssl.clientAuth=no\n")).contains("none, want or need"));
    let revoked = format!("{key}ssl.clientAuth=none\nssl.crl=true\n");
    assert!(problem(&revoked).contains("revocation"));
    assert!(problem("secureClientPort=x\n").contains("is not a port"));
    assert_eq!(problem("secureClientPort=0\n"), "");
    assert!(problem("clientPort=0\n").contains("no port for clients"));
}

#[test]
fn what_must_be_proved_can_be_proved() {
    for (lines, said) in [
        ("enforce.auth.enabled=true\n", "no scheme is named"),
        ("enforce.auth.enabled=yes\n", "true or false"),
        (
            "enforce.auth.enabled=true\nenforce.auth.schemes=digest,sasl\n",
            "`sasl`",
        ),
        (
            "enforce.auth.enabled=true\nenforce.auth.schemes=x509\n",
            "secureClientPort",
        ),
        (
            "enforce.auth.enabled=true\nenforce.auth.schemes=world\n",
            "`world`",
        ),
        (
            "sessionRequireClientSASLAuth=true\n",
            "java.security.auth.login.config",
        ),
        ("authProvider.2=com.example.Other\n", "com.example.Other"),
        ("DigestAuthenticationProvider.digestAlg=SHA-256\n", "SHA1"),
        (
            "DigestAuthenticationProvider.enabled=false\n",
            "switched off",
        ),
        (
            "java.security.auth.login.config=/no/such\n",
            "cannot be read",
        ),
    ] {
        let problem = problem(lines);
        assert!(problem.contains(said), "{lines}: {problem}");
    }
    let text = "dataDir=DIR\nclientPort=1\nenforce.auth.enabled=true\nenforce.auth.schemes=digest, ip\n\
                authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n";
    let config = load(text, None).unwrap();
    assert!(config.security.sasl);
    let enforced: Vec<&str> = config
        .security
        .enforced
        .iter()
        .map(String::as_str)
        .collect();
    assert_eq!(enforced, ["digest", "ip"]);
}
