//! The sequencer and the batcher as two processes: either may die at any time, and nothing is lost.

use crate::{
    payloads::{blob_hashes, pruned_beacon},
    support::{Anvil, Rollup, account, ether, metric, transfer, wait_for},
};
use alloy::{eips::BlockNumberOrTag, primitives::Address, providers::Provider};
use contracts::{Inbox, Outputs};
use std::{
    fs,
    time::{Duration, SystemTime},
};

/// A number that differs from run to run.
fn chance(below: u64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::from(now.subsec_micros()) % below
}

/// What has happened, for when it fails.
fn log(name: &str) {
    eprintln!("kill -9 of the {name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn either_process_may_be_killed_at_any_time() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.without_keys();
    let mut sequencer = rollup.start().await;
    let files = rollup.batcher("posting");
    let mut batcher = files.start().await;
    rollup.deposit(0, ether(100)).await;
    let l2 = rollup.client(0);
    let receipt = transfer(&l2, Address::repeat_byte(1), ether(1)).await;
    // The sequencer has no key, and follows on L1 what the other process posts.
    rollup.wait_until_safe(receipt.block_number.unwrap()).await;
    let outputs = Outputs::new(rollup.genesis.l1.outputs, anvil.client(0));
    wait_for("an output", async || {
        (outputs.latestBlockNumber().call().await.unwrap() > 0).then_some(())
    })
    .await;

    let posting = async |name: &str| metric(&files.url(), name).await;
    assert!(posting("weft_posted_batches_total").await >= Some(1.0));
    assert!(posting("weft_posted_cost_wei_total").await > Some(0.0));
    assert!(posting("weft_safe_block").await > Some(0.0));
    assert_eq!(posting("weft_tasks_halted").await, Some(0.0));
    for task in ["poster", "proposer"] {
        let of = |name: &str| format!("weft_{name}{{task=\"{task}\"}}");
        let balance = wait_for("a balance", async || posting(&of("l1_balance_ether")).await).await;
        assert!((1.0..=10_000.0).contains(&balance), "Anvil gives each account that: {balance}");
        assert_eq!(posting(&of("l1_held")).await, Some(0.0));
        assert!(posting(&of("l1_attempts")).await.is_some());
    }

    // A second one with the same directory, or the same ledger, is refused; so is the node's directory.
    let text = files.refused();
    assert!(text.contains("another process has") && text.contains("batcher.lock"), "{text}");
    let mut second = rollup.batcher("second");
    let ledger = files.directory.join("ledger.sqlite");
    second.config.push_str(&format!("ledger-url = \"sqlite://{}\"\n", ledger.display()));
    let text = second.refused();
    assert!(text.contains("another process has") && text.contains("ledger.sqlite"), "{text}");
    let text = rollup.batcher("data").refused();
    assert!(text.contains("holds the chain of a sequencer"), "{text}");

    let mut last = receipt.block_number.unwrap();
    for round in 0..6 {
        tokio::time::sleep(Duration::from_millis(chance(2_500))).await;
        let which = if round < 3 { round } else { chance(3) };
        if which != 0 {
            log("sequencer");
            sequencer.kill();
            sequencer = rollup.start().await;
        }
        if which != 1 {
            log("batcher");
            batcher.kill();
            batcher = files.start().await;
        }
        let receipt = transfer(&l2, Address::repeat_byte(2), ether(1)).await;
        last = receipt.block_number.unwrap();
    }
    rollup.wait_until_safe(last).await;
    assert_eq!(l2.get_balance(Address::repeat_byte(2)).await.unwrap(), ether(6));
    assert!(rollup.verify_agrees().await >= last);
    assert!(sequencer.is_running() && batcher.is_running());

    // Asked to stop, it stops, and says so.
    batcher.terminate();
    wait_for("the batcher to stop", async || (!batcher.is_running()).then_some(())).await;
    let trail = rollup.ledger_in("posting").await.audit_trail(1).await.unwrap();
    assert_eq!((trail[0].action.as_str(), trail[0].detail.as_str()), ("stopped", "asked to"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_batchers_of_one_account_post_each_batch_once() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.without_keys();
    let _sequencer = rollup.start().await;
    let _first = rollup.batcher("first").start().await;
    // One account, two ledgers: nothing here can keep it away, the Inbox takes each batch once.
    let _second = rollup.batcher("second").start().await;
    rollup.deposit(0, ether(10)).await;
    let receipt = transfer(&rollup.client(0), Address::repeat_byte(1), ether(1)).await;
    rollup.wait_until_safe(receipt.block_number.unwrap() + 10).await;
    assert!(rollup.verify_agrees().await >= receipt.block_number.unwrap() + 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batcher_refuses_another_chain_and_waits_for_its_sequencer() {
    let Some(anvil) = Anvil::start() else { return };
    let (mut rollup, other) = (Rollup::deploy(&anvil), Rollup::deploy(&anvil));
    rollup.without_keys();
    let mut files = rollup.batcher("posting");
    files.config = files.config.replace(&rollup.url(), &other.url());
    let node = other.start().await;
    let text = files.refused();
    assert!(text.contains("the sequencer's genesis block is"), "{text}");
    drop(node);

    // Nobody answers yet: it is not ready, and says why.
    let files = rollup.batcher("posting");
    let _batcher = files.spawn();
    let body = wait_for("the batcher to say what it waits for", async || {
        let ready = reqwest::get(format!("{}/ready", files.url())).await.ok()?;
        let text = (ready.status() == 503).then_some(ready.text())?.await.ok()?;
        text.contains("L2 block source").then_some(text)
    })
    .await;
    assert!(body.contains("\"poster\""), "{body}");
    let _sequencer = rollup.start().await;
    rollup.wait_until_safe(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_l1_lost_the_blobs_reads_them_from_an_archive() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.without_keys();
    let mut files = rollup.batcher("posting");
    let beacon = pruned_beacon().await;
    let port = crate::support::free_port();
    rollup.config.push_str(&format!(
        "l1-beacon-url = \"{beacon}\"\nblob-archive-url = [\"http://127.0.0.1:{port}\"]\n"
    ));
    let _sequencer = rollup.start().await;
    let batcher = files.start().await;
    let l1 = anvil.client(0);
    let inbox = Inbox::new(rollup.genesis.l1.inbox, &l1);
    wait_for("a batch", async || (inbox.nextBatch().call().await.unwrap() > 1).then_some(())).await;
    let hash = blob_hashes(&anvil, &rollup).await[0].to_string();
    // Nobody has it: the node says which, and whom it asked, and waits.
    wait_for("the node to say what is missing", async || {
        let log = fs::read_to_string(rollup.directory.path().join("node.log")).unwrap();
        let mut lines = log.lines();
        let line =
            lines.find(|line| line.contains("no source has payload") && line.contains(&hash))?;
        assert!(line.contains(&beacon) && line.contains(&format!("127.0.0.1:{port}")), "{line}");
        assert!(line.contains("retry_in"), "{line}");
        Some(())
    })
    .await;
    assert_eq!(rollup.height(BlockNumberOrTag::Safe).await, 0);
    // The archive appears where it is looked for, and the node goes on by itself.
    batcher.kill();
    files.config = files.config.replace(&files.port.to_string(), &port.to_string());
    files.port = port;
    let _batcher = files.start().await;
    rollup.wait_until_safe(5).await;
    rollup.deposit(0, ether(1)).await;
    let receipt = transfer(&rollup.client(0), account(1).address(), ether(0)).await;
    rollup.wait_until_safe(receipt.block_number.unwrap()).await;
}
