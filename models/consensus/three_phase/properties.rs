//! What must hold of `models/consensus/three_phase.rs`, what is claimed to go wrong, and how it is told.
//!
//! Spec: `spec/consensus.md`, "Three-phase commit". What it must never do: change what the actor does.

use super::{Coordinator, Disk, Msg, Rule, State, ThreePhase, Wait};
use crate::consensus::bounds::Bounds;
use crate::consensus::environment::{Ensemble, World};
use crate::consensus::protocol::{Card, Claim, Invariant, Mutant, Protocol, Term, Told, mutant};
use crate::consensus::transaction::{self, Outcome, Standing};
use crate::svg::Stand;
use stateright::actor::Id;
use std::collections::BTreeMap;

impl Protocol for ThreePhase {
    type Rule = Rule;
    /// How each participant ended first.
    type Past = BTreeMap<Id, Outcome>;

    const LOG: bool = false;
    const CARD: Card = Card {
        name: "three_phase",
        about: "three-phase commit: before the commit everybody learns that all have voted for it",
        bounds: &[
            THREE.writes(2).timeouts(3).timely(),
            THREE.writes(2).timeouts(3).crashes(1).timely(),
            THREE.writes(2).timeouts(2).crashes(1),
        ],
        durable: "participant: its vote, its precommit and how it ended, before it says so; coordinator: that it \
                  begins, and the decision",
    };

    const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            id: "timely_atomic",
            term: Term::Agreement,
            prose: "While nobody fails and no timer fires before a message that is on its way, no participant commits \
                    while another one aborts.",
            broken: |model, world| match model.bounds.timely && nobody_failed(model, world) {
                true => transaction::split(&model.protocol, &world.past),
                false => None,
            },
            witness_id: "two_committed_in_time",
            witness: |model, world| {
                let commits = world.past.values().filter(|o| **o == Outcome::Commit);
                model.bounds.timely && nobody_failed(model, world) && commits.count() > 1
            },
        },
        Invariant {
            id: "three_phase_voted",
            term: Term::Validity,
            prose: "Nobody commits before everybody has voted.",
            broken: |model, world| {
                let committed = world.past.values().any(|o| *o == Outcome::Commit);
                let mut others = model.protocol.participants.iter();
                let early = others.find(|id| world.node(**id).disk.is_none())?;
                let name = model.protocol.name_of(*early);
                committed.then(|| format!("there is a commit, and {name} has not voted"))
            },
            witness_id: "committed_by_one",
            witness: |_, world| {
                let commits = world.past.values().filter(|o| **o == Outcome::Commit);
                commits.count() == 1
            },
        },
        Invariant {
            id: "three_phase_stays",
            term: Term::Stability,
            prose: "A participant that has ended has ended, and so it stays.",
            broken: |model, world| transaction::changed(model, world, &world.past, standing),
            witness_id: "all_ended_after_restart",
            witness: |model, world| {
                !nobody_failed(model, world) && world.down() == 0 && world.past.len() == 2
            },
        },
        Invariant {
            id: "nobody_blocks",
            term: Term::Progress,
            prose: "Whoever is down, the participants that are up can end.",
            broken: |model, world| {
                let stuck = !model.leads_to(world, all_up_ended);
                stuck.then(|| "no step leads to the end".to_owned())
            },
            witness_id: "coordinator_down_after_votes",
            witness: |model, world| {
                let prepared =
                    |(_, state): (Id, &State)| standing(state) == Some(Standing::Prepared);
                !world.is_up(model.protocol.coordinator) && world.up().all(prepared)
            },
        },
    ];

    const CLAIMS: &'static [Claim<Self>] = &[
        Claim {
            id: "partition_splits",
            term: Term::Agreement,
            prose: "If the network is divided, a participant commits by its timeout while others abort",
            bounds: THREE.timeouts(3).partitions(1).timely(),
            found: |model, world| transaction::split(&model.protocol, &world.past),
        },
        Claim {
            id: "late_abort_splits",
            term: Term::Agreement,
            prose: "If the coordinator's abort is late, a participant commits by its timeout while others abort",
            bounds: THREE.timeouts(2),
            found: |model, world| {
                let coordinator = world.state(model.protocol.coordinator)?;
                let aborts = State::Coordinator(Coordinator::Decided(Outcome::Abort));
                match *coordinator == aborts {
                    true => transaction::split(&model.protocol, &world.past),
                    false => None,
                }
            },
        },
        Claim {
            id: "half_told_splits",
            term: Term::Agreement,
            prose: "A coordinator that dies while it sends PreCommit suffices: who has it commits, who has not aborts",
            bounds: THREE.timeouts(2).crashes(1).timely(),
            found: |model, world| match world.is_up(model.protocol.coordinator) {
                false => transaction::split(&model.protocol, &world.past),
                true => None,
            },
        },
    ];

    const MUTANTS: &'static [Mutant<Rule>] = &[
        mutant(
            "three_phase_one_vote",
            Rule::AllVotes,
            THREE.writes(2).timeouts(1).timely(),
            "timely_atomic",
        ),
        mutant(
            "three_phase_one_vote",
            Rule::AllVotes,
            THREE.timeouts(1),
            "three_phase_voted",
        ),
        mutant(
            "three_phase_waits",
            Rule::Timeouts,
            THREE.crashes(1).timely(),
            "nobody_blocks",
        ),
        mutant(
            "three_phase_forgets",
            Rule::SavesOutcome,
            THREE.crashes(1),
            "three_phase_stays",
        ),
    ];

    fn new(bounds: &Bounds, broken: Option<Rule>) -> Self {
        Self {
            coordinator: Id::from(0),
            participants: (1..bounds.size()).map(Id::from).collect(),
            broken,
        }
    }

    /// One transaction; the second write is another one, which takes what the last participant needs for the first.
    fn requests(&self, writes: u8) -> Vec<(Id, Msg)> {
        let last = self.participants[self.participants.len() - 1];
        let all = [(self.coordinator, Msg::Request), (last, Msg::Conflict)];
        all.into_iter().take(usize::from(writes)).collect()
    }

    fn done(world: &World<Self>, _: u8) -> bool {
        world.answers().next().is_some()
    }

    fn note(&self, world: &mut World<Self>) {
        transaction::note(&world.nodes, &mut world.past, standing);
    }
}

