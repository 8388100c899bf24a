//! The protocols before Zab and beside it, each a stateright actor that a person can run, read and explore.
//!
//! Spec: `spec/consensus.md`. One file a protocol; what is really the same is here: the world around them
//! (`environment.rs`), what progress means (`way_out.rs`), how they are told (`words.rs`).

mod acceptor;
pub mod bounds;
pub mod claims;
pub mod compare;
mod cost;
mod environment;
mod judge;
mod multi_paxos;
mod paxos;
mod primary_backup;
mod protocol;
mod raft;
mod scheme_one;
mod scheme_two;
pub mod spawn;
#[cfg(test)]
mod tests;
mod three_phase;
mod transaction;
pub mod trials;
mod two_phase;
mod way_out;
mod words;
mod zab;

use trials::{Kind, Of};

/// Every protocol, in the order in which the spec tells of them.
pub const ALL: &[&dyn Kind] = &[
    &Of::<primary_backup::PrimaryBackup>::KIND,
    &Of::<two_phase::TwoPhase>::KIND,
    &Of::<three_phase::ThreePhase>::KIND,
    &Of::<scheme_one::SchemeOne>::KIND,
    &Of::<scheme_two::SchemeTwo>::KIND,
    &Of::<paxos::Paxos>::KIND,
    &Of::<multi_paxos::MultiPaxos>::KIND,
    &Of::<raft::Raft>::KIND,
];

/// The protocol with this name.
pub fn find(name: &str) -> Option<&'static dyn Kind> {
    ALL.iter().copied().find(|kind| kind.card().name == name)
}
