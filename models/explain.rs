//! States and steps in words: names of servers and zxids, a line a server.

use crate::environment::Action;
use crate::faults::Left;
use crate::tale::Line;
use crate::transaction;
use crate::world::{Envelope, Process, World, Writes};
use keepright::types::{Round, ServerId, Zxid};
use keepright::zab::{
    Difference, Election, Entry, Follower, History, Leader, Message, Notification, Payload, Role,
    Stage, Stance, Storage,
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
        Action::Alone(server) => format!(
            "server {server} stops, runs without the others, acknowledges a write to a client, and stops again"
        ),
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
pub fn describe<P: Payload<Txn: InWords>>(message: &Message<P>) -> String {
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
            ..
        } => {
            format!("NewEpoch({epoch}, leader has {current_epoch}/{last_zxid})")
        }
        Message::AckEpoch {
            epoch,
            current_epoch,
            last_zxid,
            promise,
            newer,
            ..
        } => {
            let promise = if *promise { "" } else { ", no promise" };
            let newer = newer
                .as_ref()
                .map(|step| format!(", here is {}", describe_step(step)));
            let newer = newer.unwrap_or_default();
            format!("AckEpoch({epoch}, has {current_epoch}/{last_zxid}{promise}{newer})")
        }
        Message::Refuse {
            epoch, divergence, ..
        } => format!("Refuse(epoch {epoch}: {divergence})"),
        Message::Sync { epoch, step, .. } => format!("{} of epoch {epoch}", describe_step(step)),
        Message::NewLeader {
            epoch,
            last_zxid,
            counts,
            ..
        } => {
            let counts = if *counts {
                ""
            } else {
                ", you do not count yet"
            };
            format!("NewLeader({epoch}, begins with {last_zxid}{counts})")
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
        Message::Commit {
            epoch,
            zxid,
            counts,
        } => {
            let counts = if *counts {
                ""
            } else {
                ", you do not count yet"
            };
            format!("Commit(epoch {epoch}, up to {zxid}{counts})")
        }
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

fn describe_step<P: Payload<Txn: InWords>>(step: &Difference<P>) -> String {
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

/// A transaction in a word or two.
pub trait InWords {
    fn in_words(&self) -> String;
}

impl InWords for u8 {
    fn in_words(&self) -> String {
        transaction::name(*self)
    }
}

/// So many transactions are listed one by one; of more, the first and the last.
const LISTED: usize = 8;

fn describe_entry<T: InWords>(entry: &Entry<T>) -> String {
    format!("{}={}", entry.zxid, entry.txn.in_words())
}

fn describe_entries<'a, T: InWords + 'a>(
    entries: impl IntoIterator<Item = &'a Entry<T>>,
) -> String {
    let entries: Vec<_> = entries.into_iter().collect();
    if let [first, .., last] = entries[..]
        && entries.len() > LISTED
    {
        let (first, last) = (describe_entry(first), describe_entry(last));
        return format!("{first} ... {last}, {} in all", entries.len());
    }
    let all: Vec<_> = entries.into_iter().map(describe_entry).collect();
    if all.is_empty() {
        "-".to_owned()
    } else {
        all.join(" ")
    }
}

/// One server in a line: what it does, its epochs (current/accepted), its history, how far that is
/// committed, and where its disk lags behind.
pub fn server_line(id: ServerId, process: &Process) -> String {
    let disk = &process.disk;
    let Some(state) = &process.state else {
        let (epochs, history) = (describe_epochs(disk), describe_history(&disk.history));
        return format!("s{id} down; {epochs}; {history}");
    };
    let storage = state.storage();
    let (role, epochs) = (describe_role(state.role()), describe_epochs(storage));
    let mut line = format!(
        "s{id} {role}; {epochs}; {}",
        describe_history(&storage.history)
    );
    if state.committed() > Zxid::ZERO {
        let _ = write!(line, "; committed {}", state.committed());
    }
    let mut lags = Vec::new();
    if describe_epochs(disk) != epochs {
        lags.push(describe_epochs(disk));
    }
    if disk.history != storage.history {
        lags.push(describe_history(&disk.history));
    }
    if !lags.is_empty() {
        let _ = write!(line, "; on disk {}", lags.join(" "));
    }
    line
}

fn describe_epochs(storage: &Storage<Writes>) -> String {
    format!(
        "epochs {}/{}",
        storage.current_epoch, storage.accepted_epoch
    )
}

fn describe_history(history: &History<Writes>) -> String {
    let snapshot = history.snapshot();
    let entries = describe_entries(history.entries());
    match snapshot.zxid {
        Zxid::ZERO => format!("[{entries}]"),
        zxid => {
            // A snapshot of the models is the list of what it holds, which may not be what it should.
            let content: Vec<_> = snapshot.state.iter().map(describe_entry).collect();
            format!("[snapshot {zxid} ({}), {entries}]", content.join(" "))
        }
    }
}

pub fn describe_role<P: Payload>(role: &Role<P>) -> String {
    let each = |all: Vec<String>| match all.is_empty() {
        true => String::new(),
        false => format!(" ({})", all.join(", ")),
    };
    match role {
        // Without rounds the election is held elsewhere.
        Role::Looking(Election {
            round: Round { count: 0, .. },
            ..
        }) => "LOOKING".to_owned(),
        Role::Looking(Election {
            round,
            vote,
            supporters,
        }) => {
            let with: Vec<_> = supporters.iter().map(|id| id.to_string()).collect();
            let (leader, with) = (vote.leader, with.join(" "));
            format!("LOOKING in round {round} for {leader} with {with}")
        }
        Role::Following(Follower {
            leader,
            epoch,
            serving,
            ..
        }) => {
            let epoch = epoch.map_or(String::new(), |epoch| format!(" in epoch {epoch}"));
            let serving = if *serving { ", serving" } else { "" };
            format!("FOLLOWING {leader}{epoch}{serving}")
        }
        Role::Leading(Leader { stage, .. }) => match stage {
            Stage::Discovery { .. } => "LEADING, discovery".to_owned(),
            Stage::NewEpoch { epoch, reports } => {
                let promised = reports.keys().map(|sid| format!("{sid} promised"));
                let promised = each(promised.collect());
                format!("LEADING, proposes epoch {epoch}{promised}")
            }
            Stage::Broadcast {
                epoch,
                acked,
                established,
                ..
            } => {
                let established = match established {
                    true => "established",
                    false => "synchronizes",
                };
                let acked = acked.iter().map(|(sid, zxid)| format!("{sid} has {zxid}"));
                let acked = each(acked.collect());
                format!("LEADING epoch {epoch}, {established}{acked}")
            }
        },
    }
}

/// Every server of a state in a line; marked if the step from `before` has changed it.
pub fn lines(before: Option<&World>, world: &World) -> Vec<Line> {
    let line = |id| Line {
        text: server_line(id, world.server(id).get()),
        changed: before.is_some_and(|before| before.server(id) != world.server(id)),
    };
    world.ids().map(line).collect()
}

/// The datagrams that a step has sent for the first time; what goes to several servers is one item.
pub fn sent(before: &World, after: &World) -> Vec<String> {
    let old: Vec<_> = before.network().collect();
    let added = after.network().filter(|envelope| !old.contains(envelope));
    let mut said: Vec<(&ServerId, String, Vec<String>)> = Vec::new();
    let mut added: Vec<_> = added.map(|envelope| envelope.get()).collect();
    added.sort_by_key(|envelope| (envelope.src, envelope.dst));
    for Envelope { src, dst, message } in added {
        let what = describe(message);
        let known = said
            .iter_mut()
            .find(|(from, known, _)| *from == src && *known == what);
        match known {
            Some((_, _, to)) => to.push(format!("s{dst}")),
            None => said.push((src, what, vec![format!("s{dst}")])),
        }
    }
    let in_words = |(src, what, to): (&ServerId, String, Vec<String>)| {
        format!("s{src} to {}: {what}", to.join(" and "))
    };
    said.into_iter().map(in_words).collect()
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
