//! A table of results that were computed before, shared by the threads of the checker.

use crate::intern::fingerprint;
use hashbrown::HashTable;
use std::sync::RwLock;

/// What a result depends on.
pub type Key = (u64, u64);

/// Results by key. A result, once there, never changes.
pub struct Memo<V> {
    shards: Vec<RwLock<HashTable<(Key, V)>>>,
}

const SHARD_BITS: u32 = 8;

impl<V> Default for Memo<V> {
    fn default() -> Self {
        Self {
            shards: (0..1 << SHARD_BITS).map(|_| RwLock::default()).collect(),
        }
    }
}

impl<V: Copy> Memo<V> {
    /// The result for `key`, which `compute` finds if it is not known. Two threads may compute it at
    /// the same time; the results are equal.
    pub fn get(&self, key: Key, compute: impl FnOnce() -> V) -> V {
        self.find(key).unwrap_or_else(|| {
            let value = compute();
            self.insert(key, value);
            value
        })
    }

    /// The result for `key`, if it is known.
    pub fn find(&self, key: Key) -> Option<V> {
        let hash = fingerprint(&key);
        let shard = self.shard(hash).read().expect(POISONED);
        shard
            .find(hash, |(other, _)| *other == key)
            .map(|(_, value)| *value)
    }

    /// Notes the result for `key`.
    pub fn insert(&self, key: Key, value: V) {
        let hash = fingerprint(&key);
        let mut table = self.shard(hash).write().expect(POISONED);
        table.insert_unique(hash, (key, value), |(other, _)| fingerprint(other));
    }

    fn shard(&self, hash: u64) -> &RwLock<HashTable<(Key, V)>> {
        &self.shards[(hash >> (64 - SHARD_BITS)) as usize]
    }
}

const POISONED: &str = "no thread panics while it holds this lock";
