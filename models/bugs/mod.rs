//! The bugs that implementations of Zab, and its paper, once had, found again: one file each.
//!
//! Spec: `spec/bugs.md`. Each file says what happened, which one decision of the production actor its
//! variant changes, which invariant must fall, and the smallest bounds that show it. What it must
//! never do: count a by-product as the find. The invariant is the one that the bug is about.

mod paper1;
mod paper2;
mod paper3;
mod zk1154;
mod zk1264;
mod zk1291;
mod zk1319;
mod zk1419;
mod zk1514;
mod zk1549;
mod zk1653;
mod zk2845;
mod zk3023;
mod zk3104;
mod zk335;
mod zk3642;
mod zk3769;
mod zk3911;
mod zk4394;
mod zk4643;
mod zk4646;
mod zk4685;
mod zk4712;
mod zk4785;
mod zk4882;
mod zk4925;
mod zk790;
mod zk962;
mod zk975;

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
    CannotHappen(&'static str),
}

/// The figures of a model checker that found it before (TLC with 16 workers on a TLA+ specification).
pub struct Published {
    pub depth: usize,
    pub states: usize,
    /// `None` if the time was not published.
    pub seconds: Option<u32>,
}

/// Every bug, by its number; the flaws in the text of the paper last.
pub const ALL: &[Bug] = &[
    zk335::BUG,
    zk790::BUG,
    zk962::BUG,
    zk975::BUG,
    zk1154::BUG,
    zk1264::BUG,
    zk1291::BUG,
    zk1319::BUG,
    zk1419::BUG,
    zk1514::BUG,
    zk1549::BUG,
    zk1653::BUG,
    zk2845::BUG,
    zk3023::BUG,
    zk3104::BUG,
    zk3642::BUG,
    zk3769::BUG,
    zk3911::BUG,
    zk4394::BUG,
    zk4643::BUG,
    zk4646::BUG,
    zk4685::BUG,
    zk4712::BUG,
    zk4785::BUG,
    zk4882::BUG,
    zk4925::BUG,
    paper1::BUG,
    paper2::BUG,
    paper3::BUG,
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
