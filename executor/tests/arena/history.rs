//! Random histories of a state: every operation of the arena in any order, each followed by a
//! comparison with alloy-trie's hash builder. Everything follows from a seed and the history's number.
//!
//! `arena` runs some as a test, the example `root_fuzz` as many as one likes. Keys are drawn so that
//! forks, extensions and embedded nodes come at every depth, which random hashes would never give.

use super::{
    dice::Dice,
    flat::{self, Flat, Slots, Source},
};
use alloy_primitives::{B256, U256, keccak256};
use alloy_trie::{Nibbles, proof::verify_proof};
use executor::{
    Account, StateArena,
    keccak::Backend,
    state::arena::{ArenaError, ArenaOptions, HashedDiff, ShardCount},
};
use std::{fmt, sync::atomic::Ordering};

/// Steps of a history at most.
const STEPS_MAX: u64 = 12;

/// What was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) histories: u64,
    pub(crate) roots: u64,
    pub(crate) accounts_set: u64,
    pub(crate) accounts_removed: u64,
    pub(crate) wiped: u64,
    pub(crate) slots_set: u64,
    pub(crate) slots_removed: u64,
    pub(crate) undone: u64,
    pub(crate) evicted: u64,
    pub(crate) read_back: u64,
    pub(crate) failed_reads: u64,
    pub(crate) proofs: u64,
    pub(crate) rebuilt: u64,
    pub(crate) empty: u64,
    pub(crate) part_histories: u64,
    pub(crate) parts: u64,
    pub(crate) siblings: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        for (own, other) in self.counts_mut().into_iter().zip(other.clone().counts_mut()) {
            *own.1 += *other.1;
        }
    }

    fn counts_mut(&mut self) -> [(&'static str, &mut u64); 17] {
        [
            ("histories", &mut self.histories),
            ("roots compared", &mut self.roots),
            ("accounts set", &mut self.accounts_set),
            ("accounts removed", &mut self.accounts_removed),
            ("accounts wiped", &mut self.wiped),
            ("slots set", &mut self.slots_set),
            ("slots set to zero", &mut self.slots_removed),
            ("changes undone", &mut self.undone),
            ("shards evicted", &mut self.evicted),
            ("shards read back", &mut self.read_back),
            ("failed reads survived", &mut self.failed_reads),
            ("proofs verified", &mut self.proofs),
            ("rebuilt from flat state", &mut self.rebuilt),
            ("empty states", &mut self.empty),
            ("histories of partial tries", &mut self.part_histories),
            ("partial tries compared", &mut self.parts),
            ("nodes beside removed keys", &mut self.siblings),
        ]
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = self.clone();
        counts.counts_mut().iter().try_for_each(|(name, count)| writeln!(f, "{count:>12}  {name}"))
    }
}

/// A state and the arena that must agree with it.
struct History {
    dice: Dice,
    keys: Vec<B256>,
    slot_keys: Vec<B256>,
    source: Source,
    arena: StateArena,
    tally: Tally,
}

/// Runs the history of this number; the counts, or what differs.
pub(crate) fn run(seed: u64, number: u64) -> Result<Tally, String> {
    let mut dice = Dice::new(seed, number);
    let backends: Vec<_> = Backend::ALL.into_iter().filter(|b| b.is_available()).collect();
    let options = ArenaOptions {
        shards: dice.pick(&[ShardCount::One, ShardCount::Sixteen, ShardCount::TwoHundredFiftySix]),
        backend: dice.pick(&backends),
        threads: dice.range(1, 2) as usize,
    };
    let count = if dice.chance(3) { 300 } else { dice.range(1, 24) };
    let keys = draw_keys(&mut dice, count);
    let count = dice.range(1, 16);
    let slot_keys = draw_keys(&mut dice, count);
    let source = Source::default();
    let arena = StateArena::new(options).map_err(|error| error.to_string())?;
    let arena = arena.with_source(Box::new(source.clone()));
    let tally = Tally { histories: 1, ..Tally::default() };
    let mut history = History { dice, keys, slot_keys, source, arena, tally };
    history
        .run()
        .map_err(|error| format!("seed {seed}, history {number}, {options:?}: {error}"))?;
    history.tally.read_back = history.source.reads.load(Ordering::Relaxed) as u64;
    Ok(history.tally)
}

