//! Starts the poster and the proposer where their keys are given.

use super::{NodeError, source::StoreSource, until};
use crate::{
    l1_client::L1Client,
    settings::{BatchData, Config, Key},
    store::Ledger,
};
use batcher::{
    poster::{DataAvailability, Heads, Poster, PosterConfig},
    proposer::{Proposer, ProposerConfig},
    tracker::{Tracker, TrackerStart},
    txmgr::{TxConfig, TxManager},
};
use executor::Genesis;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Without inclusion for this long a transaction is replaced with higher fees.
const BUMP_AFTER: Duration = Duration::from_secs(60);

/// What both need.
pub(super) struct Inputs {
    pub(super) config: Config,
    pub(super) genesis: Genesis,
    pub(super) client: L1Client,
    pub(super) ledger: Ledger,
    pub(super) source: Arc<StoreSource>,
}

impl Inputs {
    fn tx_manager(&self, key: &Key) -> TxManager {
        let config =
            TxConfig { poll: self.config.l1_poll, bump_after: BUMP_AFTER, ..TxConfig::default() };
        let (provider, chain_id) = (self.client.provider(), self.genesis.l1.chain_id);
        let store = Arc::new(self.ledger.clone());
        TxManager::new(provider, Arc::new(key.0.clone()), store, chain_id, config)
    }

    fn poster(&self, key: &Key) -> Result<(Poster, watch::Receiver<Heads>), NodeError> {
        let (_, header, hash) = self.genesis.build()?;
        let tracker = Tracker::new(
            self.genesis.rules.clone(),
            TrackerStart::genesis(&self.genesis, header, hash),
            self.client.inbox_reader(self.genesis.l1.inbox),
            self.client.block_reader(&self.genesis),
            self.source.clone(),
        );
        let availability = match self.config.batch_data {
            BatchData::Blob => DataAvailability::Blob,
            BatchData::Calldata => DataAvailability::Calldata,
        };
        let chain_id = self.genesis.rules.chain_id;
        let config = PosterConfig {
            inbox: self.genesis.l1.inbox,
            availability,
            encoder: availability.encoder_config(chain_id, self.config.batch_age_secs),
            poll: self.config.l1_poll,
        };
        Ok(Poster::new(config, tracker, self.tx_manager(key), self.source.clone()))
    }
}

/// Starts what has a key. Returns the heads that the poster publishes.
pub(super) fn start(
    inputs: &Inputs,
    tasks: &mut JoinSet<Result<(), NodeError>>,
    shutdown: &CancellationToken,
) -> Result<Option<watch::Receiver<Heads>>, NodeError> {
    let Some(key) = &inputs.config.batcher_key else {
        tracing::warn!("no batcher key: nothing is posted to L1");
        return Ok(None);
    };
    let (poster, heads) = inputs.poster(key)?;
    let closing = shutdown.clone().cancelled_owned();
    tasks.spawn(until(shutdown.clone(), async move { Ok(poster.run(closing).await?) }));
    if let Some(key) = &inputs.config.proposer_key {
        let config = ProposerConfig {
            outputs: inputs.genesis.l1.outputs,
            interval_blocks: inputs.config.output_interval_blocks,
            poll: inputs.config.l1_poll,
        };
        let (provider, tx) = (inputs.client.provider(), inputs.tx_manager(key));
        let proposer = Proposer::new(config, provider, tx, inputs.source.clone(), heads.clone());
        let closing = shutdown.clone().cancelled_owned();
        tasks.spawn(until(shutdown.clone(), async move { Ok(proposer.run(closing).await?) }));
    }
    Ok(Some(heads))
}
