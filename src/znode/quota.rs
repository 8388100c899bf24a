//! Quotas: how many znodes and bytes there may be below a path, and how many there are.
//!
//! Spec: `spec/5-service.md`, "Quotas". The limits on `/a` stand in the data of
//! `/zookeeper/quota/a/zookeeper_limits`, as a client has written them; what there is stands in
//! `/zookeeper/quota/a/zookeeper_stats`, and follows every transaction. What this must never do: count
//! anything but the tree and its transactions, so that all servers count the same.

use super::{Data, Tree, path};
use std::collections::BTreeMap;
use std::fmt;

const QUOTAS: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

const COUNT: &str = "count";
const BYTES: &str = "bytes";
const COUNT_HARD: &str = "countHardLimit";
const BYTES_HARD: &str = "byteHardLimit";

/// Numbers by name, as ZooKeeper writes them: `count=3,bytes=40=;countHardLimit=5`. What cannot be read is
/// left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Track(BTreeMap<String, i64>);

impl Track {
    fn of(data: &Data) -> Self {
        let text = String::from_utf8_lossy(data);
        let pairs = text.split([',', ';']).filter_map(|pair| {
            let mut parts = pair.split('=');
            let (name, value) = (parts.next()?, parts.next()?);
            let value = if value.is_empty() { "-1" } else { value };
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(pairs.collect())
    }

    /// -1 stands for no number.
    fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(-1)
    }

    fn limit(&self, name: &str) -> Option<i64> {
        Some(self.get(name)).filter(|limit| *limit > -1)
    }

    fn add(&mut self, name: &str, difference: i64) {
        let value = self.get(name).saturating_add(difference);
        self.0.insert(name.to_owned(), value);
    }
}

/// Old clients read the first two numbers only, and the second up to an equals sign.
impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COUNT}={},{BYTES}={}", self.get(COUNT), self.get(BYTES))?;
        let others = self
            .0
            .iter()
            .filter(|(name, _)| *name != COUNT && *name != BYTES);
        for (index, (name, value)) in others.enumerate() {
            let mark = if index == 0 { "=" } else { "" };
            write!(f, "{mark};{name}={value}")?;
        }
        Ok(())
    }
}

/// What a change adds below its path, or takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    pub count: i64,
    pub bytes: i64,
}

/// A limit that there is more than.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// The path that has the quota.
    pub path: String,
    /// Whether what exceeds it must be refused.
    pub is_hard: bool,
    /// `znodes` or `bytes`.
    what: &'static str,
    there: i64,
    limit: i64,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            what,
            there,
            limit,
            ..
        } = self;
        let kind = if self.is_hard { "hard" } else { "soft" };
        write!(
            f,
            "quota exceeded: {path} has {there} {what}; its {kind} limit is {limit}"
        )
    }
}

impl Tree {
    /// The limits that there would be more than after a change at `path`. Of what does not grow the limit is
    /// not asked.
    pub fn excess(&self, path: &str, growth: Growth) -> Vec<Excess> {
        let Some(prefix) = self.path_with_quota(path) else {
            return Vec::new();
        };
        let track = |name| {
            self.node(&quota_node(prefix, name))
                .map(|node| Track::of(&node.data))
        };
        let (Some(limits), Some(stats)) = (track(LIMITS), track(STATS)) else {
            return Vec::new();
        };
        let all = [
            ("znodes", COUNT, COUNT_HARD, growth.count),
            ("bytes", BYTES, BYTES_HARD, growth.bytes),
        ];
        let excess = all.into_iter().filter_map(|(what, soft, hard, growth)| {
            let is_hard = limits.limit(hard).is_some();
            let limit = limits.limit(hard).or(limits.limit(soft))?;
            let there = stats.get(soft).saturating_add(growth);
            (growth != 0 && there > limit).then(|| Excess {
                path: prefix.to_owned(),
                is_hard,
                what,
                there,
                limit,
            })
        });
        excess.collect()
    }

    /// The path itself or the nearest above it that has limits.
    fn path_with_quota<'p>(&self, path: &'p str) -> Option<&'p str> {
        if self.quotas.is_empty() {
            return None;
        }
        let mut above = std::iter::successors(Some(path), |path| path::parent(path));
        above.find(|path| self.quotas.contains(*path))
    }

    /// Counts a change at `path`.
    pub(super) fn count_growth(&mut self, path: &str, growth: Growth) {
        let Some(prefix) = self.path_with_quota(path) else {
            return;
        };
        let stats = quota_node(prefix, STATS);
        if let Some(node) = self.node(&stats) {
            let mut track = Track::of(&node.data);
            track.add(COUNT, growth.count);
            track.add(BYTES, growth.bytes);
            self.replace_data(&stats, track.to_string().into_bytes().into());
        }
    }

    /// If a znode, such as one that was just created, is one that shows what there is, counts that from the beginning.
    pub(super) fn begin_count(&mut self, created: &str) {
        let Some(prefix) = shown_by(created, STATS) else {
            return;
        };
        let mut track = Track::default();
        let mut ahead: Vec<String> = vec![prefix.to_owned()];
        let (mut count, mut bytes) = (0, 0);
        while let Some(path) = ahead.pop() {
            if let Some(node) = self.node(&path) {
                count += 1;
                bytes += node.data.len() as i64;
                let children = self.children(&path).unwrap_or_default().into_iter();
                ahead.extend(children.map(|child| format!("{path}/{child}")));
            }
        }
        track.0.insert(COUNT.to_owned(), count);
        track.0.insert(BYTES.to_owned(), bytes);
        self.replace_data(created, track.to_string().into_bytes().into());
    }
}

