//! The checker, checked: against stateright's own search, against itself, and against its mutants.

use crate::bounds::{Bounds, Reconfiguration, Weights};
use crate::catalogue::{self, Spec};
use crate::converge;
use crate::convergence;
use crate::engine::{self, End, Limits, Outcome, Progress};
use crate::environment::{Environment, Setting};
use crate::trial::Trial;
use crate::world::World;
use crate::{bugs, mutants};
use keepright::zab::{State, Variant};
use stateright::{Checker, HasDiscoveries, Model};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

fn limits(threads: usize) -> Limits {
    Limits {
        threads,
        stop_at_first: true,
        max_states: None,
        max_time: None,
        max_memory: None,
    }
}

fn explore(environment: &Environment, threads: usize) -> Outcome {
    engine::search(environment, limits(threads), &Progress::default())
}

fn zab() -> &'static Spec {
    catalogue::find("zab").expect("zab is in the catalogue")
}

/// A model like `zab`, with one decision of the environment changed.
fn zab_with(bounds: Bounds, change: impl FnOnce(&mut Setting)) -> Environment {
    let mut setting = zab().setting;
    change(&mut setting);
    Environment::new(
        setting,
        bounds,
        Variant::Faithful,
        &zab().invariants(),
        true,
    )
}

#[test]
fn the_engine_counts_what_stateright_counts() {
    for spec in catalogue::ALL {
        let bounds = Bounds {
            servers: 2,
            ..Bounds::new(2, 1, 1, 1)
        };
        let ours = explore(&spec.faithful(bounds), 2);
        let theirs = spec
            .faithful(bounds)
            .checker()
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        assert_eq!(ours.end, End::Complete);
        assert_eq!(
            ours.distinct,
            theirs.unique_state_count(),
            "{}",
            spec.setting.name
        );
        assert_eq!(
            ours.generated,
            theirs.state_count(),
            "{}",
            spec.setting.name
        );
        assert_eq!(ours.depth, theirs.max_depth(), "{}", spec.setting.name);
    }
}

#[test]
fn a_search_ends_when_it_has_used_its_memory() {
    let limits = Limits {
        max_memory: Some(1),
        ..limits(1)
    };
    let environment = zab().faithful(Bounds::new(3, 1, 1, 0));
    let outcome = engine::search(&environment, limits, &Progress::default());
    assert_eq!(outcome.end, End::OutOfMemory);
    assert!(outcome.distinct > 0 && outcome.queue > 0);
}

#[test]
fn a_counterexample_does_not_depend_on_the_number_of_threads() {
    let mut mutants = mutants::ALL.iter();
    let mutant = mutants.find(|m| m.name == "keep_own_history");
    let trial = &mutant.expect("it is there").trial;
    let address = |threads| {
        let environment = trial.environment();
        let outcome = explore(&environment, threads);
        let trace = outcome.path(&environment, &outcome.discoveries[0]);
        trace
            .steps
            .iter()
            .map(|step| format!("{:?}", step.action))
            .collect::<Vec<_>>()
    };
    assert_eq!(address(1), address(4));
}

#[test]
fn the_counts_do_not_depend_on_the_number_of_threads() {
    let environment = || zab().faithful(Bounds::new(3, 1, 1, 0));
    let (one, four) = (explore(&environment(), 1), explore(&environment(), 4));
    assert_eq!(
        (one.distinct, one.generated, one.depth),
        (four.distinct, four.generated, four.depth)
    );
}

/// If one of these changes, the protocol or its environment has: say why in the commit.
#[test]
fn the_numbers_of_states_are_as_recorded() {
    let recorded = [
        (Bounds::new(3, 2, 0, 0), 877, 25),
        (Bounds::new(3, 1, 1, 0), 6_021, 32),
        (Bounds::new(3, 1, 0, 1), 6_175, 33),
        (Bounds::new(3, 1, 0, 0).with_pending_saves(), 461, 30),
        (
            Bounds {
                outages: 1,
                ..Bounds::new(3, 1, 0, 0)
            },
            34_251,
            38,
        ),
        (
            Bounds {
                disk_errors: 1,
                ..Bounds::new(3, 1, 0, 0).with_pending_saves()
            },
            15_954,
            49,
        ),
        (
            Bounds {
                cuts: 1,
                ..Bounds::new(3, 1, 0, 0)
            },
            1_525,
            28,
        ),
        (
            Bounds {
                observers: 1,
                wipes: 1,
                ..Bounds::new(3, 1, 0, 0)
            },
            11_154,
            35,
        ),
        (
            Bounds {
                snapshots: 1,
                ..Bounds::new(3, 2, 0, 0)
            },
            3_583,
            28,
        ),
        (
            Bounds {
                max_counter: 1,
                ..Bounds::new(3, 2, 0, 0)
            },
            3_556,
            38,
        ),
    ];
    for (bounds, distinct, depth) in recorded {
        let outcome = explore(&zab().faithful(bounds), 2);
        assert_eq!(outcome.end, End::Complete, "{bounds}");
        assert_eq!(
            (outcome.distinct, outcome.depth),
            (distinct, depth),
            "zab {bounds}"
        );
    }
}

