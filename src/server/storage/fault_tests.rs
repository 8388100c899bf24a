//! Whatever call of the disk fails or is torn, and wherever the power is cut: a restart finds what was
//! reported, or is refused with the file and the offset. And every changed byte is found.

use super::disk::Disk;
use super::faults::{Fault, Faults, Plan};
use super::tests::*;
use super::*;
use crate::types::Epoch;
use proptest::prelude::*;
use std::fs;
use std::sync::Arc;
use tempfile::TempDir;

/// Numbers that follow from a seed.
fn choices(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((state >> 33) as usize) % below
    }
}

/// A server on a disk with faults, and everything that it reported.
struct Run {
    dir: TempDir,
    faults: Arc<Faults>,
    saves: Vec<Storage<Numbers>>,
    reported: usize,
}

impl Run {
    /// Starts on an empty directory and writes the saves, as far as it comes.
    fn new(plan: Plan, saves: &[Storage<Numbers>], batch: usize) -> Self {
        let dir = scratch();
        let faults = Arc::new(Faults::new(dir.path(), plan));
        let mut run = Self {
            dir,
            faults,
            saves: Vec::new(),
            reported: 0,
        };
        run.saves = saves.to_vec();
        if let Ok(mut opened) = run.open() {
            run.reported = write(&mut opened.store, saves, batch);
        }
        run
    }

    fn open(&self) -> Result<DataDir<Numbers, Plain>, StorageError> {
        let mut disk = Disk::default();
        disk.faults = Some(Arc::clone(&self.faults));
        DataDir::open_on(layout(&self.dir), Plain, disk)
    }

    /// What may be left after a power cut.
    fn power_cut(&self, seed: u64, holes: bool) -> TempDir {
        let left = scratch();
        self.faults
            .power_cut(&mut choices(seed), holes, left.path());
        left
    }

    /// Whether a restart may find this: a save that was reported or a later one, or what lies between two.
    fn explains(&self, found: &Storage<Numbers>) -> bool {
        let mut steps = vec![Storage::default()];
        steps.extend_from_slice(&self.saves);
        (self.reported..steps.len()).any(|at| {
            let next = steps.get(at + 1).unwrap_or(&steps[at]);
            is_between(found, &steps[at], next)
        })
    }

