//! The key-value engine: MDBX behind tables of bytes, snapshots and one durable write transaction.
//!
//! The only file that knows MDBX. It checks key and value sizes before every write and every look-up,
//! because the binding does so in debug builds only and the engine aborts the process on a violation.
//! It refuses a file that is not ours before it writes to it. It does not know what the tables mean
//! (`tables` does; what is read is checked there), and never retries.

mod file;

/// Whether a transaction only reads or also writes; both read in the same way.
pub(super) use signet_libmdbx::TransactionKind as Access;

use file::refuse_cut_off;
use signet_libmdbx::{
    Database, DatabaseFlags, Environment, Geometry, MdbxError, Mode, ReadError, RoSync, Rw,
    WriteFlags, tx::Tx,
};
use std::{
    borrow::Cow,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Name that the engine gives its file.
pub(super) const DATA_FILE: &str = "mdbx.dat";

/// Largest size of the database file, in bytes: 1 TiB. It costs address space only (a process has
/// 128 TiB), and a file that reaches it means that pruning was forgotten for years.
const FILE_BYTES_MAX: usize = 1 << 40;
/// The file grows in steps of this many bytes: 16 MiB, a few blocks' worth at full load, so that
/// growth is rare and an idle chain stays small.
const FILE_GROWTH_BYTES: isize = 16 << 20;
/// Most snapshots open at one time. Each serves one RPC request or one block; the RPC's own limit
/// of concurrent calls is lower, so reaching this means that snapshots leak.
const READERS_MAX: u64 = 1024;

/// The engine failed. Nothing of the transaction in progress counts. The caller halts: none of
/// these goes away by asking again.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum KvError {
    /// The file cannot grow: the disk is full, or the file has 1 TiB.
    #[error("the chain database cannot grow: {}", full_text(*.0))]
    Full(MdbxError),
    /// The file is damaged or not one of ours.
    #[error("the chain database is damaged: {0}")]
    Damaged(MdbxError),
    /// Any other failure of the engine or the operating system.
    #[error("the chain database failed: {0}")]
    Engine(MdbxError),
    /// A key that its table cannot hold: a programming error.
    #[error("table {table}: a key of {size} bytes, not {expected}")]
    KeySize {
        /// Table.
        table: &'static str,
        /// Size of the key, in bytes.
        size: usize,
        /// Size of the table's keys, in bytes.
        expected: usize,
    },
    /// A value larger than its table's bound.
    #[error("table {table}: a value of {size} bytes, more than {max}")]
    ValueSize {
        /// Table.
        table: &'static str,
        /// Size of the value, in bytes.
        size: usize,
        /// Bound of the table, in bytes.
        max: usize,
    },
    /// A table that was not named when the database was opened: a programming error.
    #[error("table {table} was not opened")]
    UnknownTable {
        /// Table.
        table: &'static str,
    },
    /// The file was cut off: the engine would take what is left for a new database.
    #[error("mdbx.dat has {file_bytes} bytes and is cut off")]
    CutOff {
        /// Its size.
        file_bytes: u64,
    },
    /// An MDBX file of another program, or of a version before the table.
    #[error("mdbx.dat has no table {table}: another program or an older version wrote it")]
    Foreign {
        /// The table that is not there.
        table: &'static str,
    },
}

impl From<MdbxError> for KvError {
    fn from(error: MdbxError) -> Self {
        match error {
            MdbxError::MapFull | MdbxError::Other(NO_SPACE_LEFT) => Self::Full(error),
            MdbxError::Corrupted
            | MdbxError::PageNotFound
            | MdbxError::Invalid
            | MdbxError::VersionMismatch => Self::Damaged(error),
            _ => Self::Engine(error),
        }
    }
}

const fn full_text(error: MdbxError) -> &'static str {
    match error {
        MdbxError::MapFull => "it has its largest size, 1 TiB",
        _ => "the disk is full",
    }
}

/// ENOSPC and EIO, which the binding does not name.
const NO_SPACE_LEFT: i32 = 28;
const INPUT_OUTPUT: i32 = 5;

impl From<ReadError> for KvError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Mdbx(error) => error.into(),
            // Values are read as plain bytes, which cannot fail to decode.
            ReadError::Decoding(_) => Self::Engine(MdbxError::DecodeError),
        }
    }
}

