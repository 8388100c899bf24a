//! ZooKeeper's client protocol: the records that clients send and receive, and their bytes.

pub mod records;

pub use records::*;
