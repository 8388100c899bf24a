//! Two-phase commit: all participants commit, or none does.
//!
//! Spec: `spec/consensus.md`, "Two-phase commit". What it must never do: let one participant commit and another abort.

mod properties;

use super::environment::client;
use super::transaction::{self, Outcome, Standing};
use serde::{Deserialize, Serialize};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The first server coordinates, the others take part.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct TwoPhase {
    coordinator: Id,
    participants: Vec<Id>,
    broken: Option<Rule>,
}

/// What a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Rule {
    /// Only with every vote is there a commit.
    AllVotes,
    /// Who has voted for it waits for the decision.
    WaitsForDecision,
    /// A vote is on disk before it is sent.
    SavesVote,
    /// The decision is on disk before it is sent.
    SavesDecision,
    /// A participant keeps on disk how it ended.
    SavesOutcome,
    /// A coordinator that finds no decision on its disk aborts.
    Recovers,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Msg {
    /// The client wants the transaction.
    Request,
    /// Another client's write takes what the transaction needs.
    Conflict,
    Prepare,
    /// Yes: it has done its part, and can still undo it.
    Vote(bool),
    Decide(Outcome),
    /// The client is told.
    Ended(Outcome),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum State {
    Coordinator(Coordinator),
    Participant(Standing),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Coordinator {
    Idle,
    /// Who has voted for it.
    Collecting(BTreeSet<Id>),
    Decided(Outcome),
    /// Only in a mutant: it has restarted and does not know what to do.
    Lost,
}

#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
pub enum Disk {
    /// It was begun, and perhaps decided.
    Coordinator(Option<Outcome>),
    Participant(Standing),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The coordinator waits for votes no longer.
    Votes,
    /// A participant that was not asked yet gives up.
    GiveUp,
}

impl Actor for TwoPhase {
    type Msg = Msg;
    type Timer = Timer;
    type State = State;
    type Storage = Disk;
    type Random = ();

    fn on_start(&self, id: Id, disk: &Option<Disk>, out: &mut Out<Self>) -> State {
        match disk {
            Some(Disk::Participant(standing)) => State::Participant(*standing),
            None if id != self.coordinator => {
                out.set_timer(Timer::GiveUp, transaction::WAIT);
                State::Participant(Standing::Working)
            }
            None => State::Coordinator(Coordinator::Idle),
            Some(Disk::Coordinator(None)) if self.broken == Some(Rule::Recovers) => {
                State::Coordinator(Coordinator::Lost)
            }
            Some(Disk::Coordinator(decision)) => {
                // Nobody can have heard of a commit that is not on disk.
                let outcome = decision.unwrap_or(Outcome::Abort);
                State::Coordinator(self.decide(outcome, out))
            }
        }
    }

    fn on_msg(&self, _: Id, state: &mut Cow<'_, State>, src: Id, msg: Msg, out: &mut Out<Self>) {
        match (state.to_mut(), msg) {
            (State::Coordinator(coordinator), Msg::Request) => self.on_request(coordinator, out),
            (State::Participant(standing), Msg::Prepare) => {
                self.on_prepare(standing, src, out);
            }
            (State::Coordinator(coordinator), Msg::Vote(yes)) => {
                self.on_vote(coordinator, src, yes, out);
            }
            (State::Participant(standing), Msg::Decide(outcome)) => {
                self.on_decide(standing, outcome, out);
            }
            (State::Participant(standing), Msg::Conflict) => {
                if *standing == Standing::Working {
                    self.on_decide(standing, Outcome::Abort, out);
                }
            }
            // Not for this role, or for the client: nobody honest sends it here.
            (
                State::Coordinator(_),
                Msg::Conflict | Msg::Prepare | Msg::Decide(_) | Msg::Ended(_),
            )
            | (State::Participant(_), Msg::Request | Msg::Vote(_) | Msg::Ended(_)) => {}
        }
    }

    fn on_timeout(&self, _: Id, state: &mut Cow<'_, State>, timer: &Timer, out: &mut Out<Self>) {
        match (state.to_mut(), timer) {
            (State::Coordinator(coordinator @ Coordinator::Collecting(_)), Timer::Votes) => {
                *coordinator = self.decide(Outcome::Abort, out);
            }
            (State::Participant(standing @ Standing::Working), Timer::GiveUp) => {
                self.on_decide(standing, Outcome::Abort, out);
            }
            (State::Participant(standing @ Standing::Prepared), Timer::GiveUp)
                if self.broken == Some(Rule::WaitsForDecision) =>
            {
                self.on_decide(standing, Outcome::Abort, out);
            }
            // It has gone on before the timer fired.
            (State::Coordinator(_) | State::Participant(_), Timer::Votes | Timer::GiveUp) => {}
        }
    }
}

impl TwoPhase {
    fn on_request(&self, coordinator: &mut Coordinator, out: &mut Out<Self>) {
        if *coordinator == Coordinator::Idle {
            out.save(Disk::Coordinator(None));
            out.broadcast(&self.participants, &Msg::Prepare);
            out.set_timer(Timer::Votes, transaction::WAIT);
            *coordinator = Coordinator::Collecting(BTreeSet::new());
        }
    }

    fn on_prepare(&self, standing: &mut Standing, src: Id, out: &mut Out<Self>) {
        match *standing {
            Standing::Working => {
                *standing = Standing::Prepared;
                if self.broken != Some(Rule::SavesVote) {
                    out.save(Disk::Participant(Standing::Prepared));
                }
                if self.broken != Some(Rule::WaitsForDecision) {
                    out.cancel_timer(Timer::GiveUp);
                }
                out.send(src, Msg::Vote(true));
            }
            Standing::Prepared => out.send(src, Msg::Vote(true)),
            Standing::Ended(Outcome::Abort) => out.send(src, Msg::Vote(false)),
            Standing::Ended(Outcome::Commit) | Standing::PreCommitted => {}
        }
    }

    fn on_vote(&self, coordinator: &mut Coordinator, src: Id, yes: bool, out: &mut Out<Self>) {
        let Coordinator::Collecting(votes) = coordinator else {
            return; // It is decided.
        };
        if !yes {
            *coordinator = self.decide(Outcome::Abort, out);
            return;
        }
        votes.insert(src);
        let enough = match self.broken {
            Some(Rule::AllVotes) => 1,
            _ => self.participants.len(),
        };
        if votes.len() >= enough {
            *coordinator = self.decide(Outcome::Commit, out);
        }
    }

    fn decide(&self, outcome: Outcome, out: &mut Out<Self>) -> Coordinator {
        if self.broken != Some(Rule::SavesDecision) {
            out.save(Disk::Coordinator(Some(outcome)));
        }
        out.cancel_timer(Timer::Votes);
        out.broadcast(&self.participants, &Msg::Decide(outcome));
        out.send(client(), Msg::Ended(outcome));
        Coordinator::Decided(outcome)
    }

    fn on_decide(&self, standing: &mut Standing, outcome: Outcome, out: &mut Out<Self>) {
        if matches!(standing, Standing::Ended(_)) {
            return; // It has heard before.
        }
        *standing = Standing::Ended(outcome);
        if self.broken != Some(Rule::SavesOutcome) {
            out.save(Disk::Participant(*standing));
        }
        out.cancel_timer(Timer::GiveUp);
    }
}