/// One table: its place in the list given to [`Kv::open`], its name and its sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableSpec {
    /// Position in the list of tables.
    pub(super) index: usize,
    /// Name in the file.
    pub(super) name: &'static str,
    /// Size of every key, in bytes; well below the engine's limit (about 2,000 at 4 KiB pages).
    pub(super) key_bytes: usize,
    /// Largest value, in bytes.
    pub(super) value_bytes_max: usize,
}

/// An open database.
#[derive(Debug)]
pub(super) struct Kv {
    env: Environment,
    tables: Arc<[Database]>,
    directory: PathBuf,
}

/// A transaction: a snapshot, or the one writer.
pub(super) struct KvTransaction<K: Access> {
    transaction: Tx<K>,
    tables: Arc<[Database]>,
}

/// How much a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TableUsage {
    pub(super) entries: u64,
    pub(super) pages: u64,
    pub(super) bytes: u64,
}

/// Bytes of a key or value, borrowed from the file where possible.
type Slice<'a> = Cow<'a, [u8]>;
/// A key and its value.
pub(super) type Entry<B = Vec<u8>> = (B, B);

/// A snapshot; it moves between threads and may be read by several at once, because parallel
/// execution does. Their reads take turns at a lock of the binding (tens of nanoseconds beside a
/// read of a microsecond). It blocks no other transaction, but pages that it still sees are not
/// reused, so it should live for one request.
pub(super) type KvSnapshot = KvTransaction<RoSync>;
/// The write transaction; dropping it undoes it.
pub(super) type KvWriter = KvTransaction<Rw>;

impl Kv {
    /// Opens or creates the database in `directory`, and its tables.
    pub(super) fn open(directory: &Path, tables: &[TableSpec]) -> Result<Self, KvError> {
        let mut builder = Environment::builder();
        // Commits are durable (fsync of data and meta page) by default, and the file is written
        // with write(2), not through the mapping, so that a stray pointer cannot damage it.
        builder.set_max_dbs(tables.len()).set_max_readers(READERS_MAX).set_geometry(Geometry {
            size: Some(0..FILE_BYTES_MAX),
            growth_step: Some(FILE_GROWTH_BYTES),
            ..Default::default()
        });
        refuse_cut_off(directory)?;
        let env = builder.open(directory)?;
        refuse_foreign(&env, tables)?;
        let transaction = env.begin_rw_unsync()?;
        let databases = tables
            .iter()
            .map(|table| transaction.create_db(Some(table.name), DatabaseFlags::empty()))
            .collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(Self { env, tables: databases, directory: directory.to_owned() })
    }

    /// Opens an existing database for reading only, beside a process that writes to it.
    pub(super) fn open_reader(directory: &Path, tables: &[TableSpec]) -> Result<Self, KvError> {
        let mut builder = Environment::builder();
        builder.set_max_dbs(tables.len()).set_flags(Mode::ReadOnly.into());
        refuse_cut_off(directory)?;
        let env = builder.open(directory)?;
        let transaction = env.begin_ro_sync()?;
        let open = |table: &TableSpec| match transaction.open_db(Some(table.name)) {
            Err(MdbxError::NotFound) => Err(KvError::Foreign { table: table.name }),
            opened => Ok(opened?),
        };
        let databases = tables.iter().map(open).collect::<Result<_, _>>()?;
        // Handles opened in a transaction last only if it is committed, also one that only reads.
        transaction.commit()?;
        Ok(Self { env, tables: databases, directory: directory.to_owned() })
    }

    /// The error of a write with its true name: a write that a full disk cuts short is an input or
    /// output error to the engine. Where one is reported, writes to the disk to see whether it is full.
    pub(super) fn name_full_disk(&self, error: KvError) -> KvError {
        match error {
            KvError::Engine(MdbxError::Other(INPUT_OUTPUT)) if !file::has_room(&self.directory) => {
                KvError::Full(MdbxError::Other(NO_SPACE_LEFT))
            }
            error => error,
        }
    }

    /// A snapshot of what is committed now.
    pub(super) fn snapshot(&self) -> Result<KvSnapshot, KvError> {
        let transaction = self.env.begin_ro_sync()?;
        Ok(KvTransaction { transaction, tables: self.tables.clone() })
    }

