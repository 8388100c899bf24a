//! The spec, the code and the models name the same things.
//!
//! Spec: all of `spec/`. These tests read files as text: what they hold is that no name is left behind when
//! one side changes, not that the sentences are true.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // Tests read files and start processes.

use keepright::zab::{Entry, Payload};
use keepright::zab::{Variant, invariants};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use toml::Value;

/// What the invariants are made for here: only their names count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Nothing;

impl Payload for Nothing {
    type Txn = u8;
    type Snapshot = keepright::persistent::Vector<Entry<u8>>;
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a folder with this ending, with their paths from the root.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("an entry of a folder").path();
            if path.is_dir() {
                // What was built in a package below is no source.
                folders.extend((!path.ends_with("target")).then_some(path));
            } else if path
                .extension()
                .is_some_and(|extension| extension == ending)
            {
                let path = path.strip_prefix(root()).expect("a file below the root");
                found.push(path.to_str().expect("a path in UTF-8").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<String> {
    let folders = ["src", "models", "tests"];
    folders
        .iter()
        .flat_map(|folder| files(folder, "rs"))
        .collect()
}

/// The tables of one name in a file of the spec.
fn tables(file: &str, name: &str) -> Vec<toml::Table> {
    let document: toml::Table = read(file)
        .parse()
        .unwrap_or_else(|error| panic!("{file}: {error}"));
    let Some(Value::Array(tables)) = document.get(name) else {
        panic!("{file} has no [[{name}]]");
    };
    let table = |value: &Value| value.as_table().expect("[[...]] is a table").clone();
    tables.iter().map(table).collect()
}

fn text<'a>(table: &'a toml::Table, key: &str) -> &'a str {
    match table.get(key).and_then(Value::as_str) {
        Some(text) if !text.trim().is_empty() => text,
        _ => panic!("{key} is missing or empty in {table:?}"),
    }
}

fn list<'a>(table: &'a toml::Table, key: &str) -> Vec<&'a str> {
    let Some(Value::Array(values)) = table.get(key) else {
        panic!("{key} is missing in {table:?}");
    };
    let words = values
        .iter()
        .map(|value| value.as_str().expect("a list of words"));
    words.collect()
}

