//! A block as the log keeps it: everything that is needed to have the block and its state again
//! without executing. Pure; does not know where the bytes are kept, and does not build the trie.
//!
//! | part | bytes |
//! |---|---|
//! | version | 1 |
//! | header | length, RLP |
//! | transactions | count; each: sender, length, EIP-2718 |
//! | receipts | count; each: type, flags, cumulative gas, \[state root\], \[deposit nonce\], logs: count; each: address, topics, length, data |
//! | accounts | count; each: address, flags, \[before\], \[after\], slots: count; each: slot, before, after |
//! | codes | count; each: length, code |
//!
//! An account is nonce, balance and, where its flag says so, code hash. Numbers are little endian,
//! 256-bit ones a length and as few big-endian bytes. Receipts have no blooms: they are computed
//! from the logs. The block's hash and the codes' follow from the content. What was skipped is not
//! part of the chain and not kept.

use super::bytes::{Input, put_bytes, put_count, put_u64, put_u256};
use alloy::{
    primitives::{Address, B256, Bytes, KECCAK256_EMPTY, Log, U256},
    rlp::{Decodable, Encodable},
};
use executor::{
    Account, ExecutedBlock, Header, Receipt, StateDiff, Transaction,
    state::{AccountDiff, SlotDiff},
};
use revm::bytecode::Bytecode;
use std::collections::BTreeMap;

/// Layout of a block's record. Another one is refused.
const VERSION: u8 = 1;
/// EVM logs have four topics at most.
const TOPICS_MAX: u8 = 4;

const RECEIPT_SUCCESS: u8 = 1;
const RECEIPT_STATE_ROOT: u8 = 2;
const RECEIPT_DEPOSIT_NONCE: u8 = 4;

const ACCOUNT_BEFORE: u8 = 1;
const ACCOUNT_BEFORE_CODE: u8 = 2;
const ACCOUNT_AFTER: u8 = 4;
const ACCOUNT_AFTER_CODE: u8 = 8;
const ACCOUNT_WIPED: u8 = 16;

/// A block without its trie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRecord {
    /// Header.
    pub header: Header,
    /// Its hash.
    pub hash: B256,
    /// Transactions in order, with their senders.
    pub transactions: Vec<Transaction>,
    /// One receipt per transaction.
    pub receipts: Vec<Receipt>,
    /// Change from the state before.
    pub diff: StateDiff,
}

/// Bytes are not the record of a block, or of a mini-block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockRecordError {
    /// Of another version.
    #[error("a record of version {0}, this program knows {VERSION}")]
    Version(u8),
    /// Not what this version writes.
    #[error("undecodable {0} in a record")]
    Undecodable(&'static str),
}

impl From<ExecutedBlock> for BlockRecord {
    fn from(block: ExecutedBlock) -> Self {
        let ExecutedBlock { header, hash, transactions, receipts, diff, .. } = block;
        Self { header, hash, transactions, receipts, diff }
    }
}

impl BlockRecord {
    /// The bytes of an executed block.
    #[must_use]
    pub fn encode(block: &ExecutedBlock) -> Vec<u8> {
        let raw_bytes: usize = block.transactions.iter().map(|tx| tx.raw().len()).sum();
        // A receipt with a log and the two accounts of a payment; more grows once or twice.
        let mut out = Vec::with_capacity(4096 + raw_bytes + 400 * block.transactions.len());
        out.push(VERSION);
        let mut header = Vec::new();
        block.header.encode(&mut header);
        put_bytes(&mut out, &header);
        put_transactions(&mut out, &block.transactions);
        put_receipts(&mut out, &block.receipts);
        put_count(&mut out, block.diff.accounts.len());
        for (address, change) in &block.diff.accounts {
            out.extend_from_slice(address.as_slice());
            put_account_diff(&mut out, change);
        }
        put_count(&mut out, block.diff.codes.len());
        block.diff.codes.values().for_each(|code| put_bytes(&mut out, code.original_byte_slice()));
        out
    }

