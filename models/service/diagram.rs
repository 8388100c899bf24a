//! The diagram of a path through the states of the service: a lane for each server and each client.

use super::explain::{name, sentence};
use super::oracle::Standing;
use super::world::{Client, Server, World};
use super::{Action, Model};
use crate::report;
use crate::svg::{Arrow, Diagram, Kind, Mark, Row, Stand};
use crate::tale;
use keepright::types::ServerId;
use std::collections::HashMap;

/// The diagram of a path.
pub fn of_path(model: &Model, path: &[(World, Option<Action>)]) -> Diagram {
    let mut rows = Vec::new();
    // In which row each datagram was sent that is under way.
    let mut sent: HashMap<usize, usize> = HashMap::new();
    for (row, (world, _)) in path.iter().enumerate() {
        let before = row.checked_sub(1).map(|before| &path[before]);
        let taken = before.and_then(|(world, action)| Some((world, (*action)?)));
        let servers = world.ids().map(|id| of_server(world.server(id).get()));
        let clients = world.clients.iter().map(|client| of_client(client.get()));
        rows.push(Row {
            number: row as u64,
            text: match &taken {
                None => "at first".to_owned(),
                Some((_, action)) => sentence(model, action),
            },
            stands: servers.chain(clients).collect(),
            marks: taken.map_or_else(Vec::new, |(world, action)| marks(world, action)),
            arrow: taken.and_then(|(world, action)| arrow(world, action, row, &sent)),
        });
        for envelope in &world.network {
            sent.entry(envelope.address()).or_insert(row);
        }
    }
    let first = path.first().map(|(world, _)| world);
    let servers = first.into_iter().flat_map(|world| world.ids());
    let servers = servers.map(|id| format!("server {id}"));
    let clients = (0..model.bounds.clients()).map(name);
    Diagram {
        title: report::heading(model),
        lanes: servers.chain(clients).collect(),
        rows,
        broken: tale::broken(model, path),
    }
}

fn lane(id: ServerId) -> usize {
    usize::from(id.0) - 1
}

fn lane_of(world: &World, client: usize) -> usize {
    world.servers.len() + client
}

fn arrow(world: &World, action: Action, row: usize, sent: &HashMap<usize, usize>) -> Option<Arrow> {
    match action {
        Action::Connect { client, server } | Action::Send { client, server, .. } => Some(Arrow {
            from: lane_of(world, client),
            since: row,
            to: lane(server),
        }),
        Action::Hear { client, .. } => {
            let connection = world.clients[client].get().connection.as_ref()?;
            Some(Arrow {
                from: lane(connection.server),
                since: row,
                to: lane_of(world, client),
            })
        }
        Action::Arrive { client, index } => {
            let late = world.clients[client].get().late.get(index)?;
            Some(Arrow {
                from: lane_of(world, client),
                since: row,
                to: lane(late.server),
            })
        }
        Action::Deliver(envelope) => Some(Arrow {
            from: lane(envelope.src),
            since: sent.get(&envelope.address()).copied().unwrap_or(0),
            to: lane(envelope.dst),
        }),
        Action::Cut { .. }
        | Action::Break(_)
        | Action::Commit(_)
        | Action::Tell { .. }
        | Action::Elect { .. }
        | Action::Follow(_)
        | Action::Lose(_)
        | Action::Snap(_)
        | Action::Crash(_)
        | Action::Restart(_)
        | Action::Expire(_)
        | Action::Sweep
        | Action::Retransmit(_) => None,
    }
}

fn marks(world: &World, action: Action) -> Vec<(usize, Mark)> {
    let mark = match action {
        Action::Connect { client, .. }
        | Action::Send { client, .. }
        | Action::Hear { client, .. } => (lane_of(world, client), Mark::Step),
        Action::Cut { client, .. } | Action::Break(client) => (lane_of(world, client), Mark::Fault),
        Action::Expire(client) => (lane_of(world, client), Mark::Timeout),
        Action::Arrive { client, index } => match world.clients[client].get().late.get(index) {
            Some(late) => (lane(late.server), Mark::Step),
            None => return Vec::new(),
        },
        Action::Deliver(envelope) => (lane(envelope.dst), Mark::Step),
        Action::Commit(_) | Action::Sweep => match world.log.leader {
            Some(leader) => (lane(leader), Mark::Step),
            None => return Vec::new(),
        },
        Action::Tell { server, .. }
        | Action::Elect { server, .. }
        | Action::Follow(server)
        | Action::Snap(server)
        | Action::Restart(server)
        | Action::Retransmit(server) => (lane(server), Mark::Step),
        Action::Lose(server) => (lane(server), Mark::Timeout),
        Action::Crash(server) => (lane(server), Mark::Fault),
    };
    vec![mark]
}

fn of_server(server: &Server) -> Stand {
    let (epoch, applied) = (server.copy.epoch, server.copy.committed);
    let (kind, words) = match server.copy.standing {
        _ if server.service.is_none() => (Kind::Down, "down".to_owned()),
        Standing::Looking => (Kind::Idle, "LOOKING".to_owned()),
        Standing::Following(_) => (Kind::Follows, format!("epoch {epoch}, at {applied}")),
        Standing::Leading => (Kind::Leads, format!("LEADS {epoch}, at {applied}")),
    };
    Stand { kind, words }
}

fn of_client(client: &Client) -> Stand {
    let (kind, words) = match &client.connection {
        None if client.ended => (Kind::Down, "session over".to_owned()),
        None => (Kind::Idle, "no connection".to_owned()),
        Some(connection) => {
            let (server, seen) = (connection.server, client.seen);
            (Kind::Follows, format!("at server {server}, saw {seen}"))
        }
    };
    Stand { kind, words }
}
