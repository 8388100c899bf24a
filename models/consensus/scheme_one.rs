//! Scheme one of the notes: one acceptor gives the access to one proposer at a time, like a lock.
//!
//! Spec: `spec/consensus.md`, "Scheme one". What it must never do: change a value that was accepted.

mod properties;

use super::acceptor::Value;
use super::environment::client;
use serde::{Deserialize, Serialize};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;
use std::time::Duration;

/// Proposers that want values accepted, and the one acceptor.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct SchemeOne {
    proposers: Vec<Id>,
    acceptor: Id,
    broken: Option<Rule>,
}

/// What a mutant leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Rule {
    /// Only one has the access.
    Exclusive,
    /// A proposer takes over the value that is there.
    TakesOver,
    /// What the acceptor accepts is on disk before it says so.
    SavesValue,
    /// A proposer proposes what it was asked for.
    WaitsForRequest,
    /// A proposer gives back access that it needs no more.
    Releases,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Msg {
    /// The client wants this value.
    Request(Value),
    /// A proposer wants the access.
    Prepare,
    /// It has it; this value is there.
    Granted(Option<Value>),
    /// Accept this, and take the access back.
    Accept(Value),
    Accepted(Value),
    /// Take the access back.
    Release,
    /// The client is told what is accepted.
    Decided(Value),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum State {
    Proposer(Proposer),
    Acceptor(Acceptor),
}

#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Proposer {
    Idle,
    /// It waits for the access.
    Asking(Value),
    /// It has the access and has proposed a value.
    Holding(Value),
    Decided(Value),
}

/// All of it is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Hash, Serialize, Deserialize)]
pub struct Acceptor {
    holder: Option<Id>,
    value: Option<Value>,
}

/// A proposer asks again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retry;

impl Actor for SchemeOne {
    type Msg = Msg;
    type Timer = Retry;
    type State = State;
    type Storage = Acceptor;
    type Random = ();

    fn on_start(&self, id: Id, disk: &Option<Acceptor>, out: &mut Out<Self>) -> State {
        if id == self.acceptor {
            return State::Acceptor(disk.unwrap_or_default());
        }
        let mut proposer = Proposer::Idle;
        if self.broken == Some(Rule::WaitsForRequest) {
            self.on_request(&mut proposer, Value(0), out);
        }
        State::Proposer(proposer)
    }

    fn on_msg(&self, _: Id, state: &mut Cow<'_, State>, src: Id, msg: Msg, out: &mut Out<Self>) {
        match (state.to_mut(), msg) {
            (State::Proposer(proposer), Msg::Request(value)) => {
                self.on_request(proposer, value, out);
            }
            (State::Acceptor(acceptor), Msg::Prepare) => self.on_prepare(acceptor, src, out),
            (State::Proposer(proposer), Msg::Granted(value)) => {
                self.on_granted(proposer, value, out);
            }
            (State::Acceptor(acceptor), Msg::Accept(value)) => {
                self.on_accept(acceptor, src, value, out);
            }
            (State::Proposer(proposer), Msg::Accepted(value)) => {
                if *proposer == Proposer::Holding(value) {
                    self.decide(proposer, value, out);
                }
            }
            (State::Acceptor(acceptor), Msg::Release) => {
                if acceptor.holder == Some(src) {
                    acceptor.holder = None;
                    out.save(*acceptor);
                }
            }
            // Not for this role, or for the client: nobody honest sends it here.
            (
                State::Proposer(_),
                Msg::Prepare | Msg::Accept(_) | Msg::Release | Msg::Decided(_),
            )
            | (
                State::Acceptor(_),
                Msg::Request(_) | Msg::Granted(_) | Msg::Accepted(_) | Msg::Decided(_),
            ) => {}
        }
    }

    fn on_timeout(&self, _: Id, state: &mut Cow<'_, State>, _: &Retry, out: &mut Out<Self>) {
        match **state {
            State::Proposer(Proposer::Asking(_)) => out.send(self.acceptor, Msg::Prepare),
            State::Proposer(Proposer::Holding(value)) => {
                out.send(self.acceptor, Msg::Accept(value));
            }
            State::Proposer(Proposer::Idle | Proposer::Decided(_)) | State::Acceptor(_) => return,
        }
        out.set_timer(Retry, WAIT);
    }
}

impl SchemeOne {
    fn on_request(&self, proposer: &mut Proposer, value: Value, out: &mut Out<Self>) {
        if *proposer == Proposer::Idle {
            *proposer = Proposer::Asking(value);
            out.send(self.acceptor, Msg::Prepare);
            out.set_timer(Retry, WAIT);
        }
    }

    fn on_prepare(&self, acceptor: &mut Acceptor, src: Id, out: &mut Out<Self>) {
        let free = acceptor.holder.is_none_or(|holder| holder == src);
        if free || self.broken == Some(Rule::Exclusive) {
            acceptor.holder = Some(src);
            out.save(*acceptor);
            out.send(src, Msg::Granted(acceptor.value));
        }
    }

    fn on_granted(&self, proposer: &mut Proposer, value: Option<Value>, out: &mut Out<Self>) {
        match (*proposer, value) {
            (Proposer::Asking(own), Some(_)) if self.broken == Some(Rule::TakesOver) => {
                *proposer = Proposer::Holding(own);
                out.send(self.acceptor, Msg::Accept(own));
            }
            (Proposer::Asking(own), None) => {
                *proposer = Proposer::Holding(own);
                out.send(self.acceptor, Msg::Accept(own));
            }
            (Proposer::Asking(_), Some(there)) => {
                self.release(out);
                self.decide(proposer, there, out);
            }
            // An old Prepare has arrived again: it needs the access no more.
            (Proposer::Decided(_), _) => self.release(out),
            (Proposer::Holding(_), _) => {} // It has proposed already.
            // It has crashed since. If it gave back the access now, an Accept that it had sent could come later, when it
            // has the access for the second time, and take the place of another proposer's value.
            (Proposer::Idle, _) => {}
        }
    }

    fn release(&self, out: &mut Out<Self>) {
        if self.broken != Some(Rule::Releases) {
            out.send(self.acceptor, Msg::Release);
        }
    }

    fn on_accept(&self, acceptor: &mut Acceptor, src: Id, value: Value, out: &mut Out<Self>) {
        if acceptor.holder == Some(src) {
            *acceptor = Acceptor {
                holder: None,
                value: Some(value),
            };
            if self.broken != Some(Rule::SavesValue) {
                out.save(*acceptor);
            }
        }
        if acceptor.value == Some(value) {
            out.send(src, Msg::Accepted(value));
        }
    }

    fn decide(&self, proposer: &mut Proposer, value: Value, out: &mut Out<Self>) {
        *proposer = Proposer::Decided(value);
        out.cancel_timer(Retry);
        out.send(client(), Msg::Decided(value));
    }
}

/// How long a proposer waits before it asks again, on a real network.
const WAIT: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(300);
