//! Blobs from a beacon node: `GET /eth/v1/beacon/blobs/{block}?versioned_hashes=`.
//! Source: Ethereum Beacon APIs, "getBlobs".
//!
//! Owns the translation from an L1 block to the endpoint's block id. anvil serves the same path, but
//! there the id is the execution block's number.

use super::{
    blobs::{BlobError, BlobRequest, BlobSource},
    endpoint::EndpointUrl,
};
use alloy::{
    eips::eip4844::{BYTES_PER_BLOB, Blob},
    primitives::{B256, Bytes},
};
use async_trait::async_trait;
use reqwest::Url;
use serde::{Deserialize, de::DeserializeOwned};

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
    url: EndpointUrl,
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
    /// Asks the beacon node at `url` for its genesis time and slot length.
    ///
    /// # Errors
    /// [`BlobError`] when it does not answer, or says something else.
    pub async fn connect(client: reqwest::Client, url: EndpointUrl) -> Result<Self, BlobError> {
        let mut beacon = Self { client, url, naming: BlockNaming::ExecutionNumber };
        let genesis: Answer<GenesisData> = beacon.get("/eth/v1/beacon/genesis", &[]).await?;
        let spec: Answer<SpecData> = beacon.get("/eth/v1/config/spec", &[]).await?;
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
    pub fn anvil(client: reqwest::Client, url: EndpointUrl) -> Self {
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

    /// Reads an answer about blobs; one that is longer than these is given up while it is read.
    async fn get<T: DeserializeOwned>(&self, path: &str, blobs: &[B256]) -> Result<T, BlobError> {
        let url = with_hashes(self.url.at(path), blobs);
        let mut response = self.client.get(url).send().await?;
        if response.status() == reqwest::StatusCode::NOT_FOUND {
            return Err(BlobError::NotFound);
        }
        response = response.error_for_status()?;
        // In JSON a byte takes two digits.
        let bytes_max = ANSWER_EXTRA_BYTES_MAX + blobs.len() * 2 * BYTES_PER_BLOB;
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

/// Asks for these blobs only. A list is a parameter said again for each of its values, as OpenAPI has it:
/// some beacon nodes refuse values with commas between them.
fn with_hashes(mut url: Url, hashes: &[B256]) -> Url {
    // A URL that is asked for a list of pairs has a query from then on, also an empty one.
    if !hashes.is_empty() {
        let name = |hash: &B256| ("versioned_hashes", hash.to_string());
        url.query_pairs_mut().extend_pairs(hashes.iter().map(name));
    }
    url
}

#[async_trait]
impl BlobSource for BeaconBlobs {
    fn name(&self) -> String {
        format!("beacon API {}", self.url)
    }

    async fn blobs(&self, request: &BlobRequest) -> Result<Vec<Blob>, BlobError> {
        let block = self.block_name(request).ok_or(BlobError::NotFound)?;
        let path = format!("/eth/v1/beacon/blobs/{block}");
        let answer: Answer<Vec<Bytes>> = self.get(&path, &request.hashes).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hash_is_a_parameter_of_its_own_after_those_of_the_operator() {
        let url: Url = "https://b.example/eth/v1/beacon/blobs/7?token=x".parse().unwrap();
        assert_eq!(with_hashes(url.clone(), &[]), url);
        let hashes = [B256::repeat_byte(1), B256::repeat_byte(2)];
        let (first, second) = (hashes[0], hashes[1]);
        let asked = format!("{url}&versioned_hashes={first}&versioned_hashes={second}");
        assert_eq!(with_hashes(url, &hashes).as_str(), asked);
    }
}
