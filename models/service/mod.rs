//! The model of the service: clients over the production code of sessions, watches and requests, with an
//! oracle for the replication beneath it.
//!
//! Spec: `spec/5-service.md`, "What is checked of it". What it must never do: be kinder to the service or
//! to its clients than the real world.

mod act;
pub mod bounds;
mod client;
mod culprits;
mod diagram;
mod explain;
pub mod invariants;
mod judge;
pub mod mutants;
mod oracle;
mod past;
mod record;
mod reference;
pub mod script;
mod steps;
#[cfg(test)]
mod tests;
pub mod world;

use crate::intern::{Interned, Interner};
use crate::memo::Memo;
use crate::symmetry::Images;
use bounds::Bounds;
use keepright::persistent::Vector;
use keepright::service::ClientOutput;
use keepright::service::secret;
use keepright::service::variant::Variant;
use keepright::types::{Epoch, ServerId, Zxid};
use keepright::zab::Entry;
use keepright::znode::{Data, Lifetime, SessionId, Tree, Ttl, Txn, TxnBody, acl};
use oracle::{Log, Standing};
use past::Past;
use record::Record;
use script::{Mortal, Op, Scenario};
use smallvec::SmallVec;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use steps::LocalStep;
use world::{Budget, Client, Envelope, Ghost, Server, World};

/// One thing that can happen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A client connects to a server, and sets its watches again.
    Connect {
        client: usize,
        server: ServerId,
    },
    /// A client sends the next request of its script, and the server reads it. That the server reads
    /// it later is no different from the client sending it later; but see [`Self::Cut`].
    Send {
        client: usize,
        server: ServerId,
        number: u8,
    },
    /// A client reads the next message from its server.
    Hear {
        client: usize,
        output: Interned<ClientOutput>,
    },
    /// A client gives up its connection, having sent `late` requests more, which the server may read
    /// later.
    Cut {
        client: usize,
        late: u8,
    },
    /// A client sees that its server is gone; what the server had sent is lost.
    Break(usize),
    /// A server reads what is left of a connection that the client has given up, and then its end.
    Arrive {
        client: usize,
        index: usize,
    },
    /// A datagram arrives; it may arrive again.
    Deliver(Interned<Envelope>),
    /// The oldest proposal of the leader is committed, and it knows.
    Commit(Zxid),
    /// A server is told of the next commit.
    Tell {
        server: ServerId,
        zxid: Zxid,
    },
    /// A server becomes the leader of a new epoch. Of what the last leader proposed and nobody knows to
    /// be committed, the oldest `kept` survive.
    Elect {
        server: ServerId,
        kept: usize,
    },
    /// A server is synchronized with the leader.
    Follow(ServerId),
    /// A follower hears from its leader no more.
    Lose(ServerId),
    /// A follower is sent a snapshot instead of the transactions that it lacks.
    Snap(ServerId),
    Crash(ServerId),
    Restart(ServerId),
    /// A client is not heard of for so long that its session expires.
    Expire(usize),
    /// Time passes, and the leader looks for znodes that nobody uses.
    Sweep,
    /// A server sends its clients' writes again.
    Retransmit(ServerId),
}

/// Its name in the catalogue.
pub const NAME: &str = "service";

/// What it is.
pub const ABOUT: &str =
    "sessions, watches and requests of clients, over an oracle for the replication";

