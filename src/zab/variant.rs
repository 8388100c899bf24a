//! Variants of the protocol: each changes one decision, to show that the checker would notice.
//!
//! Spec: `spec/invariants.toml`, "mutants". Production runs [`Variant::Faithful`], which changes
//! nothing; every other one is wrong on purpose and is used by `check mutants` alone.

/// Declares [`Variant`], and lists its values: a variant that is not in the list cannot be written.
macro_rules! variants {
    ($(#[$enum_meta:meta])* pub enum Variant { $($(#[$meta:meta])* $name:ident,)* }) => {
        $(#[$enum_meta])*
        pub enum Variant { $($(#[$meta])* $name,)* }

        impl Variant {
            /// Every variant, [`Variant::Faithful`] first.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

variants! {
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
    /// More than half of the voters are taken for a quorum, whatever their weights.
    WeightsIgnored,
    /// The old membership alone commits the one that replaces it.
    ReconfiguredByOld,
    /// The new membership alone commits itself.
    ReconfiguredByNew,
    /// What follows a reconfiguration is acknowledged by the old membership.
    AcknowledgedByOld,
    /// A membership is put in force when it is proposed.
    InForceWhenProposed,
    /// Elections and promises count by the old membership until the new one is in force.
    ElectedByOld,
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
    /// A server with an empty disk counts in a quorum although others have data.
    EmptyDisksVote,
    /// Histories are compared by zxids alone, whoever began their epochs.
    NamesIgnored,
    /// Votes are compared by the zxid alone, whatever the current epoch.
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

    // Bugs of the past: `models/bugs/` tells of each.
    /// The follower serves clients with the first Commit and delivers what it says with the next.
    ServeUndelivered,
    /// The follower takes a Commit for what it says, whether it holds that or not.
    CommitUnheld,
    /// The follower acknowledges the transactions of synchronization before its epoch is durable.
    AckBeforeEpoch,
    /// The follower makes what it is synchronized to durable when it is told that it is up to date.
    SaveAtUpToDate,
    /// The follower takes what it has delivered for the end of its history.
    MemoryKept,
    /// The follower takes what its disk has for the end of its history, while writes are pending.
    QueueKept,
    /// A follower that is synchronized late is sent the proposals from then on, not those before.
    NewcomerNotCaughtUp,
    /// A learner that is synchronized late is told that the initial history is committed, not more.
    NewcomerToldInitial,
    /// The follower appends its last proposal again if it comes again.
    ProposalTwice,

    /// After a restart both epochs are that of the last transaction in the log.
    EpochsFromLog,
    /// A prospective leader takes its epoch for the current one as soon as it proposes it.
    CurrentWhenProposed,
    /// The leader takes every zxid within the range of its log for one that it holds.
    DiffWithinRange,
    /// The follower acknowledges NEWLEADER at once and makes the current epoch durable at UPTODATE.
    CurrentAtUpToDate,
    /// The leader does not promise its own epoch.
    LeaderPromisesNothing,
    /// The leader takes the transactions that it has kept for all that there are.
    DiffForSnap,
    /// The content of a snapshot becomes durable after its zxid and the new current epoch.
    NewLeaderBeforeSnap,
    /// The content of a snapshot becomes durable after its zxid.
    SnapInParts,
    /// What synchronization brought to a server is missing where it synchronizes others as a leader.
    DiffWithHole,
    /// A server that begins to lead takes its whole log for committed.
    LogTakenForCommitted,
    /// The follower acknowledges NEWLEADER before the initial history is durable.
    AckNewLeaderBeforeSaved,
}
}
