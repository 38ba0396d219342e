//! What an operator can have done while the process runs: pause, resume, flush, cancel-nonce.
//!
//! Each action is answered after it was applied, changes nothing when asked again, and leaves a line in
//! the ledger's audit trail. Owns the actions and their answers; who may ask, and over what, is in
//! `server`.

mod server;

pub use server::{Admin, Token};
pub(crate) use server::{listen, run};

use crate::{
    node::note,
    store::{Ledger, LedgerError},
};
use alloy::primitives::{Address, B256};
use batcher::{
    control::{Control, ControlState},
    poster::POSTER,
    proposer::PROPOSER,
    source::BlockSource,
    tracker::Heads,
    txmgr::{CancelError, TxStatus},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{fmt, str::FromStr, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};

/// How long a flush is waited for: some L1 blocks, with a replaced transaction among them. It goes on
/// when the answer is given up.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(180);
/// How long a cancellation is waited for: until L1 takes the replacement.
const CANCEL_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long an answer to pause waits for what has begun to be signed, so that it can be named.
const NAMING_WAIT_MAX: Duration = Duration::from_secs(5);

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// No further submission begins, also after a restart.
    Pause,
    /// Submissions begin again; what halted tries again.
    Resume,
    /// Everything up to the head is brought to L1 now.
    Flush,
    /// The transaction in flight is replaced by one that does nothing.
    CancelNonce,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pause, Self::Resume, Self::Flush, Self::CancelNonce];

    /// Its name in a path.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Flush => "flush",
            Self::CancelNonce => "cancel-nonce",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Action {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|action| action.name() == text).ok_or(())
    }
}

