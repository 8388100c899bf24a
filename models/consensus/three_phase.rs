//! Three-phase commit, with the timeouts that the notes give it: whoever knows that all have voted for it commits at last.
//!
//! Spec: `spec/consensus.md`, "Three-phase commit". What it must never do, and does when messages are late: let one
//! participant commit and another abort.

mod properties;

use super::environment::client;
use super::transaction::{self, Outcome, Standing};
use serde::{Deserialize, Serialize};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The first server coordinates, the others take part.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct ThreePhase {
    coordinator: Id,
    participants: Vec<Id>,
    broken: Option<Rule>,
}

/// What a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Rule {
    /// Only with every vote does it go on.
    AllVotes,
    /// A participant waits for nobody without end.
    Timeouts,
    /// A participant keeps on disk how it ended.
    SavesOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Msg {
    /// The client wants the transaction.
    Request,
    /// Another client's write takes what the transaction needs.
    Conflict,
    CanCommit,
    Vote(bool),
    /// All have voted for it.
    PreCommit,
    Ack,
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
    /// Who knows that all have.
    PreCommitting(BTreeSet<Id>),
    Decided(Outcome),
}

#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
pub enum Disk {
    /// It was begun, and perhaps decided.
    Coordinator(Option<Outcome>),
    Participant(Standing),
}

/// Somebody waits for the next message no longer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wait;

impl Actor for ThreePhase {
    type Msg = Msg;
    type Timer = Wait;
    type State = State;
    type Storage = Disk;
    type Random = ();

    fn on_start(&self, id: Id, disk: &Option<Disk>, out: &mut Out<Self>) -> State {
        match disk {
            None if id == self.coordinator => State::Coordinator(Coordinator::Idle),
            Some(Disk::Coordinator(decision)) => {
                let outcome = decision.unwrap_or(Outcome::Abort);
                State::Coordinator(self.decide(outcome, out))
            }
            None => self.start(Standing::Working, out),
            Some(Disk::Participant(standing)) => self.start(*standing, out),
        }
    }

    fn on_msg(&self, _: Id, state: &mut Cow<'_, State>, src: Id, msg: Msg, out: &mut Out<Self>) {
        match (state.to_mut(), msg) {
            (State::Coordinator(coordinator), Msg::Request) => self.on_request(coordinator, out),
            (State::Participant(standing), Msg::CanCommit) => {
                self.on_can_commit(standing, src, out);
            }
            (State::Coordinator(coordinator), Msg::Vote(yes)) => {
                self.on_vote(coordinator, src, yes, out);
            }
            (State::Participant(standing), Msg::PreCommit) => {
                self.on_pre_commit(standing, src, out);
            }
            (State::Coordinator(coordinator), Msg::Ack) => self.on_ack(coordinator, src, out),
            (State::Participant(standing), Msg::Decide(outcome)) => {
                self.end(standing, outcome, out);
            }
            (State::Participant(standing), Msg::Conflict) => {
                if *standing == Standing::Working {
                    self.end(standing, Outcome::Abort, out);
                }
            }
            // Not for this role, or for the client: nobody honest sends it here.
            (
                State::Coordinator(_),
                Msg::Conflict | Msg::CanCommit | Msg::PreCommit | Msg::Decide(_) | Msg::Ended(_),
            )
            | (State::Participant(_), Msg::Request | Msg::Vote(_) | Msg::Ack | Msg::Ended(_)) => {}
        }
    }

    fn on_timeout(&self, _: Id, state: &mut Cow<'_, State>, _: &Wait, out: &mut Out<Self>) {
        match state.to_mut() {
            State::Coordinator(
                coordinator @ (Coordinator::Collecting(_) | Coordinator::PreCommitting(_)),
            ) => *coordinator = self.decide(Outcome::Abort, out),
            State::Participant(standing @ Standing::PreCommitted) => {
                self.end(standing, Outcome::Commit, out);
            }
            State::Participant(standing @ (Standing::Working | Standing::Prepared)) => {
                self.end(standing, Outcome::Abort, out);
            }
            // It has ended before the timer fired.
            State::Coordinator(Coordinator::Idle | Coordinator::Decided(_))
            | State::Participant(Standing::Ended(_)) => {}
        }
    }
}

