//! An operator pauses, resumes, flushes and cancels, in either process, and finds it in the audit trail.

use crate::support::{
    Anvil, BatcherFiles, Rollup, account, admin, ether, free_port, transfer, wait_for,
};
use alloy::{
    eips::BlockNumberOrTag,
    primitives::{Address, B256},
    providers::Provider,
};
use contracts::Inbox;
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Lines of a ledger's audit trail, newest first.
async fn trail(rollup: &Rollup, name: &str) -> Vec<(String, String)> {
    let lines = rollup.ledger_in(name).await.audit_trail(50).await.unwrap();
    lines.into_iter().map(|line| (line.action, line.detail)).collect()
}

/// L1 makes no block from now on, until it is asked to.
async fn stop_mining(anvil: &Anvil) {
    let l1 = anvil.client(0);
    let _: Value = l1.raw_request("evm_setIntervalMining".into(), (0,)).await.unwrap();
}

/// L1 makes a block a second again.
async fn start_mining(anvil: &Anvil) {
    let l1 = anvil.client(0);
    let _: Value = l1.raw_request("evm_setIntervalMining".into(), (1,)).await.unwrap();
}

/// A batcher that posts only what is flushed, and no outputs beside it.
fn only_flushed(rollup: &Rollup) -> BatcherFiles {
    let mut files = rollup.batcher("posting");
    files.config = files
        .config
        .replace("batch-age-secs = 2", "batch-age-secs = 3600")
        .replace("output-interval-blocks = 4", "output-interval-blocks = 9999");
    files
}

/// Flushes while L1 stands still, pauses, and cancels what is in flight. Returns the answer to that.
async fn cancelled_in_flight(anvil: &Anvil, files: &BatcherFiles) -> Value {
    stop_mining(anvil).await;
    let flushing = files.admin(&["flush"]);
    let pausing = async {
        let sender = wait_for("a transaction in flight", async || {
            let status = json(&files.admin(&["status"]).await.1);
            let senders = status["senders"].as_array().unwrap().clone();
            senders.into_iter().find(|sender| sender["in_flight"].is_object())
        })
        .await;
        let (done, text) = files.admin(&["pause"]).await;
        assert!(done, "{text}");
        (sender, json(&text))
    };
    let ((flushed, text), (sender, paused)) = tokio::join!(flushing, pausing);
    assert!(!flushed && text.contains("sending is paused: resume first"), "{text}");
    assert_eq!(paused["paused"], true);
    assert_eq!(sender["account"].as_str().unwrap().parse(), Ok(account(11).address()));
    assert!(paused.to_string().contains(sender["in_flight"]["tx_hash"].as_str().unwrap()));
    let (done, text) = files.admin(&["cancel-nonce"]).await;
    assert!(done, "{text}");
    let cancelled = json(&text);
    assert_eq!(cancelled["nonce"], sender["in_flight"]["nonce"]);
    // The same again: the same answer.
    let again = json(&files.admin(&["cancel-nonce"]).await.1);
    assert_eq!(again["replaced_by"], cancelled["replaced_by"]);
    start_mining(anvil).await;
    cancelled
}

/// Waits until L1 has the replacement, and nothing is in flight.
async fn replacement_is_included(anvil: &Anvil, files: &BatcherFiles, cancelled: &Value) {
    let l1 = anvil.client(0);
    let replaced_by: B256 = cancelled["replaced_by"].as_str().unwrap().parse().unwrap();
    let included = wait_for("the replacement on L1", async || {
        l1.get_transaction_receipt(replaced_by).await.unwrap()
    })
    .await;
    assert_eq!(included.to, Some(account(11).address()));
    let (_, text) = wait_for("nothing to be in flight", async || {
        let answer = files.admin(&["cancel-nonce"]).await;
        (!answer.0).then_some(answer)
    })
    .await;
    assert!(text.contains("no L1 transaction is in flight"), "{text}");
}

