//! Payloads from the archive of another node: `GET /v1/da/{hash}`, raw bytes.
//!
//! For what L1 has forgotten. The other node is not trusted: the caller checks every payload by its
//! hash. Owns the client of that path; serving it is the node's.

use super::{
    blobs::{BlobError, BlobRequest, BlobSource},
    endpoint::EndpointUrl,
};
use alloy::{
    eips::eip4844::{BYTES_PER_BLOB, Blob},
    primitives::{B256, Bytes},
};
use async_trait::async_trait;

/// Most bytes of an answer: a blob, or calldata, of which L1 takes a little more than 128 KiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Another node's archive.
#[derive(Clone, Debug)]
pub struct ServedArchive {
    client: reqwest::Client,
    url: EndpointUrl,
}

impl ServedArchive {
    /// Asks the node at `url`. Nothing is sent yet.
    #[must_use]
    pub fn new(client: reqwest::Client, url: EndpointUrl) -> Self {
        Self { client, url }
    }

    /// Reads a payload; one that is too long is given up while it is read.
    async fn get(&self, hash: B256) -> Result<Vec<u8>, BlobError> {
        let mut response = self.client.get(self.url.at(&format!("/v1/da/{hash}"))).send().await?;
        if response.status() == reqwest::StatusCode::NOT_FOUND {
            return Err(BlobError::NotFound);
        }
        response = response.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(BlobError::Answer);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

#[async_trait]
impl BlobSource for ServedArchive {
    fn name(&self) -> String {
        format!("archive at {}", self.url)
    }

    async fn blobs(&self, request: &BlobRequest) -> Result<Vec<Blob>, BlobError> {
        let mut blobs = Vec::with_capacity(request.hashes.len());
        let mut first_error = None;
        for hash in &request.hashes {
            match self.get(*hash).await {
                Ok(bytes) if bytes.len() == BYTES_PER_BLOB => blobs.push(Blob::from_slice(&bytes)),
                Ok(_) => drop(first_error.get_or_insert(BlobError::Wrong)),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        // Some are better than none: the next source is asked for the others.
        match first_error {
            Some(error) if blobs.is_empty() => Err(error),
            _ => Ok(blobs),
        }
    }

    async fn calldata(&self, hash: B256) -> Result<Bytes, BlobError> {
        Ok(self.get(hash).await?.into())
    }
}
