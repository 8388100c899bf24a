//! `check replay DIR...`: the journals of an ensemble, run through the same actors.
//!
//! Spec: `spec/6-server.md`, "Journal". The journals are merged into one order in which every message is
//! received after it was sent; where that leaves a choice, the clocks of the servers decide. After each
//! step the invariants are asked. What it must never do: say that a run holds of which it has not seen all
//! that it was given.

mod observer;
mod read;
mod recovery;
mod server;
#[cfg(test)]
mod tests;
mod trace;
mod window;
mod words;

use crate::diagram;
use crate::output::Output;
use crate::svg::Mark;
use keepright::service::journal::Input;
use keepright::service::replica::Timer;
use keepright::service::{Msg, PeerMsg};
use keepright::types::ServerId;
use keepright::zab::{self, Difference, Entry, Message, State};
use keepright::znode::Txn;
use observer::Observer;
use read::Record;
use server::{Letter, Server};
use stateright::actor::Command;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use trace::{Received, Trace};

/// Which part of a run is written or drawn.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Window {
    /// The first step of journals to write or draw [default: the first of the run]
    #[arg(long, value_name = "STEP")]
    from: Option<u64>,
    /// The last step of journals to write or draw [default: the last of the run]
    #[arg(long, value_name = "STEP")]
    to: Option<u64>,
}

/// Replays journals, one directory a server, and prints what was found. `Ok(false)` if something falls.
///
/// # Errors
/// If a journal cannot be read, was changed, or is not of the same ensemble; says where.
pub fn run(dirs: &[PathBuf], window: &Window, output: &Output) -> Result<bool, String> {
    let mut run = Run::open(dirs, wanted(window, output))?;
    while run.step()? {}
    run.observer.finish(run.steps);
    if let (Some(trace), Some(file)) = (&run.trace, &output.save) {
        trace.save(file)?;
    }
    if let (Some(trace), Some(file)) = (&run.trace, &output.svg)
        && let Some(last) = trace.draw(file)?
    {
        run.notes.push(format!(
            "{}: ends with step {last}; the rest found no room: give --from and --to",
            file.display()
        ));
    }
    print!("{}", run.report());
    Ok(run.passed())
}

/// A run of an ensemble that is replayed.
struct Run {
    servers: BTreeMap<ServerId, Server>,
    observer: Observer,
    /// `None` if nobody wants it.
    trace: Option<Trace>,
    /// Which messages were sent, and in which step first.
    sent: HashMap<Letter, u64>,
    /// How many messages each server has received that no journal knows to have been sent, by the sender.
    unsent: BTreeMap<(ServerId, ServerId), u64>,
    steps: u64,
    notes: Vec<String>,
}

impl Run {
    fn open(dirs: &[PathBuf], wanted: Option<RangeInclusive<u64>>) -> Result<Self, String> {
        let mut servers = BTreeMap::new();
        for dir in dirs {
            let server = Server::open(dir)?;
            let id = server.id();
            if servers.insert(id, server).is_some() {
                return Err(format!(
                    "{}: a journal of server {id} was given before; give one directory a server",
                    dir.display()
                ));
            }
        }
        let Some(first) = servers.values().next() else {
            return Err("give the journals: one directory a server".to_owned());
        };
        let zab = first.replica.zab().clone();
        for server in servers.values() {
            is_same_ensemble(first, server)?;
        }
        let disks = servers
            .iter()
            .map(|(id, server)| (*id, server.disk.clone()));
        Ok(Self {
            observer: Observer::new(zab, disks.collect()),
            trace: wanted.map(|steps| Trace::new(servers.keys().copied(), steps)),
            servers,
            sent: HashMap::new(),
            unsent: BTreeMap::new(),
            steps: 0,
            notes: Vec::new(),
        })
    }

    /// The server whose turn it is: of those that wait for no message, the one whose input came first.
    /// If all wait, the one that has waited longest gets a message that nobody seems to have sent.
    fn whose_turn(&self) -> Option<(ServerId, Option<Letter>)> {
        let waiting = self.servers.iter().filter_map(|(id, server)| {
            let at = server.next.as_ref()?.at;
            let letter = server.letter;
            let comes = letter.is_none_or(|letter| {
                self.sent.contains_key(&letter) || !self.servers.contains_key(&letter.from)
            });
            Some((!comes, at, *id, letter))
        });
        let turn = waiting.min_by_key(|(waits, at, id, _)| (*waits, *at, *id));
        turn.map(|(_, _, id, letter)| (id, letter))
    }

