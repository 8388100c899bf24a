//! Runs in batches, each in a process of its own.
//!
//! The parts of states that a model has seen are kept for the life of the process: a search needs them again, a walk
//! over ever new states only fills the memory with them. So the walks are made by child processes of this
//! program, which end after some hundred runs. What it must never do: let the result depend on how many there are, or on which is first.

use super::tally::Tally;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What can be read while the batches are under way.
#[derive(Default)]
pub struct Progress {
    pub runs: AtomicU64,
    pub steps: AtomicU64,
    /// Set when something has gone wrong, or the time is over: no batch begins any more.
    stop: AtomicBool,
}

/// Cuts seeds into batches.
pub fn batches(seeds: Range<u64>, size: u64) -> impl Iterator<Item = Range<u64>> {
    let size = size.max(1);
    let starts = seeds
        .clone()
        .step_by(usize::try_from(size).unwrap_or(usize::MAX));
    starts.map(move |first| first..first.saturating_add(size).min(seeds.end))
}

/// Makes the batches in so many processes at a time, until something goes wrong in one or `is_over` says so, and adds their
/// tallies to `tally`. `command` gives the command that makes a batch and writes its tally to its standard output.
///
/// Batches begin in their order, and those that have begun are waited for; what comes after the first fall is left
/// out again. So the tally is the same however many processes there are.
pub fn run(
    batches: impl Iterator<Item = Range<u64>> + Send,
    processes: usize,
    mut tally: Tally,
    progress: &Progress,
    is_over: impl Fn() -> bool + Sync,
    command: impl Fn(&Range<u64>) -> Command + Sync,
) -> Result<Tally, String> {
    let waiting = Mutex::new(batches);
    let next = || {
        waiting
            .lock()
            .expect("no thread panics with this lock")
            .next()
    };
    let work = || {
        let mut made = Vec::new();
        while !progress.stop.load(Relaxed) && !is_over() {
            let Some(seeds) = next() else { break };
            let first = seeds.start;
            let batch = make(command(&seeds), &seeds)
                .inspect_err(|_| progress.stop.store(true, Relaxed))?;
            let Some(batch) = batch else { break };
            progress.runs.fetch_add(batch.runs, Relaxed);
            progress.steps.fetch_add(batch.steps, Relaxed);
            progress.stop.fetch_or(batch.fell.is_some(), Relaxed);
            made.push((first, batch));
        }
        Ok(made)
    };
    let made: Result<Vec<_>, String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..processes.max(1)).map(|_| scope.spawn(work)).collect();
        let bug = "a thread that waits for processes does not panic";
        threads
            .into_iter()
            .map(|thread| thread.join().expect(bug))
            .collect()
    });
    let made = made?.concat();
    let fell = made.iter().filter_map(|(_, batch)| batch.fell).min();
    for (_, batch) in made
        .iter()
        .filter(|(first, _)| fell.is_none_or(|fell| *first <= fell))
    {
        tally.add(batch);
    }
    Ok(tally)
}

/// Makes one batch. `None` if it was interrupted: Control-C ends the children too.
fn make(mut command: Command, seeds: &Range<u64>) -> Result<Option<Tally>, String> {
    let (first, last) = (seeds.start, seeds.end - 1);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let output = child.and_then(std::process::Child::wait_with_output);
    let output = output.map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if output.status.signal() == Some(nix::sys::signal::Signal::SIGINT as i32) {
        return Ok(None);
    }
    if !output.status.success() {
        return Err(format!(
            "the process with the runs of seeds {first} to {last} has ended with {}; make them one by one, with \
             --runs 1, to see which it was",
            output.status
        ));
    }
    postcard::from_bytes(&output.stdout)
        .map(Some)
        .map_err(|error| format!("seeds {first} to {last}: {command:?} gave no tally: {error}"))
}
