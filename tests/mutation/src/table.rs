//! The outcome: which suite caught how many, and what is left.

use crate::judge::{Ledger, SUITES};
use crate::list::Mutant;
use crate::tree::Tree;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Prints it. `Ok(false)` if a mutant is neither caught nor listed in the file of the equivalent ones.
pub fn print(
    tree: &Tree,
    mutants: &[&Mutant],
    ledger: &Ledger,
    listed: &Path,
) -> Result<bool, String> {
    let text =
        fs::read_to_string(listed).map_err(|error| format!("{}: {error}", listed.display()))?;
    let mut listed = listed_in(&text);
    let (mut unviable, mut excused) = (0, 0);
    let mut by_suite: BTreeMap<&str, usize> = BTreeMap::new();
    let mut missed = Vec::new();
    for mutant in mutants {
        if tree.unviable.contains(&mutant.id) {
            unviable += 1;
        } else if let Some((suite, _)) = ledger.get(&mutant.key()) {
            *by_suite.entry(suite).or_default() += 1;
        } else if let Some(left) = listed
            .get_mut(&mutant.short_name())
            .filter(|left| **left > 0)
        {
            *left -= 1;
            excused += 1;
        } else {
            missed.push(&mutant.name);
        }
    }
    let caught: usize = by_suite.values().sum();
    println!("\n{:>5}  mutants of src/zab", mutants.len());
    println!("{unviable:>5}  do not compile");
    println!("{caught:>5}  caught:");
    for suite in SUITES {
        let count = by_suite.get(suite.name).copied().unwrap_or_default();
        println!("{count:>12}  by {:8} {}", suite.name, suite.about);
    }
    println!("{excused:>5}  listed in spec/mutants.md");
    println!("{:>5}  neither caught nor listed", missed.len());
    for name in &missed {
        println!("       {name}");
    }
    Ok(missed.is_empty())
}

/// How often each mutant is listed: as the text of a line that begins with "- `" up to the next backquote.
fn listed_in(text: &str) -> BTreeMap<String, usize> {
    let mut listed = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, _)) = line
            .strip_prefix("- `")
            .and_then(|rest| rest.split_once('`'))
        {
            *listed.entry(name.to_owned()).or_default() += 1;
        }
    }
    listed
}
