//! The table of errors: codes and words that clients parse.

use crate::{
    chain::{REVERTER, SPINNER},
    node::{Node, raw, transfer},
};
use alloy::{
    consensus::{TxEip1559, TxLegacy},
    primitives::{U256, hex},
    signers::local::PrivateKeySigner,
    sol_types::{Panic, PanicKind, Revert, SolError},
};
use serde_json::{Value, json};

#[tokio::test]
async fn malformed_requests() {
    let node = Node::start().await;
    let table = [
        ("{", -32700, Value::Null),
        ("", -32700, Value::Null),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId""#, -32700, Value::Null),
        ("[]", -32600, Value::Null),
        ("1", -32600, Value::Null),
        (r#"{"jsonrpc":"2.0","id":5}"#, -32600, json!(5)),
        (r#"{"jsonrpc":"1.0","id":6,"method":"eth_chainId"}"#, -32600, json!(6)),
        (r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#, -32600, Value::Null),
        (r#"{"jsonrpc":"2.0","id":"a","method":"eth_unknown"}"#, -32601, json!("a")),
        // Half of a surrogate pair: JSON by its grammar, but an echo that most readers refuse.
        (r#"{"jsonrpc":"2.0","id":"\ud800","method":"eth_chainId"}"#, -32600, Value::Null),
        (r#"{"jsonrpc":"2.0","id":7,"method":"eth_getBalance","params":{}}"#, -32602, json!(7)),
        (r#"{"jsonrpc":"2.0","id":8,"method":"eth_getBalance","params":[]}"#, -32602, json!(8)),
        (r#"{"jsonrpc":"2.0","id":9,"method":"eth_getBalance","params":[1]}"#, -32602, json!(9)),
        (r#"{"jsonrpc":"2.0","id":9,"method":"eth_chainId","params":[1]}"#, -32602, json!(9)),
    ];
    for (body, code, id) in table {
        let answer = node.post(body).await;
        assert_eq!(answer["error"]["code"], code, "{body}: {answer}");
        assert_eq!(answer["id"], id, "{body}: {answer}");
        assert_eq!(answer["jsonrpc"], "2.0");
    }
}

#[tokio::test]
async fn ids_are_echoed_as_they_came() {
    let node = Node::start().await;
    for id in [r#""x""#, "0", "-1", "18446744073709551616", "null", "1.5"] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"net_version"}}"#);
        let answer = reqwest::Client::new().post(node.url()).body(body).send().await.unwrap();
        let text = answer.text().await.unwrap();
        assert_eq!(text, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"420420"}}"#));
    }
}

#[tokio::test]
async fn batches_and_notifications() {
    let node = Node::start().await;
    let answer = node
        .post(
            r#"[{"jsonrpc":"2.0","id":1,"method":"eth_chainId"},
                {"jsonrpc":"2.0","method":"eth_chainId"},
                3,
                {"jsonrpc":"2.0","id":2,"method":"nope"}]"#,
        )
        .await;
    let answers = answer.as_array().unwrap();
    assert_eq!(answers.len(), 3, "the notification is not answered");
    assert_eq!(answers[0]["result"], "0x66a44");
    assert_eq!(answers[1]["error"]["code"], -32600);
    assert_eq!(answers[2]["error"]["code"], -32601);

    let silent = r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#;
    let answer = reqwest::Client::new().post(node.url()).body(silent).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, ""));

    let one = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
    let full = format!("[{}]", vec![one; 1_000].join(","));
    assert_eq!(node.post(full).await.as_array().unwrap().len(), 1_000);
    let too_long = format!("[{}]", vec![one; 1_001].join(","));
    assert_eq!(node.post(too_long).await["error"]["code"], -32600);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let node = Node::start().await;
    let body = vec![b' '; 11 * 1024 * 1024];
    let answer = reqwest::Client::new().post(node.url()).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 413);
}

#[tokio::test]
async fn browsers_may_call() {
    let node = Node::start().await;
    let request = reqwest::Client::new()
        .request(reqwest::Method::OPTIONS, node.url())
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success());
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn subscriptions_need_a_socket() {
    let node = Node::start().await;
    let (code, message) = node.fails("eth_subscribe", json!(["newHeads"])).await;
    assert_eq!((code, message.as_str()), (-32601, "notifications not supported"));
}

#[tokio::test]
async fn refused_transactions_say_why_in_geths_words() {
    let node = Node::start().await;
    let poor = PrivateKeySigner::from_slice(&[9; 32]).unwrap();
    let alice = &node.alice;
    let legacy = TxLegacy { gas_limit: 21_000, gas_price: 1 << 30, ..Default::default() };
    let tip = TxEip1559 { max_priority_fee_per_gas: 1 << 40, ..transfer(0) };
    let gas = |gas_limit| raw(alice, TxEip1559 { gas_limit, ..transfer(0) });
    let dear = TxEip1559 { value: U256::from(10_u128.pow(22)), ..transfer(0) };
    let table = [
        (raw(&poor, transfer(0)), "insufficient funds for gas * price + value"),
        (raw(alice, dear), "insufficient funds for gas * price + value"),
        (raw(alice, TxEip1559 { chain_id: 1, ..transfer(0) }), "invalid chain id for signer"),
        (raw(alice, legacy), "only replay-protected (EIP-155) transactions allowed over RPC"),
        (raw(alice, tip), "max priority fee per gas higher than max fee per gas"),
        (
            raw(alice, TxEip1559 { max_fee_per_gas: 9, ..transfer(0) }),
            "max fee per gas less than block base fee",
        ),
        (gas(20_000), "intrinsic gas too low"),
        (gas(1 << 25), "transaction gas limit too high"),
        (gas(3_000_000_000), "exceeds block gas limit"),
        (hex!("03c0").into(), "transaction type not supported: blob transactions"),
        (hex!("7ec0").into(), "transaction type not supported: deposits"),
        (hex!("02c0").into(), "undecodable transaction"),
    ];
    for (bytes, words) in table {
        let (code, message) = node.fails("eth_sendRawTransaction", json!([bytes])).await;
        assert_eq!(code, -32000, "{message}");
        assert!(message.starts_with(words), "{message} should start with {words}");
    }
    let (code, _) = node.fails("eth_sendRawTransaction", json!(["0xzz"])).await;
    assert_eq!(code, -32602);

    node.call("eth_sendRawTransaction", json!([raw(alice, transfer(0))])).await;
    let again = node.fails("eth_sendRawTransaction", json!([raw(alice, transfer(0))])).await;
    assert_eq!(again, (-32000, "already known".to_owned()));
    let rival = raw(alice, TxEip1559 { value: U256::from(2), ..transfer(0) });
    let rival = node.fails("eth_sendRawTransaction", json!([rival])).await;
    assert_eq!(rival, (-32000, "replacement transaction underpriced".to_owned()));
    node.mine();
    let late = node.fails("eth_sendRawTransaction", json!([raw(alice, transfer(0))])).await;
    assert_eq!(late, (-32000, "nonce too low: next nonce 1, tx nonce 0".to_owned()));
}

#[tokio::test]
async fn a_signature_with_high_s_is_refused() {
    let node = Node::start().await;
    let bytes = raw(&node.alice, transfer(0));
    // The last item is s; the other half of the order signs the same message.
    let order = U256::from_be_bytes(hex!(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
    ));
    let mut forged = bytes.to_vec();
    let start = forged.len() - 32;
    let s = U256::from_be_slice(&forged[start..]);
    forged[start..].copy_from_slice(&(order - s).to_be_bytes::<32>());
    // s is followed by nothing; before it come 0xa0, r, 0xa0 and the parity, one byte.
    let parity = forged.len() - 32 - 1 - 32 - 1 - 1;
    forged[parity] = if forged[parity] == 1 { 0x80 } else { 1 };
    let forged = hex::encode_prefixed(forged);
    let (code, message) = node.fails("eth_sendRawTransaction", json!([forged])).await;
    assert_eq!(code, -32000);
    assert!(message.contains("invalid sender"), "{message}");
}

#[tokio::test]
async fn reverts_carry_code_data_and_reason() {
    let node = Node::start().await;
    let error = Revert::from("nope").abi_encode();
    let panic = Panic::from(PanicKind::UnderOverflow).abi_encode();
    let table = [
        (error, "execution reverted: nope"),
        (panic, "execution reverted: arithmetic underflow or overflow"),
        (vec![1, 2, 3, 4], "execution reverted"),
        (vec![], "execution reverted"),
    ];
    for (data, words) in table {
        let data = hex::encode_prefixed(data);
        let request = json!([{ "to": REVERTER, "data": data }]);
        for method in ["eth_call", "eth_estimateGas"] {
            let error = node.error(method, request.clone()).await;
            assert_eq!(error, json!({ "code": 3, "message": words, "data": data }), "{method}");
        }
    }
}

#[tokio::test]
async fn calls_that_cannot_run() {
    let node = Node::start().await;
    let alice = node.alice.address();
    let poor = PrivateKeySigner::from_slice(&[9; 32]).unwrap().address();
    let spin = json!([{ "to": SPINNER }]);
    assert_eq!(node.fails("eth_call", spin.clone()).await, (-32000, "out of gas".to_owned()));
    let (code, message) = node.fails("eth_estimateGas", spin).await;
    assert_eq!((code, message.as_str()), (-32000, "gas required exceeds allowance (16777216)"));
    let priced = json!([{ "from": poor, "to": alice, "gasPrice": "0x3b9aca00" }]);
    let (code, message) = node.fails("eth_estimateGas", priced).await;
    assert_eq!(code, -32000);
    assert!(message.contains("insufficient funds"), "{message}");
    let paid = json!([{ "from": poor, "to": alice, "value": "0x1" }]);
    let (_, message) = node.fails("eth_estimateGas", paid).await;
    assert_eq!(message, "insufficient funds for transfer");
    let small = json!([{ "from": alice, "to": alice, "gas": "0x5207" }]);
    let (_, message) = node.fails("eth_estimateGas", small).await;
    assert_eq!(message, "gas required exceeds allowance (20999)");
    let both = json!([{ "to": alice, "gasPrice": "0x1", "maxFeePerGas": "0x1" }]);
    assert_eq!(node.fails("eth_call", both).await.0, -32602);
    let foreign = json!([{ "to": alice, "chainId": "0x1" }]);
    assert_eq!(node.fails("eth_call", foreign).await.0, -32602);
}

#[tokio::test]
async fn unknown_blocks() {
    let node = Node::start().await;
    let (alice, hash) = (node.alice.address(), crate::node::word(5));
    let ahead = node.fails("eth_getBalance", json!([alice, "0x99"])).await;
    assert_eq!(ahead, (-32000, "header not found".to_owned()));
    let object = json!([alice, { "blockHash": hash, "requireCanonical": true }]);
    let ahead = node.fails("eth_getBalance", object).await;
    assert_eq!(ahead, (-32000, "header for hash not found".to_owned()));
    for method in ["eth_getBlockByNumber", "eth_getBlockTransactionCountByNumber"] {
        assert!(node.call(method, json!(["0x99"])).await.is_null());
    }
    for method in [
        "eth_getBlockByHash",
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
        "eth_getBlockReceipts",
        "eth_getRawTransactionByHash",
        "eth_getUncleCountByBlockHash",
    ] {
        assert!(node.call(method, json!([hash])).await.is_null(), "{method}");
    }
    assert!(
        node.call("eth_getTransactionByBlockHashAndIndex", json!([hash, "0x0"])).await.is_null()
    );
}
