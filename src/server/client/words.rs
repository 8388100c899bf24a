//! Four-letter words: how scripts ask a server how it is.
//!
//! Spec: `spec/6-server.md`, "Four-letter words". What it must never do: change anything, or wait for
//! a quorum. The form of the answers is ZooKeeper's, so that what parses those parses these.
//!
//! Departs from ZooKeeper: D24 in `spec/deviations.toml`.

use super::quorum::quor;
use super::{ClientEvent, ClientPort};
use crate::members::PeerAddress;
use crate::server::transport::Counters;
use crate::service::Stats;
use crate::service::quorum::Quorum;
use crate::service::stats::Mode;
use crate::types::{Epoch, ServerId};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use tokio::sync::oneshot;

/// What the event loop knows of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub stats: Stats,
    pub epoch: Epoch,
    /// What has come to nothing between the servers.
    pub datagrams: Counters,
    pub quorum: Quorum,
    /// The members of the ensemble; empty if this server stands alone.
    pub servers: BTreeMap<ServerId, PeerAddress>,
}

/// ZooKeeper's version, as far as scripts and clients go by it, and ours.
const VERSION: &str = concat!(
    "3.9.4-keepright-",
    env!("CARGO_PKG_VERSION"),
    ", built on unknown"
);
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// A word of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Ruok,
    Srvr,
    Stat,
    Mntr,
    Conf,
    Cons,
    Envi,
    Isro,
    /// What the server knows of the quorum: a word that ZooKeeper does not have.
    Quor,
    /// One of ZooKeeper's that is not served.
    Other([u8; 4]),
}

/// ZooKeeper's words that are not served here: they must not be taken for the length of a message.
const OTHERS: [&[u8; 4]; 13] = [
    b"crst", b"dirs", b"dump", b"gtmk", b"stmk", b"srst", b"wchc", b"wchp", b"wchs", b"hash",
    b"kill", b"reqs", b"lsnp",
];

/// The word that a connection begins with, if it does.
pub(super) fn word(first: [u8; 4]) -> Option<Word> {
    Some(match &first {
        b"ruok" => Word::Ruok,
        b"srvr" => Word::Srvr,
        b"stat" => Word::Stat,
        b"mntr" => Word::Mntr,
        b"conf" => Word::Conf,
        b"cons" => Word::Cons,
        b"envi" => Word::Envi,
        b"isro" => Word::Isro,
        b"quor" => Word::Quor,
        other if OTHERS.contains(&other) => Word::Other(first),
        _ => return None,
    })
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ruok => "ruok",
            Self::Srvr => "srvr",
            Self::Stat => "stat",
            Self::Mntr => "mntr",
            Self::Conf => "conf",
            Self::Cons => "cons",
            Self::Envi => "envi",
            Self::Isro => "isro",
            Self::Quor => "quor",
            Self::Other(word) => return f.write_str(&String::from_utf8_lossy(word)),
        })
    }
}

/// The answer to a word.
pub(super) async fn answer(port: &ClientPort, word: Word) -> String {
    let listed = port.config.four_letter_words.contains(&word.to_string());
    if !listed || matches!(word, Word::Other(_)) {
        return format!("{word} is not executed because it is not in the whitelist.\n");
    }
    match word {
        Word::Ruok => return "imok".to_owned(),
        Word::Envi => return envi(),
        _ => {}
    }
    let (answer, status) = oneshot::channel();
    port.bring(ClientEvent::Status(answer));
    let Ok(status) = status.await else {
        return NOT_SERVING.to_owned(); // It is just stopping.
    };
    let serves = status.stats.mode != Mode::Looking;
    match word {
        Word::Conf => conf(port, &status.servers),
        Word::Quor => quor(&status.quorum),
        Word::Isro => match status.stats.mode {
            Mode::Looking => "null".to_owned(),
            Mode::ReadOnly => "ro".to_owned(),
            _ => "rw".to_owned(),
        },
        // Why it does not serve.
        Word::Mntr if status.stats.digest_mismatches > 0 => mntr(port, &status),
        _ if !serves => NOT_SERVING.to_owned(),
        Word::Stat => stat(port, &status, true),
        Word::Mntr => mntr(port, &status),
        Word::Cons => cons(port),
        Word::Srvr | Word::Ruok | Word::Envi | Word::Other(_) => stat(port, &status, false),
    }
}

fn stat(port: &ClientPort, status: &Status, with_clients: bool) -> String {
    let mut text = format!("Zookeeper version: {VERSION}\n");
    if with_clients {
        text += "Clients:\n";
        for handle in port.connections.borrow().values() {
            let stats = handle.stats.borrow();
            let (queued, received, sent) = (stats.queued(), stats.received, stats.sent);
            let address = stats.address;
            text += &format!(" /{address}[1](queued={queued},recved={received},sent={sent})\n");
        }
        text += "\n";
    }
    let stats = *port.stats.borrow();
    let (least, average, most) = (
        stats.latency.least,
        stats.latency.average(),
        stats.latency.most,
    );
    // The connection that asks counts, as in ZooKeeper.
    let connections = port.connection_count() + 1;
    text += &format!(
        "Latency min/avg/max: {least}/{average:.4}/{most}\nReceived: {}\nSent: {}\n\
         Connections: {connections}\nOutstanding: {}\nZxid: 0x{:x}\nMode: {}\nNode count: {}\n",
        stats.received,
        stats.sent,
        stats.outstanding,
        status.stats.applied.0,
        status.stats.mode.name(),
        status.stats.znodes,
    );
    text
}

