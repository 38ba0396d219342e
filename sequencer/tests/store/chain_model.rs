//! A chain in plain maps, and blocks with arbitrary changes built on it: what the chain store is
//! compared with. Blocks are put together by hand, without an EVM.

use alloy::{
    consensus::{SignableTransaction, TxLegacy},
    primitives::{Address, B256, Bytes, Log, TxKind, U256, address, keccak256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use executor::{
    Account, Counters, Deposit, ExecutedBlock, Genesis, Header, MemoryState, Reads, Receipt,
    RollupRules, StateDiff, StateTrie, StateView, Transaction,
    block::{receipts_root, transactions_root},
    genesis::{GenesisAccount, GenesisL1},
    state::{AccountDiff, SlotDiff},
    transaction::SignedTransaction,
};
use proptest::prelude::*;
use revm::bytecode::Bytecode;
use sequencer::store::{ChainStore, ChainView, StoredBlock};
use std::collections::BTreeMap;

/// Predeploy whose storage root is part of output roots.
pub(crate) const MESSAGE_PASSER: Address = address!("4200000000000000000000000000000000000016");
const SLOTS: u64 = 4;

type Contract = (Account, BTreeMap<U256, U256>);
type State = BTreeMap<Address, Contract>;

/// One change within a block, by account number.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Nonce and balance.
    Pay(u8, u64),
    /// New code.
    Code(u8, u8),
    /// A slot, possibly to zero.
    Slot(u8, u8, u64),
    /// The account goes, with its storage.
    Remove(u8),
}

/// A few changes of a few accounts, so that they often meet.
pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let who = 0..6_u8;
    let change = prop_oneof![
        3 => (who.clone(), any::<u64>()).prop_map(|(who, wei)| Change::Pay(who, wei)),
        1 => (who.clone(), any::<u8>()).prop_map(|(who, byte)| Change::Code(who, byte)),
        4 => (who.clone(), 0..4_u8, 0..3_u64).prop_map(|(who, slot, v)| Change::Slot(who, slot, v)),
        1 => who.prop_map(Change::Remove),
    ];
    proptest::collection::vec(change, 0..8)
}

/// The chain so far: index is block number.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) genesis: Genesis,
    pub(crate) blocks: Vec<ExecutedBlock>,
    states: Vec<State>,
    genesis_trie: StateTrie,
    genesis_header: (Header, B256),
}

fn account(who: u8) -> Address {
    if who == 0 { MESSAGE_PASSER } else { Address::repeat_byte(who) }
}

/// A small genesis: the message passer, and an account with storage.
pub(crate) fn genesis() -> Genesis {
    let contract = |storage: BTreeMap<U256, U256>| GenesisAccount {
        nonce: 1,
        balance: U256::ZERO,
        code: Bytes::from_static(&[0x60, 0x00, 0x00]),
        storage,
    };
    let storage = BTreeMap::from([(U256::from(1), U256::from(7)), (U256::from(9), U256::MAX)]);
    Genesis {
        rules: RollupRules::default(),
        timestamp: 1_700_000_000,
        alloc: BTreeMap::from([
            (MESSAGE_PASSER, contract(BTreeMap::new())),
            (account(1), contract(storage)),
        ]),
        l1: GenesisL1 {
            chain_id: 1,
            origin_number: 10,
            origin_hash: B256::repeat_byte(10),
            blob_schedule: BTreeMap::new(),
            inbox: Address::repeat_byte(0xa1),
            outputs: Address::repeat_byte(0xa2),
            portal: Address::repeat_byte(0xa3),
        },
    }
}

impl Model {
    pub(crate) fn new(genesis: Genesis) -> Self {
        let (state, header, hash) = genesis.build().unwrap();
        let mut first = State::new();
        for (address, change) in genesis.state_diff().accounts {
            let slots = change.slots.into_iter().map(|(slot, value)| (slot, value.after));
            first.insert(address, (change.after.unwrap(), slots.collect()));
        }
        Self {
            genesis,
            blocks: Vec::new(),
            states: vec![first],
            genesis_trie: state.trie().clone(),
            genesis_header: (header, hash),
        }
    }

