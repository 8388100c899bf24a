//! keepright: a ZooKeeper-compatible coordination service whose replication protocol *is* the code
//! that its model checker explores.
//!
//! The direction of imports is `types, persistent <- quorum <- zab, members`, `types <- znode, proto <- service <- server`;
//! only [`server`] touches sockets, files, clocks and threads. See `ARCHITECTURE.md`.

pub mod members;
pub mod persistent;
pub mod proto;
pub mod quorum;
pub mod server;
pub mod service;
pub mod types;
pub mod zab;
pub mod znode;
