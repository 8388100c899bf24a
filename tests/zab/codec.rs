//! What comes from the network: bytes, and messages that no server of ours would send.
//!
//! Spec: `spec/0-assumptions.md`, "The network". What it must never do: end a server, whatever comes.

use crate::cluster::Numbers;
use crate::sim::{Random, with_seeds};
use crate::walk::Walk;
use keepright::types::{Epoch, EpochName, Round, ServerId, Zxid};
use keepright::zab::lineage::Reason;
use keepright::zab::{
    Difference, Elections, Entry, Message, Msg, Notification, Out, Snapshot, Stance, State, Timer,
    Vote,
};
use keepright::zab::{Divergence, Lineage, Memory, Term};
use proptest::prelude::*;
use stateright::actor::{Actor, Command};
use std::borrow::Cow;

/// Makes up messages of which every field is well-formed and nothing need make sense.
struct Forger<'a> {
    random: &'a mut Random,
    /// Zxids that mean something to the recipient.
    zxids: Vec<Zxid>,
    /// The epoch that the recipient takes part in, if it does.
    now: Option<Epoch>,
}

impl Forger<'_> {
    fn zxid(&mut self) -> Zxid {
        let known = self.random.pick(&self.zxids).unwrap_or_default();
        match self.random.below(8) {
            0..4 => known,
            4 => Zxid(known.0.saturating_add(self.random.below(4) as u64)),
            5 => Zxid(known.0.saturating_sub(self.random.below(4) as u64)),
            6 => Zxid([0, 1, u64::MAX, u64::MAX - 1, 1 << 32][self.random.below(5)]),
            _ => {
                let Epoch(epoch) = self.epoch();
                let later = self.random.below(3) as u32;
                Zxid::new(
                    Epoch(epoch.saturating_add(later)),
                    self.random.below(5) as u32,
                )
            }
        }
    }

    fn epoch(&mut self) -> Epoch {
        let known = self.random.pick(&self.zxids).unwrap_or_default().epoch().0;
        match (self.now, self.random.below(10)) {
            (Some(epoch), 0..8) => epoch,
            (_, 0..8) => Epoch(known.saturating_add(self.random.below(3) as u32)),
            (_, 8) => Epoch(known.saturating_sub(1)),
            (..) => Epoch([0, u32::MAX, u32::MAX - 1][self.random.below(3)]),
        }
    }

    fn entry(&mut self) -> Entry<u32> {
        Entry {
            zxid: self.zxid(),
            txn: self.random.next() as u32,
        }
    }

    fn entries(&mut self) -> Vec<Entry<u32>> {
        let mut entries: Vec<_> = (0..self.random.below(4)).map(|_| self.entry()).collect();
        if self.random.chance(70) {
            entries.sort_by_key(|entry| entry.zxid);
            entries.dedup_by_key(|entry| entry.zxid);
        }
        entries
    }

    fn difference(&mut self) -> Difference<Numbers> {
        match self.random.below(3) {
            0 => Difference::Diff {
                after: self.zxid(),
                entries: self.entries(),
            },
            1 => Difference::Trunc {
                from: self.zxid(),
                to: self.zxid(),
            },
            _ => Difference::Snap {
                snapshot: Snapshot {
                    zxid: self.zxid(),
                    state: self.entries().into_iter().collect(),
                },
                entries: self.entries(),
            },
        }
    }

    fn sid(&mut self) -> ServerId {
        ServerId([1, 2, 3, 4, 0, 255][self.random.below(6)])
    }

    fn notification(&mut self) -> Notification {
        let stance = match self.random.below(4) {
            0 => Stance::Looking(Vote {
                leader: self.sid(),
                current_epoch: self.epoch(),
                last_zxid: self.zxid(),
                change: self.zxid(),
                tells_members: self.random.chance(50),
            }),
            1 => Stance::Asking,
            2 => Stance::Following(self.sid()),
            _ => Stance::Leading {
                established: self.random.chance(50),
            },
        };
        let round = Round {
            epoch: self.epoch(),
            count: match self.random.below(10) {
                0 => [0, u32::MAX, u32::MAX - 1][self.random.below(3)],
                n => n as u32,
            },
        };
        Notification { round, stance }
    }

    fn name(&mut self) -> EpochName {
        EpochName {
            leader: self.sid(),
            draw: self.random.below(3) as u64,
        }
    }

    /// Terms that nobody has put in order.
    fn lineage(&mut self) -> Lineage {
        let terms = (0..self.random.below(4)).map(|_| Term {
            epoch: self.epoch(),
            name: self.name(),
            after: self.zxid(),
            voters: (0..self.random.below(3)).map(|_| self.sid()).collect(),
        });
        Lineage::of(terms.collect())
    }

    fn memory(&mut self) -> Memory {
        [Memory::Kept, Memory::New, Memory::Forgot][self.random.below(3)]
    }

    fn divergence(&mut self) -> Divergence {
        let reason = match self.random.below(2) {
            0 => Reason::NumberTwice(self.epoch()),
            _ => Reason::Committed(self.zxid()),
        };
        Divergence {
            reason,
            common: self.zxid(),
            last: self.zxid(),
            other: self.zxid(),
        }
    }

    fn message(&mut self) -> Message<Numbers> {
        match self.random.below(11) {
            0 => Message::Notification(self.notification()),
            1 => Message::FollowerInfo {
                accepted_epoch: self.epoch(),
            },
            2 => Message::NewEpoch {
                epoch: self.epoch(),
                name: self.name(),
                lineage: self.lineage(),
                current_epoch: self.epoch(),
                last_zxid: self.zxid(),
            },
            3 => Message::AckEpoch {
                epoch: self.epoch(),
                lineage: self.lineage(),
                memory: self.memory(),
                draw: self.random.below(1 << 20) as u64,
                current_epoch: self.epoch(),
                last_zxid: self.zxid(),
                promise: self.random.chance(80),
                newer: self.random.chance(50).then(|| Box::new(self.difference())),
            },
            4 => Message::Sync {
                epoch: self.epoch(),
                lineage: self.lineage(),
                step: self.difference(),
            },
            5 => Message::NewLeader {
                epoch: self.epoch(),
                lineage: self.lineage(),
                counts: self.random.chance(50),
                last_zxid: self.zxid(),
            },
            6 => Message::Propose {
                epoch: self.epoch(),
                after: self.zxid(),
                entry: self.entry(),
            },
            7 => Message::Ack {
                epoch: self.epoch(),
                zxid: self.zxid(),
            },
            9 => Message::Refuse {
                epoch: self.epoch(),
                current_epoch: self.epoch(),
                last_zxid: self.zxid(),
                divergence: self.divergence(),
            },
            8 => Message::Commit {
                epoch: self.epoch(),
                zxid: self.zxid(),
                counts: self.random.chance(50),
            },
            _ => Message::Inform {
                epoch: self.epoch(),
                after: self.zxid(),
                entry: self.entry(),
            },
        }
    }
}

