//! The wire format: what is posted to L1, byte by byte as `batcher/README.md` draws it.
//!
//! Owns encoding and total decoding of the three layers (batch, channel, frame), their limits, and
//! the packing of a payload into blobs. Decoding never panics and allocates in proportion to the
//! bytes it was given or to a stated limit; what does not decode has a [`Malformed`] reason, which
//! is an outcome and not a failure of the reader.
//!
//! Deliberately absent: whether a batch may follow its parent (that is [`crate::derive`]), and when
//! a channel is closed (that is [`crate::encoder`]).

pub mod batch;
pub mod blob;
mod calldata;
pub mod channel;
mod columns;
pub mod compress;
pub mod frame;
mod number;
mod table;
mod transaction;
pub mod varint;

pub use batch::Batch;
pub use channel::{Channel, ChannelId};
pub use frame::Frame;
pub use table::History;

/// Version byte of a channel: batches as columns.
pub const CHANNEL_VERSION: u8 = 1;
/// Version byte of a frame.
pub const FRAME_VERSION: u8 = 1;
/// Codec byte of a channel: one brotli stream (RFC 7932, no large windows).
pub const CODEC_BROTLI: u8 = 1;

/// Most bytes of a channel's columns, uncompressed and without signatures. A reader on a small machine
/// holds a channel in memory; more is refused before it is decompressed.
pub const CONTENT_BYTES_MAX: usize = 32 << 20;
/// Most bytes of a channel's transactions together, as they come out: what a table names by its place
/// is longer than the place.
pub const RAW_BYTES_MAX: usize = CONTENT_BYTES_MAX;
/// Most bytes of a whole channel, as reassembled from its frames: incompressible content of the
/// largest size, brotli's overhead on it and the header. A frame that would exceed it ends the
/// channel, which is dropped.
pub const CHANNEL_BYTES_MAX: usize = CONTENT_BYTES_MAX + (1 << 20);
/// Most frames of a channel, three times what the largest channel needs as calldata. A frame beyond
/// ends the channel, which is dropped.
pub const FRAMES_MAX: u16 = 1_024;
/// Most blocks of a channel. The encoder closes a channel before it.
pub const BLOCKS_MAX: u32 = 65_535;
/// Most transactions of a channel. The encoder closes a channel before it.
pub const TRANSACTIONS_MAX: u32 = 1 << 20;
/// Most bytes of the columns' lengths before them.
pub const CONTENT_HEAD_BYTES_MAX: usize = 256;
/// Most bytes that one L2 block may take in a channel: the block builder must stay below it, for a
/// larger block could not be posted.
pub const BLOCK_BYTES_MAX: usize = CONTENT_BYTES_MAX - CONTENT_HEAD_BYTES_MAX;
/// Most bytes of a frame posted as calldata. geth's pool takes transactions of at most 128 KiB; this
/// leaves room for the call and the signature.
pub const CALLDATA_FRAME_BYTES_MAX: usize = 100_000;

/// Why bytes are not what they claim to be. All are the poster's fault, final, and the same for
/// every reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// The bytes end before the value does.
    #[error("truncated")]
    Truncated,
    /// Bytes are left over after the value.
    #[error("trailing bytes")]
    Trailing,
    /// A version this reader does not know.
    #[error("unknown version")]
    Version,
    /// A codec this reader does not know.
    #[error("unknown codec")]
    Codec,
    /// A number that is not in its shortest encoding, or does not fit.
    #[error("number not canonical")]
    Varint,
    /// The last-frame byte is neither 0 nor 1.
    #[error("flag neither 0 nor 1")]
    Flag,
    /// A frame without data.
    #[error("empty frame")]
    EmptyFrame,
    /// A channel without blocks.
    #[error("channel without blocks")]
    NoBlocks,
    /// More than [`BLOCKS_MAX`] blocks.
    #[error("too many blocks")]
    TooManyBlocks,
    /// More than [`TRANSACTIONS_MAX`] transactions, or more or fewer than declared.
    #[error("transaction count")]
    TransactionCount,
    /// A transaction longer than the executor decodes.
    #[error("transaction too long")]
    TransactionTooLong,
    /// Declared content longer than [`CONTENT_BYTES_MAX`].
    #[error("content too long")]
    ContentTooLong,
    /// The compressed stream is damaged, or holds more or less than declared.
    #[error("compressed stream")]
    Compression,
    /// The content is not what the checksum was computed from.
    #[error("checksum")]
    Checksum,
    /// The reassembled frames are not the channel that their id names.
    #[error("channel id")]
    ChannelId,
    /// More than [`CHANNEL_BYTES_MAX`] bytes, or more than [`FRAMES_MAX`] frames.
    #[error("channel too long")]
    ChannelTooLong,
    /// A number that is not in its form, or too large for its field.
    #[error("number not in its form")]
    Number,
    /// A place of a table that has nothing.
    #[error("nothing in this place of a table")]
    Place,
    /// A transaction of a kind that the columns do not have.
    #[error("unknown kind of transaction")]
    Kind,
    /// An access list or a list of authorizations that does not decode.
    #[error("list of a transaction")]
    List,
    /// The channel continues another than the accepted channel before it.
    #[error("continues another history")]
    History,
    /// The blobs are not the packing of any bytes.
    #[error("blob packing")]
    BlobPacking,
}

/// First `N` bytes of `bytes`, and the rest.
pub(crate) fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Malformed> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
    Ok((*head, rest))
}
