//! The transactions of a channel, decoded and their senders recovered on threads of their own while
//! earlier blocks are executed: recovery is most of what derivation costs. A hint: whatever is not
//! there is decoded on the spot.

use crate::derive::{Derivation, decode_transactions};
use executor::{Transaction, TransactionError};
use std::collections::VecDeque;
use tokio::task::JoinHandle;

/// Blocks decoded at once and ahead, of at most 32 MiB of transactions each. More is no use: one thread
/// recovers as many senders as are executed in the same time.
const BLOCKS_AHEAD_MAX: usize = 4;

type Decoded = Result<Vec<Transaction>, TransactionError>;

/// Blocks of the channel that derivation has ready, from the next one on.
#[derive(Debug, Default)]
pub(super) struct Decoding {
    running: VecDeque<JoinHandle<Decoded>>,
    next: Option<Decoded>,
}

impl Decoding {
    /// Starts what may be started, and waits for the next block's transactions.
    pub(super) async fn prepare(&mut self, derivation: &Derivation) {
        if self.next.is_some() {
            return;
        }
        while self.running.len() < BLOCKS_AHEAD_MAX
            && let Some(batch) = derivation.ready_batch(self.running.len())
        {
            let batch = batch.clone();
            self.running
                .push_back(tokio::task::spawn_blocking(move || decode_transactions(&batch)));
        }
        if let Some(running) = self.running.pop_front() {
            // A thread that stopped has given nothing.
            self.next = running.await.ok();
        }
    }

    /// The next block's transactions, if they are there. Once only.
    pub(super) fn take(&mut self) -> Option<Decoded> {
        self.next.take()
    }
}
