//! Several L1 endpoints as one, against real ones.

use crate::support::anvil::Anvil;
use alloy::providers::{DynProvider, Provider, ProviderBuilder, ext::AnvilApi};
use batcher::l1::{EndpointUrl, Failover, Failure, Patience};
use std::time::Duration;

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
