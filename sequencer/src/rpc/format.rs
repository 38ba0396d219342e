//! Blocks, transactions, receipts and logs in the shapes Ethereum and OP Stack clients read.
//!
//! The only place that turns stored things into RPC things. Reads nothing: everything comes in.

use crate::store::chain::{MiniBlock, StoredBlock, TransactionAt};
use alloy::{
    consensus::{EMPTY_OMMER_ROOT_HASH, transaction::Recovered},
    eips::eip4895::Withdrawals,
    primitives::{Address, B64, B256, Bloom, Bytes, U8, U64, U128, U256, logs_bloom},
    rlp::Encodable,
    rpc::types::{
        Block, BlockTransactions, Header as RpcHeader, Log, Transaction as AlloyTransaction,
    },
};
use executor::{
    BlockEnv, ChainRules, FeeSchedule, Header, Receipt, Transaction,
    transaction::{Body, SignedTransaction},
};
use serde::Serialize;

/// Version that the OP Stack (Canyon) writes into deposit receipts.
const DEPOSIT_RECEIPT_VERSION: u64 = 1;

/// A transaction as RPC shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum RpcTransaction {
    Signed(Box<AlloyTransaction<SignedTransaction>>),
    Deposit(Box<DepositTransaction>),
}

/// A deposit (0x7e) in op-geth's shape. The signature fields are zero: clients expect them. As in
/// op-geth, a false `isSystemTx` is left out: Foundry cannot read a block that has it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DepositTransaction {
    #[serde(rename = "type")]
    ty: U8,
    hash: B256,
    source_hash: B256,
    from: Address,
    to: Option<Address>,
    mint: U128,
    value: U256,
    gas: U64,
    gas_price: U64,
    input: Bytes,
    nonce: U64,
    deposit_receipt_version: U64,
    block_hash: Option<B256>,
    block_number: Option<U64>,
    transaction_index: Option<U64>,
    v: U64,
    r: U256,
    s: U256,
}

/// Where a transaction is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inclusion {
    pub(super) block_hash: B256,
    pub(super) block_number: u64,
    pub(super) timestamp: u64,
    pub(super) base_fee_wei: u64,
    pub(super) index: u64,
    pub(super) deposit_nonce: Option<u64>,
}

impl RpcTransaction {
    /// A pooled transaction: block fields null.
    pub(super) fn pending(transaction: &Transaction) -> Self {
        Self::new(transaction, None)
    }

    pub(super) fn new(transaction: &Transaction, inclusion: Option<Inclusion>) -> Self {
        let deposit = match transaction.body() {
            Body::Signed(signed) => {
                return Self::Signed(Box::new(signed_transaction(transaction, signed, inclusion)));
            }
            Body::Deposit(deposit) => deposit,
        };
        let nonce = inclusion.and_then(|inclusion| inclusion.deposit_nonce).unwrap_or(0);
        Self::Deposit(Box::new(DepositTransaction {
            ty: U8::from(transaction.ty()),
            hash: transaction.hash(),
            source_hash: deposit.source_hash,
            from: deposit.from,
            to: deposit.to.to().copied(),
            mint: U128::from(deposit.mint_wei),
            value: deposit.value,
            gas: U64::from(deposit.gas_limit),
            gas_price: U64::ZERO,
            input: deposit.input.clone(),
            nonce: U64::from(nonce),
            deposit_receipt_version: U64::from(DEPOSIT_RECEIPT_VERSION),
            block_hash: inclusion.map(|inclusion| inclusion.block_hash),
            block_number: inclusion.map(|inclusion| U64::from(inclusion.block_number)),
            transaction_index: inclusion.map(|inclusion| U64::from(inclusion.index)),
            v: U64::ZERO,
            r: U256::ZERO,
            s: U256::ZERO,
        }))
    }
}

fn signed_transaction(
    transaction: &Transaction,
    signed: &SignedTransaction,
    inclusion: Option<Inclusion>,
) -> AlloyTransaction<SignedTransaction> {
    let price_wei = match inclusion {
        Some(inclusion) => transaction.effective_gas_price_wei(inclusion.base_fee_wei),
        None => transaction.max_fee_per_gas_wei(),
    };
    AlloyTransaction {
        inner: Recovered::new_unchecked(signed.clone(), transaction.sender()),
        block_hash: inclusion.map(|inclusion| inclusion.block_hash),
        block_number: inclusion.map(|inclusion| inclusion.block_number),
        transaction_index: inclusion.map(|inclusion| inclusion.index),
        effective_gas_price: Some(price_wei),
        block_timestamp: inclusion.map(|inclusion| inclusion.timestamp),
    }
}

