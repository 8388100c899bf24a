//! The clocks of the machine, as the actor is told of them.
//!
//! Spec: `spec/6-server.md`, "Event loop". What it must never do: tell a time of day that is before one that it has
//! told, or stand still.

use crate::service::clock::Time;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time of day, and the time since the start.
pub struct Clock {
    started: Instant,
    looked: Instant,
    /// The time of day that was told last, since the Unix epoch.
    told: Duration,
}

impl Clock {
    /// A clock of a server that starts now.
    pub fn start() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            looked: now,
            told: Duration::ZERO,
        }
    }

    /// What the clocks say now.
    pub fn look(&mut self) -> Time {
        let now = Instant::now();
        let machine = SystemTime::now().duration_since(UNIX_EPOCH);
        self.told = time_of_day(self.told, now - self.looked, machine.unwrap_or_default());
        self.looked = now;
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Time {
            stamp_ms: ms(self.told),
            elapsed_ms: ms(now - self.started),
        }
    }
}

/// The time of day to tell when `passed` has gone by since `told`. If the machine's clock was put back it is approached at half
/// the speed of time, so that what happens later bears a later time.
fn time_of_day(told: Duration, passed: Duration, machine: Duration) -> Duration {
    machine.max(told + passed / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_clock_that_is_put_back_is_approached_and_never_followed_back() {
        let noon = 12 * HOUR;
        assert_eq!(time_of_day(Duration::ZERO, Duration::ZERO, noon), noon);
        // A jump forward, which is corrected at once.
        let ahead = time_of_day(noon, Duration::ZERO, noon + HOUR);
        assert_eq!(ahead, noon + HOUR);
        let (mut told, mut machine) = (ahead, noon);
        for minute in 1..=120 {
            machine += HOUR / 60;
            let next = time_of_day(told, HOUR / 60, machine);
            assert!(next > told, "it stands still in minute {minute}");
            told = next;
        }
        assert_eq!(told, machine, "it is right again after twice the error");
    }
}
