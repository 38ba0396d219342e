//! The limits of the edge: each ends with its standard error, and what is cheap goes on.

use crate::{
    chain::SPINNER,
    node::{Node, raw, transfer},
};
use sequencer::rpc::ClientLimits;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn request(id: usize, method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

fn batch(entries: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", entries.into_iter().collect::<Vec<_>>().join(","))
}

/// Everything that the node says on a connection before it closes it.
async fn told(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // What was said before a reset is kept.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_batch_of_heavy_calls_ends_at_its_budget() {
    let node = Node::start().await;
    node.mine();
    let heavy = |id| request(id, "debug_executionWitness", &json!(["0x1"]));
    let cheap = request(1_000, "eth_chainId", &json!([]));
    let answers = node.post(batch((0..999).map(heavy).chain([cheap]))).await;
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 1_000, "every entry has its answer");
    let refused: Vec<&Value> =
        answers.iter().filter(|answer| answer["error"]["code"] == -32005).collect();
    // By its cost; on a slow machine by its time before that.
    assert!(refused.len() >= 949, "{} of 999 were refused", refused.len());
    assert!(refused.iter().all(|answer| {
        let message = answer["error"]["message"].as_str().unwrap();
        message.ends_with("send this request in another batch")
    }));
    assert!(answers[0]["result"].is_object(), "{}", answers[0]);
    assert_eq!(answers[999]["result"], "0x66a44", "what is cheap goes on");
}

#[tokio::test]
async fn a_client_beyond_its_budget_is_told_when_to_come_back() {
    let clients = ClientLimits { cost_per_sec: 10_000, ..ClientLimits::default() };
    let node = Node::start_with(clients).await;
    node.mine();
    // The budget is that of one batch at first.
    let trace = |id| request(id, "debug_traceBlockByNumber", &json!(["0x1"]));
    node.post(batch((0..50).map(trace))).await;
    let mut refused = None;
    for _ in 0..50 {
        let answer = node.post(trace(0)).await;
        if answer["error"]["code"] == -32005 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a trace a second is all that is left");
    let message = refused["error"]["message"].as_str().unwrap();
    let millis = message.strip_prefix("request rate exceeded: try again in ").unwrap();
    let millis: u64 = millis.strip_suffix(" ms").unwrap().parse().unwrap();
    assert!((1..=1_000).contains(&millis), "{message}");
    // Sends go on.
    node.call("eth_sendRawTransaction", json!([raw(&node.alice, transfer(0))])).await;

    let free = Node::start_with(ClientLimits { cost_per_sec: 0, ..ClientLimits::default() }).await;
    free.mine();
    for _ in 0..3 {
        let answers = free.post(batch((0..50).map(trace))).await;
        assert!(answers.as_array().unwrap().iter().all(|answer| answer["result"].is_array()));
    }
}

#[tokio::test]
async fn connections_of_one_client_are_bounded() {
    let limits = ClientLimits { connections: 3, ..ClientLimits::default() };
    let node = Node::start_with(limits).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: node\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        open.push(stream);
    }
    let refused = told(TcpStream::connect(node.address).await.unwrap()).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    // One that is closed makes room, as soon as the node has seen it.
    drop(open.pop());
    loop {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        let asked = b"GET /health HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n";
        if stream.write_all(asked).await.is_ok() && told(stream).await.ends_with("ok") {
            break;
        }
    }
}

#[tokio::test]
async fn a_socket_is_a_connection_of_its_client_as_long_as_it_lives() {
    let limits = ClientLimits { connections: 1, ..ClientLimits::default() };
    let node = Node::start_with(limits).await;
    let socket = tokio_tungstenite::connect_async(format!("ws://{}", node.address)).await.unwrap();
    let refused = told(TcpStream::connect(node.address).await.unwrap()).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    drop(socket);
}

#[tokio::test]
async fn bodies_without_a_length_are_bounded_too() {
    let node = Node::start().await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: node\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let (mut reader, mut writer) = stream.into_split();
    let sending = tokio::spawn(async move {
        // Until the node has enough, and closes.
        while writer.write_all(&chunk).await.is_ok() {}
    });
    let mut status = [0; 12];
    reader.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    drop(reader);
    sending.await.unwrap();
    assert_eq!(node.call("eth_chainId", json!([])).await, "0x66a44");
}