    /// Reads what [`Self::encode`] wrote, and nothing else.
    ///
    /// # Errors
    /// [`BlockRecordError`] when the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockRecordError> {
        let mut input = after_version(bytes, VERSION)?;
        let part = BlockRecordError::Undecodable;
        let header = header(&mut input).ok_or(part("header"))?;
        let transactions = transactions(&mut input).ok_or(part("transaction"))?;
        let receipts = receipts(&mut input).ok_or(part("receipt"))?;
        let accounts = accounts(&mut input).ok_or(part("account"))?;
        let codes = codes(&mut input).ok_or(part("code"))?;
        if !input.0.is_empty() || receipts.len() != transactions.len() {
            return Err(part("end"));
        }
        let hash = header.hash_slow();
        let diff = StateDiff { accounts, codes };
        Ok(Self { header, hash, transactions, receipts, diff })
    }
}

/// What follows a record's version, which must be the known one.
pub(super) fn after_version(bytes: &[u8], known: u8) -> Result<Input<'_>, BlockRecordError> {
    let mut input = Input(bytes);
    match input.byte() {
        Some(version) if version == known => Ok(input),
        Some(version) => Err(BlockRecordError::Version(version)),
        None => Err(BlockRecordError::Undecodable("version")),
    }
}

fn header(input: &mut Input<'_>) -> Option<Header> {
    let mut rlp = input.bytes()?;
    let header = Header::decode(&mut rlp).ok()?;
    rlp.is_empty().then_some(header)
}

pub(super) fn put_transactions(out: &mut Vec<u8>, transactions: &[Transaction]) {
    put_count(out, transactions.len());
    for transaction in transactions {
        out.extend_from_slice(transaction.sender().as_slice());
        put_bytes(out, transaction.raw());
    }
}

pub(super) fn put_receipts(out: &mut Vec<u8>, receipts: &[Receipt]) {
    put_count(out, receipts.len());
    receipts.iter().for_each(|receipt| put_receipt(out, receipt));
}

pub(super) fn transactions(input: &mut Input<'_>) -> Option<Vec<Transaction>> {
    let count = input.count(20 + 4)?;
    let mut transactions = Vec::with_capacity(count);
    for _ in 0..count {
        let sender = Address::from(input.array()?);
        let raw = Bytes::copy_from_slice(input.bytes()?);
        transactions.push(Transaction::decode_stored(raw, sender).ok()?);
    }
    Some(transactions)
}

fn put_receipt(out: &mut Vec<u8>, receipt: &Receipt) {
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    out.push(receipt.ty);
    out.push(
        flag(receipt.success, RECEIPT_SUCCESS)
            | flag(receipt.state_root.is_some(), RECEIPT_STATE_ROOT)
            | flag(receipt.deposit_nonce.is_some(), RECEIPT_DEPOSIT_NONCE),
    );
    put_u64(out, receipt.cumulative_gas_used);
    if let Some(root) = receipt.state_root {
        out.extend_from_slice(root.as_slice());
    }
    if let Some(nonce) = receipt.deposit_nonce {
        put_u64(out, nonce);
    }
    put_count(out, receipt.logs.len());
    for log in &receipt.logs {
        out.extend_from_slice(log.address.as_slice());
        let topics = log.data.topics();
        out.push(u8::try_from(topics.len()).unwrap_or(u8::MAX));
        topics.iter().for_each(|topic| out.extend_from_slice(topic.as_slice()));
        put_bytes(out, &log.data.data);
    }
}

pub(super) fn receipts(input: &mut Input<'_>) -> Option<Vec<Receipt>> {
    let count = input.count(1 + 1 + 8 + 4)?;
    let mut receipts = Vec::with_capacity(count);
    for _ in 0..count {
        let (ty, flags) = (input.byte()?, input.byte()?);
        let known = RECEIPT_SUCCESS | RECEIPT_STATE_ROOT | RECEIPT_DEPOSIT_NONCE;
        if flags & !known != 0 {
            return None;
        }
        let cumulative_gas_used = input.u64()?;
        let state_root = match flags & RECEIPT_STATE_ROOT {
            0 => None,
            _ => Some(B256::from(input.array()?)),
        };
        let deposit_nonce = match flags & RECEIPT_DEPOSIT_NONCE {
            0 => None,
            _ => Some(input.u64()?),
        };
        let success = flags & RECEIPT_SUCCESS != 0;
        let logs = logs(input)?;
        receipts.push(Receipt {
            ty,
            success,
            state_root,
            cumulative_gas_used,
            logs,
            deposit_nonce,
        });
    }
    Some(receipts)
}

