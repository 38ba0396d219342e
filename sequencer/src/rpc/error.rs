//! What a call can answer instead of a result, with the codes and words that clients parse.
//!
//! Codes: JSON-RPC 2.0, EIP-1474, EIP-7966, EIP-4444, and geth's 3 for a revert. Owns no transport: over HTTP
//! the status stays 200.

use super::chain::ChainError;
use crate::{pressure, txpool::AddError};
use alloy::{
    primitives::{B256, Bytes, U256},
    sol_types::{Panic, PanicKind, Revert, SolError},
};
use executor::{ExecuteError, SkipReason, ViewError};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// Code of [`RpcError::BlockDisagrees`]: in the range that JSON-RPC leaves to servers, and used by nobody
/// else.
pub(crate) const BLOCK_DISAGREES: i64 = -32090;
/// The `data` of every error that says that a state is not kept, or not any more.
pub(crate) const STATE_UNAVAILABLE: &str = "stateUnavailable";

/// A stored block, and what executing it in order gives instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreement {
    /// Height.
    pub number: u64,
    /// Hash of the stored block.
    pub sealed: B256,
    /// The other header, in RLP.
    pub executed: Bytes,
}

/// An error answer.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The body is no JSON.
    #[error("parse error")]
    Parse,
    /// JSON that is no request.
    #[error("invalid request")]
    InvalidRequest,
    /// An empty batch.
    #[error("empty batch")]
    EmptyBatch,
    /// More entries than a batch may have.
    #[error("batch too large")]
    BatchTooLarge,
    /// The method does not exist here.
    #[error("the method {method} does not exist/is not available")]
    MethodNotFound {
        /// As asked for, cut to a sane length.
        method: Box<str>,
    },
    /// Subscriptions need a WebSocket.
    #[error("notifications not supported")]
    NotificationsUnsupported,
    /// Parameters that are no array.
    #[error("non-array args")]
    NonArrayParams,
    /// A parameter is absent.
    #[error("missing value for required argument {index}")]
    MissingParam {
        /// Position from 0.
        index: usize,
    },
    /// A parameter cannot be read.
    #[error("invalid argument {index}: {}", cut(source))]
    InvalidParam {
        /// Position from 0.
        index: usize,
        /// What serde says.
        source: serde_json::Error,
    },
    /// More parameters than the method takes.
    #[error("too many arguments, want at most {max}")]
    TooManyParams {
        /// Most it takes.
        max: usize,
    },
    /// A parameter that reads well and is not allowed.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// No such block, where state or an environment of it is needed.
    #[error("header not found")]
    HeaderNotFound,
    /// No canonical block of this hash.
    #[error("header for hash not found")]
    HashNotFound,
    /// No block of this height, where its transactions are needed.
    #[error("block #{number} not found")]
    BlockNotFound {
        /// Height.
        number: u64,
    },
    /// No block of this hash, where its transactions are needed.
    #[error("block {hash} not found")]
    BlockHashNotFound {
        /// Hash.
        hash: B256,
    },
    /// Nothing executed block 0.
    #[error("genesis is not traceable")]
    GenesisNotTraceable,
    /// No transaction of this hash is in the chain.
    #[error("transaction not found")]
    TransactionNotFound,
    /// No such block, in a filter.
    #[error("unknown block")]
    UnknownBlock,
    /// The state of this block is not kept.
    #[error("historical state of block {number} is not available")]
    StateUnavailable {
        /// Height.
        number: u64,
    },
    /// The state of this block is not kept any more.
    #[error(
        "historical state of block {number} is not available; the oldest kept state is of block {first}"
    )]
    StatePruned {
        /// Height.
        number: u64,
        /// The first block whose state is kept.
        first: u64,
    },
    /// A stored block is not what executing it in order gives: a mistake of this node's.
    #[error("block {} executed in order is not the stored one", .0.number)]
    BlockDisagrees(Box<Disagreement>),
    /// Blocks that the chain does not have: it began with a snapshot of a later one.
    #[error("pruned history unavailable; the oldest kept block is {first}")]
    BlocksUnavailable {
        /// The first kept block.
        first: u64,
    },
    /// Not admitted to the pool.
    #[error(transparent)]
    Pool(#[from] AddError),
    /// Not admitted while L1 is behind.
    #[error(transparent)]
    Pressure(#[from] pressure::Refusal),
    /// The call as a transaction would be invalid.
    #[error("{0}")]
    Invalid(SkipReason),
    /// The call reverted.
    #[error("execution reverted{}", reason_text(output))]
    Reverted {
        /// Revert data.
        output: Bytes,
    },
    /// The call ran out of gas.
    #[error("out of gas")]
    OutOfGas,
    /// The call stopped exceptionally.
    #[error("execution halted")]
    Halted,
    /// No gas limit that the caller may use or pay suffices.
    #[error("gas required exceeds allowance ({gas})")]
    AllowanceExceeded {
        /// Highest allowed gas.
        gas: u64,
    },
    /// The balance does not even cover the value.
    #[error("insufficient funds for transfer")]
    InsufficientForTransfer,
    /// Admitted, and not in a block within the time (EIP-7966).
    #[error(
        "The transaction was added to the mempool but wasn't processed within the designated timeout interval."
    )]
    SyncTimeout {
        /// Hash of the transaction.
        hash: B256,
    },
    /// Admitted, and waits for another transaction first (EIP-7966).
    #[error("The transaction was added to the mempool but is not ready for execution.")]
    SyncNotReady {
        /// Hash of the transaction.
        hash: B256,
    },
    /// No filter of this id, or its time has passed.
    #[error("filter not found")]
    FilterNotFound,
    /// The node builds no blocks and knows no sequencer to hand transactions to.
    #[error(
        "this node is a follower and takes no transactions: it derives the chain from L1; send them to the sequencer, or start the follower with --sequencer-url"
    )]
    SendsRefused,
    /// The sequencer did not answer. The transaction may have reached it.
    #[error("the sequencer does not answer; the transaction may have reached it")]
    SequencerUnavailable,
    /// The sequencer has no time. The transaction was not taken.
    #[error("the sequencer is busy and has not taken the transaction: try again later")]
    SequencerBusy,
    /// What the sequencer answered, as it said it.
    #[error("{message}")]
    Sequencer {
        /// Its code.
        code: i64,
        /// Its message.
        message: String,
        /// Its data.
        data: Option<Box<RawValue>>,
    },
    /// A simulation cannot run.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// A bound of the server was reached.
    #[error(transparent)]
    Limit(#[from] Limit),
    /// The answers of a batch together are longer than the server sends.
    #[error("response too large")]
    ResponseTooLarge,
    /// The chain cannot be read. Details are in the log only.
    #[error("internal error")]
    Internal,
}

