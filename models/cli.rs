//! The command line of `check`.

use crate::bounds::Bounds;
use crate::catalogue::{self, Spec};
use crate::engine::Limits;
use crate::{bugs, explore, mutants, record, report, run};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Model-check keepright's replication protocol: the actors that the server runs, in a world with
/// crashes, restarts, lost, repeated, delayed and reordered messages.
///
/// Without a command: explore every model within its default bounds.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  check                                       every model, default bounds
  check run zab --writes 2 --timeouts 2       one model, other bounds
  check run zab --crashes 1 --pending-saves   saves that a crash may lose
  check mutants                               break the protocol; every break must be noticed
  check bugs                                  the bugs of the past, found again
  check explore zab                           walk through the states in a browser
  check explore zab --mutant no_trunc         the same, with a counterexample to find"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    how: How,
    /// Write what was explored to this file, if everything passes (without a command)
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// How much to explore, and with how many threads.
#[derive(Args, Clone, Copy)]
pub struct How {
    /// Threads [default: all cores]
    #[arg(long, global = true)]
    threads: Option<usize>,
    /// End a run after so many distinct states
    #[arg(long, global = true)]
    max_states: Option<usize>,
    /// End a run after so many seconds
    #[arg(long, global = true)]
    max_time: Option<u64>,
}

#[derive(Subcommand)]
enum Command {
    /// Explore models, and say what holds
    Run {
        /// The model: election, zab or ensemble; all of them if none is given
        model: Option<String>,
        #[command(flatten)]
        bounds: Option<Bounds>,
    },
    /// List the models with their bounds and invariants, and the mutants
    List,
    /// Explore broken variants of the protocol: each must break its invariant
    Mutants {
        /// Only the mutant with this name, with its counterexample step by step
        name: Option<String>,
        /// Explore the next smaller bounds too: nothing must be found there
        #[arg(long)]
        smallest: bool,
    },
    /// Bring back the bugs that implementations of Zab once had: each must break its invariant
    Bugs {
        /// Only the bug with this name, with its counterexample step by step
        name: Option<String>,
        /// Explore the next smaller bounds too: nothing must be found there
        #[arg(long)]
        smallest: bool,
    },
    /// Open the stateright explorer on a model
    Explore {
        /// The model: election, zab or ensemble
        model: String,
        /// The port on localhost
        #[arg(long, default_value_t = 3000)]
        port: u16,
        /// A mutant or a bug of this model instead of the protocol as it should be
        #[arg(long)]
        mutant: Option<String>,
        #[command(flatten)]
        bounds: Option<Bounds>,
    },
}

impl How {
    /// The limits of one run.
    pub fn limits(&self) -> Limits {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Limits {
            threads: self.threads.unwrap_or(cores).max(1),
            stop_at_first: true,
            max_states: self.max_states,
            max_time: self.max_time.map(Duration::from_secs),
        }
    }
}

impl Cli {
    /// Does what the command line asks for. `Ok(false)` if a check has failed.
    pub fn run(self) -> Result<bool, String> {
        let limits = self.how.limits();
        if self.record.is_some() && self.command.is_some() {
            return Err("--record goes without a command: it is about every model".to_owned());
        }
        match self.command {
            None => {
                let runs = run::run_all(&runs_of_all(), limits);
                if let (Some(file), Some(runs)) = (&self.record, &runs) {
                    record::write(file, runs)?;
                }
                Ok(runs.is_some())
            }
            Some(Command::Run {
                model: None,
                bounds: None,
            }) => Ok(run::run_all(&runs_of_all(), limits).is_some()),
            Some(Command::Run {
                model: None,
                bounds: Some(_),
            }) => Err(format!(
                "bounds need a model: check run MODEL ...; {}",
                known_models()
            )),
            Some(Command::Run {
                model: Some(name),
                bounds,
            }) => {
                let spec = find(&name)?;
                Ok(run::run_all(&runs_of(spec, bounds), limits).is_some())
            }
            Some(Command::List) => {
                print!("{}", report::list());
                Ok(true)
            }
            Some(Command::Mutants { name, smallest }) => {
                run::run_mutants(name.as_deref(), smallest, limits)
            }
            Some(Command::Bugs { name, smallest }) => {
                run::run_bugs(name.as_deref(), smallest, limits)
            }
            Some(Command::Explore {
                model,
                port,
                mutant,
                bounds,
            }) => {
                let environment = environment_to_explore(&model, mutant.as_deref(), bounds)?;
                explore::serve(environment, port)?;
                Ok(true)
            }
        }
    }
}

fn environment_to_explore(
    model: &str,
    mutant: Option<&str>,
    bounds: Option<Bounds>,
) -> Result<crate::environment::Environment, String> {
    let spec = find(model)?;
    let Some(name) = mutant else {
        return Ok(spec.faithful(bounds.unwrap_or(spec.bounds[0])));
    };
    let mutants = mutants::ALL.iter().map(|m| (m.name, &m.trial));
    let of_model: Vec<_> = mutants
        .chain(bugs::found())
        .filter(|(_, trial)| trial.model == model)
        .collect();
    let (_, trial) = of_model.iter().find(|(n, _)| *n == name).ok_or_else(|| {
        let names: Vec<_> = of_model.iter().map(|(name, _)| *name).collect();
        format!(
            "no mutant {name} of {model}; there are {}",
            names.join(", ")
        )
    })?;
    Ok(trial.environment())
}

fn find(name: &str) -> Result<&'static Spec, String> {
    catalogue::find(name).ok_or_else(|| format!("no model {name}; {}", known_models()))
}

fn known_models() -> String {
    let names: Vec<_> = catalogue::ALL
        .iter()
        .map(|spec| spec.setting.name)
        .collect();
    format!("the models are {}", names.join(", "))
}

fn runs_of_all() -> Vec<(&'static Spec, Bounds)> {
    catalogue::ALL
        .iter()
        .flat_map(|spec| runs_of(spec, None))
        .collect()
}

fn runs_of(spec: &'static Spec, bounds: Option<Bounds>) -> Vec<(&'static Spec, Bounds)> {
    match bounds {
        Some(bounds) => vec![(spec, bounds)],
        None => spec.bounds.iter().map(|bounds| (spec, *bounds)).collect(),
    }
}