/// That the audit trail has lines of these actions, with these words in them.
async fn trail_has(rollup: &Rollup, name: &str, expected: &[(&str, &str)]) {
    let lines = trail(rollup, name).await;
    for (action, detail) in expected {
        let found = lines.iter().any(|(a, d)| a == action && d.contains(detail));
        assert!(found, "{action} {detail}: {lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_tells_a_batcher_what_to_send() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.without_keys();
    let _sequencer = rollup.start().await;
    let files = only_flushed(&rollup);
    let batcher = files.start().await;
    rollup.deposit(0, ether(10)).await;
    let receipt = transfer(&rollup.client(0), Address::repeat_byte(1), ether(1)).await;
    let l1 = anvil.client(0);
    let inbox = Inbox::new(rollup.genesis.l1.inbox, &l1);
    let batches = async || inbox.nextBatch().call().await.unwrap();
    assert_eq!(batches().await, 0);

    // Flush: the blocks are on L1 when it is answered.
    let (done, text) = files.admin(&["flush"]).await;
    assert!(done, "{text}");
    assert!(json(&text)["flushed_to"].as_u64() >= receipt.block_number, "{text}");
    let before = batches().await;
    assert!(before >= 1);
    rollup.wait_until_safe(receipt.block_number.unwrap()).await;

    // A transaction in flight is named by pause, and replaced by cancel-nonce.
    let cancelled = cancelled_in_flight(&anvil, &files).await;
    replacement_is_included(&anvil, &files, &cancelled).await;
    assert_eq!(batches().await, before, "nothing was appended");

    // A pause survives kill -9; nothing is sent for several L1 blocks.
    batcher.kill();
    let _batcher = files.start().await;
    assert_eq!(json(&files.admin(&["status"]).await.1)["paused"], true);
    let height = l1.get_block_number().await.unwrap();
    wait_for("L1 to move on", async || {
        (l1.get_block_number().await.unwrap() > height + 4).then_some(())
    })
    .await;
    assert_eq!(batches().await, before);
    let (done, text) = files.admin(&["resume"]).await;
    assert!(done && json(&text)["paused"] == false, "{text}");
    let height = rollup.height(BlockNumberOrTag::Latest).await;
    let (done, text) = files.admin(&["flush"]).await;
    assert!(done && json(&text)["flushed_to"].as_u64() >= Some(height), "{text}");
    assert!(batches().await > before);

    let expected = [
        ("admin flush", "flushed_to"),
        ("admin flush", "refused: sending is paused"),
        ("admin pause", &cancelled["nonce"].to_string()),
        ("admin cancel-nonce", cancelled["replaced_by"].as_str().unwrap()),
        ("admin cancel-nonce", "refused: no L1 transaction is in flight"),
        ("admin resume", "from 127.0.0.1:"),
    ];
    trail_has(&rollup, "posting", &expected).await;
    // All that is on L1 is the chain, whatever was cancelled.
    rollup.wait_until_safe(height).await;
    assert!(rollup.verify_agrees().await >= height);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poster_that_halted_is_resumed_in_a_running_node() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    let port = free_port();
    let token = rollup.batcher("unused").token;
    rollup
        .config
        .push_str(&format!("admin-listen = \"127.0.0.1:{port}\"\nadmin-token-file = {token:?}\n"));
    let mut node = rollup.start().await;
    let told =
        async |action: &str| admin(env!("CARGO_BIN_EXE_sequencer"), port, &token, &[action]).await;
    rollup.wait_until_safe(2).await;
    // The owner gives the Inbox to somebody else: that is for somebody to look at.
    let owner = anvil.client(10);
    let inbox = Inbox::new(rollup.genesis.l1.inbox, &owner);
    let set = async |to: Address| {
        let sent = inbox.setSequencer(to).send().await.unwrap();
        assert!(sent.get_receipt().await.unwrap().status());
    };
    set(account(5).address()).await;
    let ready = format!("{}/ready", rollup.url());
    let text = wait_for("the poster to halt", async || {
        let text = reqwest::get(&ready).await.unwrap().text().await.unwrap();
        text.contains("the inbox takes appends from").then_some(text)
    })
    .await;
    assert_eq!(text.matches("\"poster\"").count(), 1, "one check for a task: {text}");
    let (done, text) = told("flush").await;
    assert!(!done && text.contains("the poster halted"), "{text}");
    set(account(11).address()).await;
    let height = rollup.height(BlockNumberOrTag::Latest).await;
    let (done, text) = told("resume").await;
    assert!(done && json(&text)["halted"] == json("{}"), "{text}");
    rollup.wait_until_safe(height).await;
    wait_for("the node to be ready", async || {
        reqwest::get(&ready).await.unwrap().status().is_success().then_some(())
    })
    .await;
    let (done, text) = told("flush").await;
    assert!(done, "{text}");
    assert!(rollup.verify_agrees().await >= height);
    assert!(node.is_running());
    let expected = [("posting halted", ""), ("admin resume", ""), ("admin flush", "")];
    trail_has(&rollup, "data", &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_no_secret_is_refused() {
    let Some(anvil) = Anvil::start() else { return };
    let rollup = Rollup::deploy(&anvil);
    let mut files = rollup.batcher("posting");
    fs::set_permissions(&files.token, fs::Permissions::from_mode(0o644)).unwrap();
    let text = files.refused();
    assert!(text.contains("others can read") && text.contains("chmod 600"), "{text}");
    fs::set_permissions(&files.token, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&files.token, "short").unwrap();
    let text = files.refused();
    assert!(text.contains("at least 16 characters"), "{text}");
    let lines = files.config.lines().filter(|line| !line.starts_with("admin-token"));
    files.config = lines.collect::<Vec<_>>().join("\n");
    let text = files.refused();
    assert!(text.contains("admin-token-file is not set"), "{text}");
    assert!(!files.directory.exists(), "nothing was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_token_gets_nothing() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.without_keys();
    let _node = rollup.start().await;
    let mut files = rollup.batcher("posting");
    // It only proposes.
    files.config = files.config.replace("batcher-key-file", "# batcher-key-file");
    let good = fs::read_to_string(&files.token).unwrap();
    let _batcher = files.start().await;

    let http = reqwest::Client::new();
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", files.admin_port);
    let get = reqwest::Method::GET;
    let post = reqwest::Method::POST;
    let good = format!("Bearer {}", good.trim());
    for (method, path, token, status, reason) in [
        (&post, "/admin/v1/pause", "", 401, "expected the header"),
        (
            &post,
            "/admin/v1/pause",
            "Bearer 0123456789abcdef0123456789abcdee",
            401,
            "expected the header",
        ),
        (
            &post,
            "/admin/v1/pause",
            "Basic 0123456789abcdef0123456789abcdef",
            401,
            "expected the header",
        ),
        (&get, "/admin/v1/nothing", "", 401, "expected the header"),
        (&post, "/admin/v1/nothing", &good, 404, "there are pause, resume, flush, cancel-nonce"),
        (&post, "/", &good, 404, "no such action"),
        (&get, "/admin/v1/pause", &good, 405, "use POST"),
        (&post, "/admin/v1/status", &good, 405, "use GET"),
        (&post, "/admin/v1/flush", &good, 409, "no key of the poster is in this process"),
    ] {
        let request = http.request(method.clone(), url(path)).header("authorization", token);
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        let body: Value = response.json().await.unwrap();
        assert!(body["error"].as_str().unwrap().contains(reason), "{body}");
    }
    let request = http.post(url("/admin/v1/cancel-nonce")).header("authorization", &good);
    let response = request.body("{\"task\": \"nobody\"}").send().await.unwrap();
    assert_eq!(response.status(), 400);
    let status = http.get(url("/admin/v1/status")).header("authorization", &good).send().await;
    let status: Value = status.unwrap().json().await.unwrap();
    assert_eq!(status["paused"], false);

    // Guessing is bounded, and one line a minute; who has the token is not kept away by it.
    let mut answers = Vec::new();
    for _ in 0..80 {
        let request = http.post(url("/admin/v1/pause")).header("authorization", "Bearer wrong");
        answers.push(request.send().await.unwrap().status().as_u16());
    }
    assert!(answers.contains(&429), "{answers:?}");
    let (done, text) = files.admin(&["status"]).await;
    assert!(done, "{text}");
    let lines = trail(&rollup, "posting").await;
    let refused: Vec<_> = lines.iter().filter(|(action, _)| action == "admin refused").collect();
    assert!((1..=3).contains(&refused.len()), "{lines:#?}");
    assert!(refused[0].1.contains("from 127.0.0.1:"), "{refused:?}");
}
