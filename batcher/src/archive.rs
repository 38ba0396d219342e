//! The payload archive: a directory with every payload that was posted to L1 or read back, each under
//! the hash by which the Inbox knows it. L1 forgets blobs after 18 days, a reorg may drop them at once.
//!
//! A blob's name is its versioned hash (EIP-4844), calldata's the keccak-256 of the bytes appended. No
//! bytes are both, so one hash names one payload. What is read is checked against its name; what does
//! not match is put aside and counts as missing. Nothing is ever deleted here. Does not ask L1.

use crate::{
    carrier::Carrier,
    format::{CALLDATA_FRAME_BYTES_MAX, blob},
    kzg::{self, KzgError},
};
use alloy::{
    eips::eip4844::{BYTES_PER_BLOB, Blob},
    primitives::{B256, Bytes, keccak256},
};
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::Semaphore;

/// Blobs whose commitment is computed at once for readers: each takes some 40 ms of a core. More wait.
const CHECKS_MAX: usize = 1;
/// Blobs whose bytes are known to have been right in this process, 64 bytes each: 8 GiB of them. When
/// full all are forgotten, and checked once more.
const CHECKED_MAX: usize = 65_536;

/// The archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Retry: of the file system.
    #[error("payload archive {path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Halt: as in [`KzgError`].
    #[error(transparent)]
    Kzg(#[from] KzgError),
}

/// What carried a payload, by the end of its file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Blob,
    Calldata,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Blob, Self::Calldata];

    fn extension(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Calldata => "calldata",
        }
    }
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    /// Keccak of the bytes that are under a versioned hash, once they were seen to have it.
    checked: Mutex<HashMap<B256, B256>>,
    checks: Semaphore,
    /// Tells names of unfinished files apart.
    unfinished: AtomicU64,
}

/// The archive; cloning shares it.
#[derive(Clone, Debug)]
pub struct PayloadArchive(Arc<Shared>);

impl PayloadArchive {
    /// Uses this directory. [`Self::prepare`] it before anything is kept.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        let checks = Semaphore::new(CHECKS_MAX);
        let (checked, unfinished) = <_>::default();
        Self(Arc::new(Shared { directory, checked, checks, unfinished }))
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Makes the directory, and removes what a crash left unfinished in it.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn prepare(&self) -> Result<(), ArchiveError> {
        let path = self.directory();
        std::fs::create_dir_all(path).map_err(|error| failed(path, error))?;
        for entry in std::fs::read_dir(path).map_err(|error| failed(path, error))? {
            let path = entry.map_err(|error| failed(path, error))?.path();
            if path.extension().is_some_and(|extension| extension == "partial") {
                std::fs::remove_file(&path).map_err(|error| failed(&path, error))?;
            }
        }
        Ok(())
    }

    fn path(&self, hash: B256, kind: Kind) -> PathBuf {
        self.0.directory.join(format!("{hash:x}.{}", kind.extension()))
    }

    fn checked(&self) -> MutexGuard<'_, HashMap<B256, B256>> {
        self.0.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether reading this payload takes no more than a hash: its commitment was computed before.
    #[must_use]
    pub fn is_checked(&self, hash: B256) -> bool {
        self.checked().contains_key(&hash)
    }

    fn remember(&self, hash: B256, digest: B256) {
        let mut checked = self.checked();
        if checked.len() >= CHECKED_MAX {
            checked.clear();
        }
        checked.insert(hash, digest);
    }

    /// Keeps what is about to be posted, durable when this returns.
    ///
    /// # Errors
    /// [`ArchiveError`]; the caller does not post then.
    pub async fn keep_frame(&self, frame: &Bytes, carrier: Carrier) -> Result<(), ArchiveError> {
        if carrier == Carrier::Calldata {
            return self.keep_calldata(frame).await;
        }
        let packed = frame.clone();
        let packing = tokio::task::spawn_blocking(move || blob::pack(&packed));
        let blobs = packing.await.map_err(|_| KzgError::Worker)?;
        let (blobs, hashes) = kzg::versioned_hashes(blobs).await?;
        for (hash, blob) in hashes.into_iter().zip(&blobs) {
            self.keep_blob(hash, blob.as_slice()).await?;
        }
        Ok(())
    }

