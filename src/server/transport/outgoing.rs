//! Sending messages that do not fit into a datagram.
//!
//! Spec: `spec/6-server.md`, "Datagrams". What it must never do: send faster than acknowledgements
//! allow, or keep what nobody takes.
//!
//! Fragments of the queued messages are in flight up to a window, which grows with every
//! acknowledgement and halves at a loss. A fragment is lost when one that was sent three places
//! after it is acknowledged, or when too much time has passed; then it alone is sent again. A message
//! on which there is no progress for [`PATIENCE`] is given up: the actor will say again what its
//! peer still lacks.

use super::wire::{Ack, Fragment, MessageId};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a message is tried without any progress.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is queued for one peer at most, in bytes, beside a first message of any length.
const QUEUE: usize = 256 << 20;
/// What is in flight to one peer at most, in bytes.
const FLIGHT: u32 = 4 << 20;
/// Bounds of the time after which a fragment counts as lost.
const LEAST_TIMEOUT: Duration = Duration::from_millis(20);
const MOST_TIMEOUT: Duration = Duration::from_secs(1);
const FIRST_TIMEOUT: Duration = Duration::from_millis(200);
/// A fragment is lost when one that was sent so many places later has arrived.
const REORDERING: usize = 3;

/// The messages on their way to one peer.
pub(super) struct Outgoing {
    /// The length of a fragment, in bytes.
    chunk: u32,
    next_id: MessageId,
    messages: BTreeMap<MessageId, Message>,
    queued: usize,
    /// What was sent and is neither acknowledged nor lost, in the order of sending.
    in_flight: VecDeque<Sent>,
    lost: VecDeque<(MessageId, u32)>,
    window: Window,
    timing: Timing,
    /// Messages that were dropped, because the queue was full or nobody took them.
    pub(super) dropped: u64,
}

struct Message {
    bytes: Vec<u8>,
    /// Which fragments are acknowledged.
    acked: Vec<bool>,
    missing: u32,
    /// Every fragment below is acknowledged.
    base: u32,
    next: u32,
    progress: Instant,
}

struct Sent {
    id: MessageId,
    index: u32,
    at: Instant,
    again: bool,
    acked: bool,
}

impl Outgoing {
    pub(super) fn new(chunk: usize, first_id: u64) -> Self {
        let chunk = chunk as u32;
        Self {
            chunk,
            next_id: MessageId(first_id),
            messages: BTreeMap::new(),
            queued: 0,
            in_flight: VecDeque::new(),
            lost: VecDeque::new(),
            window: Window::new((FLIGHT / chunk).max(8)),
            timing: Timing::new(),
            dropped: 0,
        }
    }

    /// Queues a message. One that is queued already is not queued twice: the actor repeats itself.
    pub(super) fn push(&mut self, now: Instant, bytes: Vec<u8>) {
        if self.messages.values().any(|message| message.bytes == bytes) {
            return;
        }
        let full = !self.messages.is_empty() && self.queued + bytes.len() > QUEUE;
        if full || u32::try_from(bytes.len()).is_err() {
            self.dropped += 1;
            return;
        }
        let count = (bytes.len() as u32).div_ceil(self.chunk);
        self.queued += bytes.len();
        let message = Message {
            bytes,
            acked: vec![false; count as usize],
            missing: count,
            base: 0,
            next: 0,
            progress: now,
        };
        self.messages.insert(self.next_id, message);
        self.next_id.0 = self.next_id.0.wrapping_add(1);
    }

