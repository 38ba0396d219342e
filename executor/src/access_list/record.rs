//! Making a block access list: the block's transactions one by one, each on the state that the ones
//! before it left, and what each read and changed.
//!
//! Authoritative, since it is the reference that executes. Does not decide what is in the block.

use super::BlockAccessList;
use crate::{
    block::{BlockEnv, BlockInput, ExecutedBlock},
    dao_fork,
    error::{ExecuteError, ViewError},
    evm::RuleEvm,
    fees::FeeSchedule,
    rules::ChainRules,
    state::{Account, AccountDiff, Overlay, PostState, Reads, StateDiff, StateTrie, StateView},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use alloy_eips::{
    eip4788::SYSTEM_ADDRESS,
    eip7928::{
        AccountChanges, BalanceChange, BlockAccessIndex, CodeChange, NonceChange, SlotChanges,
        StorageChange,
    },
};
use alloy_primitives::{
    Address, B256, Bytes, KECCAK256_EMPTY, U256,
    map::{AddressMap, B256Map, HashMap},
};
use revm::{
    bytecode::Bytecode,
    context::{Journal, JournalTr},
};

/// The access list of a block that was executed from `input` on `view`. Executes it once more, one
/// transaction after another.
///
/// Storage that a self-destruct before EIP-6780 took is not listed slot by slot: the EIP is younger.
///
/// # Errors
/// As [`execute`](crate::execute()), and [`ExecuteError::Evm`] when a transaction of the block is not
/// valid on this state, which is then not the state before the block.
pub fn access_list<V: StateView>(
    view: &V,
    input: &BlockInput,
    block: &ExecutedBlock,
) -> Result<BlockAccessList, ExecuteError> {
    let (rules, env) = (&*input.rules, &input.env);
    let mut replay = Replay::new(view, rules, env);
    replay.step(|evm| {
        if let ChainRules::Ethereum(rules) = rules {
            dao_fork::apply(&mut evm.journal_mut().database, rules.chain_id, env.number)?;
        }
        evm.begin_block(env)
    })?;
    for transaction in &block.transactions {
        let outcome = replay.step(|evm| evm.transact(transaction))?;
        outcome.map_err(|_| ExecuteError::Evm { transaction: transaction.hash() })?;
    }
    replay.step(|evm| evm.end_block(env, &block.receipts))?;
    Ok(replay.finish())
}

type Evm<'l, 'v, V> = RuleEvm<Journal<Overlay<'l, Layer<'v, V>>>>;

struct Replay<'v, V> {
    rules: &'v ChainRules,
    env: &'v BlockEnv,
    layer: Layer<'v, V>,
    fees: Option<FeeSchedule>,
    /// 0 before the transactions, then one more for each, and for what follows them.
    index: u64,
    accounts: BTreeMap<Address, Changes>,
}

/// What is known of one account so far.
#[derive(Default)]
struct Changes {
    slots: BTreeMap<U256, Vec<StorageChange>>,
    reads: BTreeSet<U256>,
    balances: Vec<BalanceChange>,
    nonces: Vec<NonceChange>,
    codes: Vec<CodeChange>,
}

impl<'v, V: StateView> Replay<'v, V> {
    fn new(view: &'v V, rules: &'v ChainRules, env: &'v BlockEnv) -> Self {
        let layer = Layer::new(view);
        Self { rules, env, layer, fees: None, index: 0, accounts: BTreeMap::new() }
    }

    /// One step of the block on an overlay of its own, so that the diff is the step's.
    fn step<T>(
        &mut self,
        run: impl FnOnce(&mut Evm<'_, 'v, V>) -> Result<T, ExecuteError>,
    ) -> Result<T, ExecuteError> {
        let journal = Journal::new(Overlay::new(&self.layer));
        let mut evm = RuleEvm::new(journal, self.rules, self.env);
        evm.set_fees(self.fees);
        let result = run(&mut evm)?;
        self.fees = evm.fees();
        let overlay = evm.into_journal().database;
        let (reads, diff) = (overlay.reads(), overlay.diff());
        self.add(reads, &diff)?;
        self.layer.apply(diff);
        self.index += 1;
        Ok(result)
    }

