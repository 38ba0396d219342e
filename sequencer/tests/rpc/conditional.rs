//! Sends with conditions and caps: what is refused at once, and in which words.

use crate::{
    chain::READER,
    node::{FEE_WEI, Node, raw, transfer},
};
use alloy::{
    consensus::TxEip1559,
    primitives::{B256, U256, hex, keccak256},
};
use executor::FeeSchedule;
use sequencer::rpc::Chain;
use serde_json::{Value, json};

const METHOD: &str = "eth_sendRawTransactionConditional";

fn word(value: u64) -> String {
    hex::encode_prefixed(U256::from(value).to_be_bytes::<32>())
}

#[tokio::test]
async fn conditions_that_hold_admit() {
    let node = Node::start().await;
    let slot = word(0);
    let proof = node.call("eth_getProof", json!([READER, [], "latest"])).await;
    let table = [
        json!({}),
        json!({ "knownAccounts": {} }),
        json!({ "knownAccounts": { READER.to_string(): { &slot: word(7) } } }),
        json!({ "knownAccounts": { READER.to_string(): { "0x0": word(7), "0x1": word(0) } } }),
        json!({ "knownAccounts": { READER.to_string(): proof["storageHash"] } }),
        json!({ "blockNumberMin": "0x1", "blockNumberMax": "0x1" }),
        json!({ "timestampMin": 1_700_000_001, "timestampMax": "0xffffffffff" }),
    ];
    for (nonce, conditions) in (0..).zip(table) {
        let bytes = raw(&node.alice, transfer(nonce));
        let hash = node.call(METHOD, json!([bytes, conditions])).await;
        assert_eq!(hash, json!(keccak256(&bytes)), "{conditions}");
    }
    assert_eq!(node.pool.lock().unwrap().counts().ready, 7);
}

#[tokio::test]
async fn conditions_that_do_not_hold_are_refused_in_op_geths_words() {
    let node = Node::start().await;
    let bytes = raw(&node.alice, transfer(0));
    let wrong_root = B256::repeat_byte(1);
    let header = "failed header check: failed";
    let state = "failed state check: failed account storage";
    let table = [
        (json!({ "blockNumberMin": "0x2" }), format!("{header} block number minimum constraint")),
        (json!({ "blockNumberMax": "0x0" }), format!("{header} block number maximum constraint")),
        (json!({ "timestampMin": "0xffffffffff" }), format!("{header} timestamp minimum constraint")),
        (json!({ "timestampMax": 1_700_000_000 }), format!("{header} timestamp maximum constraint")),
        (
            json!({ "knownAccounts": { READER.to_string(): { "0x0": word(8) } } }),
            format!("{state} slot key {} constraint. Got {}, Expected {}", word(0), word(7), word(8)),
        ),
        (
            json!({ "knownAccounts": { READER.to_string(): wrong_root } }),
            format!("{state} root constraint. Got "),
        ),
        (
            json!({ "blockNumberMin": 3, "blockNumberMax": 2 }),
            "failed conditional validation: block number minimum constraint must be less than the maximum".to_owned(),
        ),
    ];
    for (conditions, words) in table {
        let (code, message) = node.fails(METHOD, json!([bytes, conditions])).await;
        let words = format!("transaction conditional rejected: {words}");
        assert_eq!((code, message.starts_with(&words)), (-32003, true), "{message}");
    }
    assert!(node.pool.lock().unwrap().is_empty());
    // The same bytes without a condition are welcome.
    node.call("eth_sendRawTransaction", json!([bytes])).await;
}

#[tokio::test]
async fn conditions_cost_at_most_a_thousand() {
    let node = Node::start().await;
    let slots = |count: u64| -> Value {
        (0..count)
            .map(|slot| (word(slot + 1), json!(word(0))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let known = |count| json!({ "knownAccounts": { READER.to_string(): slots(count) } });
    let bytes = raw(&node.alice, transfer(0));
    let error = node.fails(METHOD, json!([bytes, known(1_000)])).await;
    assert_eq!(error, (-32005, "conditional cost, 1001, exceeded max: 1000".to_owned()));
    node.call(METHOD, json!([bytes, known(999)])).await;
}

#[tokio::test]
async fn unknown_keys_and_bad_values_are_named() {
    let node = Node::start().await;
    let bytes = raw(&node.alice, transfer(0));
    let table = [
        ("eth_sendRawTransaction", json!([bytes, { "maxTotalFees": "0x1" }]), "`maxTotalFees`"),
        ("eth_sendRawTransactionSync", json!([bytes, null, { "x": 1 }]), "`x`"),
        (METHOD, json!([bytes, {}, { "maxFee": 1 }]), "`maxFee`"),
        (METHOD, json!([bytes, { "blockMin": 1 }]), "`blockMin`"),
        (METHOD, json!([bytes, { "knownAccounts": { "0x1": {} } }]), "invalid argument 1"),
        (METHOD, json!([bytes]), "missing value for required argument 1"),
        ("eth_sendRawTransaction", json!([bytes, { "maxTotalFee": "lots" }]), "invalid argument 1"),
        ("eth_sendRawTransaction", json!([bytes, {}, {}]), "too many arguments"),
    ];
    for (method, params, words) in table {
        let (code, message) = node.fails(method, params).await;
        assert_eq!((code, message.contains(words)), (-32602, true), "{message}");
    }
    assert!(node.pool.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_transaction_above_its_cap_waits_and_says_so() {
    let node = Node::start().await;
    let tip = TxEip1559 { max_priority_fee_per_gas: FEE_WEI, ..transfer(0) };
    let bytes = raw(&node.alice, tip);
    // Above the least that this chain can ask, below what the transaction itself offers to pay.
    let cap_wei = 21_000 * FEE_WEI - 1;
    let low = json!({ "maxTotalFee": "0x1" });
    let (code, message) = node.fails("eth_sendRawTransaction", json!([bytes, low])).await;
    assert_eq!((code, message.starts_with("max total fee too low")), (-32000, true), "{message}");
    let cap = json!({ "maxTotalFee": format!("{cap_wei:#x}") });
    let hash = node.call("eth_sendRawTransaction", json!([bytes, cap])).await;
    let block = node.mine();
    assert_eq!(block.transactions.len(), 1, "only the deposit that opens a block");
    let explained = node.call("rollup_explainTransaction", json!([hash])).await;
    assert_eq!(explained["state"], "totalFeeAboveCap");
    assert_eq!(explained["maxTotalFee"], cap["maxTotalFee"]);
    // Gas at the most that is offered, and the fees beside it.
    let fees = FeeSchedule::set_by(node.chain.rules(), &block.transactions[0]).unwrap();
    let total = U256::from(21_000 * FEE_WEI) + fees.extra_fee_wei(&bytes, 21_000);
    assert_eq!(explained["totalFee"], json!(total));
    assert_eq!(node.call("eth_getTransactionByHash", json!([hash])).await["hash"], hash);

    let enough = json!({ "maxTotalFee": format!("{:#x}", 22 * 21_000 * FEE_WEI) });
    let dearer = TxEip1559 {
        max_fee_per_gas: 20 * FEE_WEI,
        max_priority_fee_per_gas: 2 * FEE_WEI,
        ..transfer(0)
    };
    node.call(METHOD, json!([raw(&node.alice, dearer), {}, enough])).await;
    assert_eq!(node.mine().transactions.len(), 2);
}
