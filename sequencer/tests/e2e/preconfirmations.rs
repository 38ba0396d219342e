//! kill -9 under load: what was acknowledged as durable is in the chain afterwards, in its place and
//! with its receipt, and the stream goes on where it was.
//!
//! WEFT_CRASH_ROUNDS sets how many times; three by default.

use crate::support::{Anvil, Rollup, account, wait_for};
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::Encodable2718,
    network::TxSignerSync,
    primitives::{Address, Bytes, TxKind, U256, hex},
};
use futures::StreamExt;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_tungstenite::tungstenite::Message;

const SENDERS: u32 = 4;

/// Posts one call.
async fn call(url: &str, method: &str, params: Value) -> Option<Value> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = reqwest::Client::new().post(url).body(body.to_string()).send().await.ok()?;
    answer.json().await.ok()
}

async fn result(url: &str, method: &str, params: Value) -> Option<Value> {
    let mut answer = call(url, method, params).await?;
    answer.get("error").is_none().then(|| answer["result"].take())
}

fn raw(sender: u32, chain_id: u64, nonce: u64) -> String {
    let mut unsigned = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 100_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 0,
        to: TxKind::Call(Address::repeat_byte(0xee)),
        value: U256::from(1),
        input: Bytes::from(nonce.to_be_bytes().to_vec()),
        ..TxEip1559::default()
    };
    let signature = account(sender).sign_transaction_sync(&mut unsigned).unwrap();
    let envelope: TxEnvelope = unsigned.into_signed(signature).into();
    hex::encode_prefixed(envelope.encoded_2718())
}

/// What a receipt says before its block is sealed: everything but the block's hash.
fn without_hash(mut receipt: Value) -> Value {
    receipt["blockHash"].take();
    for log in receipt["logs"].as_array_mut().into_iter().flatten() {
        log["blockHash"].take();
    }
    receipt
}

/// Sends one transaction after another until the node is gone; the receipts of those acknowledged.
async fn send(url: String, sender: u32, chain_id: u64, stop: Arc<AtomicBool>) -> Vec<Value> {
    let mut acknowledged = Vec::new();
    let address = account(sender).address();
    let nonce = result(&url, "eth_getTransactionCount", json!([address, "pending"])).await;
    let Some(nonce) = nonce else { return acknowledged };
    let nonce: U256 = serde_json::from_value(nonce).unwrap();
    for nonce in nonce.to::<u64>().. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let bytes = raw(sender, chain_id, nonce);
        let Some(answer) = call(&url, "eth_sendRawTransactionSync", json!([bytes])).await else {
            break;
        };
        assert!(answer.get("error").is_none(), "{answer}");
        acknowledged.push(answer["result"].clone());
    }
    acknowledged
}

/// Follows the stream from where it was until the node is gone.
async fn follow(url: String, seen: Arc<Mutex<Vec<Value>>>) {
    let cursor = seen.lock().unwrap().last().map_or(0, |event| event["cursor"].as_u64().unwrap());
    let url = format!("{}/v1/stream?cursor={cursor}", url.replace("http", "ws"));
    let Ok((mut socket, _)) = tokio_tungstenite::connect_async(url).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            seen.lock().unwrap().push(serde_json::from_str(&text).unwrap());
        }
    }
}

fn rounds() -> u64 {
    std::env::var("WEFT_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_survives_kill_nine_in_its_place() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    // The rounds are about mini-blocks: what crashes in a fold has tests of its own.
    rollup.config.push_str("empty-blocks = \"follow-l1\"\n");
    let chain_id = rollup.genesis.rules.chain_id;
    let mut node = rollup.start().await;
    for sender in 0..SENDERS {
        rollup.deposit(sender, crate::support::ether(10)).await;
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (mut total, mut unsealed) = (0, 0);
    for round in 0..rounds() {
        let stop = Arc::new(AtomicBool::new(false));
        let following = tokio::spawn(follow(rollup.url(), seen.clone()));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| tokio::spawn(send(rollup.url(), sender, chain_id, stop.clone())))
            .collect();
        // Every phase of a slot of half a second comes up, over the rounds.
        tokio::time::sleep(Duration::from_millis(200 + round * 97 % 700)).await;
        node.kill();
        stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for sender in senders {
            acknowledged.extend(sender.await.unwrap());
        }
        following.await.unwrap();
        assert!(!acknowledged.is_empty(), "round {round}: nothing was acknowledged");
        node = rollup.start().await;
        let head = result(&rollup.url(), "eth_blockNumber", json!([])).await.unwrap();
        let head: U256 = serde_json::from_value(head).unwrap();
        for receipt in &acknowledged {
            let hash = &receipt["transactionHash"];
            let number: U256 = serde_json::from_value(receipt["blockNumber"].clone()).unwrap();
            unsealed += u64::from(number > head);
            let sealed = wait_for("an acknowledged transaction", async || {
                let found = result(&rollup.url(), "eth_getTransactionReceipt", json!([hash])).await;
                found.filter(|found| !found.is_null())
            })
            .await;
            assert_eq!(without_hash(receipt.clone()), without_hash(sealed), "round {round}");
        }
        total += acknowledged.len();
    }
    // The whole stream, read in one go, is what was seen piece by piece.
    let last = seen.lock().unwrap().last().unwrap()["cursor"].as_u64().unwrap();
    let whole = Arc::new(Mutex::new(Vec::new()));
    let following = tokio::spawn(follow(rollup.url(), whole.clone()));
    wait_for("the stream", async || {
        let at = whole.lock().unwrap().last().map(|event| event["cursor"].as_u64().unwrap());
        (at >= Some(last)).then_some(())
    })
    .await;
    following.abort();
    let (seen, whole) = (seen.lock().unwrap(), whole.lock().unwrap());
    assert_eq!(seen[..], whole[..seen.len()]);
    let executed = |event: &&Value| event["type"] == "executed";
    let told: usize = whole
        .iter()
        .filter(executed)
        .map(|event| event["receipts"].as_array().unwrap().len())
        .sum();
    assert!(told >= total, "{told} of {total}");
    println!(
        "{} kills: {total} acknowledged, {unsealed} of them not sealed at the restart; {} events",
        rounds(),
        seen.len()
    );
}
