//! Settings of `sequencer run` and `sequencer follow`: one name for each, the same in the TOML file, the environment and
//! on the command line, the later winning over the earlier. [`Settings`] is what was given,
//! [`Config`] what is checked and complete; nothing reads the environment after this.
//!
//! Does not open files other than the TOML file and the key files it names.

mod accounts;
pub mod batcher;
mod endpoints;
mod error;
pub mod file;
mod pressure;
pub mod process;
mod role;
#[cfg(test)]
mod tests;

pub use accounts::{Account, AccountError, AccountSettings, Accounts, Ether, NotEther};
pub use endpoints::EndpointSettings;
pub use error::SettingsError;
pub use pressure::{PressureSettings, Switch};
pub use role::Role;

use crate::{
    pressure::Limits,
    rpc::ClientLimits,
    store::{chain::PROOF_WINDOW_BLOCKS, log::SEGMENT_BYTES_MAX},
    txpool::{self, Ordering},
};
use ::batcher::l1::EndpointUrl;
use alloy::{primitives::B256, signers::local::PrivateKeySigner};
use clap::{Args, ValueEnum};
use file::SettingsFile;
use process::ProcessConfig;
use serde::Deserialize;
use std::{
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// What the operator gave; everything is optional until [`Config::check`].
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Genesis file of the chain, as `sequencer deploy` wrote it.
    #[arg(long, env = "WEFT_GENESIS", value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// Directory that holds the chain; created when missing. One process at a time.
    #[arg(long, env = "WEFT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address that JSON-RPC listens on, HTTP and WebSocket [default: 127.0.0.1:9545].
    #[arg(long, env = "WEFT_RPC_LISTEN", value_name = "ADDR:PORT")]
    pub rpc_listen: Option<SocketAddr>,
    /// Work that one client address may ask of JSON-RPC per second, in units of about a microsecond of
    /// one core; 0 is no limit, for a node behind a proxy [default: 250000].
    #[arg(long, env = "WEFT_RPC_CLIENT_COST_PER_SEC", value_name = "UNITS")]
    pub rpc_client_cost_per_sec: Option<u64>,
    /// Open connections of one client address; 0 is no limit of its own [default: 512].
    #[arg(long, env = "WEFT_RPC_CLIENT_CONNECTIONS", value_name = "COUNT")]
    pub rpc_client_connections: Option<u64>,
    /// Where others are.
    #[command(flatten)]
    #[serde(skip)]
    pub endpoints: EndpointSettings,
    /// Accounts that pay L1.
    #[command(flatten)]
    #[serde(skip)]
    pub accounts: AccountSettings,
    /// L1 blocks on top of one before its deposits are used; a deeper reorg undoes L2
    /// blocks [default: 4].
    #[arg(long, env = "WEFT_L1_CONFIRMATIONS", value_name = "BLOCKS")]
    pub l1_confirmations: Option<u64>,
    /// How often L1 is asked for a new block, in milliseconds [default: 500].
    #[arg(long, env = "WEFT_L1_POLL_MS", value_name = "MS")]
    pub l1_poll_ms: Option<u64>,
    /// Time between blocks in milliseconds [default: 1000].
    #[arg(long, env = "WEFT_BLOCK_TIME_MS", value_name = "MS")]
    pub block_time_ms: Option<u64>,
    /// Least time from one mini-block to the next in milliseconds: transactions that come within it
    /// are executed together, and share one sync of the disk [default: 2].
    #[arg(long, env = "WEFT_MINI_BLOCK_MS", value_name = "MS")]
    pub mini_block_ms: Option<u64>,
    /// Disk for what `/v1/stream` can go back to, in MiB: the order log is kept for so much longer
    /// than the node itself needs it [default: 256].
    #[arg(long, env = "WEFT_STREAM_HISTORY_MIB", value_name = "MIB")]
    pub stream_history_mib: Option<u64>,
    /// Whether blocks without user transactions are made [default: always].
    #[arg(long, env = "WEFT_EMPTY_BLOCKS", value_enum)]
    pub empty_blocks: Option<EmptyBlocks>,
    /// How batches are posted [default: blob].
    #[arg(long, env = "WEFT_BATCH_DATA", value_enum)]
    pub batch_data: Option<BatchData>,
    /// Longest that a block waits before it is posted, in seconds [default: 60].
    #[arg(long, env = "WEFT_BATCH_AGE_SECS", value_name = "SECS")]
    pub batch_age_secs: Option<u64>,
    /// L2 blocks between two proposed outputs [default: 60].
    #[arg(long, env = "WEFT_OUTPUT_INTERVAL_BLOCKS", value_name = "BLOCKS")]
    pub output_interval_blocks: Option<u64>,
    /// For how many blocks state can be read (eth_call, balances, storage), or `archive`: for all.
    /// Older history is pruned once an output after it is final on L1; blocks, receipts and proofs of
    /// withdrawals stay [default: archive].
    #[arg(long, env = "WEFT_HISTORY_BLOCKS", value_name = "BLOCKS|archive")]
    pub history_blocks: Option<History>,
    /// For how many blocks eth_getProof always answers: the older the block, the longer that takes.
    /// Still older ones are answered where little has changed since [default: 1024].
    #[arg(long, env = "WEFT_PROOF_BLOCKS", value_name = "BLOCKS")]
    pub proof_blocks: Option<u64>,
    /// Memory for the state trie, in MiB: parts of it that were not used for the longest time are
    /// dropped beyond it, and read back from the database when a block needs them, which takes it
    /// longer. All of it needs about 150 MiB for a million accounts [default: no limit].
    #[arg(long, env = "WEFT_TRIE_MEMORY_MIB", value_name = "MIB")]
    pub trie_memory_mib: Option<u64>,
    /// Order of transactions across senders [default: fcfs].
    #[arg(long, env = "WEFT_POOL_ORDERING", value_enum)]
    pub pool_ordering: Option<Ordering>,
    /// With `priority-fee`, for how many milliseconds transactions are collected before those with the
    /// highest fee go first; 0 collects nothing, and all that waits competes [default: 10].
    #[arg(long, env = "WEFT_POOL_WINDOW_MS", value_name = "MS")]
    pub pool_window_ms: Option<u64>,
    /// Most transactions in the pool; when full, the one that pays least leaves [default: 200000].
    #[arg(long, env = "WEFT_POOL_TRANSACTIONS", value_name = "COUNT")]
    pub pool_transactions: Option<u64>,
    /// Most bytes of transactions in the pool, in MiB [default: 256].
    #[arg(long, env = "WEFT_POOL_MIB", value_name = "MIB")]
    pub pool_mib: Option<u64>,
    /// Most transactions of one sender in the pool [default: 4096].
    #[arg(long, env = "WEFT_POOL_SENDER_SLOTS", value_name = "COUNT")]
    pub pool_sender_slots: Option<u64>,
    /// How long a transaction may wait in the pool, in seconds [default: 10800].
    #[arg(long, env = "WEFT_POOL_TTL_SECS", value_name = "SECS")]
    pub pool_ttl_secs: Option<u64>,
    /// For how many hours rollup_explainTransaction remembers what became of a transaction
    /// [default: 24].
    #[arg(long, env = "WEFT_EXPLAIN_HOURS", value_name = "HOURS")]
    pub explain_hours: Option<u64>,
    /// What is done while L1 is behind.
    #[command(flatten)]
    #[serde(default)]
    pub pressure: PressureSettings,
}

