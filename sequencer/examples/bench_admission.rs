//! Measures the admission of transactions: the recovery of a sender by what the node uses and by the
//! pure Rust implementation beside it, and one transaction at a time through JSON-RPC.
//!
//! `cargo run --release -p sequencer --example bench_admission`. The chain is a real store in a
//! temporary directory, the client one HTTP connection on this machine; `eth_chainId`, which is
//! answered on the spot, shows what of a send is the way there and back. Does not build blocks.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::Encodable2718,
    network::TxSignerSync,
    primitives::{Address, B256, Bytes, TxKind, U256, hex},
    signers::local::PrivateKeySigner,
};
use anyhow::{Context, Result, ensure};
use executor::{
    Genesis, RollupRules, Unrecovered,
    genesis::{GenesisAccount, GenesisL1},
    recover,
};
use sequencer::{
    node::NodeChain,
    rpc::{RpcContext, RpcOptions, serve},
    store::ChainStore,
    txpool::{Config, Journal, Pool},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::watch};

/// Signatures recovered in each way.
const SIGNATURES: u32 = 2_000;
/// Transactions sent one after another.
const SENDS: u64 = 3_000;
/// Sends before the measured ones.
const WARM_UP: usize = 500;

fn genesis(rich: Address) -> Genesis {
    let balance = U256::from(10_u128.pow(21));
    let account = GenesisAccount { balance, ..GenesisAccount::default() };
    Genesis {
        rules: RollupRules::default(),
        timestamp: 1_700_000_000,
        alloc: BTreeMap::from([(rich, account)]),
        l1: GenesisL1 {
            chain_id: 1,
            origin_number: 1,
            origin_hash: B256::repeat_byte(0x11),
            blob_schedule: BTreeMap::new(),
            inbox: Address::ZERO,
            outputs: Address::ZERO,
            portal: Address::ZERO,
        },
    }
}

fn transfer(signer: &PrivateKeySigner, nonce: u64) -> Result<Bytes> {
    let mut unsigned = TxEip1559 {
        chain_id: RollupRules::default().chain_id,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(Address::repeat_byte(0xbb)),
        value: U256::ONE,
        ..TxEip1559::default()
    };
    let signature = signer.sign_transaction_sync(&mut unsigned)?;
    Ok(TxEnvelope::from(unsigned.into_signed(signature)).encoded_2718().into())
}

fn measure_recovery(signer: &PrivateKeySigner) -> Result<()> {
    let decoded: Vec<_> = (0..u64::from(SIGNATURES))
        .map(|nonce| Ok(Unrecovered::decode(transfer(signer, nonce)?)?))
        .collect::<Result<_>>()?;
    let started = Instant::now();
    let senders = recover(&decoded);
    let ours = started.elapsed() / SIGNATURES;
    ensure!(senders.iter().all(|sender| *sender == Ok(signer.address())), "a wrong sender");
    let started = Instant::now();
    for transaction in &decoded {
        let (signature, hash) =
            (transaction.signed().signature(), transaction.signed().signature_hash());
        // alloy's primitives recover with k256, whatever else is compiled in.
        black_box(signature.recover_address_from_prehash(&hash)?);
    }
    let k256 = started.elapsed() / SIGNATURES;
    println!("recovery of a sender    {ours:>10.1?}   with k256 {k256:.1?}");
    Ok(())
}

async fn time_calls(
    client: &reqwest::Client,
    url: &str,
    name: &str,
    bodies: Vec<String>,
) -> Result<()> {
    let mut times = Vec::with_capacity(bodies.len());
    for body in bodies {
        let started = Instant::now();
        let answer = client.post(url).body(body).send().await?.text().await?;
        times.push(started.elapsed());
        ensure!(answer.contains("result"), "{answer}");
    }
    let mut times = times.split_off(WARM_UP);
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    println!("{name:<24}{:>10.1?}   p99 {:.1?}", at(50), at(99));
    Ok(())
}

async fn measure_sends(signer: &PrivateKeySigner) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let genesis = genesis(signer.address());
    let store = ChainStore::open(&directory.path().join("chain"), &genesis)?;
    let (_l1, heads) = watch::channel(batcher::tracker::Heads::default());
    let chain = NodeChain::new(&genesis, store, heads, Duration::from_secs(1));
    let pool = Arc::new(Mutex::new(Pool::new(Config::default())));
    let (journal, _) = Journal::open(&directory.path().join("pool.journal"))?;
    let options = RpcOptions { journal: Some(Arc::new(journal)), ..RpcOptions::default() };
    let context = Arc::new(RpcContext::new(chain, pool, options));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(serve(listener, context, std::future::pending()));
    let client = reqwest::Client::new();
    let body = |method: &str, params: serde_json::Value| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
    };
    let nothing = (0..SENDS).map(|_| body("eth_chainId", json!([]))).collect();
    time_calls(&client, &url, "eth_chainId", nothing).await?;
    let sends = (0..SENDS).map(|nonce| {
        let raw = hex::encode_prefixed(transfer(signer, nonce)?);
        Ok(body("eth_sendRawTransaction", json!([raw])))
    });
    let sends = sends.collect::<Result<_>>()?;
    time_calls(&client, &url, "eth_sendRawTransaction", sends).await
}

fn main() -> Result<()> {
    let signer = PrivateKeySigner::from_slice(&[7; 32]).context("a key")?;
    measure_recovery(&signer)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure_sends(&signer))
}
