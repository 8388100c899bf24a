//! Paxos: scheme two with several acceptors, of which a majority decides.
//!
//! Spec: `spec/consensus.md`, "Paxos". What it must never do: choose two values.

use super::acceptor::{Acceptor, Ballot, Value, Vote};
use super::bounds::Bounds;
use super::environment::{Ensemble, Envelope, World, client};
use super::protocol::{Card, Claim, Invariant, Mutant, Protocol, Term, is_majority, mutant};
use super::words;
use crate::svg::{Kind, Stand};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Proposers that want values chosen, and the acceptors that choose.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Paxos {
    pub proposers: Vec<Id>,
    pub acceptors: Vec<Id>,
    pub broken: Option<Rule>,
}

/// What a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Rule {
    /// A proposer takes over what was accepted in an older ballot.
    TakesOver,
    /// Of several accepted values it takes that of the newest ballot.
    NewestFirst,
    /// An acceptor accepts nothing older than its promise.
    KeepsPromise,
    /// What an acceptor accepted is on disk before it says so.
    SavesVotes,
    /// A proposer never uses a ballot twice.
    SavesRounds,
    /// A proposer proposes what it was asked for.
    WaitsForRequest,
    /// A majority suffices.
    Majority,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Msg {
    /// The client wants this value.
    Request(Value),
    Prepare(Ballot),
    /// The ballot has access; this is what was accepted before it.
    Promise(Ballot, Option<Vote>),
    Accept(Vote),
    Accepted(Vote),
    /// The client is told what is chosen.
    Decided(Value),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum State {
    Proposer(Proposer),
    Acceptor(Acceptor),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Proposer {
    /// Of its last ballot; 0 is none. On disk before it is used.
    pub round: u8,
    /// What it was asked for.
    pub value: Option<Value>,
    pub stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Stage {
    Idle,
    /// Who has given access, with what they had accepted.
    Preparing(BTreeMap<Id, Option<Vote>>),
    /// Who has accepted its value.
    Accepting(Vote, BTreeSet<Id>),
    Decided(Value),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Disk {
    Round(u8),
    Acceptor(Acceptor),
}

/// What acceptors have ever accepted, and what was ever proposed.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct Past {
    votes: BTreeMap<Vote, BTreeSet<Id>>,
    proposed: BTreeSet<Vote>,
}

/// A proposer has waited long enough for its ballot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retry;

impl Actor for Paxos {
    type Msg = Msg;
    type Timer = Retry;
    type State = State;
    type Storage = Disk;
    type Random = ();

    fn on_start(&self, id: Id, disk: &Option<Disk>, out: &mut Out<Self>) -> State {
        match disk {
            Some(Disk::Acceptor(acceptor)) => State::Acceptor(*acceptor),
            None if self.acceptors.contains(&id) => State::Acceptor(Acceptor::default()),
            Some(Disk::Round(_)) | None => {
                let round = match disk {
                    Some(Disk::Round(round)) => *round,
                    Some(Disk::Acceptor(_)) | None => 0,
                };
                let mut proposer = Proposer {
                    round,
                    value: None,
                    stage: Stage::Idle,
                };
                if self.broken == Some(Rule::WaitsForRequest) {
                    self.on_request(id, &mut proposer, Value(0), out);
                }
                State::Proposer(proposer)
            }
        }
    }

    fn on_msg(&self, id: Id, state: &mut Cow<'_, State>, src: Id, msg: Msg, out: &mut Out<Self>) {
        match (state.to_mut(), msg) {
            (State::Proposer(proposer), Msg::Request(value)) => {
                self.on_request(id, proposer, value, out);
            }
            (State::Acceptor(acceptor), Msg::Prepare(ballot)) => {
                on_prepare(acceptor, src, ballot, out);
            }
            (State::Proposer(proposer), Msg::Promise(ballot, accepted)) => {
                self.on_promise(id, proposer, src, ballot, accepted, out);
            }
            (State::Acceptor(acceptor), Msg::Accept(vote)) => {
                self.on_accept(acceptor, src, vote, out);
            }
            (State::Proposer(proposer), Msg::Accepted(vote)) => {
                self.on_accepted(proposer, src, vote, out);
            }
            // Not for this role, or for the client: nobody honest sends it here.
            (State::Proposer(_), Msg::Prepare(_) | Msg::Accept(_) | Msg::Decided(_))
            | (
                State::Acceptor(_),
                Msg::Request(_) | Msg::Promise(..) | Msg::Accepted(_) | Msg::Decided(_),
            ) => {}
        }
    }

    fn on_timeout(&self, id: Id, state: &mut Cow<'_, State>, _: &Retry, out: &mut Out<Self>) {
        if let State::Proposer(proposer) = state.to_mut() {
            self.prepare(id, proposer, out);
        }
    }
}

impl Paxos {
    fn on_request(&self, id: Id, proposer: &mut Proposer, value: Value, out: &mut Out<Self>) {
        if proposer.value.is_none() {
            proposer.value = Some(value);
            self.prepare(id, proposer, out);
        }
    }

    /// Begins a new ballot.
    fn prepare(&self, id: Id, proposer: &mut Proposer, out: &mut Out<Self>) {
        proposer.round += 1;
        proposer.stage = Stage::Preparing(BTreeMap::new());
        if self.broken != Some(Rule::SavesRounds) {
            out.save(Disk::Round(proposer.round));
        }
        out.broadcast(&self.acceptors, &Msg::Prepare(proposer.ballot(id)));
        out.set_timer(Retry, WAIT);
    }

    fn on_promise(
        &self,
        id: Id,
        proposer: &mut Proposer,
        src: Id,
        ballot: Ballot,
        accepted: Option<Vote>,
        out: &mut Out<Self>,
    ) {
        let current = proposer.ballot(id);
        let (Stage::Preparing(promises), Some(own)) = (&mut proposer.stage, proposer.value) else {
            return;
        };
        if ballot != current {
            return; // Of an attempt that was given up.
        }
        promises.insert(src, accepted);
        if !self.is_quorum(promises.len()) {
            return;
        }
        let votes = promises.values().flatten();
        let vote = match self.broken {
            Some(Rule::TakesOver) => None,
            Some(Rule::NewestFirst) => votes.min(),
            _ => votes.max(),
        };
        let value = vote.map_or(own, |vote| vote.value);
        let vote = Vote { ballot, value };
        proposer.stage = Stage::Accepting(vote, BTreeSet::new());
        out.broadcast(&self.acceptors, &Msg::Accept(vote));
    }

    fn on_accept(&self, acceptor: &mut Acceptor, src: Id, vote: Vote, out: &mut Out<Self>) {
        if self.broken == Some(Rule::KeepsPromise) {
            acceptor.accepted = Some(vote);
        } else if !acceptor.accept(vote) {
            return; // A newer ballot has the access. The proposer will hear of it by its timer.
        }
        if self.broken != Some(Rule::SavesVotes) {
            out.save(Disk::Acceptor(*acceptor));
        }
        out.send(src, Msg::Accepted(vote));
    }

    fn on_accepted(&self, proposer: &mut Proposer, src: Id, vote: Vote, out: &mut Out<Self>) {
        let Stage::Accepting(current, accepted) = &mut proposer.stage else {
            return; // It has begun another ballot, or knows already.
        };
        if vote != *current {
            return;
        }
        accepted.insert(src);
        if self.is_quorum(accepted.len()) {
            proposer.stage = Stage::Decided(vote.value);
            out.cancel_timer(Retry);
            out.send(client(), Msg::Decided(vote.value));
        }
    }

    fn is_quorum(&self, count: usize) -> bool {
        match self.broken {
            Some(Rule::Majority) => count == self.acceptors.len(),
            _ => is_majority(count, self.acceptors.len()),
        }
    }
}

/// Gives access to a newer ballot.
fn on_prepare(acceptor: &mut Acceptor, src: Id, ballot: Ballot, out: &mut Out<Paxos>) {
    if acceptor.prepare(ballot) {
        out.save(Disk::Acceptor(*acceptor));
        out.send(src, Msg::Promise(ballot, acceptor.accepted));
    }
}

impl Proposer {
    fn ballot(&self, proposer: Id) -> Ballot {
        let round = self.round;
        Ballot { round, proposer }
    }
}

/// How long a proposer waits for its ballot, on a real network.
const WAIT: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(300);

impl Protocol for Paxos {
    type Rule = Rule;
    type Past = Past;

    const LOG: bool = false;
    const CARD: Card = Card {
        name: "paxos",
        about: "Paxos: proposers with ballots, acceptors of which a majority chooses one value",
        bounds: &[
            Bounds::roles(2, 3).timeouts(1),
            Bounds::roles(2, 3).crashes(1),
        ],
        durable: "acceptor: promise and vote, before it answers; proposer: its round, before it prepares",
    };

    const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            id: "paxos_agreement",
            term: Term::Agreement,
            prose: "No two values are chosen.",
            broken: |model, world| {
                let chosen = chosen(model, world);
                let first = chosen.first()?;
                let other = chosen.iter().find(|other| other.value != first.value)?;
                Some(format!(
                    "a majority accepted {first}, and a majority {other}"
                ))
            },
            witness_id: "chosen_in_two_ballots",
            witness: |model, world| chosen(model, world).len() > 1,
        },
        Invariant {
            id: "paxos_validity",
            term: Term::Validity,
            prose: "What is accepted was asked for.",
            broken: |model, world| {
                let asked = model.protocol.requests(model.bounds.writes);
                let asked = |value| asked.iter().any(|(_, msg)| *msg == Msg::Request(value));
                let vote = world.past.votes.keys().find(|vote| !asked(vote.value))?;
                Some(format!("accepted is {vote}, for which nobody asked"))
            },
            witness_id: "two_values_accepted",
            witness: |_, world| {
                let votes = world.past.votes.keys();
                votes.map(|vote| vote.value).collect::<BTreeSet<_>>().len() > 1
            },
        },
        Invariant {
            id: "paxos_chosen_stays",
            term: Term::Stability,
            prose: "Once a value is chosen, every newer ballot proposes it.",
            broken: |model, world| {
                let chosen = chosen(model, world);
                let changes = |vote: &&Vote| {
                    let earlier = |c: &&Vote| c.ballot < vote.ballot && c.value != vote.value;
                    chosen.iter().any(|c| earlier(&c))
                };
                let later = world.past.proposed.iter().find(changes)?;
                let was = chosen.iter().find(|c| c.ballot < later.ballot)?;
                Some(format!("{was} is chosen, and then proposed is {later}"))
            },
            witness_id: "proposed_after_chosen",
            witness: |model, world| {
                let chosen = chosen(model, world);
                let mut proposed = world.past.proposed.iter();
                proposed.any(|vote| chosen.iter().any(|c| c.ballot < vote.ballot))
            },
        },
        Invariant {
            id: "paxos_one_value_a_ballot",
            term: Term::Leadership,
            prose: "In a ballot only one value is proposed.",
            broken: |_, world| {
                let all = &world.past.proposed;
                let twice = all.iter().zip(all.iter().skip(1));
                let (one, other) = twice.into_iter().find(|(a, b)| a.ballot == b.ballot)?;
                Some(format!("proposed are {one} and {other}"))
            },
            witness_id: "two_ballots_propose",
            witness: |_, world| {
                let proposed = world.past.proposed.iter();
                proposed
                    .map(|vote| vote.ballot)
                    .collect::<BTreeSet<_>>()
                    .len()
                    > 1
            },
        },
        Invariant {
            id: "paxos_minority_may_fail",
            term: Term::Progress,
            prose: "With a majority of acceptors and one proposer up, a value can be decided.",
            broken: |model, world| {
                let stuck = suffices(model, world) && !model.leads_to(world, is_decided);
                stuck.then(|| "no step leads to a decision".to_owned())
            },
            witness_id: "acceptor_down",
            witness: |model, world| world.down() == 1 && suffices(model, world),
        },
    ];

    const CLAIMS: &'static [Claim<Self>] = &[
        Claim {
            id: "paxos_duel",
            term: Term::Progress,
            prose: "Two proposers may take the access away from each other for ever",
            bounds: Bounds::roles(2, 3).timeouts(1),
            found: duel,
        },
        Claim {
            id: "paxos_majority_down",
            term: Term::Progress,
            prose: "Without a majority of the acceptors nothing is decided any more",
            bounds: Bounds::roles(1, 3).crashes(2),
            found: |model, world| {
                let asked = |(_, state): (Id, &State)| match state {
                    State::Proposer(proposer) => proposer.value.is_some(),
                    State::Acceptor(_) => false,
                };
                let dead = world.up().any(asked) && !suffices(model, world);
                let stuck = dead && !model.leads_to(world, is_decided);
                stuck.then(|| "no step leads to a decision while they are down".to_owned())
            },
        },
    ];

    const MUTANTS: &'static [Mutant<Rule>] = &[
        mutant(
            "paxos_own_value",
            Rule::TakesOver,
            Bounds::roles(2, 3),
            "paxos_agreement",
        ),
        mutant(
            "paxos_own_value",
            Rule::TakesOver,
            Bounds::roles(2, 3),
            "paxos_chosen_stays",
        ),
        mutant(
            "paxos_oldest_vote",
            Rule::NewestFirst,
            Bounds::roles(2, 3).timeouts(1),
            "paxos_agreement",
        ),
        mutant(
            "paxos_breaks_promise",
            Rule::KeepsPromise,
            Bounds::roles(2, 3),
            "paxos_agreement",
        ),
        mutant(
            "paxos_forgets_vote",
            Rule::SavesVotes,
            Bounds::roles(2, 3).crashes(1),
            "paxos_agreement",
        ),
        mutant(
            "paxos_forgets_round",
            Rule::SavesRounds,
            Bounds::roles(2, 3).crashes(1),
            "paxos_one_value_a_ballot",
        ),
        mutant(
            "paxos_unasked",
            Rule::WaitsForRequest,
            Bounds::roles(1, 3),
            "paxos_validity",
        ),
        mutant(
            "paxos_waits_for_all",
            Rule::Majority,
            Bounds::roles(1, 3).crashes(1),
            "paxos_minority_may_fail",
        ),
    ];

    fn new(bounds: &Bounds, broken: Option<Rule>) -> Self {
        let proposers = usize::from(bounds.proposers);
        let all = proposers + usize::from(bounds.acceptors);
        Self {
            proposers: (0..proposers).map(Id::from).collect(),
            acceptors: (proposers..all).map(Id::from).collect(),
            broken,
        }
    }

    /// Each proposer is asked for a value of its own.
    fn requests(&self, writes: u8) -> Vec<(Id, Msg)> {
        let values = (1..=writes).map(|value| Msg::Request(Value(value)));
        self.proposers.iter().copied().zip(values).collect()
    }

    fn is_obsolete(&self, receiver: &State, envelope: &Envelope<Msg>) -> bool {
        if self.broken == Some(Rule::SavesRounds) {
            return false; // What is old for others it may use again.
        }
        match (receiver, &envelope.message) {
            (State::Acceptor(acceptor), Msg::Prepare(ballot)) => acceptor.promised >= Some(*ballot),
            (State::Acceptor(acceptor), Msg::Accept(vote)) => {
                let refused = self.broken != Some(Rule::KeepsPromise)
                    && acceptor.promised > Some(vote.ballot);
                refused || acceptor.accepted == Some(*vote)
            }
            (State::Proposer(proposer), Msg::Promise(ballot, _)) => match &proposer.stage {
                Stage::Preparing(promises) => {
                    let counted = promises.contains_key(&envelope.src);
                    ballot.round < proposer.round || counted && ballot.round == proposer.round
                }
                Stage::Idle | Stage::Accepting(..) | Stage::Decided(_) => {
                    ballot.round <= proposer.round
                }
            },
            (State::Proposer(proposer), Msg::Accepted(vote)) => match &proposer.stage {
                Stage::Accepting(current, accepted) => {
                    vote != current || accepted.contains(&envelope.src)
                }
                Stage::Preparing(_) => vote.ballot.round < proposer.round,
                Stage::Idle | Stage::Decided(_) => vote.ballot.round <= proposer.round,
            },
            _ => false,
        }
    }

    fn note(&self, world: &mut World<Self>) {
        let Past { votes, proposed } = &mut world.past;
        for (place, node) in world.nodes.iter().enumerate() {
            match &node.state {
                Some(State::Acceptor(Acceptor {
                    accepted: Some(vote),
                    ..
                })) => {
                    votes.entry(*vote).or_default().insert(Id::from(place));
                }
                Some(State::Proposer(Proposer {
                    stage: Stage::Accepting(vote, _),
                    ..
                })) => {
                    proposed.insert(*vote);
                }
                Some(State::Acceptor(_) | State::Proposer(_)) | None => {}
            }
        }
    }

    fn done(world: &World<Self>, _: u8) -> bool {
        world.answers().next().is_some()
    }

    fn name_of(&self, id: Id) -> String {
        match self.acceptors.iter().position(|acceptor| *acceptor == id) {
            Some(place) => format!("acceptor {}", place + 1),
            None => format!("proposer {}", usize::from(id) + 1),
        }
    }

    fn state(&self, state: &State) -> String {
        match state {
            State::Acceptor(acceptor) => acceptor.to_string(),
            State::Proposer(Proposer { round, stage, .. }) => match stage {
                Stage::Idle => format!("idle, last round {round}"),
                Stage::Preparing(promises) => {
                    format!("prepares round {round}, promises: {}", promises.len())
                }
                Stage::Accepting(vote, accepted) => {
                    format!("proposes {vote}, accepted by {}", accepted.len())
                }
                Stage::Decided(value) => format!("knows that {value} is chosen"),
            },
        }
    }

    fn disk(&self, disk: &Disk) -> String {
        match disk {
            Disk::Round(round) => format!("round {round}"),
            Disk::Acceptor(acceptor) => acceptor.to_string(),
        }
    }

    fn message(&self, message: &Msg) -> String {
        match message {
            Msg::Request(value) => format!("a request for {value}"),
            Msg::Prepare(ballot) => format!("Prepare {ballot}"),
            Msg::Promise(ballot, None) => format!("Promise {ballot}"),
            Msg::Promise(ballot, Some(vote)) => format!("Promise {ballot} (accepted {vote})"),
            Msg::Accept(vote) => format!("Accept {vote}"),
            Msg::Accepted(vote) => format!("Accepted {vote}"),
            Msg::Decided(value) => format!("Decided {value}"),
        }
    }

    fn timeout(&self, _: &Retry) -> &'static str {
        "has waited long enough and begins a new ballot"
    }

    fn stand(&self, state: &State) -> Stand {
        let kind = match state {
            State::Acceptor(Acceptor { accepted: None, .. }) => Kind::Idle,
            State::Acceptor(_) => Kind::Follows,
            State::Proposer(proposer) => match proposer.stage {
                Stage::Idle | Stage::Preparing(_) => Kind::Idle,
                Stage::Accepting(..) => Kind::Follows,
                Stage::Decided(_) => Kind::Leads,
            },
        };
        let words = match state {
            State::Acceptor(Acceptor { promised, accepted }) => match (promised, accepted) {
                (_, Some(vote)) => vote.to_string(),
                (Some(ballot), None) => format!("promised {ballot}"),
                (None, None) => String::new(),
            },
            State::Proposer(Proposer { round, stage, .. }) => match stage {
                Stage::Idle => String::new(),
                Stage::Preparing(_) => format!("prepares round {round}"),
                Stage::Accepting(vote, _) => format!("proposes {}", vote.value),
                Stage::Decided(value) => format!("knows {value}"),
            },
        };
        Stand { kind, words }
    }
}