/// Parameters that read well and are not allowed (-32602).
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// First block after the last.
    #[error("invalid block range params")]
    InvalidRange,
    /// A range longer than one query may have.
    #[error("exceed maximum block range: {0}")]
    RangeTooLong(u64),
    /// Logs of blocks that do not exist yet.
    #[error("pending logs are not supported")]
    PendingLogs,
    /// More topic positions than a log has.
    #[error("exceed max topics")]
    TooManyTopics,
    /// More addresses than one filter may have.
    #[error("exceed max addresses")]
    TooManyAddresses,
    /// `blockHash` together with a range.
    #[error("cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other")]
    HashAndRange,
    /// `gasPrice` together with fee caps.
    #[error("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified")]
    BothFeeKinds,
    /// Priority fee above the fee cap.
    #[error("maxFeePerGas ({max_fee_wei}) < maxPriorityFeePerGas ({priority_fee_wei})")]
    PriorityFeeAboveMaxFee {
        /// Fee cap, wei.
        max_fee_wei: u128,
        /// Priority fee cap, wei.
        priority_fee_wei: u128,
    },
    /// `data` and `input` differ.
    #[error(
        r#"both "data" and "input" are set and not equal. Please use "input" to pass transaction call data"#
    )]
    DataAndInput,
    /// The request is for another chain.
    #[error("chainId does not match node's (have={have}, want={want})")]
    ChainId {
        /// In the request.
        have: u64,
        /// This chain's.
        want: u64,
    },
    /// An override that this node does not apply.
    #[error("unsupported override: {0}")]
    Override(&'static str),
    /// Both whole and partial storage given.
    #[error("account has both 'state' and 'stateDiff'")]
    StateAndStateDiff,
    /// Percentiles must be within 0 to 100.
    #[error("invalid reward percentile: {0}")]
    Percentile(f64),
    /// Percentiles must not fall.
    #[error("invalid reward percentile: must be in ascending order")]
    PercentileOrder,
    /// More percentiles than one query may have.
    #[error("invalid reward percentile: over the query limit {0}")]
    TooManyPercentiles(usize),
    /// A block after the newest.
    #[error("request beyond head block: requested {requested}, head {head}")]
    BeyondHead {
        /// Asked for.
        requested: u64,
        /// Newest.
        head: u64,
    },
    /// A storage key longer than 32 bytes, or more keys than one proof takes.
    #[error("too many storage keys (max {0})")]
    TooManyKeys(usize),
    /// A page of no or too many transactions.
    #[error("page size must be 1 to {0}")]
    PageSize(usize),
    /// A request that is no transaction of any type.
    #[error("the request is no transaction of any type")]
    Unbuildable,
    /// A rollup takes no blobs.
    #[error("transaction type not supported: blob transactions")]
    Blobs,
    /// A tracer that is not here.
    #[error("unsupported tracer: this node has geth's native tracers only")]
    Tracer,
    /// Options that the tracer cannot read.
    #[error("invalid tracer config")]
    TracerConfig,
    /// A timeout that is no duration.
    #[error("time: invalid duration")]
    Duration,
    /// A position at or after the end of the block.
    #[error("transaction index out of range")]
    TransactionIndex,
    /// Not a kind of subscription.
    #[error("no such subscription kind")]
    SubscriptionKind,
}

