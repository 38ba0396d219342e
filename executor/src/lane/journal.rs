//! revm's journal, kept, with a trace of what each transaction touches.
//!
//! Every method is revm's own [`Journal`]; added is only the note of what was loaded. Which loads
//! count as what is explained at [`Trace`].

use super::{
    access::clear_destroyed,
    base::Base,
    spare,
    trace::{Detail, Payment, Reported, SlotRead, Trace},
};
use crate::{error::ViewError, evm::BlockJournal, state::StateView};
use alloc::vec::Vec;
use alloy_primitives::{
    Address, B256, Log, U256,
    map::{AddressMap, AddressSet, HashSet},
};
use revm::{
    bytecode::Bytecode,
    context::{
        Journal, JournalTr,
        journaled_state::{
            AccountInfoLoad, AccountLoad, JournalCheckpoint, JournalLoadError, TransferError,
            account::{JournaledAccount, JournaledAccountTr},
        },
    },
    context_interface::context::{SStoreResult, SelfDestructResult, StateLoad},
    primitives::hardfork::SpecId,
    state::{Account as RevmAccount, AccountStatus, EvmState},
};

/// A kept journal and its trace.
pub(crate) struct LaneJournal<'v, V: StateView> {
    pub(super) inner: Journal<Base<'v, V>>,
    pub(super) trace: Trace,
}

/// Accounts that room is made for at most; beyond, the map grows as it fills.
const ROOM_MAX: usize = 1 << 16;

type Load<T> = Result<StateLoad<T>, ViewError>;
type SkippableLoad<T> = Result<StateLoad<T>, JournalLoadError<ViewError>>;

impl<'v, V: StateView> LaneJournal<'v, V> {
    /// Switches the trace on, for a lane whose results or changes somebody else needs.
    pub(crate) fn set_traced(&mut self) {
        self.trace.detail = Detail::Keys;
    }

    /// Makes room for the accounts of this many transactions: moving them later costs more.
    pub(crate) fn expect(&mut self, transactions: usize) {
        let accounts = (2 * transactions).min(ROOM_MAX);
        self.inner.inner.state.reserve(accounts);
        self.inner.database.accounts.reserve(accounts);
    }

    /// From now on [`Self::take_report`] knows what changed.
    pub(crate) fn set_reporting(&mut self) {
        self.trace.reported = Some(Reported::default());
        self.set_traced();
    }

    /// Whether the next transactions are watched closely, to learn from them.
    pub(crate) fn set_observed(&mut self, observed: bool, has_team: bool) {
        self.trace.detail = match (observed, has_team || self.trace.reported.is_some()) {
            (true, _) => Detail::KeysAndHashes,
            (false, true) => Detail::Keys,
            (false, false) => Detail::Nothing,
        };
    }

    /// Slots that the last transaction touched, and whether it changed them.
    pub(crate) fn observed_slots(&self) -> Vec<(Address, U256, bool)> {
        let state = self.state();
        let is_changed = |read: &SlotRead| {
            let account = state.get(&read.address);
            let value = account.and_then(|account| account.storage.get(&read.slot));
            value.is_none_or(|value| value.present_value != read.before)
        };
        let slots = self.trace.slots.iter();
        slots.map(|read| (read.address, read.slot, is_changed(read))).collect()
    }

    /// Hashes of 64 bytes that the last transaction computed.
    pub(crate) fn observed_hashes(&self) -> &[(B256, B256, B256)] {
        &self.trace.hashes
    }

    /// Forgets the trace of the transaction before.
    pub(crate) fn begin_trace(&mut self, has_access_list: bool) {
        let Base { accounts, slots, .. } = &self.inner.database;
        self.trace.begin(has_access_list, (accounts.len(), slots.len()));
    }

    /// Ends this lane; the memory of its journal serves another one.
    pub(crate) fn retire(self) {
        spare::give_back(self.inner.inner.state);
    }

