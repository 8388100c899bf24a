//! The journal of a replica: every input of the actor, with a digest of what the actor did.
//!
//! Spec: `spec/6-server.md`, "Journal". Here are the records and their bytes; `server::journal` writes
//! them, and `check replay` reads them. What this must never do: change a byte of the format without a
//! new [`VERSION`], or say of two different steps that they are the same.
//!
//! A file is [`MAGIC`], [`VERSION`] (`u32`), and frames; integers are big-endian. A frame is the length of
//! its content (`u64`), the complement of that, the Adler-32 of the content (`u32`), and the content. The
//! content of the first frame is a [`Header`]; that of each other one is a record: the time (`u64`, nanoseconds
//! since the Unix epoch), the two numbers of its [`Seal`] (`u64` each), and the [`Input`].

use super::clock::Time;
use super::{ClientInput, ClientOutput, Config, Msg, PeerMsg, Replica, ZooKeeper};
use crate::service::replica::{State, Timer};
use crate::types::{Epoch, ServerId, Zxid};
use crate::zab::{self, Difference, Message, Storage, Zab};
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};
use stateright::actor::{Actor, Command, Id, Out};
use std::borrow::Cow;
use std::time::Duration;

/// What every file begins with.
pub const MAGIC: [u8; 8] = *b"KRJOURNL";
/// The version of the format, after [`MAGIC`].
pub const VERSION: u32 = 5;
/// The bytes before the content of a frame.
pub const FRAME: usize = 20;
/// The bytes before the input in the content of a record.
const RECORD: usize = 24;

/// Whose journal this is: all that it takes to make the same actor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The version of the program that wrote it.
    pub program: String,
    pub zab: zab::Config,
    pub service: Config,
}

impl Header {
    /// The header of this program's journal of a replica.
    pub fn of(replica: &Replica) -> Self {
        Self {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            zab: replica.zab().config.clone(),
            service: replica.config().clone(),
        }
    }

    /// The actor.
    pub fn replica(&self) -> Replica {
        Replica::new(Zab::new(self.zab.clone()), self.service.clone())
    }

    /// The server whose inputs these are.
    pub fn server(&self) -> ServerId {
        self.service.sid
    }
}

/// An input of the actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// The server starts with what recovery found. The first input of a file, and only that.
    Start(Box<Storage<ZooKeeper>>),
    /// A message of another server.
    Peer(ServerId, PeerMsg),
    /// That many of the oldest pending saves are durable now.
    Saved(usize),
    /// A client connection brings something; it is named by its actor id.
    Client(u64, ClientInput),
    /// A timer has fired.
    Timeout(Timer),
    /// What the clocks say.
    Clock(Time),
}

impl Input {
    /// Gives the input to the actor: both the server and the replay of a journal run it so.
    ///
    /// # Panics
    /// If the server has not started, or starts a second time: the caller's bug.
    pub fn run(self, replica: &Replica, state: &mut Option<State>, out: &mut Out<Replica>) {
        let id = Id::from(replica.config().sid);
        let before = state.take();
        let started = || Cow::Owned(before.expect("a server starts before anything else"));
        let after = match self {
            Self::Start(storage) => Cow::Owned(replica.on_start(id, &Some(*storage), out)),
            Self::Timeout(timer) => {
                let mut state = started();
                replica.on_timeout(id, &mut state, &timer, out);
                state
            }
            Self::Peer(..) | Self::Saved(_) | Self::Client(..) | Self::Clock(_) => {
                let (src, msg) = match self {
                    Self::Peer(peer, message) => (peer.into(), Msg::Peer(message)),
                    Self::Saved(count) => (id, Msg::Saved(count)),
                    Self::Clock(time) => (id, Msg::Clock(time)),
                    Self::Client(connection, input) => {
                        (Id::from(connection as usize), Msg::Client(input))
                    }
                    Self::Start(_) | Self::Timeout(_) => unreachable!("handled above"),
                };
                let mut state = started();
                replica.on_msg(id, &mut state, src, msg, out);
                state
            }
        };
        *state = Some(after.into_owned());
    }
}

