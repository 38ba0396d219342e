//! A mini-block as the log keeps it: what was executed, in its order, and what came of it. Pure; does
//! not know where the bytes are kept.
//!
//! | part | bytes |
//! |---|---|
//! | version | 1 |
//! | index of the first transaction in its block | 4 |
//! | opening, where that is 0 | parent hash, timestamp, PREVRANDAO |
//! | transactions | as in a block's record |
//! | receipts | as in a block's record |
//!
//! The change of the state is not kept: the block's record has it, and until there is one a start
//! executes the transactions again and compares the receipts.

use super::{
    block_record::{
        BlockRecordError, after_version, put_receipts, put_transactions, receipts, transactions,
    },
    bytes::{Input, put_u64},
};
use alloy::primitives::B256;
use executor::{Receipt, Transaction};

/// Layout of a mini-block's record. Another one is refused.
const VERSION: u8 = 1;

/// What a block's first mini-block says of the block; the rest of its environment follows from the
/// parent and the chain's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Hash of the block before.
    pub parent_hash: B256,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// PREVRANDAO.
    pub prevrandao: B256,
}

/// A part of a block that is not sealed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiniBlockRecord {
    /// Index of the first transaction in the block.
    pub first_index: u32,
    /// Present in the first mini-block of a block, whose index is 0.
    pub opening: Option<Opening>,
    /// Transactions in order, with their senders.
    pub transactions: Vec<Transaction>,
    /// One receipt per transaction.
    pub receipts: Vec<Receipt>,
}

impl MiniBlockRecord {
    /// The bytes of a mini-block.
    #[must_use]
    pub fn encode(
        (first_index, opening): (u32, Option<Opening>),
        transactions: &[Transaction],
        receipts: &[Receipt],
    ) -> Vec<u8> {
        let raw_bytes: usize = transactions.iter().map(|tx| tx.raw().len()).sum();
        let mut out = Vec::with_capacity(128 + raw_bytes + 200 * transactions.len());
        out.push(VERSION);
        out.extend_from_slice(&first_index.to_le_bytes());
        if let Some(opening) = opening {
            out.extend_from_slice(opening.parent_hash.as_slice());
            put_u64(&mut out, opening.timestamp);
            out.extend_from_slice(opening.prevrandao.as_slice());
        }
        put_transactions(&mut out, transactions);
        put_receipts(&mut out, receipts);
        out
    }

    /// Reads what [`Self::encode`] wrote, and nothing else.
    ///
    /// # Errors
    /// [`BlockRecordError`] when the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockRecordError> {
        let mut input = after_version(bytes, VERSION)?;
        let part = BlockRecordError::Undecodable;
        let first_index = input.array().map(u32::from_le_bytes).ok_or(part("index"))?;
        let opening = match first_index {
            0 => Some(opening(&mut input).ok_or(part("opening"))?),
            _ => None,
        };
        let transactions = transactions(&mut input).ok_or(part("transaction"))?;
        let receipts = receipts(&mut input).ok_or(part("receipt"))?;
        if !input.0.is_empty() || receipts.len() != transactions.len() || receipts.is_empty() {
            return Err(part("end"));
        }
        Ok(Self { first_index, opening, transactions, receipts })
    }
}

fn opening(input: &mut Input<'_>) -> Option<Opening> {
    let parent_hash = input.array()?.into();
    let timestamp = input.u64()?;
    Some(Opening { parent_hash, timestamp, prevrandao: input.array()?.into() })
}