/// The bounds in which it is explored by default.
pub const BOUNDS: &[Bounds] = &[
    bounds("registers", 1, 0, 0, 0),
    bounds("registers", 0, 1, 0, 0),
    bounds("conditional", 1, 1, 0, 0),
    bounds("conditional", 0, 0, 1, 0),
    bounds("moves", 1, 0, 1, 0),
    bounds("moves", 0, 1, 1, 1),
    bounds("streams", 2, 0, 0, 0),
    bounds("streams", 0, 0, 1, 0),
    bounds("watches", 1, 0, 1, 0),
    Bounds {
        snapshots: 1,
        ..bounds("watches", 0, 0, 1, 0)
    },
    bounds("children", 0, 0, 1, 0),
    bounds("ephemerals", 1, 0, 0, 1),
    bounds("ephemerals", 0, 0, 1, 1),
    bounds("ephemerals", 1, 0, 1, 0),
    bounds("locks", 0, 0, 1, 0),
    bounds("locks", 0, 0, 0, 1),
    bounds("sequential", 1, 1, 0, 0),
    bounds("multis", 1, 0, 0, 0),
    bounds("multis", 0, 0, 1, 0),
    bounds("persistent", 1, 0, 0, 0),
    bounds("persistent", 0, 0, 1, 0),
    bounds("recursive", 0, 0, 1, 0),
    Bounds {
        sweeps: 1,
        ..bounds("containers", 1, 0, 0, 0)
    },
    Bounds {
        sweeps: 2,
        ..bounds("ttl", 1, 0, 0, 0)
    },
    bounds("locals", 0, 0, 1, 0),
    bounds("upgrades", 1, 0, 0, 0),
    bounds("upgrades", 0, 0, 1, 0),
    bounds("upgrades", 0, 0, 0, 1),
];

const fn bounds(
    scenario: &str,
    elections: u8,
    crashes: u8,
    reconnects: u8,
    expirations: u8,
) -> Bounds {
    Bounds::new(script::named(scenario)).with(elections, crashes, reconnects, expirations)
}

/// The service as it should be, within `bounds`, with every invariant and witness.
pub fn faithful(bounds: Bounds) -> Model {
    let ids: Vec<_> = invariants::ALL
        .iter()
        .map(|invariant| invariant.id)
        .collect();
    Model::new(bounds, Variant::Faithful, &ids, true)
}

/// Interned values of one type, without renamings.
struct Kept<T: 'static>(Interner<T>);

impl<T: Hash + Eq> Kept<T> {
    fn keep(&self, value: T) -> Interned<T> {
        self.0.intern(value, |_| Images::new())
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Interner::default())
    }
}

/// Clients and servers in their world.
pub struct Model {
    /// Different for each model of this process.
    id: u64,
    pub bounds: Bounds,
    pub variant: Variant,
    ids: Vec<&'static str>,
    witnesses: bool,
    /// Whether a step that changes nothing is one.
    idle_steps: bool,
    /// Whether each step that is looked up is computed all the same, and compared.
    doubts: bool,
    first: World,
    servers: Kept<Server>,
    logs: Kept<Log>,
    envelopes: Kept<Envelope>,
    clients: Kept<Client>,
    records: Kept<Record>,
    outputs: Kept<ClientOutput>,
    steps: Memo<&'static LocalStep>,
    pasts: Memo<&'static Past>,
    verdicts: Memo<judge::Verdict>,
}

/// How much time passes before the leader looks for znodes that nobody uses.
const SWEEP_MS: i64 = 300;
/// The TTL of the znodes that have one.
const TTL_MS: i64 = 400;

/// The ids of connections begin here: what is below are servers.
const CONNECTIONS: usize = 1 << 8;

/// Where clients are: it does not matter.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The leader at the beginning.
const FIRST_LEADER: ServerId = ServerId(1);

impl Model {
    /// The model within `bounds`, of a variant of the service, checking the invariants with these ids
    /// and, if `witnesses` is set, looking for their witnesses.
    pub fn new(bounds: Bounds, variant: Variant, ids: &[&'static str], witnesses: bool) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let records = Kept::default();
        let logs = Kept::default();
        let nothing = Log {
            committed: Vector::new(),
            in_flight: Vector::new(),
            epoch: Epoch(0),
            leader: None,
            initial: Zxid::ZERO,
        };
        let first = World {
            servers: SmallVec::new(),
            log: logs.keep(nothing),
            network: SmallVec::new(),
            clients: SmallVec::new(),
            record: records.keep(Record::new(bounds.clients())),
            budget: Budget::of(&bounds),
        };
        let mut model = Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            bounds,
            variant: Variant::Faithful,
            ids: ids.to_vec(),
            witnesses,
            idle_steps: false,
            doubts: false,
            first,
            servers: Kept::default(),
            logs,
            envelopes: Kept::default(),
            clients: Kept::default(),
            records,
            outputs: Kept::default(),
            steps: Memo::default(),
            pasts: Memo::default(),
            verdicts: Memo::default(),
        };
        // The scenario begins when all is well: only then does the variant do its harm.
        model.first = model.beginning();
        model.variant = variant;
        model.steps = Memo::default();
        model
    }

