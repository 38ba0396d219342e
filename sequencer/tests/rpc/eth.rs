//! Reading: accounts, blocks, transactions, receipts, fees, and the answers about the node.

use crate::{
    chain::{CHAIN_ID, LOGGER, READER, READER_CODE},
    node::{FEE_WEI, Node, calling, quantity, raw, transfer, word, words},
};
use alloy::{
    consensus::{TxEip1559, TxEip2930, TxEip7702, TxLegacy},
    eips::{BlockId, eip7702::Authorization},
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, TxKind, U256, keccak256},
    providers::Provider,
    rpc::types::TransactionRequest,
    signers::SignerSync,
};
use executor::Deposit;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

async fn send(node: &Node, bytes: Bytes) -> B256 {
    let hash = node.call("eth_sendRawTransaction", json!([bytes])).await;
    assert_eq!(hash, json!(keccak256(&bytes)));
    keccak256(&bytes)
}

#[tokio::test]
async fn the_node_answers_about_itself() {
    let node = Node::start().await;
    let table = [
        ("eth_chainId", json!([]), json!("0x66a44")),
        ("net_version", json!([]), json!("420420")),
        ("eth_syncing", json!([]), json!(false)),
        ("eth_accounts", json!([]), json!([])),
        ("eth_blockNumber", json!([]), json!("0x0")),
        ("net_listening", json!([]), json!(true)),
        ("net_peerCount", json!([]), json!("0x0")),
        ("eth_blobBaseFee", json!([]), json!("0x1")),
        ("eth_maxPriorityFeePerGas", json!([]), json!("0x0")),
        ("web3_sha3", json!(["0x68656c6c6f"]), json!(keccak256("hello"))),
        ("txpool_status", json!([]), json!({ "pending": "0x0", "queued": "0x0" })),
    ];
    for (method, params, result) in table {
        assert_eq!(node.call(method, params).await, result, "{method}");
    }
    let version = node.call("web3_clientVersion", json!([])).await;
    assert!(version.as_str().unwrap().starts_with("weft/v"), "{version}");
    // params may be absent or null.
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":null}"#;
    assert_eq!(node.post(body).await["result"], "0x66a44");
}

#[tokio::test]
async fn operators_have_their_endpoints() {
    let node = Node::start().await;
    assert_eq!(node.get("/health").await, (200, "ok".to_owned()));
    let (status, body) = node.get("/ready").await;
    assert_eq!(status, 200);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["ready"], true);
    assert_eq!(body["checks"][0]["name"], "store");
    node.is_ready.store(false, Ordering::Relaxed);
    assert_eq!(node.get("/ready").await.0, 503);
    let (_, version) = node.get("/version").await;
    assert!(version.contains("weft/v"), "{version}");
}

#[tokio::test]
async fn accounts_at_any_block() {
    let node = Node::start().await;
    let alice = node.alice.address();
    send(&node, raw(&node.alice, transfer(0))).await;
    let block = node.mine();
    let (old, hash) = (json!("0x0"), json!({ "blockHash": block.hash }));
    let number = json!({ "blockNumber": "0x1" });
    for (at, nonce) in [(&old, "0x0"), (&hash, "0x1"), (&number, "0x1"), (&Value::Null, "0x1")] {
        assert_eq!(node.call("eth_getTransactionCount", json!([alice, at])).await, nonce);
    }
    let balance = node.call("eth_getBalance", json!([Address::repeat_byte(0xbb)])).await;
    assert_eq!(balance, "0x1");
    assert_eq!(node.call("eth_getCode", json!([READER])).await, json!(READER_CODE));
    assert_eq!(node.call("eth_getCode", json!([alice])).await, "0x");
    assert_eq!(node.call("eth_getStorageAt", json!([READER, "0x0"])).await, word(7));
    let full = json!([READER, word(0), "latest"]);
    assert_eq!(node.call("eth_getStorageAt", full).await, word(7));
    for tag in ["safe", "finalized", "earliest"] {
        assert_eq!(node.call("eth_getTransactionCount", json!([alice, tag])).await, "0x0");
    }
}

