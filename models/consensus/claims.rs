//! What the notes claim to go wrong, tried: each claim is an expectation, and a run fails if its counterexample is not
//! found.
//!
//! Spec: `spec/consensus.md`, "Claims". What it must never do: take a search that was cut short for a claim that holds.

use super::protocol::Term;
use crate::checked::Tried;
use crate::engine::{End, Limits, Outcome};
use crate::paint::wrapped;
use crate::report;
use crate::run::interrupted;
use crate::tale::Told;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// An invariant or a claim, as it is printed.
pub struct Property {
    pub id: &'static str,
    pub term: Term,
    pub prose: &'static str,
}

/// What the notes say to go wrong, and where it is looked for.
pub struct Claimed {
    pub property: Property,
    pub trial: Box<dyn Tried>,
}

/// What became of a claim.
pub struct Found<'a> {
    pub claimed: &'a Claimed,
    pub outcome: Outcome,
    pub told: Option<Told>,
}

/// Looks for each counterexample.
pub fn try_all<'a>(claims: &'a [Claimed], limits: Limits) -> Vec<Found<'a>> {
    let mut all = Vec::new();
    for claimed in claims {
        let title = format!("{} in {}", claimed.property.id, claimed.trial.place());
        let (outcome, told) = claimed.trial.exploration().try_out(&title, limits, true);
        all.push(Found {
            claimed,
            outcome,
            told,
        });
        if interrupted() {
            break;
        }
    }
    all
}

impl Found<'_> {
    /// Whether it is as the notes claim.
    pub fn as_claimed(&self) -> bool {
        self.outcome.end == End::Violation
    }

    fn verdict(&self) -> &'static str {
        match self.outcome.end {
            End::Violation => "as the notes claim",
            End::Complete => "NOT FOUND",
            End::Stopped | End::OutOfMemory => "not found so far",
        }
    }
}

/// A row for each claim, and what each says.
pub fn table(all: &[Found<'_>]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut table = report::table_of(&["claim", "model and bounds", "steps", "states", "verdict"]);
    let mut prose = String::new();
    for found in all {
        let Property {
            id, prose: says, ..
        } = found.claimed.property;
        let steps = found.outcome.discoveries.first();
        table.add_row([
            id,
            &found.claimed.trial.place(),
            &steps.map_or(String::new(), |found| (found.depth - 1).to_string()),
            &report::grouped(steps.map_or(found.outcome.distinct, |found| found.states)),
            found.verdict(),
        ]);
        let _ = writeln!(prose, "{}", wrapped(&format!("{id}: "), 4, says));
    }
    report::align_right(&mut table, 2..4);
    format!("\n{}\n\n{prose}", table.trim_fmt())
}

/// The last word about the claims.
pub fn conclusion(all: &[Found<'_>], planned: usize) -> String {
    let found = all.iter().filter(|found| found.as_claimed()).count();
    match found == planned {
        true => format!("AS CLAIMED: {found} counterexamples of the notes were found"),
        false => format!("FAILED: of {planned} counterexamples of the notes {found} were found"),
    }
}

/// The same for programs.
pub fn json(all: &[Found<'_>]) -> Value {
    let rows = all.iter().map(|found| {
        let Property { id, term, prose } = found.claimed.property;
        let steps = found
            .outcome
            .discoveries
            .first()
            .map(|found| found.depth - 1);
        json!({
            "id": id,
            "term": format!("{term:?}").to_lowercase(),
            "prose": prose,
            "place": found.claimed.trial.place(),
            "verdict": found.verdict(),
            "steps": steps,
            "tale": found.told.as_ref().map(|told| &told.tale),
        })
    });
    rows.collect()
}
