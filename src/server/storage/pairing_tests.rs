//! Which directories a server starts on: those that belong together, wherever they are, and no others.

use super::tests::*;
use super::*;
use std::fs;
use tempfile::TempDir;

/// What the directories of a server hold in the end.
type Content = Vec<(Zxid, u64)>;

/// A server with directories of these names below `dir`, and what it has written.
fn server(dir: &TempDir, data: &str, logs: &str) -> (Layout, Content) {
    let layout = at(dir, data, logs);
    let mut script = Script::new();
    let saves = [
        Op::AdoptEpoch,
        Op::Append(3),
        Op::Compact(2, 0),
        Op::Append(2),
    ];
    let saves = saves.map(|op| script.step(op));
    let mut opened = open(&layout).unwrap();
    assert_eq!(write(&mut opened.store, &saves, 1), saves.len());
    let content = all(&saves[3].history);
    (layout, content)
}

fn at(dir: &TempDir, data: &str, logs: &str) -> Layout {
    Layout {
        data_dir: dir.path().join(data),
        log_dir: dir.path().join(logs),
        ..layout(dir)
    }
}

/// The files of a directory whose names begin so, to another one.
fn move_files(from: &Path, to: &Path, starts: &[&str]) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if starts.iter().any(|start| name.starts_with(start)) {
            fs::rename(&path, to.join(name)).unwrap();
        }
    }
}

/// A start that is refused, with these words in what it says; and a look at the directory says the same.
fn refused(layout: &Layout, words: &[&str]) {
    for dir in [layout.snapshots(), layout.logs()] {
        fs::create_dir_all(dir).unwrap();
    }
    let looked = pairing::examine(layout).unwrap_err().to_string();
    let error = match open(layout) {
        Err(error @ StorageError::Apart { .. }) => error.to_string(),
        other => panic!("{:?}", other.map(|found| all(&found.storage().history))),
    };
    assert_eq!(looked, error);
    for word in words {
        assert!(error.contains(word), "{word}: {error}");
    }
}

fn starts(layout: &Layout, content: &Content) {
    for time in ["first", "second"] {
        let found = open(layout).unwrap();
        assert_eq!(&all(&found.storage().history), content, "the {time} start");
    }
}

#[test]
fn a_log_directory_that_is_added_taken_away_swapped_or_another_one_is_refused_with_the_mend() {
    let dir = scratch();
    let (layout, content) = server(&dir, "data", "data");
    refused(
        &at(&dir, "data", "logs"),
        &["dataDir holds logs", "move the files log.*", "dataLogDir"],
    );
    starts(&layout, &content);

    let dir = scratch();
    let (layout, content) = server(&dir, "data", "logs");
    refused(&at(&dir, "logs", "data"), &["swap dataDir and dataLogDir"]);
    let home = layout.logs().display().to_string();
    refused(&at(&dir, "data", "data"), &["set dataLogDir", &home]);
    refused(&at(&dir, "data", "others"), &["set dataLogDir", &home]);
    let (_, _) = server(&dir, "data2", "logs2");
    refused(&at(&dir, "data", "logs2"), &["are not those", &home]);
    refused(&at(&dir, "new", "logs2"), &["logs of another dataDir"]);
    starts(&layout, &content);
}

#[test]
fn an_operator_may_move_both_directories_or_the_logs_with_their_mark() {
    let dir = scratch();
    let (layout, content) = server(&dir, "data", "logs");
    fs::create_dir(dir.path().join("disk")).unwrap();
    for name in ["data", "logs"] {
        let from = dir.path().join(name);
        fs::rename(from, dir.path().join("disk").join(name)).unwrap();
    }
    let moved = at(&dir, "disk/data", "disk/logs");
    starts(&moved, &content);
    // The next error names the new place.
    let home = moved.logs().display().to_string();
    refused(&at(&dir, "disk/data", "others"), &[&home]);

    let single = at(&dir, "disk/data", "disk/data");
    move_files(&moved.logs(), &single.logs(), &["log.", "keepright.logs"]);
    starts(&single, &content);
    let split = at(&dir, "disk/data", "disk/more");
    move_files(&single.logs(), &split.logs(), &["log."]);
    refused(&split, &["move the files log.* and keepright.logs"]);
    move_files(&single.logs(), &split.logs(), &["keepright.logs"]);
    starts(&split, &content);
    drop(layout);
}

#[test]
fn a_directory_without_marks_is_taken_over_by_zookeepers_rule() {
    let dir = scratch();
    let (layout, content) = server(&dir, "data", "logs");
    let forget = || {
        fs::remove_file(layout.snapshots().join("keepright.snapshots")).unwrap();
        fs::remove_file(layout.logs().join("keepright.logs")).unwrap();
    };
    forget();
    refused(&at(&dir, "logs", "data"), &["swap"]);
    starts(&layout, &content);
    // One log that stayed behind.
    forget();
    fs::write(layout.snapshots().join("log.1"), b"").unwrap();
    refused(&layout, &["dataDir holds logs"]);
}

#[test]
fn a_server_that_is_to_learn_anew_needs_both_directories_away() {
    let dir = scratch();
    let (layout, _) = server(&dir, "data", "logs");
    fs::remove_dir_all(layout.snapshots()).unwrap();
    refused(&layout, &["move", "logs", "as well"]);
    for (_, path) in layout.list_logs().unwrap() {
        fs::remove_file(path).unwrap();
    }
    starts(&layout, &Vec::new());
}

#[test]
fn a_mark_that_was_being_made_is_made_again() {
    let dir = scratch();
    let (layout, content) = server(&dir, "data", "logs");
    let mark = layout.snapshots().join("keepright.snapshots");
    let text = fs::read_to_string(&mark).unwrap();
    let line = text.lines().next().unwrap().replace("joined", "joining");
    for with_logs in [true, false] {
        fs::write(&mark, sealed::seal(&line)).unwrap();
        if !with_logs {
            fs::remove_file(layout.logs().join("keepright.logs")).unwrap();
        }
        starts(&layout, &content);
        assert_eq!(fs::read_to_string(&mark).unwrap(), text);
    }
}

#[test]
fn missing_directories_are_told_to_who_forbids_to_make_them() {
    let dir = scratch();
    let layout = layout(&dir);
    for missing in [layout.logs(), layout.snapshots()] {
        let error = layout.must_exist().unwrap_err().to_string();
        assert!(
            error.contains(&missing.display().to_string()) && error.contains("datadir.autocreate"),
            "{error}"
        );
        fs::create_dir_all(missing).unwrap();
    }
    layout.must_exist().unwrap();
}
