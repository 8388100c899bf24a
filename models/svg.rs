//! A path as a sequence diagram: time downwards, a line for each server.

use crate::environment::{Action, Environment};
use crate::explain::{describe, sentence};
use crate::intern::Interned;
use crate::world::{Envelope, World};
use keepright::types::ServerId;
use std::collections::HashMap;
use std::fmt::Write as _;

const COLUMN: usize = 340;
/// Room at both sides for texts that are wider than a column.
const MARGIN: usize = 100;
const ROW: usize = 34;
const TOP: usize = 46;

/// The diagram of a path, as SVG. Each row is a step; an arrow runs from the row in which a datagram
/// was sent to the row in which it arrives.
pub fn sequence_diagram(model: &Environment, path: &[(World, Option<Action>)]) -> String {
    let Some((first, _)) = path.first() else {
        return String::new();
    };
    let servers: Vec<ServerId> = first.ids().collect();
    let (width, height) = (
        COLUMN * servers.len() + 2 * MARGIN,
        TOP + ROW * (path.len() + 1),
    );
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' \
         viewBox='0 0 {width} {height}' font-family='monospace' font-size='12'>\
         <defs><marker id='arrow' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='7' \
         markerHeight='7' orient='auto'><path d='M0 0L10 5L0 10z' fill='#4a90d9'/></marker></defs>\
         <rect width='{width}' height='{height}' fill='#ffffff'/>"
    );
    for id in &servers {
        let x = column(*id);
        let _ = write!(
            svg,
            "<text x='{x}' y='20' text-anchor='middle' font-weight='bold' fill='#222'>server {id}\
             </text><line x1='{x}' y1='30' x2='{x}' y2='{height}' stroke='#bbb'/>"
        );
    }
    let mut sent: HashMap<usize, usize> = HashMap::new();
    for envelope in first.network() {
        sent.insert(envelope.address(), 0);
    }
    for (row, pair) in path.windows(2).enumerate() {
        let (Some(action), world) = (&pair[0].1, &pair[1].0) else {
            continue;
        };
        let broken = model.broken(world).next().is_some();
        draw_step(&mut svg, action, row + 1, &sent, broken);
        for envelope in world.network() {
            sent.entry(envelope.address()).or_insert(row + 1);
        }
    }
    svg.push_str("</svg>");
    svg
}

fn draw_step(
    svg: &mut String,
    action: &Action,
    row: usize,
    sent: &HashMap<usize, usize>,
    broken: bool,
) {
    let y = TOP + ROW * row;
    let colour = if broken { "#c0392b" } else { "#222" };
    let (server, text) = match action {
        Action::Deliver(envelope) => {
            draw_arrow(
                svg,
                *envelope,
                sent.get(&envelope.address()).copied().unwrap_or(0),
                row,
            );
            (envelope.dst, describe(&envelope.message))
        }
        Action::Flush(server)
        | Action::Elect { server, .. }
        | Action::Finalize(server)
        | Action::Write(server)
        | Action::Timeout(server)
        | Action::Silence { server, .. }
        | Action::Crash { server, .. }
        | Action::DiskError { server, .. }
        | Action::Wipe(server)
        | Action::Restart(server)
        | Action::Snapshot(server)
        | Action::Heartbeat(server) => (*server, sentence(action)),
        Action::Outage(_) => (ServerId(1), sentence(action)),
    };
    let x = column(server);
    let _ = write!(
        svg,
        "<circle cx='{x}' cy='{y}' r='4' fill='{colour}'/>\
         <text x='{x}' y='{}' text-anchor='middle' fill='{colour}' stroke='#ffffff' \
         stroke-width='3' paint-order='stroke'>{row}. {}</text>",
        y - 8,
        escape(&text)
    );
}

fn draw_arrow(svg: &mut String, envelope: Interned<Envelope>, from: usize, to: usize) {
    let (x1, x2) = (column(envelope.src), column(envelope.dst));
    let (y1, y2) = (TOP + ROW * from, TOP + ROW * to);
    let _ = write!(
        svg,
        "<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' stroke='#4a90d9' \
         marker-end='url(#arrow)'/>"
    );
}

fn column(id: ServerId) -> usize {
    MARGIN + COLUMN * usize::from(id.0) - COLUMN / 2
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
