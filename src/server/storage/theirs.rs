//! What ZooKeeper would make of a file (3.5 to 3.9): `keepright fsck` says it beside our own word.
//!
//! Spec: `spec/6-server.md`, "Tools". What it must never do: decide anything. A start goes by
//! [`super::recovery`] alone.
//!
//! ZooKeeper ends a log at the first record that is short, has no length or no end mark, and goes on with the next
//! file without a word; a checksum that does not fit stops its start. It passes over a snapshot that it cannot read.

use super::format::{BEFORE, END_OF_RECORD, HEADER};
use super::sealed::{Text, unseal};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// What ZooKeeper would say of a log file.
pub(super) fn of_log(file: &Path) -> String {
    let Ok(bytes) = fs::read(file) else {
        return "cannot read it either".to_owned();
    };
    match bytes.first_chunk::<4>() {
        None if bytes.is_empty() => {
            return "removes it if it is the last one, and else does not start".to_owned();
        }
        None => return "does not start: the header is incomplete".to_owned(),
        // It looks at the first four bytes only.
        Some(magic) if !HEADER.starts_with(magic) => {
            return "does not start: it is no log by its first bytes".to_owned();
        }
        Some(_) => {}
    }
    let (mut at, mut count) = (HEADER.len(), 0u64);
    let end = loop {
        match record(bytes.get(at..).unwrap_or_default()) {
            Ok(length) => (at, count) = (at + length, count + 1),
            Err(end) => break end,
        }
    };
    match end {
        End::File => format!("reads {count} records"),
        End::Silent if bytes[at..].iter().all(|byte| *byte == 0) => {
            format!("reads {count} records")
        }
        End::Silent => format!("reads {count} records, and drops the rest without a word"),
        End::Partial => format!("reads {count} records, and says that the last one was partial"),
        End::Refused(why) => format!("does not start: {why} after {count} records"),
    }
}

/// Why there is no further record.
enum End {
    /// There is nothing more.
    File,
    /// It takes what is there for the zeros of a preallocated file, or for its end.
    Silent,
    /// The record has no end mark.
    Partial,
    Refused(&'static str),
}

/// The length of the record at the beginning, with all that belongs to it.
fn record(bytes: &[u8]) -> Result<usize, End> {
    if bytes.is_empty() {
        return Err(End::File);
    }
    let (Some(checksum), Some(length)) = (
        bytes.first_chunk::<8>(),
        bytes.get(8..).and_then(<[u8]>::first_chunk::<4>),
    ) else {
        return Err(End::Silent);
    };
    let length = match i32::from_be_bytes(*length) {
        0 => return Err(End::Silent),
        length => usize::try_from(length).map_err(|_| End::Refused("a length is negative"))?,
    };
    let end = BEFORE + length;
    match (bytes.get(BEFORE..end), bytes.get(end)) {
        (None, _) | (_, None) => Err(End::Silent),
        (_, Some(mark)) if *mark != END_OF_RECORD => Err(End::Partial),
        (Some(body), _) if sum(body) != *checksum => Err(End::Refused("\"CRC check failed\"")),
        (Some(_), Some(_)) => Ok(end + 1),
    }
}

fn sum(body: &[u8]) -> [u8; 8] {
    u64::from(simd_adler32::adler32(&body)).to_be_bytes()
}

/// What ZooKeeper would say of a snapshot; whether it can be read at all is our word.
pub(super) fn of_snapshot(file: &Path, is_damaged: bool) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut start = [0; 2];
    let read = File::open(file).and_then(|mut file| file.read_exact(&mut start));
    let by_name = match (name.ends_with(".gz"), name.ends_with(".snappy")) {
        (true, _) => [0x1f, 0x8b],
        (_, true) => [0x82, b'S'],
        _ => *b"ZK",
    };
    match read {
        Ok(()) if !is_damaged && start == by_name => "reads it".to_owned(),
        Ok(()) if !is_damaged => {
            "passes over it: its name does not say how it is compressed".to_owned()
        }
        Ok(()) | Err(_) => {
            "passes over it for an older one, and does not start if there is none".to_owned()
        }
    }
}

/// What ZooKeeper would say of a file with an epoch.
pub(super) fn of_epoch(file: &Path) -> String {
    let Ok(bytes) = fs::read(file) else {
        return "takes the epoch of the last transaction".to_owned();
    };
    let line = match unseal(&bytes) {
        Text::Sealed(line) | Text::Plain(line) => line,
        // It reads the first line, whatever follows.
        Text::Damaged => {
            let text = String::from_utf8_lossy(&bytes);
            text.lines().next().unwrap_or_default().to_owned()
        }
    };
    match line.parse::<i64>() {
        Ok(epoch) => format!("reads {epoch}"),
        Err(_) => "does not start: it is no number".to_owned(),
    }
}
