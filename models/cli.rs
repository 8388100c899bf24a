//! The command line of `check`.

use crate::bounds::Bounds;
use crate::coverage::Tally;
use crate::engine::Limits;
use crate::output::Output;
use crate::plan::{self, Plan};
use crate::service::bounds::Options;
use crate::{bench, consensus, converge, exact, help, journal, json, memory};
use crate::{record, replay, report, run, simulate};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Model-check keepright's replication protocol: the actors that the server runs, in a world with
/// crashes, restarts, lost, repeated, delayed and reordered messages.
///
/// Without a command: explore every model within its default bounds.
#[derive(Parser)]
#[command(version, after_help = help::CHECK)]
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
    /// Print which handlers of the actor were exercised (without a command)
    #[arg(long)]
    coverage: bool,
}

/// How much to explore, and with how many threads.
#[derive(Args, Clone, Copy)]
pub struct How {
    /// Threads, at least 1 [default: all cores]
    #[arg(long, global = true, value_parser = at_least_one)]
    threads: Option<usize>,
    /// End each run after about so many distinct states. What is known then is printed; the exit code is 1,
    /// because not everything was explored
    #[arg(long, global = true, value_parser = at_least_one)]
    max_states: Option<usize>,
    /// End each run after so many seconds, in the same way
    #[arg(long, global = true, value_name = "SECONDS", value_parser = at_least_one)]
    max_time: Option<usize>,
    /// End a run when the program uses so many megabytes, in the same way [default: nine tenths of the memory]
    #[arg(long, global = true, value_name = "MB", value_parser = at_least_one)]
    max_memory: Option<usize>,
}

#[derive(Subcommand)]
enum Command {
    /// Explore models, and say what holds
    #[command(after_help = help::RUN)]
    Run {
        /// The model: election, zab, ensemble, service, or another protocol (check list); all of them if none is given
        model: Option<String>,
        /// Print which handlers of the actor were exercised
        #[arg(long)]
        coverage: bool,
        #[command(flatten)]
        bounds: Option<Bounds>,
        #[command(flatten)]
        options: Option<Options>,
        #[command(flatten)]
        others: Option<consensus::bounds::Options>,
    },
    /// List the models with their bounds and invariants, and the mutants
    List,
    /// Explore broken variants of the protocol: each must break its invariant
    #[command(after_help = help::MUTANTS)]
    Mutants {
        /// Only the mutant with this name, with its counterexample step by step
        name: Option<String>,
        /// Explore the next smaller bounds too: nothing must be found there
        #[arg(long)]
        smallest: bool,
    },
    /// From every state, with faults off and a fair schedule: back to work, and in how many rounds
    #[command(after_help = help::CONVERGE)]
    Converge {
        /// The model: election, zab, ensemble or service; all of them if none is given
        model: Option<String>,
        /// Print the way to the worst state, and what the schedule does from there
        #[arg(long)]
        worst: bool,
        #[command(flatten)]
        bounds: Option<Bounds>,
    },
    /// Count states by their hashes, as every search does, and whole, slowly: the numbers must be the same
    #[command(after_help = help::EXACT)]
    Exact {
        /// The model: election, zab, ensemble, service, or another protocol (check list); all of them if none is given
        model: Option<String>,
        #[command(flatten)]
        bounds: Option<Bounds>,
        #[command(flatten)]
        options: Option<Options>,
        #[command(flatten)]
        others: Option<consensus::bounds::Options>,
    },
    /// Bring back the bugs that implementations of Zab once had: each must break its invariant
    #[command(after_help = help::BUGS)]
    Bugs {
        /// Only the bug with this name, with its counterexample step by step
        name: Option<String>,
        /// Explore the next smaller bounds too: nothing must be found there
        #[arg(long)]
        smallest: bool,
    },
    /// The protocols side by side: what holds, what goes wrong, what a command costs, what must be on disk
    #[command(after_help = help::COMPARE)]
    Compare,
    /// Run the actors of another protocol over UDP on this machine, and ask them for one thing
    #[command(after_help = help::SPAWN)]
    Spawn {
        /// The protocol (check list)
        protocol: String,
    },
    /// Take the steps of saved counterexamples, or of real servers, again, in the code of today
    #[command(after_help = help::REPLAY)]
    Replay {
        /// Files that --save has written; or what the servers of an ensemble had as --journal, a directory
        /// a server
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Open the explorer on the model of the last file, and print the address of its last state
        #[arg(long)]
        explore: bool,
        /// The port on localhost, for the explorer
        #[arg(long, default_value_t = 3000)]
        port: u16,
        #[command(flatten)]
        window: Option<journal::Window>,
    },
    /// Walk at random where exhaustive search cannot reach, with faults drawn for each run
    #[command(after_help = help::SIMULATE)]
    Simulate(simulate::Options),
    /// Open the stateright explorer on a model
    #[command(after_help = help::EXPLORE)]
    Explore {
        /// The model: election, zab, ensemble, service, or another protocol (check list)
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
        #[command(flatten)]
        others: Option<consensus::bounds::Options>,
    },
    /// Explore a model once with one engine and print what that took: for `cargo bench --bench engines`
    #[command(hide = true)]
    Bench {
        /// The model: election, zab or ensemble
        model: String,
        #[arg(long)]
        engine: bench::Engine,
        #[command(flatten)]
        bounds: Option<Bounds>,
    },
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => {
            Err("it must be at least 1; leave the option out for no limit of your own".to_owned())
        }
        Ok(number) => Ok(number),
        Err(_) => Err("it must be a whole number, without separators".to_owned()),
    }
}

