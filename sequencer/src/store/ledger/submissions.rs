//! Transactions to L1, as the batcher's [`SubmissionStore`]: what is sent, every signed attempt, and
//! where it ended. Does not send, and does not judge what L1 says.
//!
//! Attempts are only ever added, so an update writes the new ones and leaves the old bytes alone.

use super::{Ledger, LedgerError, PostingLock, columns, costs, meta, set_meta};
use alloy::primitives::Address;
use async_trait::async_trait;
use batcher::{
    encoder::BlockId,
    l1::InboxPosition,
    txmgr::{
        AppendPurpose, Attempt, Call, Cost, Fees, Inclusion, Purpose, Record, RecordId, Status,
        StoreError, SubmissionStore,
    },
};
use sqlx::{Any, Row, Transaction, any::AnyRow};

/// Meta row: the last id given. Ids are never given twice, also when the last record is forgotten.
const LAST_ID: &str = "last_submission_id";

/// A query for whole submissions but their attempts.
macro_rules! select_submissions {
    ($rest:literal) => {
        concat!(
            "SELECT s.id, s.account, s.nonce, s.status, s.call_to, s.call_input, s.gas_limit, ",
            "s.blob_payload, a.submission_id AS append_id, a.parent_next_batch, a.parent_acc, ",
            "a.channel, a.frame_index, a.is_last, a.first_parent_number, ",
            "a.first_parent_hash, a.last_block_number, a.last_block_hash, a.frame, o.l2_number, o.l2_hash, o.output_root, ",
            "i.transaction_hash, i.l1_number, i.l1_hash, i.gas_used, i.cost_wei ",
            "FROM submissions s ",
            "LEFT JOIN append_purposes a ON a.submission_id = s.id ",
            "LEFT JOIN output_purposes o ON o.submission_id = s.id ",
            "LEFT JOIN inclusions i ON i.submission_id = s.id ",
            $rest
        )
    };
}

#[async_trait]
impl SubmissionStore for Ledger {
    async fn insert(&self, record: &Record) -> Result<RecordId, StoreError> {
        Ok(self.insert_submission(record).await?)
    }

    async fn update(&self, record: &Record) -> Result<(), StoreError> {
        Ok(self.update_submission(record).await?)
    }

    async fn open(&self, account: Address) -> Result<Vec<Record>, StoreError> {
        Ok(self.open_submissions(account).await?)
    }

    async fn confirmed_append(&self, parent: InboxPosition) -> Result<Option<Record>, StoreError> {
        Ok(self.confirmed_append_on(parent).await?)
    }

    async fn forget_appends_before(&self, batch_id: u64) -> Result<(), StoreError> {
        Ok(self.forget_appends(batch_id).await?)
    }

    async fn costs_since(&self, at_secs: u64) -> Result<Vec<Cost>, StoreError> {
        Ok(self.costs_paid_since(at_secs).await?)
    }
}

/// The store of whoever sends. Before a transaction is stored, and so before it is sent, and before what
/// was left open is read, this still has to be the process that posts.
#[async_trait]
impl SubmissionStore for PostingLock {
    async fn insert(&self, record: &Record) -> Result<RecordId, StoreError> {
        self.check().await?;
        self.ledger().insert(record).await
    }

    async fn update(&self, record: &Record) -> Result<(), StoreError> {
        self.check().await?;
        self.ledger().update(record).await
    }

    async fn open(&self, account: Address) -> Result<Vec<Record>, StoreError> {
        self.check().await?;
        self.ledger().open(account).await
    }

    async fn confirmed_append(&self, parent: InboxPosition) -> Result<Option<Record>, StoreError> {
        self.ledger().confirmed_append(parent).await
    }

    async fn forget_appends_before(&self, batch_id: u64) -> Result<(), StoreError> {
        self.ledger().forget_appends_before(batch_id).await
    }

    async fn costs_since(&self, at_secs: u64) -> Result<Vec<Cost>, StoreError> {
        self.ledger().costs_since(at_secs).await
    }
}

impl From<LedgerError> for StoreError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Unavailable(_) | LedgerError::LockLost => {
                Self::Unavailable(Box::new(error))
            }
            error => Self::Failed(Box::new(error)),
        }
    }
}

