//! The bytes of a snapshot: chunks of rows with a chain of checksums, written to a file and read back.
//! Knows no table but by its number and the length of its keys.

use super::{Damage, MAGIC, Section, SnapshotError, SnapshotHeader, VERSION, io_error};
use alloy::primitives::{B256, Bytes, Keccak256, keccak256};
use std::{
    fs::File,
    io::{BufReader, BufWriter, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

/// A chunk ends with the row that makes its payload this long.
const CHUNK_BYTES: usize = 1 << 20;
/// No chunk is longer than this: one, and the longest row, a receipt.
const CHUNK_BYTES_MAX: u32 = 48 << 20;
/// Table number, entries and payload bytes.
const CHUNK_HEAD_BYTES: usize = 1 + 4 + 4;

fn checksum(before: B256, head: &[u8], payload: &[u8]) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update(before);
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

/// Writes a snapshot.
pub(super) struct ChunkWriter {
    path: PathBuf,
    file: BufWriter<File>,
    checksum: B256,
    section: u8,
    entries: u32,
    payload: Vec<u8>,
    entries_total: u64,
    payload_total: u64,
}

impl ChunkWriter {
    /// Begins with the header.
    pub(super) fn begin(
        path: &Path,
        file: File,
        header: &SnapshotHeader,
    ) -> Result<Self, SnapshotError> {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&VERSION.to_be_bytes());
        header.write(&mut head);
        let checksum = keccak256(&head);
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            checksum,
            section: 0,
            entries: 0,
            payload: Vec::with_capacity(2 * CHUNK_BYTES),
            entries_total: 0,
            payload_total: 0,
        };
        writer.put(&head)?;
        writer.put(checksum.as_slice())?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.file.write_all(bytes).map_err(io_error(&self.path))
    }

    /// Adds a row.
    pub(super) fn row(
        &mut self,
        section: Section,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), SnapshotError> {
        let section = section as u8;
        if section != self.section || self.payload.len() >= CHUNK_BYTES {
            self.end_chunk()?;
            self.section = section;
        }
        self.entries += 1;
        self.payload.extend_from_slice(key);
        // Values are far shorter: the tables bound them.
        let value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.payload.extend_from_slice(&value_bytes.to_be_bytes());
        self.payload.extend_from_slice(value);
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), SnapshotError> {
        if self.entries == 0 {
            return Ok(());
        }
        self.entries_total += u64::from(self.entries);
        self.payload_total += self.payload.len() as u64;
        self.chunk()
    }

    fn chunk(&mut self) -> Result<(), SnapshotError> {
        let payload = std::mem::take(&mut self.payload);
        let payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let mut head = vec![self.section];
        head.extend_from_slice(&self.entries.to_be_bytes());
        head.extend_from_slice(&payload_bytes.to_be_bytes());
        self.checksum = checksum(self.checksum, &head, &payload);
        self.put(&head)?;
        self.put(&payload)?;
        let checksum = self.checksum;
        self.put(checksum.as_slice())?;
        self.payload = payload;
        self.payload.clear();
        self.entries = 0;
        Ok(())
    }

    /// Ends the file and makes it durable. Entries, and the checksum of everything.
    pub(super) fn finish(mut self) -> Result<(u64, B256), SnapshotError> {
        self.end_chunk()?;
        self.section = 0;
        self.payload.extend_from_slice(&self.entries_total.to_be_bytes());
        self.payload.extend_from_slice(&self.payload_total.to_be_bytes());
        self.chunk()?;
        let file = self.file.into_inner().map_err(|error| io_error(&self.path)(error.into()))?;
        file.sync_all().map_err(io_error(&self.path))?;
        Ok((self.entries_total, self.checksum))
    }
}

/// A chunk as it was read: whole, and with the right checksum.
pub(super) struct Chunk {
    pub(super) section: Section,
    /// Where it begins in the file.
    pub(super) at_bytes: u64,
    payload: Vec<u8>,
    entries: u32,
}

/// Reads a snapshot.
pub(super) struct ChunkReader {
    path: PathBuf,
    file: BufReader<File>,
    checksum: B256,
    at_bytes: u64,
    entries_total: u64,
}