/// One server of three decides alone; two of three decide, and the third has no vote.
#[test]
fn the_protocol_holds_whatever_the_votes_count() {
    let mut counts = String::new();
    for (model, weights) in [
        ("zab", [3, 1, 1]),
        ("zab", [1, 1, 0]),
        ("ensemble", [3, 1, 1]),
        ("ensemble", [0, 1, 1]),
    ] {
        let bounds = Bounds {
            weights: Weights::of_three(weights),
            ..Bounds::new(3, 1, 1, 0)
        };
        let spec = catalogue::find(model).expect("it is in the catalogue");
        let outcome = explore(&spec.faithful(bounds), 2);
        assert_eq!(outcome.end, End::Complete, "{model} {bounds}");
        counts += &format!("{model} {bounds} {} {}\n", outcome.distinct, outcome.depth);
    }
    let recorded = "zab (3,1,1,0) weights 3 21586 32
zab (3,1,1,0) weights 1,1,0 11052 32
ensemble (3,1,1,0) weights 3 29998 31
ensemble (3,1,1,0) weights 0 3042 27
";
    assert_eq!(counts, recorded);
}

#[test]
fn renaming_servers_changes_no_verdict_and_no_depth() {
    for bounds in [
        Bounds::new(3, 2, 0, 0),
        Bounds::new(3, 1, 1, 0),
        Bounds::new(3, 1, 0, 1),
    ] {
        let reduced = explore(&zab_with(bounds, |_| {}), 2);
        let full = explore(&zab_with(bounds, |setting| setting.symmetry = false), 2);
        assert_eq!(
            (reduced.end, reduced.depth),
            (full.end, full.depth),
            "{bounds}"
        );
        assert_eq!(found(&reduced), found(&full), "{bounds}");
        assert!(
            reduced.distinct * 5 < full.distinct,
            "{bounds}: nearly six times fewer states"
        );
    }
}

#[test]
fn renaming_servers_hides_no_mutant() {
    for mutant in mutants::ALL
        .iter()
        .filter(|mutant| mutant.trial.model == "zab")
    {
        let trial = &mutant.trial;
        if trial.bounds.timeouts > 1 || trial.bounds.crashes > 0 {
            continue; // Too many states without the reduction.
        }
        let explore_with = |symmetry| {
            let setting = Setting {
                symmetry,
                ..zab().setting
            };
            let ids = &[trial.invariant];
            explore(
                &Environment::new(setting, trial.bounds, trial.variant, ids, false),
                2,
            )
        };
        let (reduced, full) = (explore_with(true), explore_with(false));
        assert_eq!(reduced.end, End::Violation, "{}", mutant.name);
        assert_eq!(
            reduced.depth, full.depth,
            "{}: {}",
            mutant.name, trial.invariant
        );
    }
}

#[test]
fn heartbeats_reach_no_state_that_is_not_reached_without() {
    for bounds in [Bounds::new(3, 1, 1, 0), Bounds::new(3, 1, 0, 1)] {
        let without = explore(&zab_with(bounds, |_| {}), 2);
        let with = explore(&zab_with(bounds, |setting| setting.heartbeats = true), 2);
        assert_eq!(without.distinct, with.distinct, "{bounds}");
    }
}

fn trials() -> impl Iterator<Item = (&'static str, &'static Trial)> {
    let mutants = mutants::ALL.iter().map(|m| (m.name, &m.trial));
    mutants.chain(bugs::found())
}

/// If one of these lengths changes, the protocol, its environment, the invariant or the mutant has:
/// say why in the commit. Counted in states, the first one included.
#[test]
fn every_mutant_and_every_bug_is_caught_by_its_invariant_after_as_many_steps_as_recorded() {
    let recorded = include_str!("lengths.txt").lines();
    let recorded = recorded.map(|line| line.rsplit_once(' ').expect("words and a length"));
    let recorded: BTreeMap<&str, usize> = recorded
        .map(|(what, length)| (what, length.parse().expect("a length")))
        .collect();
    let named = trials().map(|(name, trial)| (format!("{name} {}", trial.invariant), trial));
    let mut trials: Vec<_> = named.collect();
    assert_eq!(trials.len(), recorded.len(), "rows of models/lengths.txt");
    // The short ones first: what is wrong shows early.
    trials.sort_by_key(|(what, _)| recorded.get(what.as_str()));
    for (what, trial) in trials {
        let caught = explore(&trial.environment(), 2);
        assert_eq!(caught.end, End::Violation, "{what}: survives");
        let length = recorded.get(what.as_str());
        assert_eq!(length, Some(&caught.depth), "{what}, in models/lengths.txt");
    }
}

