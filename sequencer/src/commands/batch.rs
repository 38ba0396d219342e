//! `batcher run`: posts the blocks of a sequencer in another process.

use super::run::{RunError, cancel_on_signal};
use crate::{
    args::BatcherRunArgs,
    node::Batcher,
    settings::{
        batcher::{BatcherConfig, BatcherSettings},
        file::SettingsFile,
        process::{BATCHER_ADMIN_PORT, ProcessConfig},
    },
};
use tokio_util::sync::CancellationToken;

/// Runs the command until it is interrupted.
///
/// # Errors
/// [`RunError`].
pub async fn run(args: BatcherRunArgs) -> Result<(), RunError> {
    let (mut settings, mut process) = (args.settings, args.process);
    if let Some(path) = &args.config {
        let mut file = SettingsFile::open(path)?;
        process = process.over(file.take()?);
        settings = settings.over(BatcherSettings::from_file(file)?);
    }
    let process = ProcessConfig::check(process, BATCHER_ADMIN_PORT)?;
    let config = BatcherConfig::check(settings, process)?;
    let sequencer = config.sequencer_url.clone();
    let batcher = Batcher::open(config).await?;
    let address = batcher.address()?;
    tracing::info!(%address, %sequencer, "batcher");
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    Ok(batcher.run(shutdown).await?)
}
