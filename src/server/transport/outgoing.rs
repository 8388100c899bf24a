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
/// What is in flight to one peer at most, in bytes.
const FLIGHT: u32 = 4 << 20;
/// Bounds of the time after which a fragment counts as lost.
const LEAST_TIMEOUT: Duration = Duration::from_millis(20);
const MOST_TIMEOUT: Duration = Duration::from_secs(1);
const FIRST_TIMEOUT: Duration = Duration::from_millis(200);
/// A fragment is lost when one that was sent so many places later has arrived.
const REORDERING: u64 = 3;

/// The messages on their way to one peer.
pub(super) struct Outgoing {
    /// The length of a fragment, in bytes.
    chunk: u32,
    next_id: MessageId,
    messages: BTreeMap<MessageId, Message>,
    /// The messages by what tells whether one is queued already.
    names: BTreeMap<Name, MessageId>,
    /// Those of which some fragment was never sent, oldest first.
    unsent: VecDeque<MessageId>,
    queued: usize,
    /// What was sent and is not known to have arrived or be lost, in the order of sending; and what was
    /// sent after the first such.
    in_flight: VecDeque<Sent>,
    /// The place of the first of `in_flight` among all that was ever sent.
    first_place: u64,
    /// How many of `in_flight` are not known to have arrived.
    flying: usize,
    /// The place after that of the latest fragment that has arrived.
    newest: u64,
    lost: VecDeque<(MessageId, u32)>,
    window: Window,
    timing: Timing,
    /// Messages that were dropped, because nobody took them.
    pub(super) dropped: u64,
}

/// What two messages that say the same have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// The sender knows it by this number.
    Tag(u64),
    /// Its length and the sum of its bytes.
    Content(usize, u32),
}

struct Message {
    bytes: Vec<u8>,
    name: Name,
    fragments: Vec<Fate>,
    missing: u32,
    /// Every fragment below is acknowledged.
    base: u32,
    next: u32,
    progress: Instant,
}

/// What has become of a fragment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was never sent, or its last place among all that was sent is this.
    Under(u64),
    Acked,
}

struct Sent {
    id: MessageId,
    index: u32,
    at: Instant,
    again: bool,
    arrived: bool,
}

impl Outgoing {
    pub(super) fn new(chunk: usize, first_id: u64) -> Self {
        let chunk = chunk as u32;
        Self {
            chunk,
            next_id: MessageId(first_id),
            messages: BTreeMap::new(),
            names: BTreeMap::new(),
            unsent: VecDeque::new(),
            queued: 0,
            in_flight: VecDeque::new(),
            first_place: 0,
            flying: 0,
            newest: 0,
            lost: VecDeque::new(),
            window: Window::new((FLIGHT / chunk).max(8)),
            timing: Timing::new(),
            dropped: 0,
        }
    }

    /// Queues a message. One that is queued already is not queued twice: the actor repeats itself.
    pub(super) fn push(&mut self, now: Instant, tag: Option<u64>, bytes: Vec<u8>) {
        let name = match tag {
            Some(tag) => Name::Tag(tag),
            None => Name::Content(bytes.len(), simd_adler32::adler32(&&bytes[..])),
        };
        if let Some(known) = self.names.get(&name)
            && self.messages[known].bytes == bytes
        {
            return;
        }
        if u32::try_from(bytes.len()).is_err() {
            self.dropped += 1;
            return;
        }
        let count = (bytes.len() as u32).div_ceil(self.chunk);
        self.queued += bytes.len();
        let message = Message {
            bytes,
            name,
            fragments: vec![Fate::Under(0); count as usize],
            missing: count,
            base: 0,
            next: 0,
            progress: now,
        };
        self.names.insert(name, self.next_id);
        self.messages.insert(self.next_id, message);
        self.unsent.push_back(self.next_id);
        self.next_id.0 = self.next_id.0.wrapping_add(1);
    }

    /// The bytes of the messages that are not acknowledged yet.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Whether a message with this tag is on its way.
    pub(super) fn carries(&self, tag: u64) -> bool {
        self.names.contains_key(&Name::Tag(tag))
    }

    /// Forgets all that is queued: nobody is there to take it.
    pub(super) fn clear(&mut self) {
        self.dropped += self.messages.len() as u64;
        self.messages.clear();
        self.names.clear();
        self.unsent.clear();
        self.lost.clear();
        self.first_place += self.in_flight.len() as u64;
        self.in_flight.clear();
        self.flying = 0;
        self.queued = 0;
    }

