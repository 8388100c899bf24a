//! What the znodes of a scenario would be on one machine: the sequential specification that the writes
//! of all clients are held against.
//!
//! Spec: `spec/5-service.md`, "What is checked of it". Written anew, not made of the service's own tree:
//! what it must never do is share the service's mistakes.

use super::script::Op;
use keepright::proto::{CreateMode, MultiResult, Response};
use keepright::znode::ErrorCode;
use stateright::semantics::SequentialSpec;
use std::collections::{BTreeMap, BTreeSet};

/// Some znodes by path, and the clients whose sessions are over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    znodes: BTreeMap<String, Znode>,
    over: BTreeSet<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Znode {
    data: u8,
    version: i32,
    owner: Option<u8>,
    /// How many children were ever created.
    created: u32,
}

/// Something that takes effect at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What a client asks for; creates and sets write `data`.
    Asked { client: u8, op: Op, data: u8 },
    /// A sync and the read behind it.
    SyncedGet { path: &'static str },
    /// A client's session expires.
    Expired { client: u8 },
    /// The leader deletes what nobody uses.
    Unused { path: &'static str },
}

/// What comes of a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ret {
    Done,
    Path(String),
    Version(i32),
    Data(u8, i32),
    Multi(Vec<Self>),
    Error(ErrorCode),
}

impl Ret {
    /// What a reply says.
    pub fn of(result: &Result<Response, ErrorCode>) -> Self {
        match result {
            Ok(Response::Empty) => Self::Done,
            Ok(Response::Path(path) | Response::PathAndStat(path, _)) => Self::Path(path.clone()),
            Ok(Response::Stat(stat)) => Self::Version(stat.version),
            Ok(Response::Data(data, stat)) => {
                Self::Data(data.first().copied().unwrap_or_default(), stat.version)
            }
            Ok(Response::Multi(results)) => Self::Multi(results.iter().map(part).collect()),
            Ok(
                Response::Acl(..)
                | Response::Children(_)
                | Response::ChildrenAndStat(..)
                | Response::Sasl(_)
                | Response::WatchAdded
                | Response::Ephemerals(_)
                | Response::Count(_)
                | Response::WhoAmI(_),
            ) => Self::Done,
            Err(error) => Self::Error(*error),
        }
    }
}

fn part(result: &MultiResult) -> Ret {
    match result {
        MultiResult::Create(path) | MultiResult::Create2(path, _) => Ret::Path(path.clone()),
        MultiResult::Delete
        | MultiResult::Check
        | MultiResult::Data(..)
        | MultiResult::Children(_)
        | MultiResult::Error(None) => Ret::Done,
        MultiResult::SetData(stat) => Ret::Version(stat.version),
        MultiResult::Error(Some(error)) => Ret::Error(*error),
    }
}

impl Space {
    /// The root and these, which hold the data 0.
    pub fn new(paths: &[&str]) -> Self {
        let mut znodes = BTreeMap::new();
        for path in ["/"].iter().chain(paths) {
            znodes.insert((*path).to_owned(), Znode::new(0, None));
        }
        let over = BTreeSet::new();
        Self { znodes, over }
    }