/// Why eth_simulateV1 refuses (execution-apis, with its codes).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimulationError {
    /// No blocks.
    #[error("empty input")]
    Empty,
    /// More blocks, with those that fill gaps, than one call may have.
    #[error("too many blocks")]
    TooManyBlocks,
    /// Numbers that do not rise.
    #[error("block numbers must be in order: {number} <= {before}")]
    NumberOrder {
        /// Of the block.
        number: u64,
        /// Of the one before.
        before: u64,
    },
    /// Times that do not rise.
    #[error("block timestamps must be in order: {time} <= {before}")]
    TimeOrder {
        /// Of the block, seconds since 1970.
        time: u64,
        /// Of the one before.
        before: u64,
    },
    /// More gas than the block has left.
    #[error("block gas limit reached: {used} used, {gas} asked")]
    BlockGas {
        /// Used in the block.
        used: u64,
        /// Gas limit of the call.
        gas: u64,
    },
    /// The gas that one simulation may use is used.
    #[error("RPC gas cap exhausted")]
    Gas,
    /// The call as a transaction would be invalid.
    #[error("{reason}")]
    Invalid {
        /// Why.
        reason: SkipReason,
    },
}

impl SimulationError {
    fn code(&self) -> i64 {
        use SkipReason as R;
        match self {
            Self::Empty => -32602,
            Self::TooManyBlocks | Self::Gas => -38026,
            Self::NumberOrder { .. } => -38020,
            Self::TimeOrder { .. } => -38021,
            Self::BlockGas { .. } => -38015,
            Self::Invalid { reason } => match reason {
                R::NonceTooLow { .. } => -38010,
                R::NonceTooHigh { .. } | R::NonceMax => -38011,
                R::FeeBelowBaseFee => -38012,
                R::IntrinsicGas { .. } | R::FloorGas { .. } => -38013,
                R::InsufficientFunds { .. } => -38014,
                R::BlockGas { .. } | R::GasLimitAboveCap { .. } => -38015,
                R::SenderNotEoa => -38024,
                R::InitCodeTooLarge => -38025,
                _ => -32000,
            },
        }
    }
}

