//! The state diff of a block that a lane executed: what was loaded, compared with what is there now.

use super::{Base, access::current, journal::LaneJournal, trace::Reported};
use crate::{
    error::ViewError,
    fees::FeeAccounts,
    state::{Account, AccountDiff, Changes, SlotDiff, StateDiff, StateView, Touched},
};
use alloc::{collections::BTreeMap, vec::Vec};
use alloy_primitives::{Address, KECCAK256_EMPTY, U256};
use core::ops::Range;
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

impl<V: StateView> LaneJournal<'_, V> {
    /// What was loaded since the last call and is not as it was any more. Slots of accounts that began
    /// empty are not told: they were never loaded.
    pub(crate) fn touched(&mut self) -> Touched {
        let (base, state) = (&mut self.inner.database, &self.inner.inner.state);
        let (accounts, slots) = base.told;
        base.told = (base.accounts.len(), base.slots.len());
        let account = |(address, before): &(Address, Option<Account>)| {
            let account = state.get(address)?;
            let after = Some(current(account)).filter(|account| !account.is_empty());
            let is_told = after != *before && !account.is_selfdestructed();
            is_told.then_some((*address, *before, after))
        };
        let slot = |(address, slot, before): &(Address, U256, U256)| {
            let account = state.get(address).filter(|account| !starts_empty(account))?;
            let (before, after) = (*before, account.storage.get(slot)?.present_value);
            (before != after).then_some((*address, *slot, SlotDiff { before, after }))
        };
        Touched {
            accounts: base.accounts[accounts..].iter().filter_map(account).collect(),
            slots: base.slots[slots..].iter().filter_map(slot).collect(),
        }
    }
}

impl<V: StateView> LaneJournal<'_, V> {
    /// What is not as it was when this was asked last, and perhaps some of what is. Fees are paid out
    /// of the trace's sight.
    ///
    /// # Errors
    /// The code of an account cannot be read.
    pub(crate) fn take_report(&mut self, fees: &FeeAccounts) -> Result<Changes, ViewError> {
        self.trace.settle();
        self.trace.accounts.clear();
        self.trace.slots.clear();
        let Some(reported) = &mut self.trace.reported else { return Ok(Changes::default()) };
        let Reported { mut accounts, mut slots } = core::mem::take(reported);
        accounts.extend(fees.all());
        accounts.sort_unstable();
        accounts.dedup();
        slots.sort_unstable();
        slots.dedup();
        let mut changes = Changes::default();
        let state = &self.inner.inner.state;
        for address in accounts {
            let Some(account) = state.get(&address) else { continue };
            let after = Some(current(account)).filter(|account| !account.is_empty());
            if let Some(after) = after
                && account.is_created()
                && after.code_hash != KECCAK256_EMPTY
            {
                let code = account.info.code.clone();
                let code = code.map_or_else(|| self.view().code(after.code_hash), Ok)?;
                changes.codes.push((after.code_hash, code));
            } else if let (Some(after), Some(code)) = (after, &account.info.code)
                && code.is_eip7702()
            {
                changes.codes.push((after.code_hash, code.clone()));
            }
            changes.accounts.push((address, after));
        }
        for (address, slot) in slots {
            let account = state.get(&address).filter(|it| !it.is_selfdestructed_locally());
            let value = account.and_then(|account| account.storage.get(&slot));
            let value = value.map_or(U256::ZERO, |value| value.present_value);
            changes.slots.push((address, slot, value));
        }
        Ok(changes)
    }
}

/// Loads from which on the two halves of a diff are worth two threads.
const LOADS_LARGE: usize = 8_192;

