//! What a data directory holds, as text or JSON: `keepright dump`.
//!
//! Spec: `spec/6-server.md`, "Tools". What it must never do: change anything, or show what follows damage
//! as if it were sound.
//!
//! Transactions are shown by way of their serialization, so a new kind of transaction needs nothing here.

use super::format::Tail;
use super::recovery::read_log;
use super::{Layout, StorageError, ZooKeeperCodec, snapshots};
use crate::service::ZooKeeper;
use crate::types::Zxid;
use crate::znode::{AclList, Data, Node, SessionId, Txn};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::path::Path;

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    /// The newest snapshot that can be read.
    pub snapshot: bool,
    /// The transactions of the logs.
    pub log: bool,
    /// Of the transactions, those from here on.
    pub from: Zxid,
    /// And up to here.
    pub to: Zxid,
    /// One JSON object a line, instead of text.
    pub json: bool,
}

/// Why nothing more is shown.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// Writes what a data directory holds, up to the first damage.
///
/// # Errors
/// If a file is damaged, or cannot be read; or if `out` takes no more.
pub fn dump(layout: &Layout, selection: Selection, out: &mut dyn Write) -> Result<(), DumpError> {
    let mut show = |value: Value| match selection.json {
        true => writeln!(out, "{value}"),
        false => writeln!(out, "{}", text(&value)),
    };
    let mut unreadable = None;
    if selection.snapshot {
        unreadable = dump_snapshot(layout, &mut show)?;
    }
    if selection.log {
        for (_, file) in layout.list_logs()? {
            dump_log(&file, selection, &mut show)?;
        }
    }
    unreadable.map_or(Ok(()), |error| Err(error.into()))
}

type Show<'a> = &'a mut dyn FnMut(Value) -> io::Result<()>;

/// Shows the newest snapshot that can be read, and gives back why a newer one cannot.
fn dump_snapshot(layout: &Layout, show: Show<'_>) -> Result<Option<StorageError>, DumpError> {
    let mut unreadable = None;
    for (zxid, file) in layout.list_snapshots()?.into_iter().rev() {
        let tree = match snapshots::read::<ZooKeeper, _>(&ZooKeeperCodec::default(), zxid, &file) {
            Ok(tree) => tree,
            Err(problem) => {
                unreadable.get_or_insert(StorageError::Unreadable { file, problem });
                continue;
            }
        };
        show(json!({
            "kind": "snapshot",
            "file": file.display().to_string(),
            "zxid": hex(zxid),
            "znodes": tree.znode_count(),
            "sessions": tree.sessions().len(),
            "digest": format!("0x{:x}", tree.digest()),
        }))?;
        for (session, timeout_ms) in tree.sessions() {
            let session = session_name(*session);
            show(json!({"kind": "session", "session": session, "timeout_ms": timeout_ms}))?;
        }
        for (path, node) in tree.walk() {
            show(znode(path, node))?;
        }
        break;
    }
    Ok(unreadable)
}

/// A znode, with its stat as clients see it.
fn znode(path: &str, node: &Node) -> Value {
    let stat = node.stat();
    let mut shown = Map::new();
    shown.insert("kind".into(), "znode".into());
    shown.insert("path".into(), path.into());
    insert_data(&mut shown, &node.data);
    shown.insert("acl".into(), acl_names(&node.acl));
    for (name, value) in [
        ("czxid", hex(stat.czxid)),
        ("mzxid", hex(stat.mzxid)),
        ("pzxid", hex(stat.pzxid)),
        ("ephemeral_owner", session_name(stat.ephemeral_owner)),
    ] {
        shown.insert(name.into(), value.into());
    }
    for (name, value) in [
        ("ctime", stat.ctime),
        ("mtime", stat.mtime),
        ("version", stat.version.into()),
        ("cversion", stat.cversion.into()),
        ("aversion", stat.aversion.into()),
        ("num_children", stat.num_children.into()),
    ] {
        shown.insert(name.into(), value.into());
    }
    shown.into()
}

