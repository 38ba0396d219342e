//! The proposer: claims output roots of safe blocks in the Outputs contract, bound to the Inbox
//! position they can be derived from.
//!
//! Reads everything it decides by from L1, so that a restart needs no memory but the transaction
//! manager's. Does not compute roots and does not post batches. It sends from its own account.

use crate::{
    control::Control,
    encoder::BlockId,
    l1::L1Error,
    poster::{Action, Backoff},
    source::{BlockSource, SourceError},
    tracker::Heads,
    txmgr::{Call, Inclusion, Purpose, Sent, TxError, TxManager},
};
use alloy::{
    eips::BlockId as L1BlockId,
    primitives::{Address, B256, U256},
    providers::DynProvider,
    sol_types::SolCall,
};
use contracts::{Inbox, Outputs};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// By this name it is shown.
pub const PROPOSER: &str = "proposer";

/// Gas of a proposal, some 150,000 measured with fresh storage, with room.
const PROPOSE_GAS: u64 = 300_000;

/// How outputs are proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProposerConfig {
    /// The Outputs contract.
    pub outputs: Address,
    /// L2 blocks between two outputs; 0 counts as 1. When the chain is further ahead, the outputs
    /// in between are left out.
    pub interval_blocks: u64,
    /// Wait between two steps with nothing to do.
    pub poll: Duration,
}

/// Proposing failed; [`ProposeError::action`] says what follows.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// While sending.
    #[error(transparent)]
    Tx(#[from] TxError),
    /// While reading L2.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// While reading the contract.
    #[error("outputs contract: {0}")]
    Contract(#[from] alloy::contract::Error),
    /// The contract takes proposals from another account.
    #[error("outputs are proposed by another account than {0}")]
    NotProposer(Address),
    /// The contract's newest output is of another L2 chain than the node's.
    #[error("the newest output is of L2 block {0}, after the safe head")]
    Ahead(u64),
    /// A claim reverted that the contract takes before and after: the next one would as well, and is paid.
    #[error(
        "the claim of L2 block {block} reverted for no reason of the contract's, in L1 transaction {tx_hash}"
    )]
    Reverted {
        /// Claimed block.
        block: u64,
        /// The transaction.
        tx_hash: B256,
    },
}

impl ProposeError {
    /// What follows.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Tx(error) => error.action(),
            Self::Source(_) | Self::Contract(_) | Self::Ahead(_) => Action::Retry,
            Self::NotProposer(_) | Self::Reverted { .. } => Action::Halt,
        }
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// No block is due.
    Idle,
    /// The claim would revert now: the Inbox or the Outputs moved on. The next step sees why.
    Stale,
    /// The output of this block is on L1.
    Proposed(BlockId, Inclusion),
}

/// The task's state.
#[allow(missing_debug_implementations, reason = "holds a signer, which has no Debug")]
pub struct Proposer {
    config: ProposerConfig,
    provider: DynProvider,
    tx: TxManager,
    source: Arc<dyn BlockSource>,
    heads: watch::Receiver<Heads>,
    control: Control,
    is_settled: bool,
}

impl Proposer {
    /// Proposes outputs of `source` up to the safe head that the poster publishes in `heads`.
    #[must_use]
    pub fn new(
        config: ProposerConfig,
        provider: DynProvider,
        tx: TxManager,
        source: Arc<dyn BlockSource>,
        heads: watch::Receiver<Heads>,
    ) -> Self {
        let control = Control::default();
        Self { config, provider, tx, source, heads, control, is_settled: false }
    }

    /// Listens to an operator.
    #[must_use]
    pub fn controlled(self, control: Control) -> Self {
        control.show_sender(PROPOSER, self.tx.control());
        Self { control, ..self }
    }

