//! Writing a snapshot: which rows of which tables, from one read transaction.
//!
//! The file gets its name when it is complete and durable; until then it has another one, and when
//! anything fails it is removed.

use super::{
    BLOCK_HASH_WINDOW, ChainName, Section, SnapshotError, SnapshotHeader, chunks::ChunkWriter,
    io_error, sync_directory,
};
use crate::store::{
    chain::{
        ChainReader, ChainStoreError, Corruption, Kept, LogTail,
        progress::{Meter, Report},
        read_head, read_meta,
    },
    kv::{KvError, KvSnapshot, TableSpec},
    log::LogError,
    tables::{
        FORMAT, Headers, Key, MetaKey, OutputProofs, StorageChangeSets, StoragesHistory, Table,
    },
};
use alloy::primitives::{B256, U256};
use contracts::L2_TO_L1_MESSAGE_PASSER;
use executor::Genesis;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    ops::{ControlFlow, RangeInclusive},
    path::{Path, PathBuf},
};

/// Blocks whose state a snapshot has, unless it is told otherwise and unless the newest final output
/// is further back: enough for proofs of recent blocks, and for every reorg of L1 that is not the
/// end of the world.
const STATE_BLOCKS_DEFAULT: u64 = 1_024;

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Blocks before the head whose state can be read after an import. Without it 1,024, or back to
    /// the newest final output where that is more.
    pub blocks: Option<u64>,
}

/// A snapshot that was written.
#[derive(Clone, Debug)]
pub struct Exported {
    /// What it is of.
    pub header: SnapshotHeader,
    /// Rows.
    pub entries: u64,
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// Checksum of everything.
    pub checksum: B256,
    /// Later blocks that were in the order log alone, and are not in the snapshot; or why the log
    /// cannot be read.
    pub unfolded_blocks: Result<u64, LogError>,
}

impl ChainReader {
    /// Writes the chain as it is in the tables now to a new file: up to the newest folded block. A
    /// node folds within the second, and all when it stops; after a crash the next start does.
    ///
    /// # Errors
    /// [`SnapshotError`]; nothing is left behind.
    pub fn export(
        &self,
        path: &Path,
        genesis: &Genesis,
        options: ExportOptions,
        report: Report<'_>,
    ) -> Result<Exported, SnapshotError> {
        let (rows, log) = self.snapshot_and_log()?;
        let header = header(&rows, genesis, options)?;
        if path.exists() {
            return Err(SnapshotError::Exists { path: path.to_owned() });
        }
        // Read first: segments that a node drops take their place on the disk until this lets go.
        let log = log.and_then(|log| LogTail::read(&log, header.head));
        let draft = Draft::create(path)?;
        let file = draft.file.try_clone().map_err(io_error(&draft.path))?;
        let mut export = Export {
            rows: &rows,
            header,
            apart: outputs_before(&rows, header.first_block)?,
            writer: ChunkWriter::begin(&draft.path, file, &header)?,
            meter: Meter::new(entries_total(&rows)?, report),
        };
        export.all()?;
        let Export { writer, meter, .. } = export;
        let (entries, checksum) = writer.finish()?;
        let bytes = draft.publish(path)?;
        meter.finish();
        let unfolded_blocks = log.map(|log| log.unfolded_blocks());
        Ok(Exported { header, entries, bytes, checksum, unfolded_blocks })
    }
}

/// A file under another name than it will have.
struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    fn create(path: &Path) -> Result<Self, SnapshotError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let path = PathBuf::from(name);
        let file = File::create(&path).map_err(io_error(&path))?;
        Ok(Self { path, file })
    }

    fn publish(self, path: &Path) -> Result<u64, SnapshotError> {
        let bytes = self.file.metadata().map_err(io_error(&self.path))?.len();
        fs::rename(&self.path, path).map_err(io_error(path))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_directory(parent.unwrap_or(Path::new(".")))?;
        Ok(bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already when it was published.
        let _ = fs::remove_file(&self.path);
    }
}

fn header(
    rows: &KvSnapshot,
    genesis: &Genesis,
    options: ExportOptions,
) -> Result<SnapshotHeader, SnapshotError> {
    let (_, _, genesis_hash) = genesis.build().map_err(ChainStoreError::from)?;
    let config_hash = genesis.config_hash(genesis_hash);
    let expected = ChainName { chain_id: None, genesis_hash, config_hash };
    let found = ChainName {
        chain_id: None,
        genesis_hash: read_meta(rows, MetaKey::GenesisHash)?,
        config_hash: read_meta(rows, MetaKey::ConfigHash)?,
    };
    if found != expected {
        let (expected, found) = (Box::new(expected), Box::new(found));
        return Err(SnapshotError::OtherChain { what: "the directory", expected, found });
    }
    let head = read_head(rows)?;
    let kept = Kept::read(rows)?;
    let stored = rows.read::<Headers>(&head.number).map_err(ChainStoreError::from)?;
    let missing = Corruption::Missing { table: Headers::SPEC.name, number: head.number };
    let stored = stored.ok_or(ChainStoreError::from(missing))?;
    let first_state = match options.blocks {
        Some(blocks) => head.number.saturating_sub(blocks),
        None => {
            let outputs = kept.final_outputs.map_or(u64::MAX, |outputs| outputs.block);
            head.number.saturating_sub(STATE_BLOCKS_DEFAULT).min(outputs)
        }
    };
    let first_state = first_state.max(kept.first_state);
    let first_block = first_state.saturating_sub(BLOCK_HASH_WINDOW).max(kept.first_block);
    Ok(SnapshotHeader {
        table_format: FORMAT,
        chain_id: genesis.rules.chain_id,
        genesis_hash,
        config_hash,
        head,
        state_root: stored.header.state_root,
        first_state,
        first_block,
        final_outputs: kept.final_outputs,
    })
}

