//! A batch: the part of one L2 block that does not follow from its parent and its L1 origin.
//!
//! Owns how a channel's batches become columns and come back. Deposits are not in a batch: they follow
//! from the origin. Block number and parent are not either: they follow from position.

use super::{
    BLOCKS_MAX, Malformed, RAW_BYTES_MAX, TRANSACTIONS_MAX,
    columns::{Column, Columns, Cursors},
    table::History,
    transaction::{self, Context},
};
use alloy::primitives::{B64, B256, Bytes};

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

    /// Bytes of columns that a batch takes without its transactions, at most.
    pub const OVERHEAD_BYTES_MAX: usize = 64;

    /// Bytes of columns that one transaction of `raw_bytes` takes, at most: a byte of form for each
    /// word, and for each field. The block builder counts with it, so that it never seals a block that
    /// no batch can carry.
    #[must_use]
    pub const fn transaction_bytes_max(raw_bytes: usize) -> usize {
        raw_bytes + raw_bytes / 16 + 64
    }

    /// Bytes of columns that it takes, at most.
    #[must_use]
    pub fn encoded_bytes_max(&self) -> usize {
        let transactions = self.transactions.iter();
        Self::OVERHEAD_BYTES_MAX
            + transactions.map(|raw| Self::transaction_bytes_max(raw.len())).sum::<usize>()
    }
}

/// How the L1 origin follows from that of the block before.
const ORIGIN_SAME: u8 = 0;
const ORIGIN_NEXT: u8 = 1;
const ORIGIN_OTHER: u8 = 2;

/// The batches of a channel as columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// All columns.
    pub(super) columns: Vec<u8>,
    /// Signatures, in the order of the transactions that have one.
    pub(super) signatures: Vec<u8>,
    /// What the channel leaves to the next.
    pub(super) history: History,
}

/// Where the block before stands; all zero before the first.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    timestamp: u64,
    origin_number: u64,
    origin_check: B64,
}

impl Before {
    const fn of(batch: &Batch) -> Self {
        let Batch { timestamp, origin_number, origin_check, .. } = batch;
        Self { timestamp: *timestamp, origin_number: *origin_number, origin_check: *origin_check }
    }
}

/// Writes the batches of a channel that begins with what `history` says.
pub(super) fn encode_all(batches: &[Batch], chain_id: u64, history: &History) -> Content {
    let (mut columns, mut signatures) = (Columns::new(), Vec::new());
    let mut context = Context::new(chain_id, history.tables(true));
    let mut before = Before::default();
    for batch in batches {
        put_place_in_time(&mut columns, &before, batch);
        before = Before::of(batch);
        columns.varint(Column::Count, batch.transactions.len() as u64);
        for raw in &batch.transactions {
            transaction::put(&mut columns, &mut signatures, &mut context, raw);
        }
    }
    let history = History::after(context.tables);
    Content { columns: columns.into_content(), signatures, history }
}

fn put_place_in_time(columns: &mut Columns, before: &Before, batch: &Batch) {
    columns.varint(Column::Timestamp, batch.timestamp.wrapping_sub(before.timestamp));
    let delta = batch.origin_number.wrapping_sub(before.origin_number);
    let step = match delta {
        0 if batch.origin_check == before.origin_check => ORIGIN_SAME,
        1 => ORIGIN_NEXT,
        _ => ORIGIN_OTHER,
    };
    columns.byte(Column::OriginStep, step);
    if step == ORIGIN_OTHER {
        columns.varint(Column::OriginDelta, delta);
    }
    if step != ORIGIN_SAME {
        columns.bytes(Column::OriginCheck, batch.origin_check.as_slice());
    }
}

fn get_place_in_time(cursors: &mut Cursors<'_>, before: &Before) -> Result<Before, Malformed> {
    let timestamp = before.timestamp.wrapping_add(cursors.varint(Column::Timestamp)?);
    let step = cursors.byte(Column::OriginStep)?;
    let delta = match step {
        ORIGIN_SAME | ORIGIN_NEXT => u64::from(step),
        ORIGIN_OTHER => cursors.varint(Column::OriginDelta)?,
        _ => return Err(Malformed::Flag),
    };
    let origin_check = match step {
        ORIGIN_SAME => before.origin_check,
        _ => cursors.array::<ORIGIN_CHECK_BYTES>(Column::OriginCheck)?.into(),
    };
    Ok(Before { timestamp, origin_number: before.origin_number.wrapping_add(delta), origin_check })
}

/// Reads exactly `blocks` batches with `transactions` transactions together from all columns and all
/// signatures.
///
/// # Errors
/// [`Malformed`] when they are anything else, or exceed a limit.
pub(super) fn decode_all(
    (columns, mut signatures): (&[u8], &[u8]),
    (blocks, transactions): (u32, u32),
    chain_id: u64,
    history: &History,
) -> Result<(Vec<Batch>, History), Malformed> {
    if blocks > BLOCKS_MAX {
        return Err(Malformed::TooManyBlocks);
    }
    if transactions > TRANSACTIONS_MAX {
        return Err(Malformed::TransactionCount);
    }
    let mut cursors = Cursors::new(columns)?;
    let mut context = Context::new(chain_id, history.tables(false));
    let (mut transactions_left, mut raw_bytes_left) = (u64::from(transactions), RAW_BYTES_MAX);
    let (mut batches, mut before) = (Vec::new(), Before::default());
    for _ in 0..blocks {
        before = get_place_in_time(&mut cursors, &before)?;
        let count = cursors.varint(Column::Count)?;
        transactions_left =
            transactions_left.checked_sub(count).ok_or(Malformed::TransactionCount)?;
        let mut transactions = Vec::new();
        for _ in 0..count {
            let raw = transaction::get(&mut cursors, &mut signatures, &mut context)?;
            raw_bytes_left =
                raw_bytes_left.checked_sub(raw.len()).ok_or(Malformed::ContentTooLong)?;
            transactions.push(raw);
        }
        let Before { timestamp, origin_number, origin_check } = before;
        batches.push(Batch { timestamp, origin_number, origin_check, transactions });
    }
    cursors.finish()?;
    if transactions_left != 0 {
        return Err(Malformed::TransactionCount);
    }
    if signatures.is_empty() {
        Ok((batches, History::after(context.tables)))
    } else {
        Err(Malformed::Trailing)
    }
}
