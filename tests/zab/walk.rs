//! A random walk through the states of an ensemble, without time: anything that could happen may
//! happen next, and every datagram that was ever sent may arrive (again).
//!
//! Spec: `spec/0-assumptions.md`. It goes where the checker goes, further but not everywhere. What it
//! must never do: drop a datagram, since the tests say which could be dropped.

use crate::cluster::{Cluster, Effects, Envelope, Numbers, SEEN_ELSEWHERE, config};
use crate::sim::Random;
use keepright::types::ServerId;
use keepright::zab::obsolete::Hazards;
use keepright::zab::{Config, Elections, Msg, Role, State, Timer, Variant};
use std::collections::BTreeSet;
use std::collections::HashSet;

/// An ensemble and everything that was ever sent in it.
pub struct Walk {
    pub cluster: Cluster,
    pub random: Random,
    /// Every datagram that was ever sent, once, oldest first.
    pub sent: Vec<Envelope>,
    pub ever_sent: HashSet<Envelope>,
    written: u32,
    /// Whether a save is durable at once.
    coarse: bool,
    /// Whether services may still take snapshots, servers crash, and roles be given up.
    pub hazards: Hazards,
}

/// Something that the walk does next.
#[derive(Clone, Debug)]
pub enum Step {
    Deliver(Envelope),
    Input(ServerId, Msg<Numbers>),
    Snapshot(ServerId),
    Fire(ServerId, Timer),
    Flush(ServerId),
    Crash(ServerId, usize),
    Start(ServerId),
}

impl Step {
    /// The server that it concerns.
    pub fn server(&self) -> ServerId {
        match self {
            Self::Deliver(envelope) => envelope.dst,
            Self::Input(id, _)
            | Self::Snapshot(id)
            | Self::Fire(id, _)
            | Self::Flush(id)
            | Self::Crash(id, _)
            | Self::Start(id) => *id,
        }
    }
}

impl Walk {
    /// An ensemble with everybody up, of a size and with settings that depend on the seed.
    pub fn new(seed: u64, elections: Elections) -> Self {
        Self::of(seed, elections, Variant::Faithful)
    }

    /// The same of a variant of the protocol.
    fn of(seed: u64, elections: Elections, variant: Variant) -> Self {
        let mut random = Random(seed);
        let voters = [2, 3, 3, 3, 4, 5][random.below(6)];
        let observers = [0, 0, 1][random.below(3)];
        let config = Config {
            elections,
            variant,
            max_counter: [u32::MAX, 1, 2, 3][random.below(4)],
            retain: [0, 0, 1, 500][random.below(4)],
            ..config(voters, observers)
        };
        let mut walk = Self {
            cluster: Cluster::new(config),
            sent: Vec::new(),
            ever_sent: HashSet::new(),
            written: 0,
            coarse: random.chance(50),
            hazards: Hazards {
                compacts: random.chance(50),
                fails: true,
                gives_up: true,
            },
            random,
        };
        for id in walk.cluster.ids() {
            walk.take(&Step::Start(id));
        }
        walk
    }

    /// Chooses what happens next.
    pub fn choose(&mut self) -> Step {
        loop {
            let ids = self.cluster.ids();
            let id = self.random.pick(&ids).expect("a server");
            let Some(state) = self.cluster.nodes[&id].state.clone() else {
                if self.random.chance(20) {
                    return Step::Start(id);
                }
                continue;
            };
            let unsaved = self.cluster.nodes[&id].unsaved.len();
            match self.random.below(100) {
                0 if self.hazards.fails && self.random.chance(50) => {
                    return Step::Crash(id, self.random.below(unsaved + 1));
                }
                1..20 if unsaved > 0 => return Step::Flush(id),
                20..22 => return Step::Fire(id, Timer::Heartbeat),
                22..30 => {
                    if let Some(step) = self.election(id, &state) {
                        return step;
                    }
                }
                30..32 if self.hazards.gives_up => {
                    if let Some(step) = self.timeout(id, &state) {
                        return step;
                    }
                }
                32..40 if self.written < 30 && state.next_zxid().is_some() => {
                    self.written += 1;
                    return Step::Input(id, Msg::Propose(self.written));
                }
                40..42 if self.hazards.compacts => return Step::Snapshot(id),
                42.. => {
                    if let Some(envelope) = self.datagram(id) {
                        return Step::Deliver(envelope);
                    }
                }
                _ => {}
            }
        }
    }

    fn election(&mut self, id: ServerId, state: &State<Numbers>) -> Option<Step> {
        if !matches!(state.role(), Role::Looking(_)) {
            return None;
        }
        match self.cluster.zab.config.elections {
            Elections::Held => Some(Step::Fire(id, Timer::Finalize)),
            Elections::External => {
                let voters: Vec<_> = self.cluster.zab.config.membership.voters.iter().collect();
                // Mostly a sensible outcome: somebody whom another one follows.
                let followed = self.cluster.nodes.values().find_map(|node| {
                    let state = node.state.as_ref()?;
                    state.following()
                });
                let leader = match followed {
                    Some(leader) if self.random.chance(80) => leader,
                    _ => self.random.pick(&voters)?,
                };
                Some(Step::Input(id, Msg::Elected(leader)))
            }
        }
    }

