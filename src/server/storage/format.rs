//! ZooKeeper's transaction log file: a header, then records with a checksum each.
//!
//! Spec: `spec/6-server.md`, "Storage". What it must never do: take a damaged record for a sound one,
//! or for the end of the file.
//!
//! Integers are big-endian. The header is the magic `ZKLG`, version 2 (`int`) and a database id
//! (`long`). A record is its Adler-32 (`long`), its length (`int`), its bytes, and `0x42`. A length
//! of 0 marks the end: ZooKeeper fills its files with zeros in advance. This server does not: where
//! a growing file is torn, it is short, and that can be told from damage.

use crate::zab::{Entry, Payload, Snapshot};
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
}

pub(super) const HEADER: [u8; 16] = *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";
const MAGIC: &[u8] = b"ZKLG\0\0\0\x02";
const END_OF_RECORD: u8 = 0x42;
/// Checksum and length before a record, the end byte after it.
const BEFORE: usize = 12;

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
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing, or zeros.
    Clean,
    /// Something that is no record, and no record after it: the trace of an interrupted write.
    Torn(&'static str),
    /// Something that is no record, with records after it.
    Damaged(&'static str),
}

/// Finds the records of a file.
pub(super) fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan {
        records: Vec::new(),
        end: 0,
        tail: Tail::Clean,
    };
    if !bytes.starts_with(MAGIC) || bytes.len() < HEADER.len() {
        scan.tail = tail(bytes, 0, "there is no log header");
        // A file that was never a log must not be cut away as a torn one.
        if let Tail::Torn(problem) = scan.tail
            && bytes.len() >= HEADER.len()
        {
            scan.tail = Tail::Damaged(problem);
        }
        return scan;
    }
    scan.end = HEADER.len();
    loop {
        match record_at(bytes, scan.end) {
            Ok(Some(body)) => {
                scan.end = body.end + 1;
                scan.records.push(body);
            }
            Ok(None) => {
                scan.tail = tail(bytes, scan.end, "there is something after the end mark");
                return scan;
            }
            Err(problem) => {
                scan.tail = tail(bytes, scan.end, problem);
                return scan;
            }
        }
    }
}

/// The record at an offset; `None` is the end mark or the end of the file.
fn record_at(bytes: &[u8], offset: usize) -> Result<Option<Range<usize>>, &'static str> {
    let rest = &bytes[offset..];
    if rest.is_empty() {
        return Ok(None);
    }
    let Some((checksum, after)) = rest.split_first_chunk::<8>() else {
        return Err("the record is incomplete");
    };
    let Some((length, after)) = after.split_first_chunk::<4>() else {
        return Err("the record is incomplete");
    };
    let (checksum, length) = (u64::from_be_bytes(*checksum), u32::from_be_bytes(*length));
    if length == 0 {
        return if checksum == 0 {
            Ok(None)
        } else {
            Err("the record has no length")
        };
    }
    let length = length as usize;
    match after.get(length) {
        None => Err("the record is incomplete"),
        Some(&END_OF_RECORD) => {
            let body = &after[..length];
            if u64::from(simd_adler32::adler32(&body)) != checksum {
                return Err("the checksum does not fit the record");
            }
            let start = offset + BEFORE;
            Ok(Some(start..start + length))
        }
        Some(_) => Err("the record does not end where it should"),
    }
}

/// Judges what follows the last sound record.
fn tail(bytes: &[u8], from: usize, problem: &'static str) -> Tail {
    let rest = &bytes[from..];
    if rest.iter().all(|&byte| byte == 0) && from > 0 {
        return Tail::Clean;
    }
    // The high half of a checksum is zero: that makes nearly every offset quick to dismiss.
    let sound = (from..bytes.len()).any(|offset| {
        bytes[offset..].starts_with(&[0; 4]) && matches!(record_at(bytes, offset), Ok(Some(_)))
    });
    if sound {
        Tail::Damaged(problem)
    } else {
        Tail::Torn(problem)
    }
}