/// An action was not applied, or not as far as it goes.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// Nothing here sends, or not this.
    #[error("no key of the {0} is in this process: it sends nothing for it")]
    NoSender(&'static str),
    /// It waits for what is paused.
    #[error("sending is paused: resume first")]
    Paused,
    /// It waits for what halted.
    #[error("the {task} halted ({reason}): resume once that is mended")]
    Halted {
        /// The task.
        task: &'static str,
        /// Why.
        reason: String,
    },
    /// Nothing was cancelled.
    #[error(transparent)]
    Cancel(#[from] CancelError),
    /// It is not done yet; it goes on.
    #[error("not done within {secs} s, and going on: {why}")]
    GoingOn {
        /// How long was waited.
        secs: u64,
        /// What is in the way.
        why: String,
    },
    /// The chain cannot be read.
    #[error(transparent)]
    Source(#[from] batcher::source::SourceError),
    /// A pause holds now, and a restart would not know.
    #[error("it holds until this process ends only: {0}")]
    Ledger(#[source] LedgerError),
    /// A pause goes on: that it is over could not be kept.
    #[error("sending stays paused: {0}")]
    StaysPaused(#[source] LedgerError),
    /// Whoever would do it has ended.
    #[error("this process is stopping")]
    Stopping,
}

/// What the actions work on.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The tasks that send.
    pub control: Control,
    /// The heads on L1.
    pub heads: watch::Receiver<Heads>,
    /// The chain that is posted.
    pub source: Arc<dyn BlockSource>,
    /// Where a pause is kept, and the audit trail.
    pub ledger: Ledger,
    /// Tasks that send in this process.
    pub tasks: Vec<&'static str>,
    /// Held by a pause and a resume, over the ledger's write: what is kept is what holds.
    pub pausing: Arc<Mutex<()>>,
}

#[derive(Serialize)]
struct Sender {
    task: &'static str,
    account: Address,
    in_flight: Option<Flight>,
    hold: Option<String>,
}

#[derive(Serialize)]
struct Flight {
    nonce: u64,
    tx_hash: B256,
    attempts: usize,
}

fn sender(task: &'static str, status: &TxStatus) -> Sender {
    let flight = |flight: batcher::txmgr::InFlight| Flight {
        nonce: flight.nonce,
        tx_hash: flight.tx_hash,
        attempts: flight.attempts,
    };
    Sender {
        task,
        account: status.account,
        in_flight: status.in_flight.map(flight),
        hold: status.hold.map(|hold| hold.to_string()),
    }
}

impl Operator {
    /// Does it, and answers what came of it. `task` is whose transaction is cancelled.
    ///
    /// # Errors
    /// [`ActionError`].
    pub async fn apply(&self, action: Action, task: &str) -> Result<Value, ActionError> {
        match action {
            Action::Pause => self.pause().await,
            Action::Resume => self.resume().await,
            Action::Flush => self.flush().await,
            Action::CancelNonce => self.cancel_nonce(task).await,
        }
    }

    /// The state, with nothing changed.
    #[must_use]
    pub fn status(&self) -> Value {
        let ControlState { is_paused, submitting, flush_to, halted, failing } =
            self.control.state();
        let heads = *self.heads.borrow();
        json!({
            "paused": is_paused,
            "senders": self.senders(),
            "submitting": submitting,
            "flush_to": flush_to,
            "halted": halted,
            "failing": failing,
            "safe": heads.safe.block.number,
            "finalized": heads.finalized.block.number,
        })
    }

    fn senders(&self) -> Vec<Sender> {
        let senders = self.control.all_senders();
        senders.iter().map(|(task, tx)| sender(task, &tx.status())).collect()
    }

    fn poster_is_here(&self) -> Result<(), ActionError> {
        match self.tasks.contains(&POSTER) {
            true => Ok(()),
            false => Err(ActionError::NoSender(POSTER)),
        }
    }

    async fn pause(&self) -> Result<Value, ActionError> {
        if self.tasks.is_empty() {
            return Err(ActionError::NoSender("poster or the proposer"));
        }
        {
            let _pausing = self.pausing.lock().await;
            self.control.pause();
            self.ledger.set_paused(true).await.map_err(ActionError::Ledger)?;
        }
        // What has passed the gate is signed now, and then has a nonce to be told by.
        let named = || {
            let senders = self.control.all_senders();
            let state = self.control.state();
            state.submitting.keys().all(|task| {
                senders.get(task).is_some_and(|sender| sender.status().in_flight.is_some())
            })
        };
        let naming = async {
            while !named() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = timeout(NAMING_WAIT_MAX, naming).await;
        Ok(self.status())
    }

    async fn resume(&self) -> Result<Value, ActionError> {
        let _pausing = self.pausing.lock().await;
        self.ledger.set_paused(false).await.map_err(ActionError::StaysPaused)?;
        self.control.resume();
        Ok(self.status())
    }

    async fn flush(&self) -> Result<Value, ActionError> {
        self.poster_is_here()?;
        let to = self.source.head().await?.number;
        let mut heads = self.heads.clone();
        let mut changes = self.control.changes();
        if heads.borrow().safe.block.number < to {
            self.reason_not_to_wait()?;
            self.control.flush(to);
        }
        let waiting = async {
            loop {
                // In this order: what is told to be done is in the heads by then.
                let is_done = changes.borrow_and_update().flush_to.is_none();
                let safe = heads.borrow_and_update().safe.block.number;
                if safe >= to || is_done {
                    return Ok(json!({ "flushed_to": safe.min(to), "safe": safe }));
                }
                self.reason_not_to_wait()?;
                tokio::select! {
                    changed = heads.changed() => changed.map_err(|_| ActionError::Stopping)?,
                    _ = changes.changed() => {}
                }
            }
        };
        match timeout(FLUSH_WAIT_MAX, waiting).await {
            Ok(done) => done,
            Err(_) => Err(self.going_on(FLUSH_WAIT_MAX)),
        }
    }

    fn reason_not_to_wait(&self) -> Result<(), ActionError> {
        let state = self.control.state();
        if let Some(reason) = state.halted.get(POSTER) {
            return Err(ActionError::Halted { task: POSTER, reason: reason.clone() });
        }
        if state.is_paused { Err(ActionError::Paused) } else { Ok(()) }
    }

    /// What is known to be in the way.
    fn going_on(&self, waited: Duration) -> ActionError {
        let failing = self.control.state().failing;
        let mut why: Vec<_> =
            failing.iter().map(|(task, error)| format!("{task}: {error}")).collect();
        for Sender { task, in_flight, hold, .. } in self.senders() {
            why.extend(hold.map(|hold| format!("{task}: {hold}")));
            why.extend(in_flight.map(|flight| {
                format!("{task}: L1 has not included {} (nonce {})", flight.tx_hash, flight.nonce)
            }));
        }
        let why = if why.is_empty() {
            "nothing is known to be in the way".into()
        } else {
            why.join("; ")
        };
        ActionError::GoingOn { secs: waited.as_secs(), why }
    }

    async fn cancel_nonce(&self, task: &str) -> Result<Value, ActionError> {
        let Some(task) = self.tasks.iter().find(|name| **name == task) else {
            let known = if task == POSTER { POSTER } else { PROPOSER };
            return Err(ActionError::NoSender(known));
        };
        let senders = self.control.all_senders();
        // One that has not started has sent nothing.
        let sender = senders.get(task).ok_or(CancelError::NothingInFlight)?;
        match timeout(CANCEL_WAIT_MAX, sender.cancel()).await {
            Ok(cancelled) => {
                let cancelled = cancelled?;
                let (nonce, tx_hash) = (cancelled.nonce, cancelled.tx_hash);
                Ok(json!({ "task": task, "nonce": nonce, "replaced_by": tx_hash }))
            }
            Err(_) => Err(self.going_on(CANCEL_WAIT_MAX)),
        }
    }

    /// Adds a line about an action.
    async fn audit(&self, action: Action, from: &str, outcome: &str) {
        let action = match action {
            Action::Pause => "admin pause",
            Action::Resume => "admin resume",
            Action::Flush => "admin flush",
            Action::CancelNonce => "admin cancel-nonce",
        };
        note(&self.ledger, action, &format!("from {from}: {outcome}")).await;
    }
}
