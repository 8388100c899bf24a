//! What arrives, whatever the network between does.

use super::*;
use crate::types::{Epoch, Zxid};
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// A generator of numbers that are random enough, the same for the same seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// Datagrams by arrival; the number keeps them apart.
type Flying = BinaryHeap<Reverse<(Instant, u64, usize, Vec<u8>)>>;

/// Two servers and a network between them that loses, repeats and reorders, in simulated time.
struct Net {
    now: Instant,
    servers: [Transport; 2],
    addresses: [SocketAddr; 2],
    flying: Flying,
    count: u64,
    noise: Noise,
    loss: u64,
    delivered: Vec<(usize, Vec<u8>)>,
}

impl Net {
    fn new(addresses: [&str; 2], loss: u64, seed: u64) -> Self {
        let addresses = addresses.map(|address| address.parse().unwrap());
        let members = [1, 2].map(ServerId).into_iter().collect();
        let mut servers = [1, 2].map(|id| Transport::new(ServerId(id), 7, false));
        for server in &mut servers {
            server.set_members(members);
        }
        servers[0].set_address(ServerId(2), addresses[1]);
        servers[1].set_address(ServerId(1), addresses[0]);
        Self {
            now: Instant::now(),
            servers,
            addresses,
            flying: BinaryHeap::new(),
            count: 0,
            noise: Noise(seed | 1),
            loss,
            delivered: Vec::new(),
        }
    }

    fn loopback(loss: u64, seed: u64) -> Self {
        Self::new(["127.0.0.1:1001", "127.0.0.1:1002"], loss, seed)
    }

    fn transmit(&mut self, from: usize) {
        let Self {
            now,
            servers,
            flying,
            count,
            noise,
            loss,
            ..
        } = self;
        servers[from].transmit(*now, |_, datagram| {
            let copies = if noise.chance(*loss) {
                0
            } else {
                1 + u64::from(noise.chance(2))
            };
            for _ in 0..copies {
                let delay = Duration::from_micros(500 + noise.next() % 300);
                *count += 1;
                flying.push(Reverse((*now + delay, *count, 1 - from, datagram.to_vec())));
            }
        });
    }

    /// Runs until `enough`, for ten simulated minutes at most.
    fn run(&mut self, enough: impl Fn(&[(usize, Vec<u8>)]) -> bool) -> Duration {
        let start = self.now;
        while !enough(&self.delivered) && self.now < start + Duration::from_secs(600) {
            self.transmit(0);
            self.transmit(1);
            let timer = self.servers.iter().filter_map(Transport::deadline).min();
            let arrival = self.flying.peek().map(|Reverse((at, ..))| *at);
            let Some(next) = timer.into_iter().chain(arrival).min() else {
                break;
            };
            self.now = self.now.max(next);
            while self
                .flying
                .peek()
                .is_some_and(|Reverse((at, ..))| *at <= self.now)
            {
                let Reverse((_, _, to, datagram)) = self.flying.pop().unwrap();
                let from = self.addresses[1 - to];
                let delivered = &mut self.delivered;
                self.servers[to].on_datagram(self.now, from, &datagram, |_, message| {
                    delivered.push((to, message.to_vec()));
                });
            }
        }
        self.now - start
    }
}

fn message(length: usize, seed: u64) -> Vec<u8> {
    let mut noise = Noise(seed | 1);
    (0..length.div_ceil(8))
        .flat_map(|_| noise.next().to_be_bytes())
        .take(length)
        .collect()
}

