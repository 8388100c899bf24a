//! What only the leader's service does: it gives every write its place, judges it by the tree that the
//! transactions before it make, and watches over the sessions' time.
//!
//! Spec: `spec/5-service.md`, "Preparation" and "Sessions". What it must never do: take a write of a
//! connection that does not have its session any more, or outlive its leadership.
//!
//! Departs from ZooKeeper: D19, D33, D60 and D71 in `spec/deviations.toml`.

use super::Config;
use super::clock::Clock;
use super::digest::Differing;
use super::forward::{Forward, Inbox, StreamId};
use super::prepare::{self, Asker};
use super::reconfig::{self, Ensemble};
use super::secret::{self, Secret};
use super::session::Expiry;
use super::unused;
use super::variant::Variant;
use super::write::{Submission, Write};
use crate::persistent::{OrdMap, Vector};
use crate::types::{Epoch, ServerId, Zxid};
use crate::znode::quota::{Excess, Growth};
use crate::znode::{CONFIG, Data, ErrorCode, SessionId, Tree, Txn, TxnBody};
use stateright::actor::Id;

/// The cxid of transactions that no connection waits for.
pub const NO_TICKET: i32 = i32::MIN;

/// The state of a leader's service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leading {
    /// The epoch in which this leadership began.
    began: Epoch,
    /// The tree after everything that has been proposed.
    tree: Tree,
    /// Whether that tree has the secret of the ensemble.
    has_secret: bool,
    /// The last transaction that has been proposed.
    proposed: Zxid,
    inboxes: OrdMap<ServerId, Inbox>,
    /// Writes that have their order, but no zxid yet.
    waiting: Vector<Queued>,
    /// Which connection has each session that was opened or resumed under this leader.
    owners: OrdMap<SessionId, Owner>,
    pub expiry: Expiry,
    /// When it was last looked for znodes that nobody uses, by [`Clock::now_ms`].
    swept_ms: i64,
    /// The servers whose trees differ from this leader's.
    differing: Differing,
}

/// A connection among all of the ensemble's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Owner {
    origin: ServerId,
    incarnation: u64,
    connection: Id,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Queued {
    /// A client's write.
    Submitted { owner: Owner, write: Submission },
    /// The session's time is over.
    Expired { session: SessionId },
    /// The leadership has begun: the ensemble's members are to be shown.
    Members,
    /// The container or the znode with a TTL was found to be unused.
    Unused { path: String },
}

/// What a write is judged by, beside the tree.
#[derive(Clone, Copy)]
struct Ground {
    zxid: Zxid,
    ensemble: Ensemble,
    /// What it is stamped with.
    time: i64,
}

/// What the leader tells the origin of a forwarded message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted {
        through: u64,
    },
    /// The stream is not taken. The newest of the origin that this leader knows comes after it.
    Refused {
        newest: StreamId,
    },
}

impl Leading {
    /// A leader that begins, with the tree after all that its history holds, up to `proposed`.
    pub fn new(began: Epoch, tree: Tree, proposed: Zxid, clock: &Clock) -> Self {
        Self {
            began,
            has_secret: Secret::of(&tree).is_some(),
            tree,
            proposed,
            inboxes: OrdMap::new(),
            waiting: Vector::new(),
            owners: OrdMap::new(),
            expiry: Expiry::default(),
            swept_ms: clock.now_ms(),
            differing: Differing::default(),
        }
    }

    /// Sees to it that the members of the ensemble are shown to clients.
    pub fn show_members(&mut self) {
        self.waiting.push_back(Queued::Members);
    }

    /// Sees to it that no ephemeral is left whose session does not exist: nobody could end it. A directory of
    /// ZooKeeper may have one.
    pub fn end_owners_without_session(&mut self) {
        let owners: Vec<SessionId> = self.tree.owners_without_session().collect();
        for session in owners {
            self.waiting.push_back(Queued::Expired { session });
        }
    }

    /// The last transaction that was proposed.
    pub fn proposed(&self) -> Zxid {
        self.proposed
    }

    /// A server's tree differs since a transaction.
    pub fn on_differs(&mut self, from: ServerId, zxid: Zxid) {
        // Of an earlier leader it says nothing about this one.
        if zxid.epoch() >= self.began {
            self.differing.insert(from);
        }
    }

    /// Whether most servers that are up to date have another tree.
    pub fn is_outvoted(&self, ensemble: impl FnOnce() -> Ensemble) -> bool {
        self.differing.are_most(ensemble)
    }

    /// How many writes wait for a zxid.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A write of a connection of the leader's own.
    pub fn submit(&mut self, origin: ServerId, incarnation: u64, write: Submission) {
        let owner = Owner {
            origin,
            incarnation,
            connection: write.connection,
        };
        self.expiry.touch(write.session);
        self.waiting.push_back(Queued::Submitted { owner, write });
    }

