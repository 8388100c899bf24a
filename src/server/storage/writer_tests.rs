//! The threads behind the data directory: one writes the log and reports what is durable, one writes snapshots
//! and holds up no save.

use super::faults::{Fault, Faults, Plan};
use super::tests::*;
use super::*;
use crate::persistent::Vector;
use crate::types::Epoch;
use crate::zab::{Entry, Snapshot};
use std::fs;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};

#[test]
fn the_log_writer_reports_every_save_once_and_in_order_and_stops_at_the_first_error() {
    let dir = scratch();
    let layout = layout(&dir);
    let saves = script(&[
        Op::Append(1),
        Op::Append(2),
        Op::Compact(2, 0),
        Op::Replace(1, true),
        Op::Append(4),
    ]);
    let (report, events) = std::sync::mpsc::channel();
    let writer = LogWriter::spawn(open(&layout).unwrap(), move |event| {
        report.send(event).unwrap()
    })
    .unwrap();
    for save in &saves {
        writer.save(save.clone());
    }
    drop(writer);
    let counts: usize = events
        .iter()
        .map(|event| match event {
            LogEvent::Saved(count) => count,
            LogEvent::Failed(error) => panic!("{error}"),
        })
        .sum();
    assert_eq!(counts, saves.len());
    let mut opened = open(&layout).unwrap();
    assert_eq!(all(&opened.storage().history), all(&saves[4].history));

    let faults = Faults::new(dir.path(), Plan::Last(0, Fault::Fails));
    opened.store.disk.faults = Some(Arc::new(faults));
    let mut script = Script {
        storage: opened.storage().clone(),
        epoch: Epoch(9),
        counter: 0,
        txn: 9,
    };
    let (report, events) = std::sync::mpsc::channel();
    let writer = LogWriter::spawn(opened, move |event| report.send(event).unwrap()).unwrap();
    for _ in 0..3 {
        writer.save(script.step(Op::Append(1)));
    }
    drop(writer);
    let events: Vec<_> = events.iter().collect();
    assert!(matches!(events[..], [LogEvent::Failed(_)]), "{events:?}");
}

#[test]
fn what_the_log_writer_has_reported_survives_a_power_cut_at_any_moment() {
    let ops = [
        Op::Append(2),
        Op::AcceptEpoch,
        Op::AdoptEpoch,
        Op::Append(1),
        Op::Compact(3, 1),
        Op::Append(3),
    ];
    let saves = script(&ops);
    for fuse in 0..60 {
        let dir = scratch();
        let layout = layout(&dir);
        let mut opened = open(&layout).unwrap();
        let faults = Faults::new(dir.path(), Plan::Last(fuse, Fault::Torn(10)));
        let faults = Arc::new(faults);
        opened.store.disk.faults = Some(Arc::clone(&faults));
        let (report, events) = std::sync::mpsc::channel();
        let writer = LogWriter::spawn(opened, move |event| report.send(event).unwrap()).unwrap();
        let mut reported = 0;
        for save in &saves {
            writer.save(save.clone());
            match events.recv().unwrap() {
                LogEvent::Saved(count) => reported += count,
                LogEvent::Failed(_) => break,
            }
        }
        drop(writer);
        let left = scratch();
        faults.power_cut(&mut |below| fuse % below, false, left.path());
        let found = open(&self::layout(&left)).unwrap();
        let found = found.storage();
        if let Some(last) = reported.checked_sub(1) {
            assert!(all(&found.history).starts_with(&all(&saves[last].history)));
            assert!(found.accepted_epoch >= saves[last].accepted_epoch);
            assert!(found.current_epoch >= saves[last].current_epoch);
        }
        assert!(faults.is_hit() || reported == saves.len());
    }
}

/// A codec whose snapshots are written when the gate opens.
#[derive(Clone)]
struct Gated(Arc<(Mutex<bool>, Condvar)>);

impl Codec<Numbers> for Gated {
    fn encode_entry(&self, entry: &Entry<u64>, bytes: &mut Vec<u8>) {
        Plain.encode_entry(entry, bytes);
    }

    fn decode_entry(&self, bytes: &[u8]) -> Result<Entry<u64>, String> {
        Plain.decode_entry(bytes)
    }

    fn write_snapshot(
        &self,
        snapshot: &Snapshot<Vector<(Zxid, u64)>>,
        writer: &mut dyn Write,
    ) -> io::Result<()> {
        let (open, opened) = &*self.0;
        let open = opened.wait_while(open.lock().unwrap(), |open| !*open);
        drop(open.unwrap());
        Plain.write_snapshot(snapshot, writer)
    }

    fn read_snapshot(
        &self,
        zxid: Zxid,
        reader: &mut dyn Read,
    ) -> Result<Vector<(Zxid, u64)>, String> {
        Plain.read_snapshot(zxid, reader)
    }
}

#[test]
fn a_snapshot_that_is_being_written_holds_up_no_save_and_is_of_its_point_in_time() {
    let dir = scratch();
    let layout = layout(&dir);
    drop(open(&layout).unwrap());
    let gate = Gated(Arc::new((Mutex::new(false), Condvar::new())));
    let opened = DataDir::open(layout.clone(), gate.clone()).unwrap();
    let (report, events) = std::sync::mpsc::channel();
    let writer = LogWriter::spawn(opened, move |event| report.send(event).unwrap()).unwrap();
    let saves = script(&[
        Op::Append(4),
        Op::Compact(4, 0),
        Op::Append(1),
        Op::Append(1),
    ]);
    for save in &saves {
        writer.save(save.clone());
        // If it waited for the snapshot, this would wait for ever.
        assert!(matches!(events.recv().unwrap(), LogEvent::Saved(1)));
    }
    let snapshot = layout.snapshot(Zxid::new(Epoch(1), 4));
    assert!(!snapshot.exists());
    *gate.0.0.lock().unwrap() = true;
    gate.0.1.notify_all();
    drop(writer);
    let file = fs::File::open(&snapshot).unwrap();
    let written = Plain.read_snapshot(Zxid(0), &mut { file }).unwrap();
    assert_eq!(written.len(), 4);
    let found = open(&layout).unwrap();
    assert_eq!(all(&found.storage().history), all(&saves[3].history));
}

/// How many snapshots are left of seven when a server starts and stops, under this setting.
fn snapshots_left(purge: Purge) -> usize {
    let dir = scratch();
    let mut layout = Layout {
        purge: Purge::Never,
        ..layout(&dir)
    };
    let mut opened = open(&layout).unwrap();
    let mut script = Script::new();
    for _ in 0..6 {
        let saves = [Op::Append(3), Op::Compact(3, 0)].map(|op| script.step(op));
        assert_eq!(write(&mut opened.store, &saves, 1), 2);
    }
    drop(opened);
    layout.purge = purge;
    drop(LogWriter::spawn(open(&layout).unwrap(), |_| ()).unwrap());
    layout.list_snapshots().unwrap().len()
}

#[test]
fn old_snapshots_stay_until_the_setting_says_that_they_go() {
    assert_eq!(snapshots_left(Purge::Never), 7);
    assert_eq!(snapshots_left(Purge::WithSnapshots), 7);
    let day = std::time::Duration::from_secs(86_400);
    assert_eq!(snapshots_left(Purge::Every(day)), 3);
}

#[test]
fn a_directory_gets_a_first_snapshot_without_which_zookeeper_refuses_its_log() {
    let dir = scratch();
    let layout = layout(&dir);
    drop(open(&layout).unwrap());
    let snapshots = layout.list_snapshots().unwrap();
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0].0, Zxid::ZERO);
}
