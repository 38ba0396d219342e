//! ots_* level 8 and erigon_getHeaderByNumber: what the Otterscan explorer shows.

use crate::{
    chain::{LOGGER, READER, REVERTER},
    node::{Node, calling, transfer, word},
    tracing::{FORWARDER_CODE, forwarding, init_code, send, with_forwarder},
};
use alloy::{
    consensus::TxEip1559,
    primitives::{Address, Bytes, TxKind, U256, bytes},
};
use serde_json::{Value, json};

/// Creates a contract with its call data as init code.
const FACTORY_CODE: Bytes = bytes!("365f5f37365f5ff000");

fn hashes(found: &Value) -> Vec<Value> {
    found["txs"].as_array().unwrap().iter().map(|tx| tx["hash"].clone()).collect()
}

#[tokio::test]
async fn transactions_are_explained() {
    let node = Node::start().await;
    assert_eq!(node.call("ots_getApiLevel", json!([])).await, 8);
    let forwarder = with_forwarder(&node).await;
    let heir = Address::repeat_byte(0xcc);
    let valued = TxEip1559 { value: U256::from(7), ..forwarding(1, forwarder, heir) };
    let valued = send(&node, valued).await;
    let logged = send(&node, forwarding(2, forwarder, LOGGER)).await;
    let reverted = send(&node, calling(3, REVERTER, Bytes::from_static(&[0xab]))).await;
    node.mine();

    let operations = node.call("ots_getInternalOperations", json!([valued])).await;
    let operation = json!({ "type": 0, "from": forwarder, "to": heir, "value": "0x7" });
    assert_eq!(operations, json!([operation]));
    assert_eq!(node.call("ots_getInternalOperations", json!([logged])).await, json!([]));

    let calls = node.call("ots_traceTransaction", json!([logged])).await;
    assert_eq!(calls.as_array().unwrap().len(), 2);
    assert_eq!((&calls[0]["type"], &calls[0]["depth"]), (&json!("CALL"), &json!(0)));
    assert_eq!((&calls[1]["from"], &calls[1]["to"]), (&json!(forwarder), &json!(LOGGER)));
    assert_eq!((&calls[1]["depth"], &calls[1]["value"]), (&json!(1), &json!("0x0")));

    assert_eq!(node.call("ots_getTransactionError", json!([reverted])).await, "0xab");
    assert_eq!(node.call("ots_getTransactionError", json!([logged])).await, "0x");
    assert!(node.call("ots_traceTransaction", json!([word(1)])).await.is_null());

    assert_eq!(node.call("ots_hasCode", json!([READER, "latest"])).await, true);
    assert_eq!(node.call("ots_hasCode", json!([forwarder, "0x0"])).await, false);
    assert_eq!(node.call("ots_hasCode", json!([node.alice.address()])).await, false);
}

#[tokio::test]
async fn blocks_are_shown_in_pages() {
    let node = Node::start().await;
    for nonce in 0..3 {
        send(&node, calling(nonce, READER, Bytes::from(vec![7; 64]))).await;
    }
    let block = node.mine();
    let details = node.call("ots_getBlockDetails", json!(["0x1"])).await;
    assert_eq!(details["block"]["hash"], json!(block.hash));
    assert_eq!(details["block"]["transactionCount"], 4);
    assert!(details["block"].get("transactions").is_none());
    let receipts = node.call("eth_getBlockReceipts", json!(["0x1"])).await;
    let number = |value: &Value| serde_json::from_value::<U256>(value.clone()).unwrap();
    let fees = receipts.as_array().unwrap().iter();
    let paid = |receipt: &Value| {
        let gas = number(&receipt["gasUsed"]) * number(&receipt["effectiveGasPrice"]);
        let Some(l1_fee) = receipt.get("l1Fee") else { return gas };
        let per_million = number(&receipt["gasUsed"]) * number(&receipt["operatorFeeScalar"]);
        let operator = per_million / U256::from(1_000_000);
        gas + number(l1_fee) + operator + number(&receipt["operatorFeeConstant"])
    };
    let fees: U256 = fees.map(paid).sum();
    assert_eq!(number(&details["totalFees"]), fees);
    assert!(!fees.is_zero());
    assert_eq!(details["issuance"]["issuance"], "0x0");
    let by_hash = node.call("ots_getBlockDetailsByHash", json!([block.hash])).await;
    assert_eq!(by_hash, details);
    assert!(node.call("ots_getBlockDetails", json!(["0x7"])).await.is_null());

    // Page 0 has the last transactions.
    let page = |page: u64, size: u64| json!(["0x1", page, size]);
    let first = node.call("ots_getBlockTransactions", page(0, 3)).await;
    let shown = first["fullblock"]["transactions"].as_array().unwrap();
    assert_eq!(shown.len(), 3);
    assert_eq!(shown[2]["hash"], json!(block.transactions[3].hash()));
    assert_eq!(shown[0]["input"], "0x07070707", "cut to the selector");
    assert_eq!(first["fullblock"]["transactionCount"], 4);
    let receipt = &first["receipts"][0];
    assert_eq!(receipt["transactionHash"], shown[0]["hash"]);
    assert!(receipt["logs"].is_null() && receipt["logsBloom"].is_null());
    let second = node.call("ots_getBlockTransactions", page(1, 3)).await;
    assert_eq!(second["fullblock"]["transactions"].as_array().unwrap().len(), 1);
    assert_eq!(node.fails("ots_getBlockTransactions", page(0, 1_000)).await.0, -32602);

    let header = node.call("erigon_getHeaderByNumber", json!(["0x1"])).await;
    assert_eq!(header["hash"], json!(block.hash));
    assert!(header.get("transactions").is_none());
    assert!(node.call("erigon_getHeaderByNumber", json!(["0x9"])).await.is_null());
}

