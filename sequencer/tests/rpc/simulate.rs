//! eth_simulateV1 and eth_callMany: calls that build on each other, and leave nothing.

use crate::{
    chain::{CLOCK, LOGGER, READER, REVERTER, SPINNER},
    node::{Node, raw, transfer, word},
    tracing::{FORWARDER_CODE, forwarding, send, with_forwarder},
};
use alloy::primitives::{Address, B256, U256, address};
use serde_json::{Value, json};

/// Any address that may be given money.
const CAROL: Address = address!("0x00000000000000000000000000000000000000ca");

fn one(calls: Value) -> Value {
    json!({ "blockStateCalls": [{ "calls": calls }] })
}

#[tokio::test]
async fn a_simulated_block_is_the_block_that_is_mined() {
    let node = Node::start().await;
    let forwarder = with_forwarder(&node).await;
    let alice = node.alice.address();
    let input = forwarding(1, forwarder, LOGGER).input;
    let call = json!({
        "from": alice, "to": forwarder, "data": input, "gas": "0x30d40",
        "maxFeePerGas": "0x3b9aca00", "maxPriorityFeePerGas": "0x1",
    });
    let payload = json!({
        "blockStateCalls": [{ "calls": [call] }], "validation": true, "returnFullTransactions": true,
    });
    let blocks = node.call("eth_simulateV1", json!([payload, "latest"])).await;
    let simulated = &blocks[0];
    send(&node, forwarding(1, forwarder, LOGGER)).await;
    let mined = node.mine();
    for (field, real) in [
        ("number", json!("0x2")),
        ("parentHash", json!(mined.header.parent_hash)),
        ("baseFeePerGas", json!(U256::from(mined.header.base_fee_per_gas.unwrap()))),
        ("logsBloom", json!(mined.header.logs_bloom)),
        ("gasLimit", json!(U256::from(mined.header.gas_limit))),
        ("timestamp", json!(U256::from(mined.header.timestamp))),
    ] {
        assert_eq!(simulated[field], real, "{field}");
    }
    let result = &simulated["calls"][0];
    let receipt = node.call("eth_getBlockReceipts", json!(["latest"])).await[1].take();
    assert_eq!(result["status"], "0x1");
    assert_eq!(result["gasUsed"], receipt["gasUsed"]);
    assert_eq!(result["logs"][0]["topics"], receipt["logs"][0]["topics"]);
    assert_eq!(result["logs"][0]["blockHash"], simulated["hash"]);
    let transaction = &simulated["transactions"][0];
    assert_eq!((&transaction["from"], &transaction["nonce"]), (&json!(alice), &json!("0x1")));
    assert_ne!(simulated["stateRoot"], json!(B256::ZERO));
}

#[tokio::test]
async fn calls_build_on_each_other() {
    let node = Node::start().await;
    // CAROL has nothing: the first block gives her money, she passes it on, and a contract is put
    // where none was.
    let contract = Address::repeat_byte(0x42);
    let payload = json!({ "blockStateCalls": [
        {
            "stateOverrides": {
                CAROL.to_string(): { "balance": "0x64" },
                contract.to_string(): { "code": FORWARDER_CODE },
            },
            "calls": [
                { "from": CAROL, "to": contract, "value": "0x9", "data": READER.into_word() },
                { "from": CAROL, "to": contract, "data": REVERTER.into_word() },
                { "from": CAROL, "to": REVERTER, "data": "0x01" },
            ],
        },
        {
            "blockOverrides": { "number": "0x5", "time": "0x77777777" },
            "calls": [
                { "to": CLOCK },
                { "from": CAROL, "to": Address::repeat_byte(0x43), "value": "0x5b" },
            ],
        },
    ]});
    let blocks = node.call("eth_simulateV1", json!([payload])).await;
    let blocks = blocks.as_array().unwrap();
    let numbers: Vec<_> = blocks.iter().map(|block| block["number"].as_str().unwrap()).collect();
    assert_eq!(numbers, ["0x1", "0x2", "0x3", "0x4", "0x5"], "gaps are filled");
    for pair in blocks.windows(2) {
        assert_eq!(pair[1]["parentHash"], pair[0]["hash"]);
    }
    let first = blocks[0]["calls"].as_array().unwrap();
    assert_eq!(first.len(), 3);
    assert_eq!((&first[0]["status"], &first[1]["status"]), (&json!("0x1"), &json!("0x1")));
    assert_eq!(first[2]["status"], "0x0");
    assert_eq!(first[2]["returnData"], "0x01");
    let reverted = json!({ "code": 3, "message": "execution reverted", "data": "0x01" });
    assert_eq!(first[2]["error"], reverted);
    let last = blocks[4]["calls"].as_array().unwrap();
    assert_eq!(last[0]["returnData"], word(0x7777_7777));
    assert_eq!(last[1]["status"], "0x1", "100 - 9 wei are left");
    assert_eq!(node.call("eth_getBalance", json!([CAROL])).await, "0x0", "nothing stays");
}