#[tokio::test]
async fn proofs_prove_against_the_block() {
    let node = Node::start().await;
    node.mine();
    let proof = node.provider().get_proof(READER, vec![B256::ZERO, word(3).parse().unwrap()]);
    let proof = proof.block_id(BlockId::number(1)).await.unwrap();
    let block = node.provider().get_block(BlockId::number(1)).await.unwrap().unwrap();
    let account = alloy::consensus::TrieAccount {
        nonce: proof.nonce,
        balance: proof.balance,
        storage_root: proof.storage_hash,
        code_hash: proof.code_hash,
    };
    let verify = |root, key: B256, value: Option<Vec<u8>>, nodes: &[Bytes]| {
        let path = alloy::trie::Nibbles::unpack(keccak256(key));
        alloy::trie::proof::verify_proof(root, path, value, nodes).unwrap();
    };
    let path = alloy::trie::Nibbles::unpack(keccak256(READER));
    let leaf = Some(alloy::rlp::encode(account));
    let root = block.header.state_root;
    alloy::trie::proof::verify_proof(root, path, leaf, &proof.account_proof).unwrap();
    let [present, absent] = &proof.storage_proof[..] else { panic!("two slots") };
    assert_eq!((present.value, absent.value), (U256::from(7), U256::ZERO));
    let value = Some(alloy::rlp::encode(present.value));
    verify(proof.storage_hash, present.key.as_b256(), value, &present.proof);
    verify(proof.storage_hash, absent.key.as_b256(), None, &absent.proof);
    let keys = vec!["0x0"; 1_025];
    assert_eq!(node.fails("eth_getProof", json!([READER, keys])).await.0, -32602);
}

#[tokio::test]
async fn alloy_transfers_and_deploys() {
    let node = Node::start().await;
    node.mine_always();
    let provider = node.provider();
    let to = Address::repeat_byte(0xcc);
    let request = TransactionRequest::default().with_to(to).with_value(U256::from(5));
    let receipt = provider.send_transaction(request).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    assert_eq!(receipt.gas_used, 21_000);
    assert_eq!(provider.get_balance(to).await.unwrap(), U256::from(5));

    let mut code = vec![0x60, 8, 0x80, 0x60, 9, 0x5f, 0x39, 0x5f, 0xf3];
    code.extend_from_slice(&READER_CODE);
    let request = TransactionRequest::default().with_deploy_code(code);
    let receipt = provider.send_transaction(request).await.unwrap().get_receipt().await.unwrap();
    let deployed = receipt.contract_address.unwrap();
    assert_eq!(deployed, node.alice.address().create(1));
    assert_eq!(provider.get_code_at(deployed).await.unwrap(), READER_CODE);
    let call = TransactionRequest::default().with_to(deployed);
    assert_eq!(provider.call(call).await.unwrap(), word(0).parse::<Bytes>().unwrap());
}

#[tokio::test]
async fn every_type_is_accepted_mined_and_shown() {
    let node = Node::start().await;
    let to = TxKind::Call(Address::repeat_byte(0xbb));
    let legacy = TxLegacy {
        chain_id: Some(CHAIN_ID),
        gas_price: FEE_WEI,
        gas_limit: 21_000,
        to,
        ..Default::default()
    };
    let listed = TxEip2930 {
        chain_id: CHAIN_ID,
        nonce: 1,
        gas_price: FEE_WEI,
        gas_limit: 30_000,
        to,
        ..Default::default()
    };
    let authorization = Authorization { chain_id: U256::from(CHAIN_ID), address: READER, nonce: 0 };
    let signature = node.bob.sign_hash_sync(&authorization.signature_hash()).unwrap();
    let delegating = TxEip7702 {
        chain_id: CHAIN_ID,
        nonce: 3,
        gas_limit: 100_000,
        max_fee_per_gas: FEE_WEI,
        to: node.bob.address(),
        authorization_list: vec![authorization.into_signed(signature)],
        ..Default::default()
    };
    let sent = [
        raw(&node.alice, legacy),
        raw(&node.alice, listed),
        raw(&node.alice, transfer(2)),
        raw(&node.alice, delegating),
    ];
    for bytes in &sent {
        send(&node, bytes.clone()).await;
    }
    let block = node.mine();
    assert_eq!(block.transactions.len(), 5, "the L1 attributes and four more");
    let shown = node.provider().get_block_by_number(1.into()).hashes().await.unwrap().unwrap();
    assert_eq!(shown.header.hash, block.hash);
    assert_eq!(shown.header.inner, block.header, "the header reads back as it was");
    for (index, bytes) in sent.iter().enumerate() {
        let hash = keccak256(bytes);
        let transaction = node.call("eth_getTransactionByHash", json!([hash])).await;
        let ty = [0, 1, 2, 4][index];
        assert_eq!(quantity(&transaction["type"]), ty);
        assert_eq!(transaction["blockHash"], json!(block.hash));
        assert_eq!(quantity(&transaction["transactionIndex"]), index as u64 + 1);
        assert_eq!(node.call("eth_getRawTransactionByHash", json!([hash])).await, json!(bytes));
        // alloy reads it back to the same transaction.
        let read = node.provider().get_transaction_by_hash(hash).await.unwrap().unwrap();
        assert_eq!(read.inner.signer(), node.alice.address());
        assert_eq!(read.inner.tx_hash(), &hash);
        let receipt = node.provider().get_transaction_receipt(hash).await.unwrap().unwrap();
        assert_eq!(receipt.inner.tx_type() as u64, ty);
        assert!(receipt.status());
    }
    let code = node.call("eth_getCode", json!([node.bob.address()])).await;
    assert!(code.as_str().unwrap().starts_with("0xef0100"), "{code}");
    // A delegated account may still send (EIP-3607 makes an exception).
    send(&node, raw(&node.bob, transfer(1))).await;
}

