//! A channel taken apart and put together again with its counts and its checksum right, so that what
//! lies behind them is reached.

use alloy::primitives::keccak256;
use batcher::format::{
    channel::CHANNEL_HEADER_BYTES,
    compress::{Quality, compress, decompress},
    varint,
};

/// Columns of a channel, and some of them by their place.
pub(super) const COLUMNS: usize = 48;
pub(super) const TIMESTAMP: usize = 0;
pub(super) const ORIGIN_STEP: usize = 1;
pub(super) const COUNT: usize = 4;
pub(super) const KIND: usize = 5;
/// Places in the header.
pub(super) const BLOCKS_AT: usize = 51;
pub(super) const TRANSACTIONS_AT: usize = 55;
pub(super) const SIGNATURES_AT: usize = 59;
pub(super) const CONTENT_BYTES_AT: usize = 63;
const CHECKSUM_AT: usize = 67;
const HISTORY_AT: usize = 75;
const SIGNATURE_BYTES: usize = 64;
/// Most bytes of one uncompressed piece of a stream.
const STORED_BYTES_MAX: usize = 1 << 16;

/// A channel in pieces.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) header: [u8; CHANNEL_HEADER_BYTES],
    pub(super) signatures: Vec<u8>,
    pub(super) columns: Vec<Vec<u8>>,
}

impl Parts {
    /// Of a rollup's first channel, without anything.
    pub(super) fn empty(chain_id: u64) -> Self {
        let mut header = [0; CHANNEL_HEADER_BYTES];
        header[..2].copy_from_slice(&[1, 1]);
        header[3..11].copy_from_slice(&chain_id.to_be_bytes());
        Self { header, signatures: Vec::new(), columns: vec![Vec::new(); COLUMNS] }
    }

    /// `None` where a channel has no columns that stand where their lengths say.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk()?;
        let signatures = count(header, SIGNATURES_AT).checked_mul(SIGNATURE_BYTES)?;
        let (signatures, compressed) = rest.split_at_checked(signatures)?;
        let content = decompress(compressed, count(header, CONTENT_BYTES_AT)).ok()?;
        let mut rest = content.as_slice();
        let mut lengths = [0; COLUMNS];
        for length in &mut lengths {
            *length = usize::try_from(varint::get(&mut rest).ok()?).ok()?;
        }
        let mut columns = Vec::new();
        for length in lengths {
            let (column, after) = rest.split_at_checked(length)?;
            columns.push(column.to_vec());
            rest = after;
        }
        let signatures = signatures.to_vec();
        rest.is_empty().then_some(Self { header: *header, signatures, columns })
    }

    /// Says as many blocks and transactions as there are.
    pub(super) fn count(&mut self) {
        self.set(BLOCKS_AT, self.columns[ORIGIN_STEP].len());
        self.set(TRANSACTIONS_AT, self.columns[KIND].len());
    }

    /// Makes the counts of the blocks those of all transactions: the last block has what is left.
    pub(super) fn share_out(&mut self) {
        let (mut left, mut counts) = (self.columns[KIND].len() as u64, Vec::new());
        let mut said = self.columns[COUNT].as_slice();
        let blocks = self.columns[ORIGIN_STEP].len();
        for block in 0..blocks {
            let count = varint::get(&mut said).unwrap_or_default().min(left);
            let count = if block + 1 == blocks { left } else { count };
            varint::put(&mut counts, count);
            left -= count;
        }
        self.columns[COUNT] = counts;
    }

    /// Continues the history of this digest, or none.
    pub(super) fn continue_after(&mut self, digest: Option<[u8; 8]>) {
        self.header[2] = u8::from(digest.is_some());
        self.header[HISTORY_AT..].copy_from_slice(&digest.unwrap_or_default());
    }

    pub(super) fn set(&mut self, at: usize, count: usize) {
        self.header[at..at + 4].copy_from_slice(&(count as u32).to_be_bytes());
    }

    /// The columns after their lengths.
    pub(super) fn content(&self) -> Vec<u8> {
        let mut content = Vec::new();
        self.columns.iter().for_each(|column| varint::put(&mut content, column.len() as u64));
        self.columns.iter().for_each(|column| content.extend_from_slice(column));
        content
    }

    /// The channel, its stream without compression where no quality is given.
    pub(super) fn together(&self, quality: Option<Quality>) -> Vec<u8> {
        with_content(self.header, &self.signatures, &self.content(), quality)
    }
}

fn count(header: &[u8; CHANNEL_HEADER_BYTES], at: usize) -> usize {
    header[at..at + 4].iter().fold(0, |count, byte| count << 8 | usize::from(*byte))
}

/// A channel of any content, with lengths and checksum right.
pub(super) fn with_content(
    mut header: [u8; CHANNEL_HEADER_BYTES],
    signatures: &[u8],
    content: &[u8],
    quality: Option<Quality>,
) -> Vec<u8> {
    let sum = keccak256([content, signatures].concat());
    let signed = (signatures.len() / SIGNATURE_BYTES) as u32;
    header[SIGNATURES_AT..CONTENT_BYTES_AT].copy_from_slice(&signed.to_be_bytes());
    header[CONTENT_BYTES_AT..CHECKSUM_AT].copy_from_slice(&(content.len() as u32).to_be_bytes());
    header[CHECKSUM_AT..HISTORY_AT].copy_from_slice(&sum[..8]);
    let stream = quality.map_or_else(|| stored(content), |quality| compress(content, quality));
    [&header, signatures, &stream].concat()
}

/// A brotli stream of uncompressed pieces: RFC 7932, 9.2. Much faster to write and read than others.
pub(super) fn stored(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 8);
    for (index, piece) in content.chunks(STORED_BYTES_MAX).enumerate() {
        // Not the last, four nibbles of length, the length less one, uncompressed; before the first
        // piece a bit that says a window of 64 KiB.
        let piece_header = (piece.len() as u32 - 1) << 3 | 1 << 19;
        let bits = if index == 0 { piece_header << 1 } else { piece_header };
        out.extend_from_slice(&bits.to_le_bytes()[..3]);
        out.extend_from_slice(piece);
    }
    // The last, and empty.
    out.push(if content.is_empty() { 0b110 } else { 0b11 });
    out
}
