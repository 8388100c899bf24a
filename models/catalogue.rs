//! The models: what each leaves out, what it checks, and the bounds that `check` explores.

use crate::bounds::{Bounds, Reconfiguration, Weights};
use crate::environment::{Disks, Environment, Setting};
use keepright::zab::{Elections, Variant};

/// A model and the bounds in which it is explored by default.
pub struct Spec {
    pub setting: Setting,
    pub about: &'static str,
    pub bounds: &'static [Bounds],
    /// The invariants that it checks, by id, in lists.
    invariants: &'static [&'static [&'static str]],
}

const ELECTION: Setting = Setting {
    name: "election",
    elections: Elections::Held,
    start_down: true,
    election_alone: true,
    heartbeats: false,
    keeps_obsolete: false,
    symmetry: false,
    disks: Disks::Kept,
};

const ZAB: Setting = Setting {
    name: "zab",
    elections: Elections::External,
    start_down: false,
    election_alone: false,
    heartbeats: false,
    keeps_obsolete: false,
    symmetry: true,
    disks: Disks::Kept,
};

const ENSEMBLE: Setting = Setting {
    name: "ensemble",
    elections: Elections::Held,
    start_down: false,
    election_alone: false,
    heartbeats: false,
    keeps_obsolete: false,
    symmetry: false,
    disks: Disks::Kept,
};

const REPLACED: Setting = Setting {
    name: "replaced",
    disks: Disks::Replaced,
    ..ZAB
};

const ALONE: Setting = Setting {
    name: "alone",
    disks: Disks::UsedAlone,
    ..ZAB
};

const OF_ELECTIONS: &[&str] = &["one_leader_a_round", "strongest_elected"];

const OF_ZAB: &[&str] = &[
    "leadership1",
    "leadership2",
    "prefix_consistency",
    "integrity",
    "agreement",
    "total_order",
    "local_primary_order",
    "global_primary_order",
    "primary_integrity",
    "committed_survives",
    "history_identified",
    "initial_history",
    "epochs_ordered",
    "durable_before_said",
    "history_consistency",
    "leader_completeness",
    "acknowledged_is_held",
    "commit_held",
    "up_to_date",
    "newcomer_told_everything",
    "reconfigured_by_both",
    "in_force_once_committed",
];

/// What holds whatever becomes of one disk at a time.
const OF_DISKS: &[&str] = &[
    "prefix_consistency",
    "agreement",
    "total_order",
    "epochs_ordered",
    "durable_before_said",
    "leader_completeness",
];

/// What holds when the disk of one server is replaced.
const OF_REPLACED: &[&str] = &["leadership1", "leadership2", "history_identified"];

/// What holds when one server has run alone.
const OF_ALONE: &[&str] = &["decided_alone_stays"];

/// What it takes three epochs to ask.
const OF_LATER_EPOCHS: &[&str] = &["initial_history_integrity"];

/// Every model, in the order in which `check` runs them.
pub const ALL: &[Spec] = &[
    Spec {
        setting: ELECTION,
        about: "the election alone: every order of start, crash and restart",
        bounds: &[Bounds::new(3, 0, 0, 1), Bounds::new(3, 0, 1, 1)],
        invariants: &[OF_ELECTIONS],
    },
    Spec {
        setting: ZAB,
        about: "discovery, synchronization and broadcast under an election that says anything",
        bounds: &[
            Bounds::new(3, 2, 1, 1),
            Bounds::new(3, 1, 3, 0),
            Bounds::new(3, 1, 1, 1).with_pending_saves(),
            Bounds::new(3, 1, 2, 0).with_pending_saves(),
            Bounds {
                snapshots: 1,
                ..Bounds::new(3, 2, 1, 0)
            },
            Bounds {
                snapshots: 1,
                ..Bounds::new(3, 2, 0, 1).with_pending_saves()
            },
            Bounds {
                max_counter: 1,
                ..Bounds::new(3, 2, 1, 0)
            },
            Bounds {
                observers: 1,
                wipes: 1,
                ..Bounds::new(3, 1, 1, 0)
            },
            Bounds {
                cuts: 1,
                ..Bounds::new(3, 2, 1, 0)
            },
            Bounds {
                weights: Weights::of_three([3, 1, 1]),
                ..Bounds::new(3, 1, 1, 0)
            },
            Bounds {
                outages: 1,
                ..Bounds::new(3, 1, 0, 0).with_pending_saves()
            },
            Bounds {
                disk_errors: 1,
                ..Bounds::new(3, 1, 1, 0).with_pending_saves()
            },
            Bounds {
                reconfigure: Some(Reconfiguration::of_range(1, 2, 3)),
                ..Bounds::new(2, 2, 1, 0)
            },
            Bounds {
                reconfigure: Some(Reconfiguration::of_range(1, 2, 3)),
                ..Bounds::new(2, 1, 1, 1)
            },
            Bounds {
                reconfigure: Some(Reconfiguration::of_range(1, 2, 3)),
                max_counter: 1,
                ..Bounds::new(2, 1, 1, 0)
            },
            Bounds {
                reconfigure: Some(Reconfiguration::of_range(2, 1, 2)),
                ..Bounds::new(3, 2, 1, 0)
            },
            Bounds {
                reconfigure: Some(Reconfiguration::of_range(1, 2, 2)),
                ..Bounds::new(1, 2, 1, 1).with_pending_saves()
            },
            Bounds::new(3, 2, 2, 0),
            Bounds::new(3, 3, 1, 0),
            Bounds::new(4, 1, 1, 0),
            Bounds::new(5, 1, 0, 0),
            Bounds::new(5, 0, 1, 0),
        ],
        invariants: &[OF_ZAB, OF_LATER_EPOCHS],
    },
    Spec {
        setting: ENSEMBLE,
        about: "everything, with the election that the servers hold",
        bounds: &[
            Bounds::new(3, 1, 0, 0),
            Bounds::new(3, 0, 0, 1),
            Bounds::new(3, 2, 1, 0),
            Bounds::new(3, 1, 0, 1),
            Bounds::new(3, 1, 1, 1),
            Bounds::new(2, 2, 1, 1),
            Bounds::new(2, 2, 1, 1).with_pending_saves(),
            Bounds {
                observers: 1,
                ..Bounds::new(2, 1, 0, 0)
            },
            Bounds {
                reconfigure: Some(Reconfiguration::of_range(1, 2, 3)),
                ..Bounds::new(2, 1, 2, 0)
            },
        ],
        invariants: &[OF_ZAB, OF_ELECTIONS],
    },
    Spec {
        setting: REPLACED,
        about: "the protocol, where the disk of one server is replaced by an empty one",
        bounds: &[
            Bounds {
                wipes: 1,
                ..Bounds::new(3, 2, 1, 0)
            },
            Bounds {
                wipes: 1,
                ..Bounds::new(3, 1, 1, 1)
            },
        ],
        invariants: &[OF_DISKS, OF_REPLACED],
    },
    Spec {
        setting: ALONE,
        about: "the protocol, where one server runs for a while without the others",
        bounds: &[
            Bounds {
                wipes: 1,
                ..Bounds::new(3, 2, 0, 0)
            },
            Bounds {
                wipes: 1,
                ..Bounds::new(3, 1, 1, 0)
            },
        ],
        invariants: &[OF_DISKS, OF_ALONE],
    },
];

/// The model with this name.
pub fn find(name: &str) -> Option<&'static Spec> {
    ALL.iter().find(|spec| spec.setting.name == name)
}

impl Spec {
    /// The invariants that it checks, by id.
    pub fn invariants(&self) -> Vec<&'static str> {
        self.invariants.concat()
    }

    /// These bounds, if each of them can have an effect in this model.
    pub fn sensible(&self, bounds: Bounds) -> Result<Bounds, String> {
        let wipes = match self.setting.disks {
            Disks::Kept => bounds.wipes,
            Disks::Replaced | Disks::UsedAlone => 0, // Voters have disks, too.
        };
        Bounds { wipes, ..bounds }.sensible()?;
        Ok(bounds)
    }

    /// The protocol as it should be, within `bounds`.
    pub fn faithful(&self, bounds: Bounds) -> Environment {
        Environment::new(
            self.setting,
            bounds,
            Variant::Faithful,
            &self.invariants(),
            true,
        )
    }
}