/// The change from a base to the state of a journal over it.
fn diff<'v, V: StateView>(
    base: Base<'v, V>,
    state: &EvmState,
) -> Result<(&'v V, StateDiff), ViewError> {
    let (view, accounts, slots) = (base.view, base.accounts, base.slots);
    if accounts.len() + slots.len() > LOADS_LARGE {
        let (slots, accounts) = crate::parallel::threads::both(
            move || ChangedSlots::of(state, &slots),
            || loaded(state, &accounts),
        );
        return Ok((view, join(view, accounts, &slots.unwrap_or_default())?));
    }
    let accounts = loaded(state, &accounts);
    Ok((view, join(view, accounts, &ChangedSlots::of(state, &slots))?))
}

/// Puts changed slots to their accounts; both are in the order of addresses.
fn join<V: StateView>(
    view: &V,
    accounts: Vec<Loaded<'_>>,
    slots: &ChangedSlots,
) -> Result<StateDiff, ViewError> {
    let mut codes = BTreeMap::new();
    let mut changes = Vec::with_capacity(accounts.len());
    let mut next_slot = 0;
    for (address, before, account) in accounts {
        let from = next_slot;
        while slots.address(next_slot) == Some(address) {
            next_slot += 1;
        }
        let slots =
            if starts_empty(account) { stored(account) } else { slots.collect(from..next_slot) };
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

/// An account that was loaded: as it was before the block, and as the journal has it.
type Loaded<'s> = (Address, Option<Account>, &'s RevmAccount);

/// The loaded accounts in order.
fn loaded<'s>(state: &'s EvmState, loads: &[(Address, Option<Account>)]) -> Vec<Loaded<'s>> {
    let mut order: Vec<(AddressKey, u32)> =
        (0..).zip(loads).map(|(index, load)| (AddressKey::of(&load.0), index)).collect();
    order.sort_unstable();
    let known = |(_, index): &(AddressKey, u32)| {
        let (address, before) = loads[*index as usize];
        Some((address, before, state.get(&address)?))
    };
    order.iter().filter_map(known).collect()
}

/// An address as numbers of the same order, which compare faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AddressKey(u64, u64, u32);

impl AddressKey {
    fn of(address: &Address) -> Self {
        let [a, b, c, d, e] = core::array::from_fn(|part| {
            let bytes = &address.0[4 * part..4 * part + 4];
            bytes.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte))
        });
        Self(u64::from(a) << 32 | u64::from(b), u64::from(c) << 32 | u64::from(d), e)
    }
}

/// Slots with another value than before the block.
#[derive(Default)]
struct ChangedSlots {
    slots: Vec<(Address, U256, SlotDiff)>,
    /// Their order, by address and number: of the number the highest bits, since the entries
    /// themselves are too large to move about. The last is the place in `slots`.
    order: Vec<(AddressKey, u64, u32)>,
}

impl ChangedSlots {
    fn of(state: &EvmState, loads: &[(Address, U256, U256)]) -> Self {
        let mut slots = Vec::with_capacity(loads.len());
        // Loads of one account follow each other more often than not.
        let mut known: Option<(Address, Option<&RevmAccount>)> = None;
        for &(address, slot, before) in loads {
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
                slots.push((address, slot, SlotDiff { before, after: value.present_value }));
            }
        }
        let place = |(index, (address, slot, _)): (u32, &(Address, U256, SlotDiff))| {
            (AddressKey::of(address), slot.as_limbs()[3], index)
        };
        let mut order: Vec<_> = (0..).zip(&slots).map(place).collect();
        let number = |index: u32| slots[index as usize].1;
        order.sort_unstable_by(|a, b| {
            (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| number(a.2).cmp(&number(b.2)))
        });
        Self { slots, order }
    }

    /// Whose slot is at this place of the order.
    fn address(&self, place: usize) -> Option<Address> {
        Some(self.slots[self.order.get(place)?.2 as usize].0)
    }

    fn collect(&self, places: Range<usize>) -> Slots {
        let slots = self.order[places].iter().map(|entry| &self.slots[entry.2 as usize]);
        slots.map(|(_, slot, change)| (*slot, *change)).collect()
    }
}

/// The storage in the journal is all there is: nothing of the view's shows through.
pub(super) fn starts_empty(account: &RevmAccount) -> bool {
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
