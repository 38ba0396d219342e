//! What one transaction touched in a lane: every account and slot with its value before.
//!
//! Complete by construction: the journal reports each load that was cold for the transaction, and
//! reverted loads too, since what a reverted call read decided that it reverted. Balances are
//! treated apart from the rest of an account, so that two transactions that only pay into the same
//! account, or out of one that holds plenty, do not depend on each other.

use super::base;
use crate::state::Account;
use alloc::vec::Vec;
use alloy_primitives::{Address, B256, U256, map::HashSet};
use revm::state::Account as RevmAccount;

/// An account that was loaded, as it was before the transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccountRead {
    pub(super) address: Address,
    pub(super) before: Account,
}

/// A slot that was loaded, as it was before the transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotRead {
    pub(super) address: Address,
    pub(super) slot: U256,
    pub(super) before: U256,
}

/// A payment out of an account: it went through because the balance covered it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payment {
    pub(super) from: Address,
    pub(super) balance_wei: U256,
    pub(super) paid_wei: U256,
}

/// What is noted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Detail {
    /// In order, without helpers: nobody asks.
    #[default]
    Nothing,
    Keys,
    /// For learning.
    KeysAndHashes,
}

/// The touched keys of the transaction being executed.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) detail: Detail,
    /// Hashes of 64 bytes: the two words, and the hash.
    pub(super) hashes: Vec<(B256, B256, B256)>,
    /// With an access list, coldness says nothing: note every load.
    pub(super) notes_warm: bool,
    pub(super) accounts: Vec<AccountRead>,
    pub(super) slots: Vec<SlotRead>,
    /// Accounts whose exact balance was seen, or set.
    pub(super) exact_balances: Vec<Address>,
    pub(super) payments: Vec<Payment>,
    /// A load may be noted twice.
    pub(super) repeats: bool,
    /// Loads from the view before this transaction: accounts, slots.
    pub(super) loads_before: (usize, usize),
    /// What was touched since it was reported last, when somebody wants to know.
    pub(super) reported: Option<Reported>,
}

/// Keys that may have changed, some more than once.
#[derive(Debug, Default)]
pub(super) struct Reported {
    pub(super) accounts: Vec<Address>,
    pub(super) slots: Vec<(Address, U256)>,
}

/// A precompile or its neighbour: warm from the start, so coldness says nothing about it. Up to
/// Osaka they are 0x01 to 0x11 and 0x0100 (EIP-7951).
pub(super) fn is_low(address: &Address) -> bool {
    address.0[..18] == [0; 18] && address.0[18] < 2
}

impl Trace {
    /// Moves the keys of the last transaction to those that are reported.
    pub(super) fn settle(&mut self) {
        if let Some(reported) = &mut self.reported {
            reported.accounts.extend(self.accounts.iter().map(|read| read.address));
            reported.slots.extend(self.slots.iter().map(|read| (read.address, read.slot)));
        }
    }

    pub(super) fn begin(&mut self, has_access_list: bool, loads_before: (usize, usize)) {
        self.settle();
        self.loads_before = loads_before;
        self.notes_warm = has_access_list;
        self.repeats = has_access_list;
        self.accounts.clear();
        self.slots.clear();
        self.exact_balances.clear();
        self.payments.clear();
        self.hashes.clear();
    }

    pub(super) fn is_on(&self) -> bool {
        self.detail != Detail::Nothing
    }

    pub(super) fn note_account(&mut self, address: Address, account: &RevmAccount, is_cold: bool) {
        if !self.is_on() || !(is_cold || self.notes_warm || is_low(&address)) {
            return;
        }
        self.repeats |= !is_cold;
        let before = base::account(&account.info);
        self.accounts.push(AccountRead { address, before });
    }

    pub(super) fn note_slot(&mut self, read: SlotRead, is_cold: bool) {
        if self.is_on() && (is_cold || self.notes_warm) {
            self.slots.push(read);
        }
    }

    pub(super) fn note_exact_balance(&mut self, address: Address) {
        if self.is_on() && self.exact_balances.last() != Some(&address) {
            self.exact_balances.push(address);
        }
    }

    pub(super) fn note_payment(&mut self, payment: Payment) {
        if self.is_on() {
            self.payments.push(payment);
        }
    }

    /// Leaves the first note of each key: the one from before the transaction.
    pub(super) fn remove_repeats(&mut self) {
        if !self.repeats {
            return;
        }
        let mut seen = HashSet::<Address>::default();
        self.accounts.retain(|read| seen.insert(read.address));
        let mut seen = HashSet::<(Address, U256)>::default();
        self.slots.retain(|read| seen.insert((read.address, read.slot)));
    }
}
