//! A server together with the datagrams that are for it, and how both change with the steps of others.
//!
//! Of these there are far fewer than of states, since very many states share them: so what a server may do
//! next, and what becomes of its part of the network, is found once and then looked up.

use crate::cache::Cache;
use crate::environment::Environment;
use crate::faults;
use crate::intern::{Interned, mix};
use crate::steps::LocalStep;
use crate::world::{Budget, Envelope, Known, OwnSteps, World, Writes};
use keepright::types::ServerId;
use keepright::zab::Message;
use keepright::zab::obsolete::{Hazards, Peer, Sender};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

/// What is on its way to a server.
pub type Inbox = SmallVec<[Interned<Envelope>; 4]>;

/// A server, its disk, and what is on its way to it.
pub struct Node {
    pub id: ServerId,
    pub process: Interned<Known>,
    /// In the order of their hashes.
    pub inbox: Inbox,
    /// The datagrams that have an effect, once that was asked.
    deliveries: OnceLock<Box<[&'static LocalStep]>>,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.process, &self.inbox) == (other.id, other.process, &other.inbox)
    }
}

impl Eq for Node {}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.id, self.process, &self.inbox).hash(state);
    }
}

/// What the step of one server brings to another: what it sends to it, and what it has made durable.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Effect {
    pub from: Sender,
    pub sent: SmallVec<[Interned<Envelope>; 4]>,
}

/// What a step brings to one server.
#[derive(Clone, Copy)]
pub struct Reach {
    pub to: ServerId,
    /// Whether what it has sent before may be obsolete now, since it has made something durable or found a leader.
    pub changes_sender: bool,
    /// That of the effect.
    pub number: u32,
    pub effect: Interned<Effect>,
}

impl Reach {
    /// Whether it says only what is on its way already, which is what many steps do.
    fn is_repetition(&self, node: &Node) -> bool {
        let mut sent = self.effect.get().sent.iter();
        !self.changes_sender && sent.all(|envelope| node.inbox.contains(envelope))
    }
}

/// What the rule for obsolete messages must know of the budgets: while something may still happen, it is
/// less strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    hazards: Hazards,
    wipes: bool,
}

impl Rules {
    pub fn of(budget: Budget) -> Self {
        let failures = [
            budget.crashes,
            budget.outages,
            budget.disk_errors,
            budget.wipes,
        ];
        Self {
            hazards: Hazards {
                compacts: budget.snapshots > 0,
                fails: failures.iter().any(|left| *left > 0),
                gives_up: budget.timeouts > 0 || budget.cuts > 0,
            },
            wipes: budget.wipes > 0,
        }
    }
}

/// What a search remembers of the nodes that it has seen.
#[derive(Default)]
pub struct Nodes {
    /// What a node has become, by [`Key`].
    next: Cache<Interned<Node>>,
    /// What a process can do by itself.
    own_steps: Cache<&'static OwnSteps>,
}

/// What a step makes of one server of a world, where it makes something of it.
pub struct Edit<'a> {
    /// The place of the server in the world.
    pub place: usize,
    /// What it becomes depends on this alone.
    key: u64,
    change: Change<'a>,
}

enum Change<'a> {
    /// It takes the step.
    Own,
    /// It is reached by the step of another one.
    Reached(&'a Reach),
}

impl Nodes {
    /// Makes room for more.
    pub fn grow(&mut self) {
        self.next.grow();
        self.own_steps.grow();
    }

    /// Fetches where will be looked for what a server becomes.
    pub fn touch(&self, edit: &Edit) -> u64 {
        self.next.touch(edit.key)
    }
}

/// What a node becomes depends on this and the node alone.
enum Key {
    /// It has become the process with this number, and nothing is obsolete that was not before.
    Process(u32),
    /// A step of another server, by the number of its [`Effect`].
    Effect(u32),
}

