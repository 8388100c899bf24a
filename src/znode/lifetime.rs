//! How long a znode lives: until it is deleted, as long as a session, or as long as it is used.
//!
//! Spec: `spec/5-service.md`, "Containers and TTL". What it must never do: depend on the configuration,
//! so that every server reads one tree in the same way.
//!
//! ZooKeeper keeps this in one number, the *owner* of the znode: 0, the id of the session, the
//! lowest number of all for a container, or for a TTL eight bits of ones, sixteen of zeros, and the
//! milliseconds. No session has such an id: the bits that are zero are the server's start time. ZooKeeper 3.5.3
//! alone had another form for a TTL, one bit and the milliseconds (`emulate353TTLNodes` in later releases): it is
//! read for what it was meant to be, and never written.
//!
//! Departs from ZooKeeper: D31 in `spec/deviations.toml`.

use super::SessionId;
use serde::{Deserialize, Serialize};

/// What ends the life of a znode, beside its deletion by a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lifetime {
    Persistent,
    /// The end of the session that has created it.
    Ephemeral,
    /// That its last child has gone. The leader deletes it some time after that.
    Container,
    /// That it has no children and was not changed for so long. The leader deletes it some time later.
    Ttl(Ttl),
}

/// The time that a znode lives without a change: from one millisecond to about 34 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Ttl(i64);

impl Ttl {
    const MOST_MS: i64 = (1 << 40) - 1;

    /// A time in milliseconds; `None` if it is not one that a znode may have.
    pub fn new(ms: i64) -> Option<Self> {
        (1..=Self::MOST_MS).contains(&ms).then_some(Self(ms))
    }

    /// The time in milliseconds.
    pub fn ms(self) -> i64 {
        self.0
    }
}

impl From<Ttl> for i64 {
    fn from(ttl: Ttl) -> Self {
        ttl.0
    }
}

impl TryFrom<i64> for Ttl {
    type Error = String;

    fn try_from(ms: i64) -> Result<Self, String> {
        Self::new(ms).ok_or_else(|| format!("{ms} ms is not a time that a znode may live"))
    }
}

impl Lifetime {
    /// The owner of every container.
    pub const CONTAINER: SessionId = SessionId(i64::MIN);
    /// The owners of znodes with a TTL begin after this one, and end before 2^40 later.
    pub const NO_TTL: SessionId = SessionId(-1 << 56);

    /// The owner of a znode that `session` creates.
    pub fn owner(self, session: SessionId) -> SessionId {
        match self {
            Self::Persistent => SessionId::default(),
            Self::Ephemeral => session,
            Self::Container => Self::CONTAINER,
            Self::Ttl(ttl) => SessionId(Self::NO_TTL.0 | ttl.ms()),
        }
    }

    /// What an owner stands for.
    pub fn of(owner: SessionId) -> Self {
        match owner {
            SessionId(0) => Self::Persistent,
            Self::CONTAINER => Self::Container,
            SessionId(id) => {
                let after = |first: SessionId| id.checked_sub(first.0).and_then(Ttl::new);
                match after(Self::NO_TTL).or_else(|| after(Self::CONTAINER)) {
                    Some(ttl) => Self::Ttl(ttl),
                    None => Self::Ephemeral,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_tells_the_lifetime_in_zookeepers_encoding() {
        let session = SessionId(0x0100_0001_2345_6789);
        let ttl = |ms| Lifetime::Ttl(Ttl::new(ms).unwrap());
        let all = [
            (Lifetime::Persistent, 0),
            (Lifetime::Ephemeral, session.0 as u64),
            (Lifetime::Container, 0x8000_0000_0000_0000),
            (ttl(1), 0xff00_0000_0000_0001),
            (ttl((1 << 40) - 1), 0xff00_00ff_ffff_ffff),
        ];
        for (lifetime, owner) in all {
            assert_eq!(lifetime.owner(session).0 as u64, owner, "{lifetime:?}");
            assert_eq!(Lifetime::of(SessionId(owner as i64)), lifetime);
        }
    }

    #[test]
    fn the_sessions_of_the_last_server_are_not_taken_for_a_ttl() {
        for id in [0xff01_0000_0000_0001_u64, 0xff00_0100_0000_0000, u64::MAX] {
            assert_eq!(Lifetime::of(SessionId(id as i64)), Lifetime::Ephemeral);
        }
    }

    #[test]
    fn a_ttl_of_zookeeper_3_5_3_is_one_and_the_sessions_of_server_128_are_none() {
        let of = |owner: u64| Lifetime::of(SessionId(owner as i64));
        for ms in [1, 5000, (1 << 40) - 1] {
            let ttl = Lifetime::Ttl(Ttl::new(ms as i64).unwrap());
            assert_eq!(of(0x8000_0000_0000_0000 | ms), ttl);
        }
        assert_eq!(of(0x8001_8d4f_0000_0001), Lifetime::Ephemeral);
    }

    #[test]
    fn a_ttl_is_positive_and_has_forty_bits() {
        for ms in [i64::MIN, -1, 0, 1 << 40, i64::MAX] {
            assert_eq!(Ttl::new(ms), None, "{ms}");
        }
    }
}
