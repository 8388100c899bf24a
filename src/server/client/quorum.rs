//! The answer to the word `quor`: what a server knows of the quorum, whether there is one or not.
//!
//! Spec: `spec/6-server.md`, "Four-letter words". What it must never do: leave a server of the ensemble out.

use crate::quorum::{Membership, ServerSet};
use crate::service::quorum::{Quorum, Standing};
use crate::types::Zxid;
use crate::zab::Memory;
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
    let Zxid(applied) = quorum.applied;
    let digest = format!("0x{:x} at 0x{applied:x}", quorum.digest);
    let digest = match quorum.mismatch {
        None => digest,
        Some(mismatch) => format!("{digest}, DIFFERS since 0x{:x}", mismatch.zxid.0),
    };
    line("Digest", &digest);
    let now = Some((["Voters", "Group", "Observers"], &quorum.now));
    let next = quorum.next.as_ref();
    let next = next.map(|next| (["Next voters", "Next group", "Next observers"], next));
    for ([voters, group, observers], membership) in now.into_iter().chain(next) {
        line(voters, &list(&membership.voters));
        for weights in membership.groups() {
            let all = weights.iter();
            let all = all.map(|(sid, weight)| format!("{sid} with weight {weight}"));
            line(group, &all.collect::<Vec<_>>().join(", "));
        }
        line(observers, &list(&membership.observers));
    }
    match quorum.memory {
        Memory::Kept => {}
        Memory::New => line("Disk", "empty: counts only where nobody has data"),
        Memory::Forgot => line(
            "Disk",
            "was empty: counts in no quorum until it is up to date",
        ),
    }
    for (peer, divergence) in &quorum.diverged {
        line(
            &format!("Diverged from server {peer}"),
            &divergence.to_string(),
        );
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::digest::Mismatch;
    use crate::types::{Epoch, ServerId};

    #[test]
    fn a_leader_tells_who_counts_how_much_now_and_next_and_how_far_each_is() {
        let [one, two, three] = [1, 2, 3].map(ServerId);
        let now = Membership::weighted([vec![(one, 3), (two, 1)], vec![(three, 1)]]);
        let active = [(one, Some(Zxid::new(Epoch(2), 1))), (two, None)];
        let quorum = Quorum {
            sid: one,
            standing: Standing::Leading {
                established: true,
                active: active.into(),
            },
            accepted_epoch: Epoch(2),
            current_epoch: Epoch(2),
            last: Zxid::new(Epoch(2), 1),
            durable: Zxid::new(Epoch(2), 1),
            committed: Zxid::ZERO,
            diverged: Default::default(),
            memory: Memory::Kept,
            applied: Zxid(7),
            digest: 0xabc,
            mismatch: Some(Mismatch {
                zxid: Zxid(5),
                own: 1,
                leaders: Some(2),
            }),
            now,
            next: Some(Membership::majority([one, two].into_iter().collect())),
        };
        let expected = "\
Server: 1
Role: LEADING
Quorum: yes
Epoch: 2, accepted 2
History: up to 0x200000001, durable 0x200000001, committed 0x0
Digest: 0xabc at 0x7, DIFFERS since 0x5
Voters: 1 2 3
Group: 1 with weight 3, 2 with weight 1
Group: 3 with weight 1
Observers: -
Next voters: 1 2
Next observers: -
Server 2: not up to date
Server 3: not heard of
";
        assert_eq!(quor(&quorum), expected);
    }
}
