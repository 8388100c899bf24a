//! Histories that are not one: servers that ran alone, disks that were replaced, servers from elsewhere.
//!
//! Spec: `spec/10-lineage.md`. Each test is named as the statement that it tries.

use crate::cluster::{config, s, z};
use crate::sim::Sim;
use keepright::quorum::ServerSet;
use keepright::types::{Epoch, EpochName, ServerId, Zxid};
use keepright::zab::{Config, Lineage, Memory, Storage, Term};
use std::collections::BTreeSet;

/// The disk of server `id` when it starts for the first time, with a number that it has drawn.
fn new_disk(id: u8) -> Storage<crate::cluster::Numbers> {
    Storage {
        memory: Memory::New,
        draw: u64::from(id) << 8,
        ..Storage::default()
    }
}

/// An ensemble whose epochs have names and whose disks know that they are new.
fn ensemble(config: Config) -> Sim {
    let mut sim = Sim::new(config, 1);
    for (id, node) in &mut sim.cluster.nodes {
        node.disk = new_disk(id.0);
    }
    // What happened before the test is in no record.
    sim.cluster.fallen = Some(BTreeSet::new());
    sim
}

fn set(ids: &[u8]) -> ServerSet {
    ids.iter().copied().map(ServerId).collect()
}

/// Puts an epoch that `leader` has begun, with these numbers as its transactions, behind the history of a disk.
fn begin(sim: &mut Sim, id: u8, epoch: u32, leader: u8, voters: &[u8], numbers: &[u32]) {
    let disk = &mut sim.cluster.nodes.get_mut(&s(id)).expect("it is there").disk;
    let term = Term {
        epoch: Epoch(epoch),
        name: EpochName {
            leader: s(leader),
            draw: 7 + u64::from(leader),
        },
        after: disk.history.last_zxid(),
        voters: set(voters),
    };
    disk.lineage = disk.lineage.begin(term);
    disk.accepted_epoch = Epoch(epoch);
    disk.current_epoch = Epoch(epoch);
    disk.memory = Memory::Kept;
    for (counter, number) in (1..).zip(numbers) {
        disk.history.append(z(epoch, counter), *number);
    }
}

fn start(sim: &mut Sim, ids: &[u8]) {
    for id in ids {
        sim.start(s(*id));
    }
}

fn has(sim: &Sim, id: u8) -> Vec<u32> {
    let storage = sim.cluster.state(s(id)).storage();
    storage
        .history
        .entries()
        .iter()
        .map(|entry| entry.txn)
        .collect()
}

fn leads(sim: &Sim, among: &[u8]) -> bool {
    sim.leader().is_some_and(|leader| among.contains(&leader.0))
}

#[test]
fn who_was_used_alone_is_kept_out_and_the_others_go_on() {
    let mut sim = ensemble(config(3, 0));
    for id in [1, 2, 3] {
        begin(&mut sim, id, 1, 3, &[1, 2, 3], &[11, 12]);
    }
    begin(&mut sim, 1, 2, 1, &[1], &[91, 92]);
    for id in [2, 3] {
        let disk = &mut sim.cluster.nodes.get_mut(&s(id)).expect("it is there").disk;
        disk.history.append(z(1, 3), 13);
    }
    start(&mut sim, &[1, 2, 3]);
    sim.until("the two have a leader", |sim| leads(sim, &[2, 3]));
    sim.until("both sides know", |sim| {
        let knows = |id| !sim.cluster.state(s(id)).diverged().is_empty();
        knows(1) && (knows(2) || knows(3))
    });
    sim.until("the others are at one", |sim| {
        has(sim, 2) == [11, 12, 13] && has(sim, 3) == [11, 12, 13]
    });
    assert_eq!(has(&sim, 1), [11, 12, 91, 92], "nothing is cut");
    assert!(!sim.cluster.state(s(1)).serving());
}

#[test]
fn what_was_decided_alone_is_taken_over_where_nothing_stands_against_it() {
    let mut sim = ensemble(config(3, 0));
    begin(&mut sim, 1, 1, 1, &[1], &[91, 92]);
    start(&mut sim, &[1, 2, 3]);
    sim.until("all have it", |sim| {
        [1, 2, 3].iter().all(|id| has(sim, *id) == [91, 92])
    });
    sim.until("it leads", |sim| leads(sim, &[1, 2, 3]));
}

#[test]
fn one_epoch_number_that_was_given_out_twice_makes_two_histories() {
    let mut sim = ensemble(config(3, 0));
    begin(&mut sim, 1, 1, 1, &[1, 2, 3], &[21]);
    for id in [2, 3] {
        begin(&mut sim, id, 1, 3, &[1, 2, 3], &[31]);
    }
    start(&mut sim, &[1, 2, 3]);
    sim.until("the two have a leader", |sim| leads(sim, &[2, 3]));
    sim.until("the first knows", |sim| {
        !sim.cluster.state(s(1)).diverged().is_empty()
    });
    assert_eq!((has(&sim, 1), has(&sim, 2)), (vec![21], vec![31]));
}