impl How {
    /// The limits of one run.
    pub fn limits(&self) -> Limits {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Limits {
            threads: self.threads.unwrap_or(cores),
            stop_at_first: true,
            max_states: self.max_states,
            max_time: self
                .max_time
                .map(|seconds| Duration::from_secs(seconds as u64)),
            max_memory: match self.max_memory {
                Some(megabytes) => Some((megabytes as u64) << 20),
                None => memory::limit(),
            },
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
        if self.coverage && self.command.is_some() {
            return Err("--coverage goes without a command, or after run".to_owned());
        }
        match self.command {
            None => {
                output.only(false, true, "check without a command")?;
                self.run_everything(limits)
            }
            Some(Command::Run {
                model,
                coverage,
                bounds,
                options,
                others,
            }) => {
                let plan = plan::plan(model.as_deref(), bounds, options, others)?;
                let done = run::run_all(&plan, limits, output)?;
                if let (true, Some(done)) = (coverage, &done) {
                    println!("{}", run::exercised(done).table());
                }
                Ok(done.is_some())
            }
            Some(Command::Compare) => {
                output.only(true, false, "compare")?;
                consensus::compare::run(limits, output)
            }
            Some(Command::Spawn { protocol }) => {
                output.only(false, false, "spawn")?;
                consensus::spawn::run(&protocol)?;
                Ok(true)
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
                let runs = plan::runs_to_converge(model.as_deref(), bounds)?;
                Ok(converge::run_all(&runs, worst, limits, &Tally::default()))
            }
            Some(Command::Exact {
                model,
                bounds,
                options,
                others,
            }) => {
                output.only(false, false, "exact")?;
                let plan = plan::plan(model.as_deref(), bounds, options, others)?;
                Ok(exact::run_all(plan, limits))
            }
            Some(Command::Mutants { name, smallest }) => {
                output.only(true, name.is_some(), "mutants without a name")?;
                run::run_mutants(name.as_deref(), smallest, limits, output)
            }
            Some(Command::Bugs { name, smallest }) => {
                output.only(true, name.is_some(), "bugs without a name")?;
                run::run_bugs(name.as_deref(), smallest, limits, output)
            }
            Some(Command::Simulate(options)) => {
                output.only(false, true, "simulate")?;
                simulate::simulate(&options, limits, output)
            }
            Some(Command::Explore {
                model,
                port,
                mutant,
                bounds,
                options,
                others,
            }) => {
                output.only(false, false, "explore")?;
                let mutant = mutant.as_deref();
                plan::to_open(&model, mutant, bounds, options, others)?.serve(port)?;
                Ok(true)
            }
            Some(Command::Bench {
                model,
                engine,
                bounds,
            }) => {
                output.only(false, false, "bench")?;
                let model = plan::to_explore(&model, None, bounds)?;
                let measured = bench::measure(model, engine, limits.threads)?;
                println!("{}", serde_json::json!(measured));
                Ok(true)
            }
            Some(Command::Replay {
                paths,
                explore,
                port,
                window,
            }) => {
                output.only(false, true, "replay")?;
                match paths.iter().filter(|path| path.is_dir()).count() {
                    0 if window.is_some() => Err("--from and --to are for journals".to_owned()),
                    0 => replay::run(&paths, explore.then_some(port), output),
                    journals if journals < paths.len() => Err(
                        "files of counterexamples and directories of journals go one by one"
                            .to_owned(),
                    ),
                    _ if explore => Err(
                        "--explore is for files of counterexamples: a run of real servers is no \
                             path of a model"
                            .to_owned(),
                    ),
                    _ => journal::run(&paths, &window.unwrap_or_default(), output),
                }
            }
        }
    }
}

impl Cli {
    /// Every model within its default bounds, convergence, and whether that has exercised all handlers.
    fn run_everything(&self, limits: Limits) -> Result<bool, String> {
        let Some(runs) = run::run_all(&Plan::of_all(), limits, &self.output)? else {
            return Ok(false);
        };
        if let Some(file) = &self.record {
            record::write(file, &runs)?;
        }
        let tally = run::exercised(&runs);
        let converges = converge::run_all(&converge::runs(None), false, limits, &tally);
        if self.coverage {
            println!("{}", tally.table());
        }
        report::conclude(&tally.conclusion());
        Ok(converges && tally.missing().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checked::Checked;
    use crate::{bugs, catalogue, mutants, service};
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
            let bounds = plan::not_of_service(bounds, options).expect("bounds of the protocol");
            let again = plan::to_explore(trial.model, mutant.as_deref(), bounds).expect(name);
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
            let bounds = plan::service_bounds(bounds, options).expect("bounds of the service");
            let again = plan::service_to_explore(name.as_deref(), bounds).expect(mutant.name);
            let found = (again.bounds, again.variant);
            assert_eq!(found, (trial.bounds, trial.variant), "{}", mutant.name);
            let checks = |named: &crate::checked::Named| named.id == trial.invariant;
            assert!(again.invariants().iter().any(checks), "{}", mutant.name);
        }
        for bounds in service::BOUNDS {
            let (_, again, options) = opened(service::NAME, &service::faithful(*bounds).flags());
            let again = plan::service_bounds(again, options).expect("bounds of the service");
            assert_eq!(again, Some(*bounds));
        }
    }

