//! Runs models and shows how they get on.

use crate::bugs::{self, Fate};
use crate::checked::{Checked, Exploration, Named, Tried};
use crate::engine::{self, Discovery, End, Limits, Outcome, Progress, Trace};
use crate::trial::Trial;
use crate::{mutants, report, service};
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
    pub counterexample: String,
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

/// Explores each model within its bounds and prints the report. The runs, if everything was explored,
/// everything holds and every witness was found.
pub fn run_all(runs: &[Box<dyn Exploration>], limits: Limits) -> Option<Vec<Run>> {
    let mut done: Vec<Run> = Vec::new();
    for exploration in runs {
        let run = exploration.run(limits);
        eprintln!("{}", report::line(&run));
        let ended = run.outcome.end;
        done.push(run);
        if ended != End::Complete && (ended == End::Violation || interrupted()) {
            break;
        }
    }
    println!("{}", report::table(&done));
    println!("{}", report::verdicts(&done));
    if let Some(run) = done.iter().find(|run| run.violation().is_some()) {
        print!("{}", run.counterexample);
    }
    let passed = report::passed(&done) && done.len() == runs.len();
    println!("{}", report::conclusion(&done, runs.len()));
    passed.then_some(done)
}

/// Explores the mutants and prints which invariant caught each. `Ok(true)` if all were caught.
pub fn run_mutants(name: Option<&str>, smallest: bool, limits: Limits) -> Result<bool, String> {
    let all = || mutants::all().chain(service::mutants::all());
    let chosen: Vec<_> = all()
        .filter(|(known, _)| name.is_none_or(|name| *known == name))
        .collect();
    if chosen.is_empty() {
        let names: BTreeSet<_> = all().map(|(name, _)| name).collect();
        let names: Vec<_> = names.into_iter().collect();
        return Err(format!("no such mutant; there are {}", names.join(", ")));
    }
    let mut rows = Vec::new();
    for (known, trial) in chosen {
        let outcome = try_out(known, &*trial, limits, name.is_some());
        rows.push((known, trial, outcome));
        if interrupted() {
            break;
        }
    }
    println!("{}", report::mutants(&rows));
    let caught = rows
        .iter()
        .filter(|(_, _, outcome)| outcome.end == End::Violation)
        .count();
    let names: Vec<_> = rows.iter().map(|(name, ..)| *name).collect();
    println!(
        "{caught} of {} rows caught, {} mutants",
        rows.len(),
        distinct(&names)
    );
    let trials = rows.iter().map(|(name, trial, _)| (*name, &**trial));
    Ok(caught == rows.len() && (!smallest || are_smallest(trials, limits)))
}

