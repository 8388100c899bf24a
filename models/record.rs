//! The record of what was explored: `spec/checked.txt`.
//!
//! Spec: `spec/0-assumptions.md`, "What a green run does not prove". What it must never do: record a
//! run that did not pass.

use crate::run::Run;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Writes the record of runs that have passed.
pub fn write(file: &Path, runs: &[Run]) -> Result<(), String> {
    std::fs::write(file, text(runs, &date_of_the_code()))
        .map_err(|error| format!("cannot write the record to {}: {error}", file.display()))
}

fn text(runs: &[Run], date: &str) -> String {
    let mut text = format!(
        "# What `check` has explored whole: every invariant held, every witness was found. Written by\n\
         #   cargo run --release --bin check -- --record spec/checked.txt\n\
         # The code is of {date}. The counts of models with symmetry are up to renaming of the servers.\n\
         #\n\
         # model | bounds: (servers, writes, timeouts, crashes) and others | distinct states | depth\n\
         # service | scenario (servers, elections, crashes, reconnects, expirations) | distinct states | depth\n\
         # another protocol | bounds by name | distinct states | depth\n"
    );
    for run in runs {
        let (name, bounds, outcome) = (run.name, &run.bounds, &run.outcome);
        let (distinct, depth) = (outcome.distinct, outcome.depth);
        let _ = writeln!(text, "{name} | {bounds} | {distinct} | {depth}");
    }
    text
}

/// The day of the newest commit that touches the protocol or the models.
fn date_of_the_code() -> String {
    let git = Command::new("git")
        .args(["log", "-1", "--format=%cs", "--", "src", "models"])
        .output();
    match git {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        Ok(_) | Err(_) => "a day that git does not know".to_owned(),
    }
}
