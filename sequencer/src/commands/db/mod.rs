//! `sequencer db`: looks at a chain directory, copies it, checks it, prunes it. Parses and prints; what
//! is done is in `store::chain`.
//!
//! `stat`, `check` and `export` only read, and may run beside a node; `import` and `prune` write, and
//! refuse a directory that a process uses.

mod progress;

use crate::{
    l1_client::{ClientError, L1Client},
    store::{
        ChainStoreError,
        chain::{
            ChainReader, ChainStat, LogTail,
            check::{CheckError, CheckedLog},
            prune_directory,
            snapshot::{ExportOptions, SnapshotError, SnapshotHeader, import},
        },
        log::{LogError, LogStat, TornTail},
    },
};
use clap::{Args, Subcommand};
use progress::{Line, bytes_text};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Arguments of `db`.
#[derive(Args, Debug)]
pub struct DbArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DbCommand,
}

/// What `db` can do.
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Write a snapshot of the chain to a new file. May run beside a node.
    ///
    /// The file holds the state at the head, and of the last blocks everything: headers, bodies,
    /// receipts, and what they changed. It gets its name when it is complete.
    ///
    /// The head is the newest folded block. A running node folds its blocks from the order log into
    /// the database within a second or so, and all of them when it is stopped with SIGTERM or SIGINT.
    /// After a crash the log may have more: start the node and stop it, then export.
    Export(ExportArgs),
    /// Make the chain of a new data directory from a snapshot.
    ///
    /// Every checksum is checked, every row compared with the others as `db check` does, and the
    /// state root computed anew. Then the chain is moved to its place in one step. An import that was
    /// killed leaves a directory `chain.import`, which can be deleted.
    ///
    /// A node that takes over from another one, and seals and posts, needs every block that the other
    /// sealed: stop it before the export. Copy the ledger along (its file, or PostgreSQL), or the node
    /// reads L1 from the first block on, for which it needs a snapshot of all blocks.
    Import(ImportArgs),
    /// Print what a chain directory holds: database and order log. May run beside a node.
    Stat(DirectoryArgs),
    /// Read everything, compare all of it, recompute the state root. May run beside a node.
    ///
    /// Covers the database and the order log behind it. Prints the first contradiction, with its table
    /// and key or its file and byte, and ends with status 1. An unfinished write at the end of the log
    /// is none: it was never acknowledged, and the next start cuts it.
    Check(DirectoryArgs),
    /// Remove the history of old blocks now, instead of by a running node.
    ///
    /// Blocks and receipts stay. Nothing is removed from the newest block on whose output is final on
    /// L1, as the node has seen it. The file does not shrink: its pages are used again.
    Prune(PruneArgs),
}

/// The chain to look at.
#[derive(Args, Debug)]
pub struct DirectoryArgs {
    /// Data directory of the node; the chain is in `chain` below it.
    #[arg(long, env = "WEFT_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
}

/// Arguments of `db export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Snapshot to write; an existing file is not overwritten.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The chain.
    #[command(flatten)]
    pub directory: DirectoryArgs,
    /// Genesis file of the chain.
    #[arg(long, env = "WEFT_GENESIS", value_name = "FILE")]
    pub genesis: PathBuf,
    /// Blocks before the head whose state the snapshot has; `0` is the head alone, a number above the
    /// height everything [default: 1024, or back to the newest final output if that is further].
    #[arg(long, value_name = "BLOCKS")]
    pub blocks: Option<u64>,
}

/// Arguments of `db import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// Snapshot to read.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The chain.
    #[command(flatten)]
    pub directory: DirectoryArgs,
    /// Genesis file of the chain.
    #[arg(long, env = "WEFT_GENESIS", value_name = "FILE")]
    pub genesis: PathBuf,
}

