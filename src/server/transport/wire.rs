//! The bytes of a datagram between servers.
//!
//! Spec: `spec/6-server.md`, "Datagrams". What it must never do: panic on bytes from the network, or
//! take damaged ones for sound.
//!
//! Integers are big-endian. Every datagram begins with `K`, the version, the kind, the sender's id,
//! and the Adler-32 of what follows. Then, by kind:
//!
//! * 0, messages: for each its length (`u32`) and its bytes;
//! * 1, a fragment of a message that does not fit: message id (`u64`), length of the whole (`u32`),
//!   length of a full fragment (`u32`), index (`u32`), bytes;
//! * 2, an acknowledgement: message id (`u64`), the index below which every fragment is here
//!   (`u32`), and a bit for each fragment from there on, the lowest bit of a byte first;
//! * 3, a request to say again what has been lost: epoch (`u32`), the zxid before it (`u64`), the last zxid of
//!   it (`u64`), how many bytes at most (`u32`).

use crate::types::{Epoch, ServerId, Zxid};

const MAGIC: u8 = b'K';
const VERSION: u8 = 3;
const MESSAGES: u8 = 0;
const FRAGMENT: u8 = 1;
const ACK: u8 = 2;
const REQUEST: u8 = 3;

/// Bytes before the content of a datagram.
const HEADER: usize = 8;
/// Bytes before the content of a fragment's datagram.
pub(super) const FRAGMENT_HEADER: usize = HEADER + 20;
/// Bytes around one message.
pub(super) const MESSAGE_OVERHEAD: usize = HEADER + 4;
/// An acknowledgement speaks of so many fragments beyond those that are all there, at most.
pub(super) const ACK_SPAN: u32 = 8 * 1024;

/// A number for a message that is sent in fragments: unique among those of one sender, across
/// restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MessageId(pub(super) u64);

/// A part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment<'a> {
    pub(super) id: MessageId,
    /// The length of the whole message, in bytes.
    pub(super) total: u32,
    /// The length of every fragment but the last, in bytes.
    pub(super) chunk: u32,
    pub(super) index: u32,
    pub(super) bytes: &'a [u8],
}

/// What a receiver has of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) id: MessageId,
    /// Every fragment below is here.
    pub(super) base: u32,
    /// Which of those from `base` on are here.
    pub(super) bits: Vec<u8>,
}

/// A learner lacks transactions, and asks its leader to send them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The epoch in which it follows.
    pub epoch: Epoch,
    /// It has everything up to here.
    pub after: Zxid,
    /// It lacks nothing that lies beyond, as far as it knows.
    pub through: Zxid,
    /// How many bytes of messages it is ready for.
    pub room: u32,
}

