//! `check simulate`: seeded random walks, for depths that exhaustive search cannot reach.
//!
//! Spec: `spec/0-assumptions.md`, "Simulation". What it must never do: pass for a proof. What was not walked is
//! not known.

mod chance;
mod clients;
mod fleet;
mod plan;
mod protocol;
mod report;
mod shrink;
mod swarm;
mod tally;
#[cfg(test)]
mod tests;
mod walk;

use crate::catalogue;
use crate::convergence;
use crate::engine::Limits;
use crate::output::Output;
use crate::paint::Paint;
use crate::tale::Told;
use crate::{bugs, mutants, run, service};
use clap::Args;
use clients::Clients;
use plan::Plan;
use protocol::Protocol;
use stateright::Model as _;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use swarm::{Kind, Swarm, Walked};
use tally::Tally;
use walk::Fall;

/// What to simulate.
#[derive(Args, Clone)]
pub struct Options {
    /// The model: election, zab, ensemble, replaced, alone or service; all of them if none is given
    model: Option<String>,
    /// The seed of the first run; the next run has the next seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs of each model [default: what takes a quarter of a minute]
    #[arg(long)]
    runs: Option<u64>,
    /// The most steps of a run
    #[arg(long, default_value_t = STEPS)]
    steps: usize,
    /// Only the part I of N of the runs, 1/N to N/N
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// A mutant or a bug of this model instead of the protocol as it should be
    #[arg(long)]
    mutant: Option<String>,
    /// Ask only this invariant
    #[arg(long, value_name = "ID")]
    invariant: Option<String>,
    /// Make the runs in this process and write their tally, in bytes, to standard output
    #[arg(long, hide = true)]
    batch: bool,
}

/// The most steps of a run, by default.
const STEPS: usize = 1000;

/// One of several parts of the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    number: u64,
    of: u64,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/');
        let parsed = parts.and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parsed {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err("a shard is I/N, with I from 1 to N, such as 2/8".to_owned()),
        }
    }
}

impl Shard {
    /// Its part of the seeds.
    fn part(self, seeds: &Range<u64>) -> Range<u64> {
        let count = u128::from(seeds.end - seeds.start);
        let place = |number: u64| {
            let before = count * u128::from(number) / u128::from(self.of);
            seeds.start + before as u64
        };
        place(self.number - 1)..place(self.number)
    }
}

/// What goes wrong in a run.
struct Fell {
    /// How many steps the run took until then.
    steps: usize,
    /// The shortest way to it that was found.
    told: Told,
    /// The step after that in which a handler panics, and its words.
    panic: Option<String>,
}

impl fmt::Display for Fell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shrunk = self.told.tale.steps.len();
        writeln!(f, "shrunk from {} steps to {shrunk}", self.steps)?;
        let panic = self.panic.as_deref().unwrap_or_default();
        write!(f, "{}{panic}", self.told.text(Paint::of_stdout()))
    }
}

/// A swarm, whatever its states are.
trait Simulation: Sync {
    /// Makes the runs of these seeds until one goes wrong or `is_over` says so.
    fn batch(&self, seeds: Range<u64>, steps: usize, is_over: &dyn Fn() -> bool) -> Tally;
    /// What goes wrong in the run of a seed, by the shortest way that was found to it.
    fn describe(&self, seed: u64, steps: usize) -> Option<Fell>;
    fn kinds(&self) -> &'static [Kind];
    /// Whether events of this kind happen in the model at all.
    fn expects(&self, kind: usize) -> bool;
    fn goals(&self) -> &'static [&'static str];
    /// A tally in which nothing has happened.
    fn tally(&self) -> Tally {
        Tally::new(self.kinds(), self.goals())
    }
}

impl<S: Swarm> Simulation for S {
    fn batch(&self, seeds: Range<u64>, steps: usize, is_over: &dyn Fn() -> bool) -> Tally {
        let mut tally = self.tally();
        for seed in seeds {
            if is_over() {
                break;
            }
            if walk::walk(self, seed, steps, &mut tally).fall.is_some() {
                tally.fell = Some(seed);
                break;
            }
        }
        tally
    }

