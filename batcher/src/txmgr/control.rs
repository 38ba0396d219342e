//! What others see of an account that sends, and what they may ask of it while it sends.
//!
//! Owns the status and the wish to cancel. Sends nothing: the [`TxManager`](super::TxManager) that the
//! handle belongs to takes the wish up when it next looks at its transaction.

use super::{OverBudget, Record, RecordId, Shortfall, TxError, Wallet};
use alloy::primitives::{Address, B256};
use std::sync::Arc;
use tokio::sync::watch;

/// A handle to the transaction manager of one account. Clones are the same handle.
#[derive(Clone, Debug)]
pub struct TxControl {
    status: Arc<watch::Sender<TxStatus>>,
    /// The record that is to be cancelled.
    wish: Arc<watch::Sender<Option<RecordId>>>,
}

/// What an account is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxStatus {
    /// The account.
    pub account: Address,
    /// The transaction that is being waited for, also while L1 is away.
    pub in_flight: Option<InFlight>,
    /// Why nothing goes out; `None` when nothing is in the way.
    pub hold: Option<Hold>,
    /// Its money; `None` until it was looked at.
    pub wallet: Option<Wallet>,
}

/// A transaction that is stored and not at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Its record.
    pub id: RecordId,
    /// Its nonce.
    pub nonce: u64,
    /// Its newest attempt.
    pub tx_hash: B256,
    /// How many attempts there are.
    pub attempts: usize,
    /// What became of the wish to cancel it.
    pub cancel: Option<Cancel>,
}

/// What became of a wish to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// L1 has the replacement of this hash.
    Sent(B256),
    /// There is none.
    Refused(CancelError),
}

/// What keeps an account from sending. It passes by itself, and sending goes on then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hold {
    /// L1 asks for more than the caps allow.
    #[error("L1 fees are above the caps")]
    FeesAboveCaps,
    /// The next transaction might cost more than the budget leaves.
    #[error("the budget is used up: {0}")]
    OverBudget(OverBudget),
    /// The wallet is empty, or nearly.
    #[error("{0}")]
    Unfunded(Shortfall),
    /// All attempts were made, and L1 has included none.
    #[error("the L1 transaction is stuck: all attempts were made and none was included")]
    Stuck,
    /// The signer does not answer, or not with what was asked for.
    #[error("the signer does not sign")]
    SignerAway,
}

/// A transaction was replaced by one that does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// The nonce that both have. Whichever is included first uses it.
    pub nonce: u64,
    /// The transaction that does nothing.
    pub tx_hash: B256,
}

/// Nothing was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// There is nothing to cancel.
    #[error("no L1 transaction is in flight")]
    NothingInFlight,
    /// It came to its end first, or the manager did.
    #[error("the L1 transaction ended before it could be cancelled")]
    Ended,
    /// Pools take a replacement only for more than what it replaces offers, and that is above the caps.
    #[error("replacing the L1 transaction would cost more than the fee caps allow")]
    FeesAboveCaps,
    /// The account has less than the replacement may cost.
    #[error("the account cannot pay for a replacement of its L1 transaction")]
    Unfunded,
}

impl TxControl {
    pub(super) fn new(account: Address) -> Self {
        let status = TxStatus { account, in_flight: None, hold: None, wallet: None };
        Self { status: Arc::new(watch::Sender::new(status)), wish: Arc::default() }
    }

    /// What the account is doing now.
    #[must_use]
    pub fn status(&self) -> TxStatus {
        *self.status.borrow()
    }

