//! forge and anvil: creations, scripts that broadcast, tests and a node on a fork of the rollup.

use crate::{
    foundry::{Project, RECIPIENT, parsed},
    scripts,
    support::{free_port, native},
};
use std::{
    fs,
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The first account of Anvil, which has ether on every fork.
const ANVIL_KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// Longest wait for Anvil; far above what a slow machine needs.
const START_MAX: Duration = Duration::from_secs(120);

/// An Anvil on a fork; ends with this.
struct Fork {
    child: Child,
    url: String,
}

impl Drop for Fork {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something listens on a port.
fn wait_for_port(port: u16) {
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < START_MAX, "nothing listens on {port}");
        thread::park_timeout(Duration::from_millis(50));
    }
}

impl Project {
    /// `forge create`, in both forms of a transaction.
    pub(crate) fn check_create(&self, key: &str) {
        for form in [&[][..], &["--legacy"]] {
            let address = self.create_counter(key, form);
            assert_eq!(self.number_of(&address), "5");
        }
    }

    /// Creates a Counter that holds 5, and returns its address.
    fn create_counter(&self, key: &str, form: &[&str]) -> String {
        let create = ["create", "--broadcast", "--private-key", key, "src/Counter.sol:Counter"];
        let arguments = ["--json", "--constructor-args", "5"];
        let created = parsed(&self.forge(&[&create[..], form, &arguments].concat()));
        created["deployedTo"].as_str().unwrap().to_owned()
    }

    fn number_of(&self, address: &str) -> String {
        self.cast(&["call", address, "number()(uint256)"])
    }

    /// `forge script --broadcast`: a creation, a call, and a creation by CREATE2.
    pub(crate) fn check_script(&self, key: &str, more: &[&str]) {
        let script = "script/Deploy.s.sol:Deploy";
        let broadcast = ["script", "--broadcast", "--private-key", key, "--rpc-url", self.url()];
        // A salt of its own: two of these run on one chain, and a salt is used once.
        let salt = format!("{}", more.len() + 1);
        let output = scripts::run(
            self.program(self.forge_path(), self.url())
                .args(&broadcast[..])
                .args(more)
                .arg(script)
                .args(["--sig", "run(uint256)", &salt]),
            "",
        );
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}{}", String::from_utf8_lossy(&output.stdout));
        let receipts = self.broadcast_receipts(key);
        assert_eq!(receipts.len(), 3);
        assert!(receipts.iter().all(|(status, _)| status == "0x1"), "{receipts:?}");
        for (index, number) in [(0, "8"), (2, "9")] {
            assert_eq!(self.number_of(&receipts[index].1), number);
        }
    }

    /// Status and created or called contract of each transaction that the account of `key` broadcast.
    fn broadcast_receipts(&self, key: &str) -> Vec<(String, String)> {
        let sender = self.cast(&["wallet", "address", "--private-key", key]).to_lowercase();
        let folder = self.path(&format!("broadcast/Deploy.s.sol/{}", self.chain_id()));
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let runs = files.map(|file| parsed(&fs::read_to_string(file).unwrap()));
        let own = |run: &serde_json::Value| run["receipts"][0]["from"].as_str() == Some(&sender);
        let run = runs.into_iter().find(own).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let receipts = run["receipts"].as_array().unwrap().iter();
        let sent = run["transactions"].as_array().unwrap().iter();
        receipts
            .zip(sent)
            .map(|(receipt, sent)| (text(&receipt["status"]), text(&sent["contractAddress"])))
            .collect()
    }

    /// `forge test --fork-url`, then a node on a fork.
    pub(crate) fn check_forks(&self, key: &str) {
        let counter = self.create_counter(key, &[]);
        let block = self.cast(&["block-number"]);
        self.send(key, &[&counter, "set(uint256)", "6"]);
        let tested = scripts::run(
            self.program(self.forge_path(), self.url())
                .args(["test", "--fork-url", self.url(), "-vvv"])
                .env("COUNTER", &counter)
                .env("COUNTER_BLOCK", self.block_of_creation(&counter, &block))
                .env("FORK", self.url()),
            "",
        );
        let text = String::from_utf8_lossy(&tested.stdout).into_owned();
        assert!(tested.status.success(), "{text}{}", String::from_utf8_lossy(&tested.stderr));
        assert!(text.contains("3 passed"), "{text}");
        self.check_anvil(&counter);
    }

    /// The block in which the contract was created: the newest, at most, that was there afterwards.
    fn block_of_creation(&self, counter: &str, latest: &str) -> String {
        let mut block: u64 = latest.parse().unwrap();
        while self.cast(&["code", counter, "--block", &(block - 1).to_string()]) != "0x" {
            block -= 1;
        }
        block.to_string()
    }

    /// `anvil --fork-url`: the fork has the rollup's state, and changes without it.
    fn check_anvil(&self, counter: &str) {
        let fork = self.fork();
        let on_fork = |args: &[&str]| self.cast_at(&fork.url, args);
        assert_eq!(on_fork(&["chain-id"]), self.chain_id().to_string());
        assert_eq!(on_fork(&["call", counter, "number()(uint256)"]), "6");
        let send = ["send", "--private-key", ANVIL_KEY];
        on_fork(&[&send[..], &[counter, "set(uint256)", "7"]].concat());
        on_fork(&[&send[..], &[RECIPIENT, "--value", "1ether"]].concat());
        assert_eq!(on_fork(&["call", counter, "number()(uint256)"]), "7");
        assert_eq!(self.number_of(counter), "6", "the rollup knows nothing of it");
        // A block of before the fork is read through it, with its deposit.
        let block = parsed(&on_fork(&["block", "1", "--json"]));
        let same = parsed(&self.cast(&["block", "1", "--json"]));
        assert_eq!(block["hash"], same["hash"]);
        on_fork(&["rpc", "evm_revert", "0x0"]);
    }

    fn fork(&self) -> Fork {
        let port = free_port();
        let child = Command::new(native("anvil").unwrap())
            .args(["--fork-url", self.url(), "--port", &port.to_string()])
            .env("HOME", self.path(""))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for_port(port);
        Fork { child, url: format!("http://127.0.0.1:{port}") }
    }
}
