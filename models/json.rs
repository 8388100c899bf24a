//! Reports as JSON: everything that the tables have.
//!
//! Spec: `spec/8-reports.md` names the fields. What it must never do: change the meaning of a field without
//! a new version.

use crate::bugs::{self, Bug, Fate};
use crate::checked::Tried;
use crate::engine::{End, Outcome};
use crate::report::{self, Verdict, Witnesses};
use crate::run::{Peaceful, Run, Smaller};
use crate::tale::Told;
use crate::{catalogue, consensus, mutants, service};
use serde_json::{Value, json};

/// Changes whenever a field changes its meaning or goes.
pub const VERSION: u32 = 1;

fn counts(outcome: &Outcome) -> Value {
    let seconds = outcome.elapsed.as_secs_f64();
    json!({
        "distinct": outcome.distinct,
        "generated": outcome.generated,
        "depth": outcome.depth,
        "seconds": seconds,
        "states_per_second": report::per_second(outcome.distinct, outcome.elapsed),
        "end": match outcome.end {
            End::Complete => "complete",
            End::Violation => "violation",
            End::Stopped => "stopped",
            End::OutOfMemory => "memory full",
        },
        "waiting": outcome.queue,
    })
}

fn counterexample(told: Option<&Told>) -> Value {
    told.map_or(Value::Null, |told| {
        json!({
            "tale": told.tale,
            "explore": told.command,
            "address": format!("#/steps/{}", told.address),
        })
    })
}

/// `check run`.
pub fn runs(runs: &[Run], planned: usize, passed: bool, witnesses: Witnesses) -> Value {
    let rows = runs.iter().map(|run| {
        let mut row = json!({
            "model": run.name,
            "bounds": run.bounds,
            "counterexample": counterexample(run.counterexample.as_ref()),
        });
        merge(&mut row, counts(&run.outcome));
        row
    });
    let verdicts = report::judged(runs).into_iter().map(|judged| {
        json!({
            "id": judged.id,
            "verdict": match judged.verdict {
                Verdict::Falls => "falls",
                Verdict::Holds => "holds",
                Verdict::Vacuous => "vacuous",
                Verdict::HoldsSoFar => "holds so far",
            },
            "witness": judged.witness,
            "witness_found_in": judged.found_in,
        })
    });
    json!({
        "report": "run",
        "version": VERSION,
        "passed": passed,
        "planned": planned,
        "runs": rows.collect::<Vec<_>>(),
        "invariants": verdicts.collect::<Vec<_>>(),
        "collision_probability": report::collision(runs),
        "conclusion": report::conclusion(runs, planned, witnesses),
    })
}

fn tried(trial: &dyn Tried, outcome: &Outcome) -> Value {
    let caught = outcome.discoveries.first();
    let mut row = json!({
        "place": trial.place(),
        "invariant": trial.invariant(),
        "caught": caught.is_some(),
        "steps": caught.map(|found| found.depth - 1),
        "states": caught.map_or(outcome.distinct, |found| found.states),
    });
    merge(&mut row, counts(outcome));
    row
}

/// `check mutants`.
pub fn mutants(
    rows: &[(&str, Box<dyn Tried>, Outcome)],
    told: &[Told],
    smaller: Option<&Smaller>,
    passed: bool,
) -> Value {
    let all = rows.iter().map(|(name, trial, outcome)| {
        let mut row = json!({ "name": name });
        merge(&mut row, tried(&**trial, outcome));
        row
    });
    let told = told.iter().map(|told| counterexample(Some(told)));
    json!({
        "report": "mutants",
        "version": VERSION,
        "passed": passed,
        "mutants": all.collect::<Vec<_>>(),
        "counterexamples": told.collect::<Vec<_>>(),
        "smaller": smaller.map(smaller_bounds),
    })
}

/// `check bugs`.
pub fn bugs(
    rows: &[(&Bug, Option<Outcome>)],
    told: &[Told],
    peaceful: &Peaceful,
    smaller: Option<&Smaller>,
    passed: bool,
) -> Value {
    let all = rows.iter().map(|(bug, outcome)| {
        let published = bug.published.as_ref().map(|figures| {
            json!({
                "depth": figures.depth,
                "states": figures.states,
                "seconds": figures.seconds,
            })
        });
        let mut row = json!({
            "name": bug.name,
            "title": bug.title,
            "cannot_happen": match bug.fate {
                Fate::Found(_) => None,
                Fate::CannotHappen(why) => Some(why),
            },
            "published": published,
        });
        if let (Some(trial), Some(outcome)) = (bug.trial(), outcome) {
            merge(&mut row, tried(trial, outcome));
        }
        row
    });
    let told = told.iter().map(|told| counterexample(Some(told)));
    json!({
        "report": "bugs",
        "version": VERSION,
        "passed": passed,
        "bugs": all.collect::<Vec<_>>(),
        "counterexamples": told.collect::<Vec<_>>(),
        "faithful": {
            "places": peaceful.places,
            "passed": peaceful.passed,
            "failed": peaceful.failed,
        },
        "smaller": smaller.map(smaller_bounds),
    })
}

fn smaller_bounds(smaller: &Smaller) -> Value {
    json!({ "explored": smaller.explored, "falls_in": smaller.falls_in })
}

/// `check list`.
pub fn list() -> Value {
    let of_protocol = catalogue::ALL.iter().map(|spec| {
        let bounds: Vec<_> = spec.bounds.iter().map(ToString::to_string).collect();
        json!({
            "name": spec.setting.name,
            "about": spec.about,
            "bounds": bounds,
            "invariants": spec.invariants(),
        })
    });
    let scenarios = service::script::ALL.iter();
    let scenarios = scenarios.map(|s| json!({ "name": s.name, "about": s.about }));
    let bounds: Vec<_> = service::BOUNDS.iter().map(ToString::to_string).collect();
    let ids: Vec<_> = service::invariants::ALL.iter().map(|i| i.id).collect();
    let of_service = json!({
        "name": service::NAME,
        "about": service::ABOUT,
        "bounds": bounds,
        "invariants": ids,
        "scenarios": scenarios.collect::<Vec<_>>(),
    });
    let others = consensus::ALL.iter().map(|kind| {
        let card = kind.card();
        let bounds: Vec<_> = card.bounds.iter().map(ToString::to_string).collect();
        let ids: Vec<_> = kind
            .invariants()
            .iter()
            .map(|invariant| invariant.id)
            .collect();
        let claims = kind.claims(None);
        let claims: Vec<_> = claims.iter().map(|claimed| claimed.property.id).collect();
        json!({
            "name": card.name,
            "about": card.about,
            "bounds": bounds,
            "invariants": ids,
            "claims": claims,
        })
    });
    let mutants = mutants::everywhere().map(|(name, trial)| {
        json!({ "name": name, "place": trial.place(), "invariant": trial.invariant() })
    });
    let bugs = bugs::ALL.iter().map(|bug| {
        json!({
            "name": bug.name,
            "title": bug.title,
            "place": bug.trial().map(Tried::place),
            "invariant": bug.trial().map(Tried::invariant),
        })
    });
    json!({
        "report": "list",
        "version": VERSION,
        "models": of_protocol.chain([of_service]).chain(others).collect::<Vec<_>>(),
        "mutants": mutants.collect::<Vec<_>>(),
        "bugs": bugs.collect::<Vec<_>>(),
    })
}

/// Adds the fields of one object to another.
fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}
