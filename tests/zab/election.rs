//! The statements of `spec/1-election.md`.

use crate::cluster::{Cluster, Effects, Envelope, Numbers, config, s, z};
use crate::sim::Sim;
use keepright::types::{Epoch, Round, ServerId, Zxid};
use keepright::zab::{Config, Elections, Entry, Message, Msg, Notification, Role, Stance, Timer};
use keepright::zab::{Vote, Zab};
use stateright::actor::{Actor, Id, Out};
use std::borrow::Cow;

/// Gives a server that is down a history of its own, as an earlier leader of each epoch made it.
fn give(cluster: &mut Cluster, id: u8, current_epoch: u32, zxids: &[Zxid]) {
    let disk = &mut cluster.nodes.get_mut(&s(id)).expect("a server").disk;
    disk.accepted_epoch = Epoch(current_epoch);
    disk.current_epoch = Epoch(current_epoch);
    for zxid in zxids {
        let entry = Entry {
            zxid: *zxid,
            txn: zxid.counter(),
        };
        disk.history.append(entry.zxid, entry.txn);
        let proposed = &mut cluster.record.proposed;
        if !proposed.contains(&entry) {
            let place = proposed.partition_point(|known| known.zxid < entry.zxid);
            proposed.insert(place, entry);
        }
    }
}

fn who_leads(prepare: impl FnOnce(&mut Cluster)) -> ServerId {
    let mut sim = Sim::new(config(3, 0), 1);
    prepare(&mut sim.cluster);
    for id in sim.cluster.ids() {
        sim.start(id);
    }
    sim.until("everybody serves", Sim::all_serve);
    sim.leader().expect("everybody serves it")
}

#[test]
fn of_five_servers_started_one_after_another_the_third_leads_and_the_others_follow_it() {
    let mut sim = Sim::new(config(5, 0), 1);
    for id in 1..=2 {
        sim.start(s(id));
        sim.run_ms(3000);
        assert_eq!(sim.leader(), None, "{id} of 5 servers are no majority");
    }
    for id in 3..=5 {
        sim.start(s(id));
        sim.until("everybody serves", Sim::all_serve);
        assert_eq!(sim.leader(), Some(s(3)));
        sim.run_ms(3000);
        assert!(sim.all_serve(), "it stays so");
    }
    assert_eq!(sim.cluster.state(s(3)).epoch(), Some(Epoch(1)), "one term");
}

#[test]
fn votes_are_ordered_by_current_epoch_then_zxid_then_server_id() {
    let vote = |epoch, zxid, leader| Vote {
        leader: s(leader),
        current_epoch: Epoch(epoch),
        last_zxid: zxid,
        change: Zxid::ZERO,
        tells_members: false,
    };
    let ascending = [
        vote(1, z(1, 1), 1),
        vote(1, z(1, 1), 3),
        vote(1, z(1, 9), 1),
        vote(1, z(2, 1), 1),
        vote(2, z(1, 1), 1),
        vote(2, z(1, 1), 2),
    ];
    assert!(ascending.is_sorted_by(|a, b| a.order(b).is_lt()));
}

#[test]
fn the_highest_server_id_leads_if_all_histories_are_equal() {
    assert_eq!(who_leads(|_| {}), s(3));
}

#[test]
fn the_highest_zxid_leads_if_the_current_epochs_are_equal() {
    let leader = who_leads(|cluster| {
        give(cluster, 1, 1, &[z(1, 1), z(1, 2)]);
        give(cluster, 2, 1, &[z(1, 1)]);
        give(cluster, 3, 1, &[z(1, 1)]);
    });
    assert_eq!(leader, s(1));
}

#[test]
fn the_highest_current_epoch_leads_even_with_a_lower_zxid() {
    let leader = who_leads(|cluster| {
        give(cluster, 1, 2, &[z(1, 1)]);
        give(cluster, 2, 1, &[z(1, 1), z(1, 2)]);
        give(cluster, 3, 1, &[z(1, 1), z(1, 2), z(1, 3)]);
    });
    assert_eq!(leader, s(1));
}

#[test]
fn who_follows_a_leader_supports_it_as_who_votes_for_it_does() {
    let sim = Sim::established(config(3, 0), 1);
    let witnessed = sim.cluster.witnessed();
    assert!(witnessed.contains(&"leader_supported"), "{witnessed:?}");
}

