//! A real run as a trace: JSON for programs, a sequence diagram for people.
//!
//! Spec: `spec/6-server.md`, "Journal". Only steps that the invariants can see are told; their numbers are
//! those of all steps. What it must never do: show a message where nobody received it.

use crate::svg::{Arrow, Diagram, Mark, Row, Stand};
use keepright::types::ServerId;
use serde::Serialize;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

/// The version of the JSON.
const VERSION: u32 = 1;
/// The most rows of a diagram: a person reads no more, and browsers show no more.
const ROWS: usize = 500;

/// What is told of a run.
#[derive(Serialize)]
pub struct Trace {
    format: &'static str,
    version: u32,
    servers: Vec<u8>,
    steps: Vec<Step>,
    #[serde(skip)]
    window: RangeInclusive<u64>,
}

/// One step.
#[derive(Serialize)]
pub struct Step {
    /// Counts every step of the run, from 1.
    pub number: u64,
    /// Nanoseconds since the Unix epoch, by the clock of the server.
    pub at: u64,
    pub server: u8,
    /// What happened.
    pub sentence: String,
    /// The message that was received: from whom, in which step it was sent, and what it says.
    pub received: Option<Received>,
    /// A line a server, after the step.
    pub lines: Vec<String>,
    /// The invariants that it broke.
    pub broken: Vec<&'static str>,
    /// What it is in a diagram.
    #[serde(skip)]
    pub mark: Mark,
    /// How the servers stand after it, in a diagram.
    #[serde(skip)]
    pub stands: Vec<Stand>,
}

/// A message at its destination.
#[derive(Serialize)]
pub struct Received {
    pub from: u8,
    /// The step in which it was sent first; `None` if no journal tells.
    pub sent: Option<u64>,
    pub message: String,
}

impl Trace {
    /// The trace of some steps of a run.
    pub fn new(servers: impl Iterator<Item = ServerId>, window: RangeInclusive<u64>) -> Self {
        Self {
            format: "keepright journal trace",
            version: VERSION,
            servers: servers.map(|id| id.0).collect(),
            steps: Vec::new(),
            window,
        }
    }

    /// Whether a step is to be told.
    pub fn wants(&self, number: u64) -> bool {
        self.window.contains(&number)
    }

    /// Tells a step.
    pub fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Writes it as JSON.
    pub fn save(&self, file: &Path) -> Result<(), String> {
        let text =
            serde_json::to_string_pretty(self).expect("a trace is made of texts and numbers");
        write(file, &text)
    }

    /// Writes it as a sequence diagram. Returns the last step that found room, if not all did.
    pub fn draw(&self, file: &Path) -> Result<Option<u64>, String> {
        let shown = &self.steps[..self.steps.len().min(ROWS)];
        write(file, &self.diagram(shown).draw())?;
        Ok((shown.len() < self.steps.len()).then(|| shown[ROWS - 1].number))
    }

    fn diagram(&self, steps: &[Step]) -> Diagram {
        let lane = |id: u8| self.servers.iter().position(|known| *known == id);
        let row = |(row, step): (usize, &Step)| Row {
            number: step.number,
            text: step.sentence.clone(),
            stands: step.stands.clone(),
            marks: lane(step.server)
                .map(|lane| (lane, step.mark))
                .into_iter()
                .collect(),
            arrow: step.received.as_ref().and_then(|received| {
                Some(Arrow {
                    from: lane(received.from)?,
                    since: sent_in(steps, received).min(row),
                    to: lane(step.server)?,
                })
            }),
        };
        let broken = steps
            .iter()
            .flat_map(|step| step.broken.iter().map(|id| (id, step.number)));
        let broken: Vec<_> = broken
            .map(|(id, number)| format!("{id} in step {number}"))
            .collect();
        let bounds = steps.first().zip(steps.last());
        Diagram {
            title: match bounds {
                Some((first, last)) => {
                    format!("journals, steps {} to {}", first.number, last.number)
                }
                None => "journals, no step that can be told".to_owned(),
            },
            lanes: self
                .servers
                .iter()
                .map(|id| format!("server {id}"))
                .collect(),
            rows: steps.iter().enumerate().map(row).collect(),
            broken: (!broken.is_empty()).then(|| broken.join("; ")),
        }
    }
}

/// The row in which a message was sent. If that step is not told, the last one before it that is; if it
/// came before all of them, or nobody knows, the first.
fn sent_in(steps: &[Step], received: &Received) -> usize {
    let sent = received.sent.unwrap_or(0);
    steps
        .partition_point(|step| step.number <= sent)
        .saturating_sub(1)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}
