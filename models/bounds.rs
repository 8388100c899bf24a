//! How far a model is explored: the size of the ensemble and a budget for each kind of event.

use clap::Args;
use keepright::quorum::{Membership, ServerSet, Weight};
use keepright::types::ServerId;
use std::fmt;
use std::str::FromStr;

/// The bounds of a model. Every budget is a total for the whole run of the ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Bounds {
    /// Servers with a vote, 1 to 6
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=6))]
    pub servers: u8,
    /// Servers without a vote, at most 2
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub observers: u8,
    /// Transactions that clients ask for
    #[arg(long, default_value_t = 2, value_parser = budget())]
    pub writes: u8,
    /// How often a server gives up its leader or its followers and goes LOOKING
    #[arg(long, default_value_t = 1, value_parser = budget())]
    pub timeouts: u8,
    /// How often a server crashes; each may restart
    #[arg(long, default_value_t = 0, value_parser = budget())]
    pub crashes: u8,
    /// How often all servers crash at once
    #[arg(long, default_value_t = 0, value_parser = budget())]
    pub outages: u8,
    /// How often a disk fails a save, so that the server stops (needs --pending-saves)
    #[arg(long, default_value_t = 0, value_parser = budget())]
    pub disk_errors: u8,
    /// How often the disk of an observer is replaced by an empty one (needs --observers)
    #[arg(long, default_value_t = 0, value_parser = budget())]
    pub wipes: u8,
    /// How often a leader hears no more from one server, and goes on with the others
    #[arg(long, default_value_t = 0, value_parser = budget())]
    pub cuts: u8,
    /// How often a server's service takes a snapshot and older transactions are dropped
    #[arg(long, default_value_t = 0, value_parser = budget())]
    pub snapshots: u8,
    /// Saves become durable later, in order, and a crash loses any suffix of them; otherwise they
    /// are durable at once
    #[arg(long, default_value_t = false)]
    pub pending_saves: bool,
    /// Malformed votes in the network from the beginning, each for another server (half of --servers at most)
    #[arg(long, default_value_t = 0, value_parser = budget())]
    pub strays: u8,
    /// The last counter of an epoch: with a small one the leader moves on to new epochs
    #[arg(long, default_value_t = u32::MAX, hide_default_value = true,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_counter: u32,
    /// What the vote of each server counts, as `3,1,0`; otherwise 1
    #[arg(long, default_value_t = Weights::EQUAL, hide_default_value = true)]
    pub weights: Weights,
    /// Which write makes whom the voters, as `1=2,3`; servers that have no part before are added
    #[arg(long)]
    pub reconfigure: Option<Reconfiguration>,
}

/// A write that replaces the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconfiguration {
    /// The number of the write.
    pub write: u8,
    /// The voters from then on: a bit for each id from 1 to 6.
    voters: u8,
}

impl Reconfiguration {
    /// Write number `write` makes server `first` to `last` the voters.
    pub const fn of_range(write: u8, first: u8, last: u8) -> Self {
        let voters = (1 << (last + 1)) - (1 << first);
        Self { write, voters }
    }

    pub fn voters(self) -> ServerSet {
        let ids = (1..7u8).filter(|id| self.voters >> id & 1 == 1);
        ids.map(ServerId).collect()
    }

    /// The highest id of a voter.
    fn highest(self) -> u8 {
        7 - self.voters.leading_zeros() as u8
    }
}

impl FromStr for Reconfiguration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (write, ids) = text.split_once('=').ok_or("write it as `1=2,3`")?;
        let number = |text: &str| text.parse::<u8>().map_err(|e| format!("`{text}`: {e}"));
        let mut voters = 0;
        for id in ids.split(',') {
            match number(id)? {
                id @ 1..=6 => voters |= 1 << id,
                id => return Err(format!("{id} is not the id of a server, 1 to 6")),
            }
        }
        Ok(Self {
            write: number(write)?,
            voters,
        })
    }
}

