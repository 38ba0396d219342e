//! The state diff of a block that a lane executed: what was loaded, compared with what is there now.

use super::{Base, access::current, journal::LaneJournal};
use crate::{
    error::ViewError,
    state::{Account, AccountDiff, SlotDiff, StateDiff, StateView},
};
use alloc::{collections::BTreeMap, vec::Vec};
use alloy_primitives::{Address, KECCAK256_EMPTY, U256};
use revm::state::{Account as RevmAccount, EvmState};

type Slots = BTreeMap<U256, SlotDiff>;

impl<'v, V: StateView> LaneJournal<'v, V> {
    /// The view, and the change of the block.
    ///
    /// # Errors
    /// The view cannot be read.
    pub(crate) fn into_diff(self) -> Result<(&'v V, StateDiff), ViewError> {
        let base = self.inner.database;
        let state = self.inner.inner.state;
        let (view, diff) = diff(base, &state)?;
        super::spare::give_back(state);
        Ok((view, diff))
    }
}

/// The change from a base to the state of a journal over it.
fn diff<'v, V: StateView>(
    base: Base<'v, V>,
    state: &EvmState,
) -> Result<(&'v V, StateDiff), ViewError> {
    let slots = changed_slots(state, base.slots);
    let mut accounts: Vec<Loaded<'_>> = base
        .accounts
        .into_iter()
        .filter_map(|(address, before)| Some((address, before, state.get(&address)?)))
        .collect();
    accounts.sort_unstable_by_key(|loaded| loaded.0);
    let mut codes = BTreeMap::new();
    let mut changes = Vec::with_capacity(accounts.len());
    // Both are in the order of addresses.
    let mut next_slots = 0;
    for (address, before, account) in accounts {
        let from = next_slots;
        while slots.get(next_slots).is_some_and(|slot| slot.0 == address) {
            next_slots += 1;
        }
        let slots = if starts_empty(account) {
            stored(account)
        } else {
            slots[from..next_slots].iter().map(|(_, slot, change)| (*slot, *change)).collect()
        };
        let Some(change) = change(account, before, slots) else { continue };
        if let Some(after) = change.after
            && after.code_hash != KECCAK256_EMPTY
            && Some(after.code_hash) != before.map(|account| account.code_hash)
        {
            let code = account.info.code.clone();
            let code = code.map_or_else(|| base.view.code(after.code_hash), Ok)?;
            codes.insert(after.code_hash, code);
        }
        changes.push((address, change));
    }
    // In order already, so the map is built without searching.
    let accounts = changes.into_iter().collect();
    Ok((base.view, StateDiff { accounts, codes }))
}

/// An account that was loaded: as it was before the block, and as the journal has it.
type Loaded<'s> = (Address, Option<Account>, &'s RevmAccount);

/// Slots with another value than before the block, in order.
fn changed_slots(
    state: &EvmState,
    loads: Vec<(Address, U256, U256)>,
) -> Vec<(Address, U256, SlotDiff)> {
    let mut changed = Vec::with_capacity(loads.len());
    // Loads of one account follow each other more often than not.
    let mut known: Option<(Address, Option<&RevmAccount>)> = None;
    for (address, slot, before) in loads {
        let account = match known {
            Some((last, account)) if last == address => account,
            _ => state.get(&address),
        };
        known = Some((address, account));
        if let Some(account) = account
            && let Some(value) = account.storage.get(&slot)
            && value.present_value != before
            && !starts_empty(account)
        {
            changed.push((address, slot, SlotDiff { before, after: value.present_value }));
        }
    }
    changed.sort_unstable_by_key(|change| (change.0, change.1));
    changed
}

/// The storage in the journal is all there is: nothing of the view's shows through.
fn starts_empty(account: &RevmAccount) -> bool {
    account.is_created() || account.is_selfdestructed()
}

/// Slots of an account whose storage started empty.
fn stored(account: &RevmAccount) -> Slots {
    if account.is_selfdestructed_locally() {
        return Slots::new();
    }
    let slots = account.storage.iter().filter(|(_, value)| !value.present_value.is_zero());
    let change = |after| SlotDiff { before: U256::ZERO, after };
    slots.map(|(slot, value)| (*slot, change(value.present_value))).collect()
}

/// What became of an account; `None` when nothing did.
fn change(account: &RevmAccount, before: Option<Account>, slots: Slots) -> Option<AccountDiff> {
    let now = current(account);
    let after = (!now.is_empty()).then_some(now);
    let wiped = account.is_selfdestructed() && before.is_some();
    let is_changed = before != after || !slots.is_empty() || wiped;
    is_changed.then_some(AccountDiff { before, after, wiped, slots })
}
