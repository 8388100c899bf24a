//! The way of writes from the server that holds the connection (the origin) to the leader, over a
//! network that loses, duplicates, delays and reorders.
//!
//! Spec: `spec/5-service.md`, "The way of a write". What it must never do: give a write two places in
//! the order, or place the writes of one origin in another order than it sent them.
//!
//! The writes of an origin are numbered from 1 in each *stream*. A stream lives as long as the origin
//! serves clients under one leader without a break; when it ends, all its connections are closed. The
//! leader takes a stream's writes strictly by number, and says how far it has come; the origin sends
//! again what it has not heard of. A leader that has just been elected knows no streams, and cannot
//! tell whether one that it meets began under its own leadership or earlier, when its first writes
//! may have been proposed. So each stream names the origin's epoch at its beginning: the leader takes
//! none that began before its own first epoch. It must not take the middle of a stream either: that
//! follows, as every stream is taken from its first number.
//!
//! Departs from ZooKeeper: D20 in `spec/deviations.toml`.

use super::write::Submission;
use crate::persistent::{OrdMap, Vector};
use crate::types::Epoch;
use serde::{Deserialize, Serialize};

/// How many writes an origin sends ahead of what the leader is known to have taken.
pub const WINDOW: u64 = 1024;
/// How many bytes, but for a first write of any length.
const WINDOW_BYTES: usize = 8 << 20;

/// How many writes an origin sends again at a time, and how many bytes.
const BURST: usize = 64;
const BURST_BYTES: usize = 256 << 10;

/// Which of an origin's streams. To a leader a larger one is later, and replaces one that it knows. An origin that has
/// restarted may begin with a smaller one: it is refused, told which one the leader knows, and begins anew above that.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct StreamId {
    /// Another one at each start of the origin, and larger than what a leader has told it of.
    pub incarnation: u64,
    /// Counts the origin's periods of serving clients since it started.
    pub term: u64,
}

/// Writes of one stream, with consecutive numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Forward {
    pub stream: StreamId,
    /// The origin's current epoch when the stream began.
    pub began: Epoch,
    /// The number of the first write.
    pub first: u64,
    pub writes: Vec<Submission>,
}

/// The origin's end of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outbox {
    stream: StreamId,
    began: Epoch,
    /// The number of the first write in `unaccepted`.
    first: u64,
    unaccepted: Vector<Submission>,
    /// How many of them were sent, and how many bytes these are.
    sent: usize,
    sent_bytes: usize,
}

impl Outbox {
    /// Begins a stream.
    pub fn new(stream: StreamId, began: Epoch) -> Self {
        Self {
            stream,
            began,
            first: 1,
            unaccepted: Vector::new(),
            sent: 0,
            sent_bytes: 0,
        }
    }

    /// Which stream this is.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Whether the leader is known to have taken everything.
    pub fn is_empty(&self) -> bool {
        self.unaccepted.is_empty()
    }

    /// How many writes the leader is not known to have taken.
    pub fn len(&self) -> usize {
        self.unaccepted.len()
    }

    /// Adds a write; returns the message that sends it, unless the window is full: then it is sent
    /// when the leader has caught up.
    pub fn push(&mut self, write: Submission) -> Option<Forward> {
        self.unaccepted.push_back(write);
        self.send_more()
    }

    /// The leader has taken everything up to `through`. Returns what the window has come to hold.
    pub fn on_accepted(&mut self, through: u64) -> Option<Forward> {
        let accepted = through.saturating_add(1).saturating_sub(self.first);
        let accepted = usize::try_from(accepted)
            .unwrap_or(usize::MAX)
            .min(self.unaccepted.len());
        if accepted == 0 {
            return None;
        }
        let rest = self.unaccepted.split_off(accepted);
        let taken = std::mem::replace(&mut self.unaccepted, rest);
        let of_window = taken.iter().take(self.sent);
        self.sent_bytes -= of_window.map(|write| write.write.weight()).sum::<usize>();
        self.sent = self.sent.saturating_sub(accepted);
        self.first += accepted as u64;
        self.send_more()
    }

    /// The oldest writes once more.
    pub fn retransmission(&self) -> Option<Forward> {
        let writes = self.unaccepted.iter().take(self.sent.min(BURST));
        let mut bytes = 0;
        let fitting = writes.take_while(|write| {
            let is_first = bytes == 0;
            bytes += 1 + write.write.weight();
            is_first || bytes <= BURST_BYTES
        });
        let writes: Vec<_> = fitting.cloned().collect();
        (!writes.is_empty()).then(|| self.message(0, writes))
    }

    /// Sends what the window has room for.
    fn send_more(&mut self) -> Option<Forward> {
        let begin = self.sent;
        let mut writes = Vec::new();
        while let Some(write) = self.unaccepted.get(self.sent)
            && (self.sent as u64) < WINDOW
        {
            let weight = write.write.weight();
            if self.sent > 0 && self.sent_bytes + weight > WINDOW_BYTES {
                break;
            }
            writes.push(write.clone());
            self.sent += 1;
            self.sent_bytes += weight;
        }
        (!writes.is_empty()).then(|| self.message(begin, writes))
    }

    fn message(&self, index: usize, writes: Vec<Submission>) -> Forward {
        Forward {
            stream: self.stream,
            began: self.began,
            first: self.first + index as u64,
            writes,
        }
    }
}

/// The leader's end of the newest stream of one origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Inbox {
    stream: StreamId,
    /// How many writes have been taken.
    taken: u64,
    /// Writes that came before their turn.
    early: OrdMap<u64, Submission>,
}