    /// Replays one step. Returns whether there was one.
    fn step(&mut self) -> Result<bool, String> {
        let Some((id, letter)) = self.whose_turn() else {
            return Ok(false);
        };
        let is_given = letter.is_some_and(|letter| self.servers.contains_key(&letter.from));
        let server = self.servers.get_mut(&id).expect("a server of this run");
        let Some(record) = server.next.take() else {
            return Ok(false);
        };
        self.steps += 1;
        if let Input::Start(_) = &record.input {
            // It was down for a while; how long, no journal tells.
            let down = observer::Step::down(id, &server.disk);
            self.observer.on_step(self.steps, &down);
        }
        let sent_in = letter.and_then(|letter| self.sent.get(&letter).copied());
        if let Some(letter) = letter.filter(|_| sent_in.is_none()) {
            *self.unsent.entry((letter.from, id)).or_default() += 1;
            if let Input::Peer(_, message) = &record.input
                && !is_given
            {
                self.observer.propose_given(entries(message).iter());
            }
        }
        let number = self.steps;
        let is_wanted = self.trace.as_ref().is_some_and(|t| t.wants(number));
        let told = is_wanted.then(|| tell(number, id, &record, sent_in));
        let (ends, out) = server.step(record)?;
        let mut sent = Vec::new();
        for command in out.iter() {
            if let Command::Send(to, Msg::Peer(message)) = command
                && let Some(to) = ServerId::from_actor(*to)
            {
                let letter = Letter::new(id, to, message);
                self.sent.entry(letter).or_insert(self.steps);
                if let PeerMsg::Zab(message) = message {
                    sent.push((to, message));
                }
            }
        }
        let step = observer::Step {
            server: id,
            state: server.state.as_ref().map(|state| state.zab()),
            disk: &server.disk,
            sent: &sent,
        };
        let mut is_new = self.observer.on_step(number, &step);
        if ends {
            server.state = None;
            let disk = &server.disk;
            is_new |= self
                .observer
                .on_step(number, &observer::Step::down(id, disk));
        }
        if let Some((trace, mut step)) = self.trace.as_mut().zip(told.filter(|_| is_new)) {
            if ends {
                step.sentence.push_str("; its journal ends here");
                step.mark = Mark::Fault;
            }
            step.broken = self.observer.broken_by(self.steps).collect();
            let servers = self.observer.servers.iter();
            let line = |(id, server): (&ServerId, &observer::Watched)| {
                words::line(*id, server.state.as_ref(), &server.disk)
            };
            step.lines = servers.clone().map(line).collect();
            let stand = |(_, server): (_, &observer::Watched)| {
                diagram::stand(server.state.as_ref().map(State::role))
            };
            step.stands = servers.map(stand).collect();
            trace.push(step);
        }
        Ok(true)
    }

    fn passed(&self) -> bool {
        let holds = |verdict: &observer::Verdict| verdict.broken.is_none();
        self.observer.verdicts.iter().all(holds)
            && self.servers.values().all(|server| server.lost.is_none())
    }

    fn report(&self) -> String {
        let Observer {
            verdicts, window, ..
        } = &self.observer;
        let mut table = crate::report::table_of(&["invariant", "verdict", "witness", "seen first"]);
        for verdict in verdicts {
            let says = match (verdict.broken, verdict.unasked) {
                (Some(step), _) => format!("FALLS in step {step}"),
                (None, Some(why)) => why.to_owned(),
                (None, None) => "holds".to_owned(),
            };
            let seen = verdict.witnessed.map(|step| format!("in step {step}"));
            let (id, witness) = (verdict.invariant.id, verdict.invariant.witness_id);
            table.add_row([
                id,
                &says,
                witness,
                &seen.unwrap_or_else(|| "never".to_owned()),
            ]);
        }
        let starts: u64 = self.servers.values().map(|server| server.starts).sum();
        let restarts = starts - self.servers.values().filter(|s| s.starts > 0).count() as u64;
        let lost: Vec<_> = self
            .servers
            .values()
            .filter_map(|s| s.lost.clone())
            .collect();
        let nothing_lost = match lost.is_empty() {
            true => format!("every one of {restarts} restarts found what was durable before"),
            false => format!("LOST: {}", lost.join("; ")),
        };
        let Observer {
            elections,
            states,
            asked,
            ..
        } = self.observer;
        let epochs: Vec<_> = window
            .record
            .leaders
            .iter()
            .map(|(e, _)| e.to_string())
            .collect();
        let mut text = format!(
            "{table}\n\n{} servers, {} steps, {restarts} restarts; {elections} elections won, epochs led: \
             {}; {} transactions committed\n{nothing_lost}\nthe invariants were asked in {asked} of \
             {states} states that were new to them, about the last {} to {} transactions\nand those that \
             this run makes remarkable (spec/6-server.md, \"Journal\")\n",
            self.servers.len(),
            self.steps,
            epochs.join(" "),
            window.committed(),
            window::KEPT,
            2 * window::KEPT,
        );
        for note in self
            .servers
            .values()
            .flat_map(|s| &s.journal.notes)
            .chain(&self.notes)
        {
            text.push_str(&format!("note: {note}\n"));
        }
        for ((from, to), count) in &self.unsent {
            let why = match self.servers.contains_key(from) {
                true => "whose journal does not say that it sent them: is a part of it missing?",
                false => "whose journal was not given",
            };
            text.push_str(&format!(
                "note: server {to} has received {count} messages of server {from}, {why}\n"
            ));
        }
        let last = match self.passed() {
            true => "PASSED: the actors do what they did, and nothing falls",
            false => "FAILED: see the steps above; --save and --svg with --from and --to show them",
        };
        text + last + "\n"
    }
}

