//! What the data directory keeps, whatever is interrupted or damaged.

use super::faults::{Fault, Faults, Plan};
use super::snapshots::write_and_purge;
use super::store::Store;
use super::*;
use crate::persistent::Vector;
use crate::types::Epoch;
use crate::zab::{Entry, History, Snapshot};
use proptest::prelude::*;
use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use tempfile::TempDir;

/// A payload whose state is the list of everything that happened: nothing can be lost unseen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Numbers;

impl Payload for Numbers {
    type Txn = u64;
    type Snapshot = Vector<(Zxid, u64)>;
}

#[derive(Clone)]
pub(super) struct Plain;

impl Codec<Numbers> for Plain {
    fn encode_entry(&self, entry: &Entry<u64>, bytes: &mut Vec<u8>) {
        bytes.extend(entry.zxid.0.to_be_bytes());
        bytes.extend(entry.txn.to_be_bytes());
    }

    fn decode_entry(&self, bytes: &[u8]) -> Result<Entry<u64>, String> {
        let (zxid, txn) = bytes.split_at_checked(8).ok_or("short")?;
        Ok(Entry {
            zxid: Zxid(u64::from_be_bytes(zxid.try_into().map_err(|_| "short")?)),
            txn: u64::from_be_bytes(txn.try_into().map_err(|_| "short")?),
        })
    }

    fn write_snapshot(
        &self,
        snapshot: &Snapshot<Vector<(Zxid, u64)>>,
        writer: &mut dyn Write,
    ) -> io::Result<()> {
        let bytes = postcard::to_stdvec(&snapshot.state).map_err(io::Error::other)?;
        writer.write_all(&simd_adler32::adler32(&&bytes[..]).to_be_bytes())?;
        writer.write_all(&bytes)
    }

    fn read_snapshot(&self, _: Zxid, reader: &mut dyn Read) -> Result<Vector<(Zxid, u64)>, String> {
        let mut bytes = Vec::new();
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        let (checksum, bytes) = bytes.split_at_checked(4).ok_or("short")?;
        if checksum != simd_adler32::adler32(&bytes).to_be_bytes() {
            return Err("wrong checksum".to_owned());
        }
        postcard::from_bytes(bytes).map_err(|error| error.to_string())
    }
}

/// A directory for a test: in memory if there is such a place, because these tests flush a lot.
pub(super) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

pub(super) fn layout(dir: &TempDir) -> Layout {
    Layout {
        data_dir: dir.path().join("data"),
        log_dir: dir.path().join("logs"),
        retain: 3,
        purge: Purge::WithSnapshots,
        compression: Compression::None,
    }
}

pub(super) fn open(layout: &Layout) -> Result<DataDir<Numbers, Plain>, StorageError> {
    DataDir::open(layout.clone(), Plain)
}

/// Everything that a history says happened.
pub(super) fn all(history: &History<Numbers>) -> Vec<(Zxid, u64)> {
    let snapshot = history.snapshot();
    let after = history
        .after(snapshot.zxid)
        .map(|entry| (entry.zxid, entry.txn));
    snapshot.state.iter().copied().chain(after).collect()
}

fn snapshot_at(history: &History<Numbers>, zxid: Zxid) -> Snapshot<Vector<(Zxid, u64)>> {
    let state = all(history)
        .into_iter()
        .filter(|(at, _)| *at <= zxid)
        .collect();
    Snapshot { zxid, state }
}

/// What a server might do to its storage in one step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Append(u8),
    AcceptEpoch,
    AdoptEpoch,
    TruncateAndAppend(u8, u8),
    Compact(u8, u8),
    Replace(u8, bool),
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..5u8).prop_map(Op::Append),
        1 => Just(Op::AcceptEpoch),
        1 => Just(Op::AdoptEpoch),
        2 => (any::<u8>(), 0..3u8).prop_map(|(to, append)| Op::TruncateAndAppend(to, append)),
        1 => (any::<u8>(), 0..4u8).prop_map(|(at, retain)| Op::Compact(at, retain)),
        1 => (0..3u8, any::<bool>()).prop_map(|(append, adopt)| Op::Replace(append, adopt)),
    ]
}

/// Makes saves out of operations. Transactions never share a zxid: what is removed is told from what
/// takes its place.
pub(super) struct Script {
    pub(super) storage: Storage<Numbers>,
    pub(super) epoch: Epoch,
    pub(super) counter: u32,
    pub(super) txn: u64,
}

impl Script {
    pub(super) fn new() -> Self {
        Self {
            // As a new directory has it.
            storage: Storage {
                memory: Memory::New,
                ..Storage::default()
            },
            epoch: Epoch(1),
            counter: 0,
            txn: 0,
        }
    }

    fn next_epoch(&mut self) {
        self.epoch = self.epoch.next().unwrap();
        self.counter = 0;
    }

