//! A batch: the part of one L2 block that does not follow from its parent and its L1 origin.
//!
//! Owns the encoding of one batch and of a channel's sequence of them. Deposits are not in a batch:
//! they follow from the origin. Block number and parent are not either: they follow from position.

use super::{BLOCKS_MAX, Malformed, TRANSACTIONS_MAX, take, varint};
use alloy::primitives::{B64, B256, Bytes};
use executor::transaction::TRANSACTION_BYTES_MAX;

/// Bytes of the L1 origin's hash that a batch repeats.
pub const ORIGIN_CHECK_BYTES: usize = 8;

/// The user's part of one L2 block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Block timestamp, seconds since 1970.
    pub timestamp: u64,
    /// Number of the L1 origin.
    pub origin_number: u64,
    /// First bytes of the L1 origin's hash: a batch built on an L1 block that was reorged out is
    /// recognised and dropped.
    pub origin_check: B64,
    /// Signed transactions in block order, as EIP-2718 bytes.
    pub transactions: Vec<Bytes>,
}

impl Batch {
    /// The check bytes of an origin's hash.
    #[must_use]
    pub fn check_of(origin_hash: B256) -> B64 {
        let mut check = [0; ORIGIN_CHECK_BYTES];
        check.copy_from_slice(&origin_hash[..ORIGIN_CHECK_BYTES]);
        check.into()
    }

    /// Bytes that [`Self::encode`] appends without transactions, at most.
    pub const OVERHEAD_BYTES_MAX: usize = 3 * varint::VARINT_BYTES_MAX + ORIGIN_CHECK_BYTES;

    /// Bytes that [`Self::encode`] appends for one transaction of `raw_bytes`, at most. The block
    /// builder counts with it, so that it never seals a block that no batch can carry.
    #[must_use]
    pub const fn transaction_bytes_max(raw_bytes: usize) -> usize {
        raw_bytes + varint::VARINT_BYTES_MAX
    }

    /// Bytes that [`Self::encode`] appends, at most.
    #[must_use]
    pub fn encoded_bytes_max(&self) -> usize {
        let transactions = self.transactions.iter();
        Self::OVERHEAD_BYTES_MAX
            + transactions.map(|raw| Self::transaction_bytes_max(raw.len())).sum::<usize>()
    }

    /// Appends the batch to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.timestamp);
        varint::put(out, self.origin_number);
        out.extend_from_slice(self.origin_check.as_slice());
        varint::put(out, self.transactions.len() as u64);
        for raw in &self.transactions {
            varint::put(out, raw.len() as u64);
            out.extend_from_slice(raw);
        }
    }
}

/// Reads exactly `blocks` batches with `transactions` transactions together from all of `content`.
/// The transactions share `content`.
///
/// # Errors
/// [`Malformed`] when the content is anything else, or a count exceeds its limit.
pub fn decode_all(
    content: &Bytes,
    blocks: u32,
    transactions: u32,
) -> Result<Vec<Batch>, Malformed> {
    if blocks > BLOCKS_MAX {
        return Err(Malformed::TooManyBlocks);
    }
    if transactions > TRANSACTIONS_MAX {
        return Err(Malformed::TransactionCount);
    }
    let mut rest: &[u8] = content;
    let mut transactions_left = u64::from(transactions);
    let mut batches = Vec::new();
    for _ in 0..blocks {
        batches.push(decode_one(content, &mut rest, &mut transactions_left)?);
    }
    if transactions_left != 0 {
        return Err(Malformed::TransactionCount);
    }
    if rest.is_empty() { Ok(batches) } else { Err(Malformed::Trailing) }
}

fn decode_one(
    content: &Bytes,
    rest: &mut &[u8],
    transactions_left: &mut u64,
) -> Result<Batch, Malformed> {
    let timestamp = varint::get(rest)?;
    let origin_number = varint::get(rest)?;
    let (check, after) = take::<ORIGIN_CHECK_BYTES>(rest)?;
    *rest = after;
    let count = varint::get(rest)?;
    *transactions_left = transactions_left.checked_sub(count).ok_or(Malformed::TransactionCount)?;
    let mut transactions = Vec::new();
    for _ in 0..count {
        let length =
            usize::try_from(varint::get(rest)?).map_err(|_| Malformed::TransactionTooLong)?;
        if length > TRANSACTION_BYTES_MAX {
            return Err(Malformed::TransactionTooLong);
        }
        let (raw, after) = rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
        transactions.push(content.slice_ref(raw));
        *rest = after;
    }
    Ok(Batch { timestamp, origin_number, origin_check: check.into(), transactions })
}