    fn timeout(&mut self, id: ServerId, state: &State<Numbers>) -> Option<Step> {
        let timers: Vec<_> = match state.role() {
            Role::Looking(_) => vec![],
            Role::Following(follower) => vec![Timer::Peer(follower.leader), Timer::Establish],
            Role::Leading(leader) => {
                let peers = leader.active.iter().map(Timer::Peer);
                peers.chain([Timer::Establish]).collect()
            }
        };
        Some(Step::Fire(id, self.random.pick(&timers)?))
    }

    /// A datagram to that server, mostly a recent one.
    fn datagram(&mut self, to: ServerId) -> Option<Envelope> {
        let count = self.sent.len();
        let recent = if self.random.chance(85) { 30 } else { count };
        let all = &self.sent[count.saturating_sub(recent)..];
        let to_it: Vec<_> = all.iter().filter(|e| e.dst == to).cloned().collect();
        self.random.pick(&to_it)
    }

    /// Does it, and keeps what is sent.
    pub fn take(&mut self, step: &Step) {
        let id = step.server();
        let cluster = &mut self.cluster;
        let mut effects = match step.clone() {
            Step::Deliver(envelope) => cluster.deliver(&envelope),
            Step::Input(id, msg) => cluster.input(id, msg),
            Step::Snapshot(id) => cluster.snapshot(id),
            Step::Fire(id, timer) => cluster.fire(id, timer),
            Step::Flush(id) => cluster.flush(id, 1),
            Step::Start(id) => cluster.start(id),
            Step::Crash(id, kept) => {
                cluster.crash(id, kept);
                Effects::default()
            }
        };
        self.keep(std::mem::take(&mut effects.sent));
        while self.coarse && !self.cluster.nodes[&id].unsaved.is_empty() {
            let effects = self.cluster.flush(id, 1);
            self.keep(effects.sent);
        }
    }

    fn keep(&mut self, sent: Vec<Envelope>) {
        for envelope in sent {
            if self.ever_sent.insert(envelope.clone()) {
                self.sent.push(envelope);
            }
        }
    }

    /// What kinds of state it is in, to know that the walk was worth it.
    pub fn witnessed(&self) -> BTreeSet<&'static str> {
        self.cluster.witnessed().into_iter().collect()
    }
}

#[test]
fn a_walk_comes_by_the_witness_of_every_invariant_and_breaks_none() {
    let mut witnessed = BTreeSet::new();
    for (elections, seeds) in [(Elections::External, 40), (Elections::Held, 40)] {
        crate::sim::with_seeds("a_walk", seeds, |seed| {
            let mut walk = Walk::new(seed, elections);
            for _ in 0..1500 {
                let step = walk.choose();
                walk.take(&step);
                witnessed.extend(walk.witnessed());
            }
        });
    }
    let all: BTreeSet<_> = keepright::zab::invariants::all::<Numbers>()
        .iter()
        .map(|invariant| invariant.witness_id)
        .filter(|witness| !SEEN_ELSEWHERE.contains(witness))
        .collect();
    if !crate::sim::one_seed() {
        assert_eq!(witnessed, all);
    }
}

/// How many walks of a variant it takes until an invariant falls, and which.
fn falls(variant: Variant) -> Option<(u64, BTreeSet<&'static str>)> {
    (0..400).find_map(|seed| {
        let elections = match seed % 2 {
            0 => Elections::External,
            _ => Elections::Held,
        };
        let mut walk = Walk::of(seed, elections, variant);
        walk.cluster.fallen = Some(BTreeSet::new());
        for _ in 0..1500 {
            let step = walk.choose();
            walk.take(&step);
            let fallen = walk.cluster.fallen.clone().expect("wanted");
            if !fallen.is_empty() {
                return Some((seed + 1, fallen));
            }
        }
        None
    })
}

/// What does nothing wrong that a walk sees. Its disks neither fail nor forget; that nothing good happens
/// is no invariant; and what a step leaves unsaid the models alone write down.
const ELSEWHERE: [Variant; 16] = [
    Variant::Faithful,
    Variant::DiskErrorIgnored,
    Variant::VoterForgets,
    Variant::EmptyDisksVote,
    Variant::NamesIgnored,
    Variant::JoinInsistsOnRound,
    Variant::AnyWordSupports,
    Variant::MalformedVoteDeafens,
    Variant::NewcomerNotCaughtUp,
    Variant::NewcomerToldInitial,
    // Every vote counts the same, and the voters stay what they are.
    Variant::WeightsIgnored,
    Variant::ReconfiguredByOld,
    Variant::ReconfiguredByNew,
    Variant::AcknowledgedByOld,
    Variant::InForceWhenProposed,
    Variant::ElectedByOld,
];

#[test]
fn a_walk_of_a_wrong_protocol_makes_an_invariant_fall() {
    let mut missed = Vec::new();
    for variant in Variant::ALL.iter().filter(|v| !ELSEWHERE.contains(v)) {
        let found = falls(*variant);
        println!("{variant:?}: {found:?}");
        if found.is_none() {
            missed.push(*variant);
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
