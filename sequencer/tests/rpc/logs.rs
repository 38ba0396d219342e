//! eth_getLogs and polled filters.

use crate::{
    chain::{LOGGER, SMALL_LOGGER},
    node::{Node, calling, raw, word, words},
};
use alloy::primitives::Address;
use serde_json::{Value, json};

/// Three blocks: a log [1, 2], a log [3, 4], a log [1] of the other contract.
async fn with_logs() -> Node {
    let node = Node::start().await;
    let calls = [
        calling(0, LOGGER, words([1, 2])),
        calling(1, LOGGER, words([3, 4])),
        calling(2, SMALL_LOGGER, words([1])),
    ];
    for call in calls {
        node.call("eth_sendRawTransaction", json!([raw(&node.alice, call)])).await;
        node.mine();
    }
    node
}

/// Blocks of the logs that a filter finds.
async fn found(node: &Node, filter: Value) -> Vec<String> {
    let logs = node.call("eth_getLogs", json!([filter])).await;
    let blocks = logs.as_array().unwrap().iter();
    blocks.map(|log| log["blockNumber"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn filters_mean_what_geths_mean() {
    let node = with_logs().await;
    let (one, two, three) = (word(1), word(2), word(3));
    let table = [
        (json!({}), vec!["0x1", "0x2", "0x3"]),
        (json!({ "address": LOGGER }), vec!["0x1", "0x2"]),
        (json!({ "address": [LOGGER, SMALL_LOGGER] }), vec!["0x1", "0x2", "0x3"]),
        (json!({ "address": [] }), vec!["0x1", "0x2", "0x3"]),
        (json!({ "address": Address::ZERO }), vec![]),
        (json!({ "topics": [one] }), vec!["0x1", "0x3"]),
        (json!({ "topics": [[one, three]] }), vec!["0x1", "0x2", "0x3"]),
        (json!({ "topics": [null, two] }), vec!["0x1"]),
        // More positions than topics: no match, even where the position is open.
        (json!({ "topics": [one, null] }), vec!["0x1"]),
        (json!({ "topics": [one, []] }), vec!["0x1"]),
        // One null among the alternatives lets everything through.
        (json!({ "topics": [[three, null]] }), vec!["0x1", "0x2", "0x3"]),
        (json!({ "topics": [] }), vec!["0x1", "0x2", "0x3"]),
        (json!({ "topics": null, "address": null }), vec!["0x1", "0x2", "0x3"]),
    ];
    for (mut filter, blocks) in table {
        filter["fromBlock"] = json!("earliest");
        assert_eq!(found(&node, filter.clone()).await, blocks, "{filter}");
    }
}

#[tokio::test]
async fn ranges_and_hashes() {
    let node = with_logs().await;
    let block = node.call("eth_getBlockByNumber", json!(["0x2"])).await;
    assert_eq!(found(&node, json!({ "blockHash": block["hash"] })).await, ["0x2"]);
    assert_eq!(found(&node, json!({})).await, ["0x3"], "the default is the latest block");
    let range = json!({ "fromBlock": "0x1", "toBlock": "0x2" });
    assert_eq!(found(&node, range).await, ["0x1", "0x2"]);
    let beyond = json!({ "fromBlock": "0x2", "toBlock": "0x999" });
    assert_eq!(found(&node, beyond).await, ["0x2", "0x3"]);
    assert!(found(&node, json!({ "fromBlock": "0x50", "toBlock": "0x60" })).await.is_empty());
    let table = [
        (json!({ "blockHash": word(1) }), -32000, "unknown block"),
        (json!({ "fromBlock": "0x2", "toBlock": "0x1" }), -32602, "invalid block range params"),
        (json!({ "blockHash": word(1), "fromBlock": "0x1" }), -32602, "cannot specify both"),
        (json!({ "topics": [null, null, null, null, null] }), -32602, "exceed max topics"),
        (json!({ "toBlock": "pending" }), -32602, "pending logs are not supported"),
        (json!({ "address": "0x12" }), -32602, "invalid argument 0"),
    ];
    for (filter, code, words) in table {
        let (got, message) = node.fails("eth_getLogs", json!([filter])).await;
        assert_eq!(got, code, "{message}");
        assert!(message.starts_with(words), "{message}");
    }
}

#[tokio::test]
async fn polled_filters_tell_what_is_new() {
    let node = with_logs().await;
    let blocks = node.call("eth_newBlockFilter", json!([])).await;
    let logs = node.call("eth_newFilter", json!([{ "address": LOGGER, "fromBlock": "0x0" }])).await;
    let pending = node.call("eth_newPendingTransactionFilter", json!([])).await;
    let poll = async |id: &Value| node.call("eth_getFilterChanges", json!([id])).await;
    for id in [&blocks, &logs, &pending] {
        assert_eq!(poll(id).await, json!([]), "nothing happened yet");
    }
    let sent = raw(&node.alice, calling(3, LOGGER, words([5, 6])));
    let hash = node.call("eth_sendRawTransaction", json!([sent])).await;
    assert_eq!(poll(&pending).await, json!([hash]));
    let first = node.mine();
    let second = node.mine();
    assert_eq!(poll(&blocks).await, json!([first.hash, second.hash]));
    let changes = poll(&logs).await;
    assert_eq!(changes.as_array().unwrap().len(), 1);
    assert_eq!(changes[0]["transactionHash"], hash);
    for id in [&blocks, &logs, &pending] {
        assert_eq!(poll(id).await, json!([]), "told once");
    }
    let all = node.call("eth_getFilterLogs", json!([logs])).await;
    assert_eq!(all.as_array().unwrap().len(), 3);
    assert_eq!(node.call("eth_uninstallFilter", json!([logs])).await, true);
    assert_eq!(node.call("eth_uninstallFilter", json!([logs])).await, false);
    let gone = node.fails("eth_getFilterChanges", json!([logs])).await;
    assert_eq!(gone, (-32000, "filter not found".to_owned()));
    assert_eq!(node.fails("eth_getFilterLogs", json!([blocks])).await.0, -32000);
}

#[tokio::test]
async fn block_filters_go_on_after_a_rollback() {
    let node = with_logs().await;
    let filter = node.call("eth_newBlockFilter", json!([])).await;
    node.chain.roll_back(1);
    assert_eq!(node.call("eth_getFilterChanges", json!([filter])).await, json!([]));
    let block = node.chain.mine(vec![], vec![]);
    let changes = node.call("eth_getFilterChanges", json!([filter])).await;
    assert_eq!(changes, json!([block.hash]));
}
