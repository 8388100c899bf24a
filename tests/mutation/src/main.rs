//! Source-level mutation of `src/zab`: does any test or model notice when a piece of the protocol is changed?
//!
//! cargo-mutants says what to change. To compile the package anew for each change would take many hours, so all of them
//! are woven into one copy of the package, and a number in the environment says which one is real. README.md says
//! how to run it. What it must never do: write outside `target/mutation`.

#![allow(clippy::disallowed_methods)] // A program with files of its own.

mod judge;
mod list;
mod table;
mod tree;
mod weave;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutation: {error}");
            ExitCode::from(2)
        }
    }
}

/// `Ok(false)` if a mutant is neither caught nor listed.
fn run() -> Result<bool, String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root
        .canonicalize()
        .map_err(|error| format!("{}: {error}", root.display()))?;
    let out = root.join("target/mutation");
    let (wanted, options) = suites_and_options()?;
    let tree = tree::Tree::grow(&root, &out)?;
    let chosen = list::mutants(&out.join("plain"), &options)?;
    let chosen: Vec<_> = tree
        .mutants
        .iter()
        .filter(|mutant| chosen.iter().any(|c| c.name == mutant.name))
        .collect();
    let ledger = judge::judge(&tree, &chosen, &wanted, &out.join("ledger"))?;
    table::print(&tree, &chosen, &ledger, &root.join("spec/mutants.md"))
}

/// `--suites a,b` is ours, the rest goes to `cargo mutants --list`.
fn suites_and_options() -> Result<(Vec<&'static judge::Suite>, Vec<String>), String> {
    let mut options: Vec<String> = std::env::args().skip(1).collect();
    let Some(at) = options.iter().position(|option| option == "--suites") else {
        return Ok((judge::SUITES.iter().collect(), options));
    };
    let rest = options.split_off(at);
    let names = rest
        .get(1)
        .ok_or("--suites needs names, as in --suites tests,walks")?;
    options.extend_from_slice(&rest[2..]);
    let suite = |name: &str| {
        let known: Vec<_> = judge::SUITES.iter().map(|suite| suite.name).collect();
        let found = judge::SUITES.iter().find(|suite| suite.name == name);
        found.ok_or_else(|| format!("no suite {name}; there are {}", known.join(", ")))
    };
    Ok((
        names.split(',').map(suite).collect::<Result<_, _>>()?,
        options,
    ))
}