    fn describe(&self, seed: u64, steps: usize) -> Option<Fell> {
        let walk = walk::walk(self, seed, steps, &mut self.tally());
        let fall = walk.fall.as_ref()?;
        let (trace, panicking) = shrink::shrink(&walk, fall);
        let (invariant, panic) = match fall {
            Fall::Invariant(id) => (Some(*id), None),
            Fall::Panic(words) => {
                let sentence = panicking.map(|action| walk.model.format_action(&action));
                let last = sentence.map_or(String::new(), |words| format!("then {words}\n"));
                (None, Some(format!("{last}  PANIC: {words}\n")))
            }
        };
        Some(Fell {
            steps: walk.actions.len(),
            told: Told::of(&walk.model, &trace, invariant),
            panic,
        })
    }

    fn kinds(&self) -> &'static [Kind] {
        <S::Model as Walked>::kinds()
    }

    fn expects(&self, kind: usize) -> bool {
        Swarm::expects(self, kind)
    }

    fn goals(&self) -> &'static [&'static str] {
        Swarm::goals(self)
    }
}

/// The models, and how many runs of each are made by default.
const MODELS: &[(&str, u64)] = &[
    ("election", 10_000),
    ("zab", 8_000),
    ("ensemble", 4_000),
    ("replaced", 4_000),
    ("alone", 4_000),
    (service::NAME, 30_000),
];

/// Simulates what the options ask for. `Ok(false)` if something went wrong, or if what should happen
/// now and then never did.
pub fn simulate(options: &Options, limits: Limits, output: &Output) -> Result<bool, String> {
    let chosen =
        |(name, _): &&(&str, u64)| options.model.as_deref().is_none_or(|model| model == *name);
    let models: Vec<_> = MODELS.iter().filter(chosen).collect();
    if models.is_empty() {
        let names: Vec<_> = MODELS.iter().map(|(name, _)| *name).collect();
        let unknown = options.model.as_deref().unwrap_or_default();
        return Err(format!(
            "no model {unknown}; the models are {}",
            names.join(", ")
        ));
    }
    if options.model.is_none() && (options.mutant.is_some() || options.invariant.is_some()) {
        return Err("a mutant or an invariant needs a model: check simulate MODEL ...".to_owned());
    }
    let mut passed = true;
    for (model, usual) in models {
        let plan = Plan::new(options, model, *usual, limits)?;
        match options.batch {
            true => plan.make_batch()?,
            false => passed &= plan.carry_out(output)?,
        }
        if run::interrupted() {
            return Ok(false);
        }
    }
    Ok(passed)
}

/// The simulation of a model: of a broken variant if one is named, and asking one invariant if one is named.
fn find(
    model: &str,
    mutant: Option<&str>,
    invariant: Option<&str>,
) -> Result<Box<dyn Simulation>, String> {
    if model == service::NAME {
        let broken = service::mutants::ALL
            .iter()
            .map(|m| (m.name, m.trial().variant));
        let ids = service::invariants::ALL
            .iter()
            .map(|invariant| invariant.id);
        return Ok(Box::new(Clients {
            variant: variant(model, mutant, broken.collect())?,
            invariants: asked(model, invariant, ids.collect())?,
        }));
    }
    let spec = catalogue::find(model).ok_or_else(|| format!("no model {model}"))?;
    let broken = mutants::ALL.iter().map(|m| (m.name, &m.trial));
    let broken = broken
        .chain(bugs::found())
        .filter(|(_, trial)| !convergence::IDS.contains(&trial.invariant))
        .map(|(name, trial)| (name, trial.variant));
    Ok(Box::new(Protocol {
        spec,
        variant: variant(model, mutant, broken.collect())?,
        invariants: asked(model, invariant, spec.invariants())?,
    }))
}

/// The variant with this name; without one the faithful variant, which is the default.
fn variant<V: Copy + Default>(
    model: &str,
    mutant: Option<&str>,
    broken: BTreeMap<&str, V>,
) -> Result<V, String> {
    let Some(name) = mutant else {
        return Ok(V::default());
    };
    broken.get(name).copied().ok_or_else(|| {
        let names: Vec<_> = broken.into_keys().collect();
        format!(
            "no mutant {name} to simulate in {model}; there are {}",
            names.join(", ")
        )
    })
}

/// The invariants that are asked: all of the model, or one of them.
fn asked(
    model: &str,
    invariant: Option<&str>,
    mut all: Vec<&'static str>,
) -> Result<Vec<&'static str>, String> {
    let Some(name) = invariant else {
        return Ok(all);
    };
    if !all.contains(&name) {
        let known = all.join(", ");
        return Err(format!("no invariant {name} of {model}; there are {known}"));
    }
    all.retain(|id| *id == name);
    Ok(all)
}
