//! Primary-backup replication that waits for all: a write is done when every server has it.
//!
//! Spec: `spec/consensus.md`, "Wait for all". What it must never do: tell a client that a write is done while a server
//! lacks it.

use super::bounds::Bounds;
use super::environment::{Ensemble, World, client};
use super::protocol::{Card, Claim, Invariant, Mutant, Protocol, Term, mutant};
use crate::svg::{Kind, Stand};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// The first server is the primary, for ever; the others keep copies of its log.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct PrimaryBackup {
    servers: Vec<Id>,
    broken: Option<Rule>,
}

/// What a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Rule {
    /// The primary waits for every backup.
    WaitsForAll,
    /// A backup appends an entry only behind the one before it.
    InOrder,
    /// The primary takes a command once, however often it arrives.
    Once,
    /// A log is on disk before anything is said about it.
    SavesLog,
    /// A backup answers for an entry that it has already.
    AnswersAgain,
}

/// What a client wants done, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Command(u8);

/// How many entries of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Length(usize);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Msg {
    Request(Command),
    /// The entry behind so many others.
    Replicate(Length, Command),
    /// So much of the log is on the backup's disk.
    Stored(Length),
    /// The client is told that it is done.
    Done(Command),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct State {
    log: Vec<Command>,
    /// What each backup has said to have, on the primary.
    stored: BTreeMap<Id, Length>,
}

/// The primary sends again what backups lack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resend;

impl Actor for PrimaryBackup {
    type Msg = Msg;
    type Timer = Resend;
    type State = State;
    type Storage = Vec<Command>;
    type Random = ();

    fn on_start(&self, id: Id, disk: &Option<Vec<Command>>, out: &mut Out<Self>) -> State {
        let state = State {
            log: disk.clone().unwrap_or_default(),
            stored: BTreeMap::new(),
        };
        if id == self.primary() {
            self.replicate(&state, out);
        }
        state
    }

    fn on_msg(&self, id: Id, state: &mut Cow<'_, State>, src: Id, msg: Msg, out: &mut Out<Self>) {
        match msg {
            Msg::Request(command) if id == self.primary() => {
                self.on_request(state.to_mut(), command, out);
            }
            Msg::Replicate(before, command) => {
                self.on_replicate(state.to_mut(), src, before, command, out);
            }
            Msg::Stored(length) => self.on_stored(state.to_mut(), src, length, out),
            // A backup takes no requests; the last one is for the client.
            Msg::Request(_) | Msg::Done(_) => {}
        }
    }

    fn on_timeout(&self, _: Id, state: &mut Cow<'_, State>, _: &Resend, out: &mut Out<Self>) {
        self.replicate(state, out);
    }
}

impl PrimaryBackup {
    fn primary(&self) -> Id {
        self.servers[0]
    }

    fn backups(&self) -> &[Id] {
        &self.servers[1..]
    }

    fn on_request(&self, state: &mut State, command: Command, out: &mut Out<Self>) {
        if state.log.contains(&command) && self.broken != Some(Rule::Once) {
            return; // It is on its way, or done.
        }
        self.append(state, command, out);
        self.replicate(state, out);
    }

    /// Sends every entry that some backup lacks.
    fn replicate(&self, state: &State, out: &mut Out<Self>) {
        for (place, command) in state.log.iter().enumerate() {
            let lacks = |backup: &&Id| state.stored.get(*backup) <= Some(&Length(place));
            for backup in self.backups().iter().filter(lacks) {
                out.send(*backup, Msg::Replicate(Length(place), *command));
            }
        }
        out.set_timer(Resend, WAIT);
    }

    fn on_replicate(
        &self,
        state: &mut State,
        src: Id,
        before: Length,
        command: Command,
        out: &mut Out<Self>,
    ) {
        let length = state.log.len();
        if before.0 > length && self.broken != Some(Rule::InOrder) {
            return; // What comes before it is still on its way.
        }
        if before.0 >= length {
            self.append(state, command, out);
        } else if self.broken == Some(Rule::AnswersAgain) {
            return;
        }
        out.send(src, Msg::Stored(Length(state.log.len())));
    }

    fn on_stored(&self, state: &mut State, src: Id, length: Length, out: &mut Out<Self>) {
        let known = state.stored.entry(src).or_insert(length);
        *known = length.max(*known);
        let said = |backup| state.stored.get(backup).map_or(0, |length| length.0);
        let all = self.backups().iter().map(said);
        let everywhere = match self.broken {
            Some(Rule::WaitsForAll) => all.max(),
            _ => all.min(),
        };
        for command in state.log.iter().take(everywhere.unwrap_or(0)) {
            out.send(client(), Msg::Done(*command));
        }
    }

    fn append(&self, state: &mut State, command: Command, out: &mut Out<Self>) {
        state.log.push(command);
        if self.broken != Some(Rule::SavesLog) {
            out.save(state.log.clone());
        }
    }
}

/// How long the primary waits before it sends again, on a real network.
const WAIT: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(200);

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
