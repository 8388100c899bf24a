//! Which models, in which bounds, the options of a command line ask for.
//!
//! What it must never do: let an option pass that has no effect on the model that it stands beside.

use crate::bounds::Bounds;
use crate::catalogue::{self, Spec};
use crate::checked::Exploration;
use crate::consensus::{self, claims::Claimed, trials::Kind};
use crate::environment::Environment;
use crate::report::Witnesses;
use crate::service::bounds::Options;
use crate::{bugs, converge, mutants, service};
use std::collections::BTreeSet;

/// What is explored, and what is looked for.
pub struct Plan {
    pub runs: Vec<Box<dyn Exploration>>,
    pub claims: Vec<Claimed>,
    /// Whether the counterexamples of the claims are told.
    pub told: bool,
    pub witnesses: Witnesses,
}

impl Plan {
    /// Every model within its default bounds.
    pub fn of_all() -> Self {
        let others = consensus::ALL.iter();
        let runs = runs_of_all().into_iter();
        Self {
            runs: runs
                .chain(others.clone().flat_map(|kind| kind.runs(None)))
                .collect(),
            claims: others.flat_map(|kind| kind.claims(None)).collect(),
            told: false,
            witnesses: Witnesses::Demanded,
        }
    }

    /// One protocol: within its default bounds, with all that the notes claim of it; within others, what holds there; or
    /// one claim.
    fn of_protocol(
        kind: &dyn Kind,
        bounds: Option<Bounds>,
        others: Option<consensus::bounds::Options>,
    ) -> Result<Self, String> {
        let bounds = consensus::bounds::Bounds::asked(&kind.card(), bounds, others.as_ref())?;
        let claim = others.and_then(|options| options.claim);
        let mut claims = match (&claim, bounds) {
            (None, Some(_)) => Vec::new(),
            (Some(_), _) | (None, None) => kind.claims(bounds),
        };
        if let Some(id) = &claim {
            claims.retain(|claimed| claimed.property.id == id);
            if claims.is_empty() {
                return Err(kind.no_claim(id));
            }
        }
        let runs = match claim {
            Some(_) => Vec::new(),
            None => kind.runs(bounds),
        };
        Ok(Self {
            runs,
            claims,
            told: true,
            witnesses: demanded(bounds.is_none()),
        })
    }
}

/// What `check run` is asked to explore.
pub fn plan(
    model: Option<&str>,
    bounds: Option<Bounds>,
    options: Option<Options>,
    others: Option<consensus::bounds::Options>,
) -> Result<Plan, String> {
    if let Some(kind) = model.and_then(consensus::find) {
        return Plan::of_protocol(kind, not_of_service(bounds, options)?, others);
    }
    not_of_others(others.as_ref())?;
    let witnesses = demanded(bounds.is_none() && options.is_none());
    let runs = match (model, &bounds, &options) {
        (None, None, None) => return Ok(Plan::of_all()),
        (None, ..) => Err(format!(
            "bounds need a model: check run MODEL ...; {}",
            known_models()
        )),
        (Some(service::NAME), ..) => Ok(service_runs(service_bounds(bounds, options)?)),
        (Some(name), ..) => {
            let (spec, bounds) = (find(name)?, not_of_service(bounds, options)?);
            Ok(runs_of(
                spec,
                bounds.map(|bounds| spec.sensible(bounds)).transpose()?,
            ))
        }
    };
    Ok(Plan {
        runs: runs?,
        claims: Vec::new(),
        told: false,
        witnesses,
    })
}

/// Default bounds must put every invariant to the test.
fn demanded(default: bool) -> Witnesses {
    match default {
        true => Witnesses::Demanded,
        false => Witnesses::AsFound,
    }
}

