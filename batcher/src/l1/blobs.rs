//! Where blobs come from once their transaction is on L1: a node's own archive, a beacon node, or a
//! development chain.
//!
//! Sources are not trusted: [`fetch`] checks every blob against its versioned hash before it is
//! used, and a source that gives others counts as one that has none. Does not unpack blobs.

use super::L1Error;
use crate::kzg;
use alloy::{
    eips::eip4844::{BYTES_PER_BLOB, Blob},
    primitives::B256,
    providers::{DynProvider, ext::AnvilApi},
};
use async_trait::async_trait;
use std::{fmt, io, path::PathBuf, sync::Arc};

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
    #[error("wrong blobs")]
    Wrong,
    /// The source's answer is longer than the blobs can be, or is not what its API says.
    #[error("unexpected answer")]
    Answer,
    /// Over JSON-RPC.
    #[error(transparent)]
    Rpc(#[from] alloy::transports::TransportError),
    /// Over HTTP.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    /// From the file system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Somewhere to ask for blobs.
#[async_trait]
pub trait BlobSource: Send + Sync + fmt::Debug {
    /// The blobs of a request, in its order. They are checked by the caller.
    async fn blobs(&self, request: &BlobRequest) -> Result<Vec<Blob>, BlobError>;
}

/// Asks an archive, if there is one, and then other sources in turn. What others give is kept in
/// the archive.
#[derive(Clone, Debug)]
pub struct FirstOf {
    archive: Option<BlobArchive>,
    sources: Vec<Arc<dyn BlobSource>>,
}

impl FirstOf {
    /// The sources in this order: the nearest first.
    #[must_use]
    pub fn new(archive: Option<BlobArchive>, sources: Vec<Arc<dyn BlobSource>>) -> Self {
        Self { archive, sources }
    }
}

/// The blobs of a request, checked.
///
/// # Errors
/// [`L1Error::BlobsUnavailable`] when no source has them, [`L1Error::Kzg`] when they cannot be
/// checked.
pub async fn fetch(sources: &FirstOf, request: &BlobRequest) -> Result<Vec<Blob>, L1Error> {
    if let Some(archive) = &sources.archive
        && let Some(blobs) = ask(archive, request).await?
    {
        return Ok(blobs);
    }
    for source in &sources.sources {
        let Some(blobs) = ask(source.as_ref(), request).await? else { continue };
        if let Some(archive) = &sources.archive {
            keep(archive, request, &blobs).await;
        }
        return Ok(blobs);
    }
    Err(L1Error::BlobsUnavailable(request.tx_hash))
}

/// The blobs of one source, if it has the right ones.
async fn ask(source: &dyn BlobSource, request: &BlobRequest) -> Result<Option<Vec<Blob>>, L1Error> {
    match source.blobs(request).await {
        Ok(blobs) => {
            let (blobs, hashes) = kzg::versioned_hashes(blobs).await?;
            if hashes == request.hashes {
                return Ok(Some(blobs));
            }
            tracing::warn!(?source, tx = %request.tx_hash, error = %BlobError::Wrong, "blobs");
        }
        Err(error) => tracing::debug!(?source, tx = %request.tx_hash, %error, "blobs"),
    }
    Ok(None)
}

/// An archive that cannot be written delays nothing now; it is reported.
async fn keep(archive: &BlobArchive, request: &BlobRequest, blobs: &[Blob]) {
    for (hash, blob) in request.hashes.iter().zip(blobs) {
        if let Err(error) = archive.put(*hash, blob).await {
            tracing::error!(%hash, %error, "cannot archive a blob");
        }
    }
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
    async fn blobs(&self, request: &BlobRequest) -> Result<Vec<Blob>, BlobError> {
        let blobs = self.0.anvil_get_blobs_by_tx_hash(request.tx_hash).await?;
        blobs.ok_or(BlobError::NotFound)
    }
}

/// A directory of blobs named by versioned hash. L1 forgets blobs after 18 days; whoever wants to
/// derive the chain later needs this.
#[derive(Clone, Debug)]
pub struct BlobArchive {
    directory: PathBuf,
}

impl BlobArchive {
    /// Uses this directory, which must exist.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn path(&self, hash: B256) -> PathBuf {
        self.directory.join(format!("{hash:x}.blob"))
    }

    /// Keeps a blob under its versioned hash: written aside, made durable and then renamed, so that
    /// a crash leaves no half blob under the name.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn put(&self, hash: B256, blob: &Blob) -> Result<(), BlobError> {
        let path = self.path(hash);
        if tokio::fs::try_exists(&path).await? {
            return Ok(());
        }
        let aside = path.with_extension("partial");
        let mut file = tokio::fs::File::create(&aside).await?;
        tokio::io::AsyncWriteExt::write_all(&mut file, blob.as_slice()).await?;
        file.sync_all().await?;
        tokio::fs::rename(&aside, &path).await?;
        Ok(())
    }
}

#[async_trait]
impl BlobSource for BlobArchive {
    async fn blobs(&self, request: &BlobRequest) -> Result<Vec<Blob>, BlobError> {
        let mut blobs = Vec::with_capacity(request.hashes.len());
        for hash in &request.hashes {
            let bytes = match tokio::fs::read(self.path(*hash)).await {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(BlobError::NotFound);
                }
                Err(error) => return Err(error.into()),
            };
            if bytes.len() != BYTES_PER_BLOB {
                return Err(BlobError::Wrong);
            }
            blobs.push(Blob::from_slice(&bytes));
        }
        Ok(blobs)
    }
}