impl fmt::Display for Reconfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.voters().iter().map(|sid| sid.to_string());
        write!(f, "{}={}", self.write, ids.collect::<Vec<_>>().join(","))
    }
}

/// What the votes of the servers count, by id; those that are not named count 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights([u8; 6]);

impl Weights {
    pub const EQUAL: Self = Self([1; 6]);

    /// What the votes of the first three servers count.
    pub const fn of_three([one, two, three]: [u8; 3]) -> Self {
        Self([one, two, three, 1, 1, 1])
    }
}

impl FromStr for Weights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights = Self::EQUAL;
        for (i, number) in text.split(',').enumerate() {
            let place = weights.0.get_mut(i).ok_or("more than six numbers")?;
            *place = number.parse().map_err(|e| format!("`{number}`: {e}"))?;
        }
        match weights.0 {
            [0, 0, 0, 0, 0, 0] => Err("nobody has a weight".to_owned()),
            _ => Ok(weights),
        }
    }
}

/// Without the ones at the end.
impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.iter().rposition(|weight| *weight != 1).unwrap_or(0);
        let weights = self.0[..=last].iter().map(u8::to_string);
        write!(f, "{}", weights.collect::<Vec<_>>().join(","))
    }
}

/// More than any search can exhaust.
fn budget() -> clap::builder::RangedI64ValueParser<u8> {
    clap::value_parser!(u8).range(0..=100)
}

impl Bounds {
    /// How many servers there are: those of the configuration, and those that may join.
    pub fn size(&self) -> u8 {
        let joining = self.reconfigure.map_or(0, Reconfiguration::highest);
        joining.max(self.servers + self.observers)
    }

    /// Who votes at first.
    pub fn membership(&self) -> Membership {
        let voters = (1..=self.servers).map(ServerId);
        let observers = self.servers + 1..=self.servers + self.observers;
        let observers: ServerSet = observers.map(ServerId).collect();
        let membership = match self.weights {
            Weights::EQUAL => Membership::majority(voters.collect()),
            Weights(weights) => {
                let weights = weights.map(Weight::from);
                Membership::weighted([voters.zip(weights).collect()])
            }
        };
        membership.with_observers(observers)
    }

    /// These bounds, if each of them can have an effect. An error that says what is missing otherwise.
    pub fn sensible(self) -> Result<Self, String> {
        let strays = self.servers / 2;
        if self.membership().voters.is_empty() {
            Err("--weights gives none of the --servers a vote".to_owned())
        } else if self
            .reconfigure
            .is_some_and(|r| !(1..=self.writes).contains(&r.write))
        {
            Err("--reconfigure is about one of the writes: raise --writes".to_owned())
        } else if self.reconfigure.is_some() && self.wipes > 0 {
            Err("--wipes is about servers that never vote: leave out --reconfigure".to_owned())
        } else if self.wipes > 0 && self.observers == 0 {
            Err("--wipes is about observers: add --observers 1".to_owned())
        } else if self.disk_errors > 0 && !self.pending_saves {
            Err("--disk-errors is about saves that are pending: add --pending-saves".to_owned())
        } else if self.strays > strays {
            let servers = self.servers;
            Err(format!(
                "--strays can be at most {strays} with --servers {servers}: one for each other server"
            ))
        } else {
            Ok(self)
        }
    }

    /// (servers, writes, timeouts, crashes), with saves durable at once.
    pub const fn new(servers: u8, writes: u8, timeouts: u8, crashes: u8) -> Self {
        Self {
            servers,
            observers: 0,
            writes,
            timeouts,
            crashes,
            outages: 0,
            disk_errors: 0,
            wipes: 0,
            cuts: 0,
            snapshots: 0,
            pending_saves: false,
            strays: 0,
            max_counter: u32::MAX,
            weights: Weights::EQUAL,
            reconfigure: None,
        }
    }

    /// The same with pending saves.
    pub const fn with_pending_saves(self) -> Self {
        Self {
            pending_saves: true,
            ..self
        }
    }
}

