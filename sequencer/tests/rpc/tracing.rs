//! debug_trace* and trace_*: what is traced is what happened, and a giant ends at its limit.

use crate::{
    chain::{LOGGER, READER, REVERTER, SPINNER, offered},
    node::{Node, calling, quantity, raw, transfer, word},
};
use alloy::{
    consensus::TxEip1559,
    primitives::{Address, Bytes, TxKind, U256, address, bytes, hex, keccak256},
};
use executor::{BlockEnv, BlockInput, Deposit, Mode, StateDiff, execute};
use sequencer::{rpc::Chain, store::StoredBlock};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Calls the address in its first word with its value and stores in slot 0 whether that succeeded.
pub(crate) const FORWARDER_CODE: Bytes = bytes!("5f5f5f5f345f355af15f5500");
/// Keeps the hashes of earlier blocks (EIP-2935); written by the block, not by a transaction.
const HISTORY: Address = address!("0x0000F90827F1C53a10cb7A02335B175320002935");

/// Init code that deploys `code`, of at most 255 bytes.
pub(crate) fn init_code(code: &[u8]) -> Bytes {
    let length = u8::try_from(code.len()).unwrap();
    [&[0x60, length, 0x80, 0x60, 9, 0x5f, 0x39, 0x5f, 0xf3], code].concat().into()
}

pub(crate) async fn send(node: &Node, unsigned: TxEip1559) -> Value {
    node.call("eth_sendRawTransaction", json!([raw(&node.alice, unsigned)])).await
}

/// A block with the forwarder in it; the next nonce is 1.
pub(crate) async fn with_forwarder(node: &Node) -> Address {
    let unsigned = calling(0, Address::ZERO, init_code(&FORWARDER_CODE));
    send(node, TxEip1559 { to: TxKind::Create, ..unsigned }).await;
    node.mine();
    node.alice.address().create(0)
}

/// A call that the forwarder passes on.
pub(crate) fn forwarding(nonce: u64, forwarder: Address, to: Address) -> TxEip1559 {
    calling(nonce, forwarder, to.into_word().0)
}

fn deposit() -> Deposit {
    Deposit {
        source_hash: keccak256("deposit"),
        from: Address::repeat_byte(0xde),
        to: TxKind::Call(READER),
        mint_wei: 5,
        value: U256::from(3),
        gas_limit: 100_000,
        input: Bytes::new(),
    }
}

/// Executes a stored block anew.
fn diff_of(node: &Node, block: &StoredBlock) -> StateDiff {
    let rules = node.chain.rules().clone();
    let state = node.chain.view(block.header.number - 1).unwrap().unwrap();
    let env = BlockEnv::of_header(&block.header);
    let env = BlockEnv { withdrawals: Some(vec![]), ..env };
    let input = BlockInput { rules, env, transactions: block.transactions.clone() };
    let executed = execute(&state, &input, Mode::Sequential).unwrap();
    assert_eq!(executed.hash, block.hash);
    executed.diff
}

async fn trace(node: &Node, hash: &Value, options: Value) -> Value {
    node.call("debug_traceTransaction", json!([hash, options])).await
}

