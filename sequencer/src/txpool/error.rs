//! Why a transaction is not admitted. geth's words, because wallets and libraries parse them.
//!
//! Owns the reasons of the edge and of the pool; what execution refuses is
//! [`executor::SkipReason`]. Knows no RPC codes.

use super::terms::{CONDITIONS_COST_MAX, Contradiction, Unmet};
use alloy::primitives::U256;
use executor::TransactionError;

/// Why [`super::Admission::decode`] or [`super::Pool::add`] refused a transaction. Nothing was
/// stored. All are the sender's to fix, but for [`AddError::PoolFull`], which passes with time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// The bytes are not a transaction of this chain.
    #[error(transparent)]
    Decode(#[from] TransactionError),
    /// Type 3: L2 blocks carry no blobs.
    #[error("transaction type not supported: blob transactions are not accepted on L2")]
    BlobsNotAccepted,
    /// A legacy signature without a chain id can be replayed on other chains.
    #[error("only replay-protected (EIP-155) transactions allowed over RPC")]
    ReplayUnprotected,
    /// Signed for another chain.
    #[error("invalid chain id for signer: have {have} want {want}")]
    WrongChainId {
        /// Chain id in the signature.
        have: u64,
        /// This chain's id.
        want: u64,
    },
    /// Gas limit below what the transaction costs before it runs.
    #[error("intrinsic gas too low: gas {gas_limit}, minimum needed {needed}")]
    IntrinsicGas {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Needed gas.
        needed: u64,
    },
    /// Gas limit below the calldata floor (EIP-7623): such a transaction can never be mined.
    #[error("insufficient gas for floor data gas cost: gas {gas_limit}, minimum needed {needed}")]
    FloorGas {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Needed gas.
        needed: u64,
    },
    /// Init code longer than EIP-3860 allows.
    #[error("max initcode size exceeded: code size {size}, limit {limit}")]
    InitCodeTooLarge {
        /// Bytes of init code.
        size: usize,
        /// Allowed bytes.
        limit: usize,
    },
    /// Gas limit above the per-transaction cap (EIP-7825).
    #[error("transaction gas limit too high (cap: {cap}, tx: {gas_limit})")]
    GasLimitAboveCap {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Cap.
        cap: u64,
    },
    /// Gas limit above a whole block's.
    #[error("exceeds block gas limit")]
    ExceedsBlockGasLimit,
    /// The fee cap is below the lowest base fee this chain can ever have.
    #[error(
        "max fee per gas less than block base fee: maxFeePerGas: {max_fee_wei}, baseFee: {base_fee_wei}"
    )]
    FeeBelowBaseFee {
        /// Fee cap of the transaction, wei.
        max_fee_wei: u128,
        /// Minimum base fee, wei.
        base_fee_wei: u64,
    },
    /// Priority fee above the fee cap.
    #[error(
        "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: {priority_fee_wei}, maxFeePerGas: {max_fee_wei}"
    )]
    PriorityFeeAboveMaxFee {
        /// Priority fee cap, wei.
        priority_fee_wei: u128,
        /// Fee cap, wei.
        max_fee_wei: u128,
    },
    /// EIP-7702 demands at least one authorization.
    #[error("EIP-7702 transaction with empty auth list")]
    EmptyAuthorizationList,
    /// The nonce is the last one EIP-2681 leaves unused.
    #[error("nonce has max value")]
    NonceMax,
    /// The nonce is used already.
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow {
        /// The account's next nonce.
        next: u64,
        /// Nonce of the transaction.
        nonce: u64,
    },
    /// The balance does not cover the transaction together with what the sender already queued.
    #[error(
        "insufficient funds for gas * price + value: balance {balance_wei}, queued cost {queued_wei}, tx cost {cost_wei}"
    )]
    InsufficientFunds {
        /// Balance of the sender, wei.
        balance_wei: U256,
        /// Most that the queued transactions can cost, wei.
        queued_wei: U256,
        /// Most that this one can cost, wei.
        cost_wei: U256,
    },
    /// The sender is a contract (EIP-3607).
    #[error("sender not an eoa")]
    SenderNotEoa,
    /// Exactly this transaction is in the pool.
    #[error("already known")]
    AlreadyKnown,
    /// Same sender and nonce without a tenth more on both fees.
    #[error("replacement transaction underpriced")]
    ReplacementUnderpriced,
    /// The sender has as many transactions in the pool as one sender may.
    #[error("account limit exceeded: pooled {slots} txs")]
    SenderFull {
        /// Slots of one sender.
        slots: usize,
    },
    /// A condition of the sender does not hold.
    #[error("transaction conditional rejected: {0}")]
    Conditional(#[from] Unmet),
    /// Conditions that can never hold.
    #[error("transaction conditional rejected: failed conditional validation: {0}")]
    Contradiction(#[from] Contradiction),
    /// Conditions that cost more to check than the node checks for one transaction.
    #[error("conditional cost, {cost}, exceeded max: {CONDITIONS_COST_MAX}")]
    ConditionsTooCostly {
        /// Their cost.
        cost: usize,
    },
    /// The cap on the whole fee is below what the gas costs at the lowest base fee this chain can
    /// ever have.
    #[error("max total fee too low: maxTotalFee: {cap_wei}, minimum needed {needed_wei}")]
    TotalFeeCapTooLow {
        /// The cap, wei.
        cap_wei: U256,
        /// Gas limit times minimum base fee, wei.
        needed_wei: U256,
    },
    /// The pool is full and the transaction does not pay more than the cheapest in it.
    #[error("txpool is full")]
    PoolFull,
}
