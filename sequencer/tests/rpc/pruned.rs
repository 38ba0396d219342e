//! A node that prunes, over its real store: what it answers about the past, and what it says where it
//! does not.

use crate::rollup_chain::{self, next_block};
use alloy::{
    primitives::{Address, B256, U256, address, keccak256},
    rlp::encode,
    rpc::types::EIP1186AccountProofResponse,
    trie::{Nibbles, TrieAccount, proof::verify_proof},
};
use contracts::L2_TO_L1_MESSAGE_PASSER;
use sequencer::{
    node::NodeChain,
    rpc::{RpcContext, RpcOptions, serve},
    store::{ChainStore, chain::FinalOutputs},
    txpool::{self, Pool},
};
use serde_json::{Value, json};
use std::{
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
    _l1: watch::Sender<batcher::poster::Heads>,
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
        let (l1, heads) = watch::channel(batcher::poster::Heads::default());
        let chain = NodeChain::new(&genesis, store.clone(), heads, Duration::from_secs(1));
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
