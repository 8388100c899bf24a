//! Jute, ZooKeeper's encoding of records: big-endian integers, and lengths before what is variable.
//!
//! Spec: `spec/5-service.md`, "Bytes". What it must never do: trust a length. Nothing is allocated for
//! a length beyond the bytes that are there, and no input makes it panic.

use crate::types::Zxid;
use crate::znode::{Acl, AuthId, Data, ErrorCode, Perms, SessionId, Stat};
use bytes::Bytes;
use thiserror::Error;

/// Why bytes are not the record that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The record goes on after the last byte.
    #[error("the record ends at byte {at}, {missing} bytes too early")]
    Truncated { at: usize, missing: usize },
    /// A length or a count is below -1.
    #[error("the length {length} at byte {at} is negative")]
    NegativeLength { at: usize, length: i32 },
    /// The record ends before the last byte.
    #[error("{count} bytes are left over after the record, which ends at byte {at}")]
    TrailingBytes { at: usize, count: usize },
    /// A number that names a kind of record, an error or a state means nothing.
    #[error("{value} at byte {at} is not {what}")]
    Unknown {
        at: usize,
        value: i64,
        /// What the number should have been.
        what: &'static str,
    },
}

/// Reads records from a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the first byte on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The number of bytes that were read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The number of bytes that were not read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        if len > self.remaining() {
            return Err(DecodeError::Truncated {
                at: self.bytes.len(),
                missing: len - self.remaining(),
            });
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    /// Checks that nothing is left over.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { at: self.at, count }),
        }
    }

    /// The error that says that `value`, the integer just read, should have been `what`.
    pub fn unknown<T: Into<i64>>(&self, value: T, what: &'static str) -> DecodeError {
        let at = self.at.saturating_sub(size_of::<T>());
        let value = value.into();
        DecodeError::Unknown { at, value, what }
    }

    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.take(1)?[0] != 0)
    }

    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        let mut array = [0; 4];
        array.copy_from_slice(self.take(4)?);
        Ok(i32::from_be_bytes(array))
    }

    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        let mut array = [0; 8];
        array.copy_from_slice(self.take(8)?);
        Ok(i64::from_be_bytes(array))
    }

    /// A length or a count; -1, which stands for null, is 0.
    pub fn length(&mut self) -> Result<usize, DecodeError> {
        Ok(self.length_or_null()?.unwrap_or(0))
    }

    /// A length; `None` is -1, which stands for null.
    fn length_or_null(&mut self) -> Result<Option<usize>, DecodeError> {
        let at = self.at;
        match self.i32()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => Ok(Some(length)),
                Err(_) => Err(DecodeError::NegativeLength { at, length }),
            },
        }
    }

    /// A buffer; null is empty. The bytes are copied, so that they do not keep a whole message alive.
    pub fn buffer(&mut self) -> Result<Bytes, DecodeError> {
        let len = self.length()?;
        Ok(Bytes::copy_from_slice(self.take(len)?))
    }

    /// The data of a znode: a buffer that may be null.
    pub fn data(&mut self) -> Result<Data, DecodeError> {
        match self.length_or_null()? {
            Some(len) => Ok(Bytes::copy_from_slice(self.take(len)?).into()),
            None => Ok(Data::NULL),
        }
    }

    /// A string; null is empty. Bytes that are not UTF-8 become U+FFFD, as in ZooKeeper: no path may
    /// hold that character.
    pub fn string(&mut self) -> Result<String, DecodeError> {
        let len = self.length()?;
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    /// A vector; null is empty.
    pub fn vector<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.length()?;
        // Every item takes 4 bytes at least.
        let mut items = Vec::with_capacity(count.min(self.remaining() / 4));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    pub fn zxid(&mut self) -> Result<Zxid, DecodeError> {
        Ok(Zxid(self.i64()? as u64))
    }

    pub fn session(&mut self) -> Result<SessionId, DecodeError> {
        Ok(SessionId(self.i64()?))
    }

    /// An error's number; `None` is 0, ok.
    pub fn error(&mut self) -> Result<Option<ErrorCode>, DecodeError> {
        match self.i32()? {
            0 => Ok(None),
            code => ErrorCode::from_code(code)
                .map(Some)
                .ok_or_else(|| self.unknown(code, "an error code")),
        }
    }

    pub fn acl(&mut self) -> Result<Vec<Acl>, DecodeError> {
        self.vector(|reader| {
            Ok(Acl {
                perms: Perms(reader.i32()?),
                who: AuthId {
                    scheme: reader.string()?,
                    id: reader.string()?,
                },
            })
        })
    }

    pub fn stat(&mut self) -> Result<Stat, DecodeError> {
        Ok(Stat {
            czxid: self.zxid()?,
            mzxid: self.zxid()?,
            ctime: self.i64()?,
            mtime: self.i64()?,
            version: self.i32()?,
            cversion: self.i32()?,
            aversion: self.i32()?,
            ephemeral_owner: self.session()?,
            data_length: self.i32()?,
            num_children: self.i32()?,
            pzxid: self.zxid()?,
        })
    }
}