    #[test]
    fn the_command_that_is_printed_opens_the_same_protocol_bounds_and_claim() {
        for kind in consensus::ALL {
            let card = kind.card();
            let mut all: Vec<_> = card.bounds.to_vec();
            all.extend([
                card.bounds[0].timeouts(0),
                card.bounds[0].partitions(2).timely(),
            ]);
            for bounds in all {
                let words = format!("check explore {} {}", card.name, bounds.flags());
                let cli = Cli::try_parse_from(words.split_whitespace()).expect(&words);
                let Some(Command::Explore {
                    bounds: shared,
                    others,
                    ..
                }) = cli.command
                else {
                    panic!("{words}: not the explorer");
                };
                let again = consensus::bounds::Bounds::asked(&card, shared, others.as_ref());
                assert_eq!(again, Ok(Some(bounds)), "{words}");
            }
        }
    }

    /// The examples in the help of a command and its subcommands: a line that begins with its name.
    fn examples(command: &clap::Command) -> Vec<String> {
        let help = command.get_after_help().map(ToString::to_string);
        let lines = help.iter().flat_map(|help| help.lines());
        let examples_here = lines.filter_map(|line| line.strip_prefix("  check"));
        // What an example is about stands after it.
        let command_line = |line: &str| format!("check{}", line.split("  ").next().unwrap_or(line));
        let mut all: Vec<_> = examples_here.map(command_line).collect();
        all.extend(command.get_subcommands().flat_map(examples));
        all
    }