impl Inbox {
    /// Takes what a message brings. Returns the writes whose turn has come, in order, or `None` if the
    /// stream is older than the newest one known.
    pub fn on_forward(&mut self, message: Forward) -> Option<Vec<Submission>> {
        if message.stream < self.stream {
            return None;
        }
        if message.stream > self.stream {
            *self = Self {
                stream: message.stream,
                ..Self::default()
            };
        }
        for (index, write) in (0..).zip(message.writes) {
            let number = message.first.saturating_add(index);
            if number > self.taken && number - self.taken <= WINDOW {
                self.early.insert(number, write);
            }
        }
        let mut ready = Vec::new();
        while let Some(write) = self.early.remove(&(self.taken + 1)) {
            self.taken += 1;
            ready.push(write);
        }
        Some(ready)
    }

    /// The newest stream.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The number of the last write that was taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::super::write::{Operation, Write};
    use super::*;
    use crate::znode::SessionId;
    use proptest::prelude::*;
    use stateright::actor::Id;

    fn write(cxid: i32) -> Submission {
        Submission {
            connection: Id::from(1 << 32),
            session: SessionId(1),
            is_local: false,
            cxid,
            auth: [].into(),
            write: Write::Sync,
        }
    }

    fn stream(incarnation: u64, term: u64) -> StreamId {
        StreamId { incarnation, term }
    }

    #[test]
    fn an_older_stream_is_ignored_and_a_newer_one_starts_afresh() {
        let mut inbox = Inbox::default();
        let mut old = Outbox::new(stream(1, 7), Epoch(1));
        let mut new = Outbox::new(stream(2, 1), Epoch(1));
        let from_old = old.push(write(1)).unwrap();
        let from_new = new.push(write(2)).unwrap();
        assert_eq!(inbox.on_forward(from_old.clone()), Some(vec![write(1)]));
        assert_eq!(inbox.on_forward(from_new), Some(vec![write(2)]));
        assert_eq!(inbox.on_forward(from_old), None);
    }

    #[test]
    fn the_middle_of_a_stream_is_not_taken_without_its_beginning() {
        let mut outbox = Outbox::new(stream(1, 1), Epoch(1));
        outbox.push(write(1));
        let second = outbox.push(write(2)).unwrap();
        let mut inbox = Inbox::default();
        assert_eq!(inbox.on_forward(second), Some(vec![]));
        assert_eq!(inbox.taken(), 0);
    }

    #[test]
    fn an_origin_sends_no_more_than_a_window_ahead() {
        let mut outbox = Outbox::new(stream(1, 1), Epoch(1));
        let sent = (0..2 * WINDOW).filter(|_| outbox.push(write(1)).is_some());
        assert_eq!(sent.count() as u64, WINDOW);
        let more = outbox.on_accepted(10).unwrap();
        assert_eq!((more.first, more.writes.len()), (WINDOW + 1, 10));
        assert_eq!(outbox.on_accepted(10), None);
        let again = outbox.retransmission().unwrap();
        assert_eq!((again.first, again.writes.len()), (11, BURST));
    }

    #[test]
    fn an_origin_sends_no_more_bytes_than_a_window_ahead() {
        let large = || Submission {
            write: Write::Operation(Operation::SetData {
                path: "/a".to_owned(),
                data: vec![0; 1 << 20].into(),
                version: -1,
            }),
            ..write(1)
        };
        let mut outbox = Outbox::new(stream(1, 1), Epoch(1));
        let sent = (0..20).filter(|_| outbox.push(large()).is_some()).count();
        assert_eq!(sent, 7, "of 8 MB and a little more");
        assert_eq!(outbox.retransmission().unwrap().writes.len(), 1);
        let more = outbox.on_accepted(2).unwrap();
        assert_eq!((more.first, more.writes.len()), (8, 2));
    }

    proptest! {
        #[test]
        fn writes_are_taken_once_and_in_order_whatever_the_network_does(
            // For each step: what to do, and which of the messages under way it concerns.
            steps in prop::collection::vec((0u8..6, any::<prop::sample::Index>()), 0..400),
        ) {
            let mut outbox = Outbox::new(stream(1, 1), Epoch(1));
            let mut inbox = Inbox::default();
            let (mut sent, mut taken) = (0, Vec::new());
            let (mut forwards, mut answers): (Vec<Forward>, Vec<u64>) = (vec![], vec![]);
            for (step, which) in steps {
                match step {
                    0 => {
                        sent += 1;
                        forwards.extend(outbox.push(write(sent)));
                    }
                    1 => forwards.extend(outbox.retransmission()),
                    // Delivered, and still under way: a duplicate.
                    2 if !forwards.is_empty() => {
                        let message = which.get(&forwards).clone();
                        taken.extend(inbox.on_forward(message).unwrap());
                        answers.push(inbox.taken());
                    }
                    3 if !forwards.is_empty() => {
                        forwards.swap_remove(which.index(forwards.len()));
                    }
                    4 if !answers.is_empty() => {
                        forwards.extend(outbox.on_accepted(*which.get(&answers)));
                    }
                    _ if !answers.is_empty() => {
                        answers.swap_remove(which.index(answers.len()));
                    }
                    _ => {}
                }
            }
            // Then the network heals.
            while let Some(message) = outbox.retransmission() {
                forwards.push(message);
                for message in forwards.drain(..) {
                    taken.extend(inbox.on_forward(message).unwrap());
                }
                forwards.extend(outbox.on_accepted(inbox.taken()));
            }
            let taken: Vec<i32> = taken.iter().map(|write| write.cxid).collect();
            prop_assert_eq!(taken, (1..=sent).collect::<Vec<_>>());
        }
    }
}
