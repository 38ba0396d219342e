//! States and the changes of blocks, drawn from a seed: addresses that exist change, come and go.

use crate::{
    baseline::{Baseline, Value},
    dice::Dice,
};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::Encodable;
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieAccount};
use executor::{
    Account, StateDiff,
    state::{AccountDiff, SlotDiff},
};
use std::{collections::BTreeMap, time::Instant};

/// Contracts of a state with slots, and slots of each.
const CONTRACTS: usize = 1_000;
const SLOTS: u64 = 1_000;

/// A state, and what is touched in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) accounts: usize,
    /// Slots are touched rather than accounts.
    pub(crate) slots: bool,
}

impl Shape {
    pub(crate) const ALL: [Self; 3] = [
        Self { accounts: 1_000_000, slots: false },
        Self { accounts: 1_000_000, slots: true },
        Self { accounts: 5_000_000, slots: false },
    ];

    pub(crate) fn case(self) -> &'static str {
        if self.slots { "slots" } else { "accounts" }
    }

    pub(crate) fn name(self, touched: usize) -> String {
        format!("{}/{}M/{touched}", self.case(), self.accounts / 1_000_000)
    }

    /// Keys that blocks touch.
    pub(crate) fn touched(self) -> impl Iterator<Item = usize> {
        [100, 1_000, 10_000].into_iter()
    }
}

/// An account and its storage root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlatAccount {
    pub(crate) account: Account,
    pub(crate) storage_root: B256,
}

impl Value for FlatAccount {
    fn encode_leaf(&self, out: &mut Vec<u8>) {
        let Account { nonce, balance_wei, code_hash } = self.account;
        let storage_root = self.storage_root;
        TrieAccount { nonce, balance: balance_wei, storage_root, code_hash }.encode(out);
    }
}

impl Value for U256 {
    fn encode_leaf(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }
}

/// A contract's slots.
#[derive(Debug)]
struct Contract {
    address: Address,
    slots: Vec<U256>,
    trie: Baseline<U256>,
}

/// A state as the baseline keeps it.
#[derive(Debug)]
pub(crate) struct World {
    shape: Shape,
    dice: Dice,
    addresses: Vec<Address>,
    contracts: Vec<Contract>,
    pub(crate) accounts: Baseline<FlatAccount>,
    /// Milliseconds that the hash builder took for all accounts and slots.
    pub(crate) build_ms: f64,
}

fn draw_address(dice: &mut Dice) -> Address {
    let mut address = Address::ZERO;
    address[..8].copy_from_slice(&dice.next().to_be_bytes());
    address[8..16].copy_from_slice(&dice.next().to_be_bytes());
    address
}

fn draw_account(dice: &mut Dice) -> Account {
    // Up to some thousand ether.
    let balance_wei = U256::from(dice.next()) * U256::from(dice.below(1_000));
    Account { nonce: dice.below(1_000), balance_wei, code_hash: KECCAK256_EMPTY }
}

fn hashed_slot(slot: U256) -> B256 {
    keccak256(slot.to_be_bytes::<32>())
}

fn draw_contract(dice: &mut Dice) -> Contract {
    let address = draw_address(dice);
    let slots: Vec<_> = (0..SLOTS).map(|_| U256::from(dice.next())).collect();
    let flat = slots.iter().map(|slot| (hashed_slot(*slot), U256::from(dice.next() | 1)));
    Contract { address, trie: Baseline::new(flat.collect()), slots }
}

impl World {
    pub(crate) fn new(shape: Shape) -> Self {
        let mut dice = Dice::new(1, shape.accounts as u64);
        let mut flat = BTreeMap::new();
        let contracts = if shape.slots { CONTRACTS } else { 0 };
        let contracts: Vec<_> = (0..contracts).map(|_| draw_contract(&mut dice)).collect();
        for contract in &contracts {
            let code_hash = B256::repeat_byte(1);
            let account = Account { code_hash, ..draw_account(&mut dice) };
            let storage_root = contract.trie.root();
            flat.insert(keccak256(contract.address), FlatAccount { account, storage_root });
        }
        let mut addresses = Vec::with_capacity(shape.accounts);
        while flat.len() < shape.accounts {
            let (address, account) = (draw_address(&mut dice), draw_account(&mut dice));
            addresses.push(address);
            flat.insert(keccak256(address), FlatAccount { account, storage_root: EMPTY_ROOT_HASH });
        }
        let started = Instant::now();
        for contract in &contracts {
            contract.trie.rebuild();
        }
        let accounts = Baseline::new(flat);
        let build_ms = started.elapsed().as_secs_f64() * 1e3;
        Self { shape, dice, addresses, contracts, accounts, build_ms }
    }

