//! The keys that concern the service: what clients may ask for, and how much.
//!
//! Spec: `spec/6-server.md`, "Configuration". Most of them are Java system properties in ZooKeeper; here they
//! stand in the file as well. What this must never do: take a value for another one than ZooKeeper does.

use crate::service;
use std::collections::BTreeMap;

/// The keys that are `true` or `false`; all but [`STANDALONE_ENABLED`] and [`DIGESTS`] are false if nothing is said.
pub(super) const SWITCHES: [&str; 8] = [
    "extendedTypesEnabled",
    "enforceQuota",
    "readsThroughQuorum",
    "localSessionsEnabled",
    "localSessionsUpgradingEnabled",
    "reconfigEnabled",
    STANDALONE_ENABLED,
    DIGESTS,
];

/// The key that is `false` if digests of the tree are neither written nor compared.
const DIGESTS: &str = "digest.enabled";

/// The key that is `false` if a server without peers is still one of an ensemble, to which others may be added.
const STANDALONE_ENABLED: &str = "standaloneEnabled";

/// The key that is `no` if a leader is to serve no clients.
pub(super) const LEADER_SERVES: &str = "leaderServes";

/// The keys that hold a number, and the range that makes sense.
pub(super) const NUMBERS: [(&str, u64, u64); 4] = [
    ("znode.container.checkIntervalMs", 1, i32::MAX as u64),
    ("znode.container.maxPerMinute", 1, u32::MAX as u64),
    ("znode.container.maxNeverUsedIntervalMs", 0, i64::MAX as u64),
    ("jute.maxbuffer", 1 << 10, i32::MAX as u64),
];

/// What the service is told; the names are those of [`service::Config`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    pub extended_types: bool,
    pub container_check_ms: i64,
    pub containers_per_minute: u32,
    pub container_never_used_ms: i64,
    pub enforce_quota: bool,
    pub reads_through_quorum: bool,
    /// Whether clients are served by a server that leads others.
    pub leader_serves: bool,
    /// Whether sessions are one server's alone, and whether they may become the ensemble's.
    pub local_sessions: bool,
    pub local_sessions_upgrading: bool,
    /// Whether clients may replace the members of the ensemble.
    pub reconfig: bool,
    /// Whether an ensemble of one server is none.
    pub standalone: bool,
    /// Whether digests of the tree are written and compared (`digest.enabled`).
    pub digests: bool,
    /// The largest request that is taken, in bytes (`jute.maxbuffer`).
    pub max_request: usize,
}

impl ServiceOptions {
    /// What the file says, by key.
    pub(super) fn of(values: &BTreeMap<&'static str, u64>) -> Self {
        let value = |key: &str, default: u64| values.get(key).copied().unwrap_or(default);
        let switch = |key| value(key, 0) == 1;
        Self {
            extended_types: switch("extendedTypesEnabled"),
            container_check_ms: value("znode.container.checkIntervalMs", 60_000) as i64,
            containers_per_minute: value("znode.container.maxPerMinute", 10_000) as u32,
            container_never_used_ms: value("znode.container.maxNeverUsedIntervalMs", 0) as i64,
            enforce_quota: switch("enforceQuota"),
            reads_through_quorum: switch("readsThroughQuorum"),
            local_sessions: switch("localSessionsEnabled"),
            local_sessions_upgrading: switch("localSessionsUpgradingEnabled"),
            reconfig: switch("reconfigEnabled"),
            standalone: standalone_enabled(values),
            digests: value(DIGESTS, 1) == 1,
            // As in ZooKeeper, any other word than `no` is yes.
            leader_serves: value(LEADER_SERVES, 1) == 1,
            max_request: value("jute.maxbuffer", 0xf_ffff) as usize,
        }
    }

    /// Tells the service.
    pub fn tell(&self, config: service::Config) -> service::Config {
        let stands_alone = config.members.is_none();
        service::Config {
            extended_types: self.extended_types,
            container_check_ms: self.container_check_ms,
            containers_per_minute: self.containers_per_minute,
            container_never_used_ms: self.container_never_used_ms,
            enforce_quota: self.enforce_quota,
            reads_through_quorum: self.reads_through_quorum,
            // To a server that stands alone these mean nothing, as in ZooKeeper.
            leader_serves: self.leader_serves || stands_alone,
            local_sessions: self.local_sessions && !stands_alone,
            local_sessions_upgrading: self.local_sessions_upgrading,
            reconfig: self.reconfig,
            standalone: self.standalone,
            digests: self.digests,
            ..config
        }
    }
}

/// Whether a server whose file names no peers stands alone.
pub(super) fn standalone_enabled(values: &BTreeMap<&'static str, u64>) -> bool {
    values
        .get(STANDALONE_ENABLED)
        .is_none_or(|value| *value == 1)
}
