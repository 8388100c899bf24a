//! The secret of the ensemble, and the session passwords that are made with it.
//!
//! Spec: `spec/5-service.md`, "Session passwords". What it must never do: tell a client the secret, or
//! make a password that can be found without it.
//!
//! The secret is the data of a znode that nobody may read but the superuser: so it is replicated, durable
//! and the same on every server, without a word in the formats of the log and of snapshots. It is random,
//! from the runtime of the leader that found none, and the first transaction of an ensemble.
//!
//! Departs from ZooKeeper: D41 in `spec/deviations.toml`.

use super::Config;
use crate::znode::{Acl, AuthId, Lifetime, Perms, SessionId, Tree, TxnBody};
use bytes::Bytes;
use sha1::{Digest, Sha1};

/// Where the secret is.
pub const PATH: &str = "/zookeeper/keepright";
/// The length of the secret, in bytes. Behind it stand the ids of `Secret::inherited`.
pub const LENGTH: usize = 32;
/// Of how many sessions of ZooKeeper the ids are kept, at most: a znode holds 1 MB.
const INHERITED: usize = 100_000;

/// The secret of an ensemble.
#[derive(Clone, Copy)]
pub struct Secret<'a> {
    key: &'a [u8; LENGTH],
    /// The sessions that were open when the secret was made, in order. ZooKeeper opened them, and gave
    /// them its own passwords.
    inherited: &'a [[u8; 8]],
}

impl<'a> Secret<'a> {
    /// The secret in a tree. A znode that somebody could have made before us is none.
    pub fn of(tree: &'a Tree) -> Option<Self> {
        let node = tree.node(PATH).filter(|node| *node.acl == nobody())?;
        let (key, ids) = node.data.split_first_chunk()?;
        let (inherited, _) = ids.as_chunks();
        Some(Self { key, inherited })
    }

    /// The password of a session.
    pub fn password(&self, session: SessionId) -> Bytes {
        let id = session.0;
        let inherited = self.inherited;
        match inherited.binary_search_by_key(&id, |bytes| i64::from_be_bytes(*bytes)) {
            Ok(_) => zookeepers_password(session),
            Err(_) => password(self.key, session),
        }
    }

    /// Whether a client may have the session that it names.
    pub fn opens(&self, session: SessionId, given: &[u8]) -> bool {
        let right = self.password(session);
        // All bytes are compared, so that the time it takes tells nothing.
        let difference = right.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
        right.len() == given.len() && difference == 0
    }
}

/// What puts a secret into a tree that has none; `None` if it has one.
pub fn creation(tree: &Tree, config: &Config) -> Option<TxnBody> {
    if Secret::of(tree).is_some() {
        return None;
    }
    let mut data = config.entropy.to_vec();
    let ids = tree.sessions().keys().take(INHERITED);
    data.extend(ids.flat_map(|session| session.0.to_be_bytes()));
    let (path, data, acl) = (PATH.to_owned(), data.into(), nobody().into());
    let Some(node) = tree.node(PATH) else {
        return Some(TxnBody::Create {
            path,
            data,
            acl,
            lifetime: Lifetime::Persistent,
            parent_cversion: tree.next_parent_cversion("/zookeeper")?,
        });
    };
    // Somebody's of that name: it is taken over.
    let version = node.version.wrapping_add(1);
    let set_data = TxnBody::SetData {
        path: path.clone(),
        data,
        version,
    };
    let version = node.aversion.wrapping_add(1);
    let set_acl = TxnBody::SetAcl { path, acl, version };
    Some(TxnBody::Multi(vec![set_data, set_acl]))
}

/// An entry that no client can have an identity for; the superuser needs none. No client can ask for it
/// either: the scheme is not one for access control lists.
fn nobody() -> [Acl; 1] {
    [Acl {
        perms: Perms::ALL,
        who: AuthId::new("super", ""),
    }]
}

/// The password of a session by a key.
pub fn password(key: &[u8], session: SessionId) -> Bytes {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(session.0.to_be_bytes());
    // The key once more behind the id: nobody can extend a hash that ends with it.
    hash.update(key);
    Bytes::copy_from_slice(&hash.finalize()[..16])
}

