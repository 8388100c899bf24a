//! A server's configuration: ZooKeeper's `zoo.cfg` and `myid`.
//!
//! Spec: `spec/6-server.md`, "Configuration". What it must never do: panic on what a file says, or
//! refuse a file for a key that it does not know.

pub mod jaas;
pub mod properties;
mod security;
mod service;

use security::READ_ONLY_MODE;
pub use security::{ClientAuth, Security, Tls};
pub use service::ServiceOptions;

use super::storage::{Compression, Purge};
use crate::members::{self, Draft, Members, MembersError};
use crate::quorum::{Membership, ServerSet};
use crate::types::ServerId;
use properties::Property;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What one server is told about itself and its ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The unit of the limits below, and of heartbeats.
    pub tick_time: Duration,
    /// How many ticks a follower may take to connect to a leader and to be synchronized.
    pub init_limit: u32,
    /// How many ticks a follower and its leader may be without word of each other.
    pub sync_limit: u32,
    /// Where snapshots, epochs and `myid` are.
    pub data_dir: PathBuf,
    /// Where the transaction log is.
    pub data_log_dir: PathBuf,
    /// Whether a server with an empty directory may found an ensemble with others that have nothing either
    /// (`db.autocreate`); otherwise it has to be told by a file `initialize` that it is new.
    pub db_autocreate: bool,
    /// The port for clients without TLS, if there is one, and the address to which it is bound (all
    /// addresses if `None`).
    pub client_port: Option<u16>,
    pub client_address: Option<String>,
    /// Connections that one client address may have at one port; 0 is no limit.
    pub max_client_cnxns: u32,
    /// Connections that all clients together may have; 0 is no limit.
    pub max_cnxns: u32,
    /// Whether reads are served without a leader, to those that ask for it.
    pub read_only_mode: bool,
    /// Who clients are, and how it is known.
    pub security: Security,
    pub min_session_timeout: Duration,
    pub max_session_timeout: Duration,
    /// Transactions between two snapshots.
    pub snap_count: u32,
    /// Bytes of transactions between two snapshots (`snapSizeLimitInKb`); 0 is no limit.
    pub snap_size_limit: u64,
    /// How snapshots are written (`snapshot.compression.method`).
    pub snapshot_compression: Compression,
    /// Snapshots that are kept, and the logs that they need (`autopurge.snapRetainCount`).
    pub snap_retain_count: u32,
    /// What clients may ask for, and how much.
    pub service: ServiceOptions,
    /// When the others are removed (`autopurge.purgeInterval`).
    pub purge: Purge,
    /// Whether missing directories are made (`datadir.autocreate`).
    pub make_directories: bool,
    /// The four-letter words that are answered.
    pub four_letter_words: BTreeSet<String>,
    /// This server.
    pub my_id: ServerId,
    /// The ensemble with this server in it; `None` if this server stands alone.
    pub members: Option<Members>,
    /// What was odd but did no harm: for the log.
    pub warnings: Vec<String>,
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {problem}; {remedy}", file.display(), line.map(|l| format!(", line {l}")).unwrap_or_default())]
pub struct ConfigError {
    pub file: PathBuf,
    /// From 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: String,
    /// What would mend it.
    pub remedy: String,
}

/// The words that are answered when the configuration says nothing: those that only read.
const DEFAULT_WORDS: [&str; 9] = [
    "ruok", "srvr", "stat", "mntr", "conf", "cons", "envi", "isro", "quor",
];

/// The key that is not `true` if `version-2` must be there when the server starts, in both directories.
const DATADIR_AUTOCREATE: &str = "datadir.autocreate";

/// Keys of ZooKeeper that mean something there and nothing here (yet): they are reported once, in
/// words that tell them from misspelt ones.
const KEYS_WITHOUT_EFFECT: [&str; 15] = [
    "preAllocSize",
    "electionAlg",
    "electionPortBindRetry",
    "globalOutstandingLimit",
    "skipACL",
    "forceSync",
    "quorumListenOnAllIPs",
    "syncEnabled",
    "connectToLearnerMasterLimit",
    "cnxTimeout",
    "clientPortListenBacklog",
    "admin.enableServer",
    // Not in ZooKeeper either, though many files have them: sessionRequireClientSASLAuth is meant.
    "requireClientAuthScheme",
    "jaasLoginRenew",
    // The leader checks every write; a check before that would save it work, and change no answer.
    "enableEagerACLCheck",
];

