//! Sessions: their ids, their timeouts, and the leader's count of the time they have
//! left.
//!
//! Spec: `spec/5-service.md`, "Sessions". What it must never do: read a clock, give two sessions one
//! id, or expire a session before its timeout has passed without a word from its client.

use super::Config;
use crate::persistent::{OrdMap, OrdSet};
use crate::types::ServerId;
use crate::znode::SessionId;
use std::time::Duration;

/// The id of the `counter`th session that a server opens in one incarnation.
///
/// The server's id is in the high 8 bits, as in ZooKeeper. Then comes a one, so that no id looks like the owner of a
/// container or of a znode with a TTL, and below that the incarnation times 2^16, plus the counter. The
/// incarnation is random: of two starts that open up to 65,536 sessions each, one in 10^11 has an id of the other's.
pub fn session_id(sid: ServerId, incarnation: u64, counter: u64) -> SessionId {
    const ONE: u64 = 1 << 55;
    let low = (incarnation << 16).wrapping_add(counter) & (ONE - 1);
    SessionId((u64::from(sid.0) << 56 | ONE | low) as i64)
}

/// The timeout that a client gets: the one that it asks for, within the bounds (milliseconds).
pub fn negotiate_timeout(config: &Config, asked_ms: i32) -> i32 {
    asked_ms
        .max(config.min_session_timeout_ms)
        .min(config.max_session_timeout_ms)
}

/// How many session ticks a session may stay silent. One more than the timeout holds, because the
/// first tick may come right after the last word.
pub fn timeout_ticks(tick: Duration, timeout_ms: i32) -> u32 {
    let tick_ms = tick.as_millis().max(1);
    let timeout_ms = u128::from(timeout_ms.max(0) as u32);
    u32::try_from(timeout_ms.div_ceil(tick_ms)).unwrap_or(u32::MAX / 2) + 1
}

/// How many ticks it takes until so many milliseconds have passed, if a number can say that.
pub fn whole_ticks(tick: Duration, ms: i64) -> Option<u32> {
    let tick_ms = tick.as_millis().max(1);
    let ms = u128::try_from(ms).unwrap_or_default();
    u32::try_from(ms.div_ceil(tick_ms)).ok()
}

/// The ticks that each session has left: a wheel of slots, one tick apart. What a touch or a tick
/// costs does not depend on how many sessions there are, and no number grows without bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Expiry {
    /// The slot of the present, below `size`.
    now: u32,
    /// How many slots there are: one more than the longest timeout seen.
    size: u32,
    slots: OrdMap<u32, OrdSet<SessionId>>,
    sessions: OrdMap<SessionId, Place>,
}

/// Where a session is in the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    slot: u32,
    timeout: u32,
}

impl Expiry {
    /// Starts to watch over a session; it has its whole timeout (ticks) before it.
    pub fn insert(&mut self, session: SessionId, timeout: u32) {
        self.grow(timeout.saturating_add(1));
        self.remove(session);
        self.place(session, timeout);
    }

    /// Forgets a session.
    pub fn remove(&mut self, session: SessionId) {
        if let Some(place) = self.sessions.remove(&session) {
            self.leave(session, place.slot);
        }
    }

    /// The client was heard of: its session has its whole timeout again. Unknown ones are ignored:
    /// they have been closed meanwhile.
    pub fn touch(&mut self, session: SessionId) {
        let Some(&Place { slot, timeout }) = self.sessions.get(&session) else {
            return;
        };
        if slot != (self.now + timeout) % self.size {
            self.leave(session, slot);
            self.place(session, timeout);
        }
    }

    /// A tick has passed. Returns the sessions that have no time left; they are forgotten.
    pub fn tick(&mut self) -> OrdSet<SessionId> {
        if self.size == 0 {
            return OrdSet::new();
        }
        self.now = (self.now + 1) % self.size;
        let expired = self.slots.remove(&self.now).unwrap_or_default();
        for session in &expired {
            self.sessions.remove(session);
        }
        expired
    }

    fn place(&mut self, session: SessionId, timeout: u32) {
        let slot = (self.now + timeout) % self.size;
        self.slots.entry(slot).or_default().insert(session);
        self.sessions.insert(session, Place { slot, timeout });
    }

    fn leave(&mut self, session: SessionId, slot: u32) {
        if let Some(sessions) = self.slots.get_mut(&slot) {
            sessions.remove(&session);
            if sessions.is_empty() {
                self.slots.remove(&slot);
            }
        }
    }

    /// Makes the wheel at least `size` slots large; everyone keeps the time that they have.
    fn grow(&mut self, size: u32) {
        if size <= self.size {
            return;
        }
        let old = std::mem::take(self);
        self.size = size;
        for (&session, place) in &old.sessions {
            let left = (place.slot + old.size - old.now) % old.size;
            // A slot that equals the present is a whole turn away only for a timeout as long as the
            // wheel, which is one slot longer: so none is.
            self.slots.entry(left).or_default().insert(session);
            let timeout = place.timeout;
            self.sessions.insert(
                session,
                Place {
                    slot: left,
                    timeout,
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_session_expires_after_its_timeout_and_not_before() {
        let mut expiry = Expiry::default();
        expiry.insert(SessionId(1), 2);
        assert!(expiry.tick().is_empty());
        expiry.insert(SessionId(2), 5);
        assert_eq!(expiry.tick(), OrdSet::unit(SessionId(1)));
        for _ in 0..3 {
            assert!(expiry.tick().is_empty());
        }
        assert_eq!(expiry.tick(), OrdSet::unit(SessionId(2)));
        for _ in 0..20 {
            assert!(expiry.tick().is_empty());
        }
    }

    #[test]
    fn a_session_that_is_touched_in_time_never_expires() {
        let mut expiry = Expiry::default();
        expiry.insert(SessionId(1), 3);
        for _ in 0..50 {
            assert!(expiry.tick().is_empty());
            assert!(expiry.tick().is_empty());
            expiry.touch(SessionId(1));
        }
        expiry.remove(SessionId(1));
        expiry.touch(SessionId(1));
        for _ in 0..50 {
            assert!(expiry.tick().is_empty());
        }
    }

    #[test]
    fn a_timeout_in_ticks_is_never_shorter_than_in_milliseconds() {
        let tick = Duration::from_millis(1000);
        assert_eq!(timeout_ticks(tick, 4000), 5);
        assert_eq!(timeout_ticks(tick, 4001), 6);
        assert_eq!(timeout_ticks(tick, -1), 1);
    }

    #[test]
    fn session_ids_differ_between_servers_incarnations_and_counts() {
        let mut ids = std::collections::BTreeSet::new();
        for sid in [1, 200, 255] {
            for incarnation in [1, 2, 1_700_000_000_000] {
                for counter in 1..100 {
                    assert!(ids.insert(session_id(ServerId(sid), incarnation, counter)));
                }
            }
        }
        assert_eq!(session_id(ServerId(3), 0, 1).0 >> 56, 3);
    }
}
