//! The batcher is dead for longer than the chain may be ahead of L1: users are held up step by step,
//! sequencing pauses, and when it comes back so does everything, with all that was promised.

use crate::{
    preconfirmations::{call, raw, result, without_hash},
    support::{Anvil, Rollup, account, ether, transfer, wait_for},
};
use alloy::{
    eips::BlockNumberOrTag,
    primitives::{Address, U256},
    providers::{Provider, ext::AnvilApi},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

const SENDERS: u32 = 4;
/// The batcher's account.
const BATCHER: u32 = 11;
const LEVELS: [&str; 6] = ["open", "warn", "throttle", "minimumFee", "depositsOnly", "paused"];

/// Well above what posting takes on a slow machine, and each level as long as several looks at it. 1 KiB
/// per second is less than what is sent.
const THRESHOLDS: &str = "[pressure]\nwarn-secs = 20\nthrottle-secs = 23\nminimum-fee-secs = 26\n\
    deposits-only-secs = 29\npause-secs = 32\nthrottle-kib-per-sec = 1\ntip-wei = 1000\n";

/// What became of a sender's transactions.
#[derive(Default)]
struct Sent {
    /// Receipts of those acknowledged as durable.
    durable: Vec<Value>,
    /// Hashes of those that the pool took, and no block in time.
    received: Vec<Value>,
    /// Refused sends by what was said.
    underpriced: usize,
    closed: usize,
}

/// Sends one transaction after another. Who is told to pay more does; who is told to wait does.
async fn send(url: String, sender: u32, chain_id: u64, stop: Arc<AtomicBool>) -> Sent {
    let mut sent = Sent::default();
    // Its deposit has used nonces.
    let count = json!([account(sender).address(), "latest"]);
    let count = result(&url, "eth_getTransactionCount", count).await.unwrap();
    let (mut nonce, mut tip_wei) = (serde_json::from_value::<U256>(count).unwrap().to(), 0);
    while !stop.load(Ordering::Relaxed) {
        let bytes = raw(sender, chain_id, nonce, tip_wei);
        let Some(answer) = call(&url, "eth_sendRawTransactionSync", json!([bytes])).await else {
            // The node is started again, in the pause: what it did not answer it did not take.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let error = &answer["error"];
        let message = error["message"].as_str().unwrap_or_default();
        match (error["code"].as_i64(), error["data"].as_str()) {
            (None, _) => {
                sent.durable.push(answer["result"].clone());
                nonce += 1;
            }
            (Some(4), Some(_)) => {
                sent.received.push(error["data"].clone());
                nonce += 1;
            }
            (Some(-32005), Some("backPressure")) if message.contains("underpriced") => {
                (sent.underpriced, tip_wei) = (sent.underpriced + 1, 1_000);
            }
            (Some(-32005), Some("backPressure")) => sent.closed += 1,
            _ => panic!("{answer}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sent
}

/// The level at each change that polling sees.
async fn watch(url: String, seen: Arc<Mutex<Vec<usize>>>, stop: Arc<AtomicBool>) {
    let started = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if let Some(level) = level(&url).await {
            note(&seen, level, started);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn note(seen: &Mutex<Vec<usize>>, level: usize, started: Instant) {
    let mut seen = seen.lock().unwrap();
    if seen.last() != Some(&level) {
        println!("{:6.1} s: {}", started.elapsed().as_secs_f32(), LEVELS[level]);
        seen.push(level);
    }
}

/// Its place in [`LEVELS`]; `None` while the node is down.
async fn level(url: &str) -> Option<usize> {
    let pressure = result(url, "rollup_backPressure", json!([])).await?;
    Some(LEVELS.iter().position(|name| pressure["level"] == *name).unwrap())
}

async fn wait_for_level(url: &str, wanted: usize) {
    let what = LEVELS[wanted];
    wait_for(what, async || (level(url).await == Some(wanted)).then_some(())).await;
}

/// Waits until no block came for some seconds, and returns the height.
async fn stands_still(rollup: &Rollup) -> u64 {
    let mut last = (0, 0);
    wait_for("sequencing to pause", async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let height = rollup.height(BlockNumberOrTag::Latest).await;
        last = if height == last.0 { (height, last.1 + 1) } else { (height, 0) };
        (last.1 >= 6).then_some(height)
    })
    .await
}

async fn get(rollup: &Rollup, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("{}{path}", rollup.url())).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The value of a metric.
async fn metric(rollup: &Rollup, name: &str) -> f64 {
    let (_, text) = get(rollup, "/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// While sequencing is paused: who asks is told, and reads go on.
async fn check_pause(rollup: &Rollup) {
    let (status, text) = get(rollup, "/ready").await;
    let ready: Value = serde_json::from_str(&text).unwrap();
    let checks = ready["checks"].as_array().unwrap();
    let check = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap();
    assert_eq!((status, &check("posting")["ok"]), (503, &json!(false)), "{text}");
    assert!(check("posting")["detail"].as_str().unwrap().starts_with("paused: "), "{text}");
    assert_eq!(check("sealing")["ok"], true, "{text}");
    assert_eq!(metric(rollup, "weft_pressure_level").await, 5.0);
    assert!(metric(rollup, "weft_unsafe_lag_seconds").await >= 25.0);
    assert!(metric(rollup, "weft_unsafe_blocks").await > 0.0);
    assert!(metric(rollup, "weft_unsafe_bytes").await > 0.0);
    let l2 = rollup.client(0);
    assert!(l2.get_balance(account(0).address()).await.unwrap() > U256::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_batcher_pauses_the_chain_step_by_step_and_loses_nothing() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.config.push_str("batch-data = \"calldata\"\n");
    rollup.config.push_str(THRESHOLDS);
    let node = rollup.start().await;
    for sender in 0..SENDERS {
        rollup.deposit(sender, ether(10)).await;
    }
    let (url, chain_id) = (rollup.url(), rollup.genesis.rules.chain_id);
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| tokio::spawn(send(url.clone(), sender, chain_id, stop.clone())))
        .collect();
    rollup.wait_until_safe(3).await;
    wait_for_level(&url, 0).await;

    // Without ether it posts nothing any more.
    let l1 = anvil.client(0);
    l1.anvil_set_balance(account(BATCHER).address(), U256::ZERO).await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watching = tokio::spawn(watch(url.clone(), seen.clone(), stop.clone()));
    wait_for_level(&url, 5).await;
    let height = stands_still(&rollup).await;
    let up = seen.lock().unwrap().clone();
    assert!(up.windows(2).all(|pair| pair[0] < pair[1]), "in order: {up:?}");
    assert_eq!((up[0], up[up.len() - 1]), (0, 5), "{up:?}");
    check_pause(&rollup).await;
    let deposit = rollup.start_deposit(5, ether(3)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rollup.height(BlockNumberOrTag::Latest).await, height, "no block in a pause");
    // A new start is no way out of it.
    node.kill();
    let _node = rollup.start().await;
    wait_for_level(&url, 5).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rollup.height(BlockNumberOrTag::Latest).await, height, "none after a restart");

    let refilled = Instant::now();
    l1.anvil_set_balance(account(BATCHER).address(), ether(100)).await.unwrap();
    wait_for_level(&url, 0).await;
    println!("open again {:.1} s after the refill", refilled.elapsed().as_secs_f32());
    let deposited = wait_for_receipt(&url, &json!(deposit)).await;
    assert!(number(&deposited) > height, "a deposit made in the pause");
    let last = transfer(&rollup.client(5), Address::repeat_byte(4), ether(1)).await;
    stop.store(true, Ordering::Relaxed);
    watching.await.unwrap();
    let (mut durable, mut received, mut underpriced, mut closed) = (0, 0, 0, 0);
    let mut last_block = last.block_number.unwrap();
    for sender in senders {
        let sent = sender.await.unwrap();
        for receipt in &sent.durable {
            let sealed = wait_for_receipt(&url, &receipt["transactionHash"]).await;
            assert_eq!(without_hash(sealed.clone()), without_hash(receipt.clone()));
            last_block = last_block.max(number(&sealed));
        }
        for hash in &sent.received {
            last_block = last_block.max(number(&wait_for_receipt(&url, hash).await));
        }
        durable += sent.durable.len();
        received += sent.received.len();
        (underpriced, closed) = (underpriced + sent.underpriced, closed + sent.closed);
    }
    println!("{durable} durable, {received} late, {underpriced} underpriced, {closed} refused");
    assert!(durable > 0 && underpriced > 0 && closed > 0);
    rollup.wait_until_safe(last_block).await;
    assert!(rollup.verify_agrees().await >= last_block);
    assert!(metric(&rollup, "weft_posted_batches_total").await > 0.0);
    check_audit(&rollup).await;
}

fn number(receipt: &Value) -> u64 {
    serde_json::from_value::<U256>(receipt["blockNumber"].clone()).unwrap().to()
}

async fn wait_for_receipt(url: &str, hash: &Value) -> Value {
    wait_for("a transaction that was acknowledged", async || {
        let found = result(url, "eth_getTransactionReceipt", json!([hash])).await;
        found.filter(|found| !found.is_null())
    })
    .await
}

/// Every step up is in the audit trail, and the way back.
async fn check_audit(rollup: &Rollup) {
    let lines = rollup.ledger().await.audit_trail(1_000).await.unwrap();
    let lines = lines.into_iter().rev().filter(|line| line.action == "back-pressure");
    let steps: Vec<String> = lines
        .map(|line| line.detail.split(':').next().unwrap().to_owned())
        .inspect(|step| println!("{step}"))
        .collect();
    let paused = steps.iter().position(|step| step == "deposits-only -> paused").unwrap();
    assert_eq!(steps[paused + 1], "open -> paused", "after the restart");
    let up = [
        "open -> warn",
        "warn -> throttle",
        "throttle -> minimum-fee",
        "minimum-fee -> deposits-only",
        "deposits-only -> paused",
    ];
    assert_eq!(steps[paused - 4..=paused], up);
    assert!(steps.last().unwrap().ends_with("-> open"), "{steps:?}");
}