    /// Cuts the power and starts again. `Err` says what is wrong.
    fn check_power_cut(&self, seed: u64, holes: bool) -> Result<(), String> {
        let left = self.power_cut(seed, holes);
        match open(&layout(&left)) {
            Ok(found) if self.explains(found.storage()) => Ok(()),
            Ok(found) => Err(format!(
                "reported {}, found {:?}",
                self.reported,
                found.storage()
            )),
            Err(StorageError::Damaged { file, .. }) if holes && file.exists() => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Starts again as after kill -9, on what the operating system knows; goes on; and then the power is
    /// cut: what the second start found and was told may not be lost either.
    fn check_restart(&mut self, seed: u64) -> Result<(), String> {
        self.faults.arm(Plan::None);
        let mut opened = self.open().map_err(|error| error.to_string())?;
        let found = opened.storage().clone();
        if !self.explains(&found) {
            return Err(format!("reported {}, found {found:?}", self.reported));
        }
        let mut script = Script {
            storage: found.clone(),
            epoch: Epoch(99),
            counter: 0,
            txn: 999,
        };
        self.saves = vec![found, script.step(Op::Append(2))];
        self.reported = 1;
        self.check_power_cut(seed, false)?;
        self.reported += write(&mut opened.store, &self.saves[1..], 1);
        if self.reported != 2 {
            return Err("the second start cannot write".to_owned());
        }
        self.check_power_cut(seed, false)
    }
}

/// Something of everything that a server does to its storage.
fn everything() -> Vec<Storage<Numbers>> {
    script(&[
        Op::Append(3),
        Op::AcceptEpoch,
        Op::AdoptEpoch,
        Op::Append(1),
        Op::Compact(3, 1),
        Op::TruncateAndAppend(3, 2),
        Op::Replace(2, true),
        Op::Append(2),
    ])
}

const FAULTS: [Fault; 5] = [
    Fault::Fails,
    Fault::FailsLate,
    Fault::Torn(1),
    Fault::Torn(20),
    Fault::Torn(45),
];

#[test]
fn whatever_call_fails_and_however_a_restart_finds_what_was_reported() {
    let saves = everything();
    let all = Run::new(Plan::None, &saves, 1);
    assert_eq!(all.reported, saves.len());
    let calls = all.faults.calls();
    assert!(calls > 80, "{calls}");
    for at in 0..calls {
        for fault in FAULTS {
            for plan in [Plan::Once(at, fault), Plan::Last(at, fault)] {
                let mut run = Run::new(plan, &saves, 2);
                let seed = at as u64;
                for (seed, holes) in [(seed, false), (seed + 500, false), (seed, true)] {
                    let checked = run.check_power_cut(seed, holes);
                    checked
                        .unwrap_or_else(|problem| panic!("{plan:?}, {seed}, {holes}: {problem}"));
                }
                let checked = run.check_restart(seed);
                checked.unwrap_or_else(|problem| panic!("{plan:?}, then a restart: {problem}"));
            }
        }
    }
}

#[test]
fn a_log_is_torn_at_every_byte_of_what_is_not_flushed() {
    let saves = script(&[Op::Append(2), Op::Append(3)]);
    let calls = Run::new(Plan::None, &saves, 1).faults.calls();
    for at in 0..calls {
        // The write of the second save is 3 records of 29 bytes.
        for torn in 0..=87 {
            let run = Run::new(Plan::Last(at, Fault::Torn(torn)), &saves, 1);
            run.check_power_cut(at as u64, false).unwrap();
            // All of it is there, as after kill -9.
            let found = open(&layout(&run.dir)).unwrap();
            assert!(run.explains(found.storage()));
        }
    }
}

#[test]
fn a_full_disk_ends_the_reports_and_a_restart_with_more_room_finds_all_of_them() {
    let saves = everything();
    let mut ended = 0;
    for room in 0.. {
        let mut run = Run::new(Plan::Full(room), &saves, 1);
        if run.reported < saves.len() {
            ended += 1;
        }
        let full = run.faults.is_hit();
        run.check_power_cut(room as u64, false).unwrap();
        run.check_restart(room as u64)
            .unwrap_or_else(|problem| panic!("room for {room}: {problem}"));
        if !full {
            break;
        }
    }
    assert!(ended > 500, "{ended}");
}

#[test]
fn a_full_disk_is_named_in_the_error_that_stops_the_server() {
    let dir = scratch();
    let saves = script(&[Op::Append(1), Op::Append(1)]);
    let mut opened = open(&layout(&dir)).unwrap();
    opened.store.disk.faults = Some(Arc::new(Faults::new(dir.path(), Plan::Full(70))));
    let (report, events) = std::sync::mpsc::channel();
    let writer = LogWriter::spawn(opened, move |event| report.send(event).unwrap()).unwrap();
    writer.save(saves[0].clone());
    assert!(matches!(events.recv(), Ok(LogEvent::Saved(1))));
    writer.save(saves[1].clone());
    let Ok(LogEvent::Failed(error)) = events.recv() else {
        panic!("nothing failed");
    };
    let error = error.to_string();
    assert!(error.contains("log.100000001"), "{error}");
    assert!(error.contains("make room"), "{error}");
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_no_file_behind_and_the_server_goes_on() {
    let dir = scratch();
    let layout = layout(&dir);
    let mut opened = open(&layout).unwrap();
    let saves = script(&[Op::Append(4), Op::Compact(4, 0), Op::Append(1)]);
    assert_eq!(write(&mut opened.store, &saves[..1], 1), 1);
    // The third call is the first write of the snapshot.
    let faults = Faults::new(dir.path(), Plan::Once(1, Fault::Torn(3)));
    opened.store.disk.faults = Some(Arc::new(faults));
    assert_eq!(write(&mut opened.store, &saves[1..], 1), 2);
    assert!(opened.store.disk.faults.as_ref().unwrap().is_hit());
    let names = fs::read_dir(layout.snapshots()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.ends_with(".tmp")));
    drop(opened);
    let found = open(&layout).unwrap();
    assert_eq!(all(&found.storage().history), all(&saves[2].history));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 2000 }))]

    #[test]
    fn any_fault_in_any_run_and_any_power_cut_loses_nothing_that_was_reported(
        ops in prop::collection::vec(op(), 1..12),
        batch in 1..4usize,
        at in any::<prop::sample::Index>(),
        fault in prop::sample::select(&FAULTS[..]),
        once in any::<bool>(),
        seed in any::<u64>(),
        holes in any::<bool>(),
    ) {
        let saves = script(&ops);
        let calls = Run::new(Plan::None, &saves, batch).faults.calls();
        let at = at.index(calls);
        let plan = if once { Plan::Once(at, fault) } else { Plan::Last(at, fault) };
        let mut run = Run::new(plan, &saves, batch);
        let checked = run.check_power_cut(seed, holes);
        prop_assert!(checked.is_ok(), "{:?}: {:?}", plan, checked);
        let checked = run.check_restart(seed);
        prop_assert!(checked.is_ok(), "{:?}, then a restart: {:?}", plan, checked);
    }
}

