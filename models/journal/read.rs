//! Reading the journal of one server: its files in order, record by record.
//!
//! Spec: `spec/6-server.md`, "Journal". What it must never do: panic on what a file holds, or pass over a
//! record that is not what was written. Only the last record of a file may be torn: it is cut, and noted.

use keepright::service::ZooKeeper;
use keepright::service::journal::{
    self, Frame, Header, Input, MAGIC, Seal, VERSION, read_frame, read_header, read_record,
};
use keepright::types::ServerId;
use keepright::zab::History;
use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Where a record is.
#[derive(Clone, Debug)]
pub struct Place {
    file: Rc<Path>,
    /// From 1.
    record: u64,
    /// In bytes.
    offset: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, record, offset) = (self.file.display(), self.record, self.offset);
        write!(f, "{file}: record {record} at offset {offset}")
    }
}

/// An input that the server was given.
pub struct Record {
    pub place: Place,
    /// Nanoseconds since the Unix epoch, by the clock of the server.
    pub at: u64,
    pub input: Input,
    /// The digests after the input, as the journal has been read; the actions' are those before it.
    pub before: Seal,
    /// The digests after the step, as the journal says.
    pub after: Seal,
    /// Whether the file ends with this record.
    pub is_last: bool,
}

/// The journal of one server.
pub struct Journal {
    pub header: Header,
    waiting: VecDeque<PathBuf>,
    file: File,
    /// What was odd and did no harm.
    pub notes: Vec<String>,
}

/// The file that is being read.
struct File {
    path: Rc<Path>,
    bytes: Vec<u8>,
    /// Where the next frame begins.
    offset: usize,
    record: u64,
    seal: Seal,
}

impl Journal {
    /// Opens the journal that a server has written to `dir`.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let cannot = |error| format!("cannot read {}: {error}", dir.display());
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("journal."));
            if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
                files.push((number, entry.path()));
            }
        }
        files.sort();
        let mut waiting: VecDeque<_> = files.into_iter().map(|(_, path)| path).collect();
        let mut notes = Vec::new();
        loop {
            let Some(path) = waiting.pop_front() else {
                return Err(format!(
                    "{} holds no journal (journal.NNNNNNNN); give what a server had as --journal",
                    dir.display()
                ));
            };
            if let Some((file, header)) = File::open(path, &mut notes)? {
                return Ok(Self {
                    header,
                    waiting,
                    file,
                    notes,
                });
            }
        }
    }

    /// The server whose journal it is.
    pub fn server(&self) -> ServerId {
        self.header.server()
    }

    /// The next record; `None` at the end. Before a Start the header may have changed.
    pub fn next(&mut self) -> Result<Option<Record>, String> {
        loop {
            if let Some(record) = self.file.next(&mut self.notes)? {
                return Ok(Some(record));
            }
            let Some(path) = self.waiting.pop_front() else {
                return Ok(None);
            };
            let Some((file, header)) = File::open(path, &mut self.notes)? else {
                continue;
            };
            if header.server() != self.server() {
                return Err(format!(
                    "{}: this is of server {}, and the files before it of server {}; a directory holds the \
                     journal of one server",
                    file.path.display(),
                    header.server(),
                    self.server()
                ));
            }
            (self.file, self.header) = (file, header);
        }
    }
}

fn is_sound(history: &History<ZooKeeper>) -> bool {
    let (entries, snapshot) = (history.entries().clone(), history.snapshot().clone());
    History::<ZooKeeper>::from_parts(history.start(), entries, snapshot).is_some()
}

impl File {
    /// Opens a file; `None` if its writer was interrupted before there was anything in it.
    fn open(path: PathBuf, notes: &mut Vec<String>) -> Result<Option<(Self, Header)>, String> {
        let name = path.display();
        let bytes = fs::read(&path).map_err(|error| format!("cannot read {name}: {error}"))?;
        let mut start = MAGIC.to_vec();
        start.extend(VERSION.to_be_bytes());
        let length = bytes.len().min(start.len());
        if bytes[..length.min(MAGIC.len())] != start[..length.min(MAGIC.len())] {
            return Err(format!("{name}: this is no journal"));
        }
        if bytes[..length] != start[..length] {
            return Err(format!(
                "{name}: the journal has a format that this program does not know; take the version that \
                 wrote it"
            ));
        }
        let (content, rest) = match bytes.get(start.len()..).map(read_frame) {
            Some(Frame::Whole { content, rest }) => (content, rest),
            None | Some(Frame::Torn) => {
                notes.push(format!(
                    "{name}: nothing was written before its server ended"
                ));
                return Ok(None);
            }
            Some(Frame::Damaged(problem)) => {
                return Err(format!(
                    "{name}: damaged at offset {}: {problem}",
                    start.len()
                ));
            }
        };
        let header = read_header(content).map_err(|error| {
            format!(
                "{name}: the header at offset {} makes no sense: {error}",
                start.len()
            )
        })?;
        let offset = bytes.len() - rest.len();
        let file = Self {
            path: path.into(),
            bytes,
            offset,
            record: 0,
            seal: Seal::default(),
        };
        Ok(Some((file, header)))
    }

    fn next(&mut self, notes: &mut Vec<String>) -> Result<Option<Record>, String> {
        let bytes = &self.bytes[self.offset..];
        if bytes.is_empty() {
            return Ok(None);
        }
        self.record += 1;
        let place = Place {
            file: Rc::clone(&self.path),
            record: self.record,
            offset: self.offset,
        };
        let (content, rest) = match read_frame(bytes) {
            Frame::Whole { content, rest } => (content, rest),
            Frame::Torn => {
                notes.push(format!(
                    "{place}: cut, for its server was interrupted while it was written"
                ));
                self.offset = self.bytes.len();
                return Ok(None);
            }
            Frame::Damaged(problem) => return Err(format!("{place} is damaged: {problem}")),
        };
        let journal::Record {
            at,
            seal,
            bytes,
            input,
        } = read_record(content).map_err(|error| format!("{place} makes no sense: {error}"))?;
        let before = self.seal.after_input(at, bytes);
        if before.inputs != seal.inputs {
            return Err(format!(
                "{place}: this input is not the one that was recorded here, or a record before it is \
                 missing: the digest of the inputs is {:016x} now, and the journal says {:016x}",
                before.inputs, seal.inputs
            ));
        }
        if matches!(input, Input::Start(_)) != (self.record == 1) {
            return Err(format!(
                "{place}: a server starts once in a file, and first of all"
            ));
        }
        if let Input::Start(storage) = &input
            && !is_sound(&storage.history)
        {
            return Err(format!(
                "{place}: the history with which the server starts is out of order"
            ));
        }
        self.seal = seal;
        self.offset = self.bytes.len() - rest.len();
        Ok(Some(Record {
            place,
            at,
            input,
            before,
            after: seal,
            is_last: rest.is_empty(),
        }))
    }
}