/// The password that ZooKeeper gives to a session: what `java.util.Random` says when it begins with the
/// id and a number that is in ZooKeeper's source. Everybody can find it.
fn zookeepers_password(session: SessionId) -> Bytes {
    const FACTOR: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (session.0 as u64 ^ 0xB341_5C00 ^ FACTOR) & MASK;
    let words = (0..4).flat_map(|_| {
        state = state.wrapping_mul(FACTOR).wrapping_add(0xB) & MASK;
        ((state >> 16) as u32).to_le_bytes()
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Epoch, ServerId, Zxid};
    use crate::znode::{Data, Txn, acl};
    use std::time::Duration;

    fn config(entropy: u8) -> Config {
        Config {
            entropy: [entropy; LENGTH],
            ..Config::new(ServerId(1), 1, Duration::from_secs(2))
        }
    }

    fn apply(tree: &mut Tree, session: i64, body: TxnBody) {
        let zxid = Zxid(tree.last_zxid().0.max(Zxid::new(Epoch(1), 0).0) + 1);
        let txn = Txn {
            session: SessionId(session),
            cxid: 0,
            time: 0,
            body,
            digest: None,
        };
        assert!(tree.apply(zxid, &txn).outcome.is_ok(), "{txn:?}");
    }

    /// A tree with sessions of ZooKeeper's, and then a secret.
    fn tree(sessions: &[i64], entropy: u8) -> Tree {
        let mut tree = Tree::default();
        for session in sessions {
            apply(
                &mut tree,
                *session,
                TxnBody::CreateSession { timeout_ms: 1 },
            );
        }
        let body = creation(&tree, &config(entropy)).unwrap();
        apply(&mut tree, 0, body);
        assert_eq!(creation(&tree, &config(entropy)), None);
        tree
    }

    #[test]
    fn a_password_opens_its_own_session_only_and_only_in_its_own_ensemble() {
        let (tree, other) = (tree(&[], 1), tree(&[], 2));
        let secret = Secret::of(&tree).unwrap();
        let password = secret.password(SessionId(7));
        assert_eq!(password.len(), 16);
        assert!(secret.opens(SessionId(7), &password));
        assert!(!secret.opens(SessionId(8), &password));
        assert!(!secret.opens(SessionId(7), b""));
        assert!(!secret.opens(SessionId(7), &zookeepers_password(SessionId(7))));
        assert!(!Secret::of(&other).unwrap().opens(SessionId(7), &password));
    }

    #[test]
    fn a_session_that_zookeeper_opened_keeps_the_password_that_zookeeper_gave_it() {
        // What Java says for these.
        let cases = [
            (-1, "20f62cb5648dc2d771471c8a2486a9ee"),
            (0x0100_00ab_cdef_0001, "76b39f6d54c3bc4f6ebe2fdff1198ecf"),
            (0x100_0000_0000_0000, "f22acd4a97e69d6d20a49bb638eadb38"),
        ];
        let tree = tree(&cases.map(|(id, _)| id), 1);
        let secret = Secret::of(&tree).unwrap();
        for (id, expected) in cases {
            let password = secret.password(SessionId(id));
            let hex: String = password.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
            assert!(secret.opens(SessionId(id), &password));
        }
        assert!(!secret.opens(SessionId(5), &zookeepers_password(SessionId(5))));
    }

    #[test]
    fn a_znode_that_a_client_made_in_its_place_is_no_secret_and_is_taken_over() {
        let mut tree = Tree::default();
        let body = TxnBody::Create {
            path: PATH.into(),
            data: Data::from(vec![0; LENGTH]),
            acl: acl::open_unsafe(),
            lifetime: Lifetime::Persistent,
            parent_cversion: 1,
        };
        apply(&mut tree, 1, body);
        assert!(Secret::of(&tree).is_none());
        let body = creation(&tree, &config(9)).unwrap();
        apply(&mut tree, 0, body);
        assert_eq!(Secret::of(&tree).unwrap().key, &[9; LENGTH]);
    }
}
