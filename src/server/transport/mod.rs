//! Messages between servers over UDP.
//!
//! Spec: `spec/6-server.md`, "Datagrams". What it must never do: panic on a datagram, or hand on one
//! that does not come from the address of the member that it names. It promises nothing else: messages may be
//! lost, repeated and reordered, as the actor expects.
//!
//! A server that is no member is a guest: one that is about to join, or has left. Where members may be replaced
//! guests are heard, and answered where they send from.
//!
//! This module does no I/O: datagrams and the time go in, messages and datagrams come out. Small
//! messages to the same server share a datagram. A message that does not fit is split; its fragments
//! are acknowledged, paced and sent again when they are lost, for without that a message of
//! thousands of fragments would never arrive whole. Small messages are not: the actor's own
//! retransmission takes care of them.
//!
//! A datagram holds up to 1,400 bytes, which fits the networks that there are without fragmentation
//! by IP, where one lost piece loses everything; on loopback, whose packets hold 64 KB, it holds 32
//! KB: that is a twentieth of the system calls, and six of them still fit a default socket buffer.
//!
//! Departs from ZooKeeper: D15 in `spec/deviations.toml`.

mod incoming;
mod outgoing;
mod wire;

#[cfg(test)]
mod tests;

use crate::quorum::ServerSet;
use crate::types::ServerId;
use incoming::Incoming;
use outgoing::Outgoing;
pub(super) use outgoing::Timing;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;
pub use wire::Request;
use wire::{Datagram, FRAGMENT_HEADER, MESSAGE_OVERHEAD};

/// The largest datagram that is sent, in bytes.
const DATAGRAM: usize = 1400;
const LOOPBACK_DATAGRAM: usize = 32 << 10;
/// What one turn of the event loop sends to a peer in small messages, and what waits for a peer in large ones, in
/// bytes. What comes beyond is lost; but a large message of any length goes where less than that waits.
const READY: usize = 2 << 20;
const QUEUE: usize = 16 << 20;

/// How many datagrams and messages came to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that no configured server sent, or that make no sense.
    pub garbage: u64,
    /// Messages that were not sent, or given up.
    pub dropped: u64,
}

/// The transport of one server.
pub struct Transport {
    own: ServerId,
    first_id: u64,
    peers: BTreeMap<ServerId, Peer>,
    /// Those whose addresses are agreed on.
    members: ServerSet,
    admits_guests: bool,
    counters: Counters,
    /// What the peers have asked for and was not taken yet: the latest word of each.
    requests: BTreeMap<ServerId, Request>,
}

struct Peer {
    address: SocketAddr,
    limit: usize,
    /// Sealed datagrams of small messages.
    ready: Vec<Vec<u8>>,
    /// How many bytes they are.
    ready_bytes: usize,
    /// What the peer is to be asked for.
    request: Option<Request>,
    /// The one that is being filled, if it is not empty.
    open: Vec<u8>,
    outgoing: Outgoing,
    incoming: Incoming,
}

impl Transport {
    /// A transport without peers. `first_id` must be random: a message that bears an id of this server's earlier life is
    /// taken for that one, which has arrived.
    pub fn new(own: ServerId, first_id: u64, admits_guests: bool) -> Self {
        Self {
            own,
            first_id,
            peers: BTreeMap::new(),
            members: ServerSet::EMPTY,
            admits_guests,
            counters: Counters::default(),
            requests: BTreeMap::new(),
        }
    }

    /// Says who the members are. Where a guest is its own datagrams tell.
    pub fn set_members(&mut self, members: ServerSet) {
        self.members = members;
    }

    /// Says where a peer is. Until then what is sent to it is lost.
    pub fn set_address(&mut self, peer: ServerId, address: SocketAddr) {
        let limit = if address.ip().to_canonical().is_loopback() {
            LOOPBACK_DATAGRAM
        } else {
            DATAGRAM
        };
        match self.peers.get_mut(&peer) {
            Some(known) if known.limit == limit => known.address = address,
            _ => {
                let known = Peer {
                    address,
                    limit,
                    ready: Vec::new(),
                    ready_bytes: 0,
                    request: None,
                    open: Vec::new(),
                    outgoing: Outgoing::new(limit - FRAGMENT_HEADER, self.first_id),
                    incoming: Incoming::default(),
                };
                self.peers.insert(peer, known);
            }
        }
    }

    /// Queues a message; [`Self::transmit`] sends it. While a large one is on its way, [`Self::carries`] knows it by
    /// its tag.
    pub fn send(&mut self, now: Instant, to: ServerId, tag: Option<u64>, message: Vec<u8>) {
        let Some(peer) = self.peers.get_mut(&to) else {
            self.counters.dropped += 1;
            return;
        };
        if peer.is_large(message.len()) {
            if peer.outgoing.queued() < QUEUE {
                peer.outgoing.push(now, tag, message);
            } else {
                self.counters.dropped += 1;
            }
            return;
        }
        if peer.open.len() + message.len() + MESSAGE_OVERHEAD > peer.limit {
            peer.seal();
        }
        if peer.ready_bytes >= READY {
            self.counters.dropped += 1;
            return;
        }
        if peer.open.is_empty() {
            wire::begin_messages(&mut peer.open, self.own);
        }
        wire::push_message(&mut peer.open, &message);
    }

