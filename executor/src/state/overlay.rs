//! The state as a block sees it while it executes: a view below, changes on top.
//!
//! Authoritative for everything the block has written. Remembers the value before the block of
//! every account and slot it touched, so that the diff compares with the base and not with whatever
//! an earlier transaction of the same block left. Never writes to the view.

use super::{Account, AccountDiff, Changes, Reads, SlotDiff, StateDiff, StateView};
use crate::error::ViewError;
use alloy_primitives::{
    Address, B256, KECCAK256_EMPTY, U256,
    map::{AddressMap, B256Map, HashMap},
};
use revm::{
    Database, DatabaseCommit, DatabaseRef,
    bytecode::Bytecode,
    state::{Account as RevmAccount, AccountInfo, EvmState},
};

#[derive(Debug)]
struct Entry {
    base: Option<Account>,
    now: Option<Account>,
    /// Storage of the base is gone; slots not listed read as zero.
    wiped: bool,
    slots: HashMap<U256, Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    base: U256,
    now: U256,
}

/// Changes over a borrowed view.
#[derive(Debug)]
pub struct Overlay<'v, V> {
    view: &'v V,
    entries: AddressMap<Entry>,
    codes: B256Map<Bytecode>,
    /// EIP-161: touched empty accounts are deleted.
    clear_empty: bool,
}

impl<'v, V: StateView> Overlay<'v, V> {
    /// An overlay without changes, under EIP-161.
    #[must_use]
    pub fn new(view: &'v V) -> Self {
        Self { view, entries: AddressMap::default(), codes: B256Map::default(), clear_empty: true }
    }

    /// Sets whether touched empty accounts are deleted (EIP-161).
    pub(crate) fn set_clear_empty(&mut self, clear_empty: bool) {
        self.clear_empty = clear_empty;
    }

    fn entry(&mut self, address: Address) -> Result<&mut Entry, ViewError> {
        match self.entries.entry(address) {
            alloy_primitives::map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            alloy_primitives::map::Entry::Vacant(vacant) => {
                let base = self.view.account(address)?;
                let slots = HashMap::default();
                Ok(vacant.insert(Entry { base, now: base, wiped: false, slots }))
            }
        }
    }

    /// The account as of now.
    ///
    /// # Errors
    /// [`ViewError`] when the view cannot be read.
    pub fn account(&mut self, address: Address) -> Result<Option<Account>, ViewError> {
        self.entry(address).map(|entry| entry.now)
    }

    /// Replaces an account; for state overrides of simulated calls.
    ///
    /// # Errors
    /// [`ViewError`] when the view cannot be read.
    pub fn set_account(&mut self, address: Address, account: Account) -> Result<(), ViewError> {
        self.entry(address)?.now = Some(account);
        Ok(())
    }

    /// Replaces a slot; for state overrides of simulated calls.
    ///
    /// # Errors
    /// [`ViewError`] when the view cannot be read.
    pub fn set_slot(&mut self, address: Address, slot: U256, value: U256) -> Result<(), ViewError> {
        let base = self.storage(address, slot)?;
        let entry = self.entry(address)?;
        entry.slots.entry(slot).or_insert(Slot { base, now: base }).now = value;
        Ok(())
    }

    /// Forgets all storage of an account; for state overrides that replace it.
    ///
    /// # Errors
    /// [`ViewError`] when the view cannot be read.
    pub fn clear_storage(&mut self, address: Address) -> Result<(), ViewError> {
        let entry = self.entry(address)?;
        entry.wiped = true;
        entry.slots.values_mut().for_each(|slot| slot.now = U256::ZERO);
        Ok(())
    }

    /// Replaces an account's code; for state overrides of simulated calls.
    ///
    /// # Errors
    /// [`ViewError`] when the view cannot be read.
    pub fn set_code(&mut self, address: Address, code: Bytecode) -> Result<(), ViewError> {
        let code_hash = code.hash_slow();
        let entry = self.entry(address)?;
        entry.now = Some(Account { code_hash, ..entry.now.unwrap_or_default() });
        self.codes.insert(code_hash, code);
        Ok(())
    }

    /// Adds to a balance outside any transaction (withdrawals, mints of deposits that cannot run).
    pub(crate) fn credit(&mut self, address: Address, wei: U256) -> Result<(), ViewError> {
        let clear_empty = self.clear_empty;
        let entry = self.entry(address)?;
        let mut account = entry.now.unwrap_or_default();
        account.balance_wei = account.balance_wei.saturating_add(wei);
        entry.now = (!clear_empty || !account.is_empty()).then_some(account);
        Ok(())
    }

    pub(crate) fn bump_nonce(&mut self, address: Address) -> Result<(), ViewError> {
        let entry = self.entry(address)?;
        let account = entry.now.unwrap_or_default();
        entry.now = Some(Account { nonce: account.nonce.saturating_add(1), ..account });
        Ok(())
    }