impl Tree {
    /// Counts anew what there is under each quota, whatever is shown. ZooKeeper does so whenever it reads a snapshot,
    /// as those that it writes may be of several moments. Here that would part servers that have read one from
    /// those that have not: so it is only for the snapshots of ZooKeeper.
    pub fn count_quotas_anew(&mut self) {
        for prefix in self.quotas.clone() {
            self.begin_count(&quota_node(&prefix, STATS));
        }
    }
}

/// The path whose limits stand at `path`, if any do. The root has none, as in ZooKeeper.
pub(super) fn limited_by(path: &str) -> Option<&str> {
    shown_by(path, LIMITS)
}

fn shown_by<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let shown = path.strip_prefix(QUOTAS)?.strip_suffix(name)?;
    shown.strip_suffix('/').filter(|shown| !shown.is_empty())
}

fn quota_node(path: &str, name: &str) -> String {
    format!("{QUOTAS}{path}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Epoch, Zxid};
    use crate::znode::{Lifetime, SessionId, Txn, TxnBody, acl};

    fn apply(tree: &mut Tree, body: TxnBody) {
        let zxid = Zxid(tree.last_zxid().0.max(Zxid::new(Epoch(1), 0).0) + 1);
        let (session, cxid, time) = (SessionId(1), 0, 0);
        let txn = Txn {
            session,
            cxid,
            time,
            body,
            digest: None,
        };
        assert!(tree.apply(zxid, &txn).outcome.is_ok(), "{txn:?}");
    }

    fn create(tree: &mut Tree, path: &str, data: &str) {
        let body = TxnBody::Create {
            path: path.into(),
            data: data.as_bytes().to_vec().into(),
            acl: acl::open_unsafe(),
            lifetime: Lifetime::Persistent,
            parent_cversion: -1,
        };
        apply(tree, body);
    }

    fn stats(tree: &Tree) -> String {
        let node = tree.node("/zookeeper/quota/a/zookeeper_stats").unwrap();
        String::from_utf8(node.data.to_vec()).unwrap()
    }

    fn with_quota(limits: &str) -> Tree {
        let mut tree = Tree::default();
        create(&mut tree, "/a", "12");
        create(&mut tree, "/a/b", "345");
        create(&mut tree, "/zookeeper/quota/a", "");
        create(&mut tree, "/zookeeper/quota/a/zookeeper_limits", limits);
        create(
            &mut tree,
            "/zookeeper/quota/a/zookeeper_stats",
            "count=0,bytes=0",
        );
        tree
    }

    #[test]
    fn the_stats_of_a_quota_count_what_is_there_and_follow_every_change() {
        let mut tree = with_quota("count=10,bytes=-1");
        assert_eq!(stats(&tree), "count=2,bytes=5");
        create(&mut tree, "/a/b/c", "6789");
        create(&mut tree, "/ab", "elsewhere");
        assert_eq!(stats(&tree), "count=3,bytes=9");
        let (path, data, version) = ("/a/b".into(), Data::default(), 1);
        apply(
            &mut tree,
            TxnBody::SetData {
                path,
                data,
                version,
            },
        );
        assert_eq!(stats(&tree), "count=3,bytes=6");
        let path = "/a/b/c".into();
        apply(&mut tree, TxnBody::Delete { path });
        assert_eq!(stats(&tree), "count=2,bytes=2");
        let node = tree.node("/zookeeper/quota/a/zookeeper_stats").unwrap();
        assert_eq!(node.version, 0, "counting is no set");
    }

    #[test]
    fn the_nearest_quota_counts() {
        let mut tree = with_quota("count=10,bytes=-1");
        create(&mut tree, "/zookeeper/quota/a/b", "");
        create(
            &mut tree,
            "/zookeeper/quota/a/b/zookeeper_limits",
            "count=1,bytes=-1",
        );
        create(&mut tree, "/zookeeper/quota/a/b/zookeeper_stats", "");
        create(&mut tree, "/a/b/c", "");
        assert_eq!(stats(&tree), "count=2,bytes=5");
        let inner = tree.node("/zookeeper/quota/a/b/zookeeper_stats").unwrap();
        assert_eq!(&inner.data[..], b"count=2,bytes=3");
    }

    #[test]
    fn what_exceeds_a_limit_is_told_and_a_hard_limit_goes_before_a_soft_one() {
        let one = Growth { count: 1, bytes: 1 };
        let told = |limits: &str| -> Vec<String> {
            let excess = with_quota(limits).excess("/a/x", one);
            excess.iter().map(ToString::to_string).collect()
        };
        assert!(told("count=3,bytes=6").is_empty());
        assert!(told("").is_empty() && told("count=x,,=;=").is_empty());
        assert_eq!(
            told("count=2,bytes=5=;byteHardLimit=3"),
            [
                "quota exceeded: /a has 3 znodes; its soft limit is 2",
                "quota exceeded: /a has 6 bytes; its hard limit is 3",
            ]
        );
        let nothing = Growth { count: 0, bytes: 0 };
        assert!(
            with_quota("count=0,bytes=0")
                .excess("/a", nothing)
                .is_empty()
        );
        assert!(with_quota("count=0,bytes=0").excess("/b", one).is_empty());
    }

    #[test]
    fn numbers_are_written_as_zookeeper_writes_them() {
        let text = "count=4,bytes=5=;byteHardLimit=10;countHardLimit=11";
        let track = Track::of(&text.as_bytes().to_vec().into());
        assert_eq!(track.to_string(), text);
        assert_eq!(Track::default().to_string(), "count=-1,bytes=-1");
    }
}
