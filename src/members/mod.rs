//! The members of an ensemble, as ZooKeeper writes them: who they are, where they are, and what their votes count.
//!
//! Spec: `spec/9-reconfiguration.md`, "The request". The same lines stand in a configuration file, in a request for
//! another membership, and in `/zookeeper/config`. What this must never do: make a list of which it cannot be
//! said what a quorum is.

mod address;
mod groups;

pub use address::{Endpoint, PeerAddress};
pub use groups::Groups;

use crate::quorum::{Membership, Weight};
use crate::types::{ServerId, Zxid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How many digits a version has that a transaction of this ensemble has made. ZooKeeper writes no zeros
/// in front, so what it left in `/zookeeper/config` is not taken for a list that was agreed on here.
const VERSION_DIGITS: usize = 16;

/// The members of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Members {
    servers: BTreeMap<ServerId, PeerAddress>,
    groups: Groups,
    membership: Membership,
    /// The transaction that proposed this list; `None` for that of a configuration file.
    version: Option<Zxid>,
}

/// Lines that are about members, as far as they have been read.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    servers: BTreeMap<ServerId, PeerAddress>,
    groups: Groups,
}

/// Why lines make no list of members.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {remedy}")]
pub struct MembersError {
    /// What is wrong.
    pub problem: String,
    /// What would mend it.
    pub remedy: String,
    /// Whether ZooKeeper would take it: then it is a bound of ours, and no mistake of form.
    pub is_bound: bool,
}

impl MembersError {
    /// A mistake of form.
    pub fn new(problem: String, remedy: &str) -> Self {
        Self {
            problem,
            remedy: remedy.to_owned(),
            is_bound: false,
        }
    }
}

impl Draft {
    /// Whether a key is about members.
    pub fn knows(key: &str) -> bool {
        let prefixes = ["server.", "group.", "weight."];
        prefixes.iter().any(|prefix| key.starts_with(prefix))
    }

    /// Takes in a line `server.N=...`, `group.G=...` or `weight.N=...`.
    ///
    /// # Errors
    /// If that is not what the line is.
    pub fn on_line(&mut self, key: &str, value: &str) -> Result<(), MembersError> {
        if let Some(id) = key.strip_prefix("server.") {
            let id = server(key, id)?;
            let address = value.parse::<PeerAddress>().map_err(|problem| {
                let form =
                    "write server.N=host:port:port[:participant|observer][;[address:]clientPort]";
                MembersError::new(format!("{key}: {problem}"), form)
            })?;
            if self.servers.insert(id, address).is_some() {
                let problem = format!("there is a second line for server.{id}");
                return Err(MembersError::new(
                    problem,
                    "give each server its own number",
                ));
            }
        } else if let Some(group) = key.strip_prefix("group.") {
            let group = number(key, group, 0, i64::MAX as u64)?;
            self.groups.on_group(group, value).map_err(|problem| {
                let form = "write group.G=N:N:N, and each server in one group only";
                MembersError::new(format!("{key}: {problem}"), form)
            })?;
        } else if let Some(id) = key.strip_prefix("weight.") {
            let weight = number(key, value, 0, Weight::MAX.into())?;
            self.groups.on_weight(server(key, id)?, weight as Weight);
        } else {
            let form = "write lines server.N, group.G and weight.N";
            return Err(MembersError::new(
                format!("`{key}` is not about members"),
                form,
            ));
        }
        Ok(())
    }

    /// The servers that were named so far.
    pub fn servers(&self) -> &BTreeMap<ServerId, PeerAddress> {
        &self.servers
    }

    /// The list that the lines are.
    ///
    /// # Errors
    /// If nobody votes, or somebody's vote is not said to count.
    pub fn finish(self) -> Result<Members, MembersError> {
        Members::new(self.servers, self.groups)
    }
}

impl Members {
    fn new(servers: BTreeMap<ServerId, PeerAddress>, groups: Groups) -> Result<Self, MembersError> {
        if servers.values().all(|server| server.observer) {
            let problem = "every server is an observer".to_owned();
            return Err(MembersError::new(
                problem,
                "make at least one server a participant",
            ));
        }
        let membership = groups.membership(&servers).map_err(|problem| {
            let remedy = "name each participant in one group.G line, and nobody else";
            MembersError::new(problem, remedy)
        })?;
        Ok(Self {
            servers,
            groups,
            membership,
            version: None,
        })
    }

