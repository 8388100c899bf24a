//! What reaches the Zab actor: messages of other servers, and inputs of its own runtime.
//!
//! Spec: the message tables of `spec/1-election.md` to `spec/4-broadcast.md`. Every message carries a
//! fact and the epoch or round that makes a stale one recognisable; none relies on its order.

use super::{Entry, Payload, Snapshot};
use crate::types::{Epoch, ServerId, Zxid};
use serde::{Deserialize, Serialize};

/// An input of the actor. Only [`Msg::Peer`] crosses the network; the rest is between the actor and
/// its own runtime, which sends them with the actor's own id as the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Msg<P: Payload> {
    /// A message from another server.
    Peer(Message<P>),
    /// That many of the oldest saves that were pending are durable now.
    Saved(usize),
    /// A transaction for the leader to propose. It is dropped unless `State::next_zxid` is `Some`.
    Propose(P::Txn),
    /// The state of the service at a committed transaction of the history: older transactions
    /// need not be kept.
    Snapshot(Snapshot<P::Snapshot>),
    /// The outcome of an election that somebody else held; ignored unless this server is LOOKING.
    Elected(ServerId),
}
