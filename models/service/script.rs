//! What the clients of a scenario do: scripts of a few operations each.
//!
//! Spec: `spec/5-service.md`, "What is checked of it". Each scenario keeps its space small and a few
//! invariants in focus; all invariants are checked in all of them.

use super::world::WatchKind;
use keepright::proto::{CreateMode, Request};
use keepright::znode::acl;

/// One request of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Create(&'static str, CreateMode),
    /// The version that is expected, -1 for any.
    Set(&'static str, i32),
    Delete(&'static str, i32),
    Check(&'static str, i32),
    /// Whether a watch is set.
    Get(&'static str, bool),
    Exists(&'static str, bool),
    Children(&'static str, bool),
    /// addWatch: a watch that stays.
    Watch(&'static str, WatchKind),
    /// removeWatches of such a watch.
    Unwatch(&'static str, WatchKind),
    Sync(&'static str),
    Multi(&'static [Op]),
    Close,
}

impl Op {
    /// Whether the tree of the client's server answers it.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::Get(..)
                | Self::Exists(..)
                | Self::Children(..)
                | Self::Watch(..)
                | Self::Unwatch(..)
        )
    }

    /// The request as it is sent; `data` is what a create or a set writes.
    pub fn request(&self, data: u8) -> Request {
        match *self {
            Self::Create(path, mode) => Request::Create {
                path: path.into(),
                data: vec![data].into(),
                acl: acl::open_unsafe().to_vec(),
                mode,
                with_stat: false,
            },
            Self::Set(path, version) => Request::SetData {
                path: path.into(),
                data: vec![data].into(),
                version,
            },
            Self::Delete(path, version) => Request::Delete {
                path: path.into(),
                version,
            },
            Self::Check(path, version) => Request::Check {
                path: path.into(),
                version,
            },
            Self::Get(path, watch) => Request::GetData {
                path: path.into(),
                watch,
            },
            Self::Exists(path, watch) => Request::Exists {
                path: path.into(),
                watch,
            },
            Self::Children(path, watch) => Request::GetChildren {
                path: path.into(),
                watch,
                with_stat: false,
            },
            Self::Watch(path, kind) => Request::AddWatch {
                path: path.into(),
                mode: i32::from(kind == WatchKind::Recursive),
            },
            Self::Unwatch(path, kind) => Request::RemoveWatches {
                path: path.into(),
                kind: if kind == WatchKind::Recursive { 5 } else { 4 },
            },
            Self::Sync(path) => Request::Sync { path: path.into() },
            Self::Multi(ops) => Request::Multi(ops.iter().map(|op| op.request(data)).collect()),
            Self::Close => Request::CloseSession,
        }
    }
}

/// What one client does, and how.
#[derive(Debug)]
pub struct Script {
    /// The server that it is connected to when the scenario begins.
    pub server: u8,
    pub ops: &'static [Op],
    /// How many requests it has under way at most.
    pub window: u8,
    /// Whether it comes back when its connection is lost. The others stay away.
    pub returns: bool,
}

/// What is to be deleted by the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mortal {
    Container,
    /// A TTL: longer than the time from one sweep to the next, and shorter than two.
    Ttl,
}

/// Whose the sessions of a scenario are when they are new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    OfTheEnsemble,
    /// Of the server that the client has asked, for ever.
    Local,
    /// The same, until they make an ephemeral.
    Upgraded,
}

/// Some clients with their scripts, and the znodes that are there.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub clients: &'static [Script],
    /// The znodes that are there from the start.
    pub znodes: &'static [&'static str],
    /// Znodes that are there from the start as well, and that the leader deletes when nobody uses them: at
    /// most as many as there are clients.
    pub mortals: &'static [(&'static str, Mortal)],
    /// Znodes that only multis make and delete, all of them or none.
    pub together: &'static [&'static str],
    /// Whether the servers' word that a write has its place is delivered, and writes are sent again.
    pub streams: bool,
    pub sessions: Sessions,
}