/// Whether blocks without user transactions are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyBlocks {
    /// One every block time.
    #[default]
    Always,
    /// Only to follow L1: one per L1 block, so that deposits arrive and the clock stays near L1's.
    FollowL1,
}

/// How far back state can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "HistoryText")]
pub enum History {
    /// Everything is kept.
    #[default]
    Archive,
    /// The state of so many blocks, the head included.
    Blocks(u64),
}

/// A number or a word, as TOML has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum HistoryText {
    Blocks(u64),
    Word(String),
}

impl TryFrom<HistoryText> for History {
    type Error = String;

    fn try_from(text: HistoryText) -> Result<Self, String> {
        match text {
            HistoryText::Blocks(blocks) => Ok(Self::Blocks(blocks)),
            HistoryText::Word(word) => word.parse(),
        }
    }
}

impl std::str::FromStr for History {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "archive" => Ok(Self::Archive),
            blocks => blocks
                .parse()
                .map(Self::Blocks)
                .map_err(|_| format!("`{blocks}` is neither a number of blocks nor `archive`")),
        }
    }
}

/// How batches are posted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BatchData {
    /// In blobs (EIP-4844, with EIP-7594 proofs).
    #[default]
    Blob,
    /// In calldata.
    Calldata,
    /// In what costs less by L1's fees when a batch is sent.
    Cheaper,
}

