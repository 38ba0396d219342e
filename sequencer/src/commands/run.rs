//! `sequencer run`: a node from explicit settings.

use crate::{
    args::RunArgs,
    node::{Node, NodeError},
    settings::{Role, SettingsError},
};
use tokio_util::sync::CancellationToken;

/// Why `run`, or another command that runs until it is told to stop, ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The process did not start, or stopped.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The address cannot be read back.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Runs the command until it is interrupted.
///
/// # Errors
/// [`RunError`].
pub async fn run(args: RunArgs) -> Result<(), RunError> {
    let given = (args.settings, args.process);
    let config = Role::Sequencer.configure(args.config.as_deref(), given)?;
    let node = Node::open(config).await?;
    let address = node.rpc_address()?;
    tracing::info!(%address, head = %node.head_hash(), "JSON-RPC");
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    Ok(node.run(shutdown).await?)
}

/// Cancels on ctrl-c or, on Unix, SIGTERM.
pub(super) async fn cancel_on_signal(shutdown: CancellationToken) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            tracing::info!("stopping");
            shutdown.cancel();
            return;
        }
    }
    // Without a handler the process would ignore the request; an error here means that there is
    // none to wait for, so stop at once rather than never.
    let _ = tokio::signal::ctrl_c().await;
    shutdown.cancel();
}
