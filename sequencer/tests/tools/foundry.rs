//! A Foundry project as a user would have one, and cast in it. forge is in [`super::forge`].

use crate::{
    scripts,
    support::{Rollup, node_modules},
};
use alloy::primitives::Address;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const MESSAGE_PASSER: &str = "0x4200000000000000000000000000000000000016";
/// An account that only receives.
pub(crate) const RECIPIENT: &str = "0x00000000000000000000000000000000000000aa";
/// A key without funds.
const POOR: &str = "0x00000000000000000000000000000000000000000000000000000000000000aa";

/// A Foundry project in a temporary folder, and the chain it works on.
pub(crate) struct Project {
    directory: tempfile::TempDir,
    cast: PathBuf,
    forge: PathBuf,
    url: String,
    chain_id: u64,
}

/// What a program printed; it has to have succeeded.
fn printed(what: &[&str], output: &Output) -> String {
    let (stdout, stderr) = texts(output);
    assert!(output.status.success(), "{what:?}: {stdout}{stderr}");
    stdout.trim().to_owned()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

pub(crate) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

impl Project {
    pub(crate) fn new(cast: &Path, forge: &Path, rollup: &Rollup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let compiler = node_modules().join("../solc-wrapper").canonicalize().unwrap();
        write("foundry.toml", &format!("[profile.default]\nsolc = {compiler:?}\noffline = true\n"));
        write("src/Counter.sol", include_str!("Counter.sol"));
        write("src/Wallet.sol", include_str!("Wallet.sol"));
        write("script/Deploy.s.sol", include_str!("Deploy.s.sol"));
        write("test/Fork.t.sol", include_str!("Fork.t.sol"));
        let (url, chain_id) = (rollup.url(), rollup.genesis.rules.chain_id);
        Self { directory, cast: cast.into(), forge: forge.into(), url, chain_id }
    }

    /// A program in the project's folder, asking the chain at `url`.
    pub(crate) fn program(&self, program: &Path, url: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.directory.path())
            .env("ETH_RPC_URL", url)
            // Foundry keeps a cache of chains below the home folder, by chain id and block number.
            .env("HOME", self.directory.path());
        command
    }

    fn run(&self, program: &Path, url: &str, args: &[&str]) -> Output {
        scripts::run(self.program(program, url).args(args), "")
    }

    pub(crate) fn forge_path(&self) -> &Path {
        &self.forge
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn chain_id(&self) -> u64 {
        self.chain_id
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// cast on another chain than the rollup's.
    pub(crate) fn cast_at(&self, url: &str, args: &[&str]) -> String {
        printed(args, &self.run(&self.cast, url, args))
    }

    pub(crate) fn cast(&self, args: &[&str]) -> String {
        self.cast_at(&self.url, args)
    }

    fn cast_json(&self, args: &[&str]) -> Value {
        parsed(&self.cast(&[args, &["--json"]].concat()))
    }

    fn cast_number(&self, args: &[&str]) -> u128 {
        let text = self.cast(args);
        text.parse().unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }

    /// What cast prints on standard error when it fails, which it has to.
    fn cast_fails(&self, args: &[&str], reason: &str) {
        let output = self.run(&self.cast, &self.url, args);
        let (_, stderr) = texts(&output);
        assert!(!output.status.success() && stderr.contains(reason), "{args:?}: {stderr}");
    }

    pub(crate) fn forge(&self, args: &[&str]) -> String {
        printed(args, &self.run(&self.forge, &self.url, args))
    }

    /// Compiles.
    pub(crate) fn build(&self) {
        self.forge(&["build"]);
    }

    /// The artifact of a contract.
    pub(crate) fn artifact(&self, contract: &str) -> PathBuf {
        self.path(&format!("out/{contract}.sol/{contract}.json"))
    }

    /// What cast does with a key: transfers, a contract, a withdrawal, mistakes.
    pub(crate) fn check_cast(&self, key: &str, owner: Address) {
        let owner = owner.to_string();
        self.send_transfers(key, &owner);
        let counter = self.create(key);
        self.use_contract(key, &owner, &counter);
        self.prove(key, &owner);
        self.refuse(key, &counter);
        self.delegate(key, &owner, &counter);
    }

    /// What cast reads of a chain and of an account with funds.
    pub(crate) fn check_cast_reads(&self, owner: Address) {
        let owner = &owner.to_string();
        assert_eq!(self.cast(&["chain-id"]), self.chain_id.to_string());
        assert!(self.cast(&["client"]).starts_with("weft/"));
        let height = self.cast_number(&["block-number"]);
        let ws = self.url.replacen("http", "ws", 1);
        let over_socket = printed(&["ws"], &self.run(&self.cast, &ws, &["block-number"]));
        assert!(over_socket.parse::<u128>().unwrap() >= height);
        let latest = self.cast_number(&["block", "latest", "-f", "number"]);
        let [safe, finalized] =
            ["safe", "finalized"].map(|tag| self.cast_number(&["block", tag, "-f", "number"]));
        assert!(finalized <= safe && safe <= latest);
        assert!(self.cast_number(&["gas-price"]) >= self.cast_number(&["base-fee"]));
        assert!(self.cast_number(&["balance", owner]) > 0);
        assert_eq!(self.cast(&["code", owner]), "0x");
        assert!(self.cast_number(&["codesize", MESSAGE_PASSER]) > 0);
        self.cast(&["age"]);
        self.cast(&["tx-pool", "status"]);

        // The deposit that opens every block, in the shape of the OP Stack.
        let block = self.cast_json(&["block", "1", "--full"]);
        let deposit = block["transactions"][0]["hash"].as_str().unwrap();
        assert!(self.cast(&["tx", deposit]).contains("0x7e"));
        assert!(self.cast(&["receipt", deposit]).contains("depositNonce"));
        let hash = block["hash"].as_str().unwrap();
        assert_eq!(self.cast(&["block", hash, "-f", "number"]), "1");
        let status = self.cast(&["rpc", "eth_getBlockReceipts", "0x1"]);
        assert_eq!(parsed(&status)[0]["transactionHash"], deposit);
    }

    pub(crate) fn send(&self, key: &str, args: &[&str]) -> Value {
        let receipt = self.cast_json(&[&["send", "--private-key", key], args].concat());
        assert_eq!(receipt["status"], "0x1", "{args:?}: {receipt}");
        receipt
    }

    fn send_transfers(&self, key: &str, owner: &str) {
        let first = self.cast_number(&["nonce", owner]);
        let send = [RECIPIENT, "--value", "1gwei"];
        self.send(key, &[&send[..], &["--legacy"]].concat());
        self.send(key, &[&send[..], &["--sync"]].concat());
        let receipt = self.send(key, &send);
        let hash = receipt["transactionHash"].as_str().unwrap();
        assert_eq!(self.cast(&["tx", hash, "value"]), "1000000000");
        assert_eq!(self.cast(&["receipt", hash, "gasUsed"]), "21000");
        assert!(self.cast(&["tx", hash, "--raw"]).starts_with("0x02"));
        assert_eq!(self.cast_number(&["balance", RECIPIENT]), 3_000_000_000);
        assert_eq!(self.cast_number(&["nonce", owner]), first + 3);
        let raw = self.cast(&["mktx", "--private-key", key, RECIPIENT, "--value", "1gwei"]);
        let published = parsed(&self.cast(&["publish", &raw]));
        assert_eq!(published["status"], "0x1");
        self.cast_fails(&["publish", &raw], "nonce too low");
    }

    /// Creates the contract with `cast send --create`, and returns its address.
    fn create(&self, key: &str) -> String {
        let code = self.forge(&["inspect", "Counter", "bytecode"]);
        let receipt = self.send(key, &["--create", &code, "constructor(uint256)", "5"]);
        receipt["contractAddress"].as_str().unwrap().to_owned()
    }

    fn use_contract(&self, key: &str, owner: &str, counter: &str) {
        let number = ["call", counter, "number()(uint256)"];
        assert_eq!(self.cast(&number), "5");
        assert!(self.cast_number(&["estimate", counter, "set(uint256)", "6"]) > 21_000);
        let receipt = self.send(key, &[counter, "set(uint256)", "6"]);
        assert_eq!(self.cast(&number), "6");
        let slot = self.cast(&["storage", counter, "0"]);
        assert_eq!(slot.trim_start_matches("0x").trim_start_matches('0'), "6");
        let event = "NumberSet(address indexed,uint256)";
        let logs = ["logs", event, owner, "--address", counter, "--from-block", "0"];
        let logs = self.cast_json(&logs);
        assert_eq!(logs.as_array().unwrap().len(), 1);
        assert_eq!(logs[0]["transactionHash"], receipt["transactionHash"]);
        let overridden = format!("{counter}:0:77");
        let changed = [&number[..], &["--override-state-diff", &overridden]].concat();
        assert_eq!(self.cast(&changed), "77");
        let trace = self.cast(&["call", "--trace", counter, "set(uint256)", "6"]);
        assert!(trace.contains("NumberSet"), "{trace}");
    }

    /// A withdrawal sets a word of the message passer, which `cast proof` proves.
    fn prove(&self, key: &str, owner: &str) {
        let call = "initiateWithdrawal(address,uint256,bytes)";
        let value = ["--value", "1gwei"];
        self.send(key, &[&[MESSAGE_PASSER, call, owner, "100000", "0x"], &value[..]].concat());
        let proof = parsed(&self.cast(&["proof", MESSAGE_PASSER, "1"]));
        assert!(!proof["accountProof"].as_array().unwrap().is_empty());
        assert!(!proof["storageProof"][0]["proof"].as_array().unwrap().is_empty());
        assert_ne!(proof["storageProof"][0]["value"], "0x0");
        assert!(self.cast(&["storage-root", MESSAGE_PASSER]).starts_with("0x"));
    }

    /// Type 4: the account takes the contract's code for its own (EIP-7702), and runs it.
    fn delegate(&self, key: &str, owner: &str, counter: &str) {
        let receipt = self.send(key, &[RECIPIENT, "--auth", counter]);
        assert_eq!(receipt["type"], "0x4");
        let designator = format!("0xef0100{}", counter.trim_start_matches("0x").to_lowercase());
        assert_eq!(self.cast(&["code", owner]), designator);
        self.send(key, &[owner, "set(uint256)", "11"]);
        assert_eq!(self.cast(&["call", owner, "number()(uint256)"]), "11");
    }

    fn refuse(&self, key: &str, counter: &str) {
        self.cast_fails(&["call", counter, "set(uint256)", "13"], "execution reverted: unlucky");
        self.cast_fails(&["estimate", counter, "set(uint256)", "13"], "unlucky");
        let send = ["send", "--private-key", key, RECIPIENT];
        self.cast_fails(&[&send[..], &["--nonce", "0"]].concat(), "nonce too low");
        self.cast_fails(&[&send[..], &["--gas-limit", "20000"]].concat(), "intrinsic gas too low");
        let blob = self.path("foundry.toml");
        let blob = ["--blob", "--path", blob.to_str().unwrap()];
        self.cast_fails(&[&send[..], &blob].concat(), "transaction type not supported: blob");
        let poor = ["send", "--private-key", POOR, RECIPIENT, "--value", "1"];
        self.cast_fails(&poor, "insufficient funds");
        self.cast_fails(&[&poor[..], &["--gas-limit", "21000"]].concat(), "insufficient funds");
    }
}
