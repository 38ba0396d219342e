//! debug_getRaw*: every hash and root can be made again from the bytes.

use crate::{
    chain::LOGGER,
    node::{Node, calling, quantity, raw, transfer, words},
};
use alloy::{
    consensus::{Header, TxEip2930, TxLegacy, proofs::ordered_trie_root_with_encoder},
    primitives::{Address, B256, Bytes, TxKind, U256, keccak256},
    rlp::{BufMut, Decodable, Encodable},
};
use serde_json::{Value, json};

fn bytes(value: Value) -> Bytes {
    serde_json::from_value(value).unwrap()
}

/// The items of an RLP list, each with its own header.
fn items(mut list: &[u8]) -> Vec<Bytes> {
    let header = alloy::rlp::Header::decode(&mut list).unwrap();
    assert!(header.list);
    assert_eq!(header.payload_length, list.len());
    let mut items = Vec::new();
    while !list.is_empty() {
        let mut rest = list;
        let item = alloy::rlp::Header::decode(&mut rest).unwrap();
        let length = list.len() - rest.len() + item.payload_length;
        items.push(Bytes::copy_from_slice(&list[..length]));
        list = &list[length..];
    }
    items
}

async fn mined() -> (Node, B256) {
    let node = Node::start().await;
    let to = TxKind::Call(Address::repeat_byte(0xbb));
    let legacy = TxLegacy {
        chain_id: Some(crate::chain::CHAIN_ID),
        nonce: 0,
        gas_price: crate::node::FEE_WEI,
        gas_limit: 21_000,
        to,
        value: U256::ONE,
        input: Bytes::new(),
    };
    let listed = TxEip2930 {
        chain_id: crate::chain::CHAIN_ID,
        nonce: 1,
        gas_price: crate::node::FEE_WEI,
        gas_limit: 21_000,
        to,
        ..Default::default()
    };
    let sent = [
        raw(&node.alice, legacy),
        raw(&node.alice, listed),
        raw(&node.alice, calling(2, LOGGER, words([1, 2]))),
        raw(&node.bob, transfer(0)),
    ];
    for transaction in &sent {
        node.call("eth_sendRawTransaction", json!([transaction])).await;
    }
    let hash = node.mine().hash;
    (node, hash)
}

#[tokio::test]
async fn a_block_can_be_recomputed_from_its_bytes() {
    let (node, hash) = mined().await;
    let header = bytes(node.call("debug_getRawHeader", json!(["latest"])).await);
    assert_eq!(keccak256(&header), hash);
    let decoded = Header::decode(&mut &header[..]).unwrap();

    let whole = bytes(node.call("debug_getRawBlock", json!([{ "blockHash": hash }])).await);
    let parts = items(&whole);
    assert_eq!(parts.len(), 4, "header, transactions, ommers, withdrawals");
    assert_eq!(parts[0], header);
    assert_eq!((&parts[2][..], &parts[3][..]), (&[0xc0][..], &[0xc0][..]));
    let transactions: Vec<Bytes> = items(&parts[1])
        .into_iter()
        .map(|item| match item[0] {
            0xc0.. => item,
            _ => Bytes::decode(&mut &item[..]).unwrap(),
        })
        .collect();
    assert_eq!(transactions.len(), 5);
    let root = ordered_trie_root_with_encoder(&transactions, |item, out| out.put_slice(item));
    assert_eq!(root, decoded.transactions_root);

    let block = node.call("eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!(quantity(&block["size"]), whole.length() as u64 - length_of_string(&whole));
    for (transaction, hash) in transactions.iter().zip(block["transactions"].as_array().unwrap()) {
        assert_eq!(json!(keccak256(transaction)), *hash);
        let alone = bytes(node.call("debug_getRawTransaction", json!([hash])).await);
        assert_eq!(&alone, transaction);
    }

    let receipts = node.call("debug_getRawReceipts", json!(["0x1"])).await;
    let receipts: Vec<Bytes> = serde_json::from_value(receipts).unwrap();
    let root = ordered_trie_root_with_encoder(&receipts, |item, out| out.put_slice(item));
    assert_eq!(root, decoded.receipts_root);
}

/// Bytes that RLP puts before a byte string.
fn length_of_string(bytes: &Bytes) -> u64 {
    (bytes.length() - bytes.len()) as u64
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let (node, _) = mined().await;
    for method in ["debug_getRawHeader", "debug_getRawBlock", "debug_getRawReceipts"] {
        assert_eq!(node.fails(method, json!(["0x9"])).await.0, -32000, "{method}");
        assert_eq!(node.fails(method, json!([])).await.0, -32602, "{method}");
    }
    let unknown = json!([B256::repeat_byte(1)]);
    assert!(node.call("debug_getRawTransaction", unknown).await.is_null());
    let genesis = bytes(node.call("debug_getRawBlock", json!(["earliest"])).await);
    let hash = node.call("eth_getBlockByNumber", json!(["earliest", false])).await["hash"].take();
    assert_eq!(json!(keccak256(&items(&genesis)[0])), hash);
}
