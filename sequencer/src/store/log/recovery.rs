//! Reading the log, at start and for those who look at it from outside: finds the segments, checks every record, and tells the end of an
//! unfinished write from damage.
//!
//! What counts is exact. In all segments but the last: the bytes that the next segment's header names;
//! what follows them is the rest of a failed append. In the last segment: everything up to the first
//! record that is not whole, unless a later record shows that it was durable once. Nothing is changed
//! here: the writer cuts the unfinished tail, everything else is refused.

use super::{
    FORMAT,
    error::{Damage, LogError},
    files::{LogFile, LogFiles},
    segment::{HEADER_BYTES, HeaderError, RECORD_BYTES_MAX, Record, SegmentHeader},
};
use alloy::primitives::B256;
use std::{collections::VecDeque, path::Path};

/// Longest segment that is read: the longest that is written is one that was just below its bound
/// when the longest group was added. A longer file is refused before memory is taken for it.
const SEGMENT_FILE_BYTES_MAX: u64 = 4 * RECORD_BYTES_MAX as u64;

/// Digits of the sequence number in a segment's name, so that names sort; a longer number is longer.
const NAME_DIGITS: usize = 10;

/// Name of a segment.
pub(super) fn segment_name(sequence: u64) -> String {
    format!("{sequence:0NAME_DIGITS$}.log")
}

/// Sequence number of a segment's name; other files in the directory are none of the log's.
fn sequence_of(name: &str) -> Option<u64> {
    let sequence = name.strip_suffix(".log")?.parse().ok()?;
    (segment_name(sequence) == name).then_some(sequence)
}

/// A segment in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    pub(super) first_position: u64,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) segments: VecDeque<Segment>,
    /// Position of the record after the last one.
    pub(super) next_position: u64,
    /// The last segment and how many of its bytes count; none in a new directory.
    pub(super) last: Option<LastSegment>,
}

#[derive(Debug)]
pub(super) struct LastSegment {
    pub(super) file: Box<dyn LogFile>,
    pub(super) sequence: u64,
    /// Bytes that count.
    pub(super) bytes: u64,
    /// Bytes of an unfinished write after them.
    pub(super) torn_bytes: u64,
}

/// What is looked for: whose log it is, and the last record that the database has already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) chain: B256,
    pub(super) after: u64,
}

/// An open segment whose header is as it should be.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: Box<dyn LogFile>,
    pub(super) header: SegmentHeader,
    pub(super) name: String,
}

/// Where a record is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The segment.
    pub path: &'a Path,
    /// Byte at which the record begins.
    pub offset: u64,
}

/// What a walk over all records has found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walked {
    /// Position of the record after the last one.
    pub(super) next_position: u64,
    /// Bytes of the last segment that count.
    pub(super) bytes: u64,
    /// Bytes of an unfinished write after them.
    pub(super) torn_bytes: u64,
}

