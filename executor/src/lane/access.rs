//! A transaction's accesses as values: taken from one lane, compared with and applied to another.
//!
//! The comparison is what makes the parallel executor correct, and all that does: a result is taken
//! over only when every value it depends on is the leader's current one, under the full key. Then
//! executing the transaction on the leader's lane would have gone the same way, step by step.

use super::{base, journal::LaneJournal, trace::Trace};
use crate::{
    fees::{FeeAccounts, Payout},
    state::{Account, StateView},
};
use alloc::vec::Vec;
use alloy_primitives::{Address, U256, map::Entry};
use revm::state::{Account as RevmAccount, AccountInfo, EvmState, EvmStorageSlot};

/// Balances at or above this are compared exactly: adding to them might overflow.
const BALANCE_MAX_WEI: U256 = U256::from_limbs([0, 0, 0, 1 << 62]);

/// An account that a transaction touched.
#[derive(Clone, Copy, Debug)]
struct AccountAccess {
    address: Address,
    before: Account,
    after: Account,
    /// Least balance before with which every payment goes through; `None` when the exact balance
    /// mattered.
    balance_min_wei: Option<U256>,
    /// The value before is the view's.
    is_fresh: bool,
}

/// A slot that a transaction touched.
#[derive(Clone, Copy, Debug)]
struct SlotAccess {
    address: Address,
    slot: U256,
    before: U256,
    after: U256,
    /// The value before is the view's.
    is_fresh: bool,
}

/// Everything that one transaction read and wrote.
#[derive(Debug, Default)]
pub(crate) struct Access {
    accounts: Vec<AccountAccess>,
    slots: Vec<SlotAccess>,
}

/// New values, to bring another lane up to date.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patch {
    accounts: Vec<(Address, Account)>,
    slots: Vec<(Address, U256, U256)>,
}

/// A value that somebody says a transaction will leave.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Announcement {
    BalanceWei(Address, U256),
    Nonce(Address, u64),
    Slot(Address, U256, U256),
}

impl Patch {
    pub(crate) fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.slots.is_empty()
    }

    /// Keys with a new value.
    pub(crate) fn len(&self) -> usize {
        self.accounts.len() + self.slots.len()
    }

    pub(crate) fn append(&mut self, other: &mut Self) {
        self.accounts.append(&mut other.accounts);
        self.slots.append(&mut other.slots);
    }

    /// What was added since it had these lengths.
    pub(crate) fn since(&self, from: (usize, usize)) -> Self {
        Self { accounts: self.accounts[from.0..].to_vec(), slots: self.slots[from.1..].to_vec() }
    }

    /// Whether the entries from and to these places say the same as another patch, but for the
    /// accounts that get fees.
    pub(crate) fn part_is(
        &self,
        from: (usize, usize),
        to: (usize, usize),
        other: &Self,
        fee_accounts: &FeeAccounts,
    ) -> bool {
        let (accounts, slots) = (&self.accounts[from.0..to.0], &self.slots[from.1..to.1]);
        let is_fee = |account: &&(Address, Account)| fee_accounts.contains(account.0);
        let mut paid = accounts.iter().filter(|account| !is_fee(account));
        paid.all(|account| other.accounts.contains(account))
            && other.accounts.iter().filter(|it| !is_fee(it)).all(|it| accounts.contains(it))
            && slots.iter().all(|slot| other.slots.contains(slot))
            && other.slots.iter().all(|slot| slots.contains(slot))
    }

    pub(crate) fn lengths(&self) -> (usize, usize) {
        (self.accounts.len(), self.slots.len())
    }
}

/// Exact balance needed: `None`; else the least one.
fn balance_min_wei(trace: &Trace, address: Address, before_wei: U256) -> Option<U256> {
    if before_wei >= BALANCE_MAX_WEI || trace.exact_balances.contains(&address) {
        return None;
    }
    let payments = trace.payments.iter().filter(|payment| payment.from == address);
    let least = payments.map(|payment| {
        before_wei.saturating_add(payment.paid_wei).saturating_sub(payment.balance_wei)
    });
    Some(least.max().unwrap_or_default())
}

/// The account is about to vanish: revm clears it when it is loaded the next time.
pub(super) fn is_destroyed(account: &RevmAccount) -> bool {
    account.is_selfdestructed_locally()
}

