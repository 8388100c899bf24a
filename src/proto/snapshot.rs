//! Snapshots as ZooKeeper's files hold them (`snapshot.<zxid>`).
//!
//! Spec: `spec/6-server.md`, "Snapshots". What it must never do: return a tree whose checksum did not
//! match, or hold more than one znode's bytes in memory beside the tree.
//!
//! In order: a header (`ZKSN`, version, database id); the sessions; every ACL with a number; every
//! znode with its path, parents first, the root's path being empty; the path `/` as the end; the
//! Adler-32 checksum of all that, and `/` once more. Then, since 3.6, a zxid, the version of the digest, and the digest of
//! the tree at that zxid, with such an end; and 3.9 appends the zxid once more. The zxid is in the file's name as well.
//!
//! The digest of a tree that was written while transactions went on is that of a later zxid. One of the zxid
//! in the name is compared with the tree.
//!
//! ZooKeeper writes the ACLs first and the znodes while transactions go on. So a znode may have an ACL that came
//! later and is not in the list: it gets [`acl::nobody`], and the transaction that gave it the ACL follows in the log.

use super::codec::{DecodeError, Reader, Writer};
use crate::types::Zxid;
use crate::znode::{AclList, BuildError, Data, Node, SessionId, Tree, TreeBuilder, acl, digest};
use bytes::Bytes;
use simd_adler32::Adler32;
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use thiserror::Error;

const MAGIC: i32 = i32::from_be_bytes(*b"ZKSN");
const VERSION: i32 = 2;
/// What ZooKeeper writes as the id of its database.
const DATABASE: i64 = -1;
/// What stands there in a snapshot of ours with a digest. ZooKeeper does not look at it.
const OWN_DATABASE: i64 = 0;
/// The number that stands for `OPEN_ACL_UNSAFE` without being in the list of ACLs.
const OPEN_ACL: i64 = -1;

/// A checksum and the mark after it.
const END_BYTES: usize = 13;
/// A zxid, a version and a digest with an end (3.8), a zxid with an end (3.9).
const LONGEST_APPENDIX: u64 = 33 + 21;
/// How many bytes are read, written and summed at a time.
const CHUNK: usize = 64 << 10;

/// Why a snapshot could not be read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The file could not be read, or ends within the field that starts at `at`.
    #[error("the snapshot cannot be read at byte {at}: {source}")]
    Io {
        at: u64,
        #[source]
        source: io::Error,
    },
    /// The first bytes are not those of a snapshot.
    #[error("not a snapshot: it starts with {magic:#010x} and version {version}, not ZKSN and 2")]
    Header { magic: i32, version: i32 },
    /// A length or a count is below -1.
    #[error("the length {length} before byte {at} of the snapshot is negative")]
    NegativeLength { at: u64, length: i32 },
    /// A record is malformed.
    #[error("the record before byte {at} of the snapshot is malformed: {source}")]
    Record {
        at: u64,
        #[source]
        source: DecodeError,
    },
    /// The znodes do not make a tree.
    #[error("the snapshot is not a tree: {0}")]
    Tree(#[from] BuildError),
    /// The bytes were changed since they were written.
    #[error("the snapshot is damaged: its checksum is {found:#010x}, and it says {expected:#010x}")]
    Checksum { expected: i64, found: u32 },
    /// The checksum is not followed by the mark of the end.
    #[error("the snapshot does not end with its mark after the checksum at byte {at}")]
    NoEnd { at: u64 },
    /// The znodes are not those that were written.
    #[error(
        "the znodes of the snapshot have the digest {found:#x}, and it says {expected:#x}: they are not those of the \
         server that wrote it"
    )]
    Digest { expected: u64, found: u64 },
    /// There is more, and it is not a digest or a zxid that ZooKeeper appends, with a checksum that fits.
    #[error("the snapshot goes on after its end at byte {at}, with nothing that ZooKeeper appends")]
    Appendix { at: u64 },
}

/// Writes a tree as a snapshot, about 64 KiB at a time: `out` needs no buffer. The zxid to put in the
/// file's name is [`Tree::last_zxid`]. With the digest or without it.
pub fn write_snapshot(tree: &Tree, with_digest: bool, out: impl Write) -> io::Result<()> {
    let mut stream = Output::new(out);
    let writer = &mut stream.writer;
    let database = if with_digest { OWN_DATABASE } else { DATABASE };
    writer.i32(MAGIC).i32(VERSION).i64(database);

    writer.length(tree.sessions().len());
    for (session, timeout_ms) in tree.sessions() {
        stream.writer.session(*session).i32(*timeout_ms);
        stream.flush_if_full()?;
    }

    let numbers: BTreeMap<&AclList, i64> = tree.acls().zip(1..).collect();
    stream.writer.length(numbers.len());
    for (acl, number) in &numbers {
        stream.writer.i64(*number).acl(acl);
        stream.flush_if_full()?;
    }

    for (path, node) in tree.walk() {
        stream.writer.string(if path == "/" { "" } else { path });
        let number = numbers.get(&node.acl).copied().unwrap_or(OPEN_ACL);
        write_node(node, number, &mut stream.writer);
        stream.flush_if_full()?;
    }
    stream.writer.string("/");
    stream.end()?;
    if with_digest {
        let writer = stream.writer.zxid(tree.last_zxid());
        writer.i32(digest::VERSION).i64(tree.digest() as i64);
        stream.end()?;
    }
    stream.out.flush()
}