impl Config {
    /// Reads a configuration file, the dynamic file that it may name, and `myid`.
    ///
    /// # Errors
    /// If a file cannot be read, a value makes no sense, or a needed one is missing.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::load_with(file, &[])
    }

    /// Like [`Self::load`], with keys from the command line, `key=value` each. They count more than
    /// the file. ZooKeeper's users give them to the Java virtual machine.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(file: &Path, options: &[String]) -> Result<Self, ConfigError> {
        let mut parser = Parser::new(file);
        let text = read(file, "give the path of a zoo.cfg")?;
        let mut dynamic = None;
        for property in properties::parse(&text) {
            if property.key == "dynamicConfigFile" {
                dynamic = Some(PathBuf::from(&property.value));
            } else {
                parser.on_property(property)?;
            }
        }
        if let Some(dynamic) = dynamic {
            let text = read(&dynamic, "mend or remove dynamicConfigFile")?;
            parser.file = dynamic;
            for property in properties::parse(&text) {
                parser.on_property(property)?;
            }
        }
        parser.file = "the command line".into();
        for option in options {
            let (key, value) = option.split_once('=').unwrap_or((option, "true"));
            parser.on_key(None, key, value)?;
        }
        parser.file = file.to_owned();
        parser.finish()
    }

    /// Who votes, this server alone included, and what a quorum is.
    pub fn membership(&self) -> Membership {
        match &self.members {
            Some(members) => members.membership().clone(),
            None => Membership::majority(ServerSet::of(self.my_id)),
        }
    }

    /// Whether this server forms an ensemble of one.
    pub fn is_standalone(&self) -> bool {
        self.members.is_none()
    }
}

