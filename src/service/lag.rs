//! How far a learner is behind its leader, by its leader's own words.
//!
//! Spec: `spec/5-service.md`, "Who is behind". What it must never do: read a clock, or let a server say that it serves
//! while it lacks what was committed before it came.
//!
//! Departs from ZooKeeper: D90 in `spec/deviations.toml`.
//!
//! The leader repeats what is committed ten times a second. A learner that has just joined is level as soon as it has
//! what the leader named first. From then on it may lack at each moment only what was committed in the last
//! syncLimit: who lacks more serves nobody until it is level again. So no read is older than that.

use crate::types::Zxid;

/// What a learner knows of its lag in one term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lag {
    /// The last that the leader has said to be committed.
    heard: Zxid,
    /// What was heard of `age` session ticks ago, and must be here before too many have passed.
    wanted: Option<Zxid>,
    age: u32,
    level: bool,
}

impl Lag {
    /// The leader says that everything up to `zxid` is committed.
    pub fn on_commit(&mut self, zxid: Zxid) {
        self.heard = self.heard.max(zxid);
        self.wanted.get_or_insert(zxid);
    }

    /// Everything up to here is committed and here.
    pub fn on_progress(&mut self, committed: Zxid) {
        if !self.level {
            self.level = self.wanted.is_some_and(|wanted| committed >= wanted);
        }
    }

    /// A session tick has passed. Who was not level within `limit` of them is not level any more.
    pub fn on_tick(&mut self, committed: Zxid, limit: u32) {
        let Some(wanted) = self.wanted else { return };
        self.age += 1;
        if committed >= wanted {
            self.level = true;
        } else if self.age < limit {
            return;
        } else {
            self.level = false;
        }
        self.wanted = Some(self.heard);
        self.age = 0;
    }

    /// Whether clients may be shown what is here.
    pub fn is_level(&self) -> bool {
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 3;

    #[test]
    fn who_joins_is_level_with_what_the_leader_has_named_first() {
        let mut lag = Lag::default();
        lag.on_progress(Zxid(9));
        assert!(!lag.is_level(), "the leader has said nothing yet");
        lag.on_commit(Zxid(5));
        lag.on_commit(Zxid(7));
        lag.on_progress(Zxid(4));
        assert!(!lag.is_level());
        lag.on_progress(Zxid(5));
        assert!(lag.is_level());
    }

    #[test]
    fn who_takes_too_long_must_have_what_was_committed_meanwhile() {
        let mut lag = Lag::default();
        lag.on_commit(Zxid(5));
        lag.on_commit(Zxid(50));
        for _ in 0..LIMIT {
            lag.on_tick(Zxid(4), LIMIT);
        }
        lag.on_progress(Zxid(49));
        assert!(!lag.is_level());
        lag.on_progress(Zxid(50));
        assert!(lag.is_level());
    }

    #[test]
    fn who_is_behind_for_too_long_is_not_level_until_it_has_caught_up() {
        let mut lag = Lag::default();
        lag.on_commit(Zxid(1));
        lag.on_progress(Zxid(1));
        for tick in 0..20 {
            lag.on_commit(Zxid(2 + tick));
            lag.on_tick(Zxid(1 + tick), LIMIT);
            assert!(lag.is_level(), "a tick behind");
        }
        let stands_at = Zxid(20);
        for tick in 1.. {
            lag.on_commit(Zxid(100 * tick));
            lag.on_tick(stands_at, LIMIT);
            if !lag.is_level() {
                assert!(tick <= u64::from(LIMIT) + 1, "{tick} ticks");
                break;
            }
        }
        lag.on_progress(Zxid(99));
        assert!(!lag.is_level());
        lag.on_progress(Zxid(1000));
        assert!(lag.is_level());
    }
}
