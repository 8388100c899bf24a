//! The bytes of what servers send.
//!
//! Spec: `spec/5-service.md`, "Replies". What it must never do: write a body after an error's header;
//! clients read the next reply where the header ends.
//!
//! The encoders write messages with their length prefix, ready for the socket; the decoders, for
//! clients and tests, take messages without it.

use super::codec::{DecodeError, Reader, Writer};
use super::opcode;
use super::records::{
    ClientInfo, ConnectResponse, EventType, MultiResult, Reply, Request, Response, WatchEvent,
};
use crate::types::Zxid;

/// The xid of a watch event.
const EVENT_XID: i32 = -1;
/// The state of the client that a watch event carries.
const SYNC_CONNECTED: i32 = 3;

/// Encodes the answer to a connection's first message.
pub fn encode_connect_response(response: &ConnectResponse) -> Vec<u8> {
    let mut writer = Writer::message();
    writer
        // The protocol version: there is only 0.
        .i32(0)
        .i32(response.timeout_ms)
        .session(response.session)
        .buffer(&response.password);
    if let Some(read_only) = response.read_only {
        writer.bool(read_only);
    }
    writer.into_message()
}

/// Decodes the answer to a connection's first message.
pub fn decode_connect_response(message: &[u8]) -> Result<ConnectResponse, DecodeError> {
    let mut reader = Reader::new(message);
    reader.i32()?;
    Ok(ConnectResponse {
        timeout_ms: reader.i32()?,
        session: reader.session()?,
        password: reader.buffer()?,
        read_only: match reader.remaining() {
            0 => None,
            _ => Some(reader.bool()?),
        },
    })
}

/// Encodes the reply to a request. A multi that failed is a success here, whose results are errors:
/// so ZooKeeper sends it, with 0 in the header.
pub fn encode_reply(reply: &Reply) -> Vec<u8> {
    let mut writer = Writer::message();
    writer.i32(reply.xid).zxid(reply.zxid);
    match &reply.result {
        Ok(response) => encode_response(response, writer.error(None)),
        Err(error) => {
            writer.error(Some(*error));
        }
    }
    writer.into_message()
}

fn encode_response(response: &Response, writer: &mut Writer) {
    match response {
        Response::Empty => {}
        Response::Path(path) => {
            writer.string(path);
        }
        Response::PathAndStat(path, stat) => {
            writer.string(path).stat(stat);
        }
        Response::Stat(stat) => {
            writer.stat(stat);
        }
        Response::Data(data, stat) => {
            writer.data(data).stat(stat);
        }
        Response::Acl(acl, stat) => {
            writer.acl(acl).stat(stat);
        }
        Response::Children(names) | Response::Ephemerals(names) => {
            writer.strings(names);
        }
        Response::ChildrenAndStat(names, stat) => {
            writer.strings(names).stat(stat);
        }
        Response::Sasl(token) => {
            writer.data(token);
        }
        Response::Multi(results) => {
            for result in results {
                encode_result(result, writer);
            }
            writer.i32(-1).bool(true).i32(-1);
        }
        Response::WatchAdded => {
            writer.error(None);
        }
        Response::Count(count) => {
            writer.i32(*count);
        }
        Response::WhoAmI(infos) => {
            writer.vector(infos, |writer, info| {
                writer.string(&info.scheme).string(&info.user);
            });
        }
    }
}

fn encode_result(result: &MultiResult, writer: &mut Writer) {
    let mut header = |opcode, error| {
        writer.i32(opcode).bool(false).error(error);
    };
    match result {
        MultiResult::Create(path) => {
            header(opcode::CREATE, None);
            writer.string(path);
        }
        MultiResult::Create2(path, stat) => {
            header(opcode::CREATE2, None);
            writer.string(path).stat(stat);
        }
        MultiResult::Delete => header(opcode::DELETE, None),
        MultiResult::SetData(stat) => {
            header(opcode::SET_DATA, None);
            writer.stat(stat);
        }
        MultiResult::Check => header(opcode::CHECK, None),
        MultiResult::Data(data, stat) => {
            header(opcode::GET_DATA, None);
            writer.data(data).stat(stat);
        }
        MultiResult::Children(names) => {
            header(opcode::GET_CHILDREN, None);
            writer.strings(names);
        }
        MultiResult::Error(error) => {
            header(opcode::ERROR, *error);
            writer.error(*error);
        }
    }
}

/// The header of a reply: its xid, its zxid, and the number of its error (0 is ok). A watch event has
/// such a header too, with xid -1.
pub fn decode_reply_header(message: &[u8]) -> Result<(i32, Zxid, i32), DecodeError> {
    let mut reader = Reader::new(message);
    Ok((reader.i32()?, reader.zxid()?, reader.i32()?))
}