/// Complete settings of a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Genesis file.
    pub genesis: PathBuf,
    /// Data directory.
    pub data_dir: PathBuf,
    /// JSON-RPC address.
    pub rpc_listen: SocketAddr,
    /// What one client of JSON-RPC may do.
    pub clients: ClientLimits,
    /// L1 JSON-RPC endpoints, at least one, first choice first.
    pub l1_rpc_urls: Vec<EndpointUrl>,
    /// Beacon API, when L1 has one.
    pub l1_beacon_url: Option<EndpointUrl>,
    /// Depth of an L1 block before it is used.
    pub l1_confirmations: u64,
    /// Time between questions to L1.
    pub l1_poll: Duration,
    /// Time between blocks.
    pub block_time: Duration,
    /// Least time between mini-blocks.
    pub mini_block_interval: Duration,
    /// Segments of the order log kept for those who follow the chain.
    pub log_segments_kept: usize,
    /// Empty block policy.
    pub empty_blocks: EmptyBlocks,
    /// Accounts that pay L1.
    pub accounts: Accounts,
    /// How batches are posted.
    pub batch_data: BatchData,
    /// Longest wait of a block before it is posted, in seconds.
    pub batch_age_secs: u64,
    /// What is done while L1 is behind; `None` is nothing.
    pub pressure: Option<Limits>,
    /// L2 blocks between two proposed outputs.
    pub output_interval_blocks: u64,
    /// How far back state can be read.
    pub history: History,
    /// Blocks for which a proof can always be had.
    pub proof_blocks: u64,
    /// Most memory for the state trie, in bytes; `None` is no limit.
    pub trie_bytes_max: Option<usize>,
    /// Bounds and policy of the pool.
    pub pool: txpool::Config,
    /// Where a follower's users' transactions go.
    pub sequencer_url: Option<EndpointUrl>,
    /// Ledger database.
    pub ledger_url: String,
    /// What every process has.
    pub process: ProcessConfig,
}

/// A signing key that prints as its address.
#[derive(Clone)]
pub struct Key(pub PrivateKeySigner);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key of {}", self.0.address())
    }
}

impl Settings {
    /// What a TOML file has of them, all other sets being taken out.
    ///
    /// # Errors
    /// [`SettingsError`] naming what does not parse, or a key that nobody has.
    pub fn from_file(mut file: SettingsFile) -> Result<Self, SettingsError> {
        let (endpoints, accounts) = (file.take_secret()?, file.take_secret()?);
        Ok(Self { endpoints, accounts, ..file.rest()? })
    }