    pub fn scenario(&self) -> &'static Scenario {
        self.bounds.scenario
    }

    /// What a client does, within the bounds.
    pub fn ops(&self, client: usize) -> &'static [Op] {
        let ops = self.scenario().clients[client].ops;
        &ops[..ops.len().min(usize::from(self.bounds.operations))]
    }

    /// The servers serve under the first of them, the znodes of the scenario are there, and every
    /// client has opened its session where the scenario says.
    fn beginning(&self) -> World {
        let create = |(path, lifetime): (&str, Lifetime)| TxnBody::Create {
            path: path.into(),
            data: Data::from(vec![0]),
            acl: acl::open_unsafe(),
            lifetime,
            parent_cversion: -1,
        };
        let ttl = Ttl::new(TTL_MS).expect("it is short");
        let lifetime = |mortal: Mortal| match mortal {
            Mortal::Container => Lifetime::Container,
            Mortal::Ttl => Lifetime::Ttl(ttl),
        };
        let Scenario {
            znodes, mortals, ..
        } = self.scenario();
        let znodes = znodes.iter().map(|path| (*path, Lifetime::Persistent));
        let mortals = mortals.iter().map(|(path, kind)| (*path, lifetime(*kind)));
        let secret = secret::creation(&Tree::default(), &self.config(FIRST_LEADER, 1));
        let bodies = secret.into_iter().chain(znodes.chain(mortals).map(create));
        let entries = (1..).zip(bodies);
        let entries = entries.map(|(counter, body)| Entry {
            zxid: Zxid::new(Epoch(1), counter),
            txn: Txn {
                session: SessionId::default(),
                cxid: 0,
                time: 0,
                body,
                digest: None,
            },
        });
        let mut log = Log {
            committed: entries.collect(),
            in_flight: Vector::new(),
            epoch: Epoch(2),
            leader: Some(FIRST_LEADER),
            initial: Zxid::ZERO,
        };
        log.initial = log.last();
        let ids = (1..=self.bounds.servers).map(ServerId);
        let servers = ids.map(|id| self.servers.keep(self.first(id, FIRST_LEADER, &log)));
        let nobody = Client {
            connection: None,
            late: SmallVec::new(),
            session: SessionId::default(),
            ended: false,
            sent: 0,
            answered: 0,
            seen: Zxid::ZERO,
            watches: Vec::new(),
            connects: 0,
            ghost: Ghost::default(),
        };
        let clients = (0..self.bounds.clients()).map(|_| self.clients.keep(nobody.clone()));
        let mut world = World {
            servers: servers.collect(),
            log: self.logs.keep(log),
            clients: clients.collect(),
            ..self.first.clone()
        };
        for client in 0..self.bounds.clients() {
            let server = self.scenario().clients[client]
                .server
                .min(self.bounds.servers);
            let server = ServerId(server);
            world = self.act(&world, Action::Connect { client, server });
            while let Some(next) = self.quiet_step(&world) {
                world = next;
            }
        }
        world.budget = Budget::of(&self.bounds);
        world
    }

    /// The first of the steps by which what is under way comes to its end.
    fn quiet_step(&self, world: &World) -> Option<World> {
        let quiet = |action: &Action| {
            matches!(
                action,
                Action::Deliver(_) | Action::Commit(_) | Action::Tell { .. } | Action::Hear { .. }
            ) && self.is_possible(world, action)
        };
        let all = self.conceivable(world).into_iter().filter(quiet);
        all.map(|action| self.act(world, action))
            .find(|next| next != world)
    }

    fn past(&self, log: Interned<Log>) -> &'static Past {
        let key = (log.address() as u64, 0);
        self.pasts
            .get(key, || Box::leak(Box::new(Past::of(log.get()))))
    }

    /// The server leads the latest epoch.
    fn leads(&self, world: &World, id: ServerId) -> bool {
        world.log.leader == Some(id) && world.server(id).copy.standing == Standing::Leading
    }
}
