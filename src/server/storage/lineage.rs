//! The file of the lineage: which epochs the history consists of, and whether the disk has forgotten anything.
//!
//! Spec: `spec/6-server.md`, "Storage"; `spec/10-lineage.md`. What it must never do: name an epoch by another one's name.
//!
//! One line with a checksum, in a file that ZooKeeper does not look at: `kept`, `new` or `forgot`, then for each epoch, oldest first, its number, its name,
//! the zxid that it goes on from (hexadecimal), and the ids of those who had a vote, as in `kept 1/3-9f0c/0/1,2,3 2/1-7aa1/100000005/1,2,3`.

use super::disk::Disk;
use super::sealed::{Text, seal, unseal};
use super::{Layout, StorageError};
use crate::quorum::ServerSet;
use crate::types::{Epoch, ServerId, Zxid};
use crate::zab::{Lineage, Memory, Term};
use std::fs;
use std::io;

/// Reads the file, if there is one.
pub(super) fn read(layout: &Layout) -> Result<Option<(Memory, Lineage)>, StorageError> {
    let file = layout.lineage();
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("read", &file)(error)),
    };
    let parsed = match unseal(&bytes) {
        Text::Sealed(line) => parse(&line),
        Text::Plain(_) | Text::Damaged => None,
    };
    parsed.map(Some).ok_or_else(|| StorageError::Damaged {
        file,
        offset: 0,
        problem: "it does not hold a lineage and its own checksum".to_owned(),
    })
}

pub(super) fn write(
    layout: &Layout,
    disk: &Disk,
    memory: Memory,
    lineage: &Lineage,
) -> Result<(), StorageError> {
    let text = seal(&format(memory, lineage));
    disk.write_file(&layout.lineage(), |file| file.write_all(text.as_bytes()))
}

fn format(memory: Memory, lineage: &Lineage) -> String {
    let mut line = match memory {
        Memory::Kept => "kept",
        Memory::New => "new",
        Memory::Forgot => "forgot",
    }
    .to_owned();
    for term in lineage.terms() {
        let voters: Vec<_> = term.voters.iter().map(|sid| sid.to_string()).collect();
        let (epoch, name, after) = (term.epoch, term.name, term.after.0);
        line.push_str(&format!(" {epoch}/{name}/{after:x}/{}", voters.join(",")));
    }
    line
}

fn parse(line: &str) -> Option<(Memory, Lineage)> {
    let mut words = line.split(' ');
    let memory = match words.next()? {
        "kept" => Memory::Kept,
        "new" => Memory::New,
        "forgot" => Memory::Forgot,
        _ => return None,
    };
    let terms: Option<Vec<_>> = words.map(term).collect();
    let terms = terms?;
    let ordered = terms
        .windows(2)
        .all(|pair| pair[0].epoch < pair[1].epoch && pair[0].after <= pair[1].after);
    ordered.then(|| (memory, Lineage::of(terms)))
}

