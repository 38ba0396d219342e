//! eth_sendRawTransactionSync, and sends in bulk.

use crate::node::{Node, raw, transfer};
use alloy::primitives::keccak256;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_synchronous_send_answers_with_the_receipt() {
    let node = Node::start().await;
    node.mine_always();
    for (nonce, timeout) in [(0, json!(null)), (1, json!(5_000)), (2, json!("0x1388"))] {
        let bytes = raw(&node.alice, transfer(nonce));
        let receipt = node.call("eth_sendRawTransactionSync", json!([bytes, timeout])).await;
        assert_eq!(receipt["transactionHash"], json!(keccak256(&bytes)));
        assert_eq!(receipt["status"], "0x1");
        let read = node.call("eth_getTransactionReceipt", json!([keccak256(&bytes)])).await;
        assert_eq!(receipt, read);
    }
}

#[tokio::test]
async fn a_synchronous_send_times_out_with_the_hash() {
    let node = Node::start().await;
    let bytes = raw(&node.alice, transfer(0));
    let started = Instant::now();
    let error = node.error("eth_sendRawTransactionSync", json!([bytes, 50])).await;
    assert!(started.elapsed() >= Duration::from_millis(50));
    assert_eq!((&error["code"], &error["data"]), (&json!(4), &json!(keccak256(&bytes))));
    assert_eq!(node.pool.lock().unwrap().counts().ready, 1, "it stays in the pool");
}

#[tokio::test]
async fn a_synchronous_send_behind_a_gap_is_not_ready() {
    let node = Node::start().await;
    let bytes = raw(&node.alice, transfer(7));
    let error = node.error("eth_sendRawTransactionSync", json!([bytes])).await;
    assert_eq!((&error["code"], &error["data"]), (&json!(5), &json!(keccak256(&bytes))));
    let again = node.fails("eth_sendRawTransactionSync", json!([bytes])).await;
    assert_eq!(again, (-32000, "already known".to_owned()));
}

#[tokio::test]
async fn a_batch_enters_the_pool_in_order() {
    let node = Node::start().await;
    let requests: Vec<_> = (0..100)
        .map(|nonce| {
            let params = json!([raw(&node.alice, transfer(nonce))]);
            json!({ "jsonrpc": "2.0", "id": nonce, "method": "eth_sendRawTransaction", "params": params })
        })
        .collect();
    let answers = node.post(json!(requests).to_string()).await;
    for (id, answer) in answers.as_array().unwrap().iter().enumerate() {
        assert_eq!(answer["id"], id);
        assert!(answer["result"].is_string(), "{answer}");
    }
    assert_eq!(node.mine().transactions.len(), 101);
    let count = node.call("eth_getTransactionCount", json!([node.alice.address()])).await;
    assert_eq!(count, "0x64");
}

#[tokio::test]
async fn synchronous_sends_of_a_batch_wait_together() {
    let node = Node::start().await;
    node.mine_always();
    let requests: Vec<_> = (0..10)
        .map(|nonce| {
            let params = json!([raw(&node.alice, transfer(nonce))]);
            json!({ "jsonrpc": "2.0", "id": nonce, "method": "eth_sendRawTransactionSync", "params": params })
        })
        .collect();
    let answers = node.post(json!(requests).to_string()).await;
    let answers = answers.as_array().unwrap();
    assert!(answers.iter().all(|answer| answer["result"]["status"] == "0x1"), "{answers:?}");
}