/// What a majority of the acceptors has accepted, by ballot.
fn chosen(model: &Ensemble<Paxos>, world: &World<Paxos>) -> Vec<Vote> {
    let size = model.protocol.acceptors.len();
    let votes = world.past.votes.iter();
    let of_majority = votes.filter(|(_, acceptors)| is_majority(acceptors.len(), size));
    of_majority.map(|(vote, _)| *vote).collect()
}

fn is_decided(_: &Ensemble<Paxos>, world: &World<Paxos>) -> bool {
    Paxos::done(world, 1)
}

/// A majority of the acceptors is up, and a proposer.
fn suffices(model: &Ensemble<Paxos>, world: &World<Paxos>) -> bool {
    let up = |ids: &[Id]| ids.iter().filter(|id| world.is_up(**id)).count();
    let Paxos {
        proposers,
        acceptors,
        ..
    } = &model.protocol;
    up(proposers) > 0 && is_majority(up(acceptors), acceptors.len())
}

/// A proposer has been given access and lost it again before anything was accepted, and so it can go on for ever.
fn duel(model: &Ensemble<Paxos>, world: &World<Paxos>) -> Option<String> {
    if !world.past.votes.is_empty() || world.down() > 0 {
        return None;
    }
    let lost = |vote: &Vote| {
        let newer =
            |state: &State| matches!(state, State::Acceptor(a) if a.promised > Some(vote.ballot));
        let taken = world.up().filter(|(_, state)| newer(state)).count();
        is_majority(taken, model.protocol.acceptors.len())
    };
    let has_lost = |(_, state): (Id, &State)| match state {
        State::Proposer(Proposer {
            stage: Stage::Accepting(vote, _),
            ..
        }) => lost(vote),
        State::Proposer(_) | State::Acceptor(_) => false,
    };
    if !world.up().any(has_lost) {
        return None;
    }
    let way = model.comes_back(world, shape)?;
    let steps: Vec<_> = way
        .iter()
        .map(|a| words::sentence(&model.protocol, a))
        .collect();
    Some(format!(
        "after {} steps more everything is as it is now, only that the ballots are newer, and nothing is accepted: {}",
        steps.len(),
        steps.join("; ")
    ))
}