/// Arguments of `db prune`.
#[derive(Args, Debug)]
pub struct PruneArgs {
    /// The chain.
    #[command(flatten)]
    pub directory: DirectoryArgs,
    /// Blocks whose state stays, the head included.
    #[arg(long, env = "WEFT_HISTORY_BLOCKS", value_name = "BLOCKS")]
    pub history_blocks: u64,
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The chain cannot be read or written.
    #[error("{}", error.explain(directory))]
    Store {
        /// The chain directory.
        directory: PathBuf,
        /// Why.
        error: Box<ChainStoreError>,
    },
    /// The chain is damaged.
    #[error("{} is damaged: {error}{}", directory.display(), advice(error))]
    Damaged {
        /// The chain directory.
        directory: PathBuf,
        /// The first contradiction.
        error: CheckError,
    },
    /// The snapshot was not written or not read.
    #[error(transparent)]
    Snapshot(#[from] Box<SnapshotError>),
    /// The genesis file cannot be read.
    #[error(transparent)]
    Genesis(#[from] ClientError),
    /// Standard output is closed.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// What helps where the order log cannot be used at all; a start says the same.
fn advice(error: &CheckError) -> String {
    let CheckError::DamagedLog(error) = error else { return String::new() };
    format!(". {}", ChainStoreError::from(error.clone()).advice())
}

/// Runs the command. Blocks the thread.
///
/// # Errors
/// [`DbError`].
pub fn run(args: DbArgs) -> Result<(), DbError> {
    match args.command {
        DbCommand::Export(args) => export(&args),
        DbCommand::Import(args) => read_snapshot(&args),
        DbCommand::Stat(args) => stat(&args.chain()),
        DbCommand::Check(args) => check(&args.chain()),
        DbCommand::Prune(args) => prune(&args),
    }
}

impl DirectoryArgs {
    fn chain(&self) -> PathBuf {
        crate::settings::chain_directory(&self.data_dir)
    }
}

fn in_directory(directory: &Path) -> impl Fn(ChainStoreError) -> DbError {
    move |error| DbError::Store { directory: directory.to_owned(), error: Box::new(error) }
}

fn export(args: &ExportArgs) -> Result<(), DbError> {
    let directory = args.directory.chain();
    let genesis = L1Client::read_genesis(&args.genesis)?;
    let reader = ChainReader::open(&directory).map_err(in_directory(&directory))?;
    let options = ExportOptions { blocks: args.blocks };
    let mut line = Line::new();
    let exported = reader.export(&args.file, &genesis, options, &mut |p| line.show(p));
    line.end();
    let exported = exported.map_err(|error| snapshot_error(&directory, error))?;
    let mut out = io::stdout().lock();
    print_header(&mut out, &exported.header)?;
    writeln!(out, "entries       {}", exported.entries)?;
    writeln!(out, "file          {}", bytes_text(exported.bytes))?;
    writeln!(out, "checksum      {}", exported.checksum)?;
    match &exported.unfolded_blocks {
        Ok(0) => {}
        Ok(blocks) => {
            writeln!(
                out,
                "The order log has {blocks} later blocks, which are not in the snapshot. A"
            )?;
            writeln!(out, "node folds its last ones when it stops: start and stop it for them.")?;
        }
        Err(error) => {
            writeln!(
                out,
                "Blocks that are in the order log alone are not in the snapshot, and it"
            )?;
            writeln!(out, "cannot be read: {error}")?;
        }
    }
    if let Some(outputs) = exported.header.final_outputs
        && outputs.block < exported.header.first_state
    {
        let (first, last) = (outputs.block + 1, exported.header.first_state);
        writeln!(out, "Outputs of blocks {first} to {last} that L1 does not have yet could not")?;
        writeln!(out, "be proved after an import; more --blocks, or none, include them.")?;
    }
    Ok(())
}

fn read_snapshot(args: &ImportArgs) -> Result<(), DbError> {
    let directory = args.directory.chain();
    let genesis = L1Client::read_genesis(&args.genesis)?;
    let mut line = Line::new();
    let imported = import(&args.file, &directory, &genesis, &mut |p| line.show(p));
    line.end();
    let imported = imported.map_err(|error| snapshot_error(&directory, error))?;
    let mut out = io::stdout().lock();
    print_header(&mut out, &imported.header)?;
    writeln!(out, "entries       {}", imported.entries)?;
    writeln!(out, "checksum      {}", imported.checksum)?;
    writeln!(out, "The state root is that of the rows. `sequencer run` goes on from this block.")?;
    Ok(())
}

fn snapshot_error(directory: &Path, error: SnapshotError) -> DbError {
    match error {
        SnapshotError::Store(error) => in_directory(directory)(error),
        error => Box::new(error).into(),
    }
}

fn print_header(out: &mut impl Write, header: &SnapshotHeader) -> io::Result<()> {
    writeln!(out, "chain         {}", header.chain())?;
    writeln!(out, "head          {} {}", header.head.number, header.head.hash)?;
    writeln!(out, "state root    {}", header.state_root)?;
    writeln!(out, "states from   {}", header.first_state)?;
    writeln!(out, "blocks from   {}", header.first_block)
}

fn stat(directory: &Path) -> Result<(), DbError> {
    let reader = ChainReader::open(directory).map_err(in_directory(directory))?;
    let stat = reader.stat().map_err(in_directory(directory))?;
    Ok(print_stat(&mut io::stdout().lock(), &stat)?)
}

fn print_stat(out: &mut impl Write, stat: &ChainStat) -> io::Result<()> {
    let ChainStat { format, genesis_hash, head, kept, file_bytes, tables, log } = stat;
    writeln!(out, "format        {format}")?;
    writeln!(out, "genesis       {genesis_hash}")?;
    writeln!(out, "head          {} {}", head.number, head.hash)?;
    writeln!(out, "states from   {}", kept.first_state)?;
    writeln!(out, "blocks from   {}", kept.first_block)?;
    match kept.final_outputs {
        Some(outputs) => writeln!(out, "final output  of block {}", outputs.block)?,
        None => writeln!(out, "final output  none seen on L1")?,
    }
    let used_bytes = tables.iter().map(|table| table.bytes).sum();
    let (file, used) = (bytes_text(*file_bytes), bytes_text(used_bytes));
    writeln!(out, "file          {file}, {used} in tables")?;
    print_log(out, log)?;
    writeln!(out)?;
    writeln!(out, "{:<24}{:>14}{:>12}{:>14}", "table", "entries", "pages", "size")?;
    for table in tables {
        let (name, size) = (table.name, bytes_text(table.bytes));
        writeln!(out, "{name:<24}{:>14}{:>12}{size:>14}", table.entries, table.pages)?;
    }
    Ok(())
}

fn print_log(out: &mut impl Write, log: &Result<LogTail, LogError>) -> io::Result<()> {
    let tail = match log {
        Ok(tail) => tail,
        Err(error) => return writeln!(out, "order log     {error}"),
    };
    let LogStat { segments, bytes, first_position, last_position, torn } = &tail.stat;
    let (size, blocks) = (bytes_text(*bytes), tail.unfolded_blocks());
    write!(out, "order log     {segments} segments, {size}")?;
    match (first_position, last_position) {
        (0, 0) => writeln!(out, ", no record")?,
        (0, last) => writeln!(out, ", no record since {last}")?,
        (first, last) => writeln!(out, ", records {first} to {last}")?,
    }
    match blocks {
        0 => writeln!(out, "not folded    no block")?,
        blocks => writeln!(out, "not folded    {blocks} blocks, up to {}", tail.head)?,
    }
    torn.as_ref().map_or(Ok(()), |torn| print_torn(out, torn))
}

fn print_torn(out: &mut impl Write, torn: &TornTail) -> io::Result<()> {
    let TornTail { path, offset, bytes } = torn;
    let path = path.display();
    writeln!(out, "unfinished    {bytes} bytes of {path} from byte {offset}, never acknowledged:")?;
    writeln!(out, "              a node is writing them, or the next start cuts them")
}

fn check(directory: &Path) -> Result<(), DbError> {
    let reader = ChainReader::open(directory).map_err(in_directory(directory))?;
    let mut line = Line::new();
    let checked = reader.check(&mut |p| line.show(p));
    line.end();
    let checked = checked.map_err(|error| match error {
        CheckError::Store(error) => in_directory(directory)(error),
        error => DbError::Damaged { directory: directory.to_owned(), error },
    })?;
    let mut out = io::stdout().lock();
    writeln!(out, "in tables     {} {}", checked.head.number, checked.head.hash)?;
    writeln!(out, "state root    {}, computed from the tables", checked.state_root)?;
    writeln!(out, "entries       {}", checked.entries)?;
    if let Some(CheckedLog { head, state_root, blocks, rollbacks, stat, .. }) = &checked.log {
        writeln!(out, "order log     {blocks} blocks and {rollbacks} rollbacks after them")?;
        writeln!(out, "head          {} {}", head.number, head.hash)?;
        writeln!(out, "state root    {state_root}, computed from the tables and the log")?;
        stat.torn.as_ref().map_or(Ok(()), |torn| print_torn(&mut out, torn))?;
    }
    Ok(writeln!(out, "Everything agrees.")?)
}

fn prune(args: &PruneArgs) -> Result<(), DbError> {
    let directory = args.directory.chain();
    let mut line = Line::new();
    let pruned = prune_directory(&directory, args.history_blocks, &mut |p| line.show(p));
    line.end();
    let pruned = pruned.map_err(in_directory(&directory))?;
    let mut out = io::stdout().lock();
    writeln!(out, "removed       {} changes", pruned.rows)?;
    Ok(writeln!(out, "states from   {}", pruned.first_state)?)
}
