//! What a command costs when nothing fails: counted in the model, with all messages of a round arriving in the next.
//!
//! Spec: `spec/consensus.md`, "Side by side".

use super::bounds::Bounds;
use super::environment::{Action, Ensemble, Envelope, World, client};
use super::protocol::Protocol;

/// The cost of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Between servers, until all is quiet again.
    pub messages: usize,
    /// How many messages one after the other, from the server that was asked to the answer.
    pub delays: usize,
    /// How often a server had to wait for its disk.
    pub saves: usize,
}

/// The costs of the first command, and of the next one if there can be one.
pub fn measure<P: Protocol>() -> (Cost, Option<Cost>) {
    let first = P::CARD.bounds[0];
    let bounds = match first.servers {
        0 => Bounds::roles(first.proposers, first.acceptors),
        servers => Bounds::servers(servers),
    };
    let model = Ensemble::<P>::faithful(bounds.timeouts(u8::MAX));
    let mut world = model.without_requests();
    let (one, two) = (model.protocol.requests(1), model.protocol.requests(2));
    let cost_of_first = drive(&model, &mut world, &one, 1);
    let next = P::LOG.then(|| drive(&model, &mut world, &two[one.len()..], 2));
    (cost_of_first, next)
}

/// Asks for something and lets all messages arrive, until so many commands are done and all is quiet. A timer fires only
/// when nothing else happens: that is how somebody becomes the leader.
fn drive<P: Protocol>(
    model: &Ensemble<P>,
    world: &mut World<P>,
    requests: &[(stateright::actor::Id, P::Msg)],
    writes: u8,
) -> Cost {
    let request = |(dst, message): &(_, P::Msg)| Envelope {
        src: client(),
        dst: *dst,
        message: message.clone(),
    };
    let mut cost = Cost::default();
    let mut waiting: Vec<_> = world.network.clone();
    waiting.retain(|envelope| envelope.dst != client());
    waiting.extend(requests.iter().map(request));
    let mut rounds = 0;
    loop {
        rounds += 1;
        let mut sent = Vec::new();
        for envelope in std::mem::take(&mut waiting) {
            take(
                model,
                world,
                &Action::Deliver(envelope),
                &mut cost,
                &mut sent,
            );
        }
        if cost.delays == 0 && P::done(world, writes) {
            cost.delays = rounds - 1;
        }
        waiting = sent;
        if !waiting.is_empty() {
            continue;
        }
        if P::done(world, writes) {
            return cost;
        }
        let timer = world.ids().find_map(|id| {
            let timer = world.node(id).timers.first()?;
            Some(Action::Timeout(id, timer.clone()))
        });
        let timer = timer.expect("without faults every protocol goes on");
        take(model, world, &timer, &mut cost, &mut waiting);
        // What comes of a timer is for a leader, not for the command; the client asks again.
        waiting.extend(requests.iter().map(request));
        rounds = 0;
    }
}

/// Takes a step, counts what it costs, and adds what it sends.
fn take<P: Protocol>(
    model: &Ensemble<P>,
    world: &mut World<P>,
    action: &Action<P>,
    cost: &mut Cost,
    sent: &mut Vec<Envelope<P::Msg>>,
) {
    let Some(next) = model.step(world, action) else {
        return;
    };
    let is_new = |envelope: &&Envelope<P::Msg>| {
        envelope.dst != client() && world.network.binary_search(envelope).is_err()
    };
    let new: Vec<_> = next.network.iter().filter(is_new).cloned().collect();
    cost.messages += new.len();
    let disks = world.nodes.iter().zip(&next.nodes);
    cost.saves += disks.filter(|(old, new)| old.disk != new.disk).count();
    sent.extend(new);
    *world = next;
}
