//! ZooKeeper's client protocol and files: the records, and their bytes.
//!
//! Spec: `spec/5-service.md` and `spec/6-server.md`. Pure functions between types and bytes. What they
//! must never do: open a socket or a file, or panic on any input.

pub mod codec;
pub mod opcode;
pub mod records;
pub mod reply;
pub mod request;
pub mod snapshot;
pub mod txnlog;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use codec::DecodeError;
pub use records::*;
pub use reply::{
    decode_connect_response, decode_event, decode_reply, decode_reply_header,
    encode_connect_response, encode_event, encode_reply,
};
pub use request::{
    decode_connect, decode_request, decode_request_header, encode_connect, encode_request, glimpse,
    opcode_of,
};
pub use snapshot::{SnapshotError, read_snapshot, write_snapshot};
pub use txnlog::{decode_txn, encode_txn};
