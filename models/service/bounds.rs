//! How far the model of the service is explored: a scenario, and a budget for each kind of event.

use super::script::Scenario;
use clap::Args;
use std::fmt;

/// The bounds that the other models do not have, as the command line has them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Of the model service")]
pub struct Options {
    /// What the clients do: see check list
    #[arg(long, default_value = "moves")]
    pub scenario: String,
    /// How many of each client's operations are done
    #[arg(long, default_value_t = u8::MAX, hide_default_value = true)]
    pub operations: u8,
    /// How often a leader is replaced though it is up, or a follower loses its leader
    #[arg(long, default_value_t = 0)]
    pub elections: u8,
    /// How often a client connects again
    #[arg(long, default_value_t = 0)]
    pub reconnects: u8,
    /// How often a session expires
    #[arg(long, default_value_t = 0)]
    pub expirations: u8,
    /// How often time passes, and the leader looks for znodes that nobody uses
    #[arg(long, default_value_t = 0)]
    pub sweeps: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scenario: "moves".to_owned(),
            operations: u8::MAX,
            elections: 0,
            reconnects: 0,
            expirations: 0,
            sweeps: 0,
        }
    }
}

/// The bounds of the model of the service. Every budget is a total for the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub scenario: &'static Scenario,
    pub servers: u8,
    /// How many of each client's operations are done.
    pub operations: u8,
    /// How often a leader is replaced though it is up, or a follower loses its leader.
    pub elections: u8,
    /// How often a server crashes; each may restart.
    pub crashes: u8,
    /// How often a client connects again.
    pub reconnects: u8,
    /// How often a session expires.
    pub expirations: u8,
    /// How often a follower is sent a snapshot.
    pub snapshots: u8,
    /// How often time passes, and the leader looks for znodes that nobody uses.
    pub sweeps: u8,
}

impl Bounds {
    /// Three servers and the whole scenario, without any fault.
    pub const fn new(scenario: &'static Scenario) -> Self {
        Self {
            scenario,
            servers: 3,
            operations: u8::MAX,
            elections: 0,
            crashes: 0,
            reconnects: 0,
            expirations: 0,
            snapshots: 0,
            sweeps: 0,
        }
    }

    /// The same with leader changes, crashes, reconnects and expirations.
    pub const fn with(self, elections: u8, crashes: u8, reconnects: u8, expirations: u8) -> Self {
        Self {
            elections,
            crashes,
            reconnects,
            expirations,
            ..self
        }
    }

    pub fn clients(&self) -> usize {
        self.scenario.clients.len()
    }

    /// The same with one budget less by one, for each that is not used up.
    pub fn smaller(&self) -> Vec<Self> {
        let less = |value: u8, with: fn(Self, u8) -> Self| {
            let value = value.checked_sub(1)?;
            Some(with(*self, value))
        };
        let all = [
            less(self.elections, |b, elections| Self { elections, ..b }),
            less(self.crashes, |b, crashes| Self { crashes, ..b }),
            less(self.reconnects, |b, reconnects| Self { reconnects, ..b }),
            less(self.expirations, |b, expirations| Self { expirations, ..b }),
            less(self.snapshots, |b, snapshots| Self { snapshots, ..b }),
            less(self.sweeps, |b, sweeps| Self { sweeps, ..b }),
        ];
        all.into_iter().flatten().collect()
    }

    /// Whether every run within `other` is a run within these bounds.
    #[cfg(test)]
    pub fn covers(&self, other: &Self) -> bool {
        self.scenario == other.scenario
            && self.servers == other.servers
            && self.operations >= other.operations
            && self.elections >= other.elections
            && self.crashes >= other.crashes
            && self.reconnects >= other.reconnects
            && self.expirations >= other.expirations
            && self.snapshots >= other.snapshots
            && self.sweeps >= other.sweeps
    }

    /// The bounds as options of the command line.
    pub fn flags(&self) -> String {
        let mut flags = format!("--scenario {}", self.scenario.name);
        let budgets = [
            ("--servers", self.servers, 3),
            ("--operations", self.operations, u8::MAX),
            ("--elections", self.elections, 0),
            ("--crashes", self.crashes, 0),
            ("--reconnects", self.reconnects, 0),
            ("--expirations", self.expirations, 0),
            ("--snapshots", self.snapshots, 0),
            ("--sweeps", self.sweeps, 0),
        ];
        for (flag, value, usual) in budgets {
            if value != usual {
                flags.push_str(&format!(" {flag} {value}"));
            }
        }
        flags
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scenario,
            servers,
            elections,
            crashes,
            reconnects,
            expirations,
            ..
        } = self;
        let name = scenario.name;
        write!(
            f,
            "{name} ({servers},{elections},{crashes},{reconnects},{expirations})"
        )?;
        if self.operations != u8::MAX {
            write!(f, " operations {}", self.operations)?;
        }
        if self.snapshots > 0 {
            write!(f, " snapshots {}", self.snapshots)?;
        }
        if self.sweeps > 0 {
            write!(f, " sweeps {}", self.sweeps)?;
        }
        Ok(())
    }
}
