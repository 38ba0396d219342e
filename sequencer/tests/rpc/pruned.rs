//! A node that prunes, over its real store: what it answers about the past, and what it says where it
//! does not.

use crate::rollup_chain::{self, next_block};
use alloy::{
    primitives::{Address, B256, Bytes, U256, address, bytes, keccak256},
    rlp::encode,
    rpc::types::EIP1186AccountProofResponse,
    sol_types::SolCall,
    trie::{Nibbles, TrieAccount, proof::verify_proof},
};
use contracts::{L2_TO_L1_MESSAGE_PASSER, L2ToL1MessagePasser};
use executor::Genesis;
use sequencer::{
    node::NodeChain,
    rpc::{RpcContext, RpcOptions, serve},
    store::{ChainStore, chain::FinalOutputs},
    txpool::{self, Pool},
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch};

const LAST: u64 = 40;
/// Newest final output; states begin here.
const FIRST: u64 = 30;
const NOBODY: Address = address!("0x00000000000000000000000000000000000b0001");

struct Served {
    store: ChainStore,
    url: String,
    _directory: tempfile::TempDir,
    _l1: watch::Sender<batcher::tracker::Heads>,
}

impl Served {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let genesis = rollup_chain::genesis();
        let store = ChainStore::open(directory.path(), &genesis).unwrap();
        while store.head().number < LAST {
            let (header, hash) = store.header(store.head().number).unwrap().unwrap();
            let block = next_block(&genesis, &store.view().unwrap(), (&header, hash));
            store.commit(&block).unwrap();
        }
        for (block, next_index) in [10, 20, FIRST].into_iter().zip(1..) {
            store.keep_output(block).unwrap();
            store.set_final_outputs(FinalOutputs { next_index, block }).unwrap();
        }
        // As after a restart: only the head's trie is in memory.
        store.fold_all().unwrap();
        drop(store);
        let store = ChainStore::open(directory.path(), &genesis).unwrap();
        while !store.prune_step(5).unwrap().is_done {}
        Self::over(directory, &genesis, store).await
    }

    async fn over(directory: tempfile::TempDir, genesis: &Genesis, store: ChainStore) -> Self {
        let (l1, heads) = watch::channel(batcher::tracker::Heads::default());
        let chain = NodeChain::new(genesis, store.clone(), heads, Duration::from_secs(1));
        let pool = Arc::new(Mutex::new(Pool::new(txpool::Config::default())));
        let context = Arc::new(RpcContext::new(chain, pool, RpcOptions::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, context, std::future::pending()));
        Self { store, url, _directory: directory, _l1: l1 }
    }

    async fn answer(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let client = reqwest::Client::new();
        let answer = client.post(&self.url).body(body.to_string()).send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let mut answer = self.answer(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    async fn fails(&self, method: &str, params: Value) -> String {
        let answer = self.answer(method, params).await;
        answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// A proof, verified from the state root of the block's header down.
    async fn proof(&self, of: Address, slots: &[U256], number: u64) -> Vec<U256> {
        let keys: Vec<_> = slots.iter().map(|slot| B256::from(*slot)).collect();
        let params = json!([of, keys, hex(number)]);
        let proof: EIP1186AccountProofResponse =
            serde_json::from_value(self.call("eth_getProof", params).await).unwrap();
        let header = self.call("eth_getBlockByNumber", json!([hex(number), false])).await;
        let state_root: B256 = serde_json::from_value(header["stateRoot"].clone()).unwrap();
        let leaf = TrieAccount {
            nonce: proof.nonce,
            balance: proof.balance,
            storage_root: proof.storage_hash,
            code_hash: proof.code_hash,
        };
        let is_there = proof.nonce > 0 || !proof.balance.is_zero();
        let path = Nibbles::unpack(keccak256(of));
        let leaf = is_there.then(|| encode(leaf));
        verify_proof(state_root, path, leaf, &proof.account_proof).unwrap();
        let slots = slots.iter().zip(proof.storage_proof);
        let values = slots.map(|(slot, found)| {
            let path = Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()));
            let value = (!found.value.is_zero()).then(|| encode(found.value));
            verify_proof(proof.storage_hash, path, value, &found.proof).unwrap();
            found.value
        });
        values.collect()
    }
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}

/// Returns the balance of caller 1.
const BALANCE_READER: Bytes = bytes!("730000000000000000000000000000000000010001315f5260205ff3");

/// What the node answers about the state of a block: balance, nonce, code, storage, and two calls that
/// read it.
async fn answers(node: &Served, number: u64, at: &str) -> Vec<Value> {
    let (caller, writer) = (rollup_chain::caller(number % 8), rollup_chain::writer());
    // By the block after the first.
    let deployed = rollup_chain::caller(1).create(1);
    let nonce = L2ToL1MessagePasser::messageNonceCall {}.abi_encode();
    let passer = json!({ "to": L2_TO_L1_MESSAGE_PASSER, "input": Bytes::from(nonce) });
    let asked = [
        ("eth_getBalance", json!([caller, at])),
        ("eth_getTransactionCount", json!([caller, at])),
        ("eth_getCode", json!([deployed, at])),
        ("eth_getStorageAt", json!([writer, hex(number), at])),
        ("eth_getStorageAt", json!([writer, hex(number / 3), at])),
        ("eth_call", json!([{ "input": BALANCE_READER }, at])),
        ("eth_call", json!([passer, at])),
    ];
    let mut answers = Vec::new();
    for (method, params) in asked {
        answers.push(node.call(method, params).await);
    }
    answers
}