    pub(crate) fn head(&self) -> (&Header, B256) {
        match self.blocks.last() {
            Some(block) => (&block.header, block.hash),
            None => (&self.genesis_header.0, self.genesis_header.1),
        }
    }

    pub(crate) fn header(&self, number: usize) -> (&Header, B256) {
        match number.checked_sub(1) {
            Some(index) => (&self.blocks[index].header, self.blocks[index].hash),
            None => (&self.genesis_header.0, self.genesis_header.1),
        }
    }

    fn trie(&self) -> &StateTrie {
        self.trie_at(self.blocks.len())
    }

    fn trie_at(&self, number: usize) -> &StateTrie {
        match number.checked_sub(1) {
            Some(index) => self.blocks[index].trie.as_ref().unwrap(),
            None => &self.genesis_trie,
        }
    }

    /// Proofs at a block, of what is there and what is not, and a change of it.
    fn check_proofs(&self, view: &ChainView, number: usize) {
        let slots: Vec<U256> = (0..SLOTS).chain([9]).map(U256::from).collect();
        let reads = (0..7).map(|who| (account(who), slots.iter().copied().collect()));
        let reads: Reads = reads.collect();
        let whole = self.trie_at(number);
        let trie = view.trie_for(&reads, &StateDiff::default()).unwrap();
        assert_eq!(trie.root(), self.header(number).0.state_root, "block {number}");
        for who in 0..7 {
            let expected = whole.account_proof(account(who), &slots).unwrap();
            assert_eq!(trie.account_proof(account(who), &slots).unwrap(), expected);
        }
        // The change that came next, and one that leaves nothing.
        let everything = difference(&self.states[number], &State::new());
        let everything = StateDiff { accounts: everything, ..StateDiff::default() };
        for diff in
            self.blocks.get(number).map(|block| &block.diff).into_iter().chain([&everything])
        {
            let expected = whole.apply(diff).unwrap().root();
            assert_eq!(view.after(diff).unwrap().root, expected, "after block {number}");
            let reads = Reads::default();
            let trie = view.trie_for(&reads, diff).unwrap();
            assert_eq!(trie.witness(&reads, diff).unwrap(), whole.witness(&reads, diff).unwrap());
        }
    }

    /// The block after the head with these changes; not yet part of the chain. `salt` tells blocks
    /// of equal changes apart.
    pub(crate) fn build(&self, changes: &[Change], salt: u64) -> ExecutedBlock {
        let before = self.states.last().unwrap();
        let (after, codes) = apply(before, changes);
        let diff = StateDiff { accounts: difference(before, &after), codes };
        let trie = self.trie().apply(&diff).unwrap();
        let (parent, parent_hash) = self.head();
        let number = parent.number + 1;
        let transactions = transactions(number, salt, changes.len().min(3));
        let receipts = receipts(&transactions);
        let (receipts_root, logs_bloom) = receipts_root(&receipts);
        let header = Header {
            parent_hash,
            number,
            timestamp: parent.timestamp + 2,
            state_root: trie.root(),
            transactions_root: transactions_root(&transactions),
            receipts_root,
            logs_bloom,
            gas_used: receipts.last().map_or(0, |receipt| receipt.cumulative_gas_used),
            mix_hash: B256::from(U256::from(salt)),
            ..Header::default()
        };
        let hash = header.hash_slow();
        ExecutedBlock {
            header,
            hash,
            transactions,
            receipts,
            skipped: Vec::new(),
            diff,
            trie: Some(trie),
            counters: Counters::default(),
        }
    }

    pub(crate) fn push(&mut self, block: ExecutedBlock, changes: &[Change]) {
        let (after, _) = apply(self.states.last().unwrap(), changes);
        self.states.push(after);
        self.blocks.push(block);
    }

    /// Builds a block, commits it to the store and adds it to the model.
    pub(crate) fn extend(&mut self, store: &ChainStore, changes: &[Change], salt: u64) {
        let block = self.build(changes, salt);
        store.commit(&block).unwrap();
        self.push(block, changes);
    }