/// The transaction at an index of a stored block.
pub(super) fn block_transaction(block: &StoredBlock, index: usize) -> Option<RpcTransaction> {
    let transaction = block.transactions.get(index)?;
    let inclusion = Inclusion {
        block_hash: block.hash,
        block_number: block.header.number,
        timestamp: block.header.timestamp,
        base_fee_wei: block.header.base_fee_per_gas.unwrap_or(0),
        index: index as u64,
        deposit_nonce: block.receipts.get(index).and_then(|receipt| receipt.deposit_nonce),
    };
    Some(RpcTransaction::new(transaction, Some(inclusion)))
}

/// A transaction read without its block.
pub(super) fn transaction_at(place: Place<'_>, index: usize, at: &TransactionAt) -> RpcTransaction {
    let inclusion = Inclusion {
        block_hash: place.hash,
        block_number: place.header.number,
        timestamp: place.header.timestamp,
        base_fee_wei: place.header.base_fee_per_gas.unwrap_or(0),
        index: index as u64,
        deposit_nonce: at.receipt.deposit_nonce,
    };
    RpcTransaction::new(&at.transaction, Some(inclusion))
}

/// A whole block, with transactions or their hashes.
pub(super) fn block(block: &StoredBlock, full: bool) -> Block<RpcTransaction> {
    let transactions = if full {
        let indexes = 0..block.transactions.len();
        BlockTransactions::Full(indexes.filter_map(|i| block_transaction(block, i)).collect())
    } else {
        BlockTransactions::Hashes(block.transactions.iter().map(Transaction::hash).collect())
    };
    let size = block_size(&block.header, &block.transactions);
    Block {
        header: header(&block.header, block.hash, Some(size)),
        uncles: Vec::new(),
        transactions,
        withdrawals: block.header.withdrawals_root.map(|_| Withdrawals::default()),
    }
}

/// A header, as newHeads sends it.
pub(super) fn header(header: &Header, hash: B256, size: Option<usize>) -> RpcHeader {
    RpcHeader { hash, inner: header.clone(), total_difficulty: None, size: size.map(U256::from) }
}

/// Bytes of the block's RLP: header, transactions, no ommers, no withdrawals.
fn block_size(header: &Header, transactions: &[Transaction]) -> usize {
    // A typed transaction is a byte string in the list, a legacy one a list of its own.
    let transaction_bytes = |transaction: &Transaction| match transaction.ty() {
        0 => transaction.raw().len(),
        _ => transaction.raw().length(),
    };
    let list = transactions.iter().map(transaction_bytes).sum::<usize>();
    let empty_lists = 1 + usize::from(header.withdrawals_root.is_some());
    let payload = header.length() + list_length(list) + empty_lists;
    list_length(payload)
}

fn list_length(payload_length: usize) -> usize {
    payload_length + alloy::rlp::length_of_length(payload_length)
}

/// The block that would come next, made of the pool: its roots are not known, its hash is null.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PendingBlock {
    #[serde(flatten)]
    block: Block<RpcTransaction, PendingHeader>,
}

/// Header fields of the pending block that are known; the others are null as geth has them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PendingHeader {
    hash: Option<B256>,
    nonce: Option<B64>,
    miner: Address,
    logs_bloom: Bloom,
    number: U64,
    parent_hash: B256,
    sha3_uncles: B256,
    state_root: B256,
    transactions_root: B256,
    receipts_root: B256,
    difficulty: U256,
    extra_data: Bytes,
    size: U64,
    gas_limit: U64,
    gas_used: U64,
    timestamp: U64,
    mix_hash: B256,
    base_fee_per_gas: Option<U64>,
    excess_blob_gas: Option<U64>,
    blob_gas_used: U64,
    parent_beacon_block_root: Option<B256>,
}

impl PendingBlock {
    pub(super) fn new(env: &BlockEnv, transactions: &[Transaction], full: bool) -> Self {
        let raw_bytes = transactions.iter().map(|transaction| transaction.raw().len());
        let header = PendingHeader {
            hash: None,
            nonce: None,
            miner: env.beneficiary,
            logs_bloom: Bloom::ZERO,
            number: U64::from(env.number),
            parent_hash: env.parent_hash,
            sha3_uncles: EMPTY_OMMER_ROOT_HASH,
            state_root: B256::ZERO,
            transactions_root: executor::block::transactions_root(transactions),
            receipts_root: B256::ZERO,
            difficulty: env.difficulty,
            extra_data: env.extra_data.clone(),
            size: U64::from(raw_bytes.sum::<usize>()),
            gas_limit: U64::from(env.gas_limit),
            gas_used: U64::ZERO,
            timestamp: U64::from(env.timestamp),
            mix_hash: env.prevrandao,
            base_fee_per_gas: env.base_fee_wei.map(U64::from),
            excess_blob_gas: env.excess_blob_gas.map(U64::from),
            blob_gas_used: U64::ZERO,
            parent_beacon_block_root: env.parent_beacon_block_root,
        };
        let transactions = if full {
            BlockTransactions::Full(transactions.iter().map(RpcTransaction::pending).collect())
        } else {
            BlockTransactions::Hashes(transactions.iter().map(Transaction::hash).collect())
        };
        let withdrawals = Some(Withdrawals::default());
        Self { block: Block { header, uncles: Vec::new(), transactions, withdrawals } }
    }
}

