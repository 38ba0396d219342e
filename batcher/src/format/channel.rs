//! A channel: consecutive batches, compressed together, with a header that says where on the chain
//! they belong and what they take as said before. Owns its encoding and its id; frames carry it.

use super::{
    BLOCKS_MAX, CHANNEL_BYTES_MAX, CHANNEL_VERSION, CODEC_BROTLI, CONTENT_BYTES_MAX, Malformed,
    TRANSACTIONS_MAX,
    batch::{self, Batch},
    compress::{Quality, compress, decompress},
    table::History,
    take,
    transaction::SIGNATURE_BYTES,
};
use alloy::primitives::{B64, B128, B256, Keccak256, keccak256};

/// First 16 bytes of the keccak-256 of a channel's bytes: the same content has the same id.
pub type ChannelId = B128;

/// Bytes before the signatures.
pub const CHANNEL_HEADER_BYTES: usize = 83;
/// Flag of a channel that continues the tables of the accepted channel before it.
const CONTINUES: u8 = 1;

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

fn checksum(content: &[u8], signatures: &[u8]) -> B64 {
    let mut hasher = Keccak256::new();
    hasher.update(content);
    hasher.update(signatures);
    B64::from_slice(&hasher.finalize()[..8])
}

impl Channel {
    /// The bytes of a channel that takes nothing as said before.
    ///
    /// # Errors
    /// As [`Self::encode_after`].
    pub fn encode(&self, quality: Quality) -> Result<Vec<u8>, ChannelLimit> {
        self.encode_after(&History::default(), quality).map(|(bytes, _)| bytes)
    }

    /// The channel's bytes, after the channel that left this history, and what it leaves itself.
    ///
    /// # Errors
    /// [`ChannelLimit`] when there are no blocks, or too many blocks, transactions or bytes.
    pub fn encode_after(
        &self,
        history: &History,
        quality: Quality,
    ) -> Result<(Vec<u8>, History), ChannelLimit> {
        let content = batch::encode_all(&self.batches, self.chain_id, history);
        let transactions = self.batches.iter().map(|batch| batch.transactions.len()).sum();
        let counts = Counts {
            blocks: short(self.batches.len()),
            transactions: short(transactions),
            signatures: short(content.signatures.len() / SIGNATURE_BYTES),
            content_bytes: short(content.columns.len()),
        };
        counts.check().map_err(ChannelLimit)?;
        let compressed = compress(&content.columns, quality);
        let mut out =
            Vec::with_capacity(CHANNEL_HEADER_BYTES + content.signatures.len() + compressed.len());
        let flags = if history.is_fresh() { 0 } else { CONTINUES };
        out.extend_from_slice(&[CHANNEL_VERSION, CODEC_BROTLI, flags]);
        out.extend_from_slice(&self.chain_id.to_be_bytes());
        out.extend_from_slice(&self.first_block.to_be_bytes());
        out.extend_from_slice(self.parent_hash.as_slice());
        out.extend_from_slice(&counts.blocks.to_be_bytes());
        out.extend_from_slice(&counts.transactions.to_be_bytes());
        out.extend_from_slice(&counts.signatures.to_be_bytes());
        out.extend_from_slice(&counts.content_bytes.to_be_bytes());
        out.extend_from_slice(checksum(&content.columns, &content.signatures).as_slice());
        out.extend_from_slice(history.digest().as_slice());
        out.extend_from_slice(&content.signatures);
        out.extend_from_slice(&compressed);
        if out.len() > CHANNEL_BYTES_MAX {
            return Err(ChannelLimit(Malformed::ChannelTooLong));
        }
        Ok((out, content.history))
    }

    /// Reads [`Self::encode`] back: a channel that continues another is refused.
    ///
    /// # Errors
    /// As [`Self::decode_after`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::decode_after(bytes, &History::default()).map(|(channel, _)| channel)
    }

    /// Reads [`Self::encode_after`] back, and gives what the channel leaves. A fresh channel may come
    /// after any history.
    ///
    /// # Errors
    /// [`Malformed::History`] when it continues another history; [`Malformed`] when the bytes are
    /// anything else.
    pub fn decode_after(bytes: &[u8], history: &History) -> Result<(Self, History), Malformed> {
        if bytes.len() > CHANNEL_BYTES_MAX {
            return Err(Malformed::ChannelTooLong);
        }
        let ([version, codec, flags], rest) = take::<3>(bytes)?;
        if version != CHANNEL_VERSION {
            return Err(Malformed::Version);
        }
        if codec != CODEC_BROTLI {
            return Err(Malformed::Codec);
        }
        let (chain_id, rest) = take::<8>(rest)?;
        let (first_block, rest) = take::<8>(rest)?;
        let (parent_hash, rest) = take::<32>(rest)?;
        let (counts, rest) = Counts::read(rest)?;
        let (sum, rest) = take::<8>(rest)?;
        let (continued, rest) = take::<8>(rest)?;
        let fresh = History::default();
        let history = match flags {
            0 => &fresh,
            CONTINUES if !history.is_fresh() => history,
            CONTINUES => return Err(Malformed::History),
            _ => return Err(Malformed::Flag),
        };
        if history.digest() != B64::from(continued) {
            return Err(Malformed::History);
        }
        let signatures = counts.signatures as usize * SIGNATURE_BYTES;
        let (signatures, compressed) =
            rest.split_at_checked(signatures).ok_or(Malformed::Truncated)?;
        let content = decompress(compressed, counts.content_bytes as usize)?;
        if checksum(&content, signatures) != B64::from(sum) {
            return Err(Malformed::Checksum);
        }
        let chain_id = u64::from_be_bytes(chain_id);
        let blocks = (counts.blocks, counts.transactions);
        let (batches, left) = batch::decode_all((&content, signatures), blocks, chain_id, history)?;
        let first_block = u64::from_be_bytes(first_block);
        let channel = Self { chain_id, first_block, parent_hash: parent_hash.into(), batches };
        Ok((channel, left))
    }
}

/// What does not fit is above every limit.
fn short(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The declared counts of a channel.
#[derive(Clone, Copy, Debug)]
struct Counts {
    blocks: u32,
    transactions: u32,
    signatures: u32,
    content_bytes: u32,
}

impl Counts {
    fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (blocks, rest) = take::<4>(bytes)?;
        let (transactions, rest) = take::<4>(rest)?;
        let (signatures, rest) = take::<4>(rest)?;
        let (content_bytes, rest) = take::<4>(rest)?;
        let [blocks, transactions, signatures, content_bytes] =
            [blocks, transactions, signatures, content_bytes].map(u32::from_be_bytes);
        let counts = Self { blocks, transactions, signatures, content_bytes };
        counts.check()?;
        Ok((counts, rest))
    }

    fn check(&self) -> Result<(), Malformed> {
        if self.blocks == 0 {
            return Err(Malformed::NoBlocks);
        }
        if self.blocks > BLOCKS_MAX {
            return Err(Malformed::TooManyBlocks);
        }
        if self.transactions > TRANSACTIONS_MAX || self.signatures > self.transactions {
            return Err(Malformed::TransactionCount);
        }
        if self.content_bytes as usize > CONTENT_BYTES_MAX {
            return Err(Malformed::ContentTooLong);
        }
        Ok(())
    }
}
