//! The simulator, checked: on a toy, on the protocol, and on what is broken on purpose.

use super::chance::Chance;
use super::fleet::batches;
use super::plan::Verdict;
use super::swarm::{Goals, Kind, Swarm, Walked, kinds};
use super::tally::Tally;
use super::walk::{Asked, Fall, walk};
use super::{Clients, Protocol, Shard, Simulation, find, report, shrink};
use crate::catalogue;
use crate::checked::{Checked, Named};
use crate::engine::{Expand, Successor, fingerprint};
use crate::svg::Diagram;
use crate::tale::Line;
use keepright::service::variant::Variant as ServiceVariant;
use keepright::zab::Variant;
use smallvec::smallvec;
use stateright::{Model, Property};
use std::collections::BTreeSet;

#[test]
fn every_seed_is_in_one_shard_alone() {
    for (seeds, of) in [
        (1..101, 1),
        (1..101, 7),
        (5..8, 8),
        (3..3, 2),
        (0..u64::MAX, 3),
    ] {
        let parts: Vec<_> = (1..=of)
            .map(|number| Shard { number, of }.part(&seeds))
            .collect();
        // Each begins where the one before ends.
        assert_eq!(parts[0].start, seeds.start);
        assert!(
            parts.windows(2).all(|two| two[0].end == two[1].start),
            "{parts:?}"
        );
        assert_eq!(parts[parts.len() - 1].end, seeds.end);
        let sizes: BTreeSet<_> = parts.iter().map(|part| part.end - part.start).collect();
        assert!(sizes.len() <= 2, "as equal as can be: {sizes:?}");
    }
}

#[test]
fn a_shard_is_one_of_so_many() {
    assert_eq!("2/8".parse(), Ok(Shard { number: 2, of: 8 }));
    for text in ["0/8", "9/8", "1/0", "1", "a/b", "1/2/3", "-1/2", ""] {
        let shard: Result<Shard, String> = text.parse();
        assert!(shard.is_err(), "{text}");
    }
}

#[test]
fn every_seed_is_in_one_batch_alone() {
    for (seeds, size) in [
        (1..101, 10),
        (1..102, 10),
        (7..8, 100),
        (3..3, 5),
        (0..9, 0),
    ] {
        let all: Vec<_> = batches(seeds.clone(), size).flatten().collect();
        assert_eq!(all, seeds.collect::<Vec<_>>());
    }
}

#[test]
fn batches_add_up_to_the_whole() {
    let simulation = protocol("zab", Variant::Faithful);
    let whole = simulation.batch(1..31, 300, &|| false);
    let mut sum = simulation.tally();
    for batch in batches(1..31, 7) {
        sum.add(&simulation.batch(batch, 300, &|| false));
    }
    assert_eq!(sum, whole);
    assert_eq!(whole.runs, 30);
}

fn protocol(model: &str, variant: Variant) -> Protocol {
    let spec = catalogue::find(model).expect("a model of the catalogue");
    Protocol {
        spec,
        variant,
        invariants: spec.invariants(),
    }
}

/// The steps of a run in words.
fn steps_of(swarm: &impl Swarm, seed: u64) -> Vec<String> {
    let walk = walk(swarm, seed, 300, &mut swarm.tally());
    let actions = walk.actions.iter();
    actions
        .map(|action| walk.model.format_action(action))
        .collect()
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    for model in ["election", "zab", "ensemble", "replaced", "alone"] {
        let swarm = protocol(model, Variant::Faithful);
        let first = steps_of(&swarm, 3);
        // Another run in between changes nothing.
        assert_ne!(steps_of(&swarm, 4), first);
        assert_eq!(steps_of(&swarm, 3), first);
    }
    let swarm = Clients {
        variant: ServiceVariant::Faithful,
        invariants: vec!["same_tree"],
    };
    assert_eq!(steps_of(&swarm, 3), steps_of(&swarm, 3));
}

/// Broken variants that are found soon: the model, the name, and an invariant that falls.
const FOUND: &[(&str, &str, &str)] = &[
    ("zab", "commit_without_quorum", "committed_survives"),
    ("zab", "ack_before_saved", "durable_before_said"),
    ("zab", "gap_accepted", "history_identified"),
    ("zab", "follower_counts", "history_consistency"),
    ("zab", "deliver_proposal", "committed_survives"),
    ("zab", "zk4643", "initial_history"),
    ("ensemble", "serve_before_quorum", "committed_survives"),
    ("election", "zxid_only", "strongest_elected"),
    ("service", "watch_kept", "watch_told_once"),
    ("service", "restore_misdated", "same_tree"),
    ("service", "forwards_unnumbered", "requests_in_order"),
];

/// How many runs it takes at most to find each.
const SOON: u64 = 120;

#[test]
fn broken_variants_are_found_soon() {
    for (model, mutant, invariant) in FOUND {
        let simulation = find(model, Some(mutant), None).expect("a mutant of the model");
        let tally = simulation.batch(1..1 + SOON, 1000, &|| false);
        let seed = tally
            .fell
            .unwrap_or_else(|| panic!("{mutant} is not found"));
        let fell = simulation.describe(seed, 1000).expect("it falls again");
        let text = fell.to_string();
        assert!(
            text.contains(&format!("{invariant} falls in ")),
            "{mutant}: {text}"
        );
        assert!(text.contains("BROKEN: "), "{mutant}: {text}");
    }
}