    fn apply(&mut self, client: u8, op: &Op, data: u8) -> Result<Ret, ErrorCode> {
        match *op {
            Op::Create(path, mode) => {
                let above = parent(path);
                let parent = self.znodes.get_mut(above).ok_or(ErrorCode::NoNode)?;
                let (ephemeral, sequential) = match mode {
                    CreateMode::Persistent => (false, false),
                    CreateMode::Ephemeral => (true, false),
                    CreateMode::PersistentSequential => (false, true),
                    CreateMode::EphemeralSequential => (true, true),
                    // No script asks for these: what is mortal is there from the start.
                    CreateMode::Container
                    | CreateMode::Ttl(_)
                    | CreateMode::SequentialTtl(_)
                    | CreateMode::Other(_) => return Err(ErrorCode::Unimplemented),
                };
                let path = match sequential {
                    true => format!("{path}{:010}", parent.created),
                    false => path.to_owned(),
                };
                let has_owner = parent.owner.is_some();
                if self.znodes.contains_key(&path) {
                    return Err(ErrorCode::NodeExists);
                }
                if has_owner {
                    return Err(ErrorCode::NoChildrenForEphemerals);
                }
                if let Some(parent) = self.znodes.get_mut(above) {
                    parent.created += 1;
                }
                let znode = Znode::new(data, ephemeral.then_some(client));
                self.znodes.insert(path.clone(), znode);
                Ok(Ret::Path(path))
            }
            Op::Set(path, version) => {
                let znode = self.expected(path, version)?;
                znode.data = data;
                znode.version += 1;
                Ok(Ret::Version(znode.version))
            }
            Op::Delete(path, version) => {
                self.expected(path, version)?;
                self.remove(path)
            }
            Op::Check(path, version) => self.expected(path, version).map(|_| Ret::Done),
            Op::Multi(ops) => Ok(Ret::Multi(self.multi(client, ops, data))),
            Op::Close => {
                self.end(client);
                Ok(Ret::Done)
            }
            Op::Sync(_)
            | Op::Get(..)
            | Op::Exists(..)
            | Op::Children(..)
            | Op::Watch(..)
            | Op::Unwatch(..) => Ok(Ret::Done),
        }
    }

    fn remove(&mut self, path: &str) -> Result<Ret, ErrorCode> {
        if self.znodes.keys().any(|other| parent(other) == path) {
            return Err(ErrorCode::NotEmpty);
        }
        self.znodes.remove(path);
        Ok(Ret::Done)
    }

    fn expected(&mut self, path: &str, version: i32) -> Result<&mut Znode, ErrorCode> {
        let znode = self.znodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
        match version == -1 || version == znode.version {
            true => Ok(znode),
            false => Err(ErrorCode::BadVersion),
        }
    }

    fn multi(&mut self, client: u8, ops: &[Op], data: u8) -> Vec<Ret> {
        let before = self.clone();
        let mut results = Vec::new();
        for (index, op) in ops.iter().enumerate() {
            match self.apply(client, op, data) {
                Ok(ret) => results.push(ret),
                Err(error) => {
                    *self = before;
                    results = vec![Ret::Done; index];
                    results.push(Ret::Error(error));
                    results.resize(ops.len(), Ret::Error(ErrorCode::RuntimeInconsistency));
                    return results;
                }
            }
        }
        results
    }

    fn end(&mut self, client: u8) {
        self.over.insert(client);
        self.znodes.retain(|_, znode| znode.owner != Some(client));
    }
}

impl Znode {
    fn new(data: u8, owner: Option<u8>) -> Self {
        Self {
            data,
            version: 0,
            owner,
            created: 0,
        }
    }
}

fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) if path != "/" => "/",
        Some(end) => &path[..end],
        None => "",
    }
}

impl SequentialSpec for Space {
    type Op = Step;
    type Ret = Ret;

    fn invoke(&mut self, step: &Step) -> Ret {
        match step {
            Step::Asked { client, .. } if self.over.contains(client) => {
                Ret::Error(ErrorCode::SessionExpired)
            }
            Step::Asked { client, op, data } => {
                self.apply(*client, op, *data).unwrap_or_else(Ret::Error)
            }
            Step::SyncedGet { path } => match self.znodes.get(*path) {
                Some(znode) => Ret::Data(znode.data, znode.version),
                None => Ret::Error(ErrorCode::NoNode),
            },
            // Whether it was unused is for another invariant to say.
            Step::Unused { path } => self.remove(path).unwrap_or_else(Ret::Error),
            Step::Expired { client } => {
                self.end(*client);
                Ret::Done
            }
        }
    }
}
