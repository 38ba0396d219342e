//! The whole way: a deposit in, transfers, batches out by blob and by calldata, outputs, verified
//! from L1 alone.

use crate::support::{Anvil, Rollup, account, ether, raw_receipt, transfer, wait_for};
use alloy::{
    eips::BlockNumberOrTag,
    primitives::{Address, B256, U256, keccak256},
    providers::{Provider, ext::AnvilApi},
    sol_types::SolCall as _,
};
use contracts::{Inbox, L1Block, Outputs};
use executor::deposit::{L1_BLOCK_ADDRESS, SET_L1_BLOCK_VALUES};

async fn posts_and_verifies(anvil: &Anvil, rollup: &Rollup) {
    let _node = rollup.start().await;
    let received = rollup.deposit(0, ether(100)).await;
    assert!(received.status());
    let l2 = rollup.client(0);
    assert_eq!(l2.get_balance(account(0).address()).await.unwrap(), ether(100));
    let to = Address::repeat_byte(0x77);
    let receipt = transfer(&l2, to, ether(3)).await;
    assert_eq!(l2.get_balance(to).await.unwrap(), ether(3));

    let number = receipt.block_number.unwrap();
    rollup.wait_until_safe(number).await;
    assert!(rollup.verify_agrees().await >= number);
    let inbox = Inbox::new(rollup.genesis.l1.inbox, anvil.client(0));
    assert!(inbox.nextBatch().call().await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_carry_the_chain() {
    let Some(anvil) = Anvil::start() else { return };
    posts_and_verifies(&anvil, &Rollup::deploy(&anvil)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calldata_carries_the_chain() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.config.push_str("batch-data = \"calldata\"\n");
    posts_and_verifies(&anvil, &rollup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_output_root_is_found_and_named() {
    let Some(anvil) = Anvil::start() else { return };
    let rollup = Rollup::deploy(&anvil);
    let _node = rollup.start().await;
    let outputs = Outputs::new(rollup.genesis.l1.outputs, anvil.client(0));
    wait_for("two outputs", async || {
        (outputs.nextOutputIndex().call().await.unwrap() >= U256::from(3)).then_some(())
    })
    .await;
    rollup.verify_agrees().await;
    // Outputs.sol: the array is at slot 3, three slots an output, the root first.
    let base = U256::from_be_bytes(keccak256(U256::from(3).to_be_bytes::<32>()).0);
    let slot = base + U256::from(3 * 2);
    let altered = B256::repeat_byte(0xee);
    anvil.client(0).anvil_set_storage_at(rollup.genesis.l1.outputs, slot, altered).await.unwrap();
    // verify reads the contract as of the latest block, so the change has to be in one.
    let altered_at = anvil.client(0).get_block_number().await.unwrap();
    wait_for("an L1 block with the altered root", async || {
        (anvil.client(0).get_block_number().await.unwrap() > altered_at).then_some(())
    })
    .await;
    let claimed = outputs.getL2Output(U256::from(2)).call().await.unwrap();
    assert_eq!(claimed.outputRoot, altered, "the layout this test relies on");
    let before = outputs.getL2Output(U256::from(1)).call().await.unwrap().l2BlockNumber;
    let range = format!("output 2 of blocks {} to {}", before + 1, claimed.l2BlockNumber);

    let output = rollup.verify(Some(&rollup.url()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains(&range), "{said}");
    assert!(said.contains("the node's blocks equal the derived ones"), "{said}");

    // A node that keeps its blocks to itself has the same genesis and other blocks.
    let mut loner = Rollup::deploy(&anvil);
    loner.genesis = rollup.genesis.clone();
    let own = loner.directory.path().join("genesis.json");
    let shared = rollup.directory.path().join("genesis.json");
    std::fs::copy(shared, own).unwrap();
    let keyless = loner.config.lines().filter(|line| !line.contains("-key-file"));
    loner.config = keyless.collect::<Vec<_>>().join("\n");
    let _loner = loner.start().await;
    wait_for("a block of its own", async || {
        (loner.height(BlockNumberOrTag::Latest).await >= 1).then_some(())
    })
    .await;
    let output = rollup.verify(Some(&loner.url()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains(&range) && said.contains("first differing block 1:"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn l2_sees_its_l1_origin() {
    let Some(anvil) = Anvil::start() else { return };
    let rollup = Rollup::deploy(&anvil);
    let _node = rollup.start().await;
    assert!(rollup.deposit(1, ether(1)).await.status());
    let l1_block = L1Block::new(L1_BLOCK_ADDRESS, rollup.client(0));
    let number = l1_block.number().call().await.unwrap();
    assert!(number > rollup.genesis.l1.origin_number);
    let seen = l1_block.hash().block(BlockNumberOrTag::Latest.into()).call().await.unwrap();
    assert_ne!(seen, B256::ZERO);
    let selector = L1Block::setL1BlockValuesCall::SELECTOR;
    assert_eq!(keccak256(SET_L1_BLOCK_VALUES)[..4], selector);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_minus_nine_loses_no_receipt() {
    let Some(anvil) = Anvil::start() else { return };
    let rollup = Rollup::deploy(&anvil);
    let mut node = rollup.start().await;
    rollup.deposit(0, ether(50)).await;
    let l2 = rollup.client(0);
    let mut receipts = Vec::new();
    for round in 0..4u8 {
        let to = Address::repeat_byte(0x90 + round);
        receipts.push(transfer(&l2, to, ether(1)).await);
        node.kill();
        node = rollup.start().await;
        for receipt in &receipts {
            let again = raw_receipt(&l2, receipt.transaction_hash).await;
            assert_eq!(again.as_ref(), Some(receipt), "after {round} kills");
        }
    }
    let last = receipts.last().and_then(|receipt| receipt.block_number).unwrap();
    rollup.wait_until_safe(last).await;
    assert!(rollup.verify_agrees().await >= last);
    drop(node);
}