    fn add(&mut self, reads: Reads, diff: &StateDiff) -> Result<(), ViewError> {
        for (address, slots) in reads {
            // The caller of system calls is in no list unless something changed it (EIP-7928).
            if address != SYSTEM_ADDRESS || diff.accounts.contains_key(&address) {
                self.accounts.entry(address).or_default().reads.extend(slots);
            }
        }
        let index = BlockAccessIndex::new(self.index);
        for (address, change) in &diff.accounts {
            let code = self.new_code(change, diff)?;
            self.accounts.entry(*address).or_default().add(index, change, code);
        }
        Ok(())
    }

    /// The code after a change, if it is another one.
    fn new_code(&self, change: &AccountDiff, diff: &StateDiff) -> Result<Option<Bytes>, ViewError> {
        let code_hash = |account: Option<Account>| account.unwrap_or_default().code_hash;
        let after = code_hash(change.after);
        if after == code_hash(change.before) {
            return Ok(None);
        }
        let code = match diff.codes.get(&after) {
            Some(code) => code.clone(),
            None => self.layer.code(after)?,
        };
        Ok(Some(code.original_bytes()))
    }

    fn finish(self) -> BlockAccessList {
        let accounts = self.accounts.into_iter();
        BlockAccessList(accounts.map(|(address, changes)| changes.finish(address)).collect())
    }
}

impl Changes {
    fn add(&mut self, index: BlockAccessIndex, change: &AccountDiff, code: Option<Bytes>) {
        let before = change.before.unwrap_or_default();
        let after = change.after.unwrap_or_default();
        if before.balance_wei != after.balance_wei {
            self.balances.push(BalanceChange::new(index, after.balance_wei));
        }
        if before.nonce != after.nonce {
            self.nonces.push(NonceChange::new(index, after.nonce));
        }
        self.codes.extend(code.map(|code| CodeChange::new(index, code)));
        for (slot, value) in &change.slots {
            let changes = self.slots.entry(*slot).or_default();
            changes.push(StorageChange::new(index, value.after));
        }
    }

    fn finish(self, address: Address) -> AccountChanges {
        let unchanged = self.reads.iter().filter(|slot| !self.slots.contains_key(*slot));
        AccountChanges {
            address,
            storage_reads: unchanged.copied().collect(),
            storage_changes: self
                .slots
                .into_iter()
                .map(|(slot, changes)| SlotChanges::new(slot, changes))
                .collect(),
            balance_changes: self.balances,
            nonce_changes: self.nonces,
            code_changes: self.codes,
        }
    }
}

/// What earlier steps left, over the view.
struct Layer<'v, V> {
    view: &'v V,
    accounts: AddressMap<Option<Account>>,
    storage: AddressMap<LayerStorage>,
    codes: B256Map<Bytecode>,
}

#[derive(Default)]
struct LayerStorage {
    /// Nothing of the view's is left.
    wiped: bool,
    slots: HashMap<U256, U256>,
}

impl<'v, V> Layer<'v, V> {
    fn new(view: &'v V) -> Self {
        Self {
            view,
            accounts: AddressMap::default(),
            storage: AddressMap::default(),
            codes: B256Map::default(),
        }
    }

    fn apply(&mut self, diff: StateDiff) {
        for (address, change) in diff.accounts {
            let storage = self.storage.entry(address).or_default();
            if change.wiped || change.after.is_none() {
                *storage = LayerStorage { wiped: true, slots: HashMap::default() };
            }
            let slots = change.slots.into_iter();
            storage.slots.extend(slots.map(|(slot, value)| (slot, value.after)));
            self.accounts.insert(address, change.after);
        }
        self.codes.extend(diff.codes);
    }
}

impl<V: StateView> StateView for Layer<'_, V> {
    fn account(&self, address: Address) -> Result<Option<Account>, ViewError> {
        self.accounts.get(&address).map_or_else(|| self.view.account(address), |now| Ok(*now))
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        match self.storage.get(&address) {
            Some(storage) => match storage.slots.get(&slot) {
                Some(value) => Ok(*value),
                None if storage.wiped => Ok(U256::ZERO),
                None => self.view.slot(address, slot),
            },
            None => self.view.slot(address, slot),
        }
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        if code_hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        self.codes.get(&code_hash).cloned().map_or_else(|| self.view.code(code_hash), Ok)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        self.view.block_hash(number)
    }

    /// The view's: a layer has none of its own, and no step asks for it.
    fn trie_for(&self, reads: &Reads, diff: &StateDiff) -> Result<StateTrie, ViewError> {
        self.view.trie_for(reads, diff)
    }

    fn after(&self, diff: &StateDiff) -> Result<PostState, ViewError> {
        self.view.after(diff)
    }
}