#[test]
fn a_server_that_was_down_finds_the_established_leader_and_follows_it() {
    let mut sim = Sim::established(config(3, 0), 1);
    for id in 1..=2 {
        sim.crash(s(id), 0);
        sim.run_ms(3000);
        sim.start(s(id));
        sim.until("everybody serves", Sim::all_serve);
        assert_eq!(sim.leader(), Some(s(3)));
        assert_eq!(sim.cluster.state(s(3)).epoch(), Some(Epoch(1)));
    }
}

#[test]
fn a_server_with_a_higher_vote_does_not_unseat_an_established_leader() {
    let mut sim = Sim::new(config(3, 0), 1);
    sim.start(s(1));
    sim.start(s(2));
    sim.until("everybody serves", Sim::all_serve);
    sim.start(s(3));
    sim.until("everybody serves", Sim::all_serve);
    sim.run_ms(3000);
    assert_eq!(sim.leader(), Some(s(2)));
    assert_eq!(sim.cluster.state(s(2)).epoch(), Some(Epoch(1)));
}

#[test]
fn an_old_leader_that_comes_back_follows_the_new_one() {
    let mut sim = Sim::established(config(3, 0), 1);
    sim.crash(s(3), 0);
    sim.until("another leader", Sim::all_serve);
    assert_eq!(sim.leader(), Some(s(2)));
    sim.start(s(3));
    sim.until("everybody serves", Sim::all_serve);
    assert_eq!(sim.leader(), Some(s(2)));
}

#[test]
fn a_leader_that_has_lost_its_quorum_goes_looking_and_so_does_a_follower_without_a_leader() {
    let mut sim = Sim::established(config(3, 0), 1);
    sim.isolate(s(3));
    let looks = |id| move |sim: &Sim| matches!(sim.cluster.state(s(id)).role(), Role::Looking(_));
    sim.until("the follower is LOOKING", looks(1));
    sim.until("the leader is LOOKING", looks(3));
    assert!(!sim.cluster.state(s(3)).serving());
    assert!(sim.now < 5_000_000, "within the time limits");
}

#[test]
fn observers_never_vote() {
    let mut sim = Sim::established(config(3, 2), 1);
    sim.crash(s(3), 0);
    sim.until("another leader", Sim::all_serve);
    for (_, envelope) in &sim.sent {
        if let Message::Notification(n) = &envelope.message {
            let observer = envelope.src > s(3);
            assert!(!observer || !matches!(n.stance, Stance::Looking(_)));
            assert!(envelope.dst <= s(3) || !matches!(n.stance, Stance::Looking(_)));
        }
    }
    sim.crash(s(2), 0);
    sim.run_ms(10_000);
    assert_eq!(sim.leader(), None, "one voter of three and two observers");
}

#[test]
fn a_vote_for_a_server_outside_that_tells_of_no_more_recent_history_is_ignored() {
    let mut cluster = Cluster::new(config(3, 1));
    cluster.start(s(1));
    for stranger in [0, 4, 77] {
        let vote = Vote {
            leader: s(stranger),
            current_epoch: Epoch(0),
            last_zxid: Zxid::ZERO,
            change: Zxid::ZERO,
            tells_members: false,
        };
        let effects = cluster.deliver(&Envelope {
            src: s(2),
            dst: s(1),
            message: Message::Notification(Notification {
                round: round(7),
                stance: Stance::Looking(vote),
            }),
        });
        assert!(!effects.changed && effects.sent.is_empty(), "{stranger}");
    }
}

#[test]
fn messages_from_what_is_no_server_are_ignored() {
    let sim = Sim::established(config(3, 0), 1);
    let zab: &Zab<Numbers> = &sim.cluster.zab;
    for (_, envelope) in &sim.sent {
        for stranger in [256, 259] {
            let mut state = Cow::Borrowed(sim.cluster.state(envelope.dst));
            let mut out = Out::new();
            let msg = Msg::Peer(envelope.message.clone());
            let stranger = Id::from(stranger);
            zab.on_msg(envelope.dst.into(), &mut state, stranger, msg, &mut out);
            assert!(matches!(state, Cow::Borrowed(_)) && out.is_empty());
        }
    }
}

