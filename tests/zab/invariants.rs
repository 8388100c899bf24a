//! Predicates of the invariants, held against disks that no protocol here writes.
//!
//! Most predicates are seen to fail in a broken protocol (`check mutants`). Here is what such a protocol shows only
//! together with something else.

use crate::cluster::{Numbers, config, z};
use crate::sim::Sim;
use keepright::types::{Epoch, ServerId};
use keepright::zab::invariants::{self, Ensemble, Record};
use keepright::zab::{History, Storage, Zab};

/// Whether a predicate is true of servers that are down and have these disks.
fn of_disks(predicate: fn(&Ensemble<'_, Numbers>) -> bool, disks: &[Storage<Numbers>]) -> bool {
    let zab = Zab::new(config(3, 0));
    let servers = (1..).map(ServerId).zip(disks);
    let servers: Vec<_> = servers
        .map(|(id, disk)| invariants::Server {
            id,
            disk,
            state: None,
        })
        .collect();
    predicate(&Ensemble {
        zab: &zab,
        servers: &servers,
        record: &Record::default(),
    })
}

/// A server that has taken over an epoch, with transactions of these epochs and counters.
fn taken_over(epoch: u32, transactions: &[(u32, u32, u32)]) -> Storage<Numbers> {
    let mut disk = Storage::<Numbers> {
        accepted_epoch: Epoch(epoch),
        current_epoch: Epoch(epoch),
        ..Storage::default()
    };
    for (epoch, counter, number) in transactions {
        disk.history.append(z(*epoch, *counter), *number);
    }
    disk
}

#[test]
fn an_acknowledged_transaction_must_be_on_the_disk_unless_a_later_epoch_was_promised() {
    let mut sim = Sim::established(config(3, 0), 1);
    assert!(sim.write(1));
    sim.until("all is delivered", Sim::converged);
    sim.run_ms(500);
    let leader = sim.leader().expect("it leads");
    let held = |change: fn(&mut Storage<Numbers>)| {
        let nodes = &sim.cluster.nodes;
        let disks = nodes.iter().map(|(id, node)| {
            let mut disk = node.disk.clone();
            if *id != leader {
                change(&mut disk);
            }
            (*id, disk)
        });
        let disks: Vec<_> = disks.collect();
        let servers = disks.iter().map(|(id, disk)| invariants::Server {
            id: *id,
            disk,
            state: nodes[id].state.as_ref(),
        });
        invariants::acknowledged_is_held(&Ensemble {
            zab: &sim.cluster.zab,
            servers: &servers.collect::<Vec<_>>(),
            record: &Record::default(),
        })
    };
    assert!(held(|_| ()));
    assert!(!held(|disk| disk.history = History::default()));
    assert!(held(|disk| {
        disk.history = History::default();
        disk.accepted_epoch = Epoch(disk.accepted_epoch.0 + 1);
    }));
    assert!(!held(|disk| disk.current_epoch = Epoch(0)));
}

#[test]
fn histories_of_one_epoch_that_fork_are_inconsistent_even_when_nobody_leads() {
    let consistent = |one, other| of_disks(invariants::history_consistency, &[one, other]);
    let short = || taken_over(2, &[(1, 1, 7)]);
    let long = || taken_over(2, &[(1, 1, 7), (2, 1, 8)]);
    assert!(consistent(short(), long()));
    assert!(consistent(long(), short()));
    assert!(consistent(long(), long()));
    assert!(!consistent(long(), taken_over(2, &[(1, 1, 7), (2, 1, 9)])));
    assert!(!consistent(short(), taken_over(2, &[(1, 1, 6)])));
    let of_next = taken_over(3, &[(1, 1, 6)]);
    assert!(consistent(short(), of_next), "of different epochs");
}
