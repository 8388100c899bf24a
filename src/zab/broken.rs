//! What some variants of the protocol do in place of it, where that takes more than a line.
//!
//! Spec: `spec/bugs.md`. With [`Variant::Faithful`] each function here does what its first line says
//! and nothing else. What it must never do: change a decision of the protocol as it should be.

use super::{Difference, History, Mark, Out, Payload, Recency, Role, State, Storage, Variant, Zab};
use crate::types::{Epoch, Zxid};

impl<P: Payload> Zab<P> {
    /// Whether `zxid` is in `history`.
    pub(super) fn holds(&self, history: &History<P>, zxid: Zxid) -> bool {
        history.contains(zxid)
            || (self.config.variant == Variant::DiffWithinRange
                && (history.start()..=history.last_zxid()).contains(&zxid))
    }

    /// The step that a history ending at `last` needs towards `history` up to `end`.
    pub(super) fn step_towards(
        &self,
        history: &History<P>,
        leader_had: Recency,
        last: Zxid,
        end: Zxid,
    ) -> Option<Difference<P>> {
        let missing = history.difference(last, end);
        let entries = match (self.config.variant, missing) {
            (Variant::DiffForSnap, Some(Difference::Snap { .. })) => {
                let kept = history.after(last);
                kept.take_while(|entry| entry.zxid <= end)
                    .cloned()
                    .collect()
            }
            (Variant::DiffWithinRange, Some(Difference::Trunc { .. }))
                if self.holds(history, last) =>
            {
                let later = history.after(last);
                later
                    .take_while(|entry| entry.zxid <= end)
                    .cloned()
                    .collect()
            }
            (Variant::DiffWithHole, Some(Difference::Diff { mut entries, .. })) => {
                entries.retain(|entry| entry.zxid.epoch() >= leader_had.current_epoch);
                entries
            }
            (_, missing) => return missing,
        };
        let after = last;
        Some(Difference::Diff { after, entries })
    }

    /// The storage as it is: what is saved.
    pub(super) fn as_saved(&self, s: &State<P>) -> Storage<P> {
        let mut storage = s.storage.clone();
        let waits = matches!(&s.role, Role::Following(follower) if !follower.serving);
        if self.config.variant == Variant::CurrentAtUpToDate && waits {
            storage.current_epoch = s.pending.back().unwrap_or(&s.durable).current_epoch;
        }
        storage
    }

    /// Nothing: a new snapshot becomes durable as a whole.
    pub(super) fn save_snapshot_in_parts(
        &self,
        s: &mut State<P>,
        old: &History<P>,
        epoch: Epoch,
        o: &mut Out<P>,
    ) {
        match self.config.variant {
            _ if s.storage.history.snapshot().zxid <= old.snapshot().zxid => return,
            Variant::SnapInParts => {}
            Variant::NewLeaderBeforeSnap => s.storage.current_epoch = epoch,
            _ => return,
        }
        let early = Storage {
            history: s.storage.history.without_content(),
            ..s.storage.clone()
        };
        s.pending.push_back(Mark::from(&early));
        o.save(early);
    }
}
