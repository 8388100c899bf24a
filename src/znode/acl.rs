//! Access control lists: who may do what with a znode.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A set of permissions: READ 1, WRITE 2, CREATE 4, DELETE 8, ADMIN 16.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Perms(pub i32);

impl Perms {
    pub const READ: Self = Self(1);
    pub const WRITE: Self = Self(2);
    pub const CREATE: Self = Self(4);
    pub const DELETE: Self = Self(8);
    pub const ADMIN: Self = Self(16);
    pub const ALL: Self = Self(31);
}

/// An identity that a client has proved, or that an ACL names: a scheme and an id within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AuthId {
    /// `world`, `auth`, `digest`, `ip`, ...
    pub scheme: String,
    pub id: String,
}

/// One entry of an access control list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Acl {
    pub perms: Perms,
    pub who: AuthId,
}

/// A list as znodes hold it: shared, because most znodes have the same one.
pub type AclList = Arc<[Acl]>;

/// `world:anyone` may do everything (`OPEN_ACL_UNSAFE`).
pub fn open_unsafe() -> AclList {
    anyone(Perms::ALL)
}

/// `world:anyone` may read (`READ_ACL_UNSAFE`).
pub fn read_unsafe() -> AclList {
    anyone(Perms::READ)
}

fn anyone(perms: Perms) -> AclList {
    let who = AuthId {
        scheme: "world".to_owned(),
        id: "anyone".to_owned(),
    };
    Arc::new([Acl { perms, who }])
}
