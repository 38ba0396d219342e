//! L1 reorganised under the rollup: batches come back, deposits move, nothing is lost.

use crate::support::{Anvil, Rollup, account, ether, raw_receipt, transfer, wait_for};
use alloy::{eips::BlockNumberOrTag, primitives::Address, providers::Provider};
use contracts::Inbox;

/// Reads until the safe head is below `number`: it went back.
async fn wait_until_safe_is_below(rollup: &Rollup, number: u64) {
    wait_for("the safe head to go back", async || {
        (rollup.height(BlockNumberOrTag::Safe).await < number).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_batch_is_posted_again() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    // Deeper than the reorg, so that only batches are lost and no L2 block is.
    rollup.config = rollup.config.replace("l1-confirmations = 2", "l1-confirmations = 10");
    // Few batches, so that the dropped one is the last for a while.
    rollup.config = rollup.config.replace("batch-age-secs = 2", "batch-age-secs = 6");
    let _node = rollup.start().await;
    rollup.deposit(0, ether(10)).await;
    let receipt = transfer(&rollup.client(0), Address::repeat_byte(1), ether(1)).await;
    let number = receipt.block_number.unwrap();
    rollup.wait_until_safe(number).await;

    let l1 = anvil.client(0);
    let inbox = Inbox::new(rollup.genesis.l1.inbox, &l1);
    let latest = l1.get_block_number().await.unwrap();
    let appended = inbox.BatchAppended_filter().from_block(0).query().await.unwrap();
    let (event, log) = appended.last().unwrap();
    let depth = latest - log.block_number.unwrap() + 1;
    let safe = rollup.height(BlockNumberOrTag::Safe).await;
    anvil.reorg(depth).await;
    wait_until_safe_is_below(&rollup, safe).await;
    rollup.wait_until_safe(safe).await;

    let again = inbox.BatchAppended_filter().from_block(0).query().await.unwrap();
    let (same, moved) = again.iter().find(|(e, _)| e.id == event.id).unwrap();
    assert_eq!(same.acc, event.acc, "posted again byte for byte");
    assert_ne!(moved.block_hash, log.block_hash, "in another L1 block");
    let ids: Vec<u64> = again.iter().map(|(event, _)| event.id).collect();
    assert_eq!(ids, (0..ids.len() as u64).collect::<Vec<_>>(), "none twice, none missing");
    let kept = raw_receipt(&rollup.client(0), receipt.transaction_hash).await;
    assert_eq!(kept, Some(receipt), "no L2 block changed");
    assert!(rollup.verify_agrees().await >= safe);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_below_the_origin_rebuilds_l2_and_keeps_transactions() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.config = rollup.config.replace("l1-confirmations = 2", "l1-confirmations = 0");
    let _node = rollup.start().await;
    rollup.deposit(0, ether(10)).await;
    let l2 = rollup.client(0);
    // Room between the deposit and what is reorganised.
    let deposited = anvil.client(0).get_block_number().await.unwrap();
    wait_for("L1 to move on", async || {
        (anvil.client(0).get_block_number().await.unwrap() > deposited + 6).then_some(())
    })
    .await;
    let receipt = transfer(&l2, Address::repeat_byte(2), ether(1)).await;
    let old_hash = receipt.block_hash.unwrap();
    let number = receipt.block_number.unwrap();
    rollup.wait_until_safe(number).await;

    // Back to before the origin of the transfer's block.
    let latest = anvil.client(0).get_block_number().await.unwrap();
    let depth = latest - (deposited + 3);
    anvil.reorg(depth).await;
    wait_for("the block to be undone", async || {
        let block = l2.get_block_by_number(number.into()).await.unwrap();
        block.is_none_or(|block| block.header.hash != old_hash).then_some(())
    })
    .await;
    let moved =
        wait_for("the transfer again", async || raw_receipt(&l2, receipt.transaction_hash).await)
            .await;
    assert!(moved.status());
    assert_ne!(moved.block_hash, receipt.block_hash);
    assert_eq!(l2.get_balance(Address::repeat_byte(2)).await.unwrap(), ether(1));
    let nonce = l2.get_transaction_count(account(0).address()).await.unwrap();
    rollup.wait_until_safe(moved.block_number.unwrap()).await;
    assert!(rollup.verify_agrees().await >= moved.block_number.unwrap());
    assert_eq!(nonce, 2, "the deposit and the transfer, once each");
    assert!(rollup.audit_actions().await.contains(&"blocks undone".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_while_the_node_is_down_is_followed() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.config = rollup.config.replace("l1-confirmations = 2", "l1-confirmations = 0");
    let node = rollup.start().await;
    rollup.deposit(0, ether(10)).await;
    let deposited = anvil.client(0).get_block_number().await.unwrap();
    wait_for("L1 to move on", async || {
        (anvil.client(0).get_block_number().await.unwrap() > deposited + 6).then_some(())
    })
    .await;
    let l2 = rollup.client(0);
    let receipt = transfer(&l2, Address::repeat_byte(4), ether(1)).await;
    node.kill();
    let latest = anvil.client(0).get_block_number().await.unwrap();
    anvil.reorg(latest - (deposited + 3)).await;

    let _node = rollup.start().await;
    let moved = wait_for("the transfer in another block", async || {
        let moved = raw_receipt(&l2, receipt.transaction_hash).await?;
        (moved.block_hash != receipt.block_hash).then_some(moved)
    })
    .await;
    assert!(moved.status());
    rollup.wait_until_safe(moved.block_number.unwrap()).await;
    assert!(rollup.verify_agrees().await >= moved.block_number.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_is_rebuilt_from_l1() {
    let Some(anvil) = Anvil::start() else { return };
    let rollup = Rollup::deploy(&anvil);
    let node = rollup.start().await;
    rollup.deposit(0, ether(10)).await;
    let l2 = rollup.client(0);
    let receipt = transfer(&l2, Address::repeat_byte(5), ether(1)).await;
    rollup.wait_until_safe(receipt.block_number.unwrap()).await;
    node.kill();
    for entry in std::fs::read_dir(rollup.directory.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("ledger.sqlite") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let _node = rollup.start().await;
    let again = raw_receipt(&l2, receipt.transaction_hash).await;
    assert_eq!(again, Some(receipt), "no block was undone");
    let next = transfer(&l2, Address::repeat_byte(5), ether(1)).await;
    rollup.wait_until_safe(next.block_number.unwrap()).await;
    assert!(rollup.verify_agrees().await >= next.block_number.unwrap());
}
