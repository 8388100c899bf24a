//! The world around the actors of a protocol: a hostile network, crashes, restarts, a server cut off.
//!
//! Spec: `spec/consensus.md`, "The world". The network is a set of datagrams: sending adds one, delivering does not
//! take it away. So loss, repetition, delay and reordering need no steps of their own. What it must never do: be
//! kinder than the real world, unless the bounds say `timely`.

use super::bounds::Bounds;
use super::protocol::Protocol;
use super::way_out::Ways;
use stateright::actor::{Command, Id, Out};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A message with its sender and its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Envelope<M> {
    pub src: Id,
    pub dst: Id,
    pub message: M,
}

/// One server: what its disk has, and what it has in mind while it is up.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Node<P: Protocol> {
    pub disk: Option<P::Storage>,
    /// `None`: it is down.
    pub state: Option<P::State>,
    pub timers: BTreeSet<P::Timer>,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    pub timeouts: u8,
    pub crashes: u8,
    pub partitions: u8,
    /// No more faults, and who is down stays down: the peace in which [`Ways`] looks for a way out.
    pub peace: bool,
}

/// A state of the whole.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct World<P: Protocol> {
    pub nodes: Vec<Node<P>>,
    /// What was sent and may still have an effect, in order, and all that clients were told.
    pub network: Vec<Envelope<P::Msg>>,
    /// Who is cut off from the others.
    pub isolated: Option<Id>,
    pub left: Budget,
    /// What the invariants remember.
    pub past: P::Past,
}

/// One thing that can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<P: Protocol> {
    /// A datagram arrives; it may arrive again.
    Deliver(Envelope<P::Msg>),
    /// A timer of a server fires.
    Timeout(Id, P::Timer),
    /// A server dies; what is not on its disk is lost.
    Crash(Id),
    /// It starts with what its disk has.
    Restart(Id),
    /// Nothing reaches a server any more, and nothing of what it sends arrives.
    Isolate(Id),
    /// It is reached again.
    Rejoin(Id),
}

/// The actors of a protocol in their world, within bounds.
pub struct Ensemble<P: Protocol> {
    pub protocol: P,
    pub bounds: Bounds,
    /// The rule that is off, if one is.
    pub broken: Option<P::Rule>,
    /// The invariants or claims that are looked at, by id.
    pub ids: Vec<&'static str>,
    /// Whether witnesses are looked for.
    pub witnesses: bool,
    /// Whether a step that changes nothing is one.
    pub idle_steps: bool,
    pub ways: Ways,
}

/// Who asks for something and is told what became of it. It is nobody of the ensemble.
pub fn client() -> Id {
    Id::from(u32::MAX as usize)
}

impl<P: Protocol> World<P> {
    pub fn node(&self, id: Id) -> &Node<P> {
        &self.nodes[usize::from(id)]
    }

    /// What a server has in mind; `None` if it is down.
    pub fn state(&self, id: Id) -> Option<&P::State> {
        self.node(id).state.as_ref()
    }

    pub fn is_up(&self, id: Id) -> bool {
        self.node(id).state.is_some()
    }

    /// Those who are up, with what they have in mind.
    pub fn up(&self) -> impl Iterator<Item = (Id, &P::State)> {
        self.ids().filter_map(|id| Some((id, self.state(id)?)))
    }

    /// How many are down.
    pub fn down(&self) -> usize {
        self.nodes
            .iter()
            .filter(|node| node.state.is_none())
            .count()
    }

    pub fn ids(&self) -> impl Iterator<Item = Id> + use<P> {
        (0..self.nodes.len()).map(Id::from)
    }

    /// What clients were told.
    pub fn answers(&self) -> impl Iterator<Item = &P::Msg> {
        let to_client = self.network.iter().filter(|e| e.dst == client());
        to_client.map(|envelope| &envelope.message)
    }

    pub fn send(&mut self, envelope: Envelope<P::Msg>) {
        if let Err(place) = self.network.binary_search(&envelope) {
            self.network.insert(place, envelope);
        }
    }

    /// Whether what the one sends can reach the other.
    fn reaches(&self, src: Id, dst: Id) -> bool {
        self.isolated != Some(src) && self.isolated != Some(dst)
    }
}

impl<P: Protocol> Ensemble<P> {
    /// Everybody is up; what clients ask for is on its way.
    pub fn first(&self) -> World<P> {
        let mut world = self.without_requests();
        for (dst, message) in self.protocol.requests(self.bounds.writes) {
            let src = client();
            world.send(Envelope { src, dst, message });
        }
        world
    }

    /// Everybody is up, and nobody asks for anything.
    pub fn without_requests(&self) -> World<P> {
        let nobody = Node {
            disk: None,
            state: None,
            timers: BTreeSet::new(),
        };
        let mut world = World {
            nodes: vec![nobody; self.bounds.size()],
            network: Vec::new(),
            isolated: None,
            left: self.budget(),
            past: P::Past::default(),
        };
        for id in world.ids() {
            self.on_restart(&mut world, id);
        }
        world
    }

    /// What may happen before anything has.
    fn budget(&self) -> Budget {
        Budget {
            timeouts: self.bounds.timeouts,
            crashes: self.bounds.crashes,
            partitions: self.bounds.partitions,
            peace: false,
        }
    }

