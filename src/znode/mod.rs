//! The data tree: znodes, their stats and ACLs, sessions, and what transactions do to them.
//!
//! Everything here is deterministic: two trees that applied the same transactions are equal.

pub mod acl;
pub mod error;
pub mod stat;
pub mod txn;

pub use acl::{Acl, AuthId, Perms};
pub use error::ErrorCode;
pub use stat::Stat;
pub use txn::{SessionId, Txn, TxnBody};
