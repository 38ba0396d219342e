//! What senders meet while L1 is behind, and what operators see of it.

use crate::node::{FEE_WEI, Node, quantity, raw, transfer};
use alloy::consensus::TxEip1559;
use sequencer::{
    pressure::{Gauge, Governor, Limits, Load, Pressure, Threshold},
    rpc::RpcOptions,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;

const TIP_WEI_MIN: u64 = 500;

/// The pressure when L1 has been so many tens of seconds behind for a while.
fn behind(tens: u64) -> Pressure {
    let threshold =
        |at: usize| Threshold { lag: Duration::from_secs(10 * (at as u64 + 1)), bytes: u64::MAX };
    let limits = Limits {
        thresholds: std::array::from_fn(threshold),
        throttle_bytes_per_sec: 8_000,
        tip_wei_min: TIP_WEI_MIN,
    };
    let load = Load { lag: Duration::from_secs(10 * tens), blocks: 3, bytes: 4_096 };
    let mut governor = Governor::new(limits);
    (0..9).map(|_| governor.observe(load)).last().unwrap()
}

async fn start(tens: u64) -> (Node, watch::Sender<Pressure>) {
    let (told, receiver) = watch::channel(behind(tens));
    let options = RpcOptions { pressure: Gauge::new(receiver), ..RpcOptions::default() };
    (Node::serve(options).await, told)
}

fn tipped(nonce: u64, tip_wei: u64) -> TxEip1559 {
    TxEip1559 {
        max_fee_per_gas: 2 * FEE_WEI,
        max_priority_fee_per_gas: tip_wei.into(),
        ..transfer(nonce)
    }
}

async fn refused(node: &Node, method: &str, params: Value) -> String {
    let error = node.error(method, params).await;
    assert_eq!((&error["code"], &error["data"]), (&json!(-32005), &json!("backPressure")));
    error["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn milder_levels_refuse_nobody() {
    let (node, told) = start(0).await;
    for tens in 0..=2 {
        told.send_replace(behind(tens));
        node.call("eth_sendRawTransaction", json!([raw(&node.alice, tipped(tens, 0))])).await;
    }
    assert_eq!(quantity(&node.call("eth_maxPriorityFeePerGas", json!([])).await), 0);
}

#[tokio::test]
async fn a_least_tip_is_asked_for_and_suggested() {
    let (node, told) = start(3).await;
    let cheap = raw(&node.alice, tipped(0, TIP_WEI_MIN - 1));
    for method in ["eth_sendRawTransaction", "eth_sendRawTransactionSync"] {
        let message = refused(&node, method, json!([cheap])).await;
        assert!(message.starts_with("transaction underpriced: tip needed 500, "), "{message}");
    }
    let tip_wei = quantity(&node.call("eth_maxPriorityFeePerGas", json!([])).await);
    assert_eq!(tip_wei, TIP_WEI_MIN);
    let suggested = raw(&node.alice, tipped(0, tip_wei));
    node.call("eth_sendRawTransaction", json!([suggested])).await;
    told.send_replace(behind(0));
    let gas_price = node.call("eth_gasPrice", json!([])).await;
    told.send_replace(behind(3));
    let dearer = node.call("eth_gasPrice", json!([])).await;
    assert_eq!(quantity(&dearer) - quantity(&gas_price), TIP_WEI_MIN);
}

#[tokio::test]
async fn with_deposits_only_sends_are_refused_and_what_is_pooled_stays() {
    let (node, told) = start(0).await;
    node.call("eth_sendRawTransaction", json!([raw(&node.alice, tipped(0, 0))])).await;
    for tens in [4, 5] {
        told.send_replace(behind(tens));
        let bytes = raw(&node.alice, tipped(1, 10_000));
        let calls = [
            ("eth_sendRawTransaction", json!([bytes])),
            ("eth_sendRawTransactionSync", json!([bytes])),
            ("eth_sendRawTransactionConditional", json!([bytes, {}])),
        ];
        for (method, params) in calls {
            let message = refused(&node, method, params).await;
            assert!(message.contains("try again later"), "{message}");
        }
        let status = node.call("txpool_status", json!([])).await;
        assert_eq!(status["pending"], "0x1");
        node.call("eth_blockNumber", json!([])).await;
    }
    told.send_replace(behind(0));
    node.call("eth_sendRawTransaction", json!([raw(&node.alice, tipped(1, 0))])).await;
}

#[tokio::test]
async fn the_state_is_told() {
    let (node, told) = start(4).await;
    let answer = node.call("rollup_backPressure", json!([])).await;
    let expected = json!({
        "level": "depositsOnly", "lagSecs": 40.0, "unsafeBlocks": "0x3", "unsafeBytes": "0x1000",
        "takesTransactions": false, "seals": true, "minPriorityFeePerGas": "0x1f4",
        // Two thirds of the way from throttle to pause.
        "bytesPerSecMax": "0xd0a",
    });
    assert_eq!(answer, expected);
    told.send_replace(behind(0));
    let answer = node.call("rollup_backPressure", json!([])).await;
    assert_eq!((&answer["level"], &answer["bytesPerSecMax"]), (&json!("open"), &Value::Null));
    let off = Node::start().await;
    assert_eq!(off.call("rollup_backPressure", json!([])).await, Value::Null);
    assert_eq!(off.get("/metrics").await, (200, "# EOF\n".to_owned()));
}
