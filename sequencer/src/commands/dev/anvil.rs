//! Anvil as a child process: the native binary, so that ending it ends the chain and not a wrapper.

use super::DevArgs;
use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// Longest wait for Anvil to listen.
const START_WAIT_MAX: Duration = Duration::from_secs(30);

/// Longest wait for Anvil to write its state and end.
const STOP_WAIT_MAX: Duration = Duration::from_secs(10);

/// Why there is no Anvil.
#[derive(Debug, thiserror::Error)]
pub enum AnvilError {
    /// The port is taken or may not be used.
    #[error("cannot use port {port} for Anvil: {error}; choose another with --l1-port")]
    Port {
        /// Port asked for.
        port: u16,
        /// Why.
        error: io::Error,
    },
    /// The binary cannot be started.
    #[error("cannot start {}: {error}; run `make setup`, or give --anvil", binary.display())]
    Start {
        /// The binary.
        binary: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It ended, or never said that it listens.
    #[error("Anvil did not start: {0}")]
    NotListening(String),
}

/// A running Anvil; dropped, it is killed.
#[derive(Debug)]
pub(super) struct Anvil {
    child: Child,
    url: String,
}

impl Anvil {
    /// Starts Anvil with `accounts` funded accounts, its state in `home` when that is kept.
    pub(super) async fn start(
        args: &DevArgs,
        home: &Path,
        accounts: u32,
    ) -> Result<Self, AnvilError> {
        let port = args.l1_port;
        // Anvil says nothing useful when its port is taken, so ask first.
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|error| AnvilError::Port { port, error })?;
        let binary = args.anvil.clone().unwrap_or_else(find_anvil);
        let mut command = Command::new(&binary);
        command
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--accounts", &accounts.to_string(), "--mnemonic", super::TEST_MNEMONIC])
            .args(["--block-time", &args.l1_block_time_secs.to_string(), "--hardfork", "osaka"])
            .args(["--slots-in-an-epoch", "4"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if args.data_dir.is_some() {
            let state = home.join("anvil.json");
            command.arg("--state").arg(state).args(["--state-interval", "5"]);
        }
        let mut child = command.spawn().map_err(|error| AnvilError::Start { binary, error })?;
        let listening = wait_until_listening(&mut child);
        let url = match tokio::time::timeout(START_WAIT_MAX, listening).await {
            Ok(url) => url?,
            Err(_) => return Err(AnvilError::NotListening("no answer in 30 s".into())),
        };
        Ok(Self { child, url })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Asks it to end, so that it writes its state, and waits a while.
    pub(super) async fn stop(mut self) {
        if let Some(pid) = self.child.id() {
            let asked = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
            if asked.is_ok_and(|status| status.success()) {
                let _ended = tokio::time::timeout(STOP_WAIT_MAX, self.child.wait()).await;
            }
        }
    }
}

/// Reads Anvil's output until it listens, then goes on reading so that its pipes never fill.
async fn wait_until_listening(child: &mut Child) -> Result<String, AnvilError> {
    let missing = || AnvilError::NotListening("no output".into());
    let mut stdout = BufReader::new(child.stdout.take().ok_or_else(missing)?).lines();
    let mut stderr = BufReader::new(child.stderr.take().ok_or_else(missing)?).lines();
    loop {
        let line = stdout.next_line().await.ok().flatten();
        let Some(line) = line else {
            let mut reason = String::new();
            while let Ok(Some(line)) = stderr.next_line().await {
                reason.push_str(&line);
                reason.push(' ');
            }
            return Err(AnvilError::NotListening(reason));
        };
        if let Some(address) = line.strip_prefix("Listening on ") {
            let url = format!("http://{}", address.trim());
            tokio::spawn(async move { while let Ok(Some(_)) = stdout.next_line().await {} });
            tokio::spawn(async move {
                while let Ok(Some(line)) = stderr.next_line().await {
                    tracing::warn!(target: "anvil", "{line}");
                }
            });
            return Ok(url);
        }
    }
}

/// The binary that npm installed, or the name to look up in PATH.
#[must_use]
pub fn find_anvil() -> PathBuf {
    let os = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let installed = format!("contracts/node_modules/@foundry-rs/anvil-{os}-{arch}/bin/anvil");
    let beside_sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&installed);
    [PathBuf::from(installed), beside_sources]
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| "anvil".into())
}