/// What a signed transaction paid beside its gas, in op-geth's words. Computed from the block's L1
/// attributes and the transaction's bytes, as when it was charged; nothing of it is stored.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FeeFields {
    /// L1 base fee.
    l1_gas_price: U64,
    l1_gas_used: U64,
    l1_fee: U256,
    l1_base_fee_scalar: U64,
    l1_blob_base_fee: U128,
    l1_blob_base_fee_scalar: U64,
    /// As in op-geth, absent when both of the operator fee are zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    operator_fee_scalar: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator_fee_constant: Option<U64>,
}

impl FeeFields {
    fn new(fees: &FeeSchedule, raw: &[u8]) -> Self {
        let rules = fees.rules();
        let has_operator_fee =
            rules.operator_fee_scalar != 0 || rules.operator_fee_constant_wei != 0;
        let operator = |number: u64| has_operator_fee.then(|| U64::from(number));
        Self {
            l1_gas_price: U64::from(fees.l1_base_fee_wei()),
            l1_gas_used: U64::from(fees.l1_gas_used(raw)),
            l1_fee: fees.l1_fee_wei(raw),
            l1_base_fee_scalar: U64::from(rules.l1_base_fee_scalar),
            l1_blob_base_fee: U128::from(fees.l1_blob_base_fee_wei()),
            l1_blob_base_fee_scalar: U64::from(rules.l1_blob_base_fee_scalar),
            operator_fee_scalar: operator(rules.operator_fee_scalar.into()),
            operator_fee_constant: operator(rules.operator_fee_constant_wei),
        }
    }
}

/// The fees beside gas in a block: its first transaction says them.
fn fees_in(rules: &ChainRules, block: &StoredBlock) -> Option<FeeSchedule> {
    block.transactions.first().and_then(|first| FeeSchedule::set_by(rules, first))
}

/// A receipt in geth's shape with the OP Stack's fields. As in op-geth, that of a deposit has none
/// about fees: it pays none.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RpcReceipt {
    #[serde(rename = "type")]
    ty: U8,
    status: U8,
    transaction_hash: B256,
    transaction_index: U64,
    block_hash: B256,
    block_number: U64,
    from: Address,
    to: Option<Address>,
    contract_address: Option<Address>,
    cumulative_gas_used: U64,
    gas_used: U64,
    effective_gas_price: U128,
    logs: Vec<Log>,
    logs_bloom: Bloom,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    fees: Option<FeeFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deposit_nonce: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deposit_receipt_version: Option<U64>,
}

/// A block as its transactions refer to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'h> {
    pub(super) header: &'h Header,
    pub(super) hash: B256,
}

/// The receipt at an index of a stored block.
pub(super) fn receipt(rules: &ChainRules, block: &StoredBlock, index: usize) -> Option<RpcReceipt> {
    let earlier = block.receipts.get(..index)?;
    let first_log_index = earlier.iter().map(|receipt| receipt.logs.len() as u64).sum();
    let at = TransactionAt {
        transaction: block.transactions.get(index)?.clone(),
        receipt: block.receipts.get(index)?.clone(),
        gas_used: gas_used(&block.receipts, index),
        first_log_index,
    };
    let place = Place { header: &block.header, hash: block.hash };
    Some(receipt_at(place, fees_in(rules, block), index, at))
}

/// The receipt at an index of a mini-block: the sealed block's, but for its hash, which is not known
/// and zero.
pub(super) fn open_receipt(
    rules: &ChainRules,
    mini_block: &MiniBlock,
    index: usize,
) -> Option<RpcReceipt> {
    let at = TransactionAt {
        transaction: mini_block.transactions.get(index)?.clone(),
        receipt: mini_block.receipts.get(index)?.clone(),
        gas_used: mini_block.gas_used(index)?,
        first_log_index: mini_block.log_index(index),
    };
    let env = &mini_block.env;
    let header = Header {
        number: env.number,
        timestamp: env.timestamp,
        base_fee_per_gas: env.base_fee_wei,
        ..Header::default()
    };
    let place = Place { header: &header, hash: B256::ZERO };
    let attributes = mini_block.attributes.as_ref();
    let fees = attributes.and_then(|first| FeeSchedule::set_by(rules, first));
    Some(receipt_at(place, fees, mini_block.first_index + index, at))
}

