//! The bytes of what clients send.
//!
//! Spec: `spec/5-service.md`, "Requests". What it must never do: fail for an opcode that it does not
//! know; such a request is [`Request::Unimplemented`], and the connection lives on.
//!
//! The decoders take a message without its length prefix; the encoders, for clients and tests, write
//! the prefix. Bytes after a record are ignored, as ZooKeeper does: newer clients may say more.

use super::codec::{DecodeError, Reader, Writer};
use super::opcode;
use super::records::{ConnectRequest, CreateMode, Request};

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
    Ok((xid, decode_body(opcode, &mut reader)?))
}

fn decode_body(opcode: i32, reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    Ok(match opcode {
        opcode::CREATE | opcode::CREATE2 => Request::Create {
            path: reader.string()?,
            data: reader.data()?,
            acl: reader.acl()?,
            mode: mode_of(reader.i32()?),
            with_stat: opcode == opcode::CREATE2,
        },
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
        opcode::SET_WATCHES => Request::SetWatches {
            relative_zxid: reader.zxid()?,
            data: reader.vector(Reader::string)?,
            exists: reader.vector(Reader::string)?,
            children: reader.vector(Reader::string)?,
        },
        opcode::CLOSE_SESSION => Request::CloseSession,
        other => Request::Unimplemented(other),
    })
}

/// Decodes the operations of a multi. With one of them not served, the whole multi is not.
fn decode_multi(reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    let mut requests = Vec::new();
    loop {
        let (opcode, done, _error) = (reader.i32()?, reader.bool()?, reader.i32()?);
        if done {
            return Ok(Request::Multi(requests));
        }
        match opcode {
            opcode::CREATE
            | opcode::CREATE2
            | opcode::DELETE
            | opcode::SET_DATA
            | opcode::CHECK => requests.push(decode_body(opcode, reader)?),
            other => return Ok(Request::Unimplemented(other)),
        }
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
        Request::Create { with_stat, .. } => match with_stat {
            false => opcode::CREATE,
            true => opcode::CREATE2,
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
        Request::Auth { .. } => opcode::AUTH,
        Request::Sasl { .. } => opcode::SASL,
        Request::SetWatches { .. } => opcode::SET_WATCHES,
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
        Request::GetAcl { path } | Request::Sync { path } => {
            writer.string(path);
        }
        Request::SetAcl { path, acl, version } => {
            writer.string(path).acl(acl).i32(*version);
        }
        Request::Delete { path, version } | Request::Check { path, version } => {
            writer.string(path).i32(*version);
        }
        Request::Multi(requests) => {
            for request in requests {
                writer.i32(opcode_of(request)).bool(false).i32(-1);
                encode_body(request, writer);
            }
            writer.i32(-1).bool(true).i32(-1);
        }
        Request::Auth { scheme, auth } => {
            writer.i32(0).string(scheme).buffer(auth);
        }
        Request::Sasl { token } => {
            writer.buffer(token);
        }
        Request::SetWatches {
            relative_zxid,
            data,
            exists,
            children,
        } => {
            writer
                .zxid(*relative_zxid)
                .strings(data)
                .strings(exists)
                .strings(children);
        }
        Request::Ping | Request::CloseSession | Request::Unimplemented(_) => {}
    }
}

fn mode_of(flags: i32) -> CreateMode {
    match flags {
        0 => CreateMode::Persistent,
        1 => CreateMode::Ephemeral,
        2 => CreateMode::PersistentSequential,
        3 => CreateMode::EphemeralSequential,
        other => CreateMode::Other(other),
    }
}

fn flags_of(mode: CreateMode) -> i32 {
    match mode {
        CreateMode::Persistent => 0,
        CreateMode::Ephemeral => 1,
        CreateMode::PersistentSequential => 2,
        CreateMode::EphemeralSequential => 3,
        CreateMode::Other(flags) => flags,
    }
}
