//! Runs models and shows how they get on.

use crate::checked::{Checked, Named, Tried};
use crate::consensus::claims;
use crate::coverage::Tally;
use crate::engine::{self, Discovery, End, Limits, Outcome, Progress};
use crate::output::Output;
use crate::plan::Plan;
use crate::progress::Gauge;
use crate::tale::Told;
use crate::trial::Trial;
use crate::{bugs, json, mutants, report};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// One model within one set of bounds, explored.
pub struct Run {
    /// The model, by name.
    pub name: &'static str,
    pub bounds: String,
    pub invariants: Vec<Named>,
    pub outcome: Outcome,
    /// Step by step, if there is one.
    pub counterexample: Option<Told>,
    /// Which handlers of the actor it exercised.
    pub tally: Tally,
}

impl Run {
    /// The violation that was found, if any.
    pub fn violation(&self) -> Option<&Discovery> {
        self.discoveries().find(|d| self.is_invariant(d.property))
    }

    /// Whether a property was discovered: an invariant violated, a witness found.
    pub fn found(&self, property: &str) -> bool {
        self.discoveries().any(|d| d.property == property)
    }

    fn discoveries(&self) -> impl Iterator<Item = &Discovery> {
        self.outcome.discoveries.iter()
    }

    fn is_invariant(&self, property: &str) -> bool {
        self.invariants
            .iter()
            .any(|invariant| invariant.id == property)
    }
}

/// Explores each model within its bounds, looks for what the notes claim, and prints the report. The runs, if everything
/// was explored, everything holds, every witness was found, and every counterexample of the notes.
pub fn run_all(plan: &Plan, limits: Limits, output: &Output) -> Result<Option<Vec<Run>>, String> {
    let mut done: Vec<Run> = Vec::new();
    for exploration in &plan.runs {
        let run = exploration.run(limits);
        eprintln!("{}", report::line(&run));
        let ended = run.outcome.end;
        done.push(run);
        if ended != End::Complete && (ended == End::Violation || interrupted()) {
            break;
        }
    }
    let holds = report::passed(&done, plan.witnesses) && done.len() == plan.runs.len();
    let claims = match holds {
        true => claims::try_all(&plan.claims, limits),
        false => Vec::new(),
    };
    let found = claims.iter().filter(|claim| claim.as_claimed()).count();
    let passed = holds && found == plan.claims.len();
    let told = done.iter().find_map(|run| run.counterexample.as_ref());
    let of_claims = claims.iter().filter_map(|claim| claim.told.as_ref());
    output.write(told.or(of_claims.clone().next()))?;
    if output.json {
        let mut report = json::runs(&done, plan.runs.len(), passed, plan.witnesses);
        report["claims"] = claims::json(&claims);
        println!("{report:#}");
        return Ok(passed.then_some(done));
    }
    if !plan.runs.is_empty() {
        println!("{}", report::table(&done));
        println!("{}", report::verdicts(&done));
        told.into_iter().for_each(Told::print);
    }
    if plan.told {
        of_claims.for_each(Told::print);
    }
    print!("{}", claims::table(&claims));
    if !plan.runs.is_empty() {
        let planned = plan.runs.len();
        report::conclude(&report::conclusion(&done, planned, plan.witnesses));
    }
    if holds && !plan.claims.is_empty() {
        report::conclude(&claims::conclusion(&claims, plan.claims.len()));
    }
    Ok(passed.then_some(done))
}

/// The handlers of the actor that some runs have exercised.
pub fn exercised(runs: &[Run]) -> Tally {
    let tally = Tally::default();
    runs.iter().for_each(|run| tally.merge(&run.tally));
    tally
}

