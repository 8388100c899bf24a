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
        let hash = fingerprint(&key);
        let shard = &self.shards[(hash >> (64 - SHARD_BITS)) as usize];
        let poisoned = "no thread panics while it holds this lock";
        let known = shard.read().expect(poisoned);
        if let Some((_, value)) = known.find(hash, |(other, _)| *other == key) {
            return *value;
        }
        drop(known);
        let value = compute();
        let mut table = shard.write().expect(poisoned);
        table.insert_unique(hash, (key, value), |(other, _)| fingerprint(other));
        value
    }
}
