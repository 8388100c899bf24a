//! States and steps in words: names of servers and zxids, a line a server.

use crate::environment::{Action, Environment};
use crate::faults::Left;
use crate::world::{Envelope, Process, World};
use keepright::types::{ServerId, Zxid};
use keepright::zab::invariants::delivered;
use keepright::zab::{
    Difference, Entry, Follower, History, Leader, Message, Notification, Role, Stage, Stance,
};
use std::fmt::{self, Write as _};

/// A step, as a sentence.
pub fn sentence(action: &Action) -> String {
    match action {
        Action::Deliver(envelope) => {
            let Envelope { src, dst, message } = envelope.get();
            format!(
                "server {dst} receives {} from server {src}",
                describe(message)
            )
        }
        Action::Flush(server) => format!("server {server}: its oldest pending save is durable"),
        Action::Elect { server, leader } if server == leader => {
            format!("server {server} is told to lead")
        }
        Action::Elect { server, leader } => {
            format!("server {server} is told to follow server {leader}")
        }
        Action::Finalize(server) => format!("server {server} has waited for better votes"),
        Action::Write(server) => format!("a client asks leader {server} for a write"),
        Action::Timeout(server) => format!("server {server} hears from nobody for too long"),
        Action::Silence { server, peer } => {
            format!("server {server} hears from server {peer} no more")
        }
        Action::Crash { server, left } => {
            format!("server {server} crashes{}", describe_left(*left))
        }
        Action::Outage(remains) => {
            let left: Vec<_> = remains
                .of_servers()
                .filter(|(_, left)| *left != Left::default())
                .map(|(server, left)| format!("; server {server}{}", describe_left(left)))
                .collect();
            format!("all servers crash at once{}", left.concat())
        }
        Action::DiskError { server, torn } => {
            let left = Left {
                kept: 0,
                torn: *torn,
            };
            format!(
                "a pending save of server {server} fails on its disk{}",
                describe_left(left)
            )
        }
        Action::Wipe(server) => {
            format!("server {server} crashes, and its disk is replaced by an empty one")
        }
        Action::Restart(server) => format!("server {server} starts"),
        Action::Snapshot(server) => format!("server {server} takes a snapshot"),
        Action::Heartbeat(server) => format!("server {server} repeats its last word"),
    }
}

fn describe_left(left: Left) -> String {
    let Left { kept, torn } = left;
    let mut words = match kept {
        0 => String::new(),
        kept => format!("; {kept} of its pending saves turn out to be durable"),
    };
    if torn > 0 {
        words.push_str("; the next save is found written in part");
    }
    words
}

/// A message, as ZooKeeper's people would name it.
pub fn describe(message: &Message<crate::world::Writes>) -> String {
    match message {
        Message::Notification(Notification { round, stance }) => match stance {
            Stance::Looking(vote) => format!(
                "Notification(round {round}, votes for {} with {}/{})",
                vote.leader, vote.current_epoch, vote.last_zxid
            ),
            Stance::Asking => "Notification(who leads?)".to_owned(),
            Stance::Following(leader) => format!("Notification(round {round}, follows {leader})"),
            Stance::Leading { established: true } => {
                format!("Notification(round {round}, leads, established)")
            }
            Stance::Leading { established: false } => format!("Notification(round {round}, leads)"),
        },
        Message::FollowerInfo { accepted_epoch } => {
            format!("FollowerInfo(accepted {accepted_epoch})")
        }
        Message::NewEpoch {
            epoch,
            current_epoch,
            last_zxid,
        } => {
            format!("NewEpoch({epoch}, leader has {current_epoch}/{last_zxid})")
        }
        Message::AckEpoch {
            epoch,
            current_epoch,
            last_zxid,
            promise,
            newer,
        } => {
            let promise = if *promise { "" } else { ", no promise" };
            let newer = newer
                .as_ref()
                .map(|step| format!(", here is {}", describe_step(step)));
            let newer = newer.unwrap_or_default();
            format!("AckEpoch({epoch}, has {current_epoch}/{last_zxid}{promise}{newer})")
        }
        Message::Sync { epoch, step } => format!("{} of epoch {epoch}", describe_step(step)),
        Message::NewLeader { epoch, last_zxid } => {
            format!("NewLeader({epoch}, begins with {last_zxid})")
        }
        Message::Propose {
            epoch,
            after,
            entry,
        } => {
            format!(
                "Propose(epoch {epoch}, {} after {after})",
                describe_entry(entry)
            )
        }
        Message::Ack { epoch, zxid } => format!("Ack(epoch {epoch}, up to {zxid})"),
        Message::Commit { epoch, zxid } => format!("Commit(epoch {epoch}, up to {zxid})"),
        Message::Inform {
            epoch,
            after,
            entry,
        } => {
            format!(
                "Inform(epoch {epoch}, {} after {after})",
                describe_entry(entry)
            )
        }
    }
}

fn describe_step(step: &Difference<crate::world::Writes>) -> String {
    match step {
        Difference::Diff { after, entries } => {
            format!("DIFF(after {after}: {})", describe_entries(entries))
        }
        Difference::Trunc { from, to } => format!("TRUNC(from {from} to {to})"),
        Difference::Snap { snapshot, entries } => {
            format!("SNAP(at {}: {})", snapshot.zxid, describe_entries(entries))
        }
    }
}

