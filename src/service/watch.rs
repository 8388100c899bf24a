//! Watches: who is to be told of the next change of which znode.
//!
//! Spec: `spec/5-service.md`, "Watches". What it must never do: tell a connection of one change
//! twice, or keep a watch that has fired. The watches live on the server that holds the connection,
//! and die with it: the client sets them again with setWatches.

use crate::proto::{EventType, WatchEvent};
use crate::types::Zxid;
use crate::znode::{TreeEvent, TreeEventKind};
use im::{OrdMap, OrdSet};
use stateright::actor::Id;
use std::sync::Arc;

/// The zxid of an event that setWatches finds: no transaction is known (-1 on the wire).
pub const NO_ZXID: Zxid = Zxid(u64::MAX);

/// Which changes a watch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchKind {
    /// Set by getData and exists: the znode is created or deleted, or its data changes.
    Data,
    /// Set by getChildren: the znode is deleted, or gets or loses a child.
    Children,
}

/// All the watches that a server holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Watches {
    data: Table,
    children: Table,
}

impl Watches {
    /// Sets a watch. One that is there already stays as it is.
    pub fn add(&mut self, kind: WatchKind, path: &str, connection: Id) {
        match kind {
            WatchKind::Data => self.data.add(path, connection),
            WatchKind::Children => self.children.add(path, connection),
        }
    }

    /// Forgets every watch of a connection.
    pub fn remove_connection(&mut self, connection: Id) {
        self.data.remove_connection(connection);
        self.children.remove_connection(connection);
    }

    /// How many watches are set.
    pub fn len(&self) -> usize {
        self.data.count + self.children.count
    }

    /// Whether no watch is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tree changed: whoever watches for that is to be told. A connection that watches both the
    /// data and the children of a deleted znode is told once.
    pub fn on_event(&mut self, event: &TreeEvent, zxid: Zxid) -> Vec<(Id, WatchEvent)> {
        let path = event.path.as_str();
        let (watchers, kind) = match event.kind {
            TreeEventKind::Created => (self.data.take(path), EventType::Created),
            TreeEventKind::DataChanged => (self.data.take(path), EventType::DataChanged),
            TreeEventKind::ChildrenChanged => {
                (self.children.take(path), EventType::ChildrenChanged)
            }
            TreeEventKind::Deleted => {
                let watchers = self.data.take(path).union(self.children.take(path));
                (watchers, EventType::Deleted)
            }
        };
        let tell = |&connection: &Id| {
            let path = path.to_owned();
            (connection, WatchEvent { kind, path, zxid })
        };
        watchers.iter().map(tell).collect()
    }
}

/// The watches of one kind, from both sides. Neither map holds an empty set, so that equal tables
/// are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Table {
    watchers: OrdMap<Arc<str>, OrdSet<Id>>,
    paths: OrdMap<Id, OrdSet<Arc<str>>>,
    count: usize,
}

impl Table {
    fn add(&mut self, path: &str, connection: Id) {
        let path: Arc<str> = match self.watchers.get_key_value(path) {
            Some((path, _)) => path.clone(),
            None => path.into(),
        };
        let watchers = self.watchers.entry(path.clone()).or_default();
        if watchers.insert(connection).is_none() {
            self.count += 1;
            self.paths.entry(connection).or_default().insert(path);
        }
    }

    /// Removes the watches on a path; says who had one.
    fn take(&mut self, path: &str) -> OrdSet<Id> {
        let Some(watchers) = self.watchers.remove(path) else {
            return OrdSet::new();
        };
        self.count -= watchers.len();
        for connection in &watchers {
            if let Some(paths) = self.paths.get_mut(connection) {
                paths.remove(path);
                if paths.is_empty() {
                    self.paths.remove(connection);
                }
            }
        }
        watchers
    }

    fn remove_connection(&mut self, connection: Id) {
        for path in self.paths.remove(&connection).unwrap_or_default() {
            if let Some(watchers) = self.watchers.get_mut(&path) {
                watchers.remove(&connection);
                self.count -= 1;
                if watchers.is_empty() {
                    self.watchers.remove(&path);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: usize) -> Id {
        Id::from((1 << 32) + n)
    }

    fn event(n: usize, kind: EventType, path: &str) -> (Id, WatchEvent) {
        let path = path.to_owned();
        let zxid = Zxid(9);
        (client(n), WatchEvent { kind, path, zxid })
    }

    fn happen(watches: &mut Watches, kind: TreeEventKind, path: &str) -> Vec<(Id, WatchEvent)> {
        let path = path.to_owned();
        watches.on_event(&TreeEvent { kind, path }, Zxid(9))
    }

    #[test]
    fn a_watch_fires_once() {
        let mut watches = Watches::default();
        watches.add(WatchKind::Data, "/a", client(1));
        watches.add(WatchKind::Data, "/a", client(1));
        assert_eq!(watches.len(), 1);
        assert_eq!(
            happen(&mut watches, TreeEventKind::DataChanged, "/a"),
            [event(1, EventType::DataChanged, "/a")]
        );
        assert_eq!(happen(&mut watches, TreeEventKind::DataChanged, "/a"), []);
        assert_eq!(watches, Watches::default());
    }

    #[test]
    fn a_deleted_znode_is_told_once_to_a_connection_that_watches_data_and_children() {
        let mut watches = Watches::default();
        watches.add(WatchKind::Data, "/a/b", client(1));
        watches.add(WatchKind::Children, "/a/b", client(1));
        watches.add(WatchKind::Children, "/a/b", client(2));
        watches.add(WatchKind::Children, "/a", client(2));
        assert_eq!(
            happen(&mut watches, TreeEventKind::Deleted, "/a/b"),
            [
                event(1, EventType::Deleted, "/a/b"),
                event(2, EventType::Deleted, "/a/b"),
            ]
        );
        assert_eq!(watches.len(), 1);
    }

    #[test]
    fn data_watches_and_child_watches_wait_for_different_changes() {
        let mut watches = Watches::default();
        watches.add(WatchKind::Data, "/a", client(1));
        watches.add(WatchKind::Children, "/a", client(2));
        assert_eq!(
            happen(&mut watches, TreeEventKind::Created, "/a"),
            [event(1, EventType::Created, "/a")]
        );
        assert_eq!(
            happen(&mut watches, TreeEventKind::ChildrenChanged, "/a"),
            [event(2, EventType::ChildrenChanged, "/a")]
        );
        assert!(watches.is_empty());
    }

    #[test]
    fn the_watches_of_a_connection_die_with_it() {
        let mut watches = Watches::default();
        watches.add(WatchKind::Data, "/a", client(1));
        watches.add(WatchKind::Children, "/a", client(1));
        watches.add(WatchKind::Data, "/a", client(2));
        watches.remove_connection(client(1));
        assert_eq!(
            happen(&mut watches, TreeEventKind::Deleted, "/a"),
            [event(2, EventType::Deleted, "/a")]
        );
        assert_eq!(watches, Watches::default());
    }
}