/// Keys that part at any depth: some random, some equal to another one but for a few nibbles.
fn draw_keys(dice: &mut Dice, count: u64) -> Vec<B256> {
    let mut keys: Vec<B256> = Vec::new();
    let similar = dice.below(100);
    for _ in 0..count {
        let mut key = keccak256(dice.next().to_be_bytes());
        if !keys.is_empty() && dice.chance(similar) {
            key = dice.pick(&keys);
            for _ in 0..dice.range(1, 2) {
                let at =
                    if dice.chance(50) { dice.range(0, 31) } else { dice.pick(&[0, 1, 30, 31]) };
                key[at as usize] ^= dice.pick(&[1, 2, 0x10, 0x20, 0x11]);
            }
        }
        keys.push(key);
    }
    keys
}

/// A change, and the one that leads back.
struct Change {
    forth: HashedDiff,
    back: HashedDiff,
    before: Flat,
    after: Flat,
}

impl History {
    fn run(&mut self) -> Result<(), String> {
        for _ in 0..self.dice.range(1, STEPS_MAX) {
            let change = self.draw();
            self.evict();
            self.apply(&change)?;
            if self.dice.chance(20) {
                self.undo(&change)?;
            }
            if self.dice.chance(30) {
                self.prove()?;
            }
            if self.dice.chance(8) {
                self.rebuild()?;
            }
        }
        Ok(())
    }

    fn flat(&self) -> Flat {
        self.source.flat.lock().unwrap().clone()
    }

    fn draw(&mut self) -> Change {
        let before = self.flat();
        let mut after = before.clone();
        let (mut forth, mut back) = (HashedDiff::default(), HashedDiff::default());
        let mut left = self.keys.clone();
        left.sort_unstable();
        left.dedup();
        let most = if self.dice.chance(10) { left.len() } else { left.len().min(8) };
        let removals = self.dice.pick(&[5, 20, 60, 95]);
        for _ in 0..self.dice.range(1, most as u64) {
            let key = left.swap_remove(self.dice.index(left.len()));
            let before = after.get(&key).cloned();
            if self.dice.chance(removals) {
                self.tally.accounts_removed += u64::from(after.remove(&key).is_some());
                forth.push_account(key, None, false);
                push_whole(&mut back, key, before.as_ref());
                continue;
            }
            let entry = after.entry(key).or_default();
            self.set(key, entry, before.as_ref(), (&mut forth, &mut back));
        }
        Change { forth, back, before, after }
    }

    /// Draws what becomes of an account that is there afterwards.
    fn set(
        &mut self,
        key: B256,
        (account, slots): &mut (Account, Slots),
        before: Option<&(Account, Slots)>,
        (forth, back): (&mut HashedDiff, &mut HashedDiff),
    ) {
        let dice = &mut self.dice;
        account.nonce = dice.pick(&[0, 1, 127, 128, 1 << 20, u64::MAX]);
        account.balance_wei = dice.pick(&[U256::ZERO, U256::from(127), U256::MAX]);
        if dice.chance(30) {
            account.code_hash = keccak256(dice.below(3).to_be_bytes());
        } else if dice.chance(30) {
            account.code_hash = Account::default().code_hash;
        }
        let wiped = dice.chance(10);
        self.tally.accounts_set += 1;
        self.tally.wiped += u64::from(wiped && !slots.is_empty());
        forth.push_account(key, Some(*account), wiped);
        // Back: all of it, or only what changes.
        let whole = wiped || before.is_none() || dice.chance(30);
        if whole {
            push_whole(back, key, before);
        } else {
            back.push_account(key, before.map(|(account, _)| *account), false);
        }
        if wiped {
            slots.clear();
        }
        let mut left = self.slot_keys.clone();
        for _ in 0..dice.below(left.len() as u64 + 1) {
            let slot = left.swap_remove(dice.index(left.len()));
            let value = dice.pick(&[U256::ZERO, U256::from(1), U256::from(200), U256::MAX]);
            forth.push_slot(slot, value);
            if !whole {
                let value = before.and_then(|(_, slots)| slots.get(&slot));
                back.push_slot(slot, value.copied().unwrap_or_default());
            }
            if value.is_zero() {
                self.tally.slots_removed += u64::from(slots.remove(&slot).is_some());
            } else {
                slots.insert(slot, value);
                self.tally.slots_set += 1;
            }
        }
    }