fn read(file: &Path, remedy: &str) -> Result<String, ConfigError> {
    let bytes = fs::read(file).map_err(|error| ConfigError {
        file: file.to_owned(),
        line: None,
        problem: format!("cannot be read: {error}"),
        remedy: remedy.to_owned(),
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What has been read so far.
struct Parser {
    file: PathBuf,
    values: BTreeMap<&'static str, u64>,
    data_dir: Option<PathBuf>,
    data_log_dir: Option<PathBuf>,
    client_port: Option<u16>,
    client_address: Option<String>,
    words: Option<BTreeSet<String>>,
    db_autocreate: bool,
    compression: Compression,
    observer: Option<bool>,
    members: Draft,
    security: security::Values,
    warnings: Vec<String>,
}

/// The keys that hold a number, and the range that makes sense.
const NUMBERS: [(&str, u64, u64); 11] = [
    ("tickTime", 1, 3_600_000),
    ("initLimit", 1, 1_000_000),
    ("syncLimit", 1, 1_000_000),
    ("maxClientCnxns", 0, u32::MAX as u64),
    ("maxCnxns", 0, u32::MAX as u64),
    ("minSessionTimeout", 1, i32::MAX as u64),
    ("maxSessionTimeout", 1, i32::MAX as u64),
    ("snapCount", 2, u32::MAX as u64),
    ("snapSizeLimitInKb", 0, u64::MAX / 1024),
    ("autopurge.snapRetainCount", 0, 1_000_000),
    ("autopurge.purgeInterval", 0, 1_000_000),
];

impl Parser {
    fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            values: BTreeMap::new(),
            data_dir: None,
            data_log_dir: None,
            client_port: None,
            client_address: None,
            words: None,
            db_autocreate: true,
            compression: Compression::None,
            observer: None,
            members: Draft::default(),
            security: security::Values::new(),
            warnings: Vec::new(),
        }
    }

    fn on_property(&mut self, property: Property) -> Result<(), ConfigError> {
        self.on_key(Some(property.line), &property.key, &property.value)
    }

    fn on_key(&mut self, line: Option<usize>, key: &str, value: &str) -> Result<(), ConfigError> {
        // ZooKeeper takes system properties from the file too, with or without their prefix.
        let key = key.strip_prefix("zookeeper.").unwrap_or(key);
        // ZooKeeper's own files may say -1 for "the default".
        if value == "-1" && matches!(key, "minSessionTimeout" | "maxSessionTimeout") {
            return Ok(());
        }
        if let Some(switch) = service::SWITCHES.iter().find(|name| **name == key) {
            let is_on = value.eq_ignore_ascii_case("true");
            self.values.insert(switch, is_on.into());
            return Ok(());
        }
        let mut numbers = NUMBERS.iter().chain(&service::NUMBERS);
        if let Some(&(key, least, most)) = numbers.find(|(name, ..)| *name == key) {
            let number = self.number(line, key, value, least, most)?;
            self.values.insert(key, number);
            return Ok(());
        }
        match key {
            service::LEADER_SERVES => {
                self.values
                    .insert(service::LEADER_SERVES, (value != "no").into());
            }
            "dataDir" | "dataLogDir" if value.is_empty() => {
                return Err(self.error(line, format!("{key} is empty"), "name a directory"));
            }
            "db.autocreate" => self.db_autocreate = value.eq_ignore_ascii_case("true"),
            DATADIR_AUTOCREATE => {
                let is_on = value.eq_ignore_ascii_case("true");
                self.values.insert(DATADIR_AUTOCREATE, is_on.into());
            }
            "dataDir" => self.data_dir = Some(value.into()),
            "dataLogDir" => self.data_log_dir = Some(value.into()),
            "clientPort" => {
                self.client_port = Some(self.number(line, key, value, 0, 65_535)? as u16);
            }
            "clientPortAddress" => {
                self.client_address = Some(value.trim_matches(['[', ']']).to_owned());
            }
            "4lw.commands.whitelist" => {
                let words = value.split(',').map(|word| word.trim().to_owned());
                self.words = Some(words.filter(|word| !word.is_empty()).collect());
            }
            "snapshot.compression.method" => {
                self.compression = Compression::from_name(value).ok_or_else(|| {
                    let problem = format!("{key} is `{value}`");
                    self.error(line, problem, "write gz, snappy or nothing")
                })?;
            }
            "peerType" => {
                self.observer = Some(match value.to_ascii_lowercase().as_str() {
                    "observer" => true,
                    "participant" => false,
                    _ => {
                        let problem = format!("peerType is `{value}`");
                        return Err(self.error(line, problem, "write participant or observer"));
                    }
                });
            }
            _ if Draft::knows(key) => {
                let taken = self.members.on_line(key, value);
                taken.map_err(|error| self.of_members(line, error))?;
            }
            _ if self.on_security(line, key, value) => {}
            _ if KEYS_WITHOUT_EFFECT.contains(&key) => self.warn(line, key, "has no effect here"),
            _ => self.warn(
                line,
                key,
                "is not a key that this server knows: it is ignored",
            ),
        }
        Ok(())
    }

    fn of_members(&self, line: Option<usize>, error: MembersError) -> ConfigError {
        self.error(line, error.problem, &error.remedy)
    }

    fn finish(mut self) -> Result<Config, ConfigError> {
        let value = |key: &str, default: u64| self.values.get(key).copied().unwrap_or(default);
        let Some(data_dir) = self.data_dir.clone() else {
            let remedy = "add a line dataDir=... that names a directory";
            return Err(self.error(None, "dataDir is not set".into(), remedy));
        };
        let tick_time = Duration::from_millis(value("tickTime", 3000));
        let least = value("minSessionTimeout", 2 * tick_time.as_millis() as u64);
        let most = value("maxSessionTimeout", 20 * tick_time.as_millis() as u64);
        if least > most {
            let problem = format!("minSessionTimeout {least} is above maxSessionTimeout {most}");
            return Err(self.error(None, problem, "lower the first or raise the second"));
        }
        let my_id = self.my_id(&data_dir)?;
        let members = self.settle_ensemble(my_id)?;
        let security = self.finish_security()?;
        let read_only_mode = self.flag(READ_ONLY_MODE)?;
        // As in ZooKeeper, 0 is no port.
        let client_port = self.client_port.filter(|port| *port != 0);
        if client_port.is_none() && security.tls.is_none() {
            let remedy =
                "add a line clientPort=2181, or ;2181 at the end of this server's own line";
            return Err(self.error(None, "there is no port for clients".into(), remedy));
        }
        let value = |key: &str, default: u64| self.values.get(key).copied().unwrap_or(default);
        Ok(Config {
            tick_time,
            init_limit: value("initLimit", 10) as u32,
            sync_limit: value("syncLimit", 5) as u32,
            data_log_dir: self.data_log_dir.unwrap_or_else(|| data_dir.clone()),
            data_dir,
            db_autocreate: self.db_autocreate,
            client_port,
            client_address: self.client_address,
            max_client_cnxns: value("maxClientCnxns", 60) as u32,
            max_cnxns: value("maxCnxns", 0) as u32,
            read_only_mode,
            security,
            min_session_timeout: Duration::from_millis(least),
            max_session_timeout: Duration::from_millis(most),
            snap_count: value("snapCount", 100_000) as u32,
            snap_size_limit: value("snapSizeLimitInKb", 4 << 20) << 10,
            snapshot_compression: self.compression,
            purge: match self.values.get("autopurge.purgeInterval") {
                None => Purge::WithSnapshots,
                Some(0) => Purge::Never,
                Some(hours) => Purge::Every(Duration::from_secs(hours * 3600)),
            },
            // As in ZooKeeper, fewer than three are never kept.
            snap_retain_count: value("autopurge.snapRetainCount", 3).max(3) as u32,
            make_directories: value(DATADIR_AUTOCREATE, 1) == 1,
            service: ServiceOptions::of(&self.values),
            four_letter_words: words(self.words),
            my_id,
            members,
            warnings: self.warnings,
        })
    }

    /// Fits this server into the ensemble: its own line says what the rest of the file may repeat. `None` if it
    /// stands alone.
    fn settle_ensemble(&mut self, my_id: ServerId) -> Result<Option<Members>, ConfigError> {
        let servers = self.members.servers();
        if servers.is_empty() {
            return Ok(None);
        }
        let alone = servers.len() == 1 && service::standalone_enabled(&self.values);
        let Some(own) = servers.get(&my_id).cloned() else {
            let problem = format!("this server is {my_id} (myid), and there is no server.{my_id}");
            return Err(self.error(None, problem, "add that line, or mend myid"));
        };
        let members = std::mem::take(&mut self.members).finish();
        let members = members.map_err(|error| self.of_members(None, error))?;
        if let Some(observer) = self.observer
            && observer != own.observer
        {
            self.warnings.push(format!(
                "peerType and the line of server.{my_id} disagree: the line counts"
            ));
        }
        if let Some(client) = own.client {
            if self.client_port.is_some_and(|port| port != client.port) {
                let problem = format!("clientPort and the line of server.{my_id} disagree");
                return Err(self.error(None, problem, "remove one of the two ports"));
            }
            self.client_port = Some(client.port);
            if !client.host.is_empty() {
                self.client_address = Some(client.host);
            }
        }
        if alone {
            self.warnings.push(
                "there is one server line only: this server stands alone, without peers".to_owned(),
            );
            return Ok(None);
        }
        Ok(Some(members))
    }

    /// The number in `myid`. A server without server lines may do without the file.
    fn my_id(&self, data_dir: &Path) -> Result<ServerId, ConfigError> {
        let file = data_dir.join("myid");
        let error = |problem: String, remedy: &str| ConfigError {
            file: file.clone(),
            line: None,
            problem,
            remedy: remedy.to_owned(),
        };
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(cause)
                if cause.kind() == std::io::ErrorKind::NotFound
                    && self.members.servers().is_empty() =>
            {
                return Ok(ServerId(1));
            }
            Err(cause) => {
                let remedy = "write the number of this server (the N of its server.N line) into it";
                return Err(error(format!("cannot be read: {cause}"), remedy));
            }
        };
        match text.trim().parse::<u8>() {
            Ok(id) if id > 0 => Ok(ServerId(id)),
            _ => Err(error(
                format!("`{}` is not the number of a server", text.trim()),
                "write a number from 1 to 255",
            )),
        }
    }

    fn number(
        &self,
        line: Option<usize>,
        key: &str,
        value: &str,
        least: u64,
        most: u64,
    ) -> Result<u64, ConfigError> {
        let number = members::number(key, value, least, most);
        number.map_err(|error| self.of_members(line, error))
    }

    fn warn(&mut self, line: Option<usize>, key: &str, what: &str) {
        let file = self.file.display();
        let line = line
            .map(|line| format!(", line {line}"))
            .unwrap_or_default();
        self.warnings.push(format!("{file}{line}: {key} {what}"));
    }

    fn error(&self, line: impl Into<Option<usize>>, problem: String, remedy: &str) -> ConfigError {
        ConfigError {
            file: self.file.clone(),
            line: line.into(),
            problem,
            remedy: remedy.to_owned(),
        }
    }
}

fn words(listed: Option<BTreeSet<String>>) -> BTreeSet<String> {
    match listed {
        Some(words) if !words.contains("*") => words,
        // Every word that is served only reads, so `*` opens nothing that could do harm.
        _ => DEFAULT_WORDS.map(str::to_owned).into(),
    }
}

#[cfg(test)]
mod tests;
