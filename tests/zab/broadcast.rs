//! The statements of `spec/4-broadcast.md`.

use crate::cluster::{config, s, z};
use crate::sim::{Faults, Sim};
use keepright::types::{Epoch, Zxid};
use keepright::zab::{Config, Message, Role};
use std::time::Duration;

#[test]
fn a_standalone_server_serves() {
    let mut sim = Sim::established(config(1, 0), 1);
    for number in 1..=3 {
        assert!(sim.write(number));
    }
    sim.until("all is delivered", Sim::converged);
    assert_eq!(sim.cluster.delivered(s(1)), [1, 2, 3]);
    assert!(sim.sent.is_empty(), "it has nobody to talk to");
    sim.crash(s(1), 0);
    sim.start(s(1));
    sim.until("all is delivered", Sim::converged);
    assert_eq!(sim.cluster.delivered(s(1)), [1, 2, 3]);
}

#[test]
fn the_zxid_counter_starts_anew_with_each_epoch() {
    let mut sim = Sim::established(config(3, 0), 1);
    for epoch in 1..=4 {
        let leader = sim.leader().expect("everybody serves");
        assert_eq!(sim.cluster.state(leader).next_zxid(), Some(z(epoch, 1)));
        assert!(sim.write(epoch) && sim.write(epoch));
        sim.until("all is delivered", Sim::converged);
        assert_eq!(sim.cluster.state(leader).committed(), z(epoch, 2));
        sim.crash(leader, 0);
        sim.start(leader);
        sim.until("all is delivered", Sim::converged);
    }
}

#[test]
fn when_the_counter_is_full_the_leader_goes_on_to_a_new_epoch_without_an_outage() {
    let config = Config {
        max_counter: 3,
        ..config(3, 1)
    };
    let mut sim = Sim::established(config, 1);
    let leader = sim.leader().expect("everybody serves");
    let (mut written, mut waited_since, mut longest) = (0, None, 0);
    while written < 31 {
        if sim.write(written + 1) {
            written += 1;
            if let Some(since) = waited_since.take() {
                longest = longest.max(sim.now - since);
            }
        } else {
            waited_since.get_or_insert(sim.now);
        }
        sim.step();
        for id in sim.cluster.ids() {
            let state = sim.cluster.state(id);
            assert!(state.serving(), "{id:?} {:?}", state.role());
            assert!(!matches!(state.role(), Role::Looking(_)));
        }
        assert_eq!(sim.leader(), Some(leader));
    }
    sim.until("all is delivered", Sim::converged);
    for id in sim.cluster.ids() {
        assert_eq!(sim.cluster.delivered(id), (1..=31).collect::<Vec<_>>());
    }
    assert_eq!(sim.cluster.state(leader).committed(), z(11, 1));
    assert!(0 < longest && longest < 20_000, "waited {longest} us");
}

#[test]
fn a_transaction_that_is_not_committed_when_the_counter_is_full_is_committed_in_the_new_epoch() {
    let config = Config {
        max_counter: 3,
        ..config(3, 0)
    };
    let mut sim = Sim::established(config, 1);
    assert!(sim.write(1) && sim.write(2) && sim.write(3));
    assert!(!sim.write(4), "the counter is full");
    sim.until("all is delivered", Sim::converged);
    for id in sim.cluster.ids() {
        assert_eq!(sim.cluster.delivered(id), [1, 2, 3]);
        assert_eq!(sim.cluster.state(id).epoch(), Some(Epoch(2)));
    }
}

#[test]
fn proposals_are_pipelined() {
    let mut sim = Sim::established(config(3, 0), 1);
    sim.faults = Faults {
        save: (20_000, 20_000),
        ..Faults::NONE
    };
    sim.sent.clear();
    for number in 1..=20 {
        assert!(sim.write(number));
    }
    let proposals = |message: &&Message<_>| matches!(message, Message::Propose { .. });
    let count = sim.said(s(3), s(1)).into_iter().filter(proposals).count();
    assert_eq!(count, 20, "all on their way before the first is answered");
    let took = sim.until("all is delivered", Sim::converged);
    assert!(
        took < Duration::from_millis(150),
        "{took:?}, not 20 times 20 ms"
    );
}

