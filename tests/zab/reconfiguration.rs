//! The statements of `spec/9-reconfiguration.md`: who decides while memberships replace each other, and that
//! somebody can.
//!
//! What it must never do: end a run without showing that the ensemble serves again.

use crate::cluster::{Cluster, Envelope, IN_FORCE, config, s, voters, z};
use crate::sim::{Faults, Random, Sim, with_seeds};
use keepright::quorum::ServerSet;
use keepright::types::{Epoch, ServerId, Zxid};
use keepright::zab::invariants;
use keepright::zab::{Change, Config, Difference, Elections, Entry, Lineage, Memory, Message, Msg};
use std::time::Duration;

/// An ensemble of `count` voters with ids from 1 that serves, with newcomers up to `all`.
fn serving(count: u8, all: u8) -> Sim {
    let mut sim = Sim::new(config(count, 0), 1);
    let newcomers: Vec<u8> = (count + 1..=all).collect();
    sim.cluster = sim.cluster.with_newcomers(&newcomers);
    for id in sim.cluster.ids() {
        sim.start(id);
    }
    sim.until("everybody serves", Sim::all_serve);
    sim
}

/// Whether a server counts by these voters alone.
fn counts_by(sim: &Sim, id: u8, ids: &[u8]) -> bool {
    let in_force = sim.cluster.zab.in_force(sim.cluster.state(s(id)));
    let expected = ids.iter().map(|id| s(*id)).collect();
    in_force.next.is_none() && in_force.now.voters == expected
}

/// Replaces the voters, and waits until everybody knows.
fn reconfigure(sim: &mut Sim, ids: &[u8]) {
    assert!(sim.write(voters(ids)));
    sim.until("everybody counts by the new membership", |sim| {
        let up = |id: &ServerId| sim.cluster.up(*id);
        let all = sim.cluster.ids();
        sim.converged()
            && all
                .iter()
                .filter(|id| up(id))
                .all(|id| counts_by(sim, id.0, ids))
    });
}

#[test]
fn a_newcomer_follows_without_a_vote_until_it_is_given_one() {
    let mut sim = serving(3, 4);
    assert!(sim.write(7));
    sim.until("all is delivered", Sim::converged);
    assert_eq!(sim.cluster.delivered(s(4)), [7]);
    let leader = sim.leader().expect("everybody serves");
    let others = (1..=4).map(s).filter(|id| *id != leader).collect();
    assert_eq!(sim.cluster.state(leader).learners(), others);
    assert_eq!(sim.cluster.state(s(4)).learners(), ServerSet::EMPTY);
    sim.isolate(s(1));
    sim.isolate(s(2));
    sim.until("two of four, and one without a vote", |sim| {
        sim.leader().is_none()
    });
    sim.heal();
    sim.until("everybody serves", Sim::all_serve);
    reconfigure(&mut sim, &[1, 2, 3, 4]);
    sim.crash(s(3), 0);
    sim.until("three of four serve", Sim::all_serve);
    assert_eq!(sim.leader(), Some(s(4)));
}

#[test]
fn the_old_servers_are_not_needed_once_the_new_membership_is_in_force() {
    let mut sim = serving(3, 6);
    assert!(sim.write(7));
    reconfigure(&mut sim, &[4, 5, 6]);
    for id in 1..=6 {
        sim.crash(s(id), 0);
    }
    for id in 4..=6 {
        sim.start(s(id));
    }
    sim.until("the new ones serve", Sim::all_serve);
    assert!(sim.write(8));
    sim.until("all is delivered", Sim::converged);
    let expected = [7, voters(&[4, 5, 6]), IN_FORCE, 8];
    assert_eq!(sim.cluster.delivered(s(4)), expected);
}

#[test]
fn a_leader_without_a_vote_gives_up_and_follows() {
    let mut sim = serving(3, 3);
    assert_eq!(sim.leader(), Some(s(3)));
    reconfigure(&mut sim, &[1, 2]);
    assert_eq!(sim.leader(), Some(s(2)), "3 has no vote");
    assert_eq!(sim.cluster.state(s(3)).following(), Some(s(2)));
    sim.crash(s(3), 0);
    sim.crash(s(1), 0);
    sim.until("one of two", |sim| sim.leader().is_none());
}

