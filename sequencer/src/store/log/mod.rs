//! The order log: what was acknowledged, in order, durable before anybody hears of it.
//!
//! Owns the queue in front of the disk and the group commit: whoever waits for its record first
//! writes everything that is queued with one write and one fdatasync, and those who come meanwhile
//! queue for the next. The caller's thread does it, so a lone append costs no hand-over. Knows
//! records (`segment` has their bytes), not blocks: [`BlockRecord`] is the payload of one kind.
//!
//! Segments are not preallocated. Measured on ext4: fallocate or a longer size leaves the time of
//! write and fdatasync as it is; only blocks that were written before are faster, by a fifth at 1 KB
//! and by half at 1 MB, and zeroing them first writes every byte twice.

mod block_record;
mod bytes;
mod error;
mod files;
mod mini_block_record;
mod reader;
mod recovery;
mod segment;
mod stage_record;
mod writer;

pub use block_record::{BlockRecord, BlockRecordError};
pub use error::{Damage, LogError};
pub use files::{DirectoryFiles, LogFile, LogFiles};
pub use mini_block_record::{MiniBlockRecord, Opening};
pub use reader::{LogReader, LogStat, TornTail};
pub use recovery::Place;
pub use segment::{RECORD_BYTES_MAX, Record, RecordKind};
pub use stage_record::{Stage, StageRecord};

use alloy::primitives::B256;
use recovery::{Expected, Recovered, Segment, recover, segment_name};
use segment::{FORMAT, RECORD_OVERHEAD_BYTES};
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
};
use writer::{GroupBytes, Writer};

/// Bytes queued at most while a group is being written: about ten full blocks. Whoever comes then
/// waits for the disk. A longer record is taken when nothing else is queued.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Records queued at most, for the same reason: a group's failure is told to each.
const QUEUE_RECORDS_MAX: usize = 4096;
/// Attempts to open all segments while somebody drops the oldest.
const OPEN_ATTEMPTS_MAX: usize = 16;
/// A queue's memory is kept for the next group up to this size: most groups are one block below it,
/// and fresh pages cost more than the copy.
const SPARE_BYTES_MAX: usize = 4 << 20;
/// Size at which a segment is followed by the next, by default: a start reads it all in a fraction of
/// a second, and removing one is a few milliseconds.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Whose log it is, and its bounds.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    /// Configuration hash of the chain; a segment of another is refused.
    pub chain: B256,
    /// Size in bytes at which a segment is followed by the next.
    pub segment_bytes_max: u64,
}

/// The open log. Threads append to it together. One per directory: the caller holds the lock.
pub struct OrderLog {
    files: Arc<dyn LogFiles>,
    chain: B256,
    state: Mutex<State>,
    /// Told whenever a group has ended, well or not.
    ended: Condvar,
}

struct State {
    /// Absent while a thread writes a group.
    writer: Option<Writer>,
    queue: Group,
    spare: Vec<u8>,
    next_position: u64,
    durable_position: u64,
    segments: VecDeque<Segment>,
}

#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    records: usize,
    first_position: u64,
    first_height: u64,
    outcome: Arc<Outcome>,
}

type Outcome = OnceLock<Result<(), LogError>>;

/// A record that was queued; [`OrderLog::wait`] says when it is durable.
#[derive(Clone, Debug)]
#[must_use = "the record is durable only after a wait"]
pub struct Ticket {
    position: u64,
    outcome: Arc<Outcome>,
}

impl Ticket {
    /// The record's place in the log; it counts once the wait succeeded.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }
}

impl fmt::Debug for OrderLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("OrderLog")
            .field("durable_position", &state.durable_position)
            .field("segments", &state.segments)
            .finish_non_exhaustive()
    }
}

impl OrderLog {
    /// Opens the log, and gives every record after position `after` to `visit`, in order. The tail of
    /// an unfinished write is cut.
    ///
    /// # Errors
    /// The third group of [`LogError`] when the log is damaged, foreign or does not go on where the
    /// database is; then nothing was changed. Errors of the files, and of `visit`.
    pub fn open<E: From<LogError>>(
        files: Arc<dyn LogFiles>,
        config: LogConfig,
        after: u64,
        visit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let LogConfig { chain, segment_bytes_max } = config;
        let Recovered { segments, next_position, last } =
            recover(&*files, Expected { chain, after }, visit)?;
        let writer = Writer::new(files.clone(), chain, segment_bytes_max, last)?;
        let state = State {
            writer: Some(writer),
            queue: Group::default(),
            spare: Vec::new(),
            next_position,
            durable_position: next_position - 1,
            segments,
        };
        Ok(Self { files, chain, state: Mutex::new(state), ended: Condvar::new() })
    }

    // Held for queue operations only, never while a file is written.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a record. Waits for the disk where the queue is full.
    ///
    /// # Errors
    /// [`LogError::RecordTooLarge`].
    pub fn append(
        &self,
        kind: RecordKind,
        height: u64,
        payload: &[u8],
    ) -> Result<Ticket, LogError> {
        let bytes = payload.len();
        if bytes > RECORD_BYTES_MAX {
            return Err(LogError::RecordTooLarge { bytes, max: RECORD_BYTES_MAX });
        }
        let mut state = self.state();
        while state.queue.is_full(bytes + RECORD_OVERHEAD_BYTES) {
            state = self.advance(state);
        }
        let position = state.next_position;
        state.next_position += 1;
        let queue = &mut state.queue;
        if queue.records == 0 {
            (queue.first_position, queue.first_height) = (position, height);
        }
        queue.records += 1;
        let group_first = queue.first_position;
        Record { kind, position, height, payload, group_first }.encode(&mut queue.bytes);
        Ok(Ticket { position, outcome: queue.outcome.clone() })
    }

