//! Snapshots in fewer bytes: gzip, or snappy as ZooKeeper uses it.
//!
//! Spec: `spec/6-server.md`, "Snapshots". What it must never do: take a file for complete that is cut or
//! goes on behind its end.
//!
//! How a file is compressed is seen from its first bytes. ZooKeeper goes by the end of its name, so
//! that is written too. Its snappy files are those of the Java library `snappy-java`: a magic of 8
//! bytes, a version and the oldest compatible one (`int` 1 each, big-endian), then blocks of at most
//! 32 KiB, each with its compressed length (`int`) before it.

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};

/// How snapshots are written (`snapshot.compression.method`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
}

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const SNAPPY_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const SNAPPY_MAGIC: &[u8] = SNAPPY_HEADER.first_chunk::<8>().expect("it has 16 bytes");
/// The uncompressed bytes of a block.
const BLOCK: usize = 32 << 10;
/// No writer makes larger blocks; a length above it is damage.
const LARGEST_BLOCK: usize = 64 << 20;

impl Compression {
    /// What the name of the key's value stands for.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "" => Some(Self::None),
            "gz" => Some(Self::Gzip),
            "snappy" => Some(Self::Snappy),
            _ => None,
        }
    }

    /// The end of the file's name, by which ZooKeeper knows how to read it.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Snappy => ".snappy",
        }
    }

    /// Writes what `content` writes, compressed.
    pub(super) fn write(
        self,
        out: &mut dyn Write,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::None => content(out),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(out, flate2::Compression::default());
                content(&mut encoder)?;
                encoder.finish().map(drop)
            }
            Self::Snappy => {
                out.write_all(SNAPPY_HEADER)?;
                let mut blocks = SnappyWriter {
                    out,
                    block: Vec::with_capacity(BLOCK),
                };
                content(&mut blocks)?;
                blocks.end_block()
            }
        }
    }
}

/// Reads a file that may be compressed: `content` gets what was compressed, and must read all of it.
pub(super) fn read<T>(
    file: impl Read,
    content: impl FnOnce(&mut dyn Read) -> Result<T, String>,
) -> Result<T, String> {
    let mut file = BufReader::with_capacity(1 << 18, file);
    let start = file.fill_buf().map_err(|error| error.to_string())?;
    if start.starts_with(GZIP_MAGIC) {
        let mut decoder = GzDecoder::new(file);
        let result = content(&mut decoder)?;
        at_end(&mut decoder)?;
        at_end(&mut decoder.into_inner())?;
        Ok(result)
    } else if start.starts_with(SNAPPY_MAGIC) {
        let mut blocks = SnappyReader::new(file)?;
        let result = content(&mut blocks)?;
        at_end(&mut blocks)?;
        Ok(result)
    } else {
        let result = content(&mut file)?;
        at_end(&mut file)?;
        Ok(result)
    }
}

/// Whether there is nothing more. For gzip the checksum of the whole is compared here.
fn at_end(reader: &mut dyn Read) -> Result<(), String> {
    match reader.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err("there is something after the end".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

struct SnappyWriter<'a> {
    out: &'a mut dyn Write,
    block: Vec<u8>,
}

impl SnappyWriter<'_> {
    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let compressed = snap::raw::Encoder::new().compress_vec(&self.block)?;
        let length = u32::try_from(compressed.len()).map_err(io::Error::other)?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&compressed)?;
        self.block.clear();
        Ok(())
    }
}

impl Write for SnappyWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK {
            self.end_block()?;
        }
        Ok(taken)
    }

    /// A block that is not full waits for more.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct SnappyReader<R> {
    input: R,
    /// The offset of the next byte of the file.
    at: u64,
    block: Cursor<Vec<u8>>,
}

impl<R: Read> SnappyReader<R> {
    fn new(mut input: R) -> Result<Self, String> {
        let mut header = [0; SNAPPY_HEADER.len()];
        match input.read_exact(&mut header) {
            Ok(()) if header == *SNAPPY_HEADER => Ok(Self {
                input,
                at: SNAPPY_HEADER.len() as u64,
                block: Cursor::default(),
            }),
            Ok(()) => Err("the snappy file is of a version that cannot be read".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Reads the next block; there is none after the last one.
    fn next_block(&mut self) -> Result<(), String> {
        let mut length = Vec::with_capacity(4);
        let read = (&mut self.input).take(4).read_to_end(&mut length);
        read.map_err(|error| error.to_string())?;
        let length = match *length.as_slice() {
            [] => return Ok(()),
            [a, b, c, d] => u32::from_be_bytes([a, b, c, d]),
            _ => return Err("the file ends within the length of a block".to_owned()),
        };
        if length as usize > LARGEST_BLOCK {
            return Err(format!("a block of {length} bytes is no block"));
        }
        let mut compressed = Vec::new();
        let read = (&mut self.input)
            .take(length.into())
            .read_to_end(&mut compressed);
        read.map_err(|error| error.to_string())?;
        if compressed.len() < length as usize {
            return Err("the file ends within a block".to_owned());
        }
        match snap::raw::decompress_len(&compressed) {
            Ok(0) => return Err("a block is empty".to_owned()),
            Ok(length) if length <= LARGEST_BLOCK => {}
            Ok(length) => return Err(format!("{length} bytes in a block are no block")),
            Err(error) => return Err(error.to_string()),
        }
        let block = snap::raw::Decoder::new().decompress_vec(&compressed);
        self.block = Cursor::new(block.map_err(|error| error.to_string())?);
        self.at += 4 + u64::from(length);
        Ok(())
    }
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.block.position() == self.block.get_ref().len() as u64 {
            self.next_block().map_err(|problem| {
                let message = format!("the snappy block at byte {}: {problem}", self.at);
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?;
        }
        self.block.read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compress(how: Compression, content: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        how.write(&mut file, |out| out.write_all(content)).unwrap();
        file
    }

    fn decompress(file: &[u8]) -> Result<Vec<u8>, String> {
        read(file, |input| {
            let mut content = Vec::new();
            input
                .read_to_end(&mut content)
                .map(|_| content)
                .map_err(|error| error.to_string())
        })
    }

    const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Snappy];

    #[test]
    fn what_is_compressed_is_read_as_it_was_whatever_its_length() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7] {
            let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            for how in ALL {
                let file = compress(how, &content);
                assert_eq!(decompress(&file).unwrap(), content, "{how:?}, {length}");
            }
        }
    }

    #[test]
    fn a_compressed_file_that_is_cut_or_goes_on_is_never_read_as_whole() {
        let content: Vec<u8> = (0..1000).map(|at| (at * at % 253) as u8).collect();
        for how in [Compression::Gzip, Compression::Snappy] {
            let mut file = compress(how, &content);
            for cut in 16..file.len() {
                assert_ne!(decompress(&file[..cut]).as_ref(), Ok(&content));
            }
            file.push(0);
            assert!(decompress(&file).is_err(), "{how:?}");
        }
    }

    #[test]
    fn snappy_has_the_frame_of_the_java_library() {
        let file = compress(Compression::Snappy, b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        assert_eq!(&file[..8], b"\x82SNAPPY\0");
        assert_eq!(&file[8..16], [0, 0, 0, 1, 0, 0, 0, 1]);
        let length = u32::from_be_bytes(*file[16..].first_chunk().unwrap());
        assert_eq!(length as usize, file.len() - 20);
    }
}