    /// The view below.
    pub(crate) fn view(&self) -> &'v V {
        self.inner.database.view
    }

    /// Code hash of an account, for a forecast; `None` where it cannot be read.
    pub(crate) fn code_hash(&self, address: Address) -> Option<B256> {
        if let Some(account) = self.state().get(&address) {
            return Some(account.info.code_hash);
        }
        Some(self.view().account(address).ok()??.code_hash)
    }

    pub(super) fn state(&self) -> &EvmState {
        &self.inner.inner.state
    }

    /// Loads an account for a change between transactions.
    fn account_between(
        &mut self,
        address: Address,
    ) -> Result<JournaledAccount<'_, Base<'v, V>>, ViewError> {
        // The transaction before may have ended with this very id: what it warmed is cold again.
        self.inner.commit_tx();
        self.trace.repeats = true;
        Ok(self.load_account_mut_optional_code(address, false)?.data)
    }
}

impl<V: StateView> BlockJournal for LaneJournal<'_, V> {
    /// The handler has committed to the journal already.
    fn settle(&mut self) {}

    /// The handler has undone the transaction already.
    fn abandon(&mut self) {}

    fn nonce(&mut self, address: Address) -> Result<u64, ViewError> {
        Ok(self.account_between(address)?.account().info.nonce)
    }

    fn credit(&mut self, address: Address, wei: U256) -> Result<(), ViewError> {
        let mut account = self.account_between(address)?;
        let balance_wei = account.balance().saturating_add(wei);
        account.set_balance(balance_wei);
        self.inner.commit_tx();
        Ok(())
    }

    fn count_nonce(&mut self, address: Address) -> Result<(), ViewError> {
        let mut account = self.account_between(address)?;
        let nonce = account.nonce().saturating_add(1);
        account.set_nonce(nonce);
        self.inner.commit_tx();
        Ok(())
    }

    /// A lane runs under EIP-161 only; see the module.
    fn set_clear_empty(&mut self, _clear_empty: bool) {}
}

/// An empty account is one that does not exist (EIP-161), whatever happened to it in transactions
/// before: that decides what an authorization refunds (EIP-7702), which comes before anything that
/// could touch it in its own transaction.
fn forget_emptiness(account: &mut RevmAccount) {
    if account.info.is_empty() {
        account.status |= AccountStatus::LoadedAsNotExisting;
        account.unmark_touch();
    }
}

impl<'v, V: StateView> JournalTr for LaneJournal<'v, V> {
    type Database = Base<'v, V>;
    type State = EvmState;
    type JournaledAccount<'a>
        = JournaledAccount<'a, Base<'v, V>>
    where
        Self: 'a;

    fn new(database: Base<'v, V>) -> Self {
        let mut inner = Journal::new(database);
        inner.inner.state = spare::take();
        Self { inner, trace: Trace::default() }
    }

    fn db_and_state(&self) -> (&Self::Database, &Self::State) {
        self.inner.db_and_state()
    }

    fn db_and_state_mut(&mut self) -> (&mut Self::Database, &mut Self::State) {
        self.inner.db_and_state_mut()
    }

    fn sload_skip_cold_load(
        &mut self,
        address: Address,
        slot: U256,
        skip_cold_load: bool,
    ) -> SkippableLoad<U256> {
        self.inner.database.go_on()?;
        let load = self.inner.sload_skip_cold_load(address, slot, skip_cold_load)?;
        let read = SlotRead { address, slot, before: load.data };
        self.trace.note_slot(read, load.is_cold);
        Ok(load)
    }

    fn sstore_skip_cold_load(
        &mut self,
        address: Address,
        slot: U256,
        value: U256,
        skip_cold_load: bool,
    ) -> SkippableLoad<SStoreResult> {
        let load = self.inner.sstore_skip_cold_load(address, slot, value, skip_cold_load)?;
        let read = SlotRead { address, slot, before: load.data.present_value };
        self.trace.note_slot(read, load.is_cold);
        Ok(load)
    }

    fn tload(&mut self, address: Address, key: U256) -> U256 {
        self.inner.tload(address, key)
    }

    fn tstore(&mut self, address: Address, key: U256, value: U256) {
        self.inner.tstore(address, key, value);
    }

    fn log(&mut self, log: Log) {
        self.inner.log(log);
    }

    fn take_logs(&mut self) -> Vec<Log> {
        self.inner.take_logs()
    }

    fn logs(&self) -> &[Log] {
        self.inner.logs()
    }

