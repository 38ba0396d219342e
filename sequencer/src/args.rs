//! The command lines: what `sequencer --help` and `batcher --help` teach.

use crate::{
    commands::{
        admin::AdminArgs, db::DbArgs, deploy::DeployArgs, dev::DevArgs, verify::VerifyArgs,
    },
    settings::{Role, Settings, batcher::BatcherSettings, process::ProcessSettings},
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
    /// Follow L1: derive the chain from it alone, keep it, compare every output root, serve JSON-RPC.
    ///
    /// Asks no sequencer for anything: the Inbox, its blobs and the deposits on L1 are all it reads. It
    /// may be stopped or killed at any time and goes on where it was. What it has derived is served
    /// while it catches up; `/ready` says when it has. An output on L1 that is not the derived chain's
    /// is said there and in the log.
    Follow(Box<FollowArgs>),
    /// Derive the chain from L1 alone, execute it in a fresh state, compare every output root.
    Verify(VerifyArgs),
    /// Deploy the L1 contracts of a new rollup and write its genesis file.
    Deploy(DeployArgs),
    /// Look at a chain directory, check, export, import or prune it.
    Db(DbArgs),
    /// Tell a running node what to send to L1: status, pause, resume, flush, cancel-nonce.
    Admin(AdminArgs),
}

/// Arguments of `run`.
#[derive(Args, Debug)]
#[command(mut_args = |argument| Role::Sequencer.hide_foreign(argument))]
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

/// Weft's batcher in a process of its own: posts the blocks of a sequencer to L1.
///
/// The sequencer runs without a batcher key and follows L1 by itself. Either process may be stopped,
/// killed and started at any time: what is on L1 decides where each goes on. Run one batcher for an
/// account: a second one with the same ledger or directory is refused; with others, the Inbox takes each
/// batch from one of them only, and the other pays for a transaction that reverts.
#[derive(Debug, Parser)]
#[command(name = "batcher", version, about, max_term_width = 100)]
pub struct BatcherCli {
    /// Log filter, as in RUST_LOG: `info`, `debug`, `sequencer=debug,batcher=info`.
    #[arg(long, global = true, env = "WEFT_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// Form of log lines.
    #[arg(long, global = true, env = "WEFT_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: BatcherCommand,
}

/// What the `batcher` binary can do.
#[derive(Debug, Subcommand)]
pub enum BatcherCommand {
    /// Post blocks, and propose outputs, from explicit settings: TOML file < environment < flags.
    Run(Box<BatcherRunArgs>),
    /// Tell a running batcher what to send to L1: status, pause, resume, flush, cancel-nonce.
    Admin(AdminArgs),
}

/// Arguments of `batcher run`.
#[derive(Args, Debug)]
pub struct BatcherRunArgs {
    /// TOML file with any of the settings below, keys as the flags are called.
    #[arg(long, env = "WEFT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Settings; these win over the file.
    #[command(flatten)]
    pub settings: BatcherSettings,
    /// The same for those that every process has.
    #[command(flatten)]
    pub process: ProcessSettings,
}

/// Arguments of `follow`.
#[derive(Args, Debug)]
#[command(mut_args = |argument| Role::Follower.hide_foreign(argument))]
pub struct FollowArgs {
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
