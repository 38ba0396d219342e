//! The way back into the pool for the transactions of blocks that were undone.
//!
//! Decides which nonces are unused again. Does not know why blocks were undone.

use super::{DropReason, Pool, Step, queue::Entry};
use alloy::{
    consensus::Transaction as _,
    primitives::{Address, U256},
};
use executor::Transaction;
use std::{collections::HashMap, time::Instant};

impl Pool {
    /// Puts the transactions of removed L2 blocks back, in their order and before everything that
    /// waits, after the head went back. What their senders asked with them is asked again, while the
    /// pool remembers it ([`super::Config::explain`]). Balances are not checked again: execution does.
    ///
    /// They were acknowledged: none is dropped for the pool's bounds, its time or a tip. There are no more of
    /// them than there were in blocks that L1 did not have, which back-pressure bounds; while the pool
    /// is over its bounds because of them, newcomers are not taken.
    pub fn reinsert(&mut self, transactions: Vec<Transaction>, now: Instant) {
        self.recent.clear();
        let signed: Vec<Transaction> =
            transactions.into_iter().filter(|tx| tx.as_signed().is_some()).collect();
        let lowest = lowest_nonces(&signed);
        for (sender, next) in &lowest {
            if let Some(queue) = self.senders.get_mut(sender) {
                self.index.leave(queue);
                queue.rewind(*next);
                self.index.enter(*sender, queue);
            }
        }
        let first = self.index.front_sequences(signed.len());
        for (sequence, transaction) in (first..).zip(signed) {
            let next = lowest.get(&transaction.sender()).copied().unwrap_or(0);
            self.reinsert_one(transaction, next, sequence, now);
        }
    }

    fn reinsert_one(&mut self, transaction: Transaction, next: u64, sequence: u64, now: Instant) {
        let hash = transaction.hash();
        if self.index.contains(&hash) {
            return;
        }
        let queue = self.senders.get(&transaction.sender());
        let rival = queue.and_then(|queue| queue.get(transaction.nonce()));
        // It was acknowledged once; a rival that came later gives way.
        let rival = rival.map(|entry| entry.transaction.hash());
        if let Some(rival) = rival {
            self.remove(&rival, DropReason::Replaced { by: hash }, now);
        }
        self.lives.note(hash, Step::Returned, self.clock.unix_ms(now));
        self.note_changed(hash);
        let terms = self.lives.terms(&hash);
        let extra_fee_wei = U256::ZERO;
        let added = now;
        let entry = Entry { transaction, extra_fee_wei, sequence, added, window: 0, terms };
        self.insert(entry, next, false, now);
    }
}

/// The lowest nonce of each account that removed blocks had used: by sending, or by an EIP-7702
/// authorization, which counts the authority's nonce too.
fn lowest_nonces(transactions: &[Transaction]) -> HashMap<Address, u64> {
    let mut lowest: HashMap<Address, u64> = HashMap::new();
    let mut lower = |account: Address, nonce: u64| {
        let next = lowest.entry(account).or_insert(nonce);
        *next = nonce.min(*next);
    };
    for transaction in transactions {
        lower(transaction.sender(), transaction.nonce());
        let signed = transaction.as_signed();
        let authorizations = signed.and_then(|signed| signed.authorization_list());
        for authorization in authorizations.unwrap_or_default() {
            // One that cannot be recovered used no nonce.
            if let Ok(authority) = authorization.recover_authority() {
                lower(authority, authorization.nonce);
            }
        }
    }
    lowest
}