/// Refuses journals of different ensembles.
fn is_same_ensemble(a: &Server, b: &Server) -> Result<(), String> {
    let (one, other) = (&a.replica.zab().config, &b.replica.zab().config);
    // Where members are replaced, who joins has another file than those who were there before.
    let replaced = a.replica.config().reconfig || b.replica.config().reconfig;
    if replaced || one.membership == other.membership {
        return Ok(());
    }
    Err(format!(
        "servers {} and {} are not of the same ensemble: {:?} and {:?}",
        a.id(),
        b.id(),
        one.membership,
        other.membership
    ))
}

/// The steps that are to be written or drawn, if any are.
fn wanted(window: &Window, output: &Output) -> Option<RangeInclusive<u64>> {
    let wanted = output.save.is_some() || output.svg.is_some();
    wanted.then(|| window.from.unwrap_or(1)..=window.to.unwrap_or(u64::MAX))
}

/// A step as far as it is known before it is taken.
fn tell(number: u64, server: ServerId, record: &Record, sent: Option<u64>) -> trace::Step {
    let received = match &record.input {
        Input::Peer(from, message) => Some(Received {
            from: from.0,
            sent,
            message: words::message_in_words(message),
        }),
        Input::Start(_)
        | Input::Saved(_)
        | Input::Client(..)
        | Input::Timeout(_)
        | Input::Clock(_) => None,
    };
    trace::Step {
        number,
        at: record.at,
        server: server.0,
        sentence: words::sentence(server, &record.input),
        received,
        lines: Vec::new(),
        broken: Vec::new(),
        mark: mark(&record.input),
        stands: Vec::new(),
    }
}

fn mark(input: &Input) -> Mark {
    match input {
        Input::Timeout(Timer::Zab(zab::Timer::Establish | zab::Timer::Peer(_))) => Mark::Timeout,
        Input::Start(_)
        | Input::Peer(..)
        | Input::Saved(_)
        | Input::Client(..)
        | Input::Clock(_)
        | Input::Timeout(
            Timer::Session
            | Timer::Retransmit
            | Timer::Zab(zab::Timer::Heartbeat | zab::Timer::Finalize),
        ) => Mark::Step,
    }
}

/// The transactions that a message brings.
fn entries(message: &PeerMsg) -> Vec<Entry<Txn>> {
    let PeerMsg::Zab(message) = message else {
        return Vec::new();
    };
    match message {
        Message::Propose { entry, .. } | Message::Inform { entry, .. } => vec![entry.clone()],
        Message::Sync { step, .. } => entries_of(step),
        Message::AckEpoch { newer, .. } => newer.as_deref().map(entries_of).unwrap_or_default(),
        Message::Notification(_)
        | Message::FollowerInfo { .. }
        | Message::NewEpoch { .. }
        | Message::Refuse { .. }
        | Message::NewLeader { .. }
        | Message::Ack { .. }
        | Message::Commit { .. } => Vec::new(),
    }
}

fn entries_of(step: &Difference<keepright::service::ZooKeeper>) -> Vec<Entry<Txn>> {
    match step {
        Difference::Diff { entries, .. } | Difference::Snap { entries, .. } => entries.clone(),
        Difference::Trunc { .. } => Vec::new(),
    }
}
