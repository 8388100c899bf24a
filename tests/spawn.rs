//! `check spawn`: the actors of the other protocols, over UDP.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // Tests start processes.

use std::process::Command;

/// What the program prints, and its exit code.
fn spawn(protocol: &str) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_check"));
    let output = command.args(["spawn", protocol]).output();
    let output = output.expect("check can be started");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("it prints text");
    (text, output.status.code())
}

#[test]
fn every_protocol_answers_a_client_over_udp() {
    let answers = [
        ("primary_backup", "command 1"),
        ("two_phase", "commit"),
        ("three_phase", "commit"),
        ("scheme_one", "value 1"),
        ("scheme_two", "value 1"),
        ("paxos", "value 1"),
        ("multi_paxos", "command 1"),
        ("raft", "command 1"),
    ];
    for (protocol, answer) in answers {
        let (text, code) = spawn(protocol);
        let told = text.lines().last().unwrap_or_default();
        assert!(told.contains("tells the client"), "{protocol}: {text}");
        assert!(told.contains(answer), "{protocol}: {text}");
        assert_eq!(code, Some(0), "{protocol}: {text}");
    }
}

#[test]
fn what_cannot_be_spawned_is_an_error_that_says_what_can() {
    let (text, code) = spawn("zab");
    assert!(text.contains("raft (zab runs as a server"), "{text}");
    assert_eq!(code, Some(2), "{text}");
}
