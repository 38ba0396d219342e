//! A channel: consecutive batches, compressed together, with a header that says where on the chain
//! they belong. Owns its encoding and its id; frames carry it.

use super::{
    BLOCKS_MAX, CHANNEL_BYTES_MAX, CHANNEL_VERSION, CODEC_BROTLI, CONTENT_BYTES_MAX, Malformed,
    TRANSACTIONS_MAX,
    batch::{self, Batch},
    compress::{Quality, compress, decompress},
    take,
};
use alloy::primitives::{B64, B128, B256, Bytes, keccak256};

/// First 16 bytes of the keccak-256 of a channel's bytes: the same content has the same id.
pub type ChannelId = B128;

/// Bytes before the compressed content.
pub const CHANNEL_HEADER_BYTES: usize = 70;

/// Consecutive L2 blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Chain id of the rollup.
    pub chain_id: u64,
    /// Number of the first block.
    pub first_block: u64,
    /// Hash of the block before the first.
    pub parent_hash: B256,
    /// Batches in block order; at least one.
    pub batches: Vec<Batch>,
}

/// A channel cannot be encoded because it exceeds a limit; the caller takes fewer blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("channel exceeds a limit of the format: {0}")]
pub struct ChannelLimit(pub Malformed);

/// The id of a channel's bytes.
#[must_use]
pub fn id_of(bytes: &[u8]) -> ChannelId {
    let mut id = [0; 16];
    id.copy_from_slice(&keccak256(bytes)[..16]);
    id.into()
}

fn checksum(content: &[u8]) -> B64 {
    let mut sum = [0; 8];
    sum.copy_from_slice(&keccak256(content)[..8]);
    sum.into()
}

impl Channel {
    /// The channel's bytes.
    ///
    /// # Errors
    /// [`ChannelLimit`] when there are no blocks, or too many blocks, transactions or bytes.
    pub fn encode(&self, quality: Quality) -> Result<Vec<u8>, ChannelLimit> {
        let mut content = Vec::new();
        let mut transactions = 0usize;
        for batch in &self.batches {
            batch.encode(&mut content);
            transactions += batch.transactions.len();
        }
        let blocks = u32::try_from(self.batches.len()).unwrap_or(u32::MAX);
        let transactions = u32::try_from(transactions).unwrap_or(u32::MAX);
        let content_bytes = u32::try_from(content.len()).unwrap_or(u32::MAX);
        check_counts(blocks, transactions, content_bytes).map_err(ChannelLimit)?;
        let compressed = compress(&content, quality);
        let mut out = Vec::with_capacity(CHANNEL_HEADER_BYTES + compressed.len());
        out.extend_from_slice(&[CHANNEL_VERSION, CODEC_BROTLI]);
        out.extend_from_slice(&self.chain_id.to_be_bytes());
        out.extend_from_slice(&self.first_block.to_be_bytes());
        out.extend_from_slice(self.parent_hash.as_slice());
        out.extend_from_slice(&blocks.to_be_bytes());
        out.extend_from_slice(&transactions.to_be_bytes());
        out.extend_from_slice(&content_bytes.to_be_bytes());
        out.extend_from_slice(checksum(&content).as_slice());
        out.extend_from_slice(&compressed);
        if out.len() > CHANNEL_BYTES_MAX {
            return Err(ChannelLimit(Malformed::ChannelTooLong));
        }
        Ok(out)
    }

    /// Reads [`Self::encode`] back.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > CHANNEL_BYTES_MAX {
            return Err(Malformed::ChannelTooLong);
        }
        let ([version, codec], rest) = take::<2>(bytes)?;
        if version != CHANNEL_VERSION {
            return Err(Malformed::Version);
        }
        if codec != CODEC_BROTLI {
            return Err(Malformed::Codec);
        }
        let (chain_id, rest) = take::<8>(rest)?;
        let (first_block, rest) = take::<8>(rest)?;
        let (parent_hash, rest) = take::<32>(rest)?;
        let (blocks, rest) = take::<4>(rest)?;
        let (transactions, rest) = take::<4>(rest)?;
        let (content_bytes, rest) = take::<4>(rest)?;
        let (sum, compressed) = take::<8>(rest)?;
        let blocks = u32::from_be_bytes(blocks);
        let transactions = u32::from_be_bytes(transactions);
        let content_bytes = u32::from_be_bytes(content_bytes);
        check_counts(blocks, transactions, content_bytes)?;
        let content_bytes =
            usize::try_from(content_bytes).map_err(|_| Malformed::ContentTooLong)?;
        let content = decompress(compressed, content_bytes)?;
        if checksum(&content) != B64::from(sum) {
            return Err(Malformed::Checksum);
        }
        let batches = batch::decode_all(&Bytes::from(content), blocks, transactions)?;
        Ok(Self {
            chain_id: u64::from_be_bytes(chain_id),
            first_block: u64::from_be_bytes(first_block),
            parent_hash: parent_hash.into(),
            batches,
        })
    }
}

fn check_counts(blocks: u32, transactions: u32, content_bytes: u32) -> Result<(), Malformed> {
    if blocks == 0 {
        return Err(Malformed::NoBlocks);
    }
    if blocks > BLOCKS_MAX {
        return Err(Malformed::TooManyBlocks);
    }
    if transactions > TRANSACTIONS_MAX {
        return Err(Malformed::TransactionCount);
    }
    if usize::try_from(content_bytes).is_ok_and(|bytes| bytes <= CONTENT_BYTES_MAX) {
        Ok(())
    } else {
        Err(Malformed::ContentTooLong)
    }
}
