//! What the stories share: an Anvil, a deployed rollup, the node as a process, clients.

use crate::skip::skip;
use alloy::{
    eips::BlockNumberOrTag,
    network::{EthereumWallet, TransactionBuilder},
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
};
use contracts::Portal;
use executor::{Deposit, Genesis, Transaction};
use sequencer::{
    commands::dev::{TEST_MNEMONIC, test_account},
    store::{ChainIdentity, Ledger},
};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Longest wait for anything that has to happen; far above what a slow machine needs.
const WAIT_MAX: Duration = Duration::from_secs(180);

/// One ether in wei.
pub(crate) fn ether(count: u64) -> U256 {
    U256::from(count) * U256::from(1_000_000_000_000_000_000u64)
}

/// Account `index` of the test mnemonic: 0 to 9 are users, 10 owner, 11 batcher, 12 proposer.
pub(crate) fn account(index: u32) -> PrivateKeySigner {
    test_account(index).unwrap().0
}

/// A client that signs with `signer`.
pub(crate) fn client(url: &str, signer: &PrivateKeySigner) -> DynProvider {
    let wallet = EthereumWallet::from(signer.clone());
    ProviderBuilder::new().wallet(wallet).connect_http(url.parse().unwrap()).erased()
}

/// The folder that `npm ci` fills.
pub(crate) fn node_modules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts/node_modules")
}

/// A program that `npm ci` installed: anvil, cast or forge itself, not its start-up script. `None`,
/// visibly, where it is absent.
pub(crate) fn native(name: &str) -> Option<PathBuf> {
    let os = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let binary = node_modules().join(format!("@foundry-rs/{name}-{os}-{arch}/bin/{name}"));
    if !binary.exists() {
        skip("contracts/node_modules absent");
        return None;
    }
    Some(binary)
}

