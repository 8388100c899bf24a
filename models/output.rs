//! Where the findings of `check` go: tables or JSON, and files with a counterexample.

use crate::tale::Told;
use crate::trace;
use clap::Args;
use std::path::PathBuf;

/// What is printed, and what is written to files.
#[derive(Args, Clone, Debug, Default)]
pub struct Output {
    /// Print one JSON document instead of tables (run, compare, mutants, bugs, list; see spec/8-reports.md)
    #[arg(long, global = true)]
    pub json: bool,
    /// Write the first counterexample to this file, for check replay (run; mutants and bugs with a name)
    #[arg(long, global = true, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Write it to this file as a sequence diagram, in SVG (run, replay; mutants and bugs with a name)
    #[arg(long, global = true, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

impl Output {
    /// An error if something is asked for that a command does not have.
    pub fn only(&self, json: bool, files: bool, command: &str) -> Result<(), String> {
        if self.json && !json {
            return Err(format!(
                "{command} has no --json: run, compare, mutants, bugs and list do"
            ));
        }
        if (self.save.is_some() || self.svg.is_some()) && !files {
            return Err(format!(
                "{command} finds no single counterexample for --save and --svg: \
                 check run, check mutants NAME and check bugs NAME do"
            ));
        }
        Ok(())
    }

    /// Writes the files with a counterexample that are asked for.
    pub fn write(&self, told: Option<&Told>) -> Result<(), String> {
        let Some(told) = told else {
            if self.save.is_some() || self.svg.is_some() {
                eprintln!("check: there is no counterexample to write");
            }
            return Ok(());
        };
        if let Some(file) = &self.save {
            trace::save(file, &told.tale)?;
            let file = file.display();
            eprintln!("The counterexample is in {file}: check replay {file} takes its steps again");
        }
        if let Some(file) = &self.svg {
            trace::write(file, &told.diagram)?;
            eprintln!("The sequence diagram is in {}", file.display());
        }
        Ok(())
    }
}
