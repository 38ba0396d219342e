//! Heads, what an operator or the run before has left, and the audit trail. Each is a small table with its own rows; what a head means is decided
//! elsewhere.

use super::{Ledger, LedgerError, columns, meta, set_meta};
use crate::pressure::backlog::Kept;
use batcher::{
    encoder::BlockId,
    l1::InboxPosition,
    tracker::{Heads, SafeHead},
};
use sqlx::{Any, Row, Transaction, any::AnyRow};
use std::time::Duration;

/// Meta row: whether sending is paused, one byte.
const PAUSED: &str = "sending_paused";

/// Meta row: oldest block that L1 did not have, its age in milliseconds, bytes; eight bytes each.
const BACKLOG: &str = "backlog";

/// Audit rows kept; beyond it the oldest go. At a line a minute it is two months.
const AUDIT_ROWS_MAX: i64 = 100_000;

/// One line of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Ascending, without reuse.
    pub id: u64,
    /// Seconds since 1970.
    pub at_secs: u64,
    /// What was done, a short word.
    pub action: String,
    /// To what and why.
    pub detail: String,
}

impl Ledger {
    /// Replaces the heads in one transaction.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn set_heads(&self, heads: &Heads) -> Result<(), LedgerError> {
        let mut transaction = self.begin().await?;
        set_head(&mut transaction, "safe", &heads.safe).await?;
        set_head(&mut transaction, "finalized", &heads.finalized).await?;
        set_head(&mut transaction, "start", &heads.start).await?;
        Ok(transaction.commit().await?)
    }

    /// The heads as last set; `None` before that, and once they were forgotten.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn heads(&self) -> Result<Option<Heads>, LedgerError> {
        let query = "SELECT level, l2_number, l2_hash, l1_number, l1_hash, next_batch, acc
             FROM heads ORDER BY level";
        let rows = sqlx::query(query).fetch_all(&self.pool).await?;
        match rows.as_slice() {
            [] => Ok(None),
            [finalized, safe, start] => Ok(Some(Heads {
                safe: read_head(safe, "safe")?,
                finalized: read_head(finalized, "finalized")?,
                start: read_head(start, "start")?,
            })),
            _ => Err(LedgerError::Corrupt { column: "level" }),
        }
    }

    /// Forgets the heads.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn forget_heads(&self) -> Result<(), LedgerError> {
        sqlx::query("DELETE FROM heads").execute(&self.pool).await?;
        Ok(())
    }

    /// Keeps whether an operator paused what is sent to L1.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn set_paused(&self, is_paused: bool) -> Result<(), LedgerError> {
        let mut transaction = self.begin().await?;
        set_meta(&mut transaction, PAUSED, &[u8::from(is_paused)]).await?;
        Ok(transaction.commit().await?)
    }

    /// Whether an operator paused what is sent to L1, in this process or an earlier one.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn is_paused(&self) -> Result<bool, LedgerError> {
        let mut transaction = self.begin_read().await?;
        let value = meta(&mut transaction, PAUSED).await?;
        Ok(value.is_some_and(|value| value == [1]))
    }

    /// Keeps how far L1 is behind.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn keep_backlog(&self, kept: &Kept) -> Result<(), LedgerError> {
        let lag_ms = u64::try_from(kept.lag.as_millis()).unwrap_or(u64::MAX);
        let value = [kept.oldest, lag_ms, kept.bytes].map(u64::to_be_bytes).concat();
        let mut transaction = self.begin().await?;
        set_meta(&mut transaction, BACKLOG, &value).await?;
        Ok(transaction.commit().await?)
    }

    /// How far L1 was behind, as last kept.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn backlog(&self) -> Result<Option<Kept>, LedgerError> {
        let mut transaction = self.begin_read().await?;
        let Some(value) = meta(&mut transaction, BACKLOG).await? else { return Ok(None) };
        let corrupt = LedgerError::Corrupt { column: "meta.value" };
        let ([a, b, c], []) = value.as_chunks::<8>() else { return Err(corrupt) };
        let [oldest, lag_ms, bytes] = [*a, *b, *c].map(u64::from_be_bytes);
        Ok(Some(Kept { oldest, lag: Duration::from_millis(lag_ms), bytes }))
    }

    /// Adds a line to the audit trail, at `at_secs` since 1970.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn audit(&self, at_secs: u64, action: &str, detail: &str) -> Result<(), LedgerError> {
        let mut transaction = self.begin().await?;
        let last = sqlx::query("SELECT id FROM audit ORDER BY id DESC LIMIT 1")
            .fetch_optional(&mut *transaction)
            .await?;
        let last: i64 = last.map_or(Ok(0), |row| row.try_get("id"))?;
        let id = last + 1;
        sqlx::query("INSERT INTO audit (id, at_secs, action, detail) VALUES ($1, $2, $3, $4)")
            .bind(id)
            .bind(columns::big_int("at_secs", at_secs)?)
            .bind(action)
            .bind(detail)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM audit WHERE id <= $1")
            .bind(id - AUDIT_ROWS_MAX)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// The latest lines of the audit trail, newest first, `count_max` at most.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn audit_trail(&self, count_max: u32) -> Result<Vec<AuditEntry>, LedgerError> {
        let query = "SELECT id, at_secs, action, detail FROM audit ORDER BY id DESC LIMIT $1";
        let rows = sqlx::query(query).bind(i64::from(count_max)).fetch_all(&self.pool).await?;
        rows.iter().map(read_audit_entry).collect()
    }
}

async fn set_head(
    transaction: &mut Transaction<'static, Any>,
    level: &'static str,
    head: &SafeHead,
) -> Result<(), LedgerError> {
    sqlx::query(
        "INSERT INTO heads (level, l2_number, l2_hash, l1_number, l1_hash, next_batch, acc)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (level) DO UPDATE SET l2_number = excluded.l2_number,
            l2_hash = excluded.l2_hash, l1_number = excluded.l1_number,
            l1_hash = excluded.l1_hash, next_batch = excluded.next_batch, acc = excluded.acc",
    )
    .bind(level)
    .bind(columns::big_int("l2_number", head.block.number)?)
    .bind(head.block.hash.as_slice())
    .bind(columns::big_int("l1_number", head.l1_block.number)?)
    .bind(head.l1_block.hash.as_slice())
    .bind(columns::big_int("next_batch", head.position.next_batch)?)
    .bind(head.position.acc.as_slice())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

fn read_head(row: &AnyRow, level: &str) -> Result<SafeHead, LedgerError> {
    columns::text(row, "level", |found| (found == level).then_some(()))?;
    let block = |number, hash| -> Result<BlockId, LedgerError> {
        Ok(BlockId { number: columns::number(row, number)?, hash: columns::hash(row, hash)? })
    };
    Ok(SafeHead {
        block: block("l2_number", "l2_hash")?,
        l1_block: block("l1_number", "l1_hash")?,
        position: InboxPosition {
            next_batch: columns::number(row, "next_batch")?,
            acc: columns::hash(row, "acc")?,
        },
    })
}

fn read_audit_entry(row: &AnyRow) -> Result<AuditEntry, LedgerError> {
    Ok(AuditEntry {
        id: columns::number(row, "id")?,
        at_secs: columns::number(row, "at_secs")?,
        action: row.try_get("action")?,
        detail: row.try_get("detail")?,
    })
}
