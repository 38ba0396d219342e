//! The ways to write blocks that are compared. To add one, add a value to [`CODECS`] and the
//! [`Coder`] that its `open` makes.

use crate::{
    data::{Block, DataSet},
    span,
};
use alloy::{
    consensus::TxEnvelope,
    eips::Decodable2718,
    primitives::{B256, Bytes},
};
use anyhow::{Context, Result, ensure};
use batcher::format::{Channel, History, compress::Quality};
use brotli::enc::BrotliEncoderParams;
use executor::Transaction;

/// Blocks of raw transactions, as every codec must give them back.
pub(crate) type Transactions = Vec<Vec<Bytes>>;

/// A codec at a quality.
#[derive(Debug)]
pub(crate) struct Codec {
    pub(crate) name: &'static str,
    /// Brotli's.
    pub(crate) quality: u8,
    /// What it is measured on.
    pub(crate) parts: &'static [Part],
    /// Takes the data, untimed: what a node knows without the codec, such as its batches, their
    /// senders and the channels before, is made here.
    open: fn(&DataSet, quality: u8) -> Result<Box<dyn Coder>>,
}

/// Which blocks of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    SecondHalf,
}

/// A codec with the blocks that it is to encode.
pub(crate) trait Coder {
    /// The compressed bytes: what is timed. The same every time.
    fn encode(&self) -> Result<Vec<u8>>;

    /// The transactions in what [`Self::encode`] gave.
    fn decode(&self, encoded: &[u8]) -> Result<Transactions>;
}

const WHOLE: &[Part] = &[Part::Whole];
const HALF: &[Part] = &[Part::SecondHalf];
const BOTH: &[Part] = &[Part::Whole, Part::SecondHalf];

/// Name of the codec that the others are compared with.
pub(crate) const REFERENCE: &str = "span-br10";

/// All codecs, in the order of the rows.
pub(crate) const CODECS: &[Codec] = &[
    Codec { name: "ours", quality: 10, parts: BOTH, open: ours },
    Codec { name: "ours", quality: 5, parts: BOTH, open: ours },
    Codec { name: "ours-history", quality: 10, parts: HALF, open: ours_after },
    Codec { name: REFERENCE, quality: 10, parts: BOTH, open: span },
    Codec { name: "raw-br11", quality: 11, parts: WHOLE, open: raw },
];

impl Codec {
    pub(crate) fn open(&self, data: &DataSet) -> Result<Box<dyn Coder>> {
        (self.open)(data, self.quality)
    }
}

/// What the node posts.
struct Ours {
    channel: Channel,
    /// What the channels before it left.
    history: History,
    quality: Quality,
}

fn channel(chain_id: u64, blocks: &[Block]) -> Result<Channel> {
    Ok(Channel {
        chain_id,
        first_block: blocks.first().context("no blocks")?.number,
        parent_hash: B256::repeat_byte(0x77),
        batches: blocks.iter().map(Block::batch).collect(),
    })
}

fn ours(data: &DataSet, quality: u8) -> Result<Box<dyn Coder>> {
    let channel = channel(data.chain_id, &data.blocks)?;
    Ok(Box::new(Ours { channel, history: History::default(), quality: Quality::new(quality) }))
}

fn ours_after(data: &DataSet, quality: u8) -> Result<Box<dyn Coder>> {
    let history = match &*data.before {
        [] => History::default(),
        before => {
            let before = channel(data.chain_id, before)?;
            let (_, history) = before.encode_after(&History::default(), Quality::FAST)?;
            let all = before.batches.iter().flat_map(|batch| &batch.transactions);
            let senders = all.map(|raw| Ok(Transaction::decode_signed(raw.clone())?.sender()));
            history.with_senders(senders.collect::<Result<Vec<_>>>()?)
        }
    };
    let channel = channel(data.chain_id, &data.blocks)?;
    Ok(Box::new(Ours { channel, history, quality: Quality::new(quality) }))
}

impl Coder for Ours {
    fn encode(&self) -> Result<Vec<u8>> {
        Ok(self.channel.encode_after(&self.history, self.quality)?.0)
    }

    fn decode(&self, encoded: &[u8]) -> Result<Transactions> {
        let (channel, _) = Channel::decode_after(encoded, &self.history)?;
        // The rest of it, too: times and origins are paid for.
        ensure!(channel == self.channel, "another channel comes back");
        Ok(channel.batches.into_iter().map(|batch| batch.transactions).collect())
    }
}

/// OP's span batch.
struct Span {
    blocks: Vec<Block>,
    chain_id: u64,
    quality: u8,
}

fn span(data: &DataSet, quality: u8) -> Result<Box<dyn Coder>> {
    let (blocks, chain_id) = (data.blocks.clone(), data.chain_id);
    Ok(Box::new(Span { blocks, chain_id, quality }))
}

impl Coder for Span {
    fn encode(&self) -> Result<Vec<u8>> {
        compress(&span::encode(&self.blocks)?, self.quality, 22)
    }

    fn decode(&self, encoded: &[u8]) -> Result<Transactions> {
        span::decode(&decompress(encoded)?, self.chain_id)
    }
}

/// No format: one transaction after the other.
struct Raw {
    blocks: Transactions,
    quality: u8,
}

fn raw(data: &DataSet, quality: u8) -> Result<Box<dyn Coder>> {
    let blocks = data.blocks.iter().map(|block| block.transactions.clone()).collect();
    Ok(Box::new(Raw { blocks, quality }))
}

impl Coder for Raw {
    fn encode(&self) -> Result<Vec<u8>> {
        let content: Vec<u8> = self.blocks.iter().flatten().flatten().copied().collect();
        compress(&content, self.quality, 24)
    }

    /// Where a block ends is not in the bytes: it is taken from the blocks.
    fn decode(&self, encoded: &[u8]) -> Result<Transactions> {
        let content = Bytes::from(decompress(encoded)?);
        let mut rest: &[u8] = &content;
        let mut blocks = Vec::new();
        for block in &self.blocks {
            let mut transactions = Vec::new();
            for _ in block {
                let before = rest;
                TxEnvelope::decode_2718(&mut rest)?;
                transactions.push(content.slice_ref(&before[..before.len() - rest.len()]));
            }
            blocks.push(transactions);
        }
        ensure!(rest.is_empty(), "bytes are left over");
        Ok(blocks)
    }
}

fn compress(mut content: &[u8], quality: u8, window_bits: i32) -> Result<Vec<u8>> {
    let params = BrotliEncoderParams {
        quality: i32::from(quality),
        lgwin: window_bits,
        size_hint: content.len(),
        ..BrotliEncoderParams::default()
    };
    let mut out = Vec::new();
    brotli::BrotliCompress(&mut content, &mut out, &params)?;
    Ok(out)
}

fn decompress(mut encoded: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    brotli::BrotliDecompress(&mut encoded, &mut out)?;
    Ok(out)
}
