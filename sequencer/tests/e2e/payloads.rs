//! The payload archive: what was posted stays readable by its hash, whatever L1 forgets.

use crate::support::{Anvil, Rollup, account, ether, transfer, wait_for};
use alloy::{
    eips::{BlockNumberOrTag, eip4844::Blob},
    primitives::{Address, B256},
};
use axum::{Json, Router, http::StatusCode, routing::get};
use contracts::Inbox;
use serde_json::json;

/// A beacon node that has pruned every blob.
pub(crate) async fn pruned_beacon() -> String {
    let data = |data: serde_json::Value| async move { Json(json!({ "data": data })) };
    let app = Router::new()
        .route("/eth/v1/beacon/genesis", get(move || data(json!({ "genesis_time": "0" }))))
        .route("/eth/v1/config/spec", get(move || data(json!({ "SECONDS_PER_SLOT": "1" }))))
        .fallback(|| async { StatusCode::NOT_FOUND });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// Hashes of the blobs of every append on L1 now, in order.
pub(crate) async fn blob_hashes(anvil: &Anvil, rollup: &Rollup) -> Vec<B256> {
    let l1 = anvil.client(0);
    let inbox = Inbox::new(rollup.genesis.l1.inbox, &l1);
    let appended = inbox.BatchAppended_filter().from_block(0).query().await.unwrap();
    appended.into_iter().flat_map(|(event, _)| event.blobHashes).collect()
}

async fn ask(url: &str, path: &str) -> reqwest::Response {
    reqwest::get(format!("{url}/v1/da/{path}")).await.unwrap()
}

/// That a node serves these blobs, and refuses other hashes with a reason.
async fn serves(url: &str, hashes: &[B256]) {
    for hash in hashes {
        let response = ask(url, &hash.to_string()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/octet-stream");
        assert!(response.headers()["cache-control"].to_str().unwrap().contains("immutable"));
        let blob = Blob::from_slice(&response.bytes().await.unwrap());
        let (_, computed) = batcher::kzg::versioned_hashes(vec![blob]).await.unwrap();
        assert_eq!(computed, [*hash]);
    }
    for (path, status, reason) in [
        ("0x12", 400, "expected 0x and 64 hexadecimal digits"),
        (&hashes[0].to_string()[2..], 400, "expected 0x"),
        (&B256::repeat_byte(1).to_string(), 404, "is not archived here"),
    ] {
        let response = ask(url, path).await;
        assert_eq!(response.status(), status);
        let body: serde_json::Value = response.json().await.unwrap();
        assert!(body["error"].as_str().unwrap().contains(reason), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_are_served_by_hash_when_l1_has_lost_them() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    // Deeper than the reorg, so that only batches are lost and no L2 block is.
    rollup.config = rollup.config.replace("l1-confirmations = 2", "l1-confirmations = 10");
    let node = rollup.start().await;
    rollup.deposit(0, ether(10)).await;
    let receipt = transfer(&rollup.client(0), Address::repeat_byte(1), ether(1)).await;
    rollup.wait_until_safe(receipt.block_number.unwrap()).await;

    let hashes = blob_hashes(&anvil, &rollup).await;
    serves(&rollup.url(), &hashes).await;

    // L1 drops the newest batches; what was in them is still here.
    let before = blob_hashes(&anvil, &rollup).await;
    anvil.reorg(4).await;
    for hash in &before {
        assert_eq!(ask(&rollup.url(), &hash.to_string()).await.status(), 200);
    }
    let height = rollup.height(BlockNumberOrTag::Latest).await;
    rollup.wait_until_safe(height).await;

    // A verifier whose beacon node has pruned everything names what is missing and whom it asked.
    let beacon = pruned_beacon().await;
    let failed = rollup.verify_with(&["--l1-beacon-url", &beacon]);
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success());
    assert!(text.contains(&hashes[0].to_string()) && text.contains(&beacon), "{text}");
    // With the node's archive it arrives at the chain.
    let archived = ["--l1-beacon-url", &beacon, "--blob-archive-url", &rollup.url()];
    let verified = rollup.verify_with(&archived);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));

    // A file that is damaged is put aside and not served; the verifier names the archive then.
    let file = rollup.directory.path().join(format!("data/blobs/{:x}.blob", hashes[0]));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[70_000] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(ask(&rollup.url(), &hashes[0].to_string()).await.status(), 404);
    assert_eq!(std::fs::read(file.with_extension("blob.corrupt")).unwrap(), bytes);
    let failed = rollup.verify_with(&archived);
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(text.contains(&format!("archive at {} (not found)", rollup.url())), "{text}");

    // A node that lost its memory of L1 reads the blob there again, and serves it.
    node.kill();
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(rollup.directory.path().join("data").join(name));
    }
    let _node = rollup.start().await;
    wait_for("the blob to be archived again", async || file.exists().then_some(())).await;
    assert_eq!(ask(&rollup.url(), &hashes[0].to_string()).await.status(), 200);
    rollup.deposit(1, ether(1)).await;
    let receipt = transfer(&rollup.client(1), account(0).address(), ether(0)).await;
    rollup.wait_until_safe(receipt.block_number.unwrap()).await;
    rollup.verify_agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calldata_is_archived_by_the_hash_that_the_inbox_has() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.config.push_str("batch-data = \"calldata\"\n");
    let _node = rollup.start().await;
    rollup.wait_until_safe(2).await;
    let l1 = anvil.client(0);
    let inbox = Inbox::new(rollup.genesis.l1.inbox, &l1);
    let appended = inbox.BatchAppended_filter().from_block(0).query().await.unwrap();
    assert!(!appended.is_empty());
    for (event, _) in appended {
        let response = ask(&rollup.url(), &event.dataHash.to_string()).await;
        assert_eq!(response.status(), 200);
        let data = response.bytes().await.unwrap();
        assert_eq!(alloy::primitives::keccak256(&data), event.dataHash);
    }
}
