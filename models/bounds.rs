//! How far a model is explored: the size of the ensemble and a budget for each kind of event.

use clap::Args;
use std::fmt;

/// The bounds of a model. Every budget is a total for the whole run of the ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Bounds {
    /// Servers with a vote
    #[arg(long, default_value_t = 3)]
    pub servers: u8,
    /// Servers without a vote
    #[arg(long, default_value_t = 0)]
    pub observers: u8,
    /// Transactions that clients ask for
    #[arg(long, default_value_t = 2)]
    pub writes: u8,
    /// How often a server gives up its leader or its followers and goes LOOKING
    #[arg(long, default_value_t = 1)]
    pub timeouts: u8,
    /// How often a server crashes; each may restart
    #[arg(long, default_value_t = 0)]
    pub crashes: u8,
    /// How often a server's service takes a snapshot and older transactions are dropped
    #[arg(long, default_value_t = 0)]
    pub snapshots: u8,
    /// Saves become durable later, in order, and a crash loses any suffix of them; otherwise they
    /// are durable at once
    #[arg(long, default_value_t = false)]
    pub pending_saves: bool,
    /// Malformed votes in the network from the beginning, each for another server
    #[arg(long, default_value_t = 0)]
    pub strays: u8,
    /// The last counter of an epoch: with a small one the leader moves on to new epochs
    #[arg(long, default_value_t = u32::MAX)]
    pub max_counter: u32,
}

impl Bounds {
    /// (servers, writes, timeouts, crashes), with saves durable at once.
    pub const fn new(servers: u8, writes: u8, timeouts: u8, crashes: u8) -> Self {
        Self {
            servers,
            observers: 0,
            writes,
            timeouts,
            crashes,
            snapshots: 0,
            pending_saves: false,
            strays: 0,
            max_counter: u32::MAX,
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
        let more = [
            ("--observers", self.observers),
            ("--snapshots", self.snapshots),
            ("--strays", self.strays),
        ];
        for (flag, value) in more.into_iter().filter(|(_, value)| *value > 0) {
            flags.push_str(&format!(" {flag} {value}"));
        }
        if self.max_counter != u32::MAX {
            flags.push_str(&format!(" --max-counter {}", self.max_counter));
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
        if self.observers > 0 {
            write!(f, " observers {}", self.observers)?;
        }
        if self.snapshots > 0 {
            write!(f, " snapshots {}", self.snapshots)?;
        }
        if self.strays > 0 {
            write!(f, " strays {}", self.strays)?;
        }
        if self.max_counter != u32::MAX {
            write!(f, " counter {}", self.max_counter)?;
        }
        if self.pending_saves {
            write!(f, " pending")?;
        }
        Ok(())
    }
}