    /// Whether a message of whatever length to this peer would be sent, and not lost here.
    pub fn has_room(&self, to: ServerId) -> bool {
        let peer = self.peers.get(&to);
        peer.is_some_and(|peer| peer.ready_bytes < READY && peer.outgoing.queued() < QUEUE)
    }

    /// Whether a message of this length to a peer is sent no faster than the peer takes it.
    pub fn is_paced(&self, to: ServerId, length: usize) -> bool {
        self.peers
            .get(&to)
            .is_some_and(|peer| peer.is_large(length))
    }

    /// Whether a large message with this tag is on its way to a peer.
    pub fn carries(&self, to: ServerId, tag: u64) -> bool {
        let peer = self.peers.get(&to);
        peer.is_some_and(|peer| peer.outgoing.carries(tag))
    }

    /// Forgets the large messages for those that nothing is to be kept for.
    pub fn forget(&mut self, is_forgotten: impl Fn(ServerId) -> bool) {
        for (id, peer) in &mut self.peers {
            if peer.outgoing.queued() > 0 && is_forgotten(*id) {
                peer.outgoing.clear();
            }
        }
    }

    /// Asks a peer to send again what has been lost.
    pub fn ask(&mut self, peer: ServerId, request: Request) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.request = Some(request);
        }
    }

    /// What peers have asked for.
    pub fn take_requests(&mut self) -> BTreeMap<ServerId, Request> {
        std::mem::take(&mut self.requests)
    }

    /// Takes a datagram; hands on the messages that it completes.
    pub fn on_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        mut deliver: impl FnMut(ServerId, &[u8]),
    ) {
        if datagram.is_empty() {
            return; // A peer asks whether anybody is here: the system has answered.
        }
        let Some((sender, content)) = wire::read(datagram) else {
            self.counters.garbage += 1;
            return;
        };
        let is_guest = !self.members.contains(sender) && sender != self.own;
        if is_guest && self.admits_guests && !self.is_at(sender, from) {
            self.set_address(sender, from);
        }
        let admitted = self.is_at(sender, from) && (!is_guest || self.admits_guests);
        let Some(peer) = self.peers.get_mut(&sender).filter(|_| admitted) else {
            self.counters.garbage += 1;
            return;
        };
        match content {
            Datagram::Messages(messages) => {
                for message in messages {
                    deliver(sender, message);
                }
            }
            Datagram::Fragment(fragment) => match peer.incoming.on_fragment(now, &fragment) {
                Ok(Some(message)) => deliver(sender, &message),
                Ok(None) => {}
                Err(()) => self.counters.garbage += 1,
            },
            Datagram::Ack(ack) => peer.outgoing.on_ack(now, &ack),
            Datagram::Request(request) => {
                self.requests.insert(sender, request);
            }
        }
    }

    fn is_at(&self, peer: ServerId, address: SocketAddr) -> bool {
        let known = self.peers.get(&peer);
        known.is_some_and(|peer| is_same(peer.address, address))
    }

    /// Sends everything that may be sent now: call it after each round of events, and at
    /// [`Self::deadline`].
    pub fn transmit(&mut self, now: Instant, mut emit: impl FnMut(SocketAddr, &[u8])) {
        let own = self.own;
        let mut datagram = Vec::new();
        for peer in self.peers.values_mut() {
            for ack in peer.incoming.acks() {
                wire::write_ack(&mut datagram, own, &ack);
                emit(peer.address, &datagram);
            }
            if let Some(request) = peer.request.take() {
                wire::write_request(&mut datagram, own, &request);
                emit(peer.address, &datagram);
            }
            peer.seal();
            peer.ready_bytes = 0;
            for ready in peer.ready.drain(..) {
                emit(peer.address, &ready);
            }
            peer.outgoing.transmit(now, |fragment| {
                wire::write_fragment(&mut datagram, own, fragment);
                emit(peer.address, &datagram);
            });
        }
    }

    /// The bytes of large messages that are on their way to a peer.
    pub fn queued(&self, peer: ServerId) -> usize {
        self.peers
            .get(&peer)
            .map_or(0, |peer| peer.outgoing.queued())
    }

    /// When [`Self::transmit`] must be called again even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.peers
            .values()
            .filter_map(|peer| peer.outgoing.deadline())
            .min()
    }

    /// How many datagrams and messages came to nothing so far.
    pub fn counters(&self) -> Counters {
        let given_up: u64 = self.peers.values().map(|peer| peer.outgoing.dropped).sum();
        Counters {
            dropped: self.counters.dropped + given_up,
            ..self.counters
        }
    }
}

impl Peer {
    fn is_large(&self, length: usize) -> bool {
        length + MESSAGE_OVERHEAD > self.limit
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            let mut datagram = std::mem::take(&mut self.open);
            wire::seal(&mut datagram);
            self.ready_bytes += datagram.len();
            self.ready.push(datagram);
        }
    }
}

/// Whether two addresses are the same, be it written as IPv4 or as IPv6.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}