/// Decodes the reply to `request`.
pub fn decode_reply(message: &[u8], request: &Request) -> Result<Reply, DecodeError> {
    let mut reader = Reader::new(message);
    Ok(Reply {
        xid: reader.i32()?,
        zxid: reader.zxid()?,
        result: match reader.error()? {
            None => Ok(decode_response(request, &mut reader)?),
            Some(error) => Err(error),
        },
    })
}

fn decode_response(request: &Request, reader: &mut Reader<'_>) -> Result<Response, DecodeError> {
    Ok(match request {
        Request::Create {
            with_stat: false, ..
        }
        | Request::Sync { .. } => Response::Path(reader.string()?),
        Request::Create {
            with_stat: true, ..
        } => Response::PathAndStat(reader.string()?, reader.stat()?),
        Request::Exists { .. } | Request::SetData { .. } | Request::SetAcl { .. } => {
            Response::Stat(reader.stat()?)
        }
        Request::GetData { .. } | Request::Reconfig(_) => {
            Response::Data(reader.data()?, reader.stat()?)
        }
        Request::GetAcl { .. } => Response::Acl(reader.acl()?, reader.stat()?),
        Request::GetChildren {
            with_stat: false, ..
        } => Response::Children(reader.vector(Reader::string)?),
        Request::GetChildren {
            with_stat: true, ..
        } => Response::ChildrenAndStat(reader.vector(Reader::string)?, reader.stat()?),
        Request::Sasl { .. } => Response::Sasl(reader.data()?),
        Request::Multi(_) | Request::MultiRead(_) => Response::Multi(decode_results(reader)?),
        Request::AddWatch { .. } => {
            reader.i32()?;
            Response::WatchAdded
        }
        Request::GetEphemerals { .. } => Response::Ephemerals(reader.vector(Reader::string)?),
        Request::GetAllChildrenNumber { .. } => Response::Count(reader.i32()?),
        Request::WhoAmI => Response::WhoAmI(reader.vector(|reader| {
            Ok(ClientInfo {
                scheme: reader.string()?,
                user: reader.string()?,
            })
        })?),
        Request::Delete { .. }
        | Request::Check { .. }
        | Request::Ping
        | Request::Auth { .. }
        | Request::SetWatches(_)
        | Request::CheckWatches { .. }
        | Request::RemoveWatches { .. }
        | Request::CloseSession
        | Request::Unimplemented(_) => Response::Empty,
    })
}

fn decode_results(reader: &mut Reader<'_>) -> Result<Vec<MultiResult>, DecodeError> {
    let mut results = Vec::new();
    loop {
        let opcode = reader.i32()?;
        let unknown = reader.unknown(opcode, "the result of an operation of a multi");
        let (done, _error) = (reader.bool()?, reader.i32()?);
        if done {
            return Ok(results);
        }
        results.push(match opcode {
            opcode::CREATE => MultiResult::Create(reader.string()?),
            opcode::CREATE2 => MultiResult::Create2(reader.string()?, reader.stat()?),
            opcode::DELETE => MultiResult::Delete,
            opcode::SET_DATA => MultiResult::SetData(reader.stat()?),
            opcode::CHECK => MultiResult::Check,
            opcode::GET_DATA => MultiResult::Data(reader.data()?, reader.stat()?),
            opcode::GET_CHILDREN => MultiResult::Children(reader.vector(Reader::string)?),
            opcode::ERROR => MultiResult::Error(reader.error()?),
            _ => return Err(unknown),
        });
    }
}

/// Encodes a watch event. Its header carries the zxid of the change, as ZooKeeper 3.9 has it; before,
/// it was -1.
pub fn encode_event(event: &WatchEvent) -> Vec<u8> {
    let mut writer = Writer::message();
    writer
        .i32(EVENT_XID)
        .zxid(event.zxid)
        .error(None)
        .i32(event.kind as i32)
        .i32(SYNC_CONNECTED)
        .string(&event.path);
    writer.into_message()
}

/// Decodes a watch event, the message whose xid is -1.
pub fn decode_event(message: &[u8]) -> Result<WatchEvent, DecodeError> {
    let mut reader = Reader::new(message);
    match reader.i32()? {
        EVENT_XID => {}
        other => return Err(reader.unknown(other, "the xid of a watch event")),
    }
    let zxid = reader.zxid()?;
    reader.i32()?;
    let kind = match reader.i32()? {
        1 => EventType::Created,
        2 => EventType::Deleted,
        3 => EventType::DataChanged,
        4 => EventType::ChildrenChanged,
        other => return Err(reader.unknown(other, "the type of a watch event")),
    };
    reader.i32()?;
    let path = reader.string()?;
    Ok(WatchEvent { kind, path, zxid })
}
