//! Rows gathered for one transaction and written in the order of their keys, each key once.
//!
//! The state tables are keyed by hashes: in the order of blocks every row is somewhere else in the file,
//! and an account that every block changes is written by each. In the order of keys neighbours share
//! their pages, and what is overwritten is never written. Knows no blocks.

use crate::store::{
    kv::{KvError, KvWriter, TableSpec},
    tables::{Key, Table, Value},
};
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub(super) struct Batch {
    /// By the place of the table in the list of tables.
    tables: BTreeMap<usize, (TableSpec, Vec<Row>)>,
}

/// A key, and its value, or `None` where it is removed.
type Row = (Vec<u8>, Option<Vec<u8>>);

impl Batch {
    /// Adds a row.
    pub(super) fn write<T: Table>(&mut self, key: &T::Key, value: &T::Value) {
        self.push::<T>((key.to_key(), Some(value.to_value())));
    }

    /// Takes a row away.
    pub(super) fn remove<T: Table>(&mut self, key: &T::Key) {
        self.push::<T>((key.to_key(), None));
    }

    fn push<T: Table>(&mut self, row: Row) {
        self.tables.entry(T::SPEC.index).or_insert_with(|| (T::SPEC, Vec::new())).1.push(row);
    }

    /// Writes everything; of a key that came more than once, the last counts.
    pub(super) fn write_to(self, writer: &KvWriter) -> Result<(), KvError> {
        for (table, mut rows) in self.tables.into_values() {
            // Stable: rows of one key stay in their order.
            rows.sort_by(|a, b| a.0.cmp(&b.0));
            let mut rows = rows.into_iter().peekable();
            while let Some((key, value)) = rows.next() {
                if rows.peek().is_some_and(|next| next.0 == key) {
                    continue;
                }
                match value {
                    Some(value) => writer.put(table, &key, &value)?,
                    None => _ = writer.delete(table, &key)?,
                }
            }
        }
        Ok(())
    }
}
