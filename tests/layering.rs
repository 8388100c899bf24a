//! What may know what: the direction of imports, and what the pure core must do without.
//!
//! Spec: `ARCHITECTURE.md`, "What must never import what". These tests read the sources as text, tests in
//! the same file and comments left out.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // Tests read files and start processes.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers from the bottom, and what each may use of this crate.
const LAYERS: [(&str, &[&str]); 9] = [
    ("types", &[]),
    ("persistent", &[]),
    ("quorum", &["types", "persistent"]),
    ("zab", &["types", "persistent", "quorum"]),
    ("members", &["types", "quorum"]),
    ("znode", &["types", "persistent"]),
    ("proto", &["types", "znode"]),
    (
        "service",
        &[
            "types",
            "persistent",
            "quorum",
            "zab",
            "members",
            "znode",
            "proto",
        ],
    ),
    (
        "server",
        &[
            "types",
            "persistent",
            "quorum",
            "zab",
            "members",
            "znode",
            "proto",
            "service",
        ],
    ),
];

/// The layers that must be functions of their inputs.
const PURE: [&str; 8] = [
    "types",
    "persistent",
    "quorum",
    "zab",
    "members",
    "znode",
    "proto",
    "service",
];

/// What the pure layers must not name, and why.
const FORBIDDEN: [(&str, &str); 15] = [
    ("TcpStream", "it is I/O"),
    ("TcpListener", "it is I/O"),
    ("UdpSocket", "it is I/O"),
    ("std::fs", "it is I/O"),
    ("std::thread", "handlers run to their end on one thread"),
    ("std::process", "it is I/O"),
    ("std::env", "configuration comes in as a value"),
    ("tokio", "it is I/O"),
    ("socket2", "it is I/O"),
    ("Instant", "time comes in as ticks"),
    ("SystemTime", "time comes in with a request"),
    ("HashMap", "its order differs from run to run"),
    ("HashSet", "its order differs from run to run"),
    ("RandomState", "it is random"),
    ("rand::", "it is random"),
];

/// The most lines of a file before its tests.
const LONGEST: [(&str, usize); 2] = [("src", 700), ("models", 700)];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a layer, tests left out: a file or a folder of that name.
fn files(layer: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut waiting = vec![root().join(layer), root().join(layer).with_extension("rs")];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder can be listed");
            waiting.extend(entries.map(|entry| entry.expect("an entry of a folder").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
            let name = path.file_stem().and_then(|name| name.to_str());
            if !matches!(name, Some("tests" | "vectors")) {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "{layer} has no files");
    files.sort();
    files
}

/// The lines of a file before its tests.
fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a source file is text");
    let code = text
        .split("\n#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default();
    code.lines().map(str::to_owned).collect()
}

/// The code of a line, its comment left out.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn is_word(text: &str, at: usize, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let before = text[..at].chars().next_back();
    let after = text[at + word.len()..].chars().next();
    let ends_open = word.ends_with(|letter: char| !is_part(letter));
    !before.is_some_and(is_part) && (ends_open || !after.is_some_and(is_part))
}

fn names(text: &str, word: &str) -> bool {
    text.match_indices(word)
        .any(|(at, _)| is_word(text, at, word))
}

#[test]
fn every_layer_uses_only_what_is_below_it() {
    for (layer, allowed) in LAYERS {
        for file in files(&format!("src/{layer}")) {
            for (number, line) in lines(&file).iter().enumerate() {
                for used in code(line).split("crate::").skip(1) {
                    let used = used.split(|letter: char| !letter.is_alphanumeric()).next();
                    let used = used.expect("split gives something");
                    let may = used == layer || allowed.contains(&used) || used.is_empty();
                    let place = format!("{}:{}", file.display(), number + 1);
                    assert!(may, "{place}: {layer} must not use {used}: {line}");
                }
            }
        }
    }
}

#[test]
fn every_module_of_the_library_has_its_layer() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod "));
    for module in modules.map(|module| module.trim_end_matches(';')) {
        let known = LAYERS.iter().any(|(layer, _)| *layer == module);
        assert!(known, "{module} has no place among the layers of this test");
    }
}

#[test]
fn phases_do_not_import_each_other() {
    let phases = ["election", "discovery", "synchronization", "broadcast"];
    for phase in phases {
        for line in lines(&root().join(format!("src/zab/{phase}.rs"))) {
            for other in phases.iter().filter(|other| **other != phase) {
                let uses = [format!("super::{other}"), format!("zab::{other}")];
                let uses = uses.iter().any(|used| code(&line).contains(used));
                assert!(!uses, "{phase} must not use {other}: {line}");
            }
        }
    }
}

#[test]
fn the_core_has_no_clock_no_chance_no_thread_and_no_input_or_output() {
    for layer in PURE {
        for file in files(&format!("src/{layer}")) {
            for (number, line) in lines(&file).iter().enumerate() {
                for (word, why) in FORBIDDEN {
                    let place = format!("{}:{}", file.display(), number + 1);
                    assert!(
                        !names(code(line), word),
                        "{place} names {word}, but {why}: {line}"
                    );
                }
            }
        }
    }
}

/// A hash of these does not say how many elements there are. Tests are looked through as well: what they hash
/// must be told apart too.
#[test]
fn no_collection_is_named_whose_hash_leaves_out_its_length() {
    let without_length = ["HashableHashSet", "HashableHashMap"];
    for folder in ["src", "models", "tests", "benches"] {
        for file in files(folder)
            .into_iter()
            .filter(|file| !file.ends_with("layering.rs"))
        {
            let is_home = file.ends_with("src/persistent.rs");
            let text = fs::read_to_string(&file).expect("a source file is text");
            for (number, line) in text.lines().enumerate() {
                let code = code(line);
                let named = without_length.iter().any(|name| names(code, name));
                let place = format!("{}:{}", file.display(), number + 1);
                assert!(
                    !named && (is_home || !names(code, "im::")),
                    "{place} must use keepright::persistent: {line}"
                );
            }
        }
    }
}

#[test]
fn models_see_no_server() {
    for file in files("models") {
        for line in lines(&file) {
            let sees = code(&line).contains("keepright::server");
            assert!(!sees, "{} must not use the server: {line}", file.display());
        }
    }
}

#[test]
fn the_programs_are_thin() {
    for file in files("src/bin") {
        for line in lines(&file) {
            for layer in ["zab", "znode", "proto", "service"] {
                let uses = code(&line).contains(&format!("keepright::{layer}"));
                assert!(
                    !uses,
                    "{} must leave {layer} to the library: {line}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn no_file_is_too_long_to_be_read_in_one_sitting() {
    for (folder, longest) in LONGEST {
        for file in files(folder) {
            let count = lines(&file).len();
            assert!(
                count <= longest,
                "{} has {count} lines before its tests",
                file.display()
            );
        }
    }
}
