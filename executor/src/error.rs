//! What can go wrong, grouped by what the caller does: an [`ExecuteError`] stops the block, a
//! [`SkipReason`] is an outcome of one transaction and stops nothing.

use alloc::boxed::Box;
use alloy_primitives::{B256, U256};
use core::fmt;

/// The state could not be read. Retrying makes sense only when the store says so.
pub enum ViewError {
    /// The store behind the view failed.
    Store(Box<dyn core::error::Error + Send + Sync>),
    /// The view has no code of this hash although an account names it.
    MissingCode(B256),
    /// The trie node that must be read is known by its hash alone.
    MissingNode,
    /// BLOCKHASH asked for a block the view does not know.
    MissingBlockHash(u64),
}

impl fmt::Debug for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "state store: {error}"),
            Self::MissingCode(hash) => write!(f, "no code of hash {hash}"),
            Self::MissingNode => write!(f, "state trie node not available"),
            Self::MissingBlockHash(number) => write!(f, "no hash of block {number}"),
        }
    }
}

impl core::error::Error for ViewError {}
impl revm::database_interface::DBErrorMarker for ViewError {}

/// The block as a whole cannot be executed; nothing of it counts.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The state before the block could not be read.
    #[error("cannot read the state: {0}")]
    View(#[from] ViewError),
    /// revm met a condition that is no transaction's fault (a precompile's fatal error).
    #[error("the EVM stopped at transaction {transaction}")]
    Evm {
        /// Hash of the transaction being executed.
        transaction: B256,
    },
    /// Executing a transaction panicked: a defect of ours or of the view. Nothing of the block counts.
    #[error("panic while executing transaction {transaction}")]
    Panic {
        /// Hash of the transaction being executed.
        transaction: B256,
    },
    /// The rules of this Ethereum hardfork are not complete here: only those up to Osaka are.
    #[error("Ethereum rules of {spec:?} are not complete")]
    UnsupportedSpec {
        /// Hardfork asked for.
        spec: revm::primitives::hardfork::SpecId,
    },
    /// A system call at the start or end of the block failed.
    #[error("system call to {contract} failed")]
    SystemCall {
        /// Called contract.
        contract: alloy_primitives::Address,
    },
}

/// Why a transaction is not in the block. geth's words, which wallets parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// Nonce already used.
    #[error("nonce too low: next nonce {state}, tx nonce {transaction}")]
    NonceTooLow {
        /// Nonce of the transaction.
        transaction: u64,
        /// The account's next nonce.
        state: u64,
    },
    /// Nonce not reached yet.
    #[error("nonce too high: next nonce {state}, tx nonce {transaction}")]
    NonceTooHigh {
        /// Nonce of the transaction.
        transaction: u64,
        /// The account's next nonce.
        state: u64,
    },
    /// The account's nonce is at its maximum (EIP-2681).
    #[error("nonce has max value")]
    NonceMax,
    /// The balance does not cover gas limit x price + value.
    #[error("insufficient funds for gas * price + value: have {balance_wei} want {cost_wei}")]
    InsufficientFunds {
        /// Balance of the sender.
        balance_wei: U256,
        /// Needed balance.
        cost_wei: U256,
    },
    /// Max fee below the block's base fee.
    #[error("max fee per gas less than block base fee")]
    FeeBelowBaseFee,
    /// Priority fee above the max fee.
    #[error("max priority fee per gas higher than max fee per gas")]
    PriorityFeeAboveMaxFee,
    /// Gas limit below what the transaction costs before it runs.
    #[error("intrinsic gas too low: have {gas_limit}, want {needed}")]
    IntrinsicGas {
        /// Needed gas.
        needed: u64,
        /// Gas limit of the transaction.
        gas_limit: u64,
    },
    /// Gas limit below the calldata floor (EIP-7623).
    #[error("intrinsic gas too low: floor data gas cost {needed}, have {gas_limit}")]
    FloorGas {
        /// Needed gas.
        needed: u64,
        /// Gas limit of the transaction.
        gas_limit: u64,
    },
    /// Gas limit above the per-transaction cap (EIP-7825).
    #[error("transaction gas limit too high (cap: {cap}, tx: {gas_limit})")]
    GasLimitAboveCap {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Cap.
        cap: u64,
    },
    /// Gas limit above what is left in the block.
    #[error("exceeds block gas limit: {gas_limit} asked, {gas_left} left")]
    BlockGas {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Gas left in the block.
        gas_left: u64,
    },
    /// Blob gas above what is left in the block.
    #[error("blob gas limit reached")]
    BlockBlobGas,
    /// Blob fee below the block's.
    #[error("max fee per blob gas less than block blob gas fee")]
    BlobFeeBelowBaseFee,
    /// The sender is a contract (EIP-3607).
    #[error("sender not an eoa")]
    SenderNotEoa,
    /// Init code longer than EIP-3860 allows.
    #[error("max initcode size exceeded")]
    InitCodeTooLarge,
    /// Signed for another chain.
    #[error("invalid chain id for signer")]
    WrongChainId,
    /// The type does not exist under these rules.
    #[error("transaction type not supported")]
    TypeNotSupported,
    /// An authorization list that EIP-7702 forbids.
    #[error("EIP-7702 transaction with empty auth list or creation")]
    InvalidAuthorizationList,
    /// A blob list that EIP-4844 forbids.
    #[error("blob transaction with invalid blob hashes")]
    InvalidBlobs,
    /// A fee or cost exceeds 256 bits.
    #[error("max fee per gas higher than 2^256-1")]
    CostOverflow,
}