impl Access {
    /// Of what was changed, the values before.
    pub(crate) fn values_before(&self) -> Patch {
        self.values(|account| account.before, |slot| slot.before)
    }

    /// Of what was changed, the values after.
    pub(crate) fn values_after(&self) -> Patch {
        self.values(|account| account.after, |slot| slot.after)
    }

    fn values(
        &self,
        account: impl Fn(&AccountAccess) -> Account,
        slot: impl Fn(&SlotAccess) -> U256,
    ) -> Patch {
        let accounts = self.accounts.iter().filter(|access| access.before != access.after);
        let slots = self.slots.iter().filter(|access| access.before != access.after);
        Patch {
            accounts: accounts.map(|access| (access.address, account(access))).collect(),
            slots: slots.map(|access| (access.address, access.slot, slot(access))).collect(),
        }
    }
}

impl<V: StateView> LaneJournal<'_, V> {
    /// What the last transaction of this (helper's) lane accessed, to be taken over by the leader.
    /// `None` when it created, destroyed or delegated an account, or looked at one that gets fees:
    /// the leader executes such a transaction itself, and this lane forgets those accounts.
    pub(crate) fn take_access(&mut self) -> Option<Access> {
        self.trace.remove_repeats();
        let Self { inner, trace } = self;
        let state = &mut inner.inner.state;
        let mut is_plain = !core::mem::take(&mut inner.database.tripped);
        if !is_plain && let Some(accounts) = inner.database.tripwire {
            accounts.all().for_each(|address| drop(state.remove(&address)));
        }
        // The loads from the view are noted in their order; what is not among them came from an
        // earlier transaction of this lane, or from the leader.
        let (accounts_before, slots_before) = trace.loads_before;
        let mut account_loads = inner.database.accounts[accounts_before..].iter().peekable();
        let mut slot_loads = inner.database.slots[slots_before..].iter().peekable();
        let mut access = Access {
            accounts: Vec::with_capacity(trace.accounts.len()),
            slots: Vec::with_capacity(trace.slots.len()),
        };
        for read in &trace.accounts {
            let is_fresh = account_loads.next_if(|load| load.0 == read.address).is_some();
            let Some(account) = state.get(&read.address) else { continue };
            let after = base::account(&account.info);
            if account.is_created_locally()
                || is_destroyed(account)
                || after.code_hash != read.before.code_hash
            {
                is_plain = false;
                state.remove(&read.address);
                continue;
            }
            access.accounts.push(AccountAccess {
                address: read.address,
                before: read.before,
                after,
                balance_min_wei: balance_min_wei(trace, read.address, read.before.balance_wei),
                is_fresh,
            });
        }
        for read in &trace.slots {
            let key = (read.address, read.slot);
            let is_fresh = slot_loads.next_if(|load| (load.0, load.1) == key).is_some();
            let account = state.get(&read.address);
            let Some(slot) = account.and_then(|account| account.storage.get(&read.slot)) else {
                continue;
            };
            access.slots.push(SlotAccess {
                address: read.address,
                slot: read.slot,
                before: read.before,
                after: slot.present_value,
                is_fresh,
            });
        }
        is_plain.then_some(access)
    }

    /// The values that the last transaction of this (the leader's) lane left in what it touched.
    pub(crate) fn take_changes(&mut self, patch: &mut Patch) {
        let Self { inner, trace } = self;
        let state = &inner.inner.state;
        for read in &trace.accounts {
            let Some(account) = state.get(&read.address) else { continue };
            let after = current(account);
            if after != read.before {
                patch.accounts.push((read.address, after));
            }
        }
        for read in &trace.slots {
            if let Some(account) = state.get(&read.address)
                && let Some(slot) = account.storage.get(&read.slot)
                && slot.present_value != read.before
            {
                patch.slots.push((read.address, read.slot, slot.present_value));
            }
        }
    }

    /// Everything this (the leader's) lane has changed since the block began, for a new helper.
    pub(crate) fn all_changes(&self) -> Patch {
        let mut patch = Patch::default();
        let state = self.state();
        for (address, before) in &self.inner.database.accounts {
            let Some(account) = state.get(address) else { continue };
            let after = current(account);
            if after != before.unwrap_or_default() {
                patch.accounts.push((*address, after));
            }
            if account.is_created() {
                let slots = account.storage.iter();
                let slots = slots.map(|(slot, value)| (*address, *slot, value.present_value));
                patch.slots.extend(slots);
            }
        }
        for (address, slot, before) in &self.inner.database.slots {
            if let Some(account) = state.get(address)
                && let Some(value) = account.storage.get(slot)
                && value.present_value != *before
            {
                patch.slots.push((*address, *slot, value.present_value));
            }
        }
        patch
    }

    /// The leader's values of everything that a rejected result claims to have changed.
    pub(crate) fn correct(&self, rejected: &Access, patch: &mut Patch) {
        let state = self.state();
        for access in rejected.accounts.iter().filter(|access| access.before != access.after) {
            if let Some(account) = state.get(&access.address) {
                patch.accounts.push((access.address, current(account)));
            }
        }
        for access in rejected.slots.iter().filter(|access| access.before != access.after) {
            let account = state.get(&access.address);
            if let Some(value) = account.and_then(|account| account.storage.get(&access.slot)) {
                patch.slots.push((access.address, access.slot, value.present_value));
            }
        }
    }

    /// Brings this (helper's) lane up to date with the leader.
    pub(crate) fn apply_patch(&mut self, patch: &Patch) {
        self.apply_part(patch, (0, 0), patch.lengths());
    }

    /// [`Self::apply_patch`] with the entries from and to these places.
    pub(crate) fn apply_part(&mut self, patch: &Patch, from: (usize, usize), to: (usize, usize)) {
        let database = &mut self.inner.database;
        let state = &mut self.inner.inner.state;
        for (address, account) in &patch.accounts[from.0..to.0] {
            if database.is_tripwire(*address) {
                continue;
            }
            let Some(known) = state.get_mut(address) else {
                database.account_patches.insert(*address, *account);
                continue;
            };
            if known.info.code_hash == account.code_hash {
                known.info.nonce = account.nonce;
                known.info.balance = account.balance_wei;
            } else {
                known.info = base::info(*account);
            }
        }
        for (address, slot, value) in &patch.slots[from.1..to.1] {
            self.patch_slot(*address, *slot, *value);
        }
    }

    fn patch_slot(&mut self, address: Address, slot: U256, value: U256) {
        let account = self.inner.inner.state.get_mut(&address);
        match account.and_then(|account| account.storage.get_mut(&slot)) {
            Some(known) => known.present_value = value,
            None => {
                self.inner.database.slot_patches.insert((address, slot), value);
            }
        }
    }

    /// Believes an announcement, on a helper's lane.
    pub(crate) fn believe(&mut self, announcement: &Announcement) {
        match *announcement {
            Announcement::Slot(address, slot, value) => self.patch_slot(address, slot, value),
            Announcement::BalanceWei(address, wei) => self.patch_account(
                address,
                |known| known.balance = wei,
                |patch| patch.balance_wei = wei,
            ),
            Announcement::Nonce(address, nonce) => {
                self.patch_account(
                    address,
                    |known| known.nonce = nonce,
                    |patch| patch.nonce = nonce,
                );
            }
        }
    }

    fn patch_account(
        &mut self,
        address: Address,
        known: impl FnOnce(&mut AccountInfo),
        patch: impl FnOnce(&mut Account),
    ) {
        let database = &mut self.inner.database;
        if database.is_tripwire(address) {
            return;
        }
        if let Some(account) = self.inner.inner.state.get_mut(&address) {
            return known(&mut account.info);
        }
        let view = database.view;
        match database.account_patches.entry(address) {
            Entry::Occupied(mut entry) => patch(entry.get_mut()),
            Entry::Vacant(entry) => {
                // If it cannot be read, the leader will meet the error where it counts.
                let Ok(account) = view.account(address) else { return };
                patch(entry.insert(account.unwrap_or_default()));
            }
        }
    }

    /// Whether everything that a helper's transaction depended on is as this (the leader's) lane
    /// has it now.
    pub(crate) fn agrees(&self, access: &Access) -> bool {
        let state = self.state();
        access.accounts.iter().all(|access| account_agrees(state, access))
            && access.slots.iter().all(|access| slot_agrees(state, access))
    }

    /// Takes a helper's changes over; [`Self::agrees`] has just said yes.
    pub(crate) fn take_over(&mut self, access: &Access) {
        let database = &mut self.inner.database;
        let state = &mut self.inner.inner.state;
        for access in &access.accounts {
            let known = state.entry(access.address).or_insert_with(|| {
                let before = (!access.before.is_empty()).then_some(access.before);
                database.accounts.push((access.address, before));
                unvisited(access.before)
            });
            if access.before == access.after {
                continue;
            }
            if let Some(reported) = &mut self.trace.reported {
                reported.accounts.push(access.address);
            }
            known.mark_touch();
            known.info.nonce = access.after.nonce;
            known.info.balance = match access.balance_min_wei {
                None => access.after.balance_wei,
                // Wrapping on both sides: the difference may be negative.
                Some(_) => {
                    let change = access.after.balance_wei.wrapping_sub(access.before.balance_wei);
                    known.info.balance.wrapping_add(change)
                }
            };
        }
        for access in &access.slots {
            let Some(account) = state.get_mut(&access.address) else { continue };
            let value = account.storage.entry(access.slot).or_insert_with(|| {
                database.slots.push((access.address, access.slot, access.before));
                let mut value = EvmStorageSlot::new(access.before, Default::default());
                value.mark_cold();
                value
            });
            if access.before != access.after {
                if let Some(reported) = &mut self.trace.reported {
                    reported.slots.push((access.address, access.slot));
                }
                value.original_value = access.after;
                value.present_value = access.after;
            }
        }
    }

    /// Adds the fees of a transaction that was taken over, in the reference's order.
    ///
    /// # Errors
    /// The view cannot be read.
    pub(crate) fn credit_fees(
        &mut self,
        accounts: &FeeAccounts,
        payout: Payout,
    ) -> Result<(), crate::ViewError> {
        self.credit_fee(accounts.beneficiary, payout.priority_wei)?;
        payout.to_vaults().try_for_each(|(vault, wei)| self.credit_fee(vault, wei))
    }

    fn credit_fee(&mut self, beneficiary: Address, fee_wei: U256) -> Result<(), crate::ViewError> {
        let Some(known) = self.inner.inner.state.get_mut(&beneficiary) else {
            self.load_unvisited(beneficiary)?;
            return self.credit_fee(beneficiary, fee_wei);
        };
        clear_destroyed(known);
        // revm leaves a balance that would overflow as it is.
        if let Some(balance_wei) = known.info.balance.checked_add(fee_wei) {
            known.info.balance = balance_wei;
            known.mark_touch();
        }
        Ok(())
    }

    /// Loads an account without a transaction touching it.
    pub(super) fn load_unvisited(&mut self, address: Address) -> Result<(), crate::ViewError> {
        let account = self.inner.database.load_account(address)?.unwrap_or_default();
        self.inner.inner.state.insert(address, unvisited(account));
        Ok(())
    }
}

