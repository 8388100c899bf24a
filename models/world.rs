//! The state of the environment: servers with their disks, the network, budgets, and the record.

use crate::bounds::Bounds;
use crate::intern::Interned;
use im::Vector;
use keepright::types::ServerId;
use keepright::zab::invariants::Record;
use keepright::zab::{Entry, Mark, Message, Payload, State, Storage};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

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
    pub snapshots: u8,
}

impl Budget {
    pub fn of(bounds: &Bounds) -> Self {
        let Bounds {
            writes,
            timeouts,
            crashes,
            snapshots,
            ..
        } = *bounds;
        Self {
            writes,
            timeouts,
            crashes,
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
    pub servers: SmallVec<[Interned<Process>; 3]>,
    /// In the order of their hashes.
    pub network: SmallVec<[Interned<Envelope>; 12]>,
    pub record: Interned<Record<u8>>,
    pub budget: Budget,
}

impl World {
    pub fn server(&self, id: ServerId) -> Interned<Process> {
        self.servers[usize::from(id.0) - 1]
    }

    pub fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (1..=self.servers.len() as u8).map(ServerId)
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

/// From the hashes of the parts alone.
impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for server in &self.servers {
            state.write_u64(server.fingerprint());
        }
        // A set: the order of its members says nothing.
        state.write_u64(
            self.network
                .iter()
                .fold(0, |sum, e| e.fingerprint().wrapping_add(sum)),
        );
        state.write_u64(self.record.fingerprint());
        let Budget {
            writes,
            timeouts,
            crashes,
            snapshots,
        } = self.budget;
        state.write_u32(u32::from_le_bytes([writes, timeouts, crashes, snapshots]));
    }
}