/// Digests of a record and of everything before it in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seal {
    /// Of the times and the inputs.
    pub inputs: u64,
    /// Of what the actor did.
    pub actions: u64,
}

impl Seal {
    /// The digest of the inputs after one more. `bytes` are the input's, as in the record.
    #[must_use]
    pub fn after_input(self, at: u64, bytes: &[u8]) -> Self {
        let inputs = digest(self.inputs ^ at.rotate_left(32), bytes);
        Self { inputs, ..self }
    }

    /// The digest of the actions after those of one more step. `scratch` is room to work in.
    #[must_use]
    pub fn after_actions(self, out: &Out<Replica>, scratch: &mut Vec<u8>) -> Self {
        scratch.clear();
        for command in out.iter() {
            if let Some(action) = Action::of(command) {
                encode(&action, scratch);
            }
        }
        let actions = digest(self.actions, scratch);
        Self { actions, ..self }
    }
}

/// What the actor did, as it is digested. Long histories are digested by where they begin and end: a
/// leader says them again and again while they are on their way.
#[derive(Serialize)]
enum Action<'a> {
    Send(u64, &'a PeerMsg),
    SendHistory(u64, Epoch, Outline),
    Answer(u64, &'a ClientOutput),
    SetTimer(Timer, Duration, Duration),
    CancelTimer(Timer),
    Save(Epoch, Epoch, Zxid, Zxid, Zxid),
}

/// A step between two histories, in short.
#[derive(Serialize)]
enum Outline {
    Diff(Zxid, usize, Option<Zxid>),
    Trunc(Zxid, Zxid),
    Snap(Zxid, usize, Option<Zxid>),
}

impl Outline {
    fn of(step: &Difference<ZooKeeper>) -> Self {
        match step {
            Difference::Diff { after, entries } => {
                Self::Diff(*after, entries.len(), entries.last().map(|e| e.zxid))
            }
            Difference::Trunc { from, to } => Self::Trunc(*from, *to),
            Difference::Snap { snapshot, entries } => {
                Self::Snap(snapshot.zxid, entries.len(), entries.last().map(|e| e.zxid))
            }
        }
    }
}

impl<'a> Action<'a> {
    fn of(command: &'a Command<Msg, Timer, (), Storage<ZooKeeper>>) -> Option<Self> {
        let number = |id: Id| usize::from(id) as u64;
        Some(match command {
            Command::Send(to, Msg::Peer(message)) => match message {
                PeerMsg::Zab(Message::Sync { epoch, step, .. }) => {
                    Self::SendHistory(number(*to), *epoch, Outline::of(step))
                }
                PeerMsg::Zab(Message::AckEpoch {
                    epoch,
                    newer: Some(step),
                    ..
                }) => Self::SendHistory(number(*to), *epoch, Outline::of(step)),
                message => Self::Send(number(*to), message),
            },
            Command::Send(to, Msg::ToClient(output)) => Self::Answer(number(*to), output),
            Command::Send(_, Msg::Warning(_)) => return None, // It has no effect on anybody.
            Command::Send(_, Msg::Saved(_) | Msg::Clock(_) | Msg::Client(_)) => return None, // Inputs: the actor says none.
            Command::SetTimer(timer, range) => Self::SetTimer(*timer, range.start, range.end),
            Command::CancelTimer(timer) => Self::CancelTimer(*timer),
            Command::Save(storage) => Self::Save(
                storage.accepted_epoch,
                storage.current_epoch,
                storage.history.start(),
                storage.history.snapshot().zxid,
                storage.history.last_zxid(),
            ),
            Command::ChooseRandom(..) => return None, // The actor makes no choices.
        })
    }
}

/// A digest that is the same on every machine and in every run. It is no signature: it shows mistakes
/// and careless changes, not forgeries.
pub fn digest(seed: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(FACTOR);
        (product as u64) ^ ((product >> 64) as u64) ^ word.rotate_left(29)
    };
    let mut words = bytes.chunks_exact(8);
    let mut state = fold(seed ^ FACTOR, bytes.len() as u64);
    for word in &mut words {
        state = fold(state, u64::from_le_bytes(word.try_into().expect("8 bytes")));
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    fold(fold(state, u64::from_le_bytes(last)), FACTOR)
}

/// Begins a file.
pub fn push_start(file: &mut Vec<u8>, header: &Header) {
    file.extend(MAGIC);
    file.extend(VERSION.to_be_bytes());
    let start = begin_frame(file);
    encode(header, file);
    end_frame(file, start);
}

/// A record that is being written: the input is there, what the actor did is not.
#[must_use = "a record ends when the actor has run"]
pub struct Open {
    start: usize,
}

/// Begins a record.
pub fn begin_record(file: &mut Vec<u8>, at: u64, input: &Input) -> Open {
    let start = begin_frame(file);
    file.extend(at.to_be_bytes());
    file.extend([0; 16]);
    encode(input, file);
    Open { start }
}

/// Ends a record, which must be the last thing in `file`. Returns the seal for the one after it.
pub fn end_record(
    file: &mut [u8],
    record: Open,
    before: Seal,
    out: &Out<Replica>,
    scratch: &mut Vec<u8>,
) -> Seal {
    let content = &mut file[record.start + FRAME..];
    let (head, input) = content.split_at_mut(RECORD);
    let at = u64::from_be_bytes(head[..8].try_into().expect("8 bytes"));
    let seal = before.after_input(at, input).after_actions(out, scratch);
    head[8..16].copy_from_slice(&seal.inputs.to_be_bytes());
    head[16..].copy_from_slice(&seal.actions.to_be_bytes());
    end_frame(file, record.start);
    seal
}

fn begin_frame(file: &mut Vec<u8>) -> usize {
    let start = file.len();
    file.extend([0; FRAME]);
    start
}

fn end_frame(file: &mut [u8], start: usize) {
    let (head, content) = file[start..].split_at_mut(FRAME);
    let length = content.len() as u64;
    head[..8].copy_from_slice(&length.to_be_bytes());
    head[8..16].copy_from_slice(&(!length).to_be_bytes());
    head[16..].copy_from_slice(&simd_adler32::adler32(&&*content).to_be_bytes());
}

fn encode(value: &impl Serialize, bytes: &mut Vec<u8>) {
    postcard::serialize_with_flavor(value, Append(bytes))
        .expect("what the journal holds can be encoded, and memory grows");
}

/// Encodes to the end of a vector.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// What is found at a place of a file where a frame may begin.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Its content, and what comes after it.
    Whole { content: &'a [u8], rest: &'a [u8] },
    /// The file ends before the frame does: its writer was interrupted.
    Torn,
    /// What is there was written, and is not any more what was written.
    Damaged(&'static str),
}

/// Reads the frame at the beginning of `bytes`, which are not empty.
pub fn read_frame(bytes: &[u8]) -> Frame<'_> {
    let Some((head, rest)) = bytes.split_first_chunk::<FRAME>() else {
        return Frame::Torn;
    };
    let (length, rest_of_head) = head.split_at(8);
    let (complement, checksum) = rest_of_head.split_at(8);
    if length.iter().zip(complement).any(|(a, b)| *a != !b) {
        return Frame::Damaged("the length of the record is not what was written");
    }
    let length = u64::from_be_bytes(length.try_into().expect("8 bytes"));
    let Some((content, rest)) = usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length))
    else {
        return Frame::Torn;
    };
    if simd_adler32::adler32(&content).to_be_bytes() != *checksum {
        return Frame::Damaged("the checksum does not match the record");
    }
    Frame::Whole { content, rest }
}

