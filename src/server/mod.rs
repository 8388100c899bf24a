//! Sockets, files, clocks and threads: the runtime of the replica actor.
//!
//! Spec: `spec/6-server.md`. What it must never do: tell the actor that something is durable before
//! it is, or decide anything about the protocol.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // Sockets, files, clocks and threads live here.

pub mod client;
mod clock;
pub mod config;
pub mod edge;
mod feed;
mod journal;
mod memory;
pub mod peers;
mod repair;
pub mod runtime;
pub mod storage;
mod timers;
pub mod transport;

pub use config::{Config, ConfigError};
pub use runtime::{RunError, run};