fn write_node(node: &Node, acl: i64, writer: &mut Writer) {
    writer
        .data(&node.data)
        .i64(acl)
        .zxid(node.czxid)
        .zxid(node.mzxid)
        .i64(node.ctime)
        .i64(node.mtime)
        .i32(node.version)
        .i32(node.cversion)
        .i32(node.aversion)
        .session(node.ephemeral_owner)
        .zxid(node.pzxid);
}

/// Reads a snapshot whose last transaction is at `zxid`: the number in the file's name. It is read
/// about 64 KiB at a time: `input` needs no buffer.
pub fn read_snapshot(input: impl Read, zxid: Zxid) -> Result<Tree, SnapshotError> {
    let mut input = Input::new(input);
    let (magic, version) = (input.i32()?, input.i32()?);
    if (magic, version) != (MAGIC, VERSION) {
        return Err(SnapshotError::Header { magic, version });
    }
    let is_own = input.i64()? == OWN_DATABASE;

    let mut tree = TreeBuilder::new(zxid);
    for _ in 0..input.length()? {
        let session = SessionId(input.i64()?);
        tree.session(session, input.i32()?);
    }

    let mut acls = BTreeMap::from([(OPEN_ACL, acl::open_unsafe())]);
    for _ in 0..input.length()? {
        let number = input.i64()?;
        acls.insert(number, input.acl()?);
    }

    loop {
        let path = input.string()?;
        let path = match path.as_str() {
            "/" => break,
            "" => "/",
            path => path,
        };
        let node = input.node(&acls)?;
        tree.node(path, node)?;
    }
    let appendix = input.finish()?;
    let mut tree = tree.finish()?;
    if let Some((at, expected)) = digest_in(&appendix)
        && at == zxid
        && expected != tree.digest()
    {
        let found = tree.digest();
        return Err(SnapshotError::Digest { expected, found });
    }
    tree.add_config();
    // ZooKeeper's servers count each for itself.
    if !appendix.is_empty() && !is_own {
        tree.count_quotas_anew();
    }
    Ok(tree)
}

/// Writes records through the checksum.
struct Output<W> {
    out: W,
    writer: Writer,
    checksum: Adler32,
}

impl<W: Write> Output<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            writer: Writer::new(),
            checksum: Adler32::new(),
        }
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        match self.writer.as_bytes().len() {
            0..CHUNK => Ok(()),
            _ => self.flush(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.checksum.write(self.writer.as_bytes());
        self.out.write_all(self.writer.as_bytes())?;
        self.writer.clear();
        Ok(())
    }

    /// The checksum of all that was written, and the mark after it.
    fn end(&mut self) -> io::Result<()> {
        self.flush()?;
        let checksum = i64::from(self.checksum.finish());
        self.writer.i64(checksum).string("/");
        self.flush()
    }
}

/// Reads records through the checksum.
struct Input<R> {
    input: BufReader<R>,
    at: u64,
    checksum: Adler32,
    /// The last bytes that were read, which the checksum does not have yet.
    recent: Vec<u8>,
}

impl<R: Read> Input<R> {
    /// The bytes of a znode's stat, with the number of its ACL before.
    const NODE_BYTES: usize = 68;

    fn new(input: R) -> Self {
        Self {
            input: BufReader::with_capacity(CHUNK, input),
            at: 0,
            checksum: Adler32::new(),
            recent: Vec::new(),
        }
    }

    /// Reads the next `len` bytes. A false length allocates no more than the file has.
    fn take(&mut self, len: usize) -> Result<&[u8], SnapshotError> {
        // The checksum of a field at a time would take longer than all the rest.
        if self.recent.len() >= CHUNK {
            self.sum();
        }
        let start = self.recent.len();
        let read = if len <= CHUNK {
            self.recent.resize(start + len, 0);
            let read = self.input.read_exact(&mut self.recent[start..]);
            read.map_err(|error| match error.kind() {
                // Its own message is about a buffer, not about the file.
                io::ErrorKind::UnexpectedEof => io::ErrorKind::UnexpectedEof.into(),
                _ => error,
            })
        } else {
            let input = &mut self.input;
            let read = input.take(len as u64).read_to_end(&mut self.recent);
            read.and_then(|read| match read == len {
                true => Ok(()),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            })
        };
        read.map_err(|source| SnapshotError::Io {
            at: self.at,
            source,
        })?;
        self.at += len as u64;
        Ok(&self.recent[start..])
    }

