//! The pool's journal: a file from which the pool is filled again after a restart, also after
//! kill -9.
//!
//! Appended to with one write for each batch of admitted transactions, never synced: it survives the
//! death of the process. What a power loss must not take is in the order log. A hint and no
//! authority: what is read back goes through admission again, mined ones fall out there, and a
//! damaged tail is cut with a warning. Does not know the pool: who calls says what still lives.
//!
//! The file: eight bytes of [`MAGIC`], then records, each `length: u32`, `xxh3 of the payload: u64`,
//! payload, little-endian. Payload of a transaction: kind 1, `received_unix_ms: u64`, 20 bytes of
//! sender, `length of the terms: u32`, terms as JSON, raw transaction. Of one that left: kind 2, 32
//! bytes of hash.

use super::{Submission, Terms};
use alloy::primitives::{Address, B256, Bytes};
use executor::{Transaction, transaction::TRANSACTION_BYTES_MAX};
use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use xxhash_rust::xxh3::xxh3_64;

/// First bytes of the file; the last one is the version.
const MAGIC: &[u8; 8] = b"WEFTPOL\x01";

/// Longest file, in bytes: several times the default pool. When full, what comes is not written until
/// the file was compacted, and would be lost with the process; a warning says so.
pub const JOURNAL_BYTES_MAX: u64 = 1 << 30;

/// The file is compacted when it is longer than twice what lives and this, in bytes.
const SLACK_BYTES: u64 = 4 << 20;

/// Longest record, in bytes: a transaction with the most conditions that it may have, as JSON. A
/// length beyond it is damage.
const RECORD_BYTES_MAX: usize = TRANSACTION_BYTES_MAX + (1 << 20);

/// Bytes of a record beside its payload, and of a transaction's payload beside terms and raw bytes.
const FRAME_BYTES: usize = 4 + 8;
const FIXED_BYTES: usize = 1 + 8 + 20 + 4;

const TRANSACTION: u8 = 1;
const LEFT: u8 = 2;

/// Records looked at in one go while compacting: each go asks the pool, which holds its lock.
const COMPACT_RECORDS: usize = 1_024;

/// The journal cannot be used. The node runs without it; nothing else depends on it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct JournalError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Up to here the file is sound; the next record goes here, over what a failed write left.
    end: u64,
    /// Whether the last write failed, so that the log is told once.
    is_failing: bool,
}

/// The open journal. Appending and compacting may happen at the same time.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    open: Mutex<Open>,
}

/// What a record says.
enum Record {
    Transaction(Box<Submission>),
    Left(B256),
}

impl Record {
    fn read(payload: &[u8]) -> Option<Self> {
        let (&kind, rest) = payload.split_first()?;
        match kind {
            TRANSACTION => {
                let (received, rest) = rest.split_first_chunk::<8>()?;
                let (sender, rest) = rest.split_first_chunk::<20>()?;
                let (terms_len, rest) = rest.split_first_chunk::<4>()?;
                let terms_len = usize::try_from(u32::from_le_bytes(*terms_len)).ok()?;
                let (terms, raw) = rest.split_at_checked(terms_len)?;
                let terms = match terms {
                    [] => None,
                    json => Some(Arc::new(serde_json::from_slice::<Terms>(json).ok()?)),
                };
                let raw = Bytes::copy_from_slice(raw);
                let transaction = Transaction::decode_stored(raw, Address::from(*sender)).ok()?;
                let received_unix_ms = Some(u64::from_le_bytes(*received));
                Some(Self::Transaction(Box::new(Submission {
                    transaction,
                    terms,
                    received_unix_ms,
                })))
            }
            LEFT => Some(Self::Left(B256::try_from(rest).ok()?)),
            _ => None,
        }
    }

    fn hash(&self) -> B256 {
        match self {
            Self::Transaction(submission) => submission.transaction.hash(),
            Self::Left(hash) => *hash,
        }
    }
}

/// Bytes to append, made without the journal's lock.
#[derive(Debug, Default)]
struct Pending(Vec<u8>);

