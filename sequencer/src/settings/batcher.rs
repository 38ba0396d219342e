//! Settings of the `batcher` process. They are called as in `sequencer run`, and mean the same; what
//! both have is checked in one place.

use super::{
    AccountSettings, BatchData, Config, EndpointSettings, PressureSettings, Settings,
    SettingsError, Switch, file::SettingsFile, process::ProcessConfig, required,
};
use batcher::l1::EndpointUrl;
use clap::Args;
use serde::Deserialize;
use std::{net::SocketAddr, path::PathBuf};

/// What the operator gave; everything is optional until [`BatcherConfig::check`].
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BatcherSettings {
    /// Genesis file of the chain, as `sequencer deploy` wrote it.
    #[arg(long, env = "WEFT_GENESIS", value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// Directory for the payload archive and, unless told otherwise, the ledger; created when missing.
    /// Not the sequencer's. One process at a time.
    #[arg(long, env = "WEFT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address for /health, /ready, /metrics, /version and the archive at /v1/da [default: 127.0.0.1:9546].
    #[arg(long, env = "WEFT_BATCHER_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where others are.
    #[command(flatten)]
    #[serde(skip)]
    pub endpoints: EndpointSettings,
    /// Accounts that pay L1.
    #[command(flatten)]
    #[serde(skip)]
    pub accounts: AccountSettings,
    /// How often L1 and the sequencer are asked, in milliseconds [default: 500].
    #[arg(long, env = "WEFT_L1_POLL_MS", value_name = "MS")]
    pub l1_poll_ms: Option<u64>,
    /// How batches are posted [default: blob].
    #[arg(long, env = "WEFT_BATCH_DATA", value_enum)]
    pub batch_data: Option<BatchData>,
    /// Longest that a block waits before it is posted, in seconds [default: 60].
    #[arg(long, env = "WEFT_BATCH_AGE_SECS", value_name = "SECS")]
    pub batch_age_secs: Option<u64>,
    /// L2 blocks between two proposed outputs [default: 60].
    #[arg(long, env = "WEFT_OUTPUT_INTERVAL_BLOCKS", value_name = "BLOCKS")]
    pub output_interval_blocks: Option<u64>,
}

/// Complete settings of a batcher.
#[derive(Clone, Debug)]
pub struct BatcherConfig {
    /// What a node that posts has, too; its chain, pool and JSON-RPC do not exist here.
    pub posting: Config,
    /// JSON-RPC of the sequencer.
    pub sequencer_url: EndpointUrl,
    /// Address of the operator's endpoints.
    pub listen: SocketAddr,
}

/// Operator's endpoints unless told otherwise: next to the sequencer's.
const LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9_546);

impl BatcherSettings {
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
            listen: self.listen.or(base.listen),
            endpoints: self.endpoints.over(base.endpoints),
            accounts: self.accounts.over(base.accounts),
            l1_poll_ms: self.l1_poll_ms.or(base.l1_poll_ms),
            batch_data: self.batch_data.or(base.batch_data),
            batch_age_secs: self.batch_age_secs.or(base.batch_age_secs),
            output_interval_blocks: self.output_interval_blocks.or(base.output_interval_blocks),
        }
    }
}

impl BatcherConfig {
    /// Checks settings, fills defaults in and reads the key files.
    ///
    /// # Errors
    /// [`SettingsError`] naming the setting.
    pub fn check(settings: BatcherSettings, process: ProcessConfig) -> Result<Self, SettingsError> {
        let url = settings.endpoints.sequencer_url.clone();
        let sequencer_url = required(url, "sequencer-url", "WEFT_SEQUENCER_URL")?;
        let posting = Config::check(Settings {
            genesis: settings.genesis,
            data_dir: settings.data_dir,
            endpoints: settings.endpoints,
            accounts: settings.accounts,
            l1_poll_ms: settings.l1_poll_ms,
            batch_data: settings.batch_data,
            batch_age_secs: settings.batch_age_secs,
            output_interval_blocks: settings.output_interval_blocks,
            // That is the sequencer's.
            pressure: PressureSettings { switch: Some(Switch::Off), ..PressureSettings::default() },
            ..Settings::default()
        })?;
        if posting.accounts.batcher.is_none() && posting.accounts.proposer.is_none() {
            let (name, env) = ("batcher-key-file", "WEFT_BATCHER_KEY_FILE");
            return Err(SettingsError::Missing { name, env });
        }
        let listen = settings.listen.unwrap_or(LISTEN_DEFAULT);
        Ok(Self { posting: Config { process, ..posting }, sequencer_url, listen })
    }
}
