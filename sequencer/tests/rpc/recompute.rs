//! A chain with everything in it, recomputed from JSON-RPC alone.

use crate::{
    chain::{CHAIN_ID, LOGGER, READER, REVERTER, offered},
    node::{FEE_WEI, Node, calling, raw, transfer, words},
    recomputed::{Rpc, check_proof, recompute},
};
use alloy::{
    consensus::{TxEip1559, TxEip2930, TxEip7702, TxLegacy},
    eips::{
        eip2930::{AccessList, AccessListItem},
        eip7702::Authorization,
    },
    primitives::{Address, B256, Bytes, TxKind, U256, bytes, keccak256},
    signers::SignerSync,
};
use executor::Deposit;
use serde_json::json;
use std::collections::BTreeMap;

/// Emits a log with each number of topics, of 32 bytes, of none, and of memory it makes longer, and
/// writes slots 1 to 3, the last of them zero.
const EVENTS: Bytes = bytes!(
    "60205fa0"
    "60115f5fa1"
    "6012601160205fa2"
    "6013601260116103005fa3"
    "601460136012601160015fa4"
    "602a600155"
    "60ff600255"
    "5f600355"
    "00"
);

/// Init code that deploys `code`.
fn deploying(code: &Bytes) -> Bytes {
    let length = u8::try_from(code.len()).unwrap();
    [&[0x60, length, 0x80, 0x60, 9, 0x5f, 0x39, 0x5f, 0xf3], &code[..]].concat().into()
}

async fn send(node: &Node, bytes: Bytes) {
    node.call("eth_sendRawTransaction", json!([bytes])).await;
}

/// A block with a transaction of each type, creations, a revert, logs, and deposits.
async fn every_kind(node: &Node) -> Address {
    let alice = &node.alice;
    let to = TxKind::Call(Address::repeat_byte(0xbb));
    let events = alice.address().create(0);
    let create = TxLegacy {
        chain_id: Some(CHAIN_ID),
        gas_price: FEE_WEI,
        gas_limit: 300_000,
        to: TxKind::Create,
        input: deploying(&EVENTS),
        ..Default::default()
    };
    let listed = TxEip2930 {
        chain_id: CHAIN_ID,
        nonce: 1,
        gas_price: FEE_WEI,
        gas_limit: 60_000,
        to,
        value: U256::from(7),
        access_list: AccessList(vec![
            AccessListItem {
                address: READER,
                storage_keys: vec![B256::ZERO, B256::with_last_byte(9)],
            },
            AccessListItem { address: LOGGER, storage_keys: vec![] },
        ]),
        ..Default::default()
    };
    let authorization = Authorization { chain_id: U256::ZERO, address: READER, nonce: 0 };
    let signature = node.bob.sign_hash_sync(&authorization.signature_hash()).unwrap();
    let delegating = TxEip7702 {
        chain_id: CHAIN_ID,
        nonce: 3,
        gas_limit: 100_000,
        max_fee_per_gas: FEE_WEI,
        max_priority_fee_per_gas: 3,
        to: node.bob.address(),
        authorization_list: vec![authorization.into_signed(signature)],
        ..Default::default()
    };
    send(node, raw(alice, create)).await;
    send(node, raw(alice, listed)).await;
    send(node, raw(alice, transfer(2))).await;
    send(node, raw(alice, delegating)).await;
    send(node, raw(alice, calling(4, REVERTER, words([1])))).await;
    let failing = TxEip1559 { to: TxKind::Create, input: bytes!("fe"), ..calling(5, LOGGER, []) };
    send(node, raw(alice, failing)).await;
    send(node, raw(alice, calling(6, events, []))).await;
    send(node, raw(alice, calling(7, LOGGER, words([1, 2])))).await;
    // Signed without a chain id is refused; with a chain id whose v takes two bytes is the above.
    let offered = offered(&node.pool.lock().unwrap());
    let deposit = |name: &str, to, value: u64, input: Bytes| Deposit {
        source_hash: keccak256(name),
        from: Address::repeat_byte(0xde),
        to,
        mint_wei: 1_000,
        value: U256::from(value),
        gas_limit: 200_000,
        input,
    };
    let deposits = vec![
        deposit("transfer", to, 600, Bytes::new()),
        deposit("creation", TxKind::Create, 0, deploying(&EVENTS)),
        deposit("revert", TxKind::Call(REVERTER), 1, words([3])),
        deposit("log", TxKind::Call(LOGGER), 0, words([8, 9])),
    ];
    node.chain.mine(offered, deposits);
    events
}

#[tokio::test]
async fn everything_that_the_chain_commits_to_follows_from_what_it_answers() {
    let node = Node::start().await;
    node.mine();
    let events = every_kind(&node).await;
    node.mine();
    // Above 127 transactions an index takes two bytes of RLP, and the trie another shape.
    for nonce in 0..140 {
        send(&node, raw(&node.bob, transfer(nonce + 1))).await;
    }
    node.chain.mine_pool(&node.pool);
    node.mine();

    let rpc = Rpc::new(node.url());
    let seen = recompute(&rpc).await;
    assert_eq!(seen.blocks, 6);
    assert_eq!(seen.empty_blocks, 3);
    assert_eq!(seen.types, BTreeMap::from([(0, 1), (1, 1), (2, 145), (4, 1), (0x7e, 9)]));
    assert_eq!((seen.creations, seen.failures), (3, 3));
    assert_eq!(seen.topics.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);

    let root = |block: u64| (block, seen.state_roots[usize::try_from(block).unwrap()]);
    let slots = [1, 2, 3, 1_000_000].map(U256::from);
    // Before its block, the contract is proved to be absent; after it, two slots of four are there.
    assert_eq!(check_proof(&rpc, root(1), events, &slots).await, None);
    let after = Some(vec![true, true, false, false]);
    for block in 2..=5 {
        assert_eq!(check_proof(&rpc, root(block), events, &slots).await, after);
        assert_eq!(check_proof(&rpc, root(block), Address::repeat_byte(0x99), &[]).await, None);
        for account in [node.alice.address(), node.bob.address(), Address::repeat_byte(0xbb)] {
            assert_eq!(check_proof(&rpc, root(block), account, &[]).await, Some(vec![]));
        }
    }
    assert_eq!(check_proof(&rpc, root(0), READER, &[U256::ZERO]).await, Some(vec![true]));
}
