//! A connection to L1 that has been checked to be the L1 of a genesis file.
//!
//! Owns what `run` and `verify` do before they believe anything: chain id, anchor block,
//! contracts, configuration hash. Follows nothing.

use alloy::{
    eips::{BlockNumberOrTag, eip4844::Blob, eip7840::BlobParams},
    primitives::{Address, B256},
    providers::{DynProvider, Provider, ProviderBuilder},
    transports::{RpcError, TransportErrorKind},
};
use async_trait::async_trait;
use batcher::{
    archive::PayloadArchive,
    l1::{
        AnvilBlobs, BlobFeeSchedule, BlobRequest, BlobSource, EndpointError, EndpointUrl, Failover,
        Failure, FirstOf, InboxReader, L1BlockReader, ServedArchive, beacon::BeaconBlobs,
        blobs::BlobError,
    },
};
use contracts::Inbox;
use executor::{Genesis, ViewError};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::OnceCell;

/// L1 or the genesis file is not what the other says. The operator fixes it; nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The genesis file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The genesis file does not parse.
    #[error("{path} is not a genesis file: {error}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What and where.
        error: serde_json::Error,
    },
    /// The genesis state cannot be computed.
    #[error("genesis state: {0}")]
    Genesis(#[from] ViewError),
    /// The URL of the beacon API or of an archive is none, or no HTTP client can be made.
    #[error("the URL of the beacon API, or of an archive, cannot be used")]
    Url,
    /// No endpoint answers.
    #[error("L1 does not answer: {0}")]
    Unreachable(#[source] Box<Unreachable>),
    /// An endpoint is on another chain; none is used then.
    #[error("L1 endpoint {endpoint} has chain id {found}, the genesis file says {expected}")]
    ChainId {
        /// Which endpoint.
        endpoint: EndpointUrl,
        /// In the genesis file.
        expected: u64,
        /// What the endpoint says.
        found: u64,
    },
    /// The block that genesis is anchored to is not on L1.
    #[error("L1 block {number} is {}, the genesis file says {expected}", found.map_or("absent".into(), |hash| hash.to_string()))]
    Anchor {
        /// Number.
        number: u64,
        /// In the genesis file.
        expected: B256,
        /// On L1.
        found: Option<B256>,
    },
    /// There is no contract at an address of the genesis file.
    #[error("there is no {name} contract at {address} on L1")]
    NoContract {
        /// Name of the contract.
        name: &'static str,
        /// Address in the genesis file.
        address: Address,
    },
    /// The contract at the Inbox's address is no Inbox.
    #[error("inbox {address} cannot be read: {error}")]
    Inbox {
        /// Address.
        address: Address,
        /// Why.
        error: Box<alloy::contract::Error>,
    },
    /// The Inbox was deployed for another genesis.
    #[error(
        "the inbox {inbox} commits to configuration {found}, the genesis file gives {expected}"
    )]
    ConfigHash {
        /// Address.
        inbox: Address,
        /// From the genesis file.
        expected: B256,
        /// On L1.
        found: B256,
    },
}

/// Why L1 did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// No endpoint said which chain it is on; this is what the first did.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A request failed at all of them.
    #[error(transparent)]
    Request(#[from] RpcError<TransportErrorKind>),
}

impl From<RpcError<TransportErrorKind>> for ClientError {
    fn from(error: RpcError<TransportErrorKind>) -> Self {
        Self::Unreachable(Box::new(error.into()))
    }
}

/// Longest wait for one answer of the beacon API.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(20);

/// A connection to L1.
#[derive(Clone, Debug)]
pub struct L1Client {
    provider: DynProvider,
    failover: Failover,
    blobs: FirstOf,
}

impl L1Client {
    /// Reads a genesis file.
    ///
    /// # Errors
    /// [`ClientError::Read`] and [`ClientError::Json`].
    pub fn read_genesis(path: &Path) -> Result<Genesis, ClientError> {
        let text = fs::read_to_string(path)
            .map_err(|error| ClientError::Read { path: path.into(), error })?;
        serde_json::from_str(&text).map_err(|error| ClientError::Json { path: path.into(), error })
    }

    /// Connects to the endpoints of `urls`, first choice first. Blobs come from the archive in
    /// `archive` first, then from the beacon API, or from the L1 node itself where there is none.
    ///
    /// # Errors
    /// [`ClientError::Url`]. An L1 node that does not answer is noticed by [`Self::check`], a beacon
    /// API that does not, when blobs are needed.
    pub fn connect(
        urls: &[EndpointUrl],
        beacon_url: Option<&EndpointUrl>,
        archive: Option<PayloadArchive>,
    ) -> Result<Self, ClientError> {
        let failover = Failover::new(urls).map_err(|_| ClientError::Url)?;
        let provider = ProviderBuilder::new().connect_client(failover.client()).erased();
        let source: Arc<dyn BlobSource> = match beacon_url {
            Some(beacon) => Arc::new(LazyBeacon::new(beacon)?),
            None => Arc::new(AnvilBlobs::new(provider.clone())),
        };
        let blobs = FirstOf::new(archive, vec![source]);
        Ok(Self { provider, failover, blobs })
    }

