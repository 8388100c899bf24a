//! The state of the environment: servers with their disks, the network, budgets, and the record.

use crate::bounds::Bounds;
use crate::intern::{Interned, fingerprint};
use crate::node::Node;
use crate::row::Row;
use crate::steps::LocalStep;
use crate::transaction;
use keepright::persistent::Vector;
use keepright::quorum::Membership;
use keepright::types::ServerId;
use keepright::zab::invariants::Record;
use keepright::zab::{Change, Entry, Mark, Message, Payload, State, Storage};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// What the models replicate: the numbers of the client writes, 1, 2, 3... and changes of the membership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Writes;

impl Payload for Writes {
    type Txn = u8;
    type Snapshot = Vector<Entry<u8>>;

    fn change(txn: &u8) -> Option<Change> {
        transaction::change(*txn)
    }

    fn in_force() -> Option<u8> {
        Some(transaction::IN_FORCE)
    }

    fn membership(snapshot: &Self::Snapshot) -> Option<Membership> {
        let proposed = |entry: &Entry<u8>| match Self::change(&entry.txn)? {
            Change::Proposed(membership) => Some(membership),
            Change::InForce => None,
        };
        snapshot.iter().rev().find_map(proposed)
    }
}

/// One server and its disk.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Process {
    /// What is durable.
    pub disk: Storage<Writes>,
    /// Saves that are not durable yet, oldest first. The newest is the actor's own storage.
    pub unsaved: Vec<Storage<Writes>>,
    /// `None` while the server is down.
    pub state: Option<State<Writes>>,
}

impl Process {
    /// What is durable, in short.
    pub fn mark(&self) -> Mark {
        Mark::from(&self.disk)
    }

    /// Whether it follows another server.
    pub fn follows(&self) -> bool {
        let leader = self.state.as_ref().and_then(State::following);
        leader.is_some()
    }
}

/// The steps that a server can take by itself.
pub type OwnSteps = SmallVec<[&'static LocalStep; 6]>;

/// A server and its disk, with the steps that it was seen to take.
pub struct Known {
    pub process: Process,
    pub mark: Mark,
    /// What the others' messages from it depend on, and its hash.
    pub follows: bool,
    pub sender_hash: u64,
    /// By the key of the action: see [`Environment::step_of`](crate::environment::Environment::step_of).
    pub steps: Row<Option<&'static LocalStep>>,
    /// What it can do by itself, by server and budget.
    pub own_steps: Row<&'static OwnSteps>,
}

impl From<Process> for Known {
    fn from(process: Process) -> Self {
        let mark = process.mark();
        let follows = process.follows();
        Self {
            mark,
            sender_hash: fingerprint(&(mark, follows)),
            follows,
            process,
            steps: Row::default(),
            own_steps: Row::default(),
        }
    }
}

impl Deref for Known {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.process
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.process == other.process
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.process.hash(state);
    }
}

/// A datagram on its way.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Envelope {
    pub src: ServerId,
    pub dst: ServerId,
    pub message: Message<Writes>,
}

/// What is left of each budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub writes: u8,
    pub timeouts: u8,
    pub crashes: u8,
    pub outages: u8,
    pub disk_errors: u8,
    pub wipes: u8,
    pub cuts: u8,
    pub snapshots: u8,
}

impl Budget {
    pub fn of(bounds: &Bounds) -> Self {
        Self::from_parts([
            bounds.writes,
            bounds.timeouts,
            bounds.crashes,
            bounds.outages,
            bounds.disk_errors,
            bounds.wipes,
            bounds.cuts,
            bounds.snapshots,
        ])
    }

    fn from_parts(parts: [u8; 8]) -> Self {
        let [
            writes,
            timeouts,
            crashes,
            outages,
            disk_errors,
            wipes,
            cuts,
            snapshots,
        ] = parts;
        Self {
            writes,
            timeouts,
            crashes,
            outages,
            disk_errors,
            wipes,
            cuts,
            snapshots,
        }
    }

    /// All of it as one number, a byte for each part.
    pub fn code(&self) -> u64 {
        u64::from_le_bytes([
            self.writes,
            self.timeouts,
            self.crashes,
            self.outages,
            self.disk_errors,
            self.wipes,
            self.cuts,
            self.snapshots,
        ])
    }

    /// What is left of it. `spends` is the [`Self::code`] of what is taken; there must be enough.
    pub fn without(self, spends: u64) -> Self {
        Self::from_parts((self.code() - spends).to_le_bytes())
    }
}

/// A state of the whole ensemble.
///
/// The network is a set of datagrams that are never used up: so loss, duplication, delay and
/// reordering need no actions of their own. Each server comes with the datagrams that are for it.
#[derive(Clone, PartialEq, Eq)]
pub struct World {
    /// By server id, from 1.
    pub nodes: SmallVec<[Interned<Node>; 4]>,
    pub record: Interned<Record<u8>>,
    pub budget: Budget,
    /// See [`Sums::seal`].
    pub fingerprint: u64,
}

impl World {
    pub fn node(&self, id: ServerId) -> Interned<Node> {
        self.nodes[usize::from(id.0) - 1]
    }

    pub fn server(&self, id: ServerId) -> Interned<Known> {
        self.node(id).process
    }

    pub fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (1..=self.nodes.len() as u8).map(ServerId)
    }

    /// The datagrams that are on their way, by recipient.
    pub fn network(&self) -> impl Iterator<Item = Interned<Envelope>> + '_ {
        self.nodes
            .iter()
            .flat_map(|node| node.get().inbox.iter().copied())
    }
}

/// For each renaming of the servers, the sum of the hashes of all parts of a world.
///
/// The network is a set, and a server's place goes in with its hash, so sums will do; and the sums of a
/// successor are found from what has changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Sums(SmallVec<[u64; 6]>);

impl Sums {
    pub fn of(world: &World) -> Self {
        let mut sums = Self(SmallVec::from_slice(world.record.images()));
        for node in &world.nodes {
            sums.add(node.images());
        }
        sums
    }

    pub fn add(&mut self, images: &[u64]) {
        for (sum, image) in self.0.iter_mut().zip(images) {
            *sum = sum.wrapping_add(*image);
        }
    }

    /// Puts one part in the place of another.
    pub fn replace(&mut self, old: &[u64], new: &[u64]) {
        for ((sum, old), new) in self.0.iter_mut().zip(old).zip(new) {
            *sum = sum.wrapping_sub(*old).wrapping_add(*new);
        }
    }

    /// The hash of the world: that of the renaming that gives the least sum, and of the budget.
    pub fn seal(&self, budget: Budget) -> u64 {
        let least = self.0.iter().fold(u64::MAX, |a, b| a.min(*b));
        fingerprint(&(least, budget.code()))
    }
}

impl Clone for Sums {
    fn clone(&self) -> Self {
        Self(SmallVec::from_slice(&self.0)) // A copy, where a derived clone is one by one.
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.fingerprint);
    }
}
