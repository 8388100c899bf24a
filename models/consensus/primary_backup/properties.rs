//! What must hold of `models/consensus/primary_backup.rs`, what is claimed to go wrong, and how it is told.
//!
//! Spec: `spec/consensus.md`, "Wait for all". What it must never do: change what the actor does.

use super::{Command, Length, Msg, PrimaryBackup, Resend, Rule, State};
use crate::consensus::bounds::Bounds;
use crate::consensus::environment::{Ensemble, World};
use crate::consensus::protocol::{Card, Claim, Invariant, Mutant, Protocol, Term, Told, mutant};
use crate::svg::{Kind, Stand};
use stateright::actor::Id;
use std::fmt::Write as _;

impl Protocol for PrimaryBackup {
    type Rule = Rule;
    type Past = ();

    const CARD: Card = Card {
        name: "primary_backup",
        about: "primary-backup replication: a write is done when every server has it",
        bounds: &[
            Bounds::servers(3).writes(2).crashes(1),
            Bounds::servers(3).writes(2).crashes(1).timely(),
        ],
        durable: "every server: its log, before it says what it has",
    };

    const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            id: "backup_prefix",
            term: Term::Agreement,
            prose: "The log of each backup is a beginning of the primary's.",
            broken: |model, world| {
                let primary = log(world, model.protocol.primary());
                let mut backups = model.protocol.backups().iter();
                let other = backups.find(|id| !primary.starts_with(log(world, **id)))?;
                let (has, lacks) = (tell(log(world, *other)), tell(primary));
                let name = model.protocol.name_of(*other);
                Some(format!("{name} has {has}, the primary {lacks}"))
            },
            witness_id: "backup_behind",
            witness: |model, world| {
                let lengths = model
                    .protocol
                    .servers
                    .iter()
                    .map(|id| log(world, *id).len());
                let lengths: Vec<_> = lengths.collect();
                lengths.contains(&2) && lengths.contains(&1)
            },
        },
        Invariant {
            id: "request_once",
            term: Term::Validity,
            prose: "What is in the primary's log was asked for, and is there once.",
            broken: |model, world| {
                let log = log(world, model.protocol.primary());
                let asked = 1..=model.bounds.writes;
                let wrong = log.iter().enumerate().find(|(place, command)| {
                    !asked.contains(&command.0) || log[..*place].contains(command)
                });
                wrong.map(|(_, command)| format!("command {} is there twice", command.0))
            },
            witness_id: "two_commands_logged",
            witness: |model, world| log(world, model.protocol.primary()).len() == 2,
        },
        Invariant {
            id: "done_everywhere",
            term: Term::Stability,
            prose: "What a client was told to be done is on every disk.",
            broken: |_, world| {
                let mut told = world.answers().filter_map(|message| match message {
                    Msg::Done(command) => Some(command),
                    Msg::Request(_) | Msg::Replicate(..) | Msg::Stored(_) => None,
                });
                let lacks = |command| world.ids().find(|id| !log(world, *id).contains(command));
                let (command, id) = told.find_map(|command| Some((command, lacks(command)?)))?;
                let (command, server) = (command.0, usize::from(id) + 1);
                Some(format!(
                    "command {command} is done, and server {server} lacks it"
                ))
            },
            witness_id: "everything_done",
            witness: |model, world| Self::done(world, model.bounds.writes),
        },
        Invariant {
            id: "all_up_goes_on",
            term: Term::Progress,
            prose: "With every server up, every write can be done.",
            broken: |model, world| {
                let stuck = world.down() == 0 && !model.leads_to(world, all_done);
                stuck.then(|| "everybody is up, and no step leads on".to_owned())
            },
            witness_id: "all_up_after_crash",
            witness: |model, world| world.down() == 0 && world.left.crashes < model.bounds.crashes,
        },
    ];

    const CLAIMS: &'static [Claim<Self>] = &[Claim {
        id: "one_backup_blocks",
        term: Term::Progress,
        prose: "One server that fails blocks the primary",
        bounds: Bounds::servers(3).crashes(1),
        found: |model, world| {
            let primary = model.protocol.primary();
            let waits = world.state(primary)?.stored.len() + world.down() == 2;
            let stuck = waits && world.down() == 1 && !model.leads_to(world, all_done);
            stuck.then(|| {
                "one backup is down, all others have the write, and no step leads to its end"
                    .to_owned()
            })
        },
    }];

    const MUTANTS: &'static [Mutant<Rule>] = &[
        mutant("pb_done_early", Rule::WaitsForAll, THREE, "done_everywhere"),
        mutant("pb_gap", Rule::InOrder, THREE.writes(2), "backup_prefix"),
        mutant("pb_twice", Rule::Once, THREE, "request_once"),
        mutant("pb_forgets", Rule::SavesLog, THREE, "done_everywhere"),
        mutant(
            "pb_silent",
            Rule::AnswersAgain,
            THREE.crashes(1).timely(),
            "all_up_goes_on",
        ),
    ];

    fn new(bounds: &Bounds, broken: Option<Rule>) -> Self {
        Self {
            servers: (0..bounds.size()).map(Id::from).collect(),
            broken,
        }
    }

    fn requests(&self, writes: u8) -> Vec<(Id, Msg)> {
        let commands = (1..=writes).map(|number| Msg::Request(Command(number)));
        commands.map(|request| (self.primary(), request)).collect()
    }

    fn done(world: &World<Self>, writes: u8) -> bool {
        world.answers().count() >= usize::from(writes)
    }
}

impl Told for PrimaryBackup {
    fn name_of(&self, id: Id) -> String {
        match id == self.primary() {
            true => "the primary".to_owned(),
            false => format!("backup {}", usize::from(id)),
        }
    }

    fn state(&self, state: &State) -> String {
        let mut words = self.disk(&state.log);
        for (backup, Length(length)) in &state.stored {
            let _ = write!(words, "; {} has {length}", self.name_of(*backup));
        }
        words
    }

    fn disk(&self, log: &Vec<Command>) -> String {
        format!("log: {}", tell(log))
    }

    fn message(&self, message: &Msg) -> String {
        match message {
            Msg::Request(command) => format!("a request for command {}", command.0),
            Msg::Replicate(Length(before), command) => {
                format!("Replicate command {} as entry {}", command.0, before + 1)
            }
            Msg::Stored(length) => format!("Stored {}", length.0),
            Msg::Done(command) => format!("Done command {}", command.0),
        }
    }

    fn timeout(&self, _: &Resend) -> &'static str {
        "sends again what backups lack"
    }

    fn stand(&self, state: &State) -> Stand {
        Stand {
            kind: match state.log.is_empty() {
                true => Kind::Idle,
                false => Kind::Follows,
            },
            words: format!("log: {}", tell(&state.log)),
        }
    }
}

const THREE: Bounds = Bounds::servers(3);

/// The log on a server's disk.
fn log(world: &World<PrimaryBackup>, id: Id) -> &[Command] {
    world.node(id).disk.as_deref().unwrap_or_default()
}

fn tell(log: &[Command]) -> String {
    let numbers: Vec<_> = log.iter().map(|command| command.0.to_string()).collect();
    match numbers.is_empty() {
        true => "empty".to_owned(),
        false => numbers.join(", "),
    }
}

fn all_done(model: &Ensemble<PrimaryBackup>, world: &World<PrimaryBackup>) -> bool {
    PrimaryBackup::done(world, model.bounds.writes)
}
