//! `check converge`: from every state, in peace, back to work; and how long that takes.
//!
//! Spec: `spec/7-convergence.md`, "What is reported".

use crate::bounds::Bounds;
use crate::catalogue::{self, Spec};
use crate::convergence::{self, CONVERGES, Found, LIMIT, SCHEDULES, UNDISTURBED};
use crate::coverage::Tally;
use crate::engine::{End, Limits, Outcome};
use crate::environment::Environment;
use crate::explain;
use crate::paint::Paint;
use crate::report::{self, align_right, grouped, seconds, table_of};
use crate::run;
use crate::schedule::{Calm, Old, Schedule};
use crate::tale::Tale;
use crate::world::World;
use keepright::zab::Variant;
use std::fmt::Write as _;

/// The models and bounds in which `check` looks for convergence by default.
pub const DEFAULT: &[(&str, Bounds)] = &[
    ("election", Bounds::new(3, 0, 0, 1)),
    ("zab", Bounds::new(3, 1, 1, 1)),
    (
        "zab",
        Bounds {
            observers: 1,
            ..Bounds::new(3, 1, 1, 0)
        },
    ),
    (
        "zab",
        Bounds {
            observers: 1,
            wipes: 1,
            ..Bounds::new(3, 1, 0, 0)
        },
    ),
    (
        "replaced",
        Bounds {
            wipes: 1,
            ..Bounds::new(3, 1, 1, 0)
        },
    ),
    ("ensemble", Bounds::new(3, 1, 0, 0)),
    (
        "ensemble",
        Bounds {
            strays: 1,
            ..Bounds::new(3, 0, 0, 0)
        },
    ),
    ("ensemble", Bounds::new(2, 1, 1, 1).with_pending_saves()),
];

/// One model within one set of bounds, explored.
struct Explored {
    environment: Environment,
    outcome: Outcome,
    found: Vec<Found>,
}

/// The model, asked for convergence alone.
pub fn environment(spec: &Spec, bounds: Bounds, variant: Variant) -> Environment {
    let ids: &[&str] = match spec.setting.election_alone {
        true => &[CONVERGES],
        false => &[CONVERGES, UNDISTURBED],
    };
    Environment::new(spec.setting, bounds, variant, ids, false)
}

/// The default models and bounds, or only those of one model.
pub fn runs(model: Option<&str>) -> Vec<(&'static Spec, Bounds)> {
    let spec = |name| catalogue::find(name).expect("a model of the catalogue");
    DEFAULT
        .iter()
        .filter(|(name, _)| model.is_none_or(|model| model == *name))
        .map(|(name, bounds)| (spec(name), *bounds))
        .collect()
}