    /// The write transaction. The caller sees to it that there is one at a time: a second one on
    /// the same thread is an engine error, on another thread it waits.
    pub(super) fn writer(&self) -> Result<KvWriter, KvError> {
        let transaction = self.env.begin_rw_unsync()?;
        Ok(KvTransaction { transaction, tables: self.tables.clone() })
    }
}

impl<K: Access> KvTransaction<K> {
    fn database(&self, table: TableSpec) -> Result<Database, KvError> {
        let database = self.tables.get(table.index).copied();
        database.ok_or(KvError::UnknownTable { table: table.name })
    }

    /// How much the table holds.
    pub(super) fn usage(&self, table: TableSpec) -> Result<TableUsage, KvError> {
        let stat = self.transaction.db_stat(&self.database(table)?)?;
        let pages = stat.branch_pages() + stat.leaf_pages() + stat.overflow_pages();
        Ok(TableUsage {
            entries: stat.entries() as u64,
            pages: pages as u64,
            bytes: pages as u64 * u64::from(stat.page_size()),
        })
    }

    /// The value of `key`; borrowed from the file where possible.
    pub(super) fn get(&self, table: TableSpec, key: &[u8]) -> Result<Option<Slice<'_>>, KvError> {
        check_key(table, key)?;
        let dbi = self.database(table)?.dbi();
        // See `walk`.
        if K::IS_READ_ONLY {
            return Ok(self.transaction.get(dbi, key)?);
        }
        let value: Option<Vec<u8>> = self.transaction.get(dbi, key)?;
        Ok(value.map(Cow::Owned))
    }

    /// The first entry at or after `key`.
    pub(super) fn first_from(
        &self,
        table: TableSpec,
        key: &[u8],
    ) -> Result<Option<Entry>, KvError> {
        check_prefix(table, key)?;
        let mut cursor = self.transaction.cursor(self.database(table)?)?;
        Ok(cursor.set_range(key)?)
    }

    /// Visits the entries at and after `start`, in key order, until `visit` breaks.
    ///
    /// A transaction that writes copies every entry. To borrow one, the binding asks the engine whether
    /// it is in a changed page, and for an empty value at the end of a page the engine looks at the
    /// next page: an error where that is inside a long value.
    pub(super) fn walk<E: From<KvError>>(
        &self,
        table: TableSpec,
        start: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        check_prefix(table, start)?;
        let database = self.database(table)?;
        let mut cursor = self.transaction.cursor(database).map_err(KvError::from)?;
        if K::IS_READ_ONLY {
            let mut entry: Option<Entry<Slice<'_>>> =
                cursor.set_range(start).map_err(KvError::from)?;
            while let Some((key, value)) = entry {
                if visit(&key, &value)?.is_break() {
                    break;
                }
                entry = cursor.next().map_err(KvError::from)?;
            }
            return Ok(());
        }
        let mut entry: Option<Entry> = cursor.set_range(start).map_err(KvError::from)?;
        while let Some((key, value)) = entry {
            if visit(&key, &value)?.is_break() {
                break;
            }
            entry = cursor.next().map_err(KvError::from)?;
        }
        Ok(())
    }
}

impl KvWriter {
    /// Writes `key`, replacing its value.
    pub(super) fn put(&self, table: TableSpec, key: &[u8], value: &[u8]) -> Result<(), KvError> {
        check_key(table, key)?;
        let (size, max) = (value.len(), table.value_bytes_max);
        if size > max {
            return Err(KvError::ValueSize { table: table.name, size, max });
        }
        Ok(self.transaction.put(self.database(table)?, key, value, WriteFlags::UPSERT)?)
    }

    /// Removes `key`; whether it was there.
    pub(super) fn delete(&self, table: TableSpec, key: &[u8]) -> Result<bool, KvError> {
        check_key(table, key)?;
        Ok(self.transaction.del(self.database(table)?, key, None)?)
    }

    /// Makes everything durable, or nothing.
    pub(super) fn commit(self) -> Result<(), KvError> {
        Ok(self.transaction.commit()?)
    }
}

