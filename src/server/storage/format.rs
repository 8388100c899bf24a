//! ZooKeeper's transaction log file: a header, then records with a checksum each.
//!
//! Spec: `spec/6-server.md`, "Storage". What it must never do: take a damaged record for a sound one,
//! or for the end of the file.
//!
//! Integers are big-endian. The header is the magic `ZKLG`, version 2 (`int`) and a database id
//! (`long`), which is 0 in every log. A record is its Adler-32 (`long`), its length (`int`), its bytes, and `0x42`. A length
//! of 0 marks the end: ZooKeeper fills its files with zeros in advance. This server does not: where
//! a growing file is torn, it is short, and that can be told from damage.

use crate::zab::{Entry, History, Payload, Snapshot};
use std::io::{self, Read, Write};
use std::ops::Range;

/// How transactions and snapshots become bytes.
pub trait Codec<P: Payload>: Clone + Send + 'static {
    /// Appends the bytes of a transaction and its zxid.
    fn encode_entry(&self, entry: &Entry<P::Txn>, bytes: &mut Vec<u8>);

    /// Reads what [`Self::encode_entry`] wrote.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn decode_entry(&self, bytes: &[u8]) -> Result<Entry<P::Txn>, String>;

    /// Whether a transaction says that a request failed, and changes nothing.
    fn changes_nothing(&self, _: &P::Txn) -> bool {
        false
    }

    /// Writes a snapshot, with a checksum.
    ///
    /// # Errors
    /// Those of the writer.
    fn write_snapshot(
        &self,
        snapshot: &Snapshot<P::Snapshot>,
        writer: &mut dyn Write,
    ) -> io::Result<()>;

    /// Reads a snapshot whose zxid (from the name of its file) is known.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn read_snapshot(
        &self,
        zxid: crate::types::Zxid,
        reader: &mut dyn Read,
    ) -> Result<P::Snapshot, String>;

    /// Compares what a history comes to with the digests that were written beside its transactions.
    ///
    /// # Errors
    /// The first transaction from which on they differ, up to the end.
    fn check_digests(&self, _history: &History<P>) -> Result<(), Mismatch> {
        Ok(())
    }
}

/// A transaction after which a history does not come to what its digest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    pub zxid: crate::types::Zxid,
    /// The digest that was written, and that of the tree.
    pub written: u64,
    pub found: u64,
    /// Whether another digest was that of the tree: then whoever wrote them means the same by a digest.
    pub some_agree: bool,
}

pub(super) const HEADER: [u8; 16] = *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";
pub(super) const END_OF_RECORD: u8 = 0x42;
/// Checksum and length before a record, the end byte after it.
pub(super) const BEFORE: usize = 12;

/// Appends a record whose bytes `payload` writes.
pub(super) fn append_record(log: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = log.len();
    log.extend_from_slice(&[0; BEFORE]);
    payload(log);
    let body = &log[start + BEFORE..];
    let checksum = u64::from(simd_adler32::adler32(&body));
    let length = u32::try_from(body.len()).expect("a transaction is far below 4 GB");
    log[start..start + 8].copy_from_slice(&checksum.to_be_bytes());
    log[start + 8..start + BEFORE].copy_from_slice(&length.to_be_bytes());
    log.push(END_OF_RECORD);
}

/// The records of a log file, and where they end.
#[derive(Debug)]
pub(super) struct Scan {
    /// Where the bytes of each sound record are.
    pub(super) records: Vec<Range<usize>>,
    /// Where the last sound record ends.
    pub(super) end: usize,
    pub(super) tail: Tail,
}

/// What comes after the sound records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing, or zeros.
    Clean,
    /// The beginning of a record, and nothing or zeros after it: the trace of an interrupted write. Nobody
    /// was told of it, because a flush comes after the whole write.
    Torn(&'static str),
    /// Something else: bytes have changed, or are missing in between.
    Damaged(&'static str),
}

/// Finds the records of a file.
pub(super) fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan {
        records: Vec::new(),
        end: 0,
        tail: Tail::Clean,
    };
    if !bytes.starts_with(&HEADER) {
        scan.tail = match HEADER.starts_with(bytes) {
            true => Tail::Torn("the header is incomplete"),
            false => Tail::Damaged("there is no log header"),
        };
        return scan;
    }
    scan.end = HEADER.len();
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let content = (bytes.len() - zeros).max(HEADER.len());
    while scan.end < content {
        let Some(body) = record_at(bytes, scan.end) else {
            scan.tail = tail(bytes, scan.end, content);
            return scan;
        };
        scan.end = body.end + 1;
        scan.records.push(body);
    }
    scan
}

/// Checksum and length of the record at an offset.
fn head(bytes: &[u8], offset: usize) -> Option<(u64, usize)> {
    let (checksum, after) = bytes.get(offset..)?.split_first_chunk::<8>()?;
    let length = after.first_chunk::<4>()?;
    Some((
        u64::from_be_bytes(*checksum),
        u32::from_be_bytes(*length) as usize,
    ))
}

fn fits(checksum: u64, body: &[u8]) -> bool {
    u64::from(simd_adler32::adler32(&body)) == checksum
}

/// The body of the record at an offset, if there is a sound one.
fn record_at(bytes: &[u8], offset: usize) -> Option<Range<usize>> {
    let (checksum, length) = head(bytes, offset)?;
    let start = offset + BEFORE;
    let end = start.checked_add(length)?;
    // The end mark first: it is quick to look at.
    let ends = length > 0 && bytes.get(end) == Some(&END_OF_RECORD);
    (ends && fits(checksum, &bytes[start..end])).then_some(start..end)
}

/// Judges what is at `from`, where there is no sound record, up to the last byte that is not zero.
///
/// A write that is interrupted leaves a part of its beginning. So what is whole by its own word and yet
/// not sound, or whole but for one field, was changed later, and others may have been told of it.
fn tail(bytes: &[u8], from: usize, content: usize) -> Tail {
    // The high half of a checksum is zero: that makes nearly every offset quick to dismiss.
    let goes_on = (from + 1..content)
        .any(|offset| bytes[offset..].starts_with(&[0; 4]) && record_at(bytes, offset).is_some());
    if goes_on {
        return Tail::Damaged("there is no sound record here, but one after it");
    }
    let (Some((checksum, length)), true) = (head(bytes, from), content - from >= BEFORE) else {
        return Tail::Torn("the record is incomplete");
    };
    if length == 0 {
        return Tail::Damaged(match checksum {
            0 => "there is something after the end of the records",
            _ => "the record has no length",
        });
    }
    let start = from + BEFORE;
    let end = start.saturating_add(length);
    if end < content {
        return Tail::Damaged(match bytes[end] {
            END_OF_RECORD => "the checksum does not fit the record",
            _ => "the record does not end where it should",
        });
    }
    let body_begins = content > start && bytes[content - 1] == END_OF_RECORD;
    if body_begins && fits(checksum, &bytes[start..content - 1]) {
        return Tail::Damaged("the record is whole, but its length is wrong");
    }
    if end < bytes.len() && fits(checksum, &bytes[start..end]) {
        // ZooKeeper writes the end mark of a large record with the one after it, into a file of zeros. This
        // server writes it with the record, and nothing behind it.
        return match end + 1 == bytes.len() {
            true => Tail::Damaged("the record is whole, but its end mark is wrong"),
            false => Tail::Torn("the record lacks its end mark"),
        };
    }
    Tail::Torn("the record is incomplete")
}
