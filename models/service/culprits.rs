//! Why an invariant of the service does not hold: which clients and servers break it, and by which values.
//!
//! Spec: `spec/invariants.toml`. A function for each predicate that looks at a state; what a client's
//! hearing breaks is told by [`Hearing`](super::client::Hearing), which hears it once more for that. What
//! this must never do: know better than the predicates. A test holds them against each other.

use super::explain::{describe_entry, describe_op, name};
use super::invariants::{
    conditional, fits, knows_nothing_of, number, own_entries, owner_is_gone, pairs,
    sequential_names, trees,
};
use super::record::{Request, SLOTS};
use super::reference::Ret;
use super::world::World;
use super::{Action, Model};
use keepright::types::ServerId;
use keepright::znode::{SessionId, Tree};
use std::collections::BTreeMap;

/// An invariant that only what a client hears can break.
pub fn by_hearing(_: &Model, _: &World) -> Option<String> {
    None
}

pub fn writes_linearizable(model: &Model, world: &World) -> Option<String> {
    let record = world.record.get();
    if record.is_linearizable(model.scenario()) {
        return None;
    }
    let told = record.sent_requests().map(|(place, request)| {
        let Request { after, ret } = request;
        let (client, number) = of_slot(place);
        let op = model.scenario().clients[client].ops.get(number);
        let op = op.map_or_else(|| "expiry".to_owned(), describe_op);
        let ret = match ret {
            Some(ret) => format!("answered {}", describe_ret(ret)),
            None => "not answered".to_owned(),
        };
        let earlier = (0..usize::from(SLOTS) * world.clients.len())
            .filter(|earlier| after & 1 << earlier != 0)
            .map(|earlier| {
                let (client, number) = of_slot(earlier);
                format!("{} of {}", number + 1, name(client))
            });
        let earlier: Vec<_> = earlier.collect();
        let after = match earlier.is_empty() {
            true => String::new(),
            false => format!(", sent after the answer to {}", earlier.join(" and ")),
        };
        format!("{}'s {op}: {ret}{after}", name(client))
    });
    let told: Vec<_> = told.collect();
    Some(format!(
        "no order of these explains the answers: {}",
        told.join("; ")
    ))
}

/// The client and the number of a request, by its place in the record.
fn of_slot(place: usize) -> (usize, usize) {
    (place / usize::from(SLOTS), place % usize::from(SLOTS))
}

fn describe_ret(ret: &Ret) -> String {
    match ret {
        Ret::Done => "done".to_owned(),
        Ret::Path(path) => path.clone(),
        Ret::Version(version) => format!("version {version}"),
        Ret::Data(data, version) => format!("[{data}] of version {version}"),
        Ret::Multi(parts) => {
            let parts: Vec<_> = parts.iter().map(describe_ret).collect();
            format!("({})", parts.join(", "))
        }
        Ret::Error(error) => format!("{error:?}"),
    }
}

pub fn requests_in_order(_: &Model, world: &World) -> Option<String> {
    world.clients.iter().enumerate().find_map(|(place, client)| {
        let mut last = 0;
        own_entries(world, client.get()).find_map(|entry| {
            let cxid = entry.txn.cxid;
            let before = std::mem::replace(&mut last, cxid);
            let (name, entry_is) = (name(place), describe_entry(entry));
            if cxid <= before {
                return Some(format!(
                    "{entry_is}, which is request {cxid} of {name}, stands after its request {before}"
                ));
            }
            let read = client.ghost.read.filter(|read| !fits(entry, *read))?;
            let (xid, seen) = read;
            let how = match cxid < xid {
                true => "does not see it, though it was sent after it",
                false => "sees it, though it was sent before it",
            };
            Some(format!(
                "{entry_is} is request {cxid} of {name}; its read, request {xid}, shows the state at \
                 {seen}: it {how}"
            ))
        })
    })
}

pub fn ephemerals_end(_: &Model, world: &World) -> Option<String> {
    let mut all = trees(world);
    all.find_map(|(id, _, tree)| {
        let (path, node) = tree.walk().find(|(_, node)| owner_is_gone(tree, node))?;
        let owner = node.ephemeral_owner;
        Some(format!(
            "server {id} has the ephemeral {path} of session {owner}, which is over"
        ))
    })
}

