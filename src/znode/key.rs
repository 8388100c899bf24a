//! The key under which the tree keeps a znode.
//!
//! A look-up in a map of a million paths spends its time on following pointers to paths and on
//! comparing their common prefixes. So a key starts with two hashes, of the parent's path and of the
//! name, that are compared first and lie in the map's own nodes; the path itself decides only
//! between equal hashes. Keys of siblings are neighbours, so a list of children is a range, and no
//! znode keeps a set of names: a million paths are stored once each.
//!
//! What it must never do: let the order of hashes be seen outside of the tree. It depends on the
//! hash function, which is fixed within one build of the program only.

use super::path;
use equivalent::{Comparable, Equivalent};
use foldhash::fast::FixedState;
use std::cmp::Ordering;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

/// A path as the tree's map orders it.
#[derive(Clone, Debug)]
pub(super) struct Key {
    parent_hash: u64,
    name_hash: u64,
    pub(super) path: Arc<str>,
}

impl Key {
    pub(super) fn new(path: &str) -> Self {
        Probe::new(path).into_key(path.into())
    }

    /// Whether the key may be that of a child of the path that hashes to `parent_hash`.
    pub(super) fn is_below(&self, parent_hash: u64) -> bool {
        self.parent_hash == parent_hash
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Key {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let probe = Probe {
            parent_hash: self.parent_hash,
            name_hash: self.name_hash,
            path: &self.path,
        };
        probe.compare(other)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path.hash(state);
    }
}

/// A key to look for, without a path of its own.
pub(super) struct Probe<'a> {
    parent_hash: u64,
    name_hash: u64,
    path: &'a str,
}

impl<'a> Probe<'a> {
    pub(super) fn new(path: &'a str) -> Self {
        Self {
            parent_hash: hash(path::parent(path).unwrap_or_default()),
            name_hash: hash(path::basename(path)),
            path,
        }
    }

    /// What stands before every child of the path that hashes to `parent_hash`.
    pub(super) fn before_children(parent_hash: u64) -> Self {
        Self {
            parent_hash,
            name_hash: 0,
            path: "",
        }
    }

    fn into_key(self, path: Arc<str>) -> Key {
        Key {
            parent_hash: self.parent_hash,
            name_hash: self.name_hash,
            path,
        }
    }
}

impl Equivalent<Key> for Probe<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.path == *key.path
    }
}

impl Comparable<Key> for Probe<'_> {
    fn compare(&self, key: &Key) -> Ordering {
        self.parent_hash
            .cmp(&key.parent_hash)
            .then(self.name_hash.cmp(&key.name_hash))
            .then_with(|| self.path.cmp(&key.path))
    }
}

/// The hash of a path or a name; the same for every tree of one process.
pub(super) fn hash(part: &str) -> u64 {
    FixedState::default().hash_one(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persistent::OrdMap;
    use crate::znode::{Node, Tree};

    /// A key whose hashes are what somebody chose.
    fn forged(parent_hash: u64, name_hash: u64, path: &str) -> Key {
        Key {
            parent_hash,
            name_hash,
            path: path.into(),
        }
    }

    #[test]
    fn paths_with_equal_hashes_stay_apart() {
        let paths = ["/a", "/b/c", "/c", "", "/aa"];
        let map: OrdMap<Key, &str> = paths.iter().map(|p| (forged(1, 2, p), *p)).collect();
        assert_eq!(map.len(), paths.len());
        for path in paths {
            let probe = Probe {
                parent_hash: 1,
                name_hash: 2,
                path,
            };
            assert_eq!(map.get(&probe), Some(&path));
        }
    }

    #[test]
    fn siblings_are_neighbours() {
        let siblings: Vec<Key> = (0..100).map(|i| Key::new(&format!("/a/b/{i}"))).collect();
        let start = Probe::before_children(hash("/a/b"));
        for key in &siblings {
            assert!(key.is_below(hash("/a/b")));
            assert_eq!(start.compare(key), Ordering::Less);
        }
        assert!(!Key::new("/a/b").is_below(hash("/a/b")));
        assert!(Key::new("/a").is_below(hash("/")));
        // The root is nobody's child, not even its own.
        assert!(!Key::new("/").is_below(hash("/")));
    }

    #[test]
    fn children_of_another_path_with_the_same_hash_are_not_listed() {
        let mut tree = Tree::default();
        let impostor = forged(hash("/zookeeper"), 0, "/another/child");
        tree.nodes.insert(impostor, Arc::new(Node::initial()));
        assert_eq!(tree.children("/zookeeper").unwrap(), ["config", "quota"]);
    }

    #[test]
    fn a_key_is_compared_as_its_probe_is() {
        let paths = ["/", "/a", "/b", "/a/b", "/a/c", "/a/b/c", "/zookeeper"];
        for one in paths {
            for other in paths {
                let (key, other) = (Key::new(one), Key::new(other));
                assert_eq!(key.cmp(&other), Probe::new(one).compare(&other));
                assert_eq!(key == other, key.cmp(&other).is_eq());
            }
        }
    }
}