impl Key {
    fn of(self, node: Interned<Node>, rules: Rules) -> u64 {
        let Rules { hazards, wipes } = rules;
        let flags = [hazards.compacts, hazards.fails, hazards.gives_up, wipes];
        let rules = flags
            .iter()
            .fold(0, |bits, flag| bits << 1 | u64::from(*flag));
        let exact = |kind: u64, number: u32| {
            assert!(
                number < 1 << 27,
                "so many that a key cannot tell them apart"
            );
            u64::from(node.number()) << 32 | kind << 31 | rules << 27 | u64::from(number)
        };
        match self {
            Self::Process(number) => exact(0, number),
            Self::Effect(number) => exact(1, number),
        }
    }

    /// The key if the node has become `process`, and everything that is for it is judged anew: that depends
    /// on what the others have made durable.
    fn settled(node: Interned<Node>, process: Interned<Known>, world: &World, rules: Rules) -> u64 {
        let own = Self::Process(process.number()).of(node, rules);
        let marks = world.ids().map(|id| match id == node.id {
            true => process.sender_hash,
            false => world.server(id).sender_hash,
        });
        marks.fold(own, mix)
    }
}

impl Environment {
    pub fn intern_node(
        &self,
        id: ServerId,
        process: Interned<Known>,
        inbox: Inbox,
    ) -> Interned<Node> {
        let node = Node {
            id,
            process,
            inbox,
            deliveries: OnceLock::new(),
        };
        self.nodes.intern(node, |node| {
            let image = |(index, image): (usize, &u64)| {
                let place = u64::from(self.renamings.name(index, id).0);
                let datagrams = node.inbox.iter().map(|envelope| envelope.images()[index]);
                datagrams.fold(mix(*image, place), u64::wrapping_add)
            };
            process.images().iter().enumerate().map(image).collect()
        })
    }