#[test]
fn a_message_of_1_mb_arrives_whole_over_a_lossy_network() {
    for addresses in [["127.0.0.1:1", "127.0.0.1:2"], ["10.0.0.1:1", "10.0.0.2:1"]] {
        let mut net = Net::new(addresses, 10, 5);
        let large = message(1 << 20, 3);
        net.servers[0].send(net.now, ServerId(2), None, large.clone());
        let took = net.run(|delivered| !delivered.is_empty());
        assert!(net.delivered == [(1, large)]);
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

#[test]
fn a_message_of_50_mb_arrives_whole_over_a_lossy_network() {
    let mut net = Net::loopback(5, 11);
    let large = message(50 << 20, 9);
    net.servers[0].send(net.now, ServerId(2), None, large.clone());
    let took = net.run(|delivered| !delivered.is_empty());
    assert!(net.delivered == [(1, large)]);
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[test]
fn small_messages_pass_a_large_one() {
    let mut net = Net::loopback(0, 1);
    net.servers[0].send(net.now, ServerId(2), None, message(10 << 20, 1));
    net.servers[0].send(net.now, ServerId(2), None, b"ping".to_vec());
    net.run(|delivered| delivered.len() == 2);
    assert_eq!(net.delivered[0], (1, b"ping".to_vec()));
}

#[test]
fn a_message_that_is_queued_is_not_queued_again() {
    let mut net = Net::loopback(0, 1);
    for _ in 0..5 {
        net.servers[0].send(net.now, ServerId(2), None, message(1 << 20, 1));
    }
    net.run(|_| false);
    assert_eq!(net.delivered.len(), 1);
}

#[test]
fn a_message_that_nobody_takes_is_given_up() {
    let mut net = Net::loopback(100, 1);
    net.servers[0].send(net.now, ServerId(2), None, message(1 << 20, 1));
    let took = net.run(|_| false);
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(net.servers[0].counters().dropped, 1);
    net.loss = 0;
    net.servers[0].send(net.now, ServerId(2), None, message(1 << 20, 2));
    net.run(|delivered| !delivered.is_empty());
    assert_eq!(net.delivered.len(), 1);
}

#[test]
fn thousands_of_messages_of_two_fragments_arrive_whole_over_a_lossy_network() {
    let mut net = Net::new(["10.0.0.1:1", "10.0.0.2:1"], 5, 7);
    for number in 0..4000 {
        net.servers[0].send(
            net.now,
            ServerId(2),
            Some(number),
            message(2000, number + 1),
        );
    }
    let took = net.run(|delivered| delivered.len() == 4000);
    assert_eq!(net.delivered.len(), 4000);
    assert!(took < Duration::from_secs(20), "{took:?}");
    net.run(|_| false); // The last acknowledgements.
    assert_eq!(net.servers[0].queued(ServerId(2)), 0);
}

#[test]
fn what_waits_for_a_peer_is_bounded_and_can_be_forgotten() {
    let mut net = Net::loopback(100, 1);
    for number in 0..100 {
        let is_sent = net.servers[0].has_room(ServerId(2));
        assert_eq!(is_sent, number < 16, "{number}");
        net.servers[0].send(
            net.now,
            ServerId(2),
            Some(number),
            message(1 << 20, number + 1),
        );
        assert_eq!(net.servers[0].carries(ServerId(2), number), is_sent);
    }
    assert_eq!(net.servers[0].queued(ServerId(2)), 16 << 20);
    net.servers[0].forget(|peer| peer == ServerId(2));
    assert_eq!(net.servers[0].queued(ServerId(2)), 0);
    assert!(!net.servers[0].carries(ServerId(2), 1));
    net.loss = 0;
    net.servers[0].send(net.now, ServerId(2), Some(1), message(1 << 20, 9));
    net.run(|delivered| !delivered.is_empty());
    assert_eq!(net.delivered.len(), 1);
}

#[test]
fn a_request_reaches_the_peer_and_only_the_latest_counts() {
    let mut net = Net::loopback(0, 1);
    let request = |after| Request {
        epoch: Epoch(3),
        after: Zxid(after),
        through: Zxid(70),
        room: 9,
    };
    net.servers[0].ask(ServerId(2), request(1));
    net.run(|_| false);
    net.servers[0].ask(ServerId(2), request(2));
    net.run(|_| false);
    let taken = net.servers[1].take_requests();
    assert_eq!(
        taken.into_iter().collect::<Vec<_>>(),
        [(ServerId(1), request(2))]
    );
    assert!(net.servers[1].take_requests().is_empty());
}

#[test]
fn only_configured_addresses_are_heard() {
    let mut net = Net::loopback(0, 1);
    net.servers[0].send(net.now, ServerId(2), None, b"x".to_vec());
    let mut datagrams = Vec::new();
    net.servers[0].transmit(net.now, |_, datagram| datagrams.push(datagram.to_vec()));
    let mut heard = 0;
    for (from, expected) in [
        ("127.0.0.1:1003", 0),
        ("127.0.0.2:1001", 0),
        ("[::ffff:127.0.0.1]:1001", 1),
    ] {
        net.servers[1].on_datagram(net.now, from.parse().unwrap(), &datagrams[0], |_, _| {
            heard += 1
        });
        assert_eq!(heard, expected, "{from}");
    }
    assert_eq!(net.servers[1].counters().garbage, 2);
}

#[test]
fn a_guest_is_heard_and_answered_where_it_sends_from_if_members_may_be_replaced() {
    let now = Instant::now();
    let mut datagrams = Vec::new();
    let mut guest = Transport::new(ServerId(3), 7, false);
    guest.set_address(ServerId(1), "10.0.0.1:5".parse().unwrap());
    guest.send(now, ServerId(1), None, b"hello".to_vec());
    guest.transmit(now, |_, datagram| datagrams.push(datagram.to_vec()));
    let heard_by = |host: &mut Transport, from: &str| {
        let mut heard = 0;
        let from = from.parse().unwrap();
        host.on_datagram(now, from, &datagrams[0], |_, _| heard += 1);
        let mut answered_at = Vec::new();
        host.send(now, ServerId(3), None, b"welcome".to_vec());
        host.transmit(now, |to, _| answered_at.push(to.to_string()));
        (heard, answered_at)
    };
    let host = |admits_guests| {
        let mut host = Transport::new(ServerId(1), 7, admits_guests);
        host.set_members([1, 2].map(ServerId).into_iter().collect());
        host
    };
    let here = "10.0.0.3:5";
    let there = "10.0.0.4:6";
    assert_eq!(heard_by(&mut host(false), here), (0, vec![]));
    let mut open = host(true);
    assert_eq!(heard_by(&mut open, here), (1, vec![here.to_owned()]));
    assert_eq!(
        heard_by(&mut open, there),
        (1, vec![there.to_owned()]),
        "it has moved"
    );
    open.set_members([1, 2, 3].map(ServerId).into_iter().collect());
    assert_eq!(
        heard_by(&mut open, here),
        (0, vec![there.to_owned()]),
        "a member does not"
    );
    open.set_members([1].map(ServerId).into_iter().collect());
    assert_eq!(
        heard_by(&mut open, here),
        (1, vec![here.to_owned()]),
        "it has left"
    );
}

#[test]
fn a_message_for_a_server_without_an_address_is_lost() {
    let mut transport = Transport::new(ServerId(1), 1, false);
    transport.send(Instant::now(), ServerId(2), None, b"x".to_vec());
    assert_eq!(transport.counters().dropped, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn messages_of_any_length_arrive_whole(
        lengths in prop::collection::vec(prop_oneof![0..100usize, 32_000..33_000usize, 0..200_000usize], 1..12),
        seed: u64,
    ) {
        let mut net = Net::loopback(0, seed);
        let sent: Vec<_> = lengths.iter().enumerate().map(|(i, length)| {
            let mut message = message(*length, i as u64);
            // Equal messages are sent once only.
            message.push(i as u8);
            message
        }).collect();
        for message in &sent {
            net.servers[0].send(net.now, ServerId(2), None, message.clone());
        }
        net.run(|delivered| delivered.iter().filter(|(_, m)| m.len() > 40_000).count() > 99);
        for message in &sent {
            prop_assert!(net.delivered.iter().any(|(_, found)| found == message));
        }
    }

    #[test]
    fn no_datagram_makes_the_transport_panic(
        kind in 0..5u8,
        numbers in prop::collection::vec(any::<u8>(), 0..80),
        small in 0..3u8,
    ) {
        let mut net = Net::loopback(0, 1);
        net.servers[1].send(net.now, ServerId(1), None, message(1 << 20, 1));
        net.transmit(1);
        let mut datagram = vec![b'K', 3, kind, 1, 0, 0, 0, 0];
        datagram.extend(numbers.iter().map(|byte| if small == 0 { *byte } else { byte % (2 * small) }));
        // An id that is in use.
        if small == 1 && datagram.len() > 16 {
            datagram[8..16].copy_from_slice(&7u64.to_be_bytes());
        }
        wire::seal(&mut datagram);
        let from = net.addresses[0];
        net.servers[1].on_datagram(net.now, from, &datagram, |_, _| ());
        net.transmit(1);
    }
}

#[test]
fn a_sender_whose_numbers_are_smaller_than_before_is_understood_beside_what_is_left_of_then() {
    let now = Instant::now();
    let mut incoming = Incoming::default();
    let part = |id, index| wire::Fragment {
        id: wire::MessageId(id),
        total: 8,
        chunk: 4,
        index,
        bytes: b"part",
    };
    // Of many messages of an earlier life only a half has come.
    for id in 0..200 {
        assert_eq!(incoming.on_fragment(now, &part(u64::MAX - id, 0)), Ok(None));
    }
    let later = now + Duration::from_millis(1);
    assert_eq!(incoming.on_fragment(later, &part(3, 0)), Ok(None));
    let whole = incoming.on_fragment(later, &part(3, 1));
    assert_eq!(whole, Ok(Some(b"partpart".to_vec())));
}