/// The local sessions, each with its server.
pub fn locals(world: &World) -> impl Iterator<Item = (ServerId, SessionId)> {
    world.ids().flat_map(|id| {
        let service = world.server(id).get().service.as_ref();
        let sessions = service.map(|service| service.local_sessions().ids());
        sessions
            .into_iter()
            .flatten()
            .map(move |session| (id, session))
    })
}

pub fn local_owns_nothing(_: &Model, world: &World) -> Option<String> {
    locals(world).find_map(|(host, session)| {
        let (id, ..) = trees(world).find(|(.., tree)| !knows_nothing_of(tree, session))?;
        Some(format!(
            "session {session} is local to server {host}, and server {id} has it or an ephemeral of it"
        ))
    })
}

pub fn unused_deleted(model: &Model, world: &World) -> Option<String> {
    let mut deletions = model.past(world.log).deletions();
    deletions.find_map(|deletion| deletion.clone().err())
}

pub fn sequence_unique(_: &Model, world: &World) -> Option<String> {
    let mut told: BTreeMap<&str, String> = BTreeMap::new();
    let mut all = sequential_names(world).into_iter();
    all.find_map(|(place, path)| {
        let (client, number) = of_slot(place);
        let who = format!("request {} of {}", number + 1, name(client));
        let other = told.insert(path, who.clone())?;
        Some(format!("{other} and {who} were both answered {path}"))
    })
}

pub fn conditional_once(model: &Model, world: &World) -> Option<String> {
    let mut had: BTreeMap<(&str, i32), String> = BTreeMap::new();
    let mut all = conditional(model, world).filter(|(_, _, ret)| !matches!(ret, Ret::Error(_)));
    all.find_map(|(place, (path, version), _)| {
        let (client, number) = of_slot(place);
        let who = format!("request {} of {}", number + 1, name(client));
        let other = had.insert((path, version), who.clone())?;
        Some(format!(
            "{other} and {who} both expected version {version} of {path}, and both had it"
        ))
    })
}

pub fn multi_whole(model: &Model, world: &World) -> Option<String> {
    let together = model.scenario().together;
    let mut all = trees(world);
    all.find_map(|(id, zxid, tree)| {
        let (there, missing): (Vec<&str>, Vec<&str>) =
            together.iter().partition(|path| tree.contains(path));
        let half = !there.is_empty() && !missing.is_empty();
        half.then(|| {
            let (there, missing) = (there.join(" "), missing.join(" "));
            format!("server {id} has, at {zxid}, {there} without {missing}")
        })
    })
}

pub fn same_tree(_: &Model, world: &World) -> Option<String> {
    let ((i, zxid, one), (j, _, two)) = pairs(world).find(|((.., one), (.., two))| one != two)?;
    let only = |id: ServerId, one: &Tree, two: &Tree| {
        let own = one
            .walk()
            .find(|(path, node)| two.node(path) != Some(*node))?;
        let (path, node) = own;
        let version = node.stat().version;
        let mzxid = node.stat().mzxid;
        Some(format!(
            "server {id} has {path} of version {version}, changed at {mzxid}"
        ))
    };
    let all: Vec<_> = [only(i, one, two), only(j, two, one)]
        .into_iter()
        .flatten()
        .collect();
    let all = match all.is_empty() {
        true => "their sessions differ".to_owned(),
        false => all.join("; "),
    };
    Some(format!(
        "servers {j} and {i} have both applied everything up to {zxid}, and differ: {all}"
    ))
}

impl Model {
    /// How what a client hears breaks an invariant; `None` if none has.
    pub(super) fn explain_breach(
        &self,
        invariant: &str,
        step: Option<(&World, &Action)>,
        world: &World,
    ) -> Option<String> {
        if world.record.broken & 1 << number(invariant) == 0 {
            return None;
        }
        let told = step.map(|(before, action)| self.breaches(before, *action));
        let mut told = told.into_iter().flatten();
        let heard = told.find_map(|(broken, how)| (broken == invariant).then_some(how));
        heard.or_else(|| Some("it was broken by an earlier step".to_owned()))
    }
}