/// What `check converge` is asked to explore.
pub fn runs_to_converge(
    model: Option<&str>,
    bounds: Option<Bounds>,
) -> Result<Vec<(&'static Spec, Bounds)>, String> {
    match (model, bounds) {
        (None, Some(_)) => Err(format!(
            "bounds need a model: check converge MODEL ...; {}",
            known_models()
        )),
        (Some(name), Some(bounds)) => {
            let spec = find(name)?;
            Ok(vec![(spec, spec.sensible(bounds)?)])
        }
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
            "the model service knows --servers, --crashes and --snapshots, and what stands \
                    below \"Of the model service\" in check run --help"
                .to_owned(),
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
        sweeps: options.sweeps,
        ..service::bounds::Bounds::new(scenario)
    }))
}

/// The bounds, if no option of the model of the service is among them.
pub fn not_of_service(
    bounds: Option<Bounds>,
    options: Option<Options>,
) -> Result<Option<Bounds>, String> {
    match options {
        None => Ok(bounds),
        Some(_) => Err(
            "--scenario and the options below it in the help are for the model service alone"
                .to_owned(),
        ),
    }
}

/// An error if an option of the other protocols was given.
pub fn not_of_others(others: Option<&consensus::bounds::Options>) -> Result<(), String> {
    match others {
        None => Ok(()),
        Some(_) => Err(
            "--proposers and the options below it in the help are for the other protocols alone"
                .to_owned(),
        ),
    }
}

/// What `check explore` is asked to open.
pub fn to_open(
    model: &str,
    mutant: Option<&str>,
    bounds: Option<Bounds>,
    options: Option<Options>,
    others: Option<consensus::bounds::Options>,
) -> Result<Box<dyn Exploration>, String> {
    if let Some(kind) = consensus::find(model) {
        let bounds = not_of_service(bounds, options)?;
        let bounds = consensus::bounds::Bounds::asked(&kind.card(), bounds, others.as_ref())?;
        let claim = others.and_then(|options| options.claim);
        return kind.open(bounds, mutant, claim.as_deref());
    }
    not_of_others(others.as_ref())?;
    Ok(match model == service::NAME {
        true => Box::new(service_to_explore(
            mutant,
            service_bounds(bounds, options)?,
        )?),
        false => Box::new(to_explore(model, mutant, not_of_service(bounds, options)?)?),
    })
}

/// The model of the service to open, by the name of a mutant and the bounds that were given, if any.
pub fn service_to_explore(
    mutant: Option<&str>,
    bounds: Option<service::bounds::Bounds>,
) -> Result<service::Model, String> {
    let Some(name) = mutant else {
        return Ok(service::faithful(bounds.unwrap_or(service::BOUNDS[0])));
    };
    let mut rows = service::mutants::ALL.iter().filter(|m| m.name == name);
    let row = rows.next().ok_or_else(|| {
        let names: BTreeSet<_> = service::mutants::all().map(|(name, _)| name).collect();
        let names: Vec<_> = names.into_iter().collect();
        format!(
            "no mutant {name} of service; there are {}",
            names.join(", ")
        )
    })?;
    let ids: Vec<_> = [row.invariant]
        .into_iter()
        .chain(rows.map(|row| row.invariant))
        .collect();
    let trial = row.trial();
    let bounds = bounds.unwrap_or(trial.bounds);
    Ok(service::Model::new(bounds, trial.variant, &ids, false))
}

/// The model, or a mutant or a bug of it with every invariant that it is known to break.
pub fn to_explore(
    model: &str,
    mutant: Option<&str>,
    bounds: Option<Bounds>,
) -> Result<Environment, String> {
    let spec = find(model)?;
    let Some(name) = mutant else {
        let bounds = spec.sensible(bounds.unwrap_or(spec.bounds[0]))?;
        return Ok(spec.faithful(bounds));
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

/// A model of the replication protocol.
pub fn find(name: &str) -> Result<&'static Spec, String> {
    if consensus::find(name).is_some() {
        return Err(format!("{name} goes with run, explore and compare alone"));
    }
    catalogue::find(name).ok_or_else(|| format!("no model {name}; {}", known_models()))
}

fn known_models() -> String {
    let names: Vec<_> = catalogue::ALL
        .iter()
        .map(|spec| spec.setting.name)
        .chain([service::NAME])
        .chain(consensus::ALL.iter().map(|kind| kind.card().name))
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
