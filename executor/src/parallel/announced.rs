//! What an access list announces that each transaction of a block will change.
//!
//! With it a helper starts every transaction on the state that the ones before it are said to leave,
//! and transactions that depend on each other can be executed side by side. A hint and no more: the
//! leader compares what was read, as ever. New code is not announced to helpers; they decline the
//! transactions that make it, and are wrong about those that call it in the same block.

use crate::{access_list::BlockAccessList, lane::Announcement};
use alloc::vec::Vec;
use alloy_eips::eip7928::BlockAccessIndex;
use alloy_primitives::Address;
use core::ops::Range;

/// The announcements of a list, by transaction.
#[derive(Debug)]
pub(crate) struct Announced {
    announcements: Vec<Announcement>,
    /// Where those of each transaction begin, and where the last ones end.
    starts: Vec<usize>,
}

impl Announced {
    /// Of the block's first `transactions`; what the list says of others, and of before and after
    /// them, is left out.
    pub(crate) fn new(list: &BlockAccessList, transactions: usize) -> Self {
        let mut ends = alloc::vec![0usize; transactions + 1];
        each(list, transactions, |transaction, _| ends[transaction + 1] += 1);
        for transaction in 0..transactions {
            ends[transaction + 1] += ends[transaction];
        }
        let starts = ends.clone();
        let nothing = Announcement::Nonce(Address::ZERO, 0);
        let mut announcements = alloc::vec![nothing; starts[transactions]];
        each(list, transactions, |transaction, announcement| {
            announcements[ends[transaction]] = announcement;
            ends[transaction] += 1;
        });
        Self { announcements, starts }
    }

    /// What these transactions are said to change, in their order.
    pub(crate) fn of(&self, transactions: Range<usize>) -> &[Announcement] {
        let last = self.starts.len() - 1;
        let start = self.starts[transactions.start.min(last)];
        let end = self.starts[transactions.end.min(last)];
        self.announcements.get(start..end).unwrap_or_default()
    }
}

/// Visits everything that the list says of the block's first transactions.
fn each(list: &BlockAccessList, transactions: usize, mut visit: impl FnMut(usize, Announcement)) {
    let mut note = |index: BlockAccessIndex, announcement| {
        // 0 is what comes before the first one.
        let transaction = usize::try_from(index.get()).ok().and_then(|at| at.checked_sub(1));
        if let Some(transaction) = transaction.filter(|at| *at < transactions) {
            visit(transaction, announcement);
        }
    };
    for account in list.accounts() {
        let address = account.address;
        for change in &account.balance_changes {
            let announcement = Announcement::BalanceWei(address, change.post_balance);
            note(change.block_access_index, announcement);
        }
        for change in &account.nonce_changes {
            note(change.block_access_index, Announcement::Nonce(address, change.new_nonce));
        }
        for slot in &account.storage_changes {
            for change in &slot.changes {
                let announcement = Announcement::Slot(address, slot.slot, change.new_value);
                note(change.block_access_index, announcement);
            }
        }
    }
}
