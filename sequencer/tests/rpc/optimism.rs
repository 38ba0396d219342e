//! optimism_*: heads and outputs as op-node tells them.

use crate::{
    chain::{CHAIN_ID, origin},
    node::Node,
};
use alloy::primitives::{B256, address};
use executor::genesis::output_root;
use serde_json::{Value, json};

fn hash(value: &Value) -> B256 {
    serde_json::from_value(value.clone()).unwrap()
}

#[tokio::test]
async fn heads_and_their_origins() {
    let node = Node::start().await;
    for _ in 0..3 {
        node.mine();
    }
    let status = node.call("optimism_syncStatus", json!([])).await;
    for (head, number) in [("unsafe_l2", 3), ("safe_l2", 2), ("finalized_l2", 1)] {
        let block = &status[head];
        let tag = format!("{number:#x}");
        let real = node.call("eth_getBlockByNumber", json!([tag, false])).await;
        assert_eq!(block["number"], number, "{head}");
        assert_eq!((&block["hash"], &block["parentHash"]), (&real["hash"], &real["parentHash"]));
        assert_eq!(block["l1origin"], json!({ "hash": origin().hash, "number": 1 }));
        // The tests' chain counts all blocks as of one origin.
        assert_eq!(block["sequenceNumber"], number - 1);
    }
    assert_eq!(status["head_l1"]["hash"], json!(origin().hash));
    assert_eq!(status["head_l1"]["timestamp"], origin().timestamp);
}

#[tokio::test]
async fn outputs_follow_from_the_block() {
    let node = Node::start().await;
    node.mine();
    let passer = address!("0x4200000000000000000000000000000000000016");
    for number in ["0x0", "0x1"] {
        let output = node.call("optimism_outputAtBlock", json!([number])).await;
        let block = node.call("eth_getBlockByNumber", json!([number, false])).await;
        let proof = node.call("eth_getProof", json!([passer, [], number])).await;
        assert_eq!(output["stateRoot"], block["stateRoot"]);
        assert_eq!(output["withdrawalStorageRoot"], proof["storageHash"]);
        let parts = [&block["stateRoot"], &proof["storageHash"], &block["hash"]].map(hash);
        let [state_root, messages, block_hash] = parts;
        assert_eq!(hash(&output["outputRoot"]), output_root(state_root, messages, block_hash));
        assert_eq!(output["blockRef"]["hash"], block["hash"]);
        assert_eq!(output["version"], json!(B256::ZERO));
    }
    assert_eq!(node.fails("optimism_outputAtBlock", json!(["0x9"])).await.0, -32000);
}

#[tokio::test]
async fn the_configuration() {
    let node = Node::start().await;
    let config = node.call("optimism_rollupConfig", json!([])).await;
    let genesis = node.call("eth_getBlockByNumber", json!(["0x0", false])).await;
    assert_eq!(config["l2_chain_id"], CHAIN_ID);
    assert_eq!(config["l1_chain_id"], 1);
    assert_eq!(config["genesis"]["l2"], json!({ "hash": genesis["hash"], "number": 0 }));
    assert_eq!(config["genesis"]["l1"], json!({ "hash": origin().hash, "number": 1 }));
    assert_eq!(config["genesis"]["l2_time"], 1_700_000_000);
    assert_eq!(config["block_time"], 1);
    assert_eq!(config["max_sequencer_drift"], 1_800);
}
