//! `check`: explores small ensembles of the production actor exhaustively, with every fault.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // A program with threads and clocks of its own.

mod bench;
mod bounds;
mod bugs;
mod cache;
mod catalogue;
mod checked;
mod cli;
mod consensus;
mod converge;
mod convergence;
mod coverage;
mod diagram;
mod engine;
mod environment;
mod exact;
mod explain;
mod explore;
mod faults;
mod help;
mod intern;
mod journal;
mod json;
mod judge;
mod memo;
mod memory;
mod mutants;
mod node;
mod output;
mod paint;
mod plan;
mod progress;
mod protocol;
mod record;
#[cfg(test)]
mod reductions;
mod replay;
mod report;
mod row;
mod run;
mod schedule;
mod service;
mod simulate;
mod steps;
mod successors;
mod svg;
mod symmetry;
mod tale;
#[cfg(test)]
mod tale_tests;
#[cfg(test)]
mod tests;
mod trace;
mod transaction;
mod trial;
mod visited;
mod world;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("check: {error}");
            ExitCode::from(2)
        }
    }
}