/// The zxids that mean something to a server.
fn zxids(state: &State<Numbers>) -> Vec<Zxid> {
    let storage = state.storage();
    let history = &storage.history;
    let mut zxids = vec![
        history.last_zxid(),
        history.start(),
        history.snapshot().zxid,
        state.committed(),
        Zxid::new(storage.accepted_epoch, 1),
        Zxid::new(storage.current_epoch, 1),
    ];
    zxids.extend(history.entries().iter().map(|entry| entry.zxid));
    zxids
}

/// Lets a server in a reachable state be told anything by its peers, and go about its business.
fn torment(walk: &Walk, random: &mut Random, steps: usize) {
    let zab = &walk.cluster.zab;
    let ids = walk.cluster.ids();
    let Some(me) = random.pick(&ids).filter(|id| walk.cluster.up(*id)) else {
        return;
    };
    let mut state = walk.cluster.state(me).clone();
    for _ in 0..steps {
        let mut out: Out<Numbers> = Out::new();
        let peer = random.pick(&ids).expect("a server");
        let mut cow = Cow::Borrowed(&state);
        let mut told = None;
        match random.below(20) {
            0 | 1 => zab.on_msg(
                me.into(),
                &mut cow,
                me.into(),
                Msg::Saved(state.pending_saves()),
                &mut out,
            ),
            2 => zab.on_msg(me.into(), &mut cow, me.into(), Msg::Propose(1), &mut out),
            3 => {
                let snapshot = Snapshot {
                    zxid: state.committed(),
                    state: keepright::persistent::Vector::new(),
                };
                zab.on_msg(
                    me.into(),
                    &mut cow,
                    me.into(),
                    Msg::Snapshot(snapshot),
                    &mut out,
                );
            }
            4 => {
                let leader = random.pick(&ids).expect("a server");
                zab.on_msg(
                    me.into(),
                    &mut cow,
                    me.into(),
                    Msg::Elected(leader),
                    &mut out,
                );
            }
            5 => {
                let timer = [
                    Timer::Heartbeat,
                    Timer::Finalize,
                    Timer::Establish,
                    Timer::Peer(peer),
                ][random.below(4)];
                zab.on_timeout(me.into(), &mut cow, &timer, &mut out);
            }
            _ => {
                let zxids = zxids(&state);
                let now = state.epoch();
                let message = Forger { random, zxids, now }.message();
                told = Some(message.clone());
                zab.on_msg(
                    me.into(),
                    &mut cow,
                    peer.into(),
                    Msg::Peer(message),
                    &mut out,
                );
            }
        }
        let after = cow.into_owned();
        let (old, new) = (state.committed(), after.committed());
        assert!(new >= old, "committed goes back by {told:?} to {state:?}");
        assert!(
            new <= after.storage().history.last_zxid(),
            "committed what it does not have by {told:?} to {state:?}"
        );
        for command in out {
            if let Command::Save(storage) = command {
                let bytes = postcard::to_stdvec(&storage).expect("in memory");
                assert_eq!(postcard::from_bytes(&bytes), Ok(storage));
            }
        }
        state = after;
    }
}

