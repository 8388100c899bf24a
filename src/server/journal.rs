//! Writing the journal of the actor's inputs.
//!
//! Spec: `spec/6-server.md`, "Journal". What it must never do: stop the server. A journal that cannot be
//! written ends with a word in the log, and the server goes on without.
//!
//! Records gather in memory and are handed to the operating system at the end of each turn of the event
//! loop, in one write, before anything leaves that the turn has brought about: a save for the log writer, a
//! datagram, an answer. So whatever the world knows of a step, the journal holds that step, even after
//! SIGKILL. Nothing is flushed to the disk: when the machine itself fails, the end may be missing.

use crate::service::Replica;
use crate::service::journal::{Header, Input, Open, Seal, begin_record, end_record, push_start};
use stateright::actor::Out;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Room that is given back to the system when a turn has needed more, in bytes.
const ROOM: usize = 1 << 20;

/// The journal of one life of a server: one file.
pub(super) struct Journal {
    path: PathBuf,
    /// `None` after it could not be written.
    file: Option<File>,
    /// Records that are not written yet.
    gathered: Vec<u8>,
    seal: Seal,
    scratch: Vec<u8>,
}

impl Journal {
    /// Begins a new file in `dir`, after those that are there.
    pub(super) fn create(dir: &Path, replica: &Replica) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut last = 0;
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("journal."));
            last = last.max(number.and_then(|n| n.parse().ok()).unwrap_or(0));
        }
        let path = dir.join(format!("journal.{:08}", last + 1_u64));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600) // It holds what clients write and say, passwords included.
            .open(&path)?;
        let mut gathered = Vec::new();
        push_start(&mut gathered, &Header::of(replica));
        Ok(Self {
            path,
            file: Some(file),
            gathered,
            seal: Seal::default(),
            scratch: Vec::new(),
        })
    }

    /// Where it is written.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins the record of an input that the actor is about to be given.
    pub(super) fn begin(&mut self, input: &Input) -> Open {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let at = since.unwrap_or_default().as_nanos() as u64;
        begin_record(&mut self.gathered, at, input)
    }

    /// Ends the record with what the actor did.
    pub(super) fn end(&mut self, record: Open, out: &Out<Replica>) {
        let (before, scratch) = (self.seal, &mut self.scratch);
        self.seal = end_record(&mut self.gathered, record, before, out, scratch);
    }

    /// Hands what was gathered to the operating system.
    pub(super) fn flush(&mut self) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(&self.gathered)
        {
            let path = self.path.display();
            tracing::error!("{path} cannot be written and ends here: {error}; the server goes on");
            self.file = None;
        }
        self.gathered.clear();
        self.gathered.shrink_to(ROOM);
    }
}
