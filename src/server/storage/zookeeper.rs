//! The bytes of ZooKeeper's transactions and snapshots, as [`crate::proto`] has them.
//!
//! Spec: `spec/6-server.md`, "Storage". What it must never do: hand on a transaction or a snapshot
//! that was not read whole.

use super::format::{Codec, Mismatch};
use crate::proto;
use crate::service::ZooKeeper;
use crate::types::Zxid;
use crate::zab::{Entry, History, Snapshot};
use crate::znode::{Tree, Txn, TxnBody};
use std::io::{self, Read, Write};

/// ZooKeeper's own formats.
#[derive(Clone, Copy, Debug)]
pub struct ZooKeeperCodec {
    /// Whether the digests of the tree are written and compared (`digest.enabled`).
    pub digests: bool,
}

impl Default for ZooKeeperCodec {
    fn default() -> Self {
        Self { digests: true }
    }
}

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
        proto::write_snapshot(&snapshot.state, self.digests, writer)
    }

    fn read_snapshot(&self, zxid: Zxid, reader: &mut dyn Read) -> Result<Tree, String> {
        proto::read_snapshot(reader, zxid).map_err(|error| error.to_string())
    }

    /// A tree that ZooKeeper wrote while transactions went on is that of none of them; and a leader may have been
    /// wrong, which the others have found out. So it counts where it ends.
    fn check_digests(&self, history: &History<ZooKeeper>) -> Result<(), Mismatch> {
        let snapshot = history.snapshot();
        let mut tree = snapshot.state.clone();
        let mut mismatch = None;
        let mut some_agree = false;
        for Entry { zxid, txn } in history.after(snapshot.zxid).take_while(|_| self.digests) {
            // What it says is the concern of who asked for it.
            let _ = tree.apply(*zxid, txn);
            let Some(written) = txn.digest else { continue };
            let found = tree.digest();
            if found == written {
                mismatch = None;
                some_agree = true;
            } else {
                mismatch.get_or_insert(Mismatch {
                    zxid: *zxid,
                    written,
                    found,
                    some_agree,
                });
            }
        }
        mismatch.map_or(Ok(()), Err)
    }
}