/// Explores the bugs of the past, prints which invariant caught each, and explores the protocol as it
/// should be within the same bounds. `Ok(true)` if all were caught and the protocol passes.
pub fn run_bugs(name: Option<&str>, smallest: bool, limits: Limits) -> Result<bool, String> {
    let chosen: Vec<_> = bugs::ALL
        .iter()
        .filter(|bug| name.is_none_or(|name| bug.name == name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = bugs::ALL.iter().map(|bug| bug.name).collect();
        return Err(format!("no such bug; there are {}", names.join(", ")));
    }
    let mut rows = Vec::new();
    let mut places: Vec<Trial> = Vec::new();
    for bug in chosen {
        let outcome = match &bug.fate {
            Fate::Found(trial) => {
                if places.iter().all(|known| known.place() != trial.place()) {
                    places.push(*trial);
                }
                Some(try_out(bug.name, trial, limits, name.is_some()))
            }
            Fate::CannotHappen(_) => None,
        };
        rows.push((bug, outcome));
        if interrupted() {
            break;
        }
    }
    println!("{}", report::bugs(&rows));
    let found = |outcome: &Outcome| outcome.end == End::Violation;
    let tried = rows.iter().filter_map(|(_, outcome)| outcome.as_ref());
    let (caught, tried) = (tried.clone().filter(|o| found(o)).count(), tried.count());
    println!(
        "\n{caught} of {tried} bugs found, {} cannot happen",
        rows.len() - tried
    );
    let mut passed = 0;
    for place in &places {
        let title = format!("faithful in {}", place.place());
        let outcome = explore(&title, &place.faithful(), limits, &|_, _| {});
        if outcome.end == End::Complete {
            passed += 1;
        } else {
            println!(
                "The protocol as it should be does not pass {}",
                place.place()
            );
        }
        if interrupted() {
            break;
        }
    }
    println!(
        "The protocol as it should be passes {passed} of {} bounds in which they were found",
        places.len()
    );
    let trials = rows
        .iter()
        .filter_map(|(bug, _)| Some((bug.name, bug.trial()? as &dyn Tried)));
    let smallest = !smallest || are_smallest(trials, limits);
    Ok(caught == tried && passed == places.len() && smallest)
}

/// Whether nothing is found within the next smaller bounds of each trial. Says where something is.
fn are_smallest<'a>(
    trials: impl Iterator<Item = (&'a str, &'a dyn Tried)>,
    limits: Limits,
) -> bool {
    let mut explored = 0;
    let mut too_large = 0;
    for (name, trial) in trials {
        for smaller in trial.in_smaller_bounds() {
            let outcome = try_out(name, &*smaller, limits, false);
            explored += 1;
            if outcome.end != End::Complete {
                too_large += 1;
                let invariant = trial.invariant();
                println!("{name}: {invariant} falls in {} as well", smaller.place());
            }
            if interrupted() {
                return false;
            }
        }
    }
    println!("{explored} smaller bounds explored: {too_large} of them would do");
    too_large == 0
}

/// Explores a broken variant, and prints its counterexample if that is wanted.
fn try_out(name: &str, trial: &dyn Tried, limits: Limits, steps: bool) -> Outcome {
    let title = format!("{name} in {}", trial.place());
    trial.exploration().try_out(&title, limits, steps)
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
    with_live_line(
        || engine::search_and_look(model, limits, &progress, look),
        || report::progress_line(title, &progress, started.elapsed()),
    )
}

/// Runs `work` with a live line on the terminal, or a line now and then where there is none.
pub fn with_live_line<R>(work: impl FnOnce() -> R, line: impl Fn() -> String + Sync) -> R {
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

/// A counterexample as a numbered list, and where the explorer shows it.
pub fn print_steps<M: Checked>(model: &M, outcome: &Outcome, discovery: &Discovery) {
    print!("{}", describe_steps(model, outcome, discovery));
}

/// The same as text.
pub fn describe_steps<M: Checked>(model: &M, outcome: &Outcome, discovery: &Discovery) -> String {
    let trace = outcome.path(model, discovery);
    describe_fall(model, &format!("{} falls", discovery.property), &trace)
}

/// A trace at whose end something has gone wrong, as text, and where the explorer shows it.
pub fn describe_fall<M: Checked>(model: &M, what: &str, trace: &Trace<M>) -> String {
    let title = format!("{what} in {} steps", trace.steps.len());
    let steps = describe_trace(model, &title, trace);
    let command = report::explore_command(model);
    let address = trace.address();
    format!(
        "{steps}\nTo walk through it: {command}\nthen open http://localhost:3000/#/steps/{address}\n\n"
    )
}

/// A way through the states, as a numbered list.
pub fn print_trace<M: Checked>(model: &M, title: &str, trace: &Trace<M>) {
    print!("{}", describe_trace(model, title, trace));
}

fn describe_trace<M: Checked>(model: &M, title: &str, trace: &Trace<M>) -> String {
    let mut text = format!("\n{title}:\n\n");
    let mut last = &trace.init;
    for (number, step) in trace.steps.iter().enumerate() {
        let sentence = model.format_action(&step.action);
        let outcome = model.outcome(last, &step.state);
        text.push_str(&format!("{}. {sentence}\n{outcome}", number + 1));
        last = &step.state;
    }
    text
}
