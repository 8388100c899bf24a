//! `keepright fsck` and `keepright dump` as programs: what they print, and their exit codes.
//!
//! Spec: `spec/6-server.md`, "Tools".

#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // Tests read files and start processes.

use keepright::server::storage::{
    Compression, DataDir, Layout, LogEvent, LogWriter, Purge, ZooKeeperCodec,
};
use keepright::service::ZooKeeper;
use keepright::types::{Epoch, Zxid};
use keepright::zab::{Snapshot, Storage};
use keepright::znode::{SessionId, Tree, Txn, TxnBody};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn set_root(data: &[u8], version: i32) -> Txn {
    Txn {
        session: SessionId(0x10),
        cxid: version,
        time: 1_700_000_000_123,
        body: TxnBody::SetData {
            path: "/".to_owned(),
            data: data.to_vec().into(),
            version,
        },
        digest: None,
    }
}

/// A data directory with a session, a snapshot at the third transaction, and five transactions.
fn directory() -> (TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout {
        data_dir: dir.path().to_owned(),
        log_dir: dir.path().to_owned(),
        retain: 3,
        purge: Purge::WithSnapshots,
        compression: Compression::Gzip,
    };
    let opened = DataDir::open(layout, ZooKeeperCodec::default()).unwrap();
    let mut storage = opened.storage().clone();
    let (report, events) = std::sync::mpsc::channel();
    let writer = LogWriter::spawn(opened, move |event| report.send(event).unwrap()).unwrap();
    let save = |storage: &Storage<ZooKeeper>| {
        writer.save(storage.clone());
        assert!(matches!(events.recv(), Ok(LogEvent::Saved(1))));
    };
    storage.accepted_epoch = Epoch(1);
    storage.current_epoch = Epoch(1);
    let mut tree = Tree::default();
    let zxid = |counter| Zxid::new(Epoch(1), counter);
    let session = TxnBody::CreateSession { timeout_ms: 4000 };
    let session = Txn {
        body: session,
        ..set_root(b"", 0)
    };
    let txns = [
        session,
        set_root(b"one", 1),
        set_root(&[0xff, 0], 2),
        set_root(b"three", 3),
        set_root(b"four", 4),
    ];
    for (counter, txn) in (1..).zip(txns) {
        tree.apply(zxid(counter), &txn);
        storage.history.append(zxid(counter), txn);
        save(&storage);
        if counter == 3 {
            let (zxid, state) = (zxid(3), tree.clone());
            let last = storage.history.last_zxid();
            storage.history.compact(Snapshot { zxid, state }, 0, last);
            save(&storage);
        }
    }
    drop(writer);
    let version = dir.path().join("version-2");
    let (snapshot, log) = (
        version.join("snapshot.100000003.gz"),
        version.join("log.100000004"),
    );
    assert!(snapshot.is_file() && log.is_file());
    (dir, snapshot, log)
}

