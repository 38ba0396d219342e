//! Several L1 endpoints as one, against real ones.

use crate::support::anvil::Anvil;
use alloy::{
    primitives::Address,
    providers::{DynProvider, Provider, ProviderBuilder, ext::AnvilApi},
};
use batcher::l1::{EndpointUrl, Failover, Failure, Patience};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

const CHAIN_ID: u64 = 31_337;

fn url(text: &str) -> EndpointUrl {
    text.parse().unwrap()
}

/// Patience for minutes, unless a test says otherwise.
fn patience() -> Patience {
    Patience { behind_max: Duration::from_secs(600), ..Patience::default() }
}

fn over(urls: &[EndpointUrl], patience: Patience) -> DynProvider {
    let failover = Failover::with_patience(urls, patience).unwrap();
    ProviderBuilder::new().connect_client(failover.client()).erased()
}

async fn mine(anvil: &Anvil, blocks: u64) {
    anvil.provider().anvil_mine(Some(blocks), None).await.unwrap();
}

/// Two nodes of what says that it is one chain, the first ten blocks ahead.
async fn two() -> Option<(Anvil, Anvil)> {
    let (first, second) = (Anvil::start()?, Anvil::start()?);
    mine(&first, 10).await;
    Some((first, second))
}

#[tokio::test]
async fn an_endpoint_that_is_behind_does_not_take_over() {
    let Some((first, second)) = two().await else { return };
    let l1 = over(&[url(&first.url), url(&second.url)], patience());
    assert_eq!(l1.get_block_number().await.unwrap(), 10);
    drop(first);
    let error = l1.get_block_number().await.unwrap_err().to_string();
    assert!(error.contains("at block 0, L1 was seen at 10"), "{error}");
    // It is used as soon as it has caught up.
    mine(&second, 11).await;
    assert_eq!(l1.get_block_number().await.unwrap(), 11);
}

#[tokio::test]
async fn what_stays_behind_is_believed_in_the_end() {
    let Some((first, second)) = two().await else { return };
    let soon = Patience { behind_max: Duration::from_millis(200), ..patience() };
    let l1 = over(&[url(&first.url), url(&second.url)], soon);
    assert_eq!(l1.get_block_number().await.unwrap(), 10);
    drop(first);
    l1.get_block_number().await.unwrap_err();
    tokio::time::sleep(soon.behind_max).await;
    assert_eq!(l1.get_block_number().await.unwrap(), 0);
}

#[tokio::test]
async fn an_endpoint_that_stands_still_is_left() {
    let Some((first, second)) = two().await else { return };
    let soon = Patience { stalled_after: Duration::from_millis(200), ..patience() };
    let l1 = over(&[url(&first.url), url(&second.url)], soon);
    assert_eq!(l1.get_block_number().await.unwrap(), 10);
    // The other moves on, and the first does not.
    mine(&second, 12).await;
    tokio::time::sleep(soon.stalled_after).await;
    assert_eq!(l1.get_block_number().await.unwrap(), 12);
}

/// The first choice is behind when its time aside is over, and the second goes on answering.
#[tokio::test]
async fn what_is_behind_is_not_believed_while_another_answers() {
    let Some((second, first)) = two().await else { return };
    mine(&first, 1).await;
    let soon = Patience {
        aside: Duration::from_millis(1),
        behind_max: Duration::from_millis(100),
        stalled_after: Duration::from_millis(100),
    };
    let l1 = over(&[url(&first.url), url(&second.url)], soon);
    assert_eq!(l1.get_block_number().await.unwrap(), 1);
    // The first stands still and is left.
    tokio::time::sleep(soon.stalled_after).await;
    for _ in 0..4 {
        assert_eq!(l1.get_block_number().await.unwrap(), 10);
        tokio::time::sleep(soon.behind_max).await;
    }
    // The time without any other begins when there is none.
    drop(second);
    l1.get_block_number().await.unwrap_err();
    tokio::time::sleep(soon.behind_max).await;
    assert_eq!(l1.get_block_number().await.unwrap(), 1);
}

/// An endpoint that knows its height and answers everything else with this status and error.
fn failing(status: &'static str, error: Value) -> EndpointUrl {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let error = error.clone();
            std::thread::spawn(move || while answer(stream.as_ref().unwrap(), status, &error) {});
        }
    });
    url(&format!("http://{address}"))
}