#[test]
fn an_invariant_can_be_asked_alone() {
    let one = find("zab", Some("zk4643"), Some("durable_before_said")).expect("it is asked there");
    // Seed 3 breaks another one.
    assert_eq!(one.batch(1..1 + SOON, 1000, &|| false).fell, None);
    let error = find("zab", None, Some("watch_told_once")).err();
    assert!(error.is_some_and(|error| error.contains("there are leadership1")));
}

#[test]
fn in_as_many_runs_nothing_falls_of_what_is_not_broken() {
    for model in [
        "election", "zab", "ensemble", "replaced", "alone", "service",
    ] {
        let simulation = find(model, None, None).expect("a model");
        let tally = simulation.batch(1..1 + SOON, 1000, &|| false);
        assert_eq!((tally.fell, tally.runs), (None, SOON), "{model}");
        for (label, reached) in simulation.goals().iter().zip(&tally.goals) {
            assert!(
                3 * reached.runs > 2 * SOON,
                "{model}: {label} in {reached:?}"
            );
        }
    }
}

#[test]
fn a_shrunk_walk_falls_as_the_walk_did_and_no_step_of_it_can_be_left_out() {
    let swarm = protocol("zab", Variant::CommitWithoutQuorum);
    let walk = walk(&swarm, 1, 1000, &mut swarm.tally());
    let fall = walk.fall.clone().expect("seed 1 finds this mutant");
    let (trace, _) = shrink::shrink(&walk, &fall);
    let asked = Asked::of(&walk.model);
    let last = trace.steps.last().expect("some steps");
    assert_eq!(asked.fall(&walk.model, &last.state), Some(fall.clone()));
    // The shortest way takes 8: somebody leads, with what two others told it.
    assert!(trace.steps.len() <= 12, "{} steps", trace.steps.len());
    let actions: Vec<_> = trace.steps.iter().map(|step| step.action).collect();
    for left_out in 0..actions.len() {
        let mut state = trace.init.clone();
        let mut others = actions.clone();
        others.remove(left_out);
        for action in others {
            if walk.model.is_possible(&state, &action) {
                state = walk.model.next_state(&state, action).unwrap_or(state);
            }
            assert_ne!(asked.fall(&walk.model, &state), Some(fall.clone()));
        }
    }
    // The places of the actions are those that the explorer counts.
    let mut state = trace.init.clone();
    for step in &trace.steps {
        let mut all = Vec::new();
        walk.model.actions(&state, &mut all);
        assert_eq!(all[step.index], step.action);
        state = walk.model.next_state(&state, step.action).expect("a step");
    }
}

/// Switches, numbered from 0. With the bad ones on, an invariant falls; the last one panics if the one before it
/// is on.
struct Switches {
    count: u8,
    bad: &'static [u8],
}

kinds! {
    step Even: "an even switch",
    step Odd: "an odd switch",
    fault Lightning: "lightning",
}

impl Model for Switches {
    type State = u64;
    type Action = u8;

    fn init_states(&self) -> Vec<u64> {
        vec![0]
    }

    fn actions(&self, _: &u64, actions: &mut Vec<u8>) {
        actions.extend(0..self.count);
    }

    fn next_state(&self, state: &u64, action: u8) -> Option<u64> {
        let panics = action == 63 && state & (1 << 62) != 0;
        assert!(!panics, "short circuit");
        let next = state | 1 << action;
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn dark(model: &Switches, state: &u64) -> bool {
            let all = model.bad.iter().all(|bad| state & (1 << bad) != 0);
            model.bad.is_empty() || !all
        }
        vec![
            Property::always("dark", dark),
            Property::sometimes("first", |_, state| state & 1 != 0),
            Property::sometimes("dawn", |_, _| false),
        ]
    }
}

impl Expand for Switches {
    type Memory = ();

    fn successors(&self, (): &(), states: &[u64], found: &mut Vec<Successor<u64>>) {
        for (parent, state) in states.iter().enumerate() {
            let mut actions = Vec::new();
            self.actions(state, &mut actions);
            let next = actions
                .into_iter()
                .filter_map(|a| self.next_state(state, a));
            found.extend(next.map(|state| Successor {
                hash: fingerprint(&state),
                parent,
                state,
            }));
        }
    }
}