    /// Every change of the status.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<TxStatus> {
        self.status.subscribe()
    }

    /// Replaces the transaction in flight, under its nonce, by one that moves nothing to nobody, and
    /// returns when L1 has that: a plain one by a plain one, one with blobs by one with an empty blob,
    /// because pools take nothing else. Whichever is then included ends the record, and the sender
    /// decides anew from what L1 has: a poster that is not paused posts the same blocks again.
    ///
    /// Waits while L1 does not answer. The wish outlives a caller that does not wait for it, and the
    /// transaction, once stored, a restart.
    ///
    /// # Errors
    /// [`CancelError`].
    pub async fn cancel(&self) -> Result<Cancelled, CancelError> {
        let mut changes = self.status.subscribe();
        let Some(wanted) = self.status().in_flight else {
            return Err(CancelError::NothingInFlight);
        };
        self.update(wanted.id, |flight| {
            flight.cancel = flight.cancel.filter(|cancel| matches!(cancel, Cancel::Sent(_)));
        });
        self.wish.send_replace(Some(wanted.id));
        let decided = changes.wait_for(|status| match status.in_flight {
            Some(flight) if flight.id == wanted.id => flight.cancel.is_some(),
            _ => true,
        });
        let decided = decided.await.map_err(|_| CancelError::Ended)?;
        match decided.in_flight.filter(|flight| flight.id == wanted.id) {
            Some(InFlight { nonce, cancel: Some(Cancel::Sent(tx_hash)), .. }) => {
                Ok(Cancelled { nonce, tx_hash })
            }
            Some(InFlight { cancel: Some(Cancel::Refused(error)), .. }) => Err(error),
            _ => Err(CancelError::Ended),
        }
    }

    /// Whether somebody wants this record cancelled.
    pub(super) fn wants_cancel(&self, id: RecordId) -> bool {
        *self.wish.borrow() == Some(id)
    }

    /// Completes when somebody wants something.
    pub(super) async fn asked(&self) {
        let mut wish = self.wish.subscribe();
        let _ = wish.changed().await;
    }

    /// Shows a record that is being waited for.
    pub(super) fn show(&self, record: &Record) {
        let Some(last) = record.attempts.last() else { return };
        let (id, nonce, tx_hash) = (record.id, record.nonce, last.tx_hash);
        self.status.send_modify(|status| {
            let before = status.in_flight.filter(|flight| flight.id == id);
            let cancel = before.and_then(|flight| flight.cancel);
            let attempts = record.attempts.len();
            status.in_flight = Some(InFlight { id, nonce, tx_hash, attempts, cancel });
        });
    }

    /// Shows that L1 took the newest attempt.
    pub(super) fn taken(&self, record: &Record) {
        self.show(record);
        if let Some(last) = record.attempts.last().filter(|attempt| attempt.is_cancel) {
            self.decide(record.id, Cancel::Sent(last.tx_hash));
        }
        self.hold(None);
    }

    /// Answers a wish.
    pub(super) fn decide(&self, id: RecordId, cancel: Cancel) {
        self.wish.send_if_modified(|wish| wish.take_if(|wanted| *wanted == id).is_some());
        self.update(id, |flight| flight.cancel = Some(cancel));
    }

    /// Shows that nothing is waited for any more.
    pub(super) fn ended(&self) {
        self.status.send_modify(|status| status.in_flight = None);
        self.wish.send_replace(None);
    }

    /// Shows what is in the way, and says it once.
    pub(super) fn hold(&self, hold: Option<Hold>) {
        self.status.send_if_modified(|status| {
            if status.hold == hold {
                return false;
            }
            let account = status.account;
            let kind = |hold: Option<Hold>| hold.map(|hold| std::mem::discriminant(&hold));
            match hold {
                // Only its numbers changed.
                Some(_) if kind(status.hold) == kind(hold) => {}
                Some(hold) => tracing::error!(%account, "nothing is sent to L1: {hold}"),
                None => tracing::info!(%account, "sending to L1 again"),
            }
            status.hold = hold;
            true
        });
    }

    pub(super) fn show_wallet(&self, wallet: Wallet) {
        self.status.send_modify(|status| status.wallet = Some(wallet));
    }

    fn update(&self, id: RecordId, change: impl FnOnce(&mut InFlight)) {
        self.status.send_if_modified(|status| match &mut status.in_flight {
            Some(flight) if flight.id == id => {
                change(flight);
                true
            }
            _ => false,
        });
    }
}

impl TxError {
    /// What an operator is shown while this is in the way; `None` for what is not of the account.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        match self {
            Self::FeesAboveCaps => Some(Hold::FeesAboveCaps),
            Self::OverBudget(over) => Some(Hold::OverBudget(*over)),
            Self::Unfunded(shortfall) => Some(Hold::Unfunded(*shortfall)),
            Self::Signer(_) => Some(Hold::SignerAway),
            Self::L1(_) | Self::StillOpen | Self::Store(_) | Self::Refused(_) => None,
        }
    }
}