    /// The bytes of the messages that are not acknowledged yet.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Sends what the window allows.
    pub(super) fn transmit(&mut self, now: Instant, mut emit: impl FnMut(&Fragment<'_>)) {
        self.check_time(now);
        while self.in_flight.len() < self.window.size() {
            let Some((id, index, again)) = self.next_fragment() else {
                break;
            };
            let message = &self.messages[&id];
            let start = index as usize * self.chunk as usize;
            let end = message.bytes.len().min(start + self.chunk as usize);
            emit(&Fragment {
                id,
                total: message.bytes.len() as u32,
                chunk: self.chunk,
                index,
                bytes: &message.bytes[start..end],
            });
            self.in_flight.push_back(Sent {
                id,
                index,
                at: now,
                again,
                acked: false,
            });
        }
    }

    fn next_fragment(&mut self) -> Option<(MessageId, u32, bool)> {
        while let Some((id, index)) = self.lost.pop_front() {
            let message = self.messages.get(&id);
            if message.is_some_and(|message| !message.acked[index as usize]) {
                return Some((id, index, true));
            }
        }
        let (id, message) = self
            .messages
            .iter_mut()
            .find(|(_, message)| (message.next as usize) < message.acked.len())?;
        message.next += 1;
        Some((*id, message.next - 1, false))
    }

    pub(super) fn on_ack(&mut self, now: Instant, ack: &Ack) {
        let Some(message) = self.messages.get_mut(&ack.id) else {
            return;
        };
        let before = message.missing;
        let mut newest = 0;
        for (place, sent) in self.in_flight.iter_mut().enumerate() {
            if sent.id != ack.id || sent.acked || !says_here(ack, sent.index) {
                continue;
            }
            sent.acked = true;
            self.window.on_ack();
            if !sent.again {
                self.timing.on_sample(now - sent.at);
            }
            newest = place + 1;
        }
        // Also what was counted as lost and came late.
        let end = message
            .next
            .min(ack.base.saturating_add(8 * ack.bits.len() as u32));
        for index in message.base..end {
            if !message.acked[index as usize] && says_here(ack, index) {
                message.acked[index as usize] = true;
                message.missing -= 1;
            }
        }
        message.base = message.base.max(ack.base.min(message.next));
        if message.missing < before {
            message.progress = now;
            self.timing.on_progress();
        }
        if message.missing == 0 {
            self.remove(ack.id);
        }
        self.find_losses(now, newest);
    }

    /// Declares lost what was sent well before the fragment in place `newest - 1`, which has arrived.
    fn find_losses(&mut self, now: Instant, newest: usize) {
        let mut kept = VecDeque::with_capacity(self.in_flight.len());
        let mut any = false;
        for (place, sent) in self.in_flight.drain(..).enumerate() {
            if sent.acked {
                continue;
            }
            if place + REORDERING < newest {
                any |= self.window.is_news(sent.at);
                self.lost.push_back((sent.id, sent.index));
            } else {
                kept.push_back(sent);
            }
        }
        self.in_flight = kept;
        if any {
            self.window.on_loss(now);
        }
    }

    /// Declares lost what has been in flight for too long, and gives up what nobody takes.
    fn check_time(&mut self, now: Instant) {
        let timeout = self.timing.timeout();
        let late = |sent: &Sent| now.saturating_duration_since(sent.at) >= timeout;
        if self.in_flight.front().is_some_and(late) {
            while self.in_flight.front().is_some_and(late) {
                let sent = self.in_flight.pop_front().expect("there is a front");
                self.lost.push_back((sent.id, sent.index));
            }
            self.window.on_timeout();
            self.timing.on_timeout();
        }
        while let Some((&id, message)) = self.messages.first_key_value()
            && now.saturating_duration_since(message.progress) >= PATIENCE
        {
            self.dropped += 1;
            self.remove(id);
            // The next one has waited for this one.
            if let Some(mut next) = self.messages.first_entry() {
                next.get_mut().progress = now;
            }
        }
    }

    fn remove(&mut self, id: MessageId) {
        if let Some(message) = self.messages.remove(&id) {
            self.queued -= message.bytes.len();
        }
        self.in_flight.retain(|sent| sent.id != id);
        self.lost.retain(|(lost, _)| *lost != id);
    }

    /// When [`Self::transmit`] has something to do even if nothing arrives.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let sent = self.in_flight.front()?;
        Some(sent.at + self.timing.timeout())
    }
}

fn says_here(ack: &Ack, index: u32) -> bool {
    let Some(beyond) = index.checked_sub(ack.base) else {
        return true;
    };
    let byte = ack.bits.get(beyond as usize / 8);
    byte.is_some_and(|byte| byte & (1 << (beyond % 8)) != 0)
}

/// How much may be in flight, in fragments.
struct Window {
    size: usize,
    most: usize,
    /// Below it the window doubles with each round trip, above it grows by one.
    threshold: usize,
    credit: usize,
    /// What was sent before is no news of the network as it is after the last reduction.
    reduced: Option<Instant>,
}

impl Window {
    fn new(most: u32) -> Self {
        Self {
            size: 4,
            most: most as usize,
            threshold: most as usize,
            credit: 0,
            reduced: None,
        }
    }

    fn size(&self) -> usize {
        self.size
    }

    fn on_ack(&mut self) {
        self.credit += 1;
        if self.size < self.threshold || self.credit >= self.size {
            self.size = (self.size + 1).min(self.most);
            self.credit = 0;
        }
    }

    fn is_news(&self, sent: Instant) -> bool {
        self.reduced.is_none_or(|reduced| sent > reduced)
    }

    fn on_loss(&mut self, now: Instant) {
        self.size = (self.size / 2).max(4);
        self.threshold = self.size;
        self.reduced = Some(now);
    }

    fn on_timeout(&mut self) {
        self.threshold = (self.size / 2).max(4);
        self.size = 2;
    }
}

/// How long an answer takes.
struct Timing {
    smooth: Option<Duration>,
    variation: Duration,
    backoff: u32,
}

impl Timing {
    fn new() -> Self {
        Self {
            smooth: None,
            variation: Duration::ZERO,
            backoff: 0,
        }
    }

    fn on_sample(&mut self, sample: Duration) {
        match self.smooth {
            None => {
                self.smooth = Some(sample);
                self.variation = sample / 2;
            }
            Some(smooth) => {
                self.variation = (self.variation * 3 + smooth.abs_diff(sample)) / 4;
                self.smooth = Some((smooth * 7 + sample) / 8);
            }
        }
    }

    fn on_progress(&mut self) {
        self.backoff = 0;
    }

    fn on_timeout(&mut self) {
        self.backoff = (self.backoff + 1).min(6);
    }

    fn timeout(&self) -> Duration {
        let base = self
            .smooth
            .map_or(FIRST_TIMEOUT, |smooth| smooth + 4 * self.variation);
        (base.max(LEAST_TIMEOUT) * (1 << self.backoff)).min(MOST_TIMEOUT)
    }
}
