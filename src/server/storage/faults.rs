//! Faults of the disk, for tests: calls that fail or happen in part, and what a power cut leaves.
//!
//! The account that is kept here is harder than file systems are. What is not flushed may be there up to
//! any byte, or with zeros in between. A name is durable when its directory is flushed, and what is not
//! may be lost, the last change first. A file whose flush has failed once is never flushed again,
//! whatever later flushes say: its pages are no longer dirty.

use super::disk::Call;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails, and nothing has happened.
    Fails,
    /// It fails, but it has happened.
    FailsLate,
    /// A write fails when so many of its bytes are written (of another call, nothing happens).
    Torn(usize),
}

/// Which calls go wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    None,
    /// The call of this number (from 0), alone.
    Once(usize, Fault),
    /// This one, and nothing happens after it.
    Last(usize, Fault),
    /// So many bytes can be written; then the disk is full.
    Full(usize),
}

#[derive(Debug)]
pub(super) struct Faults(Mutex<State>);

#[derive(Debug)]
struct State {
    plan: Plan,
    calls: usize,
    hit: bool,
    root: PathBuf,
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// The changes of names that are not durable, oldest first.
    pending: Vec<NameChange>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    flushed: Vec<u8>,
    now: Vec<u8>,
    /// A flush has failed.
    lost: bool,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Link(path, _) | Self::Unlink(path) | Self::Rename(path, _) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

impl Faults {
    /// The faults of a directory, all of which is durable.
    pub(super) fn new(root: &Path, plan: Plan) -> Self {
        let mut state = State {
            plan,
            calls: 0,
            hit: false,
            root: root.to_owned(),
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
        };
        let mut dirs = vec![root.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in dir.read_dir().unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                let now = fs::read(&path).unwrap();
                state.names.insert(path, state.files.len());
                state.files.push(Content {
                    flushed: now.clone(),
                    now,
                    lost: false,
                });
            }
        }
        state.durable_names = state.names.clone();
        Self(Mutex::new(state))
    }

    /// Goes on with another plan, which counts calls from here.
    pub(super) fn arm(&self, plan: Plan) {
        let mut state = self.0.lock().unwrap();
        state.plan = plan;
        state.calls = 0;
    }

    /// Whether anything went wrong yet.
    pub(super) fn is_hit(&self) -> bool {
        self.0.lock().unwrap().hit
    }

    /// How many calls there were under this plan.
    pub(super) fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    pub(super) fn call<T>(
        &self,
        call: Call<'_>,
        run: impl FnOnce(usize) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        let length = match call {
            Call::Write(_, bytes) => bytes.len(),
            _ => 0,
        };
        match state.fault(length) {
            None => {
                let done = run(length)?;
                state.record(call, length);
                Ok(done)
            }
            Some((fault, error)) => {
                state.hit = true;
                let done = match fault {
                    Fault::Fails => None,
                    Fault::FailsLate => Some(length),
                    Fault::Torn(at) => (length > 0).then_some(at.min(length)),
                };
                if let Some(done) = done {
                    run(done)?;
                    state.record(call, done);
                } else if let Call::Sync(path) = call {
                    let file = state.names[path];
                    state.files[file].lost = true;
                }
                Err(error)
            }
        }
    }

    /// Cuts the power: writes to another directory what may be left. `choose` gives a number below its
    /// argument. Holes are zeros where bytes were written that are not flushed.
    pub(super) fn power_cut(&self, choose: &mut dyn FnMut(usize) -> usize, holes: bool, to: &Path) {
        let state = self.0.lock().unwrap();
        let mut names = state.durable_names.clone();
        for change in &state.pending[..choose(state.pending.len() + 1)] {
            change.apply(&mut names);
        }
        for (path, file) in names {
            let to = to.join(path.strip_prefix(&state.root).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, state.files[file].left(choose, holes)).unwrap();
        }
    }
}

impl State {
    fn fault(&mut self, length: usize) -> Option<(Fault, io::Error)> {
        let number = self.calls;
        self.calls += 1;
        let error = || io::Error::other("the disk is broken");
        match &mut self.plan {
            Plan::Once(at, fault) if number == *at => Some((*fault, error())),
            Plan::Last(at, fault) if number == *at => Some((*fault, error())),
            Plan::Last(at, _) if number > *at => Some((Fault::Fails, error())),
            Plan::None | Plan::Once(..) | Plan::Last(..) => None,
            Plan::Full(left) if length <= *left => {
                *left -= length;
                None
            }
            Plan::Full(left) => {
                let part = std::mem::take(left);
                Some((Fault::Torn(part), io::ErrorKind::StorageFull.into()))
            }
        }
    }

    fn record(&mut self, call: Call<'_>, length: usize) {
        match call {
            Call::Create(path) => match self.names.get(path) {
                Some(file) => self.files[*file].now.clear(),
                None => {
                    let file = self.files.len();
                    self.files.push(Content::default());
                    self.change(NameChange::Link(path.to_owned(), file));
                }
            },
            Call::Write(path, bytes) => self.file(path).now.extend_from_slice(&bytes[..length]),
            Call::Sync(path) => {
                let file = self.file(path);
                if !file.lost {
                    file.flushed = file.now.clone();
                }
            }
            Call::SetLength(path, length) => self.file(path).now.resize(length as usize, 0),
            Call::Rename(from, to) => {
                self.change(NameChange::Rename(from.to_owned(), to.to_owned()))
            }
            Call::Remove(path) => self.change(NameChange::Unlink(path.to_owned())),
            Call::SyncDir(dir) => {
                let (now, later) = std::mem::take(&mut self.pending)
                    .into_iter()
                    .partition(|change| change.dir() == Some(dir));
                self.pending = later;
                let now: Vec<NameChange> = now;
                for change in now {
                    change.apply(&mut self.durable_names);
                }
            }
        }
    }

    fn file(&mut self, path: &Path) -> &mut Content {
        &mut self.files[self.names[path]]
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push(change);
    }
}

impl Content {
    /// What a power cut leaves of it.
    fn left(&self, choose: &mut dyn FnMut(usize) -> usize, holes: bool) -> Vec<u8> {
        let (old, new) = (self.flushed.len(), self.now.len());
        if !self.now.starts_with(&self.flushed) {
            // It was cut.
            return [&self.flushed, &self.now][choose(2)].clone();
        }
        let mut left = self.now[..old + choose(new - old + 1)].to_vec();
        if holes && left.len() > old && choose(2) == 0 {
            let from = old + choose(left.len() - old);
            let to = from + 1 + choose(left.len() - from);
            left[from..to].fill(0);
        }
        left
    }
}
