//! L1, or its beacon API, does not answer for a while: the rollup goes on, says so, and catches up.

use crate::support::{Anvil, Rollup, ether, free_port, transfer, wait_for};
use alloy::{eips::BlockNumberOrTag, primitives::Address};
use std::fs;

async fn l1_is_ready(rollup: &Rollup) -> bool {
    let url = format!("{}/ready", rollup.url());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let checks = answer["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == "l1").unwrap()["ok"].as_bool().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sequencing_goes_on_and_catches_up() {
    let Some(anvil) = Anvil::start() else { return };
    let rollup = Rollup::deploy(&anvil);
    let _node = rollup.start().await;
    rollup.deposit(0, ether(10)).await;
    wait_for("readiness", async || l1_is_ready(&rollup).await.then_some(())).await;

    anvil.pause();
    wait_for("/ready to say so", async || (!l1_is_ready(&rollup).await).then_some(())).await;
    let receipt = transfer(&rollup.client(0), Address::repeat_byte(3), ether(1)).await;
    assert!(receipt.block_number.unwrap() <= rollup.height(BlockNumberOrTag::Latest).await);
    anvil.resume();

    wait_for("readiness again", async || l1_is_ready(&rollup).await.then_some(())).await;
    rollup.wait_until_safe(receipt.block_number.unwrap()).await;
    assert!(rollup.verify_agrees().await >= receipt.block_number.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_beacon_api_a_node_starts_and_sequences() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    let own = rollup.config.clone();
    rollup.config.push_str(&format!("l1-beacon-url = \"http://127.0.0.1:{}\"\n", free_port()));
    let node = rollup.start().await;
    rollup.deposit(0, ether(10)).await;
    let receipt = transfer(&rollup.client(0), Address::repeat_byte(3), ether(1)).await;
    // What it posts it has archived, and needs nobody to read it back.
    rollup.wait_until_safe(receipt.block_number.unwrap()).await;
    node.kill();
    // A node that has neither is told what it lacks, and goes on without.
    let data = rollup.directory.path().join("data");
    fs::remove_dir_all(data.join("blobs")).unwrap();
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = fs::remove_file(data.join(name));
    }
    let node = rollup.start().await;
    let log = rollup.directory.path().join("node.log");
    wait_for("the log to say so", async || {
        fs::read_to_string(&log).unwrap().contains("the beacon API gives no blobs").then_some(())
    })
    .await;
    assert_eq!(rollup.height(BlockNumberOrTag::Safe).await, 0);
    node.kill();

    rollup.config = own;
    let _node = rollup.start().await;
    rollup.wait_until_safe(receipt.block_number.unwrap()).await;
    assert!(rollup.verify_agrees().await >= receipt.block_number.unwrap());
}
