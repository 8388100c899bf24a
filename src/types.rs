//! The identifiers of the protocol: server ids, epochs, rounds and zxids. Depends on nothing.
//!
//! Spec: `spec/0-assumptions.md`, "Names". What it must never do: let an epoch, a counter or a
//! server id pass for one another, or wrap around silently.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The id of a server in its ensemble (`myid`, the N of `server.N`): 1 to 255.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerId(pub u8);

impl From<ServerId> for stateright::actor::Id {
    fn from(sid: ServerId) -> Self {
        Self::from(usize::from(sid.0))
    }
}

impl ServerId {
    /// The server behind a stateright actor id, or `None` if the id is not that of a server.
    pub fn from_actor(id: stateright::actor::Id) -> Option<Self> {
        u8::try_from(usize::from(id)).ok().map(Self)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// The term of one leader: the high 32 bits of a [`Zxid`]. Epoch 0 has no leader.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch after this one, or `None` after the last that fits in 32 bits.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// Tells apart two epochs of one number: who began it, and a number that this server drew when it started.
///
/// An epoch number is given out once by servers whose disks keep what they have promised. A disk that was replaced or
/// restored, or a server that ran alone, may give a number out again; then the names differ. The epochs of directories that were written without
/// names, as Apache ZooKeeper's are, have the name [`EpochName::NONE`].
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EpochName {
    /// The server that began the epoch; 0 if that is not known.
    pub leader: ServerId,
    /// What it drew at its start.
    pub draw: u64,
}

impl EpochName {
    /// The name of an epoch that was begun without one.
    pub const NONE: Self = Self {
        leader: ServerId(0),
        draw: 0,
    };
}

/// `3-1f` is an epoch that server 3 began in the life for which it drew 0x1f; `unnamed` has no name.
impl fmt::Display for EpochName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => write!(f, "unnamed"),
            Self { leader, draw } => write!(f, "{leader}-{draw:x}"),
        }
    }
}

impl std::str::FromStr for EpochName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = || {
            let (leader, draw) = text.split_once('-')?;
            Some(Self {
                leader: ServerId(leader.parse().ok()?),
                draw: u64::from_str_radix(draw, 16).ok()?,
            })
        };
        match text {
            "unnamed" => Ok(Self::NONE),
            _ => name().ok_or_else(|| format!("`{text}` is no name of an epoch")),
        }
    }
}

impl fmt::Debug for EpochName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// An election that servers hold: ZooKeeper's logical clock. Each server counts the elections that it has entered
/// or heard of, from 1 on with each epoch that it accepts; so what was said before an epoch was accepted is
/// of an earlier round, even to a server that has restarted since.
///
/// ```
/// use keepright::types::{Epoch, Round};
///
/// let first = Round::default().next(Epoch(0));
/// assert_eq!(first.to_string(), "0.1");
/// assert_eq!(first.next(Epoch(0)).to_string(), "0.2");
/// assert_eq!(first.next(Epoch(3)).to_string(), "3.1");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Round {
    /// The epoch that somebody had accepted when the count began.
    pub epoch: Epoch,
    /// How many elections since then.
    pub count: u32,
}

impl Round {
    /// The first round of a server that has accepted `epoch`.
    pub fn first(epoch: Epoch) -> Self {
        Self { epoch, count: 1 }
    }

    /// The round after this one, for a server that has accepted `epoch`.
    pub fn next(self, epoch: Epoch) -> Self {
        let count = self.count.saturating_add(1);
        Self { count, ..self }.max(Self::first(epoch))
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.count)
    }
}

impl fmt::Debug for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The id of a transaction: the epoch of the leader that proposed it in the high 32 bits, a counter
/// in the low 32. The counter starts at 0 with each epoch; the first transaction has counter 1.
///
/// `Zxid::ZERO` stands for "nothing yet": the last zxid of an empty history.
///
/// ```
/// use keepright::types::{Epoch, Zxid};
///
/// let first = Zxid::new(Epoch(2), 1);
/// assert_eq!(first.0, 0x2_0000_0001);
/// assert_eq!(first.to_string(), "2.1");
/// assert!(first > Zxid::new(Epoch(1), u32::MAX), "a later epoch comes later");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Zxid(pub u64);

impl Zxid {
    /// The last zxid of an empty history.
    pub const ZERO: Self = Self(0);

    /// The zxid of `epoch` with the given counter.
    pub const fn new(epoch: Epoch, counter: u32) -> Self {
        Self((epoch.0 as u64) << 32 | counter as u64)
    }

    /// The epoch of the leader that proposed the transaction.
    pub const fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }

    /// The place of the transaction among those of its epoch.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }
}

/// `2.1` is the first transaction of epoch 2; an empty history ends at `0`.
impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ZERO => write!(f, "0"),
            zxid => write!(f, "{}.{}", zxid.epoch(), zxid.counter()),
        }
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