    fn selfdestruct(
        &mut self,
        address: Address,
        target: Address,
        skip_cold_load: bool,
    ) -> SkippableLoad<SelfDestructResult> {
        if !self.trace.is_on() {
            return self.inner.selfdestruct(address, target, skip_cold_load);
        }
        // The target must be noted as it is before it is paid.
        let Self { inner: Journal { database, inner }, trace } = self;
        let load = inner.load_account_optional(database, target, false, skip_cold_load)?;
        let is_cold = load.is_cold;
        trace.note_account(target, load.data, is_cold);
        trace.note_exact_balance(address);
        let mut result = self.inner.selfdestruct(address, target, skip_cold_load)?;
        result.is_cold = is_cold;
        Ok(result)
    }

    fn warm_access_list(&mut self, access_list: AddressMap<HashSet<U256>>) {
        self.inner.warm_access_list(access_list);
    }

    fn warm_coinbase_account(&mut self, address: Address) {
        self.inner.warm_coinbase_account(address);
    }

    fn warm_precompiles(&mut self, addresses: &AddressSet) {
        self.inner.warm_precompiles(addresses);
    }

    fn precompile_addresses(&self) -> &AddressSet {
        self.inner.precompile_addresses()
    }

    fn set_spec_id(&mut self, spec: SpecId) {
        self.inner.set_spec_id(spec);
    }

    fn set_eip7708_config(&mut self, disabled: bool, eip8246_delayed_clear_disabled: bool) {
        self.inner.set_eip7708_config(disabled, eip8246_delayed_clear_disabled);
    }

    fn touch_account(&mut self, address: Address) {
        self.inner.touch_account(address);
    }

    fn transfer(
        &mut self,
        from: Address,
        to: Address,
        wei: U256,
    ) -> Result<Option<TransferError>, ViewError> {
        self.load_account(from)?;
        self.load_account(to)?;
        Ok(self.transfer_loaded(from, to, wei))
    }

    fn transfer_loaded(&mut self, from: Address, to: Address, wei: U256) -> Option<TransferError> {
        if !self.trace.is_on() || wei.is_zero() {
            return self.inner.transfer_loaded(from, to, wei);
        }
        let balance_wei = self.state().get(&from).map(|account| account.info.balance);
        let error = self.inner.transfer_loaded(from, to, wei);
        match (balance_wei, error) {
            (Some(balance_wei), None) => {
                self.trace.note_payment(Payment { from, balance_wei, paid_wei: wei });
            }
            _ => {
                self.trace.note_exact_balance(from);
                self.trace.note_exact_balance(to);
            }
        }
        error
    }

    #[expect(deprecated, reason = "part of the trait; nothing calls it")]
    fn caller_accounting_journal_entry(
        &mut self,
        address: Address,
        old_balance: U256,
        bump_nonce: bool,
    ) {
        self.inner.caller_accounting_journal_entry(address, old_balance, bump_nonce);
    }

    fn balance_incr(&mut self, address: Address, wei: U256) -> Result<(), ViewError> {
        self.load_account_mut(address)?.data.incr_balance(wei);
        Ok(())
    }

    #[expect(deprecated, reason = "part of the trait; nothing calls it")]
    fn nonce_bump_journal_entry(&mut self, address: Address) {
        self.inner.nonce_bump_journal_entry(address);
    }

    fn load_account(&mut self, address: Address) -> Load<&RevmAccount> {
        let Self { inner: Journal { database, inner }, trace } = self;
        let load = inner.load_account_optional(database, address, false, false);
        let load = load.map_err(JournalLoadError::unwrap_db_error)?;
        trace.note_account(address, load.data, load.is_cold);
        Ok(load)
    }

    fn load_account_with_code(&mut self, address: Address) -> Load<&RevmAccount> {
        let Self { inner: Journal { database, inner }, trace } = self;
        let load = inner.load_account_optional(database, address, true, false);
        let load = load.map_err(JournalLoadError::unwrap_db_error)?;
        trace.note_account(address, load.data, load.is_cold);
        Ok(load)
    }

