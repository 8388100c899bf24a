//! Watches: who is to be told of the next change of which znode, or of every change.
//!
//! Spec: `spec/5-service.md`, "Watches". What it must never do: tell a connection of one change
//! twice, keep a one-shot watch that has fired, or lose a persistent one. The watches live on the server
//! that holds the connection, and die with it: the client sets them again with setWatches.

use crate::persistent::{OrdMap, OrdSet};
use crate::proto::{EventType, WatchEvent};
use crate::types::Zxid;
use crate::znode::{TreeEvent, TreeEventKind, path};
use stateright::actor::Id;
use std::sync::Arc;

/// The zxid of an event that setWatches finds: no transaction is known (-1 on the wire).
pub const NO_ZXID: Zxid = Zxid(u64::MAX);

/// Which changes a watch waits for, and whether it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchKind {
    /// Set by getData and exists: the znode is created or deleted, or its data changes. Fires once.
    Data,
    /// Set by getChildren: the znode is deleted, or gets or loses a child. Fires once.
    Children,
    /// Set by addWatch: all that the other two wait for, every time.
    Persistent,
    /// Set by addWatch: the creation, the deletion and the data of the znode and of all below it, every
    /// time.
    Recursive,
}

impl WatchKind {
    /// The kind that addWatch names by a number; `None` if it names none.
    pub fn of_mode(mode: i32) -> Option<Self> {
        match mode {
            0 => Some(Self::Persistent),
            1 => Some(Self::Recursive),
            _ => None,
        }
    }

    /// The kinds that checkWatches and removeWatches name by a number; `None` if it names none.
    pub fn of_type(kind: i32) -> Option<&'static [Self]> {
        match kind {
            1 => Some(&[Self::Children]),
            2 => Some(&[Self::Data]),
            3 => Some(&[
                Self::Data,
                Self::Children,
                Self::Persistent,
                Self::Recursive,
            ]),
            4 => Some(&[Self::Persistent]),
            5 => Some(&[Self::Recursive]),
            _ => None,
        }
    }

    fn stays(self) -> bool {
        matches!(self, Self::Persistent | Self::Recursive)
    }

    /// Whether such a watch on a znode waits for a change of that znode.
    fn waits_for(self, change: TreeEventKind) -> bool {
        match change {
            TreeEventKind::Created | TreeEventKind::DataChanged => self != Self::Children,
            TreeEventKind::ChildrenChanged => matches!(self, Self::Children | Self::Persistent),
            TreeEventKind::Deleted => true,
        }
    }
}

/// All the watches that a server holds, from both sides. Neither map holds an empty set, so that equal
/// tables are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Watches {
    watchers: OrdMap<Arc<str>, OrdSet<Watcher>>,
    paths: OrdMap<Id, OrdSet<(Arc<str>, WatchKind)>>,
    count: usize,
    /// How many of them are recursive: without any, what is above a changed znode need not be looked at.
    recursive: usize,
}

/// A connection that watches a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Watcher {
    connection: Id,
    kind: WatchKind,
}

impl Watches {
    /// Sets a watch. One that is there already stays as it is.
    pub fn add(&mut self, kind: WatchKind, path: &str, connection: Id) {
        let path: Arc<str> = match self.watchers.get_key_value(path) {
            Some((path, _)) => path.clone(),
            None => path.into(),
        };
        let watchers = self.watchers.entry(path.clone()).or_default();
        if watchers.insert(Watcher { connection, kind }).is_none() {
            self.count += 1;
            self.recursive += usize::from(kind == WatchKind::Recursive);
            let paths = self.paths.entry(connection).or_default();
            paths.insert((path, kind));
        }
    }

    /// Whether a connection has a watch of the kind on the path.
    pub fn has(&self, kind: WatchKind, path: &str, connection: Id) -> bool {
        let watchers = self.watchers.get(path);
        watchers.is_some_and(|watchers| watchers.contains(&Watcher { connection, kind }))
    }

    /// Takes a watch away. Says whether there was one.
    pub fn remove(&mut self, kind: WatchKind, path: &str, connection: Id) -> bool {
        let there = self.has(kind, path, connection);
        if there {
            self.leave(path, Watcher { connection, kind });
            if let Some(paths) = self.paths.get_mut(&connection) {
                paths.remove(&(path.into(), kind));
                if paths.is_empty() {
                    self.paths.remove(&connection);
                }
            }
        }
        there
    }

    /// Forgets every watch of a connection.
    pub fn remove_connection(&mut self, connection: Id) {
        for (path, kind) in self.paths.remove(&connection).unwrap_or_default() {
            self.leave(&path, Watcher { connection, kind });
        }
    }

    fn leave(&mut self, path: &str, watcher: Watcher) {
        if let Some(watchers) = self.watchers.get_mut(path) {
            watchers.remove(&watcher);
            if watchers.is_empty() {
                self.watchers.remove(path);
            }
        }
        self.count -= 1;
        self.recursive -= usize::from(watcher.kind == WatchKind::Recursive);
    }