    fn append(&mut self, count: u8) {
        for _ in 0..count {
            self.counter += 1;
            self.txn += 1;
            let zxid = Zxid::new(self.epoch, self.counter);
            self.storage.history.append(zxid, self.txn);
        }
    }

    /// One of the zxids from the snapshot on.
    fn pick(&self, at: u8) -> Zxid {
        let history = &self.storage.history;
        let snapshot = history.snapshot().zxid;
        let mut zxids = vec![snapshot];
        zxids.extend(history.after(snapshot).map(|entry| entry.zxid));
        zxids[usize::from(at) % zxids.len()]
    }

    pub(super) fn step(&mut self, op: Op) -> Storage<Numbers> {
        match op {
            Op::Append(count) => self.append(count),
            Op::AcceptEpoch => {
                self.storage.accepted_epoch = self.storage.accepted_epoch.next().unwrap()
            }
            Op::AdoptEpoch => self.storage.current_epoch = self.storage.accepted_epoch,
            Op::TruncateAndAppend(to, count) => {
                let to = self.pick(to);
                self.storage.history.truncate(to);
                self.next_epoch();
                self.append(count);
            }
            Op::Compact(at, retain) => {
                let snapshot = snapshot_at(&self.storage.history, self.pick(at));
                let last = self.storage.history.last_zxid();
                self.storage
                    .history
                    .compact(snapshot, usize::from(retain), last);
            }
            Op::Replace(count, adopt) => {
                self.next_epoch();
                // The leader's history has at least one transaction more, which is only in its snapshot.
                let mut history = self.storage.history.clone();
                self.txn += 1;
                let zxid = Zxid::new(self.epoch, 1);
                history.append(zxid, self.txn);
                self.counter = 1;
                self.storage.history = History::from_snapshot(snapshot_at(&history, zxid));
                self.append(count);
                if adopt {
                    self.storage.accepted_epoch = self.storage.accepted_epoch.next().unwrap();
                    self.storage.current_epoch = self.storage.accepted_epoch;
                }
            }
        }
        // No server has a transaction of an epoch that it has not promised.
        let last = self.storage.history.last_zxid().epoch();
        self.storage.accepted_epoch = self.storage.accepted_epoch.max(last);
        self.storage.clone()
    }
}

pub(super) fn script(ops: &[Op]) -> Vec<Storage<Numbers>> {
    let mut script = Script::new();
    ops.iter().map(|op| script.step(*op)).collect()
}

/// Writes saves in batches as the log writer does. Returns how many were reported.
pub(super) fn write(
    store: &mut Store<Numbers, Plain>,
    saves: &[Storage<Numbers>],
    batch: usize,
) -> usize {
    let mut reported = 0;
    for batch in saves.chunks(batch) {
        let taken = batch.iter().try_for_each(|save| store.take(save.clone()));
        if taken.and_then(|()| store.flush()).is_err() {
            break;
        }
        reported += batch.len();
        if let Ok(Some(snapshot)) = store.snapshot_due() {
            write_and_purge(&store.layout, &store.codec, &store.disk, &snapshot);
        }
    }
    reported
}

/// Whether `found` may be on disk while `before` becomes `after`.
pub(super) fn is_between(
    found: &Storage<Numbers>,
    before: &Storage<Numbers>,
    after: &Storage<Numbers>,
) -> bool {
    let (found_all, before_all, after_all) = (
        all(&found.history),
        all(&before.history),
        all(&after.history),
    );
    let common = before_all
        .iter()
        .zip(&after_all)
        .take_while(|(a, b)| a == b)
        .count();
    let whole = found_all == after_all;
    let on_the_way = found_all.len() >= common
        && (before_all.starts_with(&found_all) || after_all.starts_with(&found_all));
    let accepted = found.accepted_epoch == before.accepted_epoch
        || found.accepted_epoch == after.accepted_epoch;
    let current = found.current_epoch == before.current_epoch
        || whole && found.current_epoch == after.current_epoch;
    on_the_way && accepted && current
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 16 } else { 256 }))]

    #[test]
    fn at_every_save_boundary_recovery_finds_that_save(ops in prop::collection::vec(op(), 1..16)) {
        let dir = scratch();
        let layout = layout(&dir);
        for save in script(&ops) {
            let mut opened = open(&layout).unwrap();
            prop_assert_eq!(write(&mut opened.store, std::slice::from_ref(&save), 1), 1);
            drop(opened);
            let found = open(&layout).unwrap();
            prop_assert_eq!(all(&found.storage().history), all(&save.history));
            prop_assert_eq!(found.storage().accepted_epoch, save.accepted_epoch);
            prop_assert_eq!(found.storage().current_epoch, save.current_epoch);
        }
    }
}

