//! The case `commit`: blocks that are executed already, committed as fast as the store takes them,
//! waiting for the fold where it is behind.
//!
//! The same blocks in every round: they are rolled back in between. A commit computes the state root
//! here, because nobody has asked for it at sealing.

use crate::{
    Args,
    chain::{Chain, check_none_skipped, execute_whole},
    report::{Report, Row},
    statistics::{longest, median, milliseconds},
    traffic::TRANSFERS,
};
use executor::{ExecutedBlock, Knowledge};
use sequencer::store::{ChainStore, chain::ChainOptions, log::BlockRecord};
use serde_json::json;
use std::time::{Duration, Instant};

/// One pass over the blocks.
#[derive(Debug)]
struct Pass {
    /// Until the last block is durable.
    total: Duration,
    commits: Vec<Duration>,
    /// Until the file has the rest, too.
    folding: Duration,
}

/// Executes blocks after the head; the chain has them afterwards.
fn execute(chain: &Chain, store: &ChainStore, count: u64) -> anyhow::Result<Vec<ExecutedBlock>> {
    let (mut traffic, knowledge) = (chain.traffic(store), Knowledge::default());
    let mut blocks = Vec::new();
    for _ in 0..count {
        let transfers = traffic.transfers(store.head().number + 1);
        let view = store.view()?;
        let transactions = (chain.input(store)?, &transfers[..]);
        let block = execute_whole(&view, transactions, &knowledge)?;
        check_none_skipped(&block)?;
        store.commit(&block)?;
        blocks.push(block);
    }
    Ok(blocks)
}

fn pass(store: &ChainStore, blocks: &[ExecutedBlock]) -> anyhow::Result<Pass> {
    let mut commits = Vec::with_capacity(blocks.len());
    let started = Instant::now();
    for block in blocks {
        let began = Instant::now();
        store.commit(block)?;
        commits.push(began.elapsed());
    }
    let total = started.elapsed();
    let began = Instant::now();
    store.fold_all()?;
    Ok(Pass { total, commits, folding: began.elapsed() })
}

/// Measures the case.
pub(crate) fn measure(chain: &Chain, args: &Args, report: &Report) -> anyhow::Result<()> {
    let store = chain.open(ChainOptions::default())?;
    store.fold_all()?;
    let before = store.head().number;
    let blocks = execute(chain, &store, args.blocks.max(1))?;
    let bytes: usize = blocks.iter().map(|block| BlockRecord::encode(block).len()).sum();
    let mut passes = Vec::new();
    for _ in 0..args.rounds.max(1) {
        store.fold_all()?;
        store.rollback_to(before)?;
        passes.push(pass(&store, &blocks)?);
    }
    print(chain, (&blocks, bytes), &passes, report);
    Ok(())
}

fn print(
    chain: &Chain,
    (blocks, bytes): (&[ExecutedBlock], usize),
    passes: &[Pass],
    report: &Report,
) {
    let touched = median(blocks.iter().map(|block| block.diff.accounts.len() as f64)) as u64;
    let (count, mebibytes) = (blocks.len() as f64, bytes as f64 / f64::from(1 << 20));
    let seconds = median(passes.iter().map(|pass| pass.total.as_secs_f64()));
    let of_commits = |of: fn(Vec<f64>) -> f64| {
        let times = |pass: &Pass| of(pass.commits.iter().copied().map(milliseconds).collect());
        median(passes.iter().map(times))
    };
    let (p50, most) = (of_commits(median), of_commits(longest));
    let folding_ms = median(passes.iter().map(|pass| milliseconds(pass.folding)));
    let rows = [
        ("commit", seconds * 1e3 / count),
        ("commit-p50", p50),
        ("commit-longest", most),
        ("commit-last-folds", folding_ms),
    ];
    for (case, ms) in rows {
        let touched = Some(touched);
        report.row(&Row { case, accounts: chain.accounts, touched, ms, baseline_ms: None });
    }
    let (blocks_s, log_mib_s) = (count / seconds, mebibytes / seconds);
    let transactions_s = blocks_s * TRANSFERS as f64;
    report.say(&format!(
        "    {blocks_s:.0} blocks/s, {transactions_s:.0} transfers/s, {log_mib_s:.1} MiB/s of log \
         over {count} blocks of {:.0} KiB, waiting for the fold where it is behind",
        mebibytes * 1024.0 / count
    ));
    report.object(&json!({
        "case": "commit-throughput", "accounts": chain.accounts, "touched": touched,
        "blocks_s": blocks_s, "transactions_s": transactions_s, "log_mib_s": log_mib_s,
    }));
}
