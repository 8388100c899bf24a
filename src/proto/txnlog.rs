//! Transactions as ZooKeeper's log holds them: a header, and a record that the header names.
//!
//! Spec: `spec/6-server.md`, "The log". What it must never do: write a transaction that it reads back
//! as another one.
//!
//! Three of our transactions have no name of their own in ZooKeeper: a `sync` is written as an error
//! with the number 0, the end of a reconfiguration as one with [`IN_FORCE`], and a multi that failed as a multi
//! of errors.

use super::codec::{DecodeError, Reader, Writer};
use super::opcode;
use crate::types::Zxid;
use crate::znode::{CONFIG, ErrorCode, Lifetime, Ttl, Txn, TxnBody, digest};

/// The bytes of the digest of the tree that may follow a transaction: its version and itself.
const DIGEST_BYTES: usize = 12;
/// The only version that any release has written.
const DIGEST_VERSION: i32 = 2;

/// No number of an error: with it stands the transaction that puts the members in force that were proposed.
/// ZooKeeper does nothing at an error.
pub const IN_FORCE: i32 = 1;

/// Encodes a transaction and its zxid, without a length.
pub fn encode_txn(zxid: Zxid, txn: &Txn) -> Vec<u8> {
    let mut writer = Writer::new();
    writer
        .session(txn.session)
        .i32(txn.cxid)
        .zxid(zxid)
        .i64(txn.time)
        .i32(type_of(&txn.body));
    encode_body(&txn.body, &mut writer);
    if let Some(digest) = txn.digest {
        writer.i32(digest::VERSION).i64(digest as i64);
    }
    writer.into_bytes()
}

fn type_of(body: &TxnBody) -> i32 {
    match body {
        TxnBody::Create { lifetime, .. } => match lifetime {
            Lifetime::Persistent | Lifetime::Ephemeral => opcode::CREATE,
            Lifetime::Container => opcode::CREATE_CONTAINER,
            Lifetime::Ttl(_) => opcode::CREATE_TTL,
        },
        TxnBody::Delete { .. } => opcode::DELETE,
        TxnBody::SetData { .. } => opcode::SET_DATA,
        TxnBody::SetAcl { .. } => opcode::SET_ACL,
        TxnBody::Check { .. } => opcode::CHECK,
        TxnBody::CreateSession { .. } => opcode::CREATE_SESSION,
        TxnBody::CloseSession { .. } => opcode::CLOSE_SESSION,
        TxnBody::Reconfigure { .. } => opcode::RECONFIG,
        TxnBody::Error(_) | TxnBody::InForce => opcode::ERROR,
        TxnBody::Multi(_) | TxnBody::FailedMulti(_) => opcode::MULTI,
    }
}

fn encode_body(body: &TxnBody, writer: &mut Writer) {
    match body {
        TxnBody::Create {
            path,
            data,
            acl,
            lifetime,
            parent_cversion,
        } => {
            writer.string(path).data(data).acl(acl);
            match lifetime {
                Lifetime::Persistent => writer.bool(false).i32(*parent_cversion),
                Lifetime::Ephemeral => writer.bool(true).i32(*parent_cversion),
                Lifetime::Container => writer.i32(*parent_cversion),
                Lifetime::Ttl(ttl) => writer.i32(*parent_cversion).i64(ttl.ms()),
            };
        }
        TxnBody::Delete { path } => {
            writer.string(path);
        }
        TxnBody::SetData {
            path,
            data,
            version,
        } => {
            writer.string(path).data(data).i32(*version);
        }
        TxnBody::Reconfigure { data } => {
            writer.string(CONFIG).data(data).i32(-1);
        }
        TxnBody::InForce => {
            writer.i32(IN_FORCE);
        }
        TxnBody::SetAcl { path, acl, version } => {
            writer.string(path).acl(acl).i32(*version);
        }
        TxnBody::Check { path, version } => {
            writer.string(path).i32(*version);
        }
        TxnBody::CreateSession { timeout_ms } => {
            writer.i32(*timeout_ms);
        }
        TxnBody::CloseSession { ephemerals } => {
            writer.strings(ephemerals);
        }
        TxnBody::Error(error) => {
            writer.error(*error);
        }
        TxnBody::Multi(bodies) => {
            writer.vector(bodies, |writer, body| {
                let mut record = Writer::new();
                encode_body(body, &mut record);
                writer.i32(type_of(body)).buffer(record.as_bytes());
            });
        }
        TxnBody::FailedMulti(results) => {
            writer.vector(results, |writer, result| {
                let mut record = Writer::new();
                record.error(*result);
                writer.i32(opcode::ERROR).buffer(record.as_bytes());
            });
        }
    }
}