fn dump_log(file: &Path, selection: Selection, show: Show<'_>) -> Result<(), DumpError> {
    let log = read_log::<ZooKeeper, _>(file, &ZooKeeperCodec::default())?;
    show(json!({
        "kind": "log",
        "file": file.display().to_string(),
        "transactions": log.entries.len(),
    }))?;
    for (offset, entry) in &log.entries {
        if (selection.from..=selection.to).contains(&entry.zxid) {
            show(transaction(*offset, entry.zxid, &entry.txn))?;
        }
    }
    match log.scan.tail {
        Tail::Clean => Ok(()),
        Tail::Torn(problem) => {
            let offset = log.scan.end;
            show(json!({"kind": "interrupted", "offset": offset, "problem": problem}))?;
            Ok(())
        }
        Tail::Damaged(problem) => Err(DumpError::Storage(StorageError::Damaged {
            file: file.to_owned(),
            offset: log.scan.end as u64,
            problem: problem.to_owned(),
        })),
    }
}

fn transaction(offset: usize, zxid: Zxid, txn: &Txn) -> Value {
    let mut shown = Map::new();
    shown.insert("kind".into(), "txn".into());
    shown.insert("offset".into(), offset.into());
    shown.insert("zxid".into(), hex(zxid).into());
    shown.insert("time".into(), txn.time.into());
    shown.insert("session".into(), session_name(txn.session).into());
    shown.insert("cxid".into(), txn.cxid.into());
    let body = serde_json::to_value(&txn.body).unwrap_or_default();
    shown.extend(body_fields(body));
    if let Some(digest) = txn.digest {
        shown.insert("digest".into(), format!("0x{digest:x}").into());
    }
    shown.into()
}

/// A variant of a serialized enum with its fields: `{"SetData": {"path": ..}}` becomes
/// `{"type": "SetData", "path": ..}`.
fn body_fields(body: Value) -> Map<String, Value> {
    let mut shown = Map::new();
    let (kind, fields) = match body {
        Value::Object(variant) => match variant.into_iter().next() {
            Some(variant) => variant,
            None => return shown,
        },
        other => (other.as_str().unwrap_or_default().to_owned(), Value::Null),
    };
    shown.insert("type".into(), kind.into());
    match fields {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                insert_field(&mut shown, name, value);
            }
        }
        Value::Array(parts) if parts.iter().all(Value::is_object) => {
            let parts = parts.into_iter().map(|part| body_fields(part).into());
            shown.insert("operations".into(), Value::Array(parts.collect()));
        }
        other => {
            shown.insert("result".into(), other);
        }
    }
    shown
}

/// Adds a field of a transaction. Data and ACLs are shown as those of a znode.
fn insert_field(shown: &mut Map<String, Value>, name: String, value: Value) {
    match name.as_str() {
        "data" => match serde_json::from_value::<Data>(value.clone()) {
            Ok(data) => insert_data(shown, &data),
            Err(_) => drop(shown.insert(name, value)),
        },
        "acl" => match serde_json::from_value::<AclList>(value.clone()) {
            Ok(acl) => drop(shown.insert(name, acl_names(&acl))),
            Err(_) => drop(shown.insert(name, value)),
        },
        _ => drop(shown.insert(name, value)),
    }
}

/// Text as it is, other bytes as base64, and null as null.
fn insert_data(shown: &mut Map<String, Value>, data: &Data) {
    let printable = |text: &&str| !text.chars().any(|letter| letter.is_control());
    match std::str::from_utf8(data).ok().filter(printable) {
        _ if data.is_null() => shown.insert("data".into(), Value::Null),
        Some(text) => shown.insert("data".into(), text.into()),
        None => shown.insert("data_base64".into(), BASE64.encode(&**data).into()),
    };
}

/// An ACL as ZooKeeper's command line writes it: `scheme:id:cdrwa`.
fn acl_names(acl: &AclList) -> Value {
    let names = acl.iter().map(|entry| {
        let letters = [(4, 'c'), (8, 'd'), (1, 'r'), (2, 'w'), (16, 'a')];
        let letters = letters.iter().filter(|(bit, _)| entry.perms.0 & bit != 0);
        let perms: String = letters.map(|(_, letter)| *letter).collect();
        Value::from(format!("{}:{}:{perms}", entry.who.scheme, entry.who.id))
    });
    Value::Array(names.collect())
}