    /// Sends what the window allows.
    pub(super) fn transmit(&mut self, now: Instant, mut emit: impl FnMut(&Fragment<'_>)) {
        self.check_time(now);
        while self.flying < self.window.size() {
            let Some((id, index, again)) = self.next_fragment() else {
                break;
            };
            let place = self.first_place + self.in_flight.len() as u64;
            let Some(message) = self.messages.get_mut(&id) else {
                continue;
            };
            message.fragments[index as usize] = Fate::Under(place);
            let start = index as usize * self.chunk as usize;
            let end = message.bytes.len().min(start + self.chunk as usize);
            emit(&Fragment {
                id,
                total: message.bytes.len() as u32,
                chunk: self.chunk,
                index,
                bytes: &message.bytes[start..end],
            });
            self.flying += 1;
            self.in_flight.push_back(Sent {
                id,
                index,
                at: now,
                again,
                arrived: false,
            });
        }
    }

    fn next_fragment(&mut self) -> Option<(MessageId, u32, bool)> {
        while let Some((id, index)) = self.lost.pop_front() {
            let message = self.messages.get(&id);
            if message.is_some_and(|message| message.fragments[index as usize] != Fate::Acked) {
                return Some((id, index, true));
            }
        }
        while let Some(id) = self.unsent.front() {
            if let Some(message) = self.messages.get_mut(id)
                && (message.next as usize) < message.fragments.len()
            {
                message.next += 1;
                return Some((*id, message.next - 1, false));
            }
            self.unsent.pop_front();
        }
        None
    }

    pub(super) fn on_ack(&mut self, now: Instant, ack: &Ack) {
        let Some(message) = self.messages.get_mut(&ack.id) else {
            return;
        };
        let before = message.missing;
        let end = message
            .next
            .min(ack.base.saturating_add(8 * ack.bits.len() as u32));
        for index in message.base..end {
            let fate = &mut message.fragments[index as usize];
            let Fate::Under(place) = *fate else { continue };
            if !says_here(ack, index) {
                continue;
            }
            *fate = Fate::Acked;
            message.missing -= 1;
            // What was counted as lost and came late is not in flight any more.
            let Some(sent) = place
                .checked_sub(self.first_place)
                .and_then(|at| self.in_flight.get_mut(at as usize))
                .filter(|sent| sent.id == ack.id && sent.index == index && !sent.arrived)
            else {
                continue;
            };
            sent.arrived = true;
            self.flying -= 1;
            self.window.on_ack();
            if !sent.again {
                self.timing.on_sample(now - sent.at);
            }
            self.newest = self.newest.max(place + 1);
        }
        message.base = message.base.max(ack.base.min(message.next));
        if message.missing < before {
            message.progress = now;
            self.timing.on_progress();
        }
        if message.missing == 0 {
            self.forget(ack.id);
        }
        self.find_losses(now);
    }

    /// Declares lost what was sent well before the latest fragment that has arrived. Each place is looked at
    /// until it is known what has become of it, and never again.
    fn find_losses(&mut self, now: Instant) {
        let mut any = false;
        while let Some(sent) = self.in_flight.front() {
            let overtaken = self.first_place + REORDERING + 1 < self.newest;
            if !sent.arrived && !overtaken {
                break;
            }
            if !sent.arrived {
                any |= self.window.is_news(sent.at);
            }
            self.take_first();
        }
        if any {
            self.window.on_loss(now);
        }
    }

    /// Takes the first out of `in_flight`; if it has not arrived it is lost.
    fn take_first(&mut self) {
        let Some(sent) = self.in_flight.pop_front() else {
            return;
        };
        self.first_place += 1;
        if !sent.arrived {
            self.flying -= 1;
            self.lost.push_back((sent.id, sent.index));
        }
    }

    /// Declares lost what has been in flight for too long, and gives up what nobody takes.
    fn check_time(&mut self, now: Instant) {
        let timeout = self.timing.timeout();
        let is_late = |sent: &Sent| now.saturating_duration_since(sent.at) >= timeout;
        let mut any = false;
        while let Some(sent) = self.in_flight.front()
            && (sent.arrived || is_late(sent))
        {
            any |= !sent.arrived;
            self.take_first();
        }
        if any {
            self.window.on_timeout();
            self.timing.on_timeout();
        }
        while let Some((&id, message)) = self.messages.first_key_value()
            && now.saturating_duration_since(message.progress) >= PATIENCE
        {
            self.dropped += 1;
            self.forget(id);
            // The next one has waited for this one.
            if let Some(mut next) = self.messages.first_entry() {
                next.get_mut().progress = now;
            }
        }
    }

    /// Forgets a message. What of it is in flight or lost is passed over when its turn comes.
    fn forget(&mut self, id: MessageId) {
        let Some(message) = self.messages.remove(&id) else {
            return;
        };
        self.queued -= message.bytes.len();
        if self.names.get(&message.name) == Some(&id) {
            self.names.remove(&message.name);
        }
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
pub(in crate::server) struct Timing {
    smooth: Option<Duration>,
    variation: Duration,
    backoff: u32,
}

impl Timing {
    pub(in crate::server) fn new() -> Self {
        Self {
            smooth: None,
            variation: Duration::ZERO,
            backoff: 0,
        }
    }

    pub(in crate::server) fn on_sample(&mut self, sample: Duration) {
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

    pub(in crate::server) fn on_progress(&mut self) {
        self.backoff = 0;
    }

    pub(in crate::server) fn on_timeout(&mut self) {
        self.backoff = (self.backoff + 1).min(6);
    }

    pub(in crate::server) fn timeout(&self) -> Duration {
        let base = self
            .smooth
            .map_or(FIRST_TIMEOUT, |smooth| smooth + 4 * self.variation);
        (base.max(LEAST_TIMEOUT) * (1 << self.backoff)).min(MOST_TIMEOUT)
    }
}