impl Checked for Switches {
    fn name(&self) -> &'static str {
        "switches"
    }

    fn bounds(&self) -> String {
        self.count.to_string()
    }

    fn flags(&self) -> String {
        String::new()
    }

    fn mutant(&self) -> Option<String> {
        None
    }

    fn invariants(&self) -> Vec<Named> {
        Vec::new()
    }

    fn bounds_as_flags(&self) -> String {
        String::new()
    }

    fn lines(&self, _: Option<&u64>, state: &u64) -> Vec<Line> {
        vec![Line {
            text: format!("{state:b}"),
            changed: true,
        }]
    }

    fn sent(&self, _: &u64, _: &u64) -> Vec<String> {
        Vec::new()
    }

    fn saved(&self, action: &u8) -> serde_json::Value {
        (*action).into()
    }

    fn fallen(&self, _: &u64) -> Vec<&'static str> {
        Vec::new()
    }

    fn explain(&self, _: &str, _: Option<(&u64, &u8)>, _: &u64) -> Option<String> {
        None
    }

    fn keep_idle_steps(&mut self) {}

    fn diagram(&self, _: &[(u64, Option<u8>)]) -> Diagram {
        Diagram {
            title: String::new(),
            lanes: Vec::new(),
            rows: Vec::new(),
            broken: None,
        }
    }
}

impl Walked for Switches {
    fn kinds() -> &'static [Kind] {
        KINDS
    }

    fn kind(action: &u8) -> usize {
        let name = match *action {
            u8::MAX => Name::Lightning, // There are not so many switches.
            even if even.is_multiple_of(2) => Name::Even,
            _ => Name::Odd,
        };
        name as usize
    }

    fn parties(_: &u8) -> [u8; 2] {
        [0, 0]
    }

    fn order(action: &u8) -> u32 {
        u32::from(*action)
    }

    fn offers(&self, state: &u64, _: &mut Chance, actions: &mut Vec<u8>) {
        self.actions(state, actions);
    }

    fn is_possible(&self, _: &u64, _: &u8) -> bool {
        true
    }

    fn goals(&self, state: &u64) -> Goals {
        smallvec![u64::from(state.count_ones())]
    }
}

/// Draws the same switches for each run.
struct Same {
    count: u8,
    bad: &'static [u8],
}

impl Swarm for Same {
    type Model = Switches;

    fn draw(&self, _: &mut Chance) -> Switches {
        let Self { count, bad } = *self;
        Switches { count, bad }
    }

    fn expects(&self, kind: usize) -> bool {
        kind != Name::Odd as usize
    }

    fn goals(&self) -> &'static [&'static str] {
        &["switches on"]
    }
}

#[test]
fn a_walk_is_shrunk_to_the_steps_that_matter() {
    let bad = &[3, 17, 40];
    let swarm = Same { count: 60, bad };
    for seed in 1..20 {
        let walk = walk(&swarm, seed, 1000, &mut swarm.tally());
        assert_eq!(walk.fall, Some(Fall::Invariant("dark")));
        let (trace, panicking) = shrink::shrink(&walk, &Fall::Invariant("dark"));
        let taken: BTreeSet<_> = trace.steps.iter().map(|step| step.action).collect();
        assert_eq!(taken, BTreeSet::from(*bad));
        assert_eq!((trace.steps.len(), panicking), (3, None));
    }
}

#[test]
fn a_panic_of_a_handler_is_found_shrunk_and_told_with_its_words() {
    let swarm = Same {
        count: 64,
        bad: &[],
    };
    let tally = swarm.batch(1..50, 1000, &|| false);
    let seed = tally.fell.expect("one of them has switch 62 on before 63");
    let fell = swarm.describe(seed, 1000).expect("it panics again");
    let text = fell.to_string();
    assert!(text.contains("shrunk from "), "{text}");
    assert_eq!(fell.told.tale.steps.len(), 1);
    assert!(text.contains("then 63\n  PANIC: short circuit"), "{text}");
}

#[test]
fn what_never_happened_is_told_if_it_should() {
    let swarm = Same { count: 9, bad: &[] };
    let tally = swarm.batch(1..5, 1000, &|| false);
    // No step to an odd switch is expected, and there were some; lightning is, and there was none.
    assert_eq!(tally.kinds, [20, 16, 0]);
    assert_eq!(report::missing(&swarm, &tally), ["lightning"]);
    assert_eq!(report::unseen(&tally), ["dawn"]);
    assert_eq!((tally.steps, tally.longest), (36, 9));
    assert_eq!(tally.witnesses["first"], 4);
    let reached = tally.goals[0];
    assert_eq!((reached.runs, reached.total, reached.most), (4, 36, 9));
}

#[test]
fn a_run_that_fell_or_a_dull_simulation_is_not_well() {
    let made = |runs, fell| Tally {
        runs,
        fell,
        ..Tally::default()
    };
    let verdicts = [
        (made(10, None), false, Verdict::Passed, true),
        (made(10, None), true, Verdict::Dull, false),
        (made(9, None), true, Verdict::Stopped, true),
        (made(9, Some(9)), false, Verdict::Fell, false),
        (made(10, Some(10)), true, Verdict::Fell, false),
    ];
    for (tally, is_dull, verdict, is_well) in verdicts {
        let found = Verdict::of(&tally, 10, is_dull);
        assert_eq!((found, found.is_well()), (verdict, is_well));
    }
}

#[test]
fn of_two_seeds_that_fell_the_first_is_told() {
    let fell = |fell| Tally {
        fell,
        ..Tally::default()
    };
    let mut tally = fell(None);
    for other in [Some(9), None, Some(4), Some(7)] {
        tally.add(&fell(other));
    }
    assert_eq!(tally.fell, Some(4));
}
