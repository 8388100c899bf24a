//! States and steps of a protocol in words, and as a diagram.

use super::environment::{Action, Ensemble, Envelope, World, client};
use super::protocol::Protocol;
use crate::report;
use crate::svg::{Arrow, Diagram, Kind, Mark, Row, Stand};
use crate::tale::{self, Line};
use serde_json::{Value, json};
use stateright::actor::Id;
use std::collections::BTreeMap;

/// Somebody, by what he is.
pub fn name<P: Protocol>(protocol: &P, id: Id) -> String {
    match id == client() {
        true => "the client".to_owned(),
        false => protocol.name_of(id),
    }
}

/// A step, as a sentence.
pub fn sentence<P: Protocol>(protocol: &P, action: &Action<P>) -> String {
    let name = |id: &Id| name(protocol, *id);
    match action {
        Action::Deliver(Envelope { src, dst, message }) => {
            let message = protocol.message(message);
            format!("{} receives {message} from {}", name(dst), name(src))
        }
        Action::Timeout(id, timer) => format!("{} {}", name(id), protocol.timeout(timer)),
        Action::Crash(id) => format!("{} crashes", name(id)),
        Action::Restart(id) => format!("{} starts", name(id)),
        Action::Isolate(id) => format!("{} is cut off from the others", name(id)),
        Action::Rejoin(id) => format!("{} is reached again", name(id)),
    }
}

/// An action as a file keeps it.
pub fn saved<P: Protocol>(action: &Action<P>) -> Value {
    let number = |id: &Id| usize::from(*id) + 1;
    match action {
        Action::Deliver(Envelope { src, dst, message }) => {
            let from = (*src != client()).then(|| number(src));
            let message = format!("{message:?}");
            json!({ "deliver": { "from": from, "to": number(dst), "message": message } })
        }
        Action::Timeout(id, timer) => {
            json!({ "timeout": { "server": number(id), "timer": format!("{timer:?}") } })
        }
        Action::Crash(id) => json!({ "crash": { "server": number(id) } }),
        Action::Restart(id) => json!({ "restart": { "server": number(id) } }),
        Action::Isolate(id) => json!({ "isolate": { "server": number(id) } }),
        Action::Rejoin(id) => json!({ "rejoin": { "server": number(id) } }),
    }
}

/// Each server of a state in a line.
pub fn lines<P: Protocol>(protocol: &P, before: Option<&World<P>>, world: &World<P>) -> Vec<Line> {
    let line = |id: Id| {
        let node = world.node(id);
        let words = match (&node.state, &node.disk) {
            (Some(state), _) => protocol.state(state),
            (None, Some(disk)) => format!("down; on disk: {}", protocol.disk(disk)),
            (None, None) => "down; nothing on disk".to_owned(),
        };
        let cut_off = |world: &World<P>| world.isolated == Some(id);
        let cut = if cut_off(world) { "; cut off" } else { "" };
        Line {
            text: format!("{}  {words}{cut}", protocol.name_of(id)),
            changed: before
                .is_some_and(|before| before.node(id) != node || cut_off(before) != cut_off(world)),
        }
    };
    world.ids().map(line).collect()
}

/// What a step has sent for the first time.
pub fn sent<P: Protocol>(protocol: &P, before: &World<P>, after: &World<P>) -> Vec<String> {
    let mut to: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let new = after
        .network
        .iter()
        .filter(|envelope| before.network.binary_search(envelope).is_err());
    for Envelope { src, dst, message } in new {
        to.entry((src, message))
            .or_default()
            .push(name(protocol, *dst));
    }
    let words = |((_, message), names): ((&Id, &P::Msg), Vec<String>)| {
        format!("{} to {}", protocol.message(message), names.join(", "))
    };
    to.into_iter().map(words).collect()
}

/// The diagram of a path: a lane for each server, and one for the client.
pub fn diagram<P: Protocol>(
    model: &Ensemble<P>,
    path: &[(World<P>, Option<Action<P>>)],
) -> Diagram {
    let protocol = &model.protocol;
    let mut rows = Vec::new();
    for (row, (world, _)) in path.iter().enumerate() {
        let taken = row
            .checked_sub(1)
            .and_then(|before| path[before].1.as_ref());
        let stand = |id| match world.state(id) {
            Some(state) => protocol.stand(state),
            None => Stand {
                kind: Kind::Down,
                words: "down".to_owned(),
            },
        };
        let of_client = Stand {
            kind: Kind::Idle,
            words: String::new(),
        };
        rows.push(Row {
            number: row as u64,
            text: taken.map_or_else(
                || "at first".to_owned(),
                |action| sentence(protocol, action),
            ),
            stands: world.ids().map(stand).chain([of_client]).collect(),
            marks: taken.map(mark).into_iter().collect(),
            arrow: taken.and_then(|action| arrow(path, action)),
        });
    }
    let ids = path.first().into_iter().flat_map(|(world, _)| world.ids());
    let names = ids.map(|id| protocol.name_of(id));
    Diagram {
        title: report::heading(model),
        lanes: names.chain(["client".to_owned()]).collect(),
        rows,
        broken: tale::broken(model, path),
    }
}

fn mark<P: Protocol>(action: &Action<P>) -> (usize, Mark) {
    let (id, mark) = match action {
        Action::Deliver(envelope) => (envelope.dst, Mark::Step),
        Action::Restart(id) | Action::Rejoin(id) => (*id, Mark::Step),
        Action::Timeout(id, _) => (*id, Mark::Timeout),
        Action::Crash(id) | Action::Isolate(id) => (*id, Mark::Fault),
    };
    (usize::from(id), mark)
}

fn arrow<P: Protocol>(path: &[(World<P>, Option<Action<P>>)], action: &Action<P>) -> Option<Arrow> {
    let Action::Deliver(envelope) = action else {
        return None;
    };
    let lane = |id: Id| usize::from(id).min(path[0].0.nodes.len());
    let was_sent = |(world, _): &(World<P>, _)| world.network.binary_search(envelope).is_ok();
    Some(Arrow {
        from: lane(envelope.src),
        since: path.iter().position(was_sent).unwrap_or(0),
        to: lane(envelope.dst),
    })
}