/// The same for the witnesses.
#[test]
fn every_witness_is_found_after_as_many_steps_as_recorded() {
    let recorded = [
        (
            "election",
            Bounds::new(3, 0, 0, 1),
            "leader_supported 6, somebody_elected 6",
        ),
        (
            "zab",
            Bounds::new(3, 2, 1, 0),
            "leader_established 8, epoch_promised 9, leader_is_ahead 9, newcomer_lacks_proposals 9, \
             histories_fork 11, transaction_acknowledged 11, follower_delivered 12, \
             two_of_one_epoch_delivered 13, two_have_delivered_two 14, \
             serving_what_was_taken_over 15, two_epochs_led 15, two_have_delivered 15, \
             history_taken_over 16, two_leaders_at_once 16, leader_after_delivery 17, \
             proposal_after_older_delivery 18, two_epochs_delivered 20",
        ),
        (
            "zab",
            Bounds {
                reconfigure: Some(Reconfiguration::of_range(1, 2, 3)),
                ..Bounds::new(2, 1, 0, 0)
            },
            "leader_established 8, leader_is_ahead 9, newcomer_lacks_proposals 9, transaction_acknowledged 11, \
             histories_fork 19, membership_in_force 19, reconfiguration_delivered 19, follower_delivered 20, \
             two_of_one_epoch_delivered 21, two_have_delivered 22, two_have_delivered_two 22",
        ),
    ];
    for (model, bounds, witnesses) in recorded {
        let spec = catalogue::find(model).expect("it is in the catalogue");
        let outcome = explore(&spec.faithful(bounds), 2);
        let found = outcome.discoveries.iter();
        let found: Vec<_> = found
            .map(|d| format!("{} {}", d.property, d.depth))
            .collect();
        assert_eq!(found.join(", "), witnesses, "{model} {bounds}");
    }
}

#[test]
fn the_protocol_holds_within_the_bounds_in_which_a_mutant_or_a_bug_is_caught() {
    let mut places = BTreeSet::new();
    for (_, trial) in trials() {
        if !places.insert(trial.place()) {
            continue; // Explored before.
        }
        let faithful = explore(&trial.faithful(), 2);
        let Trial { model, bounds, .. } = trial;
        assert_eq!(faithful.end, End::Complete, "{model} {bounds}");
    }
}

#[test]
fn every_invariant_has_a_mutant_or_a_bug() {
    for invariant in catalogue::ALL.iter().flat_map(|spec| spec.invariants()) {
        let mutants = mutants::ALL.iter().map(|m| &m.trial);
        let mut trials = mutants.chain(bugs::found().map(|(_, trial)| trial));
        assert!(
            trials.any(|trial| trial.invariant == invariant),
            "none for {invariant}"
        );
    }
}

#[test]
fn the_default_bounds_would_have_caught_every_mutant_and_every_bug() {
    for (name, trial) in trials() {
        let spec = catalogue::find(trial.model).expect("a trial names a model");
        let for_convergence = converge::DEFAULT.iter();
        let mut for_convergence = for_convergence.filter(|(model, _)| *model == trial.model);
        assert!(
            match convergence::IDS.contains(&trial.invariant) {
                true => for_convergence.any(|(_, bounds)| bounds.covers(&trial.bounds)),
                false => spec
                    .bounds
                    .iter()
                    .any(|bounds| bounds.covers(&trial.bounds)),
            },
            "{name}: no default bounds of {} cover {}",
            trial.model,
            trial.bounds
        );
    }
}

#[test]
fn a_counterexample_leads_to_a_state_that_breaks_its_invariant() {
    let mutant = mutants::ALL
        .iter()
        .find(|m| m.name == "keep_own_history")
        .expect("it is there");
    let environment = mutant.trial.environment();
    let outcome = explore(&environment, 2);
    let trace = outcome.path(&environment, &outcome.discoveries[0]);
    assert_eq!(
        trace.steps.len() + 1,
        outcome.depth,
        "the path is a shortest one"
    );
    let (last, before) = trace.steps.split_last().expect("it takes steps");
    assert!(environment.broken(&last.state).eq([mutant.trial.invariant]));
    assert!(
        before
            .iter()
            .all(|step| environment.broken(&step.state).next().is_none())
    );
}

