//! rollup_explainTransaction: every state that a client can see, and the events on the way.

use crate::node::{FEE_WEI, Node, raw, transfer};
use alloy::{
    consensus::TxEip1559,
    primitives::{B256, U256, keccak256},
};
use sequencer::txpool::DropReason;
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime};

async fn send(node: &Node, unsigned: TxEip1559) -> B256 {
    let bytes = raw(&node.alice, unsigned);
    node.call("eth_sendRawTransaction", json!([bytes])).await;
    keccak256(&bytes)
}

async fn explain(node: &Node, hash: B256) -> Value {
    node.call("rollup_explainTransaction", json!([hash])).await
}

fn events(explained: &Value) -> Vec<&str> {
    let events = explained["events"].as_array().unwrap();
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn from_the_pool_into_a_block() {
    let node = Node::start().await;
    let now_ms = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        u64::try_from(since.unwrap().as_millis()).unwrap()
    };
    let from_ms = now_ms() - 60_000;
    let second = send(&node, transfer(1)).await;
    let explained = explain(&node, second).await;
    assert_eq!(explained["state"], "nonceGap");
    assert_eq!(explained["missingNonce"], "0x0");
    assert_eq!(explained["reason"], "nonce gap: the transaction with nonce 0 is missing");
    let sender = node.alice.address().to_string().to_lowercase();
    assert_eq!((&explained["sender"], &explained["nonce"]), (&json!(sender), &json!("0x1")));
    assert_eq!(events(&explained), ["received", "parked"]);
    assert_eq!(explained["events"][1]["missingNonce"], "0x0");

    send(&node, transfer(0)).await;
    let explained = explain(&node, second).await;
    assert_eq!(explained["state"], "ready");
    assert_eq!(explained.get("reason"), None);
    assert_eq!(events(&explained), ["received", "parked", "ready"]);

    let block = node.mine();
    let explained = explain(&node, second).await;
    assert_eq!(explained["state"], "included");
    assert_eq!(explained["blockNumber"], "0x1");
    assert_eq!(explained["blockHash"], json!(block.hash));
    assert_eq!(explained["transactionIndex"], "0x2");
    assert_eq!(events(&explained), ["received", "parked", "ready", "ordered"]);
    assert_eq!(explained["events"][3]["blockNumber"], "0x1");
    let times = explained["events"].as_array().unwrap();
    let times: Vec<_> = times.iter().map(|event| event["at"].as_u64().unwrap()).collect();
    assert!(times.is_sorted() && times[0] > from_ms && times[3] < now_ms() + 60_000, "{times:?}");

    // A rollback takes the block away and puts its transactions back.
    let removed = node.chain.roll_back(0);
    let transactions = removed.into_iter().flat_map(|block| block.transactions).collect();
    node.pool.lock().unwrap().reinsert(transactions, Instant::now());
    let explained = explain(&node, second).await;
    assert_eq!(explained["state"], "ready");
    assert_eq!(events(&explained).last(), Some(&"returned"));
}

#[tokio::test]
async fn what_was_ordered_and_is_not_in_the_chain_yet_is_told() {
    let node = Node::start().await;
    let hash = send(&node, transfer(0)).await;
    node.pool.lock().unwrap().note_ordered([hash], 1, Instant::now());
    node.pool.lock().unwrap().remove_mined(&[(node.alice.address(), 1)]);
    let explained = explain(&node, hash).await;
    assert_eq!(
        (&explained["state"], &explained["blockNumber"]),
        (&json!("ordered"), &json!("0x1"))
    );
}

#[tokio::test]
async fn who_took_its_place_is_named() {
    let node = Node::start().await;
    let old = send(&node, transfer(0)).await;
    let dearer =
        TxEip1559 { max_fee_per_gas: 2 * FEE_WEI, max_priority_fee_per_gas: 2, ..transfer(0) };
    let new = send(&node, dearer).await;
    let explained = explain(&node, old).await;
    assert_eq!((&explained["state"], &explained["by"]), (&json!("replaced"), &json!(new)));
    assert_eq!(events(&explained), ["received", "replaced"]);
    assert_eq!(explained["events"][1]["by"], json!(new));
}

#[tokio::test]
async fn what_left_says_why() {
    let node = Node::start().await;
    let hash = send(&node, transfer(0)).await;
    let late = Instant::now() + Duration::from_secs(24 * 3_600);
    assert_eq!(node.pool.lock().unwrap().expire(late), 1);
    let explained = explain(&node, hash).await;
    assert_eq!(explained["state"], "expired");
    let reason = DropReason::Expired.to_string();
    assert_eq!(explained["reason"], json!(reason));
    let refused = send(&node, TxEip1559 { value: U256::from(3), ..transfer(0) }).await;
    let reason = executor::SkipReason::SenderNotEoa;
    node.pool.lock().unwrap().skip(&refused, reason.clone(), Instant::now());
    let explained = explain(&node, refused).await;
    assert_eq!(
        (&explained["state"], &explained["reason"]),
        (&json!("dropped"), &json!(reason.to_string()))
    );
    let unknown = explain(&node, B256::ZERO).await;
    assert_eq!(unknown, json!({ "hash": B256::ZERO, "state": "unknown", "events": [] }));
    let (code, _) = node.fails("rollup_explainTransaction", json!([])).await;
    assert_eq!(code, -32602);
}
