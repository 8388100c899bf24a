//! Small text files that carry a checksum: the epochs, and the order to replace the history.
//!
//! Spec: `spec/6-server.md`, "Storage". What it must never do: take a changed byte for another number.
//!
//! The first line is the content, as ZooKeeper has it, which reads no further. The second one is its
//! checksum. ZooKeeper's own files lack it.

/// The bytes of a file with this line.
pub(super) fn seal(line: &str) -> String {
    let sum = simd_adler32::adler32(&line.as_bytes());
    format!("{line}\nadler32 {sum:08x}\n")
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// A line, and its checksum fits.
    Sealed(String),
    /// One line without a checksum.
    Plain(String),
    /// Something else, or a checksum that does not fit.
    Damaged,
}

/// Reads the bytes of a file.
pub(super) fn unseal(bytes: &[u8]) -> Text {
    let text = String::from_utf8_lossy(bytes);
    match text.split_once('\n') {
        None => Text::Plain(text.trim().to_owned()),
        Some((line, "")) => Text::Plain(line.trim().to_owned()),
        Some((line, _)) if text == seal(line) => Text::Sealed(line.to_owned()),
        Some(_) => Text::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_of_a_sealed_line_is_seen() {
        let sound = seal("15").into_bytes();
        assert_eq!(unseal(&sound), Text::Sealed("15".to_owned()));
        for at in 0..sound.len() {
            for change in 1..=255 {
                let mut bytes = sound.clone();
                bytes[at] ^= change;
                match unseal(&bytes) {
                    Text::Damaged => {}
                    // The caller sees that this is no number.
                    Text::Plain(line) => assert!(line.parse::<u64>().is_err(), "{line}"),
                    Text::Sealed(line) => panic!("{line} at {at}, {change}"),
                }
            }
        }
    }

    #[test]
    fn a_line_of_zookeeper_needs_no_checksum() {
        assert_eq!(unseal(b"7"), Text::Plain("7".to_owned()));
        assert_eq!(unseal(b"7\n"), Text::Plain("7".to_owned()));
        assert_eq!(unseal(b" 7\r\n"), Text::Plain("7".to_owned()));
    }
}