/// Ballots only compare, and older ones than their proposers are at have no effect: they may as well be lost.
/// Once something is accepted, nothing is as it was.
fn shape(world: &World<Paxos>) -> Option<World<Paxos>> {
    if !world.past.votes.is_empty() {
        return None;
    }
    let round_of = |id: Id| match world.state(id) {
        Some(State::Proposer(proposer)) => proposer.round,
        Some(State::Acceptor(_)) | None => 0,
    };
    let rounds = world.ids().map(round_of).filter(|round| *round > 0);
    let first = rounds.min().unwrap_or(1) - 1;
    let is_current = |ballot: &Ballot| ballot.round == round_of(ballot.proposer);
    let moved = |ballot: Ballot| Ballot {
        round: ballot.round - first,
        ..ballot
    };
    let mut shape = World {
        past: Past::default(),
        ..world.clone()
    };
    shape
        .network
        .retain_mut(|envelope| match &mut envelope.message {
            Msg::Prepare(ballot) | Msg::Promise(ballot, _) => {
                let current = is_current(ballot);
                if current {
                    *ballot = moved(*ballot);
                }
                current
            }
            Msg::Accept(vote) | Msg::Accepted(vote) => {
                let current = is_current(&vote.ballot);
                if current {
                    vote.ballot = moved(vote.ballot);
                }
                current
            }
            Msg::Request(_) | Msg::Decided(_) => true,
        });
    for node in &mut shape.nodes {
        match &mut node.state {
            Some(State::Proposer(proposer)) => {
                proposer.round -= first.min(proposer.round);
                node.disk = None;
                if let Stage::Accepting(vote, _) = &mut proposer.stage {
                    vote.ballot = moved(vote.ballot);
                }
            }
            Some(State::Acceptor(acceptor)) => {
                let counts = acceptor.promised.filter(|ballot| ballot.round > first);
                acceptor.promised = counts.map(moved);
                node.disk = None;
            }
            None => {}
        }
    }
    Some(shape)
}