fn mntr(port: &ClientPort, status: &Status) -> String {
    let stats = *port.stats.borrow();
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn fmt::Display| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "zk_{key}\t{value}");
    };
    line("version", &VERSION);
    line("server_state", &status.stats.mode.name());
    line(
        "peer_state",
        &match status.stats.mode {
            Mode::Leader => "leading - broadcast",
            Mode::Follower => "following - broadcast",
            Mode::Observer => "observing - broadcast",
            Mode::Standalone | Mode::Looking | Mode::ReadOnly => "unknown",
        },
    );
    line("avg_latency", &format!("{:.4}", stats.latency.average()));
    line("max_latency", &stats.latency.most);
    line("min_latency", &stats.latency.least);
    line("packets_received", &stats.received);
    line("packets_sent", &stats.sent);
    line("num_alive_connections", &(port.connection_count() + 1));
    line("outstanding_requests", &stats.outstanding);
    line("znode_count", &status.stats.znodes);
    line("watch_count", &status.stats.watches);
    line("ephemerals_count", &status.stats.ephemerals);
    line("approximate_data_size", &status.stats.data_size);
    line("digest_mismatches_count", &status.stats.digest_mismatches);
    line("global_sessions", &status.stats.sessions);
    line("local_sessions", &status.stats.local_sessions);
    line("peer_datagrams_refused", &status.datagrams.garbage);
    line("peer_messages_dropped", &status.datagrams.dropped);
    line("current_epoch", &status.epoch);
    line("current_zxid", &format!("0x{:x}", status.stats.applied.0));
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        line("open_file_descriptor_count", &entries.count());
    }
    if status.stats.mode == Mode::Leader {
        line("quorum_size", &status.servers.len());
        line("learners", &status.stats.synced_learners.len());
        line("synced_followers", &status.stats.synced_followers);
        let observers = status.stats.synced_learners.len() - status.stats.synced_followers;
        line("synced_observers", &observers);
        line("outstanding_proposals", &status.stats.waiting_proposals);
    }
    text
}

fn conf(port: &ClientPort, servers: &BTreeMap<ServerId, PeerAddress>) -> String {
    let config = &port.config;
    let shown = |port: Option<u16>| port.map_or(-1, i32::from);
    let mut text = format!(
        "clientPort={}\nsecureClientPort={}\ndataDir={}\ndataLogDir={}\ntickTime={}\n\
         maxClientCnxns={}\nminSessionTimeout={}\nmaxSessionTimeout={}\nserverId={}\n",
        shown(config.client_port),
        shown(config.security.tls.as_ref().map(|tls| tls.port)),
        config.data_dir.join("version-2").display(),
        config.data_log_dir.join("version-2").display(),
        config.tick_time.as_millis(),
        config.max_client_cnxns,
        config.min_session_timeout.as_millis(),
        config.max_session_timeout.as_millis(),
        config.my_id,
    );
    if let Some(own) = servers.get(&config.my_id) {
        text += &format!(
            "initLimit={}\nsyncLimit={}\nquorumPort={}\npeerType={}\nmembership: \n",
            config.init_limit,
            config.sync_limit,
            own.peer.port,
            u8::from(own.observer),
        );
        for (id, server) in servers {
            text += &format!("server.{id}={server}\n");
        }
    }
    text
}

fn cons(port: &ClientPort) -> String {
    let mut text = String::new();
    for handle in port.connections.borrow().values() {
        let stats = handle.stats.borrow();
        let latency = stats.latency;
        text += &format!(
            " /{}[1](queued={},recved={},sent={},sid={},est={},to={},lcxid=0x{:x},lzxid=0x{:x},\
             lresp={},llat={},minlat={},avglat={:.0},maxlat={})\n",
            stats.address,
            stats.queued(),
            stats.received,
            stats.sent,
            stats.session,
            stats.established,
            stats.timeout_ms,
            stats.last_xid,
            stats.last_zxid.0,
            stats.last_response,
            stats.last_latency,
            latency.least,
            latency.average(),
            latency.most,
        );
    }
    text + "\n"
}

fn envi() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.as_deref().map_or("unknown", str::trim);
    let directory = std::env::current_dir().unwrap_or_default();
    format!(
        "Environment:\nzookeeper.version={VERSION}\nhost.name={host}\nos.name={}\nos.arch={}\nuser.dir={}\n",
        std::env::consts::OS,
        std::env::consts::ARCH,
        directory.display(),
    )
}
