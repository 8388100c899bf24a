//! Journals of real servers, replayed by `check replay`.
//!
//! Spec: `spec/6-server.md`, "Journal".

#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // Tests read files and start processes.

mod ensemble;
#[path = "../ports/mod.rs"]
mod ports;

use ensemble::Ensemble;
use keepright::service::PeerMsg;
use keepright::service::journal::{
    FRAME, Frame, Input, MAGIC, Seal, read_frame, read_header, read_record,
};
use keepright::zab::Message;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What `check replay` prints, and whether it is content.
fn replay(dirs: &[PathBuf], options: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_check"))
        .arg("replay")
        .args(dirs)
        .args(options)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// The number before a word of a text.
fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().unwrap();
    before
        .split_whitespace()
        .next_back()
        .unwrap()
        .parse()
        .unwrap()
}

/// Copies a journal, to be tampered with.
fn copy(journal: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(journal).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to.to_owned()
}

/// Where the records of a file are; the first is record 1.
fn records(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut offset = MAGIC.len() + 4;
    while offset < bytes.len() {
        let Frame::Whole { rest, .. } = read_frame(&bytes[offset..]) else {
            panic!("a frame at {offset}");
        };
        let end = bytes.len() - rest.len();
        ranges.push(offset..end);
        offset = end;
    }
    ranges.remove(0);
    ranges
}

/// Makes the checksum of a frame right again.
fn seal(bytes: &mut [u8], frame: Range<usize>) {
    let content = frame.start + FRAME..frame.end;
    let checksum = simd_adler32::adler32(&&bytes[content.clone()]).to_be_bytes();
    bytes[content.start - 4..content.start].copy_from_slice(&checksum);
}

/// Makes the digests of the inputs right again, from the first record on.
fn forge_inputs(bytes: &mut [u8]) {
    let mut before = Seal::default();
    for frame in records(bytes) {
        let content = frame.start + FRAME;
        let record = read_record(&bytes[content..frame.end]).unwrap();
        before = before.after_input(record.at, record.bytes);
        let inputs = before.inputs.to_be_bytes();
        bytes[content + 8..content + 16].copy_from_slice(&inputs);
        seal(bytes, frame);
    }
}