#[test]
fn no_well_formed_message_ends_a_server_in_any_reachable_state() {
    for elections in [Elections::External, Elections::Held] {
        with_seeds("no_well_formed", 60, |seed| {
            let mut walk = Walk::new(seed, elections);
            let mut random = Random(seed);
            for _ in 0..20 {
                for _ in 0..30 {
                    let step = walk.choose();
                    walk.take(&step);
                }
                for _ in 0..10 {
                    torment(&walk, &mut random, 150);
                }
            }
        });
    }
}

#[test]
fn a_message_is_the_same_after_encoding_and_decoding() {
    with_seeds("a_message_is", 2000, |seed| {
        let mut random = Random(seed);
        let zxids = vec![Zxid::new(Epoch(3), 4), Zxid(u64::MAX)];
        let random = &mut random;
        let now = None;
        let message = Forger { random, zxids, now }.message();
        let bytes = postcard::to_stdvec(&message).expect("in memory");
        assert_eq!(postcard::from_bytes(&bytes), Ok(message));
    });
}

#[test]
fn a_message_cut_short_is_an_error() {
    with_seeds("a_message_cut", 300, |seed| {
        let mut random = Random(seed);
        let zxids = vec![Zxid::new(Epoch(3), 4)];
        let random = &mut random;
        let now = None;
        let message = Forger { random, zxids, now }.message();
        let bytes = postcard::to_stdvec(&message).expect("in memory");
        for end in 0..bytes.len() {
            assert!(postcard::from_bytes::<Message<Numbers>>(&bytes[..end]).is_err());
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn arbitrary_bytes_are_a_message_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..80), kind in 0..10u8) {
        let _ = postcard::from_bytes::<Message<Numbers>>(&bytes);
        // Most first bytes are the number of no message.
        bytes.insert(0, kind);
        let _ = postcard::from_bytes::<Message<Numbers>>(&bytes);
    }
}