fn term(word: &str) -> Option<Term> {
    let mut parts = word.split('/');
    let (epoch, name) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let after = u64::from_str_radix(parts.next()?, 16).ok()?;
    let ids = parts.next()?.split(',').filter(|id| !id.is_empty());
    let voters: Option<ServerSet> = ids.map(|id| id.parse().ok().map(ServerId)).collect();
    parts.next().is_none().then_some(Term {
        epoch: Epoch(epoch),
        name,
        after: Zxid(after),
        voters: voters?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{layout, open, scratch, write};
    use super::*;
    use crate::types::EpochName;
    use proptest::prelude::*;

    fn lineages() -> impl Strategy<Value = Lineage> {
        let term = (
            1..4u32,
            0..9u64,
            any::<u64>(),
            0..9u64,
            prop::collection::vec(1..9u8, 0..4),
        );
        prop::collection::vec(term, 0..5).prop_map(|terms| {
            let (mut epoch, mut last) = (0, 0);
            let terms = terms.into_iter().map(|(step, leader, draw, more, voters)| {
                (epoch, last) = (epoch + step, last + more);
                let name = EpochName {
                    leader: ServerId(leader as u8),
                    draw,
                };
                Term {
                    epoch: Epoch(epoch),
                    name,
                    after: Zxid(last),
                    voters: voters.into_iter().map(ServerId).collect(),
                }
            });
            Lineage::of(terms.collect())
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(lineage in lineages(), memory in prop_oneof![Just(Memory::Kept), Just(Memory::New), Just(Memory::Forgot)]) {
            prop_assert_eq!(parse(&format(memory, &lineage)), Some((memory, lineage)));
        }

        #[test]
        fn no_line_makes_the_reader_panic(line in ".{0,60}") {
            let _ = parse(&line);
        }
    }

    /// A directory with three epochs of two transactions each, every epoch in a log file of its own.
    fn three_epochs(layout: &Layout) {
        for epoch in 1..=3 {
            let mut opened = open(layout).unwrap();
            let mut save = opened.storage().clone();
            let name = EpochName {
                leader: ServerId(1),
                draw: 7,
            };
            save.lineage = save.lineage.begin(Term {
                epoch: Epoch(epoch),
                name,
                after: save.history.last_zxid(),
                voters: ServerSet::of(ServerId(1)),
            });
            save.accepted_epoch = Epoch(epoch);
            save.current_epoch = Epoch(epoch);
            save.memory = Memory::Kept;
            for counter in 1..=2 {
                let zxid = Zxid::new(Epoch(epoch), counter);
                save.history.append(zxid, u64::from(10 * epoch + counter));
            }
            assert_eq!(write(&mut opened.store, &[save], 1), 1);
        }
    }

    #[test]
    fn names_and_memory_are_found_again() {
        let dir = scratch();
        let layout = layout(&dir);
        assert_eq!(open(&layout).unwrap().storage().memory, Memory::New);
        three_epochs(&layout);
        let opened = open(&layout).unwrap();
        let storage = opened.storage();
        let known: Vec<_> = storage
            .lineage
            .terms()
            .iter()
            .map(|term| (term.epoch.0, term.after))
            .collect();
        let [first, second] = [1, 2].map(|epoch| Zxid::new(Epoch(epoch), 2));
        assert_eq!(known, [(1, Zxid::ZERO), (2, first), (3, second)]);
        assert_eq!(storage.memory, Memory::Kept);
    }

    #[test]
    fn a_log_of_an_epoch_from_which_another_goes_on_is_missed() {
        for missing in 1..=2 {
            let dir = scratch();
            let layout = layout(&dir);
            three_epochs(&layout);
            fs::remove_file(layout.log(Zxid::new(Epoch(missing), 1))).unwrap();
            let words = match open(&layout) {
                Ok(_) => panic!("it starts without epoch {missing}"),
                Err(error) => error.to_string(),
            };
            assert!(
                words.contains("transactions are missing"),
                "{missing}: {words}"
            );
        }
    }

    #[test]
    fn a_directory_without_names_is_taken_over_as_it_is() {
        let dir = scratch();
        let layout = layout(&dir);
        three_epochs(&layout);
        fs::remove_file(layout.lineage()).unwrap();
        let opened = open(&layout).unwrap();
        assert_eq!(opened.storage().history.entries().len(), 6);
        assert_eq!(opened.storage().lineage, Lineage::default());
        assert_eq!(opened.storage().memory, Memory::Kept);
    }

    #[test]
    fn what_is_put_aside_is_kept_and_the_server_has_forgotten_it() {
        let dir = scratch();
        let layout = layout(&dir);
        three_epochs(&layout);
        let moved = layout.put_aside().unwrap();
        assert_eq!(moved.len(), 2);
        for (from, to) in &moved {
            assert!(from.is_dir() && to.ends_with("version-2.aside-1"), "{to:?}");
        }
        let opened = open(&layout).unwrap();
        assert_eq!(opened.storage().history.last_zxid(), Zxid::ZERO);
        assert_eq!(opened.storage().memory, Memory::Forgot);
        assert!(layout.put_aside().is_err(), "a server runs on it");
    }

    #[test]
    fn epochs_out_of_order_are_no_lineage() {
        assert_eq!(parse("kept 2/1-a/0/1 1/1-a/5/1"), None);
        assert_eq!(parse("kept 1/1-a/5/1 2/1-a/0/1"), None);
    }
}
