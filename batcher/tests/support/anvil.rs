//! anvil as L1: started on a free port, stopped when dropped.

use alloy::{
    network::EthereumWallet,
    primitives::B256,
    providers::{DynProvider, Provider, ProviderBuilder},
    signers::local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English},
};
use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// A running anvil.
pub(crate) struct Anvil {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, as the npm package of this platform installs it.
fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("WEFT_ANVIL") {
        return Some(path.into());
    }
    let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/../contracts/node_modules/@foundry-rs");
    let mut entries = std::fs::read_dir(packages).ok()?.flatten();
    entries.find_map(|entry| {
        let is_anvil = entry.file_name().to_string_lossy().starts_with("anvil-");
        let path = entry.path().join("bin/anvil");
        (is_anvil && path.is_file()).then_some(path)
    })
}

/// Says that a test cannot run, where `make test` counts it.
fn skip(reason: &str) {
    let line = format!("skipped: {reason}\n");
    print!("{line}");
    if let Some(log) = std::env::var_os("WEFT_SKIP_LOG") {
        let log = OpenOptions::new().create(true).append(true).open(log);
        log.unwrap().write_all(line.as_bytes()).unwrap();
    }
}

impl Anvil {
    /// Starts one that mines each transaction at once and finalizes two blocks later. `None`, said
    /// aloud, where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&["--slots-in-an-epoch", "1"])
    }

    /// Starts one with other arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Option<Self> {
        let Some(binary) = binary() else {
            skip("contracts/node_modules absent");
            return None;
        };
        let mut child = Command::new(binary)
            .args(["--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.by_ref().find_map(|line| {
            line.unwrap().strip_prefix("Listening on ").map(|address| format!("http://{address}"))
        });
        // Whoever does not read its output stops it.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, url: url.unwrap() })
    }

    /// A provider that signs with the first of anvil's accounts, the deployer.
    pub(crate) fn provider(&self) -> DynProvider {
        let wallet = EthereumWallet::from(account(0));
        ProviderBuilder::new().wallet(wallet).connect_http(self.url.parse().unwrap()).erased()
    }
}

/// One of the accounts that anvil gives ether to.
pub(crate) fn account(index: u32) -> PrivateKeySigner {
    let phrase = "test test test test test test test test test test test junk";
    let builder = MnemonicBuilder::<English>::default().phrase(phrase).index(index).unwrap();
    let key = builder.build().unwrap().to_bytes();
    PrivateKeySigner::from_bytes(&B256::from(key)).unwrap()
}
