//! A node of our own to be flooded: `sequencer dev`, ended with the measurement.

use super::connection::Connection;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use sequencer::commands::dev::test_account;
use serde_json::json;
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Longest wait for the node to have its accounts funded.
const START_MAX: Duration = Duration::from_secs(180);

/// A running `sequencer dev`.
pub(super) struct Started {
    child: Child,
    pub(super) address: SocketAddr,
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Started {
    /// Starts it and waits until the accounts have funds.
    pub(super) async fn start() -> Result<Self> {
        let examples = std::env::current_exe()?;
        let folder =
            examples.parent().and_then(|examples| examples.parent()).context("no folder")?;
        let (rpc_port, l1_port) = (free_port()?, free_port()?);
        let child = Command::new(folder.join("sequencer"))
            .args(["dev", "--log", "warn"])
            .args(["--rpc-port", &rpc_port.to_string(), "--l1-port", &l1_port.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| {
                format!("no {}: build it first", folder.join("sequencer").display())
            })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, rpc_port));
        let mut started = Self { child, address };
        let began = Instant::now();
        while !started.is_funded().await {
            if let Some(status) = started.child.try_wait()? {
                bail!("the node stopped at start: {status}");
            }
            if began.elapsed() > START_MAX {
                bail!("the node has no funded accounts after {START_MAX:?}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(started)
    }

    async fn is_funded(&self) -> bool {
        let Ok(mut connection) = Connection::open(self.address, Ipv4Addr::LOCALHOST.into()).await
        else {
            return false;
        };
        for index in 0..2 {
            let Ok(account) = test_account(index) else { return false };
            let params = json!([account.0.address(), "latest"]);
            match connection.call("eth_getBalance", params).await {
                Ok(balance) if balance != "0x0" => {}
                _ => return false,
            }
        }
        true
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it in good order, and its L1 with it.
    pub(super) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}