impl ChunkReader {
    /// Reads the header.
    pub(super) fn begin(path: &Path) -> Result<(Self, SnapshotHeader), SnapshotError> {
        let file = BufReader::new(File::open(path).map_err(io_error(path))?);
        let path = path.to_owned();
        let mut reader = Self { path, file, checksum: B256::ZERO, at_bytes: 0, entries_total: 0 };
        let not_a_snapshot = || SnapshotError::NotASnapshot { path: reader.path.clone() };
        let mut start = [0; MAGIC.len() + 4];
        let read = reader.file.read_exact(&mut start);
        let (magic, version) = start.split_at(MAGIC.len());
        if read.is_err() || magic != MAGIC {
            return Err(not_a_snapshot());
        }
        let found = version.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        if found != u64::from(VERSION) {
            let (path, what, supported) = (reader.path, "format version", VERSION.into());
            return Err(SnapshotError::Version { path, what, found, supported });
        }
        let mut header = vec![0; SnapshotHeader::BYTES];
        reader.fill(&mut header, None)?;
        let mut checksum = B256::ZERO;
        reader.fill(checksum.as_mut_slice(), None)?;
        reader.checksum = keccak256([&start[..], &header].concat());
        if checksum != reader.checksum {
            return Err(reader.damaged(0, None, Damage::Checksum));
        }
        reader.at_bytes = (start.len() + header.len() + checksum.len()) as u64;
        match SnapshotHeader::read(&header) {
            Some(header) => Ok((reader, header)),
            None => Err(reader.damaged(0, None, Damage::Checksum)),
        }
    }

    pub(super) fn damaged(
        &self,
        at_bytes: u64,
        section: Option<Section>,
        damage: Damage,
    ) -> SnapshotError {
        let table = section.map(|section| section.table().name);
        SnapshotError::Damaged { path: self.path.clone(), at_bytes, table, damage }
    }

    fn fill(&mut self, bytes: &mut [u8], section: Option<Section>) -> Result<(), SnapshotError> {
        match self.file.read_exact(bytes) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.damaged(self.at_bytes, section, Damage::CutOff))
            }
            Err(error) => Err(io_error(&self.path)(error)),
        }
    }

    /// The next chunk; `None` at the end, which is complete.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>, SnapshotError> {
        let at_bytes = self.at_bytes;
        let mut head = [0; CHUNK_HEAD_BYTES];
        self.fill(&mut head, None)?;
        let number = head[0];
        let section = Section::of(number);
        let entries = be_u32(&head[1..5]);
        let payload_bytes = be_u32(&head[5..9]);
        if payload_bytes > CHUNK_BYTES_MAX {
            return Err(self.damaged(at_bytes, section, Damage::ChunkSize(payload_bytes)));
        }
        let mut payload = vec![0; payload_bytes as usize];
        self.fill(&mut payload, section)?;
        let mut stored = B256::ZERO;
        self.fill(stored.as_mut_slice(), section)?;
        self.checksum = checksum(self.checksum, &head, &payload);
        if stored != self.checksum {
            return Err(self.damaged(at_bytes, section, Damage::Checksum));
        }
        self.at_bytes += (CHUNK_HEAD_BYTES + payload.len() + stored.len()) as u64;
        match section {
            Some(section) => {
                self.entries_total += u64::from(entries);
                Ok(Some(Chunk { section, at_bytes, payload, entries }))
            }
            None if number == 0 => self.end(at_bytes, &payload).map(|()| None),
            None => Err(self.damaged(at_bytes, None, Damage::Section(number))),
        }
    }

    fn end(&mut self, at_bytes: u64, totals: &[u8]) -> Result<(), SnapshotError> {
        let stated = totals.iter().take(8).fold(0, |n, byte| n << 8 | u64::from(*byte));
        let found = self.entries_total;
        if stated != found || totals.len() != 16 {
            return Err(self.damaged(at_bytes, None, Damage::Total { stated, found }));
        }
        let mut more = [0];
        match self.file.read(&mut more).map_err(io_error(&self.path))? {
            0 => Ok(()),
            _ => Err(self.damaged(self.at_bytes, None, Damage::AfterEnd)),
        }
    }

    /// Checksum of everything that was read.
    pub(super) fn checksum(&self) -> B256 {
        self.checksum
    }

    /// Bytes that were read.
    pub(super) fn at_bytes(&self) -> u64 {
        self.at_bytes
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte))
}

impl Chunk {
    /// The rows: keys and values. A row that is cut off ends them with its key.
    pub(super) fn rows(&self) -> impl Iterator<Item = Result<(&[u8], &[u8]), Damage>> {
        let key_bytes = self.section.table().key_bytes;
        let mut rest = self.payload.as_slice();
        let mut left = self.entries;
        std::iter::from_fn(move || {
            if left == 0 && rest.is_empty() {
                return None;
            }
            let row = split_row(rest, key_bytes).filter(|_| left > 0);
            let Some((key, value, after)) = row else {
                let key = Bytes::copy_from_slice(rest.get(..key_bytes).unwrap_or(rest));
                (left, rest) = (0, &[]);
                return Some(Err(Damage::Row { key }));
            };
            (left, rest) = (left - 1, after);
            Some(Ok((key, value)))
        })
    }
}

fn split_row(bytes: &[u8], key_bytes: usize) -> Option<(&[u8], &[u8], &[u8])> {
    let (key, rest) = bytes.split_at_checked(key_bytes)?;
    let (value_bytes, rest) = rest.split_at_checked(4)?;
    let (value, rest) = rest.split_at_checked(be_u32(value_bytes) as usize)?;
    Some((key, value, rest))
}
