//! `check simulate` as a program: its processes, its exit code, and the line that makes a run again.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // Tests start processes.

use std::process::Command;

/// What the program prints with these arguments, or the error if it prints nothing, and its exit code.
fn check(arguments: &str) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_check"));
    command.args(arguments.split_whitespace());
    let output = command.output().expect("check can be started");
    let text = match output.stdout.is_empty() {
        true => output.stderr,
        false => output.stdout,
    };
    let text = String::from_utf8(text).expect("it prints text");
    (text, output.status.code())
}

/// The lines without those that tell the time.
fn timeless(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| !line.contains("steps/s"))
        .collect()
}

#[test]
fn what_happens_does_not_depend_on_the_number_of_processes() {
    let (one, code) = check("simulate ensemble --runs 230 --threads 1");
    let (three, _) = check("simulate ensemble --runs 230 --threads 3");
    assert_eq!(timeless(&one), timeless(&three));
    assert!(
        one.contains("PASSED: ensemble, seeds 1 to 230: 230 runs"),
        "{one}"
    );
    assert_eq!(code, Some(0));
}

#[test]
fn a_broken_variant_is_told_with_a_line_that_makes_the_run_again() {
    let (one, code) = check("simulate zab --mutant no_trunc --threads 1");
    let (three, _) = check("simulate zab --mutant no_trunc --threads 3");
    let line = |text: &str| {
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix("To see it again: check "));
        found
            .unwrap_or_else(|| panic!("no such line: {text}"))
            .to_owned()
    };
    assert_eq!((line(&one), code), (line(&three), Some(1)));
    let (again, code) = check(&line(&one));
    assert_eq!((line(&again), code), (line(&one), Some(1)));
    let steps = |text: &str| {
        let (_, after) = text.split_once(" falls in ").expect("an invariant falls");
        after
            .to_owned()
            .lines()
            .take_while(|line| !line.starts_with("FAILED"))
            .fold(String::new(), |steps, line| steps + line + "\n")
    };
    assert_eq!(steps(&again), steps(&one));
}

#[test]
fn a_shard_makes_its_part_of_the_runs() {
    let (text, code) = check("simulate zab --runs 30 --seed 100 --shard 2/3");
    assert!(
        text.contains("PASSED: zab, seeds 110 to 119: 10 runs"),
        "{text}"
    );
    assert_eq!(code, Some(0));
}

#[test]
fn what_cannot_be_simulated_is_an_error_that_says_what_can() {
    for (arguments, words) in [
        (
            "simulate zoo",
            "the models are election, zab, ensemble, replaced, alone, service",
        ),
        (
            "simulate zab --mutant nothing",
            "there are ack_before_saved",
        ),
        (
            "simulate service --mutant no_trunc",
            "there are answer_before_events",
        ),
        ("simulate --mutant no_trunc", "needs a model"),
        ("simulate zab --shard 4/3", "with I from 1 to N"),
        (
            "simulate zab --seed 18446744073709551615",
            "no room for so many seeds",
        ),
    ] {
        let (text, code) = check(arguments);
        assert!(text.contains(words), "{arguments}: {text}");
        assert_eq!(code, Some(2), "{arguments}");
    }
}