#[test]
fn a_server_ignores_its_own_messages() {
    let mut sim = Sim::established(config(3, 0), 1);
    let sent = sim.sent.clone();
    for (_, mut envelope) in sent {
        envelope.src = envelope.dst;
        let effects = sim.cluster.deliver(&envelope);
        assert!(!effects.changed && effects.sent.is_empty());
    }
}

/// A round of servers that have accepted no epoch.
fn round(count: u32) -> Round {
    Round {
        epoch: Epoch(0),
        count,
    }
}

/// What server `src` says of itself reaches server `dst`.
fn notify(cluster: &mut Cluster, src: u8, dst: u8, count: u32, stance: Stance) -> Effects {
    let round = round(count);
    cluster.deliver(&Envelope {
        src: s(src),
        dst: s(dst),
        message: Message::Notification(Notification { round, stance }),
    })
}

fn vote_for(leader: u8) -> Stance {
    Stance::Looking(Vote {
        leader: s(leader),
        current_epoch: Epoch(0),
        last_zxid: Zxid::ZERO,
        change: Zxid::ZERO,
        tells_members: false,
    })
}

#[test]
fn an_outcome_from_outside_counts_only_if_elections_are_held_outside() {
    let mut cluster = Cluster::new(config(3, 0));
    cluster.start(s(1));
    assert!(!cluster.input(s(1), Msg::Elected(s(2))).changed);
}

#[test]
fn where_elections_are_held_outside_even_a_standalone_server_waits_for_the_outcome() {
    let mut cluster = Cluster::new(Config {
        elections: Elections::External,
        ..config(1, 0)
    });
    cluster.start(s(1));
    assert!(!cluster.fire(s(1), Timer::Finalize).changed);
    assert!(!cluster.state(s(1)).is_leading());
    cluster.input(s(1), Msg::Elected(s(1)));
    assert!(cluster.state(s(1)).is_leading());
}

#[test]
fn without_a_quorum_for_its_vote_a_server_waits_longer() {
    let mut cluster = Cluster::new(config(5, 0));
    cluster.start(s(1));
    notify(&mut cluster, 5, 1, 1, vote_for(5));
    assert!(!cluster.fire(s(1), Timer::Finalize).changed, "two of five");
    notify(&mut cluster, 2, 1, 1, vote_for(5));
    assert!(cluster.fire(s(1), Timer::Finalize).changed);
    assert_eq!(cluster.state(s(1)).following(), Some(s(5)));
}

#[test]
fn an_observer_does_not_lead_whoever_says_to_follow_it() {
    let mut cluster = Cluster::new(config(3, 1));
    cluster.start(s(4));
    for voter in 1..=3 {
        notify(&mut cluster, voter, 4, 1, Stance::Following(s(4)));
    }
    assert!(!cluster.state(s(4)).is_leading());
}

#[test]
fn an_outcome_from_outside_reaches_a_server_that_is_looking_and_makes_only_voters_lead() {
    let mut cluster = Cluster::new(Config {
        elections: Elections::External,
        ..config(3, 1)
    });
    cluster.start(s(1));
    cluster.start(s(4));
    assert!(!cluster.input(s(4), Msg::Elected(s(4))).changed);
    assert!(cluster.input(s(1), Msg::Elected(s(2))).changed);
    assert!(!cluster.input(s(1), Msg::Elected(s(3))).changed);
    assert_eq!(cluster.state(s(1)).following(), Some(s(2)));
}

#[test]
fn an_observer_supports_whoever_takes_it_for_a_voter() {
    let mut cluster = Cluster::new(config(3, 1));
    cluster.start(s(4));
    let effects = notify(&mut cluster, 3, 4, 0, vote_for(3));
    let answer = |round, stance| Message::Notification(Notification { round, stance });
    assert!(!effects.changed);
    assert_eq!(effects.sent[0].message, answer(round(1), Stance::Asking));
    let vote = Stance::Looking(Vote {
        leader: s(3),
        current_epoch: Epoch(1),
        last_zxid: z(1, 1),
        change: Zxid::ZERO,
        tells_members: false,
    });
    let effects = notify(&mut cluster, 3, 4, 2, vote);
    assert!(effects.changed);
    let to_3 = effects.sent.iter().find(|envelope| envelope.dst == s(3));
    assert_eq!(to_3.expect("said").message, answer(round(2), vote));
}