#[tokio::test]
async fn blocks_have_the_shape_of_ethereum() {
    let node = Node::start().await;
    let hash = send(&node, raw(&node.alice, transfer(0))).await;
    let mined = node.mine();
    let block = node.call("eth_getBlockByNumber", json!(["latest", true])).await;
    assert_eq!(block["hash"], json!(mined.hash));
    for (key, value) in [
        ("number", json!("0x1")),
        ("parentHash", json!(mined.header.parent_hash)),
        ("uncles", json!([])),
        ("withdrawals", json!([])),
        ("difficulty", json!("0x0")),
        ("nonce", json!("0x0000000000000000")),
        ("gasUsed", json!(format!("{:#x}", mined.header.gas_used))),
        ("baseFeePerGas", json!(format!("{:#x}", mined.header.base_fee_per_gas.unwrap()))),
        ("stateRoot", json!(mined.header.state_root)),
    ] {
        assert_eq!(block[key], value, "{key}");
    }
    assert!(quantity(&block["size"]) > 500);
    assert_eq!(block["transactions"][1]["hash"], json!(hash));
    let by_hash = node.call("eth_getBlockByHash", json!([mined.hash, false])).await;
    assert_eq!(by_hash["transactions"][1], json!(hash));
    for (method, key) in [("Number", json!("0x1")), ("Hash", json!(mined.hash))] {
        let count = format!("eth_getBlockTransactionCountBy{method}");
        assert_eq!(node.call(&count, json!([key])).await, "0x2");
        let uncles = format!("eth_getUncleCountByBlock{method}");
        assert_eq!(node.call(&uncles, json!([key])).await, "0x0");
        let at = format!("eth_getTransactionByBlock{method}AndIndex");
        assert_eq!(node.call(&at, json!([key, "0x1"])).await["hash"], json!(hash));
        assert!(node.call(&at, json!([key, "0x2"])).await.is_null());
    }
}

#[tokio::test]
async fn deposits_have_the_shape_of_the_op_stack() {
    let node = Node::start().await;
    let deposit = Deposit {
        source_hash: B256::repeat_byte(0x77),
        from: node.alice.address(),
        to: TxKind::Call(Address::repeat_byte(0xdd)),
        mint_wei: 1_000,
        value: U256::from(600),
        gas_limit: 100_000,
        input: Bytes::new(),
    };
    let block = node.chain.mine(vec![], vec![deposit]);
    let hash = block.transactions[1].hash();
    let shown = node.call("eth_getTransactionByHash", json!([hash])).await;
    let expected = json!({
        "type": "0x7e", "hash": hash, "sourceHash": B256::repeat_byte(0x77),
        "from": node.alice.address(), "to": Address::repeat_byte(0xdd),
        "mint": "0x3e8", "value": "0x258", "gas": "0x186a0", "gasPrice": "0x0", "input": "0x",
        "nonce": "0x0", "depositReceiptVersion": "0x1",
        "blockHash": block.hash, "blockNumber": "0x1", "transactionIndex": "0x1",
        "v": "0x0", "r": "0x0", "s": "0x0",
    });
    assert_eq!(shown, expected);
    let receipt = node.call("eth_getTransactionReceipt", json!([hash])).await;
    for (key, value) in [
        ("type", "0x7e"),
        ("status", "0x1"),
        ("depositNonce", "0x0"),
        ("depositReceiptVersion", "0x1"),
        ("effectiveGasPrice", "0x0"),
    ] {
        assert_eq!(receipt[key], value, "{key}");
    }
    for key in ["l1Fee", "l1GasPrice", "l1GasUsed", "l1FeeScalar", "operatorFeeScalar"] {
        assert!(receipt.get(key).is_none(), "a deposit pays no fee: {key}");
    }
    let balance = node.call("eth_getBalance", json!([Address::repeat_byte(0xdd)])).await;
    assert_eq!(balance, "0x258");
}

