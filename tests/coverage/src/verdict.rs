//! What is not reached, against the list of what need not be.

use crate::record::{Counts, Region};
use crate::source::{Branch, Source};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Code that no state of the default models reaches, and why that may be.
#[derive(Debug, Deserialize)]
struct Excuse {
    reason: String,
    /// Each is a file, or a file and a function, or a file, a function and the line in which the code begins:
    /// `src/zab/mod.rs Zab::abandon: Role::Looking(election) => election.round,`.
    places: Vec<String>,
}

/// `unreached.toml`.
#[derive(Debug, Deserialize)]
pub struct Listed {
    unreached: Vec<Excuse>,
    #[serde(skip)]
    used: BTreeSet<String>,
}

impl Listed {
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let listed: Self = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        match listed
            .unreached
            .iter()
            .find(|excuse| excuse.reason.trim().is_empty())
        {
            Some(excuse) => Err(format!(
                "{}: {:?} without a reason",
                path.display(),
                excuse.places
            )),
            None => Ok(listed),
        }
    }

    /// Whether something is listed. Notes that it was needed.
    fn excuses(&mut self, found: &Unreached) -> bool {
        let Unreached {
            file,
            function,
            code,
            ..
        } = found;
        let names = [
            file.clone(),
            format!("{file} {function}"),
            format!("{file} {function}: {code}"),
        ];
        let places = self.unreached.iter().flat_map(|excuse| &excuse.places);
        let fitting: Vec<_> = places
            .filter(|place| names.contains(place))
            .cloned()
            .collect();
        self.used.extend(fitting.iter().cloned());
        !fitting.is_empty()
    }

    /// What is listed for nothing.
    fn needless(&self) -> impl Iterator<Item = &String> {
        let places = self.unreached.iter().flat_map(|excuse| &excuse.places);
        places.filter(|place| !self.used.contains(*place))
    }
}

/// Code that was not reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Unreached {
    file: String,
    line: usize,
    function: String,
    /// The line in which it begins.
    code: String,
    /// What is wrong with it, in words.
    what: &'static str,
}

/// Prints a line for each file and everything that is not reached. `Ok(false)` if some of it is not listed,
/// or what is listed is reached.
pub fn print(root: &Path, counts: &Counts, mut listed: Listed) -> Result<bool, String> {
    let (mut surprising, mut excused) = (Vec::new(), 0);
    println!(
        "\n{:<40}{:>8}{:>9}{:>9}",
        "file", "regions", "reached", "outside"
    );
    for (file, regions) in counts {
        let text = fs::read_to_string(root.join(file)).map_err(|e| format!("{file}: {e}"))?;
        let source = Source::read(&text).map_err(|e| format!("{file}: {e}"))?;
        let reached = regions.iter().filter(|region| region.count > 0).count();
        let idle = regions.iter().filter(|region| region.count == 0);
        let outside = idle.filter(|region| source.is_outside(region)).count();
        println!("{file:<40}{:>8}{reached:>9}{outside:>9}", regions.len());
        for found in unreached(file, &text, regions, &source) {
            match listed.excuses(&found) {
                true => excused += 1,
                false => surprising.push(found),
            }
        }
    }
    println!(
        "\noutside: not reached, and no part of the protocol: only broken variants get there, or unreachable! says\n\
         that nobody does. Of the others, {excused} places are listed in tests/coverage/unreached.toml."
    );
    for found in &surprising {
        let Unreached {
            file,
            line,
            function,
            code,
            what,
        } = found;
        println!("{what}: {file}:{line}\n    \"{file} {function}: {code}\"");
    }
    for place in listed.needless() {
        println!("LISTED, BUT REACHED or gone: {place}");
    }
    let needless = listed.needless().count();
    match (surprising.len(), needless) {
        (0, 0) => {
            println!("REACHED: every other decision of src/zab, by a state of the default models")
        }
        (new, old) => println!(
            "FAILED: {new} places are not reached and not listed, {old} are listed for nothing"
        ),
    }
    Ok(surprising.is_empty() && needless == 0)
}

fn unreached(file: &str, text: &str, regions: &[Region], source: &Source) -> BTreeSet<Unreached> {
    let lines: Vec<&str> = text.lines().collect();
    let idle = regions.iter().filter(|region| region.count == 0);
    let relevant = idle.filter(|region| !source.is_outside(region));
    relevant
        .map(|region| {
            let around = || {
                source
                    .branches
                    .iter()
                    .filter(|branch| branch.contains(region))
            };
            // The outermost branch of which nothing was executed says it all.
            let is_idle = |branch: &&Branch| {
                let mut inside = regions.iter().filter(|region| branch.contains(region));
                inside.all(|region| region.count == 0)
            };
            let outermost = around().filter(is_idle).min_by_key(|branch| branch.from);
            let innermost = around().max_by_key(|branch| branch.from);
            let line = outermost.map_or(region.from.0, |branch| branch.line);
            Unreached {
                file: file.to_owned(),
                line,
                function: innermost.map_or(String::new(), |branch| branch.function.clone()),
                code: lines
                    .get(line - 1)
                    .map_or("", |line| line.trim())
                    .to_owned(),
                what: match outermost {
                    Some(branch) if branch.is_missing_else => "NEVER FALSE",
                    _ => "NOT REACHED",
                },
            }
        })
        .collect()
}

impl Branch {
    fn contains(&self, region: &Region) -> bool {
        self.from <= region.from && region.to <= self.to
    }
}

impl Source {
    fn is_outside(&self, region: &Region) -> bool {
        let mut branches = self.branches.iter();
        branches.any(|branch| branch.is_outside && branch.contains(region))
    }
}
