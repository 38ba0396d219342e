//! Blobs from a beacon node: `GET /eth/v1/beacon/blobs/{block}?versioned_hashes=`.
//! Source: Ethereum Beacon APIs, "getBlobs".
//!
//! Owns the translation from an L1 block to the endpoint's block id. anvil serves the same path, but
//! there the id is the execution block's number.

use super::blobs::{BlobError, BlobRequest, BlobSource};
use alloy::{
    eips::eip4844::{BYTES_PER_BLOB, Blob},
    primitives::Bytes,
};
use async_trait::async_trait;
use serde::{Deserialize, de::DeserializeOwned};
use std::fmt::Write as _;

/// Most bytes of an answer besides the blobs themselves.
const ANSWER_EXTRA_BYTES_MAX: usize = 64 << 10;

/// How the endpoint names blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockNaming {
    Slot { genesis_time_secs: u64, slot_secs: u64 },
    ExecutionNumber,
}

/// A beacon node.
#[derive(Clone, Debug)]
pub struct BeaconBlobs {
    client: reqwest::Client,
    url: String,
    naming: BlockNaming,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct GenesisData {
    genesis_time: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct SpecData {
    seconds_per_slot: String,
}

impl BeaconBlobs {
    /// Asks the beacon node at `url` (without a trailing slash) for its genesis time and slot
    /// length.
    ///
    /// # Errors
    /// [`BlobError`] when it does not answer, or says something else.
    pub async fn connect(client: reqwest::Client, url: String) -> Result<Self, BlobError> {
        let mut beacon = Self { client, url, naming: BlockNaming::ExecutionNumber };
        let genesis: Answer<GenesisData> = beacon.get("/eth/v1/beacon/genesis", 0).await?;
        let spec: Answer<SpecData> = beacon.get("/eth/v1/config/spec", 0).await?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| BlobError::Answer);
        let genesis_time_secs = number(&genesis.data.genesis_time)?;
        let slot_secs = number(&spec.data.seconds_per_slot)?;
        if slot_secs == 0 {
            return Err(BlobError::Answer);
        }
        beacon.naming = BlockNaming::Slot { genesis_time_secs, slot_secs };
        Ok(beacon)
    }

    /// Asks an anvil at `url`, which names blocks by execution block number.
    #[must_use]
    pub fn anvil(client: reqwest::Client, url: String) -> Self {
        Self { client, url, naming: BlockNaming::ExecutionNumber }
    }

    fn block_name(&self, request: &BlobRequest) -> Option<u64> {
        match self.naming {
            BlockNaming::ExecutionNumber => Some(request.l1_block),
            BlockNaming::Slot { genesis_time_secs, slot_secs } => {
                request.l1_timestamp.checked_sub(genesis_time_secs)?.checked_div(slot_secs)
            }
        }
    }

    /// Reads an answer of at most `blobs` blobs; a longer one is given up while it is read.
    async fn get<T: DeserializeOwned>(&self, path: &str, blobs: usize) -> Result<T, BlobError> {
        let url = format!("{}{path}", self.url);
        let mut response = self.client.get(url).send().await?;
        if response.status() == reqwest::StatusCode::NOT_FOUND {
            return Err(BlobError::NotFound);
        }
        response = response.error_for_status()?;
        // In JSON a byte takes two digits.
        let bytes_max = ANSWER_EXTRA_BYTES_MAX + blobs * 2 * BYTES_PER_BLOB;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > bytes_max {
                return Err(BlobError::Answer);
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|_| BlobError::Answer)
    }
}

#[async_trait]
impl BlobSource for BeaconBlobs {
    fn name(&self) -> String {
        format!("beacon API {}", self.url)
    }

    async fn blobs(&self, request: &BlobRequest) -> Result<Vec<Blob>, BlobError> {
        let block = self.block_name(request).ok_or(BlobError::NotFound)?;
        let mut path = format!("/eth/v1/beacon/blobs/{block}?versioned_hashes=");
        for (index, hash) in request.hashes.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(path, "{comma}{hash}");
        }
        let answer: Answer<Vec<Bytes>> = self.get(&path, request.hashes.len()).await?;
        if answer.data.is_empty() {
            return Err(BlobError::NotFound);
        }
        answer
            .data
            .iter()
            .map(|bytes| Blob::try_from(&bytes[..]).map_err(|_| BlobError::Wrong))
            .collect()
    }
}