/// The first record of a file that holds a proposal with a znode in it, and where the name is.
fn a_proposal(bytes: &[u8]) -> (usize, Range<usize>, usize) {
    let of_proposal = |(_, frame): &(usize, Range<usize>)| {
        let record = read_record(&bytes[frame.start + FRAME..frame.end]).unwrap();
        let is_proposal = matches!(
            record.input,
            Input::Peer(_, PeerMsg::Zab(Message::Propose { .. }))
        );
        is_proposal && find(record.bytes, b"/first-").is_some()
    };
    let (index, frame) = records(bytes)
        .into_iter()
        .enumerate()
        .find(of_proposal)
        .expect("a follower was sent a proposal");
    let place = frame.start + find(&bytes[frame.clone()], b"/first-").unwrap() + 1;
    (index + 1, frame, place)
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[test]
fn the_journals_of_a_run_with_a_killed_leader_replay_and_every_invariant_holds() {
    let mut ensemble = Ensemble::start("snapCount=100\n");
    let first = ensemble.wait_for(3);
    let follower = first % 3 + 1;
    ensemble.write(follower, "first", 120);
    ensemble.kill(first);
    let second = ensemble.wait_for(2);
    ensemble.write(second, "second", 120);
    ensemble.restart(first);
    assert_eq!(ensemble.wait_for(3), second);
    ensemble.write(first, "third", 120);
    ensemble.stop();
    let dirs: Vec<_> = (1..=3).map(|server| ensemble.journal(server)).collect();

    let (passed, text) = replay(&dirs, &[]);
    assert!(passed && text.contains("PASSED"), "{text}");
    assert!(!text.contains("FALLS") && !text.contains("note:"), "{text}");
    assert_eq!(text.matches(" holds ").count(), 26, "{text}");
    assert_eq!(number_before(&text, " restarts"), 1, "{text}");
    // The sessions are transactions, too.
    assert!(
        number_before(&text, " transactions committed") >= 363,
        "{text}"
    );
    assert!(number_before(&text, " elections won") >= 2, "{text}");

    it_is_exported(&ensemble, &dirs);
    a_missing_journal_is_named(&dirs, first);
    a_torn_tail_is_cut_and_noted(&ensemble, &dirs, first);
    damage_is_refused_with_its_place(&ensemble, &dirs, follower);
    a_changed_input_is_refused_with_its_place(&ensemble, &dirs, follower);
    a_missing_record_is_refused_with_its_place(&ensemble, &dirs, follower);
    a_forged_input_is_refused_for_what_the_actor_does(&ensemble, &dirs, follower);
    what_was_durable_and_is_not_found_is_told(&ensemble, &dirs, first);
}

/// What lets members be replaced, by the superuser `super:test`.
const REPLACEABLE: &str = "reconfigEnabled=true\nsnapCount=50\n\
    zookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=\n";

#[test]
fn members_are_replaced_while_clients_write_and_the_journals_replay() {
    let mut ensemble = Ensemble::with_guests(3, 1, REPLACEABLE);
    let first = ensemble.wait_for(4);
    ensemble.write(4, "guest", 60);
    // The guest takes the place of the leader.
    let list = ensemble.reconfigure(4, &[4], &first.to_string());
    assert!(
        list.contains("server.4=") && !list.contains(&format!("server.{first}=")),
        "{list}"
    );
    let second = wait_for_other(&ensemble, first);
    ensemble.write(first, "replaced", 60);
    let quorum = ensemble.word(second, "quor");
    assert!(quorum.contains("Role: LEADING\nQuorum: yes\n"), "{quorum}");
    for server in (1..=4).filter(|server| *server != second) {
        let line = format!("Server {server}: has acknowledged 0x");
        assert!(quorum.contains(&line), "{quorum}");
    }
    // Neither who has left nor one of three is needed.
    let third = (1..=4)
        .find(|server| ![first, second].contains(server))
        .unwrap();
    ensemble.kill(first);
    ensemble.kill(third);
    ensemble.write(ensemble.wait_for(2), "fewer", 60);
    // The files still say what they said.
    ensemble.restart(first);
    ensemble.restart(third);
    ensemble.wait_for(4);
    ensemble.stop();
    (1..=4).for_each(|server| ensemble.restart(server));
    let leader = ensemble.wait_for(4);
    assert_ne!(leader, first, "it has no vote");
    ensemble.write(first, "again", 60);
    let list = ensemble.reconfigure(first, &[first], "");
    assert!(list.contains(&format!("server.{first}=")), "{list}");
    ensemble.write(leader, "four", 60);
    ensemble.stop();
    let dirs: Vec<_> = (1..=4).map(|server| ensemble.journal(server)).collect();
    let (passed, text) = replay(&dirs, &[]);
    assert!(passed && text.contains("PASSED"), "{text}");
    assert!(
        !text.contains("FALLS") && !text.contains("needs all voters"),
        "{text}"
    );
    for witness in ["reconfiguration_delivered", "membership_in_force"] {
        let line = text.lines().find(|line| line.contains(witness));
        assert!(line.is_some_and(|line| line.contains("in step")), "{text}");
    }
}

/// Waits until somebody else leads.
fn wait_for_other(ensemble: &Ensemble, leader: usize) -> usize {
    let start = Instant::now();
    loop {
        let other = ensemble.wait_for(4);
        if other != leader {
            return other;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{leader} leads on"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn it_is_exported(ensemble: &Ensemble, dirs: &[PathBuf]) {
    let (json, svg) = (
        ensemble.dir.path().join("run.json"),
        ensemble.dir.path().join("run.svg"),
    );
    let files = [json.to_str().unwrap(), svg.to_str().unwrap()];
    let (passed, text) = replay(
        dirs,
        &["--save", files[0], "--svg", files[1], "--to", "600"],
    );
    assert!(passed, "{text}");
    let trace: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(trace["servers"], serde_json::json!([1, 2, 3]));
    let steps = trace["steps"].as_array().unwrap();
    let sentences: Vec<_> = steps
        .iter()
        .map(|s| s["sentence"].as_str().unwrap())
        .collect();
    for words in [
        "starts with epochs 0/0",
        "receives NewEpoch(1",
        "receives Ack(epoch 1",
    ] {
        assert!(
            sentences.iter().any(|s| s.contains(words)),
            "{words}: {sentences:?}"
        );
    }
    let numbers: Vec<_> = steps
        .iter()
        .map(|step| step["number"].as_u64().unwrap())
        .collect();
    assert!(numbers.is_sorted() && numbers.iter().all(|number| *number <= 600));
    let received = steps
        .iter()
        .map(|step| (&step["number"], &step["received"]));
    for (number, received) in received.filter(|(_, received)| !received.is_null()) {
        assert!(
            received["sent"].as_u64() < number.as_u64(),
            "{received} in {number}"
        );
    }
    assert_eq!(steps[0]["lines"].as_array().unwrap().len(), 3);
    let svg = fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("NewEpoch(1") && svg.contains("server 3"));
}

fn a_missing_journal_is_named(dirs: &[PathBuf], missing: usize) {
    let given: Vec<_> = (1..=3).filter(|server| *server != missing).collect();
    let given: Vec<_> = given
        .iter()
        .map(|server| dirs[server - 1].clone())
        .collect();
    let (passed, text) = replay(&given, &[]);
    let note = format!("messages of server {missing}, whose journal was not given");
    assert!(passed && text.contains(&note), "{text}");
    assert!(text.contains("needs all voters"), "{text}");
}

/// The journals with one of them replaced by a copy in which the first file is changed.
fn tampered(
    ensemble: &Ensemble,
    dirs: &[PathBuf],
    server: usize,
    name: &str,
    tamper: impl FnOnce(&mut Vec<u8>),
) -> (Vec<PathBuf>, PathBuf) {
    let mut dirs = dirs.to_vec();
    let copied = copy(&dirs[server - 1], &ensemble.dir.path().join(name));
    let file = copied.join("journal.00000001");
    let mut bytes = fs::read(&file).unwrap();
    tamper(&mut bytes);
    fs::write(&file, bytes).unwrap();
    dirs[server - 1] = copied;
    (dirs, file)
}

fn a_torn_tail_is_cut_and_noted(ensemble: &Ensemble, dirs: &[PathBuf], killed: usize) {
    let (dirs, file) = tampered(ensemble, dirs, killed, "torn", |bytes| {
        let last = records(bytes).pop().unwrap();
        bytes.truncate(last.end - 3);
    });
    let (passed, text) = replay(&dirs, &[]);
    let note = format!("note: {}: record ", file.display());
    assert!(
        passed && text.contains(&note) && text.contains("cut, for"),
        "{text}"
    );
}

fn damage_is_refused_with_its_place(ensemble: &Ensemble, dirs: &[PathBuf], server: usize) {
    let mut offset = 0;
    let (dirs, file) = tampered(ensemble, dirs, server, "damaged", |bytes| {
        let frame = records(bytes).swap_remove(16);
        offset = frame.start;
        bytes[frame.end - 1] ^= 1;
    });
    let (passed, text) = replay(&dirs, &[]);
    let place = format!(
        "{}: record 17 at offset {offset} is damaged",
        file.display()
    );
    assert!(!passed && text.contains(&place), "{place}: {text}");
}

fn a_changed_input_is_refused_with_its_place(ensemble: &Ensemble, dirs: &[PathBuf], server: usize) {
    let mut place = String::new();
    let (dirs, file) = tampered(ensemble, dirs, server, "changed", |bytes| {
        let (number, frame, name) = a_proposal(bytes);
        place = format!("record {number} at offset {}", frame.start);
        bytes[name] ^= 1;
        seal(bytes, frame);
    });
    let (passed, text) = replay(&dirs, &[]);
    let place = format!("{}: {place}: this input is not the one", file.display());
    assert!(!passed && text.contains(&place), "{place}: {text}");
}

fn a_missing_record_is_refused_with_its_place(
    ensemble: &Ensemble,
    dirs: &[PathBuf],
    server: usize,
) {
    let mut place = String::new();
    let (dirs, file) = tampered(ensemble, dirs, server, "missing", |bytes| {
        let (number, frame, _) = a_proposal(bytes);
        place = format!("record {number} at offset {}", frame.start);
        bytes.drain(frame);
    });
    let (passed, text) = replay(&dirs, &[]);
    let place = format!("{}: {place}: this input is not the one", file.display());
    assert!(!passed && text.contains(&place), "{place}: {text}");
}

/// Who mends the digests of the inputs, too, is found out by what the actor does.
fn a_forged_input_is_refused_for_what_the_actor_does(
    ensemble: &Ensemble,
    dirs: &[PathBuf],
    server: usize,
) {
    let mut place = String::new();
    let (dirs, file) = tampered(ensemble, dirs, server, "forged", |bytes| {
        let records = records(bytes);
        let is_save = |frame: &Range<usize>| {
            let record = read_record(&bytes[frame.start + FRAME..frame.end]).unwrap();
            matches!(record.input, Input::Saved(1))
        };
        let index = records
            .iter()
            .rposition(is_save)
            .expect("a save was durable");
        place = format!("record {} at offset {}", index + 1, records[index].start);
        let frame = records[index].clone();
        bytes[frame.end - 1] = 0; // Saved(0)
        seal(bytes, frame);
        forge_inputs(bytes);
    });
    let (passed, text) = replay(&dirs, &[]);
    let place = format!(
        "{}: {place}: the actor does not do what it did: it ",
        file.display()
    );
    assert!(!passed && text.contains(&place), "{place}: {text}");
}

/// The storage of the second start put back to that of the first.
fn what_was_durable_and_is_not_found_is_told(
    ensemble: &Ensemble,
    dirs: &[PathBuf],
    restarted: usize,
) {
    let mut dirs = dirs.to_vec();
    let copied = copy(&dirs[restarted - 1], &ensemble.dir.path().join("lost"));
    let second = copied.join("journal.00000002");
    let bytes = fs::read(&second).unwrap();
    let Frame::Whole { content, .. } = read_frame(&bytes[MAGIC.len() + 4..]) else {
        panic!("a header");
    };
    let header = read_header(content).unwrap();
    // A server that starts with an empty disk, and nothing after that.
    let (replica, mut state, mut out) = (header.replica(), None, stateright::actor::Out::new());
    let mut file = Vec::new();
    keepright::service::journal::push_start(&mut file, &header);
    let input = Input::Start(Box::default());
    let record = keepright::service::journal::begin_record(&mut file, u64::MAX, &input);
    input.run(&replica, &mut state, &mut out);
    let before = Seal::default();
    keepright::service::journal::end_record(&mut file, record, before, &out, &mut Vec::new());
    fs::write(&second, file).unwrap();
    dirs[restarted - 1] = copied;
    let (passed, text) = replay(&dirs, &[]);
    assert!(!passed && text.contains("FAILED"), "{text}");
    let line = format!("LOST: server {restarted}: accepted epoch 1 was durable, 0 is found");
    assert!(text.contains(&line), "{text}");
}