#[tokio::test]
async fn calls_are_traced_as_they_nest() {
    let node = Node::start().await;
    let forwarder = with_forwarder(&node).await;
    let logged = send(&node, forwarding(1, forwarder, LOGGER)).await;
    let reverted = send(&node, forwarding(2, forwarder, REVERTER)).await;
    node.mine();

    let receipt = node.call("eth_getTransactionReceipt", json!([logged])).await;
    let with_log = json!({ "tracer": "callTracer", "tracerConfig": { "withLog": true } });
    let top = trace(&node, &logged, with_log).await;
    assert_eq!(top["type"], "CALL");
    assert_eq!(top["from"], json!(node.alice.address()));
    assert_eq!(top["to"], json!(forwarder));
    assert_eq!(top["gas"], "0x30d40");
    assert_eq!(top["gasUsed"], receipt["gasUsed"]);
    let inner = &top["calls"][0];
    assert_eq!(top["calls"].as_array().unwrap().len(), 1);
    assert_eq!((&inner["from"], &inner["to"]), (&json!(forwarder), &json!(LOGGER)));
    assert_eq!(inner["logs"][0]["topics"], receipt["logs"][0]["topics"]);

    let only = json!({ "tracer": "callTracer", "tracerConfig": { "onlyTopCall": true } });
    let top = trace(&node, &logged, only).await;
    assert!(top.get("calls").is_none_or(|calls| calls == &json!([])), "{top}");
    assert_eq!(top["gasUsed"], receipt["gasUsed"]);

    let top = trace(&node, &reverted, json!({ "tracer": "callTracer" })).await;
    assert!(top.get("error").is_none(), "{top}");
    assert_eq!(top["calls"][0]["error"], "execution reverted");

    let flat = trace(&node, &logged, json!({ "tracer": "flatCallTracer" })).await;
    assert_eq!(flat.as_array().unwrap().len(), 2);
    assert_eq!(flat[1]["traceAddress"], json!([0]));
    let mux =
        json!({ "tracer": "muxTracer", "tracerConfig": { "callTracer": {}, "4byteTracer": {} } });
    let mux = trace(&node, &logged, mux).await;
    assert_eq!(mux["callTracer"]["gasUsed"], receipt["gasUsed"]);
    let selector = format!("{}-28", hex::encode_prefixed(&forwarder_input(LOGGER)[..4]));
    assert_eq!(mux["4byteTracer"], json!({ selector: 1 }));
    assert_eq!(trace(&node, &logged, json!({ "tracer": "noopTracer" })).await, json!({}));
}

fn forwarder_input(to: Address) -> [u8; 32] {
    to.into_word().0
}

#[tokio::test]
async fn instructions_are_logged() {
    let node = Node::start().await;
    let forwarder = with_forwarder(&node).await;
    let hash = send(&node, forwarding(1, forwarder, READER)).await;
    node.mine();
    let receipt = node.call("eth_getTransactionReceipt", json!([hash])).await;
    let whole = trace(&node, &hash, Value::Null).await;
    assert_eq!(whole["gas"], quantity(&receipt["gasUsed"]));
    assert_eq!(whole["failed"], false);
    let logs = whole["structLogs"].as_array().unwrap();
    let ops: Vec<_> = logs.iter().map(|log| log["op"].as_str().unwrap()).collect();
    let outer =
        ["PUSH0"; 4].into_iter().chain(["CALLVALUE", "PUSH0", "CALLDATALOAD", "GAS", "CALL"]);
    assert_eq!(ops[..9], outer.collect::<Vec<_>>());
    assert_eq!(
        ops[9..],
        [
            "PUSH0", "SLOAD", "PUSH0", "MSTORE", "PUSH1", "PUSH0", "RETURN", "PUSH0", "SSTORE",
            "STOP"
        ]
    );
    assert_eq!(logs[9]["depth"], 2);
    assert_eq!(logs[8]["stack"].as_array().unwrap().len(), 7);
    assert_eq!(logs[10]["storage"][word(0)], word(7));
    // What is paid for is 21,000, the call data, and the steps of the outer frame.
    let outer_gas: u64 = logs
        .iter()
        .filter(|log| log["depth"] == 1 && log["op"] != "CALL")
        .map(|log| log["gasCost"].as_u64().unwrap())
        .sum();
    let call_gas = logs[8]["gas"].as_u64().unwrap() - logs[16]["gas"].as_u64().unwrap();
    let data_gas: u64 = forwarder_input(READER).iter().map(|b| if *b == 0 { 4 } else { 16 }).sum();
    assert_eq!(21_000 + data_gas + outer_gas + call_gas, whole["gas"].as_u64().unwrap());

    let bare =
        json!({ "disableStack": true, "disableStorage": true, "enableMemory": true, "limit": 3 });
    let bare = trace(&node, &hash, bare).await;
    let logs = bare["structLogs"].as_array().unwrap();
    assert_eq!(logs.len(), 3);
    assert!(logs.iter().all(|log| log.get("stack").is_none() && log.get("storage").is_none()));
}

