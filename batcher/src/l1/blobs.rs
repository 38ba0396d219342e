//! Where the bytes of appends come from once they are on L1: a node's own archive, a beacon node, a
//! development chain, the archive of another node.
//!
//! Sources are not trusted: everything is checked against its hash before it is used, and what is
//! something else counts as missing. Does not unpack blobs.

use super::L1Error;
use crate::{
    archive::{ArchiveError, PayloadArchive},
    kzg,
};
use alloy::{
    eips::eip4844::Blob,
    primitives::{B256, Bytes, keccak256},
    providers::{DynProvider, ext::AnvilApi},
};
use async_trait::async_trait;
use contracts::MAX_BLOBS;
use std::{fmt, sync::Arc};

/// Blobs of an answer that are looked at: an L1 transaction may have a few that are not ours.
const ANSWER_BLOBS_MAX: usize = 4 * MAX_BLOBS;

/// The blobs of one L1 transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRequest {
    /// The transaction.
    pub tx_hash: B256,
    /// Number of its L1 block.
    pub l1_block: u64,
    /// Timestamp of its L1 block, seconds since 1970.
    pub l1_timestamp: u64,
    /// Versioned hashes of the blobs, in order.
    pub hashes: Vec<B256>,
}

/// Why a source gave no blobs. The caller asks the next source, and all of them again later.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The source does not have them.
    #[error("not found")]
    NotFound,
    /// The source gave something else.
    #[error("gave other bytes than the hash says")]
    Wrong,
    /// The source's answer is longer than the blobs can be, or is not what its API says.
    #[error("unexpected answer")]
    Answer,
    /// Over JSON-RPC.
    #[error(transparent)]
    Rpc(#[from] alloy::transports::TransportError),
    /// Over HTTP.
    #[error(transparent)]
    Http(reqwest::Error),
    /// From the archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl From<reqwest::Error> for BlobError {
    fn from(error: reqwest::Error) -> Self {
        // Which source it was is told by its name, and its URL may hold a key.
        Self::Http(error.without_url())
    }
}

