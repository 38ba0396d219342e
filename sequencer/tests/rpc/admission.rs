//! The way into the pool: in order, together, within bounds.

use crate::node::{Node, raw, transfer};
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::Encodable2718,
    primitives::{Bytes, Signature, U256, keccak256},
};
use futures::future::join_all;
use serde_json::{Value, json};
use std::{sync::mpsc, time::Duration};

fn send(id: usize, raw: &Bytes) -> Value {
    let (method, params) = ("eth_sendRawTransaction", json!([raw]));
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

#[tokio::test]
async fn a_signature_that_is_none_is_refused_by_the_admission() {
    let node = Node::start().await;
    let high_s = Signature::new(U256::ONE, U256::MAX, false);
    let forged = TxEnvelope::from(transfer(0).into_signed(high_s));
    let forged = Bytes::from(forged.encoded_2718());
    let (code, message) = node.fails("eth_sendRawTransaction", json!([forged])).await;
    assert_eq!((code, message.starts_with("invalid sender")), (-32000, true), "{message}");
    let (code, _) = node.fails("eth_sendRawTransactionSync", json!([forged])).await;
    assert_eq!(code, -32000);
}

#[tokio::test]
async fn an_entry_of_a_batch_sees_the_sends_before_it() {
    let node = Node::start().await;
    let first = raw(&node.alice, transfer(0));
    let call = |id: usize, method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let answers = node
        .post(
            json!([
                call(0, "eth_getTransactionByHash", json!([keccak256(&first)])),
                send(1, &first),
                call(2, "eth_getTransactionByHash", json!([keccak256(&first)])),
                call(3, "eth_getTransactionCount", json!([node.alice.address(), "pending"])),
                send(4, &raw(&node.alice, transfer(1))),
                send(5, &first),
            ])
            .to_string(),
        )
        .await;
    assert_eq!(answers[0]["result"], Value::Null);
    assert_eq!(answers[1]["result"], json!(keccak256(&first)));
    assert_eq!(answers[2]["result"]["blockNumber"], Value::Null);
    assert_eq!(answers[2]["result"]["hash"], json!(keccak256(&first)));
    assert_eq!(answers[3]["result"], "0x1");
    assert!(answers[4]["result"].is_string());
    assert_eq!(answers[5]["error"]["message"], "already known");
    for (id, answer) in answers.as_array().unwrap().iter().enumerate() {
        assert_eq!(answer["id"], id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_all_admitted_and_a_batch_leaves_no_gaps() {
    let node = Node::start().await;
    let batch: Vec<_> =
        (0..300).map(|nonce| send(nonce, &raw(&node.alice, transfer(nonce as u64)))).collect();
    let singles: Vec<_> = (0..100).map(|nonce| raw(&node.bob, transfer(nonce))).collect();
    let singles = singles.iter().map(|raw| node.call("eth_sendRawTransaction", json!([raw])));
    let batch = json!(batch).to_string();
    let (answers, hashes) = tokio::join!(node.post(batch), join_all(singles));
    assert!(answers.as_array().unwrap().iter().all(|answer| answer["result"].is_string()));
    assert_eq!(hashes.len(), 100);
    let status = node.call("txpool_status", json!([])).await;
    assert_eq!(status, json!({ "pending": "0x190", "queued": "0x0" }));
    // Of one batch none was ever parked.
    let explained = node.call("rollup_explainTransaction", json!([answers[299]["result"]])).await;
    assert_eq!(explained["events"].as_array().unwrap().len(), 1, "{explained}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_line_is_said_to_be_full_and_everybody_in_it_is_answered() {
    let node = std::sync::Arc::new(Node::start().await);
    // While the pool is held, nothing is admitted.
    let (release, released) = mpsc::channel::<()>();
    let (holding, held) = mpsc::channel();
    let pool = node.pool.clone();
    let holder = std::thread::spawn(move || {
        let _held = pool.lock().unwrap();
        holding.send(()).unwrap();
        released.recv().unwrap();
    });
    held.recv().unwrap();
    let bytes = raw(&node.alice, transfer(0));
    let batch: Vec<_> = (0..1_000).map(|id| send(id, &bytes)).collect();
    let batch = json!(batch).to_string();
    let batches: Vec<_> = (0..18)
        .map(|_| {
            let (node, batch) = (node.clone(), batch.clone());
            tokio::spawn(async move { node.post(batch).await })
        })
        .collect();
    // Sooner or later one more is too many: 18,000 were sent, and 16,384 may wait.
    let busy = loop {
        let one = node.error("eth_sendRawTransaction", json!([bytes]));
        if let Ok(error) = tokio::time::timeout(Duration::from_millis(500), one).await {
            break error;
        }
    };
    assert_eq!(busy["code"], -32005);
    let words = busy["message"].as_str().unwrap();
    assert!(words.starts_with("server busy: 16384 transactions wait for admission"), "{words}");
    let sync = node.fails("eth_sendRawTransactionSync", json!([bytes])).await;
    assert_eq!(sync.0, -32005);
    release.send(()).unwrap();
    holder.join().unwrap();
    let (mut admitted, mut known, mut refused) = (0, 0, 0);
    for answers in join_all(batches).await {
        for answer in answers.unwrap().as_array().unwrap() {
            match answer["error"]["code"].as_i64() {
                None => admitted += 1,
                Some(-32000) => known += 1,
                Some(-32005) => refused += 1,
                Some(other) => panic!("{other}"),
            }
        }
    }
    assert_eq!(admitted + known + refused, 18_000);
    assert!(admitted <= 1 && refused > 0, "{admitted} {known} {refused}");
    // And afterwards it goes on.
    node.call("eth_sendRawTransaction", json!([raw(&node.alice, transfer(1))])).await;
}

#[tokio::test]
async fn long_transactions_take_the_same_way() {
    let node = Node::start().await;
    // Beyond what is decoded on the spot.
    let long = TxEip1559 {
        input: vec![0; 20_000].into(),
        gas_limit: 5_000_000,
        max_fee_per_gas: 2_000_000,
        ..transfer(0)
    };
    let bytes = raw(&node.alice, long);
    let hash = node.call("eth_sendRawTransaction", json!([bytes])).await;
    assert_eq!(hash, json!(keccak256(&bytes)));
    assert_eq!(node.mine().transactions.len(), 2);
}
