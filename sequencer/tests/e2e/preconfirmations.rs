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
pub(crate) async fn call(url: &str, method: &str, params: Value) -> Option<Value> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = reqwest::Client::new().post(url).body(body.to_string()).send().await.ok()?;
    answer.json().await.ok()
}

pub(crate) async fn result(url: &str, method: &str, params: Value) -> Option<Value> {
    let mut answer = call(url, method, params).await?;
    answer.get("error").is_none().then(|| answer["result"].take())
}

/// A transaction of the test account `sender` that pays this tip, wei per gas.
pub(crate) fn raw(sender: u32, chain_id: u64, nonce: u64, tip_wei: u128) -> String {
    let mut unsigned = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 100_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: tip_wei,
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
pub(crate) fn without_hash(mut receipt: Value) -> Value {
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
        let bytes = raw(sender, chain_id, nonce, 0);
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
    let rounds = std::env::var_os("WEFT_CRASH_ROUNDS");
    rounds.map_or(3, |rounds| rounds.to_str().unwrap().parse().unwrap())
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

/// The next message of a socket, as JSON.
async fn next_json<S>(socket: &mut S) -> Value
where
    S: StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// Whether a text has these, each after the one before.
fn in_order(text: &str, steps: &[&str]) -> bool {
    let mut rest = Some(text);
    for step in steps {
        rest = rest.and_then(|rest| rest.split_once(step)).map(|(_, rest)| rest);
    }
    rest.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_is_acknowledged_as_asked_and_everybody_is_told() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    // So long that what is executed is seen before it is sealed.
    rollup.config = rollup.config.replace("block-time-ms = 500", "block-time-ms = 4000");
    let chain_id = rollup.genesis.rules.chain_id;
    let _node = rollup.start().await;
    rollup.deposit(0, crate::support::ether(10)).await;
    let url = rollup.url();
    let (mut flashblocks, _) =
        tokio_tungstenite::connect_async(format!("{}/v1/flashblocks", url.replace("http", "ws")))
            .await
            .unwrap();
    let mut stream = reqwest::get(format!("{url}/v1/stream")).await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");

    // Depositing has counted a nonce.
    let count = json!([account(0).address(), "pending"]);
    let nonce: U256 =
        serde_json::from_value(result(&url, "eth_getTransactionCount", count).await.unwrap())
            .unwrap();
    let raw = |index: u64| raw(0, chain_id, nonce.to::<u64>() + index, 0);
    // Durable: the receipt comes before the block, and the state is pending.
    let receiver = json!(Address::repeat_byte(0xee));
    let sent = json!([raw(0)]);
    let preconfirmed = result(&url, "eth_sendRawTransactionSync", sent).await.unwrap();
    let hash = preconfirmed["transactionHash"].clone();
    let head = result(&url, "eth_blockNumber", json!([])).await.unwrap();
    let number = |value: &Value| serde_json::from_value::<U256>(value.clone()).unwrap();
    // Unless the slot ended right then.
    if number(&preconfirmed["blockNumber"]) > number(&head) {
        assert_eq!(preconfirmed["blockHash"], json!(alloy::primitives::B256::ZERO));
        let balance =
            async |tag: &str| result(&url, "eth_getBalance", json!([receiver, tag])).await.unwrap();
        let (pending, latest) = (balance("pending").await, balance("latest").await);
        let head_after = result(&url, "eth_blockNumber", json!([])).await.unwrap();
        if head_after == head {
            assert_eq!((pending, latest), (json!("0x1"), json!("0x0")));
        }
    }

    // Sealed: the receipt has its block.
    let sent = json!([raw(1), 20_000, { "acknowledgement": "sealed" }]);
    let sealed = result(&url, "eth_sendRawTransactionSync", sent).await.unwrap();
    let found = result(&url, "eth_getTransactionReceipt", json!([sealed["transactionHash"]])).await;
    assert_eq!(found.unwrap(), sealed);
    let first = result(&url, "eth_getTransactionReceipt", json!([hash])).await.unwrap();
    assert_eq!(without_hash(first), without_hash(preconfirmed));
    // Safe: the hash, once the batch is on L1.
    let sent = json!([raw(2), { "acknowledgement": "safe" }]);
    let safe_hash = result(&url, "eth_sendRawTransaction", sent).await.unwrap();
    let receipt = result(&url, "eth_getTransactionReceipt", json!([safe_hash])).await.unwrap();
    let safe = result(&url, "eth_getBlockByNumber", json!(["safe", false])).await.unwrap();
    assert!(number(&safe["number"]) >= number(&receipt["blockNumber"]));
    let unknown = json!([raw(3), { "acknowledgment": "safe" }]);
    let refused = call(&url, "eth_sendRawTransaction", unknown).await.unwrap();
    assert_eq!(refused["error"]["code"], -32602);

    // The first Flashblock of the block that has the first transaction says what the block is.
    let flashblock = loop {
        let flashblock = next_json(&mut flashblocks).await;
        if flashblock["metadata"]["receipts"].get(hash.as_str().unwrap()).is_some() {
            break flashblock;
        }
    };
    assert_eq!((&flashblock["index"], flashblock["base"].is_object()), (&json!(0), true));
    assert_eq!(flashblock["diff"]["transactions"].as_array().unwrap().len(), 2, "with attributes");

    // The stream tells all of it, in its order.
    let hash = hash.as_str().unwrap();
    let steps = [hash, "event: executed", "event: sealed", "event: batched", "event: safe"];
    let mut told = String::new();
    while !in_order(&told, &steps) {
        told.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
    }
    let ahead = reqwest::get(format!("{url}/v1/stream?cursor=99999999")).await.unwrap();
    assert_eq!(ahead.status(), 400);
    assert!(ahead.text().await.unwrap().contains("ahead of the stream"));
}
