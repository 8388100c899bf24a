//! What the search leaves out loses nothing: reduced and full exploration come to the same verdicts.
//!
//! Spec: `spec/0-assumptions.md`, "Reductions". Small bounds, but the protocol as it should be in every
//! model, and nearly all of its broken variants. What it must never do: call a reduction harmless where
//! it was not compared; what is too large to be explored in full is counted.

use crate::bounds::Bounds;
use crate::catalogue::{self, Spec};
use crate::engine::{self, End, Limits, Progress};
use crate::environment::{Environment, Setting};
use crate::trial::Trial;
use crate::{bugs, mutants};
use keepright::zab::Variant;

/// The settings of a model with one reduction less, and with none.
fn fuller(reduced: Setting) -> [(&'static str, Setting); 4] {
    let keeps_obsolete = true;
    let (symmetry, heartbeats) = (false, true);
    [
        (
            "with obsolete datagrams",
            Setting {
                keeps_obsolete,
                ..reduced
            },
        ),
        (
            "without symmetry",
            Setting {
                symmetry,
                ..reduced
            },
        ),
        (
            "with heartbeats",
            Setting {
                heartbeats,
                ..reduced
            },
        ),
        (
            "without any reduction",
            Setting {
                keeps_obsolete,
                symmetry,
                heartbeats,
                ..reduced
            },
        ),
    ]
}

/// What an exploration says: how it ended, and each invariant that fell and each witness that was found,
/// with its depth. (The depth of the whole search is no part of it: what has no effect can still arrive
/// last of all.)
#[derive(Debug, PartialEq)]
struct Verdict {
    end: End,
    discoveries: Vec<(&'static str, usize)>,
}

/// More states than this are not explored here.
const MANY: usize = 100_000;

/// What is explored, whatever the reductions.
struct Question<'a> {
    bounds: Bounds,
    variant: Variant,
    ids: &'a [&'static str],
    /// Whether to look for witnesses too.
    witnesses: bool,
    /// Whether to end with the first invariant that falls.
    stop_at_first: bool,
}

impl Question<'_> {
    /// The answer, with how many states it took; `None` if they are too many.
    fn ask(&self, setting: Setting) -> Option<(Verdict, usize)> {
        let environment =
            Environment::new(setting, self.bounds, self.variant, self.ids, self.witnesses);
        let limits = Limits {
            threads: 2,
            stop_at_first: self.stop_at_first,
            max_states: Some(MANY),
            max_time: None,
            max_memory: None,
        };
        let outcome = engine::search(&environment, limits, &Progress::default());
        let found = outcome.discoveries.iter();
        let verdict = Verdict {
            end: outcome.end,
            discoveries: found.map(|d| (d.property, d.depth)).collect(),
        };
        (outcome.end != End::Stopped).then_some((verdict, outcome.distinct))
    }

    /// Asks with and without reductions and compares the answers. `false` if it takes too many states
    /// without any.
    fn compare(&self, what: &str, spec: &Spec) -> bool {
        let settings = fuller(spec.setting);
        let (_, none) = settings[settings.len() - 1];
        let Some((full, states)) = self.ask(none) else {
            return false;
        };
        let reduced = self.ask(spec.setting).expect("there are fewer states");
        for (name, setting) in &settings[..settings.len() - 1] {
            let (verdict, _) = self.ask(*setting).expect("there are fewer states");
            assert_eq!(verdict, reduced.0, "{what} {name}");
        }
        assert_eq!(full, reduced.0, "{what} without any reduction");
        println!("{what}: {} of {states} states", reduced.1);
        true
    }
}

#[test]
fn no_reduction_changes_a_verdict_or_a_depth_of_the_protocol_as_it_should_be() {
    for (model, bounds) in [
        ("election", Bounds::new(3, 0, 0, 0)),
        ("election", Bounds::new(2, 0, 1, 1)),
        ("zab", Bounds::new(3, 1, 0, 0)),
        ("zab", Bounds::new(3, 2, 0, 0)),
        ("zab", Bounds::new(3, 0, 1, 0)),
        ("zab", Bounds::new(3, 1, 1, 0)),
        ("zab", Bounds::new(3, 0, 0, 1)),
        ("zab", Bounds::new(3, 1, 0, 0).with_pending_saves()),
        ("zab", Bounds::new(2, 1, 1, 0).with_pending_saves()),
        ("ensemble", Bounds::new(3, 0, 0, 0)),
        ("ensemble", Bounds::new(2, 1, 1, 0)),
        ("ensemble", Bounds::new(2, 0, 1, 1)),
        ("ensemble", Bounds::new(2, 1, 1, 0).with_pending_saves()),
    ] {
        let spec = catalogue::find(model).expect("it is in the catalogue");
        let question = Question {
            bounds,
            variant: Variant::Faithful,
            ids: &spec.invariants(),
            witnesses: true,
            stop_at_first: false,
        };
        let what = format!("{model} {bounds}");
        assert!(question.compare(&what, spec), "{what} is too large");
    }
}

#[test]
fn no_reduction_hides_a_mutant_or_a_bug_or_changes_the_steps_that_it_takes() {
    let trials = mutants::ALL.iter().map(|m| (m.name, &m.trial));
    let trials: Vec<_> = trials.chain(bugs::found()).collect();
    let mut compared = 0;
    for (name, trial) in &trials {
        let Trial {
            variant,
            model,
            bounds,
            invariant,
        } = **trial;
        let spec = catalogue::find(model).expect("a trial names a model");
        let question = Question {
            bounds,
            variant,
            ids: &[invariant],
            witnesses: true,
            stop_at_first: true,
        };
        compared += usize::from(question.compare(&format!("{name} {invariant}"), spec));
    }
    println!("{compared} of {} were compared", trials.len());
    assert_eq!(
        (compared, trials.len()),
        (43, 60),
        "the others have too many states"
    );
}