    /// How many watches are set.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no watch is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tree changed: whoever watches for that is to be told, each once, however many of its watches
    /// wait for it.
    pub fn on_event(&mut self, event: &TreeEvent, zxid: Zxid) -> Vec<(Id, WatchEvent)> {
        let mut told = self.watchers_of(event);
        if self.recursive > 0 && event.kind != TreeEventKind::ChildrenChanged {
            told.extend(self.recursive_above(&event.path));
        }
        let kind = match event.kind {
            TreeEventKind::Created => EventType::Created,
            TreeEventKind::Deleted => EventType::Deleted,
            TreeEventKind::DataChanged => EventType::DataChanged,
            TreeEventKind::ChildrenChanged => EventType::ChildrenChanged,
        };
        let tell = |connection: Id| {
            let path = event.path.clone();
            (connection, WatchEvent { kind, path, zxid })
        };
        told.into_iter().map(tell).collect()
    }

    /// Who watches the znode itself for such a change. Watches that fire once are gone with this.
    fn watchers_of(&mut self, event: &TreeEvent) -> OrdSet<Id> {
        let Some(watchers) = self.watchers.get(event.path.as_str()) else {
            return OrdSet::new();
        };
        let waits = |watcher: &&Watcher| watcher.kind.waits_for(event.kind);
        let fired: Vec<Watcher> = watchers.iter().filter(waits).copied().collect();
        for Watcher { connection, kind } in fired.iter().filter(|watcher| !watcher.kind.stays()) {
            self.remove(*kind, &event.path, *connection);
        }
        fired.iter().map(|watcher| watcher.connection).collect()
    }

    /// Who watches everything below a znode that is above `path`.
    fn recursive_above(&self, path: &str) -> OrdSet<Id> {
        let above = std::iter::successors(path::parent(path), |path| path::parent(path));
        let watchers = above.filter_map(|path| self.watchers.get(path)).flatten();
        let recursive = watchers.filter(|watcher| watcher.kind == WatchKind::Recursive);
        recursive.map(|watcher| watcher.connection).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::znode::acl;

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
        let acl = acl::open_unsafe();
        watches.on_event(&TreeEvent { kind, path, acl }, Zxid(9))
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

    #[test]
    fn a_persistent_watch_fires_every_time_for_the_znode_and_its_children() {
        let mut watches = Watches::default();
        watches.add(WatchKind::Persistent, "/a", client(1));
        for (change, told) in [
            (TreeEventKind::Created, EventType::Created),
            (TreeEventKind::DataChanged, EventType::DataChanged),
            (TreeEventKind::ChildrenChanged, EventType::ChildrenChanged),
            (TreeEventKind::Deleted, EventType::Deleted),
            (TreeEventKind::Created, EventType::Created),
        ] {
            assert_eq!(happen(&mut watches, change, "/a"), [event(1, told, "/a")]);
        }
        assert_eq!(happen(&mut watches, TreeEventKind::Created, "/a/b"), []);
    }

    #[test]
    fn a_recursive_watch_fires_for_all_below_and_never_for_children() {
        for above in ["/", "/a", "/a/b"] {
            let mut watches = Watches::default();
            watches.add(WatchKind::Recursive, above, client(1));
            for _ in 0..2 {
                assert_eq!(
                    happen(&mut watches, TreeEventKind::Created, "/a/b"),
                    [event(1, EventType::Created, "/a/b")]
                );
                for path in ["/", "/a", "/a/b"] {
                    let told = happen(&mut watches, TreeEventKind::ChildrenChanged, path);
                    assert_eq!(told, [], "{above} {path}");
                }
            }
        }
        let mut watches = Watches::default();
        watches.add(WatchKind::Recursive, "/a", client(1));
        assert_eq!(happen(&mut watches, TreeEventKind::Created, "/ab"), []);
        assert_eq!(happen(&mut watches, TreeEventKind::DataChanged, "/"), []);
    }

    #[test]
    fn a_change_is_told_once_however_many_watches_wait_for_it_and_the_others_stay() {
        let mut watches = Watches::default();
        for kind in [
            WatchKind::Data,
            WatchKind::Children,
            WatchKind::Persistent,
            WatchKind::Recursive,
        ] {
            watches.add(kind, "/a", client(1));
        }
        watches.add(WatchKind::Recursive, "/", client(1));
        let told = [event(1, EventType::Deleted, "/a")];
        assert_eq!(happen(&mut watches, TreeEventKind::Deleted, "/a"), told);
        assert_eq!(watches.len(), 3);
        assert!(!watches.has(WatchKind::Data, "/a", client(1)));
        assert!(watches.has(WatchKind::Persistent, "/a", client(1)));
        assert_eq!(happen(&mut watches, TreeEventKind::Deleted, "/a"), told);
    }

    #[test]
    fn a_watch_that_is_removed_fires_no_more_and_leaves_the_others() {
        let mut watches = Watches::default();
        watches.add(WatchKind::Persistent, "/a", client(1));
        watches.add(WatchKind::Recursive, "/a", client(1));
        assert!(!watches.remove(WatchKind::Data, "/a", client(1)));
        assert!(!watches.remove(WatchKind::Persistent, "/a", client(2)));
        assert!(watches.remove(WatchKind::Persistent, "/a", client(1)));
        assert!(!watches.remove(WatchKind::Persistent, "/a", client(1)));
        assert_eq!(
            happen(&mut watches, TreeEventKind::ChildrenChanged, "/a"),
            []
        );
        assert_eq!(
            happen(&mut watches, TreeEventKind::Created, "/a/b").len(),
            1
        );
        assert!(watches.remove(WatchKind::Recursive, "/a", client(1)));
        assert_eq!(watches, Watches::default());
    }
}