fn logs(input: &mut Input<'_>) -> Option<Vec<Log>> {
    let count = input.count(20 + 1 + 4)?;
    let mut logs = Vec::with_capacity(count);
    for _ in 0..count {
        let address = Address::from(input.array()?);
        let topics = input.byte().filter(|topics| *topics <= TOPICS_MAX)?;
        let topics = (0..topics).map(|_| input.array().map(B256::from)).collect::<Option<_>>()?;
        logs.push(Log::new(address, topics, Bytes::copy_from_slice(input.bytes()?))?);
    }
    Some(logs)
}

fn put_account_diff(out: &mut Vec<u8>, change: &AccountDiff) {
    let flags = |account: Option<Account>, present, code| {
        let has_code = account.is_some_and(|account| account.code_hash != KECCAK256_EMPTY);
        if account.is_some() { present | if has_code { code } else { 0 } } else { 0 }
    };
    out.push(
        flags(change.before, ACCOUNT_BEFORE, ACCOUNT_BEFORE_CODE)
            | flags(change.after, ACCOUNT_AFTER, ACCOUNT_AFTER_CODE)
            | if change.wiped { ACCOUNT_WIPED } else { 0 },
    );
    for account in [change.before, change.after].into_iter().flatten() {
        put_u64(out, account.nonce);
        put_u256(out, account.balance_wei);
        if account.code_hash != KECCAK256_EMPTY {
            out.extend_from_slice(account.code_hash.as_slice());
        }
    }
    put_count(out, change.slots.len());
    for (slot, value) in &change.slots {
        put_u256(out, *slot);
        put_u256(out, value.before);
        put_u256(out, value.after);
    }
}

fn accounts(input: &mut Input<'_>) -> Option<BTreeMap<Address, AccountDiff>> {
    let mut accounts = BTreeMap::new();
    for _ in 0..input.count(20 + 1 + 4)? {
        let address = Address::from(input.array()?);
        let is_next = accounts.last_key_value().is_none_or(|(last, _)| *last < address);
        let change = account_diff(input).filter(|_| is_next)?;
        accounts.insert(address, change);
    }
    Some(accounts)
}

fn account_diff(input: &mut Input<'_>) -> Option<AccountDiff> {
    let flags = input.byte().filter(|flags| *flags < 2 * ACCOUNT_WIPED)?;
    let before = account(input, flags, ACCOUNT_BEFORE, ACCOUNT_BEFORE_CODE)?;
    let after = account(input, flags, ACCOUNT_AFTER, ACCOUNT_AFTER_CODE)?;
    let mut slots: BTreeMap<U256, SlotDiff> = BTreeMap::new();
    for _ in 0..input.count(3)? {
        let slot = input.u256()?;
        if slots.last_key_value().is_some_and(|(last, _)| *last >= slot) {
            return None;
        }
        slots.insert(slot, SlotDiff { before: input.u256()?, after: input.u256()? });
    }
    Some(AccountDiff { before, after, wiped: flags & ACCOUNT_WIPED != 0, slots })
}

/// The account, or that there is none; the outer `None` for bytes that are neither.
#[expect(clippy::option_option, reason = "outside: undecodable; inside: no account")]
fn account(input: &mut Input<'_>, flags: u8, present: u8, code: u8) -> Option<Option<Account>> {
    match (flags & present != 0, flags & code != 0) {
        (false, false) => Some(None),
        (false, true) => None,
        (true, has_code) => {
            let (nonce, balance_wei) = (input.u64()?, input.u256()?);
            let code_hash = if has_code { input.array()?.into() } else { KECCAK256_EMPTY };
            Some(Some(Account { nonce, balance_wei, code_hash }))
        }
    }
}

fn codes(input: &mut Input<'_>) -> Option<BTreeMap<B256, Bytecode>> {
    let mut codes = BTreeMap::new();
    for _ in 0..input.count(4)? {
        let code = Bytecode::new_raw_checked(Bytes::copy_from_slice(input.bytes()?)).ok()?;
        codes.insert(code.hash_slow(), code);
    }
    Some(codes)
}
