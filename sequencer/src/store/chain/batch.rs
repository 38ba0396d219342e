//! Rows gathered for one transaction and written in the order of their keys, each key once.
//!
//! The state tables are keyed by hashes: in the order of blocks every row is somewhere else in the file,
//! and an account that every block changes is written by each. In the order of keys neighbours share
//! their pages, and what is overwritten is never written. The memory is kept for the next transaction:
//! giving back and taking again as much slows down everybody else. Knows no blocks.

use crate::store::{
    kv::{KvError, KvWriter, TableSpec},
    tables::{Key, Table, Value},
};
use std::{collections::BTreeMap, ops::Range};

/// Rows written between two pauses: about a tenth of a millisecond.
const PAUSE_ROWS: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// By the place of the table in the list of tables.
    tables: BTreeMap<usize, Rows>,
}

/// Rows of a table.
#[derive(Debug)]
struct Rows {
    table: TableSpec,
    /// Keys, each with its value behind it.
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

/// Where a row is.
#[derive(Clone, Debug)]
struct Row {
    key: Range<usize>,
    /// End of the value, or `None` where the row is removed.
    value_end: Option<usize>,
}

impl Batch {
    /// Adds a row.
    pub(super) fn write<T: Table>(&mut self, key: &T::Key, value: &T::Value) {
        self.rows::<T>().push(&key.to_key(), Some(&value.to_value()));
    }

    /// Takes a row away.
    pub(super) fn remove<T: Table>(&mut self, key: &T::Key) {
        self.rows::<T>().push(&key.to_key(), None);
    }

    fn rows<T: Table>(&mut self) -> &mut Rows {
        let new = || Rows { table: T::SPEC, bytes: Vec::new(), rows: Vec::new() };
        self.tables.entry(T::SPEC.index).or_insert_with(new)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        for rows in self.tables.values_mut() {
            rows.bytes.clear();
            rows.rows.clear();
        }
    }

    /// Writes everything; of a key that came more than once, the last counts.
    /// `pause` is called now and then, and may take its time.
    pub(super) fn write_to(
        &mut self,
        writer: &KvWriter,
        mut pause: impl FnMut(),
    ) -> Result<(), KvError> {
        self.tables.values_mut().try_for_each(|rows| rows.write_to(writer, &mut pause))
    }
}

impl Rows {
    fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let key = start..self.bytes.len();
        let value_end = value.map(|value| {
            self.bytes.extend_from_slice(value);
            self.bytes.len()
        });
        self.rows.push(Row { key, value_end });
    }

    fn write_to(&mut self, writer: &KvWriter, pause: &mut impl FnMut()) -> Result<(), KvError> {
        let Self { table, bytes, rows } = self;
        let key = |row: &Row| &bytes[row.key.clone()];
        // Stable: rows of one key stay in their order.
        rows.sort_by(|a, b| key(a).cmp(key(b)));
        for (at, same) in rows.chunk_by(|a, b| key(a) == key(b)).enumerate() {
            if at % PAUSE_ROWS == 0 {
                pause();
            }
            let Some(row) = same.last() else { continue };
            match row.value_end {
                Some(end) => writer.put(*table, key(row), &bytes[row.key.end..end])?,
                None => _ = writer.delete(*table, key(row))?,
            }
        }
        Ok(())
    }
}
