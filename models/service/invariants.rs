//! What clients are promised, as named predicates of a state of the model of the service.
//!
//! Spec: `spec/invariants.toml` has a paragraph for each id. Some are broken by what a client hears: the
//! step that lets it hear that notes the breach in the record. What this must never do: hold vacuously;
//! so each invariant has a witness.

use super::oracle::Transaction;
use super::record::{SLOTS, slot};
use super::reference::Ret;
use super::script::Op;
use super::world::{Client, Waiting, World};
use super::{Model, culprits};
use keepright::types::{ServerId, Zxid};
use keepright::znode::{ErrorCode, Node, SessionId, Tree, TxnBody};
use std::collections::BTreeSet;

/// An invariant with its witness.
pub struct Invariant {
    pub id: &'static str,
    pub holds: fn(&Model, &World) -> bool,
    pub witness_id: &'static str,
    pub witness: fn(&Model, &World) -> bool,
    /// Which clients and servers break it, and by which values, as far as a state shows that; `None` where
    /// it holds.
    pub explain: fn(&Model, &World) -> Option<String>,
}

/// Every invariant of the service.
pub const ALL: &[Invariant] = &[
    Invariant {
        id: "writes_linearizable",
        holds: |model, world| world.record.is_linearizable(model.scenario()),
        witness_id: "writes_overlap",
        witness: |_, world| world.record.overlap(),
        explain: culprits::writes_linearizable,
    },
    Invariant {
        id: "session_reads_forward",
        holds: |_, _| true,
        witness_id: "read_after_reconnect",
        witness: |_, world| world.clients.iter().any(|c| c.ghost.read_elsewhere),
        explain: culprits::by_hearing,
    },
    Invariant {
        id: "session_reads_own_writes",
        holds: |_, _| true,
        witness_id: "own_write_read",
        witness: own_write_read,
        explain: culprits::by_hearing,
    },
    Invariant {
        id: "requests_in_order",
        holds: in_order,
        witness_id: "answered_before_another",
        witness: answered_before_another,
        explain: culprits::requests_in_order,
    },
    Invariant {
        id: "watch_told_first",
        holds: |_, _| true,
        witness_id: "event_heard",
        witness: |_, world| world.clients.iter().any(|c| c.ghost.event),
        explain: culprits::by_hearing,
    },
    Invariant {
        id: "watch_told_once",
        holds: |_, _| true,
        witness_id: "event_caught_up",
        witness: |_, world| world.clients.iter().any(|c| c.ghost.event_caught_up),
        explain: culprits::by_hearing,
    },
    Invariant {
        id: "persistent_watch_kept",
        holds: |_, _| true,
        witness_id: "kept_watch_told_elsewhere",
        witness: |_, world| world.clients.iter().any(|c| c.ghost.kept_elsewhere),
        explain: culprits::by_hearing,
    },
    Invariant {
        id: "unused_deleted",
        holds: |model, world| model.past(world.log).deletions().all(Result::is_ok),
        witness_id: "unused_gone",
        witness: |model, world| model.past(world.log).deletions().next().is_some(),
        explain: culprits::unused_deleted,
    },
    Invariant {
        id: "ephemerals_end",
        holds: |_, world| trees(world).all(|(_, _, tree)| owners_are_open(tree)),
        witness_id: "ephemerals_deleted",
        witness: ephemerals_deleted,
        explain: culprits::ephemerals_end,
    },
    Invariant {
        id: "local_owns_nothing",
        holds: |_, world| {
            let mut all = culprits::locals(world);
            all.all(|(_, session)| trees(world).all(|(.., tree)| knows_nothing_of(tree, session)))
        },
        witness_id: "local_has_written",
        witness: |_, world| {
            let mut all = culprits::locals(world);
            let entries = &world.log.committed;
            all.any(|(_, session)| entries.iter().any(|entry| entry.txn.session == session))
        },
        explain: culprits::local_owns_nothing,
    },
    Invariant {
        id: "sequence_unique",
        holds: |_, world| {
            let names = sequential_names(world);
            let different: BTreeSet<_> = names.iter().map(|(_, path)| path).collect();
            different.len() == names.len()
        },
        witness_id: "two_sequential",
        witness: |_, world| sequential_names(world).len() > 1,
        explain: culprits::sequence_unique,
    },
    Invariant {
        id: "conditional_once",
        holds: conditional_once,
        witness_id: "condition_failed",
        witness: |model, world| {
            conditional(model, world).any(|(.., ret)| ret == Ret::Error(ErrorCode::BadVersion))
        },
        explain: culprits::conditional_once,
    },
    Invariant {
        id: "multi_whole",
        holds: |model, world| {
            let together = model.scenario().together;
            trees(world).all(|(_, _, tree)| {
                let count = together.iter().filter(|path| tree.contains(path)).count();
                count == 0 || count == together.len()
            })
        },
        witness_id: "multi_seen",
        witness: |model, world| {
            let together = model.scenario().together;
            trees(world).any(|(_, _, tree)| together.iter().any(|path| tree.contains(path)))
        },
        explain: culprits::multi_whole,
    },
    Invariant {
        id: "same_tree",
        holds: |_, world| pairs(world).all(|((.., one), (.., two))| one == two),
        witness_id: "two_at_one_zxid",
        witness: |_, world| pairs(world).any(|((_, zxid, _), _)| zxid > world.log.initial),
        explain: culprits::same_tree,
    },
];

