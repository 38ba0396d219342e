//! Reading a snapshot into a new chain directory.
//!
//! The chain is put together in a directory beside its place and moved there in one step, once it is
//! complete, checked as `db check` does, and its state root computed anew is the one that the file
//! names. When anything is wrong it is removed; when the process is killed it stays, is no chain, and
//! a node refuses to start beside it.

use super::{
    ChainName, Damage, Section, SnapshotError, SnapshotHeader,
    chunks::{Chunk, ChunkReader},
    import_directory, io_error, sync_directory,
};
use crate::store::{
    chain::{
        ChainStoreError, DirectoryLock, Kept,
        check::{self, CheckError},
        lock,
        progress::{Meter, Report},
        write_head, write_meta,
    },
    kv::{Kv, KvWriter},
    tables::{
        AccountChangeSets, AccountsHistory, BlockBodies, Bytecodes, FORMAT, HashedAccounts,
        HashedStorages, HeaderNumbers, Headers, MetaKey, OutputParts, OutputProofs, Receipts,
        StorageChangeSets, StoragesHistory, TABLES, Table, TableError, TransactionHashNumbers,
        Value, decode_entry,
    },
};
use alloy::primitives::{B256, Bytes};
use executor::Genesis;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes of rows in one transaction: the engine keeps what it changed in memory until then.
const TRANSACTION_BYTES: u64 = 64 << 20;

/// A chain that was imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// What the snapshot is of.
    pub header: SnapshotHeader,
    /// Rows in it.
    pub entries: u64,
    /// Checksum of everything in it.
    pub checksum: B256,
}

/// Makes the chain in `directory` from a snapshot of the chain of `genesis`.
///
/// # Errors
/// [`SnapshotError`]; there is no chain then, and nothing else that was not there before.
pub fn import(
    path: &Path,
    directory: &Path,
    genesis: &Genesis,
    report: Report<'_>,
) -> Result<Imported, SnapshotError> {
    if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(SnapshotError::NotEmpty { directory: directory.to_owned() });
    }
    let (reader, header) = ChunkReader::begin(path)?;
    check_header(path, &header, genesis)?;
    let file_bytes = fs::metadata(path).map_err(io_error(path))?.len();
    let site = Site::create(directory)?;
    let mut import = Import {
        kv: Kv::open(&site.directory, TABLES).map_err(ChainStoreError::from)?,
        reader,
        last: None,
        entries: 0,
        meter: Meter::new(0, &mut *report),
        file_bytes,
    };
    import.rows(&header)?;
    let Import { kv, reader, entries, .. } = import;
    let snapshot = kv.snapshot().map_err(ChainStoreError::from)?;
    let checked = check::run(&snapshot, None, report).map_err(|error| match error {
        CheckError::Store(ChainStoreError::Engine(error)) => ChainStoreError::from(error).into(),
        error => SnapshotError::Inconsistent(error),
    })?;
    let (head, named, computed) = (header.head, header.state_root, checked.state_root);
    if named != computed || checked.head != head {
        return Err(SnapshotError::StateRoot { head, named, computed });
    }
    drop((snapshot, kv));
    site.publish(directory)?;
    Ok(Imported { header, entries, checksum: reader.checksum() })
}

fn check_header(
    path: &Path,
    header: &SnapshotHeader,
    genesis: &Genesis,
) -> Result<(), SnapshotError> {
    if header.table_format != FORMAT {
        let (path, what, found) = (path.to_owned(), "table format", header.table_format);
        return Err(SnapshotError::Version { path, what, found, supported: FORMAT });
    }
    let (_, _, genesis_hash) = genesis.build().map_err(ChainStoreError::from)?;
    let expected = ChainName {
        chain_id: Some(genesis.rules.chain_id),
        genesis_hash,
        config_hash: genesis.config_hash(genesis_hash),
    };
    let found = header.chain();
    if found != expected {
        let (expected, found) = (Box::new(expected), Box::new(found));
        return Err(SnapshotError::OtherChain { what: "the snapshot", expected, found });
    }
    Ok(())
}

/// Where the chain is put together.
struct Site {
    directory: PathBuf,
    /// The data directory, where there was none.
    created: Option<PathBuf>,
    lock: Option<DirectoryLock>,
    is_published: bool,
}

impl Site {
    fn create(chain: &Path) -> Result<Self, SnapshotError> {
        let directory = import_directory(chain);
        if directory.exists() {
            return Err(ChainStoreError::UnfinishedImport { directory }.into());
        }
        let created = directory.parent().filter(|parent| !parent.exists()).map(Path::to_owned);
        fs::create_dir_all(&directory).map_err(io_error(&directory))?;
        let mut site = Self { directory, created, lock: None, is_published: false };
        site.lock = Some(lock(&site.directory)?);
        Ok(site)
    }

