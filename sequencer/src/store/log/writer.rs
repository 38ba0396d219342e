//! Writing groups of records: one write and one fdatasync each, into the current segment or a new
//! one. Does not queue and does not lock (`mod` does).
//!
//! After a failed write or sync nothing is known about the pages that were written: the kernel may
//! have marked them clean without writing them, and a second fdatasync would succeed without effect.
//! So the segment is left as it was after the last success and never written again. The next group
//! goes to a new segment, whose header says how many bytes of the old one count; cutting the old one
//! only frees space, and may fail.

use super::{
    error::LogError,
    files::{LogFile, LogFiles},
    recovery::{LastSegment, Segment, segment_name},
    segment::{HEADER_BYTES, SegmentHeader},
};
use alloy::primitives::B256;
use std::{io, sync::Arc};

/// Where groups go.
#[derive(Debug)]
pub(super) struct Writer {
    files: Arc<dyn LogFiles>,
    chain: B256,
    segment_bytes_max: u64,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: Box<dyn LogFile>,
    sequence: u64,
    /// Durable bytes that count.
    bytes: u64,
    /// Whether a write or sync failed: nothing is written to it any more.
    abandoned: bool,
}

/// Records that are written together.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupBytes<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) first_position: u64,
    pub(super) first_height: u64,
}

impl Writer {
    /// Goes on after `last`, from which the tail of an unfinished write is cut. What was read is
    /// durable when this returns: a killed process may have left it in the page cache alone.
    pub(super) fn new(
        files: Arc<dyn LogFiles>,
        chain: B256,
        segment_bytes_max: u64,
        last: Option<LastSegment>,
    ) -> Result<Self, LogError> {
        let mut current = None;
        if let Some(LastSegment { file, sequence, bytes, torn_bytes }) = last {
            let path = files.path(&segment_name(sequence));
            if torn_bytes > 0 {
                tracing::warn!(
                    segment = %path.display(), offset = bytes, torn_bytes,
                    "the order log ends in an unfinished write, which was never acknowledged: cut"
                );
                let cut = file.truncate(bytes);
                cut.map_err(|error| LogError::io("cut", path.clone(), error))?;
            }
            file.sync_data().map_err(|error| LogError::io("sync", path, error))?;
            current = Some(Current { file, sequence, bytes, abandoned: false });
        }
        Ok(Self { files, chain, segment_bytes_max, current })
    }

    /// Makes a group durable. Also gives the segment that it started, if it did: one that could be
    /// started and not written stays in the log, with no record.
    pub(super) fn write(
        &mut self,
        group: GroupBytes<'_>,
    ) -> (Option<Segment>, Result<(), LogError>) {
        let fits = self.current.as_ref().is_some_and(|current| {
            !current.abandoned
                && (current.bytes < self.segment_bytes_max || current.bytes == HEADER_BYTES as u64)
        });
        if fits {
            return (None, self.write_current(group.bytes));
        }
        match self.start_segment(group) {
            Ok(started) => (Some(started), self.write_current(group.bytes)),
            Err(error) => (None, Err(error)),
        }
    }

    fn write_current(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let path = || self.files.path(&segment_name(current.sequence));
        let written = write_all(&*current.file, bytes, current.bytes)
            .map_err(|error| LogError::io("write", path(), error))
            .and_then(|()| {
                let synced = current.file.sync_data();
                synced.map_err(|error| LogError::io("sync", path(), error))
            });
        if let Err(error) = written {
            current.abandoned = true;
            // Frees the space; whether it works changes nothing, see above.
            let _ = current.file.truncate(current.bytes);
            return Err(error);
        }
        current.bytes += bytes.len() as u64;
        Ok(())
    }

    fn start_segment(&mut self, group: GroupBytes<'_>) -> Result<Segment, LogError> {
        let (sequence, previous_bytes) = match &self.current {
            Some(current) => (current.sequence + 1, current.bytes),
            None => (1, 0),
        };
        let header = SegmentHeader {
            chain: self.chain,
            sequence,
            first_position: group.first_position,
            first_height: group.first_height,
            previous_bytes,
        };
        let name = segment_name(sequence);
        let file = self.create(&name, &header.encode()).map_err(|(operation, error)| {
            // It holds nothing. Where it stays, the next attempt empties it.
            let _ = self.files.remove(&name);
            LogError::io(operation, self.files.path(&name), error)
        })?;
        self.current =
            Some(Current { file, sequence, bytes: HEADER_BYTES as u64, abandoned: false });
        Ok(Segment { sequence, first_position: group.first_position })
    }

    fn create(
        &self,
        name: &str,
        header: &[u8],
    ) -> Result<Box<dyn LogFile>, (&'static str, io::Error)> {
        let file = self.files.create(name).map_err(|error| ("create", error))?;
        write_all(&*file, header, 0).map_err(|error| ("write", error))?;
        file.sync_data().map_err(|error| ("sync", error))?;
        self.files.sync_directory().map_err(|error| ("sync the directory of", error))?;
        Ok(file)
    }
}

fn write_all(file: &dyn LogFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes = &bytes[count.min(bytes.len())..];
        offset += count as u64;
    }
    Ok(())
}
