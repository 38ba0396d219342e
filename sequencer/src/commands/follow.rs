//! `sequencer follow`: a node that derives the chain from L1, and serves it.

use super::run::cancel_on_signal;
use crate::{
    args::FollowArgs,
    node::{Follower, NodeError},
    settings::{
        Config, Role, SettingsError,
        file::read_node,
        process::{NODE_ADMIN_PORT, ProcessConfig},
    },
};
use tokio_util::sync::CancellationToken;

/// Why `follow` ended.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// A setting cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The follower did not start, or stopped.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The address cannot be read back.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Runs the command until it is interrupted.
///
/// # Errors
/// [`FollowError`].
pub async fn run(args: FollowArgs) -> Result<(), FollowError> {
    let (settings, process) = read_node(args.config.as_deref(), (args.settings, args.process))?;
    settings.check_role(Role::Follower, &process)?;
    let process = ProcessConfig::check(process, NODE_ADMIN_PORT)?;
    let follower = Follower::open(Config { process, ..Config::check(settings)? }).await?;
    let address = follower.rpc_address()?;
    tracing::info!(%address, head = %follower.head_hash(), "JSON-RPC");
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    Ok(follower.run(shutdown).await?)
}