/// Blocks with an output that are before the snapshot's first block; they come along.
fn outputs_before(rows: &KvSnapshot, first_block: u64) -> Result<Vec<u64>, ChainStoreError> {
    let mut blocks = Vec::new();
    rows.visit_from::<OutputProofs, ChainStoreError>(&0_u64, |number, _| {
        if number >= first_block {
            return Ok(ControlFlow::Break(()));
        }
        blocks.push(number);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(blocks)
}

fn entries_total(rows: &KvSnapshot) -> Result<u64, ChainStoreError> {
    let entries = Section::ALL.iter().map(|section| Ok(rows.usage(section.table())?.entries));
    entries.sum::<Result<u64, KvError>>().map_err(ChainStoreError::from)
}

/// One walk over the tables.
struct Export<'a> {
    rows: &'a KvSnapshot,
    header: SnapshotHeader,
    /// Blocks before the first one that come along: those with an output.
    apart: Vec<u64>,
    writer: ChunkWriter,
    meter: Meter<'a>,
}

/// A walk ends: the table or the file failed.
struct Stopped(SnapshotError);

impl From<KvError> for Stopped {
    fn from(error: KvError) -> Self {
        Self(ChainStoreError::from(error).into())
    }
}

impl Export<'_> {
    fn all(&mut self) -> Result<(), SnapshotError> {
        for section in Section::ALL {
            let table = section.table();
            let entries = self.rows.usage(table).map_err(ChainStoreError::from)?.entries;
            self.meter.step(table.name, entries);
            match section {
                Section::Accounts | Section::Storages | Section::Codes | Section::OutputProofs => {
                    self.rows_from(section, &[], None)?;
                }
                Section::Headers | Section::Bodies | Section::Receipts | Section::OutputParts => {
                    self.blocks(section)?
                }
                Section::AccountChanges => self.changes(section)?,
                Section::StorageChanges => {
                    self.message_passer_changes()?;
                    self.changes(section)?;
                }
            }
        }
        Ok(())
    }

    /// Block 0, those with an output, and all from the first on.
    fn blocks(&mut self, section: Section) -> Result<(), SnapshotError> {
        let mut apart: BTreeSet<u64> = self.apart.iter().copied().collect();
        apart.insert(0);
        let first = self.header.first_block.max(1);
        for number in apart.into_iter().filter(|number| *number < first) {
            self.rows_of_blocks(section, number..=number)?;
        }
        self.rows_of_blocks(section, first..=self.header.head.number)
    }

    /// What changed after the first state; all that is known where that is block 0.
    fn changes(&mut self, section: Section) -> Result<(), SnapshotError> {
        self.rows_of_blocks(section, self.first_change()..=self.header.head.number)
    }

    fn first_change(&self) -> u64 {
        match self.header.first_state {
            0 => 0,
            first_state => first_state + 1,
        }
    }

    /// The changes of the message passer's slots before all others: for ever.
    fn message_passer_changes(&mut self) -> Result<(), SnapshotError> {
        let first_change = self.first_change();
        let mut changes: BTreeSet<(u64, U256)> = BTreeSet::new();
        self.rows.visit_from::<StoragesHistory, ChainStoreError>(
            &L2_TO_L1_MESSAGE_PASSER,
            |((address, slot), number), ()| {
                if address != L2_TO_L1_MESSAGE_PASSER {
                    return Ok(ControlFlow::Break(()));
                }
                if number < first_change {
                    changes.insert((number, slot));
                }
                Ok(ControlFlow::Continue(()))
            },
        )?;
        for (number, slot) in changes {
            let key = ((number, L2_TO_L1_MESSAGE_PASSER), slot).to_key();
            let table = StorageChangeSets::SPEC;
            let value = self.rows.get(table, &key).map_err(ChainStoreError::from)?;
            let missing = Corruption::Missing { table: table.name, number };
            let value = value.ok_or(ChainStoreError::from(missing))?;
            self.meter.add(key.len() + value.len());
            self.writer.row(Section::StorageChanges, &key, &value)?;
        }
        Ok(())
    }

    fn rows_of_blocks(
        &mut self,
        section: Section,
        blocks: RangeInclusive<u64>,
    ) -> Result<(), SnapshotError> {
        self.rows_from(section, &blocks.start().to_be_bytes(), Some(*blocks.end()))
    }

    /// Rows from `start` on, as long as their keys begin with a block up to `last`.
    fn rows_from(
        &mut self,
        section: Section,
        start: &[u8],
        last: Option<u64>,
    ) -> Result<(), SnapshotError> {
        let table: TableSpec = section.table();
        let (writer, meter) = (&mut self.writer, &mut self.meter);
        let walked = self.rows.walk(table, start, |key, value| {
            let block = key.get(..8).and_then(u64::read);
            if last.is_some_and(|last| block.is_none_or(|block| block > last)) {
                return Ok(ControlFlow::Break(()));
            }
            meter.add(key.len() + value.len());
            writer.row(section, key, value).map_err(Stopped)?;
            Ok(ControlFlow::Continue(()))
        });
        walked.map_err(|Stopped(error)| error)
    }
}
