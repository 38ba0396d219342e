//! The state diff of a block that a lane executed: what was loaded, compared with what is there now.

use super::{access::current, journal::LaneJournal};
use crate::{
    error::ViewError,
    state::{Account, AccountDiff, SlotDiff, StateDiff, StateView},
};
use alloc::{collections::BTreeMap, vec::Vec};
use alloy_primitives::{KECCAK256_EMPTY, U256, map::AddressMap};
use revm::state::Account as RevmAccount;

type Slots = BTreeMap<U256, SlotDiff>;

impl<'v, V: StateView> LaneJournal<'v, V> {
    /// The view, and the change of the block.
    ///
    /// # Errors
    /// The view cannot be read.
    pub(crate) fn into_diff(self) -> Result<(&'v V, StateDiff), ViewError> {
        let base = self.inner.database;
        let state = self.inner.inner.state;
        let mut slots = AddressMap::<Vec<(U256, SlotDiff)>>::default();
        for (address, slot, before) in base.slots {
            let Some(account) = state.get(&address) else { continue };
            let value = account.storage.get(&slot);
            if let Some(value) = value
                && value.present_value != before
                && !starts_empty(account)
            {
                let change = SlotDiff { before, after: value.present_value };
                slots.entry(address).or_default().push((slot, change));
            }
        }
        let mut diff = StateDiff::default();
        let mut accounts = Vec::new();
        for (address, before) in base.accounts {
            let Some(account) = state.get(&address) else { continue };
            let slots = if starts_empty(account) {
                stored(account)
            } else {
                slots.remove(&address).unwrap_or_default().into_iter().collect()
            };
            let change = change(account, before, slots);
            if change.before == change.after && change.slots.is_empty() && !change.wiped {
                continue;
            }
            if let Some(after) = change.after
                && after.code_hash != KECCAK256_EMPTY
                && Some(after.code_hash) != before.map(|account| account.code_hash)
            {
                let code = account.info.code.clone();
                let code = code.map_or_else(|| base.view.code(after.code_hash), Ok)?;
                diff.codes.insert(after.code_hash, code);
            }
            accounts.push((address, change));
        }
        diff.accounts = accounts.into_iter().collect();
        Ok((base.view, diff))
    }
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

fn change(account: &RevmAccount, before: Option<Account>, slots: Slots) -> AccountDiff {
    let now = current(account);
    let after = (!now.is_empty()).then_some(now);
    let wiped = account.is_selfdestructed() && before.is_some();
    AccountDiff { before, after, wiped, slots }
}
