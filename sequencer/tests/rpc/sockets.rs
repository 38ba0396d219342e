//! WebSockets: calls and subscriptions.

use crate::{
    chain::LOGGER,
    node::{Node, calling, raw, transfer, word, words},
};
use alloy::primitives::keccak256;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    notifications: Vec<Value>,
}

impl Socket {
    async fn open(node: &Node) -> Self {
        let (stream, _) = connect_async(format!("ws://{}", node.address)).await.unwrap();
        Self { stream, notifications: Vec::new() }
    }

    async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(Duration::from_secs(10), self.stream.next());
        match next.await.expect("an answer in time").unwrap().unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Sends a request and returns its answer; notifications that come before it are kept.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params });
        self.stream.send(Message::text(request.to_string())).await.unwrap();
        loop {
            let answer = self.next().await;
            if answer.get("method").is_none() {
                assert_eq!(answer["id"], method);
                return answer;
            }
            self.notifications.push(answer);
        }
    }

    async fn subscribe(&mut self, params: Value) -> Value {
        let mut answer = self.ask("eth_subscribe", params).await;
        assert!(answer["result"].is_string(), "{answer}");
        answer["result"].take()
    }

    /// The next notification's subscription and result.
    async fn event(&mut self) -> (Value, Value) {
        let mut event = match self.notifications.is_empty() {
            true => self.next().await,
            false => self.notifications.remove(0),
        };
        assert_eq!(event["method"], "eth_subscription");
        (event["params"]["subscription"].take(), event["params"]["result"].take())
    }
}

