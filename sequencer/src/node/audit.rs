//! What the node writes into the ledger's audit trail: what an operator asks about afterwards, once
//! the log is gone. Nothing reads it to decide anything, so a line that cannot be written is logged
//! and stops nobody.

use super::NodeError;
use crate::store::{Head, Ledger, LedgerError};
use std::time::{Duration, SystemTime};

/// How often a line is tried, and the time between: enough for lines that meet each other, and short beside
/// what waits for it.
const ATTEMPTS_MAX: u32 = 5;
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Adds a line, dated now.
pub(crate) async fn note(ledger: &Ledger, action: &'static str, detail: &str) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_secs = now.map_or(0, |now| now.as_secs());
    for attempt in 1..=ATTEMPTS_MAX {
        match ledger.audit(now_secs, action, detail).await {
            Ok(()) => return,
            // Two lines at once: one of them gives way.
            Err(LedgerError::Unavailable(_)) if attempt < ATTEMPTS_MAX => {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            Err(error) => {
                tracing::warn!(%error, action, detail, "no line in the audit trail");
                return;
            }
        }
    }
}

/// The node starts on top of `head`.
pub(super) async fn started(ledger: &Ledger, head: Head) {
    let (version, Head { number, hash, .. }) = (env!("CARGO_PKG_VERSION"), head);
    note(ledger, "started", &format!("version {version}, head {number} {hash}")).await;
}

/// The node stopped, and why.
pub(super) async fn stopped(ledger: &Ledger, result: &Result<(), NodeError>) {
    let detail = result.as_ref().map_or_else(ToString::to_string, |()| "asked to".into());
    note(ledger, "stopped", &detail).await;
}

/// L1 reorganised an origin away: the chain went back from block `from` to `to` before it grew again.
pub(super) async fn undone(ledger: Ledger, from: u64, to: u64) {
    note(&ledger, "blocks undone", &format!("L1 reorg: from {from} to {to}")).await;
}
