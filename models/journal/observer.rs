//! An all-knowing observer of a real run, who asks the invariants.
//!
//! Spec: `spec/invariants.toml`. The record is kept and the ensemble is made up as `judge.rs` does for the
//! models; what the invariants are shown of long histories is in `window.rs`. What it must never do: judge
//! by what a server says of itself where its journal shows what it did.

use super::window::{Seen, Window};
use keepright::quorum::ServerSet;
use keepright::service::ZooKeeper;
use keepright::types::{ServerId, Zxid};
use keepright::zab::invariants::{self, Ensemble, Invariant, Server};
use keepright::zab::{Entry, Mark, Message, Payload, Role, State, Storage, Zab};
use keepright::znode::Txn;
use std::collections::BTreeMap;

/// Up to so many transactions in the longest history that is shown, the invariants are asked in every
/// state that is new to them; with more, more seldom, for what they do grows with the square.
const AT_EVERY_STEP: usize = 64;

/// A server as the observer sees it.
pub struct Watched {
    /// What is durable.
    pub disk: Storage<ZooKeeper>,
    /// `None` while it is down.
    pub state: Option<State<ZooKeeper>>,
    seen_disk: Storage<Seen>,
    seen: Option<State<Seen>>,
}

/// What one step of a server has brought about.
pub struct Step<'a> {
    pub server: ServerId,
    /// `None` if the server is down now.
    pub state: Option<&'a State<ZooKeeper>>,
    pub disk: &'a Storage<ZooKeeper>,
    pub sent: &'a [(ServerId, &'a Message<ZooKeeper>)],
}

impl<'a> Step<'a> {
    /// A server that is down from now on.
    pub fn down(server: ServerId, disk: &'a Storage<ZooKeeper>) -> Self {
        Self {
            server,
            state: None,
            disk,
            sent: &[],
        }
    }
}

/// What the invariants have said so far.
pub struct Verdict {
    pub invariant: Invariant<Seen>,
    /// The step that broke it.
    pub broken: Option<u64>,
    /// The step that brought its witness.
    pub witnessed: Option<u64>,
    /// Why it is not asked.
    pub unasked: Option<&'static str>,
}

/// The observer.
pub struct Observer {
    /// The actor that the servers are, as the invariants see it and as it is.
    seen_zab: Zab<Seen>,
    zab: Zab<ZooKeeper>,
    pub window: Window,
    pub servers: BTreeMap<ServerId, Watched>,
    pub verdicts: Vec<Verdict>,
    /// States that were new to the invariants, and how many of them they were asked about.
    pub states: u64,
    pub asked: u64,
    /// New states since the invariants were asked.
    unasked: u64,
    /// How often a server began to lead.
    pub elections: u64,
}

impl Observer {
    /// An observer of servers that are still down, with what is on their disks.
    pub fn new(zab: Zab<ZooKeeper>, disks: BTreeMap<ServerId, Storage<ZooKeeper>>) -> Self {
        let mut window = Window::default();
        disks.values().for_each(|disk| window.give(&disk.history));
        for disk in disks.values() {
            window.propose_given(disk.history.entries().iter());
        }
        let mut config = zab.config.clone();
        if let Some(given) = disks
            .values()
            .max_by_key(|disk| disk.history.snapshot().zxid)
            && let Some(agreed) = ZooKeeper::membership(&given.history.snapshot().state)
        {
            config.membership = agreed;
        }
        let all_vote = config
            .membership
            .voters
            .iter()
            .all(|voter| disks.contains_key(&voter));
        let watch = |(id, disk): (ServerId, Storage<ZooKeeper>)| {
            let watched = Watched {
                seen_disk: disk.with_history(window.view(&disk.history)),
                disk,
                state: None,
                seen: None,
            };
            (id, watched)
        };
        let servers = disks.into_iter().map(watch).collect();
        let verdict = |invariant: Invariant<Seen>| Verdict {
            unasked: (!all_vote && needs_all_voters(&invariant)).then_some(NEEDS_ALL_VOTERS),
            invariant,
            broken: None,
            witnessed: None,
        };
        Self {
            seen_zab: Zab::new(config),
            zab,
            window,
            servers,
            verdicts: invariants::all().into_iter().map(verdict).collect(),
            states: 0,
            asked: 0,
            unasked: 0,
            elections: 0,
        }
    }

