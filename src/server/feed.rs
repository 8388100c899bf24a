//! What leaves for the other servers, of all that the actor says.
//!
//! Spec: `spec/6-server.md`, "Repair". What it must never do: withhold the small words that keep a term alive from those that
//! take part in it.
//!
//! The actor speaks as if nobody had heard it: it repeats itself on timers, and sends to all that it has ever brought up
//! to date. A network may lose any of that. What is lost here is what would arrive twice or not at all: so a peer
//! that is gone, slow, or busy with large messages costs nothing but a few words.

use super::transport::{Request, Transport};
use crate::service::{PeerMsg, ZooKeeper};
use crate::types::{ServerId, Zxid};
use crate::zab::{Message, Role, Stage, State, Zab};
use std::collections::BTreeMap;
use std::time::Instant;

/// While so many bytes of large messages wait for a peer, no further synchronization is made for it.
const BUSY: usize = 4 << 20;
/// What is sent for one request, in bytes, whatever the learner is ready for.
const ANSWER: usize = 1 << 20;

/// What the leader knows of how its learners get on, and which steps only repeat.
#[derive(Default)]
pub(super) struct Feed {
    /// What each learner had acknowledged when the leader last repeated itself.
    acked: BTreeMap<ServerId, Zxid>,
}

impl Feed {
    /// Whether a message is worth sending. `repeats` if a timer has made the actor say it.
    pub(super) fn passes(
        &self,
        state: &State<ZooKeeper>,
        transport: &Transport,
        to: ServerId,
        message: &PeerMsg,
        repeats: bool,
    ) -> bool {
        let is_on_its_way = || repeats && transport.queued(to) > 0;
        let message = match message {
            PeerMsg::Zab(message) => message,
            PeerMsg::Forward(_) => return transport.has_room(to) && !is_on_its_way(),
            PeerMsg::Accepted { .. }
            | PeerMsg::Refused { .. }
            | PeerMsg::Touch { .. }
            | PeerMsg::Differs { .. } => return true,
        };
        match message {
            Message::Propose { entry, .. } | Message::Inform { entry, .. } => {
                is_active(state, to)
                    && transport.has_room(to)
                    && !transport.carries(to, entry.zxid.0)
                    && !(repeats && (is_on_its_way() || self.gets_on(state, to)))
            }
            Message::Commit { .. } => is_active(state, to),
            // The actor repeats these until they have arrived: to encode them each time while they are on
            // their way would be all that this thread does.
            Message::Sync { .. } | Message::AckEpoch { newer: Some(_), .. } => {
                transport.queued(to) <= BUSY
            }
            Message::Notification(_)
            | Message::FollowerInfo { .. }
            | Message::NewEpoch { .. }
            | Message::Refuse { .. }
            | Message::AckEpoch { newer: None, .. }
            | Message::NewLeader { .. }
            | Message::Ack { .. } => true,
        }
    }

    /// The leader has repeated itself.
    pub(super) fn on_repeated(&mut self, state: &State<ZooKeeper>) {
        self.acked.clear();
        self.acked.extend(
            acked(state)
                .into_iter()
                .flatten()
                .map(|(peer, zxid)| (*peer, *zxid)),
        );
    }

    /// Whether a learner has acknowledged something since then: then what it lacks is on its way.
    fn gets_on(&self, state: &State<ZooKeeper>, learner: ServerId) -> bool {
        let now = acked(state).and_then(|acked| acked.get(&learner));
        now.is_some() && now != self.acked.get(&learner)
    }
}

/// Sends a learner again what it has asked for: small messages as far as it is ready for them, and large ones, which
/// the transport paces, as far as the queue has room.
pub(super) fn answer(
    zab: &Zab<ZooKeeper>,
    state: &State<ZooKeeper>,
    transport: &mut Transport,
    now: Instant,
    to: ServerId,
    request: Request,
) {
    if !was_sent(state, to, &request) {
        return;
    }
    let mut room = ANSWER.min(request.room as usize);
    for message in zab.entries(state, to, request.epoch, request.after) {
        let Some(zxid) = zxid(&message).filter(|zxid| *zxid <= request.through) else {
            return;
        };
        if room == 0 || !transport.has_room(to) {
            return;
        }
        if transport.carries(to, zxid.0) {
            continue;
        }
        let Ok(bytes) = postcard::to_stdvec(&PeerMsg::Zab(message)) else {
            return; // It could not be sent before, either.
        };
        if !transport.is_paced(to, bytes.len()) {
            room = room.saturating_sub(bytes.len());
        }
        transport.send(now, to, Some(zxid.0), bytes);
    }
}

/// Whether the actor has sent a learner everything after where it stands in this epoch, and still has it. Everything
/// after the first acknowledgement of a learner is sent to it.
fn was_sent(state: &State<ZooKeeper>, to: ServerId, request: &Request) -> bool {
    let is_ours = state.is_leading() && state.epoch() == Some(request.epoch);
    let sent_after = acked(state).and_then(|acked| acked.get(&to));
    is_ours
        && is_active(state, to)
        && sent_after.is_some_and(|sent_after| *sent_after <= request.after)
        && request.after >= state.storage().history.start()
}

/// The number by which a message is known while it is on its way.
pub(super) fn tag(message: &PeerMsg) -> Option<u64> {
    match message {
        PeerMsg::Zab(message) => zxid(message).map(|zxid| zxid.0),
        PeerMsg::Forward(_)
        | PeerMsg::Accepted { .. }
        | PeerMsg::Refused { .. }
        | PeerMsg::Touch { .. }
        | PeerMsg::Differs { .. } => None,
    }
}

/// Whether large messages for a peer are of no use any more: the two have nothing to do with each other.
pub(super) fn is_stranger(state: &State<ZooKeeper>, peer: ServerId) -> bool {
    !is_active(state, peer) && state.following() != Some(peer)
}

/// The zxid of the transaction that a message carries.
fn zxid(message: &Message<ZooKeeper>) -> Option<Zxid> {
    match message {
        Message::Propose { entry, .. } | Message::Inform { entry, .. } => Some(entry.zxid),
        Message::Notification(_)
        | Message::FollowerInfo { .. }
        | Message::NewEpoch { .. }
        | Message::Refuse { .. }
        | Message::AckEpoch { .. }
        | Message::Sync { .. }
        | Message::NewLeader { .. }
        | Message::Ack { .. }
        | Message::Commit { .. } => None,
    }
}

/// Whether this server leads, and a peer follows it and is heard of.
fn is_active(state: &State<ZooKeeper>, peer: ServerId) -> bool {
    match state.role() {
        Role::Leading(leader) => leader.active.contains(peer),
        Role::Looking(_) | Role::Following(_) => false,
    }
}

/// What each learner of this leader has acknowledged.
fn acked(state: &State<ZooKeeper>) -> Option<&BTreeMap<ServerId, Zxid>> {
    match state.role() {
        Role::Leading(leader) => match &leader.stage {
            Stage::Broadcast { acked, .. } => Some(acked),
            Stage::Discovery { .. } | Stage::NewEpoch { .. } => None,
        },
        Role::Looking(_) | Role::Following(_) => None,
    }
}