#[tokio::test]
async fn deep_nesting_is_an_error() {
    let node = Node::start().await;
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for depth in [127, 128, 129, 1_000_000] {
        let nested = deep(depth);
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{{"topics":{nested}}}]}}"#
        );
        assert_eq!(node.post(call).await["error"]["code"], -32602, "{depth} in a parameter");
        let code = node.post(nested).await[0]["error"]["code"].clone();
        assert_eq!(code, -32600, "{depth} as a batch");
        let open = "[".repeat(depth);
        assert_eq!(node.post(open).await["error"]["code"], -32700, "{depth} and no end");
    }
}

#[tokio::test]
async fn a_bad_value_is_quoted_in_part() {
    let node = Node::start().await;
    let long = "é".repeat(1_000_000);
    let (code, message) = node.fails("eth_getBlockByNumber", json!(["0x0", long])).await;
    assert_eq!(code, -32602);
    assert!(message.starts_with("invalid argument 1: ") && message.ends_with("..."), "{message}");
    assert!(message.len() < 300, "{} bytes", message.len());
    let (_, message) = node.fails(&long, json!([])).await;
    assert!(message.len() < 300, "{} bytes", message.len());
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_ask() {
    let node = Node::start().await;
    let ask = async |method: &str, encoding: Option<&str>| {
        let mut asked = reqwest::Client::new().post(node.url());
        if let Some(encoding) = encoding {
            asked = asked.header("accept-encoding", encoding);
        }
        asked.body(request(1, method, &json!([]))).send().await.unwrap()
    };
    let plain = ask("rpc.discover", None).await;
    assert!(!plain.headers().contains_key("content-encoding"));
    let plain = plain.bytes().await.unwrap();
    let compressed = ask("rpc.discover", Some("gzip")).await;
    assert_eq!(compressed.headers()["content-encoding"], "gzip");
    let compressed = compressed.bytes().await.unwrap();
    assert!(compressed.starts_with(&[0x1f, 0x8b]), "gzip's magic");
    assert!(compressed.len() * 2 < plain.len(), "{} of {}", compressed.len(), plain.len());
    // A short one is not worth it.
    let short = ask("eth_chainId", Some("gzip")).await;
    assert!(!short.headers().contains_key("content-encoding"));
    assert!(short.text().await.unwrap().contains("0x66a44"));
}

#[tokio::test]
async fn long_answers_arrive_whole() {
    let node = Node::start().await;
    // More than is given to the connection at once.
    let calls = (0..1_000).map(|id| request(id, "eth_getBlockByNumber", &json!(["0x0", true])));
    let answers = node.post(batch(calls)).await;
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 1_000);
    assert!(answers.iter().enumerate().all(|(id, answer)| answer["id"] == id));
}

#[tokio::test]
async fn what_is_cheap_does_not_wait_for_what_is_heavy() {
    let node = Node::start().await;
    let giant = transfer(0);
    node.call("eth_sendRawTransaction", json!([raw(&node.alice, giant)])).await;
    node.mine();
    // More calls with all the gas there is than the node has threads for them, all at once.
    let url = node.url();
    let heavy: Vec<_> = (0..64)
        .map(|id| {
            let body = request(id, "eth_estimateGas", &json!([{ "to": SPINNER }]));
            let post = reqwest::Client::new().post(&url).body(body).send();
            tokio::spawn(async move { post.await.unwrap().json::<Value>().await.unwrap() })
        })
        .collect();
    for _ in 0..20 {
        node.call("eth_getBalance", json!([node.alice.address(), "latest"])).await;
        node.call("eth_chainId", json!([])).await;
    }
    for answer in heavy {
        let answer = answer.await.unwrap();
        let code = answer["error"]["code"].as_i64().unwrap();
        // Out of gas, or out of patience on a slow machine.
        assert!(code == -32000 || code == -32005, "{answer}");
    }
}

#[tokio::test]
async fn half_a_head_and_half_a_body_are_not_waited_for() {
    let arrival = Duration::from_millis(300);
    let node = Node::start_with(ClientLimits { arrival, ..ClientLimits::default() }).await;
    let mut half_head = TcpStream::connect(node.address).await.unwrap();
    half_head.write_all(b"POST / HTTP/1.1\r\nhost: node\r\n").await.unwrap();
    let mut half_body = TcpStream::connect(node.address).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: node\r\ncontent-length: 1000\r\n\r\n{";
    half_body.write_all(head).await.unwrap();
    let silent = TcpStream::connect(node.address).await.unwrap();
    let mut idle = TcpStream::connect(node.address).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: node\r\n\r\n").await.unwrap();
    let answer = told(half_body).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let answer = told(half_head).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(told(silent).await.is_empty(), "closed without a word");
    assert!(told(idle).await.ends_with("ok"), "answered, and closed then");
}
