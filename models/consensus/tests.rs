//! The other protocols, checked: what holds, what the notes claim, and whether either could be noticed to be wrong.

use super::acceptor::{Acceptor, Ballot, Value, Vote};
use super::bounds::Bounds;
use super::claims::{self, Claimed};
use super::cost::Cost;
use super::environment::{Action, Ensemble, World};
use super::multi_paxos::MultiPaxos;
use super::paxos::Paxos;
use super::primary_backup::{self, PrimaryBackup};
use super::protocol::{Claim, Protocol};
use super::raft::Raft;
use super::scheme_one::{self, SchemeOne};
use super::trials::Kind;
use super::two_phase::{self, TwoPhase};
use super::{ALL, zab};
use crate::engine::{self, End, Limits, Progress};
use crate::report::{self, Witnesses};
use crate::run::Run;
use stateright::actor::Id;
use stateright::{Checker, Model};
use std::collections::BTreeSet;

const LIMITS: Limits = Limits {
    threads: 2,
    stop_at_first: true,
    max_states: None,
    max_time: None,
    max_memory: None,
};

/// Whether a model takes seconds rather than moments.
fn is_large(kind: &dyn Kind) -> bool {
    kind.card().name == Paxos::CARD.name
}

/// Explores the protocols whose models are large, or the others, within their default bounds.
fn assert_hold(large: bool) {
    let record = include_str!("../../spec/checked.txt");
    let mut unknown = Vec::new();
    for kind in ALL.iter().filter(|kind| is_large(**kind) == large) {
        let name = kind.card().name;
        let runs: Vec<Run> = kind.runs(None).iter().map(|run| run.run(LIMITS)).collect();
        let verdicts = report::verdicts(&runs);
        assert!(
            report::passed(&runs, Witnesses::Demanded),
            "{name}:\n{verdicts}"
        );
        for Run {
            bounds, outcome, ..
        } in &runs
        {
            let (distinct, depth) = (outcome.distinct, outcome.depth);
            let row = format!("{name} | {bounds} | {distinct} | {depth}");
            unknown.extend((!record.lines().any(|line| line == row)).then_some(row));
        }
    }
    assert!(unknown.is_empty(), "not in the record: {unknown:#?}");
}

#[test]
fn every_invariant_holds_with_every_witness_and_the_counts_are_as_recorded() {
    assert_hold(false);
}

#[test]
fn every_invariant_of_paxos_holds_with_every_witness_and_the_counts_are_as_recorded() {
    assert_hold(true);
}

#[test]
fn every_claim_of_the_notes_is_found() {
    for kind in ALL {
        let claims = kind.claims(None);
        for found in claims::try_all(&claims, LIMITS) {
            assert!(found.as_claimed(), "{}", found.claimed.property.id);
        }
    }
}

/// Tries the mutants of the protocols whose models are large, or of the others.
fn assert_fall(large: bool) {
    for kind in ALL.iter().filter(|kind| is_large(**kind) == large) {
        let invariants = kind.invariants().into_iter().map(|invariant| invariant.id);
        let mut safe: BTreeSet<_> = invariants.collect();
        let mut survive = Vec::new();
        for (name, trial) in kind.mutants() {
            let (outcome, _) = trial.exploration().try_out(name, LIMITS, false);
            if outcome.end != End::Violation {
                survive.push((name, trial.invariant()));
            }
            safe.remove(trial.invariant());
        }
        assert!(survive.is_empty(), "survive: {survive:?}");
        assert!(safe.is_empty(), "without a mutant: {safe:?}");
    }
}

#[test]
fn every_mutant_falls_and_every_invariant_has_one() {
    assert_fall(false);
}

#[test]
fn every_mutant_of_paxos_falls_and_every_invariant_has_one() {
    assert_fall(true);
}

/// Whether a claim is found where a rule is left out.
fn is_found<P: Protocol>(id: &str, rule: P::Rule, bounds: impl Fn(Bounds) -> Bounds) -> bool {
    let claims: &[Claim<P>] = P::CLAIMS;
    let claim = claims.iter().find(|claim| claim.id == id).expect("a claim");
    let model = Ensemble::<P>::new(bounds(claim.bounds), Some(rule), vec![claim.id], false);
    let outcome = engine::search(&model, LIMITS, &Progress::default());
    outcome.end == End::Violation
}

#[test]
fn a_claim_that_is_not_true_is_not_found() {
    use {primary_backup::Rule as Backup, scheme_one::Rule as One, two_phase::Rule as Two};
    let as_it_is = |bounds| bounds;
    // A primary that waits for one backup is not blocked by the other; and so on.
    assert!(is_found::<PrimaryBackup>(
        "one_backup_blocks",
        Backup::InOrder,
        as_it_is
    ));
    assert!(!is_found::<PrimaryBackup>(
        "one_backup_blocks",
        Backup::WaitsForAll,
        as_it_is
    ));
    assert!(!is_found::<SchemeOne>(
        "dead_holder_deadlocks",
        One::Exclusive,
        as_it_is
    ));
    let impatient = |bounds: Bounds| bounds.timeouts(1);
    assert!(!is_found::<TwoPhase>(
        "coordinator_blocks",
        Two::WaitsForDecision,
        impatient
    ));
}