/// Applies the diffs of transactions one after another and compares the sum with the block's.
fn assert_same_changes(traces: &Value, diff: &StateDiff) {
    let mut before: BTreeMap<Address, Value> = BTreeMap::new();
    let mut after: BTreeMap<Address, Value> = BTreeMap::new();
    for trace in traces.as_array().unwrap() {
        for (address, pre) in trace["result"]["pre"].as_object().unwrap() {
            let address: Address = address.parse().unwrap();
            let known = before.entry(address).or_insert_with(|| pre.clone());
            for (slot, value) in pre["storage"].as_object().into_iter().flatten() {
                if known["storage"].get(slot).is_none()
                    && after.get(&address).is_none_or(|a| a["storage"].get(slot).is_none())
                {
                    known["storage"][slot] = value.clone();
                }
            }
        }
        for (address, post) in trace["result"]["post"].as_object().unwrap() {
            let known = after.entry(address.parse().unwrap()).or_insert_with(|| json!({}));
            for (field, value) in post.as_object().unwrap() {
                match value.as_object() {
                    Some(slots) => {
                        slots.iter().for_each(|(slot, value)| known[field][slot] = value.clone())
                    }
                    None => known[field] = value.clone(),
                }
            }
        }
    }
    let changed: Vec<_> = diff.accounts.keys().filter(|address| **address != HISTORY).collect();
    assert_eq!(changed, after.keys().collect::<Vec<_>>());
    for (address, post) in after {
        let real = &diff.accounts[&address];
        let now = real.after.unwrap();
        if let Some(balance) = post.get("balance") {
            assert_eq!(balance, &json!(now.balance_wei), "{address}");
        } else {
            assert_eq!(real.before.unwrap_or_default().balance_wei, now.balance_wei, "{address}");
        }
        if let Some(nonce) = post.get("nonce") {
            assert_eq!(nonce, now.nonce, "{address}");
        }
        if let (Some(pre), Some(was)) = (before.get(&address), real.before) {
            assert_eq!(pre["balance"], json!(was.balance_wei), "{address}");
        }
        let slots = post.get("storage").and_then(Value::as_object).into_iter().flatten();
        let slots: BTreeMap<U256, U256> = slots
            .map(|(slot, value)| {
                (slot.parse().unwrap(), serde_json::from_value(value.clone()).unwrap())
            })
            .collect();
        let real = real.slots.iter().map(|(slot, diff)| (*slot, diff.after)).collect();
        assert_eq!(slots, real, "{address}");
    }
}

#[tokio::test]
async fn the_diffs_of_transactions_are_the_diff_of_the_block() {
    let node = Node::start().await;
    let forwarder = with_forwarder(&node).await;
    send(&node, forwarding(1, forwarder, LOGGER)).await;
    send(
        &node,
        TxEip1559 { value: U256::from(9), ..forwarding(2, forwarder, Address::repeat_byte(0xcc)) },
    )
    .await;
    send(&node, transfer(3)).await;
    let offered = offered(&node.pool.lock().unwrap());
    let block = node.chain.mine(offered, vec![deposit()]);
    assert_eq!(block.transactions.len(), 5);

    let options = json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } });
    let traces = node.call("debug_traceBlockByNumber", json!(["latest", options])).await;
    let hashes = block.transactions.iter().map(|transaction| json!(transaction.hash()));
    assert!(hashes.eq(traces.as_array().unwrap().iter().map(|trace| trace["txHash"].clone())));
    assert_same_changes(&traces, &diff_of(&node, &block));
    let by_hash = node.call("debug_traceBlockByHash", json!([block.hash, options])).await;
    assert_eq!(by_hash, traces);

    // The plain mode tells the state before each.
    let options = json!({ "tracer": "prestateTracer" });
    let last = trace(&node, &json!(block.transactions[4].hash()), options).await;
    let alice = last.get(format!("{:#x}", node.alice.address())).unwrap();
    assert_eq!(alice["nonce"], 3);

    // Deposits are traced with what they mint.
    let minted = traces[1]["result"]["post"].get(format!("{:#x}", Address::repeat_byte(0xde)));
    assert_eq!(minted.unwrap()["balance"], "0x2");
}