    /// As revm's, from loads that are noted.
    fn load_account_delegated(&mut self, address: Address) -> Load<AccountLoad> {
        let spec = self.inner.inner.cfg.spec;
        let load = self.load_account_with_code(address)?;
        let is_empty = load.data.state_clear_aware_is_empty(spec);
        let is_cold = load.is_cold;
        let delegate = load.data.info.code.as_ref().and_then(Bytecode::eip7702_address);
        let mut result = AccountLoad { is_delegate_account_cold: None, is_empty };
        if let Some(delegate) = delegate {
            let load = self.load_account_with_code(delegate)?;
            result.is_delegate_account_cold = Some(load.is_cold);
        }
        Ok(StateLoad::new(result, is_cold))
    }

    fn load_account_mut_skip_cold_load(
        &mut self,
        address: Address,
        skip_cold_load: bool,
    ) -> SkippableLoad<Self::JournaledAccount<'_>> {
        let Self { inner: Journal { database, inner }, trace } = self;
        trace.note_exact_balance(address);
        if trace.is_on() {
            let load = inner.load_account_optional(database, address, false, skip_cold_load)?;
            let is_cold = load.is_cold;
            trace.note_account(address, load.data, is_cold);
            let mut load = inner.load_account_mut_optional(database, address, skip_cold_load)?;
            load.is_cold = is_cold;
            return Ok(load);
        }
        inner.load_account_mut_optional(database, address, skip_cold_load)
    }

    fn load_account_mut_optional_code(
        &mut self,
        address: Address,
        load_code: bool,
    ) -> Load<Self::JournaledAccount<'_>> {
        let Self { inner: Journal { database, inner }, trace } = self;
        trace.note_exact_balance(address);
        if let Some(known) = inner.state.get_mut(&address).filter(|_| load_code) {
            if known.transaction_id != inner.transaction_id {
                clear_destroyed(known);
            }
            forget_emptiness(known);
        }
        let mut was_cold = None;
        if trace.is_on() {
            let load = inner.load_account_optional(database, address, load_code, false);
            let load = load.map_err(JournalLoadError::unwrap_db_error)?;
            was_cold = Some(load.is_cold);
            trace.note_account(address, load.data, load.is_cold);
        }
        let load = inner.load_account_mut_optional_code(database, address, load_code, false);
        let mut load = load.map_err(JournalLoadError::unwrap_db_error)?;
        load.is_cold = was_cold.unwrap_or(load.is_cold);
        Ok(load)
    }

    fn set_code_with_hash(&mut self, address: Address, code: Bytecode, hash: B256) {
        self.inner.set_code_with_hash(address, code, hash);
    }

    fn checkpoint(&mut self) -> JournalCheckpoint {
        self.inner.checkpoint()
    }

    fn checkpoint_commit(&mut self) {
        self.inner.checkpoint_commit();
    }

    /// What is loaded again after it is noted again, with the same value.
    fn checkpoint_revert(&mut self, checkpoint: JournalCheckpoint) {
        self.trace.repeats = true;
        self.inner.checkpoint_revert(checkpoint);
    }

    fn create_account_checkpoint(
        &mut self,
        caller: Address,
        address: Address,
        wei: U256,
        spec: SpecId,
    ) -> Result<JournalCheckpoint, TransferError> {
        self.trace.note_exact_balance(caller);
        self.trace.note_exact_balance(address);
        self.inner.create_account_checkpoint(caller, address, wei, spec)
    }

    fn depth(&self) -> usize {
        self.inner.depth()
    }

    fn commit_tx(&mut self) {
        self.inner.commit_tx();
    }

    fn discard_tx(&mut self) {
        self.inner.discard_tx();
    }

    fn finalize(&mut self) -> EvmState {
        self.inner.finalize()
    }

    fn load_account_info_skip_cold_load(
        &mut self,
        address: Address,
        load_code: bool,
        skip_cold_load: bool,
    ) -> Result<AccountInfoLoad<'_>, JournalLoadError<ViewError>> {
        let Self { inner: Journal { database, inner }, trace } = self;
        // BALANCE and its kind ask without code; a call asks with it and never sees the balance.
        if !load_code {
            trace.note_exact_balance(address);
        }
        database.go_on()?;
        let spec = inner.cfg.spec;
        let load = inner.load_account_optional(database, address, load_code, skip_cold_load)?;
        trace.note_account(address, load.data, load.is_cold);
        let is_empty = load.data.state_clear_aware_is_empty(spec);
        Ok(AccountInfoLoad::new(&load.data.info, load.is_cold, is_empty))
    }
}