/// The logs of a mini-block that `wanted` lets through, with their indexes in the block, whose hash is
/// not known and zero.
pub(super) fn open_logs<'b>(
    rules: &'b ChainRules,
    mini_block: &'b MiniBlock,
    wanted: impl Fn(&alloy::primitives::Log) -> bool + 'b,
) -> impl Iterator<Item = Log> + 'b {
    let indexes = 0..mini_block.receipts.len();
    let receipts = indexes.filter_map(move |at| open_receipt(rules, mini_block, at));
    receipts.flat_map(|receipt| receipt.logs).filter(move |log| wanted(&log.inner))
}

/// All receipts of a stored block.
pub(super) fn receipts(rules: &ChainRules, block: StoredBlock) -> Vec<RpcReceipt> {
    let fees = fees_in(rules, &block);
    let place = Place { header: &block.header, hash: block.hash };
    let (mut first_log_index, mut gas_before) = (0, 0);
    let pairs = block.transactions.into_iter().zip(block.receipts).enumerate();
    pairs
        .map(|(index, (transaction, receipt))| {
            let gas_used = receipt.cumulative_gas_used.saturating_sub(gas_before);
            gas_before = receipt.cumulative_gas_used;
            let logs = receipt.logs.len() as u64;
            let at = TransactionAt { transaction, receipt, gas_used, first_log_index };
            first_log_index += logs;
            receipt_at(place, fees, index, at)
        })
        .collect()
}

/// The receipt of one transaction; `fees` are those beside gas in its block.
pub(super) fn receipt_at(
    place: Place<'_>,
    fees: Option<FeeSchedule>,
    index: usize,
    at: TransactionAt,
) -> RpcReceipt {
    let TransactionAt { transaction, receipt, gas_used, first_log_index } = at;
    let base_fee_wei = place.header.base_fee_per_gas.unwrap_or(0);
    let version = receipt.deposit_nonce.map(|_| U64::from(DEPOSIT_RECEIPT_VERSION));
    let logs = (first_log_index..).zip(&receipt.logs);
    RpcReceipt {
        ty: U8::from(receipt.ty),
        status: U8::from(u8::from(receipt.success)),
        transaction_hash: transaction.hash(),
        transaction_index: U64::from(index),
        block_hash: place.hash,
        block_number: U64::from(place.header.number),
        from: transaction.sender(),
        to: transaction.kind().to().copied(),
        contract_address: receipt.contract_address(&transaction),
        cumulative_gas_used: U64::from(receipt.cumulative_gas_used),
        gas_used: U64::from(gas_used),
        effective_gas_price: U128::from(transaction.effective_gas_price_wei(base_fee_wei)),
        logs: logs
            .map(|(log_index, log)| rpc_log(place, (transaction.hash(), index), log_index, log))
            .collect(),
        logs_bloom: logs_bloom(&receipt.logs),
        fees: fees
            .filter(|_| transaction.as_signed().is_some())
            .map(|fees| FeeFields::new(&fees, transaction.raw())),
        deposit_nonce: receipt.deposit_nonce.map(U64::from),
        deposit_receipt_version: version,
    }
}

/// Gas of one transaction alone.
pub(super) fn gas_used(receipts: &[Receipt], index: usize) -> u64 {
    let cumulative = |receipt: &Receipt| receipt.cumulative_gas_used;
    let before = index.checked_sub(1).and_then(|i| receipts.get(i)).map_or(0, cumulative);
    receipts.get(index).map_or(0, cumulative).saturating_sub(before)
}

/// A log at its place in the block.
fn rpc_log(
    place: Place<'_>,
    (transaction_hash, index): (B256, usize),
    log_index: u64,
    log: &alloy::primitives::Log,
) -> Log {
    Log {
        inner: log.clone(),
        block_hash: Some(place.hash),
        block_number: Some(place.header.number),
        block_timestamp: Some(place.header.timestamp),
        transaction_hash: Some(transaction_hash),
        transaction_index: Some(index as u64),
        log_index: Some(log_index),
        removed: false,
    }
}

/// The logs of a block that `wanted` lets through, with their indexes in the block.
pub(super) fn block_logs<'b>(
    block: &'b StoredBlock,
    wanted: impl Fn(&alloy::primitives::Log) -> bool + 'b,
) -> impl Iterator<Item = Log> + 'b {
    let place = Place { header: &block.header, hash: block.hash };
    let pairs = block.transactions.iter().zip(&block.receipts).enumerate();
    let logs = pairs.flat_map(|(index, (transaction, receipt))| {
        receipt.logs.iter().map(move |log| ((transaction.hash(), index), log))
    });
    (0..)
        .zip(logs)
        .filter(move |(_, (_, log))| wanted(log))
        .map(move |(log_index, (at, log))| rpc_log(place, at, log_index, log))
}