#[test]
fn a_claim_that_is_not_found_fails_the_run() {
    let kind = super::find("paxos").expect("it is there");
    // With one acceptor there is no duel, and within no crashes no majority is down.
    let claims: Vec<Claimed> = kind.claims(Some(Bounds::roles(1, 3)));
    let found = claims::try_all(&claims, LIMITS);
    assert!(found.iter().all(|found| !found.as_claimed()));
    let conclusion = claims::conclusion(&found, claims.len());
    assert!(conclusion.starts_with("FAILED"), "{conclusion}");
    assert!(claims::table(&found).contains("NOT FOUND"));
}

#[test]
fn an_acceptor_gives_access_to_newer_ballots_alone() {
    let ballot = |round, proposer| Ballot {
        round,
        proposer: Id::from(proposer),
    };
    let vote = |ballot| Vote {
        ballot,
        value: Value(1),
    };
    let mut acceptor = Acceptor::default();
    assert!(acceptor.prepare(ballot(1, 1)));
    assert!(
        acceptor.prepare(ballot(1, 1)),
        "the same again changes nothing"
    );
    assert!(!acceptor.prepare(ballot(1, 0)));
    assert!(!acceptor.accept(vote(ballot(1, 0))));
    assert!(
        acceptor.accept(vote(ballot(2, 0))),
        "without having prepared it"
    );
    assert_eq!(acceptor.promised, Some(ballot(2, 0)));
    assert!(
        !acceptor.accept(vote(ballot(1, 1))),
        "it has lost the access"
    );
}

/// One of some numbers, the same in every run.
fn draw(seed: &mut u64, count: usize) -> usize {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % count
}

#[test]
fn what_is_obsolete_has_no_effect_for_ever() {
    obsolete_for_ever::<Paxos>(Bounds::roles(2, 3).timeouts(3).crashes(2));
    let servers = Bounds::servers(3).writes(2).timeouts(4).crashes(2);
    obsolete_for_ever::<MultiPaxos>(servers);
    obsolete_for_ever::<Raft>(servers);
}

/// Delivers what was dropped as obsolete, in random walks.
fn obsolete_for_ever<P: Protocol>(bounds: Bounds) {
    let model = Ensemble::<P>::faithful(bounds);
    let (mut seed, mut asked) = (1, 0);
    for _ in 0..200 {
        let mut world = model.first();
        let mut obsolete = Vec::new();
        for _ in 0..60 {
            let mut steps: Vec<(Action<P>, World<P>)> = Vec::new();
            for action in model.conceivable(&world) {
                steps.extend(model.step(&world, &action).map(|next| (action, next)));
            }
            if steps.is_empty() {
                break;
            }
            let (action, all) = steps.swap_remove(draw(&mut seed, steps.len()));
            let Some(next) = model.act(&world, &action) else {
                continue;
            };
            let dropped = all
                .network
                .into_iter()
                .filter(|e| !next.network.contains(e));
            obsolete.extend(dropped);
            world = next;
            // What is sent to somebody who is down waits for him, even if it is obsolete.
            if world.down() > 0 {
                continue;
            }
            for envelope in &obsolete {
                let after = model.act(&world, &Action::Deliver(envelope.clone()));
                assert_eq!(after, None, "{envelope:?} in {world:?}");
                asked += 1;
            }
        }
    }
    assert!(asked > 10_000, "{asked}");
}

#[test]
fn the_engine_counts_what_stateright_counts() {
    let model = || Ensemble::<TwoPhase>::faithful(TwoPhase::CARD.bounds[0]);
    let ours = engine::search(&model(), LIMITS, &Progress::default());
    let theirs = model().checker().spawn_bfs().join();
    assert_eq!(ours.distinct, theirs.unique_state_count());
    assert_eq!(ours.generated, theirs.state_count());
}

#[test]
fn the_costs_are_those_of_the_textbooks() {
    let cost_of = |name| super::find(name).expect("it is there").cost();
    let cost = |messages, delays, saves| Cost {
        messages,
        delays,
        saves,
    };
    // Replicate and Stored, for each of two backups.
    let write = cost(4, 2, 3);
    assert_eq!(cost_of("primary_backup"), (write, Some(write)));
    // Prepare, Vote, Decide for each of two participants; the client hears with the decision.
    assert_eq!(cost_of("two_phase"), (cost(6, 2, 6), None));
    // CanCommit, Vote, PreCommit, Ack, Decide.
    assert_eq!(cost_of("three_phase"), (cost(10, 4, 8), None));
    // Prepare, Granted, Accept, Accepted.
    assert_eq!(cost_of("scheme_one"), (cost(4, 4, 2), None));
    assert_eq!(cost_of("scheme_two"), (cost(4, 4, 3), None));
    // The same, three times.
    assert_eq!(cost_of("paxos"), (cost(12, 4, 7), None));
    // Accept, Accepted, Chosen; before the first command Prepare and Promise, once for the leader.
    assert_eq!(
        cost_of("multi_paxos"),
        (cost(10, 2, 6), Some(cost(6, 2, 3)))
    );
    // Append, Appended, Committed; before the first command RequestVote, Vote and the first Committed.
    assert_eq!(cost_of("raft"), (cost(12, 2, 6), Some(cost(6, 2, 3))));
    // Propose, Ack, Commit, for each of two followers.
    let (first, next) = zab::measure();
    let next = next.expect("Zab has a log");
    assert_eq!((next.messages, next.delays), (6, 2));
    assert!(
        first.messages > next.messages,
        "the leader's beginning comes first"
    );
}

#[test]
fn a_minority_stops_zab_no_more_than_paxos_and_a_majority_does() {
    assert!(zab::goes_on_without(0));
    assert!(zab::goes_on_without(1));
    assert!(!zab::goes_on_without(2));
}
