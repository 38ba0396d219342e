//! `sequencer dev`: a whole rollup on a local Anvil with one command.
//!
//! Starts Anvil, deploys the contracts, funds the ten accounts of the standard test mnemonic on L2
//! by real deposits from L1, runs the node, prints what to try next. With a data directory that
//! holds a chain already, it continues that chain on the same Anvil state. For development only:
//! the keys are public.

mod anvil;
mod banner;

use super::{
    deploy::{ChainArgs, DeployError, Roles, connect, deploy},
    run::cancel_on_signal,
};
use crate::{
    node::{Node, NodeError},
    pressure::PAUSE_SECS,
    settings::{
        BatchData, Config, EmptyBlocks, EndpointSettings, Key, PressureSettings, Settings,
        SettingsError,
    },
};
use alloy::{
    primitives::{Address, Bytes, U256, utils::Unit},
    providers::{DynProvider, Provider, ext::AnvilApi},
    signers::local::{LocalSignerError, MnemonicBuilder, coins_bip39::English},
};
use anvil::Anvil;
pub use anvil::{AnvilError, find_anvil};
use clap::Args;
use contracts::{MULTICALL3, Multicall3, Portal};
use executor::Genesis;
use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// The mnemonic that every development chain knows.
pub const TEST_MNEMONIC: &str = "test test test test test test test test test test test junk";

/// Accounts funded on L2.
const FUNDED_ACCOUNTS: u32 = 10;

/// Accounts after the funded ones act for the operator on L1: owner, batcher, proposer.
const L1_ACCOUNTS: u32 = FUNDED_ACCOUNTS + 3;

/// Ether that each funded account deposits, of the 10,000 that Anvil gives it.
const DEPOSIT_ETHER: u64 = 1_000;

/// Gas of a funding deposit on L2: a plain transfer to oneself, with room.
const DEPOSIT_GAS: u64 = 100_000;

/// Longest wait for the deposits to arrive on L2.
const FUNDING_WAIT_MAX: Duration = Duration::from_secs(120);

/// Arguments of `dev`.
#[derive(Args, Clone, Debug)]
pub struct DevArgs {
    /// Port of the L2 JSON-RPC, HTTP and WebSocket, on 127.0.0.1.
    #[arg(long, default_value_t = 9545, value_name = "PORT")]
    pub rpc_port: u16,
    /// Port of Anvil, the local L1, on 127.0.0.1.
    #[arg(long, default_value_t = 8545, value_name = "PORT")]
    pub l1_port: u16,
    /// Directory to keep the chain in; started again with the same one, it goes on [default: a
    /// temporary one, removed at the end].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Time between L2 blocks in milliseconds.
    #[arg(long, default_value_t = 1_000, value_name = "MS")]
    pub block_time_ms: u64,
    /// Time between L1 blocks in seconds.
    #[arg(long, default_value_t = 2, value_name = "SECS")]
    pub l1_block_time_secs: u64,
    /// Whether blocks without user transactions are made.
    #[arg(long, value_enum, default_value = "always")]
    pub empty_blocks: EmptyBlocks,
    /// How batches are posted.
    #[arg(long, value_enum, default_value = "blob")]
    pub batch_data: BatchData,
    /// Longest that a block waits before it is posted, in seconds.
    #[arg(long, default_value_t = 10, value_name = "SECS")]
    pub batch_age_secs: u64,
    /// The anvil binary [default: the one that `npm ci` in contracts installed, then PATH].
    #[arg(long, env = "WEFT_ANVIL", value_name = "FILE")]
    pub anvil: Option<PathBuf>,
}