#[tokio::test]
async fn the_past_is_as_it_was_recorded_when_it_was_the_present() {
    const BLOCKS: u64 = 230;
    const KEPT: u64 = 100;
    let directory = tempfile::tempdir().unwrap();
    let genesis = rollup_chain::genesis();
    let store = ChainStore::open(directory.path(), &genesis).unwrap();
    let node = Served::over(directory, &genesis, store).await;
    let mut archive = Vec::new();
    for number in 1..=BLOCKS {
        let (header, hash) = node.store.header(number - 1).unwrap().unwrap();
        let block = next_block(&genesis, &node.store.view().unwrap(), (&header, hash));
        node.store.commit(&block).unwrap();
        archive.push((number, answers(&node, number, "latest").await));
    }
    let distinct: HashSet<_> = archive.iter().map(|(_, said)| said[6].to_string()).collect();
    assert!(distinct.len() as u64 >= BLOCKS / 2, "the calls hardly depend on the block");
    assert_ne!(archive[0].1[2], archive[1].1[2], "there is code from the second block on");
    // Some are in the order log alone, then none is.
    for _ in 0..2 {
        for (number, recorded) in &archive {
            assert_eq!(answers(&node, *number, &hex(*number)).await, *recorded, "block {number}");
        }
        node.store.fold_all().unwrap();
    }
    let outputs = FinalOutputs { next_index: 1, block: BLOCKS };
    node.store.set_final_outputs(outputs).unwrap();
    while !node.store.prune_step(KEPT).unwrap().is_done {}
    let first = BLOCKS + 1 - KEPT;
    for (number, recorded) in &archive {
        if *number >= first {
            assert_eq!(answers(&node, *number, &hex(*number)).await, *recorded, "block {number}");
            continue;
        }
        let params = json!([{ "input": BALANCE_READER }, hex(*number)]);
        let expected = format!(
            "historical state of block {number} is not available; \
             the oldest kept state is of block {first}"
        );
        assert_eq!(node.fails("eth_call", params).await, expected);
    }
}

#[tokio::test]
async fn the_past_answers_up_to_where_it_is_pruned() {
    let node = Served::start().await;
    let (caller, writer) = (rollup_chain::caller(1), rollup_chain::writer());
    for number in [FIRST, FIRST + 1, LAST - 1, LAST] {
        let view = node.store.view_at(number).unwrap().unwrap();
        let account = executor::StateView::account(&view, caller).unwrap().unwrap();
        let balance = node.call("eth_getBalance", json!([caller, hex(number)])).await;
        assert_eq!(balance, json!(account.balance_wei));
        let nonce = node.call("eth_getTransactionCount", json!([caller, hex(number)])).await;
        assert_eq!(nonce, json!(hex(account.nonce)));
        let slot = node.call("eth_getStorageAt", json!([writer, hex(number), hex(number)])).await;
        assert_eq!(slot, json!(B256::from(U256::from(number))));
        let code = node.call("eth_getCode", json!([writer, hex(number)])).await;
        assert!(code.as_str().unwrap().len() > 2);
        node.call("eth_call", json!([{ "to": writer }, hex(number)])).await;
    }
    let (before, call) = (hex(FIRST - 1), json!({ "to": writer }));
    let asked = [
        ("eth_getBalance", json!([caller, before])),
        ("eth_getTransactionCount", json!([caller, before])),
        ("eth_getStorageAt", json!([writer, "0x1", before])),
        ("eth_getCode", json!([writer, before])),
        ("eth_call", json!([call, before])),
        ("eth_getProof", json!([caller, [], before])),
    ];
    for (method, params) in asked {
        let said = node.fails(method, params).await;
        let expected = "historical state of block 29 is not available; \
                        the oldest kept state is of block 30";
        assert_eq!(said, expected, "{method}");
    }
    // Blocks and receipts stay.
    let block = node.call("eth_getBlockByNumber", json!([hex(3), true])).await;
    let transaction = &block["transactions"][1]["hash"];
    let receipt = node.call("eth_getTransactionReceipt", json!([transaction])).await;
    assert_eq!(receipt["blockNumber"], json!(hex(3)));
    let filter = json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": writer }]);
    let logs = node.call("eth_getLogs", filter).await;
    assert_eq!(logs.as_array().unwrap().len() as u64, 2 * LAST);
}

#[tokio::test]
async fn proofs_hold_within_the_window() {
    let node = Served::start().await;
    for number in FIRST..=LAST {
        let slots = [U256::from(number), U256::from(number + 50)];
        let values = node.proof(rollup_chain::writer(), &slots, number).await;
        assert_eq!(values, [U256::from(number), U256::ZERO]);
        node.proof(rollup_chain::caller(2), &[], number).await;
        node.proof(NOBODY, &[], number).await;
    }
}

#[tokio::test]
async fn a_withdrawal_is_proved_at_an_old_output_after_pruning() {
    let node = Served::start().await;
    for output in [10, 20, FIRST] {
        let withdrawals = [1, 9, 19, 29, 39];
        let slots = withdrawals.map(rollup_chain::withdrawal_slot);
        let values = node.proof(L2_TO_L1_MESSAGE_PASSER, &slots, output).await;
        let sent = withdrawals.map(|number| U256::from(u64::from(number <= output)));
        assert_eq!(values, sent, "{output}");
    }
    // Of blocks without an output, and of other accounts, nothing is kept.
    let passer = L2_TO_L1_MESSAGE_PASSER;
    let said = node.fails("eth_getProof", json!([passer, [], hex(11)])).await;
    assert!(said.contains("block 11 is not available"), "{said}");
    let said = node.fails("eth_getProof", json!([NOBODY, [], hex(10)])).await;
    assert!(said.contains("block 10 is not available"), "{said}");
}
