//! The lines `group.G` and `weight.N`: what each vote counts.
//!
//! Spec: `spec/0-assumptions.md`, "Quorums"; ZooKeeper's hierarchical quorums. What it must never do:
//! leave out a voter, or count one twice.

use super::PeerAddress;
use crate::quorum::{Membership, ServerSet, Weight};
use crate::types::ServerId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What the lines say, in ZooKeeper's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Groups {
    /// The group that each server is in; empty if there are none.
    group_of: BTreeMap<ServerId, u64>,
    /// What a server counts if that is not 1.
    weights: BTreeMap<ServerId, Weight>,
}

impl Groups {
    /// Takes in a line `group.G=1:2:3`. The error says what is wrong with it.
    pub(super) fn on_group(&mut self, group: u64, members: &str) -> Result<(), String> {
        for member in members.split(':') {
            let sid = server(member.trim())?;
            if let Some(other) = self.group_of.insert(sid, group) {
                return Err(match other == group {
                    true => format!("server {sid} stands there twice"),
                    false => format!("server {sid} is in group {other} as well"),
                });
            }
        }
        Ok(())
    }

    /// Takes in a line `weight.N=2`.
    pub(super) fn on_weight(&mut self, sid: ServerId, weight: Weight) {
        self.weights.insert(sid, weight);
    }

    /// Whether each vote counts the same.
    pub(super) fn is_empty(&self) -> bool {
        self.group_of.is_empty() && self.weights.is_empty()
    }

    /// Who votes with what weight among these servers. The error says what does not fit.
    pub(super) fn membership(
        &self,
        servers: &BTreeMap<ServerId, PeerAddress>,
    ) -> Result<Membership, String> {
        let select = |observer: bool| -> ServerSet {
            let selected = servers.iter().filter(|(_, s)| s.observer == observer);
            selected.map(|(sid, _)| *sid).collect()
        };
        let (participants, observers) = (select(false), select(true));
        let mut named = self.group_of.keys().chain(self.weights.keys());
        if let Some(sid) = named.find(|sid| !servers.contains_key(sid)) {
            return Err(format!(
                "a group or a weight names server {sid}, and there is no server.{sid}"
            ));
        }
        if self.is_empty() {
            return Ok(Membership::majority(participants).with_observers(observers));
        }
        let mut groups: BTreeMap<u64, Vec<(ServerId, Weight)>> = BTreeMap::new();
        for sid in participants.iter() {
            let group = self.group_of.get(&sid);
            let group = group.ok_or_else(|| {
                format!("server {sid} votes and is in no group, while there are groups or weights")
            })?;
            let weight = self.weights.get(&sid).copied().unwrap_or(1);
            groups.entry(*group).or_default().push((sid, weight));
        }
        let membership = Membership::weighted(groups.into_values()).with_observers(observers);
        match membership.voters.is_empty() {
            true => Err("no server has a weight above 0".to_owned()),
            false => Ok(membership),
        }
    }
}

/// The lines, as they can be read again.
impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (sid, group) in &self.group_of {
            groups.entry(*group).or_default().push(sid.to_string());
        }
        for (group, members) in groups {
            writeln!(f, "group.{group}={}", members.join(":"))?;
        }
        for (sid, weight) in &self.weights {
            writeln!(f, "weight.{sid}={weight}")?;
        }
        Ok(())
    }
}

fn server(text: &str) -> Result<ServerId, String> {
    match text.parse::<u8>() {
        Ok(id) if id > 0 => Ok(ServerId(id)),
        _ => Err(format!("`{text}` is not the number of a server")),
    }
}
