//! Broken variants of the protocol, and the invariant that each must break.
//!
//! Spec: `spec/invariants.toml`, "mutants". A check that never failed is not trusted: here every
//! invariant is seen to fail, in the smallest bounds that show it.

use crate::bounds::{Bounds, Reconfiguration, Weights};
use crate::checked::Tried;
use crate::trial::Trial;
use crate::{consensus, service};
use keepright::zab::Variant;

/// A variant, and where it is caught.
pub struct Mutant {
    pub name: &'static str,
    pub trial: Trial,
}

const fn mutant(
    name: &'static str,
    variant: Variant,
    model: &'static str,
    bounds: Bounds,
    invariant: &'static str,
) -> Mutant {
    let trial = Trial {
        variant,
        model,
        bounds,
        invariant,
    };
    Mutant { name, trial }
}

/// Two servers, whose first write makes the second and a third the voters.
const TWO_MOVE_ON: Bounds = Bounds {
    reconfigure: Some(Reconfiguration::of_range(1, 2, 3)),
    ..Bounds::new(2, 1, 0, 0)
};

/// Every mutant with its trial.
pub fn all() -> impl Iterator<Item = (&'static str, Box<dyn Tried>)> {
    let boxed = |mutant: &Mutant| Box::new(mutant.trial) as Box<dyn Tried>;
    ALL.iter().map(move |mutant| (mutant.name, boxed(mutant)))
}

/// Those of all models, of the service and of the other protocols too.
pub fn everywhere() -> impl Iterator<Item = (&'static str, Box<dyn Tried>)> {
    let others = consensus::ALL.iter().flat_map(|kind| kind.mutants());
    all().chain(service::mutants::all()).chain(others)
}

