//! The bytes of what clients send.
//!
//! Spec: `spec/5-service.md`, "Requests". What it must never do: fail for an opcode that it does not
//! know; such a request is [`Request::Unimplemented`], and the connection lives on.
//!
//! The decoders take a message without its length prefix; the encoders, for clients and tests, write
//! the prefix. Bytes after a record are ignored, as ZooKeeper does: newer clients may say more.

use super::codec::{DecodeError, Reader, Writer};
use super::opcode;
use super::records::{ConnectRequest, CreateMode, Reconfiguration, Request, SetWatches};

/// Decodes the first message of a connection, with or without the flag `readOnly`.
pub fn decode_connect(message: &[u8]) -> Result<ConnectRequest, DecodeError> {
    let mut reader = Reader::new(message);
    Ok(ConnectRequest {
        protocol_version: reader.i32()?,
        last_zxid_seen: reader.zxid()?,
        timeout_ms: reader.i32()?,
        session: reader.session()?,
        password: reader.buffer()?,
        read_only: match reader.remaining() {
            0 => None,
            _ => Some(reader.bool()?),
        },
    })
}

/// Encodes the first message of a connection, with its length prefix.
pub fn encode_connect(request: &ConnectRequest) -> Vec<u8> {
    let mut writer = Writer::message();
    writer
        .i32(request.protocol_version)
        .zxid(request.last_zxid_seen)
        .i32(request.timeout_ms)
        .session(request.session)
        .buffer(&request.password);
    if let Some(read_only) = request.read_only {
        writer.bool(read_only);
    }
    writer.into_message()
}

/// Decodes the header of a request: its xid and its opcode. They are of use when the rest of the
/// message is malformed, to answer `MarshallingError`.
pub fn decode_request_header(message: &[u8]) -> Result<(i32, i32), DecodeError> {
    let mut reader = Reader::new(message);
    Ok((reader.i32()?, reader.i32()?))
}

/// Decodes a request of an open session: its xid and what it asks for.
pub fn decode_request(message: &[u8]) -> Result<(i32, Request), DecodeError> {
    let mut reader = Reader::new(message);
    let xid = reader.i32()?;
    let opcode = reader.i32()?;
    let mut request = decode_body(opcode, &mut reader)?;
    if let Request::Create { mode, .. } = &mut request
        && matches!(opcode, opcode::CREATE | opcode::CREATE2)
        && *mode == CreateMode::Container
    {
        // Outside a multi ZooKeeper goes by the opcode, and some clients count on that: what they make stays.
        *mode = CreateMode::Persistent;
    }
    Ok((xid, request))
}

/// What a request asks for and of which znode, from its first bytes: for a request that is too large to be
/// taken. Of a multi it is the first operation.
pub fn glimpse(start: &[u8]) -> Option<(&'static str, String)> {
    let mut reader = Reader::new(start);
    let (_xid, opcode) = (reader.i32().ok()?, reader.i32().ok()?);
    let name = match opcode {
        opcode::CREATE | opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL => {
            "create"
        }
        opcode::SET_DATA => "setData",
        opcode::SET_ACL => "setACL",
        opcode::MULTI => {
            // The header of the first operation: its opcode, the mark of the end, an error.
            reader.take(9).ok()?;
            "multi"
        }
        _ => return None,
    };
    let length = reader.length().ok()?;
    let path = reader.take(length.min(reader.remaining())).ok()?;
    Some((name, String::from_utf8_lossy(path).into_owned()))
}