/// A log of `count` transactions in one file, each save with its length when it was reported.
pub(super) fn one_log(layout: &Layout, count: u8) -> (PathBuf, Vec<(u64, usize)>) {
    let mut opened = open(layout).unwrap();
    let mut script = Script::new();
    let path = layout.log(Zxid::new(Epoch(1), 1));
    let mut lengths = Vec::new();
    for saved in 1..=count {
        let save = script.step(Op::Append(1));
        assert_eq!(write(&mut opened.store, &[save], 1), 1);
        lengths.push((fs::metadata(&path).unwrap().len(), usize::from(saved)));
    }
    (path, lengths)
}

#[test]
fn a_log_cut_at_any_byte_is_recovered_up_to_what_was_reported_before_the_cut() {
    let dir = scratch();
    let layout = layout(&dir);
    let (path, lengths) = one_log(&layout, 6);
    let bytes = fs::read(&path).unwrap();
    for cut in 0..=bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let found = open(&layout).unwrap();
        let found: Vec<u64> = all(&found.storage().history)
            .into_iter()
            .map(|(_, txn)| txn)
            .collect();
        let reported = lengths
            .iter()
            .filter(|(length, _)| *length <= cut as u64)
            .count() as u64;
        assert_eq!(found, (1..=reported).collect::<Vec<u64>>(), "cut at {cut}");
    }
}

#[test]
fn a_preallocated_log_ends_at_its_zeros() {
    let dir = scratch();
    let layout = layout(&dir);
    let (path, _) = one_log(&layout, 3);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(100_000).unwrap();
    let mut opened = open(&layout).unwrap();
    assert_eq!(opened.storage().history.entries().len(), 3);
    let mut script = Script {
        storage: opened.storage().clone(),
        epoch: Epoch(2),
        counter: 0,
        txn: 3,
    };
    let more = script.step(Op::Append(1));
    write(&mut opened.store, std::slice::from_ref(&more), 1);
    drop(opened);
    assert_eq!(
        all(&open(&layout).unwrap().storage().history),
        all(&more.history)
    );
}

#[test]
fn a_flipped_bit_stops_the_start_with_the_offset_of_its_record() {
    let dir = scratch();
    let layout = layout(&dir);
    let (path, lengths) = one_log(&layout, 4);
    let bytes = fs::read(&path).unwrap();
    for flip in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[flip] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let record = lengths
            .iter()
            .rev()
            .map(|(end, _)| *end)
            .find(|end| *end <= flip as u64);
        let expected = record.unwrap_or(if flip < 16 { 0 } else { 16 });
        match open(&layout).map(|found| all(&found.storage().history)) {
            Err(StorageError::Damaged { file, offset, .. }) => {
                assert_eq!((file, offset), (path.clone(), expected), "flip at {flip}");
            }
            other => panic!("flip at {flip}: {other:?}"),
        }
    }
}

#[test]
fn a_torn_end_before_the_last_file_is_dropped_only_if_the_next_file_continues() {
    let dir = scratch();
    let layout = layout(&dir);
    let mut script = Script::new();
    for _ in 0..2 {
        let save = script.step(Op::Append(2));
        write(&mut open(&layout).unwrap().store, &[save], 1);
    }
    // ZooKeeper leaves what an interrupted write left, and goes on in another file.
    let first = layout.log(Zxid::new(Epoch(1), 1));
    let bytes = fs::read(&first).unwrap();
    fs::write(&first, [&bytes[..], &[0, 0, 0, 0, 7, 7]].concat()).unwrap();
    let found = open(&layout).unwrap();
    assert_eq!(all(&found.storage().history), all(&script.storage.history));
    assert!(
        found.notes()[0].contains("offset 74"),
        "{:?}",
        found.notes()
    );
    drop(found);
    fs::write(&first, &bytes[..bytes.len() - 3]).unwrap();
    assert!(matches!(
        open(&layout).err(),
        Some(StorageError::Gap { .. })
    ));
}

#[test]
fn a_missing_log_file_is_a_gap_and_not_silence() {
    let dir = scratch();
    let layout = layout(&dir);
    let mut script = Script::new();
    for _ in 0..3 {
        // Each start begins a new file.
        let save = script.step(Op::Append(2));
        write(&mut open(&layout).unwrap().store, &[save], 1);
    }
    fs::remove_file(layout.log(Zxid::new(Epoch(1), 3))).unwrap();
    let error = open(&layout).err().unwrap();
    assert!(
        matches!(error, StorageError::Gap { end, found, .. } if end & 0xff == 2 && found & 0xff == 5)
    );
    assert!(
        error
            .to_string()
            .contains("log.100000005 continues at zxid 0x100000005")
    );
}