/// Every mutant; each invariant stands in at least one row.
pub const ALL: &[Mutant] = &[
    mutant(
        "commit_without_quorum",
        Variant::CommitWithoutQuorum,
        "zab",
        Bounds::new(3, 2, 1, 0),
        "agreement",
    ),
    mutant(
        "half_is_quorum",
        Variant::HalfIsQuorum,
        "election",
        Bounds::new(3, 0, 0, 0),
        "one_leader_a_round",
    ),
    mutant(
        "half_is_quorum",
        Variant::HalfIsQuorum,
        "zab",
        Bounds::new(3, 0, 0, 0),
        "leadership1",
    ),
    mutant(
        "weights_ignored",
        Variant::WeightsIgnored,
        "zab",
        Bounds {
            weights: Weights::of_three([3, 1, 1]),
            ..Bounds::new(3, 1, 0, 0)
        },
        "committed_survives",
    ),
    mutant(
        "reconfigured_by_old",
        Variant::ReconfiguredByOld,
        "zab",
        TWO_MOVE_ON,
        "reconfigured_by_both",
    ),
    mutant(
        "reconfigured_by_new",
        Variant::ReconfiguredByNew,
        "zab",
        TWO_MOVE_ON,
        "reconfigured_by_both",
    ),
    mutant(
        "acknowledged_by_old",
        Variant::AcknowledgedByOld,
        "zab",
        TWO_MOVE_ON,
        "committed_survives",
    ),
    mutant(
        "in_force_when_proposed",
        Variant::InForceWhenProposed,
        "zab",
        TWO_MOVE_ON,
        "in_force_once_committed",
    ),
    mutant(
        "elected_by_old",
        Variant::ElectedByOld,
        "zab",
        Bounds {
            reconfigure: Some(Reconfiguration::of_range(1, 2, 2)),
            ..Bounds::new(1, 1, 0, 1).with_pending_saves()
        },
        "committed_survives",
    ),
    mutant(
        "no_new_epoch",
        Variant::NoNewEpoch,
        "zab",
        Bounds::new(3, 0, 1, 0),
        "leadership2",
    ),
    mutant(
        "no_new_epoch",
        Variant::NoNewEpoch,
        "zab",
        Bounds::new(3, 2, 1, 0),
        "history_identified",
    ),
    mutant(
        "epoch_before_history",
        Variant::EpochBeforeHistory,
        "zab",
        Bounds::new(3, 1, 1, 0).with_pending_saves(),
        "initial_history",
    ),
    mutant(
        "ack_before_saved",
        Variant::AckBeforeSaved,
        "zab",
        Bounds::new(3, 0, 0, 0).with_pending_saves(),
        "durable_before_said",
    ),
    mutant(
        "ack_before_saved",
        Variant::AckBeforeSaved,
        "zab",
        Bounds::new(3, 1, 0, 0).with_pending_saves(),
        "committed_survives",
    ),
    mutant(
        "promise_before_saved",
        Variant::PromiseBeforeSaved,
        "zab",
        Bounds::new(3, 0, 0, 0).with_pending_saves(),
        "durable_before_said",
    ),
    mutant(
        "no_trunc",
        Variant::NoTrunc,
        "zab",
        Bounds::new(3, 2, 2, 0),
        "prefix_consistency",
    ),
    mutant(
        "stale_epoch_accepted",
        Variant::StaleEpochAccepted,
        "zab",
        Bounds::new(3, 1, 2, 0),
        "committed_survives",
    ),
    mutant(
        "serve_before_quorum",
        Variant::ServeBeforeQuorum,
        "zab",
        Bounds::new(3, 1, 1, 0),
        "committed_survives",
    ),
    mutant(
        "zxid_only",
        Variant::ZxidOnly,
        "election",
        Bounds::new(3, 0, 0, 0),
        "strongest_elected",
    ),
    mutant(
        "keep_own_history",
        Variant::KeepOwnHistory,
        "zab",
        Bounds::new(3, 1, 1, 0),
        "committed_survives",
    ),
    mutant(
        "keep_own_history",
        Variant::KeepOwnHistory,
        "zab",
        Bounds::new(3, 2, 1, 0),
        "primary_integrity",
    ),
    mutant(
        "gap_accepted",
        Variant::GapAccepted,
        "zab",
        Bounds::new(3, 2, 0, 0),
        "local_primary_order",
    ),
    mutant(
        "gap_accepted",
        Variant::GapAccepted,
        "zab",
        Bounds::new(3, 2, 0, 0),
        "total_order",
    ),
    mutant(
        "deliver_proposal",
        Variant::DeliverProposal,
        "zab",
        Bounds::new(3, 1, 0, 0).with_pending_saves(),
        "committed_survives",
    ),
    mutant(
        "follower_counts",
        Variant::FollowerCounts,
        "zab",
        Bounds::new(3, 3, 1, 0),
        "integrity",
    ),
    mutant(
        "stale_proposal_accepted",
        Variant::StaleProposalAccepted,
        "zab",
        Bounds::new(3, 2, 1, 0),
        "global_primary_order",
    ),
    mutant(
        "current_without_accepted",
        Variant::CurrentWithoutAccepted,
        "zab",
        Bounds::new(3, 0, 0, 0),
        "epochs_ordered",
    ),
    mutant(
        "disk_error_ignored",
        Variant::DiskErrorIgnored,
        "zab",
        Bounds {
            disk_errors: 1,
            ..Bounds::new(3, 1, 0, 0).with_pending_saves()
        },
        "committed_survives",
    ),
    mutant(
        "disk_error_ignored",
        Variant::DiskErrorIgnored,
        "zab",
        Bounds {
            disk_errors: 1,
            ..Bounds::new(3, 0, 0, 0).with_pending_saves()
        },
        "durable_before_said",
    ),
    mutant(
        "empty_disks_vote",
        Variant::EmptyDisksVote,
        "replaced",
        Bounds {
            wipes: 1,
            ..Bounds::new(3, 1, 1, 0)
        },
        "leader_completeness",
    ),
    mutant(
        "names_ignored",
        Variant::NamesIgnored,
        "alone",
        Bounds {
            wipes: 1,
            ..Bounds::new(3, 0, 0, 0)
        },
        "decided_alone_stays",
    ),
    mutant(
        "voter_forgets",
        Variant::VoterForgets,
        "zab",
        Bounds {
            wipes: 1,
            ..Bounds::new(3, 1, 0, 0)
        },
        "committed_survives",
    ),
];