    fn publish(mut self, chain: &Path) -> Result<(), SnapshotError> {
        sync_directory(&self.directory)?;
        // Fails where a chain came to be meanwhile: only an empty directory is replaced.
        fs::rename(&self.directory, chain).map_err(io_error(chain))?;
        self.is_published = true;
        chain.parent().map_or(Ok(()), sync_directory)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !self.is_published {
            // What cannot be removed is refused by name at the next start.
            let _ = fs::remove_dir_all(&self.directory);
            // Only if it is empty.
            let _ = self.created.as_ref().map(fs::remove_dir);
        }
    }
}

/// One walk over the file.
struct Import<'a> {
    kv: Kv,
    reader: ChunkReader,
    /// Table and key of the last row.
    last: Option<(Section, Vec<u8>)>,
    entries: u64,
    meter: Meter<'a>,
    file_bytes: u64,
}

impl Import<'_> {
    /// Writes every row and what follows from it, then what makes it a chain.
    fn rows(&mut self, header: &SnapshotHeader) -> Result<(), SnapshotError> {
        self.meter.measure_bytes(self.file_bytes);
        let mut writer = self.kv.writer().map_err(ChainStoreError::from)?;
        let mut bytes = 0;
        while let Some(chunk) = self.reader.next()? {
            let begun = chunk.at_bytes;
            self.chunk(&writer, &chunk)?;
            self.meter.at_bytes(chunk.section.table().name, self.entries, self.reader.at_bytes());
            bytes += self.reader.at_bytes() - begun;
            if bytes > TRANSACTION_BYTES {
                writer.commit().map_err(ChainStoreError::from)?;
                writer = self.kv.writer().map_err(ChainStoreError::from)?;
                bytes = 0;
            }
        }
        let kept = Kept {
            first_state: header.first_state,
            first_block: header.first_block,
            final_outputs: header.final_outputs,
        };
        let meta = || -> Result<(), TableError> {
            write_meta(&writer, MetaKey::Format, FORMAT.to_value())?;
            write_meta(&writer, MetaKey::GenesisHash, header.genesis_hash.to_value())?;
            write_meta(&writer, MetaKey::ConfigHash, header.config_hash.to_value())?;
            kept.write(&writer)?;
            write_head(&writer, header.head)
        };
        meta().map_err(ChainStoreError::from)?;
        Ok(writer.commit().map_err(ChainStoreError::from)?)
    }

    fn chunk(&mut self, writer: &KvWriter, chunk: &Chunk) -> Result<(), SnapshotError> {
        let damaged = |damage| self.reader.damaged(chunk.at_bytes, Some(chunk.section), damage);
        for row in chunk.rows() {
            let (key, value) = row.map_err(damaged)?;
            if let Some((section, last)) = &self.last {
                let is_next = match (*section as u8).cmp(&(chunk.section as u8)) {
                    std::cmp::Ordering::Less => true,
                    std::cmp::Ordering::Equal => last.as_slice() < key,
                    std::cmp::Ordering::Greater => {
                        return Err(damaged(Damage::Section(chunk.section as u8)));
                    }
                };
                if !is_next {
                    return Err(damaged(Damage::Order { key: Bytes::copy_from_slice(key) }));
                }
            }
            write_row(writer, chunk.section, key, value).map_err(|error| match error {
                TableError::Undecodable { .. } => {
                    damaged(Damage::Row { key: Bytes::copy_from_slice(key) })
                }
                error => ChainStoreError::from(error).into(),
            })?;
            self.last = Some((chunk.section, key.to_vec()));
            self.entries += 1;
        }
        Ok(())
    }
}

/// A row, and the index rows that follow from it.
fn write_row(
    writer: &KvWriter,
    section: Section,
    key: &[u8],
    value: &[u8],
) -> Result<(), TableError> {
    match section {
        Section::Accounts => put::<HashedAccounts>(writer, key, value).map(drop),
        Section::Storages => put::<HashedStorages>(writer, key, value).map(drop),
        Section::Codes => put::<Bytecodes>(writer, key, value).map(drop),
        Section::Receipts => put::<Receipts>(writer, key, value).map(drop),
        Section::OutputParts => put::<OutputParts>(writer, key, value).map(drop),
        Section::OutputProofs => put::<OutputProofs>(writer, key, value).map(drop),
        Section::Headers => {
            let (number, stored) = put::<Headers>(writer, key, value)?;
            writer.write::<HeaderNumbers>(&stored.hash, &number)
        }
        Section::Bodies => {
            let (position, transaction) = put::<BlockBodies>(writer, key, value)?;
            writer.write::<TransactionHashNumbers>(&transaction.hash(), &position)
        }
        Section::AccountChanges => {
            let ((number, address), _) = put::<AccountChangeSets>(writer, key, value)?;
            writer.write::<AccountsHistory>(&(address, number), &())
        }
        Section::StorageChanges => {
            let (((number, address), slot), _) = put::<StorageChangeSets>(writer, key, value)?;
            writer.write::<StoragesHistory>(&((address, slot), number), &())
        }
    }
}

/// Writes a row that decodes.
fn put<T: Table>(
    writer: &KvWriter,
    key: &[u8],
    value: &[u8],
) -> Result<(T::Key, T::Value), TableError> {
    let entry = decode_entry::<T>(key, value)?;
    writer.put(T::SPEC, key, value)?;
    Ok(entry)
}
