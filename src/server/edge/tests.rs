//! A learner that has missed something catches up at the speed of the network, and costs the others nothing meanwhile.
//!
//! Spec: `spec/6-server.md`, "Repair"; `spec/5-service.md`, "Who is behind".

use super::world::World;
use std::time::Duration;

/// An ensemble that has a leader and two followers that serve, and a client.
fn ensemble(loopback: bool, seed: u64) -> World {
    let mut world = World::new(loopback, seed);
    for _ in 0..100 {
        world.run_ms(100);
        if world.leader().is_some() && (1..=3).all(|sid| world.state(sid).serving()) {
            world.open();
            world.run_ms(100);
            return world;
        }
    }
    panic!("nobody serves");
}

/// Lets `each_ms` writes of `bytes` be made in each of so many milliseconds.
fn load(world: &mut World, ms: u64, each_ms: u64, bytes: usize) {
    world.run(Duration::from_millis(ms), |world| {
        for _ in 0..each_ms {
            world.write(bytes);
        }
    });
}

/// The lag after each tenth of a second of load.
fn lags(world: &mut World, sid: u8, tenths: usize, each_ms: u64, bytes: usize) -> Vec<u64> {
    let mut lags = Vec::new();
    for _ in 0..tenths {
        load(world, 100, each_ms, bytes);
        lags.push(world.lag(sid));
    }
    lags
}

#[test]
fn a_follower_that_stood_still_under_load_is_level_within_a_second() {
    for loopback in [true, false] {
        let mut world = ensemble(loopback, 1);
        let slow = world.followers()[0];
        load(&mut world, 200, 4, 1000);
        world.servers.get_mut(&slow).unwrap().stands_still = true;
        load(&mut world, 2000, 4, 1000);
        assert!(world.lag(slow) > 7000);
        world.servers.get_mut(&slow).unwrap().stands_still = false;
        let lags = lags(&mut world, slow, 15, 4, 1000);
        assert!(lags[10..].iter().all(|lag| *lag < 400), "{lags:?}");
    }
}

#[test]
fn a_follower_that_is_restarted_under_load_is_level_within_a_second() {
    let mut world = ensemble(true, 2);
    let restarted = world.followers()[0];
    load(&mut world, 500, 2, 1000);
    world.kill(restarted);
    load(&mut world, 2000, 2, 1000);
    world.restart(restarted);
    let lags = lags(&mut world, restarted, 15, 2, 1000);
    assert!(lags[10..].iter().all(|lag| *lag < 200), "{lags:?}");
    assert!(world.state(restarted).serving());
}

#[test]
fn one_lost_datagram_in_a_hundred_costs_no_more_than_a_tenth_of_a_second() {
    for (loopback, bytes) in [(true, 1000), (false, 1000), (false, 2000)] {
        let mut world = ensemble(loopback, 3);
        world.loss = 10;
        for sid in world.followers() {
            let lags = lags(&mut world, sid, 20, 2, bytes);
            let late = lags.iter().filter(|lag| **lag > 200).count();
            assert!(late <= 2, "{lags:?}");
        }
        world.loss = 0;
        world.run_ms(500);
        for sid in world.followers() {
            assert_eq!(world.lag(sid), 0);
        }
    }
}

#[test]
fn what_is_lost_is_sent_about_once_more() {
    let mut world = ensemble(true, 4);
    let (slow, leader) = (world.followers()[0], world.leader().unwrap());
    world.servers.get_mut(&slow).unwrap().stands_still = true;
    load(&mut world, 2000, 4, 1000);
    world.servers.get_mut(&slow).unwrap().stands_still = false;
    let before = world.servers[&leader].sent_bytes;
    world.run_ms(2000);
    assert_eq!(world.lag(slow), 0);
    let sent = world.servers[&leader].sent_bytes - before;
    assert!(sent < 2 * 8_200_000, "{sent} bytes for 8 MB");
}

#[test]
fn nothing_is_sent_or_kept_for_who_is_given_up() {
    for bytes in [100, 2000] {
        let mut world = ensemble(false, 5);
        let (dead, leader) = (world.followers()[0], world.leader().unwrap());
        let other = world.followers()[1];
        world.kill(dead);
        // syncLimit is 10 s here. Until then what is queued is bounded.
        for _ in 0..11 {
            load(&mut world, 1000, 1, bytes);
            assert!(world.queued(leader, dead) <= (16 << 20) + bytes);
        }
        assert_eq!(world.queued(leader, dead), 0);
        let before = world.servers[&leader].sent_bytes;
        load(&mut world, 1000, 1, bytes);
        let sent = world.servers[&leader].sent_bytes - before;
        assert!(
            sent < 1000 * (bytes + 500),
            "{sent} bytes: as for one follower"
        );
        assert_eq!(world.lag(other) / 100, 0);
    }
}

#[test]
fn a_learner_does_not_say_that_it_serves_before_it_has_what_was_committed_when_it_came() {
    let mut world = ensemble(true, 6);
    let late = world.followers()[0];
    world.kill(late);
    for _ in 0..30 {
        world.write(1_000_000);
        world.run_ms(20);
    }
    let leader = world.leader().unwrap();
    let committed = world.state(leader).zab().committed();
    world.restart(late);
    let mut waited = 0;
    while !world.state(late).serving() {
        assert!(waited < 20_000, "it never serves");
        waited += 1;
        world.run_ms(1);
    }
    assert!(world.state(late).service().applied() >= committed);
}

#[test]
fn who_is_behind_by_more_than_the_sync_limit_serves_nobody_until_it_has_caught_up() {
    let mut world = ensemble(true, 7);
    let slow = world.followers()[0];
    world.deaf_to_transactions = Some(slow);
    load(&mut world, 9_000, 1, 100);
    assert!(
        world.state(slow).serving(),
        "less than syncLimit, which is 10 s"
    );
    load(&mut world, 2_500, 1, 100);
    assert!(!world.state(slow).serving());
    assert!(world.state(slow).zab().serving(), "its leader is there");
    world.deaf_to_transactions = None;
    load(&mut world, 1_500, 1, 100);
    assert!(world.state(slow).serving());
}
