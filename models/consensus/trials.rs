//! The protocols as the command line sees them: by name, whatever their types are.

use super::bounds::Bounds;
use super::claims::{Claimed, Property};
use super::cost::{self, Cost};
use super::environment::Ensemble;
use super::protocol::{Card, Mutant, Protocol};
use super::spawn::{self, Answer};
use crate::checked::{Exploration, Tried};
use std::marker::PhantomData;

/// A protocol, whatever its types are.
pub trait Kind: Sync {
    fn card(&self) -> Card;
    /// Its invariants: id, term and meaning.
    fn invariants(&self) -> Vec<Property>;
    /// As it should be, with every invariant and witness, within these bounds or within the default ones.
    fn runs(&self, bounds: Option<Bounds>) -> Vec<Box<dyn Exploration>>;
    /// A mutant with every invariant that it is known to break, or the protocol as it should be with one claim, or
    /// with all invariants.
    fn open(
        &self,
        bounds: Option<Bounds>,
        mutant: Option<&str>,
        claim: Option<&str>,
    ) -> Result<Box<dyn Exploration>, String>;
    /// What a saved counterexample is of.
    fn reopen(
        &self,
        bounds: Bounds,
        mutant: Option<&str>,
        id: Option<&str>,
    ) -> Result<Box<dyn Exploration>, String>;
    fn mutants(&self) -> Vec<(&'static str, Box<dyn Tried>)>;
    /// What the first command costs, and the next one.
    fn cost(&self) -> (Cost, Option<Cost>);
    /// What the notes claim; within these bounds, or where each is found.
    fn claims(&self, bounds: Option<Bounds>) -> Vec<Claimed>;
    /// Asks its actors for one thing, over UDP.
    fn ask(&self) -> Result<Answer, String>;
    /// That the notes make no claim of this name, and which they make.
    fn no_claim(&self, id: &str) -> String {
        let ids: Vec<_> = self
            .claims(None)
            .iter()
            .map(|claimed| claimed.property.id)
            .collect();
        let (model, ids) = (self.card().name, ids.join(", "));
        format!("no claim {id} about {model}; there are {ids}")
    }
}

/// The [`Kind`] of a protocol.
pub struct Of<P>(PhantomData<fn() -> P>);

impl<P> Of<P> {
    pub const KIND: Self = Self(PhantomData);
}

/// A protocol within bounds that suffice to show one thing that must go wrong.
struct Trial<P: Protocol> {
    bounds: Bounds,
    broken: Option<P::Rule>,
    id: &'static str,
}

impl<P: Protocol> Of<P> {
    fn rule(&self, name: &str) -> Result<P::Rule, String> {
        let known = P::MUTANTS.iter().find(|mutant| mutant.name == name);
        let known = known.map(|mutant| mutant.rule);
        known.ok_or_else(|| {
            let mut names: Vec<_> = P::MUTANTS.iter().map(|mutant| mutant.name).collect();
            names.dedup();
            let (model, names) = (P::CARD.name, names.join(", "));
            format!("no mutant {name} of {model}; there are {names}")
        })
    }
}

impl<P: Protocol> Kind for Of<P> {
    fn card(&self) -> Card {
        P::CARD
    }

    fn invariants(&self) -> Vec<Property> {
        let all = P::INVARIANTS.iter().map(|invariant| Property {
            id: invariant.id,
            term: invariant.term,
            prose: invariant.prose,
        });
        all.collect()
    }

    fn runs(&self, bounds: Option<Bounds>) -> Vec<Box<dyn Exploration>> {
        let chosen = bounds.map_or_else(|| P::CARD.bounds.to_vec(), |bounds| vec![bounds]);
        let boxed = |bounds| Box::new(Ensemble::<P>::faithful(bounds)) as Box<dyn Exploration>;
        chosen.into_iter().map(boxed).collect()
    }

