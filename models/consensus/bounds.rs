//! How far a protocol is explored: who takes part, and a budget for each kind of event.

use super::protocol::Card;
use crate::bounds;
use clap::Args;
use std::fmt;

/// The bounds that the other models do not have, as the command line has them.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Of the other protocols (check list)")]
#[group(id = "Others")]
pub struct Options {
    /// Proposers, 1 to 4 [default: 2]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub proposers: Option<u8>,
    /// Acceptors, 1 to 5 [default: 3, where there is more than one]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub acceptors: Option<u8>,
    /// How often one server is cut off from all others
    #[arg(long, default_value_t = 0)]
    pub partitions: u8,
    /// Timeouts are long enough: none fires while a message is on its way
    #[arg(long)]
    pub timely: bool,
    /// Look for the counterexample of this claim of the notes, and for nothing else
    #[arg(long)]
    pub claim: Option<String>,
}

impl Options {
    fn says_no_bounds(&self) -> bool {
        let Self {
            proposers,
            acceptors,
            partitions,
            timely,
            claim: _,
        } = self;
        (proposers, acceptors) == (&None, &None) && *partitions == 0 && !timely
    }
}

/// The bounds of a protocol. Every budget is a total for the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Where all servers are of one kind, or one of them is the first among them; otherwise 0.
    pub servers: u8,
    pub proposers: u8,
    pub acceptors: u8,
    /// What clients ask for.
    pub writes: u8,
    pub timeouts: u8,
    /// Each may be followed by a restart.
    pub crashes: u8,
    pub partitions: u8,
    pub timely: bool,
}

impl Bounds {
    const NOBODY: Self = Self {
        servers: 0,
        proposers: 0,
        acceptors: 0,
        writes: 1,
        timeouts: 0,
        crashes: 0,
        partitions: 0,
        timely: false,
    };

    /// So many servers, one write, no faults.
    pub const fn servers(servers: u8) -> Self {
        Self {
            servers,
            ..Self::NOBODY
        }
    }

    /// Proposers with a value each, and acceptors; no faults.
    pub const fn roles(proposers: u8, acceptors: u8) -> Self {
        Self {
            proposers,
            acceptors,
            writes: proposers,
            ..Self::NOBODY
        }
    }

    pub const fn writes(self, writes: u8) -> Self {
        Self { writes, ..self }
    }

    pub const fn timeouts(self, timeouts: u8) -> Self {
        Self { timeouts, ..self }
    }

    pub const fn crashes(self, crashes: u8) -> Self {
        Self { crashes, ..self }
    }

    pub const fn partitions(self, partitions: u8) -> Self {
        Self { partitions, ..self }
    }

    pub const fn timely(self) -> Self {
        Self {
            timely: true,
            ..self
        }
    }

    /// The bounds of a protocol that the command line asks for, if it asks for any.
    pub fn asked(
        card: &Card,
        shared: Option<bounds::Bounds>,
        options: Option<&Options>,
    ) -> Result<Option<Self>, String> {
        let usual = bounds::Bounds::new(3, 2, 1, 0);
        let options = options.cloned().unwrap_or_default();
        if shared.is_none() && options.says_no_bounds() {
            return Ok(None);
        }
        let shared = shared.unwrap_or(usual);
        let bounds::Bounds {
            servers,
            writes,
            timeouts,
            crashes,
            ..
        } = shared;
        let known = bounds::Bounds {
            servers,
            writes,
            timeouts,
            crashes,
            ..usual
        };
        let (name, first) = (card.name, card.bounds[0]);
        if shared != known {
            return Err(format!(
                "the model {name} knows --timeouts, --crashes, --partitions, --timely, and {}",
                first.who()
            ));
        }
        let given = (options.proposers, options.acceptors);
        let who = match first.servers {
            0 if (servers, writes) != (usual.servers, usual.writes) => None,
            0 if first.acceptors == 1 && options.acceptors.is_some_and(|count| count > 1) => None,
            0 => Some(Self::roles(
                options.proposers.unwrap_or(first.proposers),
                options.acceptors.unwrap_or(first.acceptors),
            )),
            _ if given != (None, None) => None,
            _ => Some(Self::servers(servers).writes(writes)),
        };
        let who = who.ok_or_else(|| format!("the model {name} has {}", first.who()))?;
        Ok(Some(Self {
            timeouts,
            crashes,
            partitions: options.partitions,
            timely: options.timely,
            ..who
        }))
    }

    /// The options that say who takes part.
    fn who(&self) -> &'static str {
        match (self.servers, self.acceptors) {
            (0, 1) => "--proposers, and one acceptor",
            (0, _) => "--proposers and --acceptors",
            _ => "--servers and --writes",
        }
    }

    /// How many take part.
    pub fn size(&self) -> usize {
        usize::from(self.servers + self.proposers + self.acceptors)
    }

    /// These bounds with one budget less, each in turn.
    pub fn smaller(&self) -> Vec<Self> {
        let less = |value: u8, with: fn(Self, u8) -> Self| Some(with(*self, value.checked_sub(1)?));
        // A proposer has one value of its own: no budget.
        let commands = u8::from(self.servers > 0);
        let all = [
            less(self.writes * commands, Self::writes),
            less(self.timeouts, Self::timeouts),
            less(self.crashes, Self::crashes),
            less(self.partitions, Self::partitions),
        ];
        all.into_iter().flatten().collect()
    }

    /// By name, where they are not 0.
    fn named(&self) -> impl Iterator<Item = (&'static str, u8)> {
        let all = [
            ("servers", self.servers),
            ("proposers", self.proposers),
            ("acceptors", self.acceptors),
            // Each proposer has a value of its own.
            ("writes", self.writes * u8::from(self.servers > 0)),
            ("timeouts", self.timeouts),
            ("crashes", self.crashes),
            ("partitions", self.partitions),
        ];
        all.into_iter().filter(|(_, value)| *value > 0)
    }

    /// The bounds as options of the command line.
    pub fn flags(&self) -> String {
        let mut flags = Vec::new();
        for (name, value) in self.named() {
            flags.push(format!("--{name} {value}"));
        }
        // These two are not 0 if they are left out.
        for (name, value) in [("writes", self.writes), ("timeouts", self.timeouts)] {
            if value == 0 {
                flags.push(format!("--{name} 0"));
            }
        }
        if self.timely {
            flags.push("--timely".to_owned());
        }
        flags.join(" ")
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<_> = self
            .named()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        if self.timely {
            words.push("timely".to_owned());
        }
        write!(f, "{}", words.join(", "))
    }
}
