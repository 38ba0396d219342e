//! What the node keeps of the past, beside the building path: it keeps what proves withdrawals at
//! every block whose output is on L1, and prunes history that is older than the operator wants.
//!
//! Both only move the store forward in small durable steps; when one fails it is tried again. Neither
//! decides anything about blocks.

use super::{NodeError, until};
use crate::{
    derived::Claims,
    l1_client::L1Client,
    settings::{Config, History},
    store::{
        ChainStore, ChainStoreError,
        chain::{FinalOutputs, KeptOutput},
    },
};
use alloy::{contract::Error as ContractError, eips::BlockId};
use executor::Genesis;
use std::time::Duration;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

/// How often L1 is asked for outputs: they come minutes apart, and the proof window is longer.
const OUTPUTS_POLL: Duration = Duration::from_secs(5);
/// Outputs read in one round; the next one follows at once when there are more.
const OUTPUTS_PER_ROUND_MAX: u64 = 64;
/// Between two steps of pruning with something left: the builder gets its turn, and at a step of
/// 2,000 rows the cursor is faster than blocks of any load that one machine builds.
const PRUNE_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks for something to prune.
const PRUNE_POLL: Duration = Duration::from_secs(5);

/// Why a round did not end.
#[derive(Debug, thiserror::Error)]
enum HistoryError {
    #[error("the Outputs contract: {0}")]
    Contract(#[from] ContractError),
    #[error(transparent)]
    Store(#[from] ChainStoreError),
    #[error(transparent)]
    Task(#[from] tokio::task::JoinError),
}

/// Keeps outputs and prunes, until the node stops.
pub(super) fn start(
    (config, genesis, store, client): (&Config, &Genesis, &ChainStore, &L1Client),
    tasks: &mut JoinSet<Result<(), NodeError>>,
    shutdown: &CancellationToken,
) {
    let claims = Claims::new(client.provider(), genesis.l1.outputs);
    let keeper = OutputKeeper { store: store.clone(), claims };
    tasks.spawn(until(shutdown.clone(), keeper.run()));
    let pruning = prune(store.clone(), config.history);
    tasks.spawn(until(shutdown.clone(), pruning));
}

/// Follows the outputs on L1.
struct OutputKeeper {
    store: ChainStore,
    claims: Claims,
}

impl OutputKeeper {
    /// Runs until it is dropped.
    async fn run(self) -> Result<(), NodeError> {
        loop {
            match self.round().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "outputs on L1 are not kept; trying again"),
            }
            tokio::time::sleep(OUTPUTS_POLL).await;
        }
    }

    /// Keeps the outputs that are final, in order, and where all of those are kept, the others.
    /// Whether there is more to do.
    async fn round(&self) -> Result<bool, HistoryError> {
        let first = self.on_store(|store| store.kept()).await?.final_outputs;
        let first = first.map_or(0, |outputs| outputs.next_index);
        let end = self.claims.count(BlockId::finalized()).await?;
        let last = end.min(first.saturating_add(OUTPUTS_PER_ROUND_MAX));
        let mut kept = None;
        for index in first..last {
            let block = self.claims.claim(index, BlockId::finalized()).await?.block;
            if !self.keep(block).await? {
                break;
            }
            kept = Some(FinalOutputs { next_index: index + 1, block });
        }
        if let Some(outputs) = kept {
            self.on_store(move |store| store.set_final_outputs(outputs)).await?;
            tracing::debug!(?outputs, "outputs are final");
        }
        if last < end {
            return Ok(kept.is_some_and(|outputs| outputs.next_index == last));
        }
        // What L1 may still take back is kept, too: a proof for a block without an output harms
        // nobody, and withdrawals need not wait for L1's finality.
        let latest = self.claims.count(BlockId::latest()).await?;
        for index in end.max(first)..latest.min(end.saturating_add(OUTPUTS_PER_ROUND_MAX)) {
            let block = self.claims.claim(index, BlockId::latest()).await?.block;
            self.keep(block).await?;
        }
        Ok(false)
    }

    /// Whether nothing more is to be done for the block.
    async fn keep(&self, block: u64) -> Result<bool, HistoryError> {
        match self.on_store(move |store| store.keep_output(block)).await? {
            KeptOutput::Kept => Ok(true),
            KeptOutput::AboveHead => Ok(false),
            KeptOutput::Gone => {
                tracing::warn!(block, "withdrawals cannot be proved here: the state is gone");
                Ok(true)
            }
        }
    }

    async fn on_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ChainStore) -> Result<T, ChainStoreError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let store = self.store.clone();
        Ok(spawn_blocking(move || work(&store)).await??)
    }
}

/// Prunes until it is dropped. An archive has nothing to do.
async fn prune(store: ChainStore, history: History) -> Result<(), NodeError> {
    let History::Blocks(blocks) = history else { return std::future::pending().await };
    loop {
        let chain = store.clone();
        let pause = match spawn_blocking(move || chain.prune_step(blocks)).await? {
            Ok(step) if step.is_done => PRUNE_POLL,
            Ok(step) => {
                tracing::debug!(first_state = step.first_state, rows = step.rows, "pruned");
                PRUNE_PAUSE
            }
            Err(error) => {
                tracing::warn!(%error, "history is not pruned; trying again");
                PRUNE_POLL
            }
        };
        tokio::time::sleep(pause).await;
    }
}
