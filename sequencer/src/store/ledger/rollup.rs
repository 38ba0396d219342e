//! Heads, claimed outputs and the audit trail. Each is a small table with its own rows; what a head
//! or an output means is decided elsewhere.

use super::{Ledger, LedgerError, columns};
use alloy::primitives::B256;
use batcher::encoder::BlockId;
use sqlx::{Any, Row, Transaction, any::AnyRow};

/// Audit rows kept; beyond it the oldest go. At a decision a minute it is two months.
const AUDIT_ROWS_MAX: i64 = 100_000;

/// L2 heads by what L1 says about them; each is at or behind the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Last sealed block (the "unsafe" head).
    pub latest: Option<BlockId>,
    /// Last block derivable from L1.
    pub safe: Option<BlockId>,
    /// Last block derivable from finalized L1.
    pub finalized: Option<BlockId>,
}

/// How far a claimed output has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStatus {
    /// Computed and about to be sent, or sent.
    Proposed,
    /// In the Outputs contract.
    Confirmed,
    /// Taken out of the Outputs contract by a challenge.
    Removed,
}

/// A claim about the state after an L2 block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// L2 block.
    pub l2_number: u64,
    /// Its output root.
    pub output_root: B256,
    /// The L1 transaction that claimed it, once known.
    pub transaction_hash: Option<B256>,
    /// Status.
    pub status: OutputStatus,
}

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

impl OutputStatus {
    const ALL: [Self; 3] = [Self::Proposed, Self::Confirmed, Self::Removed];

    fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Confirmed => "confirmed",
            Self::Removed => "removed",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

impl Ledger {
    /// Replaces all heads in one transaction; an absent one is forgotten.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn set_heads(&self, heads: &Heads) -> Result<(), LedgerError> {
        let mut transaction = self.begin().await?;
        set_head(&mut transaction, "latest", heads.latest).await?;
        set_head(&mut transaction, "safe", heads.safe).await?;
        set_head(&mut transaction, "finalized", heads.finalized).await?;
        Ok(transaction.commit().await?)
    }

    /// The heads as last set.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn heads(&self) -> Result<Heads, LedgerError> {
        let rows = sqlx::query("SELECT level, number, hash FROM heads").fetch_all(&self.pool);
        let mut heads = Heads::default();
        for row in rows.await? {
            let number = columns::number(&row, "number")?;
            let head = Some(BlockId { number, hash: columns::hash(&row, "hash")? });
            match row.try_get("level")? {
                "latest" => heads.latest = head,
                "safe" => heads.safe = head,
                "finalized" => heads.finalized = head,
                _ => return Err(LedgerError::Corrupt { column: "level" }),
            }
        }
        Ok(heads)
    }

    /// Writes an output, replacing what was recorded for its L2 block.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn record_output(&self, output: &Output) -> Result<(), LedgerError> {
        sqlx::query(
            "INSERT INTO outputs (l2_number, output_root, transaction_hash, status)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (l2_number) DO UPDATE SET output_root = excluded.output_root,
                transaction_hash = excluded.transaction_hash, status = excluded.status",
        )
        .bind(columns::big_int("l2_number", output.l2_number)?)
        .bind(output.output_root.as_slice())
        .bind(output.transaction_hash.map(|hash| hash.to_vec()))
        .bind(output.status.name())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The outputs at and above an L2 block, lowest first, `count_max` at most.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn outputs(&self, from: u64, count_max: u32) -> Result<Vec<Output>, LedgerError> {
        let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
        let rows = sqlx::query(
            "SELECT l2_number, output_root, transaction_hash, status FROM outputs
             WHERE l2_number >= $1 ORDER BY l2_number LIMIT $2",
        )
        .bind(from)
        .bind(i64::from(count_max))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_output).collect()
    }

    /// The highest output; `None` before the first.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn last_output(&self) -> Result<Option<Output>, LedgerError> {
        let row = sqlx::query(
            "SELECT l2_number, output_root, transaction_hash, status FROM outputs
             ORDER BY l2_number DESC LIMIT 1",
        );
        row.fetch_optional(&self.pool).await?.as_ref().map(read_output).transpose()
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
    head: Option<BlockId>,
) -> Result<(), LedgerError> {
    let Some(head) = head else {
        let query = sqlx::query("DELETE FROM heads WHERE level = $1").bind(level);
        query.execute(&mut **transaction).await?;
        return Ok(());
    };
    sqlx::query(
        "INSERT INTO heads (level, number, hash) VALUES ($1, $2, $3)
         ON CONFLICT (level) DO UPDATE SET number = excluded.number, hash = excluded.hash",
    )
    .bind(level)
    .bind(columns::big_int("number", head.number)?)
    .bind(head.hash.as_slice())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

fn read_output(row: &AnyRow) -> Result<Output, LedgerError> {
    Ok(Output {
        l2_number: columns::number(row, "l2_number")?,
        output_root: columns::hash(row, "output_root")?,
        transaction_hash: columns::optional_hash(row, "transaction_hash")?,
        status: columns::text(row, "status", OutputStatus::of_name)?,
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
