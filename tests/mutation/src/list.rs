//! The mutants, as cargo-mutants lists them.

use serde::Deserialize;
use std::path::Path;
use std::process::Command;

/// One change of the source.
#[derive(Clone, Debug, Deserialize)]
pub struct Mutant {
    /// Its number among those that are listed, from 1; no number means the original.
    #[serde(skip)]
    pub id: usize,
    pub name: String,
    pub file: String,
    pub genre: Genre,
    pub span: Span,
    pub replacement: String,
    /// The change with the lines around it.
    pub diff: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Genre {
    BinaryOperator,
    UnaryOperator,
    FnValue,
    MatchArm,
    MatchArmGuard,
    StructField,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Span {
    pub start: Place,
}

/// Both from 1.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Mutant {
    /// The name without the place, which moves when something above is edited.
    pub fn short_name(&self) -> String {
        let mut parts = self.name.splitn(4, ':');
        let file = parts.next().unwrap_or_default();
        let what = parts.nth(2).unwrap_or_default();
        format!("{file}:{what}")
    }

    /// What stays the same as long as the code around it does.
    pub fn key(&self) -> String {
        let lines = self.diff.lines().filter(|line| !line.starts_with("@@"));
        let text: String = lines.collect::<Vec<_>>().join("\n");
        // FNV-1a: no more than a short name for the text.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

/// All mutants of the package in a folder, or those that further options of `cargo mutants` leave.
pub fn mutants(package: &Path, options: &[String]) -> Result<Vec<Mutant>, String> {
    let output = Command::new("cargo")
        .args(["mutants", "--list", "--json", "--dir"])
        .arg(package)
        .args(options)
        .output()
        .map_err(|error| format!("cargo mutants: {error}"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "cargo mutants --list fails; it is installed by: cargo install cargo-mutants\n{error}"
        ));
    }
    let mut mutants: Vec<Mutant> = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo mutants --list --json: {error}"))?;
    for (index, mutant) in mutants.iter_mut().enumerate() {
        mutant.id = index + 1;
    }
    Ok(mutants)
}
