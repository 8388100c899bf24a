//! `check replay`: takes the steps of a file again, in the code of today.
//!
//! What it must never do: pass over a step that is not possible where it stands, or that leads elsewhere.

use crate::bounds::Bounds;
use crate::catalogue;
use crate::checked::{Checked, Exploration};
use crate::consensus;
use crate::convergence;
use crate::engine::{Trace, TraceStep};
use crate::environment::Environment;
use crate::output::Output;
use crate::plan;
use crate::service;
use crate::tale::{self, Line, Step, Tale, Told};
use crate::trace;
use clap::Parser;
use keepright::zab::Variant;
use std::path::{Path, PathBuf};

/// Replays each path and prints what it tells; with `port`, the explorer is opened on the last one.
/// `Ok(false)` if an invariant is broken.
pub fn run(paths: &[PathBuf], port: Option<u16>, output: &Output) -> Result<bool, String> {
    let mut holds = true;
    let mut last = None;
    for path in paths {
        let (exploration, told) = file(path)?;
        told.print();
        println!("{}: {}", path.display(), verdict(&told.tale));
        holds &= told.tale.invariant.is_none();
        last = Some((exploration, told));
    }
    output.write(last.as_ref().map(|(_, told)| told))?;
    if let (Some(port), Some((exploration, told))) = (port, last) {
        let address = &told.address;
        println!("\nThe last state is at http://localhost:{port}/#/steps/{address}");
        exploration.serve(port)?;
    }
    Ok(holds)
}

/// Takes the steps of a file again.
pub fn file(path: &Path) -> Result<(Box<dyn Exploration>, Told), String> {
    let tale = trace::load(path)?;
    let in_file = |error| format!("{}: {error}", path.display());
    let exploration = model_of(&tale).map_err(in_file)?;
    let told = exploration.replay(&tale).map_err(in_file)?;
    Ok((exploration, told))
}

fn verdict(tale: &Tale) -> String {
    let steps = tale.steps.len();
    match &tale.invariant {
        Some(invariant) => format!("{invariant} is broken after {steps} steps, as the file says"),
        None => format!("{steps} steps, as the file says"),
    }
}

/// The bounds of a tale, as the command line would read them.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Flags {
    #[command(flatten)]
    bounds: Option<Bounds>,
    #[command(flatten)]
    options: Option<service::bounds::Options>,
    #[command(flatten)]
    others: Option<consensus::bounds::Options>,
}

/// The model that a tale is of.
fn model_of(tale: &Tale) -> Result<Box<dyn Exploration>, String> {
    let Flags {
        bounds,
        options,
        others,
    } = Flags::try_parse_from(tale.bounds.split_whitespace()).map_err(|error| {
        let error = error.to_string();
        let first = error.lines().next().unwrap_or_default().to_owned();
        format!("the bounds {:?} cannot be read: {first}", tale.bounds)
    })?;
    if let Some(kind) = consensus::find(&tale.model) {
        let asked = consensus::bounds::Bounds::asked(&kind.card(), bounds, others.as_ref())?;
        let mutant = Some(tale.variant.as_str()).filter(|name| *name != tale::FAITHFUL);
        return kind.reopen(asked.ok_or(NO_BOUNDS)?, mutant, tale.invariant.as_deref());
    }
    plan::not_of_others(others.as_ref())?;
    if tale.model == service::NAME {
        let bounds = plan::service_bounds(bounds, options)?;
        return Ok(Box::new(service_of(tale, bounds)?));
    }
    let bounds = plan::not_of_service(bounds, options)?;
    Ok(Box::new(environment_of(tale, bounds)?))
}

const NO_BOUNDS: &str = "there are no bounds";

fn environment_of(tale: &Tale, bounds: Option<Bounds>) -> Result<Environment, String> {
    let spec = plan::find(&tale.model)?;
    let bounds = bounds.ok_or(NO_BOUNDS)?;
    let mut variants = Variant::ALL.iter();
    let variant = variants.find(|variant| format!("{variant:?}") == tale.variant);
    let variant = *variant.ok_or_else(|| unknown_variant(tale))?;
    let ids = match &tale.invariant {
        None => spec.invariants(),
        Some(id) => {
            let all = catalogue::ALL.iter().flat_map(|spec| spec.invariants());
            let known = all.chain(convergence::IDS).find(|known| known == id);
            vec![known.ok_or_else(|| unknown_invariant(tale, id))?]
        }
    };
    Ok(Environment::new(spec.setting, bounds, variant, &ids, false))
}

