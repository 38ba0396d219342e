//! What L1 made final is kept over a restart, and given up when L1 takes it back.

use crate::support::{Anvil, Node, Rollup, ether, transfer, wait_for};
use alloy::{
    eips::BlockNumberOrTag,
    primitives::{Address, B256},
    providers::Provider,
};
use batcher::tracker::Heads;

/// An Anvil that finalizes two blocks later.
fn start_l1() -> Option<Anvil> {
    Anvil::start_with(&["--slots-in-an-epoch", "1"])
}

/// Waits until a block with a transfer is final, and the ledger says so.
async fn finalize(rollup: &Rollup) -> Heads {
    rollup.deposit(0, ether(10)).await;
    let receipt = transfer(&rollup.client(0), Address::repeat_byte(1), ether(1)).await;
    let number = receipt.block_number.unwrap();
    let ledger = rollup.ledger().await;
    let heads = wait_for("the finalized head", async || {
        let heads = ledger.heads().await.unwrap();
        heads.filter(|heads| heads.finalized.block.number >= number)
    });
    heads.await
}

async fn finalized(rollup: &Rollup) -> (u64, B256) {
    let block = rollup.client(0).get_block_by_number(BlockNumberOrTag::Finalized).await.unwrap();
    block.map(|block| (block.header.number, block.header.hash)).unwrap()
}

async fn wait_until_ended(node: &mut Node) {
    wait_for("the node to end", async || (!node.is_running()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_from_the_finalized_head() {
    let Some(anvil) = start_l1() else { return };
    let rollup = Rollup::deploy(&anvil);
    let node = rollup.start().await;
    finalize(&rollup).await;
    node.kill();
    let kept = rollup.ledger().await.heads().await.unwrap().unwrap().finalized;
    let node = rollup.start().await;
    assert!(finalized(&rollup).await.0 >= kept.block.number);
    let safe = rollup.height(BlockNumberOrTag::Latest).await;
    rollup.wait_until_safe(safe).await;
    assert!(rollup.verify_agrees().await >= safe);
    node.kill();

    // Nothing but the ledger can tell it now.
    let kept = rollup.ledger().await.heads().await.unwrap().unwrap().finalized;
    drop(anvil);
    let mut node = rollup.start().await;
    assert_eq!(finalized(&rollup).await, (kept.block.number, kept.block.hash));
    assert_eq!(rollup.audit_actions().await, ["started", "started", "started"]);
    node.terminate();
    wait_until_ended(&mut node).await;
    assert_eq!(rollup.audit_actions().await.last().unwrap(), "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_of_final_blocks_halts_and_the_next_start_reads_l1_anew() {
    let Some(anvil) = start_l1() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    // Deeper than the reorg, so that only batches are lost and no L2 block is.
    rollup.config = rollup.config.replace("l1-confirmations = 2", "l1-confirmations = 12");
    let mut node = rollup.start().await;
    let heads = finalize(&rollup).await;

    let latest = anvil.client(0).get_block_number().await.unwrap();
    let finalized = rollup.ledger().await.heads().await.unwrap().unwrap().finalized;
    anvil.reorg(latest - finalized.l1_block.number + 1).await;
    wait_for("the heads to be forgotten", async || {
        rollup.ledger().await.heads().await.unwrap().is_none().then_some(())
    })
    .await;
    transfer(&rollup.client(0), Address::repeat_byte(2), ether(1)).await;
    node.terminate();
    wait_until_ended(&mut node).await;
    assert_eq!(rollup.audit_actions().await, ["started", "posting halted", "stopped"]);

    let _node = rollup.start().await;
    rollup.wait_until_safe(heads.finalized.block.number).await;
    assert!(rollup.verify_agrees().await >= heads.finalized.block.number);
}