/// Each byte with each of its bits changed, and with all of them.
fn each_change(bytes: &[u8], mut check: impl FnMut(usize, &[u8])) {
    for at in 0..bytes.len() {
        for change in [1, 2, 4, 8, 16, 32, 64, 128, 0xff, bytes[at]] {
            if change != 0 {
                let mut changed = bytes.to_vec();
                changed[at] ^= change;
                check(at, &changed);
            }
        }
    }
}

#[test]
fn a_changed_byte_at_any_place_of_any_file_is_found_and_never_served() {
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let dir = scratch();
        let layout = Layout {
            compression,
            ..layout(&dir)
        };
        let mut script = Script::new();
        let ops = [
            Op::Append(3),
            Op::AcceptEpoch,
            Op::AdoptEpoch,
            Op::Compact(3, 0),
            Op::Append(3),
        ];
        let saves = ops.map(|op| script.step(op));
        let mut opened = open(&layout).unwrap();
        assert_eq!(write(&mut opened.store, &saves, 1), saves.len());
        drop(opened);
        // Whatever a start rewrites, it writes the same bytes.
        drop(open(&layout).unwrap());
        let mut files = Vec::new();
        for dir in [layout.snapshots(), layout.logs()] {
            for entry in fs::read_dir(dir).unwrap() {
                files.push(entry.unwrap().path());
            }
        }
        assert_eq!(files.len(), 9, "{files:?}");
        let expected = all(&saves[4].history);
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            let bytes = fs::read(&file).unwrap();
            each_change(&bytes, |at, changed| {
                fs::write(&file, changed).unwrap();
                match open(&layout) {
                    Err(error) => {
                        let error = error.to_string();
                        assert!(error.contains(&name), "{name}, {at}: {error}");
                        assert!(!name.starts_with("log.") || error.contains("at offset"));
                    }
                    Ok(found) => {
                        let found = (found.notes().join("\n"), all(&found.storage().history));
                        assert_eq!(found.1, expected, "{name}, {at}");
                        // A newer snapshot makes the empty one superfluous; the log reaches the newer
                        // one; and a gzip file has bits that say nothing.
                        let told = found.0.contains(&name);
                        let unused = name.starts_with("snapshot.0");
                        let idle = compression == Compression::Gzip;
                        assert!(name.starts_with("snapshot."), "{name}, {at}");
                        assert!(told || unused || idle, "{name}, {at}: {}", found.0);
                    }
                }
                fs::write(&file, &bytes).unwrap();
            });
        }
    }
}

#[test]
fn a_changed_byte_of_a_preallocated_log_is_found() {
    let dir = scratch();
    let layout = layout(&dir);
    let (path, _) = one_log(&layout, 3);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes.resize(end + 100, 0);
    let mut cut = 0;
    each_change(&bytes, |at, changed| {
        fs::write(&path, changed).unwrap();
        match open(&layout) {
            Err(error) => assert!(error.to_string().contains("at offset"), "{error}"),
            // As if a record had been begun, of which there was nothing more; or as if ZooKeeper had ended between
            // a record and its end mark: it takes two changed bits to look so.
            Ok(found) => {
                let unmarked = at == end - 1 && changed[at] == 0;
                assert!(unmarked || (end..end + 12).contains(&at), "at {at}");
                let sound = 3 - usize::from(unmarked);
                assert_eq!(all(&found.storage().history).len(), sound);
                assert_eq!(found.notes().len(), 1);
                cut += 1;
            }
        }
    });
    assert!(cut > 0);
}
