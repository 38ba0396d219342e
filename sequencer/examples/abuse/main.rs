//! Measures whether floods of JSON-RPC delay those who send: the latency of eth_sendRawTransactionSync
//! at 20 a second before, during and after floods from many sockets, with what the floods were
//! answered, and the node's memory.
//!
//! `make bench-abuse`, or `cargo run --release -p sequencer --example abuse -- --help`. Without `--url`
//! it starts `sequencer dev` from the same folder of binaries. The floods come from this machine, so
//! their threads have the lowest priority: an attacker's cores are not the node's. Checks no answers.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod connection;
mod floods;
mod node;

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::Encodable2718,
    network::TxSignerSync,
    primitives::{Address, Bytes, TxKind, bytes},
    signers::local::PrivateKeySigner,
};
use anyhow::{Context, Result, ensure};
use clap::Parser;
use connection::Connection;
use floods::{Flood, Tally, Target};
use sequencer::commands::dev::test_account;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

/// Sends per second of the measured client.
const SENDS_PER_SEC: u32 = 20;
/// Length of the phases before and after the floods.
const QUIET: Duration = Duration::from_secs(15);
/// `JUMPDEST PUSH0 JUMP`: takes all the gas there is.
const SPINNER_INIT: Bytes = bytes!("625b5f565f526003601df3");
/// Gas of the giant transaction, just below what one may have.
const GIANT_GAS: u64 = 16_000_000;

#[derive(Debug, Parser)]
#[command(about = "Measures sends beside floods of JSON-RPC")]
struct Args {
    /// HOST:PORT of a node whose test-mnemonic accounts have funds [default: start one].
    #[arg(long)]
    url: Option<SocketAddr>,
    /// Process whose memory is told [default: that of the started node].
    #[arg(long)]
    pid: Option<u32>,
    /// Length of the floods, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Sockets of the floods.
    #[arg(long, default_value_t = 200)]
    sockets: usize,
    /// Address that the floods come from, on this machine; 127.0.0.1 makes them and the measured
    /// client one client of the node.
    #[arg(long, default_value_t = Ipv4Addr::new(127, 0, 0, 2))]
    from: Ipv4Addr,
    /// Only this flood; see the names in the output.
    #[arg(long)]
    only: Option<String>,
    /// One line of JSON at the end.
    #[arg(long)]
    json: bool,
}

/// What the measured client saw in one phase.
#[derive(Debug, Default)]
struct Phase {
    millis: Vec<f64>,
    failures: BTreeMap<String, u64>,
}

impl Phase {
    fn at(&self, percent: usize) -> f64 {
        let index = (self.millis.len() * percent / 100).min(self.millis.len().saturating_sub(1));
        self.millis.get(index).copied().unwrap_or_default()
    }

    fn report(&self) -> Value {
        json!({
            "samples": self.millis.len(),
            "p50_ms": self.at(50),
            "p99_ms": self.at(99),
            "max_ms": self.at(100),
            "failures": self.failures,
        })
    }
}

/// A client that sends transactions of one account.
struct Sender {
    connection: Connection,
    signer: PrivateKeySigner,
    chain_id: u64,
    nonce: u64,
    fee_wei: u128,
}

impl Sender {
    async fn open(node: SocketAddr, account: u32) -> Result<Self> {
        let mut connection = Connection::open(node, Ipv4Addr::LOCALHOST.into()).await?;
        let signer = test_account(account)?.0;
        let chain_id = quantity(&connection.call("eth_chainId", json!([])).await?)?;
        let fee_wei = 2 * u128::from(quantity(&connection.call("eth_gasPrice", json!([])).await?)?);
        let count = json!([signer.address(), "latest"]);
        let nonce = quantity(&connection.call("eth_getTransactionCount", count).await?)?;
        Ok(Self { connection, signer, chain_id, nonce, fee_wei })
    }

    fn sign(&self, to: TxKind, gas_limit: u64, input: Bytes) -> Result<Bytes> {
        let mut unsigned = TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit,
            max_fee_per_gas: self.fee_wei,
            to,
            input,
            ..TxEip1559::default()
        };
        let signature = self.signer.sign_transaction_sync(&mut unsigned)?;
        Ok(TxEnvelope::from(unsigned.into_signed(signature)).encoded_2718().into())
    }

    async fn send(&mut self, to: TxKind, gas_limit: u64, input: Bytes) -> Result<Value> {
        let raw = self.sign(to, gas_limit, input)?;
        let receipt =
            self.connection.call("eth_sendRawTransactionSync", json!([raw, 5_000])).await?;
        self.nonce += 1;
        Ok(receipt)
    }

    /// Sends at the rate of the measurement until `end`.
    async fn measure(&mut self, node: SocketAddr, end: Instant) -> Result<Phase> {
        let mut phase = Phase::default();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / SENDS_PER_SEC);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while Instant::now() < end {
            ticks.tick().await;
            let raw = self.sign(TxKind::Call(Address::repeat_byte(0xbb)), 21_000, Bytes::new())?;
            let started = Instant::now();
            let sent =
                self.connection.call("eth_sendRawTransactionSync", json!([raw, 5_000])).await;
            phase.millis.push(started.elapsed().as_secs_f64() * 1e3);
            match sent {
                Ok(_) => self.nonce += 1,
                Err(error) => {
                    *phase.failures.entry(error.to_string()).or_default() += 1;
                    let account = test_account(0)?.0;
                    if account.address() == self.signer.address() {
                        *self = Self::open(node, 0).await?;
                    }
                }
            }
        }
        phase.millis.sort_unstable_by(f64::total_cmp);
        Ok(phase)
    }
}