/// A datagram as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Datagram<'a> {
    Messages(Vec<&'a [u8]>),
    Fragment(Fragment<'a>),
    Ack(Ack),
    Request(Request),
}

/// Begins a datagram of messages, to be continued by [`push_message`] and [`seal`].
pub(super) fn begin_messages(datagram: &mut Vec<u8>, sender: ServerId) {
    begin(datagram, MESSAGES, sender);
}

/// Adds a message, which the caller has seen to fit.
pub(super) fn push_message(datagram: &mut Vec<u8>, message: &[u8]) {
    datagram.extend((message.len() as u32).to_be_bytes());
    datagram.extend(message);
}

/// The datagram of a fragment.
pub(super) fn write_fragment(datagram: &mut Vec<u8>, sender: ServerId, fragment: &Fragment<'_>) {
    begin(datagram, FRAGMENT, sender);
    datagram.extend(fragment.id.0.to_be_bytes());
    datagram.extend(fragment.total.to_be_bytes());
    datagram.extend(fragment.chunk.to_be_bytes());
    datagram.extend(fragment.index.to_be_bytes());
    datagram.extend(fragment.bytes);
    seal(datagram);
}

/// The datagram of an acknowledgement.
pub(super) fn write_ack(datagram: &mut Vec<u8>, sender: ServerId, ack: &Ack) {
    begin(datagram, ACK, sender);
    datagram.extend(ack.id.0.to_be_bytes());
    datagram.extend(ack.base.to_be_bytes());
    datagram.extend(&ack.bits);
    seal(datagram);
}

/// The datagram of a request.
pub(super) fn write_request(datagram: &mut Vec<u8>, sender: ServerId, request: &Request) {
    begin(datagram, REQUEST, sender);
    datagram.extend(request.epoch.0.to_be_bytes());
    datagram.extend(request.after.0.to_be_bytes());
    datagram.extend(request.through.0.to_be_bytes());
    datagram.extend(request.room.to_be_bytes());
    seal(datagram);
}

fn begin(datagram: &mut Vec<u8>, kind: u8, sender: ServerId) {
    datagram.clear();
    datagram.extend([MAGIC, VERSION, kind, sender.0, 0, 0, 0, 0]);
}

/// Writes the checksum of a finished datagram into it.
pub(super) fn seal(datagram: &mut [u8]) {
    let checksum = simd_adler32::adler32(&&datagram[HEADER..]);
    datagram[4..HEADER].copy_from_slice(&checksum.to_be_bytes());
}

/// Reads a datagram; `None` if it is not one of ours, or damaged.
pub(super) fn read(datagram: &[u8]) -> Option<(ServerId, Datagram<'_>)> {
    let (header, mut rest) = datagram.split_first_chunk::<HEADER>()?;
    let [MAGIC, VERSION, kind, sender, checksum @ ..] = *header else {
        return None;
    };
    if simd_adler32::adler32(&rest).to_be_bytes() != checksum {
        return None;
    }
    let content = match kind {
        MESSAGES => {
            let mut messages = Vec::new();
            while !rest.is_empty() {
                let length = take_u32(&mut rest)? as usize;
                let (message, after) = rest.split_at_checked(length)?;
                messages.push(message);
                rest = after;
            }
            Datagram::Messages(messages)
        }
        FRAGMENT => Datagram::Fragment(read_fragment(rest)?),
        ACK => Datagram::Ack(Ack {
            id: take_id(&mut rest)?,
            base: take_u32(&mut rest)?,
            bits: (rest.len() <= ACK_SPAN as usize / 8).then(|| rest.to_vec())?,
        }),
        REQUEST => {
            let request = Request {
                epoch: Epoch(take_u32(&mut rest)?),
                after: Zxid(take_u64(&mut rest)?),
                through: Zxid(take_u64(&mut rest)?),
                room: take_u32(&mut rest)?,
            };
            rest.is_empty().then_some(Datagram::Request(request))?
        }
        _ => return None,
    };
    Some((ServerId(sender), content))
}

/// Reads a fragment whose numbers fit each other.
fn read_fragment(mut rest: &[u8]) -> Option<Fragment<'_>> {
    let fragment = Fragment {
        id: take_id(&mut rest)?,
        total: take_u32(&mut rest)?,
        chunk: take_u32(&mut rest)?,
        index: take_u32(&mut rest)?,
        bytes: rest,
    };
    let start = u64::from(fragment.index) * u64::from(fragment.chunk);
    let left = u64::from(fragment.total).checked_sub(start)?;
    let length = left.min(u64::from(fragment.chunk));
    (length > 0 && fragment.bytes.len() as u64 == length).then_some(fragment)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*number))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*number))
}

fn take_id(bytes: &mut &[u8]) -> Option<MessageId> {
    take_u64(bytes).map(MessageId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_datagram_makes_the_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..64), kind in 0..5u8) {
            let _ = read(&bytes);
            // The same behind a sound header.
            bytes.splice(0..0, [MAGIC, VERSION, kind, 1, 0, 0, 0, 0]);
            seal(&mut bytes);
            let _ = read(&bytes);
        }

        #[test]
        fn a_flipped_bit_is_noticed(content in prop::collection::vec(any::<u8>(), 1..64), at: prop::sample::Index, bit in 0..8u32) {
            let mut datagram = Vec::new();
            begin_messages(&mut datagram, ServerId(1));
            push_message(&mut datagram, &content);
            seal(&mut datagram);
            let expected = Some((ServerId(1), Datagram::Messages(vec![&content[..]])));
            prop_assert_eq!(read(&datagram), expected);
            let mut damaged = datagram.clone();
            // The sender's id is checked against the address, not by the checksum.
            let at = at.index(damaged.len());
            prop_assume!(at != 3);
            damaged[at] ^= 1u8 << bit;
            let read = read(&damaged);
            prop_assert!(read.is_none() || at == 2, "{:?}", read);
        }
    }
}
