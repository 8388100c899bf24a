//! The program `keepright`: one server, or a cluster of them on one machine to try out.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // A program that handles processes and files.

mod cluster;
mod files;

use clap::{Parser, Subcommand};
use keepright::server::{self, Config};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// A ZooKeeper-compatible coordination service.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one server from a configuration file with ZooKeeper's keys.
    ///
    /// It stops cleanly on SIGTERM and Control-C. RUST_LOG=debug makes its log say more.
    Server {
        /// The configuration: a zoo.cfg.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Write every input of the replication protocol to a new file in this directory, for
        /// `check replay`. One directory a server.
        #[arg(long, value_name = "DIR")]
        journal: Option<PathBuf>,
        /// A key that counts more than the file, as ZooKeeper's users give it to the Java virtual
        /// machine: -Dzookeeper.DigestAuthenticationProvider.superDigest=super:...
        #[arg(short = 'D', value_name = "KEY=VALUE")]
        define: Vec<String>,
    },
    /// Run an ensemble on this machine, to try things out: each server is a process of its own.
    ///
    /// Control-C stops them all. A server that ends by itself or is killed is not restarted.
    Cluster(cluster::Options),
    /// Examine a data directory: what is damaged, where, and how to mend it. Changes nothing.
    #[command(after_help = files::FSCK_HELP)]
    Fsck(files::Directory),
    /// Put the data of a server aside, so that it learns those of the others when it starts.
    ///
    /// For a server that was found to have another history than the others. Nothing is deleted: version-2 gets another name.
    /// Until a leader has brought it up to date, the server counts in no quorum.
    Adopt(files::Directory),
    /// Print what a data directory holds: the newest snapshot, and the transaction log.
    #[command(after_help = files::DUMP_HELP)]
    Dump(files::DumpOptions),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let result = match arguments.command {
        Command::Server {
            config,
            journal,
            define,
        } => run_server(&config, &define, journal.as_deref()),
        Command::Cluster(options) => cluster::run(&options),
        Command::Adopt(directory) => return files::adopt(&directory),
        Command::Fsck(directory) => return files::fsck(&directory),
        Command::Dump(options) => return files::dump(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            tracing::error!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn run_server(config: &Path, define: &[String], journal: Option<&Path>) -> Result<(), String> {
    let config = Config::load_with(config, define).map_err(|error| error.to_string())?;
    server::run(config, journal).map_err(|error| error.to_string())
}