    /// Keeps a blob that was seen to have this versioned hash.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub async fn keep_blob(&self, hash: B256, blob: &[u8]) -> Result<(), ArchiveError> {
        self.keep(hash, Kind::Blob, blob).await?;
        self.remember(hash, keccak256(blob));
        Ok(())
    }

    /// Keeps calldata under its hash.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub async fn keep_calldata(&self, data: &Bytes) -> Result<(), ArchiveError> {
        self.keep(keccak256(data), Kind::Calldata, data).await
    }

    /// Written aside, made durable and then renamed, so that a crash leaves no half file under the
    /// name. A file that has other bytes is put aside first.
    async fn keep(&self, hash: B256, kind: Kind, bytes: &[u8]) -> Result<(), ArchiveError> {
        let path = self.path(hash, kind);
        match tokio::fs::read(&path).await {
            Ok(found) if found == bytes => return Ok(()),
            Ok(_) => self.put_aside(&path).await?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // What cannot be read is replaced.
            Err(error) => tracing::warn!(?path, %error, "an archived payload cannot be read"),
        }
        let number = self.0.unfinished.fetch_add(1, Relaxed);
        let aside = self.0.directory.join(format!("{hash:x}.{number}.partial"));
        let (bytes, from, to) = (bytes.to_vec(), aside.clone(), path.clone());
        let directory = self.0.directory.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let mut file = std::fs::File::create(&from)?;
            io::Write::write_all(&mut file, &bytes)?;
            file.sync_all()?;
            std::fs::rename(&from, &to)?;
            // The name is durable with its directory.
            std::fs::File::open(directory)?.sync_all()
        });
        let written = writing.await.map_err(io::Error::other).and_then(|written| written);
        written.map_err(|error| {
            // Part of it may be there, on a full disk for one.
            let _ = std::fs::remove_file(&aside);
            failed(&path, error)
        })
    }

    /// The payload of this hash, checked; `None` where it is not here.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn read(&self, hash: B256) -> Result<Option<Bytes>, ArchiveError> {
        for kind in Kind::ALL {
            if let Some(bytes) = self.read_kind(hash, kind).await? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The blob of this versioned hash.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn blob(&self, hash: B256) -> Result<Option<Bytes>, ArchiveError> {
        self.read_kind(hash, Kind::Blob).await
    }

    /// The calldata of this keccak-256.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn calldata(&self, hash: B256) -> Result<Option<Bytes>, ArchiveError> {
        self.read_kind(hash, Kind::Calldata).await
    }

    async fn read_kind(&self, hash: B256, kind: Kind) -> Result<Option<Bytes>, ArchiveError> {
        let path = self.path(hash, kind);
        let bytes = match tokio::fs::read(&path).await {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&path, error)),
        };
        let is_right = match kind {
            Kind::Calldata => bytes.len() <= CALLDATA_BYTES_MAX && keccak256(&bytes) == hash,
            Kind::Blob => self.is_blob_of(hash, &bytes).await?,
        };
        if is_right {
            return Ok(Some(bytes));
        }
        self.put_aside(&path).await?;
        Ok(None)
    }

    async fn is_blob_of(&self, hash: B256, bytes: &[u8]) -> Result<bool, ArchiveError> {
        if bytes.len() != BYTES_PER_BLOB {
            return Ok(false);
        }
        let digest = keccak256(bytes);
        let known = self.checked().get(&hash).copied();
        if let Some(known) = known {
            return Ok(known == digest);
        }
        // Closed never; without a permit it would only be faster.
        let _permit = self.0.checks.acquire().await;
        let (_, hashes) = kzg::versioned_hashes(vec![Blob::from_slice(bytes)]).await?;
        let is_right = hashes == [hash];
        if is_right {
            self.remember(hash, digest);
        }
        Ok(is_right)
    }

    /// Damaged bytes stay for somebody to look at, under a name that nobody reads.
    async fn put_aside(&self, path: &Path) -> Result<(), ArchiveError> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".corrupt");
        tracing::warn!(?path, "an archived payload is not what its name says: put aside");
        tokio::fs::rename(path, aside).await.map_err(|error| failed(path, error))
    }
}

/// Most bytes of archived calldata: what L1 takes as one transaction, some 128 KiB, and more than the
/// longest frame. Others may append what our encoder would not.
const CALLDATA_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(CALLDATA_BYTES_MAX >= CALLDATA_FRAME_BYTES_MAX);

fn failed(path: &Path, error: io::Error) -> ArchiveError {
    ArchiveError::Io { path: path.into(), error }
}
