//! The case `start`: opening the chain of a process that was killed with blocks in the log alone.
//!
//! Two processes of this program in each round: the victim commits and is killed, the opener opens in
//! a process in which nothing else was, so that its memory says what opening takes. The files come
//! from the page cache, which an unprivileged process cannot drop.

use crate::{
    chain::{Chain, FOR_EVER, check_none_skipped, execute_whole, wait_until},
    memory::Memory,
    report::{Report, Row},
    statistics::{longest, median, milliseconds},
};
use alloy::primitives::B256;
use anyhow::Context;
use executor::Knowledge;
use sequencer::store::chain::{ChainOptions, FoldLimits};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Instant,
};

/// Blocks that are acknowledged before the kill; the store lets no more than 64 wait.
const UNFOLDED: usize = 60;
/// Targets: time to the first view, and bytes of the trie for each account.
const TARGET_MS: f64 = 5_000.0;
const TARGET_BYTES: f64 = 300.0;

/// A block that the victim reported.
#[derive(Debug, Serialize, Deserialize)]
struct Committed {
    number: u64,
    hash: B256,
}

/// What the opener found.
#[derive(Debug, Serialize, Deserialize)]
struct Opened {
    /// To the first view.
    ms: f64,
    head: u64,
    hash: B256,
    /// Hash of the block before the head.
    parent_hash: B256,
    replayed: u64,
    trie_accounts: usize,
    trie_bytes: usize,
    /// More than before the open.
    memory: Memory,
}

fn say(line: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(line)?);
    Ok(std::io::stdout().flush()?)
}

/// Commits one block more than the parent waits for, folds none, and waits to be killed.
pub(crate) fn victim(chain: &Chain) -> anyhow::Result<()> {
    let bounds = FoldLimits::default();
    let fold = FoldLimits {
        pause: FOR_EVER,
        bytes_max: bounds.unfolded_bytes_max,
        blocks_max: 64,
        ..bounds
    };
    let store = chain.open(ChainOptions { fold, ..ChainOptions::default() })?;
    let (mut traffic, knowledge) = (chain.traffic(&store), Knowledge::default());
    for _ in 0..=UNFOLDED {
        let transfers = traffic.transfers(store.head().number + 1);
        let view = store.view()?;
        let transactions = (chain.input(&store)?, &transfers[..]);
        let block = execute_whole(&view, transactions, &knowledge)?;
        check_none_skipped(&block)?;
        store.commit(&block)?;
        say(&Committed { number: block.header.number, hash: block.hash })?;
    }
    wait_until(Instant::now() + FOR_EVER);
    Ok(())
}

/// Opens the chain as a node does, says what that took, and folds what it found.
pub(crate) fn opener(chain: &Chain) -> anyhow::Result<()> {
    Memory::reset_peak();
    let before = Memory::now();
    let started = Instant::now();
    let store = chain.open(ChainOptions::default())?;
    let view = store.view()?;
    let ms = milliseconds(started.elapsed());
    let folded = store.folded_head().number;
    let memory = Memory::now().since(before);
    let (head, usage) = (view.block(), store.trie_usage());
    let (header, _) = store.header(head.number)?.context("the head has no header")?;
    say(&Opened {
        ms,
        head: head.number,
        hash: head.hash,
        parent_hash: header.parent_hash,
        replayed: head.number - folded,
        trie_accounts: usage.accounts,
        trie_bytes: usage.bytes_resident,
        memory,
    })?;
    drop(view);
    Ok(store.fold_all()?)
}

/// This program again, as one of the two.
fn process(chain: &Chain, role: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role).arg(chain.directory()).arg(chain.accounts.to_string()).stdout(Stdio::piped());
    Ok(command)
}

/// Lets blocks be committed and kills who does it; the last block that it reported.
fn kill_with_blocks_unfolded(chain: &Chain) -> anyhow::Result<Committed> {
    let mut child = process(chain, "victim")?.spawn()?;
    let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let reported: Result<Vec<String>, _> = lines.take(UNFOLDED).collect();
    child.kill()?;
    child.wait()?;
    let reported = reported?;
    anyhow::ensure!(reported.len() == UNFOLDED, "the process to be killed ended by itself");
    Ok(serde_json::from_str(reported.last().context("no block")?)?)
}

/// One kill and one open. Nothing that was reported may be lost; the block that was being committed
/// may be there.
fn round(chain: &Chain) -> anyhow::Result<Opened> {
    let last = kill_with_blocks_unfolded(chain)?;
    let output = process(chain, "opener")?.stderr(Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "the chain does not open");
    let opened: Opened = serde_json::from_slice(&output.stdout)?;
    let is_last = (opened.head, opened.hash) == (last.number, last.hash);
    let is_next = (opened.head, opened.parent_hash) == (last.number + 1, last.hash);
    anyhow::ensure!(is_last || is_next, "{last:?} was reported, the head is {opened:?}");
    Ok(opened)
}

/// Measures the case.
pub(crate) fn measure(chain: &Chain, rounds: usize, report: &Report) -> anyhow::Result<()> {
    let rounds = (0..rounds.max(1)).map(|_| round(chain)).collect::<anyhow::Result<Vec<_>>>()?;
    let times = || rounds.iter().map(|opened| opened.ms);
    let (case, accounts, ms) = ("start", chain.accounts, median(times()));
    report.row(&Row { case, accounts, touched: None, ms, baseline_ms: None });
    report.say(&format!(
        "    target < {TARGET_MS} ms, longest of {} {:.0} ms; files in the page cache; the last \
         reported block is there each time",
        rounds.len(),
        longest(times())
    ));
    for opened in &rounds {
        let accounts = opened.trie_accounts as f64;
        let per_account = |bytes: u64| bytes as f64 / accounts;
        let trie = opened.trie_bytes as f64 / accounts;
        let Memory { resident, anonymous, peak } = opened.memory;
        report.say(&format!(
            "    {:.0} ms, {} records replayed; trie {trie:.0} bytes per account (target <= \
             {TARGET_BYTES}); process {:.0} more resident, of that {:.0} its own, {:.0} at the peak",
            opened.ms,
            opened.replayed,
            per_account(resident),
            per_account(anonymous),
            per_account(peak)
        ));
        report.object(&json!({
            "case": "start-memory", "accounts": opened.trie_accounts, "replayed": opened.replayed,
            "trie_bytes": opened.trie_bytes, "resident_bytes": resident,
            "anonymous_bytes": anonymous, "peak_bytes": peak,
        }));
    }
    Ok(())
}
