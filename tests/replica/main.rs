//! Whole servers (Zab and the service) in a deterministic world: what clients were promised holds, with
//! lost, doubled and reordered datagrams, killed leaders, small epochs and snapshots.

mod client;
mod network;

use client::Client;
use network::{Bounds, Faults, World};
use std::collections::BTreeMap;

const CALM: Faults = Faults {
    loss: 0,
    duplication: 0,
    delay_ms: 3,
};

const HOSTILE: Faults = Faults {
    loss: 15,
    duplication: 15,
    delay_ms: 25,
};

/// What happens to the servers while the clients work.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Crashes {
    None,
    /// The leader, again and again.
    Leader,
    /// Anybody, up to all of them.
    Any,
}

struct Scenario {
    seed: u64,
    servers: u8,
    faults: Faults,
    crashes: Crashes,
    max_counter: u32,
    retain: usize,
}

impl Scenario {
    fn run(&self) {
        let Self {
            seed,
            servers,
            faults,
            crashes,
            max_counter,
            retain,
        } = *self;
        println!(
            "seed {seed}: {servers} servers, {faults:?}, crashes {crashes:?}, max_counter \
             {max_counter}, retain {retain}; again: SEED={seed} cargo test --test replica"
        );
        let bounds = Bounds {
            max_counter,
            retain,
        };
        let mut world = World::new(seed, servers, faults, bounds);
        let mut clients: Vec<Client> = (1..=4).map(|number| Client::new(number, 30)).collect();
        let mut steps = 0;
        while clients.iter().any(|client| client.wanted > 0) {
            step(&mut world, &mut clients);
            steps += 1;
            assert!(steps < 20_000, "seed {seed}: no progress");
            if steps % 60 == 0 {
                crash(&mut world, crashes);
            }
        }
        // The world heals. Half of the clients take their leave, the others fall silent.
        world.faults = CALM;
        for sid in world.sids() {
            world.restart(sid);
        }
        clients.iter_mut().step_by(2).for_each(|c| c.closing = true);
        for _ in 0..400 {
            let closing = &mut clients.iter_mut().step_by(2).collect::<Vec<_>>();
            step_of(&mut world, closing);
        }
        self.judge(&world, &clients);
    }

    fn judge(&self, world: &World, clients: &[Client]) {
        let seed = self.seed;
        for sid in world.sids() {
            println!("{}", world.describe(sid));
        }
        assert!(world.leader().is_some(), "seed {seed}: nobody leads");
        let first = world.state(1).unwrap().service();
        for sid in world.sids() {
            let service = world.state(sid).unwrap().service();
            let equal = service.tree() == first.tree();
            assert!(equal, "seed {seed}: servers 1 and {sid} differ");
            assert_eq!(service.tree().ephemeral_count(), 0, "seed {seed}");
            assert_eq!(service.tree().sessions().len(), 0, "seed {seed}");
        }
        let mut times: BTreeMap<&[u8], usize> = BTreeMap::new();
        for (path, node) in first.tree().walk() {
            if path.starts_with("/q-") {
                *times.entry(&node.data).or_default() += 1;
            }
        }
        for client in clients {
            for (path, tag) in &client.acknowledged {
                let node = first.tree().node(path);
                let node = node.unwrap_or_else(|| panic!("seed {seed}: {path} is lost"));
                assert_eq!(node.data[..], *tag.as_bytes(), "seed {seed}: {path}");
            }
            for tag in &client.denied {
                assert!(!times.contains_key(tag.as_bytes()), "seed {seed}: {tag}");
            }
        }
        for (tag, count) in times {
            assert_eq!(count, 1, "seed {seed}: {tag:?} was made twice");
        }
    }
}

/// 10 ms pass, and everybody does something.
fn step(world: &mut World, clients: &mut [Client]) {
    step_of(world, &mut clients.iter_mut().collect::<Vec<_>>());
}

fn step_of(world: &mut World, clients: &mut [&mut Client]) {
    world.run(10);
    hear(world, clients);
    for index in 0..clients.len() {
        clients[index].act(world);
        hear(world, clients);
    }
}

fn hear(world: &mut World, clients: &mut [&mut Client]) {
    while let Some((id, output)) = world.told.pop_front() {
        // What is told to a connection that is given up nobody hears.
        if let Some(client) = clients.iter_mut().find(|client| client.is_mine(id)) {
            client.hear(output);
        }
    }
}

fn crash(world: &mut World, crashes: Crashes) {
    let sids = world.sids();
    let any = sids[world.chance.below(sids.len() as u64) as usize];
    if sids.iter().any(|sid| !world.is_up(*sid)) {
        return sids.into_iter().for_each(|sid| world.restart(sid));
    }
    match crashes {
        Crashes::None => {}
        Crashes::Leader => {
            if let Some(leader) = world.leader() {
                world.kill(leader);
            }
        }
        Crashes::Any if world.chance.below(4) == 0 => {
            sids.into_iter().for_each(|sid| world.kill(sid));
        }
        Crashes::Any => {
            world.kill(any);
            if world.chance.below(2) == 0 {
                // It is back before anybody has missed it.
                world.run(30);
                world.restart(any);
            }
        }
    }
}

/// Runs the scenario under each seed. The environment may ask for one seed (`SEED`), or for so many
/// times more of them (`SEEDS`).
fn scenarios(seeds: std::ops::Range<u64>, servers: u8, faults: Faults, crashes: Crashes) {
    let asked = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let more = asked("SEEDS").unwrap_or(1);
    let end = seeds.start + more * (seeds.end - seeds.start);
    for seed in seeds.start..end {
        if asked("SEED").is_some_and(|only| only != seed) {
            continue;
        }
        Scenario {
            seed,
            servers,
            faults,
            crashes,
            // Every third world has epochs so small that a new one is needed again and again.
            max_counter: if seed % 3 == 0 { 40 } else { u32::MAX },
            // In every second world, whoever is behind a little needs a snapshot.
            retain: if seed % 2 == 0 { 2 } else { 10_000 },
        }
        .run();
    }
}

#[test]
fn one_server_alone_serves_its_clients() {
    scenarios(0..5, 1, CALM, Crashes::None);
}

#[test]
fn one_server_alone_killed_again_and_again_loses_nothing() {
    scenarios(10_000..10_010, 1, CALM, Crashes::Any);
}

#[test]
fn three_servers_on_a_calm_network_serve_their_clients() {
    scenarios(20_000..20_006, 3, CALM, Crashes::None);
}

#[test]
fn three_servers_on_a_hostile_network_serve_their_clients() {
    scenarios(30_000..30_010, 3, HOSTILE, Crashes::None);
}

#[test]
fn three_servers_whose_leader_is_killed_lose_no_acknowledged_write() {
    scenarios(40_000..40_010, 3, CALM, Crashes::Leader);
}

#[test]
fn three_servers_with_every_fault_lose_no_acknowledged_write() {
    scenarios(50_000..50_020, 3, HOSTILE, Crashes::Any);
}

#[test]
fn five_servers_with_every_fault_lose_no_acknowledged_write() {
    scenarios(60_000..60_006, 5, HOSTILE, Crashes::Any);
}