/// Decodes a transaction and its zxid.
///
/// Reads what [`encode_txn`] writes, and what ZooKeeper writes for the transactions that it shares
/// with us: create2 and deleteContainer, which are a create and a delete; a create
/// without the parent's version, of old servers; a close without paths, of old servers and of those with
/// `closeSessionTxn.enabled=false`; an error that we have no name for; a digest at the end that is computed in
/// another way, which is skipped.
pub fn decode_txn(bytes: &[u8]) -> Result<(Zxid, Txn), DecodeError> {
    let mut reader = Reader::new(bytes);
    let session = reader.session()?;
    let cxid = reader.i32()?;
    let zxid = reader.zxid()?;
    let time = reader.i64()?;
    let body = match reader.i32()? {
        opcode::MULTI => decode_multi(&mut reader)?,
        kind => decode_body(kind, &mut reader)?,
    };
    let mut digest = None;
    if reader.remaining() == DIGEST_BYTES {
        let version = reader.i32()?;
        digest = Some(reader.i64()? as u64).filter(|_| version == digest::VERSION);
    }
    reader.finish()?;
    let txn = Txn {
        session,
        cxid,
        time,
        body,
        digest,
    };
    Ok((zxid, txn))
}

/// Decodes any body but a multi's, whose type was just read.
fn decode_body(kind: i32, reader: &mut Reader<'_>) -> Result<TxnBody, DecodeError> {
    Ok(match kind {
        opcode::CREATE | opcode::CREATE2 => TxnBody::Create {
            path: reader.string()?,
            data: reader.data()?,
            acl: reader.acl()?.into(),
            lifetime: match reader.bool()? {
                false => Lifetime::Persistent,
                true => Lifetime::Ephemeral,
            },
            parent_cversion: match reader.remaining() {
                0 => -1,
                _ => reader.i32()?,
            },
        },
        opcode::CREATE_CONTAINER => TxnBody::Create {
            path: reader.string()?,
            data: reader.data()?,
            acl: reader.acl()?.into(),
            parent_cversion: reader.i32()?,
            lifetime: Lifetime::Container,
        },
        opcode::CREATE_TTL => TxnBody::Create {
            path: reader.string()?,
            data: reader.data()?,
            acl: reader.acl()?.into(),
            parent_cversion: reader.i32()?,
            lifetime: {
                let ms = reader.i64()?;
                let unknown = reader.unknown(ms, "a time that a znode may live");
                Lifetime::Ttl(Ttl::new(ms).ok_or(unknown)?)
            },
        },
        opcode::DELETE | opcode::DELETE_CONTAINER => TxnBody::Delete {
            path: reader.string()?,
        },
        opcode::RECONFIG => {
            let _path = reader.string()?;
            let data = reader.data()?;
            let _version = reader.i32()?;
            TxnBody::Reconfigure { data }
        }
        opcode::SET_DATA => TxnBody::SetData {
            path: reader.string()?,
            data: reader.data()?,
            version: reader.i32()?,
        },
        opcode::SET_ACL => TxnBody::SetAcl {
            path: reader.string()?,
            acl: reader.acl()?.into(),
            version: reader.i32()?,
        },
        opcode::CHECK => TxnBody::Check {
            path: reader.string()?,
            version: reader.i32()?,
        },
        opcode::CREATE_SESSION => TxnBody::CreateSession {
            timeout_ms: reader.i32()?,
        },
        opcode::CLOSE_SESSION => TxnBody::CloseSession {
            ephemerals: match reader.remaining() {
                0 => Vec::new(),
                _ if is_digest(reader)? => Vec::new(),
                _ => reader.vector(Reader::string)?,
            },
        },
        opcode::ERROR => match reader.clone().i32()? {
            IN_FORCE => {
                reader.i32()?;
                TxnBody::InForce
            }
            _ => TxnBody::Error(failure(reader)?),
        },
        other => return Err(reader.unknown(other, "the type of a transaction that we serve")),
    })
}

/// Whether the digest is all that follows. Two paths in as many bytes would both be empty, which no path is.
fn is_digest(reader: &Reader<'_>) -> Result<bool, DecodeError> {
    Ok(reader.remaining() == DIGEST_BYTES && reader.clone().i32()? == DIGEST_VERSION)
}

/// Why a request failed. Whatever the reason, it changed nothing: a number that only a later release knows
/// must not make the log unreadable.
fn failure(reader: &mut Reader<'_>) -> Result<Option<ErrorCode>, DecodeError> {
    Ok(match reader.i32()? {
        0 => None,
        code => Some(ErrorCode::from_code(code).unwrap_or(ErrorCode::SystemError)),
    })
}

/// Decodes a multi. If one of its operations is an error, it failed: ZooKeeper leaves the operations
/// before that one as they were, and none of them takes effect.
fn decode_multi(reader: &mut Reader<'_>) -> Result<TxnBody, DecodeError> {
    let bodies = reader.vector(|reader| {
        let kind = reader.i32()?;
        let unknown = reader.unknown(kind, "the type of an operation of a multi");
        if kind == opcode::MULTI {
            return Err(unknown);
        }
        let len = reader.length()?;
        let mut record = Reader::new(reader.take(len)?);
        let body = decode_body(kind, &mut record)?;
        record.finish()?;
        Ok(body)
    })?;
    if !bodies.iter().any(|body| matches!(body, TxnBody::Error(_))) {
        return Ok(TxnBody::Multi(bodies));
    }
    let mut failed = false;
    let results = bodies.iter().map(|body| match body {
        TxnBody::Error(error) => {
            failed |= error.is_some();
            *error
        }
        _ if failed => Some(ErrorCode::RuntimeInconsistency),
        _ => None,
    });
    Ok(TxnBody::FailedMulti(results.collect()))
}