/// A value that `/metrics` of a process shows, by its whole name; `None` when it is not there.
pub(crate) async fn metric(url: &str, name: &str) -> Option<f64> {
    let text = reqwest::get(format!("{url}/metrics")).await.ok()?.text().await.ok()?;
    assert!(text.ends_with("# EOF\n"), "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

/// Waits until `check` gives something.
pub(crate) async fn wait_for<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(started.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} for {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// An Anvil of one test; ends with it.
pub(crate) struct Anvil {
    child: Child,
    pub(crate) url: String,
}

impl Anvil {
    /// Starts Anvil with a block a second; `None`, visibly, where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts it with further arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Option<Self> {
        let mut child = Command::new(native("anvil")?)
            .args(["--port", "0", "--accounts", "13", "--mnemonic", TEST_MNEMONIC])
            .args(["--block-time", "1", "--hardfork", "osaka"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            line.unwrap().strip_prefix("Listening on ").map(|address| address.trim().to_owned())
        });
        // Its pipe must keep a reader, or Anvil stops when it is full.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, url: format!("http://{}", address.unwrap()) })
    }

    /// A client of the user account `index`.
    pub(crate) fn client(&self, index: u32) -> DynProvider {
        client(&self.url, &account(index))
    }

    /// Replaces the last `depth` blocks by empty ones.
    pub(crate) async fn reorg(&self, depth: u64) {
        let l1 = self.client(0);
        let none: [u8; 0] = [];
        let _: serde_json::Value =
            l1.raw_request("anvil_reorg".into(), (depth, none)).await.unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Makes Anvil stop answering, its connections open.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The binary under test.
pub(crate) fn sequencer() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sequencer"))
}

/// A rollup deployed on an Anvil, and the files of its node.
pub(crate) struct Rollup {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) genesis: Genesis,
    pub(crate) l1_url: String,
    pub(crate) rpc_port: u16,
    /// TOML of the node; a test may change it before a start.
    pub(crate) config: String,
}

impl Rollup {
    /// Deploys with `sequencer deploy` and writes a configuration for fast tests.
    pub(crate) fn deploy(anvil: &Anvil) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (name, index) in [("owner", 10), ("batcher", 11), ("proposer", 12)] {
            fs::write(path(name), account(index).to_bytes().to_string()).unwrap();
        }
        let output = sequencer()
            .args(["deploy", "--l1-rpc-url", &anvil.url, "--submission-interval", "4"])
            .args(["--batcher", &account(11).address().to_string()])
            .args(["--proposer", &account(12).address().to_string()])
            .args(["--finalization-period-secs", "30"])
            .arg("--key-file")
            .arg(path("owner"))
            .arg("--out")
            .arg(path("genesis.json"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let genesis = fs::read_to_string(path("genesis.json")).unwrap();
        let genesis = serde_json::from_str(&genesis).unwrap();
        let rpc_port = free_port();
        let config = format!(
            "genesis = {:?}\ndata-dir = {:?}\nrpc-listen = \"127.0.0.1:{rpc_port}\"\n\
             l1-rpc-url = {:?}\nl1-confirmations = 2\nl1-poll-ms = 100\nblock-time-ms = 500\n\
             batch-age-secs = 2\noutput-interval-blocks = 4\n\
             batcher-key-file = {:?}\nproposer-key-file = {:?}\n",
            path("genesis.json"),
            path("data"),
            anvil.url,
            path("batcher"),
            path("proposer"),
        );
        Self { genesis, l1_url: anvil.url.clone(), rpc_port, config, directory }
    }

    /// Starts the node and waits until it answers.
    pub(crate) async fn start(&self) -> Node {
        let node = self.spawn();
        let l2 = self.client(0);
        let mut node = node;
        wait_for("the node to answer", async || {
            assert!(node.is_running(), "the node stopped at start");
            l2.get_chain_id().await.ok()
        })
        .await;
        node
    }

    /// Starts the node.
    pub(crate) fn spawn(&self) -> Node {
        let config = self.directory.path().join("config.toml");
        fs::write(&config, &self.config).unwrap();
        let log = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.directory.path().join("node.log"))
            .unwrap();
        let child = sequencer().arg("run").arg("--config").arg(config).stderr(log).spawn().unwrap();
        Node(child)
    }

    /// The node's JSON-RPC.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.rpc_port)
    }

    /// Without keys: a batcher of its own posts.
    pub(crate) fn without_keys(&mut self) {
        let lines = self.config.lines().filter(|line| !line.contains("-key-file"));
        self.config = lines.map(|line| format!("{line}\n")).collect();
    }

    /// Settings of a batcher of its own with a directory and two ports.
    pub(crate) fn batcher(&self, name: &str) -> BatcherFiles {
        let path = |name: &str| self.directory.path().join(name);
        let (port, admin_port) = (free_port(), free_port());
        let token = path("token");
        fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&token, owner_only).unwrap();
        let config = format!(
            "genesis = {:?}\ndata-dir = {:?}\nsequencer-url = {:?}\nl1-rpc-url = {:?}\n\
             listen = \"127.0.0.1:{port}\"\nl1-poll-ms = 100\nbatch-age-secs = 2\n\
             output-interval-blocks = 4\nbatcher-key-file = {:?}\nproposer-key-file = {:?}\n\
             admin-listen = \"127.0.0.1:{admin_port}\"\nadmin-token-file = {token:?}\n",
            path("genesis.json"),
            path(name),
            self.url(),
            self.l1_url,
            path("batcher"),
            path("proposer"),
        );
        BatcherFiles { directory: path(name), config, port, admin_port, token }
    }

    /// The node's ledger, beside the node.
    pub(crate) async fn ledger(&self) -> Ledger {
        self.ledger_in("data").await
    }

    /// The ledger in a directory of this rollup, beside whoever uses it.
    pub(crate) async fn ledger_in(&self, name: &str) -> Ledger {
        let file = self.directory.path().join(name).join("ledger.sqlite");
        let (_, _, genesis_hash) = self.genesis.build().unwrap();
        let identity = ChainIdentity { chain_id: self.genesis.rules.chain_id, genesis_hash };
        Ledger::connect(&format!("sqlite://{}", file.display()), &identity).await.unwrap()
    }

    /// What the audit trail says was done, oldest first.
    pub(crate) async fn audit_actions(&self) -> Vec<String> {
        let lines = self.ledger().await.audit_trail(10).await.unwrap();
        lines.into_iter().rev().map(|line| line.action).collect()
    }

    /// An L2 client of the user account `index`.
    pub(crate) fn client(&self, index: u32) -> DynProvider {
        client(&self.url(), &account(index))
    }

    /// Number of the block with this tag on L2.
    pub(crate) async fn height(&self, tag: BlockNumberOrTag) -> u64 {
        let block = self.client(0).get_block_by_number(tag).await.unwrap();
        block.map_or(0, |block| block.header.number)
    }

    /// Waits until block `number` is derivable from L1.
    pub(crate) async fn wait_until_safe(&self, number: u64) {
        wait_for("the safe head", async || {
            (self.height(BlockNumberOrTag::Safe).await >= number).then_some(())
        })
        .await;
    }

    /// Deposits on L1 and returns the L2 receipt, which must come under the hash that follows from
    /// the L1 event.
    pub(crate) async fn deposit(&self, index: u32, wei: U256) -> TransactionReceipt {
        let hash = self.start_deposit(index, wei).await;
        let l2 = self.client(0);
        wait_for("the deposit on L2", async || raw_receipt(&l2, hash).await).await
    }

    /// Deposits on L1 and returns the hash that follows for L2.
    pub(crate) async fn start_deposit(&self, index: u32, wei: U256) -> B256 {
        let to = account(index).address();
        let l1 = client(&self.l1_url, &account(index));
        let portal = Portal::new(self.genesis.l1.portal, &l1);
        let call = portal.depositTransaction(to, wei, 100_000, false, Bytes::new());
        let receipt = call.value(wei).send().await.unwrap().get_receipt().await.unwrap();
        let log = &receipt.inner.logs()[0];
        let deposit = Deposit::from_event(
            log.inner.data.topics(),
            &log.inner.data.data,
            log.block_hash.unwrap(),
            log.log_index.unwrap(),
        );
        Transaction::from_deposit(deposit.unwrap()).hash()
    }

    /// Runs `sequencer verify` with L1 access only, or with a node to compare with.
    pub(crate) fn verify(&self, against: Option<&str>) -> Output {
        match against {
            Some(url) => self.verify_with(&["--against", url]),
            None => self.verify_with(&[]),
        }
    }

    /// Runs `sequencer verify` with further arguments.
    pub(crate) fn verify_with(&self, arguments: &[&str]) -> Output {
        let mut command = sequencer();
        command
            .args(["verify", "--l1-rpc-url", &self.l1_url])
            .args(["--inbox", &self.genesis.l1.inbox.to_string()])
            .arg("--genesis")
            .arg(self.directory.path().join("genesis.json"))
            .args(arguments);
        command.output().unwrap()
    }

    /// Verifies, and checks that the derived head is the node's block of that height. Returns its
    /// height.
    pub(crate) async fn verify_agrees(&self) -> u64 {
        let output = self.verify(None);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().next().unwrap().to_owned()
        };
        let number: u64 = field("verified").parse().unwrap();
        let block = self.client(0).get_block_by_number(number.into()).await.unwrap().unwrap();
        assert_eq!(field("head").parse::<B256>().unwrap(), block.header.hash);
        assert_eq!(field("state root").parse::<B256>().unwrap(), block.header.state_root);
        number
    }
}