    /// Reads lines, which commas may part as well. A line `version` says nothing but whether the list is one
    /// that this ensemble has agreed on.
    ///
    /// # Errors
    /// If a line is about anything else, or the lines are no list.
    pub fn parse(text: &str) -> Result<Self, MembersError> {
        let mut draft = Draft::default();
        let mut version = None;
        let lines = text.split(['\n', ',']).map(str::trim);
        for line in lines.filter(|line| !line.is_empty()) {
            let form = "write server.N=host:port:port";
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| MembersError::new(format!("`{line}` has no ="), form))?;
            match (key.trim(), value.trim()) {
                ("version", value) if value.len() == VERSION_DIGITS => {
                    version = u64::from_str_radix(value, 16).ok().map(Zxid);
                }
                ("version", _) => {}
                (key, value) => draft.on_line(key, value)?,
            }
        }
        let members = draft.finish()?;
        Ok(Self { version, ..members })
    }

    /// The same list, as this transaction proposes it.
    pub fn proposed_at(self, zxid: Zxid) -> Self {
        let version = Some(zxid);
        Self { version, ..self }
    }

    /// This list without some servers, and then with others, each a line `server.N=...`: ZooKeeper's incremental
    /// change.
    ///
    /// # Errors
    /// If votes have weights, a line makes no sense, a server would listen where another does, or nobody is left to
    /// vote.
    pub fn change(&self, leaving: &[&str], joining: &[&str]) -> Result<Self, MembersError> {
        if !self.groups.is_empty() {
            let problem = "votes have groups and weights".to_owned();
            return Err(MembersError::new(
                problem,
                "give the whole list of the new members",
            ));
        }
        let mut servers = self.servers.clone();
        for id in leaving {
            servers.remove(&server("leaving", id)?);
        }
        for line in joining {
            let mut one = Draft::default();
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            if !key.trim().starts_with("server.") {
                let form = "write server.N=host:port:port;clientPort";
                return Err(MembersError::new(format!("`{line}` is no server"), form));
            }
            one.on_line(key.trim(), value.trim())?;
            for (id, address) in one.servers {
                if address.client.is_none() {
                    let problem = format!("server.{id} has no port for clients");
                    return Err(MembersError::new(problem, "add ;port to its line"));
                }
                let mut others = servers.iter().filter(|(other, _)| **other != id);
                let taken = others.find_map(|(other, a)| Some((other, address.shared_with(a)?)));
                if let Some((other, place)) = taken {
                    let problem = format!("server.{id} and server.{other} share {place}");
                    return Err(MembersError::new(
                        problem,
                        "give each server its own addresses",
                    ));
                }
                servers.insert(id, address);
            }
        }
        Self::new(servers, Groups::default())
    }

    /// The servers with their addresses.
    pub fn servers(&self) -> &BTreeMap<ServerId, PeerAddress> {
        &self.servers
    }

    /// Who votes, and what a quorum is.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The transaction that proposed this list; `None` for that of a configuration file.
    pub fn version(&self) -> Option<Zxid> {
        self.version
    }
}

/// As `/zookeeper/config` shows them.
impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, server) in &self.servers {
            writeln!(f, "server.{id}={server}")?;
        }
        write!(f, "{}", self.groups)?;
        match self.version {
            None => write!(f, "version=0"),
            Some(Zxid(zxid)) => write!(f, "version={zxid:0VERSION_DIGITS$x}"),
        }
    }
}

fn server(key: &str, id: &str) -> Result<ServerId, MembersError> {
    let id = id.trim();
    let server = number(key, id, 1, 255).map(|id| ServerId(id as u8));
    server.map_err(|error| MembersError {
        is_bound: id.parse::<i64>().is_ok(),
        ..error
    })
}

/// The number that is the value of a key, as Java reads it: hexadecimal too.
///
/// # Errors
/// If it is none, or out of its bounds.
pub fn number(key: &str, value: &str, least: u64, most: u64) -> Result<u64, MembersError> {
    let parsed = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => value.parse::<u64>(),
    };
    match parsed {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => {
            let problem = format!("{key}: `{value}` cannot be used");
            Err(MembersError::new(
                problem,
                &format!("write a number from {least} to {most}"),
            ))
        }
    }
}

#[cfg(test)]
mod tests;