#[test]
fn commits_are_in_zxid_order() {
    let mut sim = Sim::established(config(3, 1), 1);
    sim.faults = Faults {
        loss: 20,
        duplicate: 20,
        delay: (100, 20_000),
        save: (100, 20_000),
    };
    let mut committed = [Zxid::ZERO; 5];
    for number in 1..=50 {
        sim.write(number);
        for _ in 0..20 {
            sim.step();
            for id in sim.cluster.ids() {
                let now = sim.cluster.state(id).committed();
                assert!(now >= committed[usize::from(id.0)], "never back");
                committed[usize::from(id.0)] = now;
            }
        }
    }
    sim.recover();
    sim.until("all is delivered", Sim::converged);
    for id in 1..=3 {
        let mut last = Zxid::ZERO;
        for message in sim.said(s(3), s(id)) {
            if let Message::Commit { zxid, .. } = message {
                assert!(*zxid >= last, "said in order");
                last = *zxid;
            }
        }
    }
    let all = sim.cluster.delivered(s(3));
    assert_eq!(all, (1..=50).collect::<Vec<_>>());
}

#[test]
fn a_transaction_is_committed_by_a_majority_of_the_voters() {
    let mut sim = Sim::established(config(5, 2), 1);
    let leader = sim.leader().expect("everybody serves");
    for id in 1..=2 {
        sim.crash(s(id), 0);
    }
    assert!(sim.write(1));
    sim.run_ms(50);
    assert_eq!(sim.cluster.delivered(leader), [1], "three of five");
    sim.crash(s(3), 0);
    assert!(sim.write(2));
    sim.run_ms(500);
    let state = sim.cluster.state(leader);
    assert!(state.is_leading(), "it has not noticed yet");
    assert_eq!(
        sim.cluster.delivered(leader),
        [1],
        "two of five and two observers"
    );
}

#[test]
fn observers_are_informed_and_never_asked() {
    let mut sim = Sim::established(config(3, 2), 1);
    for number in 1..=10 {
        assert!(sim.write(number));
        sim.run_ms(5);
    }
    sim.until("all is delivered", Sim::converged);
    for observer in 4..=5 {
        let said = sim.said(s(3), s(observer));
        let informs = said.iter().filter(|m| matches!(m, Message::Inform { .. }));
        assert!(informs.count() >= 10);
        assert!(!said.iter().any(|m| matches!(m, Message::Propose { .. })));
        assert_eq!(
            sim.cluster.delivered(s(observer)),
            (1..=10).collect::<Vec<_>>()
        );
    }
    assert!(
        !sim.said(s(3), s(1))
            .iter()
            .any(|m| matches!(m, Message::Inform { .. }))
    );
}

#[test]
fn observers_alone_keep_no_leader() {
    let mut sim = Sim::established(config(3, 2), 1);
    sim.crash(s(1), 0);
    sim.crash(s(2), 0);
    sim.until("the leader is LOOKING", |sim| sim.leader().is_none());
    sim.run_ms(10_000);
    assert_eq!(sim.leader(), None);
}

#[test]
fn the_messages_of_a_stale_epoch_are_ignored() {
    let mut sim = Sim::established(config(3, 1), 1);
    for number in 1..=5 {
        assert!(sim.write(number));
        sim.run_ms(10);
    }
    sim.crash(s(3), 0);
    sim.until("another leader", Sim::all_serve);
    sim.start(s(3));
    sim.until("all is delivered", Sim::converged);
    let old: Vec<_> = sim
        .sent
        .iter()
        .map(|(_, envelope)| envelope.clone())
        .filter(|envelope| envelope.message.epoch() == Some(Epoch(1)))
        .collect();
    assert!(old.len() > 50);
    for envelope in old {
        let effects = sim.cluster.deliver(&envelope);
        assert!(
            !effects.changed && effects.sent.is_empty() && effects.timers.is_empty(),
            "{envelope:?} {effects:?}"
        );
    }
}

#[test]
fn a_proposal_after_a_gap_waits_for_what_is_missing() {
    let mut sim = Sim::established(config(3, 0), 1);
    sim.cut(s(1), s(3));
    assert!(sim.write(1));
    sim.run_ms(20);
    sim.heal();
    assert!(sim.write(2));
    sim.run_ms(20);
    assert_eq!(
        sim.cluster.state(s(1)).storage().history.last_zxid(),
        Zxid::ZERO
    );
    sim.until("all is delivered", Sim::converged);
    assert_eq!(sim.cluster.delivered(s(1)), [1, 2]);
}
