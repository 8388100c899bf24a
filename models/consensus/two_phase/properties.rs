//! What must hold of `models/consensus/two_phase.rs`, what is claimed to go wrong, and how it is told.
//!
//! Spec: `spec/consensus.md`, "Two-phase commit". What it must never do: change what the actor does.

use super::{Coordinator, Disk, Msg, Rule, State, Timer, TwoPhase};
use crate::consensus::bounds::Bounds;
use crate::consensus::environment::{Ensemble, World};
use crate::consensus::protocol::{Card, Claim, Invariant, Mutant, Protocol, Term, Told, mutant};
use crate::consensus::transaction::{self, Outcome, Standing};
use crate::svg::Stand;
use stateright::actor::Id;
use std::collections::BTreeMap;

impl Protocol for TwoPhase {
    type Rule = Rule;
    /// How each participant ended first.
    type Past = BTreeMap<Id, Outcome>;

    const LOG: bool = false;
    const CARD: Card = Card {
        name: "two_phase",
        about: "two-phase commit: a coordinator asks all participants, and then tells all",
        bounds: &[
            THREE.writes(2).timeouts(2).crashes(1),
            THREE.timeouts(1).crashes(2),
            THREE.writes(2).timeouts(2).crashes(1).timely(),
        ],
        durable: "participant: its vote and how it ended, before it says so; coordinator: that it begins, and the \
                  decision, before it tells",
    };