    /// These settings, and those of `base` where these have none.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        Self {
            genesis: self.genesis.or(base.genesis),
            data_dir: self.data_dir.or(base.data_dir),
            rpc_listen: self.rpc_listen.or(base.rpc_listen),
            rpc_client_cost_per_sec: self.rpc_client_cost_per_sec.or(base.rpc_client_cost_per_sec),
            rpc_client_connections: self.rpc_client_connections.or(base.rpc_client_connections),
            endpoints: self.endpoints.over(base.endpoints),
            accounts: self.accounts.over(base.accounts),
            l1_confirmations: self.l1_confirmations.or(base.l1_confirmations),
            l1_poll_ms: self.l1_poll_ms.or(base.l1_poll_ms),
            block_time_ms: self.block_time_ms.or(base.block_time_ms),
            empty_blocks: self.empty_blocks.or(base.empty_blocks),
            batch_data: self.batch_data.or(base.batch_data),
            batch_age_secs: self.batch_age_secs.or(base.batch_age_secs),
            output_interval_blocks: self.output_interval_blocks.or(base.output_interval_blocks),
            history_blocks: self.history_blocks.or(base.history_blocks),
            proof_blocks: self.proof_blocks.or(base.proof_blocks),
            trie_memory_mib: self.trie_memory_mib.or(base.trie_memory_mib),
            mini_block_ms: self.mini_block_ms.or(base.mini_block_ms),
            stream_history_mib: self.stream_history_mib.or(base.stream_history_mib),
            pool_ordering: self.pool_ordering.or(base.pool_ordering),
            pool_window_ms: self.pool_window_ms.or(base.pool_window_ms),
            pool_transactions: self.pool_transactions.or(base.pool_transactions),
            pool_mib: self.pool_mib.or(base.pool_mib),
            pool_sender_slots: self.pool_sender_slots.or(base.pool_sender_slots),
            pool_ttl_secs: self.pool_ttl_secs.or(base.pool_ttl_secs),
            explain_hours: self.explain_hours.or(base.explain_hours),
            pressure: self.pressure.over(base.pressure),
        }
    }
}

/// JSON-RPC address unless told otherwise: local only, next to Anvil's 8545.
const RPC_LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9545);

fn required<T>(
    value: Option<T>,
    name: &'static str,
    env: &'static str,
) -> Result<T, SettingsError> {
    value.ok_or(SettingsError::Missing { name, env })
}

impl Config {
    /// Checks settings, fills defaults in and reads the key files.
    ///
    /// # Errors
    /// [`SettingsError`] naming the setting.
    pub fn check(settings: Settings) -> Result<Self, SettingsError> {
        let mini_block_interval = check_mini_block(&settings)?;
        let log_segments_kept = check_stream_history(&settings)?;
        let (history, proof_blocks) = check_history(&settings)?;
        let pool = check_pool(&settings)?;
        let clients = check_clients(&settings)?;
        let data_dir = required(settings.data_dir, "data-dir", "WEFT_DATA_DIR")?;
        let block_time_ms = settings.block_time_ms.unwrap_or(1_000);
        if !(10..=60_000).contains(&block_time_ms) {
            let expected = "10 to 60000 milliseconds";
            return Err(SettingsError::Range {
                name: "block-time-ms",
                found: block_time_ms,
                expected,
            });
        }
        let l1_poll_ms = settings.l1_poll_ms.unwrap_or(500);
        if !(10..=60_000).contains(&l1_poll_ms) {
            let expected = "10 to 60000 milliseconds";
            return Err(SettingsError::Range { name: "l1-poll-ms", found: l1_poll_ms, expected });
        }
        let l1_poll = Duration::from_millis(l1_poll_ms);
        let l1_rpc_url = settings.endpoints.l1_rpc_url.filter(|urls| !urls.is_empty());
        let batch_age_secs = settings.batch_age_secs.unwrap_or(60);
        let pressure = settings.pressure.check(batch_age_secs)?;
        let ledger_url = settings
            .endpoints
            .ledger_url
            .unwrap_or_else(|| format!("sqlite://{}", data_dir.join("ledger.sqlite").display()));
        Ok(Self {
            genesis: required(settings.genesis, "genesis", "WEFT_GENESIS")?,
            rpc_listen: settings.rpc_listen.unwrap_or(RPC_LISTEN_DEFAULT),
            clients,
            l1_rpc_urls: required(l1_rpc_url, "l1-rpc-url", "WEFT_L1_RPC_URL")?,
            l1_beacon_url: settings.endpoints.l1_beacon_url,
            l1_confirmations: settings.l1_confirmations.unwrap_or(4),
            l1_poll,
            block_time: Duration::from_millis(block_time_ms),
            mini_block_interval,
            log_segments_kept,
            empty_blocks: settings.empty_blocks.unwrap_or_default(),
            accounts: settings.accounts.check(l1_poll)?,
            batch_data: settings.batch_data.unwrap_or_default(),
            batch_age_secs,
            pressure,
            output_interval_blocks: settings.output_interval_blocks.unwrap_or(60),
            history,
            proof_blocks,
            pool,
            trie_bytes_max: settings.trie_memory_mib.map(check_trie_memory).transpose()?,
            sequencer_url: settings.endpoints.sequencer_url,
            ledger_url,
            data_dir,
            process: ProcessConfig::default(),
        })
    }
}

