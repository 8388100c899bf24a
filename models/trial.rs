//! A broken variant of the protocol, and where it is caught.

use crate::bounds::Bounds;
use crate::catalogue;
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

    /// The model of the protocol as it should be, within the same bounds and with every invariant.
    pub fn faithful(&self) -> Environment {
        let spec = catalogue::find(self.model).expect("a trial names a model of the catalogue");
        spec.faithful(self.bounds)
    }
}
