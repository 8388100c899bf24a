//! The diagram of a path through the states of an ensemble: a lane for each server.

use crate::environment::{Action, Environment};
use crate::explain::sentence;
use crate::report;
use crate::svg::{Arrow, Diagram, Kind, Mark, Row, Stand};
use crate::tale;
use crate::world::World;
use keepright::types::ServerId;
use keepright::zab::{Follower, Leader, Payload, Role, Stage, State};
use std::collections::HashMap;

/// The diagram of a path.
pub fn of_path(model: &Environment, path: &[(World, Option<Action>)]) -> Diagram {
    let mut rows = Vec::new();
    // In which row each datagram was sent that is under way.
    let mut sent: HashMap<usize, usize> = HashMap::new();
    for (row, (world, _)) in path.iter().enumerate() {
        let taken = row.checked_sub(1).and_then(|before| path[before].1);
        let role = |id| world.server(id).get().state.as_ref().map(State::role);
        let stands = world.ids().map(|id| stand(role(id)));
        rows.push(Row {
            number: row as u64,
            text: taken.map_or_else(|| "at first".to_owned(), |action| sentence(&action)),
            stands: stands.collect(),
            marks: taken.map_or_else(Vec::new, marks),
            arrow: taken.and_then(|action| match action {
                Action::Deliver(envelope) => Some(Arrow {
                    from: lane(envelope.src),
                    since: sent.get(&envelope.address()).copied().unwrap_or(0),
                    to: lane(envelope.dst),
                }),
                Action::Flush(_)
                | Action::Elect { .. }
                | Action::Finalize(_)
                | Action::Write(_)
                | Action::Timeout(_)
                | Action::Silence { .. }
                | Action::Crash { .. }
                | Action::Outage(_)
                | Action::DiskError { .. }
                | Action::Wipe(_)
                | Action::Alone(_)
                | Action::Restart(_)
                | Action::Snapshot(_)
                | Action::Heartbeat(_) => None,
            }),
        });
        for envelope in world.network() {
            sent.entry(envelope.address()).or_insert(row);
        }
    }
    let servers = path.first().into_iter().flat_map(|(world, _)| world.ids());
    let broken = tale::broken(model, path);
    Diagram {
        title: report::heading(model),
        lanes: servers.map(|id| format!("server {id}")).collect(),
        rows,
        broken,
    }
}

fn lane(id: ServerId) -> usize {
    usize::from(id.0) - 1
}

fn marks(action: Action) -> Vec<(usize, Mark)> {
    match action {
        Action::Deliver(envelope) => vec![(lane(envelope.dst), Mark::Step)],
        Action::Flush(server)
        | Action::Elect { server, .. }
        | Action::Finalize(server)
        | Action::Write(server)
        | Action::Restart(server)
        | Action::Snapshot(server)
        | Action::Heartbeat(server) => vec![(lane(server), Mark::Step)],
        Action::Timeout(server) | Action::Silence { server, .. } => {
            vec![(lane(server), Mark::Timeout)]
        }
        Action::Crash { server, .. }
        | Action::DiskError { server, .. }
        | Action::Wipe(server)
        | Action::Alone(server) => vec![(lane(server), Mark::Fault)],
        Action::Outage(remains) => {
            let servers = remains.of_servers();
            servers.map(|(id, _)| (lane(id), Mark::Fault)).collect()
        }
    }
}

/// What a server does, in a few words; without a role it is down.
pub fn stand<P: Payload>(role: Option<&Role<P>>) -> Stand {
    let (kind, words) = match role {
        None => (Kind::Down, "down".to_owned()),
        Some(Role::Looking(_)) => (Kind::Idle, "LOOKING".to_owned()),
        Some(Role::Following(Follower { leader, epoch, .. })) => {
            let epoch = epoch.map_or(String::new(), |epoch| format!(", epoch {epoch}"));
            (Kind::Follows, format!("FOLLOWING {leader}{epoch}"))
        }
        Some(Role::Leading(Leader { stage, .. })) => {
            let words = match stage {
                Stage::Discovery { .. } => "LEADING".to_owned(),
                Stage::NewEpoch { epoch, .. } => format!("proposes epoch {epoch}"),
                Stage::Broadcast {
                    epoch,
                    established: false,
                    ..
                } => format!("begins epoch {epoch}"),
                Stage::Broadcast { epoch, .. } => format!("LEADS epoch {epoch}"),
            };
            (Kind::Leads, words)
        }
    };
    Stand { kind, words }
}