    /// All accounts, by hashed address.
    pub(crate) fn flat_accounts(&self) -> impl Iterator<Item = (B256, Account)> {
        self.accounts.flat.iter().map(|(address, flat)| (*address, flat.account))
    }

    /// All slots, by hashed address and hashed slot.
    pub(crate) fn flat_slots(&self) -> impl Iterator<Item = (B256, B256, U256)> {
        self.contracts.iter().flat_map(|contract| {
            let address = keccak256(contract.address);
            contract.trie.flat.iter().map(move |(slot, value)| (address, *slot, *value))
        })
    }

    /// Keys: accounts and slots.
    pub(crate) fn keys(&self) -> usize {
        let slots: usize = self.contracts.iter().map(|contract| contract.trie.flat.len()).sum();
        self.accounts.flat.len() + slots
    }

    /// The changes of a block.
    pub(crate) fn draw(&mut self, touched: usize) -> StateDiff {
        let mut diff = StateDiff::default();
        for index in 0..touched {
            if self.shape.slots {
                self.draw_slot(index % 100, &mut diff);
            } else {
                self.draw_account(index % 100, &mut diff);
            }
        }
        diff
    }

    fn draw_account(&mut self, percentile: usize, diff: &mut StateDiff) {
        let dice = &mut self.dice;
        let at = dice.index(self.addresses.len());
        let (address, after) = match percentile {
            0..90 => (self.addresses[at], Some(draw_account(dice))),
            90..98 => {
                self.addresses.push(draw_address(dice));
                (self.addresses[self.addresses.len() - 1], Some(draw_account(dice)))
            }
            _ => (self.addresses.swap_remove(at), None),
        };
        diff.accounts.insert(address, AccountDiff { after, ..AccountDiff::default() });
    }

    fn draw_slot(&mut self, percentile: usize, diff: &mut StateDiff) {
        let dice = &mut self.dice;
        let at = dice.index(self.contracts.len());
        let contract = &mut self.contracts[at];
        let at = dice.index(contract.slots.len());
        let (slot, after) = match percentile {
            0..90 => (contract.slots[at], U256::from(dice.next() | 1)),
            90..98 => {
                contract.slots.push(U256::from(dice.next()));
                (contract.slots[contract.slots.len() - 1], U256::from(dice.next() | 1))
            }
            _ => (contract.slots.swap_remove(at), U256::ZERO),
        };
        let flat = &self.accounts.flat[&keccak256(contract.address)];
        let entry = diff.accounts.entry(contract.address).or_default();
        entry.after = Some(flat.account);
        entry.slots.insert(slot, SlotDiff { before: U256::ZERO, after });
    }

    /// Brings flat state up to date, which is not timed.
    pub(crate) fn apply_flat(&mut self, diff: &StateDiff) {
        for (address, change) in &diff.accounts {
            let key = keccak256(address);
            match change.after {
                None => drop(self.accounts.flat.remove(&key)),
                Some(account) => {
                    let new = FlatAccount { account, storage_root: EMPTY_ROOT_HASH };
                    self.accounts.flat.entry(key).or_insert(new).account = account;
                }
            }
        }
        for contract in &mut self.contracts {
            let Some(change) = diff.accounts.get(&contract.address) else { continue };
            for (slot, value) in &change.slots {
                if value.after.is_zero() {
                    contract.trie.flat.remove(&hashed_slot(*slot));
                } else {
                    contract.trie.flat.insert(hashed_slot(*slot), value.after);
                }
            }
        }
    }

    /// The root after a diff that flat state has already: storage roots first.
    pub(crate) fn root(&mut self, diff: &StateDiff) -> B256 {
        for contract in &mut self.contracts {
            let Some(change) = diff.accounts.get(&contract.address) else { continue };
            let storage_root =
                contract.trie.update(&changed(change.slots.keys().map(|s| hashed_slot(*s))));
            if let Some(flat) = self.accounts.flat.get_mut(&keccak256(contract.address)) {
                flat.storage_root = storage_root;
            }
        }
        self.accounts.update(&changed(diff.accounts.keys().map(keccak256)))
    }
}

/// Changed keys in order.
fn changed(keys: impl Iterator<Item = B256>) -> Vec<Nibbles> {
    let mut keys: Vec<B256> = keys.collect();
    keys.sort_unstable();
    keys.into_iter().map(Nibbles::unpack).collect()
}
