//! The outputs that are claimed on L1, as one L1 block sees them. Reads; compares nothing.

use alloy::{
    contract::Error as ContractError,
    eips::BlockId,
    primitives::{Address, B256, U256},
    providers::DynProvider,
};
use contracts::Outputs;

/// An output on L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Index in the Outputs contract.
    pub index: u64,
    /// L2 block that it is of.
    pub block: u64,
    /// Claimed root.
    pub root: B256,
}

/// The Outputs contract.
#[derive(Clone, Debug)]
pub struct Claims {
    provider: DynProvider,
    outputs: Address,
}

impl Claims {
    /// The contract at `outputs`.
    #[must_use]
    pub fn new(provider: DynProvider, outputs: Address) -> Self {
        Self { provider, outputs }
    }

    /// Number of outputs as of an L1 block; none where the contract is not there yet.
    ///
    /// # Errors
    /// [`ContractError`] when L1 does not answer.
    pub async fn count(&self, at: BlockId) -> Result<u64, ContractError> {
        let outputs = Outputs::new(self.outputs, &self.provider);
        match outputs.nextOutputIndex().block(at).call().await {
            Ok(count) => Ok(saturating(count)),
            Err(ContractError::ZeroData(..)) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The output of this index as of an L1 block, which must have it.
    ///
    /// # Errors
    /// [`ContractError`] when L1 does not answer, or has no such output.
    pub async fn claim(&self, index: u64, at: BlockId) -> Result<Claim, ContractError> {
        let outputs = Outputs::new(self.outputs, &self.provider);
        let output = outputs.getL2Output(U256::from(index)).block(at).call().await?;
        Ok(Claim { index, block: saturating(output.l2BlockNumber), root: output.outputRoot })
    }
}

/// A count or block number; the contract's are below 2^64.
fn saturating(value: impl TryInto<u64>) -> u64 {
    value.try_into().unwrap_or(u64::MAX)
}