/// Reads the content of the first frame.
pub fn read_header(content: &[u8]) -> Result<Header, postcard::Error> {
    postcard::from_bytes(content)
}

/// A record as it was read.
#[derive(Debug)]
pub struct Record<'a> {
    /// Nanoseconds since the Unix epoch, by the clock of the server.
    pub at: u64,
    /// What the writer says of this step.
    pub seal: Seal,
    /// The bytes of the input.
    pub bytes: &'a [u8],
    pub input: Input,
}

/// Reads the content of a frame after the first.
pub fn read_record(content: &[u8]) -> Result<Record<'_>, postcard::Error> {
    let (head, bytes) = content
        .split_at_checked(RECORD)
        .ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
    let number = |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().expect("8 bytes"));
    Ok(Record {
        at: number(0),
        seal: Seal {
            inputs: number(8),
            actions: number(16),
        },
        bytes,
        input: postcard::from_bytes(bytes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::Membership;
    use proptest::prelude::*;

    fn header() -> Header {
        let zab = zab::Config::new(Membership::majority(
            [1, 2, 3].map(ServerId).into_iter().collect(),
        ));
        let tick = Duration::from_secs(2);
        Header::of(&Replica::new(
            Zab::new(zab),
            Config::new(ServerId(2), 7, tick),
        ))
    }

    /// A journal of a start and of a timer, and where its frames begin.
    fn journal() -> (Vec<u8>, Vec<usize>) {
        let header = header();
        let replica = header.replica();
        let (mut file, mut state, mut scratch) = (Vec::new(), None, Vec::new());
        push_start(&mut file, &header);
        let mut places = vec![MAGIC.len() + 4];
        let mut seal = Seal::default();
        let timer = Timer::Zab(zab::Timer::Heartbeat);
        for input in [Input::Start(Box::default()), Input::Timeout(timer)] {
            places.push(file.len());
            let record = begin_record(&mut file, 17, &input);
            let mut out = Out::new();
            input.run(&replica, &mut state, &mut out);
            assert!(!out.is_empty());
            seal = end_record(&mut file, record, seal, &out, &mut scratch);
        }
        (file, places)
    }

    fn content(bytes: &[u8]) -> &[u8] {
        match read_frame(bytes) {
            Frame::Whole { content, .. } => content,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let (file, places) = journal();
        let read = read_header(content(&file[places[0]..])).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", header()));
        let start = read_record(content(&file[places[1]..])).unwrap();
        assert_eq!((start.at, start.input), (17, Input::Start(Box::default())));
        assert_eq!(
            Seal::default().after_input(17, start.bytes).inputs,
            start.seal.inputs
        );
        let second = read_record(content(&file[places[2]..])).unwrap();
        assert_eq!(
            start.seal.after_input(17, second.bytes).inputs,
            second.seal.inputs
        );
    }

    #[test]
    fn the_bytes_of_a_journal_and_its_digests_are_the_same_in_every_run() {
        let (file, _) = journal();
        assert_eq!(digest(0, &file), PINNED);
    }

    /// If this changes, old journals cannot be read any more: a new [`VERSION`] is due.
    const PINNED: u64 = 3_370_038_421_351_122_361;

    #[test]
    fn a_file_that_ends_early_is_torn_and_not_damaged() {
        let (file, places) = journal();
        for end in places[2] + 1..file.len() {
            assert_eq!(read_frame(&file[places[2]..end]), Frame::Torn);
        }
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_noticed(at: prop::sample::Index, bit in 0..8u32) {
            let (mut file, places) = journal();
            let frame = places[1]..places[2];
            let at = frame.start + at.index(frame.len());
            file[at] ^= 1u8 << bit;
            prop_assert!(matches!(read_frame(&file[frame.start..]), Frame::Damaged(_)));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_frame(&bytes);
            let _ = read_header(&bytes);
            let _ = read_record(&bytes);
        }

        #[test]
        fn equal_digests_are_of_equal_bytes(a in prop::collection::vec(any::<u8>(), 0..40), b in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(a == b, digest(1, &a) == digest(1, &b));
            prop_assert_ne!(digest(1, &a), digest(2, &a));
        }
    }
}
