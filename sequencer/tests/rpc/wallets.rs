//! What wallets and forks ask beside the common methods, and the pool's contents.

use crate::{
    chain::{CHAIN_ID, READER, READER_CODE, REVERTER},
    node::{Node, quantity, raw, transfer, word},
    tracing::{forwarding, with_forwarder},
};
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::{Decodable2718, Encodable2718},
    network::TxSignerSync,
    primitives::{Address, Bytes, U256},
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_filled_transaction_only_needs_a_signature() {
    let node = Node::start().await;
    let alice = node.alice.address();
    node.call("eth_sendRawTransaction", json!([raw(&node.alice, transfer(0))])).await;
    let request = json!({ "from": alice, "to": READER, "value": "0x0" });
    let filled = node.call("eth_fillTransaction", json!([request])).await;
    let tx = &filled["tx"];
    assert_eq!(tx["nonce"], "0x1", "after what waits");
    assert_eq!(tx["chainId"], format!("{CHAIN_ID:#x}"));
    assert_eq!(tx["type"], "0x2");
    assert_eq!(tx["from"], json!(alice));
    assert!(tx["blockHash"].is_null());
    assert!(tx["gasPrice"].is_null(), "one kind of price");
    let raw: Bytes = serde_json::from_value(filled["raw"].clone()).unwrap();
    let envelope = TxEnvelope::decode_2718_exact(&raw).unwrap();
    let mut unsigned: TxEip1559 = envelope.as_eip1559().unwrap().tx().clone();
    assert_eq!(quantity(&tx["gas"]), unsigned.gas_limit);
    let signature = node.alice.sign_transaction_sync(&mut unsigned).unwrap();
    let signed: TxEnvelope = unsigned.into_signed(signature).into();
    let hash =
        node.call("eth_sendRawTransaction", json!([Bytes::from(signed.encoded_2718())])).await;
    node.mine();
    let receipt = node.call("eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!(receipt["status"], "0x1");

    // What is given stays, and what would fail says why.
    let given = json!({ "from": alice, "to": READER, "gas": "0x186a0", "gasPrice": "0x3b9aca00", "nonce": "0x9" });
    let tx = node.call("eth_fillTransaction", json!([given])).await["tx"].take();
    assert_eq!(
        (&tx["gas"], &tx["gasPrice"], &tx["nonce"]),
        (&json!("0x186a0"), &json!("0x3b9aca00"), &json!("0x9"))
    );
    assert_eq!(tx["type"], "0x0");
    let failing = json!({ "from": alice, "to": REVERTER });
    assert_eq!(node.fails("eth_fillTransaction", json!([failing])).await.0, 3);
    let both = json!({ "from": alice, "to": READER, "gasPrice": "0x1", "maxFeePerGas": "0x1" });
    assert_eq!(node.fails("eth_fillTransaction", json!([both])).await.0, -32602);
}

#[tokio::test]
async fn an_access_list_has_what_the_call_touches() {
    let node = Node::start().await;
    let forwarder = with_forwarder(&node).await;
    let request = json!({ "from": node.alice.address(), "to": forwarder, "data": forwarding(1, forwarder, READER).input });
    let listed = node.call("eth_createAccessList", json!([request])).await;
    let expected = json!([
        { "address": READER, "storageKeys": [word(0)] },
        { "address": forwarder, "storageKeys": [word(0)] },
    ]);
    let mut found = listed["accessList"].as_array().unwrap().clone();
    found.sort_by_key(|item| item["address"].to_string());
    let mut expected = expected.as_array().unwrap().clone();
    expected.sort_by_key(|item| item["address"].to_string());
    assert_eq!(found, expected);
    assert!(listed.get("error").is_none(), "{listed}");
    // The gas is that of a transaction with this list.
    let with_list = TxEip1559 {
        access_list: serde_json::from_value(listed["accessList"].clone()).unwrap(),
        ..forwarding(1, forwarder, READER)
    };
    let hash = node.call("eth_sendRawTransaction", json!([raw(&node.alice, with_list)])).await;
    node.mine();
    let receipt = node.call("eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!(receipt["gasUsed"], listed["gasUsed"]);

    let reverting = json!({ "from": node.alice.address(), "to": REVERTER });
    let listed = node.call("eth_createAccessList", json!([reverting])).await;
    assert_eq!(listed["error"], "execution reverted");
}

#[tokio::test]
async fn whole_accounts() {
    let node = Node::start().await;
    let info = node.call("eth_getAccountInfo", json!([READER, "latest"])).await;
    assert_eq!(info, json!({ "balance": "0x0", "nonce": "0x1", "code": READER_CODE }));
    let account = node.call("eth_getAccount", json!([READER, "latest"])).await;
    let proof = node.call("eth_getProof", json!([READER, [], "latest"])).await;
    assert_eq!(account["storageRoot"], proof["storageHash"]);
    assert_eq!(account["codeHash"], proof["codeHash"]);
    assert_eq!((&account["balance"], &account["nonce"]), (&json!("0x0"), &json!("0x1")));
    let nobody = Address::repeat_byte(0x99);
    assert!(node.call("eth_getAccount", json!([nobody])).await.is_null());
    let info = node.call("eth_getAccountInfo", json!([nobody])).await;
    assert_eq!(info, json!({ "balance": "0x0", "nonce": "0x0", "code": "0x" }));
    node.mine();
    node.chain.forget_tries_before(1);
    assert_eq!(node.fails("eth_getAccount", json!([READER, "0x0"])).await.0, -32000);
}

#[tokio::test]
async fn the_rules_in_force() {
    let node = Node::start().await;
    let config = node.call("eth_config", json!([])).await;
    let current = &config["current"];
    assert_eq!(current["chainId"], format!("{CHAIN_ID:#x}"));
    assert_eq!(current["activationTime"], 0);
    assert_eq!(current["precompiles"].as_object().unwrap().len(), 18, "Osaka's");
    assert_eq!(current["precompiles"]["P256VERIFY"], "0x0000000000000000000000000000000000000100");
    assert_eq!(current["forkId"].as_str().unwrap().len(), 10);
    assert!(config["next"].is_null() && config["last"].is_null());
}

#[tokio::test]
async fn the_server_tells_what_it_can() {
    let node = Node::start().await;
    let modules = node.call("rpc_modules", json!([])).await;
    for name in
        ["eth", "net", "web3", "debug", "trace", "txpool", "ots", "erigon", "optimism", "rpc"]
    {
        assert_eq!(modules[name], "1.0", "{modules}");
    }
    let document = node.call("rpc.discover", json!([])).await;
    let names: Vec<_> = document["methods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["name"].as_str().unwrap())
        .collect();
    assert!(names.is_sorted() && names.contains(&"eth_simulateV1"), "{names:?}");
    // Every method that is told exists: none answers that it does not.
    for name in names {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": name, "params": [] });
        let answer = node.post(body.to_string()).await;
        if !name.ends_with("subscribe") {
            assert_ne!(answer["error"]["code"], -32601, "{name}");
        }
    }
}

#[tokio::test]
async fn the_pool_shows_what_waits() {
    let node = Node::start().await;
    let (alice, bob) = (node.alice.address(), node.bob.address());
    for nonce in [0, 1, 3] {
        node.call("eth_sendRawTransaction", json!([raw(&node.alice, transfer(nonce))])).await;
    }
    node.call("eth_sendRawTransaction", json!([raw(&node.bob, transfer(0))])).await;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let find = |map: &Value, address: Address| {
        let map = map.as_object().unwrap();
        let found = map.iter().find(|(key, _)| key.parse::<Address>().unwrap() == address);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let content = node.call("txpool_content", json!([])).await;
    assert_eq!(keys(&find(&content["pending"], alice)), ["0", "1"]);
    assert_eq!(keys(&find(&content["queued"], alice)), ["3"]);
    assert_eq!(keys(&find(&content["pending"], bob)), ["0"]);
    let first = &find(&content["pending"], alice)["0"];
    assert_eq!((&first["from"], &first["nonce"]), (&json!(alice), &json!("0x0")));
    assert!(first["blockHash"].is_null());
    assert_eq!(first["value"], json!(U256::ONE));

    let from = node.call("txpool_contentFrom", json!([alice])).await;
    assert_eq!(
        (keys(&from["pending"]), keys(&from["queued"])),
        (vec!["0".into(), "1".into()], vec!["3".into()])
    );
    let nobody = node.call("txpool_contentFrom", json!([Address::ZERO])).await;
    assert_eq!(nobody, json!({ "pending": {}, "queued": {} }));

    let lines = node.call("txpool_inspect", json!([])).await;
    let line = &find(&lines["pending"], bob)["0"];
    let to = Address::repeat_byte(0xbb);
    assert_eq!(line, &json!(format!("{to}: 1 wei + 21000 gas × 1000000000 wei")));
}
