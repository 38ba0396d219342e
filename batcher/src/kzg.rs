//! Commitments to blobs. Owns the loading of the trusted setup (seconds of CPU, once per process)
//! and keeps all of this work off the async threads.

use alloy::{
    consensus::EnvKzgSettings,
    eips::{
        eip4844::{Blob, c_kzg, kzg_to_versioned_hash},
        eip7594::BlobTransactionSidecarEip7594,
    },
    primitives::B256,
};

/// KZG work failed. Halt: neither a peer nor the chain can cause it.
#[derive(Debug, thiserror::Error)]
pub enum KzgError {
    /// The library refused a blob; blobs packed by us are always valid.
    #[error("KZG: {0}")]
    Library(#[from] c_kzg::Error),
    /// The worker thread is gone: the process is shutting down.
    #[error("KZG worker is gone")]
    Worker,
}

async fn off_thread<T, F>(work: F) -> Result<T, KzgError>
where
    F: FnOnce() -> Result<T, KzgError> + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(|_| KzgError::Worker)?
}

/// Loads the trusted setup, about four seconds the first time. Call it at start, so that the first
/// batch does not wait.
///
/// # Errors
/// [`KzgError::Worker`].
pub async fn load() -> Result<(), KzgError> {
    off_thread(|| {
        EnvKzgSettings::Default.get();
        Ok(())
    })
    .await
}

/// The sidecar with cell proofs (EIP-7594) of `blobs`: some 0.4 seconds of CPU each.
///
/// # Errors
/// [`KzgError`].
pub async fn sidecar(blobs: Vec<Blob>) -> Result<BlobTransactionSidecarEip7594, KzgError> {
    off_thread(move || Ok(BlobTransactionSidecarEip7594::try_from_blobs(blobs)?)).await
}

/// The versioned hash of each blob, from commitments computed here. A blob that is no list of field
/// elements has the hash zero, which is nobody's.
///
/// # Errors
/// [`KzgError::Worker`].
pub async fn versioned_hashes(blobs: Vec<Blob>) -> Result<(Vec<Blob>, Vec<B256>), KzgError> {
    off_thread(move || {
        let settings = EnvKzgSettings::Default.get();
        let hash = |blob: &Blob| {
            let blob = c_kzg::Blob::new(blob.0);
            let commitment = settings.blob_to_kzg_commitment(&blob);
            commitment.map_or(B256::ZERO, |c| kzg_to_versioned_hash(c.to_bytes().as_slice()))
        };
        let hashes = blobs.iter().map(hash).collect();
        Ok((blobs, hashes))
    })
    .await
}