fn describe_entry(entry: &Entry<u8>) -> String {
    format!("{}=w{}", entry.zxid, entry.txn)
}

fn describe_entries<'a>(entries: impl IntoIterator<Item = &'a Entry<u8>>) -> String {
    let all: Vec<_> = entries.into_iter().map(describe_entry).collect();
    if all.is_empty() {
        "-".to_owned()
    } else {
        all.join(" ")
    }
}

/// One server in a line.
pub fn server_line(id: ServerId, process: &Process) -> String {
    let mut line = format!("s{id} ");
    let Some(state) = &process.state else {
        let _ = write!(line, "down, on disk {}", describe_storage(process));
        return line;
    };
    let _ = write!(line, "{}", describe_role(state.role()));
    let storage = state.storage();
    let (accepted, current) = (storage.accepted_epoch, storage.current_epoch);
    let _ = write!(
        line,
        "; epochs {current}/{accepted}; {}",
        describe_history(&storage.history)
    );
    match delivered(state).last() {
        Some(last) => {
            let _ = write!(line, "; delivered to {}", last.zxid);
        }
        None => line.push_str("; nothing delivered"),
    }
    if !process.unsaved.is_empty() {
        let _ = write!(line, "; on disk {}", describe_storage(process));
    }
    line
}

fn describe_storage(process: &Process) -> String {
    let disk = &process.disk;
    let history = describe_history(&disk.history);
    format!(
        "epochs {}/{}; {history}",
        disk.current_epoch, disk.accepted_epoch
    )
}

fn describe_history(history: &History<crate::world::Writes>) -> String {
    let entries = describe_entries(history.entries());
    match history.snapshot().zxid {
        Zxid::ZERO => format!("[{entries}]"),
        zxid => format!("[snapshot at {zxid}, then {entries}]"),
    }
}

fn describe_role(role: &Role<crate::world::Writes>) -> String {
    match role {
        Role::Looking(election) => format!(
            "LOOKING (round {}, votes for {}, supporters {:?})",
            election.round, election.vote.leader, election.supporters
        ),
        Role::Following(Follower {
            leader,
            epoch,
            serving,
            ..
        }) => {
            let epoch = epoch.map_or("?".to_owned(), |epoch| epoch.to_string());
            let serving = if *serving { "" } else { ", not up to date" };
            format!("FOLLOWING {leader} (epoch {epoch}{serving})")
        }
        Role::Leading(Leader { stage, .. }) => match stage {
            Stage::Discovery { .. } => "LEADING (discovery)".to_owned(),
            Stage::NewEpoch { epoch, reports } => {
                let promised: Vec<_> = reports
                    .keys()
                    .map(|sid| format!(", {sid} has promised"))
                    .collect();
                format!("LEADING (proposes epoch {epoch}{})", promised.concat())
            }
            Stage::Broadcast {
                epoch,
                acked,
                established,
                ..
            } => {
                let established = if *established {
                    "established"
                } else {
                    "synchronizing"
                };
                let acked: Vec<_> = acked
                    .iter()
                    .map(|(sid, zxid)| format!(", {sid} has {zxid}"))
                    .collect();
                format!("LEADING (epoch {epoch} {established}{})", acked.concat())
            }
        },
    }
}

/// A line a server, the network, and what is left of the budgets.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for id in self.ids() {
            writeln!(f, "{}", server_line(id, self.server(id).get()))?;
        }
        let mut datagrams: Vec<_> = self
            .network()
            .map(|e| format!("  s{} to s{}: {}", e.src, e.dst, describe(&e.message)))
            .collect();
        datagrams.sort();
        writeln!(f, "network:\n{}", datagrams.join("\n"))?;
        let budget = &self.budget;
        write!(
            f,
            "left: {} writes, {} timeouts, {} crashes",
            budget.writes, budget.timeouts, budget.crashes
        )
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sentence(self))
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&server_line(ServerId(0), self))
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "s{} to s{}: {}",
            self.src,
            self.dst,
            describe(&self.message)
        )
    }
}

/// The servers that a step has changed, a line each; what the explorer shows as its outcome.
pub fn outcome(model: &Environment, before: &World, after: &World) -> String {
    let mut text = String::new();
    for id in after.ids() {
        let mark = if before.server(id) == after.server(id) {
            "  "
        } else {
            "> "
        };
        let _ = writeln!(text, "{mark}{}", server_line(id, after.server(id).get()));
    }
    let old: Vec<_> = before.network().collect();
    let added = after.network().filter(|e| !old.contains(e));
    for envelope in added {
        let _ = writeln!(
            text,
            "  sent s{} to s{}: {}",
            envelope.src,
            envelope.dst,
            describe(&envelope.message)
        );
    }
    let broken: Vec<_> = model.broken(after).collect();
    if !broken.is_empty() {
        let _ = writeln!(text, "  BROKEN: {}", broken.join(", "));
    }
    text
}
