//! What ZooKeeper tells of a znode beside its data.
//!
//! Spec: `spec/5-service.md`, "The tree". What it must never do: be kept. It is made of a
//! [`Node`](super::Node) when a client asks.

use super::SessionId;
use crate::types::Zxid;
use serde::{Deserialize, Serialize};

/// A znode's stat: ZooKeeper's eleven fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stat {
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: SessionId,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: Zxid,
}
