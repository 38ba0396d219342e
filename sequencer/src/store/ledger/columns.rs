//! Rust values to and from the columns that both databases share: BIGINT, BLOB, TEXT.
//!
//! Reading never trusts the database: a value that this program would not write is
//! [`LedgerError::Corrupt`]. Knows no table.

use super::LedgerError;
use alloy::primitives::{Address, B256, Bytes};
use sqlx::{Row, any::AnyRow};

/// A number for a BIGINT column.
pub(super) fn big_int(column: &'static str, value: u64) -> Result<i64, LedgerError> {
    i64::try_from(value).map_err(|_| LedgerError::OutOfRange { column })
}

/// A number from a BIGINT column.
pub(super) fn number(row: &AnyRow, column: &'static str) -> Result<u64, LedgerError> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| LedgerError::Corrupt { column })
}

/// A hash from a BLOB column.
pub(super) fn hash(row: &AnyRow, column: &'static str) -> Result<B256, LedgerError> {
    let value: &[u8] = row.try_get(column)?;
    value.try_into().map_err(|_| LedgerError::Corrupt { column })
}

/// An address from a BLOB column.
pub(super) fn address(row: &AnyRow, column: &'static str) -> Result<Address, LedgerError> {
    let value: &[u8] = row.try_get(column)?;
    value.try_into().map_err(|_| LedgerError::Corrupt { column })
}

/// Bytes from a BLOB column that may be NULL.
pub(super) fn optional_bytes(
    row: &AnyRow,
    column: &'static str,
) -> Result<Option<Bytes>, LedgerError> {
    let value: Option<Vec<u8>> = row.try_get(column)?;
    Ok(value.map(Bytes::from))
}

/// Bytes from a BLOB column.
pub(super) fn bytes(row: &AnyRow, column: &'static str) -> Result<Bytes, LedgerError> {
    let value: Vec<u8> = row.try_get(column)?;
    Ok(value.into())
}

/// A TEXT column read by `parse`.
pub(super) fn text<T>(
    row: &AnyRow,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, LedgerError> {
    let value: &str = row.try_get(column)?;
    parse(value).ok_or(LedgerError::Corrupt { column })
}
