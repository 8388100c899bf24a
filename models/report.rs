//! What `check` prints: a line while it works, tables at the end.

use crate::bugs::{self, Bug, Fate};
use crate::catalogue;
use crate::checked::{Checked, Tried};
use crate::engine::{End, Outcome, collision_probability};
use crate::paint::{COLUMNS, wrapped};
use crate::run::Run;
use crate::{consensus, mutants, service};
use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

pub fn table_of(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(COLUMNS as u16)
        .set_header(header.iter().copied());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Columns of numbers, which are never broken into lines.
pub fn align_right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::ContentWidth);
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

pub fn per_second(states: usize, elapsed: Duration) -> usize {
    (states as f64 / elapsed.as_secs_f64().max(1e-3)) as usize
}

/// So many a second.
pub fn rate(states: usize, elapsed: Duration) -> String {
    grouped(per_second(states, elapsed))
}

pub fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
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
    let mut waits = String::new();
    for run in runs {
        let outcome = &run.outcome;
        let end = match outcome.end {
            End::Complete => "complete".to_owned(),
            End::Violation => "VIOLATION".to_owned(),
            End::Stopped | End::OutOfMemory => {
                let waiting = grouped(outcome.queue);
                waits += &format!(
                    "{} {}: {waiting} states waited to be explored\n",
                    run.name, run.bounds
                );
                match outcome.end {
                    End::OutOfMemory => "memory full".to_owned(),
                    _ => "stopped".to_owned(),
                }
            }
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
    format!(
        "\n{}\n\n{waits}bounds: (servers, writes, timeouts, crashes with restart). pending: saves become durable later, \
         and\na crash may lose them. Every message may be lost, repeated, delayed and reordered.\n\
         service: a scenario (servers, elections, crashes, reconnects, expirations).\n\
         Chance that a collision of hashes hid a state: {:.1e}\n",
        table.trim_fmt(),
        collision(runs)
    )
}

/// The chance that two different states had the same hash in any of the runs.
pub fn collision(runs: &[Run]) -> f64 {
    let chances = runs.iter();
    chances
        .map(|run| collision_probability(run.outcome.distinct))
        .sum()
}

/// What was found of an invariant, over all runs of each model.
pub struct Judged {
    pub id: &'static str,
    pub verdict: Verdict,
    pub witness: &'static str,
    /// The models in which the witness was found.
    pub found_in: Vec<String>,
}

pub enum Verdict {
    Falls,
    Holds,
    /// No state put it to the test.
    Vacuous,
    /// Not everything was explored.
    HoldsSoFar,
}

/// What was found of each invariant.
pub fn judged(runs: &[Run]) -> Vec<Judged> {
    let judge = |id| {
        let (witness, found_in) = witnesses(runs, id);
        let broken = runs.iter().any(|run| run.found(id));
        let complete = runs
            .iter()
            .filter(|run| run.invariants.iter().any(|i| i.id == id))
            .all(|run| run.outcome.end == End::Complete);
        let verdict = match (broken, complete) {
            (true, _) => Verdict::Falls,
            (false, true) if found_in.is_empty() => Verdict::Vacuous,
            (false, true) => Verdict::Holds,
            (false, false) => Verdict::HoldsSoFar,
        };
        Judged {
            id,
            verdict,
            witness,
            found_in,
        }
    };
    invariants_of(runs).into_iter().map(judge).collect()
}

/// A row for each property.
pub fn verdicts(runs: &[Run]) -> String {
    let mut table = table_of(&["invariant", "verdict", "witness", "found in"]);
    for judged in judged(runs) {
        let verdict = match judged.verdict {
            Verdict::Falls => "FALLS",
            Verdict::Holds => "holds",
            Verdict::Vacuous => "vacuous",
            Verdict::HoldsSoFar => "holds so far",
        };
        let found_in = match judged.found_in.is_empty() {
            true => "NOT FOUND".to_owned(),
            false => judged.found_in.join(", "),
        };
        table.add_row([judged.id, verdict, judged.witness, &found_in]);
    }
    table.trim_fmt()
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

/// Whether everything was explored and everything holds, and each model found every witness, where that is asked of it.
pub fn passed(runs: &[Run], witnesses: Witnesses) -> bool {
    let complete = runs.iter().all(|run| run.outcome.end == End::Complete);
    complete && (witnesses == Witnesses::AsFound || missing(runs).is_empty())
}

/// What becomes of a run that does not put every invariant to the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witnesses {
    /// It fails: default bounds are chosen so that they do.
    Demanded,
    /// It says so: somebody has chosen the bounds.
    AsFound,
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
pub fn conclusion(runs: &[Run], planned: usize, witnesses: Witnesses) -> String {
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
    } else if missing.is_empty() {
        format!("PASSED: everything holds, every witness was found; {explored}")
    } else {
        let missing = missing.join(", ");
        match witnesses {
            Witnesses::Demanded => format!("FAILED: no state witnesses {missing}; {explored}"),
            Witnesses::AsFound => format!(
                "PASSED: nothing falls; {explored}. What is vacuous these bounds do not put to the test: \
                 no state witnesses {missing}"
            ),
        }
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
        let [depth, states, time] = figures(outcome);
        let (place, invariant) = (trial.place(), trial.invariant());
        table.add_row([name, place.as_str(), invariant, &depth, &states, &time]);
    }
    align_right(&mut table, 3..6);
    format!(
        "\n{}\n\ndepth: the steps of the shortest counterexample; states: distinct when it was found",
        table.trim_fmt()
    )
}

/// A row for each bug, and the figures of those who found some of them before.
pub fn bugs(rows: &[(&Bug, Option<Outcome>)]) -> String {
    let mut table = table_of(&[
        "bug",
        "model and bounds",
        "invariant",
        "depth",
        "states",
        "time",
    ]);
    for (bug, outcome) in rows {
        let (Some(trial), Some(outcome)) = (bug.trial(), outcome) else {
            table.add_row([bug.name, "cannot happen"]);
            continue;
        };
        let [depth, states, time] = figures(outcome);
        let (place, invariant) = (trial.place(), trial.invariant);
        table.add_row([bug.name, &place, invariant, &depth, &states, &time]);
    }
    align_right(&mut table, 3..6);
    let mut text = format!("\n{}\n\n", table.trim_fmt());
    text.push_str(&beside_others(rows));
    for (bug, _) in rows {
        let about = match &bug.fate {
            Fate::Found(_) => bug.title.to_owned(),
            Fate::CannotHappen(why) => format!("{}; cannot happen: {why}", bug.title),
        };
        let line = wrapped(&format!("{}: ", bug.name), 4, &about);
        let _ = writeln!(text, "{line}");
    }
    text.push_str(
        "\ndepth: the steps of the shortest counterexample; states: distinct when it was found",
    );
    text
}

/// Depth, states and time of a counterexample.
fn figures(outcome: &Outcome) -> [String; 3] {
    let caught = outcome.discoveries.first();
    [
        caught.map_or("SURVIVES".to_owned(), |d| (d.depth - 1).to_string()),
        grouped(caught.map_or(outcome.distinct, |d| d.states)),
        seconds(outcome.elapsed),
    ]
}

/// The bugs that a model checker had found before, with its figures.
fn beside_others(rows: &[(&Bug, Option<Outcome>)]) -> String {
    let header = [
        "bug",
        "depth",
        "states",
        "time",
        "published:",
        "depth",
        "states",
        "time",
    ];
    let mut table = table_of(&header);
    for (bug, outcome) in rows {
        let (Some(published), Some(outcome)) = (&bug.published, outcome) else {
            continue;
        };
        let [depth, states, time] = figures(outcome);
        table.add_row([
            bug.name.to_owned(),
            depth,
            states,
            time,
            String::new(),
            published.depth.to_string(),
            grouped(published.states),
            published
                .seconds
                .map_or(String::new(), |s| format!("{s} s")),
        ]);
    }
    if table.row_count() == 0 {
        return String::new();
    }
    align_right(&mut table, 1..8);
    format!(
        "{}\n\npublished: the same of the model checker that found it in a specification of ZooKeeper\n\
         (TLC, 16 workers)\n\n",
        table.trim_fmt()
    )
}

/// Prints a last word, its first words in a colour if this is a terminal and `NO_COLOR` is not set.
pub fn conclude(words: &str) {
    let colour = match words.split([' ', ':']).next() {
        Some("PASSED" | "CONVERGES" | "COVERED" | "AS") => AnsiColor::Green,
        Some("INCOMPLETE") => AnsiColor::Yellow,
        _ => AnsiColor::Red,
    };
    let style = Style::new().bold().fg_color(Some(colour.into()));
    let (verdict, rest) = words.split_once(':').unwrap_or((words, ""));
    anstream::println!("{style}{verdict}{style:#}:{rest}");
}

/// What there is to check.
pub fn list() -> String {
    let mut text = String::new();
    let mut model = |name: &str, about: &str, bounds: Vec<String>, invariants: Vec<&str>| {
        let _ = writeln!(text, "{}", wrapped(&format!("{name}: "), 4, about));
        // The bounds of one run stay together.
        let bounds = bounds.join(";~").replace(' ', "\u{a0}").replace('~', " ");
        let bounds = wrapped("  bounds: ", 4, &bounds).replace('\u{a0}', " ");
        let invariants = wrapped("  invariants: ", 4, &invariants.join(", "));
        let _ = writeln!(text, "{bounds}\n{invariants}\n");
    };
    for spec in catalogue::ALL {
        let bounds = spec.bounds.iter().map(ToString::to_string).collect();
        model(spec.setting.name, spec.about, bounds, spec.invariants());
    }
    let bounds = service::BOUNDS.iter().map(ToString::to_string).collect();
    let ids = service::invariants::ALL.iter().map(|i| i.id).collect();
    model(service::NAME, service::ABOUT, bounds, ids);
    for kind in consensus::ALL {
        let card = kind.card();
        let bounds = card.bounds.iter().map(ToString::to_string).collect();
        let ids = kind
            .invariants()
            .iter()
            .map(|invariant| invariant.id)
            .collect();
        model(card.name, card.about, bounds, ids);
    }
    let _ = writeln!(text, "claims of the notes, with --claim:");
    for claimed in consensus::ALL.iter().flat_map(|kind| kind.claims(None)) {
        let consensus::claims::Property { id, prose, .. } = claimed.property;
        let _ = writeln!(text, "{}", wrapped(&format!("  {id}: "), 4, prose));
    }
    let _ = writeln!(text, "\nscenarios of {}:", service::NAME);
    for scenario in service::script::ALL {
        let line = wrapped(&format!("  {}: ", scenario.name), 4, scenario.about);
        let _ = writeln!(text, "{line}");
    }
    let all = mutants::everywhere();
    let names: BTreeSet<_> = all.map(|(name, _)| name).collect();
    let names: Vec<_> = names.into_iter().collect();
    let _ = writeln!(text, "\n{}\n", wrapped("mutants: ", 4, &names.join(", ")));
    let _ = writeln!(text, "bugs:");
    for bug in bugs::ALL {
        let line = wrapped(&format!("  {}: ", bug.name), 4, bug.title);
        let _ = writeln!(text, "{line}");
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
