//! What is encoded: blocks of raw transactions, from files or made up, and their second halves.

use crate::{codec::Part, generated};
use alloy::primitives::{B256, Bytes, keccak256};
use anyhow::{Context, Result, ensure};
use batcher::format::Batch;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Ending of the files that are read.
const ENDING: &str = ".jsonl.xz";
/// Seconds between two L1 blocks.
const L1_BLOCK_SEC: u64 = 12;
/// First byte of a transaction with blobs.
const BLOB_TRANSACTION: u8 = 3;

/// One block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) number: u64,
    pub(crate) timestamp: u64,
    /// EIP-2718 bytes.
    pub(crate) transactions: Vec<Bytes>,
}

/// Blocks that are encoded together.
#[derive(Debug)]
pub(crate) struct DataSet {
    pub(crate) name: String,
    pub(crate) chain_id: u64,
    /// Blocks that L1 had before, for a codec with history; not encoded.
    pub(crate) before: Vec<Block>,
    pub(crate) blocks: Vec<Block>,
    /// Transactions with blobs, which are in no block here.
    pub(crate) left_out: usize,
}

/// Where a data set comes from; read only when it is asked for.
#[derive(Debug)]
pub(crate) enum Source {
    File { name: String, path: PathBuf },
    Generated { name: &'static str, make: fn() -> Result<DataSet> },
}

/// A line of a file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    chain_id: u64,
    number: u64,
    timestamp: u64,
    txs: Vec<Bytes>,
}

impl Block {
    /// The block as our channel takes it. Its L1 origin follows from its time.
    pub(crate) fn batch(&self) -> Batch {
        Batch {
            timestamp: self.timestamp,
            origin_number: self.origin_number(),
            origin_check: Batch::check_of(self.origin_hash()),
            transactions: self.transactions.clone(),
        }
    }

    pub(crate) fn origin_number(&self) -> u64 {
        self.timestamp / L1_BLOCK_SEC
    }

    /// As little compressible as a real one.
    pub(crate) fn origin_hash(&self) -> B256 {
        keccak256(self.origin_number().to_be_bytes())
    }
}

impl DataSet {
    pub(crate) fn transactions(&self) -> usize {
        self.blocks.iter().map(|block| block.transactions.len()).sum()
    }

    /// The second half of the blocks, with the first as what was before.
    pub(crate) fn second_half(&self) -> Self {
        let (before, blocks) = self.blocks.split_at(self.blocks.len() / 2);
        Self {
            name: name_of(&self.name, Part::SecondHalf),
            chain_id: self.chain_id,
            before: before.to_vec(),
            blocks: blocks.to_vec(),
            left_out: 0,
        }
    }
}

/// Name of a part in the rows.
pub(crate) fn name_of(name: &str, part: Part) -> String {
    match part {
        Part::Whole => name.to_owned(),
        Part::SecondHalf => format!("{name}/2"),
    }
}

/// All data sets: files by name, then what is made up.
pub(crate) fn sources(data: &Path) -> Result<Vec<Source>> {
    let folder = data.join("transactions");
    let missing = || format!("no data at {}; set WEFT_DATA", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(missing)? {
        paths.push(entry.with_context(missing)?.path());
    }
    paths.sort();
    let file = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(ENDING)?.to_owned();
        Some(Source::File { name, path })
    };
    let mut sources: Vec<Source> = paths.into_iter().filter_map(file).collect();
    ensure!(!sources.is_empty(), missing());
    sources.extend(generated::ALL.iter().map(|&(name, make)| Source::Generated { name, make }));
    Ok(sources)
}

impl Source {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::File { name, .. } => name,
            Self::Generated { name, .. } => name,
        }
    }

    pub(crate) fn load(&self) -> Result<DataSet> {
        match self {
            Self::File { name, path } => {
                read(name, path).with_context(|| path.display().to_string())
            }
            Self::Generated { make, .. } => make(),
        }
    }
}

fn read(name: &str, path: &Path) -> Result<DataSet> {
    let packed = std::fs::read(path)?;
    let mut text = Vec::new();
    lzma_rs::xz_decompress(&mut &packed[..], &mut text)?;
    let lines: Vec<Line> =
        serde_json::Deserializer::from_slice(&text).into_iter().collect::<Result<_, _>>()?;
    let chain_id = lines.first().context("no blocks")?.chain_id;
    let mut left_out = 0;
    let mut blocks = Vec::new();
    for Line { number, timestamp, txs, chain_id: of_block } in lines {
        ensure!(of_block == chain_id, "blocks of two chains");
        let mut transactions = txs;
        let count = transactions.len();
        transactions.retain(|raw| raw.first() != Some(&BLOB_TRANSACTION));
        left_out += count - transactions.len();
        blocks.push(Block { number, timestamp, transactions });
    }
    Ok(DataSet { name: name.to_owned(), chain_id, before: Vec::new(), blocks, left_out })
}
