//! Counts for the four-letter words.
//!
//! Spec: `spec/6-server.md`, "Four-letter words". What it must never do: cost more than a few
//! additions a request.

use crate::proto::{ConnectResponse, Reply};
use crate::types::Zxid;
use crate::znode::SessionId;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Times from request to answer, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    pub least: u64,
    pub most: u64,
    pub total: u64,
    pub count: u64,
}

impl Latency {
    fn add(&mut self, millis: u64) {
        self.least = if self.count == 0 {
            millis
        } else {
            self.least.min(millis)
        };
        self.most = self.most.max(millis);
        self.total += millis;
        self.count += 1;
    }

    pub(super) fn average(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        self.total as f64 / self.count as f64
    }
}

/// Counts of the whole server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub received: u64,
    pub sent: u64,
    pub outstanding: u64,
    pub latency: Latency,
}

/// Counts of one connection.
pub(super) struct ConnectionStats {
    pub(super) address: SocketAddr,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) session: SessionId,
    pub(super) timeout_ms: i32,
    /// Milliseconds since the Unix epoch.
    pub(super) established: u128,
    pub(super) last_response: u128,
    pub(super) last_latency: u64,
    pub(super) last_xid: i32,
    pub(super) last_zxid: Zxid,
    pub(super) latency: Latency,
    /// When the requests that are not answered yet came: answers come in the same order.
    waiting: VecDeque<Instant>,
}

impl ConnectionStats {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            received: 0,
            sent: 0,
            session: SessionId(0),
            timeout_ms: 0,
            established: now(),
            last_response: 0,
            last_latency: 0,
            last_xid: 0,
            last_zxid: Zxid::ZERO,
            latency: Latency::default(),
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn on_received(&mut self, server: &mut Stats) {
        self.received += 1;
        self.waiting.push_back(Instant::now());
        server.received += 1;
        server.outstanding += 1;
    }

    pub(super) fn on_connected(&mut self, server: &mut Stats, response: &ConnectResponse) {
        self.session = response.session;
        self.timeout_ms = response.timeout_ms;
        self.on_answer(server);
    }

    pub(super) fn on_reply(&mut self, server: &mut Stats, reply: &Reply) {
        self.last_xid = reply.xid;
        self.last_zxid = reply.zxid;
        self.on_answer(server);
    }

    fn on_answer(&mut self, server: &mut Stats) {
        self.sent += 1;
        server.sent += 1;
        self.last_response = now();
        if let Some(start) = self.waiting.pop_front() {
            let millis = start.elapsed().as_millis() as u64;
            self.last_latency = millis;
            self.latency.add(millis);
            server.latency.add(millis);
            server.outstanding = server.outstanding.saturating_sub(1);
        }
    }

    pub(super) fn on_event(&mut self, server: &mut Stats) {
        self.sent += 1;
        server.sent += 1;
    }

    pub(super) fn on_closed(&mut self, server: &mut Stats) {
        server.outstanding = server.outstanding.saturating_sub(self.waiting.len() as u64);
        self.waiting.clear();
    }
}

/// Milliseconds since the Unix epoch.
fn now() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis())
}