fn quantity(value: &Value) -> Result<u64> {
    let text = value.as_str().and_then(|text| text.strip_prefix("0x")).context("no quantity")?;
    Ok(u64::from_str_radix(text, 16)?)
}

/// What the floods need on the chain: a contract that spins, and a giant transaction to it.
async fn prepare(node: SocketAddr) -> Result<Target> {
    let mut sender = Sender::open(node, 1).await?;
    let spinner = sender.signer.address().create(sender.nonce);
    sender.send(TxKind::Create, 200_000, SPINNER_INIT).await?;
    let giant = sender.send(TxKind::Call(spinner), GIANT_GAS, Bytes::new()).await?;
    let giant = giant["transactionHash"].as_str().context("no receipt of the giant")?.to_owned();
    Ok(Target { node, spinner, giant })
}

/// Resident memory of a process now and at most, in MiB.
fn memory_mib(pid: u32) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let rss = field("VmRSS:").context("no VmRSS")?;
    Ok((rss / 1_024, field("VmHWM:").context("no VmHWM")? / 1_024))
}

/// Runs the floods on threads of the lowest priority until `end`.
fn flood(args: &Args, target: Target, end: Instant) -> std::thread::JoinHandle<Result<Tally>> {
    let (sockets, from, only) = (args.sockets, IpAddr::from(args.from), args.only.clone());
    std::thread::spawn(move || {
        let step_back = || {
            // A hint: without it the floods' own work slows the node down.
            let _ = rustix::process::setpriority_process(None, 19);
        };
        step_back();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(step_back)
            .enable_all()
            .build()?;
        let tally = Tally::default();
        let kinds: Vec<Flood> = Flood::ALL
            .into_iter()
            .filter(|flood| only.as_ref().is_none_or(|only| *only == flood.name()))
            .collect();
        ensure!(!kinds.is_empty(), "no flood of this name");
        runtime.block_on(async {
            let target = Arc::new(target);
            let mut running = tokio::task::JoinSet::new();
            for kind in kinds.into_iter().cycle().take(sockets) {
                running.spawn(kind.run(target.clone(), from, end, tally.clone()));
            }
            while running.join_next().await.is_some() {}
        });
        Ok(tally)
    })
}

fn print(name: &str, phase: &Phase, memory: Option<(u64, u64)>) {
    let (rss, hwm) = memory.unwrap_or_default();
    println!(
        "{name:<8}{:>6} sends   p50 {:>8.2} ms   p99 {:>8.2} ms   max {:>8.2} ms   \
         VmRSS {rss} MiB   VmHWM {hwm} MiB   failures {:?}",
        phase.millis.len(),
        phase.at(50),
        phase.at(99),
        phase.at(100),
        phase.failures,
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let started = match args.url {
        Some(_) => None,
        None => Some(node::Started::start().await?),
    };
    let node = args.url.or(started.as_ref().map(|started| started.address)).context("no node")?;
    let pid = args.pid.or(started.as_ref().map(node::Started::pid));
    let memory = || pid.and_then(|pid| memory_mib(pid).ok());
    let target = prepare(node).await?;
    let mut sender = Sender::open(node, 0).await?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load of the machine before: {}", load.trim());

    let before = sender.measure(node, Instant::now() + QUIET).await?;
    let memory_before = memory();
    print("before", &before, memory_before);
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let flooding = flood(&args, target, end);
    let during = sender.measure(node, end).await?;
    let memory_during = memory();
    print("during", &during, memory_during);
    let after = sender.measure(node, Instant::now() + QUIET).await?;
    let memory_after = memory();
    print("after", &after, memory_after);
    let tally = flooding.join().map_err(|_| anyhow::anyhow!("the floods panicked"))??;
    let answers = tally.counts();
    for (flood, counts) in &answers {
        println!("{flood:<24}{counts:?}");
    }
    if args.json {
        let line = json!({
            "load": load.trim(),
            "before": before.report(), "during": during.report(), "after": after.report(),
            "memory_mib": [memory_before, memory_during, memory_after],
            "floods": answers,
        });
        println!("{line}");
    }
    if let Some(started) = started {
        started.stop()?;
    }
    Ok(())
}
