//! The `sequencer` binary: parses the command line and runs one command.

use anyhow::Result;
use clap::Parser;
use sequencer::{
    args::{Cli, Command},
    commands, telemetry,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let cli = Cli::parse();
    telemetry::start(&cli.log, cli.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Dev(args) => commands::dev::run(args).await?,
            Command::Run(args) => commands::run::run(*args).await?,
            Command::Follow(args) => commands::follow::run(*args).await?,
            Command::Verify(args) => commands::verify::run(args).await?,
            Command::Deploy(args) => commands::deploy::run(args).await?,
            Command::Db(args) => commands::db::run(args)?,
            Command::Admin(args) => {
                commands::admin::run(args, commands::admin::NODE_URL).await?;
            }
        }
        Ok(())
    })
}
