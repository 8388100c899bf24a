//! One znode of the tree.
//!
//! Spec: `spec/5-service.md`, "The tree". What it must never do: show a client the count of creates
//! that it keeps; [`Node::stat`] translates.

use super::{AclList, Data, Lifetime, SessionId, Stat, acl};
use crate::types::Zxid;
use serde::{Deserialize, Serialize};

/// A znode: its data, its ACL, and what ZooKeeper keeps of its stat (`StatPersisted`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Node {
    pub data: Data,
    pub acl: AclList,
    /// The zxid that created it.
    pub czxid: Zxid,
    /// The zxid that last set its data.
    pub mzxid: Zxid,
    /// The zxid that last created or deleted a child; [`Self::czxid`] before any did.
    pub pzxid: Zxid,
    /// When it was created, in milliseconds since the Unix epoch.
    pub ctime: i64,
    /// When its data was last set, in milliseconds since the Unix epoch.
    pub mtime: i64,
    /// How often its data was set.
    pub version: i32,
    /// How many children were ever created under it. A client sees something else: see [`Self::stat`].
    pub cversion: i32,
    /// How often its ACL was set.
    pub aversion: i32,
    /// The session whose end deletes it, or what else ends its life: see [`Lifetime::of`].
    pub ephemeral_owner: SessionId,
    /// How many children it has.
    pub num_children: u32,
}

impl Node {
    /// A znode that a transaction at `zxid` and `time` creates.
    pub fn new(zxid: Zxid, time: i64, data: Data, acl: AclList, owner: SessionId) -> Self {
        Self {
            data,
            acl,
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            version: 0,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: owner,
            num_children: 0,
        }
    }

    /// A znode that every tree has from the start: all its numbers are 0 and all may do all.
    pub fn initial() -> Self {
        let nobody = SessionId::default();
        Self::new(Zxid::ZERO, 0, Data::default(), acl::open_unsafe(), nobody)
    }

    /// What ends its life.
    pub fn lifetime(&self) -> Lifetime {
        Lifetime::of(self.ephemeral_owner)
    }

    /// Whether the znode goes with a session.
    pub fn is_ephemeral(&self) -> bool {
        self.lifetime() == Lifetime::Ephemeral
    }

    /// What a client is told. Its `cversion` counts creates and deletes of children: each child was
    /// created, and all but those that are there now were deleted.
    pub fn stat(&self) -> Stat {
        let num_children = self.num_children as i32;
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: self.aversion,
            // Of what is no session clients are not told.
            ephemeral_owner: match self.lifetime() {
                Lifetime::Ephemeral => self.ephemeral_owner,
                Lifetime::Persistent | Lifetime::Container | Lifetime::Ttl(_) => SessionId(0),
            },
            data_length: self.data.len() as i32,
            num_children,
            pzxid: self.pzxid,
        }
    }
}