impl Bounds {
    /// The bounds that are mostly 0, by name, where they are not.
    fn more(&self) -> impl Iterator<Item = (&'static str, u8)> {
        [
            ("observers", self.observers),
            ("outages", self.outages),
            ("disk errors", self.disk_errors),
            ("wipes", self.wipes),
            ("cuts", self.cuts),
            ("snapshots", self.snapshots),
            ("strays", self.strays),
        ]
        .into_iter()
        .filter(|(_, value)| *value > 0)
    }

    /// Whether every run within `other` is a run within these bounds.
    #[cfg(test)]
    pub fn covers(&self, other: &Self) -> bool {
        let budgets = |b: &Self| {
            let Self {
                servers: _,
                observers,
                writes,
                timeouts,
                crashes,
                outages,
                disk_errors,
                wipes,
                cuts,
                snapshots,
                pending_saves,
                strays,
                max_counter: _,
                weights: _,
                reconfigure: _,
            } = *b;
            // A save that is flushed in the next step is one that was durable at once.
            [
                observers,
                writes,
                timeouts,
                crashes,
                outages,
                disk_errors,
                wipes,
                cuts,
                snapshots,
                strays,
                u8::from(pending_saves),
            ]
        };
        let (ours, theirs) = (budgets(self), budgets(other));
        let enough = ours
            .iter()
            .zip(&theirs)
            .all(|(ours, theirs)| ours >= theirs);
        let fixed = |b: &Self| (b.servers, b.max_counter, b.weights, b.reconfigure);
        enough && fixed(self) == fixed(other)
    }

    /// These bounds with one budget less, each in turn: the next smaller ones.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let fields: [fn(&mut Self) -> &mut u8; 10] = [
            |b| &mut b.observers,
            |b| &mut b.writes,
            |b| &mut b.timeouts,
            |b| &mut b.crashes,
            |b| &mut b.outages,
            |b| &mut b.disk_errors,
            |b| &mut b.wipes,
            |b| &mut b.cuts,
            |b| &mut b.snapshots,
            |b| &mut b.strays,
        ];
        for field in fields {
            let mut smaller = *self;
            if *field(&mut smaller) > 0 {
                *field(&mut smaller) -= 1;
                all.push(smaller);
            }
        }
        if self.pending_saves {
            all.push(Self {
                pending_saves: false,
                ..*self
            });
        }
        all
    }

    /// The bounds as options of the command line.
    pub fn flags(&self) -> String {
        let Self {
            servers,
            writes,
            timeouts,
            crashes,
            ..
        } = self;
        let mut flags = format!(
            "--servers {servers} --writes {writes} --timeouts {timeouts} --crashes {crashes}"
        );
        for (name, value) in self.more() {
            flags.push_str(&format!(" --{} {value}", name.replace(' ', "-")));
        }
        if self.max_counter != u32::MAX {
            flags.push_str(&format!(" --max-counter {}", self.max_counter));
        }
        if self.weights != Weights::EQUAL {
            flags.push_str(&format!(" --weights {}", self.weights));
        }
        if let Some(reconfiguration) = self.reconfigure {
            flags.push_str(&format!(" --reconfigure {reconfiguration}"));
        }
        if self.pending_saves {
            flags.push_str(" --pending-saves");
        }
        flags
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            servers,
            writes,
            timeouts,
            crashes,
            ..
        } = self;
        write!(f, "({servers},{writes},{timeouts},{crashes})")?;
        for (name, value) in self.more() {
            write!(f, " {name} {value}")?;
        }
        if self.max_counter != u32::MAX {
            write!(f, " counter {}", self.max_counter)?;
        }
        if self.weights != Weights::EQUAL {
            write!(f, " weights {}", self.weights)?;
        }
        if let Some(reconfiguration) = self.reconfigure {
            write!(f, " reconfigure {reconfiguration}")?;
        }
        if self.pending_saves {
            write!(f, " pending")?;
        }
        Ok(())
    }
}