#[tokio::test]
async fn creators_and_nonces_are_found() {
    let node = Node::start().await;
    let factory_hash = send(
        &node,
        TxEip1559 { to: TxKind::Create, ..calling(0, Address::ZERO, init_code(&FACTORY_CODE)) },
    )
    .await;
    node.mine();
    node.mine();
    let factory = node.alice.address().create(0);
    let made = send(&node, calling(1, factory, init_code(&FORWARDER_CODE))).await;
    node.mine();
    node.mine();
    let creator = |address: Address| node.call("ots_getContractCreator", json!([address]));
    let direct = json!({ "hash": factory_hash, "creator": node.alice.address() });
    assert_eq!(creator(factory).await, direct);
    let inner = factory.create(1);
    assert_eq!(node.call("eth_getCode", json!([inner])).await, json!(FORWARDER_CODE));
    assert_eq!(creator(inner).await, json!({ "hash": made, "creator": factory }));
    for nobody in [READER, node.alice.address(), Address::repeat_byte(9)] {
        assert!(creator(nobody).await.is_null(), "{nobody}");
    }

    let by_nonce = |nonce: u64| {
        node.call("ots_getTransactionBySenderAndNonce", json!([node.alice.address(), nonce]))
    };
    assert_eq!((by_nonce(0).await, by_nonce(1).await), (factory_hash, made));
    assert!(by_nonce(2).await.is_null());
    let factory_nonce = json!([factory, 1]);
    let found = node.call("ots_getTransactionBySenderAndNonce", factory_nonce).await;
    assert!(found.is_null(), "a contract counts nonces without transactions");
}

#[tokio::test]
async fn an_address_is_found_wherever_it_appears() {
    let node = Node::start().await;
    let forwarder = with_forwarder(&node).await;
    let heir = Address::repeat_byte(0xcc);
    let valued = |nonce| TxEip1559 { value: U256::ONE, ..forwarding(nonce, forwarder, heir) };
    let mut touching = Vec::new();
    for nonce in [1, 3, 5, 7] {
        touching.push(send(&node, valued(nonce)).await);
        send(&node, transfer(nonce + 1)).await;
        node.mine();
        node.mine();
    }
    // Only inner calls name the heir.
    let before = |block: u64, size: u64| {
        node.call("ots_searchTransactionsBefore", json!([heir, block, size]))
    };
    let after = |block: u64, size: u64| {
        node.call("ots_searchTransactionsAfter", json!([heir, block, size]))
    };
    let newest_first: Vec<_> = touching.iter().rev().cloned().collect();
    let all = before(0, 25).await;
    assert_eq!(hashes(&all), newest_first);
    assert_eq!((&all["firstPage"], &all["lastPage"]), (&json!(true), &json!(true)));
    assert_eq!(all["receipts"][0]["transactionHash"], newest_first[0]);
    let two = before(0, 2).await;
    assert_eq!(hashes(&two), newest_first[..2]);
    assert_eq!((&two["firstPage"], &two["lastPage"]), (&json!(true), &json!(false)));
    let block = two["txs"][1]["blockNumber"].as_str().unwrap();
    let block = u64::from_str_radix(&block[2..], 16).unwrap();
    let rest = before(block, 2).await;
    assert_eq!(hashes(&rest), newest_first[2..]);
    assert_eq!((&rest["firstPage"], &rest["lastPage"]), (&json!(false), &json!(false)));

    let oldest = after(0, 2).await;
    assert_eq!(hashes(&oldest), newest_first[2..]);
    assert_eq!((&oldest["firstPage"], &oldest["lastPage"]), (&json!(false), &json!(true)));
    let newer = after(block, 25).await;
    assert_eq!(hashes(&newer), newest_first[..1]);
    assert_eq!((&newer["firstPage"], &newer["lastPage"]), (&json!(true), &json!(false)));

    let nobody = json!([Address::repeat_byte(9), 0, 25]);
    let found = node.call("ots_searchTransactionsBefore", nobody).await;
    assert_eq!(found, json!({ "txs": [], "receipts": [], "firstPage": true, "lastPage": true }));
    let none = json!([heir, 0, 0]);
    assert_eq!(node.fails("ots_searchTransactionsBefore", none).await.0, -32602);
}