/// Explores each model within its bounds and prints the report. `true` if every state of all of them
/// comes to work again. Adds the handlers that were exercised to `tally`.
pub fn run_all(
    runs: &[(&'static Spec, Bounds)],
    worst: bool,
    limits: Limits,
    tally: &Tally,
) -> bool {
    let mut done = Vec::new();
    for (spec, bounds) in runs {
        let environment = environment(spec, *bounds, Variant::Faithful);
        let title = format!("convergence of {} {bounds}", spec.setting.name);
        let look = |world: &World, depth| environment.measure(world, depth);
        let outcome = run::explore(&title, &environment, limits, &look);
        let found = environment.convergence.take_found();
        let end = outcome.end;
        tally.merge(&environment.tally);
        done.push(Explored {
            environment,
            outcome,
            found,
        });
        if end == End::Violation || run::interrupted() {
            break;
        }
    }
    println!("{}", lengths(&done));
    println!("{}", distribution(&done));
    for explored in &done {
        explored.print_violation();
        if worst {
            explored.print_worst();
        }
    }
    conclude(&done, runs.len())
}

fn conclude(done: &[Explored], planned: usize) -> bool {
    let stuck = done
        .iter()
        .find_map(|e| e.environment.convergence.stuck.get());
    let most = done.iter().flat_map(|e| &e.found).map(|f| f.worst).max();
    let most = most.unwrap_or_default();
    let (converges, words) = if let Some(stuck) = stuck {
        (false, format!("FAILED: {stuck}"))
    } else if done.iter().any(|e| e.outcome.end == End::Violation) {
        let words = "FAILED: an ensemble that is left in peace does not get to work";
        (false, words.to_owned())
    } else if done.len() < planned || done.iter().any(|e| e.outcome.end != End::Complete) {
        let words = format!("INCOMPLETE: stopped after {} of {planned} runs", done.len());
        (false, words)
    } else {
        let words = format!(
            "CONVERGES: every state comes to work, and stays, within {} rounds; {} steps in the longest walk",
            most.rounds, most.steps
        );
        (true, words)
    };
    report::conclude(&words);
    converges
}

impl Explored {
    fn name(&self) -> String {
        let environment = &self.environment;
        format!("{} {}", environment.setting.name, environment.bounds)
    }

    fn print_violation(&self) {
        let Some(discovery) = self.outcome.discoveries.first() else {
            return;
        };
        let told = run::tell(&self.environment, &self.outcome, discovery);
        print!("{}", told.text(Paint::of_stdout()));
    }

    fn print_worst(&self) {
        let Some(found) = self.found.first() else {
            return;
        };
        let trace = self.outcome.path_to(&self.environment, found.fingerprint);
        let title = format!("the worst state of {}", self.name());
        let tale = Tale::of(&self.environment, &trace, None);
        print!("{}", tale.text(&title, Paint::of_stdout()));
        let last = trace.steps.last().map_or(&trace.init, |step| &step.state);
        let rounds = usize::from(found.worst.rounds);
        print!("{}", self.environment.story(last, found.schedule, rounds));
    }
}

/// A row for each run and schedule: how long it takes at most.
fn lengths(done: &[Explored]) -> String {
    let header = [
        "model",
        "bounds",
        "states",
        "schedule",
        "K rounds",
        "K steps",
        "worst at depth",
        "time",
    ];
    let mut table = table_of(&header);
    for explored in done {
        for (i, found) in explored.found.iter().enumerate() {
            if found.histogram.is_empty() {
                continue;
            }
            let first = |text: String| if i == 0 { text } else { String::new() };
            table.add_row([
                first(explored.environment.setting.name.to_owned()),
                first(explored.environment.bounds.to_string()),
                grouped(found.histogram.iter().sum()),
                found.schedule.to_string(),
                found.worst.rounds.to_string(),
                found.worst.steps.to_string(),
                (found.depth - 1).to_string(),
                first(seconds(explored.outcome.elapsed)),
            ]);
        }
    }
    for column in [2, 4, 5, 6, 7] {
        align_right(&mut table, column..column + 1);
    }
    format!("\n{}\n", table.trim_fmt())
}

/// The upper ends of the classes of the distribution, in rounds.
const CLASSES: [usize; 8] = [0, 5, 10, 15, 20, 25, 30, LIMIT];

/// How many of a hundred states take how long.
fn distribution(done: &[Explored]) -> String {
    let mut header = vec!["rounds".to_owned()];
    let mut from = 0;
    for to in CLASSES {
        header.push(match (from, to) {
            (from, to) if from == to => to.to_string(),
            (from, LIMIT) => format!("{from}-"),
            (from, to) => format!("{from}-{to}"),
        });
        from = to + 1;
    }
    let header: Vec<_> = header.iter().map(String::as_str).collect();
    let mut table = table_of(&header);
    for explored in done {
        let Some(found) = explored.found.iter().find(|f| f.schedule == SCHEDULES[0]) else {
            continue;
        };
        let all: usize = found.histogram.iter().sum();
        let mut row = vec![explored.name()];
        let mut from = 0;
        for to in CLASSES {
            let class = found.histogram.iter().skip(from).take(to + 1 - from);
            let share = 100.0 * class.sum::<usize>() as f64 / all.max(1) as f64;
            row.push(if share == 0.0 {
                "-".to_owned()
            } else {
                format!("{share:.2} %")
            });
            from = to + 1;
        }
        table.add_row(row);
    }
    align_right(&mut table, 1..CLASSES.len() + 1);
    format!("{}\n", table.trim_fmt())
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.restart {
            "all start"
        } else {
            "down stay down"
        })?;
        if self.descending {
            f.write_str(", descending")?;
        }
        match self.old {
            Old::Lost => Ok(()),
            Old::InRound(round) => write!(f, ", old datagrams in round {round}"),
            Old::Afterwards => f.write_str(", old datagrams afterwards"),
        }
    }
}

