//! The command line of `check`.

use crate::bounds::Bounds;
use crate::catalogue::{self, Spec};
use crate::checked::Exploration;
use crate::engine::Limits;
use crate::service::bounds::Options;
use crate::trial::Trial;
use crate::{bugs, converge, memory, mutants, record, report, run, service};
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
    /// End a run when the program uses so many megabytes [default: nine tenths of the memory]
    #[arg(long, global = true, value_name = "MB")]
    max_memory: Option<u64>,
}

#[derive(Subcommand)]
enum Command {
    /// Explore models, and say what holds
    Run {
        /// The model: election, zab, ensemble or service; all of them if none is given
        model: Option<String>,
        #[command(flatten)]
        bounds: Option<Bounds>,
        #[command(flatten)]
        options: Option<Options>,
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
    /// From every state, with faults off and a fair schedule: back to work, and in how many rounds
    Converge {
        /// The model: election, zab, ensemble or service; all of them if none is given
        model: Option<String>,
        /// Print the way to the worst state, and what the schedule does from there
        #[arg(long)]
        worst: bool,
        #[command(flatten)]
        bounds: Option<Bounds>,
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
        #[command(flatten)]
        options: Option<Options>,
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
            max_memory: self
                .max_memory
                .map_or_else(memory::limit, |mb| Some(mb << 20)),
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
                Ok(runs.is_some() && converge::run_all(&converge::runs(None), false, limits))
            }
            Some(Command::Run {
                model: None,
                bounds: None,
                options: None,
            }) => Ok(run::run_all(&runs_of_all(), limits).is_some()),
            Some(Command::Run { model: None, .. }) => Err(format!(
                "bounds need a model: check run MODEL ...; {}",
                known_models()
            )),
            Some(Command::Run {
                model: Some(name),
                bounds,
                options,
            }) => {
                let runs = match name == service::NAME {
                    true => service_runs(service_bounds(bounds, options)?),
                    false => runs_of(find(&name)?, not_of_service(bounds, options)?),
                };
                Ok(run::run_all(&runs, limits).is_some())
            }
            Some(Command::List) => {
                print!("{}", report::list());
                Ok(true)
            }
            Some(Command::Converge {
                model,
                worst,
                bounds,
            }) => {
                let runs = runs_to_converge(model.as_deref(), bounds)?;
                Ok(converge::run_all(&runs, worst, limits))
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
                options,
            }) => {
                let mutant = mutant.as_deref();
                let exploration = match model == service::NAME {
                    true => service_to_explore(mutant, service_bounds(bounds, options)?)?,
                    false => to_explore(&model, mutant, not_of_service(bounds, options)?)?,
                };
                exploration.serve(port)?;
                Ok(true)
            }
        }
    }
}

fn runs_to_converge(
    model: Option<&str>,
    bounds: Option<Bounds>,
) -> Result<Vec<(&'static Spec, Bounds)>, String> {
    match (model, bounds) {
        (None, Some(_)) => Err(format!(
            "bounds need a model: check converge MODEL ...; {}",
            known_models()
        )),
        (Some(name), Some(bounds)) => Ok(vec![(find(name)?, bounds)]),
        (model, None) => {
            model.map(find).transpose()?;
            Ok(converge::runs(model))
        }
    }
}

/// The bounds of the model of the service; those that it shares with the others come with theirs.
fn service_bounds(
    bounds: Option<Bounds>,
    options: Option<Options>,
) -> Result<Option<service::bounds::Bounds>, String> {
    if bounds.is_none() && options.is_none() {
        return Ok(None);
    }
    let bounds = bounds.unwrap_or(Bounds::new(3, 2, 1, 0));
    let shared = Bounds {
        servers: bounds.servers,
        crashes: bounds.crashes,
        snapshots: bounds.snapshots,
        ..Bounds::new(3, 2, 1, 0)
    };
    if bounds != shared {
        return Err(
            "service has no such bounds: see --scenario and below in check run --help".into(),
        );
    }
    let options = options.unwrap_or_default();
    let scenario = service::script::find(&options.scenario).ok_or_else(|| {
        let names: Vec<_> = service::script::ALL.iter().map(|s| s.name).collect();
        let (unknown, known) = (&options.scenario, names.join(", "));
        format!("no scenario {unknown}; there are {known}")
    })?;
    Ok(Some(service::bounds::Bounds {
        servers: bounds.servers,
        crashes: bounds.crashes,
        snapshots: bounds.snapshots,
        operations: options.operations,
        elections: options.elections,
        reconnects: options.reconnects,
        expirations: options.expirations,
        ..service::bounds::Bounds::new(scenario)
    }))
}

fn not_of_service(
    bounds: Option<Bounds>,
    options: Option<Options>,
) -> Result<Option<Bounds>, String> {
    match options {
        None => Ok(bounds),
        Some(_) => Err("scenarios with their bounds are of the model service".to_owned()),
    }
}

fn service_to_explore(
    mutant: Option<&str>,
    bounds: Option<service::bounds::Bounds>,
) -> Result<Box<dyn Exploration>, String> {
    let Some(name) = mutant else {
        let bounds = bounds.unwrap_or(service::BOUNDS[0]);
        return Ok(Box::new(service::faithful(bounds)));
    };
    let known = service::mutants::all().find(|(known, _)| *known == name);
    let (_, trial) = known.ok_or_else(|| format!("no mutant {name} of service"))?;
    Ok(trial.exploration())
}

fn to_explore(
    model: &str,
    mutant: Option<&str>,
    bounds: Option<Bounds>,
) -> Result<Box<dyn Exploration>, String> {
    let spec = find(model)?;
    let Some(name) = mutant else {
        let bounds = bounds.unwrap_or(spec.bounds[0]);
        return Ok(Box::new(spec.faithful(bounds)));
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
    let bounds = bounds.unwrap_or(trial.bounds);
    Ok(Box::new(Trial { bounds, ..**trial }.environment()))
}

fn find(name: &str) -> Result<&'static Spec, String> {
    catalogue::find(name).ok_or_else(|| format!("no model {name}; {}", known_models()))
}

fn known_models() -> String {
    let names: Vec<_> = catalogue::ALL
        .iter()
        .map(|spec| spec.setting.name)
        .chain([service::NAME])
        .collect();
    format!("the models are {}", names.join(", "))
}

fn runs_of_all() -> Vec<Box<dyn Exploration>> {
    let of_protocol = catalogue::ALL.iter().flat_map(|spec| runs_of(spec, None));
    of_protocol.chain(service_runs(None)).collect()
}

fn runs_of(spec: &'static Spec, bounds: Option<Bounds>) -> Vec<Box<dyn Exploration>> {
    let chosen = bounds.map_or_else(|| spec.bounds.to_vec(), |bounds| vec![bounds]);
    let boxed = |bounds| Box::new(spec.faithful(bounds)) as Box<dyn Exploration>;
    chosen.into_iter().map(boxed).collect()
}

fn service_runs(bounds: Option<service::bounds::Bounds>) -> Vec<Box<dyn Exploration>> {
    let chosen = bounds.map_or_else(|| service::BOUNDS.to_vec(), |bounds| vec![bounds]);
    let boxed = |bounds| Box::new(service::faithful(bounds)) as Box<dyn Exploration>;
    chosen.into_iter().map(boxed).collect()
}