impl PartialEq for Scenario {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Scenario {}

const fn script(server: u8, window: u8, ops: &'static [Op]) -> Script {
    Script {
        server,
        ops,
        window,
        returns: true,
    }
}

/// A client that does not come back when its connection is lost.
const fn steady(server: u8, window: u8, ops: &'static [Op]) -> Script {
    Script {
        returns: false,
        ..script(server, window, ops)
    }
}

use Op::{Check, Children, Close, Create, Delete, Exists, Get, Multi, Set, Sync, Unwatch, Watch};
use WatchKind::{Persistent, Recursive};

const PERSISTENT: CreateMode = CreateMode::Persistent;
const EPHEMERAL: CreateMode = CreateMode::Ephemeral;
const SEQUENTIAL: CreateMode = CreateMode::PersistentSequential;

const EMPTY: Scenario = Scenario {
    name: "",
    about: "",
    clients: &[],
    znodes: &["/a"],
    mortals: &[],
    together: &[],
    streams: false,
    sessions: Sessions::OfTheEnsemble,
};

/// Every scenario.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "registers",
        about: "writes and reads of one znode, several under way at a time",
        clients: &[
            script(2, 2, &[Set("/a", -1), Get("/a", false)]),
            steady(3, 2, &[Set("/a", -1), Sync("/a"), Get("/a", false)]),
        ],
        ..EMPTY
    },
    Scenario {
        name: "conditional",
        about: "two clients set with the same expected version; one deletes",
        clients: &[
            script(1, 1, &[Set("/a", 0), Delete("/a", 1)]),
            steady(2, 1, &[Set("/a", 0), Set("/a", 1)]),
        ],
        ..EMPTY
    },
    Scenario {
        name: "moves",
        about: "a client that loses its connection while it writes, and one that reads what it wrote",
        clients: &[script(
            2,
            2,
            &[Delete("/a", -1), Get("/a", false), Create("/a", PERSISTENT)],
        )],
        ..EMPTY
    },
    Scenario {
        name: "streams",
        about: "forwarded writes that are acknowledged and sent again, with a leader that comes back",
        clients: &[script(
            2,
            3,
            &[Set("/a", -1), Set("/a", -1), Get("/a", false)],
        )],
        streams: true,
        ..EMPTY
    },
    Scenario {
        name: "watches",
        about: "one client watches a znode that another one changes",
        clients: &[
            script(2, 1, &[Get("/a", true), Get("/a", false)]),
            steady(3, 2, &[Set("/a", -1), Delete("/a", -1)]),
        ],
        ..EMPTY
    },
    Scenario {
        name: "children",
        about: "one client waits for a znode and for the children of another one",
        clients: &[
            script(2, 2, &[Exists("/a/b", true), Children("/a", true)]),
            steady(
                1,
                2,
                &[
                    Children("/a", true),
                    Create("/a/b", PERSISTENT),
                    Delete("/a/b", -1),
                ],
            ),
        ],
        ..EMPTY
    },
    Scenario {
        name: "ephemerals",
        about: "a client whose session ends while it makes ephemerals, and one that looks for them",
        clients: &[
            script(2, 2, &[Create("/a/e", EPHEMERAL), Create("/f", EPHEMERAL)]),
            steady(3, 1, &[Exists("/f", false), Children("/a", false)]),
        ],
        ..EMPTY
    },
    Scenario {
        name: "locks",
        about: "two clients queue up below one znode; one closes its session",
        clients: &[
            script(
                2,
                2,
                &[
                    Create("/a/n-", CreateMode::EphemeralSequential),
                    Children("/a", true),
                    Close,
                ],
            ),
            steady(
                3,
                1,
                &[
                    Create("/a/n-", CreateMode::EphemeralSequential),
                    Children("/a", true),
                ],
            ),
        ],
        ..EMPTY
    },
    Scenario {
        name: "sequential",
        about: "sequential znodes that come and go",
        clients: &[
            script(
                2,
                1,
                &[
                    Create("/a/n-", SEQUENTIAL),
                    Delete("/a/n-0000000000", -1),
                    Create("/a/n-", SEQUENTIAL),
                ],
            ),
            steady(1, 1, &[Create("/a/n-", SEQUENTIAL)]),
        ],
        ..EMPTY
    },
    Scenario {
        name: "multis",
        about: "multis that make two znodes or none, with a condition that another client may break",
        clients: &[
            script(
                2,
                1,
                &[
                    Multi(&[
                        Create("/p", PERSISTENT),
                        Set("/a", 0),
                        Create("/q", PERSISTENT),
                    ]),
                    Exists("/p", false),
                ],
            ),
            steady(
                3,
                1,
                &[
                    Set("/a", 0),
                    Multi(&[Check("/a", 1), Delete("/p", -1), Delete("/q", -1)]),
                ],
            ),
        ],
        together: &["/p", "/q"],
        ..EMPTY
    },
    Scenario {
        name: "persistent",
        about: "one client has a watch that stays on a znode that another one changes again and again",
        clients: &[
            script(2, 1, &[Watch("/a", Persistent), Get("/a", false)]),
            steady(3, 2, &[Set("/a", -1), Create("/a/b", PERSISTENT)]),
        ],
        ..EMPTY
    },
    Scenario {
        name: "recursive",
        about: "one client watches all that is below a znode, and stops to do so",
        clients: &[
            script(
                2,
                2,
                &[
                    Watch("/a", Recursive),
                    Get("/a", true),
                    Unwatch("/a", Recursive),
                ],
            ),
            steady(3, 2, &[Create("/a/b", PERSISTENT), Set("/a", -1)]),
        ],
        ..EMPTY
    },
    Scenario {
        name: "containers",
        about: "a container whose last child goes while another one comes, and one that is new",
        clients: &[
            script(2, 2, &[Create("/c/x", PERSISTENT), Delete("/c/x", -1)]),
            steady(3, 1, &[Create("/c/y", PERSISTENT), Exists("/d", false)]),
        ],
        mortals: &[("/c", Mortal::Container), ("/d", Mortal::Container)],
        ..EMPTY
    },
    Scenario {
        name: "ttl",
        about: "a znode with a TTL that is set while its time runs out",
        clients: &[
            script(2, 1, &[Set("/t", -1), Exists("/t", false)]),
            steady(3, 1, &[Create("/t/x", PERSISTENT)]),
        ],
        mortals: &[("/t", Mortal::Ttl)],
        ..EMPTY
    },
    Scenario {
        name: "locals",
        about: "a client whose session is its server's alone writes, and asks for an ephemeral in vain",
        clients: &[
            script(
                2,
                2,
                &[Set("/a", -1), Create("/a/e", EPHEMERAL), Set("/a", -1)],
            ),
            steady(3, 1, &[Set("/a", -1), Children("/a", false)]),
        ],
        sessions: Sessions::Local,
        ..EMPTY
    },
    Scenario {
        name: "upgrades",
        about: "a client makes an ephemeral: until then its session is its server's alone",
        clients: &[
            script(2, 2, &[Set("/a", -1), Create("/a/e", EPHEMERAL), Close]),
            steady(3, 1, &[Get("/a", false), Children("/a", false)]),
        ],
        sessions: Sessions::Upgraded,
        ..EMPTY
    },
];

/// The scenario with this name, which is there.
pub const fn named(name: &str) -> &'static Scenario {
    let mut index = 0;
    while !same(ALL[index].name.as_bytes(), name.as_bytes()) {
        index += 1;
    }
    &ALL[index]
}

const fn same(one: &[u8], two: &[u8]) -> bool {
    if one.len() != two.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != two[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// The scenario with this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
