//! The package in which the mutants live: the library without the server, the tests of Zab, and the models.
//!
//! What it must never do: write outside its own folder.

use crate::list::{self, Mutant};
use crate::weave;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// What is copied of the repository: everything but the server costs little and may judge.
const COPIED: &[&str] = &[
    "src/types.rs",
    "src/quorum.rs",
    "src/members",
    "src/zab",
    "src/znode",
    "src/proto",
    "src/service",
    "models",
    "tests/zab",
    "spec/checked.txt",
    "Cargo.lock",
];

/// Asks which mutant was chosen. With one chosen, the first panic ends the program.
const QUESTION: &str = r#"use std::io::Write;
use std::sync::LazyLock;

static CHOSEN: LazyLock<usize> = LazyLock::new(|| {
    let chosen = std::env::var("MUTANT").map_or(0, |id| id.parse().expect("a number"));
    if chosen > 0 {
        std::panic::set_hook(Box::new(|_| {
            let thread = std::thread::current();
            let _ = writeln!(std::io::stderr(), "caught by {}", thread.name().unwrap_or("?"));
            std::process::exit(101);
        }));
    }
    chosen
});

#[inline]
pub fn is(id: usize) -> bool {
    *CHOSEN == id
}
"#;

const MODULES: &str = "#![allow(warnings)]
pub mod members;
pub mod mutant;
pub mod proto;
pub mod quorum;
pub mod service;
pub mod types;
pub mod zab;
pub mod znode;
";

const PROFILE: &str = "
[profile.mutants]
inherits = \"dev\"
debug = false
";

/// What is known of mutants that do not compile, from one run to the next.
const UNVIABLE: &str = "unviable";

/// A package with all mutants inside, compiled.
pub struct Tree {
    pub folder: PathBuf,
    pub mutants: Vec<Mutant>,
    /// The mutants that do not compile.
    pub unviable: BTreeSet<usize>,
    /// The test programs, by the name of their target.
    pub programs: BTreeMap<String, PathBuf>,
}

impl Tree {
    /// Copies the package of the repository at `root` to a folder in `out`, weaves the mutants in and
    /// compiles it.
    pub fn grow(root: &Path, out: &Path) -> Result<Self, String> {
        let plain = out.join("plain");
        let at = |error: io::Error| format!("copying to {}: {error}", out.display());
        if plain.exists() {
            fs::remove_dir_all(&plain).map_err(at)?;
        }
        copy_package(root, &plain).map_err(at)?;
        let mut tree = Self {
            folder: out.join("woven"),
            mutants: list::mutants(&plain, &[])?,
            unviable: BTreeSet::new(),
            programs: BTreeMap::new(),
        };
        let known = fs::read_to_string(out.join(UNVIABLE)).unwrap_or_default();
        let known: BTreeSet<_> = known
            .lines()
            .filter_map(|line| line.split('\t').next())
            .collect();
        let unviable = tree
            .mutants
            .iter()
            .filter(|m| known.contains(m.key().as_str()));
        tree.unviable = unviable.map(|m| m.id).collect();
        // Those that do not compile are taken out; what they hid from the compiler shows in the next round.
        loop {
            let woven = tree
                .weave(&plain)
                .map_err(|error| format!("weaving: {error}"))?;
            let failing = tree.compile(&woven, out)?;
            if failing.is_empty() {
                tree.write_unviable(&out.join(UNVIABLE))?;
                return Ok(tree);
            }
            eprintln!("{} mutants do not compile", failing.len());
            tree.unviable.extend(failing);
        }
    }

