//! The L1 chain as it was watched: blocks without gaps, and the deposits of each.
//!
//! The highest stored block is the cursor. It moves in the same transaction as everything that L1
//! block brought, so no effect is lost or applied twice. Does not decide what is canonical: the
//! watcher does, and rolls back here when L1 did.

use super::{Ledger, LedgerError, columns, meta, set_meta};
use batcher::{encoder::BlockId, l1::L1Block};
use executor::{Deposit, L1Origin};
use sqlx::{Any, Row, Transaction, any::AnyRow};

/// Meta row: blocks below this number were pruned as final.
const PRUNED_BELOW: &str = "l1_pruned_below";

/// A query for whole L1 blocks.
macro_rules! select_blocks {
    ($rest:literal) => {
        concat!(
            "SELECT number, hash, parent_hash, timestamp_secs, base_fee_wei, blob_base_fee_wei, ",
            "prevrandao FROM l1_blocks ",
            $rest
        )
    };
}

impl Ledger {
    /// Appends the L1 block after the cursor with its deposits, in one transaction. The first block
    /// of an empty ledger may be any.
    ///
    /// # Errors
    /// [`LedgerError::L1ParentMismatch`] when it does not follow the cursor; nothing is applied.
    pub async fn append_l1_block(
        &self,
        block: &L1Origin,
        deposits: &[Deposit],
    ) -> Result<(), LedgerError> {
        let mut transaction = self.begin().await?;
        let tip = sqlx::query(select_blocks!("ORDER BY number DESC LIMIT 1"))
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(tip) = tip.as_ref().map(read_block).transpose()? {
            let stored = BlockId { number: tip.number, hash: tip.hash };
            let offered = BlockId { number: block.number, hash: block.hash };
            let offered_parent = block.parent_hash;
            if tip.number.checked_add(1) != Some(block.number) || tip.hash != offered_parent {
                return Err(LedgerError::L1ParentMismatch { stored, offered, offered_parent });
            }
        }
        insert_block(&mut transaction, block).await?;
        insert_deposits(&mut transaction, block.number, deposits).await?;
        Ok(transaction.commit().await?)
    }

