//! The statements of `spec/2-discovery.md` and `spec/3-synchronization.md`.

use crate::cluster::{Cluster, Effects, Envelope, Numbers, config, s, z};
use crate::sim::{Faults, Sim};
use keepright::persistent::Vector;
use keepright::types::{Epoch, EpochName, Zxid};
use keepright::zab::{
    Config, Difference, Elections, Entry, Message, Msg, Snapshot, Storage, Timer,
};
use keepright::zab::{Lineage, Memory};
use std::collections::BTreeSet;

/// Three servers, of which 3 leads, with `count` transactions that everybody has delivered.
fn with_writes(config: Config, count: u32) -> Sim {
    let mut sim = Sim::established(config, 1);
    for number in 1..=count {
        assert!(sim.write(number));
    }
    sim.until("all is delivered", Sim::converged);
    assert_eq!(sim.leader(), Some(s(3)));
    sim
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> Vec<u32> {
    range.collect()
}

/// The steps that were sent to server `to` since the log was emptied.
fn steps(sim: &Sim, to: u8) -> Vec<Difference<Numbers>> {
    let steps = sim
        .sent
        .iter()
        .filter_map(|(_, envelope)| match &envelope.message {
            Message::Sync { step, .. } if envelope.dst == s(to) => Some(step.clone()),
            _ => None,
        });
    let mut steps: Vec<_> = steps.collect();
    steps.dedup();
    steps
}

#[test]
fn diff_for_a_learner_that_is_a_little_behind() {
    let mut sim = with_writes(config(3, 0), 2);
    sim.crash(s(1), 0);
    assert!(sim.write(3) && sim.write(4));
    sim.run_ms(100);
    sim.sent.clear();
    // The leader starts a new epoch, so that 1 is synchronized and not sent proposals.
    sim.crash(s(3), 0);
    sim.start(s(1));
    sim.until("all is delivered", Sim::converged);
    let entries = [3, 4].map(|n| Entry {
        zxid: z(1, n),
        txn: n,
    });
    let diff = Difference::Diff {
        after: z(1, 2),
        entries: entries.into(),
    };
    assert_eq!(steps(&sim, 1), [diff]);
    assert_eq!(sim.cluster.delivered(s(1)), numbers(1..=4));
}

#[test]
fn trunc_for_a_learner_with_a_dead_leaders_transactions() {
    let mut sim = with_writes(config(3, 0), 2);
    sim.isolate(s(3));
    sim.input(s(3), Msg::Propose(100));
    sim.input(s(3), Msg::Propose(101));
    sim.until("another leader", |sim| sim.leader() == Some(s(2)));
    assert!(sim.write(3));
    sim.run_ms(3000);
    assert_eq!(sim.cluster.mark(s(3)).last_zxid, z(1, 4), "it is on disk");
    sim.sent.clear();
    sim.heal();
    sim.until("all is delivered", Sim::converged);
    let trunc = Difference::Trunc {
        from: z(1, 4),
        to: z(1, 2),
    };
    assert_eq!(steps(&sim, 3).first(), Some(&trunc));
    for id in sim.cluster.ids() {
        assert_eq!(sim.cluster.delivered(id), numbers(1..=3));
    }
}

#[test]
fn snap_for_a_learner_that_is_behind_the_start() {
    let config = Config {
        retain: 2,
        ..config(3, 0)
    };
    let mut sim = with_writes(config, 2);
    sim.crash(s(1), 0);
    sim.run_ms(3000);
    for number in 3..=9 {
        assert!(sim.write(number));
    }
    sim.run_ms(100);
    for id in [2, 3] {
        sim.snapshot(s(id));
        let history = sim.cluster.state(s(id)).storage().history.clone();
        assert_eq!(history.start(), z(1, 7), "two are kept");
    }
    sim.sent.clear();
    sim.crash(s(3), 0);
    sim.start(s(1));
    sim.until("all is delivered", Sim::converged);
    let steps = steps(&sim, 1);
    assert!(
        matches!(&steps[..], [Difference::Snap { snapshot, .. }] if snapshot.zxid == z(1, 9)),
        "{steps:?}"
    );
    assert_eq!(sim.cluster.delivered(s(1)), numbers(1..=9));
}

#[test]
fn a_learner_of_the_same_epoch_that_is_behind_the_start_gets_the_snapshot() {
    let config = Config {
        retain: 0,
        ..config(3, 0)
    };
    let mut sim = with_writes(config, 2);
    sim.crash(s(1), 0);
    sim.run_ms(3000);
    for number in 3..=9 {
        assert!(sim.write(number));
    }
    sim.run_ms(100);
    sim.snapshot(s(3));
    sim.start(s(1));
    sim.until("all is delivered", Sim::converged);
    assert_eq!(sim.cluster.state(s(3)).epoch(), Some(Epoch(1)));
    assert_eq!(sim.cluster.delivered(s(1)), numbers(1..=9));
}

#[test]
fn late_joiners_are_brought_up_to_date_while_writes_go_on() {
    let mut sim = Sim::new(config(5, 1), 1);
    for id in 1..=3 {
        sim.start(s(id));
    }
    sim.until("everybody serves", Sim::all_serve);
    let mut written = 0;
    for late in 4..=6 {
        for _ in 0..10 {
            written += 1;
            assert!(sim.write(written), "writes go on");
            sim.run_ms(5);
        }
        sim.start(s(late));
        while !sim.all_serve() {
            written += 1;
            assert!(sim.write(written), "writes go on");
            sim.run_ms(5);
            assert!(sim.now < 20_000_000);
        }
    }
    sim.until("all is delivered", Sim::converged);
    for id in sim.cluster.ids() {
        assert_eq!(sim.cluster.delivered(id), numbers(1..=written));
    }
    assert_eq!(sim.cluster.state(s(3)).epoch(), Some(Epoch(1)));
}

#[test]
fn what_was_committed_anywhere_survives_every_leader_change() {
    let mut sim = Sim::established(config(3, 0), 1);
    for number in 1..=10 {
        assert!(sim.write(number));
        let leader = sim.leader().expect("it has just proposed");
        sim.until("it is delivered by the leader", |sim| {
            sim.cluster.delivered(leader).last() == Some(&number)
        });
        sim.crash(leader, 0);
        sim.until("another leader", Sim::all_serve);
        assert_ne!(sim.leader(), Some(leader));
        sim.start(leader);
        sim.until("all is delivered", Sim::converged);
        for id in sim.cluster.ids() {
            assert_eq!(sim.cluster.delivered(id), numbers(1..=number));
        }
    }
    assert!(sim.cluster.record.leaders.len() > 10, "a leader for each");
}

/// Server 1, which follows 2; every save waits until it is flushed.
fn follower() -> Cluster {
    let mut cluster = Cluster::new(Config {
        elections: Elections::External,
        ..config(3, 0)
    });
    cluster.start(s(1));
    cluster.input(s(1), Msg::Elected(s(2)));
    // What 2 says below, a leader of epoch 1 might have proposed.
    cluster.record.proposed = vec![Entry {
        zxid: z(1, 1),
        txn: 7,
    }];
    cluster
}

fn from_leader(cluster: &mut Cluster, message: Message<Numbers>) -> Effects {
    cluster.deliver(&Envelope {
        src: s(2),
        dst: s(1),
        message,
    })
}

fn new_epoch() -> Message<Numbers> {
    Message::NewEpoch {
        epoch: Epoch(2),
        name: EpochName::NONE,
        lineage: Lineage::default(),
        current_epoch: Epoch(1),
        last_zxid: z(1, 1),
    }
}

fn sync() -> Message<Numbers> {
    Message::Sync {
        epoch: Epoch(2),
        lineage: Lineage::default(),
        step: Difference::Diff {
            after: Zxid::ZERO,
            entries: vec![Entry {
                zxid: z(1, 1),
                txn: 7,
            }],
        },
    }
}

fn new_leader() -> Message<Numbers> {
    Message::NewLeader {
        epoch: Epoch(2),
        lineage: Lineage::default(),
        counts: true,
        last_zxid: z(1, 1),
    }
}

#[test]
fn a_leader_proposes_an_epoch_above_all_that_its_followers_have_accepted() {
    let mut cluster = Cluster::new(Config {
        elections: Elections::External,
        ..config(5, 0)
    });
    cluster.start(s(5));
    cluster.input(s(5), Msg::Elected(s(5)));
    // Server 1 has been elsewhere in between.
    for (from, accepted) in [(1, 0), (1, 7), (1, 7), (2, 3)] {
        assert_eq!(cluster.state(s(5)).epoch(), None, "no quorum yet");
        cluster.deliver(&Envelope {
            src: s(from),
            dst: s(5),
            message: Message::FollowerInfo {
                accepted_epoch: Epoch(accepted),
            },
        });
    }
    assert_eq!(cluster.state(s(5)).epoch(), Some(Epoch(8)));
}

#[test]
fn a_leader_repeats_its_epoch_to_a_learner_that_has_come_late() {
    let mut sim = with_writes(config(3, 0), 1);
    let leader = sim.leader().expect("it leads");
    sim.crash(s(1), 0);
    sim.run_ms(3000);
    let ticks = |sim: &mut Sim| sim.cluster.fire(leader, Timer::Heartbeat).sent;
    let to_it = |sent: Vec<Envelope>| sent.into_iter().filter(|e| e.dst == s(1)).count();
    assert_eq!(to_it(ticks(&mut sim)), 0, "it is given up");
    let accepted_epoch = Epoch(0);
    sim.cluster.deliver(&Envelope {
        src: s(1),
        dst: leader,
        message: Message::FollowerInfo { accepted_epoch },
    });
    assert_eq!(to_it(ticks(&mut sim)), 1);
}

#[test]
fn a_learner_says_what_the_leader_lacks_if_its_own_history_is_the_more_recent() {
    for (current_epoch, last_zxid, lacks) in [
        (Epoch(0), Zxid::ZERO, true),
        (Epoch(0), z(1, 9), true),
        (Epoch(1), Zxid::ZERO, true),
        (Epoch(1), z(1, 1), false),
        (Epoch(1), z(1, 2), false),
        (Epoch(2), Zxid::ZERO, false),
    ] {
        let mut cluster = follower();
        cluster.crash(s(1), 0);
        let disk = &mut cluster.nodes.get_mut(&s(1)).expect("it is there").disk;
        disk.accepted_epoch = Epoch(1);
        disk.current_epoch = Epoch(1);
        disk.history.append(z(1, 1), 7);
        cluster.start(s(1));
        cluster.input(s(1), Msg::Elected(s(2)));
        let new_epoch = Message::NewEpoch {
            epoch: Epoch(3),
            name: EpochName::NONE,
            lineage: Lineage::default(),
            current_epoch,
            last_zxid,
        };
        from_leader(&mut cluster, new_epoch);
        let sent = cluster.flush(s(1), 1).sent;
        let [
            Envelope {
                message: Message::AckEpoch { newer, .. },
                ..
            },
        ] = &sent[..]
        else {
            panic!("{sent:?}");
        };
        assert_eq!(newer.is_some(), lacks, "{current_epoch} {last_zxid}");
    }
}

#[test]
fn the_accepted_epoch_is_durable_before_ack_epoch() {
    let mut cluster = follower();
    assert_eq!(cluster.state(s(1)).pending_saves(), 0);
    let effects = from_leader(&mut cluster, new_epoch());
    assert_eq!(effects.saved[0].accepted_epoch, Epoch(2));
    assert_eq!(effects.sent, []);
    assert_eq!(cluster.state(s(1)).pending_saves(), 1);
    let again = from_leader(&mut cluster, new_epoch());
    assert_eq!(
        (again.saved.len(), again.sent.len()),
        (0, 0),
        "nor if asked"
    );
    let effects = cluster.flush(s(1), 1);
    assert!(matches!(
        effects.sent[..],
        [Envelope {
            message: Message::AckEpoch {
                epoch: Epoch(2),
                promise: true,
                ..
            },
            ..
        }]
    ));
}

#[test]
fn the_history_is_durable_before_the_current_epoch_and_that_before_the_acknowledgement() {
    let mut cluster = follower();
    from_leader(&mut cluster, new_epoch());
    cluster.flush(s(1), 1);
    let early = from_leader(&mut cluster, new_leader());
    assert!(!early.changed, "without the history it has to wait");
    let history = from_leader(&mut cluster, sync());
    let epoch = from_leader(&mut cluster, new_leader());
    assert_eq!(history.saved.len(), 1);
    assert_eq!(history.saved[0].current_epoch, Epoch(0));
    assert_eq!(history.saved[0].history.last_zxid(), z(1, 1));
    assert_eq!(epoch.saved.len(), 1);
    assert_eq!(epoch.saved[0].current_epoch, Epoch(2));
    assert_eq!(epoch.saved[0].history, history.saved[0].history);
    assert!(history.sent.is_empty() && epoch.sent.is_empty());
    assert_eq!(cluster.flush(s(1), 1).sent, [], "the epoch is not durable");
    let effects = cluster.flush(s(1), 1);
    let ack = Message::Ack {
        epoch: Epoch(2),
        zxid: z(1, 1),
    };
    assert_eq!(effects.sent.len(), 1);
    assert_eq!(effects.sent[0].message, ack);
}

#[test]
fn a_crash_between_the_history_and_the_current_epoch_leaves_the_old_epoch() {
    for kept in 0..=2 {
        let mut cluster = follower();
        from_leader(&mut cluster, new_epoch());
        cluster.flush(s(1), 1);
        from_leader(&mut cluster, sync());
        from_leader(&mut cluster, new_leader());
        cluster.crash(s(1), kept);
        let mark = cluster.mark(s(1));
        assert_eq!(mark.accepted_epoch, Epoch(2));
        assert_eq!(mark.last_zxid == z(1, 1), kept >= 1);
        assert_eq!(mark.current_epoch == Epoch(2), kept == 2);
    }
}

#[test]
fn a_leader_is_established_only_by_the_acknowledgements_of_a_quorum() {
    let mut sim = Sim::new(config(3, 0), 1);
    sim.faults = Faults {
        save: (20_000, 20_000),
        ..Faults::NONE
    };
    for id in sim.cluster.ids() {
        sim.start(id);
    }
    sim.until("a leader", |sim| sim.leader().is_some());
    let ours = sim.cluster.mark(s(3)).current_epoch == Epoch(1);
    let acks = (1..=2).filter(|id| sim.cluster.mark(s(*id)).current_epoch == Epoch(1));
    assert!(acks.count() + usize::from(ours) >= 2, "on the disks of two");
}

#[test]
fn a_restart_from_disk_keeps_the_epochs_and_the_history() {
    let mut sim = with_writes(config(3, 0), 5);
    let before: Vec<_> = sim
        .cluster
        .ids()
        .iter()
        .map(|id| sim.cluster.mark(*id))
        .collect();
    for id in sim.cluster.ids() {
        sim.crash(id, 0);
    }
    for id in sim.cluster.ids() {
        sim.start(id);
        let state = sim.cluster.state(id);
        assert_eq!(state.durable(), before[usize::from(id.0) - 1]);
        assert_eq!(
            state.committed(),
            Zxid::ZERO,
            "what is committed is found out anew"
        );
    }
    sim.until("all is delivered", Sim::converged);
    for id in sim.cluster.ids() {
        assert_eq!(sim.cluster.delivered(id), numbers(1..=5));
        assert_eq!(sim.cluster.mark(id).accepted_epoch, Epoch(2));
    }
}

#[test]
fn a_follower_that_restarts_after_its_promise_does_not_depose_the_leader() {
    let mut cluster = Cluster::new(Config {
        elections: Elections::External,
        ..config(5, 0)
    });
    cluster.start(s(5));
    cluster.input(s(5), Msg::Elected(s(5)));
    let say = |cluster: &mut Cluster, from: u8, message| {
        cluster.deliver(&Envelope {
            src: s(from),
            dst: s(5),
            message,
        })
    };
    for id in 1..=2 {
        let accepted_epoch = Epoch(0);
        say(&mut cluster, id, Message::FollowerInfo { accepted_epoch });
    }
    cluster.flush(s(5), 1);
    let ack = |promise| Message::AckEpoch {
        epoch: Epoch(1),
        lineage: Lineage::default(),
        memory: Memory::Kept,
        draw: 0,
        current_epoch: Epoch(0),
        last_zxid: Zxid::ZERO,
        promise,
        newer: None,
    };
    say(&mut cluster, 1, ack(true));
    say(&mut cluster, 1, ack(false));
    assert!(
        cluster.state(s(5)).is_leading(),
        "1 has promised it this epoch"
    );
    say(&mut cluster, 2, ack(true));
    assert_eq!(cluster.state(s(5)).recency().current_epoch, Epoch(1));
}

#[test]
fn the_limit_for_discovery_and_synchronization_ends_with_them() {
    let mut cluster = follower();
    from_leader(&mut cluster, new_epoch());
    from_leader(&mut cluster, sync());
    from_leader(&mut cluster, new_leader());
    cluster.flush(s(1), 3);
    let leaders_disk = &mut cluster.nodes.get_mut(&s(2)).expect("it is there").disk;
    leaders_disk.history.append(z(1, 1), 7);
    let commit = Message::Commit {
        epoch: Epoch(2),
        zxid: z(1, 1),
        counts: true,
    };
    let ended = |effects: &Effects| effects.timers.contains(&(Timer::Establish, None));
    let first = from_leader(&mut cluster, commit.clone());
    assert!(first.changed && ended(&first));
    let again = from_leader(&mut cluster, commit);
    assert!(!again.changed && !ended(&again), "known");

    let mut alone = Cluster::new(config(1, 0));
    alone.start(s(1));
    alone.flush(s(1), 1);
    assert!(ended(&alone.flush(s(1), 1)), "established");
    alone.input(s(1), Msg::Propose(1));
    let effects = alone.flush(s(1), 1);
    assert!(effects.changed && !ended(&effects));
}

#[test]
fn a_snapshot_is_taken_over_if_it_is_newer_and_committed() {
    let mut sim = with_writes(config(3, 0), 3);
    let snapshot = |zxid| {
        Msg::Snapshot(Snapshot {
            zxid,
            state: Vector::new(),
        })
    };
    sim.cluster.snapshot(s(1));
    for known in [Zxid::ZERO, z(1, 2), z(1, 3)] {
        let effects = sim.cluster.input(s(1), snapshot(known));
        assert!(effects.saved.is_empty(), "{known}");
    }
    sim.input(s(3), Msg::Propose(4));
    let effects = sim.cluster.input(s(3), snapshot(z(1, 4)));
    assert!(effects.saved.is_empty(), "not committed");
}

#[test]
fn a_leader_repeats_its_epoch_to_those_who_have_not_answered() {
    let mut cluster = Cluster::new(Config {
        elections: Elections::External,
        ..config(5, 0)
    });
    cluster.start(s(5));
    cluster.input(s(5), Msg::Elected(s(5)));
    let say = |cluster: &mut Cluster, from: u8, message| {
        cluster.deliver(&Envelope {
            src: s(from),
            dst: s(5),
            message,
        })
    };
    for id in 1..=2 {
        let accepted_epoch = Epoch(0);
        say(&mut cluster, id, Message::FollowerInfo { accepted_epoch });
    }
    cluster.flush(s(5), 1);
    let ack = Message::AckEpoch {
        epoch: Epoch(1),
        lineage: Lineage::default(),
        memory: Memory::Kept,
        draw: 0,
        current_epoch: Epoch(0),
        last_zxid: Zxid::ZERO,
        promise: true,
        newer: None,
    };
    say(&mut cluster, 1, ack);
    let sent = cluster.fire(s(5), Timer::Heartbeat).sent;
    let to: Vec<_> = sent.iter().map(|envelope| envelope.dst).collect();
    assert_eq!(to, [s(2)]);
}

#[test]
fn a_snapshot_that_comes_late_takes_nothing_away() {
    let mut cluster = follower();
    let entry = |zxid: Zxid| Entry { zxid, txn: 7 };
    cluster.record.proposed.push(entry(z(2, 1)));
    let snap = Message::Sync {
        epoch: Epoch(2),
        lineage: Lineage::default(),
        step: Difference::Snap {
            snapshot: Snapshot::default(),
            entries: vec![entry(z(1, 1))],
        },
    };
    from_leader(&mut cluster, new_epoch());
    assert!(from_leader(&mut cluster, snap.clone()).changed);
    from_leader(&mut cluster, new_leader());
    let proposal = Message::Propose {
        epoch: Epoch(2),
        after: z(1, 1),
        entry: entry(z(2, 1)),
    };
    assert!(from_leader(&mut cluster, proposal).changed);
    assert!(!from_leader(&mut cluster, snap).changed, "it has gone on");
}

#[test]
fn a_server_whose_disk_is_replaced_gets_everything_from_the_leader_that_it_had() {
    for (voters, observers, joiner) in [(3, 0, 1), (3, 1, 4)] {
        let mut sim = with_writes(config(voters, observers), 5);
        let leader = sim.leader().expect("it leads");
        // A voter that has forgotten its promises breaks an assumption, so invariants may fall meanwhile.
        sim.cluster.fallen = Some(BTreeSet::new());
        sim.crash(s(joiner), 0);
        sim.cluster
            .nodes
            .get_mut(&s(joiner))
            .expect("it is there")
            .disk = Storage::default();
        sim.start(s(joiner));
        sim.until("all is delivered", Sim::converged);
        assert_eq!(sim.cluster.delivered(s(joiner)), numbers(1..=5));
        assert_eq!(sim.leader(), Some(leader), "no election was needed");
    }
}
