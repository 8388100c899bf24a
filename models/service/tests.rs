//! The model of the service, checked against itself and its mutants.

use super::bounds::Bounds;
use super::{Model, invariants, script};
use crate::engine::{self, Limits, Progress};
use keepright::service::variant::Variant;

#[test]
fn scratch_mutants() {
    use Variant::*;
    let b = |name: &str, e, c, r, x, s| {
        let mut bounds = Bounds::new(script::find(name).unwrap()).with(e, c, r, x);
        bounds.snapshots = s;
        bounds
    };
    let all = [
        (
            AnswerWhenForwarded,
            b("moves", 0, 0, 0, 0, 0),
            "session_reads_own_writes",
        ),
        (
            ReadsJumpTheQueue,
            b("moves", 0, 0, 0, 0, 0),
            "requests_in_order",
        ),
        (
            ForwardsUnnumbered,
            b("streams", 0, 0, 0, 0, 0),
            "requests_in_order",
        ),
        (
            OldStreamTaken,
            b("streams", 1, 0, 0, 0, 0),
            "requests_in_order",
        ),
        (
            OldConnectionTaken,
            b("moves", 0, 0, 1, 0, 0),
            "requests_in_order",
        ),
        (
            EndedSessionWrites,
            b("ephemerals", 0, 0, 0, 1, 0),
            "ephemerals_end",
        ),
        (
            ResumeAtOnce,
            b("moves", 0, 0, 1, 0, 0),
            "session_reads_forward",
        ),
        (
            AnswerBeforeEvents,
            b("children", 0, 0, 0, 0, 0),
            "watch_told_first",
        ),
        (WatchKept, b("watches", 0, 0, 0, 0, 0), "watch_told_once"),
        (
            SetWatchesFromNow,
            b("watches", 0, 0, 1, 0, 0),
            "watch_told_first",
        ),
        (
            RestoreKeepsConnections,
            b("watches", 0, 0, 0, 0, 1),
            "watch_told_first",
        ),
        (
            SequenceCountsChildren,
            b("sequential", 0, 0, 0, 0, 0),
            "sequence_unique",
        ),
        (
            JudgeByCommitted,
            b("conditional", 0, 0, 0, 0, 0),
            "conditional_once",
        ),
        (
            JudgeByCommitted,
            b("conditional", 0, 0, 0, 0, 0),
            "writes_linearizable",
        ),
        (HalfAMulti, b("multis", 0, 0, 0, 0, 0), "multi_whole"),
        (RestoreMisdated, b("watches", 0, 0, 0, 0, 1), "same_tree"),
    ];
    for (variant, bounds, invariant) in all {
        let model = Model::new(bounds, variant, &[invariant], false);
        let limits = Limits {
            threads: 2,
            stop_at_first: true,
            max_states: None,
            max_time: Some(std::time::Duration::from_secs(60)),
        };
        let outcome = engine::search(&model, limits, &Progress::default());
        eprintln!(
            "{variant:?} {bounds} {invariant}: {:?} {} depth {}",
            outcome.end, outcome.distinct, outcome.depth
        );
    }
}

#[test]
fn scratch() {
    let get = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|v| v.parse::<u8>().ok())
            .unwrap_or(0)
    };
    for scenario in script::ALL {
        if let Ok(only) = std::env::var("ONLY")
            && only != scenario.name
        {
            continue;
        }
        let mut bounds = Bounds::new(scenario).with(get("E"), get("C"), get("R"), get("X"));
        bounds.snapshots = get("S");
        let ids: Vec<_> = invariants::ALL.iter().map(|i| i.id).collect();
        let model = Model::new(bounds, Variant::Faithful, &ids, true);
        let limits = Limits {
            threads: 2,
            stop_at_first: true,
            max_states: None,
            max_time: Some(std::time::Duration::from_secs(30)),
        };
        let outcome = engine::search(&model, limits, &Progress::default());
        let found: Vec<_> = outcome.discoveries.iter().map(|d| d.property).collect();
        eprintln!(
            "{bounds}: {:?} {} distinct {} generated depth {} in {:?}: {found:?}",
            outcome.end, outcome.distinct, outcome.generated, outcome.depth, outcome.elapsed
        );
        if outcome.end == engine::End::Violation {
            let d = outcome
                .discoveries
                .iter()
                .find(|d| ids.contains(&d.property))
                .unwrap();
            let trace = outcome.path(&model, d);
            let mut last = &trace.init;
            eprintln!("{:?}", trace.init);
            for step in &trace.steps {
                eprintln!("{}", super::explain::sentence(&model, &step.action));
                eprint!("{}", super::explain::outcome(&model, last, &step.state));
                last = &step.state;
            }
        }
    }
}