impl Ledger {
    async fn insert_submission(&self, record: &Record) -> Result<RecordId, LedgerError> {
        let mut transaction = self.begin().await?;
        let last = match meta(&mut transaction, LAST_ID).await? {
            Some(value) => value.try_into().map(u64::from_be_bytes),
            None => Ok(0),
        };
        let id = last.map_err(|_| LedgerError::Corrupt { column: "meta.value" })? + 1;
        set_meta(&mut transaction, LAST_ID, &id.to_be_bytes()).await?;
        sqlx::query(
            "INSERT INTO submissions (id, account, nonce, status, call_to, call_input, gas_limit,
                blob_payload) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(columns::big_int("id", id)?)
        .bind(record.account.as_slice())
        .bind(columns::big_int("nonce", record.nonce)?)
        .bind(status_name(&record.status))
        .bind(record.call.to.as_slice())
        .bind(record.call.input.to_vec())
        .bind(columns::big_int("gas_limit", record.call.gas_limit)?)
        .bind(record.call.blob_payload.as_ref().map(|payload| payload.to_vec()))
        .execute(&mut *transaction)
        .await?;
        insert_purpose(&mut transaction, id, &record.purpose).await?;
        insert_attempts(&mut transaction, id, &record.attempts, 0).await?;
        set_inclusion(&mut transaction, id, record).await?;
        transaction.commit().await?;
        Ok(id)
    }

    async fn update_submission(&self, record: &Record) -> Result<(), LedgerError> {
        let mut transaction = self.begin().await?;
        let id = columns::big_int("id", record.id)?;
        let updated = sqlx::query("UPDATE submissions SET status = $1 WHERE id = $2")
            .bind(status_name(&record.status))
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        if updated.rows_affected() == 0 {
            return Err(LedgerError::UnknownSubmission { id: record.id });
        }
        let stored = sqlx::query("SELECT ordinal FROM attempts WHERE submission_id = $1")
            .bind(id)
            .fetch_all(&mut *transaction)
            .await?;
        insert_attempts(&mut transaction, record.id, &record.attempts, stored.len()).await?;
        set_inclusion(&mut transaction, record.id, record).await?;
        Ok(transaction.commit().await?)
    }

    async fn open_submissions(&self, account: Address) -> Result<Vec<Record>, LedgerError> {
        let mut transaction = self.begin_read().await?;
        let rows = sqlx::query(select_submissions!(
            "WHERE s.account = $1 AND s.status IN ('stored', 'broadcast') ORDER BY s.id"
        ))
        .bind(account.as_slice())
        .fetch_all(&mut *transaction)
        .await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            records.push(read_record(&mut transaction, row).await?);
        }
        Ok(records)
    }

    async fn confirmed_append_on(
        &self,
        parent: InboxPosition,
    ) -> Result<Option<Record>, LedgerError> {
        let mut transaction = self.begin_read().await?;
        let row = sqlx::query(select_submissions!(
            "WHERE a.parent_next_batch = $1 AND a.parent_acc = $2 AND s.status = 'confirmed'
             ORDER BY s.id DESC LIMIT 1"
        ))
        .bind(columns::big_int("parent_next_batch", parent.next_batch)?)
        .bind(parent.acc.as_slice())
        .fetch_optional(&mut *transaction)
        .await?;
        match row {
            Some(row) => read_record(&mut transaction, &row).await.map(Some),
            None => Ok(None),
        }
    }

    async fn forget_appends(&self, batch_id: u64) -> Result<(), LedgerError> {
        let batch_id = columns::big_int("parent_next_batch", batch_id)?;
        let mut transaction = self.begin().await?;
        let rows = sqlx::query(
            "SELECT s.id FROM submissions s JOIN append_purposes a ON a.submission_id = s.id
             WHERE a.parent_next_batch < $1 AND s.status NOT IN ('stored', 'broadcast')",
        )
        .bind(batch_id)
        .fetch_all(&mut *transaction)
        .await?;
        for row in rows {
            let id: i64 = row.try_get("id")?;
            for statement in [
                "DELETE FROM attempts WHERE submission_id = $1",
                "DELETE FROM inclusions WHERE submission_id = $1",
                "DELETE FROM append_purposes WHERE submission_id = $1",
                "DELETE FROM submissions WHERE id = $1",
            ] {
                sqlx::query(statement).bind(id).execute(&mut *transaction).await?;
            }
        }
        Ok(transaction.commit().await?)
    }
}

