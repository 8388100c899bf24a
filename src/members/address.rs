//! The value of a `server.N` line: where a server listens and whether it votes.
//!
//! Spec: `spec/6-server.md`, "Configuration". What it must never do: guess. A value that does not
//! have the form is an error that says which part is wrong.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A host (a name or an address, without brackets) and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

/// The addresses of one server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerAddress {
    /// Where it speaks UDP with its peers: the host and first port of the line.
    pub peer: Endpoint,
    /// The second port, for elections in ZooKeeper. It is not used here: one port serves all.
    pub election_port: u16,
    /// An observer learns what is committed, and does not vote.
    pub observer: bool,
    /// Where it serves clients, if the line says so; an empty host stands for all addresses.
    pub client: Option<Endpoint>,
}

impl PeerAddress {
    /// The places that it and another server would both listen at.
    pub fn shared_with(&self, other: &Self) -> Option<Endpoint> {
        let theirs = other.places();
        self.places()
            .into_iter()
            .find(|place| theirs.contains(place))
    }

    /// Each host and port of its own. A host that stands for all addresses says nothing of where that is.
    fn places(&self) -> Vec<Endpoint> {
        let election = Endpoint {
            host: self.peer.host.clone(),
            port: self.election_port,
        };
        let is_one = |place: &Endpoint| !["", "0.0.0.0", "::"].contains(&place.host.as_str());
        let all = [Some(self.peer.clone()), Some(election), self.client.clone()];
        all.into_iter().flatten().filter(is_one).collect()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = if self.observer {
            "observer"
        } else {
            "participant"
        };
        write!(f, "{}:{}:{role}", self.peer, self.election_port)?;
        match &self.client {
            None => Ok(()),
            Some(client) if client.host.is_empty() => write!(f, ";{}", client.port),
            Some(client) => write!(f, ";{client}"),
        }
    }
}

impl FromStr for PeerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (servers, client) = match text.split_once(';') {
            Some((servers, client)) => (servers.trim(), Some(parse_client(client.trim())?)),
            None => (text.trim(), None),
        };
        if servers.contains('|') {
            return Err("several addresses for one server are not served".to_owned());
        }
        let (host, rest) = split_host(servers)?;
        let mut parts = rest.split(':');
        let port = parse_port(parts.next())?;
        let election_port = parse_port(parts.next())?;
        let observer = match parts.next() {
            None => false,
            Some(role) if role.eq_ignore_ascii_case("participant") => false,
            Some(role) if role.eq_ignore_ascii_case("observer") => true,
            Some(role) => return Err(format!("`{role}` is neither participant nor observer")),
        };
        if let Some(more) = parts.next() {
            return Err(format!("`{more}` is too much"));
        }
        Ok(Self {
            peer: Endpoint { host, port },
            election_port,
            observer,
            client,
        })
    }
}

/// Splits `host:rest` or `[v6]:rest`.
fn split_host(text: &str) -> Result<(String, &str), String> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed
            .split_once("]:")
            .ok_or_else(|| format!("`{text}` has no `]:` after the address"))?,
        None => text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` has no port"))?,
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(format!("`{text}` has no host"));
    }
    Ok((host.to_owned(), rest))
}

fn parse_client(text: &str) -> Result<Endpoint, String> {
    if !text.contains(':') {
        return Ok(Endpoint {
            host: String::new(),
            port: parse_port(Some(text))?,
        });
    }
    let (host, port) = split_host(text)?;
    Ok(Endpoint {
        host,
        port: parse_port(Some(port))?,
    })
}

fn parse_port(text: Option<&str>) -> Result<u16, String> {
    let text = text.ok_or("there must be two ports")?.trim();
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("`{text}` is not a port")),
    }
}