#[test]
fn an_empty_disk_and_one_that_is_behind_are_no_quorum() {
    let mut sim = ensemble(config(3, 0));
    for id in [1, 3] {
        begin(&mut sim, id, 1, 3, &[1, 2, 3], &[11]);
    }
    let disk = &mut sim.cluster.nodes.get_mut(&s(1)).expect("it is there").disk;
    disk.history.append(z(1, 2), 12);
    start(&mut sim, &[2, 3]);
    sim.run_ms(20_000);
    assert_eq!(sim.leader(), None, "who has data is alone");
    start(&mut sim, &[1]);
    sim.until("all have all", |sim| {
        [1, 2, 3].iter().all(|id| has(sim, *id) == [11, 12])
    });
}

#[test]
fn a_newcomer_counts_once_something_later_is_committed_without_it() {
    let mut sim = ensemble(config(3, 0));
    for id in [1, 3] {
        begin(&mut sim, id, 1, 3, &[1, 2, 3], &[11]);
    }
    start(&mut sim, &[1, 2, 3]);
    sim.until("all have it", |sim| {
        [1, 2, 3].iter().all(|id| has(sim, *id) == [11])
    });
    let memory = |sim: &Sim| sim.cluster.state(s(2)).storage().memory;
    sim.run_ms(2_000);
    assert_eq!(
        memory(&sim),
        Memory::Forgot,
        "nothing was proposed since it came"
    );
    assert!(sim.write(12));
    sim.until("it counts", |sim| memory(sim) == Memory::Kept);
}

#[test]
fn the_later_epoch_of_a_server_without_a_vote_costs_nobody_the_leader() {
    let mut sim = ensemble(config(3, 1));
    start(&mut sim, &[1, 2, 3]);
    sim.until("they have a leader", |sim| sim.leader().is_some());
    let leader = sim.leader();
    let disk = &mut sim.cluster.nodes.get_mut(&s(4)).expect("it is there").disk;
    disk.accepted_epoch = Epoch(9);
    start(&mut sim, &[4]);
    sim.run_ms(20_000);
    assert_eq!(sim.leader(), leader);
    assert!(sim.write(1));
    sim.until("the others have it", |sim| {
        [1, 2, 3].iter().all(|id| has(sim, *id) == [1])
    });
    assert!(
        !sim.cluster.state(s(4)).serving(),
        "it waits for a later epoch"
    );
}

#[test]
fn of_two_reports_that_are_not_one_history_that_of_a_quorum_is_taken() {
    let mut sim = ensemble(config(5, 0));
    begin(&mut sim, 1, 1, 1, &[1], &[91]);
    begin(&mut sim, 2, 1, 4, &[1, 2, 3, 4, 5], &[]);
    for id in [3, 4, 5] {
        begin(&mut sim, id, 1, 4, &[1, 2, 3, 4, 5], &[11]);
    }
    start(&mut sim, &[1, 2, 3, 4, 5]);
    sim.until("those who can agree have a leader", |sim| {
        leads(sim, &[2, 3, 4, 5])
    });
    sim.until("they are at one", |sim| {
        [2, 3, 4, 5].iter().all(|id| has(sim, *id) == [11])
    });
    assert_eq!(has(&sim, 1), [91], "nothing is cut");
    assert!(!sim.cluster.state(s(1)).serving());
}

#[test]
fn an_epoch_of_a_lineage_goes_on_from_the_end_of_the_history_before() {
    let mut sim = ensemble(config(3, 0));
    start(&mut sim, &[1, 2, 3]);
    sim.until("they have a leader", |sim| sim.leader().is_some());
    let leader = sim.leader().expect("it leads");
    assert!(sim.write(1));
    sim.until("all have it", |sim| {
        [1, 2, 3].iter().all(|id| has(sim, *id) == [1])
    });
    // Who came after the first one was proposed counts with the second.
    assert!(sim.write(2));
    sim.until("all count", |sim| {
        let memory = |id| sim.cluster.state(s(id)).storage().memory;
        [1, 2, 3].iter().all(|id| memory(*id) == Memory::Kept)
    });
    sim.crash(leader, 0);
    sim.until("they have another one", |sim| {
        sim.leader().is_some_and(|other| other != leader)
    });
    let next = sim.leader().expect("it leads");
    let lineage: &Lineage = &sim.cluster.state(next).storage().lineage;
    let known: Vec<_> = lineage
        .terms()
        .iter()
        .map(|term| (term.epoch, term.name.leader, term.after))
        .collect();
    let last = z(1, 2);
    assert_eq!(known[0], (Epoch(1), leader, Zxid::ZERO));
    assert_eq!((known[1].1, known[1].2), (next, last));
}
