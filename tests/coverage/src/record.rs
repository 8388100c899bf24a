//! Builds `check` with counters, lets it explore, and reads the counters.

use llvm_profparser::{CoverageMapping, merge_profiles};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A place in a file: line and column, from 1.
pub type Place = (usize, usize);

/// A region of a file, and how often it was executed.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub from: Place,
    /// The place after its last character.
    pub to: Place,
    pub count: usize,
}

/// The regions of each file of `src/zab`, by its path in the repository, in order.
pub type Counts = BTreeMap<String, Vec<Region>>;

/// How many states of each default model are explored, breadth first. A part of what `check` explores
/// reaches no more than the whole, and much less time suffices to reach as much.
const STATES: &str = "150000";

/// What is explored. One thread each: two of them would lose counts.
const RUNS: [&[&str]; 6] = [
    &["run", "election"],
    &["run", "zab"],
    &["run", "ensemble"],
    &["run", "replaced"],
    &["run", "alone"],
    &["converge"],
];

/// Builds, explores and reads.
pub fn explore(root: &Path) -> Result<Counts, String> {
    let out = root.join("target/coverage");
    let profiles = out.join("profiles");
    if profiles.exists() {
        fs::remove_dir_all(&profiles).map_err(|e| format!("{}: {e}", profiles.display()))?;
    }
    println!("building check with counters");
    let built = Command::new("cargo")
        .args(["build", "--locked", "--quiet", "--bin", "check"])
        .arg("--target-dir")
        .arg(&out)
        .env(
            "RUSTC_WORKSPACE_WRAPPER",
            root.join("tests/coverage/instrument.sh"),
        )
        // What is never called is left out of some incremental builds.
        .env("CARGO_INCREMENTAL", "0")
        .current_dir(root)
        .status();
    match built {
        Ok(status) if status.success() => {}
        Ok(_) => return Err("check does not compile".to_owned()),
        Err(error) => return Err(format!("cannot run cargo: {error}")),
    }
    for run in RUNS {
        println!("check {}", run.join(" "));
        let profile = profiles.join(format!("{}.profraw", run.join("-")));
        let output = Command::new(binary(root))
            .args(run)
            .args(["--threads", "1", "--max-states", STATES])
            .env("LLVM_PROFILE_FILE", &profile)
            .output()
            .map_err(|error| format!("cannot run check: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        // The larger models stop early, as they are told to; that is no failure here.
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        let expected = [
            "PASSED",
            "INCOMPLETE",
            "CONVERGES",
            "FAILED: no state witnesses",
        ];
        if !last.is_some_and(|last| expected.iter().any(|word| last.starts_with(word))) {
            return Err(format!("check {} went wrong:\n{said}", run.join(" ")));
        }
    }
    read(root)
}

fn binary(root: &Path) -> PathBuf {
    root.join("target/coverage/debug/check")
}

/// Reads what the last exploration has counted.
pub fn read(root: &Path) -> Result<Counts, String> {
    let folder = root.join("target/coverage/profiles");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let profiles: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    if profiles.len() != RUNS.len() {
        let (there, folder) = (profiles.len(), folder.display());
        return Err(format!(
            "{there} profiles in {folder}, and not {}: run without --again",
            RUNS.len()
        ));
    }
    let profile = merge_profiles(&profiles).map_err(|e| format!("{}: {e}", folder.display()))?;
    let binaries = [binary(root)];
    let zab = root.join("src/zab");
    let report = CoverageMapping::new(&binaries, &profile, false)
        .and_then(|mapping| {
            mapping.generate_subreport(|paths| paths.iter().any(|path| path.starts_with(&zab)))
        })
        .map_err(|error| format!("{}: {error}", binaries[0].display()))?;
    let mut counts = Counts::new();
    for (path, result) in report.files {
        if !path.starts_with(&zab) {
            continue;
        }
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        let region = |(at, count): (&llvm_profparser::SourceLocation, &usize)| Region {
            from: (at.line_start, at.column_start),
            to: (at.line_end, at.column_end),
            count: *count,
        };
        let mut regions: Vec<_> = result.hits.iter().map(region).collect();
        regions.sort_by_key(|region| (region.from, std::cmp::Reverse(region.to)));
        counts.insert(name, regions);
    }
    match counts.is_empty() {
        true => Err(format!(
            "{} has no counters for src/zab",
            binaries[0].display()
        )),
        false => Ok(counts),
    }
}