    /// Writes from another server.
    pub fn on_forward(&mut self, config: &Config, origin: ServerId, message: Forward) -> Verdict {
        if message.began < self.began && config.variant != Variant::OldStreamTaken {
            let newest = StreamId::default();
            return Verdict::Refused { newest };
        }
        let StreamId { incarnation, .. } = message.stream;
        if config.variant == Variant::ForwardsUnnumbered {
            let through = message.first;
            for write in message.writes {
                self.submit(origin, incarnation, write);
            }
            return Verdict::Accepted { through };
        }
        let inbox = self.inboxes.entry(origin).or_default();
        let Some(writes) = inbox.on_forward(message) else {
            let newest = inbox.stream();
            return Verdict::Refused { newest };
        };
        let through = inbox.taken();
        for write in writes {
            self.submit(origin, incarnation, write);
        }
        Verdict::Accepted { through }
    }

    /// A session tick has passed; sessions whose time is over are closed. Now and then it is looked for
    /// znodes that nobody uses.
    pub fn on_tick(&mut self, config: &Config, clock: &Clock, committed: &Tree) {
        for session in self.expiry.tick() {
            self.waiting.push_back(Queued::Expired { session });
        }
        if clock.now_ms() - self.swept_ms >= config.container_check_ms {
            self.sweep(config, clock, committed);
        }
    }

    /// Looks for the containers and the znodes with a TTL that nobody uses.
    pub fn sweep(&mut self, config: &Config, clock: &Clock, committed: &Tree) {
        self.swept_ms = clock.now_ms();
        for path in unused::unused(config, clock, self.in_use(config, committed)) {
            self.waiting.push_back(Queued::Unused { path });
        }
    }

    /// The tree that tells what is used: the one after all that is proposed, unless the variant takes the one
    /// without what is not committed.
    fn in_use<'a>(&'a self, config: &Config, committed: &'a Tree) -> &'a Tree {
        match config.variant {
            Variant::UnusedByCommitted => committed,
            _ => &self.tree,
        }
    }

    /// The next transaction to propose, which gets `zxid`; and what the log is to be told of it. `committed` is
    /// the tree without what is proposed and not committed, which must not be judged by.
    pub fn next_proposal(
        &mut self,
        config: &Config,
        zxid: Zxid,
        ensemble: Ensemble,
        committed: &Tree,
        clock: &Clock,
    ) -> Option<(Txn, Vec<String>)> {
        let mut warnings = Vec::new();
        loop {
            let txn = match self.secret(config) {
                Some(secret) => Some(secret),
                None => {
                    let time = clock.stamp_ms();
                    let ground = Ground {
                        zxid,
                        ensemble,
                        time,
                    };
                    self.next_write(config, ground, committed, clock, &mut warnings)?
                }
            };
            if let Some(mut txn) = txn {
                let excess = self.excess(config, &txn.body);
                warnings.extend(excess.iter().map(Excess::to_string));
                self.take_in(zxid, &txn);
                txn.digest = config.digests.then_some(self.tree.digest());
                return Some((txn, warnings));
            }
        }
    }

    /// A transaction is the last one that is proposed: one of the service, or one that Zab has added of its own.
    pub fn take_in(&mut self, zxid: Zxid, txn: &Txn) {
        // Whoever asked is answered when the transaction is committed and applied.
        let _ = self.tree.apply(zxid, txn);
        self.proposed = zxid;
    }

    /// The transaction that gives the ensemble its secret, before any other, if it has none.
    fn secret(&mut self, config: &Config) -> Option<Txn> {
        if std::mem::replace(&mut self.has_secret, true) {
            return None;
        }
        Some(Txn {
            session: SessionId::default(),
            cxid: NO_TICKET,
            time: 0,
            body: secret::creation(&self.tree, config)?,
            digest: None,
        })
    }

    /// The transaction of the first write that waits, `Some(None)` if it has none.
    fn next_write(
        &mut self,
        config: &Config,
        ground: Ground,
        committed: &Tree,
        clock: &Clock,
        warnings: &mut Vec<String>,
    ) -> Option<Option<Txn>> {
        let time = ground.time;
        Some(match self.waiting.pop_front()? {
            Queued::Submitted { owner, write } => {
                self.prepare(config, ground, owner, write, warnings)
            }
            Queued::Expired { session } => self.close(session, NO_TICKET, time),
            Queued::Unused { path } => {
                let tree = self.in_use(config, committed);
                delete_unused(config, clock, tree, path)
            }
            Queued::Members => self.members(config, time),
        })
    }

    /// What [`Variant::JudgeByCommitted`] judges by.
    pub fn judge_by(&mut self, committed: &Tree) {
        self.tree = committed.clone();
    }

    /// A session has ended.
    pub fn forget(&mut self, session: SessionId) {
        self.owners.remove(&session);
        self.expiry.remove(session);
    }

