//! debug_executionWitness: the answer alone must be enough to execute the block.

use crate::{
    chain::{LOGGER, MemoryChain, READER, READER_CODE, offered},
    node::{Node, calling, raw, transfer, words},
};
use alloy::primitives::{Address, B256, Bytes, TxKind, U256, bytes, keccak256};
use batcher::source::{BlockSource, SourceError};
use executor::{BlockEnv, BlockInput, Deposit, ExecutionWitness, Header, Mode, execute};
use sequencer::{
    node::RpcSource,
    rpc::{Chain, ClientLimits},
    store::StoredBlock,
};
use serde_json::{Value, json};

/// Deploys the six bytes that follow it.
const DEPLOY: Bytes = bytes!("6006600a5f3960065ff3");
/// Stores the hash of the block whose number it is given, under its caller.
const KEEPER_CODE: Bytes = bytes!("5f3540335500");

async fn send(node: &Node, nonce: u64, to: Option<Address>, input: Bytes) {
    let mut unsigned = calling(nonce, Address::ZERO, input);
    unsigned.to = to.map_or(TxKind::Create, TxKind::Call);
    node.call("eth_sendRawTransaction", json!([raw(&node.alice, unsigned)])).await;
}

/// Executes a block from its witness, in every way, and compares it with the stored one.
fn execute_alone(chain: &MemoryChain, block: &StoredBlock, witness: &Value) {
    let witness: ExecutionWitness = serde_json::from_value(witness.clone()).unwrap();
    let state = witness.to_state().unwrap();
    let rules = chain.rules().clone();
    let header = &block.header;
    let env = BlockEnv::rollup(&rules, state.parent(), header.mix_hash, header.timestamp);
    let input = BlockInput { rules, env, transactions: block.transactions.clone() };
    for mode in [Mode::Sequential, Mode::Automatic] {
        let executed = execute(&state, &input, mode).unwrap();
        assert_eq!(executed.hash, block.hash);
        assert_eq!(executed.receipts, block.receipts);
    }
}

#[tokio::test]
async fn a_block_executes_from_its_witness_alone() {
    let node = Node::start().await;
    send(&node, 0, None, [DEPLOY, KEEPER_CODE].concat().into()).await;
    node.mine();
    let keeper = node.alice.address().create(0);
    send(&node, 1, Some(LOGGER), words([1, 2])).await;
    send(&node, 2, Some(READER), Bytes::new()).await;
    node.mine();
    send(&node, 3, Some(keeper), words([1])).await;
    node.call("eth_sendRawTransaction", json!([raw(&node.bob, transfer(0))])).await;
    let deposit = Deposit {
        source_hash: keccak256("deposit"),
        from: Address::repeat_byte(0xde),
        to: TxKind::Call(Address::repeat_byte(0xdf)),
        mint_wei: 5,
        value: U256::from(3),
        gas_limit: 100_000,
        input: Bytes::new(),
    };
    let offered = offered(&node.pool.lock().unwrap());
    node.chain.mine(offered, vec![deposit]);

    for number in 1..=3 {
        let witness = node.call("debug_executionWitness", json!([format!("{number:#x}")])).await;
        let block = node.chain.block(number).unwrap().unwrap();
        assert!(block.receipts.iter().all(|receipt| receipt.success), "block {number}");
        execute_alone(&node.chain, &block, &witness);
        let parts = ["state", "codes", "keys", "headers"].map(|part| &witness[part]);
        for part in parts.into_iter().flat_map(|part| part.as_array().unwrap()) {
            assert!(part.as_str().unwrap().starts_with("0x"), "{part}");
        }
    }
    let latest = node.call("debug_executionWitness", json!(["latest"])).await;
    assert_eq!(latest, node.call("debug_executionWitness", json!(["0x3"])).await);
    assert_eq!(latest["headers"].as_array().unwrap().len(), 2, "BLOCKHASH reached block 1");
    let codes = latest["codes"].as_array().unwrap();
    assert!(codes.contains(&json!(KEEPER_CODE)) && !codes.contains(&json!(READER_CODE)));
}

#[tokio::test]
async fn a_block_that_nothing_executed_has_no_witness() {
    let node = Node::start().await;
    node.mine();
    let witness_of = async |block: Value| node.fails("debug_executionWitness", block).await;
    let unknown = (-32000, "header not found".to_owned());
    assert_eq!(witness_of(json!(["0x0"])).await, unknown);
    assert_eq!(witness_of(json!(["earliest"])).await, unknown);
    assert_eq!(witness_of(json!(["0x2"])).await, unknown);
    assert_eq!(witness_of(json!([])).await.0, -32602);
    assert_eq!(witness_of(json!(["0x1", {}])).await.0, -32602);
    node.chain.forget_tries_before(1);
    let (code, message) = witness_of(json!(["0x1"])).await;
    assert_eq!((code, &*message), (-32000, "historical state of block 0 is not available"));
}

/// As the gate of a batcher in another process asks.
async fn replay(
    source: &RpcSource,
    node: &Node,
    number: u64,
) -> Result<Option<Header>, SourceError> {
    let rules = node.chain.rules().clone();
    let (parent, parent_hash) = node.chain.header(number - 1).unwrap().unwrap();
    let block = node.chain.block(number).unwrap();
    let (prevrandao, timestamp) = block
        .as_ref()
        .map_or((B256::ZERO, parent.timestamp + 1), |b| (b.header.mix_hash, b.header.timestamp));
    let env = BlockEnv::rollup(&rules, (&parent, parent_hash), prevrandao, timestamp);
    let transactions = block.map(|block| block.transactions).unwrap_or_default();
    source.replay(&BlockInput { rules, env, transactions }).await
}

#[tokio::test]
async fn a_batcher_elsewhere_is_told_that_a_block_executes_to_another_one() {
    let node = Node::start().await;
    send(&node, 0, Some(LOGGER), words([1, 2])).await;
    let right = node.mine().header;
    let genesis_hash = node.chain.header(0).unwrap().unwrap().1;
    let source = RpcSource::new(&node.url().parse().unwrap(), genesis_hash).unwrap();
    assert_eq!(replay(&source, &node, 1).await.unwrap(), Some(right.clone()));

    node.chain.forge(|header| header.state_root = B256::repeat_byte(7));
    let error = node.error("debug_executionWitness", json!(["0x1"])).await;
    assert_eq!(error["code"], -32090, "{error}");
    // What the gate compares is what it really executes to, and it is not the stored one.
    assert_eq!(replay(&source, &node, 1).await.unwrap(), Some(right));

    // Only where the state is gone nothing is to be compared.
    let error = replay(&source, &node, 2).await.unwrap_err();
    assert!(format!("{error}").contains("header not found"), "{error}");
    node.chain.forget_tries_before(1);
    assert_eq!(replay(&source, &node, 1).await.unwrap(), None);
}

#[tokio::test]
async fn a_batcher_elsewhere_waits_where_a_client_may_do_no_more() {
    // Fifty witnesses at once, and ten a second after that.
    let clients = ClientLimits { cost_per_sec: 100_000, ..ClientLimits::default() };
    let node = Node::start_with(clients).await;
    let genesis_hash = node.chain.header(0).unwrap().unwrap().1;
    let block = node.mine().header;
    let source = RpcSource::new(&node.url().parse().unwrap(), genesis_hash).unwrap();
    for _ in 0..60 {
        assert_eq!(replay(&source, &node, 1).await.unwrap(), Some(block.clone()));
    }
    assert_eq!(source.block(1).await.unwrap().unwrap().header, block);
}