#[tokio::test]
async fn transfers_become_logs() {
    let node = Node::start().await;
    let forwarder = with_forwarder(&node).await;
    let alice = node.alice.address();
    let send_on = |to: Address| json!({ "from": alice, "to": forwarder, "value": "0x7", "data": to.into_word() });
    let payload = json!({
        "blockStateCalls": [{ "calls": [send_on(CAROL), send_on(REVERTER)] }], "traceTransfers": true,
    });
    let blocks = node.call("eth_simulateV1", json!([payload])).await;
    let emitter = json!("0xeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
    let logs = blocks[0]["calls"][0]["logs"].as_array().unwrap();
    assert_eq!(logs.len(), 2);
    for (log, (from, to)) in logs.iter().zip([(alice, forwarder), (forwarder, CAROL)]) {
        assert_eq!((&log["address"], &log["data"]), (&emitter, &json!(word(7))));
        assert_eq!(log["topics"][1], json!(from.into_word()));
        assert_eq!(log["topics"][2], json!(to.into_word()));
    }
    // What was taken back is no transfer.
    let logs = blocks[0]["calls"][1]["logs"].as_array().unwrap();
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0]["logIndex"], "0x2");
    let bloom = json!(alloy::primitives::Bloom::ZERO);
    assert_eq!(blocks[0]["logsBloom"], bloom, "they are not in the block");
}

#[tokio::test]
async fn what_cannot_be_simulated_has_its_code() {
    let node = Node::start().await;
    let alice = node.alice.address();
    node.mine();
    let strict =
        |call: Value| json!({ "blockStateCalls": [{ "calls": [call] }], "validation": true });
    let fee = "0x3b9aca00";
    let table = [
        (json!({ "blockStateCalls": [] }), -32602),
        (one(json!([{ "from": CAROL, "to": READER, "value": "0x1" }])), -38014),
        (
            strict(json!({ "from": alice, "to": READER, "nonce": "0x5", "maxFeePerGas": fee })),
            -38011,
        ),
        (strict(json!({ "from": alice, "to": READER, "maxFeePerGas": "0x1" })), -38012),
        (
            strict(
                json!({ "from": alice, "to": READER, "gas": "0x5208", "maxFeePerGas": fee, "data": "0x01" }),
            ),
            -38013,
        ),
        (one(json!([{ "to": READER, "gas": "0xffffffffff" }])), -38015),
        (json!({ "blockStateCalls": [{ "blockOverrides": { "number": "0x1" } }] }), -38020),
        (json!({ "blockStateCalls": [{ "blockOverrides": { "time": "0x1" } }] }), -38021),
        (json!({ "blockStateCalls": [{ "blockOverrides": { "number": "0xffff" } }] }), -38026),
    ];
    for (payload, code) in table {
        let (found, message) = node.fails("eth_simulateV1", json!([payload])).await;
        assert_eq!(found, code, "{payload}: {message}");
    }
    // The nonce of a call is not checked without validation.
    let free = one(json!([{ "from": alice, "to": READER, "nonce": "0x5" }]));
    assert_eq!(node.call("eth_simulateV1", json!([free])).await[0]["calls"][0]["status"], "0x1");
    // A spinner stops at the gas that one simulation may use, and leaves none to the next.
    let spinning = one(json!([{ "to": SPINNER }, { "to": READER }]));
    let (code, _) = node.fails("eth_simulateV1", json!([spinning])).await;
    assert_eq!(code, -38026);
}

#[tokio::test]
async fn many_calls_see_each_other() {
    let node = Node::start().await;
    let forwarder = with_forwarder(&node).await;
    node.call("eth_sendRawTransaction", json!([raw(&node.alice, transfer(1))])).await;
    node.mine();
    let reads_own_slot = json!({ forwarder.to_string(): { "balance": "0x5" } });
    let call = |to: Address| json!({ "to": forwarder, "data": to.into_word() });
    let bundles = json!([
        { "transactions": [call(LOGGER), { "to": REVERTER, "data": "0x01" }] },
        { "transactions": [{ "to": CLOCK }], "blockOverride": { "time": "0x9" } },
        { "transactions": [{ "to": CLOCK }] },
    ]);
    let answers = node
        .call("eth_callMany", json!([bundles, { "blockNumber": "latest" }, reads_own_slot]))
        .await;
    assert_eq!(answers[0][0], json!({ "value": "0x" }));
    assert_eq!(answers[0][1], json!({ "error": "execution reverted" }));
    assert_eq!(answers[1][0], json!({ "value": word(9) }));
    assert_eq!(answers[2][0], json!({ "value": word(10) }));

    // A contract that the first call creates is there for the second.
    let alice = node.alice.address();
    let init = crate::tracing::init_code(&crate::chain::READER_CODE);
    let bundle =
        json!([{ "transactions": [{ "from": alice, "data": init }, { "to": alice.create(2) }] }]);
    assert_eq!(node.call("eth_callMany", json!([bundle])).await[0][1], json!({ "value": word(0) }));
    // Before the block's transfer alice's nonce is one lower.
    let early = json!({ "blockNumber": "latest", "transactionIndex": 1 });
    let bundle =
        json!([{ "transactions": [{ "from": alice, "data": init }, { "to": alice.create(1) }] }]);
    assert_eq!(
        node.call("eth_callMany", json!([bundle, early])).await[0][1],
        json!({ "value": word(0) })
    );
    let beyond = json!({ "blockNumber": "latest", "transactionIndex": 9 });
    assert_eq!(node.fails("eth_callMany", json!([bundle, beyond])).await.0, -32602);
}