    /// The view below.
    #[must_use]
    pub fn view(&self) -> &'v V {
        self.view
    }

    /// A slot as of now, without noting that it was read.
    pub(crate) fn peek_slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        match self.entries.get(&address) {
            None => self.view.slot(address, slot),
            Some(entry) => match entry.slots.get(&slot) {
                Some(known) => Ok(known.now),
                None if entry.base.is_none() || entry.wiped => Ok(U256::ZERO),
                None => self.view.slot(address, slot),
            },
        }
    }

    /// Whether any slot of the account differs from the view's.
    pub(crate) fn is_storage_changed(&self, address: Address) -> bool {
        self.entries.get(&address).is_some_and(|entry| {
            entry.wiped || entry.slots.values().any(|slot| slot.now != slot.base)
        })
    }

    /// Every account and slot that was read or changed.
    pub(crate) fn reads(&self) -> Reads {
        let entries = self.entries.iter();
        entries.map(|(address, entry)| (*address, entry.slots.keys().copied().collect())).collect()
    }

    /// Everything that was read or changed, as it is now.
    pub(crate) fn values(&self) -> Changes {
        let mut values = Changes::default();
        for (address, entry) in &self.entries {
            values.accounts.push((*address, entry.now));
            let slots = entry.slots.iter().map(|(slot, value)| (*address, *slot, value.now));
            values.slots.extend(slots);
        }
        values.codes = self.codes.iter().map(|(hash, code)| (*hash, code.clone())).collect();
        values
    }

    /// What changed over the view.
    #[must_use]
    pub fn diff(&self) -> StateDiff {
        let mut diff = StateDiff::default();
        for (address, entry) in &self.entries {
            let wiped = entry.wiped && entry.base.is_some();
            // Of a wiped account only what is there now counts: the storage before is gone whole.
            let before = |slot: &Slot| if wiped { U256::ZERO } else { slot.base };
            let changed = entry.slots.iter().filter(|(_, slot)| before(slot) != slot.now);
            let slots = changed
                .map(|(key, slot)| (*key, SlotDiff { before: before(slot), after: slot.now }))
                .collect::<alloc::collections::BTreeMap<_, _>>();
            if entry.base == entry.now && slots.is_empty() && !wiped {
                continue;
            }
            let code_hash = |account: Option<Account>| account.map(|account| account.code_hash);
            if let (before, Some(after)) = (code_hash(entry.base), code_hash(entry.now))
                && before != Some(after)
                && let Some(code) = self.codes.get(&after)
            {
                diff.codes.insert(after, code.clone());
            }
            let account = AccountDiff { before: entry.base, after: entry.now, wiped, slots };
            diff.accounts.insert(*address, account);
        }
        diff
    }

    fn read_code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        if code_hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        // The view first: a view that records sees each of its codes that is used, even one that
        // this block deployed again, which another way of executing reads from the view.
        match (self.view.code(code_hash), self.codes.get(&code_hash)) {
            (Err(ViewError::MissingCode(_)), Some(code)) => Ok(code.clone()),
            (code, _) => code,
        }
    }

    fn commit_account(&mut self, address: Address, account: RevmAccount) {
        if !account.is_touched() {
            return;
        }
        // Every touched account was loaded through `basic`, so it has an entry; one that has none
        // was created by revm itself and had no base.
        let entry = self.entries.entry(address).or_insert_with(|| Entry {
            base: None,
            now: None,
            wiped: false,
            slots: HashMap::default(),
        });
        if account.is_selfdestructed() {
            entry.now = None;
            entry.wiped = true;
            entry.slots.values_mut().for_each(|slot| slot.now = U256::ZERO);
            return;
        }
        for (key, slot) in account.changed_storage_slots() {
            let base = slot.original_value();
            let now = slot.present_value();
            entry.slots.entry(*key).or_insert(Slot { base, now }).now = now;
        }
        let info = account.info;
        let code_hash = if info.code_hash.is_zero() { KECCAK256_EMPTY } else { info.code_hash };
        let now = Account { nonce: info.nonce, balance_wei: info.balance, code_hash };
        let code_changed = entry.now.map(|account| account.code_hash) != Some(code_hash);
        entry.now = (!self.clear_empty || !now.is_empty()).then_some(now);
        if let (true, Some(code)) = (code_changed && code_hash != KECCAK256_EMPTY, info.code) {
            self.codes.insert(code_hash, code);
        }
    }
}

fn info(account: Account) -> AccountInfo {
    AccountInfo {
        balance: account.balance_wei,
        nonce: account.nonce,
        code_hash: account.code_hash,
        code: None,
        ..AccountInfo::default()
    }
}

impl<V: StateView> Database for Overlay<'_, V> {
    type Error = ViewError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, ViewError> {
        Ok(self.entry(address)?.now.map(info))
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, ViewError> {
        self.read_code(code_hash)
    }

    fn storage(&mut self, address: Address, key: U256) -> Result<U256, ViewError> {
        let view = self.view;
        let entry = self.entry(address)?;
        if let Some(slot) = entry.slots.get(&key) {
            return Ok(slot.now);
        }
        // An account that did not exist has no storage to read.
        let base =
            if entry.base.is_none() || entry.wiped { U256::ZERO } else { view.slot(address, key)? };
        entry.slots.insert(key, Slot { base, now: base });
        Ok(base)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, ViewError> {
        self.view.block_hash(number)
    }
}

/// The same reads without remembering them, for who compares a transaction's changes with the state
/// before it.
impl<V: StateView> DatabaseRef for Overlay<'_, V> {
    type Error = ViewError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, ViewError> {
        let account = match self.entries.get(&address) {
            Some(entry) => entry.now,
            None => self.view.account(address)?,
        };
        Ok(account.map(info))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        self.read_code(code_hash)
    }

    fn storage_ref(&self, address: Address, key: U256) -> Result<U256, ViewError> {
        match self.entries.get(&address) {
            Some(entry) => match entry.slots.get(&key) {
                Some(slot) => Ok(slot.now),
                None if entry.base.is_none() || entry.wiped => Ok(U256::ZERO),
                None => self.view.slot(address, key),
            },
            None => self.view.slot(address, key),
        }
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, ViewError> {
        self.view.block_hash(number)
    }
}

impl<V: StateView> DatabaseCommit for Overlay<'_, V> {
    fn commit(&mut self, changes: EvmState) {
        for (address, account) in changes {
            self.commit_account(address, account);
        }
    }
}
