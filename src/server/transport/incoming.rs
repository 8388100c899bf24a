//! Putting together messages that came in fragments.
//!
//! Spec: `spec/6-server.md`, "Datagrams". What it must never do: keep more than a bounded amount for
//! a peer, or set memory aside for bytes that have not come.

use super::wire::{ACK_SPAN, Ack, Fragment, MessageId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Messages that may be incomplete at one time, and the room for all but the oldest, in bytes. What is forgotten the
/// sender has to give up, so both are more than a sender has in its queue.
const MESSAGES: usize = 8192;
const ROOM: usize = 64 << 20;
/// How far a fragment may lie beyond the bytes that are here, in bytes.
const AHEAD: u64 = 16 << 20;
/// An incomplete message to which nothing is added for so long is forgotten.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked for those.
const SWEEP: Duration = Duration::from_secs(1);
/// Complete messages that are remembered, so that late fragments are acknowledged and not kept.
const REMEMBERED: usize = 8192;

/// The incomplete messages of one peer.
#[derive(Default)]
pub(super) struct Incoming {
    messages: BTreeMap<MessageId, Assembly>,
    /// The room that the incomplete messages take, in bytes.
    room: usize,
    swept: Option<Instant>,
    complete: BTreeMap<MessageId, u32>,
    order: VecDeque<MessageId>,
    /// Those of which the sender is to be told.
    to_ack: BTreeSet<MessageId>,
}

struct Assembly {
    total: u32,
    chunk: u32,
    bytes: Vec<u8>,
    here: Vec<bool>,
    /// Every fragment below is here.
    base: u32,
    /// How many bytes are here.
    received: u64,
    touched: Instant,
}

impl Incoming {
    /// Takes a fragment. Returns the message if it is complete, or an error if the fragment
    /// contradicts others or lies too far ahead.
    pub(super) fn on_fragment(
        &mut self,
        now: Instant,
        fragment: &Fragment<'_>,
    ) -> Result<Option<Vec<u8>>, ()> {
        let id = fragment.id;
        if self.complete.contains_key(&id) {
            self.to_ack.insert(id);
            return Ok(None);
        }
        let assembly = self.messages.entry(id).or_insert_with(|| Assembly {
            total: fragment.total,
            chunk: fragment.chunk,
            bytes: Vec::new(),
            here: Vec::new(),
            base: 0,
            received: 0,
            touched: now,
        });
        let end =
            u64::from(fragment.index) * u64::from(fragment.chunk) + fragment.bytes.len() as u64;
        let fits = assembly.total == fragment.total && assembly.chunk == fragment.chunk;
        if !fits || end > assembly.received + AHEAD {
            return Err(());
        }
        assembly.touched = now;
        let before = assembly.bytes.len();
        assembly.put(fragment, end as usize);
        self.room += assembly.bytes.len() - before;
        self.to_ack.insert(id);
        let message = (assembly.received == u64::from(assembly.total))
            .then(|| self.messages.remove(&id))
            .flatten()
            .map(|assembly| {
                self.room -= assembly.bytes.len();
                self.remember(id, assembly.base);
                assembly.bytes
            });
        self.forget_some(now);
        Ok(message)
    }

    fn remember(&mut self, id: MessageId, count: u32) {
        self.complete.insert(id, count);
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.complete.remove(&oldest);
        }
    }

    fn forget_some(&mut self, now: Instant) {
        let is_due = |swept: Instant| now.saturating_duration_since(swept) >= SWEEP;
        if self.swept.is_none_or(is_due) {
            self.swept = Some(now);
            self.messages
                .retain(|_, assembly| now.saturating_duration_since(assembly.touched) < PATIENCE);
            let left = self.messages.values();
            self.room = left.map(|assembly| assembly.bytes.len()).sum();
        }
        // Not by their ids: those of a sender's next life may be smaller.
        while (self.messages.len() > MESSAGES || self.room > ROOM)
            && self.messages.len() > 1
            && let Some(oldest) = self.messages.iter().min_by_key(|(_, m)| m.touched)
        {
            let id = *oldest.0;
            let removed = self.messages.remove(&id);
            self.room -= removed.map_or(0, |assembly| assembly.bytes.len());
        }
    }

    /// The acknowledgements that are due.
    pub(super) fn acks(&mut self) -> Vec<Ack> {
        let due = std::mem::take(&mut self.to_ack);
        due.into_iter().filter_map(|id| self.ack(id)).collect()
    }

    fn ack(&self, id: MessageId) -> Option<Ack> {
        if let Some(&base) = self.complete.get(&id) {
            let bits = Vec::new();
            return Some(Ack { id, base, bits });
        }
        let assembly = self.messages.get(&id)?;
        let beyond = &assembly.here[assembly.base as usize..];
        let beyond = &beyond[..beyond.len().min(ACK_SPAN as usize)];
        let bits = beyond
            .chunks(8)
            .map(|bits| {
                bits.iter()
                    .rev()
                    .fold(0, |byte, here| byte << 1 | u8::from(*here))
            })
            .collect();
        Some(Ack {
            id,
            base: assembly.base,
            bits,
        })
    }
}

impl Assembly {
    fn put(&mut self, fragment: &Fragment<'_>, end: usize) {
        let index = fragment.index as usize;
        if self.here.len() <= index {
            self.here.resize(index + 1, false);
        }
        if std::mem::replace(&mut self.here[index], true) {
            return;
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[end - fragment.bytes.len()..end].copy_from_slice(fragment.bytes);
        self.received += fragment.bytes.len() as u64;
        while self.here.get(self.base as usize) == Some(&true) {
            self.base += 1;
        }
    }
}