/// Explores the mutants and prints which invariant caught each. `Ok(true)` if all were caught.
pub fn run_mutants(
    name: Option<&str>,
    smallest: bool,
    limits: Limits,
    output: &Output,
) -> Result<bool, String> {
    let all = mutants::everywhere;
    let chosen: Vec<_> = all()
        .filter(|(known, _)| name.is_none_or(|name| *known == name))
        .collect();
    if chosen.is_empty() {
        let names: BTreeSet<_> = all().map(|(name, _)| name).collect();
        let names: Vec<_> = names.into_iter().collect();
        let name = name.unwrap_or_default();
        return Err(format!("no mutant {name}; there are {}", names.join(", ")));
    }
    let (mut rows, mut told) = (Vec::new(), Vec::new());
    for (known, trial) in chosen {
        let (outcome, tale) = try_out(known, &*trial, limits, name.is_some());
        told.extend(tale);
        rows.push((known, trial, outcome));
        if interrupted() {
            break;
        }
    }
    output.write(told.first())?;
    if !output.json {
        told.iter().for_each(Told::print);
        println!("{}", report::mutants(&rows));
    }
    let caught = rows
        .iter()
        .filter(|(_, _, outcome)| outcome.end == End::Violation)
        .count();
    let trials = rows.iter().map(|(name, trial, _)| (*name, &**trial));
    let smaller = smallest.then(|| explore_smaller(trials, limits));
    let passed = caught == rows.len() && smaller.as_ref().is_none_or(Smaller::holds);
    if output.json {
        let report = json::mutants(&rows, &told, smaller.as_ref(), passed);
        println!("{report:#}");
    } else {
        let names: Vec<_> = rows.iter().map(|(name, ..)| *name).collect();
        let mutants = distinct(&names);
        println!("{caught} of {} rows caught, {mutants} mutants", rows.len());
        smaller.iter().for_each(Smaller::print);
    }
    Ok(passed)
}

/// Explores the bugs of the past, prints which invariant caught each, and explores the protocol as it
/// should be within the same bounds. `Ok(true)` if all were caught and the protocol passes.
pub fn run_bugs(
    name: Option<&str>,
    smallest: bool,
    limits: Limits,
    output: &Output,
) -> Result<bool, String> {
    let chosen: Vec<_> = bugs::ALL
        .iter()
        .filter(|bug| name.is_none_or(|name| bug.name == name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = bugs::ALL.iter().map(|bug| bug.name).collect();
        let name = name.unwrap_or_default();
        return Err(format!("no bug {name}; there are {}", names.join(", ")));
    }
    let (mut rows, mut told) = (Vec::new(), Vec::new());
    for bug in chosen {
        let outcome = bug.trial().map(|trial| {
            let (outcome, tale) = try_out(bug.name, trial, limits, name.is_some());
            told.extend(tale);
            outcome
        });
        rows.push((bug, outcome));
        if interrupted() {
            break;
        }
    }
    output.write(told.first())?;
    if !output.json {
        told.iter().for_each(Told::print);
        println!("{}", report::bugs(&rows));
    }
    let found = |outcome: &&Outcome| outcome.end == End::Violation;
    let tried = rows.iter().filter_map(|(_, outcome)| outcome.as_ref());
    let (caught, tried) = (tried.clone().filter(found).count(), tried.count());
    let peaceful = explore_faithful(rows.iter().filter_map(|(bug, _)| bug.trial()), limits);
    let trials = rows
        .iter()
        .filter_map(|(bug, _)| Some((bug.name, bug.trial()? as &dyn Tried)));
    let smaller = smallest.then(|| explore_smaller(trials, limits));
    let smallest = smaller.as_ref().is_none_or(Smaller::holds);
    let passed = caught == tried && peaceful.passed == peaceful.places && smallest;
    if output.json {
        let report = json::bugs(&rows, &told, &peaceful, smaller.as_ref(), passed);
        println!("{report:#}");
    } else {
        let impossible = rows.len() - tried;
        println!("\n{caught} of {tried} bugs found, {impossible} cannot happen");
        peaceful.print();
        smaller.iter().for_each(Smaller::print);
    }
    Ok(passed)
}

/// How the protocol as it should be does where bugs were found.
pub struct Peaceful {
    /// How many different bounds there are.
    pub places: usize,
    pub passed: usize,
    /// The bounds that it does not pass.
    pub failed: Vec<String>,
}

fn explore_faithful<'a>(trials: impl Iterator<Item = &'a Trial>, limits: Limits) -> Peaceful {
    let mut places: Vec<&Trial> = Vec::new();
    for trial in trials {
        if places.iter().all(|known| known.place() != trial.place()) {
            places.push(trial);
        }
    }
    let mut peaceful = Peaceful {
        places: places.len(),
        passed: 0,
        failed: Vec::new(),
    };
    for place in places {
        let title = format!("faithful in {}", place.place());
        let outcome = explore(&title, &place.faithful(), limits, &|_, _| {});
        match outcome.end {
            End::Complete => peaceful.passed += 1,
            End::Violation | End::Stopped | End::OutOfMemory => peaceful.failed.push(place.place()),
        }
        if interrupted() {
            break;
        }
    }
    peaceful
}

impl Peaceful {
    fn print(&self) {
        for place in &self.failed {
            println!("The protocol as it should be does not pass {place}");
        }
        println!(
            "The protocol as it should be passes {} of {} bounds in which they were found",
            self.passed, self.places
        );
    }
}