#[test]
fn a_leader_leaves_nobody_behind_but_who_loses_its_vote() {
    let mut sim = serving(3, 3);
    let leader = sim.leader().expect("everybody serves");
    assert!(sim.write(voters(&[2, 3])));
    let has_vote = |sim: &Sim| {
        let state = sim.cluster.state(leader);
        sim.cluster.zab.in_force(state).votes(s(1))
    };
    // The step of the leader that takes the vote from 1.
    let (before, told) = loop {
        let (before, told) = (sim.cluster.state(leader).clone(), sim.sent.len());
        sim.step();
        assert!(sim.now < 30_000_000, "it is not in force within 30 s");
        if !has_vote(&sim) {
            break (before, told);
        }
    };
    let is_left = |forgotten: Option<ServerId>| {
        let sent = sim.sent[told..].iter().map(|(_, envelope)| envelope);
        let sent = sent.filter(|envelope| Some(envelope.dst) != forgotten);
        let sent: Vec<_> = sent.map(|e| (e.dst, &e.message)).collect();
        let after = sim.cluster.state(leader);
        invariants::leaves_behind(&sim.cluster.zab, &before, after, &sent)
    };
    assert!(!is_left(None));
    assert!(is_left(Some(s(2))), "2 has a vote and lacks a transaction");
    assert!(!is_left(Some(s(1))), "1 has no vote any more");
}

#[test]
fn while_a_membership_is_replaced_there_must_be_a_quorum_of_both() {
    let mut sim = serving(3, 6);
    for id in 5..=6 {
        sim.crash(s(id), 0);
    }
    assert!(sim.write(voters(&[4, 5, 6])));
    assert!(sim.write(7));
    sim.run_ms(500);
    let leader = sim.leader().expect("it still leads");
    assert_eq!(
        sim.cluster.delivered(leader),
        Vec::<u32>::new(),
        "one of three is no quorum"
    );
    sim.start(s(5));
    sim.until("the two write", |sim| {
        let up = |id: &u8| sim.cluster.up(s(*id));
        (1..=6).filter(up).all(|id| counts_by(sim, id, &[4, 5, 6])) && sim.converged()
    });
}

#[test]
fn one_membership_is_replaced_at_a_time() {
    let mut sim = serving(3, 3);
    let leader = sim.leader().expect("everybody serves");
    sim.input(leader, Msg::Propose(voters(&[1, 2])));
    sim.input(leader, Msg::Propose(voters(&[1])));
    sim.input(leader, Msg::Propose(IN_FORCE));
    sim.until("it is in force", |sim| {
        sim.converged() && counts_by(sim, 1, &[1, 2])
    });
    assert_eq!(sim.cluster.delivered(s(1)), [voters(&[1, 2]), IN_FORCE]);
}

#[test]
fn no_snapshot_is_taken_while_a_membership_is_replaced() {
    let mut sim = serving(3, 4);
    let leader = sim.leader().expect("everybody serves");
    assert!(sim.write(7));
    sim.until("all is delivered", Sim::converged);
    sim.snapshot(s(1));
    let taken = sim.cluster.state(s(1)).storage().history.snapshot().zxid;
    assert!(sim.write(voters(&[1, 2, 4])));
    sim.until("it is committed, and no more", |sim| {
        let history = &sim.cluster.state(leader).storage().history;
        let changes = history.changes();
        matches!(changes, [(_, Change::Proposed(_)), (_, Change::InForce)])
            && sim.cluster.state(leader).committed() == changes[0].0
    });
    sim.snapshot(leader);
    let history = |id| &sim.cluster.state(id).storage().history;
    assert!(history(leader).snapshot().zxid <= taken);
    sim.until("all is delivered", |sim| sim.converged());
    sim.snapshot(s(1));
    let history = &sim.cluster.state(s(1)).storage().history;
    assert_eq!(history.snapshot().zxid, history.last_zxid());
    assert!(history.changes().is_empty() && counts_by(&sim, 1, &[1, 2, 4]));
}

/// Server 1 knows nothing of the membership that it belongs to, and the others that it knows are gone.
#[test]
fn a_server_that_has_missed_the_reconfiguration_is_found_by_the_new_ones() {
    let mut sim = serving(3, 5);
    sim.isolate(s(1));
    assert!(sim.write(voters(&[1, 4, 5])));
    sim.until("the others know", |sim| {
        (2..=5).all(|id| counts_by(sim, id, &[1, 4, 5]))
            && sim.leader().is_some_and(|leader| leader > s(3))
    });
    for id in [2, 3, 5] {
        sim.crash(s(id), 0);
    }
    sim.heal();
    sim.until("1 and 4 serve", Sim::all_serve);
    assert_eq!(sim.leader(), Some(s(4)));
}

#[test]
fn an_observer_that_is_given_a_vote_gets_what_it_was_not_told_of() {
    let mut sim = Sim::established(config(3, 1), 1);
    sim.crash(s(1), 0);
    assert!(sim.write(7));
    assert!(sim.write(voters(&[2, 3, 4])));
    sim.until("it is in force", |sim| {
        (2..=4).all(|id| counts_by(sim, id, &[2, 3, 4])) && sim.converged()
    });
    let expected = [7, voters(&[2, 3, 4]), IN_FORCE];
    assert_eq!(sim.cluster.delivered(s(4)), expected);
    sim.crash(s(3), 0);
    sim.until("two of three serve", Sim::all_serve);
    assert_eq!(sim.leader(), Some(s(4)));
}