/// The first world that is found from `start` on, breadth first, and is a `goal`.
fn reach(
    environment: &Environment,
    start: Vec<World>,
    goal: impl Fn(&World) -> bool,
) -> Option<World> {
    let mut known: BTreeSet<u64> = start.iter().map(|world| world.fingerprint).collect();
    let mut queue = VecDeque::from(start);
    while let Some(world) = queue.pop_front() {
        if goal(&world) {
            return Some(world);
        }
        let mut actions = Vec::new();
        environment.actions(&world, &mut actions);
        let next = actions
            .into_iter()
            .filter_map(|action| environment.next_state(&world, action));
        queue.extend(next.filter(|next| known.insert(next.fingerprint)));
    }
    None
}

/// ZOOKEEPER-1653, which cannot happen: such a server starts, and serves in the end.
#[test]
fn a_history_ahead_of_the_current_epoch_is_started_from() {
    let environment = zab().faithful(Bounds {
        max_counter: 1,
        ..Bounds::new(3, 1, 0, 1).with_pending_saves()
    });
    let ahead = |world: &World, id| {
        let disk = &world.server(id).get().disk;
        disk.history.last_zxid().epoch() > disk.current_epoch
    };
    let up = |world: &World, id| world.server(id).get().state.is_some();
    let serves = |world: &World, id| {
        let state = world.server(id).get().state.as_ref();
        state.is_some_and(State::serving)
    };
    let crashed = reach(&environment, environment.init_states(), |world| {
        world.ids().any(|id| !up(world, id) && ahead(world, id))
    });
    let crashed = crashed.expect("a crash between the history and the epoch");
    let server = crashed
        .ids()
        .find(|id| !up(&crashed, *id))
        .expect("it is down");
    let healed = reach(&environment, vec![crashed], |world| {
        serves(world, server) && !ahead(world, server)
    });
    assert!(healed.is_some());
}

#[test]
fn a_search_ends_at_its_limit_and_says_so() {
    let environment = zab().faithful(Bounds::new(3, 2, 1, 0));
    let limits = Limits {
        max_states: Some(1000),
        ..limits(1)
    };
    let outcome = engine::search(&environment, limits, &Progress::default());
    assert_eq!(outcome.end, End::Stopped);
    assert!(outcome.distinct >= 1000 && outcome.queue > 0);
}

fn found(outcome: &Outcome) -> Vec<&'static str> {
    let mut found: Vec<_> = outcome.discoveries.iter().map(|d| d.property).collect();
    found.sort();
    found
}

/// `spec/checked.txt` is written by `check --record`; here it is held against the catalogue.
fn record() -> Vec<(&'static Spec, Bounds, usize, usize)> {
    let record = include_str!("../spec/checked.txt");
    // The model of the service and the other protocols hold their own rows against themselves.
    let of_protocol = |line: &&str| {
        let model = line.split(" | ").next().unwrap_or_default();
        !line.starts_with('#') && catalogue::find(model).is_some()
    };
    let mut rows = record.lines().filter(of_protocol);
    let all = catalogue::ALL
        .iter()
        .flat_map(|spec| spec.bounds.iter().map(move |bounds| (spec, *bounds)));
    let recorded = all.map(|(spec, bounds)| {
        let row = rows.next().expect("a row for each of the default bounds");
        let start = format!("{} | {bounds} | ", spec.setting.name);
        let counts = row.strip_prefix(&start).and_then(|c| c.split_once(" | "));
        let (Some(distinct), Some(depth)) = (
            counts.and_then(|(distinct, _)| distinct.parse().ok()),
            counts.and_then(|(_, depth)| depth.parse().ok()),
        ) else {
            panic!("{row} is not of {start}: cargo run --release --bin check -- --record spec/checked.txt")
        };
        (spec, bounds, distinct, depth)
    });
    let recorded = recorded.collect();
    assert_eq!(rows.next(), None, "no row of other bounds");
    recorded
}

/// From so many states on a model takes too long to be explored in every run of the tests.
const MANY: usize = 100_000;

fn assert_recorded(wanted: impl Fn(usize) -> bool) {
    for (spec, bounds, distinct, depth) in record() {
        if wanted(distinct) {
            let outcome = explore(&spec.faithful(bounds), 2);
            let found = (outcome.end, outcome.distinct, outcome.depth);
            let recorded = (End::Complete, distinct, depth);
            assert_eq!(found, recorded, "{} {bounds}", spec.setting.name);
        }
    }
}

#[test]
fn the_record_is_of_the_default_bounds_and_its_small_counts_are_right() {
    assert_recorded(|distinct| distinct < MANY);
}

#[test]
#[ignore = "minutes: what check does without a command"]
fn the_large_counts_of_the_record_are_right() {
    assert_recorded(|distinct| distinct >= MANY);
}