#[tokio::test]
async fn calls_can_be_traced() {
    let node = Node::start().await;
    let forwarder = with_forwarder(&node).await;
    let calls = json!({ "tracer": "callTracer" });
    let request = json!({ "to": READER });
    let traced = node.call("debug_traceCall", json!([request, "latest", calls])).await;
    assert_eq!(traced["output"], word(7));
    let overridden = json!({
        "tracer": "callTracer",
        "stateOverrides": { READER.to_string(): { "stateDiff": { word(0): word(8) } } },
    });
    let traced = node.call("debug_traceCall", json!([request, "latest", overridden])).await;
    assert_eq!(traced["output"], word(8));
    let clock = json!({ "tracer": "callTracer", "blockOverrides": { "time": "0x5" } });
    let request = json!({ "to": crate::chain::CLOCK });
    let traced = node.call("debug_traceCall", json!([request, null, clock])).await;
    assert_eq!(traced["output"], word(5));
    let logs = node.call("debug_traceCall", json!([{ "to": READER }])).await;
    assert_eq!(logs["structLogs"][1]["op"], "SLOAD");

    // In the middle of a block: before its second user transaction the slot is already set.
    send(&node, forwarding(1, forwarder, LOGGER)).await;
    send(&node, forwarding(2, forwarder, REVERTER)).await;
    node.mine();
    // SLOAD of the forwarder's slot 0, run as the forwarder's code.
    let code = json!({ forwarder.to_string(): { "code": "0x5f545f5260205ff3" } });
    for (index, expected) in [(1, 0), (2, 1)] {
        let at = json!({ "tracer": "callTracer", "txIndex": format!("{index:#x}"), "stateOverrides": code });
        let traced = node.call("debug_traceCall", json!([{ "to": forwarder }, "latest", at])).await;
        assert_eq!(traced["output"], word(expected), "before transaction {index}");
    }
    let beyond = json!({ "txIndex": "0x9" });
    assert_eq!(
        node.fails("debug_traceCall", json!([{ "to": forwarder }, "latest", beyond])).await.0,
        -32602
    );
    let poor = json!({ "from": Address::repeat_byte(0x77), "to": READER, "value": "0x1" });
    let (code, message) = node.fails("debug_traceCall", json!([poor, "latest", calls])).await;
    assert_eq!(code, -32000);
    assert!(message.starts_with("insufficient funds"), "{message}");
}

#[tokio::test]
async fn what_cannot_be_traced_says_so() {
    let node = Node::start().await;
    node.mine();
    let unknown = json!([word(1)]);
    let not_found = (-32000, "transaction not found".to_owned());
    assert_eq!(node.fails("debug_traceTransaction", unknown).await, not_found);
    let table = [
        ("debug_traceBlockByNumber", json!(["0x0"]), "genesis is not traceable"),
        ("debug_traceBlockByNumber", json!(["0x5"]), "block #5 not found"),
        ("debug_traceBlockByHash", json!([word(1)]), &*format!("block {} not found", word(1))),
    ];
    for (method, params, message) in table {
        assert_eq!(node.fails(method, params).await, (-32000, message.to_owned()));
    }
    let options = [
        json!({ "tracer": "{step: function() {}}" }),
        json!({ "tracer": "callTracer", "tracerConfig": { "withLog": 5 } }),
        json!({ "timeout": "soon" }),
    ];
    for options in options {
        let (code, message) = node.fails("debug_traceBlockByNumber", json!(["0x1", options])).await;
        assert_eq!(code, -32602, "{message}");
    }
    assert!(node.call("trace_transaction", json!([word(1)])).await.is_null());
    assert!(node.call("trace_block", json!(["0x5"])).await.is_null());
}