impl Pending {
    fn push(&mut self, payload: impl FnOnce(&mut Vec<u8>)) {
        let from = self.0.len();
        self.0.extend([0; FRAME_BYTES]);
        payload(&mut self.0);
        let (frame, payload) = self.0[from..].split_at_mut(FRAME_BYTES);
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        frame[..4].copy_from_slice(&length.to_le_bytes());
        frame[4..].copy_from_slice(&xxh3_64(payload).to_le_bytes());
    }

    /// A transaction that was admitted.
    fn transaction(&mut self, submission: &Submission) {
        let Submission { transaction, terms, received_unix_ms } = submission;
        let received_unix_ms = received_unix_ms.unwrap_or(0);
        let terms =
            terms.as_deref().and_then(|terms| serde_json::to_vec(terms).ok()).unwrap_or_default();
        let terms_len = u32::try_from(terms.len()).unwrap_or(u32::MAX);
        self.push(|payload| {
            payload.reserve(FIXED_BYTES + terms.len() + transaction.raw().len());
            payload.push(TRANSACTION);
            payload.extend(received_unix_ms.to_le_bytes());
            payload.extend(transaction.sender());
            payload.extend(terms_len.to_le_bytes());
            payload.extend(&terms);
            payload.extend(transaction.raw());
        });
    }

    /// A transaction that left unmined.
    fn left(&mut self, hash: &B256) {
        self.push(|payload| {
            payload.push(LEFT);
            payload.extend(hash);
        });
    }
}

/// The records of a file up to the first that is not sound.
struct Records<R> {
    from: R,
    /// Where the sound part ends, in bytes.
    end: u64,
}

impl Records<BufReader<File>> {
    /// `None` for a file that is no journal.
    fn of(file: File) -> io::Result<Option<Self>> {
        let mut from = BufReader::new(file);
        let mut magic = [0; MAGIC.len()];
        match from.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => Ok(Some(Self { from, end: MAGIC.len() as u64 })),
            Ok(()) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<R: Read> Records<R> {
    /// The next payload.
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut frame = [0; FRAME_BYTES];
        self.from.read_exact(&mut frame).ok()?;
        let (length, checksum) = frame.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if length > RECORD_BYTES_MAX {
            return None;
        }
        let mut payload = vec![0; length];
        self.from.read_exact(&mut payload).ok()?;
        if xxh3_64(&payload).to_le_bytes() != *checksum {
            return None;
        }
        self.end += (FRAME_BYTES + length) as u64;
        Some(payload)
    }
}

impl Journal {
    /// Opens the journal, or makes a new one, and reads what it has: transactions that did not leave
    /// unmined, in the order in which they were admitted. What is damaged is cut, with a warning.
    ///
    /// # Errors
    /// [`JournalError`] when the file cannot be opened, read or written.
    pub fn open(path: &Path) -> Result<(Self, Vec<Submission>), JournalError> {
        Self::read(path).map_err(|error| JournalError { path: path.into(), error })
    }

    fn read(path: &Path) -> io::Result<(Self, Vec<Submission>)> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let length = file.metadata()?.len();
        let mut found: Vec<Option<Submission>> = Vec::new();
        let mut places: HashMap<B256, usize> = HashMap::new();
        let mut end = 0;
        if let Some(mut records) = Records::of(file.try_clone()?)? {
            end = records.end;
            // One that is sound by its checksum and says nothing that is known ends the reading, too.
            while let Some(record) = records.next().and_then(|payload| Record::read(&payload)) {
                end = records.end;
                if let Some(place) = places.remove(&record.hash()) {
                    found[place] = None;
                }
                if let Record::Transaction(submission) = record {
                    places.insert(submission.transaction.hash(), found.len());
                    found.push(Some(*submission));
                }
            }
        }
        if end < length {
            let (path, cut) = (path.display(), length - end);
            tracing::warn!(%path, from = end, bytes = cut, "the pool's journal is damaged: cut");
            file.set_len(end)?;
        }
        if end == 0 {
            file.write_all_at(MAGIC, 0)?;
            end = MAGIC.len() as u64;
        }
        let open = Mutex::new(Open { file, end, is_failing: false });
        Ok((Self { path: path.into(), open }, found.into_iter().flatten().collect()))
    }

