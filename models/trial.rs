//! A broken variant of the protocol, and where it is caught.

use crate::bounds::Bounds;
use crate::catalogue;
use crate::checked::{Exploration, Tried};
use crate::converge;
use crate::convergence;
use crate::environment::Environment;
use keepright::zab::Variant;

/// A variant within bounds that suffice to show the one invariant that must fall.
#[derive(Clone, Copy)]
pub struct Trial {
    pub variant: Variant,
    /// The model, by name.
    pub model: &'static str,
    pub bounds: Bounds,
    /// The invariant that must fall.
    pub invariant: &'static str,
}

impl Trial {
    /// The model and the bounds, to be read.
    pub fn place(&self) -> String {
        format!("{} {}", self.model, self.bounds)
    }

    /// The same within the next smaller bounds: there nothing must be found.
    pub fn smaller(&self) -> impl Iterator<Item = Self> {
        let with = |bounds| Self { bounds, ..*self };
        self.bounds.smaller().into_iter().map(with)
    }

    /// The model of this variant, which checks the one invariant that must fall.
    pub fn environment(&self) -> Environment {
        let spec = catalogue::find(self.model).expect("a trial names a model of the catalogue");
        Environment::new(
            spec.setting,
            self.bounds,
            self.variant,
            &[self.invariant],
            false,
        )
    }

    /// The model of the protocol as it should be, within the same bounds and with every invariant, or
    /// asked for convergence if the variant is.
    pub fn faithful(&self) -> Environment {
        let spec = catalogue::find(self.model).expect("a trial names a model of the catalogue");
        if convergence::IDS.contains(&self.invariant) {
            return converge::environment(spec, self.bounds, Variant::Faithful);
        }
        spec.faithful(self.bounds)
    }
}

impl Tried for Trial {
    fn place(&self) -> String {
        Self::place(self)
    }

    fn invariant(&self) -> &'static str {
        self.invariant
    }

    fn exploration(&self) -> Box<dyn Exploration> {
        Box::new(self.environment())
    }

    fn in_smaller_bounds(&self) -> Vec<Box<dyn Tried>> {
        let smaller = self.smaller();
        smaller
            .map(|trial| Box::new(trial) as Box<dyn Tried>)
            .collect()
    }
}
