//! The bytes of ZooKeeper's transactions and snapshots, as [`crate::proto`] has them.
//!
//! Spec: `spec/6-server.md`, "Storage". What it must never do: hand on a transaction or a snapshot
//! that was not read whole.

use super::format::Codec;
use crate::proto;
use crate::service::ZooKeeper;
use crate::types::Zxid;
use crate::zab::{Entry, Snapshot};
use crate::znode::{Tree, Txn, TxnBody};
use std::io::{self, Read, Write};

/// ZooKeeper's own formats.
#[derive(Clone, Copy, Debug)]
pub struct ZooKeeperCodec;

impl Codec<ZooKeeper> for ZooKeeperCodec {
    fn encode_entry(&self, entry: &Entry<Txn>, bytes: &mut Vec<u8>) {
        bytes.extend(proto::encode_txn(entry.zxid, &entry.txn));
    }

    fn decode_entry(&self, bytes: &[u8]) -> Result<Entry<Txn>, String> {
        let (zxid, txn) = proto::decode_txn(bytes).map_err(|error| error.to_string())?;
        Ok(Entry { zxid, txn })
    }

    fn changes_nothing(&self, txn: &Txn) -> bool {
        matches!(txn.body, TxnBody::Error(Some(_)))
    }

    fn write_snapshot(&self, snapshot: &Snapshot<Tree>, writer: &mut dyn Write) -> io::Result<()> {
        proto::write_snapshot(&snapshot.state, writer)
    }

    fn read_snapshot(&self, zxid: Zxid, reader: &mut dyn Read) -> Result<Tree, String> {
        proto::read_snapshot(reader, zxid).map_err(|error| error.to_string())
    }
}