    /// The transaction of a write, or `None` if it must have no effect and nobody waits for it.
    fn prepare(
        &mut self,
        config: &Config,
        Ground {
            zxid,
            ensemble,
            time,
        }: Ground,
        owner: Owner,
        write: Submission,
        warnings: &mut Vec<String>,
    ) -> Option<Txn> {
        let Submission {
            session,
            is_local,
            cxid,
            auth,
            write,
            ..
        } = write;
        let asker = Asker {
            session,
            auth: &auth,
            config,
        };
        let variant = config.variant;
        let is_open = is_local
            || variant == Variant::EndedSessionWrites
            || self.tree.sessions().contains_key(&session);
        let is_owner = is_local
            || variant == Variant::OldConnectionTaken
            || self.owners.get(&session) == Some(&owner);
        let body = match write {
            // Its id was given out twice: it is not to have what is another's.
            Write::CreateSession { .. } if self.tree.sessions().contains_key(&session) => {
                TxnBody::Error(Some(ErrorCode::SessionExpired))
            }
            Write::CreateSession { timeout_ms } => {
                self.owners.insert(session, owner);
                TxnBody::CreateSession { timeout_ms }
            }
            Write::Resume { .. } if is_local => TxnBody::Error(None),
            Write::Resume { timeout_ms } if is_open => {
                self.owners.insert(session, owner);
                let before = self.tree.sessions().get(&session);
                match before.is_some_and(|before| *before != timeout_ms) {
                    true => TxnBody::CreateSession { timeout_ms }, // D60: it has another timeout from now on.
                    false => TxnBody::Error(None),
                }
            }
            Write::Resume { .. } => TxnBody::Error(Some(ErrorCode::SessionExpired)),
            // The session has ended, or moved to another connection. The transaction that did that
            // comes first, and makes the origin answer and close this connection.
            _ if !is_open || !is_owner => return None,
            Write::CloseSession => return self.close(session, cxid, time),
            Write::Sync => TxnBody::Error(None),
            Write::Operation(operation) => prepare::operation(&self.tree, asker, operation)
                .unwrap_or_else(|error| TxnBody::Error(Some(error))),
            Write::Multi(operations) => prepare::multi(&self.tree, zxid, asker, operations),
            Write::Reconfigure(asked) => {
                let prepared = reconfig::prepare(&self.tree, zxid, asker, ensemble, &asked);
                prepared.unwrap_or_else(|refusal| {
                    let problem = refusal.problem;
                    warnings.extend(problem.map(|p| format!("a reconfiguration is refused: {p}")));
                    TxnBody::Error(Some(refusal.code))
                })
            }
        };
        Some(Txn {
            session,
            cxid,
            time,
            body,
            digest: None,
        })
    }

    /// The quotas that a transaction exceeds: the soft ones, as the hard ones have refused it.
    fn excess(&self, config: &Config, body: &TxnBody) -> Vec<Excess> {
        match body {
            _ if !config.enforce_quota => Vec::new(),
            TxnBody::Create { path, data, .. } => {
                let bytes = data.len() as i64;
                self.tree.excess(path, Growth { count: 1, bytes })
            }
            TxnBody::SetData { path, data, .. } => {
                let before = self.tree.node(path).map_or(0, |node| node.data.len());
                let bytes = data.len() as i64 - before as i64;
                self.tree.excess(path, Growth { count: 0, bytes })
            }
            TxnBody::Multi(bodies) => {
                let all = bodies.iter().map(|body| self.excess(config, body));
                all.flatten().collect()
            }
            TxnBody::Delete { .. }
            | TxnBody::Reconfigure { .. }
            | TxnBody::InForce
            | TxnBody::SetAcl { .. }
            | TxnBody::Check { .. }
            | TxnBody::CreateSession { .. }
            | TxnBody::CloseSession { .. }
            | TxnBody::Error(_)
            | TxnBody::FailedMulti(_) => Vec::new(),
        }
    }

    /// The transaction that shows the members by the configuration, unless they are shown, or the ensemble has
    /// agreed on others.
    fn members(&self, config: &Config, time: i64) -> Option<Txn> {
        if reconfig::agreed(&self.tree).is_some() {
            return None;
        }
        let data = Data::from(config.members.as_ref()?.to_string().into_bytes());
        let shown = self.tree.node(CONFIG)?;
        (shown.data != data).then(|| Txn {
            session: SessionId::default(),
            cxid: NO_TICKET,
            time,
            body: TxnBody::SetData {
                path: CONFIG.to_owned(),
                data,
                // As ZooKeeper has it.
                version: -1,
            },
            digest: None,
        })
    }

    fn close(&self, session: SessionId, cxid: i32, time: i64) -> Option<Txn> {
        let ephemerals = self.tree.ephemerals(session);
        let is_there = self.tree.sessions().contains_key(&session) || !ephemerals.is_empty();
        is_there.then_some(Txn {
            session,
            cxid,
            time,
            body: TxnBody::CloseSession { ephemerals },
            digest: None,
        })
    }
}

/// The deletion of a znode that was found to be unused. It may have been used since then, by a write that
/// waited before this.
fn delete_unused(config: &Config, clock: &Clock, tree: &Tree, path: String) -> Option<Txn> {
    let is_unused = tree
        .node(&path)
        .is_some_and(|node| unused::is_unused(config, clock, &path, node));
    is_unused.then(|| Txn {
        session: SessionId::default(),
        cxid: NO_TICKET,
        time: clock.stamp_ms(),
        body: TxnBody::Delete { path },
        digest: None,
    })
}