/// Most blocks for which proofs are promised: what a rebuilt trie can cost is bounded by it.
const PROOF_BLOCKS_MAX: u64 = 16_384;

/// Ordering window unless told otherwise, in milliseconds: what a user does not notice, and long
/// enough that arriving a network's jitter earlier does not decide.
const POOL_WINDOW_MS: u64 = 10;

/// Least and most memory for the state trie, in MiB: a part of 256 of a state of a hundred million
/// accounts fits in, and no address space is exceeded.
const TRIE_MIB: std::ops::RangeInclusive<u64> = 64..=16_777_216;

fn check_trie_memory(mib: u64) -> Result<usize, SettingsError> {
    let bytes = TRIE_MIB.contains(&mib).then(|| usize::try_from(mib << 20).ok()).flatten();
    let expected = "64 to 16777216 MiB";
    bytes.ok_or(SettingsError::Range { name: "trie-memory-mib", found: mib, expected })
}

/// Least budget of a client: below it, a trace would have to be saved up for.
const CLIENT_COST_PER_SEC_MIN: u64 = 10_000;

fn check_clients(settings: &Settings) -> Result<ClientLimits, SettingsError> {
    let default = ClientLimits::default();
    let cost_per_sec = settings.rpc_client_cost_per_sec.unwrap_or(default.cost_per_sec);
    if (1..CLIENT_COST_PER_SEC_MIN).contains(&cost_per_sec) {
        let (name, expected) = ("rpc-client-cost-per-sec", "0, or at least 10000 units");
        return Err(SettingsError::Range { name, found: cost_per_sec, expected });
    }
    let connections = settings.rpc_client_connections;
    let connections = connections.map_or(default.connections, |connections| {
        usize::try_from(connections).unwrap_or(usize::MAX)
    });
    Ok(ClientLimits { cost_per_sec, connections, ..default })
}

/// Longest time between mini-blocks: beyond it they are no use beside blocks.
const MINI_BLOCK_MS_MAX: u64 = 1_000;

fn check_mini_block(settings: &Settings) -> Result<Duration, SettingsError> {
    let found = settings.mini_block_ms.unwrap_or(2);
    if found > MINI_BLOCK_MS_MAX {
        let (name, expected) = ("mini-block-ms", "0 to 1000 milliseconds");
        return Err(SettingsError::Range { name, found, expected });
    }
    Ok(Duration::from_millis(found))
}

/// Most of the order log that is kept: a start reads it all, at a gigabyte or two per second.
const STREAM_HISTORY_MIB_MAX: u64 = 16_384;

/// Whole segments, and one more than fits: the newest is being written.
fn check_stream_history(settings: &Settings) -> Result<usize, SettingsError> {
    let found = settings.stream_history_mib.unwrap_or(256);
    if found > STREAM_HISTORY_MIB_MAX {
        let (name, expected) = ("stream-history-mib", "0 to 16384 MiB");
        return Err(SettingsError::Range { name, found, expected });
    }
    Ok(usize::try_from((found << 20).div_ceil(SEGMENT_BYTES_MAX)).unwrap_or(usize::MAX))
}

