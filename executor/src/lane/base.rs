//! What lies under a lane: the view, and what was loaded from it.
//!
//! Every value is loaded once, because the journal above keeps it; so the loads are also the state
//! before the block, which the diff is taken against. A helper's lane has patches besides: what the
//! leader has changed since, of which this lane's journal has no copy yet.

use crate::{
    error::ViewError,
    fees::FeeAccounts,
    state::{Account, StateView},
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use alloy_primitives::{
    Address, B256, KECCAK256_EMPTY, U256,
    map::{AddressMap, HashMap},
};
use core::sync::atomic::{AtomicBool, Ordering};
use revm::{Database, bytecode::Bytecode, state::AccountInfo};

/// A view, and the loads from it.
pub(crate) struct Base<'v, V> {
    pub(super) view: &'v V,
    pub(super) accounts: Vec<(Address, Option<Account>)>,
    pub(super) slots: Vec<(Address, U256, U256)>,
    /// How many of either `touched` has looked at.
    pub(super) told: (usize, usize),
    pub(super) account_patches: AddressMap<Account>,
    pub(super) slot_patches: HashMap<(Address, U256), U256>,
    /// The accounts that a helper may not know: fees are credited to them out of its sight.
    pub(super) tripwire: Option<FeeAccounts>,
    pub(super) tripped: bool,
    /// Set when nobody needs the transaction any more that a helper executes.
    pub(super) abandoned: Option<Arc<AtomicBool>>,
}

/// The transaction is abandoned. Ends a helper's execution of it; nobody else ever sees it.
#[derive(Debug, thiserror::Error)]
#[error("abandoned")]
struct Abandoned;

impl<'v, V: StateView> Base<'v, V> {
    pub(crate) fn new(view: &'v V) -> Self {
        Self {
            view,
            accounts: Vec::new(),
            slots: Vec::new(),
            told: (0, 0),
            account_patches: AddressMap::default(),
            slot_patches: HashMap::default(),
            tripwire: None,
            tripped: false,
            abandoned: None,
        }
    }

    /// The base of a helper's lane; loads of `fee_accounts` are noticed, and execution ends soon after
    /// `abandoned` is set.
    pub(crate) fn of_helper(
        view: &'v V,
        fee_accounts: FeeAccounts,
        abandoned: Arc<AtomicBool>,
    ) -> Self {
        Self { tripwire: Some(fee_accounts), abandoned: Some(abandoned), ..Self::new(view) }
    }

    /// Fails when the transaction is abandoned; asked at every access to the state.
    pub(super) fn go_on(&self) -> Result<(), ViewError> {
        match &self.abandoned {
            Some(abandoned) if abandoned.load(Ordering::Relaxed) => {
                Err(ViewError::Store(Box::new(Abandoned)))
            }
            _ => Ok(()),
        }
    }

    /// Whether a helper may not know this account.
    pub(super) fn is_tripwire(&self, address: Address) -> bool {
        self.tripwire.is_some_and(|accounts| accounts.contains(address))
    }

    pub(super) fn load_account(&mut self, address: Address) -> Result<Option<Account>, ViewError> {
        if self.is_tripwire(address) {
            self.tripped = true;
        }
        if !self.account_patches.is_empty()
            && let Some(patch) = self.account_patches.get(&address)
        {
            return Ok((!patch.is_empty()).then_some(*patch));
        }
        let account = self.view.account(address)?;
        self.accounts.push((address, account));
        Ok(account)
    }
}

/// revm's form of an account, its code not loaded yet.
pub(super) fn info(account: Account) -> AccountInfo {
    AccountInfo {
        balance: account.balance_wei,
        nonce: account.nonce,
        code_hash: account.code_hash,
        code: None,
        ..AccountInfo::default()
    }
}

/// Our form of an account.
pub(super) fn account(info: &AccountInfo) -> Account {
    let code_hash = if info.code_hash.is_zero() { KECCAK256_EMPTY } else { info.code_hash };
    Account { nonce: info.nonce, balance_wei: info.balance, code_hash }
}

impl<V: StateView> Database for Base<'_, V> {
    type Error = ViewError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, ViewError> {
        Ok(self.load_account(address)?.map(info))
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, ViewError> {
        self.view.code(code_hash)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, ViewError> {
        if !self.slot_patches.is_empty()
            && let Some(value) = self.slot_patches.get(&(address, slot))
        {
            return Ok(*value);
        }
        let value = self.view.slot(address, slot)?;
        self.slots.push((address, slot, value));
        Ok(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, ViewError> {
        self.view.block_hash(number)
    }
}
