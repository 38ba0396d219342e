//! What L1 was paid for the node's transactions, each once. Outlives the submissions, which are forgotten
//! when they are final, so that a budget counts across restarts. Limits nothing.

use super::{Ledger, LedgerError, columns};
use alloy::primitives::Address;
use batcher::txmgr::{Cost, Inclusion};
use sqlx::{Any, Transaction};
use std::time::{SystemTime, UNIX_EPOCH};

/// How long what was paid is kept: longer than any budget counts, for an operator to look at.
const KEPT_SECS: u64 = 31 * 24 * 3_600;

impl Ledger {
    pub(super) async fn costs_paid_since(&self, at_secs: u64) -> Result<Vec<Cost>, LedgerError> {
        let mut transaction = self.begin_read().await?;
        let rows = sqlx::query(
            "SELECT account, at_secs, cost_wei FROM costs WHERE at_secs >= $1 ORDER BY at_secs",
        )
        .bind(columns::big_int("at_secs", at_secs)?)
        .fetch_all(&mut *transaction)
        .await?;
        let cost = |row| {
            Ok(Cost {
                account: columns::address(row, "account")?,
                at_secs: columns::number(row, "at_secs")?,
                cost_wei: columns::text(row, "cost_wei", |text| text.parse().ok())?,
            })
        };
        rows.iter().map(cost).collect()
    }
}

/// Notes what a transaction cost, unless it is noted already, and forgets what is old.
pub(super) async fn note(
    transaction: &mut Transaction<'static, Any>,
    account: Address,
    inclusion: &Inclusion,
) -> Result<(), LedgerError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    sqlx::query("DELETE FROM costs WHERE at_secs < $1")
        .bind(columns::big_int("at_secs", now.saturating_sub(KEPT_SECS))?)
        .execute(&mut **transaction)
        .await?;
    sqlx::query(
        "INSERT INTO costs (transaction_hash, account, at_secs, cost_wei) VALUES ($1, $2, $3, $4)
         ON CONFLICT (transaction_hash) DO NOTHING",
    )
    .bind(inclusion.tx_hash.as_slice())
    .bind(account.as_slice())
    .bind(columns::big_int("at_secs", now)?)
    .bind(inclusion.cost_wei.to_string())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
