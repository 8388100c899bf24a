//! Primary-backup replication that waits for all: a write is done when every server has it.
//!
//! Spec: `spec/consensus.md`, "Wait for all". What it must never do: tell a client that a write is done while a server
//! lacks it.

mod properties;

use super::environment::client;
use serde::{Deserialize, Serialize};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::collections::BTreeMap;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Command(u8);

/// How many entries of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Length(usize);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