fn status_name(status: &Status) -> &'static str {
    match status {
        Status::Stored => "stored",
        Status::Broadcast => "broadcast",
        Status::Confirmed(_) => "confirmed",
        Status::Reverted(_) => "reverted",
        Status::Cancelled(_) => "cancelled",
        Status::Dropped => "dropped",
    }
}

async fn insert_purpose(
    transaction: &mut Transaction<'static, Any>,
    id: RecordId,
    purpose: &Purpose,
) -> Result<(), LedgerError> {
    let id = columns::big_int("submission_id", id)?;
    let query = match purpose {
        Purpose::Append(append) => sqlx::query(
            "INSERT INTO append_purposes (submission_id, parent_next_batch, parent_acc, channel,
                frame_index, is_last, first_parent_number, first_parent_hash, last_block_number,
                last_block_hash, frame)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(id)
        .bind(columns::big_int("parent_next_batch", append.parent.next_batch)?)
        .bind(append.parent.acc.as_slice())
        .bind(append.channel.as_slice())
        .bind(i64::from(append.index))
        .bind(i64::from(append.is_last))
        .bind(columns::big_int("first_parent_number", append.first_parent.number)?)
        .bind(append.first_parent.hash.as_slice())
        .bind(columns::big_int("last_block_number", append.last_block.number)?)
        .bind(append.last_block.hash.as_slice())
        .bind(append.frame.to_vec()),
        Purpose::Output { block, root } => sqlx::query(
            "INSERT INTO output_purposes (submission_id, l2_number, l2_hash, output_root)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(id)
        .bind(columns::big_int("l2_number", block.number)?)
        .bind(block.hash.as_slice())
        .bind(root.as_slice()),
    };
    query.execute(&mut **transaction).await?;
    Ok(())
}

/// Writes the attempts from position `first` on.
async fn insert_attempts(
    transaction: &mut Transaction<'static, Any>,
    id: RecordId,
    attempts: &[Attempt],
    first: usize,
) -> Result<(), LedgerError> {
    let id = columns::big_int("submission_id", id)?;
    for (ordinal, attempt) in (0_i64..).zip(attempts).skip(first) {
        sqlx::query(
            "INSERT INTO attempts (submission_id, ordinal, transaction_hash, max_fee_wei,
                priority_fee_wei, max_blob_fee_wei, raw, is_cancel)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id)
        .bind(ordinal)
        .bind(attempt.tx_hash.as_slice())
        .bind(attempt.fees.max_fee_wei.to_string())
        .bind(attempt.fees.priority_fee_wei.to_string())
        .bind(attempt.fees.max_blob_fee_wei.map(|fee| fee.to_string()))
        .bind(attempt.raw.to_vec())
        .bind(i64::from(attempt.is_cancel))
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

async fn set_inclusion(
    transaction: &mut Transaction<'static, Any>,
    id: RecordId,
    record: &Record,
) -> Result<(), LedgerError> {
    let id = columns::big_int("submission_id", id)?;
    sqlx::query("DELETE FROM inclusions WHERE submission_id = $1")
        .bind(id)
        .execute(&mut **transaction)
        .await?;
    let Some(inclusion) = record.status.inclusion() else { return Ok(()) };
    costs::note(transaction, record.account, inclusion).await?;
    sqlx::query(
        "INSERT INTO inclusions (submission_id, transaction_hash, l1_number, l1_hash, gas_used,
            cost_wei) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id)
    .bind(inclusion.tx_hash.as_slice())
    .bind(columns::big_int("l1_number", inclusion.l1_block.number)?)
    .bind(inclusion.l1_block.hash.as_slice())
    .bind(columns::big_int("gas_used", inclusion.gas_used)?)
    .bind(inclusion.cost_wei.to_string())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn read_record(
    transaction: &mut Transaction<'static, Any>,
    row: &AnyRow,
) -> Result<Record, LedgerError> {
    let id = columns::number(row, "id")?;
    let attempts = sqlx::query(
        "SELECT transaction_hash, max_fee_wei, priority_fee_wei, max_blob_fee_wei, raw, is_cancel
         FROM attempts WHERE submission_id = $1 ORDER BY ordinal",
    )
    .bind(columns::big_int("submission_id", id)?)
    .fetch_all(&mut **transaction)
    .await?;
    Ok(Record {
        id,
        account: columns::address(row, "account")?,
        nonce: columns::number(row, "nonce")?,
        purpose: read_purpose(row)?,
        call: Call {
            to: columns::address(row, "call_to")?,
            input: columns::bytes(row, "call_input")?,
            blob_payload: columns::optional_bytes(row, "blob_payload")?,
            gas_limit: columns::number(row, "gas_limit")?,
        },
        attempts: attempts.iter().map(read_attempt).collect::<Result<_, _>>()?,
        status: read_status(row)?,
    })
}

fn read_block(
    row: &AnyRow,
    number: &'static str,
    hash: &'static str,
) -> Result<BlockId, LedgerError> {
    Ok(BlockId { number: columns::number(row, number)?, hash: columns::hash(row, hash)? })
}

fn read_purpose(row: &AnyRow) -> Result<Purpose, LedgerError> {
    if row.try_get::<Option<i64>, _>("append_id")?.is_none() {
        let block = read_block(row, "l2_number", "l2_hash")?;
        return Ok(Purpose::Output { block, root: columns::hash(row, "output_root")? });
    }
    let index = columns::number(row, "frame_index")?;
    let channel: &[u8] = row.try_get("channel")?;
    Ok(Purpose::Append(AppendPurpose {
        parent: InboxPosition {
            next_batch: columns::number(row, "parent_next_batch")?,
            acc: columns::hash(row, "parent_acc")?,
        },
        channel: channel.try_into().map_err(|_| LedgerError::Corrupt { column: "channel" })?,
        index: index.try_into().map_err(|_| LedgerError::Corrupt { column: "frame_index" })?,
        is_last: columns::number(row, "is_last")? != 0,
        first_parent: read_block(row, "first_parent_number", "first_parent_hash")?,
        last_block: read_block(row, "last_block_number", "last_block_hash")?,
        frame: columns::bytes(row, "frame")?,
    }))
}

fn read_status(row: &AnyRow) -> Result<Status, LedgerError> {
    let inclusion = || -> Result<Inclusion, LedgerError> {
        Ok(Inclusion {
            tx_hash: columns::hash(row, "transaction_hash")?,
            l1_block: read_block(row, "l1_number", "l1_hash")?,
            gas_used: columns::number(row, "gas_used")?,
            cost_wei: columns::text(row, "cost_wei", |text| text.parse().ok())?,
        })
    };
    match row.try_get("status")? {
        "stored" => Ok(Status::Stored),
        "broadcast" => Ok(Status::Broadcast),
        "confirmed" => Ok(Status::Confirmed(inclusion()?)),
        "reverted" => Ok(Status::Reverted(inclusion()?)),
        "cancelled" => Ok(Status::Cancelled(inclusion()?)),
        "dropped" => Ok(Status::Dropped),
        _ => Err(LedgerError::Corrupt { column: "status" }),
    }
}

fn read_attempt(row: &AnyRow) -> Result<Attempt, LedgerError> {
    let blob_fee: Option<String> = row.try_get("max_blob_fee_wei")?;
    let blob_fee = blob_fee.map(|text| text.parse()).transpose();
    Ok(Attempt {
        tx_hash: columns::hash(row, "transaction_hash")?,
        fees: Fees {
            max_fee_wei: columns::text(row, "max_fee_wei", |text| text.parse().ok())?,
            priority_fee_wei: columns::text(row, "priority_fee_wei", |text| text.parse().ok())?,
            max_blob_fee_wei: blob_fee
                .map_err(|_| LedgerError::Corrupt { column: "max_blob_fee_wei" })?,
        },
        raw: columns::bytes(row, "raw")?,
        is_cancel: columns::number(row, "is_cancel")? != 0,
    })
}
