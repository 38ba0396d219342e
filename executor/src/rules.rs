//! Which rules a block is executed under.
//!
//! Owns chain parameters and the EIP-1559 step; the fees beside gas are in [`crate::fees`]. Does not hold state, and reads no configuration:
//! the values come from genesis.

use crate::fees::FeeRules;
use alloy_eips::eip1559::{BaseFeeParams, calc_next_block_base_fee};
use alloy_primitives::{Address, B256};
use revm::primitives::hardfork::SpecId;
use serde::{Deserialize, Serialize};

/// The rules of one chain. Both kinds share everything but what these types name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainRules {
    /// Ethereum itself: the outside oracle our execution is compared with.
    Ethereum(EthereumRules),
    /// A Weft rollup.
    Rollup(RollupRules),
}

/// Ethereum's rules at one hardfork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthereumRules {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Hardfork whose opcodes, prices and system calls apply.
    pub spec: SpecId,
}

/// A rollup's parameters; fixed by genesis and committed to on L1 through its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollupRules {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Gas limit of every block, in gas.
    pub gas_limit: u64,
    /// Block gas limit divided by the gas target (EIP-1559 elasticity), at least 1.
    pub elasticity: u64,
    /// Largest base fee step is one part in this many (EIP-1559), at least 1.
    pub base_fee_max_change_denominator: u64,
    /// The base fee never falls below this, in wei.
    pub base_fee_min_wei: u64,
    /// Highest gas limit of one signed transaction (EIP-7825), in gas. Deposits are exempt: their
    /// gas is bought and bounded on L1.
    pub transaction_gas_limit: u64,
    /// Receives priority fees; the header's beneficiary. Base fees are burnt, as on Ethereum.
    pub fee_recipient: Address,
    /// An L2 block's timestamp is at most this many seconds after its L1 origin's, so that the
    /// operator cannot run the clock away from L1.
    pub sequencer_drift_secs_max: u64,
    /// L1 data fee and operator fee.
    #[serde(default)]
    pub fees: FeeRules,
}

impl Default for RollupRules {
    /// Sized for 100,000 plain transfers of 21,000 gas in a block, with room for the deposits.
    fn default() -> Self {
        Self {
            chain_id: 420_420,
            gas_limit: 2_200_000_000,
            elasticity: 2,
            base_fee_max_change_denominator: 50,
            base_fee_min_wei: 1_000_000,
            transaction_gas_limit: 1 << 24,
            fee_recipient: Address::ZERO,
            sequencer_drift_secs_max: 1_800,
            fees: FeeRules::default(),
        }
    }
}

impl RollupRules {
    /// Base fee of the block after one with these values (EIP-1559), not below the minimum.
    #[must_use]
    pub fn next_base_fee_wei(&self, parent: &alloy_consensus::Header) -> u64 {
        let params = BaseFeeParams {
            max_change_denominator: u128::from(self.base_fee_max_change_denominator.max(1)),
            elasticity_multiplier: u128::from(self.elasticity.max(1)),
        };
        let parent_base_fee_wei = parent.base_fee_per_gas.unwrap_or(self.base_fee_min_wei);
        calc_next_block_base_fee(parent.gas_used, parent.gas_limit, parent_base_fee_wei, params)
            .max(self.base_fee_min_wei)
    }
}

impl ChainRules {
    /// EIP-155 chain id.
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        match self {
            Self::Ethereum(rules) => rules.chain_id,
            Self::Rollup(rules) => rules.chain_id,
        }
    }

    /// Hardfork whose opcodes and prices apply. A rollup block runs Osaka's.
    #[must_use]
    pub fn spec(&self) -> SpecId {
        match self {
            Self::Ethereum(rules) => rules.spec,
            Self::Rollup(_) => SpecId::OSAKA,
        }
    }

    /// Whether receipts carry the state root after their transaction instead of its status: before
    /// EIP-658. Such a block is executed one transaction after another whatever the mode, because
    /// each root needs the whole state before it.
    #[must_use]
    pub fn receipts_have_roots(&self) -> bool {
        !self.spec().is_enabled_in(SpecId::BYZANTIUM)
    }
}

/// Parent beacon block root of every rollup block: there is no beacon chain below it.
pub const ROLLUP_PARENT_BEACON_BLOCK_ROOT: B256 = B256::ZERO;
