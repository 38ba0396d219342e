//! eth_call and eth_estimateGas.

use crate::{
    chain::{CLOCK, READER, READER_CODE},
    node::{Node, quantity, raw, transfer, word},
};
use alloy::primitives::{Address, U256, hex};
use serde_json::json;

#[tokio::test]
async fn a_call_needs_neither_sender_nor_money() {
    let node = Node::start().await;
    assert_eq!(node.call("eth_call", json!([{ "to": READER }])).await, word(7));
    assert_eq!(node.call("eth_call", json!([{ "to": READER }, "latest"])).await, word(7));
    let data = json!([{ "to": READER, "data": "0x01", "input": "0x01" }, null]);
    assert_eq!(node.call("eth_call", data).await, word(7));
    let differ = json!([{ "to": READER, "data": "0x01", "input": "0x02" }]);
    assert_eq!(node.fails("eth_call", differ).await.0, -32602);
}

#[tokio::test]
async fn state_can_be_overridden() {
    let node = Node::start().await;
    let empty = Address::repeat_byte(0xee);
    let call = |to: Address, state| json!([{ "to": to }, "latest", state]);
    let diff = json!({ READER.to_string(): { "stateDiff": { word(0): word(8) } } });
    assert_eq!(node.call("eth_call", call(READER, diff)).await, word(8));
    let whole = json!({ READER.to_string(): { "state": { word(1): word(8) } } });
    assert_eq!(node.call("eth_call", call(READER, whole)).await, word(0));
    let both = json!({ READER.to_string(): { "state": {}, "stateDiff": {} } });
    assert_eq!(node.fails("eth_call", call(READER, both)).await.0, -32602);
    let code = json!({ empty.to_string(): { "code": READER_CODE } });
    assert_eq!(node.call("eth_call", call(empty, code)).await, word(0));
    // SELFBALANCE PUSH0 MSTORE PUSH1 32 PUSH0 RETURN
    let rich = json!({ empty.to_string(): { "code": "0x475f5260205ff3", "balance": "0x9" } });
    assert_eq!(node.call("eth_call", call(empty, rich)).await, word(9));
    // A delegation prefix of the wrong length is no code.
    let broken = json!({ empty.to_string(): { "code": "0xef0100" } });
    assert_eq!(node.fails("eth_call", call(empty, broken)).await.0, -32602);
    assert_eq!(node.call("eth_call", json!([{ "to": READER }])).await, word(7), "nothing stays");
}

#[tokio::test]
async fn the_block_can_be_overridden() {
    let node = Node::start().await;
    let call = json!([{ "to": CLOCK }, "latest", null, { "time": "0x5" }]);
    assert_eq!(node.call("eth_call", call).await, word(5));
}

#[tokio::test]
async fn calls_run_at_their_block_and_estimates_in_the_next() {
    let node = Node::start().await;
    node.mine();
    let at = |block: &str| json!([{ "to": CLOCK }, block]);
    assert_eq!(node.call("eth_call", at("0x0")).await, word(1_700_000_000));
    assert_eq!(node.call("eth_call", at("latest")).await, word(1_700_000_001));
    assert_eq!(node.call("eth_call", at("pending")).await, word(1_700_000_002));
    // Succeeds only at the next block's timestamp: TIMESTAMP PUSH4 t EQ PUSH1 11 JUMPI PUSH0 PUSH0
    // REVERT JUMPDEST STOP
    let t = 1_700_000_002_u32.to_be_bytes();
    let mut code = vec![0x42, 0x63, t[0], t[1], t[2], t[3], 0x14, 0x60, 13, 0x57];
    code.extend_from_slice(&hex!("5f5ffd5b00"));
    let gate = Address::repeat_byte(0xee);
    let state = json!({ gate.to_string(): { "code": hex::encode_prefixed(code) } });
    let estimate = node.call("eth_estimateGas", json!([{ "to": gate }, "latest", state])).await;
    assert!(quantity(&estimate) > 21_000);
    let (code, _) = node.fails("eth_estimateGas", json!([{ "to": gate }, "0x1", state])).await;
    assert_eq!(code, 3, "an estimate at an old block runs there");
}

#[tokio::test]
async fn an_estimate_suffices() {
    let node = Node::start().await;
    let alice = node.alice.address();
    let plain = json!([{ "from": alice, "to": Address::repeat_byte(1), "value": "0x1" }]);
    let gas = node.call("eth_estimateGas", plain).await;
    assert!(quantity(&gas) >= 21_000);
    let transfer_to = json!([{ "from": alice, "to": Address::repeat_byte(0x99), "value": "0x1" }]);
    assert_eq!(node.call("eth_estimateGas", transfer_to).await, "0x5208");
    let priced = json!([{ "from": alice, "to": alice, "maxFeePerGas": "0x3b9aca00" }]);
    assert_eq!(node.call("eth_estimateGas", priced).await, "0x5208");
    let own = json!([{ "from": alice, "to": READER, "gas": "0x100000" }]);
    let gas = quantity(&node.call("eth_estimateGas", own).await);
    let exact = json!([{ "from": alice, "to": READER, "gas": format!("{gas:#x}") }]);
    node.call("eth_call", exact).await;
}

#[tokio::test]
async fn the_pool_shows_in_pending_answers() {
    let node = Node::start().await;
    let alice = node.alice.address();
    for nonce in [0, 1, 3] {
        node.call("eth_sendRawTransaction", json!([raw(&node.alice, transfer(nonce))])).await;
    }
    let count = |tag: &str| json!([alice, tag]);
    assert_eq!(node.call("eth_getTransactionCount", count("latest")).await, "0x0");
    assert_eq!(node.call("eth_getTransactionCount", count("pending")).await, "0x2");
    let status = node.call("txpool_status", json!([])).await;
    assert_eq!(status, json!({ "pending": "0x2", "queued": "0x1" }));
    let block = node.call("eth_getBlockByNumber", json!(["pending", true])).await;
    assert!(block["hash"].is_null());
    assert_eq!(block["number"], "0x1");
    assert_eq!(block["transactions"].as_array().unwrap().len(), 2);
    let counted = node.call("eth_getBlockTransactionCountByNumber", json!(["pending"])).await;
    assert_eq!(counted, "0x2");
    let hash = block["transactions"][0]["hash"].clone();
    let pending = node.call("eth_getTransactionByHash", json!([hash])).await;
    for key in ["blockHash", "blockNumber", "transactionIndex"] {
        assert!(pending[key].is_null(), "{key}: {pending}");
    }
    assert_eq!(pending["value"], json!(U256::ONE));
    assert!(node.call("eth_getTransactionReceipt", json!([hash])).await.is_null());
}
