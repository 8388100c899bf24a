//! The command line of `check`.

use crate::bounds::Bounds;
use crate::catalogue::{self, Spec};
use crate::checked::Exploration;
use crate::engine::Limits;
use crate::environment::Environment;
use crate::output::Output;
use crate::service::bounds::Options;
use crate::{bugs, converge, json, mutants, record, replay, report, run, service};
use clap::{Args, Parser, Subcommand};
use std::collections::BTreeSet;
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
  check bugs zk962 --save it.json --svg it.svg   a counterexample, as files
  check replay it.json                        its steps again, in the code of today
  check run zab --json                        the report for a program
  check explore zab                           walk through the states in a browser
  check explore zab --mutant no_trunc         the same, with a counterexample to find"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    output: Output,
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
    /// Take the steps of saved counterexamples again, in the code of today
    Replay {
        /// Files that --save has written
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Open the explorer on the model of the last one, and print the address of its last state
        #[arg(long)]
        explore: bool,
        /// The port on localhost, for the explorer
        #[arg(long, default_value_t = 3000)]
        port: u16,
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
        }
    }
}

impl Cli {
    /// Does what the command line asks for. `Ok(false)` if a check has failed.
    pub fn run(self) -> Result<bool, String> {
        let limits = self.how.limits();
        let output = &self.output;
        if self.record.is_some() && self.command.is_some() {
            return Err("--record goes without a command: it is about every model".to_owned());
        }
        match self.command {
            None => {
                output.only(false, true, "check without a command")?;
                let runs = run::run_all(&runs_of_all(), limits, output)?;
                if let (Some(file), Some(runs)) = (&self.record, &runs) {
                    record::write(file, runs)?;
                }
                Ok(runs.is_some() && converge::run_all(&converge::runs(None), false, limits))
            }
            Some(Command::Run {
                model: None,
                bounds: None,
                options: None,
            }) => Ok(run::run_all(&runs_of_all(), limits, output)?.is_some()),
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
                Ok(run::run_all(&runs, limits, output)?.is_some())
            }
            Some(Command::List) => {
                output.only(true, false, "list")?;
                match output.json {
                    true => println!("{:#}", json::list()),
                    false => print!("{}", report::list()),
                }
                Ok(true)
            }
            Some(Command::Converge {
                model,
                worst,
                bounds,
            }) => {
                output.only(false, false, "converge")?;
                let runs = runs_to_converge(model.as_deref(), bounds)?;
                Ok(converge::run_all(&runs, worst, limits))
            }
            Some(Command::Mutants { name, smallest }) => {
                output.only(true, name.is_some(), "mutants without a name")?;
                run::run_mutants(name.as_deref(), smallest, limits, output)
            }
            Some(Command::Bugs { name, smallest }) => {
                output.only(true, name.is_some(), "bugs without a name")?;
                run::run_bugs(name.as_deref(), smallest, limits, output)
            }
            Some(Command::Explore {
                model,
                port,
                mutant,
                bounds,
                options,
            }) => {
                output.only(false, false, "explore")?;
                let mutant = mutant.as_deref();
                let exploration: Box<dyn Exploration> = if model == service::NAME {
                    let bounds = service_bounds(bounds, options)?;
                    Box::new(service_to_explore(mutant, bounds)?)
                } else {
                    let bounds = not_of_service(bounds, options)?;
                    Box::new(to_explore(&model, mutant, bounds)?)
                };
                exploration.serve(port)?;
                Ok(true)
            }
            Some(Command::Replay {
                paths,
                explore,
                port,
            }) => {
                output.only(false, true, "replay")?;
                replay::run(&paths, explore.then_some(port), output)
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
pub fn service_bounds(
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

pub fn not_of_service(
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
) -> Result<service::Model, String> {
    let Some(name) = mutant else {
        return Ok(service::faithful(bounds.unwrap_or(service::BOUNDS[0])));
    };
    let mut rows = service::mutants::ALL.iter().filter(|m| m.name == name);
    let row = rows.next();
    let row = row.ok_or_else(|| format!("no mutant {name} of service"))?;
    let ids: Vec<_> = [row.invariant]
        .into_iter()
        .chain(rows.map(|row| row.invariant))
        .collect();
    let trial = row.trial();
    let bounds = bounds.unwrap_or(trial.bounds);
    Ok(service::Model::new(bounds, trial.variant, &ids, false))
}

/// The model, or a mutant or a bug of it with every invariant that it is known to break.
fn to_explore(
    model: &str,
    mutant: Option<&str>,
    bounds: Option<Bounds>,
) -> Result<Environment, String> {
    let spec = find(model)?;
    let Some(name) = mutant else {
        return Ok(spec.faithful(bounds.unwrap_or(spec.bounds[0])));
    };
    let mutants = mutants::ALL.iter().map(|m| (m.name, &m.trial));
    let of_model = mutants.chain(bugs::found());
    let of_model: Vec<_> = of_model.filter(|(_, t)| t.model == model).collect();
    let (_, trial) = of_model.iter().find(|(n, _)| *n == name).ok_or_else(|| {
        let names: BTreeSet<_> = of_model.iter().map(|(name, _)| *name).collect();
        let names: Vec<_> = names.into_iter().collect();
        format!(
            "no mutant {name} of {model}; there are {}",
            names.join(", ")
        )
    })?;
    let same = of_model.iter().filter(|(_, t)| t.variant == trial.variant);
    let ids: BTreeSet<_> = same.map(|(_, trial)| trial.invariant).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let bounds = bounds.unwrap_or(trial.bounds);
    Ok(Environment::new(
        spec.setting,
        bounds,
        trial.variant,
        &ids,
        false,
    ))
}

pub fn find(name: &str) -> Result<&'static Spec, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checked::Checked;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What `check explore` would open with these words behind it.
    fn opened(model: &str, flags: &str) -> (Option<String>, Option<Bounds>, Option<Options>) {
        let words = ["check", "explore", model].into_iter();
        let cli = Cli::try_parse_from(words.chain(flags.split_whitespace()));
        let cli = cli.unwrap_or_else(|error| panic!("{model} {flags}: {error}"));
        match cli.command {
            Some(Command::Explore {
                mutant,
                bounds,
                options,
                ..
            }) => (mutant, bounds, options),
            _ => panic!("{model} {flags}: not the explorer"),
        }
    }

    #[test]
    fn the_command_that_is_printed_opens_the_same_bounds_variant_and_invariant() {
        let mutants = mutants::ALL.iter().map(|m| (m.name, &m.trial));
        for (name, trial) in mutants.chain(bugs::found()) {
            let flags = trial.environment().flags();
            let (mutant, bounds, options) = opened(trial.model, &flags);
            let bounds = not_of_service(bounds, options).expect("bounds of the protocol");
            let again = to_explore(trial.model, mutant.as_deref(), bounds).expect(name);
            let variant = again.zab.config.variant;
            assert_eq!(
                (again.bounds, variant),
                (trial.bounds, trial.variant),
                "{name}"
            );
            let checks = |property: &stateright::Property<_>| property.name == trial.invariant;
            assert!(
                again.properties.iter().any(checks),
                "{name}: {}",
                trial.invariant
            );
        }
        for spec in catalogue::ALL {
            for bounds in spec.bounds {
                let name = spec.setting.name;
                let (mutant, again, _) = opened(name, &spec.faithful(*bounds).flags());
                assert_eq!((mutant, again), (None, Some(*bounds)), "{name} {bounds}");
            }
        }
    }

    #[test]
    fn the_command_that_is_printed_opens_the_same_model_of_the_service() {
        for mutant in service::mutants::ALL {
            let trial = mutant.trial();
            let (name, bounds, options) = opened(service::NAME, &trial.model().flags());
            let bounds = service_bounds(bounds, options).expect("bounds of the service");
            let again = service_to_explore(name.as_deref(), bounds).expect(mutant.name);
            let found = (again.bounds, again.variant);
            assert_eq!(found, (trial.bounds, trial.variant), "{}", mutant.name);
            let checks = |named: &crate::checked::Named| named.id == trial.invariant;
            assert!(again.invariants().iter().any(checks), "{}", mutant.name);
        }
        for bounds in service::BOUNDS {
            let (_, again, options) = opened(service::NAME, &service::faithful(*bounds).flags());
            let again = service_bounds(again, options).expect("bounds of the service");
            assert_eq!(again, Some(*bounds));
        }
    }
}