/// Bounds of the server (-32005).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Logs found by one query.
    #[error("query returned more than {0} results")]
    Logs(usize),
    /// Installed filters.
    #[error("too many filters installed (max {0})")]
    Filters(usize),
    /// Subscriptions of one socket.
    #[error("too many subscriptions on this connection (max {0})")]
    Subscriptions(usize),
    /// Requests that wait for a receipt.
    #[error("too many requests wait for receipts (max {0})")]
    Waiters(usize),
    /// Transactions on their way to the sequencer.
    #[error("server busy: {0} transactions are on their way to the sequencer, try again")]
    Forwards(usize),
    /// Transactions that wait for admission.
    #[error("server busy: {0} transactions wait for admission, try again")]
    Admissions(usize),
    /// Blocks looked at by one search that found nothing.
    #[error("nothing found in {0} blocks; search from another block")]
    Search(u64),
    /// Transactions shown of the pool.
    #[error("more than {0} transactions wait; ask for one sender's with txpool_contentFrom")]
    PoolContent(usize),
    /// Watched executions at once.
    #[error("too many traces are being made (max {0})")]
    Traces(usize),
    /// Time of a watched execution.
    #[error("execution timeout")]
    TraceTime,
    /// Bytes of what is recorded of one, or of the answer.
    #[error("trace too large (max {0} bytes)")]
    TraceBytes(usize),
    /// Witnesses being recorded.
    #[error("too many witnesses are being recorded (max {0})")]
    Witnesses(usize),
    /// Calls that wait for a thread.
    #[error("server busy: {0} calls of this kind may wait, try again")]
    Busy(usize),
    /// A client's budget is used up.
    #[error("request rate exceeded: try again in {millis} ms")]
    ClientCost {
        /// Until there is enough for this call, milliseconds.
        millis: u64,
    },
    /// Work of one batch.
    #[error("batch too costly: send this request in another batch")]
    BatchCost,
    /// Time of one batch.
    #[error("batch took too long: send this request in another batch")]
    BatchTime,
    /// Bytes of bodies being read, or of answers not read yet.
    #[error("server busy: {0} bytes of bodies and unread answers are held, try again")]
    HeldBytes(usize),
}

