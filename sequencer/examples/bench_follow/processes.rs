//! The processes: Anvil, the node that posts, the follower. Each ends with its handle.

use alloy::{
    network::EthereumWallet,
    providers::{DynProvider, Provider, ProviderBuilder},
};
use anyhow::{Context, Result, bail, ensure};
use executor::Genesis;
use sequencer::commands::dev::{TEST_MNEMONIC, find_anvil, test_account};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Longest wait for posting or catching up: far above what a slow machine needs.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// Between two looks.
const POLL: Duration = Duration::from_millis(200);

/// A process of ours.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn check(&mut self) -> Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the process ended: {status}"),
        }
    }
}

/// The binary that is built beside this example.
fn sequencer() -> Result<Command> {
    let example = std::env::current_exe()?;
    let folder = example.parent().and_then(|examples| examples.parent()).context("no folder")?;
    let binary = folder.join("sequencer");
    ensure!(binary.exists(), "no {}: build it first", binary.display());
    Ok(Command::new(binary))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// An L1 that makes a block for each transaction.
pub(crate) struct Anvil {
    _process: Process,
    url: String,
}

impl Anvil {
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new(find_anvil())
            .args(["--port", "0", "--accounts", "13", "--mnemonic", TEST_MNEMONIC])
            .args(["--hardfork", "osaka", "--slots-in-an-epoch", "4", "--balance", "1000000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("no Anvil: run `make setup`")?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let address = lines.find_map(|line| {
            line.ok()?.strip_prefix("Listening on ").map(|address| address.trim().to_owned())
        });
        // Its pipe must keep a reader, or Anvil stops when it is full.
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://{}", address.context("Anvil does not listen")?);
        Ok(Self { _process: Process(child), url })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A client that signs as the first test account.
    pub(crate) fn client(&self) -> Result<DynProvider> {
        let wallet = EthereumWallet::from(test_account(0)?.0);
        Ok(ProviderBuilder::new().wallet(wallet).connect_http(self.url.parse()?).erased())
    }
}

/// A deployed rollup and its files.
pub(crate) struct Rollup {
    pub(crate) genesis: Genesis,
    directory: tempfile::TempDir,
    l1_url: String,
}

impl Rollup {
    pub(crate) fn deploy(anvil: &Anvil) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        for (name, index) in [("owner", 10), ("batcher", 11)] {
            fs::write(path(name), test_account(index)?.0.to_bytes().to_string())?;
        }
        let status = sequencer()?
            .args(["--log", "warn", "deploy", "--l1-rpc-url", &anvil.url])
            .args(["--batcher", &test_account(11)?.0.address().to_string()])
            .args(["--proposer", &test_account(12)?.0.address().to_string()])
            .arg("--key-file")
            .arg(path("owner"))
            .arg("--out")
            .arg(path("genesis.json"))
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "deploying failed");
        let genesis = serde_json::from_str(&fs::read_to_string(path("genesis.json"))?)?;
        Ok(Self { genesis, directory, l1_url: anvil.url.clone() })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Posts the chain in `sequencer`, up to block `head`, by the node.
    pub(crate) async fn post(&self, anvil: &Anvil, carrier: &str, head: u64) -> Result<()> {
        let port = free_port()?;
        let child = sequencer()?
            .args(["--log", "warn", "run", "--l1-rpc-url", &anvil.url, "--l1-poll-ms", "50"])
            .args(["--block-time-ms", "60000", "--batch-age-secs", "1", "--batch-data", carrier])
            .args(["--rpc-listen", &format!("127.0.0.1:{port}")])
            .arg("--genesis")
            .arg(self.path("genesis.json"))
            .arg("--batcher-key-file")
            .arg(self.path("batcher"))
            .arg("--data-dir")
            .arg(self.path("sequencer"))
            .spawn()?;
        let mut node = Process(child);
        let url = format!("http://127.0.0.1:{port}").parse()?;
        let l2 = ProviderBuilder::new().connect_http(url).erased();
        let started = Instant::now();
        loop {
            node.check()?;
            if let Ok(Some(safe)) =
                l2.get_block_by_number(alloy::eips::BlockNumberOrTag::Safe).await
                && safe.header.number >= head
            {
                return Ok(());
            }
            ensure!(started.elapsed() < WAIT_MAX, "not posted after {WAIT_MAX:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Starts a follower with an empty directory.
    pub(crate) fn follow(&self, run: u32) -> Result<Follower> {
        let port = free_port()?;
        let log = self.path(&format!("follower-{run}.log"));
        let child = sequencer()?
            .args(["--log-format", "json", "follow", "--l1-rpc-url", &self.l1_url])
            .args(["--rpc-listen", &format!("127.0.0.1:{port}")])
            .arg("--genesis")
            .arg(self.path("genesis.json"))
            .arg("--data-dir")
            .arg(self.path(&format!("follower-{run}")))
            .stderr(File::create(&log)?)
            .spawn()?;
        Ok(Follower { process: Process(child), url: format!("http://127.0.0.1:{port}"), log })
    }
}

/// A running follower.
pub(crate) struct Follower {
    process: Process,
    url: String,
    log: PathBuf,
}

/// What a follower says when it has caught up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaughtUp {
    pub(crate) blocks: u64,
    pub(crate) transactions: u64,
    pub(crate) seconds: f64,
    /// Of all its threads, from the start of the process; 0 where there is no procfs.
    pub(crate) cpu_seconds: f64,
}

impl Follower {
    /// Its JSON-RPC.
    pub(crate) fn client(&self) -> Result<DynProvider> {
        Ok(ProviderBuilder::new().connect_http(self.url.parse()?).erased())
    }

    /// Waits for its own summary. The time is that from the start of deriving, after the stores are
    /// open.
    pub(crate) async fn wait_until_caught_up(&mut self, is_verbose: bool) -> Result<CaughtUp> {
        let started = Instant::now();
        loop {
            let log = fs::read_to_string(&self.log)?;
            if let Some(caught_up) = log.lines().find_map(caught_up) {
                let cpu_seconds = cpu_seconds(self.process.0.id()).unwrap_or(0.0);
                let caught_up = CaughtUp { cpu_seconds, ..caught_up };
                if is_verbose {
                    eprintln!("{log}");
                }
                return Ok(caught_up);
            }
            self.process.check().with_context(|| log)?;
            ensure!(started.elapsed() < WAIT_MAX, "not caught up after {WAIT_MAX:?}");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Processor time of a process, in ticks of a hundredth of a second there.
fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: state is field 3, user and system time 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
    Some(f64::from(ticks(11)? + ticks(12)?) / 100.0)
}

fn caught_up(line: &str) -> Option<CaughtUp> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields")?;
    if fields.get("message")? != "caught up with L1" {
        return None;
    }
    let elapsed = fields.get("elapsed")?.as_str()?.trim_end_matches('s');
    Some(CaughtUp {
        blocks: fields.get("blocks")?.as_u64()?,
        transactions: fields.get("transactions")?.as_u64()?,
        seconds: elapsed.parse().ok()?,
        cpu_seconds: 0.0,
    })
}
