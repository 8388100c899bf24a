//! The service: sessions, watches and requests over the replicated tree. Deterministic.

pub mod message;

pub use message::{ClientInput, ClientOutput, Msg, PeerMsg};