    /// The datagrams that have an effect on this server.
    pub fn deliveries(&self, node: Interned<Node>) -> &'static [&'static LocalStep] {
        let node = node.get();
        node.deliveries.get_or_init(|| {
            let inbox = node.inbox.iter().filter(|_| node.process.state.is_some());
            let steps = inbox.filter_map(|envelope| self.delivery(node.process, *envelope));
            steps.collect()
        })
    }

    /// What this server can do by itself, with this much of each budget left.
    pub fn own_steps_of(
        &self,
        nodes: &Nodes,
        node: Interned<Node>,
        budget: Budget,
    ) -> &'static OwnSteps {
        let Node { id, process, .. } = *node.get();
        let place = u64::from(process.number()) << 8 | u64::from(id.0);
        let key = mix(budget.code(), place);
        let find = || &*Box::leak(Box::new(self.own_steps(id, process, &budget)));
        nodes
            .own_steps
            .get(key, || process.own_steps.get(key, || find()))
    }

    /// Adds what a step makes of the servers of a world.
    pub fn edits<'a>(world: &World, step: &'a LocalStep, rules: Rules, all: &mut Vec<Edit<'a>>) {
        let place = usize::from(step.server.0) - 1;
        let node = world.nodes[place];
        let own = match step.view_changes {
            true => Some(Key::settled(node, step.after, world, rules)),
            false => (node.process.number() != step.after_number)
                .then(|| Key::Process(step.after_number).of(node, rules)),
        };
        all.extend(own.map(|key| Edit {
            place,
            key,
            change: Change::Own,
        }));
        for reach in &step.reaches {
            let place = usize::from(reach.to.0) - 1;
            let node = world.nodes[place];
            if !reach.is_repetition(&node) {
                all.push(Edit {
                    place,
                    key: Key::Effect(reach.number).of(node, rules),
                    change: Change::Reached(reach),
                });
            }
        }
    }

    /// What one of the edits by `step` makes of a server of `world`.
    pub fn edited(
        &self,
        nodes: &Nodes,
        world: &World,
        step: &LocalStep,
        edit: &Edit,
        rules: Rules,
    ) -> Interned<Node> {
        let node = world.nodes[edit.place];
        nodes.next.get(edit.key, || match edit.change {
            Change::Reached(reach) => self.reached(node, reach.effect.get(), rules),
            Change::Own if step.view_changes => self.settled(node, step.after, world, rules),
            // Nothing is obsolete that was not before.
            Change::Own => self.intern_node(node.id, step.after, Inbox::from_slice(&node.inbox)),
        })
    }

    /// What a server becomes if everything that is for it is judged anew, because the rules have changed.
    pub fn judged_anew(
        &self,
        nodes: &Nodes,
        node: Interned<Node>,
        world: &World,
        rules: Rules,
    ) -> Interned<Node> {
        let key = Key::settled(node, node.process, world, rules);
        let find = || self.settled(node, node.process, world, rules);
        nodes.next.get(key, find)
    }

    /// What a server becomes by the step of another one.
    fn reached(&self, node: Interned<Node>, effect: &Effect, rules: Rules) -> Interned<Node> {
        let Effect { from, sent } = effect;
        let is_obsolete =
            |envelope: &Envelope| self.is_obsolete(rules, *from, envelope, node.id, &node.process);
        let mut inbox = Inbox::from_slice(&node.inbox);
        inbox.retain(|envelope| envelope.src != from.id || !is_obsolete(envelope));
        for envelope in sent {
            let place = inbox.binary_search_by_key(&envelope.order(), |e| e.order());
            if let Err(place) = place
                && !is_obsolete(envelope)
            {
                inbox.insert(place, *envelope);
            }
        }
        self.drop_superseded(rules, node.id, &node.process, &mut inbox);
        self.intern_node(node.id, node.process, inbox)
    }

    /// What a server becomes if it is `process` now, and everything that is for it is judged anew.
    fn settled(
        &self,
        node: Interned<Node>,
        process: Interned<Known>,
        world: &World,
        rules: Rules,
    ) -> Interned<Node> {
        let mut inbox = Inbox::from_slice(&node.inbox);
        inbox.retain(|envelope| {
            let from = sender(envelope.src, world.server(envelope.src).get());
            !self.is_obsolete(rules, from, envelope, node.id, &process)
        });
        self.drop_superseded(rules, node.id, &process, &mut inbox);
        self.intern_node(node.id, process, inbox)
    }

    fn is_obsolete(
        &self,
        rules: Rules,
        from: Sender,
        envelope: &Envelope,
        id: ServerId,
        to: &Known,
    ) -> bool {
        if self.setting.keeps_obsolete {
            return false;
        }
        let may_forget = |id| faults::may_forget(self, id);
        if rules.wipes && (may_forget(from.id) || may_forget(id)) {
            return false; // The argument is about what is durable.
        }
        self.zab
            .is_obsolete(from, &peer(id, to), &envelope.message, rules.hazards)
    }

    /// Drops what can never have another effect than something else from the same server. That is said only
    /// of what is told in elections.
    fn drop_superseded(&self, rules: Rules, id: ServerId, to: &Known, inbox: &mut Inbox) {
        if self.setting.keeps_obsolete {
            return;
        }
        let told = |e: &Interned<Envelope>| matches!(e.message, Message::Notification(_));
        let others: Inbox = inbox.iter().copied().filter(told).collect();
        let to = peer(id, to);
        inbox.retain(|envelope| {
            let is_superseded = |other: &Interned<Envelope>| {
                let (message, other_message) = (&envelope.message, &other.message);
                other.src == envelope.src
                    && self
                        .zab
                        .is_superseded(&to, message, other_message, rules.hazards)
            };
            !(told(envelope) && others.iter().any(is_superseded))
        });
    }
}

/// A server as the rule for obsolete messages sees it.
pub fn sender(id: ServerId, known: &Known) -> Sender {
    Sender {
        id,
        durable: known.mark,
        follows: known.follows,
    }
}

/// A server as the rule for obsolete messages sees it.
fn peer(id: ServerId, known: &Known) -> Peer<'_, Writes> {
    Peer {
        id,
        durable: known.mark,
        state: known.state.as_ref(),
    }
}