fn keepright(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keepright"));
    let Output {
        status,
        stdout,
        stderr,
    } = command.args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn on(what: &str, dir: &Path) -> (i32, String, String) {
    keepright(&[what, dir.to_str().unwrap()])
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 4;
    fs::write(file, bytes).unwrap();
}

#[test]
fn fsck_finds_a_sound_directory_sound_and_changes_nothing() {
    let (dir, ..) = directory();
    let list = || {
        let entries = fs::read_dir(dir.path().join("version-2")).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = list();
    let (code, out, _) = on("fsck", dir.path());
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("snapshot.100000003.gz: sound, 4 znodes, 1 sessions"));
    assert!(out.contains("log.100000004: sound, 2 transactions, 0x100000004 to 0x100000005"));
    assert!(out.contains("acceptedEpoch: sound, epoch 1"));
    assert!(out.contains("a server starts here: history up to zxid 0x100000005"));
    assert_eq!(list(), before);
    // The directory of the files themselves is understood too.
    assert_eq!(on("fsck", &dir.path().join("version-2")).1, out);
}

#[test]
fn fsck_names_every_damaged_file_with_offset_and_remedy() {
    let (dir, snapshot, log) = directory();
    flip(&log, 40);
    flip(&snapshot, 30);
    flip(&dir.path().join("version-2/currentEpoch"), 0);
    fs::write(dir.path().join("version-2/log.9.tmp"), "x").unwrap();
    let (code, out, _) = on("fsck", dir.path());
    assert_eq!(code, 1, "{out}");
    let log = log.display();
    assert!(out.contains(&format!(
        "{log}: DAMAGED at offset 16: there is no sound record here"
    )));
    assert!(out.contains(&format!("`truncate -s 16 {log}`")));
    assert!(out.contains(&format!("{}: DAMAGED: ", snapshot.display())));
    assert!(out.contains("currentEpoch: DAMAGED: "));
    assert!(out.contains("log.9.tmp: is left of an interrupted write"));
    assert!(out.contains("A SERVER REFUSES TO START HERE: "));
    assert_eq!(out.matches("to mend it: ").count(), 3);
}

#[test]
fn fsck_calls_an_interrupted_write_no_damage_and_a_running_server_by_its_name() {
    let (dir, _, log) = directory();
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 3]).unwrap();
    let lock = fs::File::open(dir.path().join("keepright.lock")).unwrap();
    lock.try_lock().unwrap();
    let (code, out, _) = on("fsck", dir.path());
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("left of an interrupted write: the next start drops it"));
    assert!(out.contains("history up to zxid 0x100000004"));
    assert!(out.contains("a server runs on this directory"));
}

#[test]
fn a_directory_that_cannot_be_examined_is_exit_code_2() {
    let (code, _, error) = on("fsck", Path::new("/nonexistent"));
    assert_eq!(code, 2);
    assert!(
        error.contains("cannot list /nonexistent/version-2"),
        "{error}"
    );
    assert_eq!(on("dump", Path::new("/nonexistent")).0, 2);
    assert_eq!(keepright(&["dump", "/tmp", "--from", "x"]).0, 2);
}

#[test]
fn dump_shows_the_snapshot_and_the_log_as_text() {
    let (dir, ..) = directory();
    let (code, out, _) = on("dump", dir.path());
    assert_eq!(code, 0);
    assert!(
        out.contains("\nsession session=0x10 timeout_ms=4000\n"),
        "{out}"
    );
    let root = out.lines().find(|line| line.starts_with("\"/\" ")).unwrap();
    assert!(root.contains("data_base64=\"/wA=\""), "{root}");
    assert!(root.contains("acl=world:anyone:cdrwa"), "{root}");
    assert!(root.contains("mtime=2023-11-14T22:13:20.123Z"), "{root}");
    let last = out.lines().last().unwrap();
    assert_eq!(
        last,
        "0x100000005 2023-11-14T22:13:20.123Z SetData \"/\" cxid=4 data=\"four\" offset=79 session=0x10 \
         version=4"
    );
}

#[test]
fn dump_selects_by_zxid_and_prints_json() {
    let (dir, ..) = directory();
    let dir = dir.path().to_str().unwrap();
    let bounds = ["--from", "0x100000005", "--to", "100000005"];
    let arguments = [&["dump", dir, "--json", "--only", "log"], &bounds[..]].concat();
    let (code, out, _) = keepright(&arguments);
    assert_eq!(code, 0);
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["kind"] == "txn")
        .collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["zxid"], "0x100000005");
    assert_eq!(lines[0]["type"], "SetData");
    assert_eq!(lines[0]["data"], "four");
    let (_, out, _) = keepright(&["dump", dir, "--json", "--only", "snapshot"]);
    assert!(out.lines().all(|line| !line.contains("\"txn\"")));
    assert_eq!(out.matches("\"kind\":\"znode\"").count(), 4);
}

#[test]
fn dump_shows_what_is_sound_before_the_damage_and_fails() {
    let (dir, snapshot, log) = directory();
    let length = fs::metadata(&log).unwrap().len() as usize;
    flip(&log, length - 4);
    let (code, out, error) = on("dump", dir.path());
    assert_eq!(code, 1);
    assert!(out.lines().last().unwrap().starts_with("0x100000004 "));
    assert!(error.contains("is damaged at offset 79"), "{error}");
    flip(&snapshot, 40);
    let (_, out, _) = on("dump", dir.path());
    assert!(out.starts_with("snapshot 0x0 "), "{out}");
}
