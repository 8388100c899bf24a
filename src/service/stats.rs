//! What a server tells of itself: the figures behind the four-letter words.
//!
//! What it must never do: format, which is the driver's.

use super::connection::Stage;
use super::{Rank, Service};
use crate::types::{ServerId, Zxid};
use crate::znode::SessionId;
use stateright::actor::Id;
use std::net::IpAddr;

/// Figures of one server at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    pub mode: Mode,
    /// The last transaction that was applied.
    pub applied: Zxid,
    pub znodes: usize,
    pub watches: usize,
    pub ephemerals: usize,
    /// Client connections of this server.
    pub connections: usize,
    /// The sessions of the whole ensemble, as this server knows them.
    pub sessions: usize,
    /// The sessions that are this server's alone.
    pub local_sessions: usize,
    /// The requests that clients of this server wait for.
    pub outstanding: usize,
    /// The writes that the leader has queued and not proposed yet.
    pub waiting_proposals: usize,
    /// The bytes of all paths and data.
    pub data_size: u64,
    /// How often the tree was not what the leader says.
    pub digest_mismatches: u64,
    /// The followers and observers that the leader has synchronized; empty for other servers.
    pub synced_learners: Vec<ServerId>,
    /// The participants among `synced_learners`.
    pub synced_followers: usize,
}

/// What a server is doing, as ZooKeeper's words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Looking,
    Follower,
    Leader,
    Observer,
    Standalone,
    /// Without a leader, and serving reads.
    ReadOnly,
}

impl Mode {
    /// The word that `srvr` and `mntr` show. A server that is looking for a leader serves nobody.
    pub fn name(self) -> &'static str {
        match self {
            Self::Looking => "looking",
            Self::Follower => "follower",
            Self::Leader => "leader",
            Self::Observer => "observer",
            Self::Standalone => "standalone",
            Self::ReadOnly => "read-only",
        }
    }
}

/// One client connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionStats {
    pub id: Id,
    pub address: IpAddr,
    /// `None` while the session is being opened.
    pub session: Option<SessionId>,
    /// The requests that wait for an answer.
    pub outstanding: usize,
}

impl Service {
    /// The figures of this service; what only Zab knows is passed.
    pub fn stats(
        &self,
        mode: Mode,
        synced_learners: Vec<ServerId>,
        synced_followers: usize,
    ) -> Stats {
        let waiting_proposals = match self.period.as_ref().map(|period| &period.rank) {
            Some(Rank::Leader(leading)) => leading.waiting(),
            Some(Rank::Learner { .. }) | None => 0,
        };
        Stats {
            mode,
            applied: self.applied,
            znodes: self.tree.znode_count(),
            watches: self.watches.len(),
            ephemerals: self.tree.ephemeral_count(),
            connections: self.connections.len(),
            sessions: self.tree.sessions().len(),
            local_sessions: self.local.len(),
            outstanding: self.connections.values().map(|c| c.pending.len()).sum(),
            waiting_proposals,
            data_size: self.tree.approximate_data_size(),
            digest_mismatches: self.mismatches(),
            synced_learners,
            synced_followers,
        }
    }

    /// The client connections, by id.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionStats> + '_ {
        self.connections
            .iter()
            .map(|(&id, connection)| ConnectionStats {
                id,
                address: connection.address,
                session: (connection.stage == Stage::Open).then_some(connection.session),
                outstanding: connection.pending.len(),
            })
    }
}
