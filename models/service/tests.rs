//! The model of the service, checked against itself and its mutants.

use super::bounds::Bounds;
use super::{Model, invariants, script};
use crate::engine::{self, Limits, Progress};
use keepright::service::variant::Variant;

#[test]
fn scratch() {
    let get = |name: &str| {
        std::env::var(name).ok().and_then(|v| v.parse::<u8>().ok()).unwrap_or(0)
    };
    for scenario in script::ALL {
        if let Ok(only) = std::env::var("ONLY") && only != scenario.name { continue; }
        let mut bounds = Bounds::new(scenario).with(get("E"), get("C"), get("R"), get("X"));
        bounds.snapshots = get("S");
        let ids: Vec<_> = invariants::ALL.iter().map(|i| i.id).collect();
        let model = Model::new(bounds, Variant::Faithful, &ids, true);
        let limits = Limits { threads: 2, stop_at_first: true, max_states: None, max_time: Some(std::time::Duration::from_secs(30)) };
        let outcome = engine::search(&model, limits, &Progress::default());
        let found: Vec<_> = outcome.discoveries.iter().map(|d| d.property).collect();
        eprintln!("{bounds}: {:?} {} distinct {} generated depth {} in {:?}: {found:?}", outcome.end, outcome.distinct, outcome.generated, outcome.depth, outcome.elapsed);
        if outcome.end == engine::End::Violation {
            let d = outcome.discoveries.iter().find(|d| ids.contains(&d.property)).unwrap();
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
