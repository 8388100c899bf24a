//! Which decisions of `src/zab` does no state of the default models reach?
//!
//! The compiler counts how often each region of the source is executed while `check` explores. README.md says how to
//! run it. What it must never do: write outside `target/coverage`, or take code for reached that was not.

#![allow(clippy::disallowed_methods)] // A program with files of its own.

mod record;
mod source;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("coverage: {error}");
            ExitCode::from(2)
        }
    }
}

/// `Ok(false)` if something is neither reached nor listed, or listed and reached.
fn run() -> Result<bool, String> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = here.join("../..");
    let root = root
        .canonicalize()
        .map_err(|error| format!("{}: {error}", root.display()))?;
    let counts = match std::env::args().nth(1).as_deref() {
        None => record::explore(&root)?,
        Some("--again") => record::read(&root)?,
        Some(other) => return Err(format!("unknown option {other}; the only one is --again")),
    };
    let listed = verdict::Listed::read(&here.join("unreached.toml"))?;
    verdict::print(&root, &counts, listed)
}
