//! The answer to the word `quor`: what a server knows of the quorum, whether there is one or not.
//!
//! Spec: `spec/6-server.md`, "Four-letter words". What it must never do: leave a server of the ensemble out.

use crate::quorum::{Membership, ServerSet};
use crate::service::quorum::{Quorum, Standing};
use crate::types::Zxid;
use std::fmt::Write;

/// Lines of `name: value`.
pub(super) fn quor(quorum: &Quorum) -> String {
    let mut text = format!(
        "Server: {}\nRole: {}\nQuorum: {}\n",
        quorum.sid,
        role(&quorum.standing),
        match quorum.is_there() {
            true => "yes",
            false => "no",
        }
    );
    // Writing to a string cannot fail.
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}: {value}");
    };
    let (accepted, current) = (quorum.accepted_epoch, quorum.current_epoch);
    line("Epoch", &format!("{current}, accepted {accepted}"));
    let [last, durable, committed] =
        [quorum.last, quorum.durable, quorum.committed].map(|Zxid(zxid)| format!("0x{zxid:x}"));
    let history = format!("up to {last}, durable {durable}, committed {committed}");
    line("History", &history);
    line("Voters", &list(&quorum.now.voters));
    line("Observers", &list(&quorum.now.observers));
    if let Some(next) = &quorum.next {
        line("Next voters", &list(&next.voters));
        line("Next observers", &list(&next.observers));
    }
    if let Standing::Leading { active, .. } = &quorum.standing {
        let memberships = [Some(&quorum.now), quorum.next.as_ref()];
        let members = memberships.into_iter().flatten().map(members);
        let guests = active.keys().copied().collect();
        let all = members.fold(guests, |all: ServerSet, some| all.union(&some));
        for peer in all.iter().filter(|peer| *peer != quorum.sid) {
            let state = match active.get(&peer) {
                None => "not heard of".to_owned(),
                Some(None) => "not up to date".to_owned(),
                Some(Some(Zxid(acked))) => format!("has acknowledged 0x{acked:x}"),
            };
            line(&format!("Server {peer}"), &state);
        }
    }
    text
}

fn role(standing: &Standing) -> String {
    match standing {
        Standing::Looking {
            candidate,
            supporters,
        } => format!("LOOKING, votes for {candidate} with {}", list(supporters)),
        Standing::Following { leader, serving } => match serving {
            true => format!("FOLLOWING {leader}"),
            false => format!("FOLLOWING {leader}, not up to date"),
        },
        Standing::Leading { established, .. } => match established {
            true => "LEADING".to_owned(),
            false => "LEADING, not established".to_owned(),
        },
    }
}

fn members(membership: &Membership) -> ServerSet {
    membership.voters.union(&membership.observers)
}

fn list(servers: &ServerSet) -> String {
    let ids: Vec<String> = servers.iter().map(|sid| sid.to_string()).collect();
    match ids.is_empty() {
        true => "-".to_owned(),
        false => ids.join(" "),
    }
}
