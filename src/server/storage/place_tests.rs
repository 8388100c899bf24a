//! What is moved, removed or replaced under a running server: nothing is reported that a restart would not find.

use super::tests::*;
use super::*;
use std::fs;
use std::sync::mpsc::{Receiver, channel};

/// A server on a directory, with two saves that were reported.
struct Running {
    script: Script,
    writer: LogWriter<Numbers>,
    events: Receiver<LogEvent>,
}

impl Running {
    fn on(layout: &Layout) -> Self {
        let (report, events) = channel();
        let opened = open(layout).unwrap();
        let writer = LogWriter::spawn(opened, move |event| {
            let _ = report.send(event);
        });
        let script = Script::new();
        let writer = writer.unwrap();
        let mut running = Self {
            script,
            writer,
            events,
        };
        for op in [Op::Append(2), Op::Append(1)] {
            assert!(matches!(running.save(op), LogEvent::Saved(1)));
        }
        running
    }

    fn save(&mut self, op: Op) -> LogEvent {
        let save = self.script.step(op);
        self.writer.save(save);
        self.events.recv().unwrap()
    }
}

/// What happens to the directory of the server, and what must go wrong then.
type Change = fn(&Layout);

#[test]
fn no_save_is_reported_after_the_log_has_gone_from_its_place() {
    let changes: [(&str, Change); 4] = [
        ("moved", |layout| {
            fs::rename(layout.logs(), layout.log_dir.join("elsewhere")).unwrap();
        }),
        ("replaced by an empty one", |layout| {
            fs::rename(layout.logs(), layout.log_dir.join("elsewhere")).unwrap();
            fs::create_dir(layout.logs()).unwrap();
        }),
        ("removed and made again", |layout| {
            fs::remove_dir_all(layout.logs()).unwrap();
            fs::create_dir(layout.logs()).unwrap();
        }),
        ("the file alone is replaced", |layout| {
            let (_, file) = layout.list_logs().unwrap().pop().unwrap();
            let bytes = fs::read(&file).unwrap();
            fs::remove_file(&file).unwrap();
            fs::write(&file, bytes).unwrap();
        }),
    ];
    for (name, change) in changes {
        // One that appends to the open log, one that begins a file, and one that writes an epoch.
        for first in [Op::Append(1), Op::Compact(2, 0), Op::AcceptEpoch] {
            let dir = scratch();
            let layout = Layout {
                log_dir: dir.path().join("data"),
                ..layout(&dir)
            };
            let mut running = Running::on(&layout);
            change(&layout);
            let mut told = vec![running.save(first)];
            if matches!(told[0], LogEvent::Saved(_)) {
                // Nothing was written; the next save is.
                told.push(running.save(Op::Append(1)));
            }
            let failed = told.pop().unwrap();
            let LogEvent::Failed(StorageError::Moved { path }) = failed else {
                panic!("{name}, {first:?}: {failed:?}");
            };
            assert!(path.starts_with(&layout.data_dir), "{}", path.display());
        }
    }
}

#[test]
fn no_epoch_and_no_snapshot_is_written_into_what_took_the_place_of_the_data_directory() {
    let dir = scratch();
    let layout = layout(&dir);
    let mut running = Running::on(&layout);
    fs::rename(layout.snapshots(), layout.data_dir.join("elsewhere")).unwrap();
    fs::create_dir(layout.snapshots()).unwrap();
    // The snapshot is not due to anybody: the log goes on.
    assert!(matches!(
        running.save(Op::Compact(2, 0)),
        LogEvent::Saved(1)
    ));
    let failed = running.save(Op::AcceptEpoch);
    assert!(matches!(
        failed,
        LogEvent::Failed(StorageError::Moved { .. })
    ));
    drop(running);
    let left: Vec<_> = fs::read_dir(layout.snapshots()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
