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
/// Wrong outputs that are remembered and counted, the newest: those of one round, so that none of it is
/// said again with the next.
const WRONG_MAX: usize = 256;

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

impl State {
    /// Outputs from [`Self::next`] up to `compared` were compared, and these are `wrong`. It is done with
    /// those below `finalized`, the number of outputs that L1 does not take back; `None` while not all of
    /// L1 is read: the blocks that were compared may be of a fork that is still to be undone.
    fn take(&mut self, wrong: BTreeMap<u64, WrongOutput>, compared: u64, finalized: Option<u64>) {
        for (index, wrong) in &wrong {
            if self.wrong.get(index) != Some(wrong) {
                tracing::error!("{wrong}: the proposer or this follower is wrong");
            }
        }
        let first = self.next;
        self.wrong.retain(|index, _| *index < first);
        self.wrong.extend(wrong);
        while self.wrong.len() > WRONG_MAX {
            self.wrong.pop_first();
        }
        self.next = compared.min(finalized.unwrap_or(first)).max(first);
    }
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
        state.take(wrong, compared, read.is_some().then_some(finalized));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(index: u64) -> (u64, WrongOutput) {
        let claim = Claim { index, block: index * 10, root: B256::repeat_byte(1) };
        (index, WrongOutput { claim, derived: None })
    }

    #[test]
    fn what_is_compared_with_a_fork_is_compared_again() {
        let mut state = State::default();
        // While L1 is read, blocks of a fork are in the store.
        state.take([wrong(1)].into(), 3, None);
        assert_eq!((state.next, state.wrong.len()), (0, 1));
        // Then all is right, also where L1 does not take the claim back.
        state.take(BTreeMap::new(), 4, Some(2));
        assert_eq!((state.next, state.wrong.len()), (2, 0));
        // What is wrong and final stays.
        state.take([wrong(3)].into(), 4, Some(9));
        state.take(BTreeMap::new(), 4, Some(9));
        assert_eq!((state.next, state.wrong.len()), (4, 1));
    }

    #[test]
    fn the_newest_wrong_ones_are_remembered() {
        let mut state = State::default();
        state.take((0..200).map(wrong).collect(), 200, Some(200));
        state.take((200..400).map(wrong).collect(), 400, Some(200));
        assert_eq!(state.wrong.len(), WRONG_MAX);
        assert_eq!(state.wrong.first_key_value(), Some((&144, &wrong(144).1)));
        assert!(WRONG_MAX as u64 >= CLAIMS_PER_ROUND_MAX);
    }
}