/// Reads the whole log and gives every record after `expected.after` to `visit`, in order.
pub(super) fn recover<E: From<LogError>>(
    files: &dyn LogFiles,
    expected: Expected,
    mut visit: impl FnMut(Record<'_>) -> Result<(), E>,
) -> Result<Recovered, E> {
    let opened = open_segments(files, expected.chain)?;
    let walked = walk(files, expected, &opened, |_, record| visit(record))?;
    let Walked { next_position, bytes, torn_bytes } = walked;
    let segments = opened.iter().map(|opened| Segment {
        sequence: opened.header.sequence,
        first_position: opened.header.first_position,
    });
    let segments = segments.collect();
    let last = opened.into_iter().last().map(|opened| LastSegment {
        file: opened.file,
        sequence: opened.header.sequence,
        bytes,
        torn_bytes,
    });
    Ok(Recovered { segments, next_position, last })
}

/// Checks every record of the segments and gives those after `expected.after` to `visit`, in order.
pub(super) fn walk<E: From<LogError>>(
    files: &dyn LogFiles,
    expected: Expected,
    opened: &[Opened],
    mut visit: impl FnMut(Place<'_>, Record<'_>) -> Result<(), E>,
) -> Result<Walked, E> {
    let mut walk = Walk { files, expected, next_position: None };
    let (mut bytes, mut torn_bytes) = (0, 0);
    let mut following = opened.iter().skip(1).map(|next| next.header);
    for segment in opened {
        (bytes, torn_bytes) = walk.segment(segment, following.next(), &mut visit)?;
    }
    let next_position = walk.next_position.unwrap_or(1);
    let position = expected.after;
    // Whole segments are gone: what the database has passed is dropped, but never the newest.
    match walk.next_position {
        None if position > 0 => Err(LogError::Gone { path: files.path(""), position }.into()),
        Some(next) if next <= position => {
            Err(LogError::Missing { expected: next, found: None }.into())
        }
        _ => Ok(Walked { next_position, bytes, torn_bytes }),
    }
}

/// Whether the first segment goes on where the database ends, or before.
pub(super) fn follows_database(
    files: &dyn LogFiles,
    expected: Expected,
    opened: &[Opened],
) -> Result<(), LogError> {
    let walk = Walk { files, expected, next_position: None };
    opened.first().map_or(Ok(()), |first| walk.follows(&first.header, &first.name))
}

/// Whether there is a file with the name of a segment.
pub(super) fn has_segments(files: &dyn LogFiles) -> Result<bool, LogError> {
    let names = files.list().map_err(|error| LogError::io("list", files.path(""), error))?;
    Ok(names.iter().any(|name| sequence_of(name).is_some()))
}

/// Opens all segments in order and checks their headers. A last one whose creation was not finished
/// holds nothing and is left out; the next segment takes its name.
pub(super) fn open_segments(files: &dyn LogFiles, chain: B256) -> Result<Vec<Opened>, LogError> {
    let names = files.list().map_err(|error| LogError::io("list", files.path(""), error))?;
    let mut sequences: Vec<_> = names.iter().filter_map(|name| sequence_of(name)).collect();
    sequences.sort_unstable();
    let mut opened = Vec::with_capacity(sequences.len());
    for (index, sequence) in sequences.iter().enumerate() {
        let name = segment_name(*sequence);
        let is_last = index + 1 == sequences.len();
        let failed = |error| LogError::io("open", files.path(&name), error);
        let file = files.open(&name).map_err(failed)?;
        if index > 0 && sequences[index - 1].checked_add(1) != Some(*sequence) {
            return Err(corrupt(files, &name, 0, Damage::Sequence));
        }
        match read_header(files, &*file, &name, chain)? {
            Some(header) if header.sequence == *sequence => {
                opened.push(Opened { file, header, name });
            }
            None if is_last => {
                tracing::warn!(segment = %files.path(&name).display(), "its creation was not finished");
            }
            _ => return Err(corrupt(files, &name, 0, Damage::Header)),
        }
    }
    Ok(opened)
}

fn read_header(
    files: &dyn LogFiles,
    file: &dyn LogFile,
    name: &str,
    chain: B256,
) -> Result<Option<SegmentHeader>, LogError> {
    let failed = |error| LogError::io("read", files.path(name), error);
    let length = file.length().map_err(failed)?;
    let mut bytes = vec![0; HEADER_BYTES];
    let read = read_full(file, &mut bytes, 0).map_err(failed)?;
    let path = || files.path(name);
    match SegmentHeader::decode(&bytes[..read]) {
        Ok(header) if header.chain != chain => {
            Err(LogError::OtherChain { path: path(), expected: chain, found: header.chain })
        }
        Ok(header) => Ok(Some(header)),
        // Records come after the header is durable: with any there, it was whole once.
        Err(HeaderError::Unfinished) if length <= HEADER_BYTES as u64 => Ok(None),
        Err(HeaderError::Newer(found)) => {
            Err(LogError::NewerFormat { path: path(), found, supported: FORMAT })
        }
        Err(HeaderError::Foreign) => Err(LogError::Foreign { path: path() }),
        Err(HeaderError::Unfinished | HeaderError::Damaged) => {
            Err(corrupt(files, name, 0, Damage::Checksum))
        }
    }
}

struct Walk<'a> {
    files: &'a dyn LogFiles,
    expected: Expected,
    next_position: Option<u64>,
}

