//! A real run as a trace: JSON for programs, a sequence diagram for people.
//!
//! Spec: `spec/6-server.md`, "Journal". Only steps that the invariants can see are told; their numbers are
//! those of all steps. What it must never do: show a message where nobody received it.

use keepright::types::ServerId;
use serde::Serialize;
use std::fmt::Write as _;
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
        write(file, &diagram(&self.servers, shown))?;
        Ok((shown.len() < self.steps.len()).then(|| shown[ROWS - 1].number))
    }
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

const COLUMN: usize = 420;
const MARGIN: usize = 110;
const ROW: usize = 34;
const TOP: usize = 46;

/// Time runs downwards, a line a server, a row a step; an arrow runs from the row in which a message was
/// sent to that in which it arrived, or begins at the top if it was sent before.
fn diagram(servers: &[u8], steps: &[Step]) -> String {
    let column = |server: u8| {
        let place = servers.iter().position(|known| *known == server);
        place.map(|place| MARGIN + COLUMN * place + COLUMN / 2)
    };
    let row = |index: usize| TOP + ROW * (index + 1);
    let (width, height) = (COLUMN * servers.len() + 2 * MARGIN, row(steps.len()));
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' \
         viewBox='0 0 {width} {height}' font-family='monospace' font-size='12'>\
         <defs><marker id='arrow' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='7' \
         markerHeight='7' orient='auto'><path d='M0 0L10 5L0 10z' fill='#4a90d9'/></marker></defs>\
         <rect width='{width}' height='{height}' fill='#ffffff'/>"
    );
    for id in servers {
        let x = column(*id).unwrap_or(MARGIN);
        let _ = write!(
            svg,
            "<text x='{x}' y='20' text-anchor='middle' font-weight='bold' fill='#222'>server {id}\
             </text><line x1='{x}' y1='30' x2='{x}' y2='{height}' stroke='#bbb'/>"
        );
    }
    for (index, step) in steps.iter().enumerate() {
        let Some(x) = column(step.server) else {
            continue;
        };
        let y = row(index);
        if let Some(received) = &step.received
            && let Some(from) = column(received.from)
        {
            let sent = received.sent.unwrap_or(0);
            let start = steps.partition_point(|step| step.number < sent);
            let exact = steps.get(start).is_some_and(|step| step.number == sent);
            // What was sent in a step that is not told leaves between the rows.
            let from_y = row(start) - if exact { 0 } else { ROW / 2 };
            let _ = write!(
                svg,
                "<line x1='{from}' y1='{from_y}' x2='{x}' y2='{y}' stroke='#4a90d9' \
                 marker-end='url(#arrow)'/>"
            );
        }
        let colour = match step.broken.is_empty() {
            true => "#222",
            false => "#c0392b",
        };
        let text = step
            .received
            .as_ref()
            .map_or(&step.sentence, |r| &r.message);
        let broken: String = step
            .broken
            .iter()
            .map(|id| format!(" BREAKS {id}"))
            .collect();
        let _ = write!(
            svg,
            "<circle cx='{x}' cy='{y}' r='4' fill='{colour}'/>\
             <text x='{x}' y='{}' text-anchor='middle' fill='{colour}' stroke='#ffffff' \
             stroke-width='3' paint-order='stroke'>{}. {}{broken}</text>",
            y - 8,
            step.number,
            escape(text)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