/// The pool's settings; see [`txpool::Config`] for what each bounds.
fn check_pool(settings: &Settings) -> Result<txpool::Config, SettingsError> {
    let given = |name, value: Option<u64>, range: std::ops::RangeInclusive<u64>, expected| {
        let Some(found) = value else { return Ok(None) };
        let is_allowed = range.contains(&found);
        is_allowed.then_some(Some(found)).ok_or(SettingsError::Range { name, found, expected })
    };
    let count = |value: Option<u64>, default: usize| {
        value.map_or(default, |value| usize::try_from(value).unwrap_or(usize::MAX))
    };
    let default = txpool::Config::default();
    let transactions = settings.pool_transactions;
    let transactions =
        given("pool-transactions", transactions, 1..=10_000_000, "1 to 10000000 transactions")?;
    let mib = given("pool-mib", settings.pool_mib, 1..=512, "1 to 512 MiB")?;
    let slots = settings.pool_sender_slots;
    let slots = given("pool-sender-slots", slots, 1..=1_000_000, "1 to 1000000 transactions")?;
    let ttl = given("pool-ttl-secs", settings.pool_ttl_secs, 1..=604_800, "1 to 604800 seconds")?;
    let window =
        given("pool-window-ms", settings.pool_window_ms, 0..=10_000, "0 to 10000 milliseconds")?;
    let explain = given("explain-hours", settings.explain_hours, 1..=720, "1 to 720 hours")?;
    Ok(txpool::Config {
        transactions_max: count(transactions, default.transactions_max),
        bytes_max: count(mib.map(|mib| mib << 20), default.bytes_max),
        sender_slots_max: count(slots, default.sender_slots_max),
        ttl: ttl.map_or(default.ttl, Duration::from_secs),
        ordering: settings.pool_ordering.unwrap_or_default(),
        window: Duration::from_millis(window.unwrap_or(POOL_WINDOW_MS)),
        explain: explain.map_or(default.explain, |hours| Duration::from_secs(hours * 3_600)),
    })
}

fn check_history(settings: &Settings) -> Result<(History, u64), SettingsError> {
    let proof_blocks = settings.proof_blocks.unwrap_or(PROOF_WINDOW_BLOCKS);
    if !(1..=PROOF_BLOCKS_MAX).contains(&proof_blocks) {
        let (name, expected) = ("proof-blocks", "1 to 16384 blocks");
        return Err(SettingsError::Range { name, found: proof_blocks, expected });
    }
    let history = settings.history_blocks.unwrap_or_default();
    match history {
        History::Blocks(found) if found < proof_blocks => {
            let (name, expected) = ("history-blocks", "at least proof-blocks (1024 by default)");
            Err(SettingsError::Range { name, found, expected })
        }
        history => Ok((history, proof_blocks)),
    }
}

impl Config {
    /// Where the pool's journal is.
    #[must_use]
    pub fn pool_journal(&self) -> PathBuf {
        self.data_dir.join("pool.journal")
    }

    /// Where the chain store is.
    #[must_use]
    pub fn chain_directory(&self) -> PathBuf {
        chain_directory(&self.data_dir)
    }
}

/// Where the chain store is below a data directory.
#[must_use]
pub fn chain_directory(data_dir: &Path) -> PathBuf {
    data_dir.join("chain")
}

fn read_to_string(path: &Path) -> Result<String, SettingsError> {
    fs::read_to_string(path).map_err(|error| SettingsError::Read { path: path.into(), error })
}

/// Reads a private key from a file: 32 bytes in hex, with or without 0x.
///
/// # Errors
/// [`SettingsError`] naming the file.
pub fn read_key(path: &Path) -> Result<Key, SettingsError> {
    let text = read_to_string(path)?;
    let malformed = || SettingsError::Key { path: path.into() };
    let bytes: B256 = text.trim().parse().map_err(|_| malformed())?;
    PrivateKeySigner::from_bytes(&bytes).map(Key).map_err(|_| malformed())
}
