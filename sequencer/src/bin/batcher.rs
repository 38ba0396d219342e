//! The `batcher` binary: posts the blocks of a sequencer in another process.

use anyhow::Result;
use clap::Parser;
use sequencer::{
    args::{BatcherCli, BatcherCommand},
    commands, telemetry,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let cli = BatcherCli::parse();
    telemetry::start(&cli.log, cli.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            BatcherCommand::Run(args) => commands::batch::run(*args).await?,
            BatcherCommand::Admin(args) => {
                commands::admin::run(args, commands::admin::BATCHER_URL).await?;
            }
        }
        Ok(())
    })
}
