//! Measures what a transaction costs on L1 and in time: bytes per transaction, and transactions per
//! second of one thread, of our channel beside other ways to write the same blocks.
//!
//! `make bench-batch`, with `BATCH_ARGS="--help"` for what can be chosen. Owns the arguments and the
//! order of things; each module owns one noun. Deliberately not here: frames and blobs, whose cost
//! is the same for every codec, and the recovery of senders, which the node does anyway.
//!
//! **What is checked**: everything that is measured is decoded again and must give the same raw
//! transactions, block by block; a block with every kind of transaction goes through every codec
//! before. If one comes back different, the program fails.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal, which fails by stopping"
)]

mod codec;
mod data;
mod generated;
mod measure;
mod report;
mod span;

use anyhow::Result;
use clap::Parser;
use codec::{CODECS, Part};
use data::{DataSet, Source};
use report::Report;
use std::path::PathBuf;

/// The node's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `--help` teaches beside the options.
const TEACHING: &str = "\
data
  FILE         a file of WEFT_DATA/transactions: real blocks. Transactions with blobs are left
               out: no rollup takes them.
  transfers, erc20, swaps
               made up, the same in every run, really signed: people who send with a skew, some
               recipients over and over and some once, amounts mostly round.
  NAME/2       the second half of NAME's blocks

codecs
  ours         the channel as the node posts it, header and checksum included
  ours-history the same, continuing the channel that carried the first half
  span-br10    the layout of OP's span batch under brotli 10. It carries no timestamps: there they
               follow from a fixed block time.
  raw-br11     the transactions one after the other under brotli 11: no format at all. What splits
               them into blocks is not counted.

how to read it
  bytes/tx     size of the whole, divided by transactions; 64 of them are signature, which nothing
               compresses
  tx/s         from raw transactions in memory to compressed bytes, median over the rounds, one
               thread; senders are known";

/// Measures bytes per transaction and speed of our channel beside other codecs.
#[derive(Debug, Parser)]
#[command(after_help = TEACHING)]
struct Args {
    /// Only data whose name contains this, such as op-mainnet, swaps or /2.
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: String,
    /// Times that each codec encodes each data set.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A JSON object a line on stdout, the rest on stderr.
    #[arg(long)]
    json: bool,
    /// Folder of public chain data.
    #[arg(long, env = "WEFT_DATA", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"))]
    data: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let every_kind = generated::every_kind()?;
    for codec in CODECS {
        measure::check(codec, &every_kind)?;
    }
    let mut report = Report::new(args.json);
    for source in data::sources(&args.data)? {
        measure_source(&source, &args, &mut report)?;
    }
    report.finish();
    Ok(())
}

/// The whole, then its second half, as far as the filter asks for them.
fn measure_source(source: &Source, args: &Args, report: &mut Report) -> Result<()> {
    let asked = |part: Part| data::name_of(source.name(), part).contains(&args.filter);
    if ![Part::Whole, Part::SecondHalf].into_iter().any(asked) {
        return Ok(());
    }
    let whole = source.load()?;
    report.note(&whole);
    if asked(Part::Whole) {
        measure_part(&whole, Part::Whole, args.rounds, report)?;
    }
    if asked(Part::SecondHalf) {
        measure_part(&whole.second_half(), Part::SecondHalf, args.rounds, report)?;
    }
    Ok(())
}

fn measure_part(data: &DataSet, part: Part, rounds: u32, report: &mut Report) -> Result<()> {
    for codec in CODECS.iter().filter(|codec| codec.parts.contains(&part)) {
        report.row(measure::measure(codec, data, rounds)?);
    }
    Ok(())
}
