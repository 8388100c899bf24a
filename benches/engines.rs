//! The engine of `check` beside stateright's own engines, on the same models with the same invariants.
//!
//! The engines take turns, each search in a process of its own, for some rounds; what is compared is always of
//! one round. All use the model's tables. Stateright's engines ask it through `Model`, ours through `Expand`,
//! where a thread may remember what it has found out (`models/engine.rs`). What it must never do: print a ratio
//! of searches that did not count the same states.
//!
//!     cargo bench --bench engines [-- --rounds N] [-- --small]

#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // It starts processes.

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;
use std::error::Error;
use std::process::{Command, ExitCode};

/// Compare the engine of check with stateright's engines
#[derive(Parser)]
struct Options {
    /// How often each engine explores each model
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Only the smallest bounds, to see whether it works
    #[arg(long)]
    small: bool,
    /// What cargo bench adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// The bounds of the model `zab`, as options of `check`. The first ones are small.
const BOUNDS: [&str; 3] = [
    "--writes 1 --timeouts 1 --crashes 0",
    "--writes 2 --timeouts 1 --crashes 1",
    "--writes 2 --timeouts 2 --crashes 0",
];

/// Somebody who searches.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Engine {
    /// As `check bench` knows it.
    name: &'static str,
    shown: &'static str,
    threads: usize,
    /// Whether it takes the states by their depth, and so knows the depth of the model.
    by_depth: bool,
}

impl Engine {
    const fn new(name: &'static str, shown: &'static str, threads: usize, by_depth: bool) -> Self {
        Self {
            name,
            shown,
            threads,
            by_depth,
        }
    }

    fn title(self) -> String {
        format!("{} ({})", self.shown, self.threads)
    }
}

const CHECK: Engine = Engine::new("check", "check", 1, true);
const CHECK_2: Engine = Engine::new("check", "check", 2, true);
const BFS: Engine = Engine::new("bfs", "stateright bfs", 1, true);
/// Its threads race, so some paths are longer than they need to be.
const BFS_2: Engine = Engine::new("bfs", "stateright bfs", 2, false);
const DFS: Engine = Engine::new("dfs", "stateright dfs", 1, false);

const ENGINES: [Engine; 5] = [CHECK, CHECK_2, BFS, BFS_2, DFS];

/// What is divided by what.
const PAIRS: [(Engine, Engine); 5] = [
    (CHECK, BFS),
    (CHECK_2, BFS_2),
    (CHECK, DFS),
    (CHECK_2, CHECK),
    (BFS_2, BFS),
];

/// What `check bench` prints.
#[derive(Clone, Debug, Deserialize)]
struct Measured {
    distinct: u64,
    generated: u64,
    depth: u64,
    seconds: f64,
    peak_bytes: u64,
}

impl Measured {
    fn states_per_second(&self) -> f64 {
        self.distinct as f64 / self.seconds
    }

    fn bytes_per_state(&self) -> f64 {
        self.peak_bytes as f64 / self.distinct as f64
    }
}

/// One search of each engine, in the order of [`ENGINES`].
struct Round(Vec<Measured>);

impl Round {
    /// The engines take turns; each round begins with another one.
    fn run(number: usize, bounds: &str) -> Result<Self, Box<dyn Error>> {
        let mut all: Vec<_> = ENGINES.iter().map(|_| None).collect();
        for turn in 0..ENGINES.len() {
            let place = (number + turn) % ENGINES.len();
            all[place] = Some(explore(ENGINES[place], bounds)?);
        }
        Ok(Self(all.into_iter().flatten().collect()))
    }

    fn of(&self, engine: Engine) -> &Measured {
        let place = ENGINES.iter().position(|known| *known == engine);
        &self.0[place.expect("every engine is in ENGINES")]
    }
}

fn explore(engine: Engine, bounds: &str) -> Result<Measured, Box<dyn Error>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_check"));
    command.args(["bench", "zab", "--engine", engine.name]);
    command.args(["--threads", &engine.threads.to_string()]);
    let output = command.args(bounds.split(' ')).output()?;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout)?),
        false => {
            let (title, said) = (engine.title(), String::from_utf8_lossy(&output.stderr));
            Err(format!("{title}, zab {bounds}: {}: {said}", output.status).into())
        }
    }
}