/// Writes records to a buffer of its own.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }

    /// A message: a record with its length, four bytes, before it. See [`Self::into_message`].
    pub fn message() -> Self {
        Self { bytes: vec![0; 4] }
    }

    /// The record.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The message that [`Self::message`] began, ready for the socket.
    pub fn into_message(mut self) -> Vec<u8> {
        let length = as_length(self.bytes.len().saturating_sub(4));
        self.bytes[..4].copy_from_slice(&length.to_be_bytes());
        self.bytes
    }

    /// What was written so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was written, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.bytes.push(u8::from(value));
        self
    }

    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A length or a count.
    pub fn length(&mut self, length: usize) -> &mut Self {
        self.i32(as_length(length))
    }

    pub fn buffer(&mut self, value: &[u8]) -> &mut Self {
        self.length(value.len());
        self.bytes.extend_from_slice(value);
        self
    }

    /// The data of a znode: a buffer, or the length -1 for null.
    pub fn data(&mut self, value: &Data) -> &mut Self {
        match value.is_null() {
            true => self.i32(-1),
            false => self.buffer(value),
        }
    }

    pub fn string(&mut self, value: &str) -> &mut Self {
        self.buffer(value.as_bytes())
    }

    pub fn vector<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.length(items.len());
        for value in items {
            item(self, value);
        }
        self
    }

    pub fn strings(&mut self, items: &[String]) -> &mut Self {
        self.vector(items, |writer, item| {
            writer.string(item);
        })
    }

    pub fn zxid(&mut self, zxid: Zxid) -> &mut Self {
        self.i64(zxid.0 as i64)
    }

    pub fn session(&mut self, session: SessionId) -> &mut Self {
        self.i64(session.0)
    }

    /// An error's number; `None` is 0, ok.
    pub fn error(&mut self, error: Option<ErrorCode>) -> &mut Self {
        self.i32(error.map_or(0, ErrorCode::code))
    }

    pub fn acl(&mut self, acl: &[Acl]) -> &mut Self {
        self.vector(acl, |writer, entry| {
            writer
                .i32(entry.perms.0)
                .string(&entry.who.scheme)
                .string(&entry.who.id);
        })
    }

    pub fn stat(&mut self, stat: &Stat) -> &mut Self {
        self.zxid(stat.czxid)
            .zxid(stat.mzxid)
            .i64(stat.ctime)
            .i64(stat.mtime)
            .i32(stat.version)
            .i32(stat.cversion)
            .i32(stat.aversion)
            .session(stat.ephemeral_owner)
            .i32(stat.data_length)
            .i32(stat.num_children)
            .zxid(stat.pzxid)
    }
}

/// A length for the wire. Requests are bounded to a few megabytes before they are stored, so what
/// is written stays far below the 2 GiB that the encoding can say.
fn as_length(length: usize) -> i32 {
    i32::try_from(length).expect("a record of less than 2 GiB")
}