/// Answers one request; whether there was one.
fn answer(stream: &TcpStream, status: &str, error: &Value) -> bool {
    let mut reader = BufReader::new(stream);
    let mut bytes = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
        if let Some(length) = line.to_lowercase().strip_prefix("content-length:") {
            bytes = length.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; bytes];
    reader.read_exact(&mut body).unwrap();
    let request: Value = serde_json::from_slice(&body).unwrap();
    let mut answer = json!({ "jsonrpc": "2.0", "id": request["id"] });
    let status = match request["method"].as_str() {
        Some("eth_blockNumber") => {
            answer["result"] = json!("0x0");
            "200 OK"
        }
        _ => {
            answer["error"] = error.clone();
            status
        }
    };
    let body = answer.to_string();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
    (&mut &*stream).write_all([head, body].concat().as_bytes()).is_ok()
}

#[tokio::test]
async fn an_error_of_the_endpoint_is_not_the_answer_where_there_is_another_one() {
    let Some(anvil) = Anvil::start() else { return };
    for (status, code) in [
        ("200 OK", -32601),
        ("200 OK", -32603),
        ("401 Unauthorized", -32000),
        ("403 Forbidden", -32000),
        ("429 Too Many Requests", -32000),
        ("502 Bad Gateway", -32000),
    ] {
        let broken = failing(status, json!({ "code": code, "message": "no" }));
        let l1 = over(&[broken.clone(), url(&anvil.url)], patience());
        let balance = l1.get_balance(Address::ZERO).await;
        assert!(balance.is_ok(), "{status} {code}: {balance:?}");
        // Alone it is all there is.
        let error = over(&[broken], patience()).get_balance(Address::ZERO).await.unwrap_err();
        assert_eq!(error.as_error_resp().unwrap().code, code, "{status}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_transaction_is_the_answer() {
    let Some(anvil) = Anvil::start() else { return };
    let send = async |status, code, message: &str| {
        let refusing = failing(status, json!({ "code": code, "message": message }));
        let l1 = over(&[refusing, url(&anvil.url)], patience());
        l1.send_raw_transaction(&[]).await.unwrap_err().to_string()
    };
    for (status, code) in [("200 OK", -32603), ("500 Internal Server Error", -32000)] {
        let error = send(status, code, "nonce too low").await;
        assert!(error.contains("nonce too low"), "{error}");
        // This one is of the endpoint: the next one is asked, and says what it thinks of no bytes.
        let error = send(status, code, "the backend is away").await;
        assert!(!error.contains("the backend is away"), "{error}");
    }
    // Nor is what the other one would say asked for where the words are about the transaction.
    let error = send("200 OK", -32000, "txpool is full").await;
    assert!(error.contains("txpool is full"), "{error}");
}

#[tokio::test]
async fn an_endpoint_on_another_chain_is_named() {
    let Some((right, wrong)) = Anvil::start().zip(Anvil::start_with(&["--chain-id", "5"])) else {
        return;
    };
    let failover = Failover::new(&[url(&right.url), url(&wrong.url)]).unwrap();
    let error = failover.check_chain(CHAIN_ID).await.unwrap_err();
    assert!(matches!(error.failure, Failure::OtherChain { expected: CHAIN_ID, found: 5 }));
    assert_eq!(error.endpoint, url(&wrong.url));
    assert_eq!(error.to_string(), format!("{}: the chain id is 5, expected {CHAIN_ID}", wrong.url));
    // Also when it did not answer at the start: it is asked before it is first used.
    let l1 = ProviderBuilder::new().connect_client(failover.client());
    drop(right);
    let error = l1.get_block_number().await.unwrap_err().to_string();
    assert!(error.contains("the chain id is 5"), "{error}");
}

#[tokio::test]
async fn one_that_does_not_answer_at_the_start_is_passed_over() {
    let Some(anvil) = Anvil::start() else { return };
    // A port that nobody listens on.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dead = url(&format!("http://user:secret@{closed}/key"));
    let failover = Failover::new(&[dead.clone(), url(&anvil.url)]).unwrap();
    failover.check_chain(CHAIN_ID).await.unwrap();
    let l1 = ProviderBuilder::new().connect_client(failover.client());
    assert_eq!(l1.get_block_number().await.unwrap(), 0);

    let alone = Failover::new(&[dead]).unwrap();
    let error = alone.check_chain(CHAIN_ID).await.unwrap_err();
    let l1 = ProviderBuilder::new().connect_client(alone.client());
    let failed = l1.get_block_number().await.unwrap_err();
    for said in [format!("{error} {error:?}"), format!("{failed} {failed:?}")] {
        let shown = format!("http://{closed}/...");
        assert!(said.contains(&shown) && said.contains("refused"), "{said}");
        assert!(!said.contains("secret") && !said.contains("/key"), "{said}");
    }
}
