//! The learner's end of repair: what lies beyond a gap is kept, and what is missing is asked for.
//!
//! Spec: `spec/6-server.md`, "Repair". What it must never do: hand a message on that has not come, keep more than a bounded
//! amount, or ask for more than has been answered.
//!
//! To the actor this is a part of the network: one that delays what comes too early, and repeats what was lost. So it
//! needs no place in the actor's state, and the checker explores all that it may do.
//!
//! A learner that lacks transactions says which, and how many bytes it is ready for: its window. The leader sends
//! these at once and keeps nothing in mind. When the whole window has come the next one is asked for, twice as large;
//! when some of it stays out, one half as large. So what is missing comes as fast as the network and the learner
//! take it, and a learner that asks for nothing costs nothing.
//!
//! Departs from ZooKeeper: D15 in `spec/deviations.toml`.

use super::transport::{Request, Timing};
use crate::service::{PeerMsg, ZooKeeper};
use crate::types::{Epoch, ServerId, Zxid};
use crate::zab::{Message, State};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What is kept beyond a gap, in bytes.
const KEPT: usize = 32 << 20;
/// Bounds of the window, in bytes. The least is what the buffer of a socket holds.
const LEAST_WINDOW: u32 = 128 << 10;
const MOST_WINDOW: u32 = 1 << 20;
/// Datagrams overtake each other, and small messages overtake large ones: what is missing for less is no gap yet.
const PATIENCE: Duration = Duration::from_millis(5);

/// Where a learner stands in the epoch of its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    leader: ServerId,
    epoch: Epoch,
    last: Zxid,
}

impl Standing {
    /// The standing of a server that has taken an epoch over from the leader that it follows.
    pub(super) fn of(state: &State<ZooKeeper>) -> Option<Self> {
        let (leader, epoch) = (state.following()?, state.epoch()?);
        let storage = state.storage();
        let last = storage.history.last_zxid();
        (storage.current_epoch == epoch).then_some(Self {
            leader,
            epoch,
            last,
        })
    }
}

/// A message, with its length as it was sent.
type Sized = (PeerMsg, usize);

/// What a learner has heard of and cannot append yet.
pub(super) struct Gap {
    /// The term that all this belongs to.
    term: Option<(ServerId, Epoch)>,
    /// What came too early, by the zxid before it.
    kept: BTreeMap<Zxid, Sized>,
    bytes: usize,
    /// The last transaction that the leader has spoken of.
    heard: Zxid,
    since: Option<Instant>,
    asked: Option<Asked>,
    window: u32,
    timing: Timing,
}

/// A request that was not answered in full yet.
struct Asked {
    at: Instant,
    /// When something of the answer came.
    progress: Instant,
    through: Zxid,
    /// How many bytes are still to come, at most.
    missing: u32,
}

impl Gap {
    pub(super) fn new() -> Self {
        Self {
            term: None,
            kept: BTreeMap::new(),
            bytes: 0,
            heard: Zxid::ZERO,
            since: None,
            asked: None,
            window: LEAST_WINDOW,
            timing: Timing::new(),
        }
    }

    /// A message has come from a peer. Returns it if it is for the actor now.
    pub(super) fn on_message(
        &mut self,
        now: Instant,
        standing: Option<Standing>,
        peer: ServerId,
        message: PeerMsg,
        length: usize,
    ) -> Option<PeerMsg> {
        self.enter(standing);
        let (Some(standing), PeerMsg::Zab(content)) = (standing, &message) else {
            return Some(message);
        };
        if standing.leader != peer || content.epoch() != Some(standing.epoch) {
            return Some(message);
        }
        let (after, zxid) = match content {
            Message::Propose { after, entry, .. } | Message::Inform { after, entry, .. } => {
                (*after, entry.zxid)
            }
            Message::Commit { zxid, .. } => {
                self.heard = self.heard.max(*zxid);
                return Some(message);
            }
            Message::Notification(_)
            | Message::FollowerInfo { .. }
            | Message::NewEpoch { .. }
            | Message::Refuse { .. }
            | Message::AckEpoch { .. }
            | Message::Sync { .. }
            | Message::NewLeader { .. }
            | Message::Ack { .. } => return Some(message),
        };
        self.heard = self.heard.max(zxid);
        if after > standing.last {
            self.keep(after, (message, length));
            return None;
        }
        if after == standing.last {
            self.count(now, length);
        }
        Some(message)
    }

    /// Whether [`Self::next`] has a message.
    pub(super) fn has_next(&self, standing: Option<Standing>) -> bool {
        let first = self.kept.first_key_value();
        first
            .zip(standing)
            .is_some_and(|((after, _), standing)| *after <= standing.last)
    }

    /// The message of the leader that was kept until now and follows what is there.
    pub(super) fn next(&mut self, standing: Option<Standing>) -> Option<(ServerId, PeerMsg)> {
        self.enter(standing);
        let standing = standing?;
        while let Some(first) = self.kept.first_entry() {
            if *first.key() > standing.last {
                return None;
            }
            let (after, (message, length)) = first.remove_entry();
            self.bytes -= length;
            if after == standing.last {
                return Some((standing.leader, message));
            }
        }
        None
    }

    /// What is to be asked for now, if anything.
    pub(super) fn request(
        &mut self,
        now: Instant,
        standing: Option<Standing>,
    ) -> Option<(ServerId, Request)> {
        self.enter(standing);
        let standing = standing?;
        let through = match self.kept.first_key_value() {
            Some((before_kept, _)) => *before_kept,
            None => self.heard,
        };
        if through <= standing.last {
            self.since = None;
            self.asked = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        match &self.asked {
            None if now < since + PATIENCE => return None,
            None => {}
            Some(asked) if asked.missing == 0 || standing.last >= asked.through => {
                self.window = (self.window * 2).min(MOST_WINDOW);
            }
            Some(asked) if now < asked.progress + self.timing.timeout() => return None,
            Some(_) => {
                self.window = (self.window / 2).max(LEAST_WINDOW);
                self.timing.on_timeout();
            }
        }
        self.asked = Some(Asked {
            at: now,
            progress: now,
            through,
            missing: self.window,
        });
        let request = Request {
            epoch: standing.epoch,
            after: standing.last,
            through,
            room: self.window,
        };
        Some((standing.leader, request))
    }

    /// When [`Self::request`] has something to say even if nothing comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let since = self.since?;
        Some(match &self.asked {
            None => since + PATIENCE,
            Some(asked) => asked.progress + self.timing.timeout(),
        })
    }

    /// Forgets what belongs to another term.
    fn enter(&mut self, standing: Option<Standing>) {
        let term = standing.map(|standing| (standing.leader, standing.epoch));
        if self.term != term {
            *self = Self {
                term,
                ..Self::new()
            };
        }
    }

    /// Keeps a message, if there is room for it or for it rather than for later ones.
    fn keep(&mut self, after: Zxid, message: Sized) {
        self.bytes += message.1;
        if let Some((_, known)) = self.kept.insert(after, message) {
            self.bytes -= known;
        }
        while self.bytes > KEPT
            && let Some((_, (_, length))) = self.kept.pop_last()
        {
            self.bytes -= length;
        }
    }

    /// Something has come that follows what is there: an answer, if there was a request.
    fn count(&mut self, now: Instant, length: usize) {
        let Some(asked) = &mut self.asked else { return };
        if asked.progress == asked.at {
            self.timing
                .on_sample(now.saturating_duration_since(asked.at));
        }
        self.timing.on_progress();
        asked.progress = now;
        asked.missing = asked.missing.saturating_sub(length as u32);
    }
}