    fn open(
        &self,
        bounds: Option<Bounds>,
        mutant: Option<&str>,
        claim: Option<&str>,
    ) -> Result<Box<dyn Exploration>, String> {
        if let Some(id) = claim {
            let claim = P::CLAIMS.iter().find(|claim| claim.id == id);
            let claim = claim.ok_or_else(|| self.no_claim(id))?;
            let broken = mutant.map(|name| self.rule(name)).transpose()?;
            let bounds = bounds.unwrap_or(claim.bounds);
            return Ok(Box::new(Ensemble::<P>::new(
                bounds,
                broken,
                vec![claim.id],
                false,
            )));
        }
        let Some(name) = mutant else {
            let bounds = bounds.unwrap_or(P::CARD.bounds[0]);
            return Ok(Box::new(Ensemble::<P>::faithful(bounds)));
        };
        let rule = self.rule(name)?;
        let rows = P::MUTANTS.iter().filter(|mutant| mutant.rule == rule);
        let ids: Vec<_> = rows.clone().map(|mutant| mutant.invariant).collect();
        let first = rows.map(|mutant| mutant.bounds).next();
        let bounds = bounds.or(first).unwrap_or(P::CARD.bounds[0]);
        Ok(Box::new(Ensemble::<P>::new(bounds, Some(rule), ids, false)))
    }

    fn reopen(
        &self,
        bounds: Bounds,
        mutant: Option<&str>,
        id: Option<&str>,
    ) -> Result<Box<dyn Exploration>, String> {
        let broken = mutant.map(|name| self.rule(name)).transpose()?;
        let mut ids = Ensemble::<P>::invariant_ids();
        if let Some(id) = id {
            ids.extend(P::CLAIMS.iter().map(|claim| claim.id));
            ids.retain(|known| *known == id);
            if ids.is_empty() {
                let model = P::CARD.name;
                return Err(format!(
                    "{model} has no invariant {id}: the file is of another version, or damaged"
                ));
            }
        }
        Ok(Box::new(Ensemble::<P>::new(bounds, broken, ids, false)))
    }

    fn mutants(&self) -> Vec<(&'static str, Box<dyn Tried>)> {
        let row = |mutant: &Mutant<P::Rule>| {
            let trial = Trial::<P> {
                bounds: mutant.bounds,
                broken: Some(mutant.rule),
                id: mutant.invariant,
            };
            (mutant.name, Box::new(trial) as Box<dyn Tried>)
        };
        P::MUTANTS.iter().map(row).collect()
    }

    fn cost(&self) -> (Cost, Option<Cost>) {
        cost::measure::<P>()
    }

    fn ask(&self) -> Result<Answer, String> {
        spawn::ask::<P>()
    }

    fn claims(&self, bounds: Option<Bounds>) -> Vec<Claimed> {
        let all = P::CLAIMS.iter().map(|claim| Claimed {
            property: Property {
                id: claim.id,
                term: claim.term,
                prose: claim.prose,
            },
            trial: Box::new(Trial::<P> {
                bounds: bounds.unwrap_or(claim.bounds),
                broken: None,
                id: claim.id,
            }),
        });
        all.collect()
    }
}

impl<P: Protocol> Tried for Trial<P> {
    fn place(&self) -> String {
        format!("{} {}", P::CARD.name, self.bounds)
    }

    fn invariant(&self) -> &'static str {
        self.id
    }

    fn exploration(&self) -> Box<dyn Exploration> {
        let Self { bounds, broken, id } = *self;
        Box::new(Ensemble::<P>::new(bounds, broken, vec![id], false))
    }

    fn in_smaller_bounds(&self) -> Vec<Box<dyn Tried>> {
        let smaller = |bounds| {
            Box::new(Self {
                bounds,
                broken: self.broken,
                id: self.id,
            }) as Box<dyn Tried>
        };
        self.bounds.smaller().into_iter().map(smaller).collect()
    }
}
