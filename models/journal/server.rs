//! One server of a replay: its journal, the actor, and its disk as far as the journal tells.
//!
//! What it must never do: go on when the actor does something else than it did.

use super::read::{Journal, Record};
use super::recovery;
use keepright::service::journal::{Input, digest};
use keepright::service::replica::State;
use keepright::service::{Msg, PeerMsg, Replica, ZooKeeper};
use keepright::types::ServerId;
use keepright::zab::Storage;
use stateright::actor::{Command, Out};
use std::path::Path;

/// A server that is replayed.
pub struct Server {
    pub journal: Journal,
    pub replica: Replica,
    /// The next input; `None` at the end of the journal.
    pub next: Option<Record>,
    /// The message that the next input is, if it is one.
    pub letter: Option<Letter>,
    /// `None` while it is down.
    pub state: Option<State>,
    /// What is durable.
    pub disk: Storage<ZooKeeper>,
    /// Saves that are not known to be durable, oldest first.
    pending: Vec<Storage<ZooKeeper>>,
    /// How often it started.
    pub starts: u64,
    /// What it had lost when it started, as a sentence.
    pub lost: Option<String>,
    scratch: Vec<u8>,
}

/// A message between servers, by its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Letter {
    pub from: ServerId,
    pub to: ServerId,
    digest: u64,
}

impl Letter {
    pub fn new(from: ServerId, to: ServerId, message: &PeerMsg) -> Self {
        let bytes = postcard::to_stdvec(message).expect("a message can be encoded");
        let digest = digest(0, &bytes);
        Self { from, to, digest }
    }
}

impl Server {
    /// A server that is still down.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let mut journal = Journal::open(dir)?;
        let next = journal.next()?;
        let Some(Record {
            input: Input::Start(storage),
            ..
        }) = &next
        else {
            return Err(format!(
                "{}: the journal ends before its server starts",
                dir.display()
            ));
        };
        Ok(Self {
            replica: journal.header.replica(),
            disk: (**storage).clone(),
            journal,
            next,
            letter: None,
            state: None,
            pending: Vec::new(),
            starts: 0,
            lost: None,
            scratch: Vec::new(),
        })
    }

    pub fn id(&self) -> ServerId {
        self.journal.server()
    }

    /// Gives the actor its next input, and compares what it does with what it did. Returns whether the
    /// server ends with this step, and what the actor did.
    pub fn step(&mut self, record: Record) -> Result<(bool, Out<Replica>), String> {
        match &record.input {
            Input::Start(storage) => self.on_start(storage),
            Input::Saved(count) => {
                let count = (*count).min(self.pending.len());
                if let Some(storage) = self.pending.drain(..count).next_back() {
                    self.disk = storage;
                }
            }
            Input::Peer(..) | Input::Client(..) | Input::Timeout(_) | Input::Clock(_) => {}
        }
        let mut out = Out::new();
        record.input.run(&self.replica, &mut self.state, &mut out);
        let seal = record.before.after_actions(&out, &mut self.scratch);
        if seal != record.after {
            return Err(format!(
                "{}: the actor does not do what it did: it {} (digest {:016x}, the journal says {:016x}). \
                 Either the journal was changed, or it was written by another version: it says {}, this \
                 is {}",
                record.place,
                in_words(&out),
                seal.actions,
                record.after.actions,
                self.journal.header.program,
                env!("CARGO_PKG_VERSION"),
            ));
        }
        for command in out.iter() {
            if let Command::Save(storage) = command {
                self.pending.push(storage.clone());
            }
        }
        self.next = self.journal.next()?;
        self.letter = match self.next.as_ref().map(|next| &next.input) {
            Some(Input::Peer(from, message)) => Some(Letter::new(*from, self.id(), message)),
            Some(
                Input::Start(_)
                | Input::Saved(_)
                | Input::Client(..)
                | Input::Timeout(_)
                | Input::Clock(_),
            )
            | None => None,
        };
        Ok((record.is_last, out))
    }

    fn on_start(&mut self, found: &Storage<ZooKeeper>) {
        let had: Vec<_> = [&self.disk].into_iter().chain(&self.pending).collect();
        if let Some(lost) = recovery::lost(&had, found)
            && self.lost.is_none()
        {
            self.lost = Some(format!("server {}: {lost}", self.id()));
        }
        self.starts += 1;
        self.disk = found.clone();
        self.pending.clear();
        self.replica = self.journal.header.replica();
        self.state = None;
    }
}

/// What the actor does, in words.
fn in_words(out: &Out<Replica>) -> String {
    let actions = out.iter().map(|command| match command {
        Command::Send(to, Msg::Peer(message)) => {
            let message = super::words::message_in_words(message);
            format!("sends {message} to server {}", usize::from(*to))
        }
        Command::Send(_, Msg::ToClient(output)) => format!("tells a client {output:?}"),
        Command::Send(_, Msg::Warning(words)) => format!("warns: {words}"),
        Command::Send(_, Msg::Saved(_) | Msg::Clock(_) | Msg::Client(_)) => {
            "sends an input".to_owned()
        }
        Command::SetTimer(timer, range) => format!("sets {timer:?} to {:?}", range.start),
        Command::CancelTimer(timer) => format!("cancels {timer:?}"),
        Command::Save(storage) => format!("saves up to {}", storage.history.last_zxid()),
        Command::ChooseRandom(..) => "makes a choice".to_owned(),
    });
    let actions: Vec<_> = actions.collect();
    match actions.is_empty() {
        true => "does nothing".to_owned(),
        false => actions.join(", "),
    }
}