    const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            id: "commit_atomic",
            term: Term::Agreement,
            prose: "No participant commits while another one aborts.",
            broken: |model, world| transaction::split(&model.protocol, &world.past),
            witness_id: "two_committed",
            witness: |_, world| {
                world
                    .past
                    .values()
                    .filter(|o| **o == Outcome::Commit)
                    .count()
                    > 1
            },
        },
        Invariant {
            id: "commit_voted",
            term: Term::Validity,
            prose: "Nobody commits before everybody has voted for it.",
            broken: |model, world| {
                let committed = world.past.values().any(|o| *o == Outcome::Commit);
                let mut others = model.protocol.participants.iter();
                let early = others.find(|id| world.node(**id).disk.is_none())?;
                let name = model.protocol.name_of(*early);
                committed.then(|| format!("there is a commit, and {name} has not voted"))
            },
            witness_id: "committed_and_prepared",
            witness: |model, world| {
                let standings = standings(model, world);
                standings.contains(&Some(Standing::Prepared))
                    && standings.contains(&Some(Standing::Ended(Outcome::Commit)))
            },
        },
        Invariant {
            id: "outcome_stays",
            term: Term::Stability,
            prose: "A participant that has ended has ended, and so it stays.",
            broken: |model, world| transaction::changed(model, world, &world.past, standing),
            witness_id: "ended_after_restart",
            witness: |model, world| {
                let ended = |s: &Option<Standing>| matches!(s, Some(Standing::Ended(_)));
                let restarted = world.down() == 0 && world.left.crashes < model.bounds.crashes;
                restarted && standings(model, world).iter().all(ended)
            },
        },
        Invariant {
            id: "all_up_ends",
            term: Term::Progress,
            prose: "With everybody up, the transaction can end everywhere.",
            broken: |model, world| {
                let stuck = world.down() == 0 && !model.leads_to(world, all_ended);
                stuck.then(|| "everybody is up, and no step leads to the end".to_owned())
            },
            witness_id: "all_up_again",
            witness: |model, world| {
                let restarted = world.down() == 0 && world.left.crashes < model.bounds.crashes;
                restarted && standings(model, world).contains(&Some(Standing::Prepared))
            },
        },
    ];

    const CLAIMS: &'static [Claim<Self>] = &[
        Claim {
            id: "coordinator_blocks",
            term: Term::Progress,
            prose: "If the coordinator dies after the votes, the participants hold what they have locked, without end",
            bounds: THREE.crashes(1),
            found: |model, world| {
                let all = standings(model, world);
                let prepared = all.iter().all(|s| *s == Some(Standing::Prepared));
                let stuck = coordinator_down(model, world) && prepared;
                let stuck = stuck && !model.leads_to(world, anybody_ended);
                stuck.then(|| {
                    "all have voted yes and hold their locks; while the coordinator is down no step leads on".to_owned()
                })
            },
        },
        Claim {
            id: "some_commit",
            term: Term::Agreement,
            prose: "If the coordinator dies while it sends the commit, some commit and the others do not",
            bounds: THREE.crashes(1).timely(),
            found: |model, world| {
                let all = standings(model, world);
                let mixed = all.contains(&Some(Standing::Prepared))
                    && all.contains(&Some(Standing::Ended(Outcome::Commit)));
                let stuck = coordinator_down(model, world) && mixed;
                let stuck = stuck && !model.leads_to(world, all_ended);
                stuck.then(|| {
                    "one has committed, the other one cannot while the coordinator is down"
                        .to_owned()
                })
            },
        },
    ];

    const MUTANTS: &'static [Mutant<Rule>] = &[
        mutant("tpc_one_vote", Rule::AllVotes, THREE, "commit_voted"),
        mutant(
            "tpc_gives_up",
            Rule::WaitsForDecision,
            THREE.timeouts(1),
            "commit_atomic",
        ),
        mutant(
            "tpc_forgets_vote",
            Rule::SavesVote,
            THREE.timeouts(1).crashes(1),
            "commit_atomic",
        ),
        mutant(
            "tpc_forgets_decision",
            Rule::SavesDecision,
            THREE.crashes(1),
            "commit_atomic",
        ),
        mutant(
            "tpc_forgets_outcome",
            Rule::SavesOutcome,
            THREE.crashes(1),
            "outcome_stays",
        ),
        mutant(
            "tpc_never_recovers",
            Rule::Recovers,
            THREE.crashes(1),
            "all_up_ends",
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

impl Told for TwoPhase {
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
            State::Coordinator(Coordinator::Decided(outcome)) => format!("has decided: {outcome}"),
            State::Coordinator(Coordinator::Lost) => "does not know what to do".to_owned(),
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
            Msg::Prepare => "Prepare".to_owned(),
            Msg::Vote(true) => "Vote yes".to_owned(),
            Msg::Vote(false) => "Vote no".to_owned(),
            Msg::Decide(outcome) => format!("Decide {outcome}"),
            Msg::Ended(outcome) => format!("Ended: {outcome}"),
        }
    }

    fn timeout(&self, timer: &Timer) -> &'static str {
        match timer {
            Timer::Votes => "waits for votes no longer and aborts",
            Timer::GiveUp => "waits to be asked no longer and aborts",
        }
    }

    fn stand(&self, state: &State) -> Stand {
        let standing = match state {
            State::Participant(standing) => *standing,
            State::Coordinator(Coordinator::Idle | Coordinator::Lost) => Standing::Working,
            State::Coordinator(Coordinator::Collecting(_)) => Standing::Prepared,
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

/// How each participant stands; `None` if it is down.
fn standings(model: &Ensemble<TwoPhase>, world: &World<TwoPhase>) -> Vec<Option<Standing>> {
    let all = model.protocol.participants.iter();
    all.map(|id| world.state(*id).and_then(standing)).collect()
}

fn coordinator_down(model: &Ensemble<TwoPhase>, world: &World<TwoPhase>) -> bool {
    !world.is_up(model.protocol.coordinator)
}

fn all_ended(model: &Ensemble<TwoPhase>, world: &World<TwoPhase>) -> bool {
    let ended = |s: &Option<Standing>| matches!(s, Some(Standing::Ended(_)));
    standings(model, world).iter().all(ended)
}

fn anybody_ended(model: &Ensemble<TwoPhase>, world: &World<TwoPhase>) -> bool {
    let ended = |s: &Option<Standing>| matches!(s, Some(Standing::Ended(_)));
    standings(model, world).iter().any(ended)
}
