//! The bugs that implementations of Zab, and its paper, once had, found again: one file each.
//!
//! Spec: `spec/bugs.md`. Each file says what happened, which one decision of the production actor its
//! variant changes, which invariant must fall, and the smallest bounds that show it. What it must
//! never do: count a by-product as the find. The invariant is the one that the bug is about.

mod zk0975;
mod zk1419;
mod zk1514;
mod zk3769;
mod zk4643;

use crate::trial::Trial;

/// A bug of the past.
pub struct Bug {
    /// As the command line knows it: `zk` and the number in ZooKeeper's issue tracker, or `paper` and
    /// a number.
    pub name: &'static str,
    /// What was wrong, in a line.
    pub title: &'static str,
    pub fate: Fate,
    /// What others needed to find it, if they published that.
    pub published: Option<Published>,
}

/// What becomes of the bug here.
pub enum Fate {
    /// The variant that brings it back is caught.
    Found(Trial),
    /// No decision of this design could bring it back; why.
    #[allow(dead_code)] // Until the first one of that kind.
    CannotHappen(&'static str),
}

/// The figures of a model checker that found it before (TLC with 16 workers on a TLA+ specification).
pub struct Published {
    pub depth: usize,
    pub states: usize,
    /// `None` if the time was not published.
    pub seconds: Option<u32>,
}

/// Every bug, by its number.
pub const ALL: &[Bug] = &[
    zk0975::BUG,
    zk1419::BUG,
    zk1514::BUG,
    zk3769::BUG,
    zk4643::BUG,
];

/// The bugs that a variant brings back, each with where it is caught.
pub fn found() -> impl Iterator<Item = (&'static str, &'static Trial)> {
    ALL.iter().filter_map(|bug| Some((bug.name, bug.trial()?)))
}

impl Bug {
    /// Where it is caught, unless it cannot happen.
    pub fn trial(&self) -> Option<&Trial> {
        match &self.fate {
            Fate::Found(trial) => Some(trial),
            Fate::CannotHappen(_) => None,
        }
    }
}
