//! What `check` prints: a line while it works, tables at the end.

use crate::bugs::{self, Bug, Fate, Published};
use crate::catalogue;
use crate::checked::{Checked, Tried};
use crate::engine::{End, Outcome, Progress, collision_probability};
use crate::run::Run;
use crate::{mutants, service};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub fn table_of(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.iter().copied());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

pub fn align_right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// 1234567 as 1,234,567.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().collect();
    groups
        .iter()
        .map(|group| String::from_utf8_lossy(group))
        .collect::<Vec<_>>()
        .join(",")
}

fn rate(states: usize, elapsed: Duration) -> String {
    grouped((states as f64 / elapsed.as_secs_f64().max(1e-3)) as usize)
}

pub fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}

/// How a search gets on.
pub fn progress_line(title: &str, progress: &Progress, elapsed: Duration) -> String {
    let distinct = progress.distinct.load(Relaxed);
    format!(
        "{title}: {} distinct, {}/s, depth {}, queue {}, {}",
        grouped(distinct),
        rate(distinct, elapsed),
        progress.depth.load(Relaxed),
        grouped(progress.queue.load(Relaxed)),
        seconds(elapsed),
    )
}

/// One finished run in a line.
pub fn line(run: &Run) -> String {
    let outcome = &run.outcome;
    let verdict = match outcome.end {
        End::Complete => "complete".to_owned(),
        End::Violation => {
            format!(
                "{} FALLS",
                run.violation().map_or("an invariant", |d| d.property)
            )
        }
        End::Stopped => "stopped early".to_owned(),
        End::OutOfMemory => "stopped, since the memory is nearly used up (--max-memory)".to_owned(),
    };
    format!(
        "{} {}: {verdict}, {} distinct states in {}",
        run.name,
        run.bounds,
        grouped(outcome.distinct),
        seconds(outcome.elapsed)
    )
}

/// A row for each run: how much was explored.
pub fn table(runs: &[Run]) -> String {
    let mut table = table_of(&[
        "model",
        "bounds",
        "distinct",
        "generated",
        "depth",
        "time",
        "states/s",
        "end",
    ]);
    for run in runs {
        let outcome = &run.outcome;
        let end = match outcome.end {
            End::Complete => "complete".to_owned(),
            End::Violation => "VIOLATION".to_owned(),
            End::Stopped => format!("stopped, {} waiting", grouped(outcome.queue)),
            End::OutOfMemory => format!("memory full, {} waiting", grouped(outcome.queue)),
        };
        table.add_row([
            run.name.to_owned(),
            run.bounds.clone(),
            grouped(outcome.distinct),
            grouped(outcome.generated),
            outcome.depth.to_string(),
            seconds(outcome.elapsed),
            rate(outcome.distinct, outcome.elapsed),
            end,
        ]);
    }
    align_right(&mut table, 2..7);
    let worst = runs
        .iter()
        .map(|run| collision_probability(run.outcome.distinct))
        .sum::<f64>();
    format!(
        "\n{table}\n\nbounds: (servers, writes, timeouts, crashes with restart). pending: saves become durable \
         later, and\na crash may lose them. Every message may be lost, repeated, delayed and reordered.\n\
         service: a scenario (servers, elections, crashes, reconnects, expirations).\n\
         Chance that a collision of hashes hid a state: {worst:.1e}\n"
    )
}

/// A row for each property: what was found, over all runs of each model.
pub fn verdicts(runs: &[Run]) -> String {
    let mut table = table_of(&["invariant", "verdict", "witness", "found in"]);
    for id in invariants_of(runs) {
        let (with, found) = witnesses(runs, id);
        let broken = runs.iter().any(|run| run.found(id));
        let complete = runs
            .iter()
            .filter(|run| run.invariants.iter().any(|i| i.id == id))
            .all(|run| run.outcome.end == End::Complete);
        let verdict = match (broken, complete) {
            (true, _) => "FALLS",
            (false, true) => "holds",
            (false, false) => "holds so far",
        };
        let found_in = if found.is_empty() {
            "NOT FOUND".to_owned()
        } else {
            found.join(", ")
        };
        table.add_row([id, verdict, with, &found_in]);
    }
    table.to_string()
}

fn invariants_of(runs: &[Run]) -> Vec<&'static str> {
    let mut ids = Vec::new();
    for invariant in runs.iter().flat_map(|run| &run.invariants) {
        if !ids.contains(&invariant.id) {
            ids.push(invariant.id);
        }
    }
    ids
}

/// The id of the witness of an invariant, and the models in which it was found.
fn witnesses(runs: &[Run], id: &str) -> (&'static str, Vec<String>) {
    let mut witness = "";
    let mut found = BTreeSet::new();
    for run in runs {
        for invariant in run.invariants.iter().filter(|i| i.id == id) {
            witness = invariant.witness_id;
            if run.found(witness) {
                found.insert(run.name.to_owned());
            }
        }
    }
    (witness, found.into_iter().collect())
}

/// Whether everything was explored, everything holds, and each model found every witness.
pub fn passed(runs: &[Run]) -> bool {
    runs.iter().all(|run| run.outcome.end == End::Complete) && missing(runs).is_empty()
}

/// The witnesses that a model found within none of its bounds.
fn missing(runs: &[Run]) -> Vec<String> {
    let mut missing = BTreeSet::new();
    for run in runs {
        for invariant in &run.invariants {
            let name = run.name;
            let of_model = runs.iter().filter(|other| other.name == name);
            if !of_model
                .into_iter()
                .any(|other| other.found(invariant.witness_id))
            {
                missing.insert(format!("{} in {name}", invariant.witness_id));
            }
        }
    }
    missing.into_iter().collect()
}

