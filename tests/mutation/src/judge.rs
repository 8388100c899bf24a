//! Runs the suites on each mutant, the cheapest first, until one fails.
//!
//! What is caught is written down at once, so that an interrupted run goes on where it was. What it must never do: take a
//! mutant for caught by a suite that fails without any.

use crate::list::Mutant;
use crate::tree::Tree;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Tests of one target that judge together.
pub struct Suite {
    pub name: &'static str,
    pub about: &'static str,
    target: &'static str,
    arguments: &'static [&'static str],
    /// Seconds after which it hangs, which is a failure; more if it takes long without any mutant.
    patience: u32,
}

/// Cheapest first.
pub const SUITES: &[Suite] = &[
    Suite {
        name: "tests",
        about: "unit and property tests, tests/zab",
        target: "zab",
        // A test that wants a panic cannot be used where the first panic decides.
        arguments: &[
            "--skip",
            "walk::",
            "--skip",
            "random::",
            "--skip",
            "obsolete::",
            "--skip",
            SHOULD_PANIC,
        ],
        patience: 30,
    },
    Suite {
        name: "counts",
        about: "numbers of states of small models",
        target: "check",
        arguments: COUNTS,
        patience: 120,
    },
    Suite {
        name: "witnesses",
        about: "what makes the premise of each invariant true, in as many steps as recorded",
        target: "check",
        arguments: &[WITNESSES],
        patience: 60,
    },
    Suite {
        name: "walks",
        about: "random walks of the protocol and of its variants, tests/zab",
        target: "zab",
        arguments: &["walk::"],
        patience: 120,
    },
    Suite {
        name: "schedules",
        about: "random schedules in virtual time, obsolete messages, tests/zab",
        target: "zab",
        arguments: &["random::", "obsolete::"],
        patience: 180,
    },
    Suite {
        name: "mutants",
        about: "check mutants, check bugs",
        target: "check",
        arguments: &[FOUND],
        patience: 300,
    },
    Suite {
        name: "models",
        about: "the other tests of the models, in small bounds",
        target: "check",
        arguments: &[
            "--skip", COUNTS[0], "--skip", COUNTS[1], "--skip", FOUND, "--skip", WITNESSES,
        ],
        patience: 900,
    },
    Suite {
        name: "default",
        about: "models in their default bounds",
        target: "check",
        arguments: &["--ignored"],
        patience: 3600,
    },
];

const FOUND: &str =
    "every_mutant_and_every_bug_is_caught_by_its_invariant_after_as_many_steps_as_recorded";
const WITNESSES: &str = "every_witness_is_found_after_as_many_steps_as_recorded";
const COUNTS: &[&str] = &[
    "the_numbers_of_states_are_as_recorded",
    "the_record_is_of_the_default_bounds_and_its_small_counts_are_right",
];

const SHOULD_PANIC: &str = "a_transaction_cannot_be_appended_out_of_order";

/// By [`Mutant::key`]: the suite that caught it, and the test if it is known.
pub type Ledger = BTreeMap<String, (String, String)>;

/// Judges the mutants that the ledger in a file does not know as caught.
pub fn judge(
    tree: &Tree,
    mutants: &[&Mutant],
    suites: &[&'static Suite],
    file: &Path,
) -> Result<Ledger, String> {
    let mut ledger = read(file);
    let write_error = |error| format!("{}: {error}", file.display());
    let mut writer = OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .map_err(write_error)?;
    for suite in suites {
        let started = Instant::now();
        if let Some(by) = suite.fails(tree, 0, suite.patience)? {
            return Err(format!(
                "the suite {} fails without any mutant: {by}",
                suite.name
            ));
        }
        // On a machine that does other work as well, a slow run is not a hanging one.
        let patience = suite.patience.max(10 * started.elapsed().as_secs() as u32);
        let left = mutants.iter().filter(|mutant| {
            !tree.unviable.contains(&mutant.id) && !ledger.contains_key(&mutant.key())
        });
        let left: Vec<_> = left.collect();
        for (index, mutant) in left.iter().enumerate() {
            let caught = suite.fails(tree, mutant.id, patience)?;
            let verdict = caught.as_deref().unwrap_or("-");
            println!(
                "{} {}/{} {} [{verdict}]",
                suite.name,
                index + 1,
                left.len(),
                mutant.name
            );
            if let Some(by) = caught {
                writeln!(writer, "{}\t{}\t{by}", mutant.key(), suite.name).map_err(write_error)?;
                ledger.insert(mutant.key(), (suite.name.to_owned(), by));
            }
        }
    }
    Ok(ledger)
}

fn read(file: &Path) -> Ledger {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split('\t').map(str::to_owned);
        Some((words.next()?, (words.next()?, words.next()?)))
    });
    lines.collect()
}

impl Suite {
    /// What fails with that mutant, if anything does.
    fn fails(&self, tree: &Tree, mutant: usize, patience: u32) -> Result<Option<String>, String> {
        let program = tree.programs.get(self.target);
        let program = program.ok_or_else(|| format!("there is no test program {}", self.target))?;
        // A mutant may allocate for ever, so memory has an end as well.
        let command = format!("ulimit -v 8000000; exec timeout --kill-after 1 {patience} \"$@\"");
        let output = Command::new("sh")
            .args(["-c", &command, "sh"])
            .arg(program)
            .arg("--quiet")
            .args(self.arguments)
            .current_dir(&tree.folder)
            .env("MUTANT", mutant.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        if output.status.success() {
            return Ok(None);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let by = stderr
            .lines()
            .find_map(|line| line.strip_prefix("caught by "));
        Ok(Some(match (by, output.status.code()) {
            (Some(test), _) => test.to_owned(),
            (None, Some(124 | 137)) => format!("no end within {patience} s"),
            (None, _) => output.status.to_string(),
        }))
    }
}