/// A database that holds something holds our first table, from its first transaction on.
fn refuse_foreign(env: &Environment, tables: &[TableSpec]) -> Result<(), KvError> {
    let transaction = env.begin_ro_sync()?;
    let names = transaction.open_db(None)?;
    let is_empty = transaction.db_stat(&names)?.entries() == 0;
    match tables.first() {
        Some(first) if !is_empty => match transaction.open_db(Some(first.name)) {
            Err(MdbxError::NotFound) => Err(KvError::Foreign { table: first.name }),
            opened => Ok(opened.map(|_| ())?),
        },
        _ => Ok(()),
    }
}

/// A place to start reading from: a key, or the beginning of one.
fn check_prefix(table: TableSpec, key: &[u8]) -> Result<(), KvError> {
    if key.len() <= table.key_bytes {
        return Ok(());
    }
    Err(KvError::KeySize { table: table.name, size: key.len(), expected: table.key_bytes })
}

fn check_key(table: TableSpec, key: &[u8]) -> Result<(), KvError> {
    if key.len() == table.key_bytes {
        return Ok(());
    }
    Err(KvError::KeySize { table: table.name, size: key.len(), expected: table.key_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const TABLE: TableSpec =
        TableSpec { index: 0, name: "T", key_bytes: 4, value_bytes_max: 1 << 20 };

    #[test]
    fn wrong_sizes_are_errors_before_the_engine_sees_them() {
        let directory = tempfile::tempdir().unwrap();
        let kv = Kv::open(directory.path(), &[TABLE]).unwrap();
        let writer = kv.writer().unwrap();
        let key_error = writer.put(TABLE, b"abc", b"").unwrap_err();
        assert!(matches!(key_error, KvError::KeySize { size: 3, expected: 4, .. }));
        assert!(matches!(writer.delete(TABLE, b"").unwrap_err(), KvError::KeySize { .. }));
        assert!(matches!(writer.get(TABLE, b"abcde").unwrap_err(), KvError::KeySize { .. }));
        assert!(matches!(writer.get(TABLE, b"").unwrap_err(), KvError::KeySize { .. }));
        let from_error = writer.first_from(TABLE, b"abcde").unwrap_err();
        assert!(matches!(from_error, KvError::KeySize { size: 5, .. }));
        let value_error = writer.put(TABLE, b"abcd", &vec![0; (1 << 20) + 1]).unwrap_err();
        assert!(matches!(value_error, KvError::ValueSize { .. }));
        let other = TableSpec { index: 1, ..TABLE };
        let table_error = writer.put(other, b"abcd", b"").unwrap_err();
        assert!(matches!(table_error, KvError::UnknownTable { .. }));
    }

    /// Changes the file of a database and opens it again in both ways.
    fn open_after(damage: impl Fn(&Path)) -> [KvError; 2] {
        let open = |reader: bool| {
            let directory = tempfile::tempdir().unwrap();
            let kv = Kv::open(directory.path(), &[TABLE]).unwrap();
            let writer = kv.writer().unwrap();
            (0..4096_u32).for_each(|n| writer.put(TABLE, &n.to_be_bytes(), &[7; 64]).unwrap());
            writer.commit().unwrap();
            drop(kv);
            let path = directory.path().join(DATA_FILE);
            damage(&path);
            let before = fs::read(&path).unwrap();
            let opened = if reader { Kv::open_reader } else { Kv::open };
            let error = opened(directory.path(), &[TABLE]).unwrap_err();
            assert!(fs::read(&path).unwrap() == before, "the damaged file was changed");
            error
        };
        [open(false), open(true)]
    }

    #[test]
    fn a_file_that_was_cut_off_is_refused_and_left_alone() {
        for keep in [0, 100, 5_000, 20_000, 100_000, 300_000] {
            let cut = |path: &Path| fs::File::options().write(true).open(path)?.set_len(keep);
            for error in open_after(|path| cut(path).unwrap()) {
                let expected =
                    matches!(error, KvError::CutOff { file_bytes } if file_bytes == keep);
                assert!(expected || matches!(error, KvError::Damaged(_)), "{keep}: {error}");
            }
        }
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_left_alone() {
        for error in open_after(|path| fs::write(path, vec![0x5a; 1 << 16]).unwrap()) {
            assert!(matches!(error, KvError::Damaged(_)), "{error}");
        }
        let directory = tempfile::tempdir().unwrap();
        drop(Kv::open(directory.path(), &[TABLE]).unwrap());
        let ours = TableSpec { name: "U", ..TABLE };
        for opened in [Kv::open, Kv::open_reader] {
            let error = opened(directory.path(), &[ours]).unwrap_err();
            assert!(matches!(error, KvError::Foreign { table: "U" }), "{error}");
        }
    }

    #[test]
    fn a_reader_sees_what_was_committed_and_makes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Kv::open_reader(directory.path(), &[TABLE]).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let kv = Kv::open(directory.path(), &[TABLE]).unwrap();
        let writer = kv.writer().unwrap();
        writer.put(TABLE, b"keep", b"1").unwrap();
        writer.commit().unwrap();
        drop(kv);
        let reader = Kv::open_reader(directory.path(), &[TABLE]).unwrap();
        let snapshot = reader.snapshot().unwrap();
        assert_eq!(snapshot.get(TABLE, b"keep").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(snapshot.usage(TABLE).unwrap().entries, 1);
    }

    #[test]
    fn a_dropped_writer_leaves_no_trace_and_a_snapshot_does_not_move() {
        let directory = tempfile::tempdir().unwrap();
        let kv = Kv::open(directory.path(), &[TABLE]).unwrap();
        let before = kv.snapshot().unwrap();
        kv.writer().unwrap().put(TABLE, b"drop", b"1").unwrap();
        let writer = kv.writer().unwrap();
        writer.put(TABLE, b"keep", b"").unwrap();
        writer.commit().unwrap();
        let after = kv.snapshot().unwrap();
        assert_eq!(after.get(TABLE, b"drop").unwrap(), None);
        assert_eq!(after.get(TABLE, b"keep").unwrap().as_deref(), Some(&[][..]));
        assert_eq!(before.get(TABLE, b"keep").unwrap(), None);
        assert_eq!(after.first_from(TABLE, b"d").unwrap(), Some((b"keep".to_vec(), vec![])));
    }

    #[test]
    fn a_writer_reads_empty_values_beside_long_ones() {
        const LONG: TableSpec = TableSpec { index: 1, name: "L", ..TABLE };
        let directory = tempfile::tempdir().unwrap();
        let kv = Kv::open(directory.path(), &[TABLE, LONG]).unwrap();
        // Pages of empty values, among those that long values have left.
        for key in 0..400_u32 {
            let writer = kv.writer().unwrap();
            writer.put(TABLE, &key.to_be_bytes(), &[]).unwrap();
            // Another length each time: pages that it leaves are used again, beside others that are not.
            let long = vec![0xff; 5_000 + 4_000 * (key as usize % 7)];
            writer.put(LONG, &(key % 5).to_be_bytes(), &long).unwrap();
            writer.commit().unwrap();
            let writer = kv.writer().unwrap();
            assert_eq!(writer.get(TABLE, &key.to_be_bytes()).unwrap().as_deref(), Some(&[][..]));
            let mut entries = 0;
            let visit = |_: &[u8], value: &[u8]| {
                assert!(value.is_empty());
                entries += 1;
                Ok::<_, KvError>(ControlFlow::Continue(()))
            };
            writer.walk(TABLE, &[], visit).unwrap();
            assert_eq!(entries, key + 1);
        }
    }

    #[test]
    fn threads_read_one_snapshot_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let kv = Kv::open(directory.path(), &[TABLE]).unwrap();
        let writer = kv.writer().unwrap();
        for key in 0..256u32 {
            writer.put(TABLE, &key.to_be_bytes(), &key.to_le_bytes()).unwrap();
        }
        writer.commit().unwrap();
        let snapshot = kv.snapshot().unwrap();
        let read_all = || {
            for key in 0..256u32 {
                let value = snapshot.get(TABLE, &key.to_be_bytes()).unwrap().unwrap();
                assert_eq!(*value, key.to_le_bytes());
                let (first, _) = snapshot.first_from(TABLE, &key.to_be_bytes()).unwrap().unwrap();
                assert_eq!(first, key.to_be_bytes());
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(read_all))));
        // A snapshot that others have read still moves, and is dropped elsewhere.
        std::thread::spawn(move || drop(snapshot)).join().unwrap();
    }
}