/// The last word.
pub fn conclusion(runs: &[Run], planned: usize) -> String {
    let distinct: usize = runs.iter().map(|run| run.outcome.distinct).sum();
    let elapsed: Duration = runs.iter().map(|run| run.outcome.elapsed).sum();
    let explored = format!(
        "{} distinct states in {}",
        grouped(distinct),
        seconds(elapsed)
    );
    let missing = missing(runs);
    if runs.iter().any(|run| run.outcome.end == End::Violation) {
        format!("FAILED: an invariant falls; {explored}")
    } else if runs.len() < planned || runs.iter().any(|run| run.outcome.end != End::Complete) {
        format!(
            "INCOMPLETE: stopped after {} of {planned} runs; {explored}",
            runs.len()
        )
    } else if !missing.is_empty() {
        format!(
            "FAILED: no state witnesses {}: within these bounds the check says nothing; {explored}",
            missing.join(", ")
        )
    } else {
        format!("PASSED: everything holds, every witness was found; {explored}")
    }
}

/// A row for each mutant.
pub fn mutants(rows: &[(&str, Box<dyn Tried>, Outcome)]) -> String {
    let mut table = table_of(&[
        "mutant",
        "model and bounds",
        "invariant",
        "depth",
        "states",
        "time",
    ]);
    for (name, trial, outcome) in rows {
        let caught = outcome.discoveries.first();
        table.add_row([
            (*name).to_owned(),
            trial.place(),
            trial.invariant().to_owned(),
            caught.map_or("SURVIVES".to_owned(), |d| (d.depth - 1).to_string()),
            grouped(caught.map_or(outcome.distinct, |d| d.states)),
            seconds(outcome.elapsed),
        ]);
    }
    align_right(&mut table, 3..6);
    format!(
        "\n{table}\n\ndepth: the steps of the shortest counterexample; states: distinct when it was found"
    )
}

/// A row for each bug, beside the figures of those who found it before.
pub fn bugs(rows: &[(&Bug, Option<Outcome>)]) -> String {
    let mut table = table_of(&[
        "bug",
        "model and bounds",
        "invariant",
        "depth",
        "states",
        "time",
        "published",
    ]);
    for (bug, outcome) in rows {
        let published = bug.published.as_ref().map_or(String::new(), published);
        let (Fate::Found(trial), Some(outcome)) = (&bug.fate, outcome) else {
            let unit = String::new;
            let fate = "cannot happen".to_owned();
            table.add_row([
                bug.name.to_owned(),
                fate,
                unit(),
                unit(),
                unit(),
                unit(),
                published,
            ]);
            continue;
        };
        let caught = outcome.discoveries.first();
        table.add_row([
            bug.name.to_owned(),
            trial.place(),
            trial.invariant.to_owned(),
            caught.map_or("SURVIVES".to_owned(), |d| (d.depth - 1).to_string()),
            grouped(caught.map_or(outcome.distinct, |d| d.states)),
            seconds(outcome.elapsed),
            published,
        ]);
    }
    align_right(&mut table, 3..6);
    let titles: Vec<_> = rows
        .iter()
        .map(|(bug, _)| match &bug.fate {
            Fate::Found(_) => format!("{}: {}", bug.name, bug.title),
            Fate::CannotHappen(why) => format!("{}: {}; cannot happen: {why}", bug.name, bug.title),
        })
        .collect();
    format!(
        "\n{table}\n\n{}\n\ndepth: the steps of the shortest counterexample; states: distinct when it was found; \
         published: the same\nof the model checker that found it in a specification of ZooKeeper (TLC, 16 workers)",
        titles.join("\n")
    )
}

fn published(figures: &Published) -> String {
    let Published { depth, states, .. } = figures;
    let time = figures
        .seconds
        .map_or(String::new(), |s| format!(", {s} s"));
    format!("{depth}, {}{time}", grouped(*states))
}

/// What there is to check.
pub fn list() -> String {
    let mut text = String::new();
    for spec in catalogue::ALL {
        let _ = writeln!(text, "{}: {}", spec.setting.name, spec.about);
        let bounds: Vec<_> = spec.bounds.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "  bounds: {}", bounds.join("; "));
        let _ = writeln!(text, "  invariants: {}\n", spec.invariants().join(", "));
    }
    let _ = writeln!(text, "{}: {}", service::NAME, service::ABOUT);
    let bounds: Vec<_> = service::BOUNDS.iter().map(ToString::to_string).collect();
    let _ = writeln!(text, "  bounds: {}", bounds.join("; "));
    let ids: Vec<_> = service::invariants::ALL.iter().map(|i| i.id).collect();
    let _ = writeln!(text, "  invariants: {}", ids.join(", "));
    for scenario in service::script::ALL {
        let _ = writeln!(text, "  scenario {}: {}", scenario.name, scenario.about);
    }
    text.push('\n');
    let all = mutants::all().chain(service::mutants::all());
    let names: BTreeSet<_> = all.map(|(name, _)| name).collect();
    let names: Vec<_> = names.into_iter().collect();
    let _ = writeln!(text, "mutants: {}\n", names.join(", "));
    let _ = writeln!(text, "bugs:");
    for bug in bugs::ALL {
        let _ = writeln!(text, "  {}: {}", bug.name, bug.title);
    }
    text
}

/// What the explorer is about to show.
pub fn heading(model: &impl Checked) -> String {
    let (name, bounds) = (model.name(), model.bounds());
    match model.mutant() {
        None => format!("{name} {bounds}"),
        Some(mutant) => format!("{name} {bounds}, mutant {mutant}"),
    }
}

/// The command that opens the explorer on this model.
pub fn explore_command(model: &impl Checked) -> String {
    let (name, flags) = (model.name(), model.flags());
    format!("cargo run --release --bin check -- explore {name} {flags}")
}