/// How many rounds of a walk without end are told.
const TOLD: usize = 16;

impl Environment {
    /// The run of a schedule from a state in which a property of convergence falls, in words.
    pub fn aftermath(&self, world: &World, property: &str) -> String {
        let schedule = self.falls_under(property, world).unwrap_or(SCHEDULES[0]);
        let rounds = if property == CONVERGES { LIMIT } else { TOLD };
        self.story(world, schedule, rounds)
    }

    /// Why a property of convergence falls in a state; `None` if it holds.
    pub fn explain_convergence(&self, property: &str, world: &World) -> Option<String> {
        let schedule = self.falls_under(property, world)?;
        if let Some(leader) = self.leads_in_peace(&self.calm(world))
            && property != CONVERGES
        {
            return Some(format!(
                "server {leader} serves with a quorum; left in peace from here ({schedule}), it does \
                 not stay the only leader until everybody is at work"
            ));
        }
        let story = Self::aftermath(self, world, property);
        let end = story.lines().next_back().unwrap_or_default();
        Some(format!(
            "left in peace from here ({schedule}), the ensemble does not get to work: {end}"
        ))
    }

    /// The rounds of a schedule from a state, at most so many.
    fn story(&self, world: &World, schedule: Schedule, rounds: usize) -> String {
        let mut text = format!("\nIn peace from here ({schedule}):\n");
        let mut calm = self.calm(world);
        if schedule.old == Old::Afterwards
            && let Some((length, works)) = self.walk(schedule, calm.clone())
        {
            let _ = writeln!(
                text,
                "at work after {} rounds; then the old datagrams arrive",
                length.rounds
            );
            calm = self.with_old(works, world, schedule);
        }
        let mut seen = vec![calm.key(schedule)];
        for round in 1..=rounds {
            if schedule.old == Old::InRound(round as u8) {
                calm = self.with_old(&calm, world, schedule);
            }
            let (next, _) = self.round(schedule, &calm);
            if round <= TOLD || rounds < LIMIT {
                let _ = writeln!(text, "round {round}");
                for words in self.narrate(schedule, &calm) {
                    let _ = writeln!(text, "    {words}");
                }
                text.push_str(&changes(&calm, &next));
            }
            calm = next;
            let key = calm.key(schedule);
            if let Some(first) = seen.iter().position(|known| *known == key) {
                let _ = writeln!(
                    text,
                    "after round {round} all is as after round {first}, and so on for ever"
                );
                return text;
            }
            seen.push(key);
        }
        if rounds == LIMIT {
            let _ = writeln!(text, "and so on: not at work after {LIMIT} rounds");
        }
        text
    }
}

/// The servers that a round has changed, a line each.
fn changes(before: &Calm, after: &Calm) -> String {
    let mut text = String::new();
    for ((id, process), old) in after.servers().zip(&before.members) {
        if process != &old.process.process {
            let _ = writeln!(text, "> {}", explain::server_line(id, process));
        }
    }
    text
}

impl convergence::Tables {
    fn take_found(&self) -> Vec<Found> {
        let mut found = self.found.lock().expect("no thread panics with this lock");
        std::mem::take(&mut found)
    }
}
