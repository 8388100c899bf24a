//! What changed from one history to the next.
//!
//! Spec: `spec/6-server.md`, "Storage"; it rests on the invariant that a history is identified by its
//! last zxid. What it must never do: take two histories for the same beyond their common part.

use crate::types::Zxid;
use crate::zab::{History, Payload};

/// How the log becomes that of the next history. After the step, every transaction of the next
/// history above the zxid is to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The log holds the beginning, up to this zxid.
    Append(Zxid),
    /// What lies above this zxid is removed first.
    Truncate(Zxid),
    /// The log has nothing of use: the snapshot, which lies at this zxid, takes its place.
    Replace(Zxid),
}

/// Compares in the time that the change takes (times a logarithm), not that of the histories.
pub(super) fn diff<P: Payload>(previous: &History<P>, next: &History<P>) -> Change {
    let last = previous.last_zxid();
    if next.contains(last) {
        return Change::Append(last);
    }
    match common(previous, next) {
        Some(zxid) => Change::Truncate(zxid),
        None => Change::Replace(next.snapshot().zxid),
    }
}

/// The last zxid of the common part, or `None` if the histories do not overlap.
fn common<P: Payload>(previous: &History<P>, next: &History<P>) -> Option<Zxid> {
    let (mut here, mut there) = (previous, next);
    let mut zxid = here.last_zxid();
    loop {
        // Each floor is at or below the one before, so this ends: at a zxid that both hold, or below
        // the start of one.
        zxid = there.floor(zxid)?;
        if here.contains(zxid) {
            return Some(zxid);
        }
        std::mem::swap(&mut here, &mut there);
    }
}