    pub(crate) fn rollback_to(&mut self, number: usize) -> Vec<ExecutedBlock> {
        self.states.truncate(number + 1);
        self.blocks.split_off(number)
    }

    /// Everything a view answers, compared with the recorded state.
    pub(crate) fn check_view(&self, view: &ChainView, number: usize) {
        let state = &self.states[number];
        for who in 0..6 {
            let address = account(who);
            let expected = state.get(&address);
            let found = view.account(address).unwrap();
            assert_eq!(found, expected.map(|contract| contract.0), "account {who} at {number}");
            for slot in (0..SLOTS).chain([9]).map(U256::from) {
                let value = expected.and_then(|contract| contract.1.get(&slot)).copied();
                let found = view.slot(address, slot).unwrap();
                assert_eq!(
                    found,
                    value.unwrap_or_default(),
                    "account {who} slot {slot} at {number}"
                );
            }
            if let Some(found) = found {
                assert_eq!(view.code(found.code_hash).unwrap().hash_slow(), found.code_hash);
            }
        }
        for number in 0..=number {
            assert_eq!(view.block_hash(number as u64).unwrap(), self.header(number).1);
        }
        assert!(view.block_hash(number as u64 + 1).is_err());
        assert_eq!(view.block().hash, self.header(number).1);
    }

    /// The whole store against the model: every block, every index, every state.
    pub(crate) fn check_store(&self, store: &ChainStore) {
        assert_eq!(store.head().hash, self.head().1);
        assert_eq!(*store.subscribe_head().borrow(), store.head());
        let view = store.view().unwrap();
        assert_eq!(root_of(&view), self.head().0.state_root);
        for number in 0..=self.blocks.len() {
            let view = store.view_at(number as u64).unwrap().unwrap();
            self.check_view(&view, number);
            self.check_proofs(&view, number);
            let (header, hash) = store.header(number as u64).unwrap().unwrap();
            assert_eq!((&header, hash), self.header(number));
            assert_eq!(store.block_number(hash).unwrap(), Some(number as u64));
        }
        for block in &self.blocks {
            check_block(store, block);
        }
        let above = self.blocks.len() as u64 + 1;
        assert!(store.view_at(above).unwrap().is_none());
        assert!(store.block(above).unwrap().is_none());
        assert!(store.receipts(above).unwrap().is_none());
        assert!(store.message_passer_root(above).unwrap().is_none());
    }

    /// The state again, from genesis and the diffs: another implementation's word for the root.
    pub(crate) fn rebuilt(&self) -> MemoryState {
        let (mut state, _, _) = self.genesis.build().unwrap();
        for block in &self.blocks {
            state.apply(&block.diff).unwrap();
        }
        state
    }
}

/// State root of a view.
pub(crate) fn root_of(view: &ChainView) -> B256 {
    view.trie_for(&Reads::default(), &StateDiff::default()).unwrap().root()
}

/// What the store gives back for a block.
pub(crate) fn stored(block: &ExecutedBlock) -> StoredBlock {
    StoredBlock {
        header: block.header.clone(),
        hash: block.hash,
        transactions: block.transactions.clone(),
        receipts: block.receipts.clone(),
    }
}

fn check_block(store: &ChainStore, block: &ExecutedBlock) {
    let number = block.header.number;
    assert_eq!(store.block(number).unwrap().unwrap(), stored(block));
    assert_eq!(store.receipts(number).unwrap().unwrap(), block.receipts);
    let passer = block.trie.as_ref().unwrap().storage_root(MESSAGE_PASSER).unwrap();
    assert_eq!(store.message_passer_root(number).unwrap(), Some(passer));
    let mut logs = 0;
    let mut gas = 0;
    for (index, transaction) in block.transactions.iter().enumerate() {
        let position = store.transaction_position(transaction.hash()).unwrap();
        assert_eq!(position, Some((number, index)));
        let found = store.transaction_at(number, index).unwrap().unwrap();
        assert_eq!((&found.transaction, &found.receipt), (transaction, &block.receipts[index]));
        assert_eq!(found.first_log_index, logs);
        assert_eq!(found.gas_used, found.receipt.cumulative_gas_used - gas);
        logs += found.receipt.logs.len() as u64;
        gas = found.receipt.cumulative_gas_used;
    }
    assert!(store.transaction_at(number, block.transactions.len()).unwrap().is_none());
}