impl Told for ThreePhase {
    fn name_of(&self, id: Id) -> String {
        match id == self.coordinator {
            true => "the coordinator".to_owned(),
            false => format!("participant {}", usize::from(id)),
        }
    }

    fn state(&self, state: &State) -> String {
        match state {
            State::Coordinator(Coordinator::Idle) => "idle".to_owned(),
            State::Coordinator(Coordinator::Collecting(votes)) => {
                format!("has asked; votes for it: {}", votes.len())
            }
            State::Coordinator(Coordinator::PreCommitting(acks)) => {
                format!("has sent PreCommit; acknowledged: {}", acks.len())
            }
            State::Coordinator(Coordinator::Decided(outcome)) => format!("has decided: {outcome}"),
            State::Participant(standing) => standing.to_string(),
        }
    }

    fn disk(&self, disk: &Disk) -> String {
        match disk {
            Disk::Coordinator(None) => "begun".to_owned(),
            Disk::Coordinator(Some(outcome)) => outcome.to_string(),
            Disk::Participant(standing) => standing.to_string(),
        }
    }

    fn message(&self, message: &Msg) -> String {
        match message {
            Msg::Request => "a request for the transaction".to_owned(),
            Msg::Conflict => "another write, which takes what the transaction needs,".to_owned(),
            Msg::CanCommit => "CanCommit".to_owned(),
            Msg::Vote(true) => "Vote yes".to_owned(),
            Msg::Vote(false) => "Vote no".to_owned(),
            Msg::PreCommit => "PreCommit".to_owned(),
            Msg::Ack => "Ack".to_owned(),
            Msg::Decide(outcome) => format!("Decide {outcome}"),
            Msg::Ended(outcome) => format!("Ended: {outcome}"),
        }
    }

    fn timeout(&self, _: &Wait) -> &'static str {
        "waits for the next message no longer"
    }

    fn stand(&self, state: &State) -> Stand {
        let standing = match state {
            State::Participant(standing) => *standing,
            State::Coordinator(Coordinator::Idle) => Standing::Working,
            State::Coordinator(Coordinator::Collecting(_)) => Standing::Prepared,
            State::Coordinator(Coordinator::PreCommitting(_)) => Standing::PreCommitted,
            State::Coordinator(Coordinator::Decided(outcome)) => Standing::Ended(*outcome),
        };
        transaction::stand(standing, self.state(state))
    }
}

const THREE: Bounds = Bounds::servers(3);

fn standing(state: &State) -> Option<Standing> {
    match state {
        State::Participant(standing) => Some(*standing),
        State::Coordinator(_) => None,
    }
}

/// Nobody has crashed so far, and nobody was cut off.
fn nobody_failed(model: &Ensemble<ThreePhase>, world: &World<ThreePhase>) -> bool {
    let Bounds {
        crashes,
        partitions,
        ..
    } = model.bounds;
    (world.left.crashes, world.left.partitions) == (crashes, partitions)
}

fn all_up_ended(_: &Ensemble<ThreePhase>, world: &World<ThreePhase>) -> bool {
    let ended = |(_, state): (Id, &State)| match standing(state) {
        Some(standing) => matches!(standing, Standing::Ended(_)),
        None => true,
    };
    world.up().all(ended)
}