/// No source has a payload, or all gave wrong ones.
#[derive(Debug)]
pub struct Unavailable {
    /// The L1 transaction that carried it.
    pub tx_hash: B256,
    /// Number of its L1 block.
    pub l1_block: u64,
    /// Hashes of what is missing.
    pub hashes: Vec<B256>,
    /// Each source by its name, and what came of it.
    pub tried: Vec<(String, BlobError)>,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no source has payload")?;
        for hash in &self.hashes {
            write!(f, " {hash}")?;
        }
        write!(f, " of L1 transaction {} in block {}; tried", self.tx_hash, self.l1_block)?;
        for (index, (source, error)) in self.tried.iter().enumerate() {
            write!(f, "{} {source} ({error})", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for Unavailable {}

/// Somewhere to ask for blobs.
#[async_trait]
pub trait BlobSource: Send + Sync + fmt::Debug {
    /// What an operator knows it by.
    fn name(&self) -> String;

    /// The blobs that it has of a request, in any order and with others among them: the caller checks
    /// each and takes what it asked for.
    async fn blobs(&self, request: &BlobRequest) -> Result<Vec<Blob>, BlobError>;

    /// Calldata by its keccak-256; the caller checks it. Most sources have none.
    async fn calldata(&self, _hash: B256) -> Result<Bytes, BlobError> {
        Err(BlobError::NotFound)
    }
}

/// Asks an archive, if there is one, and then other sources in turn. What others give is kept in
/// the archive.
#[derive(Clone, Debug)]
pub struct FirstOf {
    archive: Option<PayloadArchive>,
    sources: Vec<Arc<dyn BlobSource>>,
}

impl FirstOf {
    /// The sources in this order: the nearest first.
    #[must_use]
    pub fn new(archive: Option<PayloadArchive>, sources: Vec<Arc<dyn BlobSource>>) -> Self {
        Self { archive, sources }
    }

    /// These and, asked last, another one.
    #[must_use]
    pub fn and(mut self, source: Arc<dyn BlobSource>) -> Self {
        self.sources.push(source);
        self
    }

    /// The archive.
    #[must_use]
    pub fn archive(&self) -> Option<&PayloadArchive> {
        self.archive.as_ref()
    }
}

/// The blobs of a request, checked. They may come from several sources; what was found is kept also
/// when something else is missing.
///
/// # Errors
/// [`L1Error::Unavailable`] when no source has one of them, [`L1Error::Kzg`] when they cannot be
/// checked.
pub async fn fetch(sources: &FirstOf, request: &BlobRequest) -> Result<Vec<Blob>, L1Error> {
    let mut found: Vec<Option<Bytes>> = vec![None; request.hashes.len()];
    let mut tried = Vec::new();
    if let Some(archive) = &sources.archive {
        let mut reason = BlobError::NotFound;
        for (slot, hash) in found.iter_mut().zip(&request.hashes) {
            match archive.blob(*hash).await {
                Ok(blob) => *slot = blob,
                Err(ArchiveError::Kzg(error)) => return Err(error.into()),
                Err(error) => reason = error.into(),
            }
        }
        tried.push((archive_name(archive), reason));
    }
    for source in &sources.sources {
        let missing = missing(request, &found);
        if missing.hashes.is_empty() {
            break;
        }
        let given = match source.blobs(&missing).await {
            Ok(given) => given,
            Err(error) => {
                tried.push((source.name(), error));
                continue;
            }
        };
        let is_empty = given.is_empty();
        let taken = take(sources, request, given, &mut found).await?;
        let reason = if is_empty || taken > 0 { BlobError::NotFound } else { BlobError::Wrong };
        tried.push((source.name(), reason));
    }
    let hashes = missing(request, &found).hashes;
    if hashes.is_empty() {
        return Ok(found.iter().flatten().map(|bytes| Blob::from_slice(bytes)).collect());
    }
    let BlobRequest { tx_hash, l1_block, .. } = *request;
    Err(L1Error::Unavailable(Box::new(Unavailable { tx_hash, l1_block, hashes, tried })))
}

/// What of a request is not found yet.
fn missing(request: &BlobRequest, found: &[Option<Bytes>]) -> BlobRequest {
    let slots = request.hashes.iter().zip(found);
    let hashes = slots.filter(|(_, slot)| slot.is_none()).map(|(hash, _)| *hash).collect();
    BlobRequest { hashes, ..*request }
}

/// Sorts what a source gave into what was asked for, and keeps it. Returns how much it was.
async fn take(
    sources: &FirstOf,
    request: &BlobRequest,
    mut given: Vec<Blob>,
    found: &mut [Option<Bytes>],
) -> Result<usize, L1Error> {
    let mut taken = 0;
    given.truncate(ANSWER_BLOBS_MAX);
    let (blobs, hashes) = kzg::versioned_hashes(given).await?;
    for (slot, wanted) in found.iter_mut().zip(&request.hashes).filter(|(slot, _)| slot.is_none()) {
        let Some(at) = hashes.iter().position(|hash| hash == wanted) else { continue };
        let Some(blob) = blobs.get(at) else { continue };
        let bytes = Bytes::copy_from_slice(blob.as_slice());
        if let Some(archive) = &sources.archive {
            keep(archive.keep_blob(*wanted, &bytes).await, *wanted);
        }
        *slot = Some(bytes);
        taken += 1;
    }
    Ok(taken)
}

/// Calldata that L1 no longer gives, by its hash, checked.
pub(super) async fn fetch_calldata(
    sources: &FirstOf,
    hash: B256,
    tried: &mut Vec<(String, BlobError)>,
) -> Option<Bytes> {
    for source in &sources.sources {
        match source.calldata(hash).await {
            Ok(data) if keccak256(&data) == hash => return Some(data),
            Ok(_) => tried.push((source.name(), BlobError::Wrong)),
            Err(error) => tried.push((source.name(), error)),
        }
    }
    None
}

/// An archive that cannot be written delays nothing now; it is reported.
pub(super) fn keep(kept: Result<(), ArchiveError>, hash: B256) {
    if let Err(error) = kept {
        tracing::error!(%hash, %error, "cannot archive a payload");
    }
}

/// The archive as an operator knows it.
pub(super) fn archive_name(archive: &PayloadArchive) -> String {
    format!("archive {}", archive.directory().display())
}

/// anvil, by its own method. It forgets the blobs of a transaction that a reorg dropped.
#[derive(Clone, Debug)]
pub struct AnvilBlobs(DynProvider);

impl AnvilBlobs {
    /// Asks this anvil.
    #[must_use]
    pub fn new(provider: DynProvider) -> Self {
        Self(provider)
    }
}

#[async_trait]
impl BlobSource for AnvilBlobs {
    fn name(&self) -> String {
        "the L1 node (anvil's method; any other L1 needs a beacon API)".into()
    }

    async fn blobs(&self, request: &BlobRequest) -> Result<Vec<Blob>, BlobError> {
        let blobs = self.0.anvil_get_blobs_by_tx_hash(request.tx_hash).await?;
        blobs.ok_or(BlobError::NotFound)
    }
}