/// What a batcher of its own is started with.
pub(crate) struct BatcherFiles {
    pub(crate) directory: PathBuf,
    /// TOML; a test may change it before a start.
    pub(crate) config: String,
    pub(crate) port: u16,
    pub(crate) admin_port: u16,
    pub(crate) token: PathBuf,
}

impl BatcherFiles {
    fn command(&self) -> Command {
        let config = self.directory.with_extension("toml");
        fs::write(&config, &self.config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_batcher"));
        command.arg("run").arg("--config").arg(config);
        command
    }

    /// Starts it.
    pub(crate) fn spawn(&self) -> Node {
        let log = self.directory.with_extension("log");
        let log = fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        Node(self.command().stderr(log).spawn().unwrap())
    }

    /// Starts it and waits until everything about it works.
    pub(crate) async fn start(&self) -> Node {
        let mut node = self.spawn();
        wait_for("the batcher to be ready", async || {
            assert!(node.is_running(), "the batcher stopped at start");
            let ready = reqwest::get(format!("{}/ready", self.url())).await.ok()?;
            ready.status().is_success().then_some(())
        })
        .await;
        node
    }

    /// Starts one that is to refuse; returns what it says.
    pub(crate) fn refused(&self) -> String {
        let output = self.command().output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Runs `batcher admin` against it: whether it succeeded, and what it said.
    pub(crate) async fn admin(&self, arguments: &[&str]) -> (bool, String) {
        admin(env!("CARGO_BIN_EXE_batcher"), self.admin_port, &self.token, arguments).await
    }
}

/// Runs `admin` of a binary against a port on this machine.
pub(crate) async fn admin(
    binary: &str,
    port: u16,
    token: &Path,
    arguments: &[&str],
) -> (bool, String) {
    let output = tokio::process::Command::new(binary)
        .arg("admin")
        .args(arguments)
        .args(["--url", &format!("http://127.0.0.1:{port}")])
        .arg("--token-file")
        .arg(token)
        .output();
    let output = output.await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// A receipt, also of a type that alloy does not know.
pub(crate) async fn raw_receipt(l2: &DynProvider, hash: B256) -> Option<TransactionReceipt> {
    let value: Option<serde_json::Value> =
        l2.raw_request("eth_getTransactionReceipt".into(), (hash,)).await.ok()?;
    let mut value = value?;
    // alloy's Ethereum receipt has no type 0x7e; everything else of it is the same.
    if value["type"] == "0x7e" {
        value["type"] = "0x2".into();
    }
    Some(serde_json::from_value(value).unwrap())
}

/// The running node; ends with it.
pub(crate) struct Node(Child);

impl Node {
    /// Starts a process.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Whether the process lives.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends value.
pub(crate) async fn transfer(l2: &DynProvider, to: Address, wei: U256) -> TransactionReceipt {
    let request = TransactionRequest::default().with_to(to).with_value(wei);
    let receipt = l2.send_transaction(request).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    receipt
}
