//! Measures the store: the order log, opening a chain, sealing a block, and commits as fast as they
//! come.
//!
//! `make bench-state`, with `STORE_ARGS="--help"` for what can be chosen. Owns the arguments and the
//! order of things; each module owns one noun. Deliberately not here: the state root by itself, which
//! is the executor's benchmark, the block builder and its pool.
//!
//! **How**: `start`, `seal` and `commit` share one chain of `--accounts` accounts in a temporary
//! directory, made before the first of them. All traffic is blocks of 1,000 transfers between accounts
//! drawn at random, so about 2,000 are touched by each. Figures are medians over the rounds; targets
//! are printed beside them and decide nothing.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a program for the terminal, whose numbers are small"
)]

mod chain;
mod commit;
mod log;
mod memory;
mod report;
mod rootless;
mod seal;
mod start;
mod statistics;
mod traffic;

use chain::Chain;
use clap::{Parser, Subcommand, ValueEnum};
use report::Report;
use std::path::PathBuf;

/// The node's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the store: log, start, seal, commit.
#[derive(Debug, Parser)]
struct Args {
    /// Accounts of the chain, each with a balance and a nonce.
    #[arg(long, default_value_t = 1_000_000)]
    accounts: u64,
    /// Rounds of `start`, `seal` and `commit`; the medians over them are printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Blocks of a round of `seal` and `commit`.
    #[arg(long, default_value_t = 300)]
    blocks: u64,
    /// Milliseconds from one block of `seal` to the next.
    #[arg(long, default_value_t = 20)]
    block_ms: u64,
    /// Appends of each size in `log`.
    #[arg(long, default_value_t = 300)]
    appends: usize,
    /// Directory on the disk to measure; a temporary one is made in it.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// One case instead of all.
    #[arg(long)]
    only: Option<Case>,
    /// A JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    process: Option<Process>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Append and wait, beside a bare write and fdatasync.
    Log,
    /// Opening the chain of a killed process.
    Start,
    /// From the last transaction to the durable block, beside the same without root and fold.
    Seal,
    /// Commits of blocks that are executed already.
    Commit,
}

/// The processes that `start` starts.
#[derive(Debug, Subcommand)]
enum Process {
    /// Commits blocks that stay in the log, and waits to be killed.
    #[command(hide = true)]
    Victim { directory: PathBuf, accounts: u64 },
    /// Opens the chain and says what that took.
    #[command(hide = true)]
    Opener { directory: PathBuf, accounts: u64 },
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.process {
        Some(Process::Victim { directory, accounts }) => {
            start::victim(&Chain::at(directory, accounts))
        }
        Some(Process::Opener { directory, accounts }) => {
            start::opener(&Chain::at(directory, accounts))
        }
        None => measure(&args),
    }
}

fn measure(args: &Args) -> anyhow::Result<()> {
    let wanted = |case| args.only.is_none_or(|only| only == case);
    let report = Report::new(args.json);
    let directory = tempfile::tempdir_in(&args.directory)?;
    if wanted(Case::Log) {
        log::measure(&directory.path().join("log"), args.appends, &report)?;
    }
    if args.only == Some(Case::Log) {
        return Ok(());
    }
    let chain = Chain::create(directory.path().join("chain"), args.accounts)?;
    if wanted(Case::Start) {
        start::measure(&chain, args.rounds, &report)?;
    }
    if wanted(Case::Seal) {
        seal::measure(&chain, args, &report)?;
    }
    if wanted(Case::Commit) {
        commit::measure(&chain, args, &report)?;
    }
    Ok(())
}
