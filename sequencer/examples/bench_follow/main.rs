//! Measures how fast a follower catches up from L1 alone: blocks and transactions per second, and how
//! many times faster than the chain was made, with everything that it does (reading, blobs checked,
//! decompressing, senders recovered, execution, roots, durable blocks, folding).
//!
//! `make bench-follow`, or `cargo run --release -p sequencer --example bench_follow -- --help`. The
//! history is a block a second of signed transfers and ERC-20 transfers, built by the executor without
//! waiting that second, and posted by `sequencer run` to an Anvil. The follower is `sequencer follow`,
//! a process of its own. Anvil runs on the same cores, and the time that it takes is in the figures.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

#[path = "../../tests/support/full_blocks.rs"]
mod full_blocks;
mod processes;
#[path = "../../tests/support/traffic.rs"]
mod traffic;

use alloy::providers::Provider;
use anyhow::{Context, Result, ensure};
use clap::Parser;
use full_blocks::History;
use processes::{Anvil, CaughtUp, Rollup};
use std::time::Instant;

/// Blocks of one second, of so many transactions, are real time.
const BLOCK_SECS: f64 = 1.0;

#[derive(Debug, Parser)]
#[command(about = "Measures how fast a follower catches up from L1")]
struct Args {
    /// Full blocks of the history.
    #[arg(long, default_value_t = 120)]
    blocks: u64,
    /// Transactions of each.
    #[arg(long, default_value_t = 1_000)]
    transactions: u64,
    /// Carriers to measure.
    #[arg(long, value_delimiter = ',', default_value = "blob,calldata")]
    carriers: Vec<String>,
    /// Catch-ups of each; the fastest counts, for other work on the machine only slows.
    #[arg(long, default_value_t = 2)]
    runs: u32,
    /// Prints the follower's log.
    #[arg(long)]
    verbose: bool,
}

/// One carrier's result.
struct Measured {
    carrier: String,
    appends: u64,
    caught_up: CaughtUp,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut measured = Vec::new();
    for carrier in &args.carriers {
        measured.push(measure(&args, carrier).await?);
    }
    println!(
        "| carrier | L2 blocks | transactions | appends | seconds | CPU seconds | blocks/s | transactions/s | x real time |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for Measured { carrier, appends, caught_up } in measured {
        let CaughtUp { blocks, transactions, seconds, cpu_seconds } = caught_up;
        println!(
            "| {carrier} | {blocks} | {transactions} | {appends} | {seconds:.1} | {cpu_seconds:.1} | {:.1} | {:.0} | {:.1} |",
            blocks as f64 / seconds,
            transactions as f64 / seconds,
            transactions as f64 / seconds / (args.transactions as f64 / BLOCK_SECS),
        );
    }
    Ok(())
}

async fn measure(args: &Args, carrier: &str) -> Result<Measured> {
    let anvil = Anvil::start()?;
    let rollup = Rollup::deploy(&anvil)?;
    let started = Instant::now();
    let (l1, size) = (anvil.client()?, (args.blocks, args.transactions));
    let place = rollup.path("sequencer");
    let history = History::build((&l1, anvil.url()), &rollup.genesis, &place, size).await?;
    eprintln!("{carrier}: {} blocks built in {:.1?}", history.head, started.elapsed());
    let started = Instant::now();
    rollup.post(&anvil, carrier, history.head).await?;
    let inbox = contracts::Inbox::new(rollup.genesis.l1.inbox, &l1);
    let appends = inbox.nextBatch().call().await?;
    eprintln!("{carrier}: posted in {appends} appends, {:.1?}", started.elapsed());
    let mut best: Option<CaughtUp> = None;
    for run in 0..args.runs {
        let mut follower = rollup.follow(run)?;
        let caught_up = follower.wait_until_caught_up(args.verbose).await?;
        let block = follower.client()?.get_block_by_number(history.head.into()).await?;
        let block = block.context("the follower has not the last block")?;
        ensure!(block.header.hash == history.hash, "the follower has another chain");
        eprintln!("{carrier}: run {run}: {caught_up:?}");
        if best.is_none_or(|best| caught_up.seconds < best.seconds) {
            best = Some(caught_up);
        }
    }
    let caught_up = best.context("no runs")?;
    Ok(Measured { carrier: carrier.to_owned(), appends, caught_up })
}
