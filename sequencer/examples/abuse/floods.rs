//! The floods: what each sends as often as it can on its one socket, and what it was answered.

use super::connection::Connection;
use alloy::primitives::Address;
use anyhow::Result;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout_at,
};
use tokio_tungstenite::{client_async, tungstenite::Message};

/// Pause after a connection that was refused or ended, so that a flood is one of requests.
const RETRY: Duration = Duration::from_millis(50);

/// What is flooded.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) node: SocketAddr,
    /// A contract that takes all gas.
    pub(super) spinner: Address,
    /// Hash of a transaction that took a block's worth of it.
    pub(super) giant: String,
}

type Counts = BTreeMap<&'static str, BTreeMap<String, u64>>;

/// Answers by flood and kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(Arc<Mutex<Counts>>);

impl Tally {
    fn count(&self, flood: Flood, outcome: impl Into<String>, times: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(flood.name()).or_default().entry(outcome.into()).or_default() += times;
    }

    /// What was counted.
    pub(super) fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One kind of flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flood {
    OversizeBodies,
    HugeBatches,
    DeepNesting,
    Filters,
    Subscriptions,
    HalfHeads,
    HalfBodies,
    LogRanges,
    GiantTraces,
    OldProofs,
    AbsurdGas,
    HeavyBatches,
    DeafSockets,
    DeafStreams,
    Reads,
}

impl Flood {
    pub(super) const ALL: [Self; 15] = [
        Self::OversizeBodies,
        Self::HugeBatches,
        Self::DeepNesting,
        Self::Filters,
        Self::Subscriptions,
        Self::HalfHeads,
        Self::HalfBodies,
        Self::LogRanges,
        Self::GiantTraces,
        Self::OldProofs,
        Self::AbsurdGas,
        Self::HeavyBatches,
        Self::DeafSockets,
        Self::DeafStreams,
        Self::Reads,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OversizeBodies => "oversize-bodies",
            Self::HugeBatches => "huge-batches",
            Self::DeepNesting => "deep-nesting",
            Self::Filters => "filters",
            Self::Subscriptions => "subscriptions",
            Self::HalfHeads => "half-heads",
            Self::HalfBodies => "half-bodies",
            Self::LogRanges => "log-ranges",
            Self::GiantTraces => "giant-traces",
            Self::OldProofs => "old-proofs",
            Self::AbsurdGas => "absurd-gas",
            Self::HeavyBatches => "heavy-batches",
            Self::DeafSockets => "deaf-sockets",
            Self::DeafStreams => "deaf-streams",
            Self::Reads => "reads",
        }
    }

