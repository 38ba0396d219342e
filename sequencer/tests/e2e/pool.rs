//! The pool across restarts of the node.

use crate::support::{Anvil, Rollup, account, ether, raw_receipt, wait_for};
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::Encodable2718,
    network::TxSignerSync,
    primitives::{Address, B256, Bytes, TxKind, U256, keccak256},
    providers::{DynProvider, Provider},
};
use serde_json::{Value, json};
use std::fs;

/// A transfer of one wei from user 0.
fn raw(rollup: &Rollup, nonce: u64) -> Bytes {
    let signer = account(0);
    let mut unsigned = TxEip1559 {
        chain_id: rollup.genesis.rules.chain_id,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(Address::repeat_byte(0x55)),
        value: U256::ONE,
        ..Default::default()
    };
    let signature = signer.sign_transaction_sync(&mut unsigned).unwrap();
    TxEnvelope::from(unsigned.into_signed(signature)).encoded_2718().into()
}

async fn ask(l2: &DynProvider, method: &'static str, params: Value) -> Value {
    l2.raw_request(method.into(), params).await.unwrap()
}

async fn explain(l2: &DynProvider, hash: B256) -> Value {
    ask(l2, "rollup_explainTransaction", json!([hash])).await
}

fn events(explained: &Value) -> Vec<&str> {
    let events = explained["events"].as_array().unwrap();
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pooled_transactions_survive_kill_minus_nine() {
    let Some(anvil) = Anvil::start() else { return };
    let rollup = Rollup::deploy(&anvil);
    let mut node = rollup.start().await;
    rollup.deposit(0, ether(10)).await;
    let l2 = rollup.client(0);
    // A deposit counts a nonce of its sender.
    let next = l2.get_transaction_count(account(0).address()).await.unwrap();
    let [mined, missing, parked, dated] = [0, 1, 2, 3].map(|n| raw(&rollup, next + n));
    let hash = |raw: &Bytes| keccak256(raw);
    ask(&l2, "eth_sendRawTransactionSync", json!([mined])).await;
    // They cannot be included while the nonce before them is missing.
    ask(&l2, "eth_sendRawTransaction", json!([parked, { "maxTotalFee": "0xffffffffffffff" }]))
        .await;
    let far = json!({ "timestampMax": "0xffffffffff" });
    ask(&l2, "eth_sendRawTransactionConditional", json!([dated, far])).await;
    let before = explain(&l2, hash(&parked)).await;
    assert_eq!(
        (&before["state"], events(&before)),
        (&json!("nonceGap"), vec!["received", "parked"])
    );

    for round in 0..3 {
        node.kill();
        if round == 1 {
            // As a kill in the middle of a write leaves it.
            let path = rollup.directory.path().join("data/pool.journal");
            let mut bytes = fs::read(&path).unwrap();
            bytes.extend([7; 20]);
            fs::write(&path, bytes).unwrap();
        }
        node = rollup.start().await;
        for raw in [&parked, &dated] {
            let again = ask(&l2, "eth_getTransactionByHash", json!([hash(raw)])).await;
            assert_eq!(again["hash"], json!(hash(raw)), "after {round} kills");
        }
        let status = ask(&l2, "txpool_status", json!([])).await;
        assert_eq!(status, json!({ "pending": "0x0", "queued": "0x2" }), "the mined one fell out");
        let after = explain(&l2, hash(&parked)).await;
        assert_eq!(events(&after), ["received", "restored", "parked"]);
        assert_eq!(after["events"][0]["at"], before["events"][0]["at"], "it came when it came");
    }
    ask(&l2, "eth_sendRawTransaction", json!([missing])).await;
    for raw in [&mined, &missing, &parked, &dated] {
        wait_for("a receipt", async || raw_receipt(&l2, hash(raw)).await).await;
        assert_eq!(explain(&l2, hash(raw)).await["state"], "included");
    }
    drop(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_used_does_not_keep_the_node_from_starting() {
    let Some(anvil) = Anvil::start() else { return };
    let rollup = Rollup::deploy(&anvil);
    fs::create_dir_all(rollup.directory.path().join("data/pool.journal")).unwrap();
    let _node = rollup.start().await;
    let log = fs::read_to_string(rollup.directory.path().join("node.log")).unwrap();
    assert!(log.contains("no journal: a restart will forget the pool"), "{log}");
}
