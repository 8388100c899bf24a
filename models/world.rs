//! The state of the environment: servers with their disks, the network, budgets, and the record.

use crate::bounds::Bounds;
use crate::intern::{Interned, fingerprint};
use crate::row::Row;
use crate::steps::LocalStep;
use crate::symmetry::Renamings;
use im::Vector;
use keepright::types::ServerId;
use keepright::zab::invariants::Record;
use keepright::zab::{Entry, Mark, Message, Payload, State, Storage};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// What the models replicate: the numbers of the client writes, 1, 2, 3...
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Writes;

impl Payload for Writes {
    type Txn = u8;
    type Snapshot = Vector<Entry<u8>>;
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
}

/// A server and its disk, with the steps that it was seen to take.
pub struct Known {
    pub process: Process,
    /// By the key of the action: see [`Environment::step_of`](crate::environment::Environment::step_of).
    pub steps: Row<Option<&'static LocalStep>>,
}

impl From<Process> for Known {
    fn from(process: Process) -> Self {
        Self {
            process,
            steps: Row::default(),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
        let Bounds {
            writes,
            timeouts,
            crashes,
            outages,
            disk_errors,
            wipes,
            cuts,
            snapshots,
            ..
        } = *bounds;
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
}

/// A state of the whole ensemble.
///
/// The network is a set of datagrams that are never used up: so loss, duplication, delay and
/// reordering need no actions of their own.
#[derive(Clone, PartialEq, Eq)]
pub struct World {
    /// By server id, from 1.
    pub servers: SmallVec<[Interned<Known>; 3]>,
    /// In the order of their hashes.
    pub network: SmallVec<[Interned<Envelope>; 24]>,
    pub record: Interned<Record<u8>>,
    pub budget: Budget,
    /// See [`Sums::seal`].
    pub fingerprint: u64,
}

impl World {
    pub fn server(&self, id: ServerId) -> Interned<Known> {
        self.servers[usize::from(id.0) - 1]
    }

    pub fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (1..=self.servers.len() as u8).map(ServerId)
    }

    /// Whether a datagram is in the network.
    pub fn is_on_its_way(&self, envelope: Interned<Envelope>) -> bool {
        self.network.contains(&envelope)
    }

    /// Adds a datagram, unless it is there.
    pub fn send(&mut self, envelope: Interned<Envelope>) {
        let place = self
            .network
            .binary_search_by_key(&envelope.fingerprint(), |e| e.fingerprint());
        if let Err(index) = place {
            self.network.insert(index, envelope);
        }
    }
}

/// For each renaming of the servers, the sum of the hashes of all parts of a world.
///
/// The network is a set, and a server's place goes in with its hash, so sums will do; and the sums of a
/// successor are found from what has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums(SmallVec<[u64; 6]>);

impl Sums {
    pub fn of(world: &World, renamings: &Renamings) -> Self {
        let mut sums = Self(SmallVec::from_slice(world.record.images()));
        for (id, server) in world.ids().zip(&world.servers) {
            sums.add_server(id, *server, renamings);
        }
        for envelope in &world.network {
            sums.add(envelope.images());
        }
        sums
    }

    pub fn add(&mut self, images: &[u64]) {
        for (sum, image) in self.0.iter_mut().zip(images) {
            *sum = sum.wrapping_add(*image);
        }
    }

    pub fn remove(&mut self, images: &[u64]) {
        for (sum, image) in self.0.iter_mut().zip(images) {
            *sum = sum.wrapping_sub(*image);
        }
    }

    pub fn add_server(&mut self, id: ServerId, server: Interned<Known>, renamings: &Renamings) {
        for (index, (sum, image)) in self.0.iter_mut().zip(server.images()).enumerate() {
            let place = u64::from(renamings.name(index, id).0);
            *sum = sum.wrapping_add(mix(*image, place));
        }
    }

    pub fn remove_server(&mut self, id: ServerId, server: Interned<Known>, renamings: &Renamings) {
        for (index, (sum, image)) in self.0.iter_mut().zip(server.images()).enumerate() {
            let place = u64::from(renamings.name(index, id).0);
            *sum = sum.wrapping_sub(mix(*image, place));
        }
    }

    /// The hash of the world: that of the renaming that gives the least sum, and of the budget.
    pub fn seal(&self, budget: Budget) -> u64 {
        fingerprint(&(self.0.iter().min(), budget))
    }
}

/// A hash of a hash and a place; sums of them must not collide when places are exchanged, so this is
/// not linear (the finalizer of SplitMix64).
fn mix(hash: u64, place: u64) -> u64 {
    let mut x = hash.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.fingerprint);
    }
}