impl ThreePhase {
    fn start(&self, standing: Standing, out: &mut Out<Self>) -> State {
        self.wait(standing, out);
        State::Participant(standing)
    }

    /// A participant that has not ended waits, but not for ever.
    fn wait(&self, standing: Standing, out: &mut Out<Self>) {
        let waits = match standing {
            Standing::Working => true,
            Standing::Prepared | Standing::PreCommitted => self.broken != Some(Rule::Timeouts),
            Standing::Ended(_) => false,
        };
        match waits {
            true => out.set_timer(Wait, transaction::WAIT),
            false => out.cancel_timer(Wait),
        }
    }

    fn on_request(&self, coordinator: &mut Coordinator, out: &mut Out<Self>) {
        if *coordinator == Coordinator::Idle {
            out.save(Disk::Coordinator(None));
            out.broadcast(&self.participants, &Msg::CanCommit);
            out.set_timer(Wait, transaction::WAIT);
            *coordinator = Coordinator::Collecting(BTreeSet::new());
        }
    }

    fn on_can_commit(&self, standing: &mut Standing, src: Id, out: &mut Out<Self>) {
        match standing {
            Standing::Working => {
                self.go_on(standing, Standing::Prepared, out);
                out.send(src, Msg::Vote(true));
            }
            Standing::Prepared => out.send(src, Msg::Vote(true)),
            Standing::Ended(Outcome::Abort) => out.send(src, Msg::Vote(false)),
            // The coordinator has its vote.
            Standing::PreCommitted | Standing::Ended(Outcome::Commit) => {}
        }
    }

    fn on_vote(&self, coordinator: &mut Coordinator, src: Id, yes: bool, out: &mut Out<Self>) {
        let Coordinator::Collecting(votes) = coordinator else {
            return; // It has gone on.
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
            out.broadcast(&self.participants, &Msg::PreCommit);
            *coordinator = Coordinator::PreCommitting(BTreeSet::new());
        }
    }

    fn on_pre_commit(&self, standing: &mut Standing, src: Id, out: &mut Out<Self>) {
        match standing {
            Standing::Working | Standing::Prepared => {
                self.go_on(standing, Standing::PreCommitted, out);
                out.send(src, Msg::Ack);
            }
            Standing::PreCommitted => out.send(src, Msg::Ack),
            Standing::Ended(_) => {} // Its timer was faster.
        }
    }

    fn on_ack(&self, coordinator: &mut Coordinator, src: Id, out: &mut Out<Self>) {
        let Coordinator::PreCommitting(acks) = coordinator else {
            return; // It has decided.
        };
        acks.insert(src);
        if acks.len() == self.participants.len() {
            *coordinator = self.decide(Outcome::Commit, out);
        }
    }

    fn decide(&self, outcome: Outcome, out: &mut Out<Self>) -> Coordinator {
        out.save(Disk::Coordinator(Some(outcome)));
        out.cancel_timer(Wait);
        out.broadcast(&self.participants, &Msg::Decide(outcome));
        out.send(client(), Msg::Ended(outcome));
        Coordinator::Decided(outcome)
    }

    fn end(&self, standing: &mut Standing, outcome: Outcome, out: &mut Out<Self>) {
        if !matches!(standing, Standing::Ended(_)) {
            self.go_on(standing, Standing::Ended(outcome), out);
        }
    }

    fn go_on(&self, standing: &mut Standing, next: Standing, out: &mut Out<Self>) {
        *standing = next;
        let forgets = self.broken == Some(Rule::SavesOutcome) && matches!(next, Standing::Ended(_));
        if !forgets {
            out.save(Disk::Participant(next));
        }
        self.wait(next, out);
    }
}