    /// Floods one socket after another until `end`.
    pub(super) async fn run(self, target: Arc<Target>, from: IpAddr, end: Instant, tally: Tally) {
        let bodies = self.bodies(&target);
        while Instant::now() < end {
            let flood = self.once(&target, from, &bodies, &tally);
            match timeout_at(end.into(), flood).await {
                Ok(Ok(())) => tally.count(self, "closed", 1),
                Ok(Err(error)) => tally.count(self, error.to_string(), 1),
                Err(_) => return tally.count(self, "open at the end", 1),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// One connection, as long as it lasts.
    async fn once(
        self,
        target: &Target,
        from: IpAddr,
        bodies: &[Vec<u8>],
        tally: &Tally,
    ) -> Result<()> {
        let mut connection = Connection::open(target.node, from).await?;
        match self {
            Self::HalfHeads => drip(connection, b"POST / HTTP/1.1\r\nhost: node\r\n").await,
            Self::HalfBodies => {
                let head = b"POST / HTTP/1.1\r\nhost: node\r\ncontent-length: 9000000\r\n\r\n";
                connection.stream.write_all(head).await?;
                drip(connection, &vec![b' '; 1_000_000]).await
            }
            Self::Subscriptions => self.subscribe(connection, tally).await,
            Self::DeafSockets => deafen(connection).await,
            Self::DeafStreams => {
                let head = b"GET /v1/stream?cursor=0 HTTP/1.1\r\nhost: node\r\n\r\n";
                connection.stream.write_all(head).await?;
                std::future::pending().await
            }
            _ => loop {
                for body in bodies {
                    let (status, answer) = connection.post(body).await?;
                    self.note(status, &answer, tally);
                }
            },
        }
    }

    fn note(self, status: u16, answer: &[u8], tally: &Tally) {
        if status != 200 {
            return tally.count(self, format!("HTTP {status}"), 1);
        }
        let text = String::from_utf8_lossy(answer);
        let mut errors = BTreeMap::<&str, u64>::new();
        for error in text.split(r#""error":{"code":"#).skip(1) {
            *errors.entry(error.split(',').next().unwrap_or_default()).or_default() += 1;
        }
        let results = text.matches(r#","result":"#).count() as u64;
        if results > 0 {
            tally.count(self, "result", results);
        }
        for (code, times) in errors {
            tally.count(self, code, times);
        }
    }

    /// What is posted, over and over.
    fn bodies(self, target: &Target) -> Vec<Vec<u8>> {
        let spin = |gas: &str| json!({ "to": target.spinner, "gas": gas });
        let one = |method: &str, params: Value| vec![request(method, params)];
        match self {
            Self::OversizeBodies => vec![vec![b' '; 11 << 20]],
            Self::HugeBatches => {
                let call = String::from_utf8(request("eth_blockNumber", json!([])));
                let call = call.unwrap_or_default();
                let batch = |count: usize| format!("[{}]", vec![&*call; count].join(","));
                vec![batch(1_000).into_bytes(), batch(100_000).into_bytes()]
            }
            Self::DeepNesting => {
                let (open, close) = ("[".repeat(1 << 20), "]".repeat(1 << 20));
                let nested = format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":{open}{close}}}"#
                );
                vec![nested.into_bytes(), open.into_bytes()]
            }
            Self::Filters => one("eth_newFilter", json!([{ "fromBlock": "0x0" }])),
            Self::LogRanges => {
                let range = |to: &str| json!([{ "fromBlock": "0x0", "toBlock": to }]);
                vec![
                    request("eth_getLogs", range("latest")),
                    request("eth_getLogs", range("0xffffffff")),
                ]
            }
            Self::GiantTraces => vec![
                request("debug_traceTransaction", json!([target.giant])),
                request("debug_traceTransaction", json!([target.giant, { "timeout": "1h" }])),
                request("trace_replayTransaction", json!([target.giant, ["vmTrace"]])),
            ],
            Self::OldProofs => {
                let keys: Vec<String> = (0..1_024).map(|key| format!("{key:#066x}")).collect();
                vec![
                    request("eth_getProof", json!([target.spinner, keys, "0x1"])),
                    request("eth_getProof", json!([target.spinner, keys, "0xffffff"])),
                ]
            }
            Self::AbsurdGas => vec![
                request("eth_call", json!([spin("0xffffffffffffffff"), "latest"])),
                request("eth_estimateGas", json!([spin("0xffffffffffffffff")])),
            ],
            Self::HeavyBatches => {
                let call = String::from_utf8(request("debug_executionWitness", json!(["latest"])));
                vec![format!("[{}]", vec![call.unwrap_or_default(); 1_000].join(",")).into_bytes()]
            }
            Self::Reads => one("eth_getBlockByNumber", json!(["latest", true])),
            _ => Vec::new(),
        }
    }

    /// As many subscriptions as are granted, and then more.
    async fn subscribe(self, connection: Connection, tally: &Tally) -> Result<()> {
        let (mut socket, _) = client_async("ws://node/", connection.stream).await?;
        loop {
            for kind in ["newHeads", "logs", "newPendingTransactions"] {
                let body = request("eth_subscribe", json!([kind]));
                socket.send(Message::text(String::from_utf8(body)?)).await?;
                match socket.next().await.transpose()? {
                    Some(Message::Text(text)) => self.note(200, text.as_bytes(), tally),
                    Some(Message::Close(_)) | None => return Ok(()),
                    Some(_) => {}
                }
            }
        }
    }
}

fn request(method: &str, params: Value) -> Vec<u8> {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
        .to_string()
        .into_bytes()
}

/// Sends the start of something, then a byte a second, until the node has enough.
async fn drip(mut connection: Connection, start: &[u8]) -> Result<()> {
    connection.stream.write_all(start).await?;
    let mut answer = [0; 1_024];
    loop {
        tokio::select! {
            read = connection.stream.read(&mut answer) => {
                if read? == 0 {
                    return Ok(());
                }
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                connection.stream.write_all(b"a").await?;
            }
        }
    }
}

/// Subscribes to everything, asks for much, and reads nothing.
async fn deafen(connection: Connection) -> Result<()> {
    let (mut socket, _) = client_async("ws://node/", connection.stream).await?;
    for kind in
        ["newHeads", "newPendingTransactions", "newFlashblocks", "newFlashblockTransactions"]
    {
        let body = request("eth_subscribe", json!([kind]));
        socket.send(Message::text(String::from_utf8(body)?)).await?;
    }
    let body = String::from_utf8(request("eth_getBlockByNumber", json!(["0x0", true])))?;
    loop {
        socket.send(Message::text(&*body)).await?;
    }
}
