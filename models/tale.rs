//! A way through the states of a model as it is told: steps in words, servers in lines, and what is broken
//! in the end, and why.
//!
//! What it must never do: leave out a step.

use crate::checked::Checked;
use crate::engine::Trace;
use crate::paint::{self, Paint, wrapped};
use crate::report;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write as _;

/// A way through the states of a model, in words and in a form that `check replay` takes again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tale {
    /// The model, by name.
    pub model: String,
    /// Its bounds, as options of the command line.
    pub bounds: String,
    /// The variant of the protocol or of the service: `Faithful`, or what is broken in it.
    pub variant: String,
    /// The invariant that the last state breaks, if it breaks one.
    pub invariant: Option<String>,
    /// Which servers break it, and by which values.
    pub explanation: Option<String>,
    pub start: Start,
    pub steps: Vec<Step>,
}

/// Where it begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The place among the initial states of the model.
    pub number: usize,
    pub lines: Vec<Line>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What happens, with all that tells it from what else could happen there.
    pub action: Value,
    /// What happens, in words.
    pub sentence: String,
    /// What was sent in it for the first time.
    pub sent: Vec<String>,
    /// The state after it.
    pub lines: Vec<Line>,
}

/// One server, client or log in a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub text: String,
    /// Whether the last step has changed it.
    pub changed: bool,
}

/// A tale, and what goes with it while its model is at hand.
pub struct Told {
    pub tale: Tale,
    /// The path of the last state in the explorer.
    pub address: String,
    /// The command that opens the explorer on the model.
    pub command: String,
    /// What there is to tell after the last state.
    pub aftermath: String,
    /// The sequence diagram, as SVG.
    pub diagram: String,
}

impl Tale {
    /// The tale of a trace, which ends where `invariant` is broken, if one is.
    pub fn of<M: Checked>(model: &M, trace: &Trace<M>, invariant: Option<&str>) -> Self {
        let mut last = &trace.init;
        let mut steps = Vec::new();
        for step in &trace.steps {
            steps.push(Step::of(model, last, &step.action, &step.state));
            last = &step.state;
        }
        Self {
            model: model.name().to_owned(),
            bounds: model.bounds_as_flags(),
            variant: model.mutant().unwrap_or_else(|| FAITHFUL.to_owned()),
            invariant: invariant.map(str::to_owned),
            explanation: invariant.and_then(|invariant| explain(model, trace, invariant)),
            start: Start {
                number: trace.init_index,
                lines: model.lines(None, &trace.init),
            },
            steps,
        }
    }

    /// What it is about, in a line.
    pub fn title(&self) -> String {
        let steps = self.steps.len();
        match &self.invariant {
            Some(invariant) => format!("{invariant} falls in {steps} steps"),
            None => format!("{steps} steps of {}", self.model),
        }
    }

    /// The steps as a numbered list under a title, and at the end what is broken, and why.
    pub fn text(&self, title: &str, paint: Paint) -> String {
        let mut text = format!("\n{}\n\n", paint.strong(&format!("{title}:")));
        push_step(&mut text, paint, "0.", "at first", &self.start.lines, &[]);
        for (number, step) in (1..).zip(&self.steps) {
            let Step {
                sentence,
                sent,
                lines,
                ..
            } = step;
            let number = format!("{number}.");
            push_step(&mut text, paint, &number, sentence, lines, sent);
        }
        if let Some(invariant) = &self.invariant {
            let why = self.explanation.as_deref().unwrap_or("it does not hold");
            let broken = wrapped("BROKEN: ", 4, &format!("{invariant}: {why}"));
            let _ = writeln!(text, "\n{}", paint.broken(&broken));
        }
        text
    }
}

/// The name of the variant that changes nothing.
pub const FAITHFUL: &str = "Faithful";

impl Step {
    /// One step of a model.
    pub fn of<M: Checked>(
        model: &M,
        before: &M::State,
        action: &M::Action,
        after: &M::State,
    ) -> Self {
        Self {
            action: model.saved(action),
            sentence: model.format_action(action),
            sent: model.sent(before, after),
            lines: model.lines(Some(before), after),
        }
    }
}

