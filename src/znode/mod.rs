//! The data tree: znodes, their stats and ACLs, sessions, and what transactions do to them.
//!
//! Everything here is deterministic: two trees that applied the same transactions are equal.

pub mod acl;
mod apply;
mod build;
pub mod error;
mod key;
mod node;
pub mod path;
pub mod stat;
mod tree;
pub mod txn;

pub use acl::{Acl, AclList, AuthId, Perms};
pub use apply::{Applied, Outcome, TreeEvent, TreeEventKind};
pub use build::{BuildError, TreeBuilder};
pub use error::ErrorCode;
pub use node::Node;
pub use path::PathError;
pub use stat::Stat;
pub use tree::Tree;
pub use txn::{SessionId, Txn, TxnBody};