/// The number of an invariant in the list.
pub fn number(id: &str) -> usize {
    let place = ALL.iter().position(|invariant| invariant.id == id);
    place.expect("a breach names an invariant of the list")
}

/// The trees of the servers that are up, each with the last zxid that it includes.
pub fn trees(world: &World) -> impl Iterator<Item = At> {
    world.ids().filter_map(|id| {
        let service = world.server(id).get().service.as_ref()?;
        Some((id, service.applied(), service.tree()))
    })
}

/// A server, and the tree that it has at a zxid.
pub type At = (ServerId, Zxid, &'static Tree);

/// Every two servers that have applied the same.
pub fn pairs(world: &World) -> impl Iterator<Item = (At, At)> {
    let all: Vec<At> = trees(world).collect();
    let pairs = (0..all.len()).flat_map(move |i| (0..i).map(move |j| (i, j)));
    let all: Vec<(At, At)> = pairs.map(|(i, j)| (all[i], all[j])).collect();
    all.into_iter().filter(|(one, two)| one.1 == two.1)
}

fn owners_are_open(tree: &Tree) -> bool {
    tree.walk().all(|(_, node)| !owner_is_gone(tree, node))
}

/// Whether a znode is an ephemeral of a session that is over.
pub fn owner_is_gone(tree: &Tree, node: &Node) -> bool {
    node.is_ephemeral() && !tree.sessions().contains_key(&node.ephemeral_owner)
}

/// Whether a session is not open in a tree, and owns nothing there.
pub fn knows_nothing_of(tree: &Tree, session: SessionId) -> bool {
    !tree.sessions().contains_key(&session) && tree.ephemerals(session).is_empty()
}

fn own_write_read(model: &Model, world: &World) -> bool {
    world.clients.iter().enumerate().any(|(number, client)| {
        let ops = model.ops(number);
        let answered = |i: usize| client.answered & 1 << i != 0;
        let write = (0..ops.len()).find(|i| answered(*i) && !ops[*i].is_read());
        write.is_some_and(|write| (write..ops.len()).any(|i| answered(i) && ops[i].is_read()))
    })
}

/// The transactions of a session stand in the order of its requests, each once; and what it has read
/// shows those of them that were asked for before, and none that was asked for after.
fn in_order(_: &Model, world: &World) -> bool {
    world.clients.iter().all(|client| {
        let mut last = 0;
        own_entries(world, client.get()).all(|entry| {
            let cxid = entry.txn.cxid;
            let follows = cxid > last;
            last = cxid;
            follows && client.ghost.read.is_none_or(|read| fits(entry, read))
        })
    })
}

/// The committed transactions that a client has asked for.
pub fn own_entries<'a>(
    world: &'a World,
    client: &'a Client,
) -> impl Iterator<Item = &'a Transaction> {
    world.log.committed.iter().filter(|entry| {
        // A session is opened and resumed with numbers that no client uses.
        client.session != SessionId::default()
            && entry.txn.session == client.session
            && entry.txn.cxid > 0
    })
}

/// Whether a read, by its number and the zxid that it saw, stands right to a transaction of its client.
pub fn fits(entry: &Transaction, (xid, seen): (i32, Zxid)) -> bool {
    match entry.txn.cxid < xid {
        true => entry.zxid <= seen,
        false => entry.zxid > seen,
    }
}

fn answered_before_another(_: &Model, world: &World) -> bool {
    world.clients.iter().any(|client| {
        let connection = client.connection.as_ref();
        let first = connection.and_then(|connection| connection.waiting.first());
        match first {
            Some(Waiting::Op { number, behind }) => {
                *behind && client.answered & 1 << (number - 1) != 0
            }
            Some(Waiting::SetWatches) | None => false,
        }
    })
}

fn ephemerals_deleted(_: &Model, world: &World) -> bool {
    let mut entries = world.log.committed.iter();
    entries.any(|entry| match &entry.txn.body {
        TxnBody::CloseSession { ephemerals } => !ephemerals.is_empty(),
        _ => false,
    })
}

/// The names that sequential creates were answered with, each with the place of the request.
pub fn sequential_names(world: &World) -> Vec<(usize, &'static str)> {
    let requests = 0..world.clients.len() * usize::from(SLOTS);
    let told = requests.filter_map(|slot| match world.record.get().ret(slot) {
        Some(Ret::Path(path)) => Some((slot, path.as_str())),
        _ => None,
    });
    told.filter(|(_, path)| path.ends_with(|c: char| c.is_ascii_digit()))
        .collect()
}

/// The answers to requests that expect a version of a znode, with their places and what they expect.
pub fn conditional<'a>(
    model: &'a Model,
    world: &'a World,
) -> impl Iterator<Item = (usize, (&'static str, i32), Ret)> + 'a {
    (0..world.clients.len()).flat_map(move |client| {
        let ops = model.ops(client).iter().enumerate();
        ops.filter_map(move |(number, op)| match op {
            Op::Set(path, version) | Op::Delete(path, version) if *version >= 0 => {
                let place = slot(client, number as u8);
                let ret = world.record.ret(place)?;
                Some((place, (*path, *version), ret.clone()))
            }
            _ => None,
        })
    })
}

/// Of the requests that expected the same version of a znode, one at most had it. No scenario makes a
/// znode anew that it expects a version of.
fn conditional_once(model: &Model, world: &World) -> bool {
    let mut had = BTreeSet::new();
    conditional(model, world)
        .filter(|(.., ret)| !matches!(ret, Ret::Error(_)))
        .all(|(_, expected, _)| had.insert(expected))
}
