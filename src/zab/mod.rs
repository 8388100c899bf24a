//! Zab, the replication protocol, as a stateright actor.

pub mod history;

pub use history::{Entry, History, Payload, Snapshot, Storage};