impl RpcError {
    /// The JSON-RPC code.
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::Parse => -32700,
            Self::InvalidRequest | Self::EmptyBatch | Self::BatchTooLarge => -32600,
            Self::MethodNotFound { .. } | Self::NotificationsUnsupported => -32601,
            Self::NonArrayParams
            | Self::MissingParam { .. }
            | Self::InvalidParam { .. }
            | Self::TooManyParams { .. }
            | Self::Refused(_) => -32602,
            Self::Internal => -32603,
            Self::Simulation(error) => error.code(),
            Self::Limit(_)
            | Self::SequencerBusy
            | Self::Pressure(_)
            | Self::Pool(AddError::ConditionsTooCostly { .. }) => -32005,
            Self::ResponseTooLarge
            | Self::Pool(AddError::Conditional(_) | AddError::Contradiction(_)) => -32003,
            Self::Reverted { .. } => 3,
            // EIP-1474: method not supported, resource unavailable.
            Self::SendsRefused => -32004,
            Self::SequencerUnavailable => -32002,
            Self::Sequencer { code, .. } => *code,
            Self::SyncTimeout { .. } => 4,
            Self::SyncNotReady { .. } => 5,
            Self::BlocksUnavailable { .. } => 4444,
            Self::BlockDisagrees(_) => BLOCK_DISAGREES,
            Self::HeaderNotFound
            | Self::HashNotFound
            | Self::BlockNotFound { .. }
            | Self::BlockHashNotFound { .. }
            | Self::GenesisNotTraceable
            | Self::TransactionNotFound
            | Self::UnknownBlock
            | Self::StateUnavailable { .. }
            | Self::StatePruned { .. }
            | Self::Pool(_)
            | Self::Invalid(_)
            | Self::OutOfGas
            | Self::Halted
            | Self::AllowanceExceeded { .. }
            | Self::InsufficientForTransfer
            | Self::FilterNotFound => -32000,
        }
    }

    /// What goes into the `data` field.
    #[must_use]
    pub fn data(&self) -> Option<Box<RawValue>> {
        match self {
            Self::Reverted { output } => to_raw_value(output).ok(),
            Self::Sequencer { data, .. } => data.clone(),
            Self::SyncTimeout { hash } | Self::SyncNotReady { hash } => to_raw_value(hash).ok(),
            // For clients that decide by it whether to try again.
            Self::Pressure(_) => to_raw_value("backPressure").ok(),
            // For a batcher, which posts without executing again only where that cannot be.
            Self::StateUnavailable { .. } | Self::StatePruned { .. } => {
                to_raw_value(STATE_UNAVAILABLE).ok()
            }
            Self::BlockDisagrees(disagreement) => to_raw_value(disagreement).ok(),
            _ => None,
        }
    }
}

impl From<ChainError> for RpcError {
    fn from(error: ChainError) -> Self {
        tracing::error!(%error, "a call could not read the chain");
        Self::Internal
    }
}

impl From<ViewError> for RpcError {
    fn from(error: ViewError) -> Self {
        tracing::error!(%error, "a call could not read the state");
        Self::Internal
    }
}

impl From<ExecuteError> for RpcError {
    fn from(error: ExecuteError) -> Self {
        tracing::error!(%error, "a call could not be executed");
        Self::Internal
    }
}

/// Bytes of what serde says of a parameter: it quotes the client's own value, which can be the whole body.
const QUOTE_BYTES_MAX: usize = 256;

/// The text, cut.
fn cut(source: &serde_json::Error) -> String {
    let mut text = source.to_string();
    if text.len() > QUOTE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(QUOTE_BYTES_MAX));
        text.push_str("...");
    }
    text
}

/// `: REASON` of `Error(string)` and `Panic(uint256)`, in geth's words; empty for anything else.
fn reason_text(output: &Bytes) -> String {
    if let Ok(revert) = Revert::abi_decode(output) {
        return format!(": {}", revert.reason);
    }
    let Ok(panic) = Panic::abi_decode(output) else { return String::new() };
    match panic_text(panic.code) {
        Some(text) => format!(": {text}"),
        None => format!(": unknown panic code: {:#x}", panic.code),
    }
}

fn panic_text(code: U256) -> Option<&'static str> {
    let kind = PanicKind::from_number(code.try_into().ok()?)?;
    Some(match kind {
        PanicKind::Generic => "generic panic",
        PanicKind::Assert => "assert(false)",
        PanicKind::UnderOverflow => "arithmetic underflow or overflow",
        PanicKind::DivisionByZero => "division or modulo by zero",
        PanicKind::EnumConversionError => "enum overflow",
        PanicKind::StorageEncodingError => "invalid encoded storage byte array accessed",
        PanicKind::EmptyArrayPop => "out-of-bounds array access; popping on an empty array",
        PanicKind::ArrayOutOfBounds => "out-of-bounds access of an array or bytesN",
        PanicKind::ResourceError => "out of memory",
        PanicKind::InvalidInternalFunction => "uninitialized function",
        _ => return None,
    })
}
