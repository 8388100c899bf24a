//! The data tree: znodes, their stats and ACLs, sessions, and what transactions do to them.
//!
//! Spec: `spec/5-service.md`. What it must never do: depend on anything but the transactions, so that
//! two trees that applied the same ones are equal.

pub mod acl;
mod apply;
mod build;
mod data;
pub mod digest;
pub mod error;
mod key;
mod lifetime;
mod node;
pub mod path;
pub mod quota;
pub mod stat;
#[cfg(test)]
mod tests;
mod tree;
pub mod txn;

pub use acl::{Acl, AclList, AuthId, Perms};
pub use apply::{Applied, Outcome, TreeEvent, TreeEventKind};
pub use build::{BuildError, TreeBuilder};
pub use data::Data;
pub use error::ErrorCode;
pub use lifetime::{Lifetime, Ttl};
pub use node::Node;
pub use path::PathError;
pub use stat::Stat;
pub use tree::{CONFIG, Tree};
pub use txn::{SessionId, Txn, TxnBody};
