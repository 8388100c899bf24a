//! Containers and znodes with a TTL: which of them the leader deletes because nobody uses them.
//!
//! Spec: `spec/5-service.md`, "Containers and TTL". What it must never do: read a clock, or call a znode
//! unused that has children.
//!
//! Departs from ZooKeeper: D32 in `spec/deviations.toml`.

use super::Config;
use super::clock::Clock;
use super::variant::Variant;
use crate::znode::{Lifetime, Node, Tree};

/// Whether the znode at a path is to be deleted.
pub fn is_unused(config: &Config, clock: &Clock, path: &str, node: &Node) -> bool {
    let unchanged_ms = clock.unchanged_ms(path, node);
    let never_used_ms = config.container_never_used_ms;
    node.num_children == 0
        && match node.lifetime() {
            Lifetime::Persistent | Lifetime::Ephemeral => false,
            // One that is new waits for its first child, but not for ever.
            Lifetime::Container => {
                let was_used = node.cversion > 0 || config.variant == Variant::NewContainerDeleted;
                was_used || never_used_ms > 0 && unchanged_ms > never_used_ms
            }
            Lifetime::Ttl(ttl) => unchanged_ms > ttl.ms(),
        }
}

/// The paths of the znodes of a tree that are to be deleted: as many as one sweep may delete.
pub fn unused(config: &Config, clock: &Clock, tree: &Tree) -> Vec<String> {
    let interval_ms = u64::try_from(config.container_check_ms).unwrap_or_default();
    let most = u64::from(config.containers_per_minute).saturating_mul(interval_ms) / 60_000;
    let is_unused = |path: &&str| {
        let node = tree.node(path);
        node.is_some_and(|node| is_unused(config, clock, path, node))
    };
    let all = tree.mortals().filter(is_unused).map(str::to_owned);
    all.take(usize::try_from(most.max(1)).unwrap_or(usize::MAX))
        .collect()
}
