//! What a protocol tells about itself, beside its handlers: who takes part, what must hold, what the notes claim.

use super::bounds::Bounds;
use super::environment::{Ensemble, Envelope, World};
use crate::svg::Stand;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stateright::actor::{Actor, Id};
use std::fmt::Debug;
use std::hash::Hash;

/// What an actor, its messages and its states are called.
pub trait Told: Actor {
    /// A server, by what it is.
    fn name_of(&self, id: Id) -> String;
    /// What a server has in mind, in a few words.
    fn state(&self, state: &Self::State) -> String;
    /// What its disk has.
    fn disk(&self, disk: &Self::Storage) -> String;
    fn message(&self, message: &Self::Msg) -> String;
    /// What a timer means when it fires: "proposer 1 ...".
    fn timeout(&self, timer: &Self::Timer) -> &'static str;
    /// How its lane is drawn.
    fn stand(&self, state: &Self::State) -> Stand;
}

/// An actor with all that it takes to explore it and to tell of it. One value is the configuration of all servers.
pub trait Protocol:
    Actor<
        Msg: Ord + Send + Sync + Serialize + DeserializeOwned,
        Timer: Ord + Send + Sync,
        State: Send + Sync,
        Storage: Send + Sync + Serialize + DeserializeOwned,
        Random: Send + Sync,
    > + Told
    + Clone
    + Debug
    + PartialEq
    + Hash
    + Send
    + Sync
    + 'static
{
    /// The rules that a mutant can leave out.
    type Rule: Copy + Debug + PartialEq + Send + Sync + 'static;
    /// What the invariants must remember, because no server and no message keeps it.
    type Past: Clone + Debug + Default + PartialEq + Hash + Send + Sync;

    /// Whether it decides one command after the other, and not just one value.
    const LOG: bool = true;
    /// Whether all servers are alike, and nothing happens before a timeout or a fault: the first one is then always that
    /// of server 1. Other runs are the same with other names.
    const ALIKE: bool = false;
    const CARD: Card;
    const INVARIANTS: &'static [Invariant<Self>];
    const CLAIMS: &'static [Claim<Self>];
    const MUTANTS: &'static [Mutant<Self::Rule>];

    /// The configuration of an ensemble, with a rule left out if `broken` names one.
    fn new(bounds: &Bounds, broken: Option<Self::Rule>) -> Self;

    /// What clients ask for, and whom: `writes` commands, each perhaps of several servers.
    fn requests(&self, writes: u8) -> Vec<(Id, Self::Msg)>;

    /// Whether a message can have no effect on its receiver any more, whatever happens: a crash of it too. It is dropped
    /// then.
    fn is_obsolete(&self, _receiver: &Self::State, _: &Envelope<Self::Msg>) -> bool {
        false
    }

    /// Notes in the past what a step has done.
    fn note(&self, _world: &mut World<Self>) {}

    /// Whether so many commands are done: the clients were told.
    fn done(world: &World<Self>, writes: u8) -> bool;
}

/// What a protocol is.
pub struct Card {
    /// The name of its model.
    pub name: &'static str,
    pub about: &'static str,
    /// Explored by default.
    pub bounds: &'static [Bounds],
    /// What must be on disk, and when.
    pub durable: &'static str,
}

/// What a property is about, so that protocols can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    /// No two servers decide differently.
    Agreement,
    /// Nothing is decided that nobody asked for.
    Validity,
    /// What is decided stays so.
    Stability,
    /// At most one leads at a time of its own.
    Leadership,
    /// With these faults it goes on.
    Progress,
}

/// What must hold in every state.
pub struct Invariant<P: Protocol> {
    pub id: &'static str,
    pub term: Term,
    pub prose: &'static str,
    /// By which values it does not hold in a state; `None` if it does.
    pub broken: fn(&Ensemble<P>, &World<P>) -> Option<String>,
    pub witness_id: &'static str,
    /// A state in which its premise is true.
    pub witness: fn(&Ensemble<P>, &World<P>) -> bool,
}

/// What the notes say to go wrong: the check fails if no such state is found.
pub struct Claim<P: Protocol> {
    pub id: &'static str,
    pub term: Term,
    pub prose: &'static str,
    /// Where it is found.
    pub bounds: Bounds,
    /// What is wrong in a state; `None` if nothing is.
    pub found: fn(&Ensemble<P>, &World<P>) -> Option<String>,
}

/// A rule, and the invariant that falls without it.
pub struct Mutant<R> {
    pub name: &'static str,
    pub rule: R,
    pub bounds: Bounds,
    pub invariant: &'static str,
}

/// A row of a table of mutants.
pub const fn mutant<R>(
    name: &'static str,
    rule: R,
    bounds: Bounds,
    invariant: &'static str,
) -> Mutant<R> {
    Mutant {
        name,
        rule,
        bounds,
        invariant,
    }
}

/// Whether so many of `size` are more than half.
pub fn is_majority(count: usize, size: usize) -> bool {
    count * 2 > size
}