fn hex(zxid: Zxid) -> String {
    format!("0x{:x}", zxid.0)
}

fn session_name(session: SessionId) -> String {
    format!("{session}")
}

/// A line of text: the values that name a thing, then `key=value` for the rest.
fn text(value: &Value) -> String {
    let Value::Object(fields) = value else {
        return value.to_string();
    };
    let plain = |name: &str| fields.get(name).map(plain_text);
    let mut words = Vec::new();
    let heads = ["kind", "zxid", "time", "type", "path"];
    for head in heads {
        match (head, plain(head)) {
            (_, None) => {}
            ("kind", Some(kind)) if kind == "txn" || kind == "znode" => {}
            ("time", Some(_)) => words.push(date(fields["time"].as_i64().unwrap_or_default())),
            ("path", Some(_)) => words.push(fields["path"].to_string()),
            (_, Some(text)) => words.push(text),
        }
    }
    for (name, value) in fields
        .iter()
        .filter(|(name, _)| !heads.contains(&name.as_str()))
    {
        let value = match (name.as_str(), value) {
            ("ctime" | "mtime", value) => date(value.as_i64().unwrap_or_default()),
            ("operations", Value::Array(parts)) => {
                let parts: Vec<String> = parts.iter().map(text).collect();
                format!("[{}]", parts.join("; "))
            }
            ("acl", Value::Array(names)) => {
                let names: Vec<String> = names.iter().map(plain_text).collect();
                names.join(",")
            }
            ("session" | "ephemeral_owner", value) => plain_text(value),
            ("czxid" | "mzxid" | "pzxid", value) => plain_text(value),
            (_, value) => value.to_string(),
        };
        words.push(format!("{name}={value}"));
    }
    words.join(" ")
}

/// A string without its quotes.
fn plain_text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Milliseconds since the Unix epoch as a date of UTC.
fn date(millis: i64) -> String {
    let (days, millis) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    // Years are counted from March on, so that the leap day is the last one.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (second, millis) = (millis / 1000, millis % 1000);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::znode::{TxnBody, acl};

    #[test]
    fn a_time_is_shown_as_its_date() {
        assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(date(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(date(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(date(4_107_542_399_000), "2100-02-28T23:59:59.000Z");
    }

    #[test]
    fn a_transaction_is_shown_with_all_its_fields() {
        let body = TxnBody::Multi(vec![
            TxnBody::SetAcl {
                path: "/a b".to_owned(),
                acl: acl::open_unsafe(),
                version: 3,
            },
            TxnBody::SetData {
                path: "/c".to_owned(),
                data: vec![0, 255].into(),
                version: 7,
            },
        ]);
        let txn = Txn {
            session: SessionId(0x1f),
            cxid: 5,
            time: 0,
            body,
            digest: None,
        };
        let shown = transaction(16, Zxid(0x1_0000_0002), &txn);
        assert_eq!(
            text(&shown),
            "0x100000002 1970-01-01T00:00:00.000Z Multi cxid=5 offset=16 operations=[SetAcl \"/a b\" \
             acl=world:anyone:cdrwa version=3; SetData \"/c\" \
             data_base64=\"AP8=\" version=7] session=0x1f"
        );
        let parsed: Value = serde_json::from_str(&shown.to_string()).unwrap();
        assert_eq!(parsed["operations"][0]["acl"][0], "world:anyone:cdrwa");
    }

    #[test]
    fn a_failed_request_and_a_sync_are_shown_with_their_result() {
        use crate::znode::ErrorCode;
        let shown = |body: &TxnBody| body_fields(serde_json::to_value(body).unwrap());
        let failed = shown(&TxnBody::Error(Some(ErrorCode::NoNode)));
        assert_eq!(failed["result"], "NoNode");
        let sync = shown(&TxnBody::Error(None));
        assert_eq!(sync["type"], "Error");
        let multi = shown(&TxnBody::FailedMulti(vec![None, Some(ErrorCode::NoNode)]));
        assert_eq!(multi["result"], json!([null, "NoNode"]));
    }
}