    /// Takes transactions that came from a server without a journal as proposed.
    pub fn propose_given<'a>(&mut self, entries: impl Iterator<Item = &'a Entry<Txn>>) {
        self.window.propose_given(entries);
    }

    /// Takes note of a step, and asks the invariants if they can see a difference. Returns whether they
    /// can. `number` is that of the step.
    pub fn on_step(&mut self, number: u64, step: &Step<'_>) -> bool {
        let Step {
            server,
            state,
            disk,
            sent,
        } = *step;
        let before = self
            .servers
            .remove(&server)
            .expect("a server that is watched");
        for (_, message) in sent {
            self.window.record.said_too_early |= !invariants::is_durable(disk, message);
        }
        if let (Some(before), Some(after)) = (&before.state, state) {
            self.window.record.left_behind |=
                invariants::leaves_behind(&self.zab, before, after, sent);
            self.elections += u64::from(!before.is_leading() && after.is_leading());
        }
        let is_new = outline(before.state.as_ref()) != outline(state)
            || role(before.state.as_ref()) != role(state)
            || end(&before.disk) != end(disk);
        if !is_new {
            let state = state.cloned();
            self.servers.insert(server, Watched { state, ..before });
            return false;
        }
        let seen_disk = match end(&before.disk) == end(disk) {
            true => disk.with_history(before.seen_disk.history),
            false => disk.with_history(self.window.view(&disk.history)),
        };
        let seen = state.map(|state| {
            let known = before.state.as_ref().zip(before.seen.as_ref());
            match known.filter(|(known, _)| end(known.storage()) == end(state.storage())) {
                Some((_, seen)) => state.with_history(seen.storage().history.clone()),
                None => state.with_history(self.window.view(&state.storage().history)),
            }
        });
        if let (Some(seen), Some(state)) = (&seen, state) {
            let others = &self.servers;
            let other = |id| others.get(&id).and_then(|other| other.seen.as_ref());
            let record = &mut self.window.record;
            record.observe(server, before.seen.as_ref(), seen, other);
            let delivered = before.state.as_ref().map_or(Zxid::ZERO, State::committed);
            let history = &state.storage().history;
            self.window.compare(history, delivered, state.committed());
        }
        let watched = Watched {
            disk: disk.clone(),
            state: state.cloned(),
            seen_disk,
            seen,
        };
        self.servers.insert(server, watched);
        let delivered = self.window.committed();
        if self.window.advance() {
            self.view_all();
        }
        self.look_for_voters(delivered);
        self.states += 1;
        self.ask_if_due(number);
        true
    }

    /// Stops asking what needs the disks of all voters if a membership was delivered, after the first `known`
    /// transactions, that has others.
    fn look_for_voters(&mut self, known: usize) {
        let unknown = |voters: &ServerSet| voters.iter().any(|v| !self.servers.contains_key(&v));
        let mut proposed = self.window.proposed_after(known);
        let lacks_some = proposed.any(|membership| unknown(&membership.voters));
        if lacks_some {
            for verdict in &mut self.verdicts {
                if needs_all_voters(&verdict.invariant) && verdict.broken.is_none() {
                    verdict.unasked = Some(NEEDS_ALL_VOTERS);
                }
            }
        }
    }

    /// Shows every history through the window as it is now.
    fn view_all(&mut self) {
        for watched in self.servers.values_mut() {
            let Watched { disk, state, .. } = &*watched;
            let view = |storage: &Storage<ZooKeeper>| self.window.view(&storage.history);
            let seen = state.as_ref();
            let seen = seen.map(|state| state.with_history(view(state.storage())));
            (watched.seen_disk, watched.seen) = (disk.with_history(view(disk)), seen);
        }
    }

    fn ask_if_due(&mut self, number: u64) {
        let entries = |watched: &Watched| match &watched.seen {
            Some(seen) => seen.storage().history.entries().len(),
            None => watched.seen_disk.history.entries().len(),
        };
        let longest = self.servers.values().map(entries).max().unwrap_or(0);
        self.unasked += 1;
        if self.unasked >= ((longest / AT_EVERY_STEP) as u64).pow(2) {
            self.ask(number);
        }
    }

    /// Asks about the last state, unless that has been done.
    pub fn finish(&mut self, number: u64) {
        if self.unasked > 0 {
            self.ask(number);
        }
    }

    /// Asks the invariants about the present state.
    fn ask(&mut self, number: u64) {
        self.unasked = 0;
        self.asked += 1;
        let servers: Vec<Server<'_, Seen>> = self
            .servers
            .iter()
            .map(|(id, watched)| Server {
                id: *id,
                disk: &watched.seen_disk,
                state: watched.seen.as_ref(),
            })
            .collect();
        let ensemble = Ensemble {
            zab: &self.seen_zab,
            servers: &servers,
            record: &self.window.record,
        };
        for verdict in &mut self.verdicts {
            let Invariant { holds, witness, .. } = verdict.invariant;
            if verdict.unasked.is_none() && verdict.broken.is_none() && !holds(&ensemble) {
                verdict.broken = Some(number);
            }
            if verdict.witnessed.is_none() && witness(&ensemble) {
                verdict.witnessed = Some(number);
            }
        }
    }

    /// The invariants that this step broke.
    pub fn broken_by(&self, number: u64) -> impl Iterator<Item = &'static str> {
        let broken = self
            .verdicts
            .iter()
            .filter(move |v| v.broken == Some(number));
        broken.map(|verdict| verdict.invariant.id)
    }
}

const NEEDS_ALL_VOTERS: &str = "needs all voters";

/// Whether an invariant is about what the disks of a quorum hold.
fn needs_all_voters(invariant: &Invariant<Seen>) -> bool {
    ["committed_survives", "reconfigured_by_both"].contains(&invariant.id)
}

/// A history by its ends: while these stay, it stays.
fn end(storage: &Storage<ZooKeeper>) -> (Mark, Zxid, Zxid) {
    let history = &storage.history;
    (
        Mark::from(storage),
        history.start(),
        history.snapshot().zxid,
    )
}

type Outline = ((Mark, Zxid, Zxid), Mark, Zxid, usize);

/// All that the invariants see of a state, but for the role.
fn outline(state: Option<&State<ZooKeeper>>) -> Option<Outline> {
    state.map(|state| {
        (
            end(state.storage()),
            state.durable(),
            state.committed(),
            state.pending_saves(),
        )
    })
}

fn role(state: Option<&State<ZooKeeper>>) -> Option<&Role<ZooKeeper>> {
    state.map(State::role)
}
