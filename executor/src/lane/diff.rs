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

/// Loads from which on the two halves of a diff are worth two threads.
#[cfg(feature = "std")]
const LOADS_LARGE: usize = 8_192;

/// The change from a base to the state of a journal over it.
fn diff<'v, V: StateView>(
    base: Base<'v, V>,
    state: &EvmState,
) -> Result<(&'v V, StateDiff), ViewError> {
    let (view, accounts, slots) = (base.view, base.accounts, base.slots);
    #[cfg(feature = "std")]
    if accounts.len() + slots.len() > LOADS_LARGE {
        let (slots, accounts) = crate::parallel::threads::both(
            move || changed_slots(state, slots),
            || loaded(state, &accounts),
        );
        return Ok((view, join(view, accounts, slots.unwrap_or_default())?));
    }
    let accounts = loaded(state, &accounts);
    Ok((view, join(view, accounts, changed_slots(state, slots))?))
}

/// Puts changed slots to their accounts; both are in the order of addresses.
fn join<V: StateView>(
    view: &V,
    accounts: Vec<Loaded<'_>>,
    slots: Vec<ChangedSlot>,
) -> Result<StateDiff, ViewError> {
    let mut codes = BTreeMap::new();
    let mut changes = Vec::with_capacity(accounts.len());
    let mut next_slot = 0;
    for (address, before, account) in accounts {
        let from = next_slot;
        while slots.get(next_slot).is_some_and(|slot| slot.0 == address) {
            next_slot += 1;
        }
        let slots = if starts_empty(account) {
            stored(account)
        } else {
            slots[from..next_slot].iter().map(|(_, slot, change)| (*slot, *change)).collect()
        };
        let Some(change) = change(account, before, slots) else { continue };
        if let Some(after) = change.after
            && after.code_hash != KECCAK256_EMPTY
            && Some(after.code_hash) != before.map(|account| account.code_hash)
        {
            let code = account.info.code.clone();
            let code = code.map_or_else(|| view.code(after.code_hash), Ok)?;
            codes.insert(after.code_hash, code);
        }
        changes.push((address, change));
    }
    // In order already, so the map is built without searching.
    Ok(StateDiff { accounts: changes.into_iter().collect(), codes })
}

/// A slot with another value than before the block.
type ChangedSlot = (Address, U256, SlotDiff);

/// The loaded accounts in order, leaving out those that nothing happened to.
fn loaded<'s>(state: &'s EvmState, loads: &[(Address, Option<Account>)]) -> Vec<Loaded<'s>> {
    let known = |(address, before): &(Address, Option<Account>)| {
        Some((*address, *before, state.get(address)?))
    };
    let mut order: Vec<(u64, u32)> = Vec::with_capacity(loads.len());
    for (index, (address, _)) in loads.iter().enumerate() {
        order.push((prefix(&address.0[..]), index as u32));
    }
    let address = |index: u32| loads[index as usize].0;
    order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| address(a.1).cmp(&address(b.1))));
    order.iter().filter_map(|(_, index)| known(&loads[*index as usize])).collect()
}

/// The first bytes as a number of the same order.
fn prefix(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    u64::from_be_bytes(first)
}

/// An account that was loaded: as it was before the block, and as the journal has it.
type Loaded<'s> = (Address, Option<Account>, &'s RevmAccount);

/// Slots with another value than before the block, in order.
fn changed_slots(state: &EvmState, loads: Vec<(Address, U256, U256)>) -> Vec<ChangedSlot> {
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
    // Sorted by reference: the entries are too large to move about.
    let mut order: Vec<(u64, u64, u32)> = Vec::with_capacity(changed.len());
    for (index, (address, slot, _)) in changed.iter().enumerate() {
        let high = slot.as_limbs()[3];
        order.push((prefix(&address.0[..]), high, index as u32));
    }
    let key = |index: u32| (changed[index as usize].0, changed[index as usize].1);
    order.sort_unstable_by(|a, b| {
        if a.0 != b.0 || (a.1 != b.1 && key(a.2).0 == key(b.2).0) {
            return (a.0, a.1).cmp(&(b.0, b.1));
        }
        key(a.2).cmp(&key(b.2))
    });
    order.iter().map(|(_, _, index)| changed[*index as usize]).collect()
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