    // Held for one write, and at the end of a compaction for what was appended meanwhile.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends in one write. One that fails costs what it should have written its safety, and
    /// nothing else: the log says so once, and the next write takes its place.
    fn append(&self, pending: &Pending) {
        if pending.0.is_empty() {
            return;
        }
        let mut open = self.lock();
        let end = open.end + pending.0.len() as u64;
        let written = if end > JOURNAL_BYTES_MAX {
            Err(io::Error::from(io::ErrorKind::FileTooLarge))
        } else {
            open.file.write_all_at(&pending.0, open.end)
        };
        match written {
            Ok(()) => (open.end, open.is_failing) = (end, false),
            Err(error) if !open.is_failing => {
                open.is_failing = true;
                let path = self.path.display();
                tracing::warn!(%path, %error, "the pool's journal cannot be written: a restart now would forget what comes");
            }
            Err(_) => {}
        }
    }

    /// Appends admitted transactions.
    pub fn append_admitted(&self, added: &[Submission]) {
        let mut pending = Pending::default();
        added.iter().for_each(|submission| pending.transaction(submission));
        self.append(&pending);
    }

    /// Appends what [`super::Pool::take_changed`] said: those that are pooled came back, the others
    /// left.
    pub fn append_changed(&self, changed: impl IntoIterator<Item = (B256, Option<Submission>)>) {
        let mut pending = Pending::default();
        for (hash, submission) in changed {
            match submission {
                Some(submission) => pending.transaction(&submission),
                None => pending.left(&hash),
            }
        }
        self.append(&pending);
    }

    /// Length of the file, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().end
    }

    /// Whether most of the file is dead, when so many transactions of so many raw bytes live.
    #[must_use]
    pub fn is_mostly_dead(&self, live: usize, live_bytes: usize) -> bool {
        let live_bytes = (live * (FRAME_BYTES + FIXED_BYTES) + live_bytes) as u64;
        self.bytes() > 2 * live_bytes + SLACK_BYTES
    }

    /// Writes the file anew, with the transactions that `is_live` says live. Appends wait only while
    /// what was appended meanwhile is copied.
    ///
    /// # Errors
    /// [`JournalError`]; the journal is as it was.
    pub fn compact(&self, is_live: impl FnMut(&[B256]) -> Vec<bool>) -> Result<(), JournalError> {
        let new = self.path.with_extension("new");
        self.rewrite(&new, is_live).map_err(|error| JournalError { path: new, error })
    }

    fn rewrite(&self, new: &Path, mut is_live: impl FnMut(&[B256]) -> Vec<bool>) -> io::Result<()> {
        let before = self.bytes();
        let mut to = BufWriter::new(File::create(new)?);
        to.write_all(MAGIC)?;
        let Some(mut records) = Records::of(File::open(&self.path)?)? else { return Ok(()) };
        while records.end < before {
            let mut part: Vec<(B256, Pending)> = Vec::new();
            while part.len() < COMPACT_RECORDS && records.end < before {
                let Some(payload) = records.next() else { break };
                if let Some(record @ Record::Transaction(_)) = Record::read(&payload) {
                    let mut pending = Pending::default();
                    pending.push(|bytes| bytes.extend(&payload));
                    part.push((record.hash(), pending));
                }
            }
            if part.is_empty() && records.end < before {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let hashes: Vec<B256> = part.iter().map(|(hash, _)| *hash).collect();
            for ((_, pending), is_live) in part.iter().zip(is_live(&hashes)) {
                if is_live {
                    to.write_all(&pending.0)?;
                }
            }
        }
        let mut file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
        let mut open = self.lock();
        let mut tail = vec![0; usize::try_from(open.end - before).unwrap_or(0)];
        open.file.read_exact_at(&mut tail, before)?;
        file.write_all(&tail)?;
        let end = file.metadata()?.len();
        // Written through from now on at positions; readable, because the next compaction reads it.
        let file = OpenOptions::new().read(true).write(true).open(new)?;
        fs::rename(new, &self.path)?;
        *open = Open { file, end, is_failing: false };
        Ok(())
    }
}
