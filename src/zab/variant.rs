//! Variants of the protocol: each changes one decision, to show that the checker would notice.
//!
//! Spec: `spec/invariants.toml`, "mutants". Production runs [`Variant::Faithful`], which changes
//! nothing; every other one is wrong on purpose and is used by `check mutants` alone.

/// One decision of the protocol, changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Variant {
    /// The protocol as it should be.
    #[default]
    Faithful,
    /// The leader commits what it alone has.
    CommitWithoutQuorum,
    /// Half of the voters are taken for a quorum.
    HalfIsQuorum,
    /// A new leader takes the highest epoch that it has heard of, not one above it.
    NoNewEpoch,
    /// The follower makes the current epoch durable before the history that belongs to it.
    EpochBeforeHistory,
    /// The follower acknowledges what it has not made durable yet.
    AckBeforeSaved,
    /// The follower promises an epoch that it has not made durable yet.
    PromiseBeforeSaved,
    /// A follower may keep transactions which the leader does not have.
    NoTrunc,
    /// The follower promises an epoch below the one that it has promised before.
    StaleEpochAccepted,
    /// The leader serves before a quorum is synchronized with it.
    ServeBeforeQuorum,
    /// The most recent history is the one with the highest zxid, whatever the current epoch.
    ZxidOnly,
    /// The leader keeps its own history although a follower's is more recent.
    KeepOwnHistory,
    /// The follower accepts a proposal that does not follow its last one.
    GapAccepted,
    /// The follower delivers a proposal before it is committed.
    DeliverProposal,
    /// The follower counts the proposals itself instead of taking the leader's zxids.
    FollowerCounts,
    /// The follower accepts a proposal of an earlier epoch, from whomever it comes.
    StaleProposalAccepted,
    /// The follower takes the current epoch for accepted without having accepted it.
    CurrentWithoutAccepted,
    /// The runtime takes a save for durable although the disk has reported an error.
    DiskErrorIgnored,
    /// The disk of a server with a vote is replaced by an empty one.
    VoterForgets,
    /// Of two votes with equal zxids the higher server id beats, whatever the epochs (ZOOKEEPER-1419).
    VotesCycle,
    /// A LOOKING server joins an established leader only in a round that is not below its own
    /// (ZOOKEEPER-1514).
    JoinInsistsOnRound,
    /// Whoever a LOOKING server hears from counts as a supporter of its vote (ZOOKEEPER-975).
    AnyWordSupports,
    /// A vote for nobody of the ensemble makes its receiver deaf to notifications (ZOOKEEPER-3769).
    MalformedVoteDeafens,
}