fn decode_body(opcode: i32, reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    Ok(match opcode {
        opcode::CREATE | opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL => {
            Request::Create {
                path: reader.string()?,
                data: reader.data()?,
                acl: reader.acl()?,
                mode: decode_mode(opcode, reader)?,
                with_stat: opcode != opcode::CREATE,
            }
        }
        opcode::DELETE => Request::Delete {
            path: reader.string()?,
            version: reader.i32()?,
        },
        opcode::EXISTS => Request::Exists {
            path: reader.string()?,
            watch: reader.bool()?,
        },
        opcode::GET_DATA => Request::GetData {
            path: reader.string()?,
            watch: reader.bool()?,
        },
        opcode::SET_DATA => Request::SetData {
            path: reader.string()?,
            data: reader.data()?,
            version: reader.i32()?,
        },
        opcode::GET_ACL => Request::GetAcl {
            path: reader.string()?,
        },
        opcode::SET_ACL => Request::SetAcl {
            path: reader.string()?,
            acl: reader.acl()?,
            version: reader.i32()?,
        },
        opcode::GET_CHILDREN | opcode::GET_CHILDREN2 => Request::GetChildren {
            path: reader.string()?,
            watch: reader.bool()?,
            with_stat: opcode == opcode::GET_CHILDREN2,
        },
        opcode::SYNC => Request::Sync {
            path: reader.string()?,
        },
        opcode::PING => Request::Ping,
        opcode::CHECK => Request::Check {
            path: reader.string()?,
            version: reader.i32()?,
        },
        opcode::MULTI => decode_multi(reader)?,
        opcode::MULTI_READ => decode_multi_read(reader)?,
        opcode::RECONFIG => Request::Reconfig(Reconfiguration {
            joining: reader.string()?,
            leaving: reader.string()?,
            members: reader.string()?,
            version: reader.i64()?,
        }),
        opcode::AUTH => {
            // A type that every client sends as 0 and no server reads.
            reader.i32()?;
            Request::Auth {
                scheme: reader.string()?,
                auth: reader.buffer()?,
            }
        }
        opcode::SASL => Request::Sasl {
            token: reader.buffer()?,
        },
        opcode::SET_WATCHES | opcode::SET_WATCHES2 => {
            let mut watches = SetWatches {
                relative_zxid: reader.zxid()?,
                data: reader.vector(Reader::string)?,
                exists: reader.vector(Reader::string)?,
                children: reader.vector(Reader::string)?,
                ..SetWatches::default()
            };
            if opcode == opcode::SET_WATCHES2 {
                watches.persistent = reader.vector(Reader::string)?;
                watches.recursive = reader.vector(Reader::string)?;
            }
            Request::SetWatches(watches)
        }
        opcode::ADD_WATCH => Request::AddWatch {
            path: reader.string()?,
            mode: reader.i32()?,
        },
        opcode::CHECK_WATCHES => Request::CheckWatches {
            path: reader.string()?,
            kind: reader.i32()?,
        },
        opcode::REMOVE_WATCHES => Request::RemoveWatches {
            path: reader.string()?,
            kind: reader.i32()?,
        },
        opcode::GET_EPHEMERALS => Request::GetEphemerals {
            prefix: reader.string()?,
        },
        opcode::GET_ALL_CHILDREN_NUMBER => Request::GetAllChildrenNumber {
            path: reader.string()?,
        },
        opcode::WHO_AM_I => Request::WhoAmI,
        opcode::CLOSE_SESSION => Request::CloseSession,
        other => Request::Unimplemented(other),
    })
}

/// Decodes the flags of a create, and what follows them.
fn decode_mode(opcode: i32, reader: &mut Reader<'_>) -> Result<CreateMode, DecodeError> {
    let flags = reader.i32()?;
    // Without a ttl of its own a create asks for one that cannot be.
    let ttl = match opcode {
        opcode::CREATE_TTL => reader.i64()?,
        _ => -1,
    };
    let mode = match flags {
        0 => CreateMode::Persistent,
        1 => CreateMode::Ephemeral,
        2 => CreateMode::PersistentSequential,
        3 => CreateMode::EphemeralSequential,
        4 => CreateMode::Container,
        5 => CreateMode::Ttl(ttl),
        6 => CreateMode::SequentialTtl(ttl),
        other => CreateMode::Other(other),
    };
    let fits = match opcode {
        opcode::CREATE_CONTAINER => mode == CreateMode::Container,
        opcode::CREATE_TTL => matches!(flags, 5 | 6),
        _ => true,
    };
    Ok(if fits { mode } else { CreateMode::Other(flags) })
}

/// Decodes the operations of a multi. With one of them not served, the whole multi is not.
fn decode_multi(reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    let served = [
        opcode::CREATE,
        opcode::CREATE2,
        opcode::CREATE_CONTAINER,
        opcode::CREATE_TTL,
        opcode::DELETE,
        opcode::SET_DATA,
        opcode::CHECK,
    ];
    Ok(match decode_operations(&served, reader)? {
        Ok(requests) => Request::Multi(requests),
        Err(opcode) => Request::Unimplemented(opcode),
    })
}

fn decode_multi_read(reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    let served = [opcode::GET_DATA, opcode::GET_CHILDREN];
    Ok(match decode_operations(&served, reader)? {
        Ok(requests) => Request::MultiRead(requests),
        Err(opcode) => Request::Unimplemented(opcode),
    })
}

/// The operations of a multi, or the opcode of the first that is not among those `served`.
fn decode_operations(
    served: &[i32],
    reader: &mut Reader<'_>,
) -> Result<Result<Vec<Request>, i32>, DecodeError> {
    let mut requests = Vec::new();
    loop {
        let (opcode, done, _error) = (reader.i32()?, reader.bool()?, reader.i32()?);
        if done {
            return Ok(Ok(requests));
        }
        if !served.contains(&opcode) {
            return Ok(Err(opcode));
        }
        requests.push(decode_body(opcode, reader)?);
    }
}

/// Encodes a request with its length prefix.
pub fn encode_request(xid: i32, request: &Request) -> Vec<u8> {
    let mut writer = Writer::message();
    writer.i32(xid).i32(opcode_of(request));
    encode_body(request, &mut writer);
    writer.into_message()
}