    /// Asks archives of other nodes, too, after everybody else.
    ///
    /// # Errors
    /// [`ClientError::Url`]. One that does not answer is noticed when something is missing.
    pub fn with_archives(mut self, urls: &[EndpointUrl]) -> Result<Self, ClientError> {
        for url in urls {
            self.blobs = self.blobs.and(Arc::new(ServedArchive::new(http_client()?, url.clone())));
        }
        Ok(self)
    }

    /// Checks that this is the L1 of `genesis`, at every endpoint that answers.
    ///
    /// # Errors
    /// The [`ClientError`] that names what differs.
    pub async fn check(&self, genesis: &Genesis) -> Result<(), ClientError> {
        let checked = self.failover.check_chain(genesis.l1.chain_id).await;
        checked.map_err(|error| match error.failure {
            Failure::OtherChain { expected, found } => {
                ClientError::ChainId { endpoint: error.endpoint, expected, found }
            }
            _ => ClientError::Unreachable(Box::new(error.into())),
        })?;
        let (number, expected) = (genesis.l1.origin_number, genesis.l1.origin_hash);
        let tag = BlockNumberOrTag::Number(number);
        let block = self.provider.get_block_by_number(tag).await?;
        let found = block.map(|block| block.header.hash);
        if found != Some(expected) {
            return Err(ClientError::Anchor { number, expected, found });
        }
        let l1 = &genesis.l1;
        for (name, address) in [("inbox", l1.inbox), ("outputs", l1.outputs), ("portal", l1.portal)]
        {
            if self.provider.get_code_at(address).await?.is_empty() {
                return Err(ClientError::NoContract { name, address });
            }
        }
        let (_, _, genesis_hash) = genesis.build()?;
        let expected = genesis.config_hash(genesis_hash);
        let inbox = Inbox::new(l1.inbox, &self.provider);
        let found = inbox.configHash().call().await;
        let found = found
            .map_err(|error| ClientError::Inbox { address: l1.inbox, error: Box::new(error) })?;
        if found != expected {
            return Err(ClientError::ConfigHash { inbox: l1.inbox, expected, found });
        }
        Ok(())
    }

    /// The connection, for reading.
    #[must_use]
    pub fn provider(&self) -> DynProvider {
        self.provider.clone()
    }

    /// Reads L1 blocks with the deposits of the chain's portal.
    #[must_use]
    pub fn block_reader(&self, genesis: &Genesis) -> L1BlockReader {
        let activations = genesis.l1.blob_schedule.iter().map(|(from, fraction)| {
            (*from, BlobParams { update_fraction: u128::from(*fraction), ..BlobParams::osaka() })
        });
        let schedule = BlobFeeSchedule::new(activations.collect());
        L1BlockReader::new(self.provider(), genesis.l1.portal, schedule)
    }

    /// Reads the Inbox.
    #[must_use]
    pub fn inbox_reader(&self, inbox: Address) -> InboxReader {
        InboxReader::new(self.provider(), inbox, self.blobs.clone())
    }
}

/// A client with a bound on its patience.
fn http_client() -> Result<reqwest::Client, ClientError> {
    let client = reqwest::Client::builder().timeout(REQUEST_WAIT_MAX).build();
    client.map_err(|_| ClientError::Url)
}

/// A beacon node that is asked who it is when blobs are first needed, and again until it answers:
/// sequencing needs none, and most starts find every blob in the archive.
#[derive(Debug)]
struct LazyBeacon {
    client: reqwest::Client,
    url: EndpointUrl,
    connected: OnceCell<BeaconBlobs>,
}

impl LazyBeacon {
    fn new(url: &EndpointUrl) -> Result<Self, ClientError> {
        Ok(Self { client: http_client()?, url: url.clone(), connected: OnceCell::new() })
    }

    async fn connected(&self) -> Result<&BeaconBlobs, BlobError> {
        let connect = || BeaconBlobs::connect(self.client.clone(), self.url.clone());
        let connected = self.connected.get_or_try_init(connect).await;
        connected.inspect_err(|error| {
            tracing::warn!(url = %self.url, %error, "the beacon API gives no blobs");
        })
    }
}

#[async_trait]
impl BlobSource for LazyBeacon {
    fn name(&self) -> String {
        format!("beacon API {}", self.url)
    }

    async fn blobs(&self, request: &BlobRequest) -> Result<Vec<Blob>, BlobError> {
        self.connected().await?.blobs(request).await
    }
}