    #[test]
    fn every_example_of_the_help_is_a_command_line() {
        let examples = examples(&Cli::command());
        assert!(examples.len() > 20, "{examples:?}");
        for example in examples {
            let cli = Cli::try_parse_from(example.split_whitespace())
                .unwrap_or_else(|error| panic!("{example}: {error}"));
            let is_known = match cli.command {
                Some(Command::Run {
                    model,
                    bounds,
                    options,
                    others,
                    ..
                }) => plan::plan(model.as_deref(), bounds, options, others).map(|_| ()),
                Some(Command::Converge { model, bounds, .. }) => {
                    plan::runs_to_converge(model.as_deref(), bounds).map(|_| ())
                }
                Some(Command::Explore {
                    model,
                    mutant,
                    bounds,
                    options,
                    others,
                    ..
                }) => plan::to_open(&model, mutant.as_deref(), bounds, options, others).map(|_| ()),
                _ => Ok(()),
            };
            is_known.unwrap_or_else(|error| panic!("{example}: {error}"));
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_mistake_and_the_remedy() {
        for (line, words) in [
            ("check --threads 0", "at least 1"),
            ("check --max-time 0", "leave the option out"),
            ("check --max-states 1,000", "without separators"),
            ("check run zab --servers 0", "1..=6"),
            ("check run zab --writes 255", "0..=100"),
            (
                "check run nothing",
                "the models are election, zab, ensemble, replaced, alone, service, primary_backup",
            ),
            ("check run zab --acceptors 3", "the other protocols alone"),
            ("check run paxos --servers 5", "--proposers and --acceptors"),
            ("check run paxos --acceptors 0", "1..=5"),
            (
                "check run paxos --wipes 1 --observers 1",
                "--proposers and --acceptors",
            ),
            ("check run scheme_one --acceptors 3", "one acceptor"),
            (
                "check run two_phase --proposers 2",
                "--servers and --writes",
            ),
            ("check run paxos --claim nothing", "there are paxos_duel"),
            (
                "check explore paxos --mutant nothing",
                "there are paxos_own_value",
            ),
            (
                "check explore paxos --claim nothing",
                "there are paxos_duel",
            ),
            ("check converge paxos", "run, explore and compare alone"),
            ("check run --writes 1", "bounds need a model"),
            ("check run zab --wipes 1", "--observers"),
            ("check run zab --disk-errors 1", "--pending-saves"),
            ("check run ensemble --strays 2", "at most 1"),
            ("check run zab --scenario locks", "the model service"),
            (
                "check run service --timeouts 2",
                "--servers, --crashes and --snapshots",
            ),
            (
                "check run service --scenario nothing",
                "no scenario nothing; there are",
            ),
            ("check converge nothing", "the models are"),
            ("check mutants nothing", "no mutant nothing; there are"),
            ("check bugs nothing", "no bug nothing; there are"),
            (
                "check explore zab --mutant nothing",
                "no mutant nothing of zab; there are",
            ),
            ("check explore service --mutant nothing", "there are"),
            (
                "check --record x run zab",
                "--record goes without a command",
            ),
        ] {
            let error = match Cli::try_parse_from(line.split_whitespace()) {
                Err(error) => error.to_string(),
                Ok(cli) => cli.run().expect_err(line),
            };
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