/// An error if two searches have counted different states.
fn hold_together(rounds: &[Round]) -> Result<&Measured, Box<dyn Error>> {
    let first = rounds[0].of(CHECK);
    for (number, round) in (1..).zip(rounds) {
        for (engine, measured) in ENGINES.iter().zip(&round.0) {
            let same = (measured.distinct, measured.generated) == (first.distinct, first.generated)
                && (measured.depth == first.depth || !engine.by_depth);
            if !same {
                let title = engine.title();
                return Err(format!(
                    "the counts differ, so nothing can be compared: {title} in round {number} has \
                     {measured:?}, {} in round 1 had {first:?}",
                    CHECK.title()
                )
                .into());
            }
        }
    }
    Ok(first)
}

/// The median, the least and the greatest of some values.
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(rounds: &[Round], value: impl Fn(&Round) -> f64) -> Self {
        let mut values: Vec<_> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Self {
            median: (below + above) / 2.0,
            min: values[0],
            max: values[values.len() - 1],
        }
    }

    /// As cells of a table, with so many digits after the point.
    fn cells(&self, digits: usize) -> [String; 3] {
        [self.median, self.min, self.max].map(|value| format!("{value:.digits$}"))
    }
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(head)
        .add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn searches(rounds: &[Round]) -> Table {
    let head = [
        "engine (threads)",
        "states/s: median",
        "min",
        "max",
        "peak MB: median",
        "min",
        "max",
        "B/state",
    ];
    let rows = ENGINES.into_iter().map(|engine| {
        let speed = Spread::of(rounds, |round| round.of(engine).states_per_second());
        let peak = Spread::of(rounds, |round| round.of(engine).peak_bytes as f64 / 1e6);
        let bytes = Spread::of(rounds, |round| round.of(engine).bytes_per_state());
        let mut row = vec![engine.title()];
        row.extend(speed.cells(0));
        row.extend(peak.cells(1));
        row.push(format!("{:.0}", bytes.median));
        row
    });
    table(&head, rows)
}

fn ratios(rounds: &[Round]) -> Table {
    let head = [
        "ratio",
        "speed: median",
        "min",
        "max",
        "memory: median",
        "min",
        "max",
    ];
    let rows = PAIRS.into_iter().map(|(one, other)| {
        let speed = Spread::of(rounds, |round| {
            round.of(one).states_per_second() / round.of(other).states_per_second()
        });
        let memory = Spread::of(rounds, |round| {
            round.of(one).peak_bytes as f64 / round.of(other).peak_bytes as f64
        });
        let mut row = vec![format!("{} / {}", one.title(), other.title())];
        row.extend(speed.cells(2));
        row.extend(memory.cells(2));
        row
    });
    table(&head, rows)
}

fn compare(rounds: u16, bounds: &str) -> Result<(), Box<dyn Error>> {
    let mut done = Vec::new();
    for number in 0..rounds.into() {
        done.push(Round::run(number, bounds)?);
    }
    let Measured {
        distinct,
        generated,
        depth,
        ..
    } = hold_together(&done)?;
    println!("zab {bounds}");
    println!(
        "{distinct} distinct states, {generated} generated, depth {depth}; rounds: {rounds}\n"
    );
    println!("{}\n\n{}\n", searches(&done), ratios(&done));
    Ok(())
}

fn main() -> ExitCode {
    let options = Options::parse();
    // Without cargo bench it is a test of itself.
    let (rounds, bounds) = match (options.bench, options.small) {
        (false, _) => (1, &BOUNDS[..1]),
        (true, true) => (options.rounds, &BOUNDS[..1]),
        (true, false) => (options.rounds, &BOUNDS[..]),
    };
    println!("Each search is a process of its own; its peak is that of the whole process.");
    println!(
        "Ratios are of the same round, the engine before the stroke divided by the one behind it.\n"
    );
    match bounds.iter().try_for_each(|bounds| compare(rounds, bounds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engines: {error}");
            ExitCode::FAILURE
        }
    }
}