/// What revm does when it loads an account that an earlier transaction destroyed.
pub(super) fn clear_destroyed(account: &mut RevmAccount) {
    if is_destroyed(account) {
        account.selfdestruct();
        account.unmark_selfdestructed_locally();
    }
}

/// An account as the journal holds it before any transaction has loaded it.
fn unvisited(account: Account) -> RevmAccount {
    let mut known = RevmAccount::default();
    known.info = base::info(account);
    known.mark_cold();
    known
}

/// The account as the next transaction will find it.
pub(super) fn current(account: &RevmAccount) -> Account {
    if is_destroyed(account) { Account::default() } else { base::account(&account.info) }
}

fn account_agrees(state: &EvmState, access: &AccountAccess) -> bool {
    let Some(known) = state.get(&access.address) else { return access.is_fresh };
    if is_destroyed(known) {
        return false;
    }
    let now = base::account(&known.info);
    let before = &access.before;
    if now.nonce != before.nonce || now.code_hash != before.code_hash {
        return false;
    }
    match access.balance_min_wei {
        None => now.balance_wei == before.balance_wei,
        Some(least) => {
            now.balance_wei >= least
                && now.balance_wei < BALANCE_MAX_WEI
                && now.is_empty() == before.is_empty()
        }
    }
}

fn slot_agrees(state: &EvmState, access: &SlotAccess) -> bool {
    let Some(account) = state.get(&access.address) else { return access.is_fresh };
    match account.storage.get(&access.slot) {
        Some(value) => value.present_value == access.before && !is_destroyed(account),
        None if account.is_created() || is_destroyed(account) => false,
        None => access.is_fresh,
    }
}