#[tokio::test]
async fn a_giant_ends_at_its_limits() {
    let node = Node::start().await;
    let giant = TxEip1559 { gas_limit: 16_000_000, ..calling(0, SPINNER, Bytes::new()) };
    let hash = send(&node, giant).await;
    node.mine();
    // Millions of instructions: more than may be recorded, whatever the machine.
    let (code, message) = node.fails("debug_traceTransaction", json!([hash])).await;
    assert_eq!((code, &*message), (-32005, "trace too large (max 67108864 bytes)"));
    // And more than can be executed in no time.
    let hasty = json!({ "tracer": "callTracer", "timeout": "1ns" });
    for _ in 0..8 {
        let (code, message) = node.fails("debug_traceTransaction", json!([hash, hasty])).await;
        assert_eq!((code, &*message), (-32005, "execution timeout"));
    }
    let (code, message) =
        node.fails("debug_traceCall", json!([{ "to": SPINNER }, "latest", hasty])).await;
    assert_eq!((code, &*message), (-32005, "execution timeout"));
    let vm = json!(["0x1", ["vmTrace"]]);
    assert_eq!(node.fails("trace_replayBlockTransactions", vm).await.0, -32005);
    // Nothing is left running: the giant is traced when it records little.
    let calls = trace(&node, &hash, json!({ "tracer": "callTracer", "timeout": "1h" })).await;
    assert_eq!(calls["error"], "out of gas");
    assert_eq!(calls["gasUsed"], "0xf42400");
}

#[tokio::test]
async fn parity_traces_tell_the_same() {
    let node = Node::start().await;
    let forwarder = with_forwarder(&node).await;
    let hash = send(&node, forwarding(1, forwarder, LOGGER)).await;
    let block = node.mine();
    let traces = node.call("trace_transaction", json!([hash])).await;
    let traces = traces.as_array().unwrap();
    assert_eq!(traces.len(), 2);
    assert_eq!(traces[0]["action"]["to"], json!(forwarder));
    assert_eq!(traces[0]["subtraces"], 1);
    assert_eq!(traces[1]["action"]["callType"], "call");
    assert_eq!(traces[1]["traceAddress"], json!([0]));
    for trace in traces {
        assert_eq!(trace["blockHash"], json!(block.hash));
        assert_eq!(trace["blockNumber"], 2);
        assert_eq!(trace["transactionPosition"], 1);
        assert_eq!(trace["transactionHash"], hash);
    }
    let whole = node.call("trace_block", json!(["latest"])).await;
    assert_eq!(whole.as_array().unwrap()[1..], traces[..], "after the L1 attributes");

    let kinds = json!(["trace", "stateDiff", "vmTrace"]);
    let replayed = node.call("trace_replayBlockTransactions", json!(["latest", kinds])).await;
    let ours = &replayed[1];
    assert_eq!(ours["transactionHash"], hash);
    assert_eq!(ours["trace"].as_array().unwrap().len(), 2);
    let change = &ours["stateDiff"][format!("{forwarder:#x}")]["storage"][word(0)];
    assert_eq!(change, &json!({ "*": { "from": word(0), "to": word(1) } }));
    assert_eq!(ours["vmTrace"]["ops"].as_array().unwrap().len(), 12);
    assert_eq!(ours["vmTrace"]["code"], json!(FORWARDER_CODE));
    let one = node.call("trace_replayTransaction", json!([hash, kinds])).await;
    assert_eq!(one["stateDiff"], ours["stateDiff"]);
    let creation = node.call("trace_block", json!(["0x1"])).await;
    assert_eq!(creation[1]["result"]["address"], json!(forwarder));
}
