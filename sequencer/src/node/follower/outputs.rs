//! Compares every output root that is claimed on L1 with the derived chain's, as claims appear and
//! once more after each start. One that differs is an alert, in the log and in `/ready`; nothing stops,
//! for what is served follows from L1's data and not from claims.

use super::{NodeError, Status, StoreSource, status::WrongOutput};
use crate::{
    derived::{Claim, Claims},
    store::{ChainStore, ChainStoreError},
};
use alloy::{contract::Error as ContractError, eips::BlockId, primitives::B256};
use batcher::{
    encoder,
    source::{BlockSource, SourceError},
};
use futures::{StreamExt, stream};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Between two looks at the claims when there was nothing new.
const POLL: Duration = Duration::from_secs(2);
/// Claims read in one round, and at once.
const CLAIMS_PER_ROUND_MAX: u64 = 256;
const CLAIMS_AT_ONCE: usize = 8;
/// Wrong outputs that are remembered: enough to see what is wrong. More are counted as the last one.
const WRONG_MAX: usize = 64;

/// Why a round did not end.
#[derive(Debug, thiserror::Error)]
enum CompareError {
    #[error("the Outputs contract: {0}")]
    Contract(#[from] ContractError),
    #[error(transparent)]
    Store(#[from] ChainStoreError),
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// What it compares.
pub(super) struct Comparing {
    pub(super) claims: Claims,
    pub(super) store: ChainStore,
    pub(super) source: Arc<StoreSource>,
    pub(super) status: Arc<Status>,
}

/// How far it is.
#[derive(Debug, Default)]
struct State {
    /// The first output that L1 may still take back, or that is not compared yet.
    next: u64,
    wrong: BTreeMap<u64, WrongOutput>,
}

impl Comparing {
    /// Runs until it is dropped.
    pub(super) async fn run(self) -> Result<(), NodeError> {
        let mut state = State::default();
        loop {
            match self.round(&mut state).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "outputs are not compared; trying again"),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Compares what L1 has from the first output on that is not final and compared. Whether there is
    /// more to do at once.
    async fn round(&self, state: &mut State) -> Result<bool, CompareError> {
        // Where all of L1 was read, a claim on a block that is not there is wrong; before, it is early.
        let read = self.status.caught_up_at();
        let at = read.map_or(BlockId::latest(), |block| block.hash.into());
        let (count, first) = (self.claims.count(at).await?, state.next);
        let last = count.min(first.saturating_add(CLAIMS_PER_ROUND_MAX));
        let claims = stream::iter(first..last).map(|index| self.claims.claim(index, at));
        let mut claims = claims.buffered(CLAIMS_AT_ONCE);
        let mut compared = first;
        let mut wrong = BTreeMap::new();
        while let Some(claim) = claims.next().await {
            let claim = claim?;
            match self.compare(claim).await? {
                None if read.is_none() => break,
                None => _ = wrong.insert(claim.index, WrongOutput { claim, derived: None }),
                Some(root) if root == claim.root => {}
                Some(root) => {
                    wrong.insert(claim.index, WrongOutput { claim, derived: Some(root) });
                }
            }
            compared = claim.index + 1;
        }
        drop(claims);
        let finalized = self.claims.count(BlockId::finalized()).await?;
        for (index, wrong) in &wrong {
            if state.wrong.get(index) != Some(wrong) {
                tracing::error!("{wrong}: the proposer or this follower is wrong");
            }
        }
        state.wrong.retain(|index, _| *index < first);
        state.wrong.extend(wrong);
        while state.wrong.len() > WRONG_MAX {
            state.wrong.pop_first();
        }
        state.next = compared.min(finalized).max(first);
        self.status.compared(compared, state.wrong.values().copied().collect());
        Ok(compared == last && last < count && state.next == last)
    }

    /// The derived chain's root for the claim's block; `None` where that is not derived.
    async fn compare(&self, claim: Claim) -> Result<Option<B256>, CompareError> {
        let number = claim.block;
        let Some((_, hash)) = self.store.header(number)? else { return Ok(None) };
        Ok(self.source.output_root(encoder::BlockId { number, hash }).await?)
    }
}