    fn sum(&mut self) {
        self.checksum.write(&self.recent);
        self.recent.clear();
    }

    fn malformed(&self, source: DecodeError) -> SnapshotError {
        SnapshotError::Record {
            at: self.at,
            source,
        }
    }

    fn i32(&mut self) -> Result<i32, SnapshotError> {
        let mut array = [0; 4];
        array.copy_from_slice(self.take(4)?);
        Ok(i32::from_be_bytes(array))
    }

    fn i64(&mut self) -> Result<i64, SnapshotError> {
        let mut array = [0; 8];
        array.copy_from_slice(self.take(8)?);
        Ok(i64::from_be_bytes(array))
    }

    fn length(&mut self) -> Result<usize, SnapshotError> {
        Ok(self.length_or_null()?.unwrap_or(0))
    }

    /// A length; `None` is -1, which stands for null.
    fn length_or_null(&mut self) -> Result<Option<usize>, SnapshotError> {
        match self.i32()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => Ok(Some(length)),
                Err(_) => Err(SnapshotError::NegativeLength {
                    at: self.at,
                    length,
                }),
            },
        }
    }

    fn data(&mut self) -> Result<Data, SnapshotError> {
        match self.length_or_null()? {
            Some(len) => Ok(Bytes::copy_from_slice(self.take(len)?).into()),
            None => Ok(Data::NULL),
        }
    }

    fn string(&mut self) -> Result<String, SnapshotError> {
        let len = self.length()?;
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    fn acl(&mut self) -> Result<AclList, SnapshotError> {
        let mut acl = Vec::new();
        for _ in 0..self.length()? {
            let perms = acl::Perms(self.i32()?);
            let who = acl::AuthId {
                scheme: self.string()?,
                id: self.string()?,
            };
            acl.push(acl::Acl { perms, who });
        }
        Ok(acl.into())
    }

    fn node(&mut self, acls: &BTreeMap<i64, AclList>) -> Result<Node, SnapshotError> {
        let data = self.data()?;
        self.take(Self::NODE_BYTES)
            .map(|bytes| -> Result<Node, DecodeError> {
                let mut reader = Reader::new(bytes);
                let number = reader.i64()?;
                Ok(Node {
                    data,
                    acl: acls.get(&number).cloned().unwrap_or_else(acl::nobody),
                    czxid: reader.zxid()?,
                    mzxid: reader.zxid()?,
                    ctime: reader.i64()?,
                    mtime: reader.i64()?,
                    version: reader.i32()?,
                    cversion: reader.i32()?,
                    aversion: reader.i32()?,
                    ephemeral_owner: reader.session()?,
                    pzxid: reader.zxid()?,
                    num_children: 0,
                })
            })?
            .map_err(|source| self.malformed(source))
    }

    /// Reads the checksum and the mark of the end, and what is appended. The last checksum is of everything before it.
    fn finish(mut self) -> Result<Vec<u8>, SnapshotError> {
        self.end()?;
        let mut rest = Vec::new();
        let read = (&mut self.input)
            .take(LONGEST_APPENDIX + 1)
            .read_to_end(&mut rest);
        read.map_err(|source| SnapshotError::Io {
            at: self.at,
            source,
        })?;
        self.sum();
        match rest.split_last_chunk::<END_BYTES>() {
            None if rest.is_empty() => Ok(rest),
            Some((appendix, end)) if rest.len() as u64 <= LONGEST_APPENDIX => {
                self.checksum.write(appendix);
                match *end == end_of(&self.checksum) {
                    true => Ok(appendix.to_vec()),
                    false => Err(SnapshotError::Appendix { at: self.at }),
                }
            }
            None | Some(_) => Err(SnapshotError::Appendix { at: self.at }),
        }
    }

    /// Reads a checksum, and the mark after it.
    fn end(&mut self) -> Result<(), SnapshotError> {
        self.sum();
        let found = self.checksum.finish();
        let expected = self.i64()?;
        if expected != i64::from(found) {
            return Err(SnapshotError::Checksum { expected, found });
        }
        let at = self.at;
        match self.string()?.as_str() {
            "/" => Ok(()),
            _ => Err(SnapshotError::NoEnd { at }),
        }
    }
}

/// The zxid and the digest that an appendix begins with, unless it was computed in another way.
fn digest_in(appendix: &[u8]) -> Option<(Zxid, u64)> {
    let mut reader = Reader::new(appendix);
    let zxid = reader.zxid().ok()?;
    let version = reader.i32().ok()?;
    let digest = reader.i64().ok()? as u64;
    (version == digest::VERSION).then_some((zxid, digest))
}

/// A checksum and the mark after it.
fn end_of(checksum: &Adler32) -> [u8; END_BYTES] {
    let mut end = *b"........\0\0\0\x01/";
    end[..8].copy_from_slice(&i64::from(checksum.finish()).to_be_bytes());
    end
}
