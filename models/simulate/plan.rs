//! The runs of one model: cut into batches, carried out, and reported.
//!
//! What it must never do: call a simulation well in which something fell, or what should happen never did.

use super::fleet::{self, Progress};
use super::tally::Tally;
use super::{Options, STEPS, Simulation, find, report};
use crate::engine::Limits;
use crate::output::Output;
use crate::run;
use std::fmt;
use std::io::Write as _;
use std::ops::Range;
use std::process::Command;
use std::time::Instant;

/// What becomes of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    /// Something has gone wrong.
    Fell,
    /// Something never happened that should happen now and then: what was asked there is not known.
    Dull,
    /// The time was over before the last run.
    Stopped,
}

impl Verdict {
    pub fn of(tally: &Tally, planned: u64, is_dull: bool) -> Self {
        match tally.fell {
            Some(_) => Self::Fell,
            None if tally.runs < planned => Self::Stopped,
            None if is_dull => Self::Dull,
            None => Self::Passed,
        }
    }

    pub fn is_well(self) -> bool {
        match self {
            Self::Passed | Self::Stopped => true,
            Self::Fell | Self::Dull => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "PASSED",
            Self::Fell => "FAILED",
            Self::Dull => "FAILED, since something never happened",
            Self::Stopped => "STOPPED",
        })
    }
}

/// The runs of one model.
pub struct Plan<'a> {
    model: &'static str,
    simulation: Box<dyn Simulation>,
    options: &'a Options,
    seeds: Range<u64>,
    /// Whether these are all the runs that there are by default, so that everything should happen.
    is_whole: bool,
    limits: Limits,
    started: Instant,
}

/// About how many steps one process takes at most, and how many runs it makes: with two kilobytes for a step, and half a megabyte for a
/// run of the service, a few hundred megabytes.
const STEPS_OF_A_PROCESS: u64 = 100_000;
const RUNS_OF_A_PROCESS: u64 = 200;

impl<'a> Plan<'a> {
    pub fn new(
        options: &'a Options,
        model: &'static str,
        usual: u64,
        limits: Limits,
    ) -> Result<Self, String> {
        let runs = options.runs.unwrap_or(usual);
        let end = options
            .seed
            .checked_add(runs)
            .ok_or("no room for so many seeds after this one")?;
        let all = options.seed..end;
        let is_all = options.mutant.is_none() && options.shard.is_none();
        let is_whole = is_all && runs >= usual && options.steps >= STEPS;
        Ok(Self {
            model,
            simulation: find(
                model,
                options.mutant.as_deref(),
                options.invariant.as_deref(),
            )?,
            options,
            seeds: options.shard.map_or(all.clone(), |shard| shard.part(&all)),
            is_whole,
            limits,
            started: Instant::now(),
        })
    }

    fn is_over(&self) -> bool {
        let elapsed = self.started.elapsed();
        run::interrupted() || self.limits.max_time.is_some_and(|max| elapsed >= max)
    }

    /// Makes the runs in this process.
    pub fn make_batch(&self) -> Result<(), String> {
        let (seeds, steps) = (self.seeds.clone(), self.options.steps);
        let tally = self.simulation.batch(seeds, steps, &|| self.is_over());
        let bytes = postcard::to_stdvec(&tally).map_err(|error| error.to_string())?;
        let written = std::io::stdout().lock().write_all(&bytes);
        written.map_err(|error| format!("cannot write the tally: {error}"))
    }

    /// Makes the runs in other processes, and prints what has happened in them.
    pub fn carry_out(&self, output: &Output) -> Result<bool, String> {
        run::listen_for_interrupt();
        let program = std::env::current_exe()
            .map_err(|error| format!("cannot find this program to start it again: {error}"))?;
        let command = |seeds: &Range<u64>| {
            let mut command = Command::new(&program);
            command.args(["simulate", "--batch"]).args(self.what());
            command.args(["--seed", &seeds.start.to_string()]);
            command.args(["--runs", &(seeds.end - seeds.start).to_string()]);
            if let Some(max) = self.limits.max_time {
                let left = max.saturating_sub(self.started.elapsed());
                command.args(["--max-time", &left.as_secs().max(1).to_string()]);
            }
            command
        };
        let steps = self.options.steps.max(1) as u64;
        let size = (STEPS_OF_A_PROCESS / steps).min(RUNS_OF_A_PROCESS);
        let progress = Progress::default();
        let tally = run::with_live_line(
            || {
                fleet::run(
                    fleet::batches(self.seeds.clone(), size),
                    self.limits.threads,
                    self.simulation.tally(),
                    &progress,
                    || self.is_over(),
                    command,
                )
            },
            || report::progress_line(self.model, &progress, self.started.elapsed()),
        )?;
        self.report(&tally, output)
    }

    /// Prints what has happened. Whether all is well.
    fn report(&self, tally: &Tally, output: &Output) -> Result<bool, String> {
        let elapsed = self.started.elapsed();
        print!("{}", report::tables(&*self.simulation, tally));
        let missing = report::missing(&*self.simulation, tally);
        if !missing.is_empty() {
            println!("never happened: {}", missing.join(", "));
        }
        let unseen = report::unseen(tally);
        if !unseen.is_empty() {
            println!("never witnessed: {}", unseen.join(", "));
        }
        if let Some(seed) = tally.fell {
            let steps = self.options.steps;
            let fell = self.simulation.describe(seed, steps);
            match &fell {
                Some(fell) => println!("\nseed {seed}: {fell}"),
                None => {
                    println!("\nseed {seed} went wrong once, but not again: a bug of the simulator")
                }
            }
            output.write(fell.as_ref().map(|fell| &fell.told))?;
            println!("To see it again: {}", self.replay(seed));
        }
        let planned = self.seeds.end - self.seeds.start;
        let verdict = Verdict::of(tally, planned, self.is_whole && !missing.is_empty());
        let line = report::conclusion(&self.heading(), tally, planned, elapsed);
        println!("{verdict}: {line}\n");
        Ok(verdict.is_well())
    }

    fn heading(&self) -> String {
        let mutant = self.options.mutant.as_deref();
        let mutant = mutant.map_or(String::new(), |name| format!(" with mutant {name}"));
        let seeds = match &self.seeds {
            none if none.is_empty() => "no seeds".to_owned(),
            Range { start, end } => format!("seeds {start} to {}", end - 1),
        };
        format!("{}{mutant}, {seeds}", self.model)
    }

    /// The command that makes the run of one seed again.
    fn replay(&self, seed: u64) -> String {
        let what = self.what().join(" ");
        format!("check simulate {what} --seed {seed} --runs 1")
    }

    /// The arguments that say what is simulated, and how far.
    fn what(&self) -> Vec<String> {
        let mut what = vec![self.model.to_owned()];
        let Options {
            mutant, invariant, ..
        } = self.options;
        for (option, value) in [("--mutant", mutant), ("--invariant", invariant)] {
            what.extend(
                value
                    .iter()
                    .flat_map(|value| [option.to_owned(), value.clone()]),
            );
        }
        if self.options.steps != STEPS {
            what.extend(["--steps".to_owned(), self.options.steps.to_string()]);
        }
        what
    }
}