#[tokio::test]
async fn calls_work_as_over_http() {
    let node = Node::start().await;
    let mut socket = Socket::open(&node).await;
    assert_eq!(socket.ask("eth_chainId", json!([])).await["result"], "0x66a44");
    assert_eq!(socket.ask("eth_getBalance", json!([word(0)])).await["error"]["code"], -32602);
    assert_eq!(socket.ask("eth_nope", json!([])).await["error"]["code"], -32601);
    assert_eq!(socket.ask("eth_subscribe", json!([])).await["error"]["code"], -32602);
    assert_eq!(socket.ask("eth_subscribe", json!(["rain"])).await["error"]["code"], -32602);
    socket.stream.send(Message::text("{")).await.unwrap();
    let broken = socket.next().await;
    assert_eq!((&broken["error"]["code"], &broken["id"]), (&json!(-32700), &Value::Null));
    let batch = json!([{ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" }]);
    socket.stream.send(Message::text(batch.to_string())).await.unwrap();
    assert_eq!(socket.next().await[0]["result"], "0x66a44");
}

#[tokio::test]
async fn new_heads_and_logs_are_pushed() {
    let node = Node::start().await;
    let mut socket = Socket::open(&node).await;
    let heads = socket.subscribe(json!(["newHeads"])).await;
    let logs = socket.subscribe(json!(["logs", { "topics": [word(1)] }])).await;
    let bytes = raw(&node.alice, calling(0, LOGGER, words([1, 2])));
    socket.ask("eth_sendRawTransaction", json!([bytes])).await;
    let other = raw(&node.alice, calling(1, LOGGER, words([3, 4])));
    socket.ask("eth_sendRawTransaction", json!([other])).await;
    let block = node.mine();
    let (id, head) = socket.event().await;
    let (id, head, log) = if id == heads {
        let (logs_id, log) = socket.event().await;
        assert_eq!(logs_id, logs);
        (id, head, log)
    } else {
        assert_eq!(id, logs);
        let (heads_id, real) = socket.event().await;
        (heads_id, real, head)
    };
    assert_eq!(id, heads);
    assert_eq!(head["hash"], json!(block.hash));
    assert_eq!(head["number"], "0x1");
    assert!(head["transactions"].is_null());
    assert_eq!(log["transactionHash"], json!(keccak256(&bytes)));
    assert_eq!(log["removed"], false);

    assert_eq!(socket.ask("eth_unsubscribe", json!([heads])).await["result"], true);
    assert_eq!(socket.ask("eth_unsubscribe", json!([heads])).await["result"], false);
    let bytes = raw(&node.alice, calling(2, LOGGER, words([1, 9])));
    socket.ask("eth_sendRawTransaction", json!([bytes])).await;
    node.mine();
    assert_eq!(socket.event().await.0, logs, "no head any more");
}

#[tokio::test]
async fn every_block_is_told_in_order() {
    let node = Node::start().await;
    let mut socket = Socket::open(&node).await;
    socket.subscribe(json!(["newHeads"])).await;
    for _ in 0..20 {
        node.mine();
    }
    for number in 1..=20 {
        let (_, head) = socket.event().await;
        assert_eq!(head["number"], format!("{number:#x}"));
    }
}

#[tokio::test]
async fn logs_of_undone_blocks_are_retracted() {
    let node = Node::start().await;
    let mut socket = Socket::open(&node).await;
    socket.subscribe(json!(["logs"])).await;
    let bytes = raw(&node.alice, calling(0, LOGGER, words([1, 2])));
    socket.ask("eth_sendRawTransaction", json!([bytes])).await;
    let block = node.mine();
    let (_, log) = socket.event().await;
    assert_eq!((&log["removed"], &log["blockHash"]), (&json!(false), &json!(block.hash)));
    node.chain.roll_back(0);
    let (_, removed) = socket.event().await;
    assert_eq!((&removed["removed"], &removed["blockHash"]), (&json!(true), &json!(block.hash)));
    let undone = block.transactions.clone();
    node.pool.lock().unwrap().reinsert(undone, std::time::Instant::now());
    let again = node.mine();
    let (_, log) = socket.event().await;
    assert_eq!((&log["removed"], &log["blockHash"]), (&json!(false), &json!(again.hash)));
}

#[tokio::test]
async fn pending_transactions_are_pushed() {
    let node = Node::start().await;
    let mut socket = Socket::open(&node).await;
    let hashes = socket.subscribe(json!(["newPendingTransactions"])).await;
    let full = socket.subscribe(json!(["newPendingTransactions", true])).await;
    let bytes = raw(&node.alice, transfer(0));
    node.call("eth_sendRawTransaction", json!([bytes])).await;
    for _ in 0..2 {
        let (id, result) = socket.event().await;
        if id == hashes {
            assert_eq!(result, json!(keccak256(&bytes)));
        } else {
            assert_eq!(id, full);
            assert_eq!(result["hash"], json!(keccak256(&bytes)));
            assert!(result["blockHash"].is_null());
        }
    }
}

#[tokio::test]
async fn synchronous_sends_keep_their_order() {
    let node = Node::start().await;
    node.mine_always();
    let mut socket = Socket::open(&node).await;
    for nonce in 0..50 {
        let params = json!([raw(&node.alice, transfer(nonce))]);
        let request = json!({
            "jsonrpc": "2.0", "id": nonce, "method": "eth_sendRawTransactionSync", "params": params
        });
        socket.stream.send(Message::text(request.to_string())).await.unwrap();
    }
    for _ in 0..50 {
        let answer = socket.next().await;
        assert_eq!(answer["result"]["status"], "0x1", "{answer}");
    }
}

#[tokio::test]
async fn subscriptions_are_bounded() {
    let node = Node::start().await;
    let mut socket = Socket::open(&node).await;
    for _ in 0..128 {
        socket.subscribe(json!(["newHeads"])).await;
    }
    let refused = socket.ask("eth_subscribe", json!(["newHeads"])).await;
    assert_eq!(refused["error"]["code"], -32005);
}

#[tokio::test]
async fn who_does_not_read_is_closed_with_a_reason() {
    let node = Node::start().await;
    let mut slow = Socket::open(&node).await;
    for _ in 0..100 {
        slow.subscribe(json!(["newHeads"])).await;
    }
    // 100 notifications of some 1.5 KB a block, and nobody reads them.
    for _ in 0..400 {
        node.mine();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut last = None;
    while let Some(Ok(message)) = slow.stream.next().await {
        last = Some(message);
    }
    let Some(Message::Close(Some(frame))) = last else { panic!("no close frame: {last:?}") };
    assert_eq!(frame.code, CloseCode::Policy);
    // Others are served as before.
    let mut other = Socket::open(&node).await;
    assert!(other.ask("eth_blockNumber", json!([])).await["result"].is_string());
}

#[tokio::test]
async fn binary_messages_are_refused() {
    let node = Node::start().await;
    let mut socket = Socket::open(&node).await;
    socket.stream.send(Message::binary(vec![1])).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = socket.stream.next().await else { panic!() };
    assert_eq!(frame.code, CloseCode::Unsupported);
}