fn service_of(
    tale: &Tale,
    bounds: Option<service::bounds::Bounds>,
) -> Result<service::Model, String> {
    let bounds = bounds.ok_or(NO_BOUNDS)?;
    let variant = service::mutants::variant(&tale.variant).ok_or_else(|| unknown_variant(tale))?;
    let mut ids: Vec<_> = service::invariants::ALL.iter().map(|i| i.id).collect();
    if let Some(id) = &tale.invariant {
        ids.retain(|known| known == id);
        if ids.is_empty() {
            return Err(unknown_invariant(tale, id));
        }
    }
    Ok(service::Model::new(bounds, variant, &ids, false))
}

fn unknown_variant(tale: &Tale) -> String {
    let Tale { variant, model, .. } = tale;
    format!("{model} has no variant {variant}: the file is of another version, or damaged")
}

fn unknown_invariant(tale: &Tale, id: &str) -> String {
    let model = &tale.model;
    format!("{model} has no invariant {id}: the file is of another version, or damaged")
}

/// The trace of a tale, if each of its steps is possible where it stands and leads to what the tale
/// says, and what it says to be broken is broken in the end.
pub fn retrace<M: Checked>(model: &M, tale: &Tale) -> Result<Trace<M>, String> {
    let number = tale.start.number;
    let init = model.init_states().into_iter().nth(number);
    let init = init.ok_or_else(|| format!("the model has no initial state {number}"))?;
    compare_lines("at first", &tale.start.lines, &model.lines(None, &init))?;
    let mut trace = Trace {
        init_index: number,
        init,
        steps: Vec::new(),
    };
    for (number, step) in (1..).zip(&tale.steps) {
        let last = trace.steps.last().map_or(&trace.init, |step| &step.state);
        let next = take(model, last, number, step)?;
        trace.steps.push(next);
    }
    if let Some(invariant) = &tale.invariant {
        let explanation = tale::explain(model, &trace, invariant);
        if explanation.is_none() {
            return Err(format!(
                "{invariant} holds after the last step; the file says that it is broken"
            ));
        }
        if explanation != tale.explanation {
            return Err(misfit(
                "after the last step",
                tale.explanation.as_deref(),
                explanation.as_deref(),
            ));
        }
    }
    Ok(trace)
}

fn take<M: Checked>(
    model: &M,
    before: &M::State,
    number: usize,
    step: &Step,
) -> Result<TraceStep<M>, String> {
    let place = format!("step {number}");
    let mut actions = Vec::new();
    model.actions(before, &mut actions);
    let found = actions
        .into_iter()
        .enumerate()
        .find(|(_, action)| model.saved(action) == step.action);
    let impossible = || {
        let (sentence, action) = (&step.sentence, &step.action);
        format!("{place}: this is not possible there: {sentence} ({action})")
    };
    let (index, action) = found.ok_or_else(impossible)?;
    let state = model
        .next_state(before, action.clone())
        .ok_or_else(impossible)?;
    let now = Step::of(model, before, &action, &state);
    if now.sentence != step.sentence {
        return Err(misfit(&place, Some(&step.sentence), Some(&now.sentence)));
    }
    compare_lines(&place, &step.lines, &now.lines)?;
    if now.sent != step.sent {
        let said = |sent: &[String]| format!("sends {}", sent.join(", "));
        let (file, code) = (said(&step.sent), said(&now.sent));
        return Err(misfit(&place, Some(&file), Some(&code)));
    }
    Ok(TraceStep {
        index,
        action,
        state,
    })
}

fn compare_lines(place: &str, file: &[Line], code: &[Line]) -> Result<(), String> {
    let lines = file.len().max(code.len());
    let differ = (0..lines).find(|index| file.get(*index) != code.get(*index));
    differ.map_or(Ok(()), |index| {
        let text = |line: &Line| match line.changed {
            true => format!("{} (changed)", line.text),
            false => line.text.clone(),
        };
        let (file, code) = (file.get(index).map(text), code.get(index).map(text));
        Err(misfit(place, file.as_deref(), code.as_deref()))
    })
}

fn misfit(place: &str, file: Option<&str>, code: Option<&str>) -> String {
    let (file, code) = (file.unwrap_or("nothing"), code.unwrap_or("nothing"));
    format!("{place} leads elsewhere:\n  the file says {file}\n  the code says {code}")
}