/// Why `dev` ended.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// Anvil did not start.
    #[error(transparent)]
    Anvil(#[from] AnvilError),
    /// The contracts were not deployed.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// A setting cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The node did not start, or stopped.
    #[error(transparent)]
    Node(Box<NodeError>),
    /// A file or directory cannot be used.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The genesis file cannot be encoded.
    #[error("genesis file: {0}")]
    Json(#[from] serde_json::Error),
    /// A test account cannot be derived.
    #[error("test account: {0}")]
    Account(#[from] LocalSignerError),
    /// L1 or L2 does not answer.
    #[error("rpc: {0}")]
    Rpc(#[from] alloy::transports::TransportError),
    /// A funding deposit failed on L1.
    #[error("funding deposit: {0}")]
    Deposit(#[from] alloy::contract::Error),
    /// A funding deposit was not mined.
    #[error("funding deposit: {0}")]
    Pending(#[from] alloy::providers::PendingTransactionError),
    /// The deposits did not arrive on L2.
    #[error("the funding deposits did not arrive on L2 within {} s", FUNDING_WAIT_MAX.as_secs())]
    NotFunded,
    /// Standard output is closed.
    #[error("cannot write the banner: {0}")]
    Write(#[from] io::Error),
}

impl From<NodeError> for DevError {
    fn from(error: NodeError) -> Self {
        Self::Node(Box::new(error))
    }
}

/// Account number `index` of the test mnemonic.
///
/// # Errors
/// [`LocalSignerError`] never in practice: the mnemonic is valid.
pub fn test_account(index: u32) -> Result<Key, LocalSignerError> {
    MnemonicBuilder::<English>::default().phrase(TEST_MNEMONIC).index(index)?.build().map(Key)
}

/// Where a development chain keeps its files.
enum Home {
    Kept(PathBuf),
    /// Removed when dropped.
    Temporary(tempfile::TempDir),
}

impl Home {
    fn open(data_dir: Option<&Path>) -> Result<Self, DevError> {
        match data_dir {
            Some(path) => {
                let io = |error| DevError::Io { path: path.into(), error };
                fs::create_dir_all(path).map_err(io)?;
                Ok(Self::Kept(path.into()))
            }
            None => {
                let path = std::env::temp_dir();
                let directory = tempfile::Builder::new().prefix("weft-dev-").tempdir();
                directory.map(Self::Temporary).map_err(|error| DevError::Io { path, error })
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}

/// Runs the command until it is interrupted.
///
/// # Errors
/// [`DevError`].
pub async fn run(args: DevArgs) -> Result<(), DevError> {
    let home = Home::open(args.data_dir.as_deref())?;
    let anvil = Anvil::start(&args, home.path(), L1_ACCOUNTS).await?;
    let l1_url = anvil.url().to_owned();
    let genesis_path = home.path().join("genesis.json");
    let is_new = !genesis_path.exists();
    if is_new {
        create(&l1_url, &genesis_path, &args).await?;
    }
    let config = config(&args, &l1_url, home.path(), &genesis_path)?;
    let genesis =
        crate::l1_client::L1Client::read_genesis(&genesis_path).map_err(NodeError::from)?;
    let node = Node::open(config).await?;
    let address = node.rpc_address()?;
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    let mut running = tokio::spawn(node.run(shutdown.clone()));
    let l2_url = format!("http://{address}");
    let ready = async {
        if is_new {
            fund(&l1_url, &l2_url, &genesis).await?;
        }
        banner::print(&banner::Facts {
            genesis: &genesis,
            genesis_path: &genesis_path,
            l1_url: &l1_url,
            l2_url: &l2_url,
            kept: args.data_dir.as_deref(),
        })
    };
    tokio::select! {
        ended = &mut running => return Ok(ended.map_err(NodeError::from)??),
        () = shutdown.cancelled() => {}
        result = ready => {
            if let Err(error) = result {
                shutdown.cancel();
                running.await.map_err(NodeError::from)??;
                return Err(error);
            }
        }
    }
    let result = running.await.map_err(NodeError::from)?;
    anvil.stop().await;
    Ok(result?)
}

async fn create(l1_url: &str, genesis_path: &Path, args: &DevArgs) -> Result<(), DevError> {
    let owner = test_account(FUNDED_ACCOUNTS)?;
    let roles = Roles {
        owner: owner.0.address(),
        batcher: test_account(FUNDED_ACCOUNTS + 1)?.0.address(),
        proposer: test_account(FUNDED_ACCOUNTS + 2)?.0.address(),
    };
    let l1 = connect(l1_url, &owner)?;
    // Anvil has no Multicall3, and L1 tools expect it at its address.
    l1.anvil_set_code(MULTICALL3, Multicall3::DEPLOYED_BYTECODE.clone()).await?;
    let chain = ChainArgs {
        oracle_block_time_secs: (args.block_time_ms / 1_000).max(1),
        submission_interval: OUTPUT_INTERVAL_BLOCKS,
        finalization_period_secs: 60,
        ..ChainArgs::default()
    };
    let genesis = deploy(&l1, roles, &chain).await?;
    // Written in one step: a half-written file would be taken for a chain at the next start.
    let text = serde_json::to_string_pretty(&genesis)?;
    let draft = genesis_path.with_extension("json.new");
    let io = |error| DevError::Io { path: genesis_path.into(), error };
    fs::write(&draft, text).map_err(io)?;
    fs::rename(&draft, genesis_path).map_err(io)
}

/// L2 blocks between two outputs of a development chain.
const OUTPUT_INTERVAL_BLOCKS: u64 = 20;

fn config(args: &DevArgs, l1_url: &str, home: &Path, genesis: &Path) -> Result<Config, DevError> {
    let settings = Settings {
        genesis: Some(genesis.into()),
        data_dir: Some(home.into()),
        rpc_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, args.rpc_port))),
        endpoints: EndpointSettings {
            l1_rpc_url: l1_url.parse().ok().map(|url| vec![url]),
            ..EndpointSettings::default()
        },
        // Deposits show quickly; a reorg of the local L1 only happens when asked for.
        l1_confirmations: Some(1),
        l1_poll_ms: Some(200),
        block_time_ms: Some(args.block_time_ms),
        empty_blocks: Some(args.empty_blocks),
        batch_data: Some(args.batch_data),
        batch_age_secs: Some(args.batch_age_secs),
        output_interval_blocks: Some(OUTPUT_INTERVAL_BLOCKS),
        // However long batches may wait here, that alone is no pressure.
        pressure: PressureSettings {
            pause_secs: Some(PAUSE_SECS.max(args.batch_age_secs.saturating_mul(24))),
            ..PressureSettings::default()
        },
        ..Settings::default()
    };
    let mut config = Config::check(settings)?;
    config.accounts.batcher = Some(test_account(FUNDED_ACCOUNTS + 1)?.into());
    config.accounts.proposer = Some(test_account(FUNDED_ACCOUNTS + 2)?.into());
    Ok(config)
}

/// Deposits for every funded account and waits until all have it on L2.
async fn fund(l1_url: &str, l2_url: &str, genesis: &Genesis) -> Result<(), DevError> {
    let value = U256::from(DEPOSIT_ETHER) * Unit::ETHER.wei();
    let mut addresses = Vec::new();
    let mut sent = Vec::new();
    for index in 0..FUNDED_ACCOUNTS {
        let key = test_account(index)?;
        let address = key.0.address();
        let portal = Portal::new(genesis.l1.portal, connect(l1_url, &key)?);
        let deposit = portal.depositTransaction(address, value, DEPOSIT_GAS, false, Bytes::new());
        sent.push(deposit.value(value).send().await?);
        addresses.push(address);
    }
    for deposit in sent {
        deposit.get_receipt().await?;
    }
    let l2 = connect(l2_url, &test_account(0)?)?;
    let arrived = tokio::time::timeout(FUNDING_WAIT_MAX, wait_for(&l2, &addresses));
    arrived.await.map_err(|_| DevError::NotFunded)?
}

async fn wait_for(l2: &DynProvider, addresses: &[Address]) -> Result<(), DevError> {
    for address in addresses {
        while l2.get_balance(*address).await?.is_zero() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}
