//! What `check simulate` prints.

use super::Simulation;
use super::fleet::Progress;
use super::tally::Tally;
use crate::report::{align_right, grouped, rate, seconds, table_of};
use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How the runs get on.
pub fn progress_line(model: &str, progress: &Progress, elapsed: Duration) -> String {
    let (runs, steps) = (progress.runs.load(Relaxed), progress.steps.load(Relaxed));
    format!(
        "simulate {model}: {} runs, {} steps, {}/s, {}",
        number(runs),
        number(steps),
        rate(steps as usize, elapsed),
        seconds(elapsed)
    )
}

/// How often each kind of event happened, and how far the runs came.
pub fn tables(simulation: &dyn Simulation, tally: &Tally) -> String {
    let mut events = table_of(&["event", "times", "fault"]);
    for (place, (kind, times)) in simulation.kinds().iter().zip(&tally.kinds).enumerate() {
        if *times > 0 || simulation.expects(place) {
            let fault = if kind.is_fault { "fault" } else { "" };
            events.add_row([kind.label, &number(*times), fault]);
        }
    }
    align_right(&mut events, 1..2);
    let mut goals = table_of(&["goal", "in runs", "on average", "at most"]);
    let per_run = |part: u64| part as f64 / tally.runs.max(1) as f64;
    for (label, reached) in simulation.goals().iter().zip(&tally.goals) {
        goals.add_row([
            (*label).to_owned(),
            format!("{:.1} %", 100.0 * per_run(reached.runs)),
            format!("{:.1}", per_run(reached.total)),
            number(reached.most),
        ]);
    }
    align_right(&mut goals, 1..4);
    let mut text = String::new();
    let _ = writeln!(text, "{events}\n\n{goals}\n");
    text
}

/// The kinds of events that should happen and never did.
pub fn missing(simulation: &dyn Simulation, tally: &Tally) -> Vec<&'static str> {
    let all = simulation.kinds().iter().zip(&tally.kinds).enumerate();
    all.filter(|(place, (_, times))| **times == 0 && simulation.expects(*place))
        .map(|(_, (kind, _))| kind.label)
        .collect()
}

/// The witnesses that no run has found.
pub fn unseen(tally: &Tally) -> Vec<&str> {
    let all = tally.witnesses.iter();
    all.filter(|(_, runs)| **runs == 0)
        .map(|(name, _)| name.as_str())
        .collect()
}

/// The last line.
pub fn conclusion(heading: &str, tally: &Tally, planned: u64, elapsed: Duration) -> String {
    let runs = match tally.runs == planned {
        true => number(planned),
        false => format!("{} of {}", number(tally.runs), number(planned)),
    };
    format!(
        "{heading}: {runs} runs, {} steps in {} ({} steps/s), {} steps in the longest",
        number(tally.steps),
        seconds(elapsed),
        rate(tally.steps as usize, elapsed),
        number(tally.longest)
    )
}

fn number(number: u64) -> String {
    grouped(number as usize)
}