#[test]
fn a_voter_enters_the_later_round_of_one_that_it_has_asked_for_support() {
    let mut cluster = Cluster::new(config(3, 1));
    cluster.start(s(1));
    let observer = notify(&mut cluster, 4, 1, 5, Stance::Asking);
    assert!(!observer.changed, "nobody has asked it");
    let effects = notify(&mut cluster, 2, 1, 5, Stance::Asking);
    let message = Message::Notification(Notification {
        round: round(5),
        stance: vote_for(1),
    });
    assert!(
        effects
            .sent
            .iter()
            .all(|envelope| envelope.message == message)
    );
    assert_eq!(effects.sent.len(), 2);
    assert!(notify(&mut cluster, 3, 1, 5, vote_for(3)).changed);
    let again = notify(&mut cluster, 2, 1, 5, Stance::Asking);
    let chosen = !again.changed && again.sent.is_empty();
    assert!(chosen, "it is in that round, and votes for 3 there");
}

#[test]
fn a_leader_that_a_voter_tells_of_and_that_is_not_known_is_asked() {
    let asked = |src, dst, leader| -> Vec<u8> {
        let mut cluster = Cluster::new(config(3, 1));
        cluster.start(s(dst));
        let effects = notify(&mut cluster, src, dst, 7, Stance::Following(s(leader)));
        assert!(!effects.changed, "{src} is in another round");
        effects.sent.iter().map(|envelope| envelope.dst.0).collect()
    };
    assert_eq!(asked(2, 1, 9), [9]);
    assert_eq!(asked(2, 1, 3), [0; 0], "a voter: it will speak for itself");
    assert_eq!(asked(4, 1, 9), [0; 0], "an observer's word");
    assert_eq!(asked(2, 4, 4), [0; 0], "itself");
}

#[test]
fn who_follows_the_server_that_one_votes_for_since_the_same_round_supports_it() {
    let mut cluster = Cluster::new(config(5, 0));
    cluster.start(s(1));
    assert!(notify(&mut cluster, 5, 1, 1, vote_for(5)).changed);
    for (round, leader) in [(2, 5), (0, 5), (1, 4)] {
        let effects = notify(&mut cluster, 2, 1, round, Stance::Following(s(leader)));
        assert!(
            !effects.changed && effects.timers.is_empty(),
            "{round} {leader}"
        );
    }
    let effects = notify(&mut cluster, 2, 1, 1, Stance::Following(s(5)));
    let wait = cluster.zab.config.finalize_wait;
    assert_eq!(effects.timers, [(Timer::Finalize, Some(wait))], "a quorum");
}

#[test]
fn a_leader_is_followed_if_it_is_established_or_its_round_is_not_over() {
    for (round, established, follows) in [
        (4, false, false),
        (5, false, true),
        (6, false, true),
        (4, true, true),
        (6, true, true),
    ] {
        let mut cluster = Cluster::new(config(5, 0));
        cluster.start(s(1));
        assert!(notify(&mut cluster, 2, 1, 5, vote_for(2)).changed);
        let effects = notify(&mut cluster, 3, 1, round, Stance::Leading { established });
        assert_eq!(effects.changed, follows, "{round} {established}");
        let leader = cluster.state(s(1)).following();
        assert_eq!(leader, follows.then_some(s(3)));
    }
}

#[test]
fn a_supporter_that_has_started_again_since_did_not_choose() {
    let mut cluster = Cluster::new(config(3, 0));
    give(&mut cluster, 2, 1, &[z(1, 1)]);
    cluster.start(s(2));
    cluster.start(s(3));
    let vote = Stance::Looking(Vote {
        leader: s(2),
        current_epoch: Epoch(1),
        last_zxid: z(1, 1),
        change: Zxid::ZERO,
        tells_members: false,
    });
    for (src, dst) in [(2, 3), (3, 2)] {
        let round = Round::first(Epoch(1));
        let vote = Notification {
            round,
            stance: vote,
        };
        let effects = cluster.deliver(&Envelope {
            src: s(src),
            dst: s(dst),
            message: Message::Notification(vote),
        });
        assert!(effects.changed);
    }
    cluster.crash(s(3), 0);
    give(&mut cluster, 3, 1, &[z(1, 1), z(1, 2)]);
    cluster.start(s(3));
    cluster.fire(s(2), Timer::Finalize);
    assert!(cluster.state(s(2)).is_leading());
    assert!(!cluster.record.weak_leader);
}
