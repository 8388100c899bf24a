//! What the models of the protocol replicate: the numbers of the clients' writes, and changes of the membership.
//!
//! What it must never do: take a write for a change.

use keepright::quorum::{Membership, ServerSet};
use keepright::types::ServerId;
use keepright::zab::Change;

/// Puts in force what was proposed.
pub const IN_FORCE: u8 = 0x80;

/// The transaction that proposes these servers, with ids from 1 to 6, as the voters.
pub fn proposing(voters: ServerSet) -> u8 {
    let bits = voters.iter().map(|sid| 1 << sid.0);
    bits.fold(IN_FORCE, |all, bit: u8| all | bit)
}

/// What a transaction does to the membership. No model has so many writes.
pub fn change(txn: u8) -> Option<Change> {
    let is_change = txn & 0x81 == IN_FORCE; // Nobody has the id 0.
    is_change.then(|| match txn {
        IN_FORCE => Change::InForce,
        _ => Change::Proposed(Membership::majority(voters(txn))),
    })
}

fn voters(txn: u8) -> ServerSet {
    let ids = (1..7u8).filter(|id| txn >> id & 1 == 1);
    ids.map(ServerId).collect()
}

/// What a transaction is called.
pub fn name(txn: u8) -> String {
    match txn {
        IN_FORCE => "in-force".to_owned(),
        _ if change(txn).is_some() => {
            let ids = voters(txn).iter().map(|sid| sid.to_string());
            format!("voters({})", ids.collect::<Vec<_>>().join(","))
        }
        number => format!("w{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_tells_who_votes_and_a_write_is_none() {
        let voters: ServerSet = [2, 3].map(ServerId).into_iter().collect();
        let proposal = proposing(voters);
        let membership = Membership::majority(voters);
        assert_eq!(change(proposal), Some(Change::Proposed(membership)));
        assert_eq!(change(IN_FORCE), Some(Change::InForce));
        assert_eq!(name(proposal), "voters(2,3)");
        for write in (0..=100).chain([u8::MAX]) {
            assert_eq!(change(write), None, "{}", name(write));
        }
    }
}
