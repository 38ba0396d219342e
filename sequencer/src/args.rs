//! The command line: what `sequencer --help` teaches.

use crate::{
    commands::{db::DbArgs, deploy::DeployArgs, dev::DevArgs, verify::VerifyArgs},
    settings::{Settings, process::ProcessSettings},
    telemetry::LogFormat,
};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Weft: an EVM rollup sequencer.
#[derive(Debug, Parser)]
#[command(name = "sequencer", version, about, max_term_width = 100)]
pub struct Cli {
    /// Log filter, as in RUST_LOG: `info`, `debug`, `sequencer=debug,batcher=info`.
    #[arg(long, global = true, env = "WEFT_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// Form of log lines.
    #[arg(long, global = true, env = "WEFT_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a whole rollup on a local Anvil: deploy, fund ten accounts by deposits, run.
    Dev(DevArgs),
    /// Run a node from explicit settings: TOML file < environment < flags.
    Run(Box<RunArgs>),
    /// Derive the chain from L1 alone, execute it in a fresh state, compare every output root.
    Verify(VerifyArgs),
    /// Deploy the L1 contracts of a new rollup and write its genesis file.
    Deploy(DeployArgs),
    /// Look at a chain directory, check, export, import or prune it.
    Db(DbArgs),
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// TOML file with any of the settings below, keys as the flags are called.
    #[arg(long, env = "WEFT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Settings; these win over the file.
    #[command(flatten)]
    pub settings: Settings,
    /// The same for those that every process has.
    #[command(flatten)]
    pub process: ProcessSettings,
}
