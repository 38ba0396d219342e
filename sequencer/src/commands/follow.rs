//! `sequencer follow`: a node that derives the chain from L1, and serves it.

use super::run::{RunError, cancel_on_signal};
use crate::{args::FollowArgs, node::Follower, settings::Role};
use tokio_util::sync::CancellationToken;

/// Runs the command until it is interrupted.
///
/// # Errors
/// [`RunError`].
pub async fn run(args: FollowArgs) -> Result<(), RunError> {
    let given = (args.settings, args.process);
    let config = Role::Follower.configure(args.config.as_deref(), given)?;
    let follower = Follower::open(config).await?;
    let address = follower.rpc_address()?;
    tracing::info!(%address, head = %follower.head_hash(), "JSON-RPC");
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    Ok(follower.run(shutdown).await?)
}