#[test]
fn an_unreadable_snapshot_is_passed_over_only_if_the_log_reaches_it() {
    let dir = scratch();
    let layout = layout(&dir);
    let mut script = Script::new();
    let saves = [Op::Append(3), Op::Compact(3, 0), Op::Append(1)].map(|op| script.step(op));
    write(&mut open(&layout).unwrap().store, &saves, 1);
    let snapshot = layout.snapshot(Zxid::new(Epoch(1), 3));
    fs::write(&snapshot, b"rubbish").unwrap();
    let found = open(&layout).unwrap();
    assert_eq!(all(&found.storage().history), all(&saves[2].history));
    drop(found);
    fs::remove_file(layout.log(Zxid::new(Epoch(1), 1))).unwrap();
    assert!(matches!(
        open(&layout).err(),
        Some(StorageError::Gap { .. })
    ));
    fs::remove_file(layout.log(Zxid::new(Epoch(1), 4))).unwrap();
    assert!(matches!(
        open(&layout).err(),
        Some(StorageError::NoSnapshot { .. })
    ));
}

#[test]
fn old_snapshots_and_logs_go_when_newer_snapshots_are_durable() {
    let dir = scratch();
    let layout = layout(&dir);
    let mut opened = open(&layout).unwrap();
    let mut script = Script::new();
    for _ in 0..6 {
        let saves = [Op::Append(3), Op::Compact(3, 0)].map(|op| script.step(op));
        assert_eq!(write(&mut opened.store, &saves, 1), 2);
    }
    assert_eq!(layout.list_snapshots().unwrap().len(), 3);
    // The log from the oldest of the three snapshots on.
    let logs: Vec<u32> = layout
        .list_logs()
        .unwrap()
        .iter()
        .map(|(first, _)| first.counter())
        .collect();
    assert_eq!(logs, [10, 13, 16]);
    // Even the oldest of the three is enough.
    for zxid in [15, 18] {
        fs::write(layout.snapshot(Zxid::new(Epoch(1), zxid)), b"rubbish").unwrap();
    }
    drop(opened);
    assert_eq!(
        all(&open(&layout).unwrap().storage().history),
        all(&script.storage.history)
    );
}

#[test]
fn a_replaced_history_does_not_come_back_even_if_it_was_longer() {
    for fuse in 0..40 {
        let dir = scratch();
        let layout = layout(&dir);
        let mut opened = open(&layout).unwrap();
        let mut script = Script::new();
        let saves = [Op::Append(8), Op::Compact(8, 0), Op::Append(2)].map(|op| script.step(op));
        assert_eq!(write(&mut opened.store, &saves, 1), 3);
        let mut other = Script {
            txn: 100,
            ..Script::new()
        };
        other.step(Op::Append(4));
        let replaced = other.step(Op::Compact(4, 0));
        let faults = Arc::new(Faults::new(dir.path(), Plan::Last(fuse, Fault::Fails)));
        opened.store.disk.faults = Some(Arc::clone(&faults));
        let reported = write(&mut opened.store, std::slice::from_ref(&replaced), 1);
        drop(opened);
        let left = scratch();
        faults.power_cut(&mut |below| fuse % below, false, left.path());
        let found = all(&open(&self::layout(&left)).unwrap().storage().history);
        let is_old = found == all(&saves[2].history);
        assert!(
            found == all(&replaced.history) || is_old && reported == 0,
            "fuse {fuse}: {found:?}"
        );
    }
}

#[test]
fn a_second_server_on_a_directory_gets_a_clear_error() {
    let dir = scratch();
    let layout = layout(&dir);
    let _first = open(&layout).unwrap();
    let error = open(&layout).err().unwrap();
    assert!(error.to_string().contains("another server uses"), "{error}");
}

#[test]
fn a_missing_epoch_is_that_of_the_last_transaction_and_a_wrong_one_is_refused() {
    let dir = scratch();
    let layout = layout(&dir);
    one_log(&layout, 2);
    fs::remove_file(layout.accepted_epoch()).unwrap();
    fs::remove_file(layout.current_epoch()).unwrap();
    assert_eq!(open(&layout).unwrap().storage().current_epoch, Epoch(1));
    fs::write(layout.current_epoch(), "2\n").unwrap();
    assert!(
        open(&layout)
            .err()
            .unwrap()
            .to_string()
            .contains("below the current epoch 2")
    );
    fs::write(layout.current_epoch(), "0\n").unwrap();
    fs::write(layout.accepted_epoch(), "0\n").unwrap();
    let promised = open(&layout).unwrap().storage().accepted_epoch;
    assert_eq!(promised, Epoch(1), "the log has transactions of epoch 1");
    fs::write(layout.current_epoch(), "x").unwrap();
    assert!(
        open(&layout)
            .err()
            .unwrap()
            .to_string()
            .contains("`x`, which is not an epoch")
    );
}
