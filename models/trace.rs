//! Counterexamples as files.
//!
//! Spec: `spec/8-reports.md`, "Files". A file is JSON: a format, a version of it, and a [`Tale`]. What this must never do: take a damaged file, or
//! one of another version, for a tale.

use crate::tale::Tale;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

const FORMAT: &str = "keepright trace";

/// Changes whenever a file of before could be misunderstood, or its words are not those of today.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct File {
    format: String,
    version: u32,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

/// Writes a tale to a file, for `check replay`.
pub fn save(file: &Path, tale: &Tale) -> Result<(), String> {
    let text = text(tale)?;
    write(file, &text)
}

/// Writes a file that the command line has asked for.
pub fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// A tale as the text of a file.
fn text(tale: &Tale) -> Result<String, String> {
    #[derive(Serialize)]
    struct Whole<'a> {
        format: &'a str,
        version: u32,
        #[serde(flatten)]
        tale: &'a Tale,
    }
    let whole = Whole {
        format: FORMAT,
        version: VERSION,
        tale,
    };
    let text = serde_json::to_string_pretty(&whole);
    text.map(|text| text + "\n")
        .map_err(|error| format!("cannot write the counterexample as JSON: {error}"))
}

/// Reads a tale from a file.
pub fn load(file: &Path) -> Result<Tale, String> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    parse(&text).map_err(|error| format!("{}: {error}", file.display()))
}

fn parse(text: &str) -> Result<Tale, String> {
    let File {
        format,
        version,
        rest,
    } = serde_json::from_str(text).map_err(|error| {
        format!("this is no counterexample that check --save has written: {error}")
    })?;
    if format != FORMAT {
        return Err(format!("the format is {format:?}, not {FORMAT:?}"));
    }
    if version != VERSION {
        return Err(format!(
            "the format has version {version}; this check reads version {VERSION}: \
             take the check that has written the file, or find the counterexample anew"
        ));
    }
    serde_json::from_value(rest.into())
        .map_err(|error| format!("the counterexample is damaged: {error}"))
}