impl Walk<'_> {
    /// Checks one segment and visits its records; the bytes that count, and those of an unfinished
    /// write after them.
    fn segment<E: From<LogError>>(
        &mut self,
        segment: &Opened,
        next: Option<SegmentHeader>,
        visit: &mut impl FnMut(Place<'_>, Record<'_>) -> Result<(), E>,
    ) -> Result<(u64, u64), E> {
        let Opened { header, name, .. } = segment;
        self.follows(header, name)?;
        let (bytes, path) = (self.read(segment)?, self.files.path(name));
        let counted = match next {
            None => &bytes[..],
            Some(next) => usize::try_from(next.previous_bytes)
                .ok()
                .filter(|counted| *counted >= HEADER_BYTES)
                .and_then(|counted| bytes.get(..counted))
                .ok_or_else(|| corrupt(self.files, name, bytes.len() as u64, Damage::CutOff))?,
        };
        let mut rest = &counted[HEADER_BYTES..];
        let mut position = header.first_position;
        while !rest.is_empty() {
            let offset = (counted.len() - rest.len()) as u64;
            let (record, after) = match Record::decode(rest) {
                Ok(read) => read,
                // What has a successor or is in the database was durable.
                Err(damage)
                    if next.is_some()
                        || position <= self.expected.after
                        || is_durable(rest, position, damage) =>
                {
                    return Err(corrupt(self.files, name, offset, damage).into());
                }
                Err(_) => break,
            };
            if record.position != position {
                return Err(corrupt(self.files, name, offset, Damage::Order).into());
            }
            if position > self.expected.after {
                visit(Place { path: &path, offset }, record)?;
            }
            position += 1;
            rest = after;
        }
        self.next_position = Some(position);
        Ok(((counted.len() - rest.len()) as u64, rest.len() as u64))
    }

    /// Whether a segment goes on where the one before it ended, or where the database ends.
    fn follows(&self, header: &SegmentHeader, name: &str) -> Result<(), LogError> {
        let found = header.first_position;
        let gap = |expected| {
            Err(LogError::Missing { expected, found: Some((self.files.path(name), found)) })
        };
        match self.next_position {
            None if found > self.expected.after + 1 => gap(self.expected.after + 1),
            Some(expected) if found > expected => gap(expected),
            Some(expected) if found < expected => Err(corrupt(self.files, name, 0, Damage::Header)),
            _ => Ok(()),
        }
    }

    fn read(&self, segment: &Opened) -> Result<Vec<u8>, LogError> {
        let failed = |error| LogError::io("read", self.files.path(&segment.name), error);
        let length = segment.file.length().map_err(failed)?;
        if length > SEGMENT_FILE_BYTES_MAX {
            return Err(corrupt(self.files, &segment.name, 0, Damage::TooLong));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let read = read_full(&*segment.file, &mut bytes, 0).map_err(failed)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// Whether the damaged record at the start of `rest` was durable once.
fn is_durable(rest: &[u8], position: u64, damage: Damage) -> bool {
    // A checksum that is right was not torn.
    damage == Damage::Kind || Record::proves_damage(&rest[1..], position)
}

fn read_full(file: &dyn LogFile, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64)? {
            0 => break,
            count => read += count,
        }
    }
    Ok(read)
}

fn corrupt(files: &dyn LogFiles, name: &str, offset: u64, damage: Damage) -> LogError {
    LogError::Corrupt { path: files.path(name), offset, damage }
}