impl Told {
    /// The tale of a trace, with its diagram and the way to it in the explorer.
    pub fn of<M: Checked>(model: &M, trace: &Trace<M>, invariant: Option<&str>) -> Self {
        let last = trace.steps.last().map_or(&trace.init, |step| &step.state);
        let tale = Tale::of(model, trace, invariant);
        Self {
            address: trace.address(),
            command: report::explore_command(model),
            aftermath: invariant.map_or_else(String::new, |id| model.aftermath(last, id)),
            diagram: model.diagram(&path_of(trace)).draw(),
            tale,
        }
    }

    /// Prints the whole.
    pub fn print(&self) {
        print!("{}", self.text(Paint::of_stdout()));
    }

    /// The whole, as it is printed.
    pub fn text(&self, paint: Paint) -> String {
        let (command, address) = (&self.command, &self.address);
        format!(
            "{}{}\nTo walk through it:\n{}\nthen open\n  http://localhost:3000/#/steps/{address}\n\n",
            self.tale.text(&self.tale.title(), paint),
            self.aftermath,
            paint::command(command),
        )
    }
}

/// Why an invariant does not hold at the end of a trace; `None` if it does.
pub fn explain<M: Checked>(model: &M, trace: &Trace<M>, invariant: &str) -> Option<String> {
    let Some((last, before)) = trace.steps.split_last() else {
        return model.explain(invariant, None, &trace.init);
    };
    let before = before.last().map_or(&trace.init, |step| &step.state);
    model.explain(invariant, Some((before, &last.action)), &last.state)
}

/// A trace as stateright has it: each state with the action that was taken there.
fn path_of<M: Checked>(trace: &Trace<M>) -> Vec<(M::State, Option<M::Action>)> {
    let states = [&trace.init].into_iter();
    let states = states.chain(trace.steps.iter().map(|step| &step.state));
    let actions = trace.steps.iter().map(|step| Some(step.action.clone()));
    states.cloned().zip(actions.chain([None])).collect()
}

/// What the last state of a path breaks, and why.
pub fn broken<M: Checked>(model: &M, path: &[(M::State, Option<M::Action>)]) -> Option<String> {
    let (last, before) = path.split_last()?;
    let step = before.last();
    let step = step.and_then(|(before, action)| Some((before, action.as_ref()?)));
    let invariant = *model.fallen(&last.0).first()?;
    let why = model.explain(invariant, step, &last.0)?;
    Some(format!("{invariant}: {why}"))
}

/// The state after a step, as the explorer shows it: what the step has changed stands there before and after.
pub fn outcome<M: Checked>(
    model: &M,
    before: &M::State,
    action: &M::Action,
    after: &M::State,
) -> String {
    let mut text = String::new();
    let lines = model.lines(Some(before), after);
    for (old, line) in model.lines(None, before).iter().zip(lines) {
        let Line { text: new, changed } = line;
        let _ = match changed {
            false => writeln!(text, "  {new}"),
            true if old.text == new => writeln!(text, "* {new}; changed in what is not shown"),
            true => writeln!(text, "- {}\n+ {new}", old.text),
        };
    }
    for sent in model.sent(before, after) {
        let _ = writeln!(text, "  sent {sent}");
    }
    if before == after {
        text.push_str("  Nothing changes.\n");
    }
    for invariant in model.fallen(after) {
        let why = model.explain(invariant, Some((before, action)), after);
        let why = why.map_or(String::new(), |why| format!(": {why}"));
        let _ = writeln!(text, "  BROKEN: {invariant}{why}");
    }
    text
}

fn push_step(
    text: &mut String,
    paint: Paint,
    number: &str,
    sentence: &str,
    lines: &[Line],
    sent: &[String],
) {
    let sentence = wrapped(&format!("{number:>3} "), 4, sentence);
    let _ = writeln!(text, "{}", paint.strong(&sentence));
    for Line {
        text: line,
        changed,
    } in lines
    {
        let marked = match changed {
            true => paint.changed(&wrapped("  > ", 7, line)),
            false => wrapped("    ", 7, line),
        };
        let _ = writeln!(text, "{marked}");
    }
    for sent in sent {
        let _ = writeln!(text, "{}", paint.quiet(&wrapped("    sent ", 9, sent)));
    }
}
