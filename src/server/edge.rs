//! Between the actor and the other servers: the transport, what is sent by it, and the repair of what it loses.
//!
//! Spec: `spec/6-server.md`, "Repair". What it must never do: wait, or do more in one turn of the event loop than a bounded
//! amount.
//!
//! To the actor all this is the network. It loses, delays and repeats, and nothing else. It does no I/O: datagrams,
//! messages and the time go in, datagrams and messages come out, so a whole ensemble runs in a test.

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use super::feed::{self, Feed};
use super::repair::{Gap, Standing};
use super::transport::Transport;
use crate::service::{PeerMsg, ZooKeeper};
use crate::types::ServerId;
use crate::zab::{State, Zab};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

/// So many messages that were kept are handed on before other events have their turn.
const BATCH: usize = 512;

/// The edge of one server.
pub struct Edge {
    pub transport: Transport,
    feed: Feed,
    gap: Gap,
    /// What has come, with its length, and was not looked at yet.
    arrived: VecDeque<(ServerId, PeerMsg, usize)>,
    /// How many messages that were kept may be handed on in this turn.
    credit: usize,
    /// Messages that could not be read.
    garbled: u64,
}

impl Edge {
    /// The edge around a transport.
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            feed: Feed::default(),
            gap: Gap::new(),
            arrived: VecDeque::new(),
            credit: BATCH,
            garbled: 0,
        }
    }

    /// The actor says something to another server. `repeats` if a timer has made it say that.
    pub fn send(
        &mut self,
        now: Instant,
        state: &State<ZooKeeper>,
        to: ServerId,
        message: &PeerMsg,
        repeats: bool,
    ) {
        if !self
            .feed
            .passes(state, &self.transport, to, message, repeats)
        {
            return;
        }
        match postcard::to_stdvec(message) {
            Ok(bytes) => self.transport.send(now, to, feed::tag(message), bytes),
            Err(error) => tracing::error!("a message to server {to} cannot be encoded: {error}"),
        }
    }

    /// A timer has made the actor repeat itself, and all that it said was sent.
    pub fn on_repeated(&mut self, state: &State<ZooKeeper>) {
        self.feed.on_repeated(state);
    }

    /// Takes a datagram.
    pub fn on_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let (arrived, garbled) = (&mut self.arrived, &mut self.garbled);
        self.transport.on_datagram(
            now,
            from,
            datagram,
            |peer, bytes| match postcard::from_bytes::<PeerMsg>(bytes) {
                Ok(message) => arrived.push_back((peer, message, bytes.len())),
                Err(_) => *garbled += 1,
            },
        );
    }

    /// How many messages could not be read since this was last asked.
    pub fn take_garbled(&mut self) -> u64 {
        std::mem::take(&mut self.garbled)
    }

    /// The next message for the actor, if there is one in this turn.
    pub fn next_message(
        &mut self,
        now: Instant,
        state: &State<ZooKeeper>,
    ) -> Option<(ServerId, PeerMsg)> {
        let standing = Standing::of(state);
        while let Some((peer, message, length)) = self.arrived.pop_front() {
            let message = self.gap.on_message(now, standing, peer, message, length);
            if let Some(message) = message {
                return Some((peer, message));
            }
        }
        self.credit = self.credit.checked_sub(1)?;
        self.gap.next(standing)
    }

    /// Sends all that may be sent now: call it after each turn, and at [`Self::deadline`].
    pub fn transmit(
        &mut self,
        now: Instant,
        zab: &Zab<ZooKeeper>,
        state: &State<ZooKeeper>,
        emit: impl FnMut(SocketAddr, &[u8]),
    ) {
        self.credit = BATCH;
        for (peer, request) in self.transport.take_requests() {
            feed::answer(zab, state, &mut self.transport, now, peer, request);
        }
        if let Some((leader, request)) = self.gap.request(now, Standing::of(state)) {
            self.transport.ask(leader, request);
        }
        self.transport.forget(|peer| feed::is_stranger(state, peer));
        self.transport.transmit(now, emit);
    }

    /// When there is something to do even if nothing happens: a message to take, or something to send.
    pub fn deadline(&self, now: Instant, state: &State<ZooKeeper>) -> Option<Instant> {
        let is_ready = !self.arrived.is_empty() || self.gap.has_next(Standing::of(state));
        let deadlines = [
            is_ready.then_some(now),
            self.transport.deadline(),
            self.gap.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }
}