    /// The cursor: the last L1 block that was appended; `None` in a new ledger.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn l1_tip(&self) -> Result<Option<L1Origin>, LedgerError> {
        let query = sqlx::query(select_blocks!("ORDER BY number DESC LIMIT 1"));
        query.fetch_optional(&self.pool).await?.as_ref().map(read_block).transpose()
    }

    /// The stored L1 block of this number; `None` above the cursor and below what was pruned.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn l1_block(&self, number: u64) -> Result<Option<L1Origin>, LedgerError> {
        let Ok(number) = i64::try_from(number) else { return Ok(None) };
        let query = sqlx::query(select_blocks!("WHERE number = $1")).bind(number);
        query.fetch_optional(&self.pool).await?.as_ref().map(read_block).transpose()
    }

    /// The first stored L1 block above this number; `None` at and above the cursor.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn l1_block_after(&self, number: u64) -> Result<Option<L1Origin>, LedgerError> {
        let Ok(number) = i64::try_from(number) else { return Ok(None) };
        let query = sqlx::query(select_blocks!("WHERE number > $1 ORDER BY number LIMIT 1"));
        let row = query.bind(number).fetch_optional(&self.pool).await?;
        row.as_ref().map(read_block).transpose()
    }

    /// The stored L1 blocks at and above `number` with their deposits, lowest first, `count_max` at
    /// most: what the watcher starts from. One snapshot.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn l1_blocks_from(
        &self,
        number: u64,
        count_max: u32,
    ) -> Result<Vec<L1Block>, LedgerError> {
        let Ok(first) = i64::try_from(number) else { return Ok(Vec::new()) };
        let end = first.saturating_add(i64::from(count_max));
        let mut transaction = self.begin_read().await?;
        let rows =
            sqlx::query(select_blocks!("WHERE number >= $1 AND number < $2 ORDER BY number"))
                .bind(first)
                .bind(end)
                .fetch_all(&mut *transaction)
                .await?;
        let block = |row| Ok(L1Block { origin: read_block(row)?, deposits: Vec::new() });
        let mut blocks = rows.iter().map(block).collect::<Result<Vec<_>, LedgerError>>()?;
        let rows = sqlx::query(
            "SELECT l1_number, deposit FROM deposits WHERE l1_number >= $1 AND l1_number < $2
             ORDER BY l1_number, ordinal",
        )
        .bind(first)
        .bind(end)
        .fetch_all(&mut *transaction)
        .await?;
        for row in &rows {
            let number = columns::number(row, "l1_number")?;
            let index = blocks.binary_search_by_key(&number, |block| block.origin.number);
            let block = index.ok().and_then(|index| blocks.get_mut(index));
            let block = block.ok_or(LedgerError::Corrupt { column: "deposits.l1_number" })?;
            block.deposits.push(read_deposit(row)?);
        }
        Ok(blocks)
    }

    /// The deposits of a stored L1 block, in log order; none for a block that is not stored.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn deposits_of(&self, l1_number: u64) -> Result<Vec<Deposit>, LedgerError> {
        let Ok(l1_number) = i64::try_from(l1_number) else { return Ok(Vec::new()) };
        let rows =
            sqlx::query("SELECT deposit FROM deposits WHERE l1_number = $1 ORDER BY ordinal")
                .bind(l1_number)
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(read_deposit).collect()
    }

    /// Removes the L1 blocks above `number` with their deposits, in one transaction; the cursor is
    /// then at `number`, or gone when nothing is left.
    ///
    /// # Errors
    /// [`LedgerError::L1RollbackBelowFinal`] when `number` itself was pruned: halt.
    pub async fn rollback_l1_to(&self, number: u64) -> Result<(), LedgerError> {
        let mut transaction = self.begin().await?;
        let pruned_below = pruned_below(&mut transaction).await?;
        if number < pruned_below {
            return Err(LedgerError::L1RollbackBelowFinal { number, pruned_below });
        }
        let number = columns::big_int("number", number)?;
        for statement in
            ["DELETE FROM deposits WHERE l1_number > $1", "DELETE FROM l1_blocks WHERE number > $1"]
        {
            sqlx::query(statement).bind(number).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Removes the L1 blocks below `number` with their deposits: they are final and no L2 block will
    /// be built on them. The cursor itself is never removed.
    ///
    /// # Errors
    /// [`LedgerError`] when the database fails.
    pub async fn prune_l1_below(&self, number: u64) -> Result<(), LedgerError> {
        let mut transaction = self.begin().await?;
        let tip = sqlx::query(select_blocks!("ORDER BY number DESC LIMIT 1"))
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(tip) = tip.as_ref().map(read_block).transpose()? else { return Ok(()) };
        let below = number.min(tip.number);
        if below <= pruned_below(&mut transaction).await? {
            return Ok(());
        }
        let bound = columns::big_int("number", below)?;
        for statement in
            ["DELETE FROM deposits WHERE l1_number < $1", "DELETE FROM l1_blocks WHERE number < $1"]
        {
            sqlx::query(statement).bind(bound).execute(&mut *transaction).await?;
        }
        set_meta(&mut transaction, PRUNED_BELOW, &below.to_be_bytes()).await?;
        Ok(transaction.commit().await?)
    }
}

async fn pruned_below(transaction: &mut Transaction<'static, Any>) -> Result<u64, LedgerError> {
    let Some(value) = meta(transaction, PRUNED_BELOW).await? else { return Ok(0) };
    let value = value.try_into().map(u64::from_be_bytes);
    value.map_err(|_| LedgerError::Corrupt { column: "meta.value" })
}

async fn insert_block(
    transaction: &mut Transaction<'static, Any>,
    block: &L1Origin,
) -> Result<(), LedgerError> {
    sqlx::query(
        "INSERT INTO l1_blocks (number, hash, parent_hash, timestamp_secs, base_fee_wei,
            blob_base_fee_wei, prevrandao) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(columns::big_int("number", block.number)?)
    .bind(block.hash.as_slice())
    .bind(block.parent_hash.as_slice())
    .bind(columns::big_int("timestamp_secs", block.timestamp)?)
    .bind(columns::big_int("base_fee_wei", block.base_fee_wei)?)
    .bind(block.blob_base_fee_wei.to_string())
    .bind(block.prevrandao.as_slice())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn insert_deposits(
    transaction: &mut Transaction<'static, Any>,
    l1_number: u64,
    deposits: &[Deposit],
) -> Result<(), LedgerError> {
    let l1_number = columns::big_int("l1_number", l1_number)?;
    for (ordinal, deposit) in (0_i64..).zip(deposits) {
        sqlx::query("INSERT INTO deposits (l1_number, ordinal, deposit) VALUES ($1, $2, $3)")
            .bind(l1_number)
            .bind(ordinal)
            .bind(deposit.encoded_2718())
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

fn read_block(row: &AnyRow) -> Result<L1Origin, LedgerError> {
    Ok(L1Origin {
        number: columns::number(row, "number")?,
        hash: columns::hash(row, "hash")?,
        parent_hash: columns::hash(row, "parent_hash")?,
        timestamp: columns::number(row, "timestamp_secs")?,
        base_fee_wei: columns::number(row, "base_fee_wei")?,
        blob_base_fee_wei: columns::text(row, "blob_base_fee_wei", |text| text.parse().ok())?,
        prevrandao: columns::hash(row, "prevrandao")?,
    })
}

fn read_deposit(row: &AnyRow) -> Result<Deposit, LedgerError> {
    let mut bytes: &[u8] = row.try_get("deposit")?;
    let deposit = Deposit::decode_2718(&mut bytes).filter(|_| bytes.is_empty());
    deposit.ok_or(LedgerError::Corrupt { column: "deposit" })
}