/// Five servers of which some vote, with crashes, cuts and losses: safe after each step, live at the end.
#[test]
fn who_may_have_a_vote_by_a_later_history_counts_only_with_a_promise() {
    let joins = |promise| {
        let external = Config {
            elections: Elections::External,
            ..config(2, 0)
        };
        let mut cluster = Cluster::new(external).with_newcomers(&[3]);
        let later = Entry {
            zxid: z(1, 1),
            txn: voters(&[2, 3]),
        };
        let newcomer = cluster.nodes.get_mut(&s(3)).expect("it is there");
        newcomer.disk.history.append(later.zxid, later.txn);
        cluster.start(s(2));
        cluster.input(s(2), Msg::Elected(s(2)));
        let say = |cluster: &mut Cluster, from: u8, message| {
            let (src, dst) = (s(from), s(2));
            cluster.deliver(&Envelope { src, dst, message });
        };
        let accepted_epoch = Epoch(1);
        say(&mut cluster, 1, Message::FollowerInfo { accepted_epoch });
        cluster.flush(s(2), 1);
        let newer = Difference::Diff {
            after: Zxid::ZERO,
            entries: [later].into_iter().collect(),
        };
        let of_newcomer = Message::AckEpoch {
            epoch: Epoch(2),
            lineage: Lineage::default(),
            memory: Memory::Kept,
            draw: 0,
            current_epoch: Epoch(1),
            last_zxid: z(1, 1),
            promise,
            newer: Some(Box::new(newer)),
        };
        say(&mut cluster, 3, of_newcomer);
        let of_voter = Message::AckEpoch {
            epoch: Epoch(2),
            lineage: Lineage::default(),
            memory: Memory::Kept,
            draw: 0,
            current_epoch: Epoch(0),
            last_zxid: Zxid::ZERO,
            promise: true,
            newer: None,
        };
        say(&mut cluster, 1, of_voter);
        let leads = cluster.state(s(2)).recency();
        assert_eq!(leads.current_epoch, Epoch(2));
        leads.last_zxid
    };
    assert_eq!(joins(true), z(1, 1));
    assert_eq!(
        joins(false),
        Zxid::ZERO,
        "nobody has promised for that history"
    );
}

#[test]
fn whatever_happens_while_memberships_replace_each_other_somebody_serves_in_the_end() {
    with_seeds("whatever_happens", 60, |seed| {
        let mut random = Random(seed);
        let count = 1 + random.below(4) as u8;
        let config = Config {
            retain: [0, 1, 500][random.below(3)],
            max_counter: [u32::MAX, 3][random.below(2)],
            ..config(count, 0)
        };
        let mut sim = Sim::new(config, random.next());
        let newcomers: Vec<u8> = (count + 1..=5).collect();
        sim.cluster = sim.cluster.with_newcomers(&newcomers);
        sim.faults = Faults {
            loss: [0, 10, 30][random.below(3)],
            duplicate: 10,
            delay: (100, [5_000, 100_000][random.below(2)]),
            save: (100, [1_500, 50_000][random.below(2)]),
        };
        let mut written = 0;
        for _ in 0..120 {
            sim.run(Duration::from_millis(1 + random.below(400) as u64));
            let id = s(1 + random.below(5) as u8);
            match random.below(20) {
                0..2 if sim.cluster.up(id) => {
                    let unsaved = sim.cluster.nodes[&id].unsaved.len();
                    let kept = random.below(unsaved + 1);
                    sim.crash(id, kept);
                }
                0..7 if !sim.cluster.up(id) => sim.start(id),
                7 => sim.isolate(id),
                8 => sim.cut(id, s(1 + random.below(5) as u8)),
                9 => sim.heal(),
                10..12 if sim.cluster.up(id) => sim.snapshot(id),
                12..15 => {
                    let some: Vec<u8> = (1..=5).filter(|_| random.chance(50)).collect();
                    if !some.is_empty() {
                        sim.write(voters(&some));
                    }
                }
                _ => {
                    written += 1;
                    sim.write(written);
                }
            }
        }
        sim.recover();
        sim.until("everybody serves again", Sim::converged);
        written += 1;
        assert!(sim.write(written));
        sim.until("all is delivered", Sim::converged);
        let leader = sim.leader().expect("everybody serves");
        assert!(
            sim.cluster
                .zab
                .in_force(sim.cluster.state(leader))
                .votes(leader)
        );
    });
}