    /// What can happen in a state; some of it may change nothing.
    pub fn conceivable(&self, world: &World<P>) -> Vec<Action<P>> {
        let left = world.left;
        let mut actions: Vec<_> = self.deliveries(world).collect();
        let quiet = !self.bounds.timely || self.is_quiet(world);
        let untouched = P::ALIKE && left == self.budget();
        for id in world
            .ids()
            .take(if untouched { 1 } else { world.nodes.len() })
        {
            if !world.is_up(id) {
                actions.extend((!left.peace).then_some(Action::Restart(id)));
                continue;
            }
            if left.timeouts > 0 && quiet {
                let timers = world.node(id).timers.iter().cloned();
                actions.extend(timers.map(|timer| Action::Timeout(id, timer)));
            }
            if left.crashes > 0 {
                actions.push(Action::Crash(id));
            }
            if left.partitions > 0 && world.isolated.is_none() {
                actions.push(Action::Isolate(id));
            }
        }
        let rejoins = world.isolated.filter(|_| !left.peace);
        actions.extend(rejoins.map(Action::Rejoin));
        actions
    }

    fn deliveries(&self, world: &World<P>) -> impl Iterator<Item = Action<P>> {
        let arrives = |envelope: &&Envelope<P::Msg>| {
            let Envelope { src, dst, .. } = **envelope;
            dst != client() && world.is_up(dst) && world.reaches(src, dst)
        };
        let arriving = world.network.iter().filter(arrives);
        arriving.map(|envelope| Action::Deliver(envelope.clone()))
    }

    /// Nothing is on its way that would still change anything.
    fn is_quiet(&self, world: &World<P>) -> bool {
        self.deliveries(world)
            .all(|delivery| self.act(world, &delivery).is_none())
    }

    /// The state after an action, without what is obsolete then; `None` if the action changes nothing.
    pub fn act(&self, world: &World<P>, action: &Action<P>) -> Option<World<P>> {
        let mut next = self.step(world, action)?;
        self.drop_obsolete(&mut next);
        let same = next.nodes == world.nodes && next.network == world.network;
        if same && matches!(action, Action::Timeout(..)) {
            return None; // All that it sends again has had its effect: it takes nothing from the budget.
        }
        (next != *world).then_some(next)
    }

    /// The same, with all messages that were ever sent.
    pub fn step(&self, world: &World<P>, action: &Action<P>) -> Option<World<P>> {
        let mut next = world.clone();
        match action {
            Action::Deliver(Envelope { src, dst, message }) => {
                let message = message.clone();
                self.run(&mut next, *dst, |actor, state, out| {
                    actor.on_msg(*dst, state, *src, message, out);
                });
            }
            Action::Timeout(id, timer) => {
                next.nodes[usize::from(*id)].timers.remove(timer);
                self.run(&mut next, *id, |actor, state, out| {
                    actor.on_timeout(*id, state, timer, out);
                });
                if next.nodes == world.nodes && next.network == world.network {
                    return None;
                }
                next.left.timeouts -= 1;
            }
            Action::Crash(id) => self.on_crash(&mut next, *id),
            Action::Restart(id) => self.on_restart(&mut next, *id),
            Action::Isolate(id) => {
                next.left.partitions -= 1;
                next.isolated = Some(*id);
            }
            Action::Rejoin(_) => next.isolated = None,
        }
        self.protocol.note(&mut next);
        (next != *world).then_some(next)
    }

    /// Takes away what can have no effect any more: that loses no behaviour, and many states become one.
    fn drop_obsolete(&self, world: &mut World<P>) {
        let nodes = &world.nodes;
        world.network.retain(|envelope| {
            let receiver = nodes.get(usize::from(envelope.dst));
            let state = receiver.and_then(|node| node.state.as_ref());
            !state.is_some_and(|state| self.protocol.is_obsolete(state, envelope))
        });
    }

    fn on_crash(&self, world: &mut World<P>, id: Id) {
        world.left.crashes -= 1;
        let node = &mut world.nodes[usize::from(id)];
        node.state = None;
        node.timers.clear();
        if self.bounds.timely {
            // What was still to arrive of it had arrived before, or is lost: it cannot come after the timeouts.
            world
                .network
                .retain(|envelope| envelope.src != id || envelope.dst == client());
        }
    }

    fn on_restart(&self, world: &mut World<P>, id: Id) {
        let mut out = Out::new();
        let node = &mut world.nodes[usize::from(id)];
        node.state = Some(self.protocol.on_start(id, &node.disk, &mut out));
        Self::carry_out(world, id, out);
    }

    /// Runs a handler of a server that is up, and does what it wants done.
    fn run(
        &self,
        world: &mut World<P>,
        id: Id,
        handler: impl FnOnce(&P, &mut Cow<'_, P::State>, &mut Out<P>),
    ) {
        let mut out = Out::new();
        let Some(before) = world.nodes[usize::from(id)].state.take() else {
            return;
        };
        let mut state = Cow::Owned(before);
        handler(&self.protocol, &mut state, &mut out);
        world.nodes[usize::from(id)].state = Some(state.into_owned());
        Self::carry_out(world, id, out);
    }

    fn carry_out(world: &mut World<P>, src: Id, out: Out<P>) {
        for command in out {
            let node = &mut world.nodes[usize::from(src)];
            match command {
                Command::Send(dst, message) => world.send(Envelope { src, dst, message }),
                Command::Save(storage) => node.disk = Some(storage),
                Command::SetTimer(timer, _) => {
                    node.timers.insert(timer);
                }
                Command::CancelTimer(timer) => {
                    node.timers.remove(&timer);
                }
                Command::ChooseRandom(..) => {
                    unreachable!("chance is the order in which timers fire")
                }
            }
        }
    }
}
