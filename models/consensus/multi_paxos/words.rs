//! How `models/consensus/multi_paxos.rs` is told.
//!
//! What it must never do: leave out what makes two states different.

use super::{Disk, Msg, MultiPaxos, NO_OP, Role, State, Timer, Votes};
use crate::consensus::acceptor::{Value, Vote};
use crate::consensus::protocol::Told;
use crate::svg::{Kind, Stand};
use stateright::actor::Id;

impl Told for MultiPaxos {
    fn name_of(&self, id: Id) -> String {
        format!("server {}", usize::from(id) + 1)
    }

    fn state(&self, State { disk, chosen, role }: &State) -> String {
        let role = match role {
            Role::Follower => "follows".to_owned(),
            Role::Preparing(promises, _) => format!("prepares, promises: {}", promises.len()),
            Role::Leader(_) => "leads".to_owned(),
        };
        let slots: Vec<_> = chosen.keys().map(|slot| slot.0.to_string()).collect();
        let known = match slots.is_empty() {
            true => String::new(),
            false => format!("; chosen: {}", slots.join(", ")),
        };
        format!("{role}, {}{known}", self.disk(disk))
    }

    fn disk(&self, Disk { promised, votes }: &Disk) -> String {
        let promised = promised.map_or("nothing promised".to_owned(), |ballot| {
            format!("promised {ballot}")
        });
        format!("{promised}; accepted: {}", tell(votes))
    }

    fn message(&self, message: &Msg) -> String {
        match message {
            Msg::Request(value) => format!("a request for {}", tell_value(*value)),
            Msg::Prepare(ballot) => format!("Prepare {ballot}"),
            Msg::Promise(ballot, votes) => format!("Promise {ballot} (accepted: {})", tell(votes)),
            Msg::Accept(slot, vote) => format!("Accept {} for slot {}", tell_vote(vote), slot.0),
            Msg::Accepted(slot, ballot) => format!("Accepted slot {} in ballot {ballot}", slot.0),
            Msg::Chosen(slot, vote) => format!("Chosen {} for slot {}", tell_vote(vote), slot.0),
            Msg::Done(value) => format!("Done {}", tell_value(*value)),
        }
    }

    fn timeout(&self, timer: &Timer) -> &'static str {
        match timer {
            Timer::Election => "has heard no leader for long enough and begins a new ballot",
            Timer::Heartbeat => "sends again what may have been lost",
        }
    }

    fn stand(&self, state: &State) -> Stand {
        let kind = match state.role {
            Role::Follower => Kind::Follows,
            Role::Preparing(..) => Kind::Idle,
            Role::Leader(_) => Kind::Leads,
        };
        let words = tell(&state.disk.votes);
        Stand { kind, words }
    }
}

fn tell(votes: &Votes) -> String {
    let all = votes
        .iter()
        .map(|(slot, vote)| format!("{}: {}", slot.0, tell_vote(vote)));
    let all: Vec<_> = all.collect();
    match all.is_empty() {
        true => "nothing".to_owned(),
        false => all.join(", "),
    }
}

pub(super) fn tell_vote(vote: &Vote) -> String {
    format!("{} in ballot {}", tell_value(vote.value), vote.ballot)
}

pub(super) fn tell_value(value: Value) -> String {
    match value {
        NO_OP => "a no-op".to_owned(),
        Value(number) => format!("command {number}"),
    }
}