/// The opcode of a request.
pub fn opcode_of(request: &Request) -> i32 {
    match request {
        Request::Create {
            mode, with_stat, ..
        } => match (mode, with_stat) {
            (CreateMode::Ttl(_) | CreateMode::SequentialTtl(_), _) => opcode::CREATE_TTL,
            (CreateMode::Container, true) => opcode::CREATE_CONTAINER,
            (_, false) => opcode::CREATE,
            (_, true) => opcode::CREATE2,
        },
        Request::Delete { .. } => opcode::DELETE,
        Request::Exists { .. } => opcode::EXISTS,
        Request::GetData { .. } => opcode::GET_DATA,
        Request::SetData { .. } => opcode::SET_DATA,
        Request::GetAcl { .. } => opcode::GET_ACL,
        Request::SetAcl { .. } => opcode::SET_ACL,
        Request::GetChildren { with_stat, .. } => match with_stat {
            false => opcode::GET_CHILDREN,
            true => opcode::GET_CHILDREN2,
        },
        Request::Sync { .. } => opcode::SYNC,
        Request::Ping => opcode::PING,
        Request::Check { .. } => opcode::CHECK,
        Request::Multi(_) => opcode::MULTI,
        Request::Reconfig(_) => opcode::RECONFIG,
        Request::Auth { .. } => opcode::AUTH,
        Request::Sasl { .. } => opcode::SASL,
        Request::SetWatches(watches) => match watches.has_persistent() {
            false => opcode::SET_WATCHES,
            true => opcode::SET_WATCHES2,
        },
        Request::AddWatch { .. } => opcode::ADD_WATCH,
        Request::CheckWatches { .. } => opcode::CHECK_WATCHES,
        Request::RemoveWatches { .. } => opcode::REMOVE_WATCHES,
        Request::MultiRead(_) => opcode::MULTI_READ,
        Request::GetEphemerals { .. } => opcode::GET_EPHEMERALS,
        Request::GetAllChildrenNumber { .. } => opcode::GET_ALL_CHILDREN_NUMBER,
        Request::WhoAmI => opcode::WHO_AM_I,
        Request::CloseSession => opcode::CLOSE_SESSION,
        Request::Unimplemented(opcode) => *opcode,
    }
}

fn encode_body(request: &Request, writer: &mut Writer) {
    match request {
        Request::Create {
            path,
            data,
            acl,
            mode,
            with_stat: _,
        } => {
            writer.string(path).data(data).acl(acl).i32(flags_of(*mode));
            if let CreateMode::Ttl(ttl) | CreateMode::SequentialTtl(ttl) = mode {
                writer.i64(*ttl);
            }
        }
        Request::Exists { path, watch }
        | Request::GetData { path, watch }
        | Request::GetChildren {
            path,
            watch,
            with_stat: _,
        } => {
            writer.string(path).bool(*watch);
        }
        Request::SetData {
            path,
            data,
            version,
        } => {
            writer.string(path).data(data).i32(*version);
        }
        Request::GetAcl { path }
        | Request::Sync { path }
        | Request::GetAllChildrenNumber { path }
        | Request::GetEphemerals { prefix: path } => {
            writer.string(path);
        }
        Request::SetAcl { path, acl, version } => {
            writer.string(path).acl(acl).i32(*version);
        }
        Request::Delete { path, version }
        | Request::Check { path, version }
        | Request::AddWatch {
            path,
            mode: version,
        }
        | Request::CheckWatches {
            path,
            kind: version,
        }
        | Request::RemoveWatches {
            path,
            kind: version,
        } => {
            writer.string(path).i32(*version);
        }
        Request::Multi(requests) | Request::MultiRead(requests) => {
            for request in requests {
                writer.i32(opcode_of(request)).bool(false).i32(-1);
                encode_body(request, writer);
            }
            writer.i32(-1).bool(true).i32(-1);
        }
        Request::Reconfig(asked) => {
            writer
                .string(&asked.joining)
                .string(&asked.leaving)
                .string(&asked.members)
                .i64(asked.version);
        }
        Request::Auth { scheme, auth } => {
            writer.i32(0).string(scheme).buffer(auth);
        }
        Request::Sasl { token } => {
            writer.buffer(token);
        }
        Request::SetWatches(watches) => {
            writer
                .zxid(watches.relative_zxid)
                .strings(&watches.data)
                .strings(&watches.exists)
                .strings(&watches.children);
            if watches.has_persistent() {
                writer
                    .strings(&watches.persistent)
                    .strings(&watches.recursive);
            }
        }
        Request::Ping | Request::CloseSession | Request::WhoAmI | Request::Unimplemented(_) => {}
    }
}

fn flags_of(mode: CreateMode) -> i32 {
    match mode {
        CreateMode::Persistent => 0,
        CreateMode::Ephemeral => 1,
        CreateMode::PersistentSequential => 2,
        CreateMode::EphemeralSequential => 3,
        CreateMode::Container => 4,
        CreateMode::Ttl(_) => 5,
        CreateMode::SequentialTtl(_) => 6,
        CreateMode::Other(flags) => flags,
    }
}
