//! The digest of a tree: a number that two trees share if they are equal, and hardly ever else. It is ZooKeeper's
//! (since 3.6; version 2), which stands after each transaction of a log and at the end of a snapshot.
//!
//! Spec: `spec/6-server.md`, "Digests". What it must never do: depend on how a tree came to be.
//!
//! It is the sum of one number for each znode, so a change costs what it touches. What is below `/zookeeper` does not
//! count, as in ZooKeeper, whose servers count quotas each for itself; nor do ACLs but for their versions, nor sessions.

use super::Node;

/// The version of the computation, which is written beside each digest.
pub const VERSION: i32 = 2;

/// The part of the sum that is the znode at `path`.
pub(super) fn of_node(path: &str, node: &Node) -> u64 {
    if path.starts_with("/zookeeper/") {
        return 0;
    }
    let mut stat = [0; 60];
    let mut rest = &mut stat[..];
    let mut put = |bytes: &[u8]| {
        let (field, after) = std::mem::take(&mut rest).split_at_mut(bytes.len());
        field.copy_from_slice(bytes);
        rest = after;
    };
    for zxid in [node.czxid, node.mzxid, node.pzxid] {
        put(&zxid.0.to_be_bytes());
    }
    for time in [node.ctime, node.mtime] {
        put(&time.to_be_bytes());
    }
    for count in [node.version, node.cversion, node.aversion] {
        put(&count.to_be_bytes());
    }
    put(&node.ephemeral_owner.0.to_be_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(if path == "/" { b"" } else { path.as_bytes() });
    crc.update(&node.data);
    crc.update(&stat);
    crc.finalize().into()
}

#[cfg(test)]
mod tests {
    use crate::types::Zxid;
    use crate::znode::{Lifetime, SessionId, Tree, Txn, TxnBody, acl};

    /// The numbers are from ZooKeeper's definition, computed by another program.
    #[test]
    fn the_digest_is_zookeepers() {
        let mut tree = Tree::default();
        assert_eq!(tree.digest(), 0x51c6_d660);
        let txn = Txn {
            session: SessionId(5),
            cxid: 1,
            time: 77,
            body: TxnBody::Create {
                path: "/a".into(),
                data: b"hi".as_slice().into(),
                acl: acl::open_unsafe(),
                lifetime: Lifetime::Ephemeral,
                parent_cversion: 1,
            },
            digest: None,
        };
        assert!(tree.apply(Zxid(0x1_0000_0001), &txn).outcome.is_ok());
        assert_eq!(tree.digest(), 0x1_0bf7_37c0);
    }
}