#[tokio::test]
async fn receipts_count_logs_and_gas_over_the_block() {
    let node = Node::start().await;
    let log = |nonce| raw(&node.alice, calling(nonce, LOGGER, words([1, 2])));
    let hashes = [send(&node, log(0)).await, send(&node, log(1)).await];
    let block = node.mine();
    let all = node.call("eth_getBlockReceipts", json!(["latest"])).await;
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 3);
    let price = quantity(&all[1]["effectiveGasPrice"]);
    assert_eq!(price, block.header.base_fee_per_gas.unwrap() + 1);
    for (index, hash) in hashes.iter().enumerate() {
        let receipt = node.call("eth_getTransactionReceipt", json!([hash])).await;
        assert_eq!(receipt, all[index + 1], "the same from both methods");
        assert_eq!(receipt["logs"][0]["logIndex"], json!(format!("{index:#x}")));
        assert_eq!(receipt["logs"][0]["transactionHash"], json!(hash));
        assert_eq!(receipt["logs"][0]["blockHash"], json!(block.hash));
        assert_eq!(receipt["logs"][0]["removed"], false);
        assert!(receipt["contractAddress"].is_null());
    }
    let gas = |i: usize| quantity(&all[i]["gasUsed"]);
    assert_eq!(quantity(&all[2]["cumulativeGasUsed"]), gas(0) + gas(1) + gas(2));
    assert_eq!(quantity(&all[2]["cumulativeGasUsed"]), block.header.gas_used);
}

#[tokio::test]
async fn fees_are_suggested_and_told() {
    let node = Node::start().await;
    for (nonce, tip) in [(0, 10), (1, 20), (2, 30)] {
        let bytes = TxEip1559 { max_priority_fee_per_gas: tip, ..transfer(nonce) };
        send(&node, raw(&node.alice, bytes)).await;
    }
    node.mine();
    node.mine();
    let price = quantity(&node.call("eth_gasPrice", json!([])).await);
    assert_eq!(price, 1_000_000, "the base fee does not fall below its minimum");
    for count in [json!(2), json!("0x2")] {
        let history = node.call("eth_feeHistory", json!([count, "0x1", [0, 50, 100.0]])).await;
        assert_eq!(history["oldestBlock"], "0x0");
        assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 3);
        assert_eq!(history["gasUsedRatio"].as_array().unwrap().len(), 2);
        let rewards = json!([["0x0", "0x0", "0x0"], ["0xa", "0x14", "0x1e"]]);
        assert_eq!(history["reward"], rewards);
    }
    let plain = node.call("eth_feeHistory", json!(["0x400", "latest"])).await;
    assert_eq!(plain["gasUsedRatio"].as_array().unwrap().len(), 3);
    assert!(plain["reward"].is_null());
    assert_eq!(node.fails("eth_feeHistory", json!([1, "latest", [101]])).await.0, -32602);
    assert_eq!(node.fails("eth_feeHistory", json!([1, "latest", [9, 8]])).await.0, -32602);
    assert_eq!(node.fails("eth_feeHistory", json!([1, "0x99"])).await.0, -32602);
    node.provider().estimate_eip1559_fees().await.unwrap();
}

#[tokio::test]
async fn counts_and_places_are_the_same_by_number_and_by_hash() {
    let node = Node::start().await;
    let first = send(&node, raw(&node.alice, transfer(0))).await;
    let second = send(&node, raw(&node.alice, transfer(1))).await;
    let hash = node.mine().hash;
    for (index, expected) in [("0x1", json!(first)), ("0x2", json!(second))] {
        let by_number = "eth_getTransactionByBlockNumberAndIndex";
        let found = node.call(by_number, json!(["0x1", index])).await;
        assert_eq!(found["hash"], expected);
        let by_hash = "eth_getTransactionByBlockHashAndIndex";
        assert_eq!(node.call(by_hash, json!([hash, index])).await, found);
        assert!(node.call(by_number, json!(["0x1", "0x3"])).await.is_null());
    }
    for (what, by_hash, by_number, expected) in [
        (hash, "eth_getBlockTransactionCountByHash", "eth_getBlockTransactionCountByNumber", "0x3"),
        (hash, "eth_getUncleCountByBlockHash", "eth_getUncleCountByBlockNumber", "0x0"),
    ] {
        assert_eq!(node.call(by_hash, json!([what])).await, expected);
        assert_eq!(node.call(by_number, json!(["0x1"])).await, expected);
        assert!(node.call(by_hash, json!([B256::repeat_byte(9)])).await.is_null());
        assert!(node.call(by_number, json!(["0x99"])).await.is_null());
    }
}