    fn write_unviable(&self, file: &Path) -> Result<(), String> {
        let unviable = self
            .mutants
            .iter()
            .filter(|m| self.unviable.contains(&m.id));
        let names: String = unviable
            .map(|m| format!("{}\t{}\n", m.key(), m.name))
            .collect();
        fs::write(file, names).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Writes each file with its mutants; gives the files' new text.
    fn weave(&mut self, plain: &Path) -> io::Result<BTreeMap<String, String>> {
        let viable: Vec<_> = self
            .mutants
            .iter()
            .filter(|m| !self.unviable.contains(&m.id))
            .collect();
        let files: BTreeSet<_> = viable.iter().map(|mutant| mutant.file.clone()).collect();
        let mut woven = BTreeMap::new();
        let mut left_out = BTreeSet::new();
        for file in files {
            let of_file: Vec<_> = viable.iter().filter(|m| m.file == file).copied().collect();
            let (text, left) = weave::weave(&fs::read_to_string(plain.join(&file))?, &of_file);
            left_out.extend(left);
            woven.insert(file, text);
        }
        write(&self.folder.join("src/mutant.rs"), QUESTION)?;
        mirror(plain, &self.folder, &|path| {
            woven.get(path.strip_prefix(plain).ok()?.to_str()?).cloned()
        })?;
        for id in &left_out {
            eprintln!(
                "no Rust, since it changes a chain of `if let`: {}",
                self.mutants[id - 1].name
            );
        }
        self.unviable.extend(left_out);
        Ok(woven)
    }

    /// Compiles everything. Gives the mutants that the compiler does not take.
    fn compile(
        &mut self,
        woven: &BTreeMap<String, String>,
        out: &Path,
    ) -> Result<BTreeSet<usize>, String> {
        let output = Command::new("cargo")
            .args([
                "test",
                "--profile",
                "mutants",
                "--no-run",
                "--message-format",
                "json",
            ])
            .args(["--test", "zab", "--bin", "check"])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", out.join("target"))
            .output()
            .map_err(|error| format!("cargo test --no-run: {error}"))?;
        let mut failing = BTreeSet::new();
        let mut others = Vec::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Ok(event) = serde_json::from_str::<Event>(line) else {
                continue;
            };
            let of_tests = event.profile.is_some_and(|profile| profile.test);
            if let (true, Some(target), Some(executable)) =
                (of_tests, event.target, event.executable)
            {
                self.programs.insert(target.name, executable);
            }
            let Some(message) = event
                .message
                .filter(|m| m.level == "error" && !m.spans.is_empty())
            else {
                continue;
            };
            let places = message.spans.iter().filter(|span| span.is_primary);
            let mutants = places.filter_map(|span| {
                weave::mutant_at(
                    woven.get(&span.file_name)?,
                    span.line_start,
                    span.column_start - 1,
                )
            });
            let before = failing.len();
            failing.extend(mutants);
            if failing.len() == before {
                others.push(message.rendered);
            }
        }
        if output.status.success() || !failing.is_empty() {
            return Ok(failing);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "the package does not compile, whatever the mutant:\n{}\n{stderr}",
            others.concat()
        ))
    }
}

#[derive(Deserialize)]
struct Event {
    message: Option<Message>,
    target: Option<Target>,
    executable: Option<PathBuf>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Message {
    level: String,
    rendered: String,
    spans: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    file_name: String,
    line_start: usize,
    column_start: usize,
    is_primary: bool,
}

fn copy_package(root: &Path, to: &Path) -> io::Result<()> {
    for path in COPIED {
        mirror(&root.join(path), &to.join(path), &|_| None)?;
    }
    let config = fs::read_to_string(root.join("tests/mutation/mutants.toml"))?;
    write(&to.join(".cargo/mutants.toml"), &config)?;
    write(&to.join("src/lib.rs"), MODULES)?;
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    write(
        &to.join("Cargo.toml"),
        &(without_server(&manifest) + PROFILE),
    )
}

/// The manifest without what is not copied: the server's program, and benchmarks.
fn without_server(manifest: &str) -> String {
    let tables = manifest
        .split("\n\n")
        .filter(|table| !table.contains("src/bin/keepright") && !table.starts_with("[[bench]]"));
    let lines: Vec<_> = tables.flat_map(|table| table.lines().chain([""])).collect();
    let kept: Vec<_> = lines
        .into_iter()
        .filter(|line| !line.starts_with("default-run"))
        .collect();
    kept.join("\n")
}

/// Copies a file or a folder, with another text for some of the files.
fn mirror(from: &Path, to: &Path, instead: &impl Fn(&Path) -> Option<String>) -> io::Result<()> {
    if from.is_dir() {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            mirror(&entry.path(), &to.join(entry.file_name()), instead)?;
        }
        return Ok(());
    }
    match instead(from) {
        Some(text) => write(to, &text),
        None => write(to, &fs::read_to_string(from)?),
    }
}

/// Writes a file, unless it is as it should be: a newer file would be compiled again.
fn write(file: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text)
}