    /// Steps until `shutdown` completes.
    ///
    /// # Errors
    /// The first [`ProposeError`] whose action is [`Action::Halt`].
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), ProposeError> {
        let steps = async {
            let mut backoff = Backoff::new(self.config.poll);
            loop {
                let stepped = self.step().await;
                self.control.stepped(PROPOSER, stepped.as_ref().err().map(ToString::to_string));
                let wait = match stepped {
                    Ok(Proposal::Proposed(..)) => continue,
                    Ok(_) => backoff.reset(),
                    Err(error) if error.action() == Action::Halt => return Err(error),
                    // Its control says once what keeps the account from sending.
                    Err(ProposeError::Tx(error)) if error.hold().is_some() => {
                        tracing::debug!(%error, "proposer");
                        backoff.reset()
                    }
                    Err(error) => {
                        let wait = backoff.after(error.action());
                        tracing::warn!(%error, retry_in = ?wait, "proposer");
                        wait
                    }
                };
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.control.asked() => {}
                }
            }
        };
        tokio::select! {
            halted = steps => halted,
            () = shutdown => Ok(()),
        }
    }

    /// One round: at most one output.
    ///
    /// # Errors
    /// [`ProposeError`]; the next step is safe after any of them.
    pub async fn step(&mut self) -> Result<Proposal, ProposeError> {
        if !self.is_settled {
            self.settle().await?;
        }
        let safe = self.heads.borrow().safe;
        let outputs = self.outputs();
        let last = outputs.latestBlockNumber().call().await?;
        let last = u64::try_from(last).unwrap_or(u64::MAX);
        let Some(number) = due(last, safe.block.number, self.config.interval_blocks) else {
            let is_ahead = last > safe.block.number && safe.position.next_batch > 0;
            return if is_ahead { Err(ProposeError::Ahead(last)) } else { Ok(Proposal::Idle) };
        };
        let Some(batch_id) = safe.position.next_batch.checked_sub(1) else {
            return Ok(Proposal::Idle);
        };
        let Some((block, root)) = self.output(number, safe.block).await? else {
            return Ok(Proposal::Idle);
        };
        let claim = Outputs::proposeOutputCall {
            outputRoot: root,
            l2BlockNumber: U256::from(number),
            batchId: batch_id,
            inboxAcc: safe.position.acc,
        };
        if !self.would_succeed(&claim, L1BlockId::latest()).await? {
            return Ok(Proposal::Stale);
        }
        self.propose(block, root, &claim).await
    }

    /// The block of this number with its root, when the node's chain has the safe head.
    async fn output(
        &self,
        number: u64,
        safe: BlockId,
    ) -> Result<Option<(BlockId, B256)>, SourceError> {
        let has_safe = self.source.block(safe.number).await?.is_some_and(|b| b.hash == safe.hash);
        let Some(block) = self.source.block(number).await?.filter(|_| has_safe) else {
            return Ok(None);
        };
        let root = self.source.output_root(block.id()).await?;
        Ok(root.map(|root| (block.id(), root)))
    }

    /// Brings what may be in flight to its end.
    async fn settle(&mut self) -> Result<(), ProposeError> {
        let ended = self.tx.resume().await?;
        self.is_settled = true;
        for (record, sent) in ended {
            if let Sent::Reverted(inclusion) = sent
                && let Ok(claim) = Outputs::proposeOutputCall::abi_decode(&record.call.input)
            {
                self.check_revert(&claim, &inclusion).await?;
            }
        }
        Ok(())
    }

    /// A claim that came too late, or whose batch L1 does not have yet, is stale; any other reverts again.
    async fn check_revert(
        &self,
        claim: &Outputs::proposeOutputCall,
        inclusion: &Inclusion,
    ) -> Result<(), ProposeError> {
        let (tx_hash, l1_block) = (inclusion.tx_hash, inclusion.l1_block);
        for at in [L1BlockId::number(l1_block.number.saturating_sub(1)), l1_block.hash.into()] {
            if !self.would_succeed(claim, at).await? {
                return Ok(());
            }
        }
        let block = u64::try_from(claim.l2BlockNumber).unwrap_or(u64::MAX);
        Err(ProposeError::Reverted { block, tx_hash })
    }

    fn outputs(&self) -> Outputs::OutputsInstance<DynProvider> {
        Outputs::new(self.config.outputs, self.provider.clone())
    }

    /// Calls first, so that a claim that came too late costs nothing.
    async fn would_succeed(
        &self,
        claim: &Outputs::proposeOutputCall,
        at: L1BlockId,
    ) -> Result<bool, ProposeError> {
        let (account, outputs) = (self.tx.account(), self.outputs());
        let call = outputs
            .proposeOutput(claim.outputRoot, claim.l2BlockNumber, claim.batchId, claim.inboxAcc)
            .from(account)
            .block(at);
        let Err(error) = call.call().await else { return Ok(true) };
        if let Some(Outputs::OutputsErrors::NotProposer(_)) = error.as_decoded_interface_error() {
            return Err(ProposeError::NotProposer(account));
        }
        let is_outputs = error.as_decoded_interface_error::<Outputs::OutputsErrors>().is_some();
        let is_inbox = error.as_decoded_interface_error::<Inbox::InboxErrors>().is_some();
        if is_outputs || is_inbox {
            tracing::warn!(%error, "a claim would revert");
            return Ok(false);
        }
        Err(error.into())
    }

    async fn propose(
        &mut self,
        block: BlockId,
        root: B256,
        claim: &Outputs::proposeOutputCall,
    ) -> Result<Proposal, ProposeError> {
        let call = Call {
            to: self.config.outputs,
            input: claim.abi_encode().into(),
            blob_payload: None,
            gas_limit: PROPOSE_GAS,
        };
        let Some(_passed) = self.control.begin(PROPOSER, "an output") else {
            return Ok(Proposal::Idle);
        };
        self.is_settled = false;
        let sent = self.tx.submit(Purpose::Output { block, root }, call).await?;
        self.is_settled = true;
        match sent {
            Sent::Confirmed(inclusion) => {
                let Inclusion { tx_hash, l1_block, gas_used, cost_wei } = inclusion;
                let (block_number, l1_block) = (block.number, l1_block.number);
                tracing::info!(block_number, l1_block, %tx_hash, gas_used, cost_wei, "output proposed");
                Ok(Proposal::Proposed(block, inclusion))
            }
            Sent::Reverted(inclusion) => {
                self.check_revert(claim, &inclusion).await?;
                Ok(Proposal::Stale)
            }
            Sent::Cancelled(_) | Sent::Lost => Ok(Proposal::Stale),
        }
    }
}

impl From<L1Error> for ProposeError {
    fn from(error: L1Error) -> Self {
        Self::Tx(error.into())
    }
}

/// The newest block a whole number of intervals after `last` that is not after `safe`.
fn due(last: u64, safe: u64, interval_blocks: u64) -> Option<u64> {
    let interval = interval_blocks.max(1);
    let intervals = safe.checked_sub(last)? / interval;
    (intervals > 0).then(|| last + intervals * interval)
}

#[cfg(test)]
mod tests {
    use super::due;

    #[test]
    fn outputs_keep_to_the_interval() {
        assert_eq!(due(0, 9, 10), None);
        assert_eq!(due(0, 10, 10), Some(10));
        assert_eq!(due(0, 39, 10), Some(30));
        assert_eq!(due(30, 39, 10), None);
        assert_eq!(due(30, 5, 10), None);
        assert_eq!(due(0, 1, 0), Some(1));
    }
}