    fn evict(&mut self) {
        if !self.dice.chance(40) {
            return;
        }
        let bytes = self.arena.bytes_resident() as u64;
        let bytes_max = if self.dice.chance(50) { 0 } else { self.dice.below(bytes + 1) };
        self.tally.evicted += self.arena.evict(bytes_max as usize, u64::MAX).unwrap() as u64;
    }

    fn apply(&mut self, change: &Change) -> Result<(), String> {
        if self.dice.chance(10) {
            self.fail(&change.forth)?;
        }
        self.arena.apply_hashed(&change.forth).map_err(|error| error.to_string())?;
        *self.source.flat.lock().unwrap() = change.after.clone();
        self.compare("applying")
    }

    /// With a source that fails, a change happens whole or not at all.
    fn fail(&mut self, change: &HashedDiff) -> Result<(), String> {
        let root = self.arena.root();
        self.tally.evicted += self.arena.evict(0, u64::MAX).unwrap() as u64;
        self.source.fails.store(true, Ordering::Relaxed);
        let applied = self.arena.apply_hashed(change);
        self.source.fails.store(false, Ordering::Relaxed);
        match applied {
            // What was needed was never evicted: it was empty.
            Ok(_) => Ok(()),
            Err(ArenaError::Source { .. }) if self.arena.root() == root => {
                self.tally.failed_reads += 1;
                self.compare("a failed read")
            }
            other => Err(format!("{other:?} from a failing source")),
        }
    }

    fn undo(&mut self, change: &Change) -> Result<(), String> {
        self.evict();
        self.arena.apply_hashed(&change.back).map_err(|error| error.to_string())?;
        *self.source.flat.lock().unwrap() = change.before.clone();
        self.tally.undone += 1;
        self.compare("undoing")
    }

    fn prove(&mut self) -> Result<(), String> {
        let flat = self.flat();
        let address = self.dice.pick(&self.keys);
        let entry = flat.get(&address);
        let slots = self.slot_keys.clone();
        let proof = self.arena.hashed_proof(address, &slots).map_err(|error| error.to_string())?;
        let verify = |root, key, value, nodes: &Vec<_>| {
            verify_proof(root, Nibbles::unpack(key), value, nodes)
                .map_err(|error| format!("proof of {key}: {error}"))
        };
        verify(self.arena.root(), address, entry.map(flat::leaf), &proof.account_nodes)?;
        if proof.account != entry.map(|(account, _)| *account) {
            return Err(format!("another account {address}"));
        }
        for (slot, (value, nodes)) in slots.iter().zip(&proof.slots) {
            let expected = entry.and_then(|(_, slots)| slots.get(slot)).copied();
            if expected.unwrap_or_default() != *value {
                return Err(format!("another value of {slot}"));
            }
            verify(proof.storage_root, *slot, expected.map(alloy_rlp::encode), nodes)?;
        }
        self.tally.proofs += 1 + slots.len() as u64;
        Ok(())
    }

    /// Goes on with an arena built at once.
    fn rebuild(&mut self) -> Result<(), String> {
        let flat = self.flat();
        let accounts = flat.iter().rev().map(|(address, (account, _))| Ok((*address, *account)));
        let slots = flat.iter().flat_map(|(address, (_, slots))| {
            slots.iter().rev().map(|(slot, value)| Ok((*address, *slot, *value)))
        });
        let built = StateArena::from_hashed::<ArenaError>(self.arena.options(), accounts, slots);
        let built = built.map_err(|error| error.to_string())?;
        self.arena = built.with_source(Box::new(self.source.clone()));
        self.tally.rebuilt += 1;
        self.compare("building")
    }

    fn compare(&mut self, what: &str) -> Result<(), String> {
        let flat = self.flat();
        self.tally.roots += 1;
        self.tally.empty += u64::from(flat.is_empty());
        if self.arena.root() != flat::root(&flat) {
            return Err(format!("another root after {what}"));
        }
        if self.arena.accounts() != flat.len() {
            return Err(format!("another number of accounts after {what}"));
        }
        Ok(())
    }
}

/// Adds a change after which an account and all of its storage are as given, whatever was there.
fn push_whole(diff: &mut HashedDiff, key: B256, entry: Option<&(Account, Slots)>) {
    diff.push_account(key, entry.map(|(account, _)| *account), true);
    for (slot, value) in entry.into_iter().flat_map(|(_, slots)| slots) {
        diff.push_slot(*slot, *value);
    }
}