fn apply(before: &State, changes: &[Change]) -> (State, BTreeMap<B256, Bytecode>) {
    let mut state = before.clone();
    let mut codes = BTreeMap::new();
    for change in changes {
        match *change {
            Change::Pay(who, wei) => {
                let contract = state.entry(account(who)).or_default();
                contract.0.nonce += 1;
                contract.0.balance_wei = U256::from(wei) << (wei % 100);
            }
            Change::Code(who, byte) => {
                let code = Bytecode::new_raw(Bytes::from(vec![0x60, byte, 0x00]));
                let contract = state.entry(account(who)).or_default();
                contract.0.nonce += 1;
                contract.0.code_hash = code.hash_slow();
                codes.insert(contract.0.code_hash, code);
            }
            Change::Slot(who, slot, value) => {
                let contract = state.entry(account(who)).or_default();
                contract.0.nonce = contract.0.nonce.max(1);
                match value {
                    0 => contract.1.remove(&U256::from(slot)),
                    _ => contract.1.insert(U256::from(slot), U256::from(value)),
                };
            }
            Change::Remove(who) => {
                state.remove(&account(who));
            }
        }
    }
    (state, codes)
}

fn difference(before: &State, after: &State) -> BTreeMap<Address, AccountDiff> {
    let mut accounts = BTreeMap::new();
    let nothing = BTreeMap::new();
    for address in before.keys().chain(after.keys()) {
        let (old, new) = (before.get(address), after.get(address));
        let (old_slots, new_slots) =
            (old.map_or(&nothing, |contract| &contract.1), new.map_or(&nothing, |c| &c.1));
        let mut slots = BTreeMap::new();
        for slot in old_slots.keys().chain(new_slots.keys()) {
            let value = |slots: &BTreeMap<U256, U256>| slots.get(slot).copied().unwrap_or_default();
            let diff = SlotDiff { before: value(old_slots), after: value(new_slots) };
            if diff.before != diff.after {
                slots.insert(*slot, diff);
            }
        }
        let (before, after) = (old.map(|contract| contract.0), new.map(|contract| contract.0));
        if before != after || !slots.is_empty() {
            accounts.insert(*address, AccountDiff { before, after, wiped: false, slots });
        }
    }
    accounts
}

fn transactions(number: u64, salt: u64, count: usize) -> Vec<Transaction> {
    let seed = keccak256([number.to_be_bytes(), salt.to_be_bytes()].concat());
    let deposit = Deposit {
        source_hash: seed,
        from: Address::repeat_byte(0xde),
        to: TxKind::Call(account(1)),
        mint_wei: 5,
        value: U256::from(number),
        gas_limit: 100_000,
        input: Bytes::from_static(b"deposit"),
    };
    let signer = PrivateKeySigner::from_bytes(&seed).unwrap();
    let signed = (1..count as u64).map(|nonce| {
        let transaction =
            TxLegacy { nonce, gas_limit: 21_000, to: TxKind::Create, ..TxLegacy::default() };
        let signature = signer.sign_hash_sync(&transaction.signature_hash()).unwrap();
        let signed = SignedTransaction::Legacy(transaction.into_signed(signature));
        Transaction::from_signed(signed, signer.address())
    });
    std::iter::once(Transaction::from_deposit(deposit)).chain(signed).take(count).collect()
}

fn receipts(transactions: &[Transaction]) -> Vec<Receipt> {
    let receipt = |(index, transaction): (usize, &Transaction)| Receipt {
        ty: transaction.ty(),
        success: index % 2 == 0,
        state_root: None,
        cumulative_gas_used: 21_000 * (index as u64 + 1),
        logs: (0..index + 1)
            .map(|log| {
                let topics = vec![keccak256([log as u8]); log];
                Log::new_unchecked(account(2), topics, transaction.raw().slice(..8))
            })
            .collect(),
        deposit_nonce: transaction.as_deposit().map(|_| 3),
    };
    transactions.iter().enumerate().map(receipt).collect()
}