fn ids(file: &str, name: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for table in tables(file, name) {
        let id = text(&table, "id").to_owned();
        assert!(ids.insert(id.clone()), "{id} is in {file} twice");
    }
    ids
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// The variants of the protocol but the faithful one, in snake case.
fn variants() -> BTreeSet<String> {
    let wrong = Variant::ALL.iter().filter(|v| **v != Variant::Faithful);
    let of_zab = wrong.map(|v| snake_case(&format!("{v:?}")));
    of_zab.chain(service_variants()).collect()
}

/// Those of the service, as the source lists them.
fn service_variants() -> BTreeSet<String> {
    let source = read("src/service/variant.rs");
    let (_, body) = source
        .split_once("pub enum Variant {")
        .expect("the enum Variant");
    let (body, _) = body.split_once("\n}").expect("the end of the enum");
    let names = body
        .lines()
        .filter_map(|line| line.trim().strip_suffix(','));
    let names = names.filter(|name| name.chars().all(char::is_alphanumeric));
    names
        .filter(|name| *name != "Faithful")
        .map(snake_case)
        .collect()
}

/// Everything between backquotes.
fn code_words(text: &str) -> Vec<&str> {
    let odd = text
        .split('`')
        .enumerate()
        .filter(|(index, _)| index % 2 == 1);
    odd.map(|(_, word)| word).collect()
}

/// The invariants of the service with their witnesses, as the source lists them.
fn service_invariants() -> Vec<(String, String)> {
    let source = read("models/service/invariants.rs");
    let (_, list) = source
        .split_once("pub const ALL: &[Invariant] = &[")
        .expect("the list of invariants");
    let (list, _) = list.split_once("\n];").expect("the end of the list");
    let word = |text: &str, label: &str| {
        let (_, after) = text.split_once(label).expect("a field of an invariant");
        after.split('"').nth(1).expect("a word").to_owned()
    };
    list.split("    Invariant {\n")
        .skip(1)
        .map(|row| (word(row, " id: "), word(row, "witness_id: ")))
        .collect()
}

#[test]
fn every_invariant_is_in_the_spec_and_the_spec_names_no_other() {
    let mut in_code: BTreeMap<_, _> = invariants::all::<Nothing>()
        .into_iter()
        .map(|invariant| (invariant.id.to_owned(), invariant.witness_id.to_owned()))
        .collect();
    in_code.extend(service_invariants());
    let in_spec: BTreeMap<_, _> = tables("spec/invariants.toml", "invariant")
        .iter()
        .map(|table| {
            (
                text(table, "id").to_owned(),
                text(table, "witness").to_owned(),
            )
        })
        .collect();
    assert_eq!(in_code, in_spec, "ids with their witnesses");
}

#[test]
fn every_invariant_says_what_it_means() {
    for table in tables("spec/invariants.toml", "invariant") {
        for key in ["title", "prose", "predicate", "apache"] {
            text(&table, key);
        }
    }
}

#[test]
fn every_variant_of_the_protocol_is_a_mutant_of_the_spec_or_a_bug_of_the_past() {
    let mut explained = ids("spec/invariants.toml", "mutant");
    explained.extend(bug_variants());
    assert_eq!(variants(), explained);
}

/// A bug of the past that a variant brings back, as its file has it.
struct Bug {
    name: String,
    invariant: String,
}

/// The bugs of the past that are found again.
fn bugs() -> Vec<Bug> {
    let word = |file: &str, label: &str| {
        let (_, after) = file.split_once(label)?;
        Some(after.split('"').nth(1)?.to_owned())
    };
    let bug = |file: String| {
        Some(Bug {
            name: word(&file, "    name: ")?,
            invariant: word(&file, "        invariant: ")?,
        })
    };
    files("models/bugs", "rs")
        .into_iter()
        .filter_map(|file| bug(read(file)))
        .collect()
}

/// The variants that bring back a bug of the past, in snake case.
fn bug_variants() -> BTreeSet<String> {
    let mut variants = BTreeSet::new();
    for file in files("models/bugs", "rs") {
        for after in read(file).split("Variant::").skip(1) {
            let end = |letter: char| !letter.is_alphanumeric();
            let name = after.split(end).next().expect("split gives something");
            variants.insert(snake_case(name));
        }
    }
    variants
}

#[test]
fn every_invariant_has_the_mutants_that_check_shows_to_make_it_fall() {
    let mut in_spec = BTreeSet::new();
    for table in tables("spec/invariants.toml", "invariant") {
        let id = text(&table, "id");
        let mutants = list(&table, "mutants");
        assert!(!mutants.is_empty(), "{id} has no mutant");
        in_spec.extend(
            mutants
                .iter()
                .map(|mutant| (id.to_owned(), (*mutant).to_owned())),
        );
    }
    // A row is: name, variant, model, bounds, invariant; of the service: name, variant, scenario,
    // budgets, invariant.
    let source = read("models/mutants.rs") + &read("models/service/mutants.rs");
    let mut in_models = BTreeSet::new();
    for row in source.split("    mutant(\n").skip(1) {
        let row = row.split("    ),\n").next().expect("split gives something");
        let words: Vec<&str> = row.split('"').skip(1).step_by(2).collect();
        let [name, _, invariant] = words[..] else {
            panic!("a row that is not understood: {row}");
        };
        let variant = row.split("Variant::").nth(1).expect("a variant");
        let variant = variant.split(',').next().expect("split gives something");
        assert_eq!(
            name,
            snake_case(variant),
            "a mutant is called as its variant"
        );
        in_models.insert((invariant.to_owned(), name.to_owned()));
    }
    // The others break convergence, which is no invariant.
    let known = ids("spec/invariants.toml", "invariant");
    let of_bugs = bugs().into_iter().map(|bug| (bug.invariant, bug.name));
    in_models.extend(of_bugs.filter(|(invariant, _)| known.contains(invariant)));
    assert_eq!(in_models, in_spec, "invariants with their mutants and bugs");
    let in_bugs: BTreeSet<_> = bugs().into_iter().map(|bug| bug.name).collect();
    let used: BTreeSet<String> = in_models.into_iter().map(|(_, name)| name).collect();
    assert_eq!(
        used.difference(&in_bugs).cloned().collect::<BTreeSet<_>>(),
        ids("spec/invariants.toml", "mutant"),
        "every mutant is tried"
    );
}

#[test]
fn every_invariant_is_checked_by_the_models_that_the_spec_names() {
    let mut in_spec = BTreeSet::new();
    for table in tables("spec/invariants.toml", "invariant") {
        let id = text(&table, "id");
        let models = list(&table, "models");
        in_spec.extend(
            models
                .iter()
                .map(|model| ((*model).to_owned(), id.to_owned())),
        );
    }
    let source = read("models/catalogue.rs");
    let mut in_models = BTreeSet::new();
    for spec in source.split("    Spec {\n").skip(1) {
        let word_after = |label: &str| {
            let (_, after) = spec.split_once(label).expect("a field of a model");
            after
                .split(',')
                .next()
                .expect("split gives something")
                .to_owned()
        };
        let model = word_after("setting: ").to_lowercase();
        let (_, lists) = spec
            .split_once("invariants: &[")
            .expect("lists of invariants");
        let lists = lists.split(']').next().expect("split gives something");
        for list in lists.split(',') {
            let constant = format!("const {}: &[&str] = &[", list.trim());
            let (_, ids) = source.split_once(&constant).expect("a list of invariants");
            let ids = ids.split("];").next().expect("split gives something");
            for id in ids.split('"').skip(1).step_by(2) {
                in_models.insert((model.clone(), id.to_owned()));
            }
        }
    }
    for (id, _) in service_invariants() {
        in_models.insert(("service".to_owned(), id));
    }
    assert_eq!(in_models, in_spec, "models with their invariants");
}

/// The words behind a label in the files of the other protocols.
fn of_other_protocols(label: &str) -> BTreeSet<String> {
    let sources = files("models/consensus", "rs")
        .into_iter()
        .filter(|file| !file.ends_with("tests.rs"));
    let source: String = sources.map(read).collect();
    let named = source.split(label).skip(1).filter_map(|after| {
        let word = after.trim_start().strip_prefix('"')?;
        Some(word.split('"').next()?.to_owned())
    });
    named.collect()
}

#[test]
fn every_invariant_claim_and_model_of_the_other_protocols_is_in_their_chapter() {
    let prose = read("spec/consensus.md");
    let told: BTreeSet<_> = code_words(&prose).into_iter().collect();
    let mut known = of_other_protocols(" id: ");
    known.extend(of_other_protocols(" name: "));
    assert!(known.len() > 30, "{known:?}");
    let missing: Vec<_> = known
        .iter()
        .filter(|id| !told.contains(id.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "spec/consensus.md does not name {missing:?}"
    );
}

#[test]
fn every_departure_says_where_it_happens_and_why() {
    ids("spec/deviations.toml", "deviation");
    for table in tables("spec/deviations.toml", "deviation") {
        for key in ["what", "theirs", "ours", "why"] {
            text(&table, key);
        }
        let file = text(&table, "where");
        assert!(root().join(file).is_file(), "{file} is not there");
        let id = text(&table, "id");
        assert!(read(file).contains(id), "{file} does not name {id}");
    }
}

#[test]
fn every_departure_is_named_in_the_prose_and_the_prose_names_no_other() {
    let known = ids("spec/deviations.toml", "deviation");
    let mut named = BTreeSet::new();
    for file in files("spec", "md").into_iter().chain(sources()) {
        if file == "tests/spec.rs" {
            continue;
        }
        let content = read(&file);
        let words = content.split(|letter: char| !letter.is_alphanumeric());
        let is_id = |word: &&str| {
            word.len() == 3
                && word.starts_with('D')
                && word[1..].chars().all(|c| c.is_ascii_digit())
        };
        for word in words.filter(is_id) {
            assert!(
                known.contains(word),
                "{file} names {word}, which is in no list"
            );
            named.insert(word.to_owned());
        }
    }
    assert_eq!(known, named, "departures that no chapter names");
}

#[test]
fn every_function_that_the_spec_names_is_in_the_source() {
    let source: String = ["src", "models"]
        .iter()
        .flat_map(|folder| files(folder, "rs"))
        .map(read)
        .collect();
    let mut missing = BTreeSet::new();
    let mut handlers = 0;
    let departures = tables("spec/deviations.toml", "deviation");
    let mutants = tables("spec/invariants.toml", "mutant");
    let prose = files("spec", "md")
        .into_iter()
        .map(read)
        .collect::<String>();
    let tables: Vec<_> = departures.iter().chain(&mutants).collect();
    let told = tables
        .iter()
        .flat_map(|table| table.values().filter_map(Value::as_str));
    for word in told.flat_map(code_words).chain(code_words(&prose)) {
        let name = word.rsplit("::").next().unwrap_or(word);
        // Keys of the word mntr are written without their prefix in the source.
        let name = name.strip_prefix("zk_").unwrap_or(name);
        let is_name = name.contains('_')
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !is_name {
            continue;
        }
        handlers += usize::from(name.starts_with("on_"));
        let forms = [
            format!("fn {name}("),
            format!("fn {name}<"),
            format!("{name}: "),
            format!("\"{name}\""),
        ];
        if !forms.iter().any(|form| source.contains(form)) {
            missing.insert(name.to_owned());
        }
    }
    assert!(
        missing.is_empty(),
        "the spec names what the source does not have: {missing:?}"
    );
    assert!(handlers > 20, "the spec names handlers: {handlers}");
}

#[test]
fn every_handler_of_a_message_is_in_the_spec() {
    let prose: String = files("spec", "md").into_iter().map(read).collect();
    let handlers = files("src/zab", "rs")
        .into_iter()
        .map(read)
        .collect::<String>();
    for line in handlers.lines().filter(|line| line.contains("fn on_")) {
        let (_, name) = line.split_once("fn ").expect("a function");
        let name = name.split(['(', '<']).next().expect("its name");
        // These only dispatch.
        if [
            "on_msg",
            "on_start",
            "on_timeout",
            "on_peer_message",
            "on_notification_while_looking",
        ]
        .contains(&name)
        {
            continue;
        }
        assert!(
            prose.contains(&format!("`{name}`")),
            "the spec does not name {name}"
        );
    }
}

#[test]
fn every_chapter_and_section_that_a_source_file_names_is_in_the_spec() {
    for file in sources() {
        let head: Vec<String> = read(&file)
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .map(|line| line.trim_start_matches("//!").trim().to_owned())
            .collect();
        let head = head.join(" ");
        let Some((_, sentence)) = head.split_once("Spec: ") else {
            continue;
        };
        let (mut chapter, mut rest) = (String::new(), sentence);
        // Chapters stand between backquotes, their sections after them between quotation marks.
        while let Some(start) = rest.find(['`', '"']) {
            let mark = rest[start..].chars().next().expect("a mark");
            let after = &rest[start + 1..];
            let Some(end) = after.find(mark) else { break };
            let word = &after[..end];
            if mark == '`' && word.starts_with("spec/") {
                assert!(
                    root().join(word).exists(),
                    "{file} names {word}, which is not there"
                );
                chapter = word.to_owned();
            } else if mark == '"' && chapter.ends_with(".md") {
                let heading = format!("\n## {word}\n");
                assert!(
                    read(&chapter).contains(&heading),
                    "{file}: {chapter} has no \"{word}\""
                );
            } else if mark == '"' && chapter.ends_with(".toml") {
                let heading = format!("[[{}]]", word.trim_end_matches('s'));
                assert!(
                    read(&chapter).contains(&heading),
                    "{file}: {chapter} has no {heading}"
                );
            }
            // What the file must never do is about the file.
            rest = &after[end + 1..];
            if rest
                .find("never do")
                .is_some_and(|never| rest.find("spec/").is_none_or(|next| never < next))
                && !rest.trim_start().starts_with(", \"")
                && !rest.trim_start().starts_with("and \"")
            {
                break;
            }
        }
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    for file in sources() {
        assert!(
            read(&file).starts_with("//! "),
            "{file} does not open with what it is"
        );
    }
}

#[test]
fn every_link_of_the_prose_leads_somewhere() {
    let mut prose = files("spec", "md");
    prose.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned));
    for file in prose {
        let folder = Path::new(&file)
            .parent()
            .expect("a file in a folder")
            .to_owned();
        for link in read(&file).split("](").skip(1) {
            let target = link.split(')').next().expect("split gives something");
            let target = target.split('#').next().expect("split gives something");
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(
                root().join(&folder).join(target).exists(),
                "{file} links to {target}"
            );
        }
    }
}