/// What becomes of trials within the next smaller bounds.
pub struct Smaller {
    pub explored: usize,
    /// Where something is found, or the exploration was stopped.
    pub falls_in: Vec<String>,
}

/// Explores the next smaller bounds of each trial: nothing should be found there.
fn explore_smaller<'a>(
    trials: impl Iterator<Item = (&'a str, &'a dyn Tried)>,
    limits: Limits,
) -> Smaller {
    let mut smaller = Smaller {
        explored: 0,
        falls_in: Vec::new(),
    };
    for (name, trial) in trials {
        for place in trial.in_smaller_bounds() {
            let (outcome, _) = try_out(name, &*place, limits, false);
            smaller.explored += 1;
            if outcome.end != End::Complete {
                let (invariant, place) = (trial.invariant(), place.place());
                let falls = format!("{name}: {invariant} falls in {place} as well");
                smaller.falls_in.push(falls);
            }
            if interrupted() {
                return smaller;
            }
        }
    }
    smaller
}

impl Smaller {
    fn holds(&self) -> bool {
        self.falls_in.is_empty() && !interrupted()
    }

    fn print(&self) {
        for falls in &self.falls_in {
            println!("{falls}");
        }
        let (explored, found) = (self.explored, self.falls_in.len());
        println!("{explored} smaller bounds explored: {found} of them would do");
    }
}

/// Explores a broken variant, with its counterexample if that is wanted.
fn try_out(name: &str, trial: &dyn Tried, limits: Limits, told: bool) -> (Outcome, Option<Told>) {
    let title = format!("{name} in {}", trial.place());
    trial.exploration().try_out(&title, limits, told)
}

fn distinct(names: &[&str]) -> usize {
    names.iter().collect::<BTreeSet<_>>().len()
}

/// Explores one model with a live line on the terminal, and lets `look` see each state with its
/// depth. Control-C ends it early.
pub fn explore<M: Checked>(
    title: &str,
    model: &M,
    limits: Limits,
    look: &(dyn Fn(&M::State, usize) + Sync),
) -> Outcome {
    let progress = Arc::new(Progress::default());
    stop_on_interrupt(&progress);
    let started = Instant::now();
    let mut gauge = Gauge::new(title);
    with_live_line(
        || engine::search_and_look(model, limits, &progress, look),
        || gauge.line(&progress, started.elapsed()),
    )
}

/// Runs `work` with a live line on the terminal, or a line now and then where there is none.
pub fn with_live_line<R>(work: impl FnOnce() -> R, mut line: impl FnMut() -> String + Send) -> R {
    let bar = ProgressBar::new_spinner();
    bar.set_style(
        ProgressStyle::with_template("{spinner} {msg}").expect("the template is a constant"),
    );
    let mut last_line = Instant::now();
    let result = engine::with_reports(work, || {
        if std::io::stderr().is_terminal() {
            bar.set_message(line());
            bar.tick();
        } else if last_line.elapsed() >= Duration::from_secs(10) {
            last_line = Instant::now();
            eprintln!("{}", line());
        }
    });
    bar.finish_and_clear();
    result
}

/// The search that Control-C is to stop.
fn current() -> &'static Mutex<Option<Arc<Progress>>> {
    static CURRENT: OnceLock<Mutex<Option<Arc<Progress>>>> = OnceLock::new();
    CURRENT.get_or_init(|| {
        // Without a handler Control-C ends the program at once, as it always does.
        if let Err(error) = ctrlc::set_handler(stop_current) {
            eprintln!("check: Control-C will not print what is known so far: {error}");
        }
        Mutex::new(None)
    })
}

fn stop_on_interrupt(progress: &Arc<Progress>) {
    *current().lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(progress));
}

/// From now on Control-C is noted: see [`interrupted`].
pub fn listen_for_interrupt() {
    stop_on_interrupt(&Arc::default());
}

fn stop_current() {
    static PRESSED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    if PRESSED.swap(true, Relaxed) {
        std::process::exit(130); // Pressed twice: at once.
    }
    INTERRUPTED.store(true, Relaxed);
    if let Some(progress) = &*current().lock().unwrap_or_else(PoisonError::into_inner) {
        progress.stop.store(true, Relaxed);
    }
}

static INTERRUPTED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

pub fn interrupted() -> bool {
    INTERRUPTED.load(Relaxed)
}

/// The tale of a counterexample.
pub fn tell<M: Checked>(model: &M, outcome: &Outcome, discovery: &Discovery) -> Told {
    Told::of(
        model,
        &outcome.path(model, discovery),
        Some(discovery.property),
    )
}
