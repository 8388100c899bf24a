//! Variants of the service: each changes one decision, to show that the checker would notice.
//!
//! Spec: `spec/invariants.toml`, "mutants". Production runs [`Variant::Faithful`], which changes
//! nothing; every other one is wrong on purpose and is used by `check mutants` alone.

/// One decision of the service, changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Variant {
    /// The service as it should be.
    #[default]
    Faithful,
    /// The origin answers a write when it has handed it over, not when it has applied it.
    AnswerWhenForwarded,
    /// A read is answered at once, whatever its connection still waits for.
    ReadsJumpTheQueue,
    /// The leader takes forwarded writes as they come, whatever their numbers.
    ForwardsUnnumbered,
    /// A leader takes streams that began before its leadership.
    OldStreamTaken,
    /// The leader takes writes of a connection whose session has moved to another one.
    OldConnectionTaken,
    /// The leader takes writes of a session that has ended.
    EndedSessionWrites,
    /// A returning client's session is opened at once, whatever the client has seen elsewhere.
    ResumeAtOnce,
    /// A server takes a transaction from before its restart for the one that opens a session.
    TicketReused,
    /// A server that starts again takes the incarnation of its earlier life.
    IncarnationRepeats,
    /// The watches of a change are told after the answer to the request that made it.
    AnswerBeforeEvents,
    /// A watch stays when it has fired.
    WatchKept,
    /// A persistent watch goes when it has fired.
    PersistentFiresOnce,
    /// setWatches leaves out the persistent watches.
    PersistentNotSetAgain,
    /// setWatches takes the present for the last that the client has seen.
    SetWatchesFromNow,
    /// A snapshot that replaces the tree leaves the connections open.
    RestoreKeepsConnections,
    /// The sequence number counts the children that are there, not those that ever were.
    SequenceCountsChildren,
    /// The leader judges a request by what is committed, not by what it has proposed.
    JudgeByCommitted,
    /// The leader deletes a container or a TTL znode by what is committed, not by what it has proposed.
    UnusedByCommitted,
    /// The leader deletes a container that never had a child.
    NewContainerDeleted,
    /// A multi that fails keeps what was done before the operation that failed.
    HalfAMulti,
    /// A local session makes ephemerals and stays local.
    LocalOwnsEphemerals,
    /// A snapshot that replaces the tree is taken for the state at the last transaction applied.
    RestoreMisdated,
}
