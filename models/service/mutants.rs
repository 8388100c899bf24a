//! Broken variants of the service, and the invariant that each must break.
//!
//! Spec: `spec/invariants.toml`, "mutants". A check that never failed is not trusted: here every
//! invariant is seen to fail, in the smallest bounds that show it.

use super::bounds::Bounds;
use super::{Model, NAME, script};
use crate::checked::{Exploration, Tried};
use keepright::service::variant::Variant;

/// A variant, and where it is caught.
pub struct Mutant {
    pub name: &'static str,
    variant: Variant,
    /// By name.
    scenario: &'static str,
    /// Elections, crashes, reconnects, expirations, snapshots, sweeps.
    budgets: [u8; 6],
    pub invariant: &'static str,
}

const fn mutant(
    name: &'static str,
    variant: Variant,
    scenario: &'static str,
    budgets: [u8; 6],
    invariant: &'static str,
) -> Mutant {
    Mutant {
        name,
        variant,
        scenario,
        budgets,
        invariant,
    }
}

/// Every mutant; each invariant stands in at least one row.
pub const ALL: &[Mutant] = &[
    mutant(
        "judge_by_committed",
        Variant::JudgeByCommitted,
        "conditional",
        [0, 0, 0, 0, 0, 0],
        "writes_linearizable",
    ),
    mutant(
        "judge_by_committed",
        Variant::JudgeByCommitted,
        "conditional",
        [0, 0, 0, 0, 0, 0],
        "conditional_once",
    ),
    mutant(
        "resume_at_once",
        Variant::ResumeAtOnce,
        "moves",
        [0, 0, 1, 0, 0, 0],
        "session_reads_forward",
    ),
    mutant(
        "answer_when_forwarded",
        Variant::AnswerWhenForwarded,
        "moves",
        [0, 0, 0, 0, 0, 0],
        "session_reads_own_writes",
    ),
    mutant(
        "reads_jump_the_queue",
        Variant::ReadsJumpTheQueue,
        "moves",
        [0, 0, 0, 0, 0, 0],
        "requests_in_order",
    ),
    mutant(
        "forwards_unnumbered",
        Variant::ForwardsUnnumbered,
        "streams",
        [0, 0, 0, 0, 0, 0],
        "requests_in_order",
    ),
    mutant(
        "old_stream_taken",
        Variant::OldStreamTaken,
        "moves",
        [1, 0, 1, 0, 0, 0],
        "requests_in_order",
    ),
    mutant(
        "old_connection_taken",
        Variant::OldConnectionTaken,
        "moves",
        [0, 0, 1, 0, 0, 0],
        "requests_in_order",
    ),
    mutant(
        "ticket_reused",
        Variant::TicketReused,
        "moves",
        [0, 1, 1, 0, 0, 0],
        "requests_in_order",
    ),
    mutant(
        "incarnation_repeats",
        Variant::IncarnationRepeats,
        "moves",
        [0, 1, 1, 0, 0, 0],
        "requests_in_order",
    ),
    mutant(
        "answer_before_events",
        Variant::AnswerBeforeEvents,
        "children",
        [0, 0, 0, 0, 0, 0],
        "watch_told_first",
    ),
    mutant(
        "set_watches_from_now",
        Variant::SetWatchesFromNow,
        "watches",
        [0, 0, 1, 0, 0, 0],
        "watch_told_first",
    ),
    mutant(
        "restore_keeps_connections",
        Variant::RestoreKeepsConnections,
        "watches",
        [0, 0, 0, 0, 1, 0],
        "watch_told_first",
    ),
    mutant(
        "watch_kept",
        Variant::WatchKept,
        "watches",
        [0, 0, 0, 0, 0, 0],
        "watch_told_once",
    ),
    mutant(
        "persistent_fires_once",
        Variant::PersistentFiresOnce,
        "persistent",
        [0, 0, 0, 0, 0, 0],
        "persistent_watch_kept",
    ),
    mutant(
        "persistent_not_set_again",
        Variant::PersistentNotSetAgain,
        "persistent",
        [0, 0, 1, 0, 0, 0],
        "persistent_watch_kept",
    ),
    mutant(
        "unused_by_committed",
        Variant::UnusedByCommitted,
        "ttl",
        [0, 0, 0, 0, 0, 2],
        "unused_deleted",
    ),
    mutant(
        "new_container_deleted",
        Variant::NewContainerDeleted,
        "containers",
        [0, 0, 0, 0, 0, 1],
        "unused_deleted",
    ),
    mutant(
        "ended_session_writes",
        Variant::EndedSessionWrites,
        "ephemerals",
        [0, 0, 0, 1, 0, 0],
        "ephemerals_end",
    ),
    mutant(
        "local_owns_ephemerals",
        Variant::LocalOwnsEphemerals,
        "upgrades",
        [0, 0, 0, 0, 0, 0],
        "local_owns_nothing",
    ),
    mutant(
        "sequence_counts_children",
        Variant::SequenceCountsChildren,
        "sequential",
        [0, 0, 0, 0, 0, 0],
        "sequence_unique",
    ),
    mutant(
        "half_a_multi",
        Variant::HalfAMulti,
        "multis",
        [0, 0, 0, 0, 0, 0],
        "multi_whole",
    ),
    mutant(
        "restore_misdated",
        Variant::RestoreMisdated,
        "watches",
        [0, 0, 0, 0, 1, 0],
        "same_tree",
    ),
];

/// Every mutant with its trial.
pub fn all() -> impl Iterator<Item = (&'static str, Box<dyn Tried>)> {
    let boxed = |mutant: &Mutant| Box::new(mutant.trial()) as Box<dyn Tried>;
    ALL.iter().map(move |mutant| (mutant.name, boxed(mutant)))
}

/// The variant with this name.
pub fn variant(name: &str) -> Option<Variant> {
    let broken = ALL.iter().map(|mutant| mutant.variant);
    let mut all = [Variant::Faithful].into_iter().chain(broken);
    all.find(|variant| format!("{variant:?}") == name)
}

impl Mutant {
    /// The bounds that suffice to show it.
    pub fn trial(&self) -> Trial {
        let scenario = script::find(self.scenario).expect("a mutant names a scenario");
        let [
            elections,
            crashes,
            reconnects,
            expirations,
            snapshots,
            sweeps,
        ] = self.budgets;
        let bounds = Bounds::new(scenario).with(elections, crashes, reconnects, expirations);
        Trial {
            variant: self.variant,
            bounds: Bounds {
                snapshots,
                sweeps,
                ..bounds
            },
            invariant: self.invariant,
        }
    }
}

/// A variant within bounds that suffice to show the one invariant that must fall.
#[derive(Clone, Copy)]
pub struct Trial {
    pub variant: Variant,
    pub bounds: Bounds,
    pub invariant: &'static str,
}

impl Trial {
    /// The model of this variant, which checks the one invariant.
    pub fn model(&self) -> Model {
        Model::new(self.bounds, self.variant, &[self.invariant], false)
    }
}

impl Tried for Trial {
    fn place(&self) -> String {
        format!("{NAME} {}", self.bounds)
    }

    fn invariant(&self) -> &'static str {
        self.invariant
    }

    fn exploration(&self) -> Box<dyn Exploration> {
        Box::new(self.model())
    }

    fn in_smaller_bounds(&self) -> Vec<Box<dyn Tried>> {
        let with = |bounds| Self { bounds, ..*self };
        let smaller = self.bounds.smaller().into_iter().map(with);
        smaller
            .map(|trial| Box::new(trial) as Box<dyn Tried>)
            .collect()
    }
}