    /// Waits until the record is durable, and writes it if nobody else does.
    ///
    /// # Errors
    /// [`LogError`] when its group could not be written: the record is not in the log, and neither is
    /// one that was queued after it.
    pub fn wait(&self, ticket: &Ticket) -> Result<(), LogError> {
        let mut state = self.state();
        loop {
            if let Some(outcome) = ticket.outcome.get() {
                return outcome.clone();
            }
            state = self.advance(state);
        }
    }

    /// Position of the last durable record; 0 before the first.
    #[must_use]
    pub fn durable_position(&self) -> u64 {
        self.state().durable_position
    }

    /// Position of the first record that is kept; that of the next one where none is.
    #[must_use]
    pub fn first_position(&self) -> u64 {
        let state = self.state();
        state.segments.front().map_or(state.next_position, |segment| segment.first_position)
    }

    /// Reads the durable records after position `after`, in order, beside those who append. Takes the
    /// memory of one segment.
    ///
    /// # Errors
    /// [`LogError::Missing`] where the next one is not kept any more. Errors of the files, and of
    /// `visit`, which ends the reading.
    pub fn read_after<E: From<LogError>>(
        &self,
        after: u64,
        mut visit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let through = self.durable_position();
        if after >= through {
            return Ok(());
        }
        let mut opened = self.open_all()?;
        let is_passed = |next: &recovery::Opened| next.header.first_position <= after + 1;
        let passed = opened.iter().skip(1).take_while(|next| is_passed(next)).count();
        opened.drain(..passed);
        let expected = Expected { chain: self.chain, after };
        recovery::follows_database(&*self.files, expected, &opened)?;
        recovery::walk(&*self.files, expected, &opened, |_, record| {
            // What is being written may be there already, and not durable.
            if record.position <= through { visit(record) } else { Ok(()) }
        })?;
        Ok(())
    }

    /// Opens the segments, while another thread may remove the oldest.
    fn open_all(&self) -> Result<Vec<recovery::Opened>, LogError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match recovery::open_segments(&*self.files, self.chain) {
                Err(LogError::Io { error, .. })
                    if error.kind() == std::io::ErrorKind::NotFound
                        && attempts < OPEN_ATTEMPTS_MAX => {}
                opened => return opened,
            }
        }
    }

    /// Number of segments.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.state().segments.len()
    }

    /// Removes the segments whose records the database holds durably, `position` being the last of
    /// them. The newest segment stays, so that the log says where it is, and `kept` before it for
    /// those who read what happened. How many were removed. One thread calls this.
    ///
    /// # Errors
    /// [`LogError::Io`] when a file cannot be removed; the next call tries again.
    pub fn drop_through(&self, position: u64, kept: usize) -> Result<usize, LogError> {
        let mut dropped = 0;
        while let Some(oldest) = self.take_passed(position, kept) {
            let name = segment_name(oldest.sequence);
            // Aside of the lock: removing a large file takes milliseconds.
            if let Err(error) = self.files.remove(&name) {
                self.state().segments.push_front(oldest);
                return Err(LogError::io("remove", self.files.path(&name), error));
            }
            dropped += 1;
        }
        if dropped > 0 {
            let synced = self.files.sync_directory();
            synced.map_err(|error| LogError::io("sync", self.files.path(""), error))?;
        }
        Ok(dropped)
    }

    fn take_passed(&self, position: u64, kept: usize) -> Option<Segment> {
        let mut state = self.state();
        if state.segments.len() <= kept.saturating_add(1) {
            return None;
        }
        let next = state.segments.get(1)?;
        if next.first_position > position.saturating_add(1) {
            return None;
        }
        state.segments.pop_front()
    }

    /// Writes the queue, or waits while another thread writes.
    fn advance<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(mut writer) = state.writer.take() else {
            return self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let empty = Group { bytes: std::mem::take(&mut state.spare), ..Group::default() };
        let group = std::mem::replace(&mut state.queue, empty);
        drop(state);
        let (started, written) = writer.write(GroupBytes {
            bytes: &group.bytes,
            first_position: group.first_position,
            first_height: group.first_height,
        });
        let mut state = self.state();
        state.writer = Some(writer);
        state.segments.extend(started);
        state.end(group, written);
        self.ended.notify_all();
        state
    }
}

impl State {
    /// Tells the outcome of a group. With a failed one, what was queued after it fails, too: it would
    /// follow records that do not exist.
    fn end(&mut self, group: Group, outcome: Result<(), LogError>) {
        match &outcome {
            Ok(()) => self.durable_position += group.records as u64,
            Err(error) => {
                let queued = std::mem::take(&mut self.queue);
                let _ = queued.outcome.set(Err(error.clone()));
                self.next_position = self.durable_position + 1;
            }
        }
        // Set once: the group left the queue for the thread that calls this.
        let _ = group.outcome.set(outcome);
        let mut bytes = group.bytes;
        if bytes.capacity() <= SPARE_BYTES_MAX {
            bytes.clear();
            self.spare = bytes;
        }
    }
}

impl Group {
    fn is_full(&self, bytes: usize) -> bool {
        self.records >= QUEUE_RECORDS_MAX
            || (self.records > 0 && self.bytes.len() + bytes > QUEUE_BYTES_MAX)
    }
}
